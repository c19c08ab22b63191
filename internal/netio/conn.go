package netio

import (
	"io"
	"net"
	"sync"
	"syscall"
)

// Space lends the buffer that a read fills.
type Space interface {
	// Acquire returns a buffer of at least one byte.
	Acquire() []byte

	// Release takes the buffer of the last Acquire back, unused.
	Release()
}

// Conn reads from a net.Conn without holding a buffer while it waits, and writes to it without waiting.
//
// Both need a descriptor that the runtime's poller watches: TCP and Unix sockets (a syscall.Conn) on Linux and macOS.
// On any other conn (TLS, WebSocket, memory, other systems) Read holds a buffer of 2 KiB while it waits, or one of the
// caller's after a larger read, and TryWrite writes nothing. Deadlines and Close of the net.Conn end a Read that
// waits. One Read and any number of TryWrite may run at a time.
type Conn struct {
	conn net.Conn
	raw  syscall.RawConn // nil: the fallback

	// Of the Read that is under way.
	space Space
	n     int
	err   error
	try   func(fd uintptr) bool

	plain *plainReader // nil: not the fallback
}

// NewConn returns a Conn for c. Plain reads and writes of c stay possible while no Read or TryWrite is under way.
func NewConn(c net.Conn) *Conn {
	nc := &Conn{conn: c}
	if sc, ok := c.(syscall.Conn); ok && supported {
		if raw, err := sc.SyscallConn(); err == nil {
			nc.raw, nc.try = raw, nc.tryRead
			return nc
		}
	}
	nc.plain = &plainReader{r: c}
	return nc
}

// Read waits until there is something to read, reads once and returns how many bytes it put into the buffer that it
// acquired last. With n > 0 the error is nil and that buffer is the caller's to release; otherwise it is released
// already. At the end of the stream the error is io.EOF.
//
// The buffer is acquired when there may be something to read, and given back before waiting.
func (c *Conn) Read(s Space) (n int, err error) {
	if c.plain != nil {
		return c.plain.read(s)
	}
	c.space = s
	err = c.raw.Read(c.try)
	if err == nil {
		err = c.err
	}
	n = c.n
	c.space, c.n, c.err = nil, 0, nil
	return n, c.opError("read", err)
}

// TryRead reads once into b without waiting and returns how many bytes it read. It returns 0 when there is nothing to
// read now, or when a read fails or is at the end of the stream: the next Read tells. It is for the goroutine that
// Reads. On a conn without a descriptor it reads nothing.
func (c *Conn) TryRead(b []byte) (n int) {
	if c.raw == nil {
		return 0
	}
	a := attempts.Get().(*attempt)
	a.buf = b
	if c.raw.Control(a.tryRead) == nil {
		n = a.n
	}
	a.buf, a.n = nil, 0
	attempts.Put(a)
	return n
}

// TryWrite writes as many bytes of the chunks as the socket takes without waiting, and returns their number. With
// fewer than all and no error the rest is for a goroutine that may wait in the Write of the net.Conn. In the steady
// state it allocates nothing, and it keeps no chunk.
func (c *Conn) TryWrite(chunks [][]byte) (n int, err error) {
	if c.raw == nil {
		return 0, nil
	}
	a := attempts.Get().(*attempt)
	a.chunks = chunks
	err = c.raw.Control(a.tryWrite)
	if err == nil {
		err = a.err
	}
	n = a.n
	a.chunks, a.n, a.err = nil, 0, nil
	attempts.Put(a)
	return n, c.opError("write", err)
}

// opError wraps err as package net does.
func (c *Conn) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	local, remote := c.conn.LocalAddr(), c.conn.RemoteAddr()
	e := &net.OpError{Op: op, Source: local, Addr: remote, Err: err}
	if local != nil {
		e.Net = local.Network()
	}
	if inner, ok := err.(*net.OpError); ok {
		e.Err = inner.Err
	}
	return e
}

// attempt is the state of one TryRead or TryWrite. It is apart from Conn so that an idle connection does not pay for it.
type attempt struct {
	buf      []byte
	chunks   [][]byte
	n        int
	err      error
	tryRead  func(fd uintptr)
	tryWrite func(fd uintptr)
}

var attempts = sync.Pool{New: func() any {
	a := new(attempt)
	a.tryRead, a.tryWrite = a.read, a.write
	return a
}}
