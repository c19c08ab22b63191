package pathem

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The addresses of every path. The client has two, so that it can move from one to the other.
var (
	ClientAddr      = netip.AddrFrom4([4]byte{10, 77, 0, 1})
	OtherClientAddr = netip.AddrFrom4([4]byte{10, 77, 0, 3})
	ServerAddr      = netip.AddrFrom4([4]byte{10, 77, 0, 2})
)

// Options describe a path.
type Options struct {
	// Up is the way from the client to the server, Down the way back.
	Up, Down Way
	// Seed chooses what is lost. Zero is a seed like the others.
	Seed uint64
}

// Symmetric returns options with the same way in both directions. rtt is the round-trip time.
func Symmetric(rtt time.Duration, loss float64, seed uint64) *Options {
	w := Way{Delay: rtt / 2, Loss: loss}
	return &Options{Up: w, Down: w, Seed: seed}
}

// A Path joins two namespaces. Its methods may be called concurrently.
type Path struct {
	// Client and Server are the ends.
	Client, Server *Space

	up, down *direction
	wait     sync.WaitGroup
}

// New makes the namespaces and begins to carry packets between them. Close ends it.
func New(o *Options) (*Path, error) {
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("pathem: network namespaces need root: %w", errors.ErrUnsupported)
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return nil, fmt.Errorf("pathem: %w: %w", err, errors.ErrUnsupported)
	}
	p := new(Path)
	var err error
	if p.Client, err = newSpace(ClientAddr, OtherClientAddr); err != nil {
		return nil, unsupported(err)
	}
	if p.Server, err = newSpace(ServerAddr); err != nil {
		p.Client.close()
		return nil, unsupported(err)
	}
	p.up = newDirection(p.Client.tun, p.Server.tun, o.Up, newLottery(o.Seed, 0))
	p.down = newDirection(p.Server.tun, p.Client.tun, o.Down, newLottery(o.Seed, 1))
	for _, d := range []*direction{p.up, p.down} {
		p.wait.Go(d.read)
		p.wait.Go(d.write)
	}
	return p, nil
}

// unsupported marks what a container without the rights says.
func unsupported(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("pathem: %w: %w", err, errors.ErrUnsupported)
	}
	return fmt.Errorf("pathem: %w", err)
}

// Close ends the path. Sockets in the namespaces stay, but nothing reaches them any more.
func (p *Path) Close() error {
	p.Client.close()
	p.Server.close()
	p.up.close()
	p.down.close()
	p.wait.Wait()
	return nil
}

// Set changes both ways for packets that come from now on.
func (p *Path) Set(up, down Way) {
	p.up.way.Store(&up)
	p.down.way.Store(&down)
}

// Block loses every packet to and from an address of the client, as when it has left a network, until it is called again
// with another address; the zero address blocks none.
func (p *Path) Block(a netip.Addr) {
	p.up.blocked.Store(&a)
	p.down.blocked.Store(&a)
}

// Counts are the packets and bytes of one way.
type Counts struct {
	// Sent is what came from the sender, Lost what the lottery or Block took, Overflowed what found no room before the
	// bottleneck.
	Sent, Lost, Overflowed int64
	// Bytes of the packets sent.
	Bytes int64
}

// Stats returns the counts of both ways.
func (p *Path) Stats() (up, down Counts) { return p.up.counts(), p.down.counts() }

// A direction carries packets one way.
type direction struct {
	from, to *os.File
	way      atomic.Pointer[Way]
	blocked  atomic.Pointer[netip.Addr]

	sent, lost, overflowed, bytes atomic.Int64

	lottery *lottery
	neck    bottleneck

	mu     sync.Mutex
	queue  []parcel // by due time
	wake   chan struct{}
	closed bool
}

// A parcel is a packet under way.
type parcel struct {
	due  time.Duration
	data []byte
}

func newDirection(from, to *os.File, w Way, l *lottery) *direction {
	d := &direction{from: from, to: to, lottery: l, wake: make(chan struct{}, 1)}
	d.way.Store(&w)
	d.blocked.Store(new(netip.Addr))
	return d
}

func (d *direction) counts() Counts {
	return Counts{Sent: d.sent.Load(), Lost: d.lost.Load(), Overflowed: d.overflowed.Load(), Bytes: d.bytes.Load()}
}

// now is the clock of the path.
func now() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}

// read takes packets from the sender until the path is closed.
func (d *direction) read() {
	buf := make([]byte, mtu+100)
	for {
		n, err := d.from.Read(buf)
		if err != nil {
			return
		}
		if n < 20 || buf[0]>>4 != 4 {
			continue // the kernel asks about its IPv6 neighbours
		}
		d.take(buf[:n])
	}
}

// take decides about one packet.
func (d *direction) take(b []byte) {
	at := now()
	w := d.way.Load()
	d.sent.Add(1)
	d.bytes.Add(int64(len(b)))
	if d.lottery.lose(w) || d.isBlocked(b) {
		d.lost.Add(1)
		return
	}
	left, ok := d.neck.pass(w, at, len(b))
	if !ok {
		d.overflowed.Add(1)
		return
	}
	p := parcel{due: left + w.Delay, data: slices.Clone(b)}
	d.mu.Lock()
	if n := len(d.queue); n > 0 {
		p.due = max(p.due, d.queue[n-1].due) // a way that became shorter does not change the order
	}
	d.queue = append(d.queue, p)
	first := len(d.queue) == 1
	d.mu.Unlock()
	if first {
		d.signal()
	}
}

// isBlocked looks at the addresses of an IPv4 packet.
func (d *direction) isBlocked(b []byte) bool {
	a := *d.blocked.Load()
	if !a.IsValid() {
		return false
	}
	return netip.AddrFrom4([4]byte(b[12:16])) == a || netip.AddrFrom4([4]byte(b[16:20])) == a
}

func (d *direction) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *direction) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.signal()
}

// write hands over the packets when they are due.
func (d *direction) write() {
	for {
		p, ok := d.next()
		if !ok {
			return
		}
		sleepUntil(p.due)
		if _, err := d.to.Write(p.data); errors.Is(err, os.ErrClosed) {
			return
		}
	}
}

// next waits for a packet.
func (d *direction) next() (parcel, bool) {
	for {
		d.mu.Lock()
		if d.closed {
			d.mu.Unlock()
			return parcel{}, false
		}
		if len(d.queue) > 0 {
			p := d.queue[0]
			d.queue = d.queue[1:]
			d.mu.Unlock()
			return p, true
		}
		d.mu.Unlock()
		<-d.wake
	}
}

// sleepUntil is finer than time.Sleep, which is good to a millisecond.
func sleepUntil(t time.Duration) {
	ts := unix.NsecToTimespec(int64(t))
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR {
		continue
	}
}

// String describes a way in a few words.
func (w Way) String() string {
	s := fmt.Sprintf("%v", w.Delay)
	if w.Loss > 0 {
		s += fmt.Sprintf(", %g %% lost", w.Loss*100)
	}
	if w.Burst > 1 {
		s += fmt.Sprintf(" in bursts of %g", w.Burst)
	}
	if w.Rate > 0 {
		s += fmt.Sprintf(", %g Mbit/s with a queue of %v", float64(w.Rate)/1e6, w.queue())
	}
	return s
}
