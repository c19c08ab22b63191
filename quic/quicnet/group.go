package quicnet

import (
	"context"
	"sync"
)

// group is the connections of one listener or dialer.
type group struct {
	mu      sync.Mutex
	conns   map[*Conn]struct{}
	coming  int             // places that reserve gave and add has not taken
	waiting []chan struct{} // closed when there is no connection
	stats   groupStats
}

func (g *group) add(c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil {
		g.conns = make(map[*Conn]struct{})
	}
	g.conns[c] = struct{}{}
	g.coming = max(0, g.coming-1)
	g.stats.connected.Add(1)
}

// reserve takes a place for a connection that is added next, unless there are so many already.
func (g *group) reserve(most int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.conns)+g.coming >= most {
		return false
	}
	g.coming++
	return true
}

// remove forgets a connection that is gone.
func (g *group) remove(c *Conn, reason error) {
	st := c.Stats()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
	g.stats.ended(st, reason) // with the lock: a snapshot counts a connection once
	if len(g.conns) == 0 {
		for _, w := range g.waiting {
			close(w)
		}
		g.waiting = nil
	}
}

// len returns how many connections there are.
func (g *group) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// all returns the connections there are.
func (g *group) all() []*Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	conns := make([]*Conn, 0, len(g.conns))
	for c := range g.conns {
		conns = append(conns, c)
	}
	return conns
}

// close closes all connections.
func (g *group) close() {
	for _, c := range g.all() {
		_ = c.Close()
	}
}

// abort ends all connections at once.
func (g *group) abort(code Code, reason string) {
	for _, c := range g.all() {
		c.Abort(code, reason)
	}
}

// wait waits until there is no connection.
func (g *group) wait(ctx context.Context) error {
	g.mu.Lock()
	if len(g.conns) == 0 {
		g.mu.Unlock()
		return nil
	}
	w := make(chan struct{})
	g.waiting = append(g.waiting, w)
	g.mu.Unlock()
	select {
	case <-w:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
