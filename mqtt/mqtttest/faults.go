package mqtttest

import (
	"net"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/internal/wiretest"
	"github.com/quartet-mq/quartet/mqtt"
)

// Faults make the connections that are wrapped with them misbehave. Rules may be added and removed while connections
// are open. The zero value does nothing. It is safe for concurrent use.
//
// Packets pass as a whole: the beginning of one waits until its end is there. What is no MQTT passes as it is.
type Faults struct {
	rules wiretest.Rules

	mu     sync.Mutex
	stream int64 // of the packet for which a rule is sought
}

// Rule says which packets a fault hits, and what it does to them. Of several rules that fit a packet the one added
// first holds.
type Rule struct {
	// From is who sends the packets; zero means either end.
	From mqtt.Role

	// Type is the type of the packets; zero means every type.
	Type mqtt.PacketType

	// Stream is the number of the data stream on which they travel, ControlStream, DataStreams or Datagrams; zero, which is
	// AnyStream, means every one. The first data stream of a connection has the number 4, and the next one 8.
	Stream int64

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

	// Cut closes the connection after Data; on a data stream only that one.
	Cut bool
}

// effect makes an Effect of one that does not know what a packet is.
func effect(do wiretest.Effect) Effect {
	return func(packet []byte) Result { return Result(do(packet)) }
}

// Drop loses the packet.
func Drop(packet []byte) Result { return Result{} }

// Delay holds the packet, and what follows it in its direction, for a time.
func Delay(d time.Duration) Effect { return effect(wiretest.Delay(d)) }

// CutAfter closes the connection, or the data stream, after the first n bytes of the packet.
func CutAfter(n int) Effect { return effect(wiretest.CutAfter(n)) }

// Corrupt inverts the byte at an offset in the packet; -1 is the last byte. A packet that has no such byte passes.
func Corrupt(offset int) Effect { return effect(wiretest.Corrupt(offset)) }

// Add adds a rule and returns a function that tells how many packets it has hit.
func (f *Faults) Add(r Rule) (hits func() int) {
	return f.rules.Add(&wiretest.Rule{
		Fits: func(from wiretest.End, packet []byte) bool {
			return (r.From == 0 || r.From == mqtt.Role(from)) && onStream(r.Stream, f.stream) &&
				(r.Type == 0 || len(packet) > 0 && r.Type == mqtt.PacketType(packet[0]>>4))
		},
		Skip: r.Skip, Times: r.Times,
		Do: func(packet []byte) wiretest.Result { return wiretest.Result(r.Do(packet)) },
	})
}

// Refuse refuses the next n connections; a negative n refuses all, until Clear.
func (f *Faults) Refuse(n int) { f.rules.Refuse(n) }

// Clear removes all rules.
func (f *Faults) Clear() { f.rules.Clear() }

// see decides about one packet.
func (f *Faults) see(stream int64, from mqtt.Role, packet []byte) wiretest.Result {
	if r := f.hit(stream, from, packet); r != nil {
		return r.Do(packet)
	}
	return wiretest.Result{Data: packet}
}

func (f *Faults) hit(stream int64, from mqtt.Role, packet []byte) *wiretest.Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stream = stream
	return f.rules.Hit(wiretest.End(from), packet)
}

// Wrap returns conn with the faults in both directions, on all its streams. near is the role of the end that uses the
// result: Client for a connection that was dialled, Server for one that was accepted.
func (f *Faults) Wrap(conn net.Conn, near mqtt.Role) net.Conn { return tap(conn, near, f.see) }

// Listener returns l with the faults on each connection that it accepts. A refused connection is closed at once.
func (f *Faults) Listener(l net.Listener) net.Listener {
	return wiretest.Listener(l, f.rules.Refused, func(conn net.Conn) net.Conn { return f.Wrap(conn, mqtt.Server) })
}
