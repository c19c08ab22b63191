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
		best, when := -1, int64(noTime)
		for i, g := range segs {
			latest, _, err := g.latest()
			if err != nil {
				return o, false, err
			}
			if latest > when {
				best, when = i, latest
			}
		}
		if best < 0 {
			return o, false, nil
		}
		return l.searchTime(segs[best], when, start)
	})
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
	limit := g.size.Load()
	from, err := g.floorTime(time)
	if err != nil {
		return o, false, err
	}
	pos, _, err := g.floor(max(from, start))
	if err != nil {
		return o, false, err
	}
	f, err := g.log.acquire()
	if err != nil {
		return o, false, err
	}
	defer g.log.release()
	if pos >= limit {
		pos = 0
	}
	sc := newScanner(g.label, f, pos, limit, nil)
	var entry, buf []byte
	for sc.next() {
		h := sc.head
		if h.time < time && h.magic() > 0 || h.last < start {
			continue
		}
		if entry, err = sc.entry(entry[:0]); err != nil {
			return o, false, err
		}
		recs, err := kafka.Open(entry, buf, int(min(l.config().maxDecoded, math.MaxInt32)))
		if err != nil {
			return o, false, err
		}
		var rec kafka.Record
		for recs.Next(&rec) {
			if rec.Timestamp >= time && rec.Offset >= start {
				o = foundOffset{rec.Offset, rec.Timestamp, -1}
				if h.magic() == 2 {
					o.epoch = h.raw.LeaderEpoch()
				}
				return o, true, nil
			}
		}
		if err := recs.Err(); err != nil {
			return o, false, err
		}
		buf = recs.Buffer()
	}
	return o, false, sc.err
}
