package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
)

// A stream is where messages go.
type stream struct {
	number        uint32
	n             int // of the next message
	exchange, key string
	queues        []string
	priority      bool // messages have priorities
	expires       bool // messages die after a while, and then arrive in queues
	delayed       bool // messages have delays
}

// maxDelay is how long messages are delayed at most.
const maxDelay = 1500 * time.Millisecond

// next returns the next message of a stream with its frames.
func (s *stream) next(h *harness, g *group, r *rand.Rand) (*message, []byte) {
	p := amqpraw.Props{"delivery-mode": 2}
	var due time.Time
	switch {
	case s.priority:
		p["priority"] = r.IntN(8)
	case s.expires:
		p["expiration"] = fmt.Sprint(r.IntN(300))
	case s.delayed:
		ms := r.IntN(int(maxDelay / time.Millisecond))
		p["headers"] = amqpraw.Table{"x-delay": ms}
		due = time.Now().Add(time.Duration(ms) * time.Millisecond)
	}
	m, body := h.l.publish(s.number, s.n, due, g, r, s.queues...)
	s.n++
	return m, amqpraw.AppendPublish(nil, 1, s.exchange, s.key, false, p, body)
}

// A publisher publishes with confirms.
type publisher struct {
	h       *harness
	name    string
	r       *rand.Rand
	rate    float64 // messages per second
	streams []*stream
	flying  atomic.Int64 // messages without confirm on the connection
}

func (p *publisher) idle() bool { return p.flying.Load() == 0 }

func (p *publisher) run(ctx context.Context) {
	for ctx.Err() == nil {
		p.h.connection(ctx, p.name, p.connect)
		p.flying.Store(0)
	}
}

// connect publishes until the connection ends.
func (p *publisher) connect(ctx context.Context, ch *amqpraw.Channel) (own bool, err error) {
	const window = 100
	if _, err := ch.Call("confirm.select"); err != nil {
		return false, err
	}
	var sent []*message // by delivery tag, less one
	low := 0            // all below are confirmed
	var lastAt time.Time
	begin, owed := time.Now(), 0.0
	for ctx.Err() == nil {
		now := time.Now()
		owed = min(owed+p.rate*now.Sub(begin).Seconds(), window)
		begin = now
		var b []byte
		for owed >= 1 && p.h.publishing.Load() && p.flying.Load() < window {
			m, frames := p.streams[p.r.IntN(len(p.streams))].next(p.h, nil, p.r)
			sent, b = append(sent, m), append(b, frames...)
			p.flying.Add(1)
			owed--
			lastAt = now
		}
		if len(b) > 0 {
			if err := ch.Conn().Write(b); err != nil {
				return false, ch.Why(err)
			}
		}
		for wait := 2 * time.Millisecond; ; wait = 0 {
			e, err := ch.Next(wait)
			if err == amqpraw.ErrSilent {
				break
			}
			if err != nil {
				return false, err
			}
			if e.Name != "basic.ack" && e.Name != "basic.nack" {
				return false, fmt.Errorf("%s %v", e.Name, e.Args)
			}
			last := e.Int("delivery-tag") - 1
			first := last
			if e.Bool("multiple") {
				first = low
			}
			if last >= len(sent) {
				return false, fmt.Errorf("%s of %d, and %d were sent", e.Name, last+1, len(sent))
			}
			for i := first; i <= last; i++ {
				if sent[i] == nil {
					if first == last {
						p.h.l.fault(cutOff, "%s: message %d is confirmed twice", p.name, i+1)
					}
					continue
				}
				p.h.l.confirmed(sent[i], e.Name == "basic.ack")
				sent[i] = nil
				p.flying.Add(-1)
			}
			for low < len(sent) && sent[low] == nil {
				low++
			}
			lastAt = time.Now()
		}
		if p.flying.Load() > 0 && time.Since(lastAt) > amqpraw.Patience {
			return false, fmt.Errorf("%d messages without confirm: %w", p.flying.Load(), amqpraw.ErrSilent)
		}
	}
	return true, nil
}

// A transactor publishes in transactions.
type transactor struct {
	h       *harness
	name    string
	r       *rand.Rand
	streams []*stream
	busy    atomic.Bool
}

func (t *transactor) idle() bool { return !t.busy.Load() }

func (t *transactor) run(ctx context.Context) {
	for ctx.Err() == nil {
		t.h.connection(ctx, t.name, t.connect)
		t.busy.Store(false)
	}
}

func (t *transactor) connect(ctx context.Context, ch *amqpraw.Channel) (own bool, err error) {
	if _, err := ch.Call("tx.select"); err != nil {
		return false, err
	}
	for ctx.Err() == nil {
		sleep(ctx, time.Duration(t.r.IntN(20))*time.Millisecond)
		t.busy.Store(true)
		if !t.h.publishing.Load() {
			t.busy.Store(false)
			continue
		}
		g := t.h.l.newGroup()
		var b []byte
		for range 1 + t.r.IntN(8) {
			_, frames := t.streams[t.r.IntN(len(t.streams))].next(t.h, g, t.r)
			b = append(b, frames...)
		}
		if err := ch.Conn().Write(b); err != nil {
			t.h.l.finished(g, not)
			return false, ch.Why(err)
		}
		if t.r.IntN(5) == 0 {
			t.h.l.finished(g, not)
			if _, err := ch.Call("tx.rollback"); err != nil {
				return false, err
			}
			continue
		}
		if _, err := ch.Call("tx.commit"); err != nil {
			t.h.l.finished(g, unknown)
			return false, err
		}
		t.h.l.finished(g, taken)
	}
	return true, nil
}
