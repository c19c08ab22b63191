package amqpclient091

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Publish publishes m on a channel of the client's own, which Options.Publish configures: see Channel.Publish. When the
// server closes that channel because of a message, the client opens it again; messages that were under way at that time
// fail with an *UnknownError, since nobody knows how far the server got.
func (c *Client) Publish(ctx context.Context, m *Message) error {
	h, err := c.publisher()
	if err != nil {
		return &unsentError{err}
	}
	return h.Publish(ctx, m)
}

// PublishAsync is Channel.PublishAsync on the channel of Publish.
func (c *Client) PublishAsync(ctx context.Context, m *Message) (*Publication, error) {
	h, err := c.publisher()
	if err != nil {
		return nil, &unsentError{err}
	}
	return h.PublishAsync(ctx, m)
}

// publisher returns the channel of Publish.
func (c *Client) publisher() (*Channel, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.output != nil && !c.output.ended {
		return c.output, nil
	}
	h := newChannel(c, &c.o.publish, kindOutput)
	if err := c.add(h); err != nil {
		return nil, err
	}
	c.output = h
	return h, nil
}

// Publish publishes m. In mode Confirms it returns when the server has confirmed the message, in the others when it is in
// the connection's output buffer. It waits for a connection, for its turn in the window and, while the server takes no
// messages, for that to end.
//
// When ctx ends before the message was sent, it is withdrawn and SafeToRetry holds for the error. When ctx ends later, the
// message may still arrive. If the server takes no messages at that time, the error is a *BlockedError. Other errors are
// those of Publication.Err.
func (h *Channel) Publish(ctx context.Context, m *Message) error {
	if ctx.Err() != nil {
		return &unsentError{context.Cause(ctx)}
	}
	p, _ := h.c.waits.Get().(*Publication)
	if p == nil {
		p = &Publication{sync: true, ch: make(chan struct{}, 1)}
	}
	p.h, p.m = h, m
	if err := h.submit(ctx, p, m); err != nil {
		return err
	}
	select {
	case <-p.ch:
	case <-ctx.Done():
		return h.withdraw(ctx, p) // p may be anywhere: leave it to the garbage collector
	}
	err := p.err
	*p = Publication{sync: true, ch: p.ch}
	h.c.waits.Put(p)
	return err
}

// PublishAsync publishes m without waiting for the confirm. It waits only while the window is full; ctx bounds that.
// Errors that come later are those of the Publication.
func (h *Channel) PublishAsync(ctx context.Context, m *Message) (*Publication, error) {
	if ctx.Err() != nil {
		return nil, &unsentError{context.Cause(ctx)}
	}
	p := &Publication{h: h}
	if err := h.submit(ctx, p, m); err != nil {
		return nil, err
	}
	return p, nil
}

// submit sends p, whose message is m, or puts it in the queue.
func (h *Channel) submit(ctx context.Context, p *Publication, m *Message) error {
	c := h.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := h.awaitRoom(ctx, len(m.Body)); err != nil {
		return &unsentError{err}
	}
	o, err := c.outgoing(m)
	if err != nil {
		return &unsentError{err}
	}
	p.size = uint32(min(uint64(len(o.Properties)+len(o.Body)), math.MaxUint32))
	if p.m == nil && (h.o.Republish || h.queue.Len() > 0 || !h.sendable()) {
		p.keep(m, o.Properties)
	}
	h.bytes += int(p.size)
	if h.queue.Len() > 0 || !h.sendable() {
		if err := checkOutgoing(&o); err != nil {
			h.bytes -= int(p.size)
			return &unsentError{err}
		}
		p.stage = stageQueued
		h.queue.Push(p)
		h.enqueued()
		return nil
	}
	if err := h.send(&o, p); err != nil {
		h.bytes -= int(p.size)
		return &unsentError{err}
	}
	h.link.k.kick()
	return nil
}

// checkOutgoing returns why a message can never be sent.
func checkOutgoing(o *amqp091.Outgoing) error {
	if len(o.Exchange) > math.MaxUint8 || len(o.RoutingKey) > math.MaxUint8 {
		_, err := amqp091.AppendPublish(nil, 1, o.Exchange, o.RoutingKey, false)
		return err
	}
	return nil
}

// awaitRoom waits for room in the window. c.mu is held, but not meanwhile.
func (h *Channel) awaitRoom(ctx context.Context, size int) error {
	for {
		switch n := h.inflight + h.queue.Len(); {
		case h.ended:
			return h.err
		case h.txLost:
			return ErrTransactionLost
		case n == 0 || n < h.o.Window && h.bytes+size <= h.o.WindowBytes:
			return nil
		}
		if h.room == nil {
			h.room = make(chan struct{})
		}
		room := h.room
		h.c.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
		h.c.mu.Lock()
		if ctx.Err() != nil {
			return h.c.waitErrLocked(ctx)
		}
	}
}

// checkRoom lets those go on that wait for room, once half of the window is free, and those that wait for the end of
// everything. c.mu is held.
func (h *Channel) checkRoom() {
	n := h.inflight + h.queue.Len()
	if h.room != nil && (h.ended || n <= h.o.Window/2 && h.bytes <= h.o.WindowBytes/2) {
		close(h.room)
		h.room = nil
	}
	if h.idle != nil && n == 0 {
		close(h.idle)
		h.idle = nil
	}
}

// sendable reports whether a message may be sent now. c.mu is held.
func (h *Channel) sendable() bool {
	l := h.link
	return l != nil && l.ready && !l.ending && l.o.open() && !h.c.blocked && !h.stopped
}

// errHeaderTooLarge: a content header cannot be split.
var errHeaderTooLarge = errors.New("properties do not fit in a frame")

// send encodes a message into the output buffer. c.mu is held.
func (h *Channel) send(o *amqp091.Outgoing, p *Publication) error {
	l := h.link
	k := l.k
	if len(o.Properties)+contentOverhead > int(k.m.FrameMax()) {
		return &amqp091.Error{Code: amqp091.FrameError, Err: errHeaderTooLarge}
	}
	size := len(o.Properties) + contentRoom + amqp091.BodySize(len(o.Body), k.m.FrameMax())
	out, err := o.AppendTo(slices.Grow(l.o.out, size), l.m.ID(), k.m.FrameMax(), true)
	if err != nil {
		return err
	}
	seq, err := l.m.Publish(time.Now(), o, p)
	if err != nil {
		return err
	}
	l.o.out = out
	l.o.touch()
	h.c.stats.MessagesSent++
	if seq == 0 {
		h.txOpen = h.o.Mode == Transactions
		h.complete(p, nil)
		return nil
	}
	p.stage, p.sent = stageFlight, true
	h.inflight++
	l.o.wait(1)
	return nil
}

// contentRoom is more than what a message takes beside its properties and body.
const contentRoom = 3*math.MaxUint8 + contentOverhead

// contentOverhead is the size of a frame with a content header, without properties.
const contentOverhead = 22

// enqueued makes sure that somebody looks at the queue. c.mu is held.
func (h *Channel) enqueued() {
	if !h.sending && h.queue.Len() > 0 {
		h.sending = true
		h.c.senders = append(h.c.senders, h)
	}
}

// turn is how many messages of a channel are sent before those of others.
const turn = 64

// sendQueued sends what waits on all channels, as far as it goes now. c.mu is held.
func (c *Client) sendQueued() {
	for stuck := 0; stuck < len(c.senders); {
		h := c.senders[0]
		n := copy(c.senders, c.senders[1:])
		c.senders[n] = nil
		c.senders = c.senders[:n]
		h.sending = false
		if h.sendSome(turn) {
			stuck = 0
		} else {
			stuck++
		}
		h.enqueued()
	}
}

// sendQueued sends what waits on the channel. c.mu is held.
func (h *Channel) sendQueued() {
	for h.sendSome(turn) {
	}
	if h.link != nil {
		h.link.k.kick()
	}
}

// sendSome sends up to n messages that wait, and reports whether it has sent one.
func (h *Channel) sendSome(n int) (progress bool) {
	for ; n > 0 && h.queue.Len() > 0 && h.sendable(); n-- {
		p := h.queue.Pop()
		progress = true
		o, err := p.outgoing()
		if err == nil {
			err = h.send(&o, p)
		}
		if err != nil {
			h.complete(p, p.unsent(err))
		}
	}
	if progress {
		h.checkRoom()
	}
	return progress
}

// confirm takes the server's word on messages. c.mu is held.
func (l *link) confirm(refs []any, nack bool) {
	h := l.h
	h.inflight -= len(refs)
	l.o.wait(-len(refs))
	if nack {
		h.c.stats.Nacked += uint64(len(refs))
	} else {
		h.c.stats.Confirmed += uint64(len(refs))
	}
	for _, ref := range refs {
		p := ref.(*Publication)
		switch {
		case nack:
			h.complete(p, ErrNacked)
		case p.ret != nil:
			h.complete(p, p.ret)
		default:
			h.complete(p, nil)
		}
	}
	h.checkRoom()
}

// returned takes a message that came back. c.mu is held.
func (l *link) returned(e *amqp091.Event) {
	t := e.Content
	r := &ReturnedError{
		Code: t.Code, Text: string(t.Text), Exchange: string(t.Exchange), RoutingKey: string(t.RoutingKey),
	}
	c := l.k.c
	c.stats.Returned++
	if p, ok := e.Ref.(*Publication); ok {
		p.ret = r
		return
	}
	if f := c.o.Trace.Returned; f != nil {
		f(r)
	}
}

// complete ends p. c.mu is held.
func (h *Channel) complete(p *Publication, err error) {
	h.bytes -= int(p.size)
	if _, unknown := err.(*UnknownError); unknown {
		h.c.stats.Unknown++
	}
	p.stage, p.err = stageDone, err
	h.c.keepers.give(p.data)
	p.data, p.m = nil, nil
	switch {
	case p.sync:
		p.ch <- struct{}{} // there is room: it happens once
	case p.ch != nil:
		close(p.ch)
	}
}

// withdraw takes p back if it was not sent yet. It returns the error of a Publish whose ctx has ended.
func (h *Channel) withdraw(ctx context.Context, p *Publication) error {
	c := h.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch p.stage {
	case stageDone:
		return p.err
	case stageQueued:
		h.queue.Remove(func(q *Publication) bool { return q == p })
		err := p.unsent(c.waitErrLocked(ctx))
		h.complete(p, err)
		h.checkRoom()
		return err
	}
	p.m = nil // the caller may change it now
	return c.waitErrLocked(ctx)
}

// waitErr is the error of somebody whose ctx has ended while a message waited.
func (c *Client) waitErr(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waitErrLocked(ctx)
}

func (c *Client) waitErrLocked(ctx context.Context) error {
	err := context.Cause(ctx)
	if c.blocked {
		return &BlockedError{Reason: c.reason, Err: err}
	}
	return err
}
