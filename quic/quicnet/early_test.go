package quicnet

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// isConfirmed reports whether Confirmed is closed.
func (c *Conn) isConfirmed() bool {
	select {
	case <-c.src.confirmed():
		return true
	default:
		return false
	}
}

// earlyBubble is bubble with a guard and a dialer that sends early data and has a ticket.
func earlyBubble(t *testing.T, o *GuardOptions, budget int, f func(e *env, l net.Listener)) {
	t.Helper()
	bubble(t, &ListenOptions{EarlyData: NewGuard(o)}, &Dialer{EarlyData: budget}, func(e *env) {
		l := e.listener.Protocol("mqtt", "other")
		e.ticket(l)
		f(e, l)
	})
}

// ticket makes a connection, so that the dialer has a ticket, and ends it.
func (e *env) ticket(l net.Listener) {
	e.Helper()
	c, s := e.pair(l, "mqtt")
	time.Sleep(10 * rtt)
	c.Close()
	s.Close()
	<-c.Done()
	<-s.Done()
}

// early dials and expects the dialer to have a ticket.
func (e *env) early() *Conn {
	e.Helper()
	c := e.dial("mqtt")
	if c.isConfirmed() {
		e.Fatal("no early data")
	}
	return c
}

// distrust makes the listener refuse the tickets that there are.
func (e *env) distrust() {
	e.listener.o.EarlyData.register.(*MemoryRegister).era = NewEra()
}

func write(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if n, err := io.WriteString(w, s); n != len(s) || err != nil {
		t.Errorf("write: %d of %d bytes, %v", n, len(s), err)
	}
}

// expect reads exactly what is expected.
func expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(r, b); err != nil || string(b) != want {
		t.Errorf("read %q, %v; want %q", b[:n], err, want)
	}
}

// expectAll reads to the end.
func expectAll(t testing.TB, r io.Reader, want string) {
	t.Helper()
	if b, err := io.ReadAll(r); err != nil || string(b) != want {
		t.Errorf("read %q, %v; want %q", b, err, want)
	}
}

func TestEarlyDataAccepted(t *testing.T) {
	earlyBubble(t, nil, 100, func(e *env, l net.Listener) {
		start := time.Now()
		c := e.early()
		if c.Protocol() != "mqtt" {
			e.Errorf("protocol %q", c.Protocol())
		}
		write(t, c, "CONNECT")
		cs, err := c.OpenStream(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		write(t, cs, "SUBSCRIBE")
		if time.Since(start) != 0 {
			e.Error("something has waited")
		}
		s := e.accept(l)
		expect(t, s, "CONNECT")
		if took := time.Since(start); took != rtt/2 || s.isConfirmed() || c.isConfirmed() {
			e.Errorf("the first byte took %v; confirmed: %v, %v", took, s.isConfirmed(), c.isConfirmed())
		}
		ss, err := s.AcceptStream(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		expect(t, ss, "SUBSCRIBE")
		write(t, s, "CONNACK")
		expect(t, c, "CONNACK")
		if took := time.Since(start); took != rtt {
			e.Errorf("the first answer took %v, not %v", took, rtt)
		}
		<-c.Confirmed()
		<-s.Confirmed()
		write(t, ss, "SUBACK")
		expect(t, cs, "SUBACK")
		if st := e.dialer.Stats(); st.EarlyAccepted != 1 || st.EarlyRejected+st.EarlyFailed+st.EarlyResent != 0 || st.Resumed != 1 {
			e.Errorf("%+v", st)
		}
		if st := e.listener.Stats(); st.EarlyAccepted != 1 || st.EarlyRejected+st.EarlyReplayed != 0 {
			e.Errorf("%+v", st)
		}
		if got, want := e.listener.o.EarlyData.Stats(), (GuardStats{Issued: 2, Accepted: 1}); got != want {
			e.Errorf("%+v, want %+v", got, want)
		}
	})
}

// TestEarlyDataRefused: everything that was written before the server refused arrives, once, on streams with the same
// numbers and in order, and so does what is written during and after that.
func TestEarlyDataRefused(t *testing.T) {
	earlyBubble(t, nil, 100, func(e *env, l net.Listener) {
		e.distrust()
		start := time.Now()
		c := e.early()
		write(t, c, "one ")
		first, _ := c.OpenStream(e.Context())
		empty, _ := c.OpenStream(e.Context())
		last, _ := c.OpenStream(e.Context())
		write(t, last, "twelve")
		write(t, first, "four")
		first.CloseWrite()
		write(t, c, "two ")
		read := make(chan string, 1)
		go func() {
			b := make([]byte, 6)
			io.ReadFull(c, b)
			read <- string(b)
		}()
		accepted := make(chan int64, 1)
		go func() {
			s, err := c.AcceptStream(e.Context())
			if err != nil {
				t.Error(err)
				accepted <- -1
				return
			}
			accepted <- s.ID()
		}()
		go func() { // while it is refused
			for !c.isConfirmed() {
				time.Sleep(rtt / 7)
			}
			write(t, c, "three")
			c.CloseWrite()
		}()
		s := e.accept(l)
		expectAll(t, s, "one two three")
		if took := time.Since(start); took < 3*rtt/2 || took > 2*rtt {
			e.Errorf("it took %v", took)
		}
		write(t, empty, "eight")
		for i, want := range []string{"four", "eight", "twelve"} {
			ss, err := s.AcceptStream(e.Context())
			if err != nil || ss.ID() != int64(4*i+4) {
				e.Fatal(ss, err)
			}
			expect(t, ss, want)
		}
		write(t, s, "answer")
		if got := <-read; got != "answer" {
			e.Errorf("%q", got)
		}
		so, _ := s.OpenStream(e.Context())
		write(t, so, "x")
		if id := <-accepted; id != 1 {
			e.Errorf("accepted stream %d", id)
		}
		if st := e.dialer.Stats(); st.EarlyRejected != 1 || st.EarlyResent != 18 || st.EarlyAccepted+st.EarlyFailed != 0 {
			e.Errorf("%+v", st)
		}
		if st := e.listener.Stats(); st.EarlyRejected != 1 || st.EarlyAccepted+st.EarlyReplayed != 0 {
			e.Errorf("%+v", st)
		}
	})
}

// TestEarlyDataCloseBeforeAnswer: Close delivers what was written, also if it has to be sent again first.
func TestEarlyDataCloseBeforeAnswer(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprintf("refused=%v", refuse), func(t *testing.T) {
			earlyBubble(t, nil, 100, func(e *env, l net.Listener) {
				if refuse {
					e.distrust()
				}
				c := e.early()
				write(t, c, "last words")
				s1, _ := c.OpenStream(e.Context())
				write(t, s1, "more")
				s1.Close()
				c.Close()
				s := e.accept(l)
				expectAll(t, s, "last words")
				ss, err := s.AcceptStream(e.Context())
				if err != nil {
					e.Fatal(err)
				}
				expectAll(t, ss, "more")
				ss.Close()
				s.Close()
				<-c.Done()
				<-s.Done()
			})
		})
	}
}

// TestEarlyDataClientBudget: what is over the budget, of all streams together, waits for the handshake.
func TestEarlyDataClientBudget(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprintf("refused=%v", refuse), func(t *testing.T) {
			earlyBubble(t, nil, 10, func(e *env, l net.Listener) {
				if refuse {
					e.distrust()
				}
				start := time.Now()
				c := e.early()
				cs, _ := c.OpenStream(e.Context())
				write(t, cs, "123456")
				if time.Since(start) != 0 {
					e.Error("waited within the budget")
				}
				c.SetWriteDeadline(time.Now().Add(rtt / 4))
				n, err := io.WriteString(c, "abcdefgh")
				if n != 4 || !errors.Is(err, os.ErrDeadlineExceeded) {
					e.Errorf("%d, %v", n, err)
				}
				c.SetWriteDeadline(time.Time{})
				write(t, c, "efgh")
				if took := time.Since(start); took < rtt {
					e.Errorf("waited only for %v", took)
				}
				c.CloseWrite()
				cs.CloseWrite()
				s := e.accept(l)
				expectAll(t, s, "abcdefgh")
				ss, err := s.AcceptStream(e.Context())
				if err != nil {
					e.Fatal(err)
				}
				expectAll(t, ss, "123456")
			})
		})
	}
}

// TestEarlyDataServerBudget: a server hands out no more than the budget, of all streams together, before the handshake is
// complete.
func TestEarlyDataServerBudget(t *testing.T) {
	earlyBubble(t, &GuardOptions{Budget: 10}, 1000, func(e *env, l net.Listener) {
		e.net.set(func(n *packetNet) { // the client does not hear of the server for a while
			n.drop = func(from, to netip.AddrPort, b []byte) bool { return from.String() == serverAddr }
		})
		c := e.early()
		write(t, c, strings.Repeat("a", 8))
		cs, _ := c.OpenStream(e.Context())
		write(t, cs, strings.Repeat("b", 100))
		s := e.accept(l)
		expect(t, s, strings.Repeat("a", 8))
		ss, err := s.AcceptStream(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		ss.SetReadDeadline(time.Now().Add(rtt))
		b := make([]byte, 200)
		if n, err := io.ReadFull(ss, b); n != 2 || !errors.Is(err, os.ErrDeadlineExceeded) {
			e.Errorf("%d, %v", n, err)
		}
		go io.WriteString(c, "c")
		s.SetReadDeadline(time.Now().Add(rtt))
		if n, err := s.Read(b); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			e.Errorf("%d, %v", n, err)
		}
		if s.isConfirmed() {
			e.Fatal("confirmed")
		}
		ss.SetReadDeadline(time.Time{})
		s.SetReadDeadline(time.Time{})
		e.net.set(func(n *packetNet) { n.drop = nil })
		expect(t, ss, strings.Repeat("b", 98))
		expect(t, s, "c")
		if !s.isConfirmed() {
			e.Error("not confirmed")
		}
	})
}

// TestEarlyDataServerBudgetParallel: two readers that wait at the same time share the budget.
func TestEarlyDataServerBudgetParallel(t *testing.T) {
	earlyBubble(t, &GuardOptions{Budget: 10}, 1000, func(e *env, l net.Listener) {
		e.net.set(func(n *packetNet) {
			n.drop = func(from, to netip.AddrPort, b []byte) bool { return from.String() == serverAddr }
		})
		c := e.early()
		cs, _ := c.OpenStream(e.Context())
		write(t, c, "!")
		write(t, cs, "!")
		s := e.accept(l)
		expect(t, s, "!")
		ss, err := s.AcceptStream(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		expect(t, ss, "!")
		got := make(chan string, 4)
		read := func(r io.Reader) {
			b := make([]byte, 8)
			for range 2 {
				n, err := r.Read(b)
				if err != nil {
					t.Error(err)
				}
				got <- fmt.Sprint(string(b[:n]), " ", s.isConfirmed())
				if n == 6 {
					return
				}
			}
		}
		go read(s)
		go read(ss)
		synctest.Wait()
		write(t, c, "aaaaaa")
		write(t, cs, "bbbbbb")
		time.Sleep(rtt)
		if len(got) != 2 {
			e.Fatalf("%d reads have returned", len(got))
		}
		e.net.set(func(n *packetNet) { n.drop = nil })
		all := []string{<-got, <-got, <-got}
		slices.Sort(all)
		if !slices.Equal(all, []string{"aa false", "aaaa true", "bbbbbb false"}) && !slices.Equal(all, []string{"aaaaaa false", "bb false", "bbbb true"}) {
			e.Errorf("%q", all)
		}
	})
}

// TestEarlyDataNoAnswer: a dial with early data returns before anything is known of the server. If that never answers,
// the connection ends soon, and the next dial waits for the handshake, so that it can fall back.
func TestEarlyDataNoAnswer(t *testing.T) {
	earlyBubble(t, nil, 100, func(e *env, l net.Listener) {
		origin := ticketOrigin("mqtt", serverAddr, clientTLS())
		spare := e.dialer.store().Take(SessionTicket, origin)
		e.ticket(l)
		e.dialer.store().Put(SessionTicket, origin, spare)
		e.net.set(func(n *packetNet) { n.drop = func(from, to netip.AddrPort, b []byte) bool { return true } })
		start := time.Now()
		c := e.early()
		write(t, c, "x")
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			e.Error(err)
		}
		if took := time.Since(start); took != earlyWait {
			e.Errorf("gave up after %v", took)
		}
		<-c.Done()
		if _, err := c.OpenStream(e.Context()); err == nil {
			e.Error("a stream of nothing")
		}
		select {
		case <-c.Confirmed():
			e.Error("confirmed")
		default:
		}
		ctx, cancel := context.WithTimeout(e.Context(), time.Second)
		defer cancel()
		if _, err := e.dialer.Dial(ctx, "mqtt", serverAddr); !errors.Is(err, context.DeadlineExceeded) {
			e.Errorf("the next dial: %v", err)
		}
		if st := e.dialer.Stats(); st.EarlyFailed != 1 || st.EarlyAccepted+st.EarlyRejected != 0 {
			e.Errorf("%+v", st)
		}
		e.net.set(func(n *packetNet) { n.drop = nil })
		e.ticket(l)
		c = e.early()
		write(t, c, "y")
		expect(t, e.accept(l), "y")
	})
}

// TestEarlyDataOff: without the client's or the server's will there is none.
func TestEarlyDataOff(t *testing.T) {
	for _, tt := range []struct {
		name   string
		guard  *Guard
		budget int
	}{{"no guard", nil, 100}, {"no budget", NewGuard(nil), 0}} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, &ListenOptions{EarlyData: tt.guard}, &Dialer{EarlyData: tt.budget, Store: NewMemoryStore(nil)}, func(e *env) {
				l := e.listener.Protocol("mqtt")
				e.ticket(l)
				start := time.Now()
				c := e.dial("mqtt")
				if took := time.Since(start); took != rtt || !c.isConfirmed() {
					e.Errorf("the dial took %v", took)
				}
				write(t, c, "x")
				expect(t, e.accept(l), "x")
				if !c.TLS().DidResume {
					e.Error("the session was not resumed")
				}
				if st := e.listener.Stats(); st.EarlyAccepted != 0 {
					e.Errorf("%+v", st)
				}
			})
		})
	}
}

// TestEarlyDataOtherProtocol: a ticket is good for its protocol only.
func TestEarlyDataOtherProtocol(t *testing.T) {
	earlyBubble(t, nil, 100, func(e *env, l net.Listener) {
		c := e.dial("other")
		if !c.isConfirmed() || c.TLS().DidResume {
			e.Error("a ticket of another protocol was used")
		}
	})
}

// TestEarlyDataManyProtocols: of several protocols early data is in that of the ticket.
func TestEarlyDataManyProtocols(t *testing.T) {
	bubble(t, &ListenOptions{EarlyData: NewGuard(nil)}, &Dialer{EarlyData: 100}, func(e *env) {
		old := e.listener.Protocol("kafka")
		dial := func() *Conn {
			c, err := e.dialer.dial(e.Context(), serverAddr, []string{"kafka-streams/1", "kafka"})
			if err != nil {
				e.Fatal(err)
			}
			return c
		}
		for range 3 {
			c := dial()
			write(t, c, "x")
			s := e.accept(old)
			expect(t, s, "x")
			time.Sleep(10 * rtt)
		}
		both := e.listener.Protocol("kafka-streams/1")
		c := dial()
		if c.isConfirmed() || c.Protocol() != "kafka" {
			e.Errorf("early: %v, protocol %q", !c.isConfirmed(), c.Protocol())
		}
		write(t, c, "x")
		s := e.accept(old)
		expect(t, s, "x")
		if s.Protocol() != "kafka" {
			e.Error(s.Protocol())
		}
		<-c.Confirmed()
		if c.Protocol() != "kafka" {
			e.Error(c.Protocol())
		}
		time.Sleep(10 * rtt)
		// The server has forgotten the protocol of the ticket: the connection fails, the next one does without.
		old.Close()
		c = dial()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			e.Error("no protocol, and no error")
		}
		c = dial()
		if !c.isConfirmed() || c.Protocol() != "kafka-streams/1" {
			e.Errorf("early: %v, protocol %q", !c.isConfirmed(), c.Protocol())
		}
		write(t, c, "x")
		expect(t, e.accept(both), "x")
	})
}

// TestEarlyDatagrams: none are sent before the handshake is complete.
func TestEarlyDatagrams(t *testing.T) {
	earlyBubble(t, nil, 100, func(e *env, l net.Listener) {
		c := e.early()
		if err := c.SendDatagram([]byte("early")); !errors.Is(err, errEarlyDatagram) {
			e.Error(err)
		}
		write(t, c, "x")
		s := e.accept(l)
		<-c.Confirmed()
		if err := c.SendDatagram([]byte("late")); err != nil {
			e.Error(err)
		}
		if b, err := s.ReceiveDatagram(e.Context()); string(b) != "late" || err != nil {
			e.Errorf("%q, %v", b, err)
		}
	})
}

// TestEarlyDataMutualTLS: a resumed session has the identity of the client before the handshake is complete.
func TestEarlyDataMutualTLS(t *testing.T) {
	a := testAuthority()
	st := serverTLS()
	st.ClientAuth, st.ClientCAs = tls.RequireAndVerifyClientCert, a.pool
	ct := clientTLS()
	ct.Certificates = []tls.Certificate{a.client}
	bubble(t, &ListenOptions{Config: Config{TLS: st}, EarlyData: NewGuard(nil)}, &Dialer{Config: Config{TLS: ct}, EarlyData: 100}, func(e *env) {
		l := e.listener.Protocol("mqtt")
		e.ticket(l)
		c := e.early()
		write(t, c, "x")
		s := e.accept(l)
		expect(t, s, "x")
		if certs := s.TLS().PeerCertificates; s.isConfirmed() || len(certs) != 1 || certs[0].Subject.CommonName != "device-7" {
			e.Errorf("confirmed: %v, %d certificates", s.isConfirmed(), len(certs))
		}
	})
}

// TestEarlyDataAcrossStart: with a store on disk a client that starts anew sends early data.
func TestEarlyDataAcrossStart(t *testing.T) {
	dir := t.TempDir()
	bubble(t, &ListenOptions{EarlyData: NewGuard(nil)}, &Dialer{EarlyData: 100, Store: openStore(t, dir, nil)}, func(e *env) {
		l := e.listener.Protocol("mqtt")
		e.ticket(l)
		again := &Dialer{Config: Config{TLS: clientTLS()}, EarlyData: 100, Store: openStore(t, dir, nil), ListenPacket: e.dialer.ListenPacket}
		defer again.Shutdown(e.Context())
		c, err := again.Dial(e.Context(), "mqtt", serverAddr)
		if err != nil || c.isConfirmed() {
			e.Fatal("no early data", err)
		}
		write(t, c, "x")
		expect(t, e.accept(l), "x")
		<-c.Confirmed()
		synctest.Wait() // it is counted after that
		if st := again.Stats(); st.EarlyAccepted != 1 {
			e.Errorf("%+v", st)
		}
		other, err := again.Dial(e.Context(), "mqtt", serverAddr)
		if err != nil || !other.isConfirmed() {
			e.Error("a ticket was used twice", err)
		}
		c.Abort(CodeOK, "")
		other.Abort(CodeOK, "")
	})
}

// TestAddressToken: a token of an earlier connection spares the Retry, also of a client that starts anew.
func TestAddressToken(t *testing.T) {
	dir := t.TempDir()
	bubble(t, &ListenOptions{RetryAbove: -1, EarlyData: NewGuard(nil)}, &Dialer{EarlyData: 100, Store: openStore(t, dir, nil)}, func(e *env) {
		l := e.listener.Protocol("mqtt")
		e.ticket(l)
		if st := e.listener.Stats(); st.Retries == 0 {
			e.Fatal("no Retry")
		}
		retries := e.listener.Stats().Retries
		again := &Dialer{Config: Config{TLS: clientTLS()}, EarlyData: 100, Store: openStore(t, dir, nil), ListenPacket: e.dialer.ListenPacket}
		defer again.Shutdown(e.Context())
		start := time.Now()
		c, err := again.Dial(e.Context(), "mqtt", serverAddr)
		if err != nil {
			e.Fatal(err)
		}
		write(t, c, "x")
		expect(t, e.accept(l), "x")
		if took := time.Since(start); took != rtt/2 || e.listener.Stats().Retries != retries {
			e.Errorf("early data took %v, %d further Retries", took, e.listener.Stats().Retries-retries)
		}
		c.Abort(CodeOK, "")
	})
}

// TestEarlyTrace: the trace says what became of early data.
func TestEarlyTrace(t *testing.T) {
	var buf bytes.Buffer
	var mu sync.Mutex
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&buf, format, args...)
	}
	trace := func(side string) *Trace {
		return &Trace{
			Early:    func(c *Conn, accepted bool) { note("%s %v\n", side, accepted) },
			Replayed: func(addr net.Addr) { note("%s replayed %v\n", side, addr) },
		}
	}
	bubble(t, &ListenOptions{Config: Config{Trace: trace("server")}, EarlyData: NewGuard(nil)},
		&Dialer{Config: Config{Trace: trace("client")}, EarlyData: 100}, func(e *env) {
			l := e.listener.Protocol("mqtt")
			e.ticket(l)
			twice := e.dialer.store().Take(SessionTicket, ticketOrigin("mqtt", serverAddr, clientTLS()))
			for range 2 {
				e.dialer.store().Put(SessionTicket, ticketOrigin("mqtt", serverAddr, clientTLS()), twice)
				c := e.early()
				write(t, c, "x")
				expect(t, e.accept(l), "x")
				<-c.Confirmed()
				synctest.Wait()
			}
			if got, want := buf.String(), "server true\nclient true\nserver replayed "+clientAddr+"\nclient false\n"; got != want {
				e.Errorf("%s\nwant\n%s", got, want)
			}
			if st := e.listener.Stats(); st.EarlyReplayed != 1 || st.EarlyAccepted != 1 || st.EarlyRejected != 0 {
				e.Errorf("%+v", st)
			}
		})
}

// TestEarlyDataRefusedWithLess: a server that refuses and allows fewer streams and smaller windows than before gets what
// it allows; the rest waits, and nothing else does.
func TestEarlyDataRefusedWithLess(t *testing.T) {
	bubble(t, nil, &Dialer{EarlyData: 8 << 10}, func(e *env) {
		e.listener.Shutdown(e.Context())
		listen := func(o Config) *Listener {
			o.TLS = serverTLS()
			o.TLS.SetSessionTicketKeys([][32]byte{{1}})
			l, err := NewListener(e.net.listen(serverAddr), &ListenOptions{Config: o, EarlyData: NewGuard(nil)})
			if err != nil {
				e.Fatal(err)
			}
			return l
		}
		first := listen(Config{})
		e.ticket(first.Protocol("mqtt"))
		first.Shutdown(e.Context())

		second := listen(Config{MaxStreams: 2, StreamWindow: 1000, MaxStreamWindow: 1000})
		l := second.Protocol("mqtt")
		c := e.early()
		write(t, c, "CONNECT")
		body := strings.Repeat("0123456789", 200)
		var streams []*stream
		for i := range 3 {
			cs, err := c.OpenStream(e.Context())
			if err != nil {
				e.Fatal(err)
			}
			write(t, cs, fmt.Sprint(i, body))
			streams = append(streams, cs.(*stream))
		}
		streams[1].CloseWrite()
		<-c.Confirmed()
		write(t, c, " more")
		s := e.accept(l)
		expect(t, s, "CONNECT more")
		write(t, s, "CONNACK")
		expect(t, c, "CONNACK")
		opened := make(chan int64, 1)
		go func() {
			cs, err := c.OpenStream(e.Context())
			if err != nil {
				t.Error(err)
				opened <- -1
				return
			}
			opened <- cs.ID()
		}()
		for i, cs := range streams {
			ss, err := s.AcceptStream(e.Context())
			if err != nil || ss.ID() != int64(4*i+4) {
				e.Fatal(ss, err)
			}
			if i == 2 {
				cs.SetWriteDeadline(time.Now()) // which does not cut off what is sent again
			}
			time.Sleep(time.Second)
			go func() {
				time.Sleep(time.Second)
				cs.CloseWrite()
			}()
			expectAll(t, ss, fmt.Sprint(i, body))
			ss.Close()
			cs.Close()
			time.Sleep(time.Second)
		}
		if id := <-opened; id != 16 {
			e.Errorf("the next stream is %d", id)
		}
		c.Abort(CodeOK, "")
		<-c.Done()
		second.Shutdown(e.Context())
	})
}

// TestEarlySilent: a client that dials with early data may have nothing to say before the server has answered.
func TestEarlySilent(t *testing.T) {
	earlyBubble(t, nil, 100, func(e *env, l net.Listener) {
		c := e.early()
		<-c.Confirmed()
		write(t, c, "x")
		expect(t, e.accept(l), "x")
	})
}

// TestEarlyDataRandom writes on many streams from many goroutines, with loss, while the server accepts or refuses, and
// closes: each byte arrives once and in order.
func TestEarlyDataRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range 20 {
		rnd := rand.New(rand.NewPCG(seed, uint64(round)))
		refuse, loss, budget := rnd.IntN(2) == 0, float64(rnd.IntN(3))*0.05, 1+rnd.IntN(4000)
		earlyBubble(t, &GuardOptions{Budget: 1 + rnd.IntN(4000)}, budget, func(e *env, l net.Listener) {
			if refuse {
				e.distrust()
			}
			e.net.set(func(n *packetNet) { n.loss = loss })
			c := e.early()
			streams := 1 + rnd.IntN(8)
			content := make(map[int64]string)
			var all sync.WaitGroup
			send := func(w interface {
				io.Writer
				CloseWrite() error
			}, pieces []int, id int64) {
				at := 0
				for _, n := range pieces {
					if n%7 == 0 {
						time.Sleep(time.Duration(n) * time.Millisecond / 10)
					}
					write(t, w, content[id][at:at+n])
					at += n
				}
				w.CloseWrite()
			}
			prepare := func(id int64) (pieces []int) {
				var b strings.Builder
				for range 1 + rnd.IntN(20) {
					n := 1 + rnd.IntN(300)
					pieces = append(pieces, n)
					for i := range n {
						b.WriteByte(byte('a' + (int(id)+b.Len()+i)%26))
					}
				}
				content[id] = b.String()
				return pieces
			}
			plans := [][]int{prepare(0)}
			for i := range streams {
				plans = append(plans, prepare(int64(4*i+4)))
			}
			all.Go(func() { send(c, plans[0], 0) })
			for range streams {
				cs, err := c.OpenStream(e.Context())
				if err != nil {
					e.Fatal(err)
				}
				all.Go(func() { send(cs.(*stream), plans[cs.ID()/4], cs.ID()) })
			}
			s := e.accept(l)
			all.Go(func() { expectAll(t, s, content[0]) })
			for range streams {
				ss, err := s.AcceptStream(e.Context())
				if err != nil {
					e.Fatal(err)
				}
				all.Go(func() { expectAll(t, ss, content[ss.ID()]) })
			}
			all.Wait()
			<-c.Confirmed()
			synctest.Wait()
			if st := e.dialer.Stats(); st.EarlyRejected != map[bool]uint64{true: 1}[refuse] || st.EarlyAccepted != map[bool]uint64{false: 1}[refuse] {
				e.Errorf("refuse %v: %+v", refuse, st)
			}
		})
		if t.Failed() {
			t.Fatalf("round %d: refuse %v, loss %v, budget %d", round, refuse, loss, budget)
		}
	}
}
