package interop

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/quic/quicnet"
)

// ngtcp2Body is what our server answers to each request.
const ngtcp2Body = "over QUIC with ngtcp2\n"

// An h3Server answers each request of HTTP/3.
type h3Server struct {
	*quicnet.Listener
	conns chan *quicnet.Conn
	qlog  qlogs
}

// newH3Server serves HTTP/3 with a body for all requests.
func newH3Server(t *testing.T, k *quicKeys, body []byte, o *quicnet.ListenOptions) *h3Server {
	t.Helper()
	s := &h3Server{conns: make(chan *quicnet.Conn, 100)}
	o.Config = quicConfig(k.server)
	o.Qlog, o.MaxUniStreams = s.qlog.open, 3
	var err error
	if s.Listener, err = quicnet.Listen("udp", "127.0.0.1:0", o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	answer := func(x quicStream) {
		if _, err := h3Body(x); err != nil {
			t.Errorf("the request: %v", err)
		}
		x.Write(h3OK(body))
		x.CloseWrite()
	}
	l := s.Protocol("h3")
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c := nc.(*quicnet.Conn)
			s.conns <- c
			go answer(c)
			go func() {
				for {
					x, err := c.AcceptStream(context.Background())
					if err != nil {
						return
					}
					go answer(x)
				}
			}()
		}
	}()
	return s
}

// gtlsclient runs the client of ngtcp2 for n requests, and returns what it says and what it got, without repetitions.
func gtlsclient(t *testing.T, to net.Addr, n int, args ...string) (log string, bodies map[string]string) {
	t.Helper()
	dir := t.TempDir()
	a := netip.MustParseAddrPort(to.String())
	args = append(args, "--exit-on-all-streams-close", "--handshake-timeout=60s", "--timeout=60s", "--download="+dir, "--sni=localhost", "--no-quic-dump", "--no-http-dump",
		a.Addr().String(), fmt.Sprint(a.Port()))
	for i := range n {
		args = append(args, fmt.Sprintf("https://localhost/%d", i))
	}
	cmd := exec.CommandContext(quicContext(t), "gtlsclient", args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("gtlsclient: %v\n%s", err, lastLines(out, 60))
	}
	bodies = make(map[string]string)
	for i := range n {
		b, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Errorf("request %d: %v", i, err)
		}
		bodies[string(b)] = fmt.Sprint(i)
	}
	return string(out), bodies
}

// lastLines returns the end of a log.
func lastLines(b []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// says checks that a program said something.
func says(t *testing.T, log, what string) {
	t.Helper()
	if !strings.Contains(log, what) {
		t.Errorf("ngtcp2 did not say %q\n%s", what, lastLines([]byte(log), 40))
	}
}

// TestQUICOfNgtcp2Client has the client of ngtcp2 use our server. It speaks HTTP/3 only, so the test answers in that.
func TestQUICOfNgtcp2Client(t *testing.T) {
	need(t, "gtlsclient")
	k := newQUICKeys(t)
	check := func(t *testing.T, bodies map[string]string, want string) {
		t.Helper()
		if len(bodies) != 1 || bodies[want] == "" {
			t.Errorf("%d different answers, or another one", len(bodies))
		}
	}
	t.Run("streams", func(t *testing.T) {
		s := newH3Server(t, k, []byte(ngtcp2Body), new(quicnet.ListenOptions))
		_, bodies := gtlsclient(t, s.Addr(), 30)
		check(t, bodies, ngtcp2Body)
	})
	t.Run("large answers and our key update", func(t *testing.T) {
		large := strings.Repeat(ngtcp2Body, 50_000)
		s := newH3Server(t, k, []byte(large), new(quicnet.ListenOptions))
		_, bodies := gtlsclient(t, s.Addr(), 3, "--quiet")
		check(t, bodies, large)
		if s.qlog.count(`local_update"`) == 0 {
			t.Error("no key update in 3 MiB")
		}
	})
	t.Run("Retry", func(t *testing.T) {
		s := newH3Server(t, k, []byte(ngtcp2Body), &quicnet.ListenOptions{RetryAbove: -1})
		log, bodies := gtlsclient(t, s.Addr(), 1)
		check(t, bodies, ngtcp2Body)
		says(t, log, "type=Retry")
		says(t, log, "NEW_TOKEN") // this version writes it to a file that it cannot read
	})
	t.Run("the client's key update", func(t *testing.T) {
		s := newH3Server(t, k, []byte(ngtcp2Body), new(quicnet.ListenOptions))
		log, bodies := gtlsclient(t, s.Addr(), 1, "--key-update=10ms", "--delay-stream=2s")
		check(t, bodies, ngtcp2Body)
		says(t, log, "key update confirmed")
		if s.qlog.count(`remote_update"`) == 0 {
			t.Error("we took no note of it")
		}
	})
	t.Run("migration", func(t *testing.T) { ngtcp2Moves(t, k) })
	t.Run("rebinding", func(t *testing.T) { ngtcp2Moves(t, k, "--nat-rebinding") })
	t.Run("chacha20", func(t *testing.T) {
		s := newH3Server(t, k, []byte(ngtcp2Body), new(quicnet.ListenOptions))
		log, bodies := gtlsclient(t, s.Addr(), 1, "--ciphers=NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305")
		check(t, bodies, ngtcp2Body)
		says(t, log, "Negotiated cipher suite is CHACHA20-POLY1305")
	})
	t.Run("version negotiation", func(t *testing.T) {
		s := newH3Server(t, k, []byte(ngtcp2Body), new(quicnet.ListenOptions))
		a := netip.MustParseAddrPort(s.Addr().String())
		// It offers a draft of version 2 and gives up when it is told what there is.
		out, _ := exec.CommandContext(quicContext(t), "gtlsclient", "--version=v2draft", "--handshake-timeout=60s", a.Addr().String(), fmt.Sprint(a.Port()), "https://localhost/").CombinedOutput()
		says(t, string(out), "VN v=0x00000001")
		says(t, string(out), "VN v=0x6b3343cf")
	})
	t.Run("resumption", func(t *testing.T) {
		s := newH3Server(t, k, []byte(ngtcp2Body), new(quicnet.ListenOptions))
		dir := t.TempDir()
		args := []string{"--session-file=" + filepath.Join(dir, "session"), "--tp-file=" + filepath.Join(dir, "tp")}
		gtlsclient(t, s.Addr(), 1, args...)
		_, bodies := gtlsclient(t, s.Addr(), 1, args...)
		check(t, bodies, ngtcp2Body)
		first, second := <-s.conns, <-s.conns
		if first.TLS().DidResume || !second.TLS().DidResume {
			t.Errorf("resumed: %v, then %v", first.TLS().DidResume, second.TLS().DidResume)
		}
	})
	t.Run("early data", func(t *testing.T) {
		guard := quicnet.NewGuard(nil)
		s := newH3Server(t, k, []byte(ngtcp2Body), &quicnet.ListenOptions{EarlyData: guard})
		dir := t.TempDir()
		session := filepath.Join(dir, "session")
		args := []string{"--session-file=" + session, "--tp-file=" + filepath.Join(dir, "tp")}
		gtlsclient(t, s.Addr(), 1, args...)
		used, err := os.ReadFile(session)
		if err != nil {
			t.Fatal(err)
		}
		const rejected = "Early data was rejected by server"
		log, bodies := gtlsclient(t, s.Addr(), 3, args...)
		check(t, bodies, ngtcp2Body)
		says(t, log, "type=0RTT")
		if strings.Contains(log, rejected) || guard.Stats().Accepted != 1 {
			t.Errorf("the early data was not taken: %+v", guard.Stats())
		}
		// The same ticket again, as from somebody who stole it.
		if err := os.WriteFile(session, used, 0o600); err != nil {
			t.Fatal(err)
		}
		log, bodies = gtlsclient(t, s.Addr(), 3, args...)
		check(t, bodies, ngtcp2Body)
		says(t, log, "type=0RTT")
		says(t, log, rejected)
		if st := guard.Stats(); st.Accepted != 1 || st.Replayed != 1 {
			t.Errorf("after a ticket was used twice: %+v", st)
		}
	})
	t.Run("early data of another server", func(t *testing.T) {
		dir := t.TempDir()
		args := []string{"--session-file=" + filepath.Join(dir, "session"), "--tp-file=" + filepath.Join(dir, "tp")}
		var log string
		for range 2 {
			s := newH3Server(t, k, []byte(ngtcp2Body), &quicnet.ListenOptions{EarlyData: quicnet.NewGuard(nil)})
			var bodies map[string]string
			log, bodies = gtlsclient(t, s.Addr(), 1, args...)
			check(t, bodies, ngtcp2Body)
		}
		says(t, log, "type=0RTT")
		says(t, log, "Early data was rejected by server")
	})
}

// ngtcp2Moves has the client change its port before it asks.
func ngtcp2Moves(t *testing.T, k *quicKeys, args ...string) {
	s := newH3Server(t, k, []byte(ngtcp2Body), new(quicnet.ListenOptions))
	args = append(args, "--change-local-addr=10ms", "--delay-stream=2s")
	log, bodies := gtlsclient(t, s.Addr(), 2, args...)
	if len(bodies) != 1 || bodies[ngtcp2Body] == "" {
		t.Errorf("%d different answers, or another one", len(bodies))
	}
	says(t, log, "PATH_CHALLENGE")
	says(t, log, "PATH_RESPONSE")
	if strings.Count(log, "Sent packet: local=") == 0 {
		t.Fatal("ngtcp2 says nothing of its addresses")
	}
	ports := make(map[string]bool)
	for line := range strings.Lines(log) {
		if _, rest, ok := strings.Cut(line, "Sent packet: local="); ok {
			port, _, _ := strings.Cut(rest, " ")
			ports[port] = true
		}
	}
	if len(ports) != 2 {
		t.Errorf("the client used %d ports", len(ports))
	}
}

// gtlsserver starts the server of ngtcp2 on a free port. It serves files by their names. log ends it.
func gtlsserver(t *testing.T, k *quicKeys, files map[string]string, args ...string) (addr net.Addr, log func() string) {
	t.Helper()
	addr = freeUDP(t)
	return addr, gtlsserverAt(t, addr, k, files, args...)
}

// gtlsserverAt starts the server at an address.
func gtlsserverAt(t *testing.T, addr net.Addr, k *quicKeys, files map[string]string, args ...string) (log func() string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a := netip.MustParseAddrPort(addr.String())
	args = append(args, "--htdocs="+dir, "--handshake-timeout=60s", "--timeout=60s", "--no-quic-dump", "--no-http-dump", a.Addr().String(), fmt.Sprint(a.Port()), k.key, k.cert)
	cmd := exec.CommandContext(t.Context(), "gtlsserver", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = waitTime
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceValue(func() string {
		cmd.Process.Kill()
		cmd.Wait()
		return out.String()
	})
	t.Cleanup(func() { stop() })
	return stop
}

// TestQUICOfNgtcp2Server has our client use the server of ngtcp2.
func TestQUICOfNgtcp2Server(t *testing.T) {
	need(t, "gtlsserver")
	k := newQUICKeys(t)
	large := strings.Repeat(ngtcp2Body, 50_000)
	files := map[string]string{"small": ngtcp2Body, "large": large}
	dial := func(t *testing.T, to net.Addr, q *qlogs) *quicnet.Conn {
		t.Helper()
		d := &quicnet.Dialer{Config: quicConfig(k.client)}
		d.Qlog, d.MaxUniStreams = q.open, 3
		c, err := d.Dial(quicContext(t), "h3", to.String()) // the server may not be there yet: QUIC sends again
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			c.Close()
			if err := d.Shutdown(quicContext(t)); err != nil && t.Context().Err() == nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
		return c
	}
	ask := func(t *testing.T, s quicStream, path, want string) {
		t.Helper()
		if _, err := s.Write(h3Get(path)); err != nil {
			t.Error(err)
			return
		}
		s.CloseWrite()
		if got, err := h3Body(s); err != nil || string(got) != want {
			t.Errorf("%s: %d bytes of %d, or other ones: %v", path, len(got), len(want), err)
		}
	}
	t.Run("streams and key update", func(t *testing.T) {
		addr, log := gtlsserver(t, k, files)
		var q qlogs
		c := dial(t, addr, &q)
		ask(t, c, "/small", ngtcp2Body)
		done := make(chan bool)
		for i := range 10 {
			go func() {
				defer func() { done <- true }()
				s, err := c.OpenStream(t.Context())
				if err != nil {
					t.Error(err)
				} else if i%2 == 0 {
					ask(t, s, "/large", large)
				} else {
					ask(t, s, "/small", ngtcp2Body)
				}
			}()
		}
		for range 10 {
			<-done
		}
		if q.count(`local_update"`) == 0 {
			t.Error("we did not update the keys in 5 MiB")
		}
		says(t, log(), "key update confirmed")
	})
	t.Run("Retry", func(t *testing.T) {
		addr, log := gtlsserver(t, k, files, "--validate-addr")
		ask(t, dial(t, addr, new(qlogs)), "/small", ngtcp2Body)
		says(t, log(), "Sending Retry packet")
	})
	t.Run("rebinding", func(t *testing.T) {
		addr, log := gtlsserver(t, k, files)
		n := newNAT(t, addr)
		c := dial(t, n.LocalAddr(), new(qlogs))
		ask(t, c, "/small", ngtcp2Body)
		n.rebind(t)
		s, err := c.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ask(t, s, "/large", large)
		said := log()
		says(t, said, "PATH_CHALLENGE")
		says(t, said, "path has been validated")
	})
	t.Run("early data", func(t *testing.T) {
		addr, log := gtlsserver(t, k, files)
		// crypto/tls counts the age of a ticket from the last full second before it came, and GnuTLS takes no early data
		// of somebody whose ticket is older than it could be. So this clock stands still, on a full second.
		conf := k.client.Clone()
		begin := time.Now().Truncate(time.Second)
		conf.Time = func() time.Time { return begin }
		d := &quicnet.Dialer{Config: quicConfig(conf), EarlyData: 16 << 10}
		d.MaxUniStreams = 3
		defer d.Shutdown(t.Context())
		for i, want := range []struct {
			accepted, rejected uint64
			restart            bool
		}{{0, 0, false}, {1, 0, true}, {1, 1, false}, {2, 1, false}} {
			c, err := d.Dial(quicContext(t), "h3", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			ask(t, c, "/small", ngtcp2Body)
			<-c.Confirmed()
			s, err := c.OpenStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ask(t, s, "/small", ngtcp2Body) // the ticket comes before the answer
			if st := d.Stats(); st.EarlyAccepted != want.accepted || st.EarlyRejected != want.rejected {
				t.Errorf("connection %d: early data accepted %d times, rejected %d times", i, st.EarlyAccepted, st.EarlyRejected)
			}
			c.Close()
			<-c.Done()
			if want.restart { // the new one has other keys
				log()
				log = gtlsserverAt(t, addr, k, files)
			}
		}
		if d.Stats().EarlyResent == 0 {
			t.Error("nothing was sent again")
		}
		says(t, log(), "type=0RTT")
	})
	t.Run("a path that the server does not have", func(t *testing.T) {
		addr, _ := gtlsserver(t, k, files)
		c := dial(t, addr, new(qlogs))
		if _, err := c.Write(h3Get("/none")); err != nil {
			t.Fatal(err)
		}
		c.CloseWrite()
		if got, err := h3Body(c); err != nil || !bytes.Contains(got, []byte("404")) {
			t.Errorf("%q, %v", got, err)
		}
	})
}
