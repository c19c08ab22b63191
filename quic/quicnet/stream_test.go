package quicnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
)

// TestStreamLimit opens as many streams as the peer allows: the next OpenStream waits until one is closed by both sides,
// or for its context.
func TestStreamLimit(t *testing.T) {
	bubble(t, &ListenOptions{Config: Config{MaxStreams: 4}}, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt") // stream 0 is one of the four
		var open []netio.Stream
		for range 3 {
			st, err := c.OpenStream(e.Context())
			if err != nil {
				e.Fatal(err)
			}
			st.Write([]byte{1})
			open = append(open, st)
		}
		ctx, cancel := context.WithTimeout(e.Context(), time.Second)
		defer cancel()
		if _, err := c.OpenStream(ctx); !errors.Is(err, context.DeadlineExceeded) {
			e.Errorf("beyond the limit: %v", err)
		}
		opened := make(chan error)
		go func() {
			_, err := c.OpenStream(e.Context())
			opened <- err
		}()
		open[0].Close()
		pause(time.Second)
		select {
		case <-opened:
			e.Error("a stream was opened that the server has not closed")
		default:
		}
		st, err := s.AcceptStream(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		st.Close()
		if err := <-opened; err != nil {
			e.Error(err)
		}
	})
}

// TestManyStreams opens thousands of streams one after the other, which takes no more memory than a few.
func TestManyStreams(t *testing.T) {
	bubble(t, &ListenOptions{Config: Config{MaxStreams: 20}}, nil, func(e *env) {
		const n = 3000
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		var sum atomic.Int64
		go func() {
			for {
				st, err := s.AcceptStream(e.Context())
				if err != nil {
					return
				}
				go func() {
					b, err := io.ReadAll(st)
					if err != nil {
						e.Error(err)
					}
					sum.Add(int64(len(b)))
					st.Close()
				}()
			}
		}()
		for range n {
			st, err := c.OpenStream(e.Context())
			if err != nil {
				e.Fatal(err)
			}
			st.Write([]byte{1, 2, 3})
			st.Close()
		}
		pause(time.Minute)
		if sum.Load() != 3*n {
			e.Errorf("%d bytes came, want %d", sum.Load(), 3*n)
		}
		if st := c.Stats(); st.Streams != 1 || st.StreamsOpened != n {
			e.Errorf("%+v", st)
		}
		if st := s.Stats(); st.Streams != 1 || st.StreamsAccepted != n {
			e.Errorf("%+v", st)
		}
	})
}

// TestStreamFlood opens and fills streams that nobody accepts: what the server holds is bounded, and Abort
// ends it all.
func TestStreamFlood(t *testing.T) {
	o := &ListenOptions{Config: Config{MaxStreams: 50, StreamWindow: 16 << 10, ConnWindow: 64 << 10}}
	bubble(t, o, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		var written, streams atomic.Int64
		for range 200 {
			go func() {
				st, err := c.OpenStream(e.Context())
				if err != nil {
					return
				}
				streams.Add(1)
				n, _ := st.Write(pattern(20_000))
				written.Add(int64(n))
			}()
		}
		pause(time.Minute)
		if got := c.Stats().BytesSent; got > 100<<10 {
			e.Errorf("%d bytes were sent to a server that reads nothing", got)
		}
		if streams.Load() != 49 {
			e.Errorf("%d streams were opened", streams.Load())
		}
		start := time.Now()
		s.Abort(CodeAborted, "")
		pause(time.Second)
		select {
		case <-c.Done():
		default:
			e.Errorf("the client's end is not done after %v", time.Since(start))
		}
	})
}

// TestStalledReader writes to a stream that nobody reads: the writer waits once the window is full, and other streams go
// on.
func TestStalledReader(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		stalled, err := c.OpenStream(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		stalled.SetWriteDeadline(time.Now().Add(10 * time.Second))
		n, err := stalled.Write(make([]byte, 10<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || n < 128<<10 || n > 128<<10+2000 {
			e.Errorf("%d bytes, %v", n, err)
		}
		if _, err := s.AcceptStream(e.Context()); err != nil {
			e.Fatal(err)
		}
		go c.Write(pattern(1 << 20))
		got := make([]byte, 1<<20)
		start := time.Now()
		if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, pattern(1<<20)) {
			e.Error("stream 0:", err)
		}
		if took := time.Since(start); took > 2*time.Second {
			e.Errorf("stream 0 took %v", took)
		}
	})
}

// TestDeadlines are those of both halves, on stream 0 and on a further stream.
func TestDeadlines(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, _ := e.pair(l, "mqtt")
		st, err := c.OpenStream(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		for _, x := range []interface {
			io.ReadWriter
			SetDeadline(time.Time) error
			SetReadDeadline(time.Time) error
			SetWriteDeadline(time.Time) error
		}{c, st} {
			late := func(name string, f func() error) {
				e.Helper()
				start := time.Now()
				err := f()
				var n net.Error
				if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &n) || !n.Timeout() || errors.Is(err, net.ErrClosed) {
					e.Errorf("%s: %v", name, err)
				}
				if took := time.Since(start); took != time.Second {
					e.Errorf("%s took %v", name, took)
				}
			}
			read := func() error { _, err := x.Read(make([]byte, 1)); return err }
			write := func() error { _, err := x.Write(make([]byte, 1<<20)); return err }
			x.SetReadDeadline(time.Now().Add(time.Second))
			late("read", read)
			x.SetReadDeadline(time.Time{})
			x.SetWriteDeadline(time.Now().Add(time.Second))
			late("write", write)
			x.SetDeadline(time.Now().Add(time.Second))
			late("read after both", read)
			x.SetDeadline(time.Time{})
			// A deadline reaches a call that waits already, and may be moved.
			go func() {
				pause(time.Second / 2)
				x.SetReadDeadline(time.Now().Add(time.Hour))
				pause(time.Second / 2)
				x.SetReadDeadline(time.Now())
			}()
			late("moved", read)
			x.SetDeadline(time.Time{})
		}
		// A Write that a deadline has cut short goes on where it stopped.
		want := pattern(1 << 20)
		c2, s2 := e.pair(l, "mqtt")
		go func() {
			rest := want
			for len(rest) > 0 {
				c2.SetWriteDeadline(time.Now().Add(3 * time.Millisecond))
				n, err := c2.Write(rest)
				rest = rest[n:]
				if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					e.Error(err)
					return
				}
			}
			c2.Close()
		}()
		if got, err := io.ReadAll(s2); !bytes.Equal(got, want) || err != nil {
			e.Errorf("%d bytes of %d, %v", len(got), len(want), err)
		}
		s2.Close()
	})
}

// TestHalfClose ends one side of a stream while the other one goes on, in both directions.
func TestHalfClose(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		for _, ends := range [][2]*Conn{{c, s}, {s, c}} {
			a, err := ends[0].OpenStream(e.Context())
			if err != nil {
				e.Fatal(err)
			}
			io.WriteString(a, "question")
			if err := errors.Join(a.CloseWrite(), a.CloseWrite()); err != nil {
				e.Error(err)
			}
			b, err := ends[1].AcceptStream(e.Context())
			if err != nil {
				e.Fatal(err)
			}
			if got, err := io.ReadAll(b); string(got) != "question" || err != nil {
				e.Errorf("%q, %v", got, err)
			}
			if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				e.Errorf("after the end: %d, %v", n, err)
			}
			for range 3 {
				io.WriteString(b, "answer")
				got := make([]byte, 6)
				if _, err := io.ReadFull(a, got); string(got) != "answer" || err != nil {
					e.Errorf("%q, %v", got, err)
				}
			}
			if _, err := a.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
				e.Errorf("Write after CloseWrite: %v", err)
			}
			a.Close()
			b.Close()
			if err := a.Close(); !errors.Is(err, net.ErrClosed) {
				e.Errorf("the second Close: %v", err)
			}
		}
	})
}

// TestConcurrentUse reads, writes and closes from many goroutines.
func TestConcurrentUse(t *testing.T) {
	bubble(t, &ListenOptions{Config: Config{Linger: time.Second}}, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		for range 5 {
			c, s := e.pair(l, "mqtt")
			var all sync.WaitGroup
			for _, x := range []*Conn{c, s} {
				for range 3 {
					all.Go(func() { io.Copy(io.Discard, x) })
					all.Go(func() {
						for i := 1; ; i++ {
							if _, err := x.Write(make([]byte, i*100)); err != nil {
								return
							}
						}
					})
					all.Go(func() {
						for {
							st, err := x.OpenStream(e.Context())
							if err != nil {
								return
							}
							st.Write([]byte{1})
							go io.Copy(io.Discard, st)
							st.SetDeadline(time.Now().Add(time.Millisecond))
							st.Close()
							x.Stats()
						}
					})
					all.Go(func() {
						for {
							st, err := x.AcceptStream(e.Context())
							if err != nil {
								return
							}
							st.Close()
						}
					})
				}
			}
			pause(100 * time.Millisecond)
			c.Close()
			all.Go(func() { s.Close() })
			all.Wait()
			<-c.Done()
			<-s.Done()
		}
	})
}

// TestPriority sends an urgent stream before one that was there first.
func TestPriority(t *testing.T) {
	bubble(t, nil, nil, func(e *env) {
		l := e.listener.Protocol("mqtt")
		c, s := e.pair(l, "mqtt")
		ends := make(chan int64, 2)
		go func() {
			for {
				st, err := s.AcceptStream(e.Context())
				if err != nil {
					return
				}
				go func() {
					io.Copy(io.Discard, st)
					ends <- st.ID()
				}()
			}
		}()
		for _, urgency := range []int{6, 1} {
			st, err := c.OpenStream(e.Context())
			if err != nil {
				e.Fatal(err)
			}
			st.(interface{ SetPriority(int, bool) }).SetPriority(urgency, false)
			go func() {
				st.Write(pattern(300_000))
				st.CloseWrite()
			}()
			pause(time.Millisecond)
		}
		if first := <-ends; first != 8 {
			e.Errorf("stream %d was first", first)
		}
		<-ends
	})
}
