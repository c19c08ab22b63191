package kafkabroker

import (
	"errors"
	"time"
)

// start begins to do in the background what is due from time to time: retention, compaction, checkpoints.
func (d *logDir) start() {
	d.done.Go(func() {
		now := time.Now()
		retention, cleaning, checkpoint := now.Add(d.opt.retentionEvery), now.Add(d.opt.cleanEvery), now.Add(d.opt.checkpointEvery)
		timer := time.NewTimer(0)
		defer timer.Stop()
		for {
			next := retention
			if cleaning.Before(next) {
				next = cleaning
			}
			if checkpoint.Before(next) {
				next = checkpoint
			}
			timer.Reset(time.Until(next))
			select {
			case <-d.quit:
				return
			case <-timer.C:
			}
			now := time.Now()
			if !now.Before(checkpoint) {
				d.checkpointNow()
				checkpoint = now.Add(d.opt.checkpointEvery)
			}
			if !now.Before(retention) {
				d.retainAll(now)
				retention = now.Add(d.opt.retentionEvery)
			}
			if !now.Before(cleaning) {
				d.cleanAll(now)
				cleaning = time.Now().Add(d.opt.cleanEvery)
			}
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
		if _, err := l.retain(ms); err != nil && !errors.Is(err, errClosed) {
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
