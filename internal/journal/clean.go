package journal

import (
	"errors"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// cleaning is the state of the cleaner. Only its goroutine uses it.
type cleaning struct {
	checkpointed uint64        // the owner made the notes below this unnecessary
	notes        uint64        // bytes of notes that the last checkpoint appended
	since        uint64        // bytes appended when it was over
	delay        time.Duration // after the disk was full
	stopped      bool          // a removal failed: what is in the directory is not known any more
}

// job is something for the cleaner to do: to remove the segments of a run, or to rewrite them as one.
type job struct {
	run     []*segment
	rewrite bool
}

// errDead ends a rewrite when nothing in the segment is live any more: it can be removed as it is.
var errDead = errors.New("journal: nothing is live any more")

// settleTime is how long a segment that was just sealed is given until it is rewritten: most of what is live in it then is
// under way, and when that is over there is nothing to rewrite.
const settleTime = 50 * time.Millisecond

// worthCleaning reports whether so little of a sealed segment is live that it is to be rewritten.
func worthCleaning(live, size int64) bool { return live < size/3 }

// cleaner is the goroutine that cleans segments and looks at the disk.
func (j *Journal[T]) cleaner() {
	c := new(cleaning)
	t := time.NewTimer(freeInterval)
	defer t.Stop()
	for {
		var again <-chan time.Time
		if j.pressure.disk.Load() != uint32(None) || c.delay > 0 { // perhaps nobody appends until there is room
			t.Reset(max(freeInterval, c.delay))
			again = t.C
		}
		select {
		case <-j.clean:
		case <-again:
		case <-j.closing:
			return
		}
		if j.staleFree() {
			j.checkFree()
		}
		if j.pressure.noSpace() {
			j.s.dropSpare()
		}
		worked := false
		for !c.stopped && j.cleanOne(c) {
			worked = true
		}
		if worked {
			j.checkFree()
		}
		j.s.bury()
	}
}

// cleanOne does one job and reports whether there may be another.
func (j *Journal[T]) cleanOne(c *cleaning) bool {
	urgent := j.pressure.disk.Load() != uint32(None) || j.pressure.noSpace()
	next, below := j.s.pick(urgent)
	if next.run == nil {
		return false
	}
	if next.rewrite && next.run[0].rewritten == 0 && !j.pressure.behind.Load() && !j.sleep(settleTime) { // much of it is perhaps about to die
		return false
	}
	if !j.checkpoint(c, below) {
		return false
	}
	if again, below := j.s.pick(urgent); again.run != nil && below <= c.checkpointed {
		next = again
	}
	var err error
	if next.rewrite {
		err = j.rewrite(next.run, urgent)
	} else {
		err = j.remove(next.run)
	}
	var corrupt *CorruptError
	j.noteBound()
	switch {
	case err == nil:
		c.delay = 0
		return true
	case errors.Is(err, errDead):
		return true
	case errors.Is(err, ErrClosed), errors.Is(err, errGivenUp), j.failed():
		return false
	case errors.As(err, &corrupt):
		j.s.log.Error("journal: a segment cannot be cleaned", "error", err)
		j.s.mu.Lock()
		for _, g := range next.run {
			g.broken = true
		}
		j.s.mu.Unlock()
		return true
	case vfs.IsNoSpace(err), errors.Is(err, errNoRoom):
		c.delay = min(max(2*c.delay, time.Second), time.Minute)
		j.s.log.Warn("journal: no room to rewrite a segment", "error", err)
		return false
	}
	j.s.log.Error("journal: cleaning failed, no space is regained any more", "error", err)
	c.stopped = true
	return false
}

func (j *Journal[T]) failed() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err != nil
}

// checkpoint lets the owner make its notes below a number unnecessary, unless it has. It returns false when that is to be
// put off: checkpoints shall not be what fills the segments that they are made for.
func (j *Journal[T]) checkpoint(c *cleaning, below uint64) bool {
	if below <= c.checkpointed {
		return true
	}
	select {
	case <-j.closing:
		return false
	default:
	}
	if now := j.stats.bytes.Load(); c.notes > uint64(j.s.opt.SegmentSize/2) && now-c.since < 3*c.notes {
		return false
	}
	before := j.noted()
	if j.h.Checkpoint != nil {
		j.h.Checkpoint(below)
	}
	if j.settled() != nil {
		return false
	}
	c.checkpointed, c.notes, c.since = below, j.noted()-before, j.stats.bytes.Load()
	return true
}

// noted returns how many bytes of notes were appended.
func (j *Journal[T]) noted() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.notes
}

// pick chooses what to clean next, and tells below which number the notes must be unnecessary then.
func (s *store) pick(urgent bool) (next job, below uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.segs) == 0 {
		return job{}, 0
	}
	sealed := s.segs[:len(s.segs)-1]
	for i, g := range sealed {
		one := s.judge(i, g, urgent)
		if one.run == nil {
			continue
		}
		if next.run == nil {
			next = one
		}
		below = max(below, g.end) // one checkpoint for all that are due
	}
	if next.run == nil {
		if next = s.pickMerge(sealed); next.run == nil {
			next = s.pickOverBound(sealed)
		}
	}
	for _, g := range next.run {
		below = max(below, g.end)
	}
	return next, below
}

// judge returns what to do about one sealed segment. The caller holds mu.
func (s *store) judge(i int, g *segment, urgent bool) job {
	live := max(0, g.live.Load())
	if g.broken {
		return job{}
	}
	blocked := s.blockers(i, g.maxTomb)
	if live == 0 && len(blocked) == 0 {
		return job{run: []*segment{g}}
	}
	if !worthCleaning(live, g.size) && !(urgent && live < g.size*2/3) {
		return job{}
	}
	switch {
	case g.rewritten == 0, live < g.liveBefore/4*3, g.tombs > 0 && len(blocked) == 0:
		if cheap(blocked, g.size) {
			return job{run: blocked[:1], rewrite: true}
		}
		return job{run: []*segment{g}, rewrite: true}
	case cheap(blocked, g.size-live):
		return job{run: blocked[:1], rewrite: true}
	}
	return job{}
}

// cheap reports whether it costs little to rewrite the segments that make tombstones necessary, compared with what that
// gives.
func cheap(blocked []*segment, gain int64) bool {
	if len(blocked) == 0 {
		return false
	}
	for _, g := range blocked {
		if gain -= g.size; gain < 0 || g.broken {
			return false
		}
	}
	return true
}

// blockers returns the segments older than the i-th that may have records which tombstones up to an LSN kill.
func (s *store) blockers(i int, maxTomb uint64) (list []*segment) {
	if maxTomb == 0 {
		return nil
	}
	for _, g := range s.segs[:i] {
		if g.rewritten <= maxTomb {
			list = append(list, g)
		}
	}
	return list
}

// pickMerge looks for small rewritten segments that are neighbours of about the same size: so their number stays in
// proportion to the live bytes, and a record is merged a logarithmic number of times.
func (s *store) pickMerge(sealed []*segment) job {
	fits := func(a, b *segment) bool {
		return !a.broken && !b.broken && a.rewritten != 0 && b.rewritten != 0 &&
			a.size+b.size <= s.opt.SegmentSize/2 && max(a.size, b.size) <= 4*min(a.size, b.size)
	}
	for i := 1; i < len(sealed); i++ {
		if fits(sealed[i-1], sealed[i]) {
			return job{run: []*segment{sealed[i-1], sealed[i]}, rewrite: true}
		}
	}
	return job{}
}

// pickOverBound looks for a segment that makes tombstones necessary when the sealed segments are larger than they are to
// be: three times what is live in them.
func (s *store) pickOverBound(sealed []*segment) job {
	size, live := int64(0), int64(0)
	for _, g := range sealed {
		size += g.size
		live += max(0, g.live.Load())
	}
	if size <= 3*live+s.opt.SegmentSize/16 {
		return job{}
	}
	for i, g := range sealed {
		if g.tombs == 0 || g.broken {
			continue
		}
		for _, b := range s.blockers(i, g.maxTomb) {
			if !b.broken {
				return job{run: []*segment{b}, rewrite: true}
			}
		}
	}
	return job{}
}

// remove removes dead segments.
func (j *Journal[T]) remove(run []*segment) error {
	if err := j.settled(); err != nil {
		return err
	}
	return j.s.remove(run)
}

// settled waits until everything appended is durable. What a segment's removal rests on must not be lost when its records
// are. It gives up when the writer waits for room, and when the journal ends: what the owner wanted to append since then
// was refused, and its state is not what is recorded.
func (j *Journal[T]) settled() error {
	if err := j.awaitSettled(); err != nil {
		return err
	}
	if !j.running() {
		return ErrClosed
	}
	if !j.s.opt.NoSync {
		return nil
	}
	j.s.mu.RLock()
	segs := make([]*segment, 0, 4)
	for _, g := range j.s.segs {
		if !g.synced {
			segs = append(segs, g)
		}
	}
	j.s.mu.RUnlock()
	for _, g := range segs {
		if err := g.file.Sync(); err != nil {
			return err
		}
	}
	j.s.mu.Lock()
	defer j.s.mu.Unlock()
	for _, g := range segs[:len(segs)-1] {
		g.synced = g.sealed // the last one may have been sealed since
	}
	return nil
}

func (j *Journal[T]) running() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state == running
}

// awaitSettled waits until everything appended is durable, unless the writer waits for room: perhaps for that which the
// caller has taken.
func (j *Journal[T]) awaitSettled() error {
	done := j.awaitDurable()
	for {
		select {
		case err := <-done:
			return err
		default:
		}
		if j.pressure.noRoom.Load() {
			return errNoRoom
		}
		select {
		case err := <-done:
			return err
		case <-j.noRoom:
		}
	}
}

// swap puts a segment, or none, in the place of a run. The caller holds mu.
func (s *store) swap(run []*segment, by *segment) {
	list := make([]*segment, 0, len(s.segs))
	for _, g := range s.segs {
		switch {
		case g == run[0] && by != nil:
			list = append(list, by)
		case !contains(run, g):
			list = append(list, g)
		}
	}
	s.segs = list
}

func contains(run []*segment, g *segment) bool {
	for _, r := range run {
		if r == g {
			return true
		}
	}
	return false
}
