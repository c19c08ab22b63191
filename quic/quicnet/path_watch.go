package quicnet

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/quic-go/quic-go"
)

// watched is what the watcher knows of a connection.
type watched struct {
	local  netip.Addr // the route of the present path; not valid: unknown
	next   netip.Addr // another route that was seen; not valid: none
	since  time.Time  // when it was seen first
	tried  time.Time  // when the connection has tried to move last
	failed int        // how often it has failed since it has moved
	moving bool
}

// decision is what is to be done with a connection.
type decision int

const (
	pathStays decision = iota
	pathMoves
	pathEnds
)

// look decides what a connection does, now that its route to the server is this one (or none, which is not valid), and
// the address of its present path is there or gone.
func (w *watched) look(now time.Time, route netip.Addr, gone bool, o *PathOptions) decision {
	if w.moving {
		return pathStays
	}
	if !w.local.IsValid() {
		w.local = route
	}
	if !route.IsValid() || route == w.local && w.failed == 0 {
		w.next = netip.Addr{}
		return pathStays
	}
	if route == w.local {
		w.failed = 0 // the old path is back
		w.next = netip.Addr{}
		return pathStays
	}
	if w.next != route {
		w.next, w.since = route, now
	}
	if now.Sub(w.since) < o.Settle {
		return pathStays
	}
	if gone && w.failed > 0 && !o.Stay {
		return pathEnds
	}
	if !gone && !w.tried.IsZero() && now.Sub(w.tried) < o.Hold {
		return pathStays
	}
	return pathMoves
}

// started notes that the connection moves.
func (w *watched) started(now time.Time) { w.tried, w.moving = now, true }

// finished notes how that ended.
func (w *watched) finished(now time.Time, route netip.Addr, err error) {
	w.tried, w.moving = now, false
	if err != nil {
		w.failed++
		return
	}
	w.local, w.next, w.failed = route, netip.Addr{}, 0
}

// watchesPaths reports whether the dialer follows the network.
func (d *Dialer) watchesPaths() bool {
	switch {
	case d.PacketConn != nil || d.Paths != nil && d.Paths.Interval < 0:
		return false
	case d.ListenPacket != nil: // the sockets need not be of this machine's network
		return d.Paths != nil && d.Paths.Route != nil
	}
	return true
}

// watchPaths starts the watcher unless it runs. It ends when the dialer has no connection.
func (d *Dialer) watchPaths() {
	if !d.watchesPaths() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.watching {
		d.watching = true
		go d.watch(d.Paths.orDefaults())
	}
}

// watch looks at the network again and again.
func (d *Dialer) watch(o PathOptions) {
	for {
		d.mu.Lock()
		conns := d.group.all()
		d.watching = len(conns) > 0
		d.mu.Unlock()
		if len(conns) == 0 {
			return
		}
		wait := o.Interval
		if d.lookAround(conns, &o) {
			wait = min(wait, o.Settle)
		}
		time.Sleep(wait)
	}
}

// lookAround looks at the network once and moves the connections that have to. It reports whether one may have to move
// soon.
func (d *Dialer) lookAround(conns []*Conn, o *PathOptions) (soon bool) {
	now := time.Now()
	routes := make(map[string]netip.Addr)
	addrs, err := o.Addrs()
	known := err == nil
	var to *socket
	for _, c := range conns {
		key := c.peer.String()
		route, seen := routes[key]
		if !seen {
			route, _ = o.Route(c.peer)
			routes[key] = route
		}
		p := c.path
		p.mu.Lock()
		gone := known && p.watch.local.IsValid() && !slices.Contains(addrs, p.watch.local)
		do := p.watch.look(now, route, gone, o)
		if do == pathMoves {
			p.watch.started(now)
		}
		soon = soon || p.watch.next.IsValid() && now.Sub(p.watch.since) < o.Settle
		p.mu.Unlock()
		switch do {
		case pathEnds:
			c.noPath()
		case pathMoves:
			if to == nil {
				if to, err = d.openSocket(context.Background(), c.peer); err != nil {
					to = nil
					p.finished(route, err)
					continue
				}
				to.acquire()
				defer to.release()
			}
			to.acquire()
			go c.follow(to, route, o)
		}
	}
	return soon
}

// finished notes how a move ended.
func (p *path) finished(route netip.Addr, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watch.finished(time.Now(), route, err)
}

// follow moves a connection to a socket, which is held for it, because the route is another one.
func (c *Conn) follow(s *socket, route netip.Addr, o *PathOptions) {
	defer s.release()
	ctx, cancel := context.WithTimeout(context.Background(), o.ProbeTimeout)
	defer cancel()
	err := c.moveTo(ctx, s)
	if err == nil {
		c.path.d.setSocket(s)
	}
	c.path.finished(route, err)
}

// noPath ends a connection of which no path is left.
func (c *Conn) noPath() {
	c.group.stats.pathsGone.Add(1)
	if t := c.cfg.Trace; t != nil && t.NoPath != nil {
		t.NoPath(c)
	}
	c.path.d.leave(c.path)
	_ = c.qc.CloseWithError(quic.ApplicationErrorCode(CodeAborted), noPathReason)
}

// leave makes the next dial open a socket instead of using one that led nowhere.
func (d *Dialer) leave(p *path) {
	p.mu.Lock()
	sockets := slices.Clone(p.sockets)
	p.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.Contains(sockets, d.socket) {
		d.socket = nil
	}
}

// noPathReason is the reason of the error that ends a connection of which no path is left.
const noPathReason = "no path to the server is left"

// routeOf returns the local address that is used towards a server, if the dialer follows the network.
func (d *Dialer) routeOf(remote net.Addr) (netip.Addr, error) {
	if !d.watchesPaths() {
		return netip.Addr{}, nil
	}
	o := d.Paths.orDefaults()
	return o.Route(remote)
}
