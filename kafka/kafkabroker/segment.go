package kafkabroker

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// segment is a part of a log: a file with batches and indexes of it. One at a time changes it: who holds the log's writing,
// while it is the last one; nobody later, until compaction puts another in its place. Everybody may read it.
type segment struct {
	base    int64
	label   string // for errors: the path of .log when it was opened
	dir     string
	log     *handle
	index   *handle
	times   *handle
	created int64 // when it was made or opened
	size    atomic.Int64

	// dirty tells that there is something in .log that is not durable. The log's mu guards it.
	dirty bool

	mu        sync.Mutex
	inMemory  bool // entries and timeEntries are the indexes, and the files need not have all of them
	entries   []indexEntry
	moments   []timeEntry
	saved     int // entries that are in the file
	savedTime int
	since     int64 // bytes since the last entry
	indexLen  int64 // entries in the files when they are not in memory
	timesLen  int64
	first     int64 // timestamp of the first batch, unknownTime before somebody asked
	last      timeEntry
	lastKnown bool
	txnsLen   int64  // of the transaction index, in bytes: what is behind that is being written
	txnSuffix string // behind the name of it
	hints     [4]posHint
	hint      int
}

// posHint remembers where the batch with an offset begins, because somebody reads on from there.
type posHint struct{ offset, pos int64 }

// unknownTime is the timestamp of a first batch that was not read yet; noTime that of none.
const (
	unknownTime = -2
	noTime      = -1
)

func (d *logDir) newSegment(dir string, base, now int64, suffix string) *segment {
	at := func(kind string) *handle {
		return d.handles.file(filepath.Join(dir, segmentFile(base, kind)+suffix))
	}
	s := &segment{base: base, dir: dir, log: at(logSuffix), index: at(indexSuffix), times: at(timeIndexSuffix), created: now}
	s.first, s.txnSuffix, s.label = unknownTime, suffix, s.log.name
	return s
}

// createSegment makes an empty segment with its files. It becomes durable with the first sync of the log's directory.
func (d *logDir) createSegment(dir string, base, now int64, suffix string) (*segment, error) {
	s := d.newSegment(dir, base, now, suffix)
	err := removeFile(d.fs, s.txnName())
	var made []*handle
	for _, h := range [...]*handle{s.log, s.index, s.times} {
		if err != nil {
			break
		}
		if _, err = h.create(); err == nil {
			made = append(made, h)
			h.release()
		}
	}
	if err != nil {
		var left error
		for _, h := range made {
			left = errors.Join(left, h.remove())
		}
		if left != nil { // a segment that is not used must not be there
			return nil, d.fail("removing an unused segment", errors.Join(err, left))
		}
		return nil, err
	}
	s.inMemory, s.lastKnown, s.last, s.first = true, true, timeEntry{noTime, 0}, noTime
	return s, nil
}

// files are the segment's files with the suffixes of their names.
func (s *segment) files() map[string]*handle {
	return map[string]*handle{logSuffix: s.log, indexSuffix: s.index, timeIndexSuffix: s.times}
}

// note adds a batch that is in the file to the indexes.
func (s *segment) note(h *batchHead, interval int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first < 0 {
		s.first = h.time
	}
	relative := int32(h.last - s.base)
	if h.time > s.last.time {
		s.last = timeEntry{h.time, relative}
	}
	if s.since > interval {
		s.entries = append(s.entries, indexEntry{relative, int32(h.pos)})
		s.noteTime()
		s.since = 0
	}
	s.since += h.size
}

// noteTime adds the latest timestamp to the index of times, if it is later than what is there. The caller holds mu.
func (s *segment) noteTime() {
	if n := len(s.moments); s.last.time >= 0 && (n == 0 || s.last.time > s.moments[n-1].time) {
		s.moments = append(s.moments, s.last)
	}
}

// full reports whether the indexes have no room for another entry.
func (s *segment) full(indexBytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.entries)) >= indexBytes/indexEntrySize || int64(len(s.moments)) >= indexBytes/timeIndexEntrySize-1
}

// saveIndexes writes what the index files do not have. Nothing is durable yet. When the segment gets no more batches, seal
// comes first.
func (s *segment) saveIndexes() error {
	if err := s.saveTimes(); err != nil {
		return err
	}
	return s.saveEntries()
}

// seal adds the latest timestamp to the index of times.
func (s *segment) seal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteTime()
}

func (s *segment) saveEntries() error {
	s.mu.Lock()
	list, saved := s.entries, s.saved
	s.mu.Unlock()
	var b []byte
	for _, e := range list[saved:] {
		b = appendIndexEntry(b, e)
	}
	if err := writeAt(s.index, b, int64(saved)*indexEntrySize); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = len(list)
	return nil
}

func (s *segment) saveTimes() error {
	s.mu.Lock()
	list, saved := s.moments, s.savedTime
	s.mu.Unlock()
	var b []byte
	for _, e := range list[saved:] {
		b = appendTimeEntry(b, e)
	}
	if err := writeAt(s.times, b, int64(saved)*timeIndexEntrySize); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.savedTime = len(list)
	return nil
}

func writeAt(h *handle, b []byte, off int64) error {
	if len(b) == 0 {
		return nil
	}
	f, err := h.acquire()
	if err != nil {
		return err
	}
	defer h.release()
	_, err = f.WriteAt(b, off)
	return err
}

// forget drops the indexes from memory, when they are in the files and the segment gets no more batches.
func (s *segment) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.indexLen, s.timesLen = int64(len(s.entries)), int64(len(s.moments))
	s.inMemory, s.entries, s.moments = false, nil, nil
}

// remember reads the indexes into memory, so that batches can be added.
func (s *segment) remember() error {
	b, err := readHandle(s.index, s.indexLen*indexEntrySize)
	if err != nil {
		return err
	}
	t, err := readHandle(s.times, s.timesLen*timeIndexEntrySize)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries, s.moments = nil, nil
	for ; len(b) > 0; b = b[indexEntrySize:] {
		s.entries = append(s.entries, readIndexEntry(b))
	}
	for ; len(t) > 0; t = t[timeIndexEntrySize:] {
		s.moments = append(s.moments, readTimeEntry(t))
	}
	s.inMemory, s.saved, s.savedTime, s.since = true, len(s.entries), len(s.moments), 0
	s.last, s.lastKnown = timeEntry{noTime, 0}, true
	if n := len(s.moments); n > 0 {
		s.last = s.moments[n-1]
	}
	return nil
}

// readHandle reads the first n bytes of a file.
func readHandle(h *handle, n int64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	f, err := h.acquire()
	if err != nil {
		return nil, err
	}
	defer h.release()
	b := make([]byte, n)
	return b, readFull(f, b, 0)
}

// syncFiles makes everything of a segment durable, the indexes too.
func (s *segment) syncFiles(fsys vfs.FS) error {
	for _, h := range [...]*handle{s.log, s.index, s.times} {
		if err := syncHandle(h); err != nil {
			return err
		}
	}
	if !s.anyAborted() {
		return nil
	}
	return syncFile(fsys, s.txnName())
}

func syncHandle(h *handle) error {
	f, err := h.acquire()
	if err != nil {
		return err
	}
	defer h.release()
	return f.Sync()
}

func syncFile(fsys vfs.FS, name string) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// txnName returns the path of the transaction index.
func (s *segment) txnName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return filepath.Join(s.dir, segmentFile(s.base, txnIndexSuffix)+s.txnSuffix)
}

func (s *segment) anyAborted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.txnsLen > 0
}

// addAborted adds to the transaction index.
func (s *segment) addAborted(fsys vfs.FS, t abortedTxn) error {
	open := fsys.Create
	if s.anyAborted() {
		open = fsys.Open
	}
	f, err := open(s.txnName())
	if err != nil {
		return err
	}
	n, err := f.Size()
	if err == nil {
		if _, err = f.WriteAt(appendTxnEntry(nil, t), n); err != nil {
			err = errors.Join(err, f.Truncate(n))
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.txnsLen = n + txnEntrySize
	return nil
}

// aborted reads the transaction index.
func (s *segment) aborted(fsys vfs.FS) ([]abortedTxn, error) {
	s.mu.Lock()
	n := s.txnsLen
	s.mu.Unlock()
	if n == 0 {
		return nil, nil
	}
	name := s.txnName()
	b, err := readFile(fsys, name, maxSegmentBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.log.missing()
	}
	if err != nil {
		return nil, err
	}
	return readTxnEntries(name, b[:min(int64(len(b)), n)])
}

// latest returns the latest timestamp in the segment and the offset of its batch; the timestamp is negative when there is
// none.
func (s *segment) latest() (time, offset int64, err error) {
	s.mu.Lock()
	known, last, n := s.lastKnown, s.last, s.timesLen
	s.mu.Unlock()
	if !known {
		last = timeEntry{noTime, 0}
		if n > 0 {
			var b [timeIndexEntrySize]byte
			f, err := s.times.acquire()
			if err != nil {
				return 0, 0, err
			}
			err = readFull(f, b[:], (n-1)*timeIndexEntrySize)
			s.times.release()
			if err != nil {
				return 0, 0, err
			}
			last = readTimeEntry(b[:])
		}
		s.mu.Lock()
		s.last, s.lastKnown = last, true
		s.mu.Unlock()
	}
	return last.time, s.base + int64(last.relative), nil
}

// latestOrCreated is the latest timestamp, or when the segment was made or opened if no batch has one.
func (s *segment) latestOrCreated() (int64, error) {
	t, _, err := s.latest()
	if err == nil && t < 0 {
		t = s.created
	}
	return t, err
}

// firstTime returns the timestamp of the first batch, negative without one.
func (s *segment) firstTime() (int64, error) {
	s.mu.Lock()
	t := s.first
	s.mu.Unlock()
	if t != unknownTime {
		return t, nil
	}
	t = noTime
	if n := s.size.Load(); n > 0 {
		f, err := s.log.acquire()
		if err != nil {
			return 0, err
		}
		defer s.log.release()
		sc := headScanner(s.label, f, 0, n)
		defer headScanners.Put(sc)
		sc.few = true
		if sc.next() {
			t = sc.head.time
		} else if sc.err != nil {
			return 0, sc.err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first = t
	return t, nil
}
