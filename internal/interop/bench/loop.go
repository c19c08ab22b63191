package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// A loop moves the bytes of all connections of a scenario in one goroutine, which costs less than a goroutine for each
// and leaves the other processor to the broker.
type loop struct {
	ep     int
	conns  []*conn // by file descriptor
	events []unix.EpollEvent
	buf    []byte
	err    error // the first failure
}

// readSize is the most that one read takes; carrySize is room before it for the rest of the last packet.
const (
	readSize  = 256 << 10
	carrySize = 4 << 10
)

func newLoop() (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &loop{ep: ep, events: make([]unix.EpollEvent, 256), buf: make([]byte, carrySize+readSize)}, nil
}

// add hands c over to the loop.
func (l *loop) add(c *conn, h handler) error {
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

// close closes every connection.
func (l *loop) close() error {
	for _, c := range l.conns {
		if c != nil {
			c.Close()
		}
	}
	return unix.Close(l.ep)
}

// poll waits up to d for something to happen and handles it.
func (l *loop) poll(d time.Duration) error {
	n, err := unix.EpollWait(l.ep, l.events, int(d/time.Millisecond))
	if err != nil && err != unix.EINTR {
		return err
	}
	for _, e := range l.events[:max(n, 0)] {
		c := l.conns[e.Fd]
		if e.Events&unix.EPOLLOUT != 0 {
			l.flush(c)
		}
		if e.Events&^unix.EPOLLOUT != 0 {
			l.read(c)
		}
	}
	return l.err
}

// read does one read and hands over the packets in it.
func (l *loop) read(c *conn) {
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
	for {
		size := frameSize(b)
		if size == 0 || size > len(b) {
			break
		}
		c.handler.packet(c, b[:size])
		b = b[size:]
	}
	if len(b) > carrySize {
		l.fail(c, errors.New("packet too large for the load generator"))
		return
	}
	c.carry = append(c.carry[:0], b...)
	c.handler.batch(c)
	l.flush(c)
}

// send writes b, which must stay unchanged, or keeps it until the socket takes it. Nothing else may wait to be written.
func (l *loop) send(c *conn, b []byte) {
	c.pend = b
	l.flush(c)
}

// flush writes what there is, as far as the socket takes it.
func (l *loop) flush(c *conn) {
	for {
		if len(c.pend) == 0 {
			if len(c.out) == 0 {
				break
			}
			c.pend = c.out
			c.out, c.back = c.back[:0], c.out
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
func (l *loop) arm(c *conn, on bool) {
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

func (l *loop) fail(c *conn, err error) {
	if l.err == nil {
		l.err = fmt.Errorf("connection to the broker: %w", err)
	}
}
