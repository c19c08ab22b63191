package kafkabroker

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// renameLog changes the suffix behind the name of .log.
func (s *segment) renameLog(suffix string) error {
	return s.log.rename(filepath.Join(s.dir, segmentFile(s.base, logSuffix)+suffix))
}

// renameIndexes changes the suffix behind the names of the other files. Who reads them may go on.
func (s *segment) renameIndexes(fsys vfs.FS, suffix string) error {
	for _, h := range [...]*handle{s.index, s.times} {
		kind := indexSuffix
		if h == s.times {
			kind = timeIndexSuffix
		}
		if err := h.rename(filepath.Join(s.dir, segmentFile(s.base, kind)+suffix)); err != nil {
			return err
		}
	}
	old := s.txnName()
	s.mu.Lock()
	s.txnSuffix = suffix
	s.mu.Unlock()
	if err := fsys.Rename(old, s.txnName()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// rename changes the suffix behind the names of all files.
func (s *segment) rename(fsys vfs.FS, suffix string) error {
	if err := s.renameLog(suffix); err != nil {
		return err
	}
	return s.renameIndexes(fsys, suffix)
}

// remove removes the files. Who reads .log may go on.
func (s *segment) remove(fsys vfs.FS) error {
	var all error
	for _, h := range s.files() {
		if err := h.remove(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = errors.Join(all, err)
		}
	}
	return errors.Join(all, removeFile(fsys, s.txnName()))
}

// discard takes a segment out of a directory and removes its files. A crash leaves all of them or a segment that is not
// there: without .log nobody misses the others, but a .log without its transaction index would be wrong.
func (s *segment) discard(fsys vfs.FS, dir string) error {
	if err := s.renameLog(deletedSuffix); err != nil {
		return err
	}
	if err := fsys.SyncDir(dir); err != nil {
		return err
	}
	return s.remove(fsys)
}

func truncateHandle(h *handle, size int64) error {
	f, err := h.acquire()
	if err != nil {
		return err
	}
	defer h.release()
	return f.Truncate(size)
}
