package kafkabroker

import (
	"sync"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// producerIDBlock is how many producer ids are taken out of the metadata at once.
const producerIDBlock = 1000

// maxProducerID is more than the producer ids that are ever given out. Records with higher ones are of producers who made
// them up, and do not count: nothing would be left behind them.
const maxProducerID = 1 << 62

// producerIDs gives out producer ids, each once. The metadata say from where on they are free, and are ahead of those that
// are given out. It is safe for concurrent use.
type producerIDs struct {
	b *Broker

	mu        sync.Mutex
	next, end int64
	waiting   []func(kafkawire.ProducerID, error)
	filling   bool
}

// take calls f with an id that nobody has: at once, or when the next block of ids is durable. f must not wait.
func (p *producerIDs) take(f func(kafkawire.ProducerID, error)) {
	p.mu.Lock()
	if p.next < p.end && len(p.waiting) == 0 {
		id := p.next
		p.next++
		p.mu.Unlock()
		f(kafkawire.ProducerID(id), nil)
		return
	}
	p.waiting = append(p.waiting, f)
	fill := !p.filling
	p.filling = true
	p.mu.Unlock()
	if fill && !p.b.spawn(p.fill) {
		p.serve(errBrokerClosed)
	}
}

// fill takes blocks until nobody waits.
func (p *producerIDs) fill() {
	for {
		p.mu.Lock()
		end := p.end
		p.mu.Unlock()
		err := p.b.setMeta(metaChange{metaProducerIDs, "next", codec.AppendUvarint64(nil, uint64(end)+producerIDBlock)})
		if err == nil {
			p.mu.Lock()
			p.end = end + producerIDBlock
			p.mu.Unlock()
		}
		if p.serve(err) {
			return
		}
	}
}

// serve gives ids to those who wait, as far as there are any, or an error to all. It reports whether nobody waits any more,
// and nobody fills then.
func (p *producerIDs) serve(err error) bool {
	for {
		p.mu.Lock()
		if len(p.waiting) == 0 {
			p.filling = false
			p.mu.Unlock()
			return true
		}
		if err == nil && p.next == p.end {
			p.mu.Unlock()
			return false
		}
		id := p.next
		if err == nil {
			p.next++
		}
		f := p.waiting[0]
		p.waiting = p.waiting[1:]
		p.mu.Unlock()
		f(kafkawire.ProducerID(id), err)
	}
}

// load reads from where on ids are free. seen is the highest that records in the logs have, perhaps of another broker.
func (p *producerIDs) load(b *Broker, seen int64) error {
	p.b = b
	next := int64(0)
	if v, ok := b.meta.get(metaProducerIDs, "next"); ok {
		r := codec.NewReader(v)
		next = int64(r.Uvarint64())
		if r.Err() != nil || next < 0 {
			return &corruptError{"the metadata journal", 0, "producer ids"}
		}
	}
	next = max(next, seen+1)
	p.next, p.end = next, next
	return nil
}
