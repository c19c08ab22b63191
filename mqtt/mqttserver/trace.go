package mqttserver

import "github.com/quartet-mq/quartet/mqtt"

// Trace is a set of functions that observe a [Server]. Each may be nil. They are called synchronously, from many
// goroutines, some with a lock of the connection held: they must be quick, and of the methods of the Conn they may call
// only those that tell what it is, not Context, Stats or those that do something.
type Trace struct {
	// Open: a connection was accepted; nothing was read from it yet.
	Open func(c *Conn)
	// Connected: CONNACK with reason success is on its way.
	Connected func(c *Conn)
	// Closed: the connection has ended; cause is nil after a normal DISCONNECT.
	Closed func(c *Conn, cause error)
	// Received: a packet came. p is valid during the call.
	Received func(c *Conn, p mqtt.Packet)
	// Sent: a packet was put in the output buffer. p is valid during the call.
	Sent func(c *Conn, p mqtt.Packet)
	// Dropped: a message of QoS 0 to or from the client was dropped. p is valid during the call.
	Dropped func(c *Conn, p *mqtt.Publish, why Drop)
	// Slow: output of the connection waits beyond the soft limit for too long (slow is true), or it has recovered.
	Slow func(c *Conn, slow bool)
}

// Drop says why a message was dropped.
type Drop uint8

// The reasons of [Trace].Dropped.
const (
	DropOutput Drop = iota + 1 // the output of the receiver is beyond its hard limit
	DropSize                   // larger than the receiver's maximum packet size
	DropMemory                 // the server is beyond its memory limit
)

// String returns "output full", "too large" or "memory".
func (d Drop) String() string {
	switch d {
	case DropOutput:
		return "output full"
	case DropSize:
		return "too large"
	case DropMemory:
		return "memory"
	}
	return "unknown"
}
