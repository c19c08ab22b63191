package mqttclient

import (
	"context"
	"math"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// Publication is a message on its way, the result of [Client.PublishAsync].
type Publication struct {
	c          *Client
	prev, next *Publication // list of those in flight, in order
	pub        mqtt.Publish // its slices are the publication's own
	expires    time.Time    // while it was not sent; zero is never
	n          uint32       // what it counts in a queue of bytes
	stage      stage        // from here on guarded by c.mu
	reason     mqtt.ReasonCode
	held       bool   // it waits for its barrier, or for its body after that
	lane       uint8  // in which it waits or was sent
	seq        uint64 // of the record of its body, if there is one that is needed
	err        error
	ch         chan struct{} // made when somebody waits, closed at the end
}

type stage uint8

const (
	stageNew    stage = iota
	stageQueued       // in the outbox's queue
	stageFlight       // sent, not acknowledged
	stageDone
)

// Done returns a channel that is closed when the QoS of the message is complete or has failed.
func (p *Publication) Done() <-chan struct{} {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if p.ch == nil {
		p.ch = make(chan struct{})
		if p.stage == stageDone {
			close(p.ch)
		}
	}
	return p.ch
}

// Err returns nil while the message is on its way and after success, otherwise why it failed: an *mqtt.Error with Remote
// set when the server refused it, ErrClosed, ErrQueueFull, ErrSessionLost, an *mqtt.Error without Remote for what the
// server does not allow or the protocol cannot carry.
func (p *Publication) Err() error {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	return p.err
}

// Reason returns the reason code that the server gave, ReasonSuccess before. ReasonNoMatchingSubscribers is a success
// that says that nobody got the message.
func (p *Publication) Reason() mqtt.ReasonCode {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	return p.reason
}

// Wait waits for the end and returns Err, or for the end of ctx and returns its cause; the message goes on then.
func (p *Publication) Wait(ctx context.Context) error {
	select {
	case <-p.Done():
		return p.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// size is what the publication counts in a queue of bytes.
func (p *Publication) size() int { return int(p.n) }

// newPublication copies m. Small messages and their publication are one allocation, unless the body may go before.
func newPublication(c *Client, m *Message) *Publication {
	size := m.size()
	inline := size
	if c.store != nil && m.QoS > mqtt.QoS0 {
		inline = math.MaxInt
	}
	p, b := newPublicationBlock(size, inline)
	p.c, p.n = c, uint32(min(uint64(size), math.MaxUint32))
	p.pub.QoS, p.pub.Retain = m.QoS, m.Retain
	b = append(b, m.Topic...)
	t := len(b)
	b = append(b, m.Properties...)
	n := len(b)
	b = append(b, m.Payload...)
	p.pub.Topic, p.pub.Payload = b[:t:t], b[n:]
	if n > t {
		p.pub.Properties = mqtt.Properties(b[t:n:n])
		if s, ok := p.pub.Properties.Uint32(mqtt.PropMessageExpiryInterval); ok {
			p.expires = time.Now().Add(time.Duration(s) * time.Second)
		}
	}
	return p
}

// age sets what is left of the message's expiry interval in q, a copy of p.pub. It reports false when nothing is left.
func (p *Publication) age(q *mqtt.Publish) bool {
	if p.expires.IsZero() {
		return true
	}
	left := seconds(time.Until(p.expires))
	if left == 0 {
		return false
	}
	if s, _ := p.pub.Properties.Uint32(mqtt.PropMessageExpiryInterval); int64(s) == left {
		return true
	}
	q.Properties = make(mqtt.Properties, 0, len(p.pub.Properties))
	for prop := range p.pub.Properties.All() {
		if prop.ID != mqtt.PropMessageExpiryInterval {
			q.Properties = q.Properties.Append(prop)
		}
	}
	q.Properties = q.Properties.AppendUint32(mqtt.PropMessageExpiryInterval, uint32(left))
	return true
}

type publicationBlock[B any] struct {
	Publication
	b B
}

// newPublicationBlock returns memory for n bytes, in the block of the publication when there is one for inline.
func newPublicationBlock(n, inline int) (*Publication, []byte) {
	switch n := inline; {
	case n <= 72:
		x := new(publicationBlock[[72]byte])
		return &x.Publication, x.b[:0]
	case n <= 120:
		x := new(publicationBlock[[120]byte])
		return &x.Publication, x.b[:0]
	case n <= 312:
		x := new(publicationBlock[[312]byte])
		return &x.Publication, x.b[:0]
	case n <= 600:
		x := new(publicationBlock[[600]byte])
		return &x.Publication, x.b[:0]
	case n <= 1112:
		x := new(publicationBlock[[1112]byte])
		return &x.Publication, x.b[:0]
	}
	return new(Publication), make([]byte, 0, n)
}
