package kafkaclient

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// unknownTopicTime is how long brokers may say that they do not know a topic before records for it fail.
const unknownTopicTime = 10 * time.Second

// producerTopic is a topic to which a producer writes.
type producerTopic struct {
	p    *Producer
	name string
	wire kafkawire.TopicName
	id   atomic.Pointer[kafkawire.UUID] // nil: unknown

	used       atomic.Bool                          // since it was last looked
	partitions atomic.Pointer[[]*producerPartition] // by index; nil before they are known, and while pending ones go first

	mu      sync.Mutex
	sticky  kafka.Sticky
	random  rand.PCG
	leaders []int32        // partitions that have one
	loads   []int          // batches that wait for them, when it was last looked
	pending []pendingEntry // before the partitions are known
	asked   time.Time      // since when the topic is not known
	idle    time.Time      // since when it was not used
	err     error          // no records are taken
}

// pendingEntry is a record whose partition was not chosen yet.
type pendingEntry struct {
	entry
	ctx      context.Context
	room     int
	deadline time.Time
	flush    uint64
}

func newProducerTopic(p *Producer, name string) *producerTopic {
	t := &producerTopic{p: p, name: name, wire: kafkawire.TopicName(name), asked: time.Now(), idle: time.Now()}
	t.sticky.BatchSize = p.o.BatchSize
	t.random.Seed(rand.Uint64(), rand.Uint64())
	return t
}

// add adds a record to a batch. With an error nothing was added.
func (t *producerTopic) add(ctx context.Context, e entry, room int) error {
	if !t.used.Load() {
		t.used.Store(true)
	}
	if parts := t.partitions.Load(); parts != nil {
		list := *parts
		if i := t.p.o.Partitioner(e.r, int32(len(list))); i >= 0 {
			if int(i) >= len(list) {
				t.p.c.meta.refresh() // there may be more
				return t.error(i, remoteNot(kafkawire.ErrUnknownTopicOrPartition, "there is no such partition"))
			}
			return list[i].add(ctx, e, room, latest, nil)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.err != nil {
			return t.err
		}
		return t.addSticky(ctx, e, room, latest, *t.partitions.Load())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	if parts := t.partitions.Load(); parts != nil {
		return t.choose(ctx, e, room, latest, *parts)
	}
	if t.p.txn != nil {
		if err := t.p.txn.mayProduce(); err != nil {
			return err
		}
	}
	t.pending = append(t.pending, pendingEntry{e, ctx, room, t.p.deadline(), t.p.flush.begin()})
	return nil
}

// choose chooses the partition for a record. t.mu is held.
func (t *producerTopic) choose(ctx context.Context, e entry, room int, generation uint64, list []*producerPartition) error {
	i := t.p.o.Partitioner(e.r, int32(len(list)))
	switch {
	case i < 0:
		return t.addSticky(ctx, e, room, generation, list)
	case int(i) >= len(list):
		return t.error(i, remoteNot(kafkawire.ErrUnknownTopicOrPartition, "there is no such partition"))
	}
	return list[i].add(ctx, e, room, generation, nil)
}

// addSticky adds a record to the partition whose turn it is. t.mu is held.
func (t *producerTopic) addSticky(ctx context.Context, e entry, room int, generation uint64, list []*producerPartition) error {
	if !t.sticky.Chosen(int32(len(list))) {
		t.measure(list)
	}
	i := t.sticky.Partition(t.leaders, int32(len(list)), uint32(t.random.Uint64()))
	full := false
	err := list[i].add(ctx, e, room, generation, &full)
	t.sticky.Produced(room, full)
	return err
}

// measure tells which partitions have a leader, and how many batches wait for each: slow brokers get less (KIP-794).
// t.mu is held.
func (t *producerTopic) measure(list []*producerPartition) {
	t.loads = t.loads[:0]
	for _, i := range t.leaders {
		part := list[i]
		part.mu.Lock()
		t.loads = append(t.loads, len(part.queue))
		part.mu.Unlock()
	}
	t.sticky.SetLoad(t.leaders, t.loads, len(t.leaders) == len(list))
}

// error is the error of a record of the topic.
func (t *producerTopic) error(partition int32, err error) error {
	return &ProduceError{Topic: t.name, Partition: partition, Err: err}
}

// remoteNot is an error with a code that the client itself gives.
func remoteNot(code kafkawire.ErrorCode, text string) error {
	return &kafka.Error{Code: code, Text: text}
}

// deadline is when a record fails that is produced now.
func (p *Producer) deadline() time.Time {
	if p.o.DeliveryTimeout < 0 {
		return time.Time{}
	}
	return time.Now().Add(p.o.DeliveryTimeout)
}

// update takes in what is known about the topic, never what was known before. It fails what is pending when that will not change.
func (t *producerTopic) update() {
	t.mu.Lock()
	defer t.mu.Unlock()
	info := t.p.c.meta.current.Load().topics[t.wire]
	if info == nil || t.err != nil {
		return
	}
	parts := t.partitions.Load()
	if info.err != 0 {
		switch {
		case parts != nil:
			if t.p.room.records.Load() > 0 {
				t.p.c.meta.refresh()
			}
		case info.err.Retriable() && (!info.err.StaleMetadata() || time.Since(t.asked) < unknownTopicTime):
			t.p.c.meta.refresh()
		default:
			t.failPending(func(*pendingEntry) error { return t.error(-1, remote(info.err, nil)) })
			t.asked = time.Now()
		}
		return
	}
	if len(info.partitions) == 0 {
		return
	}
	old := t.id.Load()
	if !info.id.IsZero() {
		t.id.Store(&info.id)
	}
	var list []*producerPartition
	if parts != nil {
		list = *parts
	}
	if n := len(info.partitions); len(list) > n && old != nil && *old != info.id { // the topic was made anew
		for _, part := range list[n:] {
			part.fail(t.error(part.index, remoteNot(kafkawire.ErrUnknownTopicOrPartition, "the topic was made anew with fewer partitions")), true)
		}
		list = list[:n:n]
	}
	if len(list) < len(info.partitions) {
		list = append([]*producerPartition(nil), list...)
		for i := len(list); i < len(info.partitions); i++ {
			list = append(list, newPartition(t, int32(i)))
		}
	}
	leaders := make([]int32, 0, len(list))
	missing := false
	for i := range min(len(list), len(info.partitions)) {
		leader := info.partitions[i].leader
		if leader >= 0 {
			leaders = append(leaders, int32(i))
		} else {
			missing = true
		}
		list[i].lead(leader)
	}
	t.leaders = leaders
	if missing && t.p.room.records.Load() > 0 {
		t.p.c.meta.refresh()
	}
	for i := range t.pending {
		e := &t.pending[i]
		if err := t.choose(e.ctx, e.entry, e.room, e.flush, list); err != nil {
			t.p.dropPending(e, err)
		} else {
			t.p.flush.ended(e.flush)
		}
	}
	t.pending = nil
	t.partitions.Store(&list)
}

// failPending fails what is pending for which why returns an error. t.mu is held.
func (t *producerTopic) failPending(why func(*pendingEntry) error) {
	kept := t.pending[:0]
	for i := range t.pending {
		e := t.pending[i]
		if err := why(&e); err != nil {
			t.p.dropPending(&e, err)
		} else {
			kept = append(kept, e)
		}
	}
	clear(t.pending[len(kept):])
	t.pending = kept
}

// dropPending fails a record that is in no batch.
func (p *Producer) dropPending(e *pendingEntry, err error) {
	b := p.newBatch(nil)
	b.entries = append(b.entries, e.entry)
	b.room, b.err, b.flush, b.async = e.room, err, e.flush, e.wait == nil
	p.finish([]*batch{b})
}

// expire fails what has waited too long or is not wanted any more.
func (t *producerTopic) expire(now time.Time) {
	t.mu.Lock()
	t.failPending(func(e *pendingEntry) error {
		switch {
		case e.ctx.Err() != nil:
			return t.error(-1, context.Cause(e.ctx))
		case !e.deadline.IsZero() && now.After(e.deadline):
			return t.error(-1, ErrTimeout)
		}
		return nil
	})
	parts := t.partitions.Load()
	t.mu.Unlock()
	if parts != nil {
		for _, part := range *parts {
			part.expire(now)
		}
	}
}

// fail fails everything, and what comes later.
func (t *producerTopic) fail(err error) {
	t.mu.Lock()
	t.err = err
	t.failPending(func(*pendingEntry) error { return t.error(-1, err) })
	parts := t.partitions.Load()
	t.mu.Unlock()
	if parts != nil {
		for _, part := range *parts {
			part.fail(err, true)
		}
	}
}

// metadataChanged takes in what is known about the cluster.
func (p *Producer) metadataChanged() {
	for _, t := range *p.topics.Load() {
		t.update()
		t.forget()
	}
}
