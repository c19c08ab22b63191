package kafkabroker

// fetchWaiter is a fetchJob in the list of a partition.
type fetchWaiter struct {
	j   *fetchJob
	at  int // index in j.parts
	gen uint32
}

// register adds a job to those that are told when there is more to read.
func (p *partition) register(j *fetchJob, at int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiters = append(p.waiters, fetchWaiter{j, at, j.gen})
	p.waiting.Add(1)
}

// unregister takes a job out.
func (p *partition) unregister(j *fetchJob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.waiters {
		if p.waiters[i].j == j {
			last := len(p.waiters) - 1
			p.waiters[i] = p.waiters[last]
			p.waiters[last] = fetchWaiter{}
			p.waiters = p.waiters[:last]
			p.waiting.Add(-1)
			return
		}
	}
}

// advance wakes who waits for records of the log.
func (l *partitionLog) advance() {
	if p := l.owner; p != nil && p.waiting.Load() > 0 {
		p.wake()
	}
}

// wake answers those who waited for what there is now, or for an error: the last one itself, the others in goroutines
// of their own, so that who appends is not held up by many readers.
func (p *partition) wake() {
	var few [8]*fetchJob
	ready := few[:0]
	p.mu.Lock()
	for _, w := range p.waiters {
		if w.j.advanced(w.at, w.gen) {
			ready = append(ready, w.j)
		}
	}
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
		p.waiting.Add(-1)
	}
	p.mu.Unlock()
	for i, j := range ready {
		if i == len(ready)-1 || !j.s.b.spawn(j.woken) {
			j.woken()
		}
	}
}

// wait adds a job to those of the session that wait. It reports false when nobody would get the answer.
func (s *session) wait(j *fetchJob) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.waits = append(s.waits, fetchWaiter{j: j, gen: j.gen})
	s.b.stats.waiting.Add(1)
	return true
}

// unwait takes a job out.
func (s *session) unwait(j *fetchJob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.waits {
		if s.waits[i].j == j {
			last := len(s.waits) - 1
			s.waits[i] = s.waits[last]
			s.waits[last] = fetchWaiter{}
			s.waits = s.waits[:last]
			s.b.stats.waiting.Add(-1)
			return
		}
	}
}

// hasEnded reports whether cancelWaits was called.
func (s *session) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// cancelWaits ends the waits of the session.
func (s *session) cancelWaits() {
	s.mu.Lock()
	s.ended = true
	list := append([]fetchWaiter(nil), s.waits...)
	s.mu.Unlock()
	for _, w := range list {
		w.j.cancel(w.gen)
	}
}
