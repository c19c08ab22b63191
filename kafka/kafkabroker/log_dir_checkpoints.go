package kafkabroker

import (
	"errors"
	"slices"
)

// saveCheckpoints writes all checkpoints of the directory.
func (d *logDir) saveCheckpoints() error {
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	return d.saveAll()
}

// saveAll does the work of saveCheckpoints. The caller holds checkpoints.
func (d *logDir) saveAll() error {
	err := errors.Join(d.save(recoveryPointFile, recoveryPoint), d.save(logStartFile, startPoint),
		d.save(highWatermarkFile, highPoint), d.saveOffsets(cleanerFile, d.cleanedTo))
	if err == nil {
		clear(d.stale)
	}
	return err
}

// forgetRemoved sees to it that the checkpoints say nothing about logs of some names that were removed: it would be taken for
// what is to be known of new logs of these names. The names are reserved.
func (d *logDir) forgetRemoved(ids []partitionID) error {
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	if slices.ContainsFunc(ids, func(id partitionID) bool { return d.stale[id] }) {
		if err := d.saveAll(); err != nil {
			return &storageError{"checkpoints", err}
		}
	}
	return nil
}

func recoveryPoint(l *partitionLog) (int64, bool) { return l.recovery, true }
func startPoint(l *partitionLog) (int64, bool)    { return l.start, l.start > 0 }
func highPoint(l *partitionLog) (int64, bool)     { return l.high, true }

// save writes a checkpoint with an offset of each log, but not of those for which of returns false. The caller holds
// checkpoints.
func (d *logDir) save(file string, of func(*partitionLog) (int64, bool)) error {
	offsets := make(map[partitionID]int64)
	for _, l := range d.all() {
		l.mu.Lock()
		if offset, ok := of(l); ok {
			offsets[l.id] = offset
		}
		l.mu.Unlock()
	}
	return d.saveOffsets(file, offsets)
}

// saveRecoveryPoints writes from where on each log is looked at when the directory was not closed in order.
func (d *logDir) saveRecoveryPoints() error {
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	return d.save(recoveryPointFile, recoveryPoint)
}

// saveStarts writes where the logs start, also those that start with their first segment: others before it may still be
// there. What deleteRecords did is durable then.
func (d *logDir) saveStarts() error {
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	return d.save(logStartFile, startPoint)
}

// noteCleaned notes up to where compaction has read a log.
func (d *logDir) noteCleaned(l *partitionLog, to int64) error {
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	if l.removed.Load() {
		return nil // there may be another log of its name
	}
	d.cleanedTo[l.id] = to
	return d.saveOffsets(cleanerFile, d.cleanedTo)
}
