package load

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// A Conn is one raw socket. The handshake blocks; afterwards a [Loop] owns it.
type Conn struct {
	// Out is what is written next; a handler appends to it.
	Out []byte

	fd int
	// carry is the part of a packet at the end of the last read.
	carry []byte
	// pend is being written, back is the buffer that Out had before.
	pend, back []byte
	armed      bool // waits for writability
	handler    Taker
}

// A Handler takes the packets of a connection.
type Handler interface {
	// Packet takes one packet; b is valid during the call.
	Packet(c *Conn, b []byte)
}

// A Taker takes what comes on a connection as it comes.
type Taker interface {
	// Take takes as many whole packets as b begins with, and returns their size. b is valid during the call.
	Take(c *Conn, b []byte) (n int, err error)
}

// packets is a Taker of MQTT.
type packets struct{ Handler }

func (p packets) Take(c *Conn, b []byte) (n int, err error) {
	for {
		size := FrameSize(b[n:])
		if size == 0 || size > len(b)-n {
			return n, nil
		}
		p.Packet(c, b[n:n+size])
		n += size
	}
}

// Busy reports whether something still waits to be written.
func (c *Conn) Busy() bool { return len(c.pend) > 0 }

// Dial opens a socket to addr, host:port. It blocks for at most 10 s in each later read and write.
func Dial(addr string) (*Conn, error) { return DialFrom("", addr) }

// DialFrom is Dial from a local address, each of which has ports of its own. With an empty one the system chooses.
func DialFrom(local, addr string) (*Conn, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &Conn{fd: fd}
	wait := unix.Timeval{Sec: 10}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait),
		// A reset on close leaves no port in TIME_WAIT, which 10,000 connections for each broker need.
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
	)
	if err == nil && local != "" {
		err = c.bind(local)
	}
	if err == nil {
		err = connectTo(fd, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()})
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return c, nil
}

// bind chooses the local address and leaves the port to connect, so that ports are used for each pair of addresses.
func (c *Conn) bind(local string) error {
	a, err := netip.ParseAddr(local)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	return unix.Bind(c.fd, &unix.SockaddrInet4{Addr: a.As4()})
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

// Connect dials and logs in with a clean session.
func Connect(addr, id string) (*Conn, error) {
	c, _, err := login(addr, id, true)
	return c, err
}

// Resume dials and logs in with a session that outlives the connection. present tells that the broker had it already.
func Resume(addr, id string) (c *Conn, present bool, err error) { return login(addr, id, false) }

func login(addr, id string, clean bool) (c *Conn, present bool, err error) {
	c, err = Dial(addr)
	if err != nil {
		return nil, false, err
	}
	ack, err := c.RoundTrip(AppendConnect(nil, id, peer.User, peer.Password, clean))
	if err == nil && (len(ack) != 4 || ack[0] != ConnackByte || ack[3] != 0) {
		err = fmt.Errorf("%w: CONNACK %x", ErrRefused, ack)
	}
	if err != nil {
		c.Close()
		return nil, false, err
	}
	return c, ack[2] == 1, nil
}

// Subscribe subscribes to all filters with one packet.
func (c *Conn) Subscribe(qos byte, filters ...string) error {
	ack, err := c.RoundTrip(AppendSubscribe(nil, 1, qos, filters...))
	if err != nil {
		return err
	}
	if ack[0] != SubackByte {
		return fmt.Errorf("%x instead of SUBACK", ack)
	}
	return checkSuback(ack)
}

// RoundTrip writes a packet and returns the next one that comes back.
func (c *Conn) RoundTrip(packet []byte) ([]byte, error) {
	if err := c.Write(packet); err != nil {
		return nil, err
	}
	b, err := c.Next()
	if err != nil {
		return nil, fmt.Errorf("waiting for an answer to %#x: %w", packet[0], err)
	}
	return b, nil
}

// Next waits for the next packet. It reads not a byte more.
func (c *Conn) Next() ([]byte, error) {
	b := make([]byte, 2, 64)
	for got := 0; ; {
		n, err := c.Read(b[got:])
		if err != nil {
			return nil, err
		}
		if got += n; got < len(b) {
			continue
		}
		size := FrameSize(b)
		switch {
		case size == got:
			return b, nil
		case size == 0:
			size = got + 1
		}
		b = append(b, make([]byte, size-got)...)
	}
}

// Read reads from a blocking socket. At the end of the stream the error is io.EOF.
func (c *Conn) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(c.fd, b)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// Write writes all of b to a blocking socket.
func (c *Conn) Write(b []byte) error {
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
func (c *Conn) Close() error {
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return unix.Close(fd)
}
