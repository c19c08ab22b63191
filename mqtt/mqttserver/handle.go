package mqttserver

import (
	"bytes"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// handle handles the packets at the front of b and returns how many bytes they are. After the end of the connection it
// takes everything.
func (st *stream) handle(rd *reader, b []byte) (used int) {
	c := st.c
	rd.throttle, rd.ready, rd.early = 0, false, false
	if c.isEnded() {
		return len(b)
	}
	c.calls.Lock()
	defer c.calls.Unlock()
	for rd.throttle == 0 {
		n, more := st.packet(rd, b[used:])
		used += n
		if !more {
			break
		}
		if rd.batch.bytes > flushBytes {
			rd.batch.Flush()
			if len(rd.batch.late) > 0 {
				rd.batch.Wait()
			}
		}
	}
	if rd.ready {
		c.session.Ready(rd.batch)
	}
	c.call(rd.batch)
	return used
}

// packet handles the packet at the front of b. more is false when it is not there as a whole, or the last one.
func (st *stream) packet(rd *reader, b []byte) (n int, more bool) {
	c := st.c
	p, n, err := rd.dec.Decode(b, c.version)
	if err == nil && n == 0 {
		return 0, false
	}
	if c.ext != nil && err == nil && c.ext.premature(p) {
		rd.early = true
		return 0, false
	}
	now := rd.batch.Now()
	c.mu.Lock()
	if c.ended || st.dead {
		c.mu.Unlock()
		return len(b), false
	}
	if err != nil {
		c.machine.Fail(now, p, err)
	} else {
		c.received(p)
		err = c.machine.Receive(now, st.id, p)
	}
	ev := c.drain(rd)
	if err != nil && !c.ended {
		c.abort(err)
	}
	c.unlock(rd.batch)
	if ev.Kind != 0 {
		c.dispatch(rd, &ev)
	}
	for i := range rd.more {
		c.dispatch(rd, &rd.more[i])
		rd.more[i] = mqtt.Event{}
	}
	rd.more = rd.more[:0]
	if err != nil {
		return len(b), false
	}
	return n, true
}

// received counts a packet, with c.mu held.
func (c *Conn) received(p mqtt.Packet) {
	c.counts.packetsReceived++
	if p.Type() == mqtt.TypePublish {
		c.counts.messagesReceived++
	}
	if f := c.srv.trace.Received; f != nil {
		f(c, p)
	}
}

// dispatch makes the call that an event asks for, with c.calls held.
func (c *Conn) dispatch(rd *reader, ev *mqtt.Event) {
	switch ev.Kind {
	case mqtt.EventPublish:
		c.takePublish(rd, ev)
	case mqtt.EventSubscribe:
		c.takeSubscribe(rd.batch, ev.Stream, ev.Packet.(*mqtt.Subscribe))
	case mqtt.EventUnsubscribe:
		c.session.Unsubscribe(rd.batch, ev.Packet.(*mqtt.Unsubscribe))
	case mqtt.EventQuota:
		rd.ready = true
	case mqtt.EventDisconnect:
		d := ev.Packet.(*mqtt.Disconnect)
		c.mu.Lock()
		c.bye = d
		c.mu.Unlock()
	case mqtt.EventAuth:
		c.reauthenticate(rd.batch, ev.Packet.(*mqtt.Auth))
	default:
		c.tell(rd.batch, ev)
	}
}

// takePublish hands a message to the session, within the limits.
func (c *Conn) takePublish(rd *reader, ev *mqtt.Event) {
	p := ev.Packet.(*mqtt.Publish)
	lim := &c.srv.limits
	var ack Ack
	if p.QoS > mqtt.QoS0 {
		ack = Ack{c, p.ID, uint32(ev.Stream >> streamShift)}
	}
	if lim.PublishRate > 0 && !c.admit(rd) {
		return
	}
	if n := len(p.Topic); n > lim.MaxTopicLength || n >= lim.MaxTopicLevels && bytes.Count(p.Topic, []byte{'/'}) >= lim.MaxTopicLevels {
		c.refusePublish(rd.batch, ack, &mqtt.Error{Code: mqtt.ReasonTopicNameInvalid, Reason: "topic name exceeds a limit"})
		return
	}
	if c.srv.memory.full(rd.batch.Now()) {
		if p.QoS == mqtt.QoS0 {
			c.mu.Lock()
			c.dropped(p, DropMemory)
			c.mu.Unlock()
			return
		}
		c.refusePublish(rd.batch, ack, &mqtt.Error{Code: mqtt.ReasonQuotaExceeded, Reason: "server is out of memory"})
		return
	}
	c.session.Publish(rd.batch, p, ack)
}

// refusePublish refuses a message: with an acknowledgement where the version can say it, otherwise by the end of the
// connection.
func (c *Conn) refusePublish(b *Batch, ack Ack, e *mqtt.Error) {
	if c.version == mqtt.Version5 && ack.c != nil {
		ack.Done(b, e.Code, nil)
		return
	}
	c.fail(b, e)
}

// fail ends the connection with an error that is told to the client.
func (c *Conn) fail(b *Batch, e *mqtt.Error) {
	c.mu.Lock()
	c.machine.Fail(b.Now(), nil, e)
	c.drain(nil)
	c.unlock(b)
}

// admit applies the publish rate to one message. It is false when the client is sent away.
func (c *Conn) admit(rd *reader) bool {
	lim := &c.srv.limits
	interval := int64(time.Second) / int64(lim.PublishRate)
	now := int64(rd.batch.Now().Sub(c.srv.epoch))
	c.clock = max(c.clock, now) + interval
	excess := c.clock - now - interval*int64(lim.PublishBurst)
	if excess <= 0 {
		return true
	}
	if lim.RateDisconnects {
		c.fail(rd.batch, &mqtt.Error{Code: mqtt.ReasonMessageRateTooHigh})
		return false
	}
	rd.throttle = time.Duration(excess)
	return true
}

// takeSubscribe hands a SUBSCRIBE to the session, without the filters that are beyond a limit.
func (c *Conn) takeSubscribe(b *Batch, stream uint64, p *mqtt.Subscribe) {
	reasons := c.refuseFilters(p.Filters)
	if reasons == nil {
		c.subscribe(b, stream, p)
		return
	}
	c.mu.Lock()
	c.refusals = append(c.refusals, refusal{p.ID, reasons})
	c.mu.Unlock()
	rest := make([]mqtt.Subscription, 0, len(p.Filters))
	for i, f := range p.Filters {
		if !reasons[i].IsError() {
			rest = append(rest, f)
		}
	}
	if len(rest) == 0 {
		c.Suback(b, &mqtt.Suback{ID: p.ID})
		return
	}
	p.Filters = rest
	c.subscribe(b, stream, p)
}

// subscribe hands a SUBSCRIBE to the session.
func (c *Conn) subscribe(b *Batch, stream uint64, p *mqtt.Subscribe) {
	if stream != 0 {
		if s, ok := c.session.(StreamSession); ok {
			s.SubscribeStream(b, stream, p)
			return
		}
	}
	c.session.Subscribe(b, p)
}

// refuseFilters returns a reason code for each filter if there are any beyond a limit, otherwise nil.
func (c *Conn) refuseFilters(filters []mqtt.Subscription) []mqtt.ReasonCode {
	lim := &c.srv.limits
	var reasons []mqtt.ReasonCode
	refuse := func(i int, reason mqtt.ReasonCode) {
		if reasons == nil {
			reasons = make([]mqtt.ReasonCode, len(filters))
		}
		reasons[i] = reason
	}
	known, _ := c.session.(Subscriptions)
	count := 0
	if known != nil {
		count = known.Subscriptions()
	}
	for i := range filters {
		f := filters[i].Filter
		switch {
		case tooDeep(f, lim):
			refuse(i, mqtt.ReasonTopicFilterInvalid)
		case known == nil || count+len(filters) <= lim.MaxSubscriptions || known.Subscribed(f):
		case count >= lim.MaxSubscriptions:
			refuse(i, mqtt.ReasonQuotaExceeded)
		default:
			count++
		}
	}
	return reasons
}
