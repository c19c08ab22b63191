package delivery

import "math"

// Verdict is what [Producer.Check] says of a batch.
type Verdict uint8

const (
	// New means that the batch follows what came before.
	New Verdict = iota
	// Duplicate means that the batch is one of the last five.
	Duplicate
	// OutOfOrder means that batches before it are missing, or that it is older
	// than the last five.
	OutOfOrder
	// Fenced means that the producer has been replaced by one of a higher
	// epoch.
	Fenced
)

// String returns the name of the verdict in words.
func (v Verdict) String() string {
	switch v {
	case New:
		return "new"
	case Duplicate:
		return "duplicate"
	case OutOfOrder:
		return "out of order"
	}
	return "fenced"
}

const producerBatches = 5

// Producer is what is known of an idempotent producer of Kafka in a partition:
// its epoch and the last five batches. Sequence numbers count records from 0 to
// 2147483647 and begin at 0 again after it; a new epoch begins at 0.
//
// The zero value knows nothing and accepts a first batch of any epoch and
// number, as Kafka does after the records of a producer have been deleted. It
// is not safe for concurrent use.
type Producer struct {
	batches [producerBatches]batch // a ring that ends at last
	last    uint8
	n       uint8
	known   bool // epoch holds
	epoch   int16
}

type batch struct {
	first, last int32
	position    int64
}

// Epoch returns the epoch, and false when nothing is known yet.
func (p *Producer) Epoch() (epoch int16, known bool) { return p.epoch, p.known }

// Check tells what to do with a batch of the sequence numbers first to last
// inclusive, without accepting it. For a [Duplicate] it returns the position
// that the batch was accepted with.
func (p *Producer) Check(epoch int16, first, last int32) (v Verdict, position int64) {
	switch {
	case !p.known:
		return New, 0
	case epoch < p.epoch:
		return Fenced, 0
	case epoch > p.epoch:
		return begin(first), 0
	case p.n == 0:
		return begin(first), 0
	}
	for _, b := range p.batches[:p.n] {
		if b.first == first && b.last == last {
			return Duplicate, b.position
		}
	}
	if first == Sequence(p.batches[p.last].last, 1) {
		return New, 0
	}
	return OutOfOrder, 0
}

func begin(first int32) Verdict {
	if first == 0 {
		return New
	}
	return OutOfOrder
}

// Accept remembers a batch that Check called [New] and the position it got,
// such as its base offset.
func (p *Producer) Accept(epoch int16, first, last int32, position int64) {
	p.SetEpoch(epoch)
	if p.n == 0 {
		p.last = producerBatches - 1
	}
	p.last = (p.last + 1) % producerBatches
	p.n = min(p.n+1, producerBatches)
	p.batches[p.last] = batch{first, last, position}
}

// SetEpoch raises the epoch without a batch, as a transaction marker does, and
// forgets the batches of the epoch before. It does nothing when the epoch is
// known to be that or higher.
func (p *Producer) SetEpoch(epoch int16) {
	if !p.known || epoch > p.epoch {
		*p = Producer{known: true, epoch: epoch}
	}
}

// Sequence returns the sequence number n records after first, which wraps
// around from 2147483647 to 0.
func Sequence(first, n int32) int32 {
	return int32((uint32(first) + uint32(n)) & math.MaxInt32)
}
