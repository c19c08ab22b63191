package kafkabroker

import (
	"errors"
	"fmt"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// isolation says up to where a reader may see a log.
type isolation uint8

const (
	readCommitted   isolation = iota // up to the last stable offset
	readUncommitted                  // up to the high watermark
	readAll                          // up to the end, for replicas
)

// fetchRequest is what is to be read.
type fetchRequest struct {
	offset    int64
	maxBytes  int
	atLeast   bool // the first batch whole, even if it has more than maxBytes
	isolation isolation
}

// fetched is a part of a log: whole batches, of which the first has the asked offset or those behind it, in one segment. It
// keeps the segment's file open until close.
type fetched struct {
	state logState // when it was found
	bound int64    // the reader may see up to here
	next  int64    // after read or trim: the offset to read on from

	l    *partitionLog
	req  fetchRequest
	seg  *segment
	file vfs.File
	pos  int64
	n    int64

	limit int64 // what the reader may see of the file
}

// fetch finds what a reader may read from an offset on. OFFSET_OUT_OF_RANGE is the error for an offset before the start or
// behind the end. When there is nothing yet, size returns 0.
func (l *partitionLog) fetch(r fetchRequest) (*fetched, error) {
	f := &fetched{l: l, req: r, next: r.offset}
	for {
		err := l.find(f)
		if errors.Is(err, errGone) {
			continue // compaction or retention was faster; the list of segments is another one now
		}
		if err != nil {
			f.close()
			return nil, err
		}
		return f, nil
	}
}

// nothing reports whether there is nothing to read from an offset on, and that is no error: the case of most partitions of a
// fetch session. It says the same as fetch would, and allocates nothing.
func (l *partitionLog) nothing(offset int64, i isolation) (high, stable, start int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	high, stable, start = l.high, l.lastStable(), l.start
	return high, stable, start, start <= offset && l.bound(i) <= offset && offset <= l.end
}

// find does the work of fetch. errGone asks to try again.
func (l *partitionLog) find(f *fetched) error {
	l.mu.Lock()
	segs, endPos := l.segs, l.endPos
	f.state = logState{start: l.start, end: l.end, highWatermark: l.high, lastStable: l.lastStable(), durable: l.durable,
		recovery: l.recovery, segments: len(segs), epoch: l.epochs.latest()}
	unstable := l.unstable
	l.mu.Unlock()
	f.bound = f.state.end
	switch f.req.isolation {
	case readCommitted:
		f.bound = f.state.lastStable
	case readUncommitted:
		f.bound = f.state.highWatermark
	}
	offset := f.req.offset
	if offset < f.state.start || offset > f.state.end {
		return logError(kafkawire.ErrOffsetOutOfRange, "offset %d, and %s has %d to %d", offset, l.id, f.state.start, f.state.end)
	}
	if offset >= f.bound {
		return nil
	}
	boundSeg, boundPos, err := l.boundary(segs, endPos, f.bound, f.state.end, &unstable)
	if err != nil {
		return err
	}
	for i := max(floorSegment(segs, offset), 0); i <= boundSeg; i++ {
		limit := segs[i].size.Load()
		if i == boundSeg {
			limit = boundPos
		}
		found, err := f.in(segs[i], limit)
		if found || err != nil {
			return err
		}
	}
	return nil // compaction left nothing from the offset on
}

// in finds the batch in a segment.
func (f *fetched) in(g *segment, limit int64) (bool, error) {
	file, err := g.log.acquire()
	if err != nil {
		return false, err
	}
	h, found, err := g.locate(file, f.req.offset, limit)
	if !found || err != nil {
		g.log.release()
		return false, err
	}
	n := min(limit-h.pos, int64(max(f.req.maxBytes, 0)))
	if f.req.atLeast {
		n = max(n, h.size)
	}
	f.seg, f.file, f.pos, f.n, f.limit = g, file, h.pos, n, limit
	return true, nil
}

// boundary returns the segment and the position in it that a reader must not pass.
func (l *partitionLog) boundary(segs []*segment, endPos, bound, end int64, unstable *openTxn) (i int, pos int64, err error) {
	if bound >= end {
		return len(segs) - 1, endPos, nil
	}
	i = max(floorSegment(segs, bound), 0)
	g := segs[i]
	if unstable.first == bound && unstable.seg == g.base && unstable.pos >= 0 {
		return i, unstable.pos, nil
	}
	l.mu.Lock()
	hint := l.stableHint
	l.mu.Unlock()
	if hint.offset == bound && hint.seg == g {
		return i, hint.pos, nil
	}
	limit := g.size.Load()
	if i == len(segs)-1 {
		limit = endPos
	}
	file, err := g.log.acquire()
	if err != nil {
		return 0, 0, err
	}
	defer g.log.release()
	h, found, err := g.locate(file, bound, limit)
	if err != nil {
		return 0, 0, err
	}
	pos = limit
	if found {
		pos = h.pos
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stableHint = posOffset{bound, g, pos}
	return i, pos, nil
}

// size returns how many bytes read will read; a buffer must have room for them.
func (f *fetched) size() int { return int(f.n) }

// read reads the batches into buf, which has room for size bytes, and returns those that are there as a whole. It may be
// less than size; nothing means that not even the first batch has room in maxBytes.
func (f *fetched) read(buf []byte) ([]byte, error) {
	if f.n == 0 {
		return nil, nil
	}
	buf = buf[:f.n]
	if err := readFull(f.file, buf, f.pos); err != nil {
		return nil, f.failure(err)
	}
	whole := 0
	for rest := buf; len(rest) > 0; {
		entry, more, err := kafka.Split(rest)
		if err != nil {
			return nil, &corruptError{f.seg.label, f.pos + int64(whole), err.Error()}
		}
		if entry == nil {
			break
		}
		whole, rest = whole+len(entry), more
		f.next = entryEnd(entry)
	}
	if whole > 0 {
		f.seg.remind(f.next, f.pos+int64(whole))
	}
	return buf[:whole], nil
}

// trim does what read does without reading the batches, but for the heads of the last ones: it returns how many bytes those
// have, from pos on, that are there as a whole.
func (f *fetched) trim() (int, error) {
	if f.n == 0 {
		return 0, nil
	}
	from, err := f.seg.floorPosition(f.pos + f.n)
	if errors.Is(err, errGone) || errors.Is(err, errClosed) {
		from = f.pos // the segment was removed; only its .log is still open
	} else if err != nil {
		return 0, f.failure(err)
	}
	n, err := f.trimFrom(max(from, f.pos))
	if _, corrupt := errors.AsType[*corruptError](err); corrupt && from > f.pos {
		n, err = f.trimFrom(f.pos) // the index may be damaged
	}
	return n, err
}

// trimFrom is trim with the heads from a position on.
func (f *fetched) trimFrom(from int64) (int, error) {
	end := f.pos + f.n
	sc := headScanner(f.seg.label, f.file, from, f.limit)
	defer headScanners.Put(sc)
	for sc.next() {
		if sc.head.end() > end {
			f.next, end = sc.head.base, sc.head.pos
			break
		}
		f.next = sc.head.last + 1
	}
	if _, corrupt := errors.AsType[*corruptError](sc.err); corrupt {
		return 0, sc.err
	} else if sc.err != nil {
		return 0, f.failure(sc.err)
	}
	if end > f.pos {
		f.seg.remind(f.next, end)
	}
	return int(end - f.pos), nil
}

// failure is the error for one of the file system.
func (f *fetched) failure(err error) error {
	return &storageError{fmt.Sprintf("read of %s at offset %d", f.l.id, f.req.offset), err}
}

// entryEnd returns the offset behind an entry.
func entryEnd(entry []byte) int64 {
	if kafka.Magic(entry) == 2 {
		return kafka.Batch(entry).LastOffset() + 1
	}
	return kafka.Message(entry).Offset() + 1
}

// aborted returns the aborted transactions that a reader of what read returned must know, in the order of their first
// offsets.
func (f *fetched) aborted() ([]abortedTxn, error) {
	if f.next <= f.req.offset {
		return nil, nil
	}
	list, err := f.l.abortedIn(f.req.offset, f.next)
	if err != nil {
		return nil, err
	}
	// What retention has removed since, it has removed with its transaction index.
	if start := f.l.earliest().offset; f.req.offset < start {
		return nil, logError(kafkawire.ErrOffsetOutOfRange, "offset %d, and %s starts at %d now", f.req.offset, f.l.id, start)
	}
	return list, nil
}

// abortedIn returns the transactions aborted that have records in [from, to).
func (l *partitionLog) abortedIn(from, to int64) ([]abortedTxn, error) {
	for {
		segs := l.segments()
		var list []abortedTxn
		var err error
		done := false
		for i := max(floorSegment(segs, from), 0); i < len(segs) && !done && err == nil; i++ {
			var index []abortedTxn
			if index, err = segs[i].aborted(l.dir.fs); err == nil {
				list, done = selectAborted(list, index, from, to)
			}
		}
		if errors.Is(err, errGone) {
			continue
		}
		if errors.Is(err, errClosed) {
			return nil, err
		}
		if err != nil {
			return nil, l.storageFailure("transaction index", err)
		}
		sortAborted(list)
		return list, nil
	}
}

// Release is close, for [kafkaserver.Splice].
func (f *fetched) Release() { f.close() }

// close lets go of the file.
func (f *fetched) close() {
	if f.file != nil {
		f.file = nil
		f.seg.log.release()
	}
}
