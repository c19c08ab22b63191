package amqpclient091

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/ring"
)

// ChannelOptions configures a [Channel].
type ChannelOptions struct {
	// Mode says what becomes of messages that are published. Zero is Confirms.
	Mode ChannelMode
	// Window is how many messages may be published and not confirmed, or not sent yet. Zero is 1024.
	Window int
	// WindowBytes is how many bytes of properties and bodies they may have. Zero is 64 MiB. A single larger message is
	// taken by an empty window.
	WindowBytes int
	// Republish sends messages again whose confirm was lost with the connection, before all later ones. They arrive at
	// least once then, and maybe twice. Without it they fail with an *UnknownError.
	Republish bool
	// Prefetch is how many deliveries may be unsettled over all consumers of the channel, 65,535 at most. Zero is no such
	// limit; the one of each consumer always holds. RabbitMQ from 4.3 refuses it.
	Prefetch int
}

// ChannelMode says what becomes of messages that are published on a channel.
type ChannelMode uint8

const (
	// Confirms: the server confirms each message, for which Publish waits.
	Confirms ChannelMode = iota
	// NoConfirms: a message is complete when it is in the connection's output buffer.
	NoConfirms
	// Transactions: messages and acknowledgements count when they are committed.
	Transactions
)

// Channel is a sequence of methods and messages on a connection that the server handles in their order. It outlives
// connections: after a reconnection it is opened again, with its mode, limits and consumers.
//
// The server closes a channel on which an application makes a mistake: a message to an exchange that does not exist, an
// acknowledgement that takes too long, a consumer on a queue that does not exist. The channel, all its consumers and all
// calls then end with ErrChannelClosed and the *amqp091.Error of the server. Open another one.
type Channel struct {
	c    *Client
	o    ChannelOptions
	kind channelKind

	// Guarded by c.mu.
	link    *link         // nil while there is none
	up      chan struct{} // closed while the link is ready
	ended   bool
	err     error // why it has ended
	done    chan struct{}
	stopped bool // channel.flow

	queue    ring.Ring[*Publication] // not sent
	inflight int                     // sent and not confirmed
	bytes    int                     // of both
	room     chan struct{}           // closed when there is room in the window again; nil when nobody waits
	idle     chan struct{}           // closed when nothing is under way; nil when nobody waits
	sending  bool                    // among Client.senders

	consumers map[string]*Consumer // by tag
	order     []*Consumer          // that are to be there after a reconnection
	txOpen    bool                 // the transaction has something in it
	txLost    bool
	txSettled []settled
}

// channelKind says whose channel it is.
type channelKind uint8

const (
	kindUser    channelKind = iota // of Client.Channel
	kindControl                    // for declarations: opened again when it is needed
	kindOutput                     // of Client.Publish and Client.Call: opened again when the server closes it
	kindOwned                      // of a consumer, ends with it
)

func newChannel(c *Client, o *ChannelOptions, kind channelKind) *Channel {
	h := &Channel{
		c: c, kind: kind, up: make(chan struct{}), done: make(chan struct{}),
		consumers: make(map[string]*Consumer),
	}
	if o != nil {
		h.o = *o
	}
	h.o.Window = max(orDefault(h.o.Window, 1024), 1)
	h.o.WindowBytes = orDefault(h.o.WindowBytes, 64<<20)
	h.o.Prefetch = min(h.o.Prefetch, 0xFFFF)
	return h
}

// Channel opens a channel, and returns when the server has. It waits for a connection, as long as ctx allows. A nil o is
// the zero ChannelOptions.
func (c *Client) Channel(ctx context.Context, o *ChannelOptions) (*Channel, error) {
	h := newChannel(c, o, kindUser)
	if h.o.Mode > Transactions {
		return nil, errors.New("amqpclient091: unknown mode of a channel")
	}
	c.mu.Lock()
	err := c.add(h)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if _, err := h.await(ctx); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// add opens a channel as soon as there is a connection. c.mu is held.
func (c *Client) add(h *Channel) error {
	if c.closed {
		return c.endErr()
	}
	c.channels = append(c.channels, h)
	if c.conn != nil {
		h.attach(c.conn, false)
		c.conn.kick()
	}
	if h.ended {
		return h.err
	}
	return nil
}

// await waits for a link that is ready.
func (h *Channel) await(ctx context.Context) (*link, error) {
	for {
		h.c.mu.Lock()
		l, up, err := h.link, h.up, h.err
		if l != nil && !l.ready {
			l = nil
		}
		h.c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if l != nil {
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		select {
		case <-up:
		case <-h.done:
		case <-ctx.Done():
		}
	}
}

// begun takes note that the link is ready. c.mu is held.
func (h *Channel) begun(l *link) {
	close(h.up)
	if l.again {
		h.c.recoveredOne()
	}
	h.sendQueued()
}

// Done returns a channel that is closed when the channel has ended.
func (h *Channel) Done() <-chan struct{} { return h.done }

// Err returns nil while the channel is open or will be again, and why it has ended afterwards: ErrChannelClosed, with the
// *amqp091.Error of the server if that closed it, or ErrClosed.
func (h *Channel) Err() error {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	return h.err
}

// Close closes the channel without waiting for the server. Its consumers end with ErrChannelClosed, what is not confirmed
// fails with an *UnknownError, and deliveries that are not settled go back to their queues. See Drain.
func (h *Channel) Close() error {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	h.end(ErrChannelClosed)
	return nil
}

// Drain waits until all that was published on the channel is confirmed or has failed, as long as ctx allows.
func (h *Channel) Drain(ctx context.Context) error {
	h.c.mu.Lock()
	if h.ended || h.inflight+h.queue.Len() == 0 {
		h.c.mu.Unlock()
		return nil
	}
	if h.idle == nil {
		h.idle = make(chan struct{})
	}
	idle := h.idle
	h.c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return h.c.waitErr(ctx)
	}
}

// end ends the channel because of err. c.mu is held.
func (h *Channel) end(err error) {
	if h.ended {
		return
	}
	h.ended, h.err = true, err
	c := h.c
	if l := h.link; l != nil && !l.dead.Load() {
		l.flush()
		calls := l.die()
		for _, ref := range calls {
			ref.(*call).fail(&UnknownError{err})
		}
		h.fail(l.unconfirmed(), &UnknownError{err})
		l.m.Close(time.Now(), nil)
		l.k.events()
		l.k.kick()
	}
	h.finish(err)
	if i := slices.Index(c.channels, h); i >= 0 {
		c.channels = slices.Delete(c.channels, i, i+1)
	}
	close(h.done)
}

// finish ends what waits on a channel that has no link and will have none. c.mu is held.
func (h *Channel) finish(err error) {
	h.failReplies(&UnknownError{err})
	for h.queue.Len() > 0 {
		p := h.queue.Pop()
		h.complete(p, p.unsent(err))
	}
	for _, s := range h.consumers {
		h.remove(s)
		h.c.forgetAutoDelete(s.queue)
		s.finish(err)
	}
	h.checkRoom()
}

// lost takes note that the connection is gone, and with it the confirms of messages. c.mu is held.
func (h *Channel) lost(l *link, cause error, refs []any) {
	if l.began {
		h.up = make(chan struct{})
	}
	if h.txOpen {
		h.txOpen, h.txLost = false, true
		for h.queue.Len() > 0 {
			h.complete(h.queue.Pop(), &unsentError{ErrTransactionLost})
		}
	}
	unknown := &UnknownError{cause}
	switch {
	case blames(cause, amqp091.IDBasicPublish) && len(refs) == 1:
		h.fail(refs, cause) // only this one can be meant
	case !h.o.Republish || blames(cause, amqp091.IDBasicPublish):
		h.fail(refs, unknown)
	default:
		h.again(refs, unknown)
	}
	h.failReplies(unknown)
	h.checkRoom()
	h.checkOwned()
}

// again puts messages back before the others, in their order.
func (h *Channel) again(refs []any, unknown error) {
	for _, ref := range slices.Backward(refs) {
		p := ref.(*Publication)
		if p.ret != nil || !p.kept() {
			h.fail([]any{p}, unknown)
			continue
		}
		h.c.stats.Republished++
		p.stage = stageQueued
		h.queue.PushFront(p)
	}
	h.enqueued()
}

// fail ends messages with an error, unless it is known that they went nowhere. c.mu is held.
func (h *Channel) fail(refs []any, err error) {
	for _, ref := range refs {
		if p := ref.(*Publication); p.ret != nil {
			h.complete(p, p.ret)
		} else {
			h.complete(p, err)
		}
	}
}

// closedByServer takes note that the server has closed the channel, or broke a rule on it. c.mu is held.
func (h *Channel) closedByServer(l *link, cause error, calls []any) {
	c := h.c
	if cause == nil {
		cause = ErrChannelClosed
	}
	refs := l.unconfirmed()
	var unknown error = &UnknownError{cause}
	if len(refs) == 1 && blames(cause, amqp091.IDBasicPublish) {
		unknown = cause // only this one can be meant
	}
	if l.began {
		h.up = make(chan struct{})
	}
	for i, ref := range calls {
		x := ref.(*call)
		switch {
		case i == 0 && (h.kind == kindControl || x.m != nil && blames(cause, x.m.ID())):
			x.fail(cause)
		case h.kind == kindControl:
			x.fail(errAgain)
		default:
			x.fail(ended(ErrChannelClosed, cause))
		}
	}
	h.fail(refs, unknown)
	h.failReplies(unknown)
	h.checkRoom()
	var failed *Consumer // that could not be put back in its place
	if len(calls) > 0 && !l.began {
		failed = calls[0].(*call).consumer
	}
	switch {
	case h.kind == kindControl:
		if !l.began { // a server without channels is of no use
			l.violation("channel was closed before it was open")
		}
		return
	case c.conn != l.k:
	case h.kind == kindOutput && l.began:
		h.attach(l.k, false)
		return
	case h.kind == kindUser && failed != nil: // recovery goes on without the consumer
		c.recoveryFailed("consumer", failed.tag, cause)
		h.remove(failed)
		failed.finish(cause)
		h.attach(l.k, l.again)
		return
	}
	if l.again {
		c.recoveryFailed("channel", "", cause)
		c.recoveredOne()
	}
	h.end(ended(ErrChannelClosed, cause))
}
