package load

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// A Loop moves the bytes of all connections of a scenario in one goroutine, which costs less than a goroutine for each
// and leaves the other processor to the broker.
type Loop struct {
	ep     int
	conns  []*Conn // by file descriptor
	events []unix.EpollEvent
	buf    []byte
	err    error // the first failure
}

// readSize is the most that one read takes; carrySize is room before it for the rest of the last packet.
const (
	readSize  = 256 << 10
	carrySize = 4 << 10
)

// NewLoop returns a loop without connections.
func NewLoop() (*Loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &Loop{ep: ep, events: make([]unix.EpollEvent, 256), buf: make([]byte, carrySize+readSize)}, nil
}

// Add hands c over to the loop.
func (l *Loop) Add(c *Conn, h Handler) error { return l.AddTaker(c, packets{h}) }

// AddTaker is Add for a protocol of one's own.
func (l *Loop) AddTaker(c *Conn, h Taker) error {
	c.handler = h
	if err := unix.SetNonblock(c.fd, true); err != nil {
		return err
	}
	for len(l.conns) <= c.fd {
		l.conns = append(l.conns, nil)
	}
	l.conns[c.fd] = c
	return unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.fd)})
}

// Close closes every connection.
func (l *Loop) Close() error {
	for _, c := range l.conns {
		if c != nil {
			c.Close()
		}
	}
	return unix.Close(l.ep)
}

// Poll waits up to d for something to happen and handles it.
func (l *Loop) Poll(d time.Duration) error {
	n, err := unix.EpollWait(l.ep, l.events, int(d/time.Millisecond))
	if err != nil && err != unix.EINTR {
		return err
	}
	for _, e := range l.events[:max(n, 0)] {
		c := l.conns[e.Fd]
		if e.Events&unix.EPOLLOUT != 0 {
			l.Flush(c)
		}
		if e.Events&^unix.EPOLLOUT != 0 {
			l.read(c)
		}
	}
	return l.err
}

// read does one read and hands over the packets in it.
func (l *Loop) read(c *Conn) {
	buf := l.buf[carrySize-len(c.carry):]
	copy(buf, c.carry)
	n, err := unix.Read(c.fd, l.buf[carrySize:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case err == nil && n == 0:
		err = io.EOF
	}
	if err != nil {
		l.fail(c, err)
		return
	}
	b := buf[:len(c.carry)+n]
	n, err = c.handler.Take(c, b)
	if err != nil {
		l.fail(c, err)
		return
	}
	b = b[n:]
	if len(b) > carrySize {
		l.fail(c, errors.New("packet too large for the load generator"))
		return
	}
	c.carry = append(c.carry[:0], b...)
	l.Flush(c)
}

// Send writes b, which must stay unchanged, or keeps it until the socket takes it. Nothing else may wait to be written.
func (l *Loop) Send(c *Conn, b []byte) {
	c.pend = b
	l.Flush(c)
}

// Flush writes what there is, as far as the socket takes it.
func (l *Loop) Flush(c *Conn) {
	for {
		if len(c.pend) == 0 {
			if len(c.Out) == 0 {
				break
			}
			c.pend = c.Out
			c.Out, c.back = c.back[:0], c.Out
		}
		n, err := unix.Write(c.fd, c.pend)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			l.arm(c, true)
			return
		case err != nil:
			l.fail(c, err)
			return
		}
		c.pend = c.pend[n:]
	}
	l.arm(c, false)
}

// arm switches waiting for writability.
func (l *Loop) arm(c *Conn, on bool) {
	if c.armed == on {
		return
	}
	c.armed = on
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.fd)}
	if on {
		e.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_MOD, c.fd, &e); err != nil {
		l.fail(c, err)
	}
}

func (l *Loop) fail(c *Conn, err error) {
	if l.err == nil {
		l.err = fmt.Errorf("connection to the broker: %w", err)
	}
}
