package amqpserver

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Conn is the server's end of a connection. A backend gets it in Authenticate. Its methods are safe for concurrent use,
// and a backend may call them with locks of its own held.
type Conn struct{}

// User returns the name of the user that Backend.Authenticate returned.
func (c *Conn) User() string { panic("not yet") }

// VirtualHost returns the name of the virtual host that the client opened.
func (c *Conn) VirtualHost() string { panic("not yet") }

// Mechanism returns the SASL mechanism that the client chose.
func (c *Conn) Mechanism() string { panic("not yet") }

// ClientProperties returns what the client says about itself. The table must not be changed.
func (c *Conn) ClientProperties() amqp091.Table { panic("not yet") }

// RemoteAddr returns the address of the client, as the PROXY protocol tells it where that is used.
func (c *Conn) RemoteAddr() net.Addr { panic("not yet") }

// LocalAddr returns the server's address of the connection.
func (c *Conn) LocalAddr() net.Addr { panic("not yet") }

// Listener returns the name of the listener that accepted the connection, see [ListenerOptions].
func (c *Conn) Listener() string { panic("not yet") }

// TLS returns the state of the TLS connection, with the verified chains of the client's certificate; nil without TLS.
func (c *Conn) TLS() *tls.ConnectionState { panic("not yet") }

// Context returns a context that ends with the connection.
func (c *Conn) Context() context.Context { panic("not yet") }

// Close closes the connection with an error, such as CONNECTION_FORCED; it does not wait. Session.Closed is called soon,
// from another goroutine, whether the client answers or not. A nil batch sends at once.
func (c *Conn) Close(b *Batch, e *amqp091.Error) { panic("not yet") }

// Abort ends the connection at once: what waits as output is lost. Session.Closed is called from another goroutine.
func (c *Conn) Abort() { panic("not yet") }

// Block makes the connection stop publishing: with the next message from the client it is told why, if it knows
// connection.blocked, and is not read any more until Unblock. That message is still handed to the Session. Block may be
// called again; the first reason counts.
func (c *Conn) Block(b *Batch, reason string) { panic("not yet") }

// Unblock ends what Block began.
func (c *Conn) Unblock(b *Batch) { panic("not yet") }
