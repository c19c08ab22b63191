package amqp091

import "time"

// call is a method that the server has not answered.
type call struct {
	ref   any
	reply MethodID
	other MethodID // another one that may come instead
}

// answerTo returns the method that answers m, and another one that may come instead; 0 when none does.
func answerTo(m Method) (reply, other MethodID) {
	id := m.ID()
	switch m := m.(type) {
	case *ExchangeDeclare:
		return unless(m.NoWait, IDExchangeDeclareOK), 0
	case *ExchangeDelete:
		return unless(m.NoWait, IDExchangeDeleteOK), 0
	case *ExchangeBind:
		return unless(m.NoWait, IDExchangeBindOK), 0
	case *ExchangeUnbind:
		return unless(m.NoWait, IDExchangeUnbindOK), 0
	case *QueueDeclare:
		return unless(m.NoWait, IDQueueDeclareOK), 0
	case *QueueBind:
		return unless(m.NoWait, IDQueueBindOK), 0
	case *QueuePurge:
		return unless(m.NoWait, IDQueuePurgeOK), 0
	case *QueueDelete:
		return unless(m.NoWait, IDQueueDeleteOK), 0
	case *BasicConsume:
		return unless(m.NoWait, IDBasicConsumeOK), 0
	case *BasicCancel:
		return unless(m.NoWait, IDBasicCancelOK), 0
	case *ConfirmSelect:
		return unless(m.NoWait, IDConfirmSelectOK), 0
	case *BasicGet:
		return IDBasicGetOK, IDBasicGetEmpty
	case *QueueUnbind, *BasicQos, *BasicRecover, *TxSelect, *TxCommit, *TxRollback, *ChannelFlow, *AccessRequest:
		return id + 1, 0
	}
	return 0, 0
}

// unless returns id, or 0 when the caller does not wait.
func unless(noWait bool, id MethodID) MethodID {
	if noWait {
		return 0
	}
	return id
}

// Call (client) sends a method. If it has an answer, EventReply has it, with ref; the answers come in the order of the
// calls. With confirm.select the server numbers what is published from now on.
func (ch *Channel) Call(now time.Time, m Method, ref any) error {
	if ch.state != channelOpen || ch.c.cfg.Role != Client {
		return ErrState
	}
	if reply, other := answerTo(m); reply != 0 {
		ch.calls = append(ch.calls, call{ref, reply, other})
	}
	if m.ID() == IDConfirmSelect && ch.published == nil {
		ch.published = new(published)
	}
	ch.c.send(now, ch.id, m)
	return nil
}

// Calls (client) returns the references of the calls that were not answered, and forgets them. It is for the end of the
// channel.
func (ch *Channel) Calls() []any {
	var refs []any
	for _, c := range ch.calls {
		refs = append(refs, c.ref)
	}
	ch.calls = nil
	return refs
}

// Settle (client) settles the delivery with a tag and, if multiple is set, all before it; with tag 0 and multiple all.
func (ch *Channel) Settle(now time.Time, tag uint64, multiple bool, s Settlement) error {
	if ch.state != channelOpen || ch.c.cfg.Role != Client {
		return ErrState
	}
	k := sendAck
	switch {
	case s == Rejected && multiple:
		k = sendNack
	case s == Requeued && multiple:
		k = sendRequeue
	case s == Rejected:
		k = sendReject
	case s == Requeued:
		k = sendRejectRequeue
	}
	e := ch.c.events.push(EventSend)
	e.channel, e.frame, e.Seq, e.multiple = ch.id, k, tag, multiple
	ch.c.said(now)
	return nil
}

// clientMethod takes a method from a server.
func (ch *Channel) clientMethod(now time.Time, id MethodID, payload []byte) error {
	switch id {
	case IDBasicDeliver, IDBasicReturn:
		return ch.begin(id, payload)
	case IDBasicGetOK:
		if !ch.expects(id) {
			return ch.unexpected(id)
		}
		return ch.begin(id, payload)
	case IDBasicAck, IDBasicNack:
		return ch.receiveConfirm(payload)
	}
	m, err := DecodeMethod(payload)
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *ChannelClose:
		ch.receiveClose(now, m)
		return nil
	case *ChannelFlow:
		ch.c.send(now, ch.id, &ChannelFlowOK{Active: m.Active})
		ch.c.tell(EventMethod, ch).Method = m
		return nil
	case *BasicCancel:
		if !m.NoWait {
			ch.c.send(now, ch.id, &BasicCancelOK{ConsumerTag: m.ConsumerTag})
		}
		ch.c.tell(EventMethod, ch).Method = m
		return nil
	}
	if !ch.expects(id) {
		return ch.unexpected(id)
	}
	if id == IDChannelOpenOK {
		ch.state = channelOpen
	}
	ch.answer(id).Method = m
	return nil
}

func (ch *Channel) unexpected(id MethodID) error {
	return &Error{Code: CommandInvalid, Hard: true, Method: id, Text: "unexpected method " + id.String()}
}

// expects reports whether a method answers the oldest call.
func (ch *Channel) expects(id MethodID) bool {
	return len(ch.calls) > 0 && (ch.calls[0].reply == id || ch.calls[0].other == id)
}

// answer makes the event of the answer to the oldest call.
func (ch *Channel) answer(id MethodID) *Event {
	e := ch.c.tell(EventReply, ch)
	if ch.expects(id) {
		e.Ref = ch.calls[0].ref
		n := copy(ch.calls, ch.calls[1:])
		ch.calls[n] = call{}
		ch.calls = ch.calls[:n]
	}
	return e
}
