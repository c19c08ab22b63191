package journal

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Journal is a log of records in a directory. Its methods are safe for concurrent use once Start has returned; before
// that, Replay and Restore are for one goroutine. Append, AppendAwait, AppendTombstone, Await, Reserve and Release never
// wait for storage.
type Journal[T any] struct {
	s *store
	h Handler[T]

	mu      sync.Mutex
	work    sync.Cond // the writer waits for something to do
	wrote   sync.Cond // readers wait until a record is written
	state   state
	idle    bool   // the writer waits
	next    uint64 // the next LSN
	chain   uint64 // after the last record
	written uint64 // below, records are in the segments
	durable uint64 // below, everything is durable
	cur     *pend[T]
	queue   []*pend[T] // full ones; the first is perhaps being written
	free    []*pend[T]
	pending int64  // bytes appended, not durable
	notes   uint64 // bytes appended that are not live
	waiting []waiter
	timer   *time.Timer // ends the wait of records for which nobody waits
	timing  bool        // it runs
	hurry   bool        // what is pending is to be written
	err     error       // why it is poisoned

	calls    calls[T]
	pressure pressure
	stats    counters
	rec      recovered
	replayed bool

	prepare chan struct{} // the goroutine that makes the next segment is to look
	clean   chan struct{} // the cleaner is to look
	noRoom  chan struct{} // the cleaner is not to wait for the writer, which waits for room
	closing chan struct{}
	ended   sync.WaitGroup // all goroutines
	syncs   uint64         // the LSN that batches give as durable

	cleaned  atomic.Uint64 // bytes rewritten
	lastFree atomic.Int64  // bytes free, as last seen
}

type state uint8

const (
	opened state = iota
	running
	ending // Close waits
	closed
)

// pend is what is written at once, with the tokens that wait for it.
type pend[T any] struct {
	frames
	tokens []T
	few    int  // how often little of the memory was used
	early  bool // the first token waits for records of earlier ones
}

// waiter waits until records are durable.
type waiter struct {
	lsn  uint64
	done chan error
}

// Open opens the journal in a directory, which is made if there is none, and takes its lock. The errors are [ErrLocked],
// [ErrKind], [*VersionError], [*CorruptError] and those of the file system.
func Open[T any](dir string, o *Options) (*Journal[T], error) {
	s, err := openStore(dir, o)
	if err != nil {
		return nil, err
	}
	j := &Journal[T]{
		s:       s,
		prepare: make(chan struct{}, 1),
		clean:   make(chan struct{}, 1),
		noRoom:  make(chan struct{}, 1),
		closing: make(chan struct{}),
	}
	j.work.L, j.wrote.L = &j.mu, &j.mu
	j.calls.init()
	return j, nil
}

// Replay calls f for every record in the order of their numbers. record is valid during the call. An error of f ends the
// replay and is returned. A write that was under way when the journal ended is cut off; other damage is a
// [*CorruptError]. Replay is called at most once, before Start, which does it when nobody has.
func (j *Journal[T]) Replay(f func(lsn uint64, record []byte) error) error {
	if j.state != opened || j.replayed {
		return errOrder
	}
	j.replayed = true
	var call func(*segment, uint64, []byte) error
	if f != nil {
		call = func(_ *segment, lsn uint64, record []byte) error { return f(lsn, record) }
	}
	rec, err := j.s.replay(call)
	if err != nil {
		return err
	}
	j.rec = rec
	n := rec.next
	j.next, j.chain, j.written, j.durable, j.syncs, j.s.published = n, n, n, n, n, n
	return nil
}

// Restore tells, between the call of Replay with a record and Start, that live bytes of it count again.
func (j *Journal[T]) Restore(lsn uint64, live int) {
	j.s.mu.RLock()
	defer j.s.mu.RUnlock()
	if g := j.s.find(lsn); g != nil {
		g.live.Add(int64(live))
	}
}

// Start makes what was replayed durable and begins: from here on records can be appended.
func (j *Journal[T]) Start(h Handler[T]) error {
	if !j.replayed {
		if err := j.Replay(nil); err != nil {
			return err
		}
	}
	if j.state != opened || j.rec.next == 0 {
		return errOrder
	}
	if err := j.s.begin(&j.rec); err != nil {
		return err
	}
	j.h = h
	j.checkFree()
	j.mu.Lock()
	j.state = running
	j.mu.Unlock()
	j.ended.Go(j.writer)
	j.ended.Go(j.completer)
	j.ended.Go(j.preparer)
	j.ended.Go(j.cleaner)
	poke(j.clean)
	return nil
}

// begin settles the tail and sees to it that there is a segment to append to.
func (s *store) begin(rec *recovered) error {
	if err := s.settle(rec); err != nil {
		return err
	}
	if rec.tail == nil {
		size := int64(0)
		for _, g := range s.segs {
			size = max(size, g.size)
		}
		g, err := s.create(s.nextSize(min(size, s.opt.SegmentSize)/2), nil)
		if err != nil {
			return err
		}
		s.segs = append(s.segs, g)
	}
	if len(s.trailing) > 0 {
		s.prepared, s.trailing = s.trailing[0], s.trailing[1:]
	}
	rest := s.trailing
	s.trailing = nil
	return s.dropAll(rest)
}

// poke wakes a goroutine that waits on a channel of capacity one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Sync waits until everything appended so far is durable. With [Options.NoSync] that is: written.
func (j *Journal[T]) Sync(ctx context.Context) error {
	done := j.awaitDurable()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaitDurable returns a channel that tells when everything appended so far is durable, or why it will not be.
func (j *Journal[T]) awaitDurable() chan error {
	done := make(chan error, 1)
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.err != nil:
		done <- j.err
	case j.durable >= j.chain:
		done <- nil
	case j.state != running:
		done <- ErrClosed
	default:
		j.waiting = append(j.waiting, waiter{j.chain, done})
		j.hurryUp()
	}
	return done
}

// wake tells those who wait in Sync. The caller holds mu.
func (j *Journal[T]) wake(err error) {
	rest := j.waiting[:0]
	for _, w := range j.waiting {
		switch {
		case j.durable >= w.lsn:
			w.done <- nil
		case err != nil:
			w.done <- err
		default:
			rest = append(rest, w)
		}
	}
	clear(j.waiting[len(rest):])
	j.waiting = rest
}

// Close writes what is pending, completes or fails every token, ends all goroutines and gives the directory back. It must
// not be called from within a function of the [Handler]. It returns the error that poisoned the journal, if one did.
func (j *Journal[T]) Close() error {
	j.mu.Lock()
	was := j.state
	if was == ending || was == closed {
		j.mu.Unlock()
		return nil
	}
	j.state = ending
	j.work.Signal()
	if j.timer != nil {
		j.timer.Stop()
	}
	j.mu.Unlock()
	close(j.closing)
	j.ended.Wait()
	j.mu.Lock()
	j.state = closed
	err := j.err
	if was == running {
		j.wake(ErrClosed)
	}
	j.wrote.Broadcast()
	j.mu.Unlock()
	if e := j.s.close(); err == nil {
		err = e
	}
	return err
}
