package kafkabroker

import (
	"sync"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// handlePool bounds how many files are open that nobody is using. A file is opened when somebody needs it and closed when
// others need the room. It is safe for concurrent use.
type handlePool struct {
	fs  vfs.FS
	max int

	mu   sync.Mutex
	open []*handle // a clock: hand goes round and passes over those used since it came by
	hand int
}

// handle is a file that is open or not. Who needs it open acquires it and releases it soon.
type handle struct {
	pool *handlePool

	mu   sync.Mutex
	name string
	f    vfs.File // nil when it is not open
	refs int
	used bool
	gone error // removed, what acquire says; the last one to release it closes it
}

func (p *handlePool) file(name string) *handle { return &handle{pool: p, name: name} }

// acquire opens the file. The error is errGone when it was removed, and errClosed when the whole log was.
func (h *handle) acquire() (vfs.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone != nil {
		return nil, h.gone
	}
	if h.f == nil {
		f, err := h.pool.fs.Open(h.name)
		if err != nil {
			return nil, err
		}
		h.adopt(f)
	}
	h.refs++
	h.used = true
	return h.f, nil
}

// create makes the file empty and opens it as acquire does.
func (h *handle) create() (vfs.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f, err := h.pool.fs.Create(h.name)
	if err != nil {
		return nil, err
	}
	if h.f != nil { // of a file that was there before
		_ = h.f.Close()
		h.f = f
	} else {
		h.adopt(f)
	}
	h.refs++
	h.used = true
	return f, nil
}

// adopt makes f the open file. The caller holds mu.
func (h *handle) adopt(f vfs.File) {
	p := h.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	h.f = f
	if len(p.open) >= p.max {
		p.evict()
	}
	p.open = append(p.open, h)
}

// evict closes a file that nobody is using, if there is one. The caller holds the pool's mu.
func (p *handlePool) evict() {
	for range 2 * len(p.open) {
		p.hand++
		if p.hand >= len(p.open) {
			p.hand = 0
		}
		h := p.open[p.hand]
		if !h.mu.TryLock() { // in use; and one locks a handle before the pool
			continue
		}
		idle := h.refs == 0 && !h.used
		if h.refs == 0 {
			h.used = false
		}
		if idle {
			h.close()
			p.drop(p.hand)
		}
		h.mu.Unlock()
		if idle {
			return
		}
	}
}

func (p *handlePool) drop(i int) {
	n := len(p.open) - 1
	p.open[i] = p.open[n]
	p.open[n] = nil
	p.open = p.open[:n]
}

// close closes the file. What is in it is not lost by that, so the error says nothing. The caller holds mu.
func (h *handle) close() {
	if h.f != nil {
		_ = h.f.Close()
		h.f = nil
	}
}

func (h *handle) release() {
	h.mu.Lock()
	h.refs--
	last := h.gone != nil && h.refs == 0
	h.mu.Unlock()
	if last {
		h.shut()
	}
}

// shut closes the file and takes it out of the pool, when nobody uses it.
func (h *handle) shut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.f == nil || h.refs > 0 {
		return
	}
	h.close()
	p := h.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, o := range p.open {
		if o == h {
			p.drop(i)
			return
		}
	}
}

// rename gives the file another name.
func (h *handle) rename(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.pool.fs.Rename(h.name, name); err != nil {
		return err
	}
	h.name = name
	return nil
}

// leave says that the file goes with its log. Who has acquired it goes on using it.
func (h *handle) leave() {
	h.mu.Lock()
	h.gone = errClosed
	h.mu.Unlock()
	h.shut()
}

// missing returns the error for a file of the same segment that is not there.
func (h *handle) missing() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone != nil {
		return h.gone
	}
	return errGone // it has another name now
}

// remove removes the file. Who has acquired it goes on using it.
func (h *handle) remove() error {
	h.mu.Lock()
	h.gone = errGone
	err := h.pool.fs.Remove(h.name)
	h.mu.Unlock()
	h.shut()
	return err
}
