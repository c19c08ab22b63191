package amqpserver

import "github.com/quartet-mq/quartet/amqp/amqp091"

// Trace is a set of functions that observe a [Server]. Each may be nil. They are called synchronously, from many
// goroutines, some with a lock of the connection held: they must be quick, and of the methods of the Conn they may call
// only those that tell what it is, not Context, Stats or those that do something.
type Trace struct {
	// Open: a connection was accepted; nothing was read from it yet.
	Open func(c *Conn)
	// Opened: connection.open-ok is on its way.
	Opened func(c *Conn)
	// Closed: the connection has ended; cause is nil after a normal connection.close.
	Closed func(c *Conn, cause error)
	// Received: a frame came. It is valid during the call.
	Received func(c *Conn, f amqp091.Frame)
	// Sent: a frame was put in the output buffer. It is valid during the call.
	Sent func(c *Conn, f amqp091.Frame)
}
