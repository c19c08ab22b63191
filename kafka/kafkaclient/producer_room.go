package kafkaclient

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// room bounds what a producer has.
type room struct {
	maxRecords, maxBytes int64
	fail                 bool
	records, bytes       atomic.Int64 // taken
	waiting              atomic.Int32

	mu     sync.Mutex
	queue  []*roomWaiter // in the order of their calls
	closed bool
}

// roomWaiter waits for room. It has it when ready is closed.
type roomWaiter struct {
	size  int64
	ready chan struct{}
	ok    bool
}

func (r *room) init(o *producerConfig) {
	r.maxRecords, r.maxBytes, r.fail = int64(o.MaxBufferedRecords), int64(o.MaxBufferedBytes), o.FailWhenFull
}

// take takes room for a record.
func (r *room) take(ctx context.Context, p *Producer, size int) error {
	if r.waiting.Load() > 0 || !r.try(int64(size)) {
		if err := r.wait(ctx, int64(size)); err != nil {
			return err
		}
	}
	if p.calls.full.Load() {
		p.calls.wait(ctx)
	}
	return nil
}

// try takes room if there is some.
func (r *room) try(size int64) bool {
	records, bytes := r.records.Add(1), r.bytes.Add(size)
	if records == 1 || records <= r.maxRecords && bytes <= r.maxBytes {
		return true
	}
	r.records.Add(-1)
	r.bytes.Add(-size)
	return false
}

func (r *room) wait(ctx context.Context, size int64) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return ErrClosed
	}
	r.waiting.Add(1)
	if len(r.queue) == 0 && r.try(size) {
		r.waiting.Add(-1)
		r.mu.Unlock()
		return nil
	}
	if r.fail {
		r.waiting.Add(-1)
		r.mu.Unlock()
		return ErrFull
	}
	w := &roomWaiter{size: size, ready: make(chan struct{})}
	r.queue = append(r.queue, w)
	r.serve() // what try took in vain until now may have been in the way of somebody who waits
	r.mu.Unlock()
	select {
	case <-w.ready:
		if !w.ok {
			return ErrClosed
		}
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, x := range r.queue {
		if x == w {
			r.queue = append(r.queue[:i], r.queue[i+1:]...)
			r.waiting.Add(-1)
			r.serve()
			return context.Cause(ctx)
		}
	}
	if w.ok { // it came at the same time
		return nil
	}
	return ErrClosed
}

// give gives room back.
func (r *room) give(records, bytes int) {
	r.records.Add(int64(-records))
	r.bytes.Add(int64(-bytes))
	if r.waiting.Load() > 0 {
		r.mu.Lock()
		r.serve()
		r.mu.Unlock()
	}
}

// serve gives room to those who wait. r.mu is held.
func (r *room) serve() {
	for len(r.queue) > 0 && r.try(r.queue[0].size) {
		r.queue[0].ok = true
		close(r.queue[0].ready)
		r.queue[0] = nil
		r.queue = r.queue[1:]
		r.waiting.Add(-1)
	}
}

func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, w := range r.queue {
		close(w.ready)
		r.waiting.Add(-1)
	}
	r.queue = nil
}

// callbackPause is how long a record waits for callbacks when there are too many to be called. The wait ends, as it may be
// a callback that produces.
const callbackPause = 100 * time.Millisecond

// callbacks calls the callbacks of records, one after the other.
type callbacks struct {
	p    *Producer
	full atomic.Bool // there are many

	mu      sync.Mutex
	queue   []*batch
	spare   []*batch
	running bool
	records int           // in queue, or being called
	called  uint64        // batches whose callbacks were called
	changed chan struct{} // closed when called changes, if somebody waits
}

// add has the callbacks of batches called.
func (c *callbacks) add(batches []*batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, batches...)
	for _, b := range batches {
		c.records += len(b.entries)
	}
	c.full.Store(c.records > c.p.o.MaxBufferedRecords)
	if !c.running {
		c.running = true
		go c.run()
	}
}

func (c *callbacks) run() {
	c.mu.Lock()
	for len(c.queue) > 0 {
		queue := c.queue
		c.queue, c.spare = c.spare[:0], nil
		c.mu.Unlock()
		for i, b := range queue {
			n := len(b.entries)
			for i := range b.entries {
				if b.entries[i].wait == nil {
					b.entries[i].finish(b.errorOf(i))
				}
			}
			c.p.flush.called(b)
			c.p.recycle(b)
			queue[i] = nil
			c.mu.Lock()
			c.records -= n
			c.called++
			c.full.Store(c.records > c.p.o.MaxBufferedRecords)
			if c.changed != nil {
				close(c.changed)
				c.changed = nil
			}
			c.mu.Unlock()
		}
		c.mu.Lock()
		c.spare = queue[:0]
	}
	c.running = false
	c.mu.Unlock()
}

// wait waits until there are fewer callbacks to be called, for a bounded time.
func (c *callbacks) wait(ctx context.Context) {
	t := time.NewTimer(callbackPause)
	defer t.Stop()
	for c.full.Load() {
		c.mu.Lock()
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
