//go:build linux || darwin

package netio

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// supported says that this system has Conn's calls.
const supported = true

// tryRead is called by the poller's Read, at once and then at each readiness. False means: wait.
func (c *Conn) tryRead(fd uintptr) bool {
	b := c.space.Acquire()
	n, err := unix.Read(int(fd), b)
	for err == unix.EINTR {
		n, err = unix.Read(int(fd), b)
	}
	if n > 0 {
		c.n = n
		return true
	}
	c.space.Release()
	switch err {
	case unix.EAGAIN:
		return false
	case nil:
		c.err = io.EOF
	default:
		c.err = os.NewSyscallError("read", err)
	}
	return true
}

// read reads once.
func (a *attempt) read(fd uintptr) {
	n, err := unix.Read(int(fd), a.buf)
	for err == unix.EINTR {
		n, err = unix.Read(int(fd), a.buf)
	}
	a.n = max(n, 0)
}

// maxVector is how many chunks go into one call; up to so many unix.Writev allocates nothing.
const maxVector = 8

// write writes the attempt's chunks until the socket takes no more.
func (a *attempt) write(fd uintptr) {
	for chunks := a.chunks; len(chunks) > 0; {
		batch := chunks[:min(len(chunks), maxVector)]
		want := 0
		for _, c := range batch {
			want += len(c)
		}
		n, err := writeOnce(int(fd), batch)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return
		case err != nil:
			a.err = os.NewSyscallError("write", err)
			return
		}
		if a.n += n; n < want {
			return
		}
		chunks = chunks[len(batch):]
	}
}

func writeOnce(fd int, chunks [][]byte) (int, error) {
	if len(chunks) == 1 {
		return unix.Write(fd, chunks[0])
	}
	return unix.Writev(fd, chunks)
}
