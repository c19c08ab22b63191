package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// A conn is one raw socket. The handshake blocks; afterwards a loop owns it.
type conn struct {
	fd int
	// carry is the part of a packet at the end of the last read.
	carry []byte
	// pend is being written, out is built meanwhile, back is the buffer that out had before.
	pend, out, back []byte
	armed           bool // waits for writability
	handler         handler
}

// A handler takes the packets of a connection.
type handler interface {
	// packet takes one packet; b is valid during the call.
	packet(c *conn, b []byte)
	// batch is called after all packets of one read.
	batch(c *conn)
}

// dial opens a socket to addr, host:port. It blocks for at most 10 s in each later read and write.
func dial(addr string) (*conn, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &conn{fd: fd}
	wait := unix.Timeval{Sec: 10}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait),
		// A reset on close leaves no port in TIME_WAIT, which 10,000 connections for each broker need.
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
		connectTo(fd, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}),
	)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return c, nil
}

// connectTo connects a blocking socket. A signal may interrupt the call; the connection goes on being made then.
func connectTo(fd int, to unix.Sockaddr) error {
	err := unix.Connect(fd, to)
	if err != unix.EINTR {
		return err
	}
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for err == unix.EINTR {
		_, err = unix.Poll(ready, 10_000)
	}
	if err != nil {
		return err
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err
}

// connect dials and logs in.
func connect(addr, id string) (*conn, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	ack, err := c.roundTrip(appendConnect(nil, id, peer.User, peer.Password))
	if err == nil && (len(ack) != 4 || ack[0] != connackByte || ack[3] != 0) {
		err = fmt.Errorf("%w: CONNACK %x", errRefused, ack)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// subscribe subscribes to all filters with one packet.
func (c *conn) subscribe(qos byte, filters ...string) error {
	ack, err := c.roundTrip(appendSubscribe(nil, 1, qos, filters...))
	if err != nil {
		return err
	}
	if ack[0] != subackByte {
		return fmt.Errorf("%x instead of SUBACK", ack)
	}
	return checkSuback(ack)
}

// roundTrip writes a packet and returns the next one that comes back. Nothing may follow that.
func (c *conn) roundTrip(packet []byte) ([]byte, error) {
	if err := c.writeAll(packet); err != nil {
		return nil, err
	}
	var b []byte
	for {
		if n := frameSize(b); n > 0 && len(b) >= n {
			return b, nil
		}
		var chunk [2048]byte
		n, err := unix.Read(c.fd, chunk[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("waiting for an answer to %#x: %w", packet[0], err)
		}
		if n == 0 {
			return nil, io.EOF
		}
		b = append(b, chunk[:n]...)
	}
}

// writeAll writes to a blocking socket.
func (c *conn) writeAll(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(c.fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Close closes the socket. It may be called again.
func (c *conn) Close() error {
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return unix.Close(fd)
}
