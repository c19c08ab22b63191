package journal

import (
	"errors"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// keepPends is how many unused pends are kept.
const keepPends = 4

// Records for which nobody waits are written with the next one for which somebody does, or when there are lazyBytes of
// them, or after lazyTime.
const (
	lazyBytes = 64 << 10
	lazyTime  = 5 * time.Millisecond
)

// lazy reports whether what is pending may wait. The caller holds mu.
func (j *Journal[T]) lazy() bool {
	return j.cur != nil && len(j.cur.tokens) == 0 && j.cur.size < lazyBytes && !j.hurry && j.state == running
}

// hurryUp makes the writer write what is pending. The caller holds mu.
func (j *Journal[T]) hurryUp() {
	j.hurry = true
	j.signal()
}

// setTimer sees to it that what is pending does not wait too long. The caller holds mu.
func (j *Journal[T]) setTimer() {
	if j.timing {
		return
	}
	j.timing = true
	if j.timer == nil {
		j.timer = time.AfterFunc(lazyTime, func() {
			j.mu.Lock()
			defer j.mu.Unlock()
			j.timing = false
			if j.cur != nil {
				j.hurryUp()
			}
		})
		return
	}
	j.timer.Reset(lazyTime)
}

// writer is the goroutine that writes.
func (j *Journal[T]) writer() {
	for {
		p := j.take()
		if p == nil {
			break
		}
		o := j.commit(p)
		j.complete(p, o)
	}
	j.endCalls()
}

// take returns what to write next. It waits if there is nothing, and returns nil when the journal ends.
func (j *Journal[T]) take() *pend[T] {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.queue) == 0 && (j.cur == nil || j.lazy()) {
		if j.state != running {
			return nil
		}
		if j.cur != nil {
			j.setTimer()
		}
		j.idle = true
		j.work.Wait()
	}
	j.idle, j.hurry = false, false
	if len(j.queue) == 0 {
		j.queue = append(j.queue, j.cur)
		j.cur = nil
	}
	return j.queue[0]
}

// commit makes records durable.
func (j *Journal[T]) commit(p *pend[T]) Outcome {
	j.mu.Lock()
	err := j.err
	j.mu.Unlock()
	wrote, synced := false, false
	if err == nil && p.records > 0 {
		wrote, synced, err = j.write(&p.frames)
	}
	if err == nil {
		j.publish(p)
		if p.records > 0 && !synced && !j.s.opt.NoSync {
			err = j.sync(j.s.active())
		}
		j.askFree()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.queue) > 0 && j.queue[0] == p {
		j.unqueue()
	}
	j.pending -= p.payload
	j.notePending()
	if err == nil {
		j.durable = p.end
		if !j.s.opt.NoSync {
			j.syncs = p.end
		}
		j.wake(nil)
		return Done
	}
	if j.err == nil {
		j.s.log.Error("journal: failed, nothing is recorded any more", "error", err)
		j.err = &FailedError{err}
	}
	j.wake(j.err)
	j.wrote.Broadcast()
	if wrote || p.early { // the records that an early token waits for are perhaps even durable
		return Unknown
	}
	return Failed
}

// unqueue removes the first of the queue. The caller holds mu.
func (j *Journal[T]) unqueue() {
	n := copy(j.queue, j.queue[1:])
	j.queue[n] = nil
	j.queue = j.queue[:n]
}

// write writes frames to the last segment, or to the next one if they do not fit. While the disk is full it waits.
// wrote tells whether anything may be in the file, synced whether it is durable already.
func (j *Journal[T]) write(f *frames) (wrote, synced bool, err error) {
	for delay := 5 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		if err = j.roll(f.size); err == nil {
			g := j.s.active()
			f.finish(g.seed, j.syncs)
			if b, ok := f.small(); ok && !j.s.opt.NoSync && g.used+f.size <= g.size {
				synced = true
				var n int
				n, err = j.writeSync(g, b)
				wrote = wrote || n > 0
			} else {
				var n int64
				n, err = f.writeTo(g.file, g.used)
				wrote = wrote || n > 0
			}
		}
		if err == nil || !vfs.IsNoSpace(err) {
			break
		}
		j.setNoSpace(&j.pressure.noRoom, true)
		if !j.sleep(delay) {
			return wrote, false, err
		}
	}
	j.setNoSpace(&j.pressure.noRoom, false)
	return wrote, synced, err
}

// writeSync writes to a segment, makes that durable and takes the time.
func (j *Journal[T]) writeSync(g *segment, b []byte) (n int, err error) {
	start := time.Now()
	n, err = g.file.WriteSync(b, g.used)
	j.stats.synced(time.Since(start))
	return n, err
}

// sleep waits and returns false when the journal ends.
func (j *Journal[T]) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-j.closing:
		return false
	}
}

// active returns the segment that is appended to. Only the writer changes it.
func (s *store) active() *segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.segs[len(s.segs)-1]
}

func (s *store) sizeAfterActive() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.nextSize(s.segs[len(s.segs)-1].size)
}

// roll goes on to the next segment when there is no room for size bytes and the mark of the end. When none is ready the
// last one grows.
func (j *Journal[T]) roll(size int64) error {
	g := j.s.active()
	if g.used+size+batchHeader <= g.size {
		if g.used+size > g.size/4 && !j.hasPrepared() { // by then the last one is perhaps dead, and its file can be used
			poke(j.prepare)
		}
		return nil
	}
	if !j.hasPrepared() {
		poke(j.prepare)
		return nil
	}
	if g.used == segHeader {
		return nil // larger than a segment
	}
	if err := g.seal(g.end, j.syncs); err != nil {
		return err
	}
	if !j.s.opt.NoSync {
		if err := j.sync(g); err != nil {
			return &syncError{err}
		}
	}
	s := j.s
	s.mu.Lock()
	g.sealed = true
	g.used += batchHeader
	g.size = max(g.size, g.used)
	next := s.prepared
	s.prepared = nil
	s.segs = append(s.segs, next)
	s.mu.Unlock()
	poke(j.clean)
	j.noteBound()
	return nil
}

// syncError hides from vfs.IsNoSpace that a sync failed for want of space: what it should have made durable is lost.
type syncError struct{ err error }

func (e *syncError) Error() string { return e.err.Error() }

func (j *Journal[T]) hasPrepared() bool {
	j.s.mu.RLock()
	defer j.s.mu.RUnlock()
	return j.s.prepared != nil
}

// sync makes a segment durable and takes the time.
func (j *Journal[T]) sync(g *segment) error {
	start := time.Now()
	err := g.file.Sync()
	j.stats.synced(time.Since(start))
	return err
}

// publish makes records that are written visible to readers.
func (j *Journal[T]) publish(p *pend[T]) {
	s := j.s
	s.mu.Lock()
	g := s.segs[len(s.segs)-1]
	at := g.used
	for i := range p.batches {
		b := &p.batches[i]
		b.off = at + b.offset
		end := p.end
		if i+1 < len(p.batches) {
			end = p.batches[i+1].base
		}
		g.note(&b.batch, end, int64(b.size))
	}
	if p.maxTomb > 0 {
		g.maxTomb = p.maxTomb
	}
	g.payload += p.payload
	s.published = p.end
	j.mu.Lock()
	g.live.Add(p.live)
	j.unqueue()
	j.written = p.end
	j.wrote.Broadcast()
	j.mu.Unlock()
	s.mu.Unlock()
	j.stats.records.Add(uint64(p.records))
	j.stats.bytes.Add(uint64(p.payload))
}

// preparer is the goroutine that makes the next segment before it is needed.
func (j *Journal[T]) preparer() {
	for delay := time.Duration(0); ; {
		select {
		case <-j.prepare:
		case <-j.closing:
			return
		}
		if j.hasPrepared() {
			continue
		}
		if !j.awaitBound() {
			return
		}
		j.s.setMaking(true)
		g, err := j.s.create(j.s.sizeAfterActive(), j.pauseFill)
		j.s.mu.Lock()
		j.s.prepared, j.s.making = g, false
		j.s.mu.Unlock()
		switch {
		case err == nil:
			delay = 0
			j.setNoSpace(&j.pressure.noSegment, false)
			j.checkFree()
			continue
		case errors.Is(err, errGivenUp):
			return
		case vfs.IsNoSpace(err):
			j.setNoSpace(&j.pressure.noSegment, true)
		default:
			j.s.log.Warn("journal: the next segment could not be made; the last one grows", "error", err)
		}
		delay = min(max(2*delay, 100*time.Millisecond), 5*time.Second)
		if !j.sleep(delay) {
			return
		}
		poke(j.prepare)
	}
}

// awaitBound waits, while the directory would become larger than three times what is live and two segments, until the
// cleaner has made it smaller or the next segment is needed soon. Meanwhile the cleaner hurries. It returns false when the
// journal ends.
func (j *Journal[T]) awaitBound() bool {
	defer j.pressure.behind.Store(false)
	for j.s.beyondBound() {
		j.pressure.behind.Store(true)
		poke(j.clean)
		if !j.sleep(5 * time.Millisecond) {
			return false
		}
	}
	return true
}

// beyondBound reports whether another segment would be beyond the bound while the last one has room.
func (s *store) beyondBound() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	last := s.segs[len(s.segs)-1]
	if last.used > last.size/4*3 || s.spare != nil {
		return false
	}
	size := s.nextSize(last.size)
	for _, g := range s.segs {
		size += g.size
	}
	return size > 3*s.live()+2*s.opt.SegmentSize
}

func (s *store) setMaking(making bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.making = making
}

// pauseFill gives the log's own syncs their turn, unless the segment is needed soon.
func (j *Journal[T]) pauseFill(since time.Time) bool {
	j.s.mu.RLock()
	g := j.s.segs[len(j.s.segs)-1]
	soon := g.used > g.size-g.size/8
	j.s.mu.RUnlock()
	select {
	case <-j.closing:
		return false
	default:
	}
	return soon || j.sleep(time.Since(since))
}
