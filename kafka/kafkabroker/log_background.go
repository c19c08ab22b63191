package kafkabroker

import (
	"errors"
	"time"
)

// start begins to do in the background what is due from time to time: checkpoints, retention, compaction. None waits for
// another: compaction may take hours.
func (d *logDir) start() {
	d.every(d.opt.checkpointEvery, func(time.Time) { d.checkpointNow() })
	d.every(d.opt.retentionEvery, d.retainAll)
	d.every(d.opt.cleanEvery, d.cleanAll)
}

// every calls f again and again, with a pause before each call, until the directory is closed.
func (d *logDir) every(pause time.Duration, f func(now time.Time)) {
	d.done.Go(func() {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		for {
			select {
			case <-d.quit:
				return
			case <-timer.C:
			}
			f(time.Now())
			timer.Reset(pause)
		}
	})
}

func (d *logDir) checkpointNow() {
	if d.failure() != nil {
		return
	}
	if err := d.saveCheckpoints(); err != nil {
		d.log.Warn("kafkabroker: the checkpoints could not be written", "dir", d.path, "error", err)
	}
}

// retainAll applies retention to all logs and forgets producers that are idle.
func (d *logDir) retainAll(now time.Time) {
	for _, l := range d.all() {
		select {
		case <-d.quit:
			return
		default:
		}
		ms := now.UnixMilli()
		l.expireProducers(ms, d.opt.expireProducers)
		if !l.janitor.TryLock() {
			continue // it is being compacted, and nobody waits for that
		}
		_, err := l.removeOld(ms)
		l.janitor.Unlock()
		if err != nil && !errors.Is(err, errClosed) {
			d.log.Warn("kafkabroker: retention failed", "log", l.id, "error", err)
		}
	}
}

// cleanAll compacts the logs that are dirty enough, the dirtiest first, until there is none.
func (d *logDir) cleanAll(now time.Time) {
	d.cleaning.Lock()
	defer d.cleaning.Unlock()
	if d.cleaner == nil {
		d.cleaner = new(offsetMap)
	}
	done := make(map[*partitionLog]bool)
	for d.failure() == nil {
		select {
		case <-d.quit:
			return
		default:
		}
		l := d.dirtiest(now.UnixMilli(), done)
		if l == nil {
			break
		}
		done[l] = true
		if err := d.cleanLog(l, now.UnixMilli()); err != nil && !errors.Is(err, errAborted) {
			d.log.Warn("kafkabroker: compaction failed", "log", l.id, "error", err)
		}
	}
	d.cleaner.slots = nil // no memory between the rounds
}

// dirtiest returns the log that most needs to be compacted, or nil.
func (d *logDir) dirtiest(now int64, done map[*partitionLog]bool) (most *partitionLog) {
	ratio := -1.0
	for _, l := range d.all() {
		c := l.config()
		if !c.compact || done[l] || !l.janitor.TryLock() {
			continue
		}
		dirt, err := l.dirty(now)
		broken := l.broken
		l.janitor.Unlock()
		if err != nil || broken || dirt.bytes == 0 || dirt.end <= dirt.first {
			continue
		}
		if (dirt.ratio > c.minDirtyRatio || dirt.must) && dirt.ratio > ratio {
			most, ratio = l, dirt.ratio
		}
	}
	return most
}

// cleanLog compacts a log and notes up to where it has come. The caller holds cleaning.
func (d *logDir) cleanLog(l *partitionLog, now int64) error {
	s, err := l.clean(d.cleaner, now)
	if err != nil || s.to == 0 {
		return err
	}
	d.log.Debug("kafkabroker: compacted", "log", l.id, "from", s.from, "to", s.to, "before", s.bytesBefore, "after", s.bytesAfter)
	return d.noteCleaned(l, s.to)
}
