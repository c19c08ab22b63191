package netio_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
)

// fileOf makes a file of random bytes.
func fileOf(t *testing.T, size int) (*os.File, []byte) {
	b := make([]byte, size)
	rand.New(rand.NewSource(1)).Read(b)
	name := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, b
}

// eachSender runs f with those pairs that can send files.
func eachSender(t *testing.T, f func(t *testing.T, c *netio.Conn, own, peer net.Conn)) {
	eachPair(t, func(t *testing.T, c *netio.Conn, own, peer net.Conn, polled bool) {
		if want := polled && runtime.GOOS == "linux"; c.SendsFiles() != want {
			t.Fatalf("SendsFiles is %v", !want)
		}
		if !c.SendsFiles() {
			t.Skip("sends no files")
		}
		f(t, c, own, peer)
	})
}

// TestSendFile sends a part of a file as far as the socket takes it, and then the rest; before and behind it what is in
// memory.
func TestSendFile(t *testing.T) {
	file, all := fileOf(t, 8<<20)
	eachSender(t, func(t *testing.T, c *netio.Conn, own, peer net.Conn) {
		part := all[1000 : len(all)-1000]
		if _, err := c.TryWrite([][]byte{[]byte("head")}); err != nil {
			t.Fatal(err)
		}
		n, err := c.TrySendFile(file, 1000, len(part))
		if err != nil || n <= 0 || n >= len(part) {
			t.Fatalf("sent %d of %d bytes, %v; want a part", n, len(part), err)
		}
		go func() {
			more, err := c.SendFile(file, 1000+int64(n), len(part)-n)
			if more != len(part)-n || err != nil {
				t.Errorf("sent %d of %d bytes, %v", more, len(part)-n, err)
			}
			own.Write([]byte("tail"))
			own.Close()
		}()
		got, err := io.ReadAll(peer)
		if want := "head" + string(part) + "tail"; err != nil || string(got) != want {
			t.Fatalf("peer read %d bytes of %d, or other ones; %v", len(got), len(want), err)
		}
		if at, err := file.Seek(0, io.SeekCurrent); at != 0 || err != nil {
			t.Errorf("the file's own offset is %d, %v", at, err)
		}
	})
}

// TestSendFileErrors: a deadline, a file that ends too early, one that is closed, and a peer that is gone.
func TestSendFileErrors(t *testing.T) {
	file, all := fileOf(t, 8<<20)
	eachSender(t, func(t *testing.T, c *netio.Conn, own, peer net.Conn) {
		if n, err := c.TrySendFile(file, int64(len(all)-10), 11); n != 10 || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("sent %d bytes, %v", n, err)
		}
		got := make([]byte, 10)
		if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, all[len(all)-10:]) {
			t.Errorf("%x, %v", got, err)
		}
		n, err := 0, error(nil)
		for wait := 20 * time.Millisecond; n == 0 && wait < time.Minute; wait *= 2 { // it may be over before the first byte
			own.SetWriteDeadline(time.Now().Add(wait))
			n, err = c.SendFile(file, 0, len(all))
		}
		if n <= 0 || n >= len(all) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("sent %d bytes, %v", n, err)
		}
		other, _ := fileOf(t, 10)
		other.Close()
		if n, err := c.TrySendFile(other, 0, 10); n != 0 || err == nil {
			t.Errorf("sent %d bytes of a file that is closed, %v", n, err)
		}
		peer.Close()
		own.SetWriteDeadline(time.Time{})
		if _, err := c.SendFile(file, 0, len(all)); err == nil {
			t.Error("no error after the peer has closed")
		}
		own.Close()
		if n, err := c.TrySendFile(file, 0, 10); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("sent %d bytes on a conn that is closed, %v", n, err)
		}
	})
}
