package quicnet

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestGarbage throws random packets, and packets of a connection with flipped bits, at a server and at a client: both go
// on.
func TestGarbage(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		const seed = 7
		e.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		type sent struct {
			from, to string
			b        []byte
		}
		var record []sent
		e.net.set(func(n *packetNet) {
			n.tap = func(from, to netip.AddrPort, b []byte) {
				if len(record) < 500 {
					record = append(record, sent{from.String(), to.String(), append([]byte(nil), b...)})
				}
			}
		})
		go c.Write(pattern(100_000))
		if _, err := io.ReadFull(s, make([]byte, 100_000)); err != nil {
			e.Fatal(err)
		}
		go s.Write(pattern(100_000))
		if _, err := io.ReadFull(c, make([]byte, 100_000)); err != nil {
			e.Fatal(err)
		}
		e.net.set(func(n *packetNet) { n.tap = nil })
		for i := range 3000 {
			var p sent
			switch {
			case i%2 == 0:
				p = record[r.IntN(len(record))]
				p.b = append([]byte(nil), p.b...)
				for range 1 + r.IntN(4) {
					p.b[r.IntN(len(p.b))] ^= 1 << r.IntN(8)
				}
				if r.IntN(4) == 0 {
					p.b = p.b[:r.IntN(len(p.b)+1)]
				}
			default:
				p = sent{"10.6.6.6:6", serverAddr, make([]byte, r.IntN(1500))}
				for i := range p.b {
					p.b[i] = byte(r.Uint32())
				}
				if r.IntN(2) == 0 {
					p.from, p.to = serverAddr, clientAddr
				}
			}
			e.net.inject(p.from, p.to, p.b)
			if i%100 == 0 {
				pause(time.Millisecond)
			}
		}
		pause(time.Second)
		io.WriteString(c, "still here")
		b := make([]byte, 10)
		if _, err := io.ReadFull(s, b); err != nil || string(b) != "still here" {
			e.Errorf("%q, %v", b, err)
		}
		e.pair(l, "mqtt")
		pause(time.Minute)
		if n := e.listener.Stats().Handshakes; n != 0 {
			e.Errorf("%d handshakes are left", n)
		}
	})
}

// TestReplayedPackets delivers every packet of a connection twice, the copy first: nothing is read twice.
func TestReplayedPackets(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		e.net.set(func(n *packetNet) {
			n.tap = func(from, to netip.AddrPort, b []byte) { e.net.inject(from.String(), to.String(), b) }
		})
		c, s := e.pair(l, "mqtt")
		go func() {
			c.Write(pattern(50_000))
			c.Close()
		}()
		b, err := io.ReadAll(s)
		if string(b) != string(pattern(50_000)) || err != nil {
			e.Errorf("%d bytes, %v", len(b), err)
		}
		s.Close()
		<-c.Done()
		pause(time.Second)
		if st := e.listener.Stats(); st.Connected != 1 {
			e.Errorf("%+v", st)
		}
	})
}

// TestSocketIsOpenedAgain dials after the socket was closed for lack of connections, with a socket of the caller and with
// one of its own, and after the socket has failed.
func TestSocketIsOpenedAgain(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		opened := 0
		open := e.dialer.ListenPacket
		e.dialer.ListenPacket = func(ctx context.Context, a net.Addr) (net.PacketConn, error) {
			opened++
			return open(ctx, a)
		}
		end := func(c, s *Conn) {
			c.Close()
			s.Close()
			<-c.Done()
			<-s.Done()
		}
		end(e.pair(l, "mqtt"))
		end(e.pair(l, "mqtt"))
		if opened != 1 {
			e.Errorf("%d sockets for two connections", opened)
		}
		pause(time.Minute)
		end(e.pair(l, "mqtt"))
		if opened != 2 {
			e.Errorf("%d sockets after a pause", opened)
		}
		c, _ := e.pair(l, "mqtt")
		e.pc.Close()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			e.Errorf("read without a socket: %v", err)
		}
		if _, err := e.dialer.Dial(e.Context(), "mqtt", serverAddr); err != nil && !errors.Is(err, net.ErrClosed) {
			e.Error(err)
		}
		pause(time.Millisecond)
		e.pair(l, "mqtt")

		pc := e.net.listen("10.0.1.9:9")
		defer pc.Close()
		d := &Dialer{Config: Config{TLS: clientTLS()}, PacketConn: pc}
		for range 2 {
			c, err := d.Dial(e.Context(), "mqtt", serverAddr)
			if err != nil {
				e.Fatal(err)
			}
			c.Write([]byte{1})
			end(c, e.accept(l))
			pause(time.Minute)
		}
		if err := d.Shutdown(e.Context()); err != nil {
			e.Error(err)
		}
		if _, err := d.Dial(e.Context(), "mqtt", serverAddr); !errors.Is(err, net.ErrClosed) {
			e.Errorf("dial after Shutdown: %v", err)
		}
	})
}

// TestShutdownOfSilentClients does not wait for clients that have opened no stream, and tells them.
func TestShutdownOfSilentClients(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		e.listener.Protocol("mqtt")
		c := e.dial("mqtt")
		pause(rtt)
		start := time.Now()
		if err := e.listener.Shutdown(e.Context()); err != nil {
			e.Error(err)
		}
		if took := time.Since(start); took > rtt {
			e.Errorf("it took %v", took)
		}
		var q *Error
		if _, err := c.Read(make([]byte, 1)); !errors.As(err, &q) || q.Code != uint64(CodeOverload) {
			e.Errorf("got %v", err)
		}
	})
}

// TestListenerSocketFails ends Accept and the connections when the socket of the listener is closed by somebody else.
func TestListenerSocketFails(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		_, s := e.pair(l, "mqtt")
		e.listener.pc.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			e.Errorf("Accept: %v", err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			e.Errorf("Read: %v", err)
		}
		if err := e.listener.Shutdown(e.Context()); err != nil {
			e.Error(err)
		}
	})
}
