package amqp091

import "time"

// serverMethod takes a method from a client.
func (ch *Channel) serverMethod(now time.Time, id MethodID, payload []byte) error {
	if ch.committing && id != IDChannelClose {
		return &Error{Code: ChannelError, Hard: true, Method: id, Text: "unexpected command while processing 'tx.commit'"}
	}
	switch id {
	case IDBasicPublish:
		return ch.begin(id, payload)
	case IDBasicAck, IDBasicNack, IDBasicReject:
		return ch.receiveSettlement(now, payload)
	}
	m, err := DecodeMethod(payload)
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *ExchangeDeclare, *ExchangeDelete, *ExchangeBind, *ExchangeUnbind,
		*QueueDeclare, *QueueBind, *QueueUnbind, *QueuePurge, *QueueDelete,
		*BasicConsume, *BasicCancel, *BasicGet:
		ch.c.tell(EventMethod, ch).Method = m
	case *ChannelClose:
		ch.receiveClose(now, m)
	case *ChannelOpen:
		return &Error{Code: ChannelError, Hard: true, Method: id, Text: "second 'channel.open' seen"}
	case *ChannelFlow:
		if !m.Active {
			return &Error{Code: NotImplemented, Hard: true, Method: id, Text: "active=false"}
		}
		ch.c.send(now, ch.id, &ChannelFlowOK{Active: true})
	case *BasicCancelOK: // the answer to a cancel of ours
	case *AccessRequest:
		ch.c.send(now, ch.id, &AccessRequestOK{Ticket: 1})
	case *BasicQos:
		return ch.receiveQos(now, m)
	case *BasicRecover:
		return ch.receiveRecover(now, m, m.Requeue)
	case *BasicRecoverAsync:
		return ch.receiveRecover(now, m, m.Requeue)
	case *ConfirmSelect:
		ch.receiveConfirmSelect(now, m)
	case *TxSelect, *TxCommit, *TxRollback:
		ch.receiveTx(now, m)
	default:
		return &Error{Code: CommandInvalid, Hard: true, Method: id, Text: "unimplemented method"}
	}
	return nil
}

// receiveQos takes basic.qos: a global limit is that of the channel, another one that of the consumers to come.
func (ch *Channel) receiveQos(now time.Time, m *BasicQos) error {
	if m.PrefetchSize != 0 {
		return &Error{Code: NotImplemented, Hard: true, Method: m.ID(), Text: "prefetch_size!=0 (" + utoa(uint64(m.PrefetchSize)) + ")"}
	}
	if m.Global {
		ch.limit = int(m.PrefetchCount)
		ch.c.ready(ch)
	} else {
		ch.prefetch = int(m.PrefetchCount)
	}
	ch.c.send(now, ch.id, &BasicQosOK{})
	return nil
}

// receiveConfirmSelect takes confirm.select.
func (ch *Channel) receiveConfirmSelect(now time.Time, m *ConfirmSelect) {
	if ch.isTx {
		ch.Close(now, &Error{Code: PreconditionFailed, Method: m.ID(), Text: "cannot switch from tx to confirm mode"})
		return
	}
	ch.confirms.enable()
	if !m.NoWait {
		ch.c.send(now, ch.id, &ConfirmSelectOK{})
	}
}

// receiveTx takes the methods of class tx.
func (ch *Channel) receiveTx(now time.Time, m Method) {
	switch {
	case m.ID() == IDTxSelect && ch.confirms.on:
		ch.Close(now, &Error{Code: PreconditionFailed, Method: m.ID(), Text: "cannot switch from confirm to tx mode"})
		return
	case m.ID() == IDTxSelect:
		ch.isTx = true
		ch.c.send(now, ch.id, &TxSelectOK{})
		return
	case !ch.isTx:
		ch.Close(now, &Error{Code: PreconditionFailed, Method: m.ID(), Text: "channel is not transactional"})
		return
	case m.ID() == IDTxCommit:
		ch.committing = true
		for i := range ch.tx {
			ch.release(&ch.tx[i].unsettledDelivery)
		}
		ch.tx, ch.committed = ch.committed[:0], ch.tx
		ch.c.tell(EventMethod, ch).Method = m
		ch.c.ready(ch)
	default:
		ch.unsettled.restore(ch.tx)
		clear(ch.tx)
		ch.tx = ch.tx[:0]
		ch.c.tell(EventMethod, ch).Method = m
	}
}

// Uncommit (server) tells that the tx.commit that came last cannot be done, before the channel is closed because of it: what
// it has settled is unsettled again.
func (ch *Channel) Uncommit() {
	ch.unsettled.restore(ch.committed)
	ch.committed = nil
}

// Transactional (server) reports whether the client has sent tx.select.
func (ch *Channel) Transactional() bool { return ch.isTx }

// Confirming reports whether confirm.select was sent: the server confirms what is published.
func (ch *Channel) Confirming() bool { return ch.confirms.on || ch.published != nil }

// Limits (server) returns the limits of unsettled deliveries that basic.qos has set, for the whole channel and for the
// consumers to come; 0 is none.
func (ch *Channel) Limits() (channel, consumer int) { return ch.limit, ch.prefetch }

// Return (server) reports whether a message can be returned to the client now: then the caller encodes basic.return, a
// content header and a body, and sends them at once.
func (ch *Channel) Return(now time.Time) bool {
	if ch.state != channelOpen {
		return false
	}
	ch.c.said(now)
	return true
}
