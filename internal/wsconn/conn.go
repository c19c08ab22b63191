// Package wsconn carries a byte stream over WebSocket (RFC 6455) as a net.Conn, in the way that MQTT wants it: binary
// messages, whose borders mean nothing. It is the only user of the WebSocket library.
package wsconn

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// DefaultCloseTimeout bounds Close when the options do not.
const DefaultCloseTimeout = time.Second

// errText is what a Read reports after a text message.
var errText = errors.New("wsconn: text message received")

// Conn is a WebSocket connection as a net.Conn. Each Write is one binary message; Read takes messages together as one
// stream. A text message closes the connection with status 1003. All methods may be called concurrently, but only one
// Read at a time.
//
// Unlike with TCP a Read or Write that fails, by its deadline too, is the last one that works.
type Conn struct {
	ws           *websocket.Conn
	raw          net.Conn
	header       http.Header
	tls          *tls.ConnectionState
	closeTimeout time.Duration
	closed       atomic.Bool
	below        io.Writer // what frames are written to: raw, or TLS over it
	client       bool
	saidBye      atomic.Bool // CloseWrite was called
	deadlines    sync.Mutex  // held while those of raw are set: what Close and CloseWrite set stays

	message io.Reader // the message being read; nil between two
	failed  error     // what ended reading
}

var _ net.Conn = (*Conn)(nil)

func newConn(ws *websocket.Conn, raw net.Conn, h http.Header, state *tls.ConnectionState, o *options) *Conn {
	limit := o.readLimit
	if limit <= 0 {
		limit = -1
	}
	ws.SetReadLimit(limit)
	timeout := o.closeTimeout
	if timeout <= 0 {
		timeout = DefaultCloseTimeout
	}
	return &Conn{ws: ws, raw: raw, header: h, tls: state, closeTimeout: timeout, below: o.below, client: o.client}
}

// options are what AcceptOptions and DialOptions share.
type options struct {
	readLimit    int64
	closeTimeout time.Duration
	below        io.Writer
	client       bool
}

// Subprotocol returns the subprotocol that the two ends agreed on.
func (c *Conn) Subprotocol() string { return c.ws.Subprotocol() }

// Header returns the header of the peer's handshake: the request's at a server, the response's at a client. It must
// not be changed.
func (c *Conn) Header() http.Header { return c.header }

// TLS returns the state of the TLS connection below, with the peer's certificates; nil when there is none.
func (c *Conn) TLS() *tls.ConnectionState { return c.tls }

// LocalAddr returns the local address of the connection below.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr returns the remote address of the connection below.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline makes reads fail from t on; the zero time means never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	if c.closed.Load() {
		return c.opError("set", net.ErrClosed)
	}
	return c.raw.SetReadDeadline(t)
}

// SetWriteDeadline makes writes fail from t on; the zero time means never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	switch {
	case c.closed.Load():
		return c.opError("set", net.ErrClosed)
	case c.saidBye.Load():
		return nil
	}
	return c.raw.SetWriteDeadline(t)
}

// Read reads the next bytes of the stream. Once the peer has closed the connection in order it returns io.EOF.
func (c *Conn) Read(p []byte) (int, error) {
	for c.failed == nil {
		n, err := c.readMessage(p)
		if err != nil {
			c.failed = c.opError("read", err)
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
	return 0, c.failed
}

// readMessage reads from the current message or the next one; at the end of one it returns 0, nil.
func (c *Conn) readMessage(p []byte) (int, error) {
	if c.message == nil {
		kind, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return 0, err
		}
		if kind != websocket.MessageBinary {
			_ = c.close(websocket.StatusUnsupportedData)
			return 0, errText
		}
		c.message = r
	}
	n, err := c.message.Read(p)
	if err == io.EOF {
		c.message, err = nil, nil
	}
	return n, err
}

// Write sends p as one binary message.
func (c *Conn) Write(p []byte) (int, error) {
	if c.saidBye.Load() {
		return 0, c.opError("write", net.ErrClosed)
	}
	if err := c.ws.Write(context.Background(), websocket.MessageBinary, p); err != nil {
		return 0, c.opError("write", err)
	}
	return len(p), nil
}

// CloseWrite sends a close frame with status 1000: no Write works any more, and none may be going on. Read does, until the peer
// answers with a close frame of its own, which closes the connection below: one that is closed with input unread may be reset, and
// that may take from the peer what was sent last. Whoever calls it reads on and calls Close after a while. It waits for CloseTimeout
// at most, when the socket takes no bytes.
func (c *Conn) CloseWrite() error {
	if c.saidBye.Swap(true) || c.closed.Load() {
		return c.opError("close", net.ErrClosed)
	}
	c.deadlines.Lock()
	_ = c.raw.SetWriteDeadline(time.Now().Add(c.closeTimeout))
	c.deadlines.Unlock()
	// The library cannot close without waiting for the answer, and drops what comes before that.
	frame := []byte{0x88, 2, byte(websocket.StatusNormalClosure >> 8), byte(websocket.StatusNormalClosure & 0xff)}
	if c.client {
		var mask [4]byte
		rand.Read(mask[:])
		frame = []byte{0x88, 0x80 | 2, mask[0], mask[1], mask[2], mask[3], frame[2] ^ mask[0], frame[3] ^ mask[1]}
	}
	if _, err := c.below.Write(frame); err != nil {
		return c.opError("close", err)
	}
	return nil
}

// Close sends a close frame with status 1000 and closes the connection below, without waiting for the peer's answer.
// When the socket takes no bytes it waits for CloseTimeout at most.
func (c *Conn) Close() error {
	return c.close(websocket.StatusNormalClosure)
}

func (c *Conn) close(code websocket.StatusCode) error {
	if c.closed.Swap(true) {
		return c.opError("close", net.ErrClosed)
	}
	// The read deadline ends a Read that waits, and the library's wait for the answer.
	c.deadlines.Lock()
	_ = c.raw.SetReadDeadline(time.Unix(1, 0))
	_ = c.raw.SetWriteDeadline(time.Now().Add(c.closeTimeout))
	c.deadlines.Unlock()
	_ = c.ws.Close(code, "")
	return nil
}

// opError turns an error of the library into one as package net has it.
func (c *Conn) opError(op string, err error) error {
	switch status := websocket.CloseStatus(err); {
	case err == errText:
	case c.closed.Load():
		err = net.ErrClosed
	case status == websocket.StatusNormalClosure, status == websocket.StatusGoingAway, status == websocket.StatusNoStatusRcvd:
		if op == "read" {
			return io.EOF
		}
		err = net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = os.ErrDeadlineExceeded
	}
	return &net.OpError{Op: op, Net: "websocket", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
