package journal

import (
	"crypto/rand"
	"errors"
	"math"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// zeroSlice is how much is zero-filled and synced at once.
const zeroSlice = 512 << 10

// newHeader returns the header of a new segment.
func (s *store) newHeader() (header, error) {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return header{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids++
	return header{seed: le.Uint32(b[:]), dir: s.id, id: s.ids}, nil
}

// nextSize is the size of the segment after one of a size. Beyond an eighth of SegmentSize it is not more than a quarter of
// what is live: then there is room for some segments more while the oldest are cleaned, within the bound of
// [store.beyondBound]. The caller holds mu.
func (s *store) nextSize(size int64) int64 {
	limit := min(max(firstSegment, s.opt.SegmentSize/8, s.live()/4), s.opt.SegmentSize)
	return min(max(2*size, min(firstSegment, limit)), limit)
}

// live returns how many bytes are live. The caller holds mu.
func (s *store) live() (n int64) {
	for _, g := range s.segs {
		n += max(0, g.live.Load())
	}
	return n
}

// create makes an empty segment whose space is there and whose name is durable. The file of a segment that is no more
// needed is used again when there is one. pause is called between slices and returns false to give up.
func (s *store) create(size int64, pause func(since time.Time) bool) (g *segment, err error) {
	h, err := s.newHeader()
	if err != nil {
		return nil, err
	}
	g = &segment{header: h, name: segName(h.id), size: size, used: segHeader, liveBefore: math.MaxInt64}
	tmp := g.name + tmpSuffix
	from := int64(0)
	if f, have := s.takeSpare(); f != nil {
		g.file, from, tmp = f, have, spareFile
		g.size = max(size, have)
	} else if g.file, err = s.fs.Create(s.path(tmp)); err != nil {
		return nil, err
	}
	file := g.file
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = s.fs.Remove(s.path(tmp))
		}
	}()
	if _, err := g.file.WriteAt(h.encode(), 0); err != nil {
		return nil, err
	}
	if limit := min(2*size, s.opt.SegmentSize); g.size > limit {
		g.size = limit
		if err := g.file.Truncate(g.size); err != nil {
			return nil, err
		}
	}
	if err := fill(g.file, max(from, segHeader), g.size, s.opt.NoSync, pause); err != nil {
		return nil, err
	}
	if err := g.file.Sync(); err != nil {
		return nil, err
	}
	if err := s.fs.Rename(s.path(tmp), s.path(g.name)); err != nil {
		return nil, err
	}
	tmp = g.name
	if err := s.fs.SyncDir(s.dir); err != nil {
		return nil, err
	}
	return g, nil
}

var errGivenUp = errors.New("journal: closed meanwhile")

// fill writes zeros into a part of a file, in slices so that syncs of the log do not wait long.
func fill(f vfs.File, from, to int64, noSync bool, pause func(since time.Time) bool) error {
	if from >= to {
		return nil
	}
	zeros := make([]byte, min(zeroSlice, to-from))
	for at := from; at < to; {
		start := time.Now()
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-at)], at)
		if err != nil {
			return err
		}
		at += int64(n)
		if !noSync {
			if err := f.Sync(); err != nil {
				return err
			}
		}
		if pause != nil && at < to && !pause(start) {
			return errGivenUp
		}
	}
	return nil
}

// takeSpare hands out the spare file.
func (s *store) takeSpare() (vfs.File, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, size := s.spare, s.spareSize
	s.spare, s.spareSize = nil, 0
	return f, size
}
