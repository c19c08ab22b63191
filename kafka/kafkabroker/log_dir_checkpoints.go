package kafkabroker

import "errors"

// saveCheckpoints writes all checkpoints of the directory.
func (d *logDir) saveCheckpoints() error {
	return errors.Join(d.saveRecoveryPoints(), d.saveStarts(), d.saveHighWatermarks(), d.saveCleaned())
}

// save writes a checkpoint with an offset of each log, but not of those for which of returns false.
func (d *logDir) save(file string, of func(*partitionLog) (int64, bool)) error {
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
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
	return d.save(recoveryPointFile, func(l *partitionLog) (int64, bool) { return l.recovery, true })
}

// saveStarts writes where the logs start, those whose start is not that of a segment. What deleteRecords did is durable
// then.
func (d *logDir) saveStarts() error {
	return d.save(logStartFile, func(l *partitionLog) (int64, bool) { return l.start, l.start > l.segs[0].base })
}

// saveHighWatermarks writes the high watermarks.
func (d *logDir) saveHighWatermarks() error {
	return d.save(highWatermarkFile, func(l *partitionLog) (int64, bool) { return l.high, true })
}

// saveCleaned writes up to where compaction has read.
func (d *logDir) saveCleaned() error {
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	return d.saveOffsets(cleanerFile, d.cleanedTo)
}
