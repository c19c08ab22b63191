package kafkaclient

import (
	"errors"
	"maps"
	"math"
	"time"

	"github.com/quartet-mq/quartet/kafka"
)

// topicIdleTime is how long a topic may be without records before the producer forgets it, and asks for its metadata no
// more.
const topicIdleTime = 5 * time.Minute

// errForgotten tells to look for the topic again.
var errForgotten = errors.New("the topic was forgotten")

// forget makes the producer forget a topic that was not used for long.
//
// What the partitions would be told again when they are used again begins with another epoch: with the same numbers as
// before, brokers would take it for what they have.
func (t *producerTopic) forget() {
	if t.used.Swap(false) {
		t.mu.Lock()
		t.idle = time.Now()
		t.mu.Unlock()
		return
	}
	p := t.p
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil || len(t.pending) > 0 || time.Since(t.idle) < topicIdleTime {
		return
	}
	var list []*producerPartition
	if parts := t.partitions.Load(); parts != nil {
		list = *parts
	}
	for _, part := range list {
		part.mu.Lock()
		defer part.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.identity.current.Load()
	next := int32(-1) // epoch
	for _, part := range list {
		if part.err != nil || len(part.queue) > 0 || len(part.flights) > 0 {
			return
		}
		id, epoch := part.seq.Identity()
		if now == nil || id != now.ID || id < 0 {
			continue
		}
		if p.txn != nil {
			if epoch == now.Epoch {
				return // until the coordinator gives another one
			}
			continue
		}
		next = max(next, int32(epoch)+1)
	}
	if p.err != nil || (*p.topics.Load())[t.name] != t {
		return
	}
	switch {
	case next > math.MaxInt16:
		p.identity.current.Store(nil)
	case now != nil && next > int32(now.Epoch):
		p.identity.current.Store(&kafka.Producer{ID: now.ID, Epoch: int16(next), Sequence: now.Sequence})
	}
	t.err = errForgotten
	for _, part := range list {
		part.err = errForgotten
	}
	topics := maps.Clone(*p.topics.Load())
	delete(topics, t.name)
	p.topics.Store(&topics)
	p.c.meta.forget(t.wire)
}
