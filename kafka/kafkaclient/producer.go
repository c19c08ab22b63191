package kafkaclient

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Producer produces records. It gathers them in batches, one for each partition at a time, which are sent as soon as there
// is a free request to the leader of the partition. It must be made with [Client.NewProducer] and closed with Close.
type Producer struct {
	c      *Client
	o      *producerConfig
	alive  context.Context // until Close
	end    context.CancelFunc
	forget []func() // undo what NewProducer began

	topics  atomic.Pointer[map[string]*producerTopic] // never changed
	room    room
	calls   callbacks
	flush   flushes
	sweep   sweeper
	spare   batches
	txn     *transaction // nil without a transactional id
	closed  atomic.Bool
	rounds  atomic.Uint64 // of sinks
	waiters sync.Pool
	counts  struct{ records, failed, batches, attempts atomic.Uint64 }

	mu       sync.Mutex
	sinks    map[sinkKey]*sink
	err      error // why it takes no records any more
	identity identity
}

// NewProducer returns a producer. It connects when there is something to produce. The error is about the options.
func (c *Client) NewProducer(o *ProducerOptions) (*Producer, error) {
	cfg, err := newProducerConfig(o)
	if err != nil {
		return nil, err
	}
	p := &Producer{c: c, o: cfg, sinks: make(map[sinkKey]*sink)}
	p.alive, p.end = context.WithCancel(c.alive)
	p.topics.Store(new(map[string]*producerTopic))
	p.room.init(cfg)
	p.calls.p, p.sweep.p = p, p
	if cfg.TransactionalID != "" {
		p.txn = newTransaction(p)
	}
	forget := []func(){c.meta.watch(p.metadataChanged), c.atClose(func() { p.close(ErrClosed) })}
	p.mu.Lock()
	closed := p.err != nil
	p.forget = forget
	p.mu.Unlock()
	if closed { // meanwhile, with the client
		for _, f := range forget {
			f()
		}
	}
	return p, nil
}

// Produce produces records and waits until all of them are acknowledged, or have failed. The error is that of the first one
// that failed, a [*ProduceError]. When ctx ends earlier, what was not sent yet is dropped; of what is under way it is not
// known what becomes of it.
//
// Records belong to the producer until then. When ctx ends they belong to it for a little longer: they must not be changed
// any more.
func (p *Producer) Produce(ctx context.Context, records ...*Record) error {
	if len(records) == 0 {
		return nil
	}
	w := p.waiter()
	w.left.Store(int32(len(records)))
	for i, r := range records {
		if err := p.produce(ctx, r, entry{r: r, wait: w}); err != nil {
			w.failed(err)
			w.finished(len(records) - i) // those that follow would overtake it
			break
		}
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		select {
		case <-w.done:
		default:
			p.sweep.soon()
			return context.Cause(ctx)
		}
	}
	err := w.err
	w.err = nil
	p.waiters.Put(w)
	return err
}

// ProduceAsync produces a record and calls done, which may be nil, when it is acknowledged or has failed; the error is nil
// or a [*ProduceError]. It waits while the producer has as much as its options allow, and fails when ctx ends before there
// is room, or when the producer takes no records; then done is not called. When ctx ends later the record fails unless it
// was sent.
//
// The record belongs to the producer until done is called: it is encoded when its batch is sent. Callbacks are called one after the other, for records of a
// partition in their order, on a goroutine of the producer. They may do everything with it, even wait, but while one waits
// no other is called, and a producer with as many callbacks to call as MaxBufferedRecords takes records slowly.
func (p *Producer) ProduceAsync(ctx context.Context, r *Record, done func(*Record, error)) error {
	return p.produce(ctx, r, entry{r: r, done: done})
}

// entry is a record that was not decided.
type entry struct {
	r    *Record
	done func(*Record, error)
	wait *produceWaiter
}

// produceWaiter is a call of Produce.
type produceWaiter struct {
	left atomic.Int32
	done chan struct{} // gets a token when none is left

	mu  sync.Mutex
	err error
}

// waiter returns a waiter. Each producer has its own, as channels belong to one bubble of testing/synctest.
func (p *Producer) waiter() *produceWaiter {
	if w, ok := p.waiters.Get().(*produceWaiter); ok {
		return w
	}
	return &produceWaiter{done: make(chan struct{}, 1)}
}

func (w *produceWaiter) failed(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.mu.Unlock()
}

func (w *produceWaiter) finished(n int) {
	if w.left.Add(int32(-n)) == 0 {
		w.done <- struct{}{}
	}
}

// finish tells the caller what became of a record.
func (e *entry) finish(err error) {
	if e.wait != nil {
		if err != nil {
			e.wait.failed(err)
		}
		e.wait.finished(1)
	} else if e.done != nil {
		e.done(e.r, err)
	}
}

// maxRecord is the size of the largest record: requests have a size of 31 bits.
const maxRecord = 1 << 30

// recordRoom is how many bytes of [ProducerOptions.MaxBufferedBytes] a record takes: no less than in a batch.
func recordRoom(r *Record) int {
	n := 36 + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += 10 + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// produce takes a record in.
func (p *Producer) produce(ctx context.Context, r *Record, e entry) error {
	if ctx.Done() != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if p.closed.Load() {
		return p.closedErr()
	}
	room := recordRoom(r)
	if room > maxRecord {
		return &ProduceError{Topic: r.Topic, Partition: -1, Err: remoteNot(kafkawire.ErrMessageTooLarge, "the record is larger than 1 GiB")}
	}
	if err := p.room.take(ctx, p, room); err != nil {
		if err == ErrClosed {
			err = p.closedErr()
		}
		return err
	}
	if r.Timestamp.IsZero() {
		r.Timestamp = time.Now()
	}
	r.Offset, r.LeaderEpoch = -1, -1
	err := p.topic(r.Topic).add(ctx, e, room)
	for err == errForgotten {
		err = p.topic(r.Topic).add(ctx, e, room)
	}
	if err != nil {
		p.room.give(1, room)
		return err
	}
	p.sweep.start()
	return nil
}

// topic returns the state of a topic.
func (p *Producer) topic(name string) *producerTopic {
	if t := (*p.topics.Load())[name]; t != nil {
		return t
	}
	p.mu.Lock()
	old := *p.topics.Load()
	if t := old[name]; t != nil {
		p.mu.Unlock()
		return t
	}
	topics := make(map[string]*producerTopic, len(old)+1)
	for k, v := range old {
		topics[k] = v
	}
	t := newProducerTopic(p, name)
	if t.err = p.err; t.err == nil {
		p.c.meta.want(t.wire)
	}
	topics[name] = t
	p.topics.Store(&topics)
	p.mu.Unlock()
	t.update()
	return t
}

// closedErr is why the producer takes no records.
func (p *Producer) closedErr() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		return ErrClosed
	}
	return p.err
}

// Err returns nil as long as the producer takes records, and then why it does not: ErrClosed, or what was fatal.
func (p *Producer) Err() error {
	if !p.closed.Load() {
		return nil
	}
	return p.closedErr()
}

// Close ends the producer. Records that are not acknowledged fail with ErrClosed, and an open transaction is left to the
// broker, which aborts it. It does not wait; see Shutdown.
func (p *Producer) Close() error {
	p.close(ErrClosed)
	return nil
}

// Shutdown waits for what was produced, as Flush does, and then closes the producer, in any case.
func (p *Producer) Shutdown(ctx context.Context) error {
	err := p.Flush(ctx)
	p.Close()
	return err
}

// close ends the producer because of err.
func (p *Producer) close(err error) {
	p.mu.Lock()
	if p.err != nil {
		p.mu.Unlock()
		return
	}
	p.err = err
	p.closed.Store(true)
	forget := p.forget
	p.forget = nil
	topics := *p.topics.Load()
	p.mu.Unlock()
	for _, f := range forget {
		f()
	}
	for _, t := range topics {
		p.c.meta.forget(t.wire)
		t.fail(err)
	}
	p.room.close()
	p.end()
}

// ProducerStats are gauges of a producer, and counters since it was made.
type ProducerStats struct {
	BufferedRecords int // produced and not decided
	BufferedBytes   int
	Callbacks       int // records that are decided and whose callback was not called yet
	Topics          int // that were used in the last minutes

	Records  uint64 // that were acknowledged
	Failed   uint64 // records that failed
	Batches  uint64 // that were decided
	Attempts uint64 // to send a batch; what is more than Batches are repetitions, and what is under way
}

// Stats returns a snapshot.
func (p *Producer) Stats() ProducerStats {
	s := ProducerStats{Topics: len(*p.topics.Load()), Records: p.counts.records.Load(), Failed: p.counts.failed.Load(),
		Batches: p.counts.batches.Load(), Attempts: p.counts.attempts.Load(), BufferedRecords: int(p.room.records.Load()), BufferedBytes: int(p.room.bytes.Load())}
	p.calls.mu.Lock()
	s.Callbacks = p.calls.records
	p.calls.mu.Unlock()
	return s
}
