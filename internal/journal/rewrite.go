package journal

import (
	"errors"
	"time"
)

// cleanSlice is how much the cleaner reads or writes before it pauses.
const cleanSlice = 256 << 10

// rewriter writes the segment that replaces a run.
type rewriter struct {
	frames
	g *segment
}

// rewrite replaces a run of neighbouring segments by one that has what is still needed of their records, or by none.
func (j *Journal[T]) rewrite(run []*segment, urgent bool) (err error) {
	s := j.s
	h, err := s.newHeader()
	if err != nil {
		return err
	}
	h.first, h.end, h.rewritten = run[0].first, run[len(run)-1].end, j.appended()
	w := &rewriter{g: &segment{header: h, name: segName(h.id), used: segHeader, size: segHeader, sealed: true, synced: true}}
	tmp := w.g.name + tmpSuffix
	if w.g.file, err = s.fs.Create(s.path(tmp)); err != nil {
		return err
	}
	renamed, listed := false, false
	defer func() {
		if err != nil && !listed {
			_ = w.g.file.Close()
			if !renamed {
				_ = s.fs.Remove(s.path(tmp))
			}
		}
	}()
	if _, err := w.g.file.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	w.reset(h.first)
	for _, g := range run {
		if err := j.copyKept(w, g, s.oldest(run[0]), urgent); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	if err := j.settled(); err != nil {
		return err
	}
	if w.g.records == 0 {
		_ = w.g.file.Close()
		if err := s.fs.Remove(s.path(tmp)); err != nil {
			return err
		}
		return s.remove(run)
	}
	if err := w.seal(); err != nil {
		return err
	}
	if err := s.fs.Rename(s.path(tmp), s.path(w.g.name)); err != nil {
		return err
	}
	renamed = true
	if err := s.fs.SyncDir(s.dir); err != nil {
		return &syncError{err}
	}
	s.mu.Lock()
	for _, g := range run {
		w.g.live.Add(g.live.Load())
	}
	w.g.liveBefore = max(0, w.g.live.Load())
	s.swap(run, w.g)
	listed = true
	s.mu.Unlock()
	j.cleaned.Add(uint64(w.g.used))
	return s.retire(run)
}

// appended returns the number after the last record. Keep knows all records below, and those from there on will be
// younger, also after a restart; numbers that are reserved now are given again then.
func (j *Journal[T]) appended() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.chain
}

// oldest returns the lowest number at which a segment older than g was rewritten; tombstones from there are needed. Without
// older segments it is the highest number.
func (s *store) oldest(g *segment) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	lowest := ^uint64(0)
	for _, o := range s.segs {
		if o == g {
			break
		}
		lowest = min(lowest, o.rewritten)
	}
	return lowest
}

// copyKept appends to the new segment what is to be kept of an old one.
func (j *Journal[T]) copyKept(w *rewriter, g *segment, oldest uint64, urgent bool) error {
	r := g.reader(cleanSlice)
	r.limit = g.used
	start, slice := time.Now(), r.off
	for r.off < g.used {
		b, err := r.next()
		if err == errInvalid {
			return &CorruptError{File: j.s.path(g.name), Offset: r.off, Reason: "invalid batch"}
		}
		if err != nil {
			return err
		}
		rs := records{body: b.body, lsn: b.base}
		for {
			lsn, record, ok := rs.next()
			if !ok {
				break
			}
			switch j.h.Keep(lsn, record) {
			case Keep:
				w.add(lsn, record, nil, 0, false)
			case Tombstone:
				if oldest <= lsn {
					w.add(lsn, record, nil, 0, true)
				}
			}
		}
		if w.size >= cleanSlice {
			if err := w.flush(); err != nil {
				return err
			}
		}
		if r.off-slice >= cleanSlice {
			if g.live.Load() <= 0 && g.tombs == 0 { // it can be removed as it is
				return errDead
			}
			select {
			case <-j.closing:
				return errGivenUp
			default:
			}
			if !urgent && !j.pressure.behind.Load() && !j.sleep(min(time.Since(start), 50*time.Millisecond)) {
				return errGivenUp
			}
			start, slice = time.Now(), r.off
		}
	}
	return nil
}

// flush writes what was added.
func (w *rewriter) flush() error {
	if w.records == 0 {
		return nil
	}
	g := w.g
	w.finish(g.seed, g.rewritten)
	if _, err := w.writeTo(g.file, g.used); err != nil {
		return err
	}
	if err := g.file.Sync(); err != nil {
		return &syncError{err}
	}
	at := g.used
	for i := range w.batches {
		b := &w.batches[i]
		b.off = at + b.offset
		g.note(&b.batch, w.end, int64(b.size))
	}
	g.payload += w.payload
	w.reset(w.end)
	return nil
}

// seal writes the mark of the end and makes the file durable.
func (w *rewriter) seal() error {
	if err := w.g.seal(w.frames.end, w.g.rewritten); err != nil {
		return err
	}
	w.g.used += batchHeader
	w.g.size = w.g.used
	if err := w.g.file.Sync(); err != nil {
		return &syncError{err}
	}
	return nil
}

// remove removes segments without a successor.
func (s *store) remove(run []*segment) error {
	s.mu.Lock()
	s.swap(run, nil)
	s.mu.Unlock()
	return s.retire(run)
}

// retire lets go of segments that are out of the list. One may become the spare file; the others are removed. When it
// returns, that is durable. After an error nobody knows which of them are there after a restart.
func (s *store) retire(run []*segment) error {
	var err error
	var spare *segment
	for _, g := range run {
		if spare == nil && s.wantsSpare(g) {
			spare = g
			err = errors.Join(err, s.fs.Rename(s.path(g.name), s.path(spareFile)))
			continue
		}
		err = errors.Join(err, s.fs.Remove(s.path(g.name)))
		s.mu.Lock()
		s.grave = append(s.grave, g)
		s.mu.Unlock()
	}
	if err = errors.Join(err, s.fs.SyncDir(s.dir)); err != nil {
		return &syncError{err}
	}
	if spare == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spare, s.spareSize = spare.file, spare.size
	return nil
}

// wantsSpare reports whether the file of a segment that is out of the list may become the next segment.
func (s *store) wantsSpare(g *segment) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.prepared == nil && !s.making && s.spare == nil && g.refs.Load() == 0 && g.rewritten == 0 &&
		g.size <= 2*s.opt.SegmentSize && g.size >= s.nextSize(s.segs[len(s.segs)-1].size)
}

// dropSpare removes the spare file, to make room.
func (s *store) dropSpare() {
	if f, _ := s.takeSpare(); f != nil {
		_ = f.Close()
		_ = s.fs.Remove(s.path(spareFile))
	}
}

// bury closes files that nobody reads any more.
func (s *store) bury() {
	s.mu.Lock()
	var done []*segment
	rest := s.grave[:0]
	for _, g := range s.grave {
		if g.refs.Load() == 0 {
			done = append(done, g)
		} else {
			rest = append(rest, g)
		}
	}
	clear(s.grave[len(rest):])
	s.grave = rest
	s.mu.Unlock()
	for _, g := range done {
		_ = g.file.Close()
	}
}
