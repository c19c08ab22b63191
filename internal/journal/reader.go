package journal

// Reader reads single records. It keeps the part of the log that it read last, so that records that are near to each
// other cost one read. It is not safe for concurrent use; several readers are.
type Reader[T any] struct {
	j    *Journal[T]
	buf  []byte
	from uint64 // LSNs of what is kept: from up to the position, the rest is in front of it
	end  uint64
	all  []batch // the batches that are kept
	i    int     // position: a batch and what is left of it
	rest records
}

// NewReader returns a reader.
func (j *Journal[T]) NewReader() *Reader[T] { return &Reader[T]{j: j} }

// Read returns a record, which is valid until the next Read. It waits for a record that is not written yet. The errors
// are [ErrNotFound], [*CorruptError], [*FailedError], [ErrClosed] and those of the file system.
func (r *Reader[T]) Read(lsn uint64) ([]byte, error) {
	if lsn < r.from || lsn >= r.end {
		if err := r.load(lsn); err != nil {
			if r.j.isClosed() {
				err = ErrClosed
			}
			return nil, err
		}
	}
	if lsn < r.rest.lsn {
		r.start(0)
	}
	for {
		for r.i+1 < len(r.all) && lsn >= r.all[r.i+1].base {
			r.start(r.i + 1)
		}
		got, record, ok := r.rest.next()
		if !ok || got > lsn {
			r.start(0)
			return nil, ErrNotFound
		}
		if got == lsn {
			return record, nil
		}
	}
}

func (r *Reader[T]) start(i int) {
	r.i = i
	r.rest = records{body: r.all[i].body, lsn: r.all[i].base}
}

// load reads the part of the log that has an LSN.
func (r *Reader[T]) load(lsn uint64) error {
	r.from, r.end, r.all = 0, 0, r.all[:0]
	if err := r.j.awaitWritten(lsn); err != nil {
		return err
	}
	s := r.j.s
	s.mu.RLock()
	g := s.find(lsn)
	if g == nil {
		s.mu.RUnlock()
		return ErrNotFound
	}
	from, to := g.region(lsn)
	g.refs.Add(1)
	s.mu.RUnlock()
	defer g.refs.Add(-1)
	if from == to {
		return ErrNotFound
	}
	b := batchReader{f: g.file, seed: g.seed, off: from, limit: to, chunk: int(to - from), buf: r.buf[:0], lo: from}
	for b.off < to {
		one, err := b.next()
		if err == errInvalid {
			err = &CorruptError{File: s.path(g.name), Offset: b.off, Reason: "invalid batch"}
		}
		if err != nil {
			r.all = r.all[:0]
			return err
		}
		if one.seal() {
			break
		}
		r.all = append(r.all, one)
	}
	r.buf = b.buf
	if len(r.all) == 0 {
		return ErrNotFound
	}
	last := &r.all[len(r.all)-1]
	rs := records{body: last.body, lsn: last.base}
	for _, _, ok := rs.next(); ok; _, _, ok = rs.next() {
	}
	r.from, r.end = r.all[0].base, rs.lsn
	r.start(0)
	if lsn < r.from || lsn >= r.end {
		return ErrNotFound
	}
	return nil
}

// awaitWritten waits until a record that is pending is written.
func (j *Journal[T]) awaitWritten(lsn uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for lsn >= j.written {
		switch {
		case lsn >= j.chain:
			return ErrNotFound
		case j.err != nil:
			return j.err
		case j.state == closed || j.state == opened:
			return ErrClosed
		}
		j.hurryUp()
		j.wrote.Wait()
	}
	if j.state == closed {
		return ErrClosed
	}
	return nil
}

// isClosed reports whether Close has returned or is about to: files may be closed.
func (j *Journal[T]) isClosed() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state == closed
}
