package quicnet

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/testutils"
)

// TestProtocols tells connections apart by name, on one socket.
func TestProtocols(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		mqtt := e.listener.Protocol("mqtt")
		kafka := e.listener.Protocol("kafka-streams/1", "kafka")
		for alpn, l := range map[string]net.Listener{"mqtt": mqtt, "kafka": kafka, "kafka-streams/1": kafka} {
			c, s := e.pair(l, alpn)
			if c.Protocol() != alpn || s.Protocol() != alpn {
				e.Errorf("%s: %q and %q", alpn, c.Protocol(), s.Protocol())
			}
		}
		ctx, cancel := context.WithTimeout(e.Context(), 10*time.Second)
		defer cancel()
		_, err := e.dialer.Dial(ctx, "amqp", serverAddr)
		var q *Error
		if !errors.As(err, &q) || q.Kind != KindTLS || q.Code != 120 || !q.Remote { // no_application_protocol
			e.Errorf("a name that nobody serves: %v", err)
		}
		// The order of the server holds.
		for range 10 {
			c, err := e.dialer.dial(ctx, serverAddr, []string{"none", "kafka", "kafka-streams/1"})
			if err != nil {
				e.Fatal(err)
			}
			if c.Protocol() != "kafka-streams/1" {
				e.Errorf("agreed on %q", c.Protocol())
			}
		}
		if mqtt.Addr().String() != serverAddr || mqtt.Addr().Network() != "udp" {
			e.Error(mqtt.Addr())
		}

		// A name ends with its listener, and can be served again.
		if err := mqtt.Close(); err != nil {
			e.Error(err)
		}
		if err := mqtt.Close(); !errors.Is(err, net.ErrClosed) {
			e.Error(err)
		}
		if _, err := mqtt.Accept(); !errors.Is(err, net.ErrClosed) {
			e.Error(err)
		}
		if _, err := e.dialer.Dial(ctx, "mqtt", serverAddr); !errors.As(err, &q) || q.Kind != KindTLS {
			e.Errorf("after Close: %v", err)
		}
		e.pair(e.listener.Protocol("mqtt"), "mqtt")
		e.pair(kafka, "kafka")
	})
}

// TestNoProtocol refuses every client of a listener that serves nothing yet.
func TestNoProtocol(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		_, err := e.dialer.Dial(e.Context(), "mqtt", serverAddr)
		var q *Error
		if !errors.As(err, &q) || q.Kind != KindTLS || !q.Remote {
			e.Errorf("got %v", err)
		}
	})
}

// TestBacklog overloads a listener that nobody accepts from.
func TestBacklog(t *testing.T) {
	bubble(t, &ListenOptions{Backlog: 3}, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		var conns []*Conn
		for range 5 {
			c := e.dial("mqtt")
			c.Write([]byte{1})
			conns = append(conns, c)
			pause(time.Second)
		}
		for i, c := range conns {
			var q *Error
			c.SetReadDeadline(time.Now().Add(time.Second))
			_, err := c.Read(make([]byte, 1))
			if refused := errors.As(err, &q) && q.Code == uint64(CodeOverload); refused != (i >= 3) {
				e.Errorf("connection %d: %v", i, err)
			}
		}
		if st := e.listener.Stats(); st.Overloaded != 2 || st.Conns != 3 {
			e.Errorf("%+v", st)
		}
		l.Close() // those that waited are told
		pause(time.Second)
		if st := e.listener.Stats(); st.Conns != 0 {
			e.Errorf("%d connections are left", st.Conns)
		}
	})
}

// TestMaxConns refuses clients beyond the limit, and lets them in again when there is room.
func TestMaxConns(t *testing.T) {
	var refused atomic.Int64
	o := &ListenOptions{MaxConns: 2, Config: Config{Trace: &Trace{Refused: func(net.Addr) { refused.Add(1) }}}}
	bubble(t, o, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		e.pair(l, "mqtt")
		_, err := e.dialer.Dial(e.Context(), "mqtt", serverAddr)
		var q *Error
		if !errors.As(err, &q) || q.Kind != KindTransport || q.Code != 2 || !q.Remote { // CONNECTION_REFUSED
			e.Errorf("got %v", err)
		}
		if st := e.listener.Stats(); refused.Load() != int64(st.Refused) || st.Refused == 0 || e.dialer.Stats().Failed != 1 {
			e.Errorf("%d refused, %+v", refused.Load(), st)
		}
		c.Close()
		s.Close()
		<-s.Done()
		e.pair(l, "mqtt")
	})
}

// TestMaxConnsAtOnce: clients whose handshakes are under way together are not more than the limit either.
func TestMaxConnsAtOnce(t *testing.T) {
	bubble(t, &ListenOptions{MaxConns: 2}, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		var served, refused atomic.Int64
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				c := e.dial("mqtt")
				write(t, c, "x")
				var q *Error
				if _, err := c.Read(make([]byte, 1)); err == nil {
					served.Add(1)
				} else if errors.As(err, &q) && q.Code == uint64(CodeOverload) {
					refused.Add(1)
				}
			})
		}
		go func() {
			for {
				s, err := l.Accept()
				if err != nil {
					return
				}
				write(t, s, "y")
			}
		}()
		all.Wait()
		if st := e.listener.Stats(); served.Load() != 2 || refused.Load() != 3 || st.Conns != 2 || st.Refused != 3 {
			e.Errorf("%d clients are served, %d are refused, %+v", served.Load(), refused.Load(), st)
		}
	})
}

// TestSilentClients are clients that shake hands and open no stream: they are let go in time, and do not hold up the
// others.
func TestSilentClients(t *testing.T) {
	bubble(t, &ListenOptions{RetryAbove: 1000}, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		silent := make([]*Conn, 200)
		var all sync.WaitGroup
		for i := range silent {
			all.Go(func() { silent[i] = e.dial("mqtt") })
			pause(time.Millisecond) // quic-go refuses more than 32 at the same instant
		}
		all.Wait()
		if st := e.listener.Stats(); st.Handshakes != 200 || st.Conns != 0 {
			e.Errorf("%+v", st)
		}
		e.pair(l, "mqtt")
		pause(6 * time.Second)
		st := e.listener.Stats()
		if st.Handshakes != 0 || st.Conns != 1 || st.Silent != 200 {
			e.Errorf("%+v", st)
		}
		for _, c := range silent {
			var q *Error
			if _, err := c.Read(make([]byte, 1)); !errors.As(err, &q) || q.Code != uint64(CodeControl) {
				e.Fatal(err)
			}
		}
	})
}

// halfHello returns a first packet of a client, with half of a ClientHello, for a handshake that gets no further.
func halfHello(i int) []byte {
	id := quic.ConnectionIDFromBytes([]byte{1, 2, 3, 4, 5, 6, byte(i >> 8), byte(i)})
	hello := append([]byte{1, 0, 4, 0}, make([]byte, 500)...)
	const client = 2
	b := testutils.ComposeInitialPacket(id, id, id, nil, []testutils.Frame{&testutils.CryptoFrame{Data: hello}}, client, quic.Version1)
	return append(b, make([]byte, max(0, 1200-len(b)))...)
}

// TestRetryUnderLoad floods the listener with first packets from addresses that never answer. Beyond RetryAbove it keeps
// no state for them, a client that answers gets in, and the flood leaves nothing behind.
func TestRetryUnderLoad(t *testing.T) {
	const flood = 1000
	bubble(t, &ListenOptions{RetryAbove: 50}, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		var mu sync.Mutex
		in, out := make(map[netip.AddrPort]int), make(map[netip.AddrPort]int)
		e.net.set(func(n *packetNet) {
			n.tap = func(from, to netip.AddrPort, b []byte) {
				mu.Lock()
				defer mu.Unlock()
				if from.String() == serverAddr {
					out[to] += len(b)
				}
			}
		})
		for i := range flood {
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), 1000)
			b := halfHello(i)
			mu.Lock()
			in[from] += len(b)
			mu.Unlock()
			e.net.inject(from.String(), serverAddr, b)
			if i%4 == 0 {
				pause(time.Millisecond)
			}
		}
		pause(time.Millisecond)
		st := e.listener.Stats()
		if st.Handshakes != 50 || st.Retries != flood-50 {
			e.Errorf("%d handshakes under way, %d retries", st.Handshakes, st.Retries)
		}
		start := time.Now()
		e.pair(l, "mqtt")
		if took := time.Since(start); took != 2*rtt+rtt/2 { // one round trip more
			e.Errorf("a client came in after %v", took)
		}
		pause(time.Minute)
		if st := e.listener.Stats(); st.Handshakes != 0 || st.Conns != 1 {
			e.Errorf("left: %+v", st)
		}
		mu.Lock()
		defer mu.Unlock()
		for a, n := range in {
			if out[a] > 3*n {
				e.Fatalf("%v got %d bytes for %d", a, out[a], n)
			}
		}
	})
}

// TestMaxHandshakes refuses clients while too many handshakes are under way.
func TestMaxHandshakes(t *testing.T) {
	bubble(t, &ListenOptions{RetryAbove: 1000, MaxHandshakes: 10}, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		for i := range 30 {
			e.net.inject("10.9.0.1:7", serverAddr, halfHello(i))
		}
		pause(time.Millisecond)
		if st := e.listener.Stats(); st.Handshakes != 10 || st.Refused != 20 {
			e.Errorf("%+v", st)
		}
		var q *Error
		if _, err := e.dialer.Dial(e.Context(), "mqtt", serverAddr); !errors.As(err, &q) || q.Kind != KindTransport {
			e.Errorf("got %v", err)
		}
		pause(time.Minute)
		e.pair(l, "mqtt")
	})
}

// TestAmplification is a client that says hello and gets nothing: the server sends it at most three times what it sent
// (RFC 9000, section 8.1).
func TestAmplification(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		e.listener.Protocol("mqtt")
		var in, out atomic.Int64
		e.net.set(func(n *packetNet) {
			n.drop = func(_, to netip.AddrPort, _ []byte) bool { return to.String() == clientAddr }
			n.tap = func(from, _ netip.AddrPort, b []byte) {
				if from.String() == serverAddr {
					out.Add(int64(len(b)))
					if out.Load() > 3*in.Load() {
						e.Errorf("%d bytes for %d", out.Load(), in.Load())
					}
				} else {
					in.Add(int64(len(b)))
				}
			}
		})
		_, err := e.dialer.Dial(e.Context(), "mqtt", serverAddr)
		var (
			q *Error
			n net.Error
		)
		if !errors.As(err, &q) || q.Kind != KindIdle && q.Kind != KindHandshake || !errors.As(err, &n) || !n.Timeout() {
			e.Errorf("got %v", err)
		}
		pause(time.Minute)
		if in.Load() == 0 || out.Load() == 0 || e.listener.Stats().Handshakes != 0 {
			e.Errorf("%d bytes for %d, %+v", out.Load(), in.Load(), e.listener.Stats())
		}
	})
}

// TestRetryAlways asks every client for its address, once.
func TestRetryAlways(t *testing.T) {
	var retries atomic.Int64
	o := &ListenOptions{RetryAbove: -1, Config: Config{Trace: &Trace{Retry: func(net.Addr) { retries.Add(1) }}}}
	bubble(t, o, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		e.pair(l, "mqtt")
		if n := e.listener.Stats().Retries; n == 0 || n > 2 || retries.Load() != int64(n) { // a ClientHello may take two packets
			e.Error(retries.Load(), n)
		}
	})
}

// TestMutualTLS hands the client's certificate to the server, and refuses a client that has none.
func TestMutualTLS(t *testing.T) {
	o := &ListenOptions{Config: Config{TLS: serverTLS()}}
	o.TLS.ClientAuth = tls.RequireAndVerifyClientCert
	o.TLS.ClientCAs = testAuthority().pool
	d := &Dialer{Config: Config{TLS: clientTLS()}}
	d.TLS.Certificates = []tls.Certificate{testAuthority().client}
	bubble(t, o, d, func(e *env) {
		l := e.listener.Protocol("mqtt")
		_, s := e.pair(l, "mqtt")
		st := s.TLS()
		if len(st.PeerCertificates) == 0 || st.PeerCertificates[0].Subject.CommonName != "device-7" || len(st.VerifiedChains) == 0 {
			e.Errorf("the server knows %v", st.PeerCertificates)
		}
		anonymous := &Dialer{Config: Config{TLS: clientTLS()}, PacketConn: e.net.listen("10.0.1.2:1")}
		c, err := anonymous.Dial(e.Context(), "mqtt", serverAddr)
		if err == nil { // in TLS 1.3 the client is done before the server has seen its certificate
			_, err = c.Read(make([]byte, 1))
		}
		var q *Error
		if !errors.As(err, &q) || q.Kind != KindTLS || q.Code != 116 { // certificate_required
			e.Errorf("without a certificate: %v", err)
		}
		anonymous.Shutdown(e.Context())
		anonymous.PacketConn.Close()
	})
}

// TestWrongServer is a server whose certificate is of somebody else.
func TestWrongServer(t *testing.T) {
	d := &Dialer{Config: Config{TLS: &tls.Config{RootCAs: testAuthority().pool, ServerName: "other"}}}
	bubble(t, nil, d, func(e *env) {
		e.listener.Protocol("mqtt")
		_, err := e.dialer.Dial(e.Context(), "mqtt", serverAddr)
		var (
			q *Error
			v *tls.CertificateVerificationError
		)
		if !errors.As(err, &q) || q.Kind != KindTLS || q.Remote || !errors.As(err, &v) {
			e.Errorf("got %v", err)
		}
	})
}

// TestConfigForClient lets the application choose the certificate by server name.
func TestConfigForClient(t *testing.T) {
	o := &ListenOptions{Config: Config{TLS: &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if h.ServerName != "broker" {
			return nil, errors.New("unknown")
		}
		return serverTLS(), nil
	}}}}
	bubble(t, o, nil, func(e *env) {
		e.pair(e.listener.Protocol("mqtt"), "mqtt")
	})
}

// TestShutdown waits for connections to end, and ends them when it may not.
func TestShutdown(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		_, idle := e.pair(l, "mqtt")
		s.Write(pattern(50_000))
		ended := make(chan int)
		go func() {
			b, _ := io.ReadAll(c)
			c.Close()
			ended <- len(b)
		}()
		ctx, cancel := context.WithTimeout(e.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := e.listener.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			e.Error(err)
		}
		if took := time.Since(start); took > time.Second+rtt {
			e.Errorf("Shutdown took %v", took)
		}
		if n := <-ended; n != 50_000 {
			e.Errorf("the client read %d bytes", n)
		}
		<-s.Done()
		<-idle.Done()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			e.Error(err)
		}
		if err := e.listener.Close(); !errors.Is(err, net.ErrClosed) {
			e.Error(err)
		}
		if _, err := e.listener.Protocol("late").Accept(); !errors.Is(err, net.ErrClosed) {
			e.Error(err)
		}
	})
}

// TestCloseRefuses lets nobody in after Close, while a connection that is open goes on delivering.
func TestCloseRefuses(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		s.Write(pattern(1000))
		e.listener.Close()
		ctx, cancel := context.WithTimeout(e.Context(), time.Second)
		defer cancel()
		if _, err := e.dialer.Dial(ctx, "mqtt", serverAddr); err == nil {
			e.Error("a client came in")
		}
		if b, err := io.ReadAll(c); len(b) != 1000 || err != nil {
			e.Errorf("%d bytes, %v", len(b), err)
		}
		c.Close()
		if err := e.listener.Shutdown(e.Context()); err != nil {
			e.Error(err)
		}
	})
}

// TestStatelessReset is a server that was started anew: with the same key it tells clients that it has forgotten them.
func TestStatelessReset(t *testing.T) {
	key := [32]byte{1, 2, 3}
	bubble(t, &ListenOptions{StatelessResetKey: &key}, nil, func(e *env) {
		c, _ := e.pair(e.listener.Protocol("mqtt"), "mqtt")
		pause(time.Second)
		// The old server vanishes without a word.
		e.net.set(func(n *packetNet) {
			n.drop = func(from, _ netip.AddrPort, _ []byte) bool { return from.String() == serverAddr }
		})
		ctx, cancel := context.WithCancel(e.Context())
		cancel()
		e.listener.Shutdown(ctx)
		pc := e.net.listen(serverAddr)
		defer pc.Close()
		e.net.set(func(n *packetNet) { n.drop = nil })
		l, err := NewListener(pc, &ListenOptions{Config: Config{TLS: serverTLS()}, StatelessResetKey: &key})
		if err != nil {
			e.Fatal(err)
		}
		defer l.Shutdown(e.Context())
		start := time.Now()
		c.Write(pattern(2000)) // an answer to a tiny packet would be as large as that
		_, err = c.Read(make([]byte, 1))
		var q *Error
		if !errors.As(err, &q) || q.Kind != KindReset {
			e.Fatalf("got %v", err)
		}
		if took := time.Since(start); took > time.Second {
			e.Errorf("it took %v", took)
		}
	})
}

// numbered makes connection ids with the number of a server, as a load balancer wants them.
type numbered struct {
	server byte
	next   atomic.Uint32
}

func (n *numbered) Len() int { return 6 }

func (n *numbered) NewConnectionID() ([]byte, error) {
	i := n.next.Add(1)
	return []byte{n.server, 0xAA, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}, nil
}

// TestConnectionIDs checks that packets to the server carry the ids that the generator made.
func TestConnectionIDs(t *testing.T) {
	bubble(t, &ListenOptions{ConnectionIDs: &numbered{server: 9}}, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, _ := e.pair(l, "mqtt")
		var short, right atomic.Int64
		e.net.set(func(n *packetNet) {
			n.tap = func(_, to netip.AddrPort, b []byte) {
				if to.String() == serverAddr && b[0]&0x80 == 0 {
					short.Add(1)
					if b[1] == 9 && b[2] == 0xAA {
						right.Add(1)
					}
				}
			}
		})
		c.Write(pattern(10_000))
		pause(time.Second)
		if short.Load() == 0 || short.Load() != right.Load() {
			e.Errorf("%d packets of %d have the number", right.Load(), short.Load())
		}
	})
}

// TestBadOptions are options that make no sense.
func TestBadOptions(t *testing.T) {
	pc := newPacketNet(0).listen(serverAddr)
	for _, o := range []*ListenOptions{
		nil,
		{},
		{Config: Config{TLS: serverTLS(), PacketSize: 1000}},
		{Config: Config{TLS: serverTLS(), StreamWindow: -1}},
		{Config: Config{TLS: serverTLS(), IdleTimeout: -1}},
		{Config: Config{TLS: serverTLS()}, ConnectionIDs: tooLong{}},
	} {
		if _, err := NewListener(pc, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	if _, err := Listen("udp", "no port", nil); err == nil {
		t.Error("an address without a port was taken")
	}
	d := &Dialer{Config: Config{PacketSize: 1}}
	if _, err := d.Dial(t.Context(), "mqtt", "10.0.0.1:1"); err == nil {
		t.Error("a packet of one byte was taken")
	}
}

type tooLong struct{}

func (tooLong) Len() int { return 21 }

func (tooLong) NewConnectionID() ([]byte, error) { return make([]byte, 21), nil }
