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

// truncateTo removes the batches that reach an offset, with what indexes say about them, and returns the offset at which the
// segment ends now. Its indexes are in memory.
func (s *segment) truncateTo(fsys vfs.FS, offset int64) (end int64, err error) {
	f, err := s.log.acquire()
	if err != nil {
		return 0, err
	}
	defer s.log.release()
	size := s.size.Load()
	h, found, err := s.locate(f, offset, size)
	if err != nil {
		return 0, err
	}
	end, pos := offset, size
	if found {
		end, pos = min(offset, h.base), h.pos
	}
	if err := f.Truncate(pos); err != nil {
		return 0, err
	}
	s.size.Store(pos)
	s.cutIndexes(end)
	if err := s.cutFiles(fsys, end); err != nil {
		return 0, err
	}
	return end, s.refresh(f)
}

// cutIndexes drops the entries of the indexes in memory from an offset on.
func (s *segment) cutIndexes(end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, m := len(s.entries), len(s.moments)
	for n > 0 && s.base+int64(s.entries[n-1].relative) >= end {
		n--
	}
	for m > 0 && s.base+int64(s.moments[m-1].relative) >= end {
		m--
	}
	s.entries, s.moments = s.entries[:n:n], s.moments[:m:m]
	s.saved, s.savedTime = min(s.saved, n), min(s.savedTime, m)
	s.since = 0
	clear(s.hints[:])
}

// cutFiles makes the files of the indexes as short as what was cut.
func (s *segment) cutFiles(fsys vfs.FS, end int64) error {
	err := truncateHandle(s.index, int64(s.saved)*indexEntrySize)
	if err == nil {
		err = truncateHandle(s.times, int64(s.savedTime)*timeIndexEntrySize)
	}
	if err != nil {
		return err
	}
	txns, err := s.aborted(fsys)
	if err != nil {
		return err
	}
	n := len(txns)
	for n > 0 && txns[n-1].last >= end {
		n--
	}
	if n == len(txns) {
		return nil
	}
	f, err := fsys.Open(s.txnName())
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(int64(n)*txnEntrySize), f.Close())
}

func truncateHandle(h *handle, size int64) error {
	f, err := h.acquire()
	if err != nil {
		return err
	}
	defer h.release()
	return f.Truncate(size)
}

// refresh computes the latest timestamp anew after batches were removed.
func (s *segment) refresh(f vfs.File) error {
	size := s.size.Load()
	s.mu.Lock()
	s.last, s.lastKnown, s.first = timeEntry{noTime, 0}, true, unknownTime
	if size == 0 {
		s.first = noTime
	}
	if n := len(s.moments); n > 0 {
		s.last = s.moments[n-1]
	}
	from := s.base + int64(s.last.relative)
	s.mu.Unlock()
	pos, _, err := s.floor(from)
	if err != nil {
		return err
	}
	sc := newScanner(s.label, f, min(pos, size), size, nil)
	for sc.next() {
		if sc.head.time > s.last.time {
			s.mu.Lock()
			s.last = timeEntry{sc.head.time, int32(sc.head.last - s.base)}
			s.mu.Unlock()
		}
	}
	return sc.err
}
