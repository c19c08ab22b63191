package netserve_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/netserve"
)

// TestOutput puts pieces of all sizes in an output and takes them out in others.
func TestOutput(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	pool := netserve.NewChunks()
	var o netserve.Output
	var want, got bytes.Buffer
	var v net.Buffers
	marks := 0
	for range 5000 {
		if rnd.Intn(3) > 0 {
			b := make([]byte, 1+rnd.Intn(1<<uint(rnd.Intn(17))))
			rnd.Read(b)
			want.Write(b)
			switch rnd.Intn(3) {
			case 0:
				o.Append(pool, b)
			case 1:
				o.Share(pool, b)
			default:
				c := o.Room(pool, len(b)/2) // it may grow
				c.Buf = append(c.Buf, b...)
				o.Added(len(b))
			}
			o.Mark()
			marks++
			continue
		}
		v = o.Vector(v)
		n := netserve.Size(v)
		if netserve.Size(v[:cap(v)]) != n {
			t.Fatal("the vector keeps what is written")
		}
		if (n == 0) != o.Empty() || n > o.Size() {
			t.Fatalf("%d bytes in the vector, %d in the output", n, o.Size())
		}
		if n > 0 {
			n = rnd.Intn(n + 1)
		}
		left := n
		for _, b := range v {
			b = b[:min(len(b), left)]
			got.Write(b)
			left -= len(b)
		}
		o.Advance(n)
		if o.Size() != want.Len()-got.Len() || o.Marks() > marks {
			t.Fatalf("%d bytes wait, not %d", o.Size(), want.Len()-got.Len())
		}
	}
	for !o.Empty() {
		v = o.Vector(v)
		for _, b := range v {
			got.Write(b)
		}
		o.Advance(netserve.Size(v))
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) || o.Size() != 0 || o.Marks() != 0 {
		t.Errorf("%d bytes came out, of %d; %d and %d are left", got.Len(), want.Len(), o.Size(), o.Marks())
	}
	o.Append(pool, []byte("x"))
	var owned owner
	o.LendFile(pool, netserve.FilePart{Offset: 5, Size: 10}, &owned)
	o.Share(pool, []byte("yz"))
	if v = o.Vector(v); netserve.Size(v) != 1 || o.File().Size != 0 || o.Size() != 13 {
		t.Error("before a file:", v, o.File(), o.Size())
	}
	o.Advance(1)
	o.Advance(4)
	if v = o.Vector(v); len(v) != 0 || o.File() != (netserve.FilePart{Offset: 9, Size: 6}) || o.Size() != 8 || owned != 0 {
		t.Error("in a file:", v, o.File(), o.Size())
	}
	o.Advance(7)
	if v = o.Vector(v); netserve.Size(v) != 1 || o.File().Size != 0 || owned != 1 {
		t.Error("behind a file:", v, o.File(), owned)
	}
	o.LendFile(pool, netserve.FilePart{Size: 10}, &owned)
	o.Drop()
	if owned != 2 {
		t.Error("a file that is dropped is not given back")
	}
	if !o.Empty() || o.Vector(v) == nil && len(o.Vector(v)) > 0 {
		t.Error("not empty")
	}
}

// owner counts what it gets back.
type owner int

func (o *owner) Release() { *o++ }

// failing is a listener with errors.
type failing struct {
	net.Listener
	errs []error
}

func (f *failing) Accept() (net.Conn, error) {
	err := f.errs[0]
	f.errs = f.errs[1:]
	if err == nil {
		c, _ := memnet.Pipe()
		return c, nil
	}
	return nil, err
}

func TestAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("gone")
		l := &failing{errs: []error{syscall.EMFILE, syscall.ENFILE, nil, syscall.ECONNABORTED, gone}}
		var pauses []time.Duration
		begun := 0
		start := time.Now()
		err := netserve.Accept(l, func() bool { return false }, func(d time.Duration, err error) { pauses = append(pauses, d) },
			func(nc net.Conn) { begun++; nc.Close() })
		if err != gone || begun != 1 || len(pauses) != 3 || time.Since(start) != 20*time.Millisecond {
			t.Errorf("%v, %d connections, pauses %v in %v", err, begun, pauses, time.Since(start))
		}
		if err := netserve.Accept(&failing{errs: []error{gone}}, func() bool { return true }, nil, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestUnwrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		defer near.Close()
		go near.Write([]byte("PROXY TCP4 203.0.113.7 192.0.2.1 5555 5672\r\nrest"))
		nc, err := netserve.Unwrap(context.Background(), far, true, nil, time.Now().Add(time.Second))
		if err != nil || nc.RemoteAddr().String() != "203.0.113.7:5555" {
			t.Fatal(nc, err)
		}
		b := make([]byte, 4)
		if _, err := io.ReadFull(nc, b); err != nil || string(b) != "rest" {
			t.Error(err, b)
		}
		start := time.Now()
		if _, err := netserve.Unwrap(context.Background(), far, true, nil, time.Now().Add(time.Second)); err == nil || time.Since(start) != time.Second {
			t.Error(err, time.Since(start))
		}
	})
}

func TestWeb(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := netserve.NewWeb(func(w http.ResponseWriter, r *http.Request, value any) {
			if r.URL.Path != "/take" {
				http.NotFound(w, r)
				return
			}
			nc, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(nc, value.(string))
			nc.Close()
		}, time.Second, 2)
		// ends returns what comes until the end of a connection, and when that is.
		ends := func(nc net.Conn) (string, time.Duration) {
			start := time.Now()
			b, err := io.ReadAll(nc)
			if err != nil {
				t.Error(err)
			}
			return string(b), time.Since(start)
		}
		give := func(value, request string) net.Conn {
			near, far := memnet.Pipe()
			t.Cleanup(func() { near.Close() })
			go web.Give(far, value)
			synctest.Wait()
			near.Write([]byte(request))
			return near
		}
		if got, took := ends(give("hello", "GET /take HTTP/1.1\r\nHost: h\r\n\r\n")); got != "hello" || took != 0 {
			t.Errorf("%q after %v", got, took)
		}
		for _, request := range []string{"", "GET /", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx"} {
			if got, took := ends(give("", request)); took > 2*time.Second {
				t.Errorf("%q: %q after %v", request, got, took)
			}
		}
		give("", "")
		give("", "")
		if got, took := ends(give("", "")); got != "" || took != 0 {
			t.Errorf("one more than the limit: %q after %v", got, took)
		}
		synctest.Wait()
		time.Sleep(2 * time.Second)
		open := give("", "")
		web.Close()
		web.Close()
		if got, took := ends(open); got != "" || took != 0 {
			t.Errorf("after Close: %q after %v", got, took)
		}
		if got, took := ends(give("", "")); got != "" || took != 0 {
			t.Errorf("given after Close: %q after %v", got, took)
		}
	})
}
