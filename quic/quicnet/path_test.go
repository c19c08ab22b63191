package quicnet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const (
	otherAddr = "10.0.2.1:6000"
	thirdAddr = "10.0.3.1:7000"
)

// cut drops all packets from and to an address.
func (e *env) cut(addrs ...string) {
	e.net.set(func(n *packetNet) {
		n.drop = func(from, to netip.AddrPort, _ []byte) bool {
			return slices.Contains(addrs, from.Addr().String()) || slices.Contains(addrs, to.Addr().String())
		}
	})
}

// numbers writes the numbers up to n, one every millisecond, and ends the stream.
func numbers(t *testing.T, w interface {
	io.Writer
	CloseWrite() error
}, n int) {
	for i := range n {
		if _, err := fmt.Fprintf(w, "%d\n", i); err != nil {
			t.Errorf("number %d: %v", i, err)
			return
		}
		time.Sleep(time.Millisecond)
	}
	w.CloseWrite()
}

// expectNumbers reads what numbers writes.
func expectNumbers(t *testing.T, what string, r io.Reader, n int) {
	lines := bufio.NewScanner(r)
	for i := range n {
		if !lines.Scan() || lines.Text() != strconv.Itoa(i) {
			t.Errorf("%s: %q where %d should be, %v", what, lines.Text(), i, lines.Err())
			return
		}
	}
	if lines.Scan() {
		t.Errorf("%s: %q after the last", what, lines.Text())
	}
}

// TestMigrate moves a connection under traffic in both directions on several streams, with loss and while the old path
// breaks: nothing is lost, repeated or out of order.
func TestMigrate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		loss   float64
		breaks bool
	}{{"both paths work", 0, false}, {"loss", 0.05, false}, {"the old path is broken", 0, true}} {
		t.Run(tt.name, func(t *testing.T) { testMigrate(t, tt.loss, tt.breaks) })
	}
}

func testMigrate(t *testing.T, loss float64, breaks bool) {
	var mu sync.Mutex
	var moved []string
	trace := func(side string) *Trace {
		return &Trace{
			Moved: func(c *Conn, from, to net.Addr) {
				mu.Lock()
				defer mu.Unlock()
				moved = append(moved, fmt.Sprint(side, " moved ", from, " ", to))
			},
			Probed: func(c *Conn, local net.Addr, took time.Duration, err error) {
				mu.Lock()
				defer mu.Unlock()
				moved = append(moved, fmt.Sprint(side, " probed ", local, " ", took >= rtt, " ", err))
			},
		}
	}
	bubble(t, &ListenOptions{Config: Config{Trace: trace("server")}}, &Dialer{Config: Config{Trace: trace("client")}}, func(e *env) {
		c, s := e.pair(e.listener.Protocol("mqtt"), "mqtt")
		e.net.set(func(n *packetNet) { n.loss = loss })
		const n = 500
		var all sync.WaitGroup
		for i := range 3 {
			cs, ss := streamPair(e, c, s)
			all.Go(func() { numbers(t, cs, n) })
			all.Go(func() { numbers(t, ss, n) })
			all.Go(func() { expectNumbers(t, fmt.Sprint("client's stream ", i), ss, n) })
			all.Go(func() { expectNumbers(t, fmt.Sprint("server's stream ", i), cs, n) })
		}
		all.Go(func() { numbers(t, c, n) })
		all.Go(func() { expectNumbers(t, "control", s, n) })
		time.Sleep(100 * time.Millisecond)
		if breaks {
			e.cut("10.0.1.1")
			time.Sleep(50 * time.Millisecond)
		}
		ctx, cancel := context.WithTimeout(e.Context(), 10*time.Second)
		defer cancel()
		if err := c.Migrate(ctx, e.net.listen(otherAddr)); err != nil {
			e.Fatal(err)
		}
		e.cut("10.0.1.1") // the old path is gone
		if c.LocalAddr().String() != otherAddr {
			e.Errorf("local address %v", c.LocalAddr())
		}
		all.Wait()
		cs, ss := streamPair(e, c, s)
		for range 50 { // the server moves when it has an answer over the new path too
			write(t, cs, "ping")
			expect(t, ss, "ping")
			time.Sleep(rtt)
			if s.RemoteAddr().String() == otherAddr {
				break
			}
		}
		if s.RemoteAddr().String() != otherAddr {
			e.Errorf("the server sees %v", s.RemoteAddr())
		}
		if cn, sn := c.Stats().Migrations, s.Stats().Migrations; cn != 1 || sn != 1 {
			e.Errorf("%d and %d migrations", cn, sn)
		}
		if st := e.dialer.Stats(); st.ProbesFailed != 0 || st.Total.Migrations != 1 {
			e.Errorf("%+v", st)
		}
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(moved)
		want := []string{
			"client moved " + clientAddr + " " + otherAddr,
			"client probed " + otherAddr + " true <nil>",
			"server moved " + clientAddr + " " + otherAddr,
		}
		if !slices.Equal(moved, want) {
			e.Errorf("%q, want %q", moved, want)
		}
	})
}

// streamPair returns both ends of a new stream.
func streamPair(e *env, c, s *Conn) (client, server *stream) {
	e.Helper()
	cs, err := c.OpenStream(e.Context())
	if err != nil {
		e.Fatal(err)
	}
	write(e, cs, "!")
	ss, err := s.AcceptStream(e.Context())
	if err != nil {
		e.Fatal(err)
	}
	expect(e, ss, "!")
	return cs.(*stream), ss.(*stream)
}

// TestRebind: a socket without an address of its own goes on under the new one when the network changes. That works with a
// full congestion window too, which keeps quic-go from probing.
func TestRebind(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		c, s := e.pair(e.listener.Protocol("mqtt"), "mqtt")
		e.net.set(func(n *packetNet) { n.loss = 0.05 })
		const n = 500
		var all sync.WaitGroup
		for i := range 3 {
			cs, ss := streamPair(e, c, s)
			all.Go(func() { numbers(t, cs, n) })
			all.Go(func() { numbers(t, ss, n) })
			all.Go(func() { expectNumbers(t, fmt.Sprint("client's stream ", i), ss, n) })
			all.Go(func() { expectNumbers(t, fmt.Sprint("server's stream ", i), cs, n) })
		}
		time.Sleep(100 * time.Millisecond)
		e.cut("10.0.1.1")
		moved := make(chan error, 1)
		go func() { moved <- c.Migrate(e.Context(), e.net.listen(thirdAddr)) }()
		time.Sleep(time.Second)
		e.net.rebind(e.pc, otherAddr)
		all.Wait()
		if err := <-moved; err != nil {
			e.Error(err)
		}
		for range 50 { // the server asks over the new path, and what it asks may be lost
			write(t, c, "there")
			expect(t, s, "there")
			time.Sleep(5 * rtt)
			if s.RemoteAddr().String() == thirdAddr {
				break
			}
		}
		if got := s.RemoteAddr().String(); got != thirdAddr {
			e.Errorf("the server sees %v", got)
		}
	})
}

// TestMigrateIdle: the server learns of the new path without traffic.
func TestMigrateIdle(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		c, s := e.pair(e.listener.Protocol("mqtt"), "mqtt")
		time.Sleep(time.Second)
		if err := c.Migrate(e.Context(), e.net.listen(otherAddr)); err != nil {
			e.Fatal(err)
		}
		e.cut("10.0.1.1")
		time.Sleep(5 * rtt)
		if s.RemoteAddr().String() != otherAddr {
			e.Errorf("the server sees %v", s.RemoteAddr())
		}
		start := time.Now()
		write(t, s, "ping")
		expect(t, c, "ping")
		if took := time.Since(start); took > rtt {
			e.Errorf("the server's message took %v", took)
		}
	})
}

// TestMigrateToAndFro moves until the connection has used up its sockets.
func TestMigrateToAndFro(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		c, s := e.pair(e.listener.Protocol("mqtt"), "mqtt")
		for i := range maxPaths - 1 {
			if err := c.Migrate(e.Context(), e.net.listen(fmt.Sprintf("10.0.2.%d:6000", i+1))); err != nil {
				e.Fatal(i, err)
			}
			write(t, c, "to")
			expect(t, s, "to")
			write(t, s, "fro")
			expect(t, c, "fro")
			s.RemoteAddr() // notes where the client is
		}
		pc := e.net.listen(thirdAddr)
		if err := c.Migrate(e.Context(), pc); !errors.Is(err, ErrPaths) {
			e.Error(err)
		}
		write(t, c, "still")
		expect(t, s, "still")
		if n := s.Stats().Migrations; n != maxPaths-1 {
			e.Errorf("%d migrations", n)
		}
		c.Close()
		s.Close()
		<-c.Done()
		time.Sleep(2 * socketLinger)
		e.net.mu.Lock()
		defer e.net.mu.Unlock()
		if len(e.net.sinks) != 1 {
			e.Errorf("open sockets: %v", e.net.sinks)
		}
	})
}

// TestMigrateNoAnswer: after a probe without an answer the connection is where it was.
func TestMigrateNoAnswer(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		c, s := e.pair(e.listener.Protocol("mqtt"), "mqtt")
		e.cut("10.0.2.1")
		ctx, cancel := context.WithTimeout(e.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := c.Migrate(ctx, e.net.listen(otherAddr)); !errors.Is(err, context.DeadlineExceeded) {
			e.Error(err)
		}
		if took := time.Since(start); took != time.Second {
			e.Errorf("gave up after %v", took)
		}
		if c.LocalAddr().String() != clientAddr || c.Stats().Migrations != 0 || e.dialer.Stats().ProbesFailed != 1 {
			e.Error(c.LocalAddr(), c.Stats().Migrations, e.dialer.Stats().ProbesFailed)
		}
		write(t, c, "here")
		expect(t, s, "here")
		e.cut()
		if err := c.Migrate(e.Context(), e.net.listen(thirdAddr)); err != nil {
			e.Error(err)
		}
		write(t, c, "there")
		expect(t, s, "there")
	})
}

func TestMigrateEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(c, s *Conn)
	}{
		{"closed", func(c, s *Conn) { c.Close() }},
		{"aborted", func(c, s *Conn) { c.Abort(CodeAborted, "") }},
		{"by the peer", func(c, s *Conn) { s.Abort(CodeAborted, "") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, nil, func(e *env) {
				c, s := e.pair(e.listener.Protocol("mqtt"), "mqtt")
				e.cut("10.0.2.1")
				time.AfterFunc(time.Second, func() { tt.end(c, s) })
				start := time.Now()
				if err := c.Migrate(e.Context(), e.net.listen(otherAddr)); !errors.Is(err, net.ErrClosed) {
					e.Error(err)
				}
				if took := time.Since(start); took > time.Second+rtt {
					e.Errorf("it took %v", took)
				}
				pc := e.net.listen(thirdAddr)
				if err := c.Migrate(e.Context(), pc); !errors.Is(err, net.ErrClosed) {
					e.Error(err)
				}
			})
		})
	}
}

func TestMigrateUnsupported(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		c, s := e.pair(e.listener.Protocol("mqtt"), "mqtt")
		pc := e.net.listen(otherAddr)
		if err := s.Migrate(e.Context(), pc); !errors.Is(err, errors.ErrUnsupported) {
			e.Error(err)
		}
		if _, err := pc.WriteTo(nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(serverAddr))); !errors.Is(err, net.ErrClosed) {
			e.Error("the socket is still open", err)
		}
		c.path.d.PacketConn = pc
		if err := c.Migrate(e.Context(), nil); !errors.Is(err, errors.ErrUnsupported) {
			e.Error(err)
		}
		c.path.d.PacketConn = nil
	})
}

// TestMigrateEarly: a connection with early data moves after its handshake.
func TestMigrateEarly(t *testing.T) {
	earlyBubble(t, nil, 100, func(e *env, l net.Listener) {
		c := e.early()
		write(t, c, "x")
		start := time.Now()
		if err := c.Migrate(e.Context(), e.net.listen(otherAddr)); err != nil {
			e.Fatal(err)
		}
		if took := time.Since(start); took < 2*rtt {
			e.Errorf("it took %v", took)
		}
		s := e.accept(l)
		expect(t, s, "x")
		write(t, c, "y")
		expect(t, s, "y")
		time.Sleep(5 * rtt) // the server moves when it has an answer over the new path too
		if s.RemoteAddr().String() != otherAddr {
			e.Error(s.RemoteAddr())
		}
	})
}

// fakeNet is what a machine knows of its network.
type fakeNet struct {
	mu    sync.Mutex
	route netip.Addr
	addrs []netip.Addr
	asked int
}

func (f *fakeNet) set(route string, addrs ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.route, f.addrs = netip.Addr{}, nil
	if route != "" {
		f.route = netip.MustParseAddr(route)
	}
	for _, a := range addrs {
		f.addrs = append(f.addrs, netip.MustParseAddr(a))
	}
}

func (f *fakeNet) options() *PathOptions {
	return &PathOptions{
		Route: func(net.Addr) (netip.Addr, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.asked++
			if !f.route.IsValid() {
				return netip.Addr{}, syscall.ENETUNREACH
			}
			return f.route, nil
		},
		Addrs: func() ([]netip.Addr, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			return slices.Clone(f.addrs), nil
		},
	}
}

// watchBubble is bubble with a dialer that follows a network, on which its sockets have the address of the route.
func watchBubble(t *testing.T, lo *ListenOptions, f func(e *env, n *fakeNet)) {
	fake := &fakeNet{}
	fake.set("10.0.1.1", "10.0.1.1")
	d := &Dialer{Paths: fake.options(), EarlyData: 100}
	port := 5000
	bubble(t, lo, d, func(e *env) {
		d.ListenPacket = func(context.Context, net.Addr) (net.PacketConn, error) {
			fake.mu.Lock()
			defer fake.mu.Unlock()
			port++
			return e.net.listen(fmt.Sprintf("%v:%d", fake.route, port)), nil
		}
		f(e, fake)
	})
}

// TestWatch: all connections of a dialer follow when the system would use another address for a while, and only then.
func TestWatch(t *testing.T) {
	watchBubble(t, nil, func(e *env, n *fakeNet) {
		l := e.listener.Protocol("mqtt")
		c1, s1 := e.pair(l, "mqtt")
		c2, s2 := e.pair(l, "mqtt")
		echo := func(what string) {
			e.Helper()
			for _, p := range [][2]*Conn{{c1, s1}, {c2, s2}} {
				write(t, p[0], what)
				expect(t, p[1], what)
				write(t, p[1], what)
				expect(t, p[0], what)
				p[1].RemoteAddr() // notes where the client is
			}
		}
		at := func(c *Conn) string { return c.LocalAddr().(*net.UDPAddr).IP.String() }
		echo("one")
		time.Sleep(time.Minute)
		if c1.Stats().Migrations+c2.Stats().Migrations != 0 {
			e.Fatal("moved without a reason")
		}
		// A short change is none.
		n.set("10.0.2.1", "10.0.1.1", "10.0.2.1")
		time.Sleep(time.Second)
		n.set("10.0.1.1", "10.0.1.1", "10.0.2.1")
		time.Sleep(10 * time.Second)
		if c1.Stats().Migrations+c2.Stats().Migrations != 0 {
			e.Fatal("moved for a short change")
		}
		// A longer one is.
		n.set("10.0.2.1", "10.0.1.1", "10.0.2.1")
		time.Sleep(3*time.Second + 3*rtt)
		if at(c1) != "10.0.2.1" || at(c2) != "10.0.2.1" {
			e.Fatal("not moved", at(c1), at(c2))
		}
		if c1.LocalAddr().String() != c2.LocalAddr().String() {
			e.Error("a socket for each")
		}
		echo("two")
		// Soon after that, not even if it lasts.
		n.set("10.0.3.1", "10.0.2.1", "10.0.3.1")
		time.Sleep(5 * time.Second)
		if at(c1) != "10.0.2.1" {
			e.Error("moved within the hold", at(c1))
		}
		time.Sleep(7 * time.Second)
		if at(c1) != "10.0.3.1" {
			e.Error("not moved after the hold", at(c1))
		}
		echo("held")
		// Unless the address is gone.
		n.set("10.0.4.1", "10.0.4.1")
		e.cut("10.0.3.1")
		time.Sleep(3*time.Second + 3*rtt)
		if at(c1) != "10.0.4.1" {
			e.Error("not moved although the address is gone", at(c1))
		}
		echo("three")
		// Without a network the connections wait.
		n.set("")
		e.cut("10.0.3.1", "10.0.4.1")
		time.Sleep(20 * time.Second)
		n.set("10.0.5.1", "10.0.5.1")
		time.Sleep(15 * time.Second)
		echo("four")
		if m := s2.Stats().Migrations; m != 4 {
			e.Errorf("%d migrations", m)
		}
		if st := e.dialer.Stats(); st.PathsGone+st.ProbesFailed != 0 || st.Total.Migrations != 8 {
			e.Errorf("%+v", st)
		}
		// Later dials use the new socket.
		c3, s3 := e.pair(l, "mqtt")
		if c3.LocalAddr().String() != c1.LocalAddr().String() || s3.RemoteAddr().String() != c1.LocalAddr().String() {
			e.Error(c3.LocalAddr(), c1.LocalAddr())
		}
	})
}

// TestWatchNoPath: when the address is gone and the server does not answer over the new path, the connection ends soon, and
// the next one sends early data.
func TestWatchNoPath(t *testing.T) {
	watchBubble(t, &ListenOptions{EarlyData: NewGuard(nil)}, func(e *env, n *fakeNet) {
		ended := 0
		e.dialer.Trace = &Trace{NoPath: func(*Conn) { ended++ }}
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		time.Sleep(time.Second)
		n.set("10.0.2.1", "10.0.2.1")
		e.cut("10.0.1.1", "10.0.2.1")
		start := time.Now()
		_, err := c.Read(make([]byte, 1))
		if e, ok := errors.AsType[*Error](err); !ok || e.Reason != noPathReason || !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if took := time.Since(start); took > 12*time.Second || took < 5*time.Second {
			e.Errorf("it took %v", took)
		}
		if st := e.dialer.Stats(); st.PathsGone != 1 || st.ProbesFailed != 1 || ended != 1 {
			e.Errorf("%+v, %d", st, ended)
		}
		e.cut("10.0.1.1")
		c = e.early()
		write(t, c, "back")
		s2 := e.accept(l)
		expect(t, s2, "back")
		if s2.RemoteAddr().(*net.UDPAddr).IP.String() != "10.0.2.1" {
			e.Error(s2.RemoteAddr())
		}
		s.Abort(CodeAborted, "")
	})
}

// TestWatchNoRoute: without a way to the server a dial fails at once and spends no ticket.
func TestWatchNoRoute(t *testing.T) {
	watchBubble(t, &ListenOptions{EarlyData: NewGuard(nil)}, func(e *env, n *fakeNet) {
		l := e.listener.Protocol("mqtt")
		e.ticket(l)
		n.set("")
		for range 10 {
			start := time.Now()
			if _, err := e.dialer.Dial(e.Context(), "mqtt", serverAddr); !errors.Is(err, syscall.ENETUNREACH) || time.Since(start) != 0 {
				e.Error(err, time.Since(start))
			}
		}
		n.set("10.0.1.1", "10.0.1.1")
		c := e.early()
		write(t, c, "x")
		expect(t, e.accept(l), "x")
	})
}

// TestWatchStops: the network is not asked when there is no connection.
func TestWatchStops(t *testing.T) {
	watchBubble(t, nil, func(e *env, n *fakeNet) {
		l := e.listener.Protocol("mqtt")
		for range 2 {
			c, s := e.pair(l, "mqtt")
			time.Sleep(10 * time.Second)
			n.mu.Lock()
			if n.asked < 5 || n.asked > 8 {
				e.Errorf("asked %d times", n.asked)
			}
			n.mu.Unlock()
			c.Close()
			s.Close()
			<-c.Done()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			n.mu.Lock()
			n.asked = 0
			n.mu.Unlock()
			time.Sleep(time.Minute)
			n.mu.Lock()
			if n.asked != 0 {
				e.Errorf("asked %d times without a connection", n.asked)
			}
			n.mu.Unlock()
		}
	})
}

func TestWatchesPaths(t *testing.T) {
	listen := func(context.Context, net.Addr) (net.PacketConn, error) { return nil, nil }
	for _, tt := range []struct {
		d    *Dialer
		want bool
	}{
		{&Dialer{}, true},
		{&Dialer{Paths: &PathOptions{}}, true},
		{&Dialer{Paths: &PathOptions{Interval: -1}}, false},
		{&Dialer{ListenPacket: listen}, false},
		{&Dialer{ListenPacket: listen, Paths: &PathOptions{}}, false},
		{&Dialer{ListenPacket: listen, Paths: new(fakeNet).options()}, true},
		{&Dialer{PacketConn: &packetConn{}, Paths: new(fakeNet).options()}, false},
	} {
		if got := tt.d.watchesPaths(); got != tt.want {
			t.Errorf("%+v: %v", tt.d, got)
		}
	}
}

// TestLook goes through what a connection may see.
func TestLook(t *testing.T) {
	o := new(PathOptions).orDefaults()
	a, b, c, none := netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("10.0.2.1"), netip.MustParseAddr("10.0.3.1"), netip.Addr{}
	fail := errors.New("no answer")
	type step struct {
		at    time.Duration
		route netip.Addr
		gone  bool
		want  decision
		err   error // of the move
	}
	const s = time.Second
	for name, steps := range map[string][]step{
		"settles":        {{0, a, false, pathStays, nil}, {1 * s, b, false, pathStays, nil}, {2 * s, b, false, pathMoves, nil}, {3 * s, b, false, pathStays, nil}},
		"flaps":          {{0, a, false, pathStays, nil}, {1 * s, b, false, pathStays, nil}, {2 * s, a, false, pathStays, nil}, {3 * s, b, false, pathStays, nil}, {4 * s, c, false, pathStays, nil}, {5 * s, c, false, pathMoves, nil}},
		"no route":       {{0, a, false, pathStays, nil}, {1 * s, b, false, pathStays, nil}, {2 * s, none, true, pathStays, nil}, {3 * s, b, true, pathStays, nil}, {4 * s, b, true, pathMoves, nil}},
		"holds":          {{0, a, false, pathStays, nil}, {1 * s, b, false, pathStays, nil}, {2 * s, b, false, pathMoves, nil}, {3 * s, a, false, pathStays, nil}, {5 * s, a, false, pathStays, nil}, {11 * s, a, false, pathStays, nil}, {12 * s, a, false, pathMoves, nil}},
		"gone":           {{0, a, false, pathStays, nil}, {1 * s, b, false, pathStays, nil}, {2 * s, b, false, pathMoves, nil}, {3 * s, a, true, pathStays, nil}, {4 * s, a, true, pathMoves, nil}},
		"fails":          {{0, a, false, pathStays, nil}, {1 * s, b, false, pathStays, nil}, {2 * s, b, false, pathMoves, fail}, {4 * s, b, false, pathStays, nil}, {12 * s, b, false, pathMoves, fail}, {14 * s, a, false, pathStays, nil}, {15 * s, b, false, pathStays, nil}},
		"fails and gone": {{0, a, false, pathStays, nil}, {1 * s, b, true, pathStays, nil}, {2 * s, b, true, pathMoves, fail}, {3 * s, b, true, pathEnds, nil}},
		"unknown route":  {{0, none, false, pathStays, nil}, {1 * s, b, false, pathStays, nil}, {5 * s, b, false, pathStays, nil}},
	} {
		var w watched
		start := time.Unix(0, 0)
		for i, st := range steps {
			now := start.Add(st.at)
			if got := w.look(now, st.route, st.gone, &o); got != st.want {
				t.Errorf("%s, step %d: %v, want %v", name, i, got, st.want)
			}
			if st.want == pathMoves {
				w.started(now)
				if w.look(now, st.route, st.gone, &o) != pathStays {
					t.Errorf("%s, step %d: moves twice at a time", name, i)
				}
				w.finished(now, st.route, st.err)
			}
		}
	}
	o.Stay = true
	w := watched{local: a, next: b, since: time.Unix(0, 0), failed: 1, tried: time.Unix(1, 0)}
	if got := w.look(time.Unix(2, 0), b, true, &o); got != pathMoves {
		t.Errorf("with Stay: %v", got)
	}
}

func TestIsOutage(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.ENETUNREACH: true,
		&net.OpError{Op: "write", Err: syscall.EHOSTUNREACH}: true,
		syscall.EMSGSIZE: false,
		syscall.EPERM:    false,
		net.ErrClosed:    false,
	} {
		if runtime.GOOS == "windows" && want {
			continue // the system's own numbers, which this table does not have
		}
		if got := isOutage(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
