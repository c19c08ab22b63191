package quicnet

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestAllAtOnce does what applications do with connections at the same time, and shuts down in the midst of it.
func TestAllAtOnce(t *testing.T) {
	for _, early := range []int{0, 1000} {
		var e *env
		var port atomic.Int64
		d := &Dialer{EarlyData: early, ListenPacket: func(context.Context, net.Addr) (net.PacketConn, error) {
			return e.net.listen(fmt.Sprintf("10.0.3.1:%d", 1000+port.Add(1))), nil
		}}
		bubble(t, &ListenOptions{MaxConns: 20, Backlog: 5, EarlyData: NewGuard(nil)}, d, func(env *env) {
			e = env
			l := e.listener.Protocol("mqtt")
			go serveEcho(e, l)
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					for range 8 {
						useOnce(e)
						<-time.After(rand.N(time.Second))
					}
				})
			}
			all.Go(func() {
				for range 10 {
					<-time.After(200 * time.Millisecond)
					next := e.listener.Protocol("mqtt", "other")
					go serveEcho(e, next)
					l.Close()
					l = next
				}
			})
			<-time.After(3 * time.Second)
			ctx, cancel := context.WithTimeout(e.Context(), 5*time.Second)
			defer cancel()
			all.Go(func() { d.Shutdown(ctx) })
			e.listener.Shutdown(ctx)
			all.Wait()
			pause(time.Minute)
			if c, s := d.Stats(), e.listener.Stats(); c.Connected == 0 || c.Conns+s.Conns+s.Handshakes != 0 {
				t.Errorf("%d connections were made; %d and %d and %d handshakes are left", c.Connected, c.Conns, s.Conns, s.Handshakes)
			}
		})
	}
}

// serveEcho sends back what comes on any stream.
func serveEcho(e *env, l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		c := nc.(*Conn)
		go func() {
			for {
				s, err := c.AcceptStream(e.Context())
				if err != nil {
					return
				}
				go func() {
					io.Copy(s, s)
					s.Close()
				}()
			}
		}()
		go func() {
			io.Copy(c, c)
			c.Close()
		}()
	}
}

// useOnce dials, does this and that at once, and closes sooner or later.
func useOnce(e *env) {
	ctx, cancel := context.WithTimeout(e.Context(), 20*time.Millisecond+rand.N(100*time.Millisecond))
	c, err := e.dialer.Dial(ctx, "mqtt", serverAddr)
	cancel()
	if err != nil {
		return
	}
	ctx, cancel = context.WithTimeout(e.Context(), 200*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() {
		b := make([]byte, 1<<rand.IntN(14))
		c.Write(b)
		io.ReadFull(c, b)
	})
	all.Go(func() {
		for {
			s, err := c.OpenStream(ctx)
			if err != nil {
				return
			}
			go func() {
				s.Write(make([]byte, 3000))
				s.CloseWrite()
			}()
			io.ReadAll(s)
			s.Close()
		}
	})
	do := rand.IntN(4)
	all.Go(func() {
		switch do {
		case 0:
			c.Migrate(ctx, nil)
		case 1:
			c.SendDatagram([]byte("x"))
			c.ReceiveDatagram(ctx)
		case 2:
			e.dialer.Stats()
			e.listener.Stats()
			c.TLS()
		case 3:
			c.SetDeadline(time.Now().Add(30 * time.Millisecond))
		}
	})
	<-time.After(rand.N(100 * time.Millisecond))
	switch rand.IntN(4) {
	case 0:
		c.Abort(CodeAborted, "")
	case 1:
		all.Wait()
	}
	c.Close()
	all.Wait()
}
