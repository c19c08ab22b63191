package kafkabroker

import (
	"slices"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// deleteRecords moves the start of the log to an offset, -1 for the high watermark, and returns the start. The segments
// before it are removed by removeOld. A crash undoes it unless saveStarts has been called.
func (l *partitionLog) deleteRecords(offset int64) (int64, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.check(); err != nil {
		return 0, err
	}
	l.mu.Lock()
	if offset == -1 {
		offset = l.high
	}
	start, high := l.start, l.high
	l.mu.Unlock()
	if offset < 0 || offset > high {
		return 0, logError(kafkawire.ErrOffsetOutOfRange, "records up to %d of %s, which has %d", offset, l.id, high)
	}
	if offset <= start {
		return start, nil
	}
	return offset, l.moveStart(offset)
}

// moveStart moves the start of the log. The caller holds writing.
func (l *partitionLog) moveStart(offset int64) error {
	l.mu.Lock()
	l.start = max(l.start, offset)
	l.high = max(l.high, l.start)
	l.settle()
	l.mu.Unlock()
	e := l.epochs.truncateStart(l.start).truncateEnd(l.end)
	if !e.same(l.epochs) {
		// Without space the file may tell more than there is: what goes now makes room.
		if err := l.saveEpochs(e); !vfs.IsNoSpace(err) {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epochs = e
	return nil
}

// removeOld removes the segments that retention does not keep: those before the start of the log, and with the policy delete
// those that are too old, and the oldest while the others have retention.bytes. Nothing at or behind the high watermark is
// removed. It returns how many segments it has removed. The caller holds janitor.
func (l *partitionLog) removeOld(now int64) (removed int, err error) {
	c := l.config()
	n, all, err := l.deletable(c, now)
	if err != nil || n == 0 {
		return 0, err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.check(); err != nil {
		return 0, err
	}
	if all { // so was the last segment, which may have got younger records since
		if n, all, err = l.deletable(c, now); err != nil || n == 0 {
			return 0, err
		}
	}
	if all {
		if err := l.roll(l.end, now, c); err != nil {
			return 0, err
		}
	}
	if err := l.moveStart(l.segs[n].base); err != nil {
		return 0, err
	}
	return n, l.removeSegments(n)
}

// deletable returns how many of the first segments are to be removed. all tells that it is all of them.
func (l *partitionLog) deletable(c *logConfig, now int64) (n int, all bool, err error) {
	l.mu.Lock()
	segs, start, high, end := l.segs, l.start, l.high, l.end
	l.mu.Unlock()
	excess := int64(-1)
	if c.delete && c.retentionBytes >= 0 {
		excess = l.size() - c.retentionBytes
	}
	for ; n < len(segs); n++ {
		g, next := segs[n], end
		if n+1 < len(segs) {
			next = segs[n+1].base
		}
		size := g.size.Load()
		if next > high || size == 0 && n+1 == len(segs) {
			break
		}
		gone := n+1 < len(segs) && next <= start
		if excess >= size {
			gone = true
		}
		if !gone && c.delete && c.retentionMs >= 0 {
			latest, err := g.latestOrCreated()
			if err != nil {
				return 0, false, l.storageFailure("retention", err)
			}
			gone = now-latest > c.retentionMs
		}
		if !gone {
			break
		}
		excess -= size
	}
	return n, n == len(segs), nil
}

// removeSegments removes the first n segments, whose records are before the start of the log. The caller holds janitor and
// writing.
func (l *partitionLog) removeSegments(n int) error {
	gone := l.segs[:n]
	l.mu.Lock()
	l.segs = slices.Clone(l.segs[n:])
	l.mu.Unlock()
	for _, g := range gone { // the first one first, each durably, so that a crash leaves no hole
		err := g.discard(l.dir.fs, l.path)
		if err == nil {
			err = l.producers.removeSnapshot(l.dir.fs, l.path, g.base)
		}
		if err != nil {
			return l.dir.fail("removing a segment of "+l.id.String(), err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recovery = max(l.recovery, l.segs[0].base)
	return nil
}
