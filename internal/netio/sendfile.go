package netio

import (
	"io"
	"syscall"
)

// File is a file whose bytes a [Conn] can send without having them in the memory of the process: an *os.File.
type File interface {
	io.ReaderAt
	syscall.Conn
}

// SendsFiles reports whether TrySendFile and SendFile can be called: Linux has the call, for TCP and Unix sockets.
func (c *Conn) SendsFiles() bool { return c.raw != nil && sendsFiles }

// TrySendFile is TryWrite of n bytes of a file from an offset on. The file must have them. It does not move the file's
// own offset, so several may send from one file.
func (c *Conn) TrySendFile(f File, offset int64, n int) (sent int, err error) {
	t, err := newTransfer(f, offset, n)
	if err != nil {
		return 0, err
	}
	if err = c.raw.Control(t.try); err == nil {
		err = t.err
	}
	return t.sent, c.opError("sendfile", err)
}

// SendFile is TrySendFile, but waits until all is sent, or as much as the write deadline of the net.Conn allows. It is for the
// goroutine that may wait in the Write of the net.Conn.
func (c *Conn) SendFile(f File, offset int64, n int) (sent int, err error) {
	t, err := newTransfer(f, offset, n)
	if err != nil {
		return 0, err
	}
	if err = c.raw.Write(func(fd uintptr) bool { t.try(fd); return t.sent == n || t.err != nil }); err == nil {
		err = t.err
	}
	return t.sent, c.opError("sendfile", err)
}

// transfer is the state of sending a part of a file.
type transfer struct {
	file    File
	raw     syscall.RawConn // of file
	offset  int64
	n, sent int
	socket  int
	err     error
}

func newTransfer(f File, offset int64, n int) (*transfer, error) {
	raw, err := f.SyscallConn()
	return &transfer{file: f, raw: raw, offset: offset, n: n}, err
}

// try sends as much as the socket takes without waiting.
func (t *transfer) try(socket uintptr) {
	t.socket = int(socket)
	if err := t.raw.Control(t.send); err != nil {
		t.err = err
	}
}
