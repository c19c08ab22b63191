package amqpserver

import (
	"context"
	"errors"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// handle handles the frames at the front of b and returns how many bytes they are. After the end of the connection it
// takes everything.
func (c *Conn) handle(in *input, b []byte) (used int) {
	rd := in.rd
	c.calls.Lock()
	defer c.calls.Unlock()
	rd.stop, rd.blocked = c.mux != nil && c.late(in), false
	for !rd.stop {
		n, more := c.frames(in, b[used:])
		used += n
		if !more {
			break
		}
		if rd.batch.bytes > flushBytes {
			rd.batch.Flush()
		}
	}
	if c.flusher != nil && !c.detached {
		c.flusher.Flush(rd.batch)
	}
	c.call(rd.batch)
	return used
}

// frames handles the frames at the front of b up to the first one that concerns the session, with c.calls held. more is
// false when there is none that is whole, or when the connection has ended.
func (c *Conn) frames(in *input, b []byte) (n int, more bool) {
	rd := in.rd
	now := rd.batch.Now()
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return len(b), false
	}
	n, err := c.receive(in, now, b)
	if f := c.srv.trace.Received; f != nil {
		traceFrames(c, f, b[:n])
	}
	c.drain(rd)
	rd.stop = rd.stop || c.behind(in)
	call := c.toServe()
	c.unlock(rd.batch)
	for i := range rd.events {
		c.dispatch(rd, &rd.events[i])
		rd.events[i] = amqp091.Event{}
	}
	rd.events = rd.events[:0]
	if call {
		c.call(rd.batch)
	}
	return n, n > 0 && err == nil
}

// receive gives the machine input, with c.mu held.
func (c *Conn) receive(in *input, now time.Time, b []byte) (n int, err error) {
	switch {
	case c.mux == nil:
		return c.machine.Receive(now, b)
	case in.s == nil:
		return c.machine.ReceiveOn(now, 0, b)
	}
	return in.s.receive(now, b)
}

// behind reports, with c.mu held, whether the client does not take what is sent because of the input.
func (c *Conn) behind(in *input) bool {
	if c.mux != nil {
		return c.mux.behind(c, in)
	}
	return c.main.out.Size() > c.srv.limits.HardLimit/2
}

// dispatch makes the call that an event asks for, with c.calls held.
func (c *Conn) dispatch(rd *reader, ev *amqp091.Event) {
	b := rd.batch
	ch := channelOf(ev)
	switch ev.Kind {
	case amqp091.EventPublish:
		if err := c.session.Publish(b, ch, &rd.publish); err != nil {
			c.failed(b, ch, amqp091.IDBasicPublish, err)
		}
		rd.publish = Publish{}
		if c.toTell.Load() {
			c.tell(b)
		}
	case amqp091.EventSettled:
		c.session.Settled(b, ch, ev.Refs, ev.Settlement)
		clear(ev.Refs) // the machine would keep them until the next input
	case amqp091.EventReady:
		if c.has(ch) { // what came before may have closed it
			c.session.Ready(b, ch)
		}
	case amqp091.EventMethod:
		c.method(b, ch, ev.Method)
	case amqp091.EventChannelOpen:
		c.openChannel(b, ev.Channel)
	case amqp091.EventUpdateSecret:
		c.updateSecret(b, ev.Method.(*amqp091.ConnectionUpdateSecret))
	}
}

// channelOf returns the channel of an event, nil when it has none.
func channelOf(ev *amqp091.Event) *Channel {
	if ev.Channel == nil {
		return nil
	}
	ch, _ := ev.Channel.Ref.(*Channel)
	return ch
}

// method hands a method to the session.
func (c *Conn) method(b *Batch, ch *Channel, m amqp091.Method) {
	if err := c.session.Method(b, ch, m); err != nil {
		if m.ID() == amqp091.IDTxCommit {
			c.mu.Lock()
			ch.m.Uncommit()
			c.mu.Unlock()
		}
		c.failed(b, ch, m.ID(), err)
	}
}

// failed closes a channel or the connection after an error of the session.
func (c *Conn) failed(b *Batch, ch *Channel, id amqp091.MethodID, err error) {
	e := c.wireError("backend failed", id, err)
	if ch == nil || e.Hard {
		c.Close(b, e)
	} else {
		ch.Close(b, e)
	}
	c.call(b)
}

// wireError returns what the client may know of an error of the backend. Other errors are logged.
func (c *Conn) wireError(what string, id amqp091.MethodID, err error) *amqp091.Error {
	e, ok := errors.AsType[*amqp091.Error](err)
	if !ok {
		c.log(what, err)
		return internalError(id)
	}
	known := *e
	if known.Method == 0 {
		known.Method = id
	}
	return &known
}

// openChannel opens a channel.
func (c *Conn) openChannel(b *Batch, m *amqp091.Channel) {
	c.call(b) // the session may not know yet that the channel before with this number has closed
	ch := &Channel{c: c, m: m}
	c.mu.Lock()
	if ch.o = c.outlet(m.ID()); ch.o == nil { // its stream has ended
		m.Lost(nil)
		c.drain(nil)
		c.unlock(b)
		return
	}
	m.Ref = ch
	if s := ch.o.s; s != nil {
		s.opened(ch)
	}
	if c.channels == nil {
		c.channels = make(map[uint16]*Channel, 1)
	}
	c.channels[m.ID()] = ch
	c.mu.Unlock()
	err := c.session.OpenChannel(b, ch)
	c.mu.Lock()
	if err != nil {
		delete(c.channels, m.ID())
		c.mu.Unlock()
		c.failed(b, ch, amqp091.IDChannelOpen, err)
		return
	}
	if m.OpenOK(b.Now()) == nil {
		c.drain(nil)
	}
	c.unlock(b)
}

// updateSecret hands a new secret to the session.
func (c *Conn) updateSecret(b *Batch, m *amqp091.ConnectionUpdateSecret) {
	s, ok := c.session.(SecretUpdater)
	if !ok {
		c.failed(b, nil, m.ID(), amqp091.HardError(amqp091.NotAllowed, "secrets cannot be updated"))
		return
	}
	b.Flush() // the backend may take its time
	ctx, cancel := context.WithTimeout(c.Context(), c.srv.limits.HandshakeTimeout)
	defer cancel()
	if err := s.UpdateSecret(ctx, b, m.NewSecret, m.Reason); err != nil {
		c.failed(b, nil, m.ID(), err)
		return
	}
	c.mu.Lock()
	if c.machine.UpdateSecretOK(b.Now()) == nil {
		c.drain(nil)
	}
	c.unlock(b)
}
