package quicnet

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	secondAddr   = "10.0.0.2:14567"
	attackerAddr = "10.6.6.6:666"
)

// careless is a register that takes every ticket as often as it comes: a server without a guard.
type careless struct{}

func (careless) Era() Era { return Era{} }

func (careless) Use(context.Context, UsedTicket) (bool, error) { return true, nil }

// lasting is a register that survives a restart, as one in a database does.
type lasting struct {
	era  Era
	mu   sync.Mutex
	used map[[16]byte]bool
}

func (r *lasting) Era() Era { return r.era }

func (r *lasting) Use(_ context.Context, t UsedTicket) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := !r.used[t.ID]
	r.used[t.ID] = true
	return first, nil
}

// replayServer is a server that notes what it is given before and after the handshake is complete.
type replayServer struct {
	*Listener
	mu  sync.Mutex
	got []string
}

// serve starts a server on the network. Servers have the same keys for tickets.
func (e *env) serve(addr string, g *Guard) *replayServer {
	e.Helper()
	c := serverTLS()
	c.SetSessionTicketKeys([][32]byte{{1, 2, 3}})
	l, err := NewListener(e.net.listen(addr), &ListenOptions{Config: Config{TLS: c}, EarlyData: g})
	if err != nil {
		e.Fatal(err)
	}
	s := &replayServer{Listener: l}
	accepting := l.Protocol("mqtt")
	go func() {
		for {
			nc, err := accepting.Accept()
			if err != nil {
				return
			}
			go s.read(nc.(*Conn))
		}
	}()
	return s
}

// read notes what is read from a connection, and answers.
func (s *replayServer) read(c *Conn) {
	b := make([]byte, 100)
	for {
		n, err := c.Read(b)
		if err != nil {
			c.Close()
			return
		}
		s.mu.Lock()
		s.got = append(s.got, string(b[:n]))
		s.mu.Unlock()
		c.Write([]byte("ok"))
	}
}

// stop ends the server, as a crash does.
func (s *replayServer) stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Shutdown(ctx)
	s.pc.Close()
}

// delivered returns how often a message was handed out by these servers.
func delivered(msg string, servers ...*replayServer) (n int) {
	for _, s := range servers {
		s.mu.Lock()
		for _, got := range s.got {
			if got == msg {
				n++
			}
		}
		s.mu.Unlock()
	}
	return n
}

// TestReplay sends what was captured of a client with early data to servers: to the same one while the connection lives
// and after that, to one that was started anew, and to a second one with the same keys. Without a register that remembers,
// the message arrives again each time; with one, once in all.
func TestReplay(t *testing.T) {
	var shared, other, kept *MemoryRegister
	var last *lasting
	fresh := func() {
		shared, other, kept = NewMemoryRegister(0), NewMemoryRegister(0), NewMemoryRegister(0)
		last = &lasting{era: NewEra(), used: make(map[[16]byte]bool)}
	}
	for _, tt := range []struct {
		name                   string
		first, restarted, next func() Register
		guarded                bool
	}{
		{"no guard", func() Register { return careless{} }, func() Register { return careless{} }, func() Register { return careless{} }, false},
		{"shared register", func() Register { return shared }, func() Register { return kept }, func() Register { return shared }, true},
		{"registers of their own", func() Register { return shared }, func() Register { return kept }, func() Register { return other }, true},
		{"lasting register", func() Register { return last }, func() Register { return last }, func() Register { return last }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fresh()
			bubble(t, nil, &Dialer{EarlyData: 1000}, func(e *env) {
				e.listener.Shutdown(e.Context()) // ours are others
				guard := func(r Register) *Guard { return NewGuard(&GuardOptions{Register: r}) }
				first := e.serve(serverAddr, guard(tt.first()))
				second := e.serve(secondAddr, guard(tt.next()))

				c := e.dial("mqtt")
				write(t, c, "hello")
				expect(t, c, "ok")
				time.Sleep(10 * rtt)
				c.Abort(CodeOK, "")
				<-c.Done()

				// The capture has all that the client sends; flight is what it sends before it hears of the server.
				var mu sync.Mutex
				var capture, flight [][]byte
				heard := false
				e.net.set(func(n *packetNet) {
					n.tap = func(from, to netip.AddrPort, b []byte) {
						mu.Lock()
						defer mu.Unlock()
						if from.String() != clientAddr {
							heard = true
							return
						}
						b = append([]byte(nil), b...)
						capture = append(capture, b)
						if !heard {
							flight = append(flight, b)
						}
					}
				})
				replay := func(to string, from int, packets [][]byte) {
					for _, b := range packets {
						e.net.inject(fmt.Sprintf("10.6.6.%d:666", from), to, b)
					}
					time.Sleep(30 * time.Second) // until a half-open connection is gone
				}

				const msg = "PUBLISH door=open"
				c = e.early()
				write(t, c, msg)
				expect(t, c, "ok")
				<-c.Confirmed()
				synctest.Wait()
				e.net.set(func(n *packetNet) { n.tap = nil })
				if len(flight) < 2 || len(capture) <= len(flight) {
					e.Fatalf("captured %d packets, %d of the first flight", len(capture), len(flight))
				}
				if n := delivered(msg, first); n != 1 {
					e.Fatalf("delivered %d times without a replay", n)
				}

				// The connection lives: the server has its ids, and knows the packets.
				replay(serverAddr, 1, flight)
				replay(serverAddr, 2, capture)
				if n := delivered(msg, first); n != 1 && tt.guarded {
					t.Errorf("while the connection lives: delivered %d times", n)
				}
				write(t, c, "still there")
				expect(t, c, "ok")
				c.Abort(CodeOK, "")
				<-c.Done()
				time.Sleep(time.Minute)

				replay(serverAddr, 3, flight)
				replay(serverAddr, 4, capture)
				replay(serverAddr, 5, slices.Concat(flight[1:], flight[:1])) // out of order
				afterClose := delivered(msg, first)

				replay(secondAddr, 6, flight)
				replay(secondAddr, 7, capture)
				onSecond := delivered(msg, second)

				first.stop()
				again := e.serve(serverAddr, guard(tt.restarted()))
				replay(serverAddr, 8, flight)
				replay(serverAddr, 9, capture)
				afterRestart := delivered(msg, again)

				t.Logf("delivered %d times in all by the first server, %d by the second, %d after the restart", afterClose, onSecond, afterRestart)
				if tt.guarded {
					if afterClose != 1 || onSecond != 0 || afterRestart != 0 {
						t.Error("the message was delivered again")
					}
				} else if afterClose < 2 || onSecond < 1 || afterRestart < 1 {
					t.Error("a replay that nothing stops did not arrive: the test tests nothing")
				}
				if st := first.o.EarlyData.Stats(); tt.guarded && st.Replayed < 2 {
					t.Errorf("%+v", st)
				}
				if st := second.o.EarlyData.Stats(); tt.guarded && st.Replayed+st.Foreign < 1 {
					t.Errorf("%+v", st)
				}

				// The servers still take clients, and resume their sessions.
				c = e.dial("mqtt")
				write(t, c, "later")
				expect(t, c, "ok")
				if !c.TLS().DidResume {
					t.Error("not resumed")
				}
				c.Abort(CodeOK, "")
				<-c.Done()
				second.stop()
				again.stop()
			})
		})
	}
}

// TestReplayFirst: somebody keeps the client's packets back and sends them to another server with the same register
// first. The message is delivered there, once; the client's own server refuses it, and the client, who is asked again,
// decides: this is the retry that no server can prevent, and that the profile of each protocol bears.
func TestReplayFirst(t *testing.T) {
	bubble(t, nil, &Dialer{EarlyData: 1000}, func(e *env) {
		e.listener.Shutdown(e.Context())
		g := NewGuard(nil)
		first, second := e.serve(serverAddr, g), e.serve(secondAddr, g)
		c := e.dial("mqtt")
		write(t, c, "hello")
		expect(t, c, "ok")
		time.Sleep(10 * rtt)
		c.Abort(CodeOK, "")

		start := time.Now()
		e.net.set(func(n *packetNet) {
			n.drop = func(from, to netip.AddrPort, b []byte) bool {
				if from.String() != clientAddr || time.Since(start) >= rtt {
					return false
				}
				go e.net.inject(attackerAddr, secondAddr, append([]byte(nil), b...))
				return true
			}
		})
		const msg = "PUBLISH door=open"
		c = e.early()
		write(t, c, msg)
		expect(t, c, "ok")
		time.Sleep(10 * rtt)
		if n := delivered(msg, second); n != 1 {
			t.Errorf("delivered %d times by the attacker's server", n)
		}
		if n := delivered(msg, first); n != 1 {
			t.Errorf("delivered %d times by the client's server", n)
		}
		if st := g.Stats(); st.Accepted != 1 || st.Replayed != 1 {
			t.Errorf("%+v", st)
		}
		if st := e.dialer.Stats(); st.EarlyRejected != 1 {
			t.Errorf("%+v", st)
		}
		c.Abort(CodeOK, "")
		first.stop()
		second.stop()
	})
}

// TestReplayFlood: a thousand copies of a flight cost a thousand handshakes that nobody ends, no more: no message is
// delivered, and nothing is left of them.
func TestReplayFlood(t *testing.T) {
	bubble(t, nil, &Dialer{EarlyData: 1000}, func(e *env) {
		e.listener.Shutdown(e.Context())
		s := e.serve(serverAddr, NewGuard(nil))
		c := e.dial("mqtt")
		write(t, c, "hello")
		expect(t, c, "ok")
		time.Sleep(10 * rtt)
		c.Abort(CodeOK, "")
		var flight [][]byte
		e.net.set(func(n *packetNet) {
			n.tap = func(from, to netip.AddrPort, b []byte) {
				if from.String() == clientAddr {
					flight = append(flight, append([]byte(nil), b...))
				}
			}
		})
		const msg = "PUBLISH"
		c = e.early()
		write(t, c, msg)
		synctest.Wait()
		e.net.set(func(n *packetNet) { n.tap = nil })
		expect(t, c, "ok")
		c.Abort(CodeOK, "")
		time.Sleep(time.Minute)
		for i := range 50 {
			for _, b := range flight {
				e.net.inject(fmt.Sprintf("10.6.7.%d:%d", i, 1000+i), serverAddr, b)
			}
			time.Sleep(12 * time.Second) // a copy with the same ids is taken once the last one is gone
		}
		time.Sleep(time.Minute)
		if n := delivered(msg, s); n != 1 {
			t.Errorf("delivered %d times", n)
		}
		st := s.Stats()
		if st.EarlyReplayed < 25 || st.Conns != 0 || st.Handshakes != 0 {
			t.Errorf("%+v", st)
		}
		t.Logf("%d copies reached the guard", st.EarlyReplayed)
		s.stop()
	})
}

// TestReplayForeignTicket: a ticket that another server issued opens no early data even if it decrypts.
func TestReplayForeignTicket(t *testing.T) {
	bubble(t, nil, &Dialer{EarlyData: 1000}, func(e *env) {
		e.listener.Shutdown(e.Context())
		s := e.serve(serverAddr, NewGuard(nil))
		c := e.dial("mqtt")
		write(t, c, "hello")
		expect(t, c, "ok")
		time.Sleep(10 * rtt)
		c.Abort(CodeOK, "")
		s.stop()
		s = e.serve(serverAddr, NewGuard(nil)) // started anew, with the same keys
		c = e.early()
		write(t, c, "again")
		expect(t, c, "ok")
		if st := s.o.EarlyData.Stats(); st.Foreign != 1 || st.Accepted != 0 || delivered("again", s) != 1 {
			t.Errorf("%+v", st)
		}
		if !c.TLS().DidResume {
			t.Error("not resumed")
		}
		c.Abort(CodeOK, "")
		s.stop()
	})
}

// TestGuardHooks: hooks and configurations of the caller's stay in use.
func TestGuardHooks(t *testing.T) {
	wrapped, unwrapped, chosen := 0, 0, 0
	inner := serverTLS()
	inner.WrapSession = func(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		wrapped++
		return inner.EncryptTicket(cs, s)
	}
	inner.UnwrapSession = func(id []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		unwrapped++
		return inner.DecryptTicket(id, cs)
	}
	outer := &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		chosen++
		return inner, nil
	}}
	var refused []EarlyRefusal
	g := NewGuard(&GuardOptions{Refused: func(why EarlyRefusal) { refused = append(refused, why) }})
	bubble(t, &ListenOptions{Config: Config{TLS: outer}, EarlyData: g}, &Dialer{EarlyData: 100}, func(e *env) {
		l := e.listener.Protocol("mqtt")
		e.ticket(l)
		item := e.dialer.store().Take(SessionTicket, ticketOrigin("mqtt", serverAddr, clientTLS()))
		for range 2 {
			e.dialer.store().Put(SessionTicket, ticketOrigin("mqtt", serverAddr, clientTLS()), item)
			c := e.early()
			write(t, c, "x")
			expect(t, e.accept(l), "x")
			<-c.Confirmed()
			time.Sleep(10 * rtt)
		}
		if wrapped != 3 || unwrapped != 2 || chosen != 3 || len(refused) != 1 || refused[0] != EarlyReplayed {
			t.Error(wrapped, unwrapped, chosen, refused)
		}
	})
	// Config alone, as for a listener of another make.
	if c := g.Config(outer); c.GetConfigForClient == nil || c.WrapSession == nil || c.UnwrapSession == nil || outer.WrapSession != nil {
		t.Error("no hooks, or in the caller's configuration")
	}
	if c, err := g.Config(outer).GetConfigForClient(nil); err != nil || c == inner || c.WrapSession == nil {
		t.Error("the configuration that is chosen has no hooks", err)
	}
}
