package kafkabroker

import (
	"errors"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// truncate removes all batches that reach an offset or are behind it, as a follower does when its leader has others there.
func (l *partitionLog) truncate(offset, now int64) error {
	if offset < 0 {
		return logError(kafkawire.ErrOffsetOutOfRange, "truncation to offset %d", offset)
	}
	l.stop.Store(true)
	l.janitor.Lock()
	defer l.janitor.Unlock()
	l.stop.Store(false)
	l.dir.flusher.wait() // it would move the recovery point
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.check(); err != nil {
		return err
	}
	if offset >= l.end {
		return l.trimEpochs(l.start, l.end)
	}
	l.crowded = 0
	if l.cleaned > offset { // what comes in its place is dirty
		if err := l.dir.noteCleaned(l, offset); err != nil {
			return l.storageFailure("truncation", err)
		}
		l.cleaned = offset
	}
	if offset < l.segs[0].base {
		return l.restart(offset, now)
	}
	if err := l.truncateFiles(offset); err != nil {
		return l.dir.fail("truncation of "+l.id.String(), err)
	}
	if err := l.trimEpochs(l.start, l.end); err != nil {
		return err
	}
	return l.rebuild(now)
}

// truncateFiles removes what is behind an offset from the files. The caller holds janitor and writing.
func (l *partitionLog) truncateFiles(offset int64) error {
	l.mu.Lock()
	l.recovery = min(l.recovery, l.segs[floorSegment(l.segs, offset)].base)
	l.mu.Unlock()
	// What is written behind the offset later must be looked at when the log is recovered.
	if err := l.dir.saveRecoveryPoints(); err != nil {
		return err
	}
	keep := floorSegment(l.segs, offset) + 1
	g := l.segs[keep-1]
	gone := l.segs[keep:]
	if len(gone) > 0 {
		if err := g.remember(); err != nil {
			return err
		}
	}
	end, err := g.truncateTo(l.dir.fs, offset)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.segs = l.segs[:keep:keep]
	l.end, l.endPos = end, g.size.Load()
	l.start = min(l.start, l.end)
	l.high, l.durable = min(l.high, l.end), min(l.durable, l.end)
	l.stableHint = posOffset{}
	l.mu.Unlock()
	// From the end, so that after a crash there is no hole.
	for i := len(gone) - 1; i >= 0; i-- {
		if err := gone[i].discard(l.dir.fs, l.path); err != nil {
			return err
		}
	}
	return errors.Join(syncHandle(g.log), l.dir.saveStarts())
}

// restart removes everything and begins anew at an offset. The caller holds janitor and writing.
func (l *partitionLog) restart(offset, now int64) error {
	g, err := l.dir.createSegment(l.path, offset, now, cleanedSuffix)
	if err != nil {
		return l.storageFailure("truncation", err)
	}
	if err := l.replaceAll(g, offset); err != nil {
		return l.dir.fail("truncation of "+l.id.String(), err)
	}
	return l.rebuild(now)
}

// replaceAll puts one empty segment in the place of all.
func (l *partitionLog) replaceAll(g *segment, offset int64) error {
	l.mu.Lock()
	gone := l.segs
	l.segs = []*segment{g}
	l.start, l.end, l.high, l.durable, l.recovery, l.endPos = offset, offset, offset, offset, offset, 0
	l.dirDirty, l.stableHint = true, posOffset{}
	l.mu.Unlock()
	for i := len(gone) - 1; i >= 0; i-- {
		if err := gone[i].discard(l.dir.fs, l.path); err != nil {
			return err
		}
	}
	if err := g.rename(l.dir.fs, ""); err != nil {
		return err
	}
	return errors.Join(l.dir.fs.SyncDir(l.path), l.dir.saveStarts())
}

// trimEpochs drops the leader epochs out of a range. The caller holds writing.
func (l *partitionLog) trimEpochs(start, end int64) error {
	e := l.epochs.truncateStart(start).truncateEnd(end)
	if !e.same(l.epochs) {
		return l.saveEpochs(e)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epochs = e
	return nil
}
