package quicnet

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestStats looks at the numbers of a connection, a listener and a dialer.
func TestStats(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		go c.Write(pattern(100_000))
		if _, err := io.ReadFull(s, make([]byte, 100_000)); err != nil {
			e.Fatal(err)
		}
		st, err := c.OpenStream(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		st.Write([]byte{1})
		if _, err := s.AcceptStream(e.Context()); err != nil {
			e.Fatal(err)
		}
		pause(time.Second) // until nothing is on the way
		for name, st := range map[string]ConnStats{"client": c.Stats(), "server": s.Stats()} {
			if st.MinRTT != rtt || st.RTT < rtt || st.RTT > 2*rtt || st.Streams != 2 || st.CongestionWindow < 30_000 {
				e.Errorf("%s: %+v", name, st)
			}
		}
		if a, b := c.Stats(), s.Stats(); a.Handshake != rtt || b.Handshake != rtt || a.StreamsOpened != 1 || a.StreamsAccepted != 0 ||
			b.StreamsOpened != 0 || b.StreamsAccepted != 1 || a.BytesSent < 100_000 || a.BytesSent != b.BytesReceived || a.PacketsLost != 0 {
			e.Errorf("%+v\n%+v", a, b)
		}
		if st := e.listener.Stats(); st.Conns != 1 || st.Streams != 2 || st.Handshakes != 0 || st.Connected != 1 ||
			st.Handshake.Count != 1 || st.Handshake.Sum != rtt || st.Handshake.Buckets[5] != 1 || st.RTT.Count != 0 || st.Total.BytesReceived < 100_000 {
			e.Errorf("%+v", st)
		}
		before := e.dialer.Stats().Total.BytesSent
		c.Close()
		s.Close()
		<-c.Done()
		<-s.Done()
		other, _ := e.pair(l, "mqtt")
		other.Abort(7, "")
		pause(time.Second)
		st1 := e.dialer.Stats()
		if st1.Conns != 0 || st1.Streams != 0 || st1.Connected != 2 || st1.RTT.Count != 2 || st1.Closed[KindApplication] != 2 || st1.Graceful != 1 ||
			st1.Total.BytesSent < before || st1.Total.StreamsOpened != 1 {
			e.Errorf("%+v", st1)
		}
	})
}

func TestHistogram(t *testing.T) {
	var h Histogram
	for d, bucket := range map[time.Duration]int{-1: 0, 0: 0, 999 * time.Microsecond: 0, time.Millisecond: 1, 2 * time.Millisecond: 2,
		16383 * time.Millisecond: 14, 16384 * time.Millisecond: 15, time.Hour: 15} {
		n := h.Buckets[bucket]
		h.add(d)
		if h.Buckets[bucket] != n+1 {
			t.Errorf("%v is not in bucket %d", d, bucket)
		}
	}
	if h.Count != 8 {
		t.Error(h.Count)
	}
}

// journal notes what a Trace tells.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) count(prefix string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

func (j *journal) trace() *Trace {
	return &Trace{
		Connected:    func(_ *Conn, took time.Duration) { j.add("connected %v", took) },
		Closed:       func(_ *Conn, err error) { j.add("closed %v", err) },
		Moved:        func(_ *Conn, from, to net.Addr) { j.add("moved %v %v", from, to) },
		StreamOpened: func(_ *Conn, id int64) { j.add("opened %d", id) },
		StreamClosed: func(_ *Conn, id int64) { j.add("closed stream %d", id) },
		PacketLost:   func(*Conn) { j.add("lost") },
		KeyUpdated:   func(_ *Conn, byPeer bool) { j.add("keys %v", byPeer) },
	}
}

// TestTrace follows a connection from its begin to its end.
func TestTrace(t *testing.T) {
	var client, server journal
	lo, d := &ListenOptions{Config: Config{Trace: server.trace()}}, &Dialer{Config: Config{Trace: client.trace()}}
	bubble(t, lo, d, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		a, err := c.OpenStream(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		a.Write([]byte{1})
		b, err := s.AcceptStream(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		a.Close()
		b.Close()
		pause(time.Second)
		c.Close()
		pause(time.Second)
		s.Close()
		pause(time.Second)
		for j, want := range map[*journal][]string{
			&client: {"connected 20ms", "opened 4", "closed stream 4", "closed quic: closed by the application 0x0"},
			&server: {"connected 20ms", "opened 4", "closed stream 4", "closed quic: closed by the application 0x0 (by the peer)"},
		} {
			if !slices.Equal(j.lines, want) {
				e.Errorf("%q, want %q", j.lines, want)
			}
		}
	})
}

// TestKeyUpdate sends so much that the keys change, and counts lost packets on the way.
func TestKeyUpdate(t *testing.T) {
	var client, server journal
	lo, d := &ListenOptions{Config: Config{Trace: server.trace()}}, &Dialer{Config: Config{Trace: client.trace()}}
	bubble(t, lo, d, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		e.net.set(func(n *packetNet) { n.loss = 0.02 })
		go func() {
			c.Write(pattern(1 << 20))
			c.Close()
		}()
		if b, err := io.ReadAll(s); len(b) != 1<<20 || err != nil {
			e.Errorf("%d bytes, %v", len(b), err)
		}
		s.Close()
		<-c.Done()
		if client.count("keys false") != 1 || server.count("keys true") != 1 || c.Stats().KeyUpdates != 1 || s.Stats().KeyUpdates != 1 {
			e.Errorf("client %d, server %d, %+v", client.count("keys"), server.count("keys"), c.Stats())
		}
		if n := client.count("lost"); n == 0 || uint64(n) < c.Stats().PacketsLost {
			e.Errorf("%d packets were lost, says the trace, and %d, say the stats", n, c.Stats().PacketsLost)
		}
	})
}

// TestClientMoves gives the client another address in the midst of traffic, as a NAT that forgot does: nothing is lost,
// and the server knows the new address.
func TestClientMoves(t *testing.T) {
	var server journal
	bubble(t, &ListenOptions{Config: Config{Trace: server.trace()}}, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		if s.RemoteAddr().String() != clientAddr {
			e.Error(s.RemoteAddr())
		}
		const n = 500
		go func() {
			for i := range n {
				c.Write([]byte{byte(i)})
				pause(5 * time.Millisecond)
				if i == n/2 {
					e.net.rebind(e.pc, "10.0.7.7:777")
				}
			}
			c.CloseWrite()
		}()
		got, err := io.ReadAll(s)
		if len(got) != n || err != nil {
			e.Fatalf("%d bytes, %v", len(got), err)
		}
		for i, b := range got {
			if b != byte(i) {
				e.Fatalf("byte %d is %d", i, b)
			}
		}
		if s.RemoteAddr().String() != "10.0.7.7:777" || s.Stats().Migrations != 1 ||
			server.count("moved 10.0.1.1:5000 10.0.7.7:777") != 1 {
			e.Error(s.RemoteAddr(), s.Stats().Migrations, server.lines)
		}
		go func() {
			io.WriteString(s, "here you are")
			s.Close()
		}()
		if b, err := io.ReadAll(c); string(b) != "here you are" || err != nil {
			e.Errorf("%q, %v", b, err)
		}
	})
}

// TestKeepAlive keeps an idle connection for an hour, with a packet at least every 20 seconds.
func TestKeepAlive(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		var (
			last time.Time
			most time.Duration
		)
		e.net.set(func(n *packetNet) {
			n.tap = func(from, _ netip.AddrPort, _ []byte) {
				if from.String() != serverAddr {
					now := time.Now()
					if !last.IsZero() {
						most = max(most, now.Sub(last))
					}
					last = now
				}
			}
		})
		pause(time.Hour)
		if most == 0 || most > 20*time.Second+5*rtt {
			e.Errorf("silent for %v", most)
		}
		c.Write([]byte{1})
		if _, err := s.Read(make([]byte, 1)); err != nil {
			e.Error(err)
		}
	})
}

// TestIdleTimeout is a peer that is gone, and a connection without keep-alive.
func TestIdleTimeout(t *testing.T) {
	off := Config{KeepAlive: -1, IdleTimeout: 40 * time.Second}
	bubble(t, &ListenOptions{Config: off}, &Dialer{Config: off}, func(e *env) {
		l := e.listener.Protocol("mqtt")
		_, s := e.pair(l, "mqtt")
		start := time.Now()
		_, err := s.Read(make([]byte, 1))
		var (
			q *Error
			n net.Error
		)
		if !errors.As(err, &q) || q.Kind != KindIdle || !errors.As(err, &n) || !n.Timeout() || !errors.Is(err, net.ErrClosed) {
			e.Errorf("got %v", err)
		}
		if took := time.Since(start); took < 39*time.Second || took > 41*time.Second {
			e.Errorf("after %v", took)
		}
		<-s.Done()
		pause(time.Second)
		if st := e.listener.Stats(); st.Closed[KindIdle] != 1 {
			e.Errorf("%+v", st)
		}
	})
}

// file is what qlog is written to.
type file struct {
	bytes.Buffer
	closed bool
}

func (f *file) Close() error {
	f.closed = true
	return nil
}

// TestQlog writes the trace of one connection of two, in JSON text sequences (RFC 7464).
func TestQlog(t *testing.T) {
	var files []*file
	var infos []QlogInfo
	d := &Dialer{Config: Config{Qlog: func(i QlogInfo) io.WriteCloser {
		infos = append(infos, i)
		if len(infos) == 2 {
			return nil
		}
		files = append(files, &file{})
		return files[len(files)-1]
	}}}
	bubble(t, nil, d, func(e *env) {
		l := e.listener.Protocol("mqtt")
		for range 2 {
			c, s := e.pair(l, "mqtt")
			c.Close()
			s.Close()
			<-c.Done()
		}
		pause(time.Second)
		if len(files) != 1 || !files[0].closed || !infos[0].Client || len(infos[0].ConnectionID) < 16 {
			e.Fatalf("%d files, %+v", len(files), infos)
		}
		var names []string
		for r := bufio.NewReader(files[0]); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				break
			}
			var event struct{ Name string }
			if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "\x1e")), &event); err != nil {
				e.Fatalf("%v in %q", err, line)
			}
			names = append(names, event.Name)
		}
		for _, want := range []string{"packet_sent", "packet_received", "connection_closed"} {
			if !slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, want) }) {
				e.Errorf("no %s in %q", want, names)
			}
		}
	})
}
