package amqpclient091

import (
	"context"
	"iter"
	"sync"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/ring"
)

// Consumer is a consumer of a queue. Several goroutines may pull from one consumer; each delivery goes to one of them.
type Consumer struct {
	h     *Channel
	o     ConsumeOptions
	queue string // name or alias, as it was given
	tag   string
	reply func(*Delivery) // takes the deliveries instead of the buffer; c.mu is held

	// Guarded by c.mu.
	on      *link         // on which it was started
	leaving bool          // it is to end
	ready   chan struct{} // closed when it has started, or was refused
	gone    chan struct{} // closed when the server sends nothing more

	mu       sync.Mutex // below c.mu
	buf      ring.Ring[*Delivery]
	bytes    int // with AckNone
	waiting  int
	wake     chan struct{}
	discard  bool  // Close: nobody reads any more
	crowded  *link // whose connection counts the buffer as full
	finished bool  // nothing will come
	err      error // why, nil after Cancel or Close
	refused  error // why it has not started
}

// Tag returns the consumer's tag.
func (s *Consumer) Tag() string { return s.tag }

// Deliveries returns an iterator over the deliveries, in the order in which they came. It waits for the next one as long as
// ctx allows. It ends without an error once the consumer was cancelled by the client and the buffer is empty, otherwise with
// a nil delivery and the reason: the cause of ctx, ErrCanceled, ErrClosed, ErrChannelClosed with the *amqp091.Error of the
// server, ErrOverflow. A lost connection is no end: the consumer goes on when there is another one.
//
// The iterator may be ended and begun again: deliveries stay in the buffer meanwhile.
func (s *Consumer) Deliveries(ctx context.Context) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		for {
			d, err := s.next(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if d == nil {
				return
			}
			more := yield(d, nil)
			if s.o.Ack == AckNext {
				d.Ack() // stale or settled before: nothing to do
			}
			if !more {
				return
			}
		}
	}
}

// next waits for a delivery. It returns neither delivery nor error at the end.
func (s *Consumer) next(ctx context.Context) (*Delivery, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if d := s.pop(); d != nil {
			s.pass()
			return d, nil
		}
		if s.finished {
			s.pass()
			return nil, s.err
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

// pop takes the oldest delivery that the server will not deliver again, or nil. s.mu is held, but maybe not meanwhile.
func (s *Consumer) pop() (d *Delivery) {
	for d == nil || d.in != nil && d.in.dead.Load() {
		if s.buf.Len() == 0 {
			return nil
		}
		d = s.buf.Pop()
	}
	if s.o.Ack != AckNone {
		return d
	}
	s.bytes -= d.size()
	if s.crowded == nil || s.buf.Len() > s.o.Buffer/2 || s.bytes > s.o.BufferBytes/2 {
		return d
	}
	l := s.crowded
	s.crowded = nil
	s.mu.Unlock()
	l.k.c.mu.Lock()
	l.o.full--
	l.o.unpause()
	l.k.c.mu.Unlock()
	s.mu.Lock()
	return d
}

// size is what a delivery counts in a buffer.
func (d *Delivery) size() int { return len(d.Body) + len(d.Raw) }

// pass wakes the next goroutine when there is something for it. s.mu is held.
func (s *Consumer) pass() {
	if s.waiting > 0 && (s.buf.Len() > 0 || s.finished) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// push hands a delivery to the consumer and never waits. c.mu is held.
func (s *Consumer) push(l *link, d *Delivery) {
	if s.reply != nil {
		s.reply(d)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.discard || s.finished {
		if d.in != nil {
			before := len(l.o.out)
			l.settle(d.Tag, outcome{reject: true, requeue: true})
			l.o.answered(len(l.o.out) - before)
		}
		return
	}
	s.buf.Push(d)
	s.pass()
	if s.o.Ack == AckNone {
		s.bytes += d.size()
		s.crowd(l)
	}
}

// crowd looks at a consumer without acknowledgements whose buffer may be full. c.mu and s.mu are held.
func (s *Consumer) crowd(l *link) {
	if s.buf.Len() < s.o.Buffer && s.bytes < s.o.BufferBytes {
		return
	}
	if s.crowded == nil {
		s.crowded = l
		l.o.full++
	}
	if s.buf.Len() >= 4*s.o.Buffer || s.bytes/4 >= s.o.BufferBytes && s.buf.Len() > 1 {
		s.finishLocked(ErrOverflow)
		s.uncrowd()
		s.leave()
	}
}

// uncrowd lets the reader go on when the buffer holds it back. c.mu and s.mu are held.
func (s *Consumer) uncrowd() {
	if l := s.crowded; l != nil {
		s.crowded = nil
		l.o.full--
		l.o.unpause()
	}
}

// forget drops what the server delivers again after its link has ended. c.mu is held.
func (s *Consumer) forget() {
	s.mu.Lock()
	if s.o.Ack != AckNone {
		s.h.c.stats.Dropped += uint64(s.buf.Len())
		s.buf = ring.Ring[*Delivery]{}
	}
	s.uncrowd()
	s.mu.Unlock()
	s.on = nil
	if s.leaving {
		s.left()
	}
}

// started takes note that the server has started the consumer. c.mu is held.
func (s *Consumer) started() {
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// finish ends the consumer because of err. c.mu is held.
func (s *Consumer) finish(err error) {
	s.mu.Lock()
	s.finishLocked(err)
	s.uncrowd()
	s.mu.Unlock()
	select {
	case <-s.ready:
	default:
		s.mu.Lock()
		s.refused = orDefault(err, error(ErrChannelClosed))
		s.mu.Unlock()
		close(s.ready)
	}
	s.closeGone()
	s.h.checkOwned()
}

func (s *Consumer) finishLocked(err error) {
	if s.finished {
		return
	}
	s.finished, s.err = true, err
	s.pass()
}

func (s *Consumer) closeGone() {
	select {
	case <-s.gone:
	default:
		close(s.gone)
	}
}

// leave begins to end the consumer at the server. c.mu is held.
func (s *Consumer) leave() {
	h := s.h
	if s.leaving || h.consumers[s.tag] != s {
		return
	}
	s.leaving = true
	l := s.on
	if l == nil || l.dead.Load() {
		s.left()
		return
	}
	x := newCall(&amqp091.BasicCancel{ConsumerTag: s.tag})
	x.then = func(*amqp091.Event) { s.left() }
	l.call(x)
	l.k.kick()
}

// left takes note that the server has ended the consumer. c.mu is held.
func (s *Consumer) left() {
	if s.h.consumers[s.tag] != s {
		return
	}
	s.h.remove(s)
	s.h.c.forgetAutoDelete(s.queue)
	s.finish(nil)
}

// Cancel ends the consumer and waits until the server has; ctx bounds that. The iterators end after the deliveries that came
// before. Deliveries can still be settled. When ctx ends first, the client goes on in the background.
func (s *Consumer) Cancel(ctx context.Context) error {
	c := s.h.c
	c.mu.Lock()
	s.leave()
	c.mu.Unlock()
	select {
	case <-s.gone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends the consumer without waiting. Deliveries in the buffer go back to the queue: Close is for a consumer that
// nobody reads any more. Those that the application has can still be settled.
func (s *Consumer) Close() error {
	c := s.h.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.leave() // before the deliveries go back, so that they do not come again
	s.mu.Lock()
	s.discard = true
	for s.buf.Len() > 0 {
		d := s.buf.Pop()
		if d.in != nil && !d.in.dead.Load() {
			d.in.settle(d.Tag, outcome{reject: true, requeue: true})
		}
	}
	s.finishLocked(nil)
	s.uncrowd()
	s.mu.Unlock()
	if l := s.on; l != nil {
		l.k.kick()
	}
	return nil
}
