package journal

import (
	"sync/atomic"
	"time"
)

// pressure has the level for each reason; the highest counts.
type pressure struct {
	pending   atomic.Uint32
	disk      atomic.Uint32
	noRoom    atomic.Bool  // a write waits for room
	noSegment atomic.Bool  // there is no room for the next segment
	behind    atomic.Bool  // the cleaner has to make room within the directory's bound: it does not pause
	bound     atomic.Bool  // the cleaner is far behind: producers are to be slowed
	checked   atomic.Int64 // when free space was looked at, in nanoseconds since 1970
}

func (p *pressure) noSpace() bool { return p.noRoom.Load() || p.noSegment.Load() }

func (p *pressure) level() Pressure {
	if p.noSpace() {
		return Full
	}
	level := Pressure(max(p.pending.Load(), p.disk.Load()))
	if p.bound.Load() {
		level = max(level, Slow)
	}
	return level
}

// Pressure returns how much room there is. It costs next to nothing.
func (j *Journal[T]) Pressure() Pressure { return j.pressure.level() }

// notePending sets the level of what is pending. The caller holds mu.
func (j *Journal[T]) notePending() {
	level := None
	switch limit := j.s.opt.MaxPending; {
	case j.pending > 8*limit:
		level = Full
	case j.pending > limit:
		level = Slow
	}
	if j.pressure.pending.Swap(uint32(level)) != uint32(level) {
		j.notePressure()
	}
}

// setNoSpace notes, for one reason, whether there is no room on the disk.
func (j *Journal[T]) setNoSpace(reason *atomic.Bool, full bool) {
	if reason.Swap(full) == full {
		return
	}
	if full {
		j.s.log.Warn("journal: the disk is full; waiting for room")
		poke(j.noRoom)
	} else {
		j.s.log.Info("journal: the disk has room again")
	}
	poke(j.clean)
	j.notePressure()
}

// noteBound sets whether the cleaner is so far behind that the directory comes near its bound. With small segments, as tests
// have, that is so all the time.
func (j *Journal[T]) noteBound() {
	near := j.s.opt.SegmentSize >= firstSegment && j.s.dirty() > j.s.opt.SegmentSize/2
	if j.pressure.bound.Swap(near) != near {
		j.notePressure()
	}
}

// dirty returns by how much the segments that can be cleaned are larger than three times what is live.
func (s *store) dirty() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	size := int64(0)
	for _, g := range s.segs[:len(s.segs)-1] {
		if !g.broken {
			size += g.size
		}
	}
	return size - 3*s.live()
}

// notePressure lets the completer tell a new level.
func (j *Journal[T]) notePressure() {
	j.calls.mu.Lock()
	j.calls.due.Signal()
	j.calls.mu.Unlock()
}

// freeInterval is how often free space is looked at while records are appended.
const freeInterval = time.Second

// checkFree looks at the free space and at the size of the directory.
func (j *Journal[T]) checkFree() {
	j.pressure.checked.Store(time.Now().UnixNano())
	level := None
	if limit := j.s.opt.MaxBytes; limit > 0 {
		switch size := j.s.diskBytes(); {
		case size >= limit:
			level = Full
		case size >= limit-limit/8:
			level = Slow
		}
	}
	if free, _, err := j.s.fs.Free(j.s.dir); err == nil {
		j.lastFree.Store(free)
		switch limit := j.s.opt.MinFree; {
		case free < limit:
			level = Full
		case free/2 < limit:
			level = max(level, Slow)
		}
	}
	if j.pressure.disk.Swap(uint32(level)) != uint32(level) {
		j.notePressure()
		poke(j.clean) // it looks again, even if nobody appends
	}
}

// askFree lets the cleaner look at the free space when it was not looked at for a while.
func (j *Journal[T]) askFree() {
	if j.staleFree() {
		poke(j.clean)
	}
}

func (j *Journal[T]) staleFree() bool {
	return time.Now().UnixNano()-j.pressure.checked.Load() >= int64(freeInterval)
}

// diskBytes returns the sizes of all segments.
func (s *store) diskBytes() (n int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, g := range s.segs {
		n += g.size
	}
	if s.prepared != nil {
		n += s.prepared.size
	}
	return n + s.spareSize
}
