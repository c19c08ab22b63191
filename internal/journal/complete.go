package journal

import "sync"

// How many pends may wait for their callbacks before the writer does, and up to how many tokens the writer calls itself.
const (
	maxCalls   = 4
	inlineCall = 16
)

// calls are the callbacks that are due. They are called in order, by the completer or, when there is nothing else to do,
// by the writer.
type calls[T any] struct {
	mu       sync.Mutex
	due      sync.Cond
	room     sync.Cond
	list     []call[T]
	calling  bool
	ended    bool
	reported Pressure
}

type call[T any] struct {
	p *pend[T]
	o Outcome
}

func (c *calls[T]) init() { c.due.L, c.room.L = &c.mu, &c.mu }

// complete sees to it that the tokens are completed.
func (j *Journal[T]) complete(p *pend[T], o Outcome) {
	if len(p.tokens) == 0 {
		j.recycle(p)
		return
	}
	c := &j.calls
	quiet := len(p.tokens) <= inlineCall && j.quiet()
	c.mu.Lock()
	if quiet && !c.calling && len(c.list) == 0 {
		c.calling = true
		c.mu.Unlock()
		j.call(p, o)
		c.mu.Lock()
		c.calling = false
		if len(c.list) > 0 || j.pressure.level() != c.reported {
			c.due.Signal()
		}
		c.mu.Unlock()
		return
	}
	for len(c.list) >= maxCalls {
		c.room.Wait()
	}
	c.list = append(c.list, call[T]{p, o})
	c.due.Signal()
	c.mu.Unlock()
}

// quiet reports whether the writer has nothing to write now.
func (j *Journal[T]) quiet() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.queue) == 0 && (j.cur == nil || j.lazy())
}

func (j *Journal[T]) call(p *pend[T], o Outcome) {
	if j.h.Complete != nil {
		j.h.Complete(p.tokens, o)
	}
	j.recycle(p)
}

// completer is the goroutine that calls callbacks.
func (j *Journal[T]) completer() {
	c := &j.calls
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		level := j.pressure.level()
		switch {
		case c.calling:
			c.due.Wait()
		case len(c.list) > 0:
			next := c.list[0]
			n := copy(c.list, c.list[1:])
			c.list[n] = call[T]{}
			c.list = c.list[:n]
			c.calling = true
			c.room.Signal()
			c.mu.Unlock()
			j.call(next.p, next.o)
			c.mu.Lock()
			c.calling = false
		case level != c.reported:
			c.reported = level
			if j.h.Pressure != nil {
				c.mu.Unlock()
				j.h.Pressure(level)
				c.mu.Lock()
			}
		case c.ended:
			return
		default:
			c.due.Wait()
		}
	}
}

// endCalls lets the completer end when all is called.
func (j *Journal[T]) endCalls() {
	j.calls.mu.Lock()
	j.calls.ended = true
	j.calls.due.Signal()
	j.calls.mu.Unlock()
}

// recycle keeps a pend for later, without its references. Memory that is much more than what is used goes.
func (j *Journal[T]) recycle(p *pend[T]) {
	clear(p.tokens)
	used := len(p.buf)
	tokens := len(p.tokens)
	p.tokens = p.tokens[:0]
	p.early = false
	p.reset(0)
	if cap(p.buf) > 4*batchTarget && used < cap(p.buf)/8 && tokens <= cap(p.tokens)/8 {
		p.few++
	} else {
		p.few = 0
	}
	if cap(p.buf) > 2*pendTarget {
		return
	}
	j.mu.Lock()
	if p.few >= 64 { // a burst is over
		p = new(pend[T])
		clear(j.free)
		j.free = j.free[:0]
	}
	if len(j.free) < keepPends {
		j.free = append(j.free, p)
	}
	j.mu.Unlock()
}
