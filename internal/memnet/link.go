package memnet

import (
	"bytes"
	"sync"
	"time"
)

// DefaultCapacity is the size in bytes of each direction's buffer when Options do not give one.
const DefaultCapacity = 64 << 10

// Options shape one connection. The zero value, as a nil pointer, is a perfect network.
type Options struct {
	// Capacity is how many bytes each direction of each stream holds before a Write waits; zero means DefaultCapacity.
	Capacity int

	// Early leaves the handshake incomplete until Conn.Confirm is called: what is written before is early data.
	Early bool

	// Protocol is the name of the protocol that the ends have agreed on.
	Protocol string

	// ToServer is the direction from the dialer to the listener, ToClient the other one.
	ToServer, ToClient Link
}

func (o *Options) capacity() int {
	if o.Capacity > 0 {
		return o.Capacity
	}
	return DefaultCapacity
}

// Link shapes one direction of a connection, all its streams and datagrams together.
type Link struct {
	// Latency is how long each byte is under way.
	Latency time.Duration

	// BytesPerSecond is the bandwidth; zero means no limit.
	BytesPerSecond int

	// Fault decides what becomes of each Write; nil passes everything.
	Fault Fault
}

// Fault is called with the bytes of each Write on a link, in order and never concurrently, and says what becomes of
// them. It must neither keep nor change b, and must not use the connection.
type Fault func(b []byte) Action

// Action is what a Fault makes of one Write. The zero Action drops it.
type Action struct {
	// Data is what travels on; it may be the bytes written, other bytes, or nothing. It is copied.
	Data []byte

	// Delay is added to the link's latency. Later bytes do not overtake delayed ones.
	Delay time.Duration

	// Cut resets the connection: the peer reads Data and everything before it, then gets a connection reset.
	Cut bool
}

// CutAfter returns a Fault that cuts the connection after n bytes.
func CutAfter(n int) Fault {
	return func(b []byte) Action {
		if len(b) < n {
			n -= len(b)
			return Action{Data: b}
		}
		b, n = b[:n], 0
		return Action{Data: b, Cut: true}
	}
}

// Corrupt returns a Fault that inverts the byte at an offset in the direction's bytes.
func Corrupt(offset int) Fault {
	return func(b []byte) Action {
		if offset >= 0 && offset < len(b) {
			b = bytes.Clone(b)
			b[offset] ^= 0xff
		}
		offset -= len(b)
		return Action{Data: b}
	}
}

// link is the live state of a Link.
type link struct {
	Link
	faults sync.Mutex // keeps calls of Fault apart

	mu   sync.Mutex
	free time.Time // when the bandwidth is free again
	last time.Time // latest arrival so far
}

// pass asks the fault about b.
func (l *link) pass(b []byte) Action {
	if l.Fault == nil {
		return Action{Data: b}
	}
	l.faults.Lock()
	defer l.faults.Unlock()
	return l.Fault(b)
}

// arrival says when n bytes sent now arrive; zero means at once.
func (l *link) arrival(n int, delay time.Duration) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Latency <= 0 && l.BytesPerSecond <= 0 && delay <= 0 && l.last.IsZero() {
		return time.Time{}
	}
	at := time.Now()
	if l.BytesPerSecond > 0 {
		if l.free.After(at) {
			at = l.free
		}
		at = at.Add(time.Duration(n) * time.Second / time.Duration(l.BytesPerSecond))
		l.free = at
	}
	at = at.Add(l.Latency + delay)
	if at.Before(l.last) {
		at = l.last
	}
	l.last = at
	return at
}
