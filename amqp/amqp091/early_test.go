package amqp091

import "testing"

func TestEarlyData(t *testing.T) {
	want := map[Early][]Method{
		EarlyNever: {
			&ConnectionStartOK{}, &ConnectionSecureOK{}, &ConnectionUpdateSecret{}, &ConnectionClose{}, &ConnectionCloseOK{},
			&ChannelClose{}, &ChannelCloseOK{}, &ExchangeDelete{}, &ExchangeUnbind{}, &QueueDelete{}, &QueueUnbind{}, &QueuePurge{},
			&BasicConsume{NoAck: true}, &BasicGet{NoAck: true}, &BasicAck{}, &BasicNack{}, &BasicReject{}, &BasicRecover{},
			&BasicRecoverAsync{}, &BasicCancelOK{}, &TxCommit{}, &TxRollback{},
			// Those of a server.
			&ConnectionStart{}, &ConnectionTune{}, &ConnectionOpenOK{}, &ChannelOpenOK{}, &BasicDeliver{}, &BasicReturn{}, &QueueDeclareOK{},
		},
		EarlyOptIn: {&BasicPublish{}},
		EarlyGuarded: {
			&ConnectionTuneOK{}, &ConnectionOpen{}, &ChannelOpen{}, &ExchangeDeclare{}, &ExchangeBind{}, &QueueDeclare{}, &QueueBind{},
			&BasicConsume{}, &BasicGet{},
		},
		EarlySafe: {
			&ExchangeDeclare{Passive: true}, &QueueDeclare{Passive: true}, &ChannelFlow{}, &ChannelFlowOK{}, &AccessRequest{}, &BasicQos{},
			&BasicCancel{}, &ConfirmSelect{}, &TxSelect{},
		},
	}
	for class, methods := range want {
		for _, m := range methods {
			if got := EarlyData(m); got != class {
				t.Errorf("%v: %v, want %v", m, got, class)
			}
		}
	}
	if got := EarlyData(nil); got != EarlyNever {
		t.Error(got)
	}
	if got := EarlyNever.String() + EarlyOptIn.String() + EarlyGuarded.String() + EarlySafe.String(); got != "neveropt-inguardedsafe" {
		t.Error(got)
	}
}
