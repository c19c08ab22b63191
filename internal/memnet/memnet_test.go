package memnet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/netio"
)

func pipe(t *testing.T, o *memnet.Options) (client, server *memnet.Conn) {
	t.Helper()
	client, server = memnet.PipeOptions(o)
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if n, err := w.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("Write(%q) = %d, %v", text, n, err)
	}
}

func read(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got[:n], err, want)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

func one(f func([]byte) (int, error)) error {
	_, err := f(make([]byte, 1))
	return err
}

func TestBothWaysAndAddresses(t *testing.T) {
	c, s := pipe(t, nil)
	write(t, c, "to server")
	write(t, s, "to client")
	read(t, s, "to server")
	read(t, c, "to client")
	if c.LocalAddr() != s.RemoteAddr() || s.LocalAddr() != c.RemoteAddr() || c.LocalAddr() == c.RemoteAddr() {
		t.Errorf("addresses: client %v to %v, server %v to %v", c.LocalAddr(), c.RemoteAddr(), s.LocalAddr(), s.RemoteAddr())
	}
}

func TestCloseEndsAfterBufferedBytes(t *testing.T) {
	c, s := pipe(t, nil)
	write(t, c, "last words")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "second Close", c.Close(), net.ErrClosed)
	wantErr(t, "Read after Close", one(c.Read), net.ErrClosed)
	wantErr(t, "Write after Close", one(c.Write), net.ErrClosed)
	read(t, s, "last words")
	wantErr(t, "Read after the peer's Close", one(s.Read), io.EOF)
	wantErr(t, "Write after the peer's Close", one(s.Write), syscall.EPIPE)
}

func TestHalfClose(t *testing.T) {
	c, s := pipe(t, nil)
	write(t, c, "question")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(s); string(got) != "question" || err != nil {
		t.Fatalf("ReadAll = %q, %v", got, err)
	}
	write(t, s, "answer")
	read(t, c, "answer")
}

func TestAbort(t *testing.T) {
	c, s := pipe(t, nil)
	write(t, c, "lost")
	c.Abort()
	wantErr(t, "the peer's Read", one(s.Read), syscall.ECONNRESET)
	wantErr(t, "the peer's Write", one(s.Write), syscall.ECONNRESET)
	wantErr(t, "own Read", one(c.Read), net.ErrClosed)
}

func TestBlockedCallsWakeUpOnClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := pipe(t, &memnet.Options{Capacity: 4})
		errs := make(chan error, 3)
		go func() { errs <- one(c.Read) }()
		go func() { _, err := c.Write(make([]byte, 5)); errs <- err }()
		synctest.Wait()
		c.Close()
		for range 2 {
			wantErr(t, "blocked call", <-errs, net.ErrClosed)
		}
		go func() { errs <- one(s.Read) }()
		if err := <-errs; err != nil {
			t.Fatalf("what was buffered: %v", err)
		}
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pipe(t, &memnet.Options{Capacity: 8})
		start := time.Now()
		c.SetReadDeadline(start.Add(time.Second))
		err := one(c.Read)
		var ne net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Fatalf("read: %v", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Fatalf("read waited %v", d)
		}
		c.SetWriteDeadline(start.Add(3 * time.Second))
		n, err := c.Write(make([]byte, 10))
		wantErr(t, "write", err, os.ErrDeadlineExceeded)
		if n != 8 || time.Since(start) != 3*time.Second {
			t.Fatalf("wrote %d bytes in %v", n, time.Since(start))
		}
		done := make(chan error)
		c.SetReadDeadline(time.Time{})
		go func() { done <- one(c.Read) }()
		synctest.Wait()
		c.SetReadDeadline(time.Unix(1, 0)) // a deadline in the past ends a Read that waits
		wantErr(t, "read", <-done, os.ErrDeadlineExceeded)
	})
}

func TestCapacityBlocksWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := pipe(t, &memnet.Options{Capacity: 10})
		sent := 0
		go func() {
			for range 3 {
				n, _ := c.Write(make([]byte, 6))
				sent += n
			}
		}()
		synctest.Wait()
		if sent != 6 {
			t.Fatalf("%d bytes written into a buffer of 10, want the first 6", sent)
		}
		read(t, s, string(make([]byte, 18)))
		synctest.Wait()
		if sent != 18 {
			t.Fatalf("%d bytes written after reading", sent)
		}
	})
}

func TestConcurrentWritesDoNotMix(t *testing.T) {
	c, s := pipe(t, &memnet.Options{Capacity: 7})
	const size, each = 100, 50
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for range each {
				if _, err := c.Write(bytes.Repeat([]byte{byte(w)}, size)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	got := make([]byte, size)
	for range 4 * each {
		if _, err := io.ReadFull(s, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, bytes.Repeat(got[:1], size)) {
			t.Fatalf("mixed writes: %v", got)
		}
	}
	wg.Wait()
}

func TestLatencyAndBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := pipe(t, &memnet.Options{ToServer: memnet.Link{Latency: 50 * time.Millisecond, BytesPerSecond: 4096}})
		start := time.Now()
		write(t, c, string(make([]byte, 4096)))
		if d := time.Since(start); d != 0 {
			t.Fatalf("Write took %v", d)
		}
		read(t, s, string(make([]byte, 4096)))
		if d := time.Since(start); d != 1050*time.Millisecond {
			t.Fatalf("4096 bytes took %v", d)
		}
		start = time.Now()
		write(t, s, "x")
		read(t, c, "x")
		if d := time.Since(start); d != 0 {
			t.Fatalf("the other direction took %v", d)
		}
	})
}

func TestFaults(t *testing.T) {
	t.Run("cut", func(t *testing.T) {
		c, s := pipe(t, &memnet.Options{ToServer: memnet.Link{Fault: memnet.CutAfter(5)}})
		write(t, c, "abc")
		n, err := c.Write([]byte("defg"))
		wantErr(t, "the cut Write", err, syscall.ECONNRESET)
		if n != 2 {
			t.Fatalf("n = %d, want 2", n)
		}
		read(t, s, "abcde")
		wantErr(t, "Read after the cut", one(s.Read), syscall.ECONNRESET)
		wantErr(t, "Write after the cut", one(s.Write), syscall.ECONNRESET)
		wantErr(t, "Read at the writer's end", one(c.Read), syscall.ECONNRESET)
	})
	t.Run("corrupt", func(t *testing.T) {
		c, s := pipe(t, &memnet.Options{ToClient: memnet.Link{Fault: memnet.Corrupt(4)}})
		write(t, s, "abc")
		write(t, s, "def")
		read(t, c, "abcd\x9af")
	})
	t.Run("drop", func(t *testing.T) {
		writes := 0
		c, s := pipe(t, &memnet.Options{ToServer: memnet.Link{Fault: func(b []byte) memnet.Action {
			if writes++; writes == 2 {
				return memnet.Action{}
			}
			return memnet.Action{Data: b}
		}}})
		for _, text := range []string{"one ", "two ", "three"} {
			write(t, c, text)
		}
		read(t, s, "one three")
	})
}

func TestDelayKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := pipe(t, &memnet.Options{ToServer: memnet.Link{Fault: func(b []byte) memnet.Action {
			var a memnet.Action
			if a.Data = b; b[0] == 's' {
				a.Delay = time.Minute
			}
			return a
		}}})
		start := time.Now()
		write(t, c, "slow")
		write(t, c, "fast")
		c.CloseWrite()
		read(t, s, "slowfast")
		if d := time.Since(start); d != time.Minute {
			t.Fatalf("took %v", d)
		}
		wantErr(t, "Read", one(s.Read), io.EOF)
	})
}

func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("broker:1883")
		accepted := make(chan net.Conn)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					wantErr(t, "Accept", err, net.ErrClosed)
					close(accepted)
					return
				}
				accepted <- c
			}
		}()
		l.OnDial(func(n int) (*memnet.Options, error) {
			if n == 1 {
				return nil, syscall.ECONNREFUSED
			}
			return &memnet.Options{ToServer: memnet.Link{Latency: time.Second}}, nil
		})
		start := time.Now()
		c, err := l.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s := <-accepted
		defer s.Close()
		if d := time.Since(start); d != time.Second {
			t.Errorf("Dial took %v", d)
		}
		if s.LocalAddr() != l.Addr() || c.RemoteAddr().String() != "broker:1883" {
			t.Errorf("addresses %v, %v", s.LocalAddr(), c.RemoteAddr())
		}
		_, err = l.Dial(t.Context())
		wantErr(t, "refused Dial", err, syscall.ECONNREFUSED)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = l.Dial(ctx)
		wantErr(t, "slow Dial", err, context.DeadlineExceeded)
		l.Close()
		<-accepted
		_, err = l.Dial(t.Context())
		wantErr(t, "Dial after Close", err, syscall.ECONNREFUSED)
	})
}

func TestListenerCloseResetsPending(t *testing.T) {
	l := memnet.Listen("x")
	c, err := l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	wantErr(t, "Read", one(c.Read), syscall.ECONNRESET)
}

func TestStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := pipe(t, nil)
		var wantIDs = map[*memnet.Conn][]int64{c: {4, 8}, s: {1, 5}}
		for from, to := range map[*memnet.Conn]*memnet.Conn{c: s, s: c} {
			for _, id := range wantIDs[from] {
				near, err := netio.Streams(from).OpenStream(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				far, err := netio.Streams(to).AcceptStream(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if near.ID() != id || far.ID() != id {
					t.Fatalf("ids %d and %d, want %d", near.ID(), far.ID(), id)
				}
				write(t, near, "ping")
				near.CloseWrite()
				read(t, far, "ping")
				wantErr(t, "Read", one(far.Read), io.EOF)
				write(t, far, "pong")
				read(t, near, "pong")
			}
		}
		near, err := c.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 2)
		go func() { done <- one(near.Read) }()
		go func() { _, err := c.AcceptStream(t.Context()); done <- err }()
		synctest.Wait()
		c.Close()
		wantErr(t, "stream Read", <-done, net.ErrClosed)
		wantErr(t, "AcceptStream", <-done, net.ErrClosed)
		_, err = s.OpenStream(t.Context())
		wantErr(t, "OpenStream", err, net.ErrClosed)
	})
}

func TestAcceptStreamHonoursContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pipe(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.AcceptStream(ctx)
		wantErr(t, "AcceptStream", err, context.DeadlineExceeded)
	})
}

func TestDatagrams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := pipe(t, &memnet.Options{ToServer: memnet.Link{Latency: time.Second}})
		b := []byte("hello")
		if err := c.SendDatagram(b); err != nil {
			t.Fatal(err)
		}
		b[0] = 'j'
		start := time.Now()
		got, err := s.ReceiveDatagram(t.Context())
		if string(got) != "hello" || err != nil || time.Since(start) != time.Second {
			t.Fatalf("got %q, %v after %v", got, err, time.Since(start))
		}
		wantErr(t, "large datagram", c.SendDatagram(make([]byte, 1201)), syscall.EMSGSIZE)
		for range 1000 {
			if err := s.SendDatagram(b); err != nil { // more than the queue holds: dropped
				t.Fatal(err)
			}
		}
		s.Close()
		wantErr(t, "SendDatagram after Close", s.SendDatagram(b), net.ErrClosed)
	})
}

func TestMoreThanCapacity(t *testing.T) {
	c, s := pipe(t, nil)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		c.Write(want)
		c.Close()
	}()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes, %v; want %d", len(got), err, len(want))
	}
}

func TestEarlyDataAndProtocol(t *testing.T) {
	c, s := pipe(t, nil)
	for _, e := range []*memnet.Conn{c, s} {
		select {
		case <-e.Confirmed():
		default:
			t.Fatal("a connection without early data is not confirmed")
		}
		if got := e.Protocol(); got != "" {
			t.Fatalf("protocol %q", got)
		}
	}
	c, s = pipe(t, &memnet.Options{Early: true, Protocol: "mqtt"})
	write(t, c, "early")
	read(t, s, "early")
	select {
	case <-s.Confirmed():
		t.Fatal("confirmed already")
	default:
	}
	s.Confirm()
	c.Confirm()
	<-s.Confirmed()
	<-c.Confirmed()
	if c.Protocol() != "mqtt" || s.Protocol() != "mqtt" {
		t.Fatalf("protocols %q and %q", c.Protocol(), s.Protocol())
	}
}

func TestStreamReset(t *testing.T) {
	c, s := pipe(t, nil)
	near, err := c.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(t, near, "lost")
	far, err := s.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	near.(interface{ Reset() }).Reset()
	wantErr(t, "the peer's Read", one(far.Read), syscall.ECONNRESET)
	wantErr(t, "the peer's Write", one(far.Write), syscall.ECONNRESET)
	wantErr(t, "own Read", one(near.Read), net.ErrClosed)
	write(t, c, "others go on")
	read(t, s, "others go on")
}
