package amqpclient091

import (
	"context"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Get takes one message from a queue, whose name or Alias is given. ok is false when there is none. With AckNone the
// message is settled already, otherwise it is settled with the methods of Delivery; AckNext is AckManual here. When the
// server refuses, the channel is closed.
func (h *Channel) Get(ctx context.Context, queue string, ack AckMode) (d *Delivery, ok bool, err error) {
	m := &amqp091.BasicGet{Queue: queue, NoAck: ack == AckNone}
	if err := checkMethod(m, h.c.o.Limits.FrameMax); err != nil {
		return nil, false, err
	}
	for {
		l, err := h.await(ctx)
		if err != nil {
			return nil, false, err
		}
		d, ok, err := l.get(ctx, m)
		if _, unknown := err.(*UnknownError); err == errAgain || unknown && !m.NoAck {
			continue // the server has the message again, if it was one
		}
		return d, ok, err
	}
}

// get is Get on a link.
func (l *link) get(ctx context.Context, m *amqp091.BasicGet) (*Delivery, bool, error) {
	c := l.k.c
	var d *Delivery // until the call is done, and late: guarded by c.mu
	late := false   // the caller has gone
	x := newCall(&amqp091.BasicGet{NoAck: m.NoAck})
	x.then = func(e *amqp091.Event) {
		if e.Content == nil {
			return
		}
		if d = l.receive(e.Content, m.NoAck); d == nil {
			return
		}
		d.Remaining = e.Content.Remaining
		l.allowed++
		if late && !m.NoAck {
			l.settle(d.Tag, outcome{reject: true, requeue: true})
		}
	}
	c.mu.Lock()
	x.m.(*amqp091.BasicGet).Queue = c.records.resolve(m.Queue)
	l.call(x)
	l.k.kick()
	c.mu.Unlock()
	select {
	case <-x.done:
		return d, d != nil, x.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-x.done:
		return d, d != nil, x.err
	default:
	}
	late = true
	return nil, false, context.Cause(ctx)
}
