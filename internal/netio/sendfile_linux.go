package netio

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const sendsFiles = true

// send sends from the file with a descriptor.
func (t *transfer) send(file uintptr) {
	for t.sent < t.n {
		at := t.offset + int64(t.sent)
		n, err := unix.Sendfile(t.socket, int(file), &at, t.n-t.sent)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return
		case err == unix.EINVAL || err == unix.ENOSYS: // the file system has no such call
			if !t.copy() {
				return
			}
		case err != nil:
			t.err = os.NewSyscallError("sendfile", err)
			return
		case n == 0:
			t.err = io.ErrUnexpectedEOF
			return
		default:
			t.sent += n
		}
	}
}

// copySize is how much copy reads at a time.
const copySize = 64 << 10

// copy sends some of the file through memory and reports whether the socket may take more.
func (t *transfer) copy() bool {
	b := make([]byte, min(t.n-t.sent, copySize))
	if n, err := t.file.ReadAt(b, t.offset+int64(t.sent)); n < len(b) {
		if t.err = err; err == io.EOF {
			t.err = io.ErrUnexpectedEOF
		}
		return false
	}
	a := attempt{chunks: [][]byte{b}}
	a.write(uintptr(t.socket))
	t.sent, t.err = t.sent+a.n, a.err
	return a.n == len(b) && a.err == nil
}
