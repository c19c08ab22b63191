package netio

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSendFileCopies takes the way through memory, for file systems without the call.
func TestSendFileCopies(t *testing.T) {
	name := filepath.Join(t.TempDir(), "data")
	want := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	peer := os.NewFile(uintptr(fds[1]), "peer")
	defer peer.Close()
	tr, err := newTransfer(file, 3, len(want)-3)
	if err != nil {
		t.Fatal(err)
	}
	tr.socket = fds[0]
	var got []byte
	buf := make([]byte, 1<<20)
	for tr.sent < tr.n {
		for tr.sent < tr.n && tr.copy() {
		}
		n, err := peer.Read(buf)
		if err != nil || tr.err != nil {
			t.Fatal(err, tr.err)
		}
		got = append(got, buf[:n]...)
	}
	for len(got) < tr.n {
		n, err := peer.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buf[:n]...)
	}
	if !bytes.Equal(got, want[3:]) {
		t.Errorf("%d bytes came of %d, or other ones", len(got), tr.n)
	}
	tr, _ = newTransfer(file, int64(len(want)-10), 11)
	if tr.socket = fds[0]; tr.copy() || tr.err != io.ErrUnexpectedEOF {
		t.Error("behind the end:", tr.err)
	}
}
