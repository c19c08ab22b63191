package wiretest

import (
	"bytes"
	"net"
	"sync"
	"syscall"
	"time"
)

// End is one end of a connection. The ends are numbered as the roles in the packages of the protocols.
type End uint8

// The two ends.
const (
	Client End = iota + 1
	Server
)

// Rule says which units a fault hits, and what it does to them.
type Rule struct {
	// Fits tells whether the rule is about a unit. It is called with a lock held.
	Fits func(from End, unit []byte) bool
	// Skip is how many of these units pass before the rule begins.
	Skip int
	// Times is how many units the rule hits; 0 means all from then on.
	Times int
	// Do is what happens to them.
	Do Effect
	// Content is for the protocol: what belongs to the unit and follows it is hit too.
	Content bool

	seen, hits int
}

// Rules are faults that may change while connections use them. Of several rules that fit a unit the one added first holds.
// The zero value does nothing. It is safe for concurrent use.
type Rules struct {
	mu     sync.Mutex
	rules  []*Rule
	refuse int
}

// Add adds a rule and returns a function that tells how many units it has hit.
func (f *Rules) Add(r *Rule) (hits func() int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
	return func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return r.hits
	}
}

// Hit counts a unit and returns the rule that hits it, or nil.
func (f *Rules) Hit(from End, unit []byte) (hit *Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if !r.Fits(from, unit) {
			continue
		}
		r.seen++
		if hit == nil && r.seen > r.Skip && (r.Times == 0 || r.hits < r.Times) {
			r.hits++
			hit = r
		}
	}
	return hit
}

// Refuse refuses the next n connections; a negative n refuses all, until Clear.
func (f *Rules) Refuse(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = n
}

// Clear removes all rules.
func (f *Rules) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules, f.refuse = nil, 0
}

// Refused returns ECONNREFUSED when a new connection is to be refused, and counts it.
func (f *Rules) Refused() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse == 0 {
		return nil
	}
	if f.refuse > 0 {
		f.refuse--
	}
	return syscall.ECONNREFUSED
}

// Drop loses the unit.
func Drop([]byte) Result { return Result{} }

// Delay holds the unit, and what follows it in its direction, for a time.
func Delay(d time.Duration) Effect {
	return func(unit []byte) Result { return Result{Data: unit, Delay: d} }
}

// CutAfter closes the connection after the first n bytes of the unit.
func CutAfter(n int) Effect {
	return func(unit []byte) Result { return Result{Data: unit[:min(n, len(unit))], Cut: true} }
}

// Corrupt inverts the byte at an offset in the unit; -1 is the last byte. A unit that has no such byte passes.
func Corrupt(offset int) Effect {
	return func(unit []byte) Result {
		at := offset
		if at < 0 {
			at += len(unit)
		}
		if at >= 0 && at < len(unit) {
			unit = bytes.Clone(unit)
			unit[at] ^= 0xff
		}
		return Result{Data: unit}
	}
}

// Listener returns l with wrap applied to each connection. A connection for which refused returns an error is closed at
// once; nil refuses none.
func Listener(l net.Listener, refused func() error, wrap func(net.Conn) net.Conn) net.Listener {
	return &listener{l, refused, wrap}
}

type listener struct {
	net.Listener
	refused func() error
	wrap    func(net.Conn) net.Conn
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.refused == nil || l.refused() == nil {
			return l.wrap(conn), nil
		}
		if tc, ok := conn.(*net.TCPConn); ok {
			_ = tc.SetLinger(0)
		}
		_ = conn.Close()
	}
}
