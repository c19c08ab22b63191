package netio_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/quartet-mq/quartet/internal/alloctest"
	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/netio"
)

// space counts what Conn.Read borrows.
type space struct {
	buf  []byte
	held int
	most int
}

func newSpace(size int) *space { return &space{buf: make([]byte, size)} }

func (s *space) Acquire() []byte {
	s.held++
	s.most = max(s.most, s.held)
	return s.buf
}

func (s *space) Release() { s.held-- }

// polled says whether this system reads without a buffer.
const polled = runtime.GOOS == "linux" || runtime.GOOS == "darwin"

// pairs are constructors of connected conns; the bool says whether the poller serves them.
var pairs = []struct {
	name   string
	polled bool
	make   func(t testing.TB) (a, b net.Conn)
}{
	{"tcp", polled, func(t testing.TB) (a, b net.Conn) { return socketPair(t, "tcp", "127.0.0.1:0") }},
	{"unix", polled, func(t testing.TB) (a, b net.Conn) {
		return socketPair(t, "unix", filepath.Join(t.TempDir(), "s"))
	}},
	{"memnet", false, func(t testing.TB) (a, b net.Conn) { return memnet.Pipe() }},
}

func socketPair(t testing.TB, network, addr string) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Skipf("no %s sockets: %v", network, err)
	}
	defer l.Close()
	a, err = net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// eachPair runs f with a conn of each kind and its peer.
func eachPair(t *testing.T, f func(t *testing.T, c *netio.Conn, own, peer net.Conn, polled bool)) {
	for _, p := range pairs {
		t.Run(p.name, func(t *testing.T) {
			own, peer := p.make(t)
			t.Cleanup(func() { own.Close(); peer.Close() })
			f(t, netio.NewConn(own), own, peer, p.polled)
		})
	}
}

func TestReadsEverything(t *testing.T) {
	eachPair(t, func(t *testing.T, c *netio.Conn, own, peer net.Conn, _ bool) {
		want := make([]byte, 1<<20)
		for i := range want {
			want[i] = byte(i * 7 >> 3)
		}
		go func() {
			for size, rest := 1, want; len(rest) > 0; size = size*3%100_003 + 1 {
				n, err := peer.Write(rest[:min(size, len(rest))])
				if err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
			peer.Close()
		}()
		var got []byte
		s := newSpace(8 << 10)
		for {
			n, err := c.Read(s)
			if err != nil {
				if err != io.EOF || n != 0 || s.held != 0 {
					t.Fatalf("at the end: n = %d, err = %v, %d buffers held", n, err, s.held)
				}
				break
			}
			if n == 0 || s.held != 1 {
				t.Fatalf("n = %d with %d buffers held", n, s.held)
			}
			got = append(got, s.buf[:n]...)
			s.Release()
		}
		if sha256.Sum256(got) != sha256.Sum256(want) || s.most != 1 {
			t.Fatalf("got %d bytes of %d, or other ones; held %d buffers at once", len(got), len(want), s.most)
		}
	})
}

func TestSmallSpaceLosesNothing(t *testing.T) {
	eachPair(t, func(t *testing.T, c *netio.Conn, own, peer net.Conn, _ bool) {
		go func() {
			peer.Write([]byte("abcdefghij"))
			peer.Close()
		}()
		s := newSpace(3)
		var got []byte
		for {
			n, err := c.Read(s)
			if err != nil {
				break
			}
			got = append(got, s.buf[:n]...)
			s.Release()
		}
		if string(got) != "abcdefghij" {
			t.Fatalf("got %q", got)
		}
	})
}

// TestNoBufferWhileWaiting closes the conn under a waiting Read; whoever waits in the poller has given its buffer back.
func TestNoBufferWhileWaiting(t *testing.T) {
	eachPair(t, func(t *testing.T, c *netio.Conn, own, peer net.Conn, polled bool) {
		if !polled {
			t.Skip("the fallback holds a small buffer")
		}
		waits := make(chan int, 8)
		go func() {
			_, err := c.Read(&watched{waits: waits})
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read of a closed conn: %v", err)
			}
			close(waits)
		}()
		if held := <-waits; held != 0 {
			t.Errorf("%d buffers held while waiting", held)
		}
		own.Close()
		for range waits {
		}
	})
}

// watched is a space that tells how many buffers are held after each Release.
type watched struct {
	held  int
	waits chan int
}

func (w *watched) Acquire() []byte { w.held++; return make([]byte, 16) }

func (w *watched) Release() { w.held--; w.waits <- w.held }

func TestReadDeadline(t *testing.T) {
	eachPair(t, func(t *testing.T, c *netio.Conn, own, peer net.Conn, _ bool) {
		own.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		_, err := c.Read(newSpace(16))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		own.SetReadDeadline(time.Time{})
		peer.Write([]byte("x"))
		if n, err := c.Read(newSpace(16)); n != 1 || err != nil {
			t.Fatalf("after the deadline was lifted: %d, %v", n, err)
		}
	})
}

func TestReadReset(t *testing.T) {
	own, peer := socketPair(t, "tcp", "127.0.0.1:0")
	defer own.Close()
	peer.(*net.TCPConn).SetLinger(0)
	peer.Close()
	_, err := netio.NewConn(own).Read(newSpace(16))
	var op *net.OpError
	if !errors.Is(err, syscall.ECONNRESET) && !(runtime.GOOS == "windows" && errors.As(err, &op)) {
		t.Fatalf("got %v", err)
	}
}

func TestTryWrite(t *testing.T) {
	eachPair(t, func(t *testing.T, c *netio.Conn, own, peer net.Conn, polled bool) {
		chunks := [][]byte{[]byte("one "), nil, []byte("two "), {}, []byte("three")}
		n, err := c.TryWrite(chunks)
		if !polled {
			if n != 0 || err != nil {
				t.Fatalf("the fallback wrote %d bytes, %v", n, err)
			}
			return
		}
		if want := "one two three"; n != len(want) || err != nil {
			t.Fatalf("n = %d, %v", n, err)
		}
		got := make([]byte, n)
		io.ReadFull(peer, got)
		if string(got) != "one two three" {
			t.Fatalf("peer got %q", got)
		}
		if n, err := c.TryWrite(nil); n != 0 || err != nil {
			t.Fatalf("TryWrite(nil) = %d, %v", n, err)
		}
		if n, err := c.TryWrite(make([][]byte, 20)); n != 0 || err != nil {
			t.Fatalf("TryWrite of empty chunks = %d, %v", n, err)
		}
	})
}

// TestTryWriteStopsAndResumes fills the socket, hands the rest to Write, and checks that nothing is lost or doubled.
func TestTryWriteStopsAndResumes(t *testing.T) {
	eachPair(t, func(t *testing.T, c *netio.Conn, own, peer net.Conn, polled bool) {
		if !polled {
			t.Skip("the fallback writes nothing")
		}
		var all []byte
		var chunks [][]byte
		for i := range 100 {
			b := bytes.Repeat([]byte{byte(i)}, 3000*i)
			chunks = append(chunks, b)
			all = append(all, b...)
		}
		n, err := c.TryWrite(chunks)
		if err != nil || n == 0 || n >= len(all) {
			t.Fatalf("wrote %d of %d bytes, %v; want a part", n, len(all), err)
		}
		if again, err := c.TryWrite([][]byte{all[n:]}); err != nil {
			t.Fatal(err)
		} else {
			n += again
		}
		go func() {
			own.Write(all[n:])
			own.Close()
		}()
		got, err := io.ReadAll(peer)
		if err != nil || sha256.Sum256(got) != sha256.Sum256(all) {
			t.Fatalf("peer read %d bytes of %d, or other ones; %v", len(got), len(all), err)
		}
	})
}

func TestTryWriteErrors(t *testing.T) {
	own, peer := socketPair(t, "tcp", "127.0.0.1:0")
	defer peer.Close()
	c := netio.NewConn(own)
	own.Close()
	if !polled {
		t.Skip("the fallback writes nothing")
	}
	if _, err := c.TryWrite([][]byte{{1}}); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
	own, peer = socketPair(t, "unix", filepath.Join(t.TempDir(), "s"))
	defer own.Close()
	peer.Close()
	if _, err := netio.NewConn(own).TryWrite([][]byte{{1}, {2}}); !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("after the peer's Close: %v", err)
	}
}

func TestTryRead(t *testing.T) {
	eachPair(t, func(t *testing.T, c *netio.Conn, own, peer net.Conn, polled bool) {
		b := make([]byte, 8)
		if n := c.TryRead(b); n != 0 {
			t.Fatalf("%d bytes before there are any", n)
		}
		go peer.Write([]byte("0123456789"))
		s := newSpace(2)
		if n, err := c.Read(s); n != 2 || err != nil { // waits
			t.Fatal(n, err)
		}
		var got []byte
		for polled && len(got) < 8 {
			got = append(got, b[:c.TryRead(b)]...)
		}
		if n := c.TryRead(b); n != 0 || polled && string(got) != "23456789" {
			t.Fatalf("got %q and %d bytes more", got, n)
		}
		if !polled {
			return
		}
		peer.Close()
		for range 100 {
			if n := c.TryRead(b); n != 0 {
				t.Fatalf("%d bytes after the end", n)
			}
		}
		if n, err := c.Read(s); n != 0 || err != io.EOF { // what TryRead does not tell
			t.Fatal(n, err)
		}
	})
}

func TestAllocatesNothing(t *testing.T) {
	eachPair(t, func(t *testing.T, c *netio.Conn, own, peer net.Conn, polled bool) {
		if !polled {
			t.Skip("the fallback is not on the fast path")
		}
		one := [][]byte{make([]byte, 100)}
		many := [][]byte{make([]byte, 10), make([]byte, 20), make([]byte, 30), make([]byte, 40)}
		s := newSpace(4096)
		pc := netio.NewConn(peer)
		for _, chunks := range [][][]byte{one, many} {
			if raceEnabled {
				t.Skip("the race detector drops pooled objects")
			}
			if n := alloctest.PerRun(200, 0, func() {
				if n, err := c.TryWrite(chunks); n != 100 || err != nil {
					t.Fatal(n, err)
				}
				for got := 0; got < 100; {
					n, err := pc.Read(s)
					if err != nil {
						t.Fatal(err)
					}
					got += n
					s.Release()
				}
			}); n > 0 {
				t.Errorf("%d chunks: %v allocations", len(chunks), n)
			}
		}
	})
}

func TestConnIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(netio.Conn{}); size > 128 {
		t.Errorf("a Conn has %d bytes", size)
	}
	if !polled {
		t.Skip("the fallback adds a buffer")
	}
	own, peer := socketPair(t, "tcp", "127.0.0.1:0")
	defer own.Close()
	defer peer.Close()
	const n = 10_000
	keep := make([]*netio.Conn, n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range keep {
		keep[i] = netio.NewConn(own)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := int64(after.HeapAlloc-before.HeapAlloc) / n
	runtime.KeepAlive(keep)
	if each > 200 {
		t.Errorf("%d bytes for each connection", each)
	}
	t.Logf("%d bytes for each connection", each)
}
