package kafkaserver

// Trace is a set of functions that observe a [Server]. Each may be nil. They are called synchronously, from many
// goroutines, Response with a lock of the connection held: they must be quick, and Response may call no method of the Conn
// but RemoteAddr, LocalAddr, Listener and Advertised.
type Trace struct {
	// Open: a connection was accepted; nothing was read from it yet.
	Open func(c *Conn)
	// Authenticated: the client was let in, or again with SASL.
	Authenticated func(c *Conn, p Principal)
	// Refused: the client was not let in.
	Refused func(c *Conn, err error)
	// Closed: the connection has ended; cause is as in [Session].
	Closed func(c *Conn, cause error)
	// Request: a request came. It must not be changed or kept.
	Request func(r *Request)
	// Response: a request was answered with size bytes, 0 for no response. Its Body is gone.
	Response func(r *Request, size int)
}
