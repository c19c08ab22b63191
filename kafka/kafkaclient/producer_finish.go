package kafkaclient

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// finish tells callers what became of the records of batches. It does not wait. The batches belong to it.
func (p *Producer) finish(batches []*batch) {
	if len(batches) == 0 {
		return
	}
	records, bytes := 0, 0
	async := batches[:0:0]
	for _, b := range batches {
		records += len(b.entries)
		bytes += b.room
		if b.err != nil {
			p.counts.failed.Add(uint64(len(b.entries)))
		} else {
			p.counts.records.Add(uint64(len(b.entries)))
		}
		if p.txn != nil && b.err != nil {
			b.err = p.txn.failed(b.err)
		}
	}
	p.counts.batches.Add(uint64(len(batches)))
	p.room.give(records, bytes)
	for _, b := range batches {
		// Those who wait may be callbacks, so callbacks are not waited for.
		for i := range b.entries {
			if b.entries[i].wait != nil {
				b.entries[i].finish(b.errorOf(i))
			}
		}
		if b.async {
			async = append(async, b)
			continue
		}
		p.flush.called(b)
		p.recycle(b)
	}
	if len(async) > 0 {
		p.calls.add(async)
	}
}

// encode encodes a batch that is about to be sent, and reports whether it is to be.
func (part *producerPartition) encode(b *batch, x kafka.Sending) bool {
	if err := b.encode(x.Producer); err != nil {
		part.impossible(b, x, err)
		return false
	}
	part.mu.Lock()
	err := part.err
	ended := b.encoding && err != nil // fail has left it
	b.encoding = false
	if ended {
		d := b.abandon(err)
		d.doubt = false
		part.done = append(part.done, d)
	}
	part.mu.Unlock()
	if ended {
		part.lost(x, true, err)
	}
	return !ended
}

// impossible fails a batch that cannot be sent.
func (part *producerPartition) impossible(b *batch, x kafka.Sending, err error) {
	part.mu.Lock()
	part.seq.Lost(x.ID, x.Attempt, true)
	if part.seq.GiveUp(x.ID, kafkawire.ErrInvalidRecord) {
		b.err = err
	}
	part.collect()
	done := part.take()
	part.relist()
	part.mu.Unlock()
	part.p.finish(done)
}

// flushes counts batches by generation. Flush begins a new one and waits until there are none of those before.
type flushes struct {
	now atomic.Uint64 // generation of new batches
	due atomic.Uint64 // generations below are to be sent without delay

	mu      sync.Mutex
	open    map[uint64]int // batches, and records in none, by generation
	changed chan struct{}  // closed when there are fewer, if somebody waits
}

// begin counts a batch and returns its generation.
func (f *flushes) begin() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.now.Load()
	if f.open == nil {
		f.open = make(map[uint64]int)
	}
	f.open[g]++
	return g
}

// same counts another batch of a generation.
func (f *flushes) same(g uint64) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[g]++
	return g
}

// ended counts a batch that is gone.
func (f *flushes) ended(g uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[g]--; f.open[g] <= 0 {
		delete(f.open, g)
		if f.changed != nil {
			close(f.changed)
			f.changed = nil
		}
	}
}

// called is ended for a batch whose callbacks were called. A batch of dropped records was never counted.
func (f *flushes) called(b *batch) {
	if b.part == nil || !b.made.IsZero() {
		f.ended(b.flush)
	}
}

// wanted reports whether a batch is to be sent without delay.
func (f *flushes) wanted(g uint64) bool { return g < f.due.Load() }

// flushPause is how long Flush waits for a callback that takes long: it may be the one that called Flush.
const flushPause = time.Second

// Flush sends everything that was produced before without delay, and waits until it is acknowledged or has failed, and
// until the callbacks have returned, unless one takes longer than a second. The error is that of ctx, or of the producer;
// what became of records is told to those who produced them.
func (p *Producer) Flush(ctx context.Context) error {
	f := &p.flush
	f.mu.Lock()
	generation := f.now.Add(1)
	f.due.Store(generation)
	f.mu.Unlock()
	for _, t := range *p.topics.Load() {
		if parts := t.partitions.Load(); parts != nil {
			for _, part := range *parts {
				part.mu.Lock()
				if n := len(part.queue); n > 0 && part.queue[n-1].flush < generation {
					part.queue[n-1].closed = true
				}
				part.mu.Unlock()
			}
		}
	}
	p.kickAll()
	var stuck time.Time
	var called uint64
	for {
		f.mu.Lock()
		open := false
		for g := range f.open {
			open = open || g < generation
		}
		if !open {
			f.mu.Unlock()
			return nil
		}
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		changed := f.changed
		f.mu.Unlock()
		p.calls.mu.Lock()
		calls := p.calls.called
		p.calls.mu.Unlock()
		switch now := time.Now(); {
		case p.room.records.Load() > 0 || calls != called || stuck.IsZero():
			stuck, called = now, calls
		case now.Sub(stuck) >= flushPause:
			return nil
		}
		t := time.NewTimer(flushPause)
		select {
		case <-changed:
			t.Stop()
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}

// sweeper looks for records that have waited too long, or whose context has ended.
type sweeper struct {
	p       *Producer
	running atomic.Bool
	timer   *time.Timer
	mu      sync.Mutex
}

// interval is the time between looks.
func (s *sweeper) interval() time.Duration {
	d := 500 * time.Millisecond
	if t := s.p.o.DeliveryTimeout; t > 0 {
		d = min(d, max(t/20, 10*time.Millisecond))
	}
	return d
}

// start makes the sweeper look now and again as long as there are records.
func (s *sweeper) start() {
	if s.running.Load() || !s.running.CompareAndSwap(false, true) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer == nil {
		s.timer = time.AfterFunc(s.interval(), s.run)
	} else {
		s.timer.Reset(s.interval())
	}
}

// soon makes the sweeper look at once.
func (s *sweeper) soon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil && s.running.Load() {
		s.timer.Reset(0)
	}
}

func (s *sweeper) run() {
	s.running.Store(false)
	p := s.p
	now := time.Now()
	refused := p.c.meta.refused()
	for _, t := range *p.topics.Load() {
		if refused != nil {
			t.mu.Lock()
			t.failPending(func(*pendingEntry) error { return t.error(-1, refused) })
			t.mu.Unlock()
		}
		t.expire(now)
	}
	if p.room.records.Load() > 0 {
		s.start()
	} else {
		p.spare.release()
	}
}

// refused is the error of the latest refresh when it says that the client may not connect.
func (m *metadata) refused() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := errors.AsType[*AuthError](m.last); ok {
		return m.last
	}
	return nil
}

// identity is who an idempotent producer is.
type identity struct {
	current  atomic.Pointer[kafka.Producer] // nil: unknown
	fetching bool                           // Producer.mu
}

// identify sees to the identity of a partition, and reports whether there is one. part.mu is held.
func (part *producerPartition) identify() bool {
	p := part.p
	if !p.o.idempotent {
		return true
	}
	now := p.identity.current.Load()
	if now == nil {
		p.renewIdentity()
		return false
	}
	id, epoch := part.seq.Identity()
	switch {
	case id < 0:
	case p.txn != nil:
		if id == now.ID && epoch == now.Epoch {
			return true
		}
		if part.seq.Undecided() > 0 {
			return false
		}
	case !part.seq.NeedsIdentity():
		return true
	case now.ID == id:
		p.renewIdentity()
		return false
	}
	part.seq.Use(now.ID, now.Epoch)
	return true
}

// renewIdentity has another identity fetched. Those of transactions come from elsewhere.
func (p *Producer) renewIdentity() {
	if p.txn != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.identity.fetching || p.err != nil {
		return
	}
	p.identity.fetching = true
	go p.fetchIdentity()
}

func (p *Producer) fetchIdentity() {
	for {
		var r *kafkawire.InitProducerIDResponse
		err := p.c.retry(p.alive, func(ctx context.Context) error {
			req := new(kafkawire.InitProducerIDRequest)
			req.Reset()
			resp, err := p.c.requestAny(ctx, req, nil)
			if err != nil {
				return err
			}
			r = resp.(*kafkawire.InitProducerIDResponse)
			return remote(r.ErrorCode, nil)
		})
		switch {
		case err == nil:
			p.mu.Lock()
			p.identity.fetching = false
			p.identity.current.Store(&kafka.Producer{ID: r.ProducerID, Epoch: r.ProducerEpoch})
			p.mu.Unlock()
			p.kickAll()
			return
		case p.alive.Err() != nil:
			return
		case errors.Is(err, ErrTimeout):
			continue // records fail by themselves
		}
		p.fatal(err)
		return
	}
}

// fatal ends the producer because of an error after which nothing will succeed.
func (p *Producer) fatal(err error) {
	p.c.o.Logger.Warn("the producer has ended", "err", err)
	p.close(&fatalError{err})
}

// refused looks at an error code of a broker that concerns the whole producer.
func (p *Producer) refused(code kafkawire.ErrorCode, err error) {
	switch code {
	case kafkawire.ErrClusterAuthorizationFailed, kafkawire.ErrTransactionalIDAuthorizationFailed, kafkawire.ErrProducerFenced,
		kafkawire.ErrUnsupportedForMessageFormat:
		p.fatal(err)
	}
}
