package quicnet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
)

// TestCloseDelivers writes and closes at once, on 100 connections for each size, with and without loss: the peer reads
// everything, whichever side closes.
func TestCloseDelivers(t *testing.T) {
	for _, loss := range []float64{0, 0.03} {
		for _, size := range []int{100, 5_000, 200_000} {
			if loss > 0 && size == 5_000 {
				continue
			}
			for _, role := range []string{"client", "server"} {
				t.Run(fmt.Sprintf("%s/%d/loss=%v", role, size, loss), func(t *testing.T) {
					bubble(t, nil, nil, func(e *env) {
						l := e.listener.Protocol("mqtt")
						e.net.loss = loss
						want := pattern(size)
						var all sync.WaitGroup
						for range 100 {
							c, s := e.pair(l, "mqtt")
							from, to := c, s
							if role == "server" {
								from, to = s, c
							}
							all.Go(func() {
								if n, err := from.Write(want); n != size || err != nil {
									e.Errorf("Write: %d, %v", n, err)
								}
								if err := from.Close(); err != nil {
									e.Error(err)
								}
							})
							all.Go(func() {
								got, err := io.ReadAll(to)
								if !bytes.Equal(got, want) || err != nil {
									e.Errorf("the peer read %d bytes of %d, %v", len(got), size, err)
								}
								to.Close()
							})
						}
						all.Wait()
					})
				})
			}
		}
	}
}

// pattern returns n bytes of which no two parts are alike.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// TestCloseAnswersHalfClose is a client that half-closes and reads on: the server's Close comes after the client's end,
// and delivers all the same.
func TestCloseAnswersHalfClose(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		want := pattern(200_000)
		io.WriteString(c, "request")
		c.CloseWrite()
		if b, err := io.ReadAll(s); string(b) != "request" || err != nil {
			e.Fatalf("%q, %v", b, err)
		}
		go func() {
			s.Write(want)
			s.Close()
		}()
		got, err := io.ReadAll(c)
		if !bytes.Equal(got, want) || err != nil {
			e.Fatalf("read %d bytes of %d, %v", len(got), len(want), err)
		}
		if _, err := c.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
			e.Errorf("Write after CloseWrite: %v", err)
		}
		start := time.Now()
		c.Close()
		<-s.Done()
		if took := time.Since(start); took > 2*rtt {
			e.Errorf("the end took %v", took)
		}
	})
}

// TestCloseWithUnreadEnd is the same, but the server has not read the client's end when it closes.
func TestCloseWithUnreadEnd(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		want := pattern(200_000)
		io.WriteString(c, "request")
		c.CloseWrite()
		pause(rtt)
		go func() {
			s.Write(want)
			s.Close()
		}()
		got, err := io.ReadAll(c)
		if !bytes.Equal(got, want) || err != nil {
			e.Fatalf("read %d bytes of %d, %v", len(got), len(want), err)
		}
		c.Close()
	})
}

// TestCloseDeliversSlowly is a peer that reads a little at a time: Close waits for it in the background.
func TestCloseDeliversSlowly(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		want := pattern(100_000)
		c.Write(want)
		c.Close()
		var got []byte
		for b := make([]byte, 2_000); ; pause(100 * time.Millisecond) {
			n, err := s.Read(b)
			got = append(got, b[:n]...)
			if err == io.EOF {
				break
			} else if err != nil {
				e.Fatal(err)
			}
		}
		if !bytes.Equal(got, want) {
			e.Fatalf("read %d bytes of %d", len(got), len(want))
		}
		s.Close()
		<-c.Done()
	})
}

// TestCloseDeliversStreams closes further streams, and then the connection, without waiting for anything.
func TestCloseDeliversStreams(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		e.net.loss = 0.03
		c, s := e.pair(l, "mqtt")
		const n = 50
		want := func(i int) []byte { return pattern(1000 * (i + 1)) }
		var all sync.WaitGroup
		all.Go(func() {
			for i := range n {
				st, err := s.AcceptStream(e.Context())
				if err != nil {
					e.Error(err)
					return
				}
				all.Go(func() {
					got, err := io.ReadAll(st)
					if !bytes.Equal(got, want(i)) || err != nil {
						e.Errorf("stream %d: %d bytes of %d, %v", st.ID(), len(got), len(want(i)), err)
					}
					st.Close()
				})
			}
		})
		for i := range n {
			st, err := c.OpenStream(e.Context())
			if err != nil {
				e.Fatal(err)
			}
			if _, err := st.Write(want(i)); err != nil {
				e.Fatal(err)
			}
			if i%2 == 0 { // the others are open when the connection closes
				st.Close()
			}
		}
		c.Close()
		all.Wait()
		if b, err := io.ReadAll(s); len(b) != 0 || err != nil {
			e.Errorf("stream 0: %d bytes, %v", len(b), err)
		}
		start := time.Now()
		s.Close()
		<-c.Done()
		<-s.Done()
		if took := time.Since(start); took > time.Second {
			e.Errorf("the end took %v", took)
		}
	})
}

// TestBothClose closes both sides at the same time. Neither can tell whether the other one still reads, so each waits until
// nothing moves any more.
func TestBothClose(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		start := time.Now()
		c.Close()
		s.Close()
		<-c.Done()
		<-s.Done()
		if took := time.Since(start); took < 2*rtt || took > 100*rtt {
			e.Errorf("the end took %v", took)
		}
	})
}

// TestLingerIsBounded is a peer that never closes, and one that never reads: the connection ends after Linger.
func TestLingerIsBounded(t *testing.T) {
	for _, size := range []int{0, 100_000} {
		bubble(t, &ListenOptions{Config: Config{Linger: 3 * time.Second}}, nil, func(e *env) {
			l := e.listener.Protocol("mqtt")
			c, s := e.pair(l, "mqtt")
			s.Write(pattern(size))
			start := time.Now()
			s.Close()
			if took := time.Since(start); took != 0 {
				e.Errorf("Close waited %v", took)
			}
			<-s.Done()
			if took := time.Since(start); took < 3*time.Second || took > 3*time.Second+rtt {
				e.Errorf("lingered %v", took)
			}
			<-c.Done()
			_, err := c.Read(make([]byte, 1))
			if size > 0 && err == nil {
				e.Error("a read after the end succeeded")
			}
			if err := c.Close(); err != nil {
				e.Error(err)
			}
		})
	}
}

// TestCloseEndsWaiting closes under a Read, a Write, and each call of netio.Streams that waits.
func TestCloseEndsWaiting(t *testing.T) {
	for _, end := range []struct {
		name string
		do   func(*Conn)
	}{
		{"Close", func(c *Conn) { c.Close() }},
		{"Abort", func(c *Conn) { c.Abort(CodeAborted, "") }},
	} {
		t.Run(end.name, func(t *testing.T) {
			bubble(t, &ListenOptions{Config: Config{MaxStreams: 2}}, nil, func(e *env) {
				l := e.listener.Protocol("mqtt")
				c, _ := e.pair(l, "mqtt")
				st, err := c.OpenStream(e.Context())
				if err != nil {
					e.Fatal(err)
				}
				var all sync.WaitGroup
				for name, f := range map[string]func() error{
					"Read":            func() error { _, err := c.Read(make([]byte, 1)); return err },
					"second Read":     func() error { _, err := c.Read(make([]byte, 1)); return err },
					"Write":           func() error { _, err := c.Write(make([]byte, 1<<20)); return err },
					"stream Read":     func() error { _, err := st.Read(make([]byte, 1)); return err },
					"stream Write":    func() error { _, err := st.Write(make([]byte, 1<<20)); return err },
					"OpenStream":      func() error { _, err := c.OpenStream(e.Context()); return err },
					"AcceptStream":    func() error { _, err := c.AcceptStream(e.Context()); return err },
					"ReceiveDatagram": func() error { _, err := c.ReceiveDatagram(e.Context()); return err },
				} {
					all.Go(func() {
						var op *net.OpError
						if err := f(); !errors.Is(err, net.ErrClosed) || !errors.As(err, &op) {
							e.Errorf("%s: %v", name, err)
						}
					})
				}
				pause(time.Second)
				start := time.Now()
				end.do(c)
				all.Wait()
				if took := time.Since(start); took != 0 {
					e.Errorf("they waited %v", took)
				}
				for name, f := range map[string]func() error{
					"Read":         func() error { _, err := c.Read(make([]byte, 1)); return err },
					"Write":        func() error { _, err := c.Write([]byte{1}); return err },
					"OpenStream":   func() error { _, err := c.OpenStream(e.Context()); return err },
					"SendDatagram": func() error { return c.SendDatagram([]byte{1}) },
					"Close":        func() error { return c.Close() },
					"SetDeadline":  func() error { return c.SetDeadline(time.Time{}) },
				} {
					if err := f(); !errors.Is(err, net.ErrClosed) && !(name == "SetDeadline" && err == nil) {
						e.Errorf("%s afterwards: %v", name, err)
					}
				}
			})
		})
	}
}

// TestAbort tells the peer the code and the reason.
func TestAbort(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		s.Abort(7, "no reason")
		_, err := c.Read(make([]byte, 1))
		var q *Error
		if !errors.As(err, &q) || *q != (Error{Kind: KindApplication, Code: 7, Remote: true, Reason: "no reason"}) {
			e.Fatalf("got %v", err)
		}
		if !errors.Is(err, syscall.ECONNRESET) || !errors.Is(err, net.ErrClosed) {
			e.Errorf("%v is no reset", err)
		}
		_, err = c.OpenStream(e.Context())
		if !errors.As(err, &q) || q.Code != 7 {
			e.Errorf("OpenStream: %v", err)
		}
	})
}

// TestSendStopsAtReset is a Write that waits for a peer that closes the stream without reading it.
func TestSendStopsAtReset(t *testing.T) {
	bubble(t, &ListenOptions{Config: Config{Linger: time.Second}}, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		st, err := c.OpenStream(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, err := st.Write(make([]byte, 10<<20))
			ended <- err
		}()
		peer, err := s.AcceptStream(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		pause(time.Second)
		peer.Close()
		err = <-ended
		var q *Error
		if !errors.As(err, &q) || q.Kind != KindStream || !q.Remote || q.Stream != 4 || !errors.Is(err, syscall.ECONNRESET) {
			e.Fatalf("got %v", err)
		}
		if errors.Is(err, net.ErrClosed) {
			e.Errorf("%v is not of the connection", err)
		}
		if _, err := c.Write([]byte{1}); err != nil { // the connection goes on
			e.Error(err)
		}
		st.Close()
	})
}

// TestSocketAgain takes a socket up again at the moment at which it closes for want of connections.
func TestSocketAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPacketNet(0)
		for range 2000 {
			s := newSocket(n.listen(clientAddr), true)
			s.acquire()
			s.release()
			time.Sleep(socketLinger)
			held := s.acquire()
			synctest.Wait()
			select {
			case <-s.down:
				if held {
					t.Fatal("a socket that is held was closed")
				}
			default:
				s.close()
			}
		}
	})
}

var _ netio.Stream = (*stream)(nil)
