package quicnet

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// packetNet is a network in memory that carries UDP packets between its sockets, with delay and loss. It is for
// synctest bubbles.
type packetNet struct {
	mu    sync.Mutex
	delay time.Duration // one way
	loss  float64
	rand  *rand.Rand
	sinks map[netip.AddrPort]*packetConn
	nat   map[netip.AddrPort]netip.AddrPort // of a socket: the address that others see

	tapping sync.Mutex                              // held during tap, and before mu
	tap     func(from, to netip.AddrPort, b []byte) // sees each packet that is sent
	drop    func(from, to netip.AddrPort, b []byte) bool
}

// newPacketNet returns a network with a delay of each way.
func newPacketNet(delay time.Duration) *packetNet {
	return &packetNet{
		delay: delay,
		rand:  rand.New(rand.NewPCG(1, 2)),
		sinks: make(map[netip.AddrPort]*packetConn),
		nat:   make(map[netip.AddrPort]netip.AddrPort),
	}
}

// listen returns a socket with an address such as "10.0.0.1:1".
func (n *packetNet) listen(addr string) *packetConn {
	a := netip.MustParseAddrPort(addr)
	c := &packetConn{net: n, addr: a, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sinks[a] = c
	return c
}

// rebind makes the packets of a socket come from another address, as a NAT that forgot does.
func (n *packetNet) rebind(c *packetConn, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := c.addr
	if a, ok := n.nat[c.addr]; ok {
		old = a
	}
	delete(n.sinks, old)
	a := netip.MustParseAddrPort(addr)
	n.nat[c.addr] = a
	n.sinks[a] = c
}

// set changes the network.
func (n *packetNet) set(f func(*packetNet)) {
	n.tapping.Lock()
	defer n.tapping.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

func (n *packetNet) send(c *packetConn, b []byte, to netip.AddrPort) {
	n.tapping.Lock() // when set has taken a tap away, it is over
	n.mu.Lock()
	from := c.addr
	if a, ok := n.nat[from]; ok {
		from = a
	}
	tap, lost := n.tap, n.loss > 0 && n.rand.Float64() < n.loss
	if n.drop != nil && n.drop(from, to, b) {
		lost = true
	}
	sink, delay := n.sinks[to], n.delay
	n.mu.Unlock()
	if tap != nil {
		tap(from, to, b)
	}
	n.tapping.Unlock()
	if sink != nil && !lost {
		sink.deliver(packet{append([]byte(nil), b...), from, time.Now().Add(delay)})
	}
}

// inject delivers a packet as if it came from an address.
func (n *packetNet) inject(from, to string, b []byte) {
	n.mu.Lock()
	sink := n.sinks[netip.MustParseAddrPort(to)]
	n.mu.Unlock()
	sink.deliver(packet{append([]byte(nil), b...), netip.MustParseAddrPort(from), time.Now()})
}

type packet struct {
	b    []byte
	from netip.AddrPort
	at   time.Time
}

// packetConn is a socket of a packetNet.
type packetConn struct {
	net    *packetNet
	addr   netip.AddrPort
	wake   chan struct{}
	closed chan struct{}
	once   sync.Once

	mu       sync.Mutex
	queue    []packet
	deadline time.Time
}

// maxPackets is how many packets wait in a socket.
const maxPackets = 4096

func (c *packetConn) deliver(p packet) {
	c.mu.Lock()
	if len(c.queue) < maxPackets {
		c.queue = append(c.queue, p)
	}
	c.mu.Unlock()
	c.notify()
}

func (c *packetConn) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		var wait <-chan time.Time
		c.mu.Lock()
		now := time.Now()
		if !c.deadline.IsZero() && !now.Before(c.deadline) {
			c.mu.Unlock()
			return 0, nil, os.ErrDeadlineExceeded
		}
		until := c.deadline
		if len(c.queue) > 0 {
			p := c.queue[0]
			if !now.Before(p.at) {
				c.queue = c.queue[1:]
				c.mu.Unlock()
				return copy(b, p.b), net.UDPAddrFromAddrPort(p.from), nil
			}
			if until.IsZero() || p.at.Before(until) {
				until = p.at
			}
		}
		c.mu.Unlock()
		var timer *time.Timer
		if !until.IsZero() {
			timer = time.NewTimer(time.Until(until))
			wait = timer.C
		}
		select {
		case <-c.closed:
			return 0, nil, net.ErrClosed
		case <-c.wake:
		case <-wait:
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	a := to.(*net.UDPAddr).AddrPort()
	c.net.send(c, b, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	return len(b), nil
}

func (c *packetConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for a, s := range c.net.sinks {
		if s == c {
			delete(c.net.sinks, a)
		}
	}
	return nil
}

func (c *packetConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.addr) }

func (c *packetConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *packetConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	c.notify()
	return nil
}

func (c *packetConn) SetWriteDeadline(time.Time) error { return nil }

// SetReadBuffer and SetWriteBuffer are what quic-go asks for.
func (c *packetConn) SetReadBuffer(int) error { return nil }

func (c *packetConn) SetWriteBuffer(int) error { return nil }
