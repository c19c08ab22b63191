package kafkabroker

import (
	"errors"
	"path/filepath"
	"slices"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// roll begins a new segment whose base offset is the end of the log, or the first offset of what comes next if that is
// later. The caller holds writing.
func (l *partitionLog) roll(next, now int64, c *logConfig) error {
	old, base := l.active(), max(next, l.end)
	if old.base == base {
		return nil // empty
	}
	old.seal()
	if err := old.saveIndexes(); err != nil {
		return l.storageFailure("roll", err)
	}
	if c.flush == flushSync {
		// Else the new segment could be durable and the end of the old one, or its name, not: a hole.
		err := syncHandle(old.log)
		if err == nil {
			err = l.dir.fs.SyncDir(l.path)
		}
		if err != nil {
			return l.dir.fail("sync", err)
		}
	}
	t := l.producers
	t.end = base
	snapshot, err := t.save(l.dir.fs, l.path)
	if err != nil {
		return l.storageFailure("roll", err)
	}
	g, err := l.dir.createSegment(l.path, base, now, "")
	if err != nil {
		return l.storageFailure("roll", err)
	}
	old.forget()
	l.mu.Lock()
	l.segs = append(l.segs[:len(l.segs):len(l.segs)], g)
	l.endPos = 0
	l.dirDirty = true
	if c.flush == flushSync {
		old.dirty = false
	}
	stable := l.undecided()
	l.mu.Unlock()
	l.dir.flusher.add(rolled{l: l, seg: old, snapshot: snapshot, end: base, stable: stable})
	return nil
}

// undecided returns the offset of the first record of a transaction that is open, or the end. The caller holds writing and
// mu.
func (l *partitionLog) undecided() int64 {
	for _, t := range l.producers.txns {
		if t.marker < 0 {
			return t.first
		}
	}
	return l.end
}

// storageFailure returns the error for an operation that failed and left the log as it was.
func (l *partitionLog) storageFailure(op string, err error) error {
	return &storageError{op + " of " + l.id.String(), err}
}

// saveEpochs replaces the leader epochs, on disk first. The caller holds writing.
func (l *partitionLog) saveEpochs(e leaderEpochs) error {
	if err := writeFile(l.dir.fs, filepath.Join(l.path, epochFile), e.encode()); err != nil {
		if !vfs.IsNoSpace(err) { // what else is new in the directory may not become durable any more
			return l.dir.fail("leader epochs of "+l.id.String(), err)
		}
		return l.storageFailure("leader epochs", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epochs = e
	return nil
}

// rolled is a segment that gets no more batches, to be made durable with its indexes and the snapshot at its end.
type rolled struct {
	l        *partitionLog
	seg      *segment
	snapshot string // path, or ""
	end      int64  // the recovery point moves to here then
	stable   int64  // and the last stable offset there
}

// flush does that.
func (r *rolled) flush() error {
	d := r.l.dir
	err := r.seg.syncFiles(d.fs)
	if err == nil && r.snapshot != "" {
		err = syncFile(d.fs, r.snapshot)
	}
	if err == nil {
		err = d.fs.SyncDir(r.l.dirPath())
	}
	l := r.l
	l.mu.Lock()
	live := slices.Contains(l.segs, r.seg)
	if err == nil && live {
		r.seg.dirty = false
		l.recovery = max(l.recovery, min(r.end, l.end))
		l.recoveryStable = max(l.recoveryStable, min(r.stable, l.end))
	}
	l.mu.Unlock()
	if err != nil && live { // else it was removed meanwhile, with the snapshot
		return d.fail("sync", err)
	}
	return nil
}

// dirPath returns the path of the log's directory.
func (l *partitionLog) dirPath() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.path
}

// close makes everything durable and closes the log. It can be opened without a look at its records then, if the whole
// directory is closed so.
func (l *partitionLog) close() error {
	l.stop.Store(true)
	l.janitor.Lock()
	defer l.janitor.Unlock()
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	defer l.shut()
	if err := l.dir.failure(); err != nil {
		return err
	}
	snapshot, err := l.producers.save(l.dir.fs, l.path)
	if err == nil && snapshot != "" {
		err = syncFile(l.dir.fs, snapshot)
	}
	if err == nil {
		l.active().seal()
		err = l.active().saveIndexes()
	}
	if err == nil {
		err = l.syncAll()
	}
	if err != nil {
		return l.dir.fail("close of "+l.id.String(), err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recovery, l.durable = l.end, l.end
	return nil
}

// syncAll makes the last segment and all others with something new durable, with their indexes. The caller holds writing.
func (l *partitionLog) syncAll() error {
	l.mu.Lock()
	var segs []*segment
	for i, g := range l.segs {
		if g.dirty || i == len(l.segs)-1 {
			segs = append(segs, g)
		}
	}
	l.mu.Unlock()
	for _, g := range segs {
		if err := g.syncFiles(l.dir.fs); err != nil {
			return err
		}
	}
	if err := l.dir.fs.SyncDir(l.path); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range segs {
		g.dirty = false
	}
	l.dirDirty = false
	return nil
}

// shut closes the files that nobody is reading.
func (l *partitionLog) shut() {
	for _, g := range l.segs {
		for _, h := range g.files() {
			h.shut()
		}
	}
}

// errAborted says that compaction was given up.
var errAborted = errors.New("kafkabroker: compaction was given up")
