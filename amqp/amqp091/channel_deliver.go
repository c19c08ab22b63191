package amqp091

import "time"

// Consumer is a consumer on a server's [Channel]. It belongs to its Conn and is used as that is.
type Consumer struct {
	// Ref is the shell's own.
	Ref any

	ch      *Channel
	tag     string
	limit   int // of unsettled deliveries; 0: none
	used    int
	noAck   bool
	stopped bool
}

// Tag returns the consumer tag.
func (s *Consumer) Tag() string { return s.tag }

// NoAck reports whether deliveries count as acknowledged at once.
func (s *Consumer) NoAck() bool { return s.noAck }

// Prefetch returns the limit of unsettled deliveries, 0 for none, and how many there are.
func (s *Consumer) Prefetch() (limit, unsettled int) { return s.limit, s.used }

// unsettledDelivery is a delivery that the client has not settled.
type unsettledDelivery struct {
	ref      any
	consumer *Consumer // nil: of basic.get
}

// Consume (server) starts a consumer with the prefetch of the channel, for basic.consume. The error is NOT_ALLOWED, hard,
// when there is one with this tag, or ErrState.
func (ch *Channel) Consume(tag string, noAck bool) (*Consumer, error) {
	if ch.state != channelOpen {
		return nil, ErrState
	}
	if ch.consumers[tag] != nil {
		return nil, &Error{Code: NotAllowed, Hard: true, Method: IDBasicConsume, Text: "attempt to reuse consumer tag '" + tag + "'"}
	}
	if ch.consumers == nil {
		ch.consumers = make(map[string]*Consumer, 1)
	}
	s := &Consumer{ch: ch, tag: tag, limit: ch.prefetch, noAck: noAck}
	ch.consumers[tag] = s
	return s, nil
}

// Cancel (server) ends a consumer: Deliver does nothing for it any more. What was delivered stays unsettled. It is false
// when the consumer has ended before.
func (ch *Channel) Cancel(s *Consumer) bool {
	if s.stopped {
		return false
	}
	s.stopped = true
	delete(ch.consumers, s.tag)
	return true
}

// Consumer (server) returns the consumer with a tag, or nil.
func (ch *Channel) Consumer(tag string) *Consumer { return ch.consumers[tag] }

// Consumers (server) returns how many consumers there are.
func (ch *Channel) Consumers() int { return len(ch.consumers) }

// Deliver (server) counts a delivery to a consumer. If it is true, the caller encodes basic.deliver with the tag, a content
// header and a body, and sends them at once. If it is false there is no credit, and EventReady tells when there is; or the
// consumer has ended. ref comes back in EventSettled or Unsettled, unless the consumer needs no acknowledgement.
func (ch *Channel) Deliver(now time.Time, s *Consumer, ref any) (tag uint64, ok bool) {
	switch {
	case ch.state != channelOpen || s.stopped:
		return 0, false
	case s.noAck:
		ch.c.said(now)
		return ch.unsettled.skip(), true
	case s.limit != 0 && s.used >= s.limit, ch.limit != 0 && ch.used >= ch.limit:
		ch.starved = true
		return 0, false
	}
	s.used++
	ch.used++
	ch.c.said(now)
	return ch.unsettled.add(unsettledDelivery{ref, s}), true
}

// Get (server) counts a delivery that answers basic.get, which needs no credit: as Deliver.
func (ch *Channel) Get(now time.Time, noAck bool, ref any) (tag uint64, ok bool) {
	if ch.state != channelOpen {
		return 0, false
	}
	ch.c.said(now)
	if noAck {
		return ch.unsettled.skip(), true
	}
	return ch.unsettled.add(unsettledDelivery{ref: ref}), true
}

// UnsettledCount (server) returns how many deliveries are not settled.
func (ch *Channel) UnsettledCount() int { return ch.unsettled.len() + len(ch.tx) }

// Unsettled (server) returns the references of the deliveries that were not settled, or only in a transaction, in the order
// of their tags, and forgets them. It is for the end of the channel.
func (ch *Channel) Unsettled() []any {
	if ch.unsettled.len()+len(ch.tx) == 0 {
		return nil
	}
	ch.unsettled.restore(ch.tx)
	refs := make([]any, 0, ch.unsettled.len())
	ch.unsettled.all(func(_ uint64, d unsettledDelivery) { refs = append(refs, d.ref) })
	ch.unsettled, ch.tx = unsettled{}, nil
	return refs
}

// release gives back the credit of a delivery.
func (ch *Channel) release(d *unsettledDelivery) {
	if d.consumer != nil {
		d.consumer.used--
		ch.used--
	}
}

// maxMerged is how many deliveries one EventSettled has, when more settlements join it.
const maxMerged = 512

// receiveSettlement takes basic.ack, basic.nack or basic.reject.
func (ch *Channel) receiveSettlement(now time.Time, payload []byte) error {
	c := ch.c
	var v AckView
	if err := v.Decode(payload); err != nil {
		return err
	}
	first := len(c.refs)
	if v.DeliveryTag == 0 && v.Multiple {
		ch.unsettled.all(ch.settle)
	} else if !ch.settleTag(&v) {
		c.settled()
		ch.Close(now, &Error{Code: PreconditionFailed, Method: v.Method, Text: "unknown delivery tag " + utoa(v.DeliveryTag)})
		return nil
	}
	if len(c.refs) > first {
		c.settlement(ch, v.settlement())
	}
	return nil
}

// settleTag settles a delivery, and those before it if the method says multiple. It is false when it is not known.
func (ch *Channel) settleTag(v *AckView) bool {
	if !v.Multiple {
		d, ok := ch.unsettled.settle(v.DeliveryTag)
		if ok {
			ch.settle(v.DeliveryTag, d)
		}
		return ok
	}
	if !ch.unsettled.has(v.DeliveryTag) {
		return false
	}
	ch.unsettled.through(v.DeliveryTag, ch.settle)
	return true
}

// settle notes that a delivery is settled, which is not among the unsettled any more.
func (ch *Channel) settle(tag uint64, d unsettledDelivery) {
	if ch.isTx {
		ch.tx = append(ch.tx, settledTag{tag: tag, unsettledDelivery: d})
	} else {
		ch.release(&d)
	}
	ch.c.refs = append(ch.c.refs, d.ref)
}

// settlement tells the shell what was settled. What follows at once in the same way joins.
func (c *Conn) settlement(ch *Channel, s Settlement) {
	if c.merged == nil {
		c.merged = c.tell(EventSettled, ch)
		c.merged.Settlement = s
	}
	if len(c.refs) >= maxMerged {
		c.settled()
	}
}

// settled ends the joining of settlements.
func (c *Conn) settled() {
	if e := c.merged; e != nil {
		e.Refs = c.refs
		c.merged = nil
		c.ready(e.Channel)
	}
}

// joins reports whether the frame at the front of b is a settlement that may join the last one.
func (c *Conn) joins(b []byte) bool {
	const size = frameHeaderSize + 4 + 8 + 1 + 1
	e := c.merged
	if len(b) < size || FrameType(b[0]) != FrameMethod || uint16(b[1])<<8|uint16(b[2]) != e.Channel.id ||
		b[3] != 0 || b[4] != 0 || b[5] != 0 || b[6] != size-FrameOverhead {
		return false
	}
	id, _ := PeekMethod(b[frameHeaderSize:])
	v := AckView{Method: id}
	switch bits := b[size-2]; id {
	case IDBasicAck:
	case IDBasicNack:
		v.Requeue = bits&2 != 0
	case IDBasicReject:
		v.Requeue = bits&1 != 0
	default:
		return false
	}
	return v.settlement() == e.Settlement
}

// ready tells the shell that a channel that had no credit may have some.
func (c *Conn) ready(ch *Channel) {
	if ch.starved && ch.state == channelOpen {
		ch.starved = false
		c.tell(EventReady, ch)
	}
}

// receiveRecover takes basic.recover and basic.recover-async.
func (ch *Channel) receiveRecover(now time.Time, m Method, requeue bool) error {
	if !requeue {
		return &Error{Code: NotImplemented, Hard: true, Method: m.ID(), Text: "requeue=false"}
	}
	ch.unsettled.all(func(_ uint64, d unsettledDelivery) {
		ch.release(&d)
		ch.c.refs = append(ch.c.refs, d.ref)
	})
	if m.ID() == IDBasicRecover {
		ch.c.send(now, ch.id, &BasicRecoverOK{}) // before what is delivered again
	}
	if len(ch.c.refs) > 0 {
		e := ch.c.tell(EventSettled, ch)
		e.Settlement, e.Refs = Recovered, ch.c.refs
	}
	ch.c.ready(ch)
	return nil
}
