package wiretest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Size returns how many bytes the first unit in b has, which may be more than b has; 0 when b is too short to tell. The
// error says that b is not of the protocol.
type Size func(b []byte) (n int, err error)

// Effect is what happens to a unit. It must neither keep nor change the unit.
type Effect func(unit []byte) Result

// Result is what becomes of a unit. The zero Result drops it.
type Result struct {
	// Data is sent in place of the unit.
	Data []byte
	// Delay is how long Data and everything behind it waits.
	Delay time.Duration
	// Cut closes the connection after Data.
	Cut bool
}

// tap is a conn that shows the units which pass it, in either direction, to a function, and does what it says.
type tap struct {
	net.Conn
	near, far direction
	writing   chan struct{} // a token: Writes do not mix
	scratch   []byte        // of the goroutine that reads
	queue     []Result      // read, and seen
	ready     []byte        // the first of them, not yet asked for
	readErr   error
	close     sync.Once
	done      chan struct{}
}

// direction is one of the two directions of a tap.
type direction struct {
	size Size
	see  Effect
	rest []byte // the beginning of a unit
	raw  bool   // not the protocol any more
}

// errCut is what a Write reports after which a fault has closed the connection.
var errCut = errors.New("connection cut by a fault")

// Tap returns conn with a look at what passes it. near is called for each unit that is written to the result, far for each
// that is read from it, one call at a time in each direction. The beginning of a unit waits for its end. What is not of the
// protocol is one unit for each read or write, and so is what follows it.
func Tap(conn net.Conn, size Size, near, far Effect) net.Conn {
	return &tap{
		Conn:    conn,
		near:    direction{size: size, see: near},
		far:     direction{size: size, see: far},
		writing: make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
}

// Read returns bytes of units that have come as a whole.
func (t *tap) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(t.ready) == 0 {
		if len(t.queue) > 0 {
			r := t.queue[0]
			t.queue = t.queue[1:]
			if !t.pause(r.Delay) {
				t.queue, t.readErr = nil, net.ErrClosed
				continue
			}
			if t.ready = r.Data; r.Cut {
				t.queue, t.readErr = nil, io.EOF
				_ = t.Close()
			}
			continue
		}
		if t.readErr != nil {
			return 0, t.readErr
		}
		if err := t.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, t.ready)
	t.ready = t.ready[n:]
	return n, nil
}

// fill reads once and queues what is to become of the units that are complete. It returns only errors that may go away
// again; others are left for after the queue.
func (t *tap) fill() error {
	if t.scratch == nil {
		t.scratch = make([]byte, 4<<10)
	}
	n, err := t.Conn.Read(t.scratch)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() && n == 0 {
		return err // a deadline may be lifted
	}
	t.far.add(t.scratch[:n], func(r Result) bool {
		r.Data = bytes.Clone(r.Data)
		t.queue = append(t.queue, r)
		return true
	})
	if t.readErr = err; err != nil && t.far.rest != nil { // an end in the midst of a unit
		t.queue = append(t.queue, Result{Data: t.far.rest})
		t.far.rest = nil
	}
	return nil
}

// Write writes the units of which p has the end. The beginning of one waits for the rest.
func (t *tap) Write(p []byte) (int, error) {
	t.writing <- struct{}{}
	defer func() { <-t.writing }()
	var err error
	t.near.add(p, func(r Result) bool {
		if !t.pause(r.Delay) {
			err = net.ErrClosed
			return false
		}
		if len(r.Data) > 0 {
			_, err = t.Conn.Write(r.Data)
		}
		if r.Cut && err == nil {
			err = errCut
			_ = t.Close()
		}
		return err == nil
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close closes the connection and ends delays; what was delayed is lost.
func (t *tap) Close() error {
	t.close.Do(func() { close(t.done) })
	return t.Conn.Close()
}

// pause waits, and reports whether the time is up: the connection may be closed before.
func (t *tap) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.done:
		return false
	}
}

// add takes bytes of the direction and passes on each unit that is complete, until do says stop.
func (d *direction) add(b []byte, do func(Result) bool) {
	d.rest = append(d.rest, b...)
	left := d.rest
	for len(left) > 0 && !d.raw {
		n, err := d.size(left)
		if d.raw = err != nil; d.raw {
			n = len(left)
		}
		if n == 0 || n > len(left) {
			break
		}
		if !do(d.see(left[:n])) {
			d.rest = nil
			return
		}
		left = left[n:]
	}
	if d.raw && len(left) > 0 {
		do(d.see(left))
		left = nil
	}
	if d.rest = append(d.rest[:0], left...); len(d.rest) == 0 {
		d.rest = nil
	}
}
