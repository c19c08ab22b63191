package mqttserver

import (
	"github.com/quartet-mq/quartet/mqtt"
)

// drain takes the events of the machine, with c.mu held: what is to be sent goes into the output. rd, if it is the
// reader that asks, gets those that it must handle before the next packet, the first of them as the result; its Kind is
// zero when there is none. The rest waits for call.
func (c *Conn) drain(rd *reader) (first mqtt.Event) {
	for {
		ev, ok := c.machine.Next()
		if !ok {
			return first
		}
		switch ev.Kind {
		case mqtt.EventSend:
			c.send(&ev)
			continue
		case mqtt.EventClose:
			c.end(c.machine.Err())
			continue
		case mqtt.EventPersist, mqtt.EventResend: // in their order, whoever caused them
		case mqtt.EventSettled, mqtt.EventLost:
			if ev.Stream != 0 {
				c.ext.landed(ev.Stream)
			}
			if rd != nil && first.Kind == 0 {
				first = ev
				continue
			}
			if rd != nil {
				rd.more = append(rd.more, ev)
				continue
			}
		default:
			if rd != nil && first.Kind == 0 {
				first = ev
				continue
			}
			if rd != nil {
				rd.more = append(rd.more, ev)
				continue
			}
		}
		c.todo = append(c.todo, ev)
	}
}

// send puts the packet of an EventSend in the output, with c.mu held.
func (c *Conn) send(ev *mqtt.Event) {
	st := c.streamOf(ev.Stream)
	if st == nil {
		return // with its stream
	}
	if ev.Packet == nil && c.srv.trace.Sent == nil {
		t := st.out.Room(c.srv.chunks, 8)
		n := len(t.Buf)
		t.Buf, _ = ev.AppendTo(t.Buf, c.version)
		st.out.Added(len(t.Buf) - n)
		st.grown(len(t.Buf)-n, 0)
		c.counts.packetsSent++
		return
	}
	if ack, ok := ev.Packet.(*mqtt.Connack); ok && c.ext != nil {
		c.ext.agree(ack)
	}
	b, err := ev.AppendTo(nil, c.version)
	if err != nil {
		c.log("packet cannot be encoded", err)
		return
	}
	st.out.Append(c.srv.chunks, b)
	st.grown(len(b), 0)
	c.counts.packetsSent++
	if f := c.srv.trace.Sent; f != nil {
		d := mqtt.Decoder{From: mqtt.Server}
		if p, _, err := d.Decode(b, c.version); err == nil {
			f(c, p)
		}
	}
}

// call makes the calls of the session that wait, with c.calls held.
func (c *Conn) call(b *Batch) {
	for {
		c.mu.Lock()
		todo, ready := c.todo, c.ready && !c.ended
		c.todo, c.ready = nil, false
		last := c.ended && !c.detached && c.session != nil
		if len(todo) == 0 && !ready && !last {
			c.serving = false
			c.mu.Unlock()
			return
		}
		c.detached = c.detached || last
		c.mu.Unlock()
		for i := range todo {
			c.tell(b, &todo[i])
		}
		if ready {
			c.session.Ready(b)
		}
		if last {
			c.session.Closed(c.cause, c.bye)
		}
	}
}

// tell makes the call of the session that an event without packet asks for, with c.calls held.
func (c *Conn) tell(b *Batch, ev *mqtt.Event) {
	switch ev.Kind {
	case mqtt.EventPersist:
		if c.persist != nil {
			c.persist.Persist(b, Delta{Delta: ev.Delta, ID: ev.ID, QoS: ev.QoS, Ref: ev.Ref, Token: ev.Token})
		}
	case mqtt.EventResend:
		p, ok := c.session.Resend(ev.Ref)
		if !ok {
			p = nil
		}
		c.resend(b, ev.Stream, ev.ID, p)
	case mqtt.EventSettled, mqtt.EventLost:
		if c.persist != nil && ev.Delta != mqtt.DeltaNone {
			c.persist.Persist(b, Delta{Delta: ev.Delta, ID: ev.ID, QoS: ev.QoS, Ref: ev.Ref})
		}
		c.session.Settled(b, ev.Ref, ev.Reason)
	case mqtt.EventQuota:
		c.session.Ready(b)
	}
}
