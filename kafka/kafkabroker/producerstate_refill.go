package kafkabroker

import (
	"errors"
	"slices"
)

// A snapshot has only the last batch of each producer, as Kafka's have. That is too little for one that has several on the
// way when the broker ends: it sends all of them again, and those before the last one would be out of order. So their
// batches near the end of the log are looked at again.
const (
	refillBytes = 1 << 20        // how much of the log is looked at
	refillMs    = 15 * 60 * 1000 // producers that were idle for longer have nothing on the way
)

// producedWindow is the batches of a producer that were found.
type producedWindow struct {
	epoch int16
	list  []producedBatch
}

// refill completes a table that was loaded from a snapshot. The caller holds writing.
func (l *partitionLog) refill(t *producerTable, now int64) error {
	recent := false
	for _, p := range t.m {
		recent = recent || p.n == 1 && now-p.lastTime < refillMs
	}
	if !recent {
		return nil
	}
	found := make(map[int64]*producedWindow)
	left := int64(refillBytes)
	for i := floorSegment(l.segs, t.end-1); i >= 0 && left > 0; i-- {
		n, err := l.lookBack(l.segs[i], t.end, left, found)
		if err != nil {
			return err
		}
		left -= n
	}
	for id, w := range found {
		p := t.m[id]
		if p == nil || p.n != 1 || p.epoch != w.epoch || len(w.list) < 2 || w.list[len(w.list)-1].last != p.batches[0].last {
			continue
		}
		p.n = int8(copy(p.batches[:], w.list[max(len(w.list)-windowBatches, 0):]))
	}
	return nil
}

// lookBack finds the batches of producers in the last bytes of a segment that are below an offset, and puts them before
// those that were found behind it. It returns how many bytes that were.
func (l *partitionLog) lookBack(g *segment, end, most int64, found map[int64]*producedWindow) (int64, error) {
	limit := g.size.Load()
	from := int64(0)
	if limit > most {
		if g.indexLen < 0 {
			return most, nil
		}
		from = limit
		for back := int64(16); end-back > g.base; back *= 2 {
			pos, _, err := g.floor(end - back)
			if err != nil {
				return 0, err
			}
			if limit-pos > most {
				break
			}
			from = pos
		}
	}
	f, err := g.log.acquire()
	if err != nil {
		return 0, err
	}
	defer g.log.release()
	here := make(map[int64]*producedWindow)
	sc := newScanner(g.label, f, from, limit, nil)
	for sc.next() && sc.head.base < end {
		b := sc.head.raw
		if sc.head.magic() < 2 || b.ProducerID() < 0 || b.Attributes().Control() {
			continue
		}
		w := here[int64(b.ProducerID())]
		if w == nil {
			w = &producedWindow{epoch: b.ProducerEpoch()}
			here[int64(b.ProducerID())] = w
		}
		if w.epoch != b.ProducerEpoch() {
			*w = producedWindow{epoch: b.ProducerEpoch()}
		}
		w.list = append(w.list, producedBatch{lastSequence: b.LastSequence(), delta: b.LastOffsetDelta(), last: b.LastOffset(), time: b.MaxTimestamp()})
		if len(w.list) > 2*windowBatches {
			w.list = append(w.list[:0], w.list[len(w.list)-windowBatches:]...)
		}
	}
	for id, w := range here {
		switch later := found[id]; {
		case later == nil:
			found[id] = w
		case later.epoch == w.epoch:
			later.list = slices.Concat(w.list, later.list)
		}
	}
	var damage *corruptError
	if errors.As(sc.err, &damage) {
		return most, nil // who reads the records hears of it
	}
	return max(limit-from, 1), sc.err
}
