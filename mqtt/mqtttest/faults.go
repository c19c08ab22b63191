package mqtttest

import (
	"bytes"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// Faults make the connections that are wrapped with them misbehave. Rules may be added and removed while connections
// are open. The zero value does nothing. It is safe for concurrent use.
//
// Packets pass as a whole: the beginning of one waits until its end is there. What is no MQTT passes as it is.
type Faults struct {
	mu     sync.Mutex
	rules  []*rule
	refuse int
}

// Rule says which packets a fault hits, and what it does to them. Of several rules that fit a packet the one added
// first holds.
type Rule struct {
	// From is who sends the packets; zero means either end.
	From mqtt.Role

	// Type is the type of the packets; zero means every type.
	Type mqtt.PacketType

	// Skip is how many of these packets, on all connections together, pass before the rule begins.
	Skip int

	// Times is how many packets the rule hits; zero means all from then on.
	Times int

	// Do is what happens to them.
	Do Effect
}

// Effect is what happens to a packet: [Drop], or one made by [Delay], [CutAfter] or [Corrupt], or one's own. It is
// called with the whole packet, which it must neither keep nor change.
type Effect func(packet []byte) Result

// Result is what becomes of a packet. The zero Result drops it.
type Result struct {
	// Data is sent in place of the packet: the packet itself, another one, several, or nothing.
	Data []byte

	// Delay is how long Data and everything behind it waits.
	Delay time.Duration

	// Cut closes the connection after Data.
	Cut bool
}

// rule is a Rule with its count.
type rule struct {
	Rule
	seen int
	hits int
}

// Drop loses the packet.
func Drop(packet []byte) Result { return Result{} }

// Delay holds the packet, and what follows it in its direction, for a time.
func Delay(d time.Duration) Effect {
	return func(packet []byte) Result { return Result{Data: packet, Delay: d} }
}

// CutAfter closes the connection after the first n bytes of the packet.
func CutAfter(n int) Effect {
	return func(packet []byte) Result { return Result{Data: packet[:min(n, len(packet))], Cut: true} }
}

// Corrupt inverts the byte at an offset in the packet; -1 is the last byte. A packet that has no such byte passes.
func Corrupt(offset int) Effect {
	return func(packet []byte) Result {
		at := offset
		if at < 0 {
			at += len(packet)
		}
		if at >= 0 && at < len(packet) {
			packet = bytes.Clone(packet)
			packet[at] ^= 0xff
		}
		return Result{Data: packet}
	}
}

// Add adds a rule and returns a function that tells how many packets it has hit.
func (f *Faults) Add(r Rule) (hits func() int) {
	live := &rule{Rule: r}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, live)
	return func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return live.hits
	}
}

// Refuse refuses the next n connections; a negative n refuses all, until Clear.
func (f *Faults) Refuse(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = n
}

// Clear removes all rules.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules, f.refuse = nil, 0
}

// refused reports whether a new connection is to be refused, and counts it.
func (f *Faults) refused() error {
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

// see decides about one packet.
func (f *Faults) see(from mqtt.Role, packet []byte) Result {
	if do := f.effect(from, packet); do != nil {
		return do(packet)
	}
	return Result{Data: packet}
}

// effect returns what the rules have for a packet.
func (f *Faults) effect(from mqtt.Role, packet []byte) (do Effect) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if r.From != 0 && r.From != from || r.Type != 0 && r.Type != mqtt.PacketType(packet[0]>>4) {
			continue
		}
		r.seen++
		if do == nil && r.seen > r.Skip && (r.Times == 0 || r.hits < r.Times) {
			r.hits++
			do = r.Do
		}
	}
	return do
}

// Wrap returns conn with the faults in both directions. near is the role of the end that uses the result: Client for a
// connection that was dialled, Server for one that was accepted.
func (f *Faults) Wrap(conn net.Conn, near mqtt.Role) net.Conn {
	return newTap(conn, near, f.see)
}

// Listener returns l with the faults on each connection that it accepts. A refused connection is closed at once.
func (f *Faults) Listener(l net.Listener) net.Listener { return &faultyListener{l, f} }

type faultyListener struct {
	net.Listener
	faults *Faults
}

// Accept implements net.Listener.
func (l *faultyListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.faults.refused() == nil {
			return l.faults.Wrap(conn, mqtt.Server), nil
		}
		if tc, ok := conn.(*net.TCPConn); ok {
			_ = tc.SetLinger(0)
		}
		_ = conn.Close()
	}
}
