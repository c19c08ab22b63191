package kafkabroker

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// reserve keeps others from making or removing a log.
func (d *logDir) reserve(id partitionID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	if d.pending[id] {
		return logError(kafkawire.ErrTopicAlreadyExists, "%s is being made or removed", id)
	}
	d.pending[id] = true
	return nil
}

func (d *logDir) unreserve(id partitionID, l *partitionLog) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.pending, id)
	if l != nil {
		d.logs[id] = l
	}
}

// create makes the logs of some partitions of a topic, all or none. They are durable when create returns.
func (d *logDir) create(topicID kafkawire.UUID, c *logConfig, ids ...partitionID) (made []*partitionLog, err error) {
	if err := d.failure(); err != nil {
		return nil, err
	}
	for i, id := range ids {
		if err := d.reserve(id); err != nil {
			for _, id := range ids[:i] {
				d.unreserve(id, nil)
			}
			return nil, err
		}
	}
	made = make([]*partitionLog, len(ids))
	if err = d.forgetRemoved(ids); err == nil {
		err = d.inParallel(len(ids), func(i int) (err error) {
			made[i], err = d.makeLog(ids[i], topicID, c)
			return err
		})
	}
	if err == nil {
		err = d.syncMade(made)
	}
	for i, id := range ids {
		if err == nil {
			d.unreserve(id, made[i])
			continue
		}
		if made[i] != nil {
			made[i].leave()
			_ = d.removeTree(made[i].path)
		}
		d.unreserve(id, nil)
	}
	if err == nil {
		return made, nil
	}
	if e := d.fs.SyncDir(d.path); e != nil { // a log that nobody knows must not come back
		return nil, d.fail("undoing the making of logs", errors.Join(err, e))
	}
	return nil, err
}

// makeLog makes a log that is not durable.
func (d *logDir) makeLog(id partitionID, topicID kafkawire.UUID, c *logConfig) (*partitionLog, error) {
	if d.get(id) != nil {
		return nil, logError(kafkawire.ErrTopicAlreadyExists, "%s", id)
	}
	path := filepath.Join(d.path, id.String())
	err := d.fs.Mkdir(path)
	if err == nil && !topicID.IsZero() {
		err = createFile(d.fs, filepath.Join(path, partitionFile), encodePartitionMeta(topicID))
	}
	var l *partitionLog
	if err == nil {
		l, err = d.openLog(id, c, opening{clean: true, cleaned: -1, now: time.Now().UnixMilli()})
	}
	if err != nil {
		_ = d.removeTree(path)
		return nil, &storageError{"making " + id.String(), err}
	}
	return l, nil
}

// syncMade makes new logs durable.
func (d *logDir) syncMade(made []*partitionLog) error {
	err := errors.ErrUnsupported
	if from := d.opt.syncAllFrom; from > 0 && 2*len(made) >= from {
		err = d.fs.SyncAll(d.path)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		err = d.inParallel(len(made), func(i int) error {
			l := made[i]
			if !l.topicID.IsZero() {
				if err := syncFile(d.fs, filepath.Join(l.path, partitionFile)); err != nil {
					return err
				}
			}
			return d.fs.SyncDir(l.path)
		})
		if err == nil {
			err = d.fs.SyncDir(d.path)
		}
	}
	if err != nil {
		return &storageError{"making logs", err}
	}
	for _, l := range made {
		l.dirDirty = false
	}
	return nil
}

// remove removes the log of a partition. Who reads from it may go on.
func (d *logDir) remove(id partitionID) error {
	if err := d.reserve(id); err != nil {
		return err
	}
	defer d.unreserve(id, nil)
	l := d.get(id)
	if l == nil {
		return errNotFound(id)
	}
	l.stop.Store(true)
	l.janitor.Lock()
	defer l.janitor.Unlock()
	l.writing.Lock()
	l.closed = true
	l.writing.Unlock()
	l.removed.Store(true)
	d.flusher.wait()
	l.leave()
	path := filepath.Join(d.path, id.deleteDirName(d.opt.newUUID()))
	err := d.fs.RenameDir(l.path, path)
	if err == nil {
		err = d.fs.SyncDir(d.path)
	}
	if err != nil {
		return d.fail("removing "+id.String(), err)
	}
	d.mu.Lock()
	delete(d.logs, id)
	d.mu.Unlock()
	d.checkpoints.Lock()
	delete(d.cleanedTo, id)
	d.stale[id] = true
	d.checkpoints.Unlock()
	l.mu.Lock()
	l.path = path
	l.mu.Unlock()
	if err := d.removeTree(path); err != nil {
		d.log.Warn("kafkabroker: a log that is removed is still there", "dir", path, "error", err)
	}
	return nil
}

// leave says that all files go. There is no other segment that has what readers look for.
func (l *partitionLog) leave() {
	for _, g := range l.segments() {
		for _, h := range g.files() {
			h.leave()
		}
	}
}

// removeTree removes a directory with its files.
func (d *logDir) removeTree(path string) error {
	names, err := d.fs.List(path)
	for _, name := range names {
		if err == nil {
			err = removeFile(d.fs, filepath.Join(path, name))
		}
	}
	if err == nil {
		err = d.fs.RemoveDir(path)
	}
	return err
}
