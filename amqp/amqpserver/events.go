package amqpserver

import (
	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// drain takes the events of the machine, with c.mu held: what is to be sent goes into the output, ends of channels and of
// the connection wait for call. rd, if it is the reader that asks, gets the rest.
func (c *Conn) drain(rd *reader) {
	for {
		ev, ok := c.machine.Next()
		if !ok {
			return
		}
		switch ev.Kind {
		case amqp091.EventSend:
			c.send(&ev)
		case amqp091.EventClose:
			c.end(c.machine.Err())
		case amqp091.EventDown:
			c.closing(c.machine.Err())
		case amqp091.EventChannelClose, amqp091.EventChannelClosed:
			if ch, ok := ev.Channel.Ref.(*Channel); ok {
				ch.closed = ev.Kind == amqp091.EventChannelClose
				c.gone = append(c.gone, ch)
			}
		case amqp091.EventChannelGone:
			c.unbind(ev.Channel.ID())
		case amqp091.EventPublish:
			t := ev.Content
			rd.publish = Publish{Exchange: t.Exchange, RoutingKey: t.RoutingKey, Mandatory: t.Mandatory, Properties: t.Properties,
				Body: t.Body, Owned: t.Owned, Seq: ev.Seq}
			c.counts.published++
			if c.publishing(rd.batch) {
				rd.stop, rd.blocked = true, true
			}
			rd.events = append(rd.events, ev)
		default:
			if rd != nil {
				rd.events = append(rd.events, ev)
			}
		}
	}
}

// send puts what an EventSend sends in the output, with c.mu held.
func (c *Conn) send(ev *amqp091.Event) {
	o := c.outlet(ev.ChannelID())
	if o == nil {
		return // its stream has ended
	}
	t := o.out.Room(c.srv.chunks, 64)
	start := len(t.Buf)
	buf, err := ev.AppendTo(t.Buf)
	if err != nil {
		c.log("method cannot be encoded", err)
		c.abort(lost(internalError(0)))
		return
	}
	t.Buf = buf
	o.added(len(buf) - start)
	c.traceSent(buf[start:])
}

// traceSent shows frames that were put in the output.
func (c *Conn) traceSent(b []byte) {
	if f := c.srv.trace.Sent; f != nil {
		traceFrames(c, f, b)
	}
}

func traceFrames(c *Conn, f func(*Conn, amqp091.Frame), b []byte) {
	for len(b) > 0 {
		frame, n, err := amqp091.NextFrame(b, 0)
		if err != nil || n == 0 {
			return // a protocol header
		}
		f(c, frame)
		b = b[n:]
	}
}

// call makes the calls of the session that wait, with c.calls held.
func (c *Conn) call(b *Batch) {
	for {
		c.mu.Lock()
		gone, ready := c.gone, c.ready
		c.gone, c.ready = nil, nil
		last := c.down && !c.detached
		if len(gone) == 0 && len(ready) == 0 && !last {
			c.serving = false
			c.mu.Unlock()
			return
		}
		c.detached = c.detached || last
		c.mu.Unlock()
		for _, ch := range gone {
			c.endChannel(b, ch)
		}
		for _, ch := range ready {
			if c.has(ch) {
				c.session.Ready(b, ch)
			}
		}
		if last {
			c.endSession(b)
		}
	}
}

// has reports whether the session knows a channel.
func (c *Conn) has(ch *Channel) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.channels[ch.ID()] == ch
}

// endChannel tells the session that a channel has closed, if it knows it, and answers the client.
func (c *Conn) endChannel(b *Batch, ch *Channel) {
	c.mu.Lock()
	known := c.channels[ch.ID()] == ch
	var refs []any
	if known {
		delete(c.channels, ch.ID())
		refs = ch.m.Unsettled()
	}
	c.mu.Unlock()
	if known {
		c.session.CloseChannel(b, ch, refs)
	}
	if !ch.closed {
		return
	}
	c.mu.Lock()
	if ch.m.CloseOK(b.Now()) == nil {
		c.drain(nil)
		c.unbind(ch.ID())
	}
	c.unlock(b)
}

// endSession tells the session that all is over, and answers the client.
func (c *Conn) endSession(b *Batch) {
	for _, ch := range c.Channels() {
		ch.closed = false
		c.endChannel(b, ch)
	}
	if c.session != nil {
		c.session.Closed(c.cause)
	}
	c.mu.Lock()
	if c.machine.CloseOK(b.Now()) == nil {
		c.drain(nil)
	}
	c.unlock(b)
}

// internalError is what a client is told of an error that is none of the protocol's.
func internalError(id amqp091.MethodID) *amqp091.Error {
	return &amqp091.Error{Code: amqp091.InternalError, Hard: true, Text: "internal error", Method: id}
}
