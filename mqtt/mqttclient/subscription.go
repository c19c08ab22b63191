package mqttclient

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/quartet-mq/quartet/internal/ring"
	"github.com/quartet-mq/quartet/mqtt"
)

// SubscribeOptions configures a [Subscription].
type SubscribeOptions struct {
	// Buffer is how many QoS 0 messages wait for the consumer. Zero is 16,384, negative is one.
	Buffer int
	// BufferBytes is how many bytes they may have. Zero is 16 MiB. A single larger message is taken by an empty buffer.
	BufferBytes int
	// Overflow says which QoS 0 message is dropped, and counted, when the buffer is full.
	Overflow Overflow
	// ManualAck leaves the acknowledgement of QoS 1 and 2 messages to Message.Ack and Message.Nack.
	ManualAck bool
	// Properties are further properties of SUBSCRIBE, such as user properties.
	Properties mqtt.Properties
	// Stream subscribes on a data stream of its own, so that the messages come on it and neither wait for those of others
	// nor make them wait. It has an effect with Options.Streams only. When the stream or the connection ends, the client
	// subscribes on another one, with RetainSendIfNew at version 5 if retained messages are wanted: messages of before may
	// come on stream 0 then, beside it.
	Stream bool
}

// Overflow says which QoS 0 message a full subscription buffer drops. Messages of QoS 1 and 2 are never dropped.
type Overflow uint8

// The overflow policies.
const (
	DropOldest Overflow = iota
	DropNewest
)

// Subscription is one or more topic filters and the messages that match them. Several goroutines may pull from one
// subscription; each message goes to one of them.
type Subscription struct {
	c       *Client
	o       SubscribeOptions
	filters []mqtt.Subscription
	id      uint32         // subscription identifier
	reply   func(*Message) // takes the messages instead of the buffer

	// guarded by c.mu
	granted  []mqtt.ReasonCode
	pending  bool          // no SUBACK yet
	ready    chan struct{} // closed by the first SUBACK, or the end
	leaving  chan struct{} // non-nil after Unsubscribe or Close, closed when the server has confirmed
	overlaps bool          // another subscription has one of its filters
	outdated bool          // the server has other options for one of its filters
	lane     uint8         // of its own stream, 0 when it has none

	mu       sync.Mutex // below c.mu
	q0       ring.Ring[entry]
	q1       ring.Ring[entry] // QoS 1 and 2
	bytes    int              // of q0
	seq      uint64
	dropped  uint64
	waiting  int
	wake     chan struct{}
	discard  bool  // Close: messages are acknowledged and dropped
	finished bool  // no message will come
	err      error // why, nil after Unsubscribe or Close
}

// entry is a message in a buffer. The sequence number merges the two rings.
type entry struct {
	m   *Message
	seq uint64
}

func newSubscription(c *Client, o *SubscribeOptions, filters []mqtt.Subscription) *Subscription {
	s := &Subscription{
		c: c, filters: slices.Clone(filters), pending: true,
		ready: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	if o != nil {
		s.o = *o
	}
	s.o.Buffer = max(orDefault(s.o.Buffer, 16<<10), 1)
	s.o.BufferBytes = orDefault(s.o.BufferBytes, 16<<20)
	return s
}

// Messages returns an iterator over the messages, in the order in which they came. It waits for the next message as long
// as ctx allows. It ends without an error once the subscription is closed and the buffer is empty, otherwise with a nil
// message and the reason: the cause of ctx, ErrClosed, or an *mqtt.Error when the server refused to subscribe again.
//
// Without ManualAck a message is acknowledged when the loop asks for the next one or breaks; a panic leaves it
// unacknowledged. The iterator may be ended and begun again: messages stay in the buffer meanwhile.
func (s *Subscription) Messages(ctx context.Context) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for {
			m, err := s.next(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if m == nil {
				return
			}
			more := yield(m, nil)
			if !s.o.ManualAck {
				m.Ack()
			}
			if !more {
				return
			}
		}
	}
}

// next waits for a message. It returns neither message nor error at the end.
func (s *Subscription) next(ctx context.Context) (*Message, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.err != nil {
			s.pass()
			return nil, s.err
		}
		m := s.pop()
		if m != nil || s.finished {
			s.pass()
			return m, nil
		}
		s.waiting++
		s.mu.Unlock()
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
		s.mu.Lock()
		s.waiting--
		if ctx.Err() != nil {
			s.pass()
			return nil, context.Cause(ctx)
		}
	}
}

// pass wakes the next consumer when there is something for it. s.mu is held.
func (s *Subscription) pass() {
	if s.waiting > 0 && (s.q0.Len() > 0 || s.q1.Len() > 0 || s.finished) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// pop takes the oldest message of both rings, or nil. s.mu is held.
func (s *Subscription) pop() *Message {
	switch {
	case s.q0.Len() == 0 && s.q1.Len() == 0:
		return nil
	case s.q0.Len() == 0 || s.q1.Len() > 0 && s.q1.Front().seq < s.q0.Front().seq:
		return s.q1.Pop().m
	}
	m := s.q0.Pop().m
	s.bytes -= m.size()
	return m
}

// push hands a message to the subscription and never waits. It reports whether the caller must acknowledge it, because
// nobody else will. c.mu is held.
func (s *Subscription) push(m *Message) (unwanted bool) {
	if s.reply != nil {
		s.reply(m)
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.discard || s.finished {
		return true
	}
	s.seq++
	if m.QoS > mqtt.QoS0 {
		s.q1.Push(entry{m, s.seq})
	} else if s.makeRoom(m.size()) {
		s.bytes += m.size()
		s.q0.Push(entry{m, s.seq})
	}
	s.pass()
	return false
}

// makeRoom makes room for a QoS 0 message of n bytes, or reports that it is the one to drop. c.mu and s.mu are held.
func (s *Subscription) makeRoom(n int) bool {
	for s.q0.Len() > 0 && (s.q0.Len() >= s.o.Buffer || s.bytes+n > s.o.BufferBytes) {
		s.dropped++
		s.c.stats.Dropped++
		if s.o.Overflow == DropNewest {
			return false
		}
		s.bytes -= s.q0.Pop().m.size()
	}
	return true
}

// crowded reports whether the QoS 0 buffer is half full.
func (s *Subscription) crowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.q0.Len() >= s.o.Buffer/2 || s.bytes >= s.o.BufferBytes/2
}

// finish ends the subscription.
func (s *Subscription) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return
	}
	s.finished, s.err = true, err
	s.pass()
}

// ended reports whether no message will come any more.
func (s *Subscription) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finished
}

// Filters returns the topic filters.
func (s *Subscription) Filters() []mqtt.Subscription { return slices.Clone(s.filters) }

// Granted returns what the server granted last: one reason code for each filter.
func (s *Subscription) Granted() []mqtt.ReasonCode {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return slices.Clone(s.granted)
}

// Dropped returns how many QoS 0 messages a full buffer has dropped.
func (s *Subscription) Dropped() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// Len returns how many messages wait in the buffer.
func (s *Subscription) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.q0.Len() + s.q1.Len()
}

// Unsubscribe sends UNSUBSCRIBE and waits for the answer; ctx bounds that. The iterators end after the messages that
// came before the answer. When ctx ends first, the client goes on in the background, over reconnections too.
func (s *Subscription) Unsubscribe(ctx context.Context) error {
	left := s.c.leave(s)
	select {
	case <-left:
		return nil
	case <-s.c.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close unsubscribes without waiting. Messages in the buffer are dropped, those of QoS 1 and 2 are acknowledged: Close
// is for a subscription that nobody reads any more.
func (s *Subscription) Close() error {
	s.mu.Lock()
	s.discard = true
	drop := make([]*Message, 0, s.q1.Len())
	for m := s.pop(); m != nil; m = s.pop() {
		if m.QoS > mqtt.QoS0 {
			drop = append(drop, m)
		}
	}
	s.mu.Unlock()
	for _, m := range drop {
		m.Ack()
	}
	s.finish(nil)
	s.c.leave(s)
	return nil
}
