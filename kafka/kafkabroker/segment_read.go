package kafkabroker

import (
	"errors"
	"io"
	"sort"
	"sync"
)

// scanHead is how much is read to find the next heads behind an entry of the index.
const scanHead = 4096

// headScanners are scanners with a buffer of scanHead.
var headScanners = sync.Pool{New: func() any { return &scanner{buf: make([]byte, 0, scanHead)} }}

// headScanner returns a scanner that reads little at a time. It goes back into headScanners.
func headScanner(name string, f io.ReaderAt, pos, limit int64) *scanner {
	sc := headScanners.Get().(*scanner)
	*sc = scanner{name: name, f: f, pos: pos, limit: limit, buf: sc.buf[:0:cap(sc.buf)]}
	return sc
}

// locate finds the first batch with offsets that are not below the asked one: where it is, without its head. found is false
// when the segment ends before.
// The caller has acquired f, the .log, and gives how much of it there is.
func (s *segment) locate(f io.ReaderAt, offset, limit int64) (h batchHead, found bool, err error) {
	pos, exact, err := s.floor(offset)
	if err != nil {
		return h, false, err
	}
	if pos >= limit {
		if exact {
			return h, false, nil // somebody has read up to there, and compaction has left nothing behind it
		}
		pos = 0
	}
	sc := headScanner(s.label, f, pos, limit)
	defer headScanners.Put(sc)
	sc.few = exact
	for sc.next() {
		if sc.head.last >= offset {
			h = sc.head
			h.raw = nil // it is in the scanner
			return h, true, nil
		}
	}
	return h, false, sc.err
}

// floor returns a position from which on the batch with an offset is found. With exact it is the one where it begins.
func (s *segment) floor(offset int64) (pos int64, exact bool, err error) {
	if offset <= s.base {
		return 0, true, nil
	}
	s.mu.Lock()
	for i := range s.hints {
		if h := s.hints[i]; h.offset == offset && h.pos > 0 {
			s.mu.Unlock()
			return h.pos, true, nil
		}
	}
	s.mu.Unlock()
	relative := min(offset-s.base, maxRelative)
	pos, err = s.lastEntry(func(e indexEntry) bool { return int64(e.relative) <= relative })
	if err == nil && pos > 0 {
		pos, err = s.verify(pos, offset)
	}
	return pos, false, err
}

// verify returns a position that the index gave for an offset, or 0 when no batch begins there, or a later one: the index is
// damaged. Its file may have been so for long; when it is opened only its ends are looked at.
func (s *segment) verify(pos, offset int64) (int64, error) {
	limit := s.size.Load()
	if pos >= limit {
		return pos, nil // as callers find out, who know where the part ends that they may read
	}
	f, err := s.log.acquire()
	if err != nil {
		return 0, err
	}
	defer s.log.release()
	sc := headScanner(s.label, f, pos, limit)
	defer headScanners.Put(sc)
	sc.few = true
	if sc.next() && s.base <= sc.head.base && sc.head.base <= offset {
		return pos, nil
	}
	if _, damage := errors.AsType[*corruptError](sc.err); damage {
		return 0, nil
	}
	return 0, sc.err
}

// floorPosition returns the last position before pos of which the index knows that a batch begins there.
func (s *segment) floorPosition(pos int64) (int64, error) {
	return s.lastEntry(func(e indexEntry) bool { return int64(e.position) < pos })
}

// lastEntry returns the position in the last entry of the index for which below is true, 0 when there is none. It is true
// for those before that, too.
func (s *segment) lastEntry(below func(indexEntry) bool) (pos int64, err error) {
	s.mu.Lock()
	entries, inMemory, n := s.entries, s.inMemory, s.indexLen
	s.mu.Unlock()
	if inMemory {
		i := sort.Search(len(entries), func(i int) bool { return !below(entries[i]) })
		if i == 0 {
			return 0, nil
		}
		return max(int64(entries[i-1].position), 0), nil
	}
	if n == 0 {
		return 0, nil
	}
	f, err := s.index.acquire()
	if err != nil {
		return 0, err
	}
	defer s.index.release()
	var b [indexEntrySize]byte
	ok, err := floorEntry(f, n, indexEntrySize, func(e []byte) bool { return below(readIndexEntry(e)) }, b[:])
	if err != nil || !ok {
		return 0, err
	}
	return max(int64(readIndexEntry(b[:]).position), 0), nil
}

// remind notes where the batch with an offset begins.
func (s *segment) remind(offset, pos int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.hints {
		if s.hints[i].offset == offset {
			s.hints[i].pos = pos
			return
		}
	}
	s.hints[s.hint] = posHint{offset, pos}
	s.hint = (s.hint + 1) % len(s.hints)
}

// floorTime returns the last entry of the index of times before a timestamp, or the base offset when there is none: no
// batch up to that offset is so late.
func (s *segment) floorTime(time int64) (offset int64, err error) {
	s.mu.Lock()
	moments, inMemory, n := s.moments, s.inMemory, s.timesLen
	s.mu.Unlock()
	if inMemory {
		i := sort.Search(len(moments), func(i int) bool { return moments[i].time >= time })
		if i == 0 {
			return s.base, nil
		}
		return s.base + int64(moments[i-1].relative), nil
	}
	if n == 0 {
		return s.base, nil
	}
	f, err := s.times.acquire()
	if err != nil {
		return 0, err
	}
	defer s.times.release()
	var b [timeIndexEntrySize]byte
	ok, err := floorEntry(f, n, timeIndexEntrySize, func(e []byte) bool { return readTimeEntry(e).time < time }, b[:])
	if err != nil || !ok {
		return s.base, err
	}
	return s.base + int64(readTimeEntry(b[:]).relative), nil
}

// nextOffset returns the offset behind the last batch, by reading from the last entry of the index on.
func (s *segment) nextOffset() (int64, error) {
	limit := s.size.Load()
	if limit == 0 {
		return s.base, nil
	}
	pos, _, err := s.floor(s.base + maxRelative)
	if err != nil {
		return 0, err
	}
	f, err := s.log.acquire()
	if err != nil {
		return 0, err
	}
	defer s.log.release()
	if pos >= limit {
		pos = 0
	}
	end := s.base
	sc := headScanner(s.label, f, pos, limit)
	defer headScanners.Put(sc)
	for sc.next() {
		if sc.head.base < end || sc.head.last-s.base > maxRelative {
			return end, &corruptError{s.label, sc.head.pos, "an offset out of order"}
		}
		end = sc.head.last + 1
	}
	return end, sc.err
}
