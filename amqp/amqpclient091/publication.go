package amqpclient091

import (
	"context"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Publication is a message on its way, the result of [Channel.PublishAsync].
type Publication struct {
	h *Channel
	m *Message // the caller's, who waits; otherwise what follows is the message, if it is kept

	exchange  string
	key       string
	mandatory bool
	copied    bool
	sync      bool  // of a Publish that waits: ch gets a token
	sent      bool  // at least once; guarded by c.mu
	stage     stage // from here on guarded by c.mu
	size      uint32
	props     int // length of the properties in data
	data      []byte
	ret       *ReturnedError
	err       error
	ch        chan struct{} // made when somebody waits, closed at the end
}

type stage uint8

const (
	stageNew    stage = iota
	stageQueued       // in the channel's queue
	stageFlight       // sent, not confirmed
	stageDone
)

// Done returns a channel that is closed when the message is confirmed or has failed.
func (p *Publication) Done() <-chan struct{} {
	p.h.c.mu.Lock()
	defer p.h.c.mu.Unlock()
	if p.ch == nil {
		p.ch = make(chan struct{})
		if p.stage == stageDone {
			close(p.ch)
		}
	}
	return p.ch
}

// Err returns nil while the message is on its way and when it is confirmed, otherwise why it failed: a *ReturnedError,
// ErrNacked, an *UnknownError, an *amqp091.Error of the server or about what the protocol cannot carry, ErrClosed or
// ErrChannelClosed.
func (p *Publication) Err() error {
	p.h.c.mu.Lock()
	defer p.h.c.mu.Unlock()
	return p.err
}

// Wait waits for the end and returns Err, or for the end of ctx and returns its cause; the message goes on then. When the
// server takes no messages at that time, the error is a *BlockedError.
func (p *Publication) Wait(ctx context.Context) error {
	select {
	case <-p.Done():
		return p.Err()
	case <-ctx.Done():
		return p.h.c.waitErr(ctx)
	}
}

// kept reports whether the publication has its message.
func (p *Publication) kept() bool { return p.m != nil || p.copied }

// unsent returns the error of a message that will not be sent any more because of err. c.mu is held.
func (p *Publication) unsent(err error) error {
	if p.sent {
		return &UnknownError{err} // it waited to be sent again
	}
	return &unsentError{err}
}

// keep copies the message, so that it can be sent later. c.mu is held.
func (p *Publication) keep(m *Message, props []byte) {
	p.exchange, p.key, p.mandatory, p.copied = m.Exchange, m.RoutingKey, m.Mandatory, true
	p.data = append(append(p.h.c.keepers.take(len(props)+len(m.Body)), props...), m.Body...)
	p.props = len(props)
}

// buffers are buffers to be used again, for messages that are kept: a few, the last one first.
type buffers struct {
	list [][]byte
	size int
}

// maxBuffers is how many bytes are in buffers at most.
const maxBuffers = 1 << 20

// take returns an empty buffer with room for n bytes.
func (f *buffers) take(n int) []byte {
	if last := len(f.list) - 1; last >= 0 && cap(f.list[last]) >= n {
		b := f.list[last]
		f.list[last] = nil
		f.list = f.list[:last]
		f.size -= cap(b)
		return b
	}
	return make([]byte, 0, n)
}

// give takes a buffer back, in the place of those for which there is no room then.
func (f *buffers) give(b []byte) {
	if cap(b) == 0 || cap(b) > maxBuffers/4 {
		return
	}
	for f.size+cap(b) > maxBuffers {
		last := len(f.list) - 1
		f.size -= cap(f.list[last])
		f.list[last] = nil
		f.list = f.list[:last]
	}
	f.list = append(f.list, b[:0])
	f.size += cap(b)
}

// outgoing returns the message as the machine wants it. c.mu is held.
func (p *Publication) outgoing() (o amqp091.Outgoing, err error) {
	if m := p.m; m != nil {
		return p.h.c.outgoing(m)
	}
	return amqp091.Outgoing{
		Exchange: p.exchange, RoutingKey: p.key, Mandatory: p.mandatory,
		Properties: amqp091.RawProperties(p.data[:p.props]), Body: p.data[p.props:],
	}, nil
}

// outgoing encodes a message's properties into the client's scratch memory. c.mu is held.
func (c *Client) outgoing(m *Message) (o amqp091.Outgoing, err error) {
	c.scratch, err = m.appendProperties(c.scratch[:0])
	return amqp091.Outgoing{
		Exchange: m.Exchange, RoutingKey: m.RoutingKey, Mandatory: m.Mandatory,
		Properties: amqp091.RawProperties(c.scratch), Body: m.Body,
	}, err
}
