package kafkabroker

import (
	"errors"
	"math"

	"github.com/quartet-mq/quartet/kafka"
)

// foundOffset is an offset and what ListOffsets tells about it. Times and epochs that are not known are -1.
type foundOffset struct {
	offset, time int64
	epoch        int32
}

// earliest returns the log start offset.
func (l *partitionLog) earliest() foundOffset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return foundOffset{l.start, noTime, l.epochs.at(l.start)}
}

// latest returns the offset behind the last record that a reader may see.
func (l *partitionLog) latest(i isolation) foundOffset {
	l.mu.Lock()
	defer l.mu.Unlock()
	offset := l.end
	switch i {
	case readCommitted:
		offset = l.lastStable()
	case readUncommitted:
		offset = l.high
	}
	return foundOffset{offset, noTime, l.epochs.latest()}
}

// endOfEpoch returns the largest leader epoch that is not above the asked one, and where it ended. Both are -1 when the log
// does not know.
func (l *partitionLog) endOfEpoch(epoch int32) (int32, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epochs.endOf(epoch, l.end)
}

// offsetFor finds the first record with a timestamp that is not before the asked one. found is false when there is none.
func (l *partitionLog) offsetFor(time int64) (o foundOffset, found bool, err error) {
	return l.search(func(segs []*segment, start int64) (foundOffset, bool, error) {
		for _, g := range segs {
			latest, _, err := g.latest()
			if err != nil {
				return o, false, err
			}
			if latest < time {
				continue
			}
			o, found, err := l.searchTime(g, time, start)
			if found || err != nil {
				return o, found, err
			}
		}
		return o, false, nil
	})
}

// latestTime finds the record with the latest timestamp, the first one if there are several.
func (l *partitionLog) latestTime() (o foundOffset, found bool, err error) {
	return l.search(func(segs []*segment, start int64) (foundOffset, bool, error) {
		bounds := make([]int64, len(segs)) // no record in the segment is later
		for i, g := range segs {
			if bounds[i], _, err = g.latest(); err != nil {
				return o, false, err
			}
		}
		best, at := foundOffset{-1, noTime, -1}, -1
		for {
			next := 0
			for i, bound := range bounds {
				if bound > bounds[next] {
					next = i
				}
			}
			if bound := bounds[next]; bound < best.time || bound == best.time && (at < 0 || next > at) {
				return best, at >= 0, nil
			}
			o, found, err := l.latestIn(segs[next], bounds[next], start)
			if err != nil {
				return o, false, err
			}
			if found && (o.time > best.time || o.offset < best.offset) {
				best, at = o, next
			}
			bounds[next] = math.MinInt64
		}
	})
}

// latestIn finds the first of the records with the latest timestamp in a segment, which is not later than bound. It is earlier
// where the record of the bound is before the start, or compaction has left its batch without records.
func (l *partitionLog) latestIn(g *segment, bound, start int64) (o foundOffset, found bool, err error) {
	if o, found, err = l.searchTime(g, bound, start); found || err != nil {
		return o, found, err
	}
	o.time = noTime
	err = l.walk(g, start, start, func(h *batchHead) bool { return h.time > o.time }, func(h *batchHead, rec *kafka.Record) bool {
		if rec.Timestamp > o.time {
			o, found = foundAt(h, rec), true
		}
		return false
	})
	return o, found, err
}

// search calls find with the segments until none of them goes away meanwhile.
func (l *partitionLog) search(find func([]*segment, int64) (foundOffset, bool, error)) (o foundOffset, found bool, err error) {
	for {
		l.mu.Lock()
		segs, start := l.segs, l.start
		l.mu.Unlock()
		o, found, err = find(segs, start)
		switch {
		case errors.Is(err, errGone):
			continue
		case errors.Is(err, errClosed):
		case err != nil:
			err = l.storageFailure("search by time", err)
		}
		return o, found, err
	}
}

// searchTime finds the first record in a segment whose timestamp is not before the asked one.
func (l *partitionLog) searchTime(g *segment, time, start int64) (o foundOffset, found bool, err error) {
	from, err := g.floorTime(time)
	if err != nil {
		return o, false, err
	}
	late := func(h *batchHead) bool { return h.time >= time || h.magic() == 0 }
	err = l.walk(g, max(from, start), start, late, func(h *batchHead, rec *kafka.Record) bool {
		if rec.Timestamp >= time {
			o, found = foundAt(h, rec), true
		}
		return found
	})
	return o, found, err
}

func foundAt(h *batchHead, rec *kafka.Record) foundOffset {
	o := foundOffset{rec.Offset, rec.Timestamp, -1}
	if h.magic() == 2 {
		o.epoch = h.raw.LeaderEpoch()
	}
	return o
}

// walk calls each with the records of a segment that are not before start, in the batches from an offset on that are wanted,
// until it returns true.
func (l *partitionLog) walk(g *segment, from, start int64, want func(*batchHead) bool, each func(*batchHead, *kafka.Record) bool) error {
	limit := g.size.Load()
	pos, _, err := g.floor(from)
	if err != nil {
		return err
	}
	f, err := g.log.acquire()
	if err != nil {
		return err
	}
	defer g.log.release()
	if pos >= limit {
		pos = 0
	}
	sc := newScanner(g.label, f, pos, limit, nil)
	var entry, buf []byte
	for sc.next() {
		h := sc.head
		if h.last < start || !want(&h) {
			continue
		}
		if entry, err = sc.entry(entry[:0]); err != nil {
			return err
		}
		recs, err := kafka.Open(entry, buf, int(min(l.config().maxDecoded, math.MaxInt32)))
		if err != nil {
			return err
		}
		var rec kafka.Record
		for recs.Next(&rec) {
			if rec.Offset >= start && each(&h, &rec) {
				return nil
			}
		}
		if err := recs.Err(); err != nil {
			return err
		}
		buf = recs.Buffer()
	}
	return sc.err
}
