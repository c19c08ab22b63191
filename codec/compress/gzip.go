package compress

import (
	"bytes"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"

	"github.com/quartet-mq/quartet/codec"
)

// gzipWriters has a pool for each level.
var gzipWriters = [gzip.BestCompression + 1]sync.Pool{}

var gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}

// sink is an io.Writer that appends.
type sink struct{ b []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

func appendGzip(dst, src []byte, level int) []byte {
	if level == 0 {
		level = 6
	}
	level = min(max(level, gzip.BestSpeed), gzip.BestCompression)
	pool := &gzipWriters[level]
	s := &sink{dst}
	w, ok := pool.Get().(*gzip.Writer)
	if ok {
		w.Reset(s)
	} else {
		w, _ = gzip.NewWriterLevel(s, level) // the level is legal
	}
	w.Write(src) // a sink does not fail
	w.Close()
	pool.Put(w)
	return s.b
}

func decodeGzip(dst, src []byte, limit int) ([]byte, error) {
	r := gzipReaders.Get().(*gzip.Reader)
	defer gzipReaders.Put(r)
	if err := r.Reset(bytes.NewReader(src)); err != nil {
		return nil, ErrCorrupt
	}
	out, err := readAll(dst, r, limit, 4*len(src))
	return out, corrupt(err)
}

// readAll appends what a reader has, of which there is likely guess.
func readAll(dst []byte, r io.Reader, limit, guess int) ([]byte, error) {
	start := len(dst)
	for {
		// One byte beyond the limit tells that there is more.
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, min(max(guess, len(dst)-start, 512), limit-(len(dst)-start)+1))
		}
		n, err := r.Read(dst[len(dst):min(cap(dst), start+limit+1)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst)-start > limit:
			return nil, codec.ErrLimit
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return nil, err
		}
	}
}
