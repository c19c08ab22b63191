package kafkaserver

import (
	"context"
	"io"
	"net"
	"sync"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/internal/netserve"
)

// StreamsProtocol is the name (ALPN) of Kafka over a connection with streams: each client-initiated bidirectional stream has
// requests and responses as a TCP connection has them, with correlation ids and an order of its own. See the package's docs.
const StreamsProtocol = "kafka-streams/1"

// stream is one of the streams of a connection: it has the requests of a client in their order, and the responses. What it
// costs counts for the connection. Most connections are just one stream.
type stream struct {
	c  *Conn
	id int64
	nc net.Conn
	io *netio.Conn

	// Of the goroutine that reads.
	in       input
	session  Session
	apis     *APIs // of the backend
	clientID string
	left     bool // Session.Closed was called

	wake chan struct{} // wakes the reader

	// Under the lock of the connection.
	queue   queue // requests in process
	aside   aside
	current *Request // that the reader handles: its answer leaves with the reader's flush
	fetches int      // requests of type Fetch in process
	out     netserve.Output
	size    int // of out, as it counts for the connection
	vector  net.Buffers
	since   int64 // when the request that is partial has moved last, in nanoseconds since the server's epoch
	partial bool  // a request has begun to arrive
	busy    bool  // the reader does something else than to read
	paused  bool  // the reader waits for something else than the client
	writing bool  // somebody writes, and goes on until the output is empty
	eof     bool  // not the main one: nothing is read any more, and what is in process is answered
	gone    bool  // not the main one: nothing is sent any more
}

// init makes st a stream of c.
func (st *stream) init(c *Conn, nc net.Conn, id int64) {
	st.c, st.id, st.nc = c, id, nc
	st.io = netio.NewConn(nc)
	st.wake = make(chan struct{}, 1)
}

// isMain reports whether the stream is the connection itself.
func (st *stream) isMain() bool { return st == &st.c.main }

// nudge wakes the reader if it waits, so that it looks again.
func (st *stream) nudge() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// count counts the output for the connection, with c.mu held, after it has changed.
func (st *stream) count() {
	st.c.output += st.out.Size() - st.size
	st.size = st.out.Size()
}

// streamConn is a further stream as a net.Conn.
type streamConn struct {
	netio.Stream
	c net.Conn
}

// LocalAddr implements net.Conn.
func (s *streamConn) LocalAddr() net.Addr { return s.c.LocalAddr() }

// RemoteAddr implements net.Conn.
func (s *streamConn) RemoteAddr() net.Addr { return s.c.RemoteAddr() }

// holdStreams says that further streams must wait after all, with c.mu held: the client uses SASL.
func (c *Conn) holdStreams() {
	if c.admitted == nil || c.authentic {
		return
	}
	select {
	case <-c.admitted:
		c.admitted = make(chan struct{})
	default:
	}
}

// eachStream calls f for each stream, with c.mu held.
func (c *Conn) eachStream(f func(*stream)) {
	f(&c.main)
	for st := range c.others {
		f(st)
	}
}

// admitStreams says that further streams may begin, with c.mu held: the client is let in, or will be with its first one.
func (c *Conn) admitStreams() {
	if c.admitted == nil {
		return
	}
	select {
	case <-c.admitted:
	default:
		close(c.admitted)
	}
}

// acceptStreams takes further streams as long as the connection lasts, once the client was let in on the main one. Until then,
// and while there are too many, they wait where the transport bounds them.
func (c *Conn) acceptStreams() {
	ctx := c.Context()
	slots := make(chan struct{}, c.srv.limits.MaxStreams)
	for c.awaitAdmission(ctx) {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		s, err := c.streams.AcceptStream(ctx)
		if err != nil {
			return // the main stream ends, too
		}
		if !c.admitStream(ctx) || !c.addStream(s, func() { <-slots }) {
			s.Close()
			return
		}
	}
}

// awaitAdmission waits until streams may begin. It is false at the end of the connection.
func (c *Conn) awaitAdmission(ctx context.Context) bool {
	c.mu.Lock()
	admitted := c.admitted
	c.mu.Unlock()
	select {
	case <-admitted:
		return true
	case <-ctx.Done():
		return false
	}
}

// admitStream lets a client in that has opened a stream and uses no SASL, and waits for one that does. It is false at the end of
// the connection.
func (c *Conn) admitStream(ctx context.Context) bool {
	for c.awaitAdmission(ctx) {
		err := c.letAnonymous()
		if err == nil {
			return true
		}
		c.mu.Lock()
		uses := c.sasl
		c.mu.Unlock()
		if !uses {
			c.fail(err)
			return false
		}
	}
	return false
}

// addStream begins a further stream. It is false when the connection has ended. done is called at the end of the stream.
func (c *Conn) addStream(s netio.Stream, done func()) bool {
	st := new(stream)
	st.init(c, &streamConn{s, c.nc}, s.ID())
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return false
	}
	c.others[st] = struct{}{}
	c.mu.Unlock()
	c.active()
	go func() {
		st.loop()
		done()
	}()
	return true
}

// finishStream is the end of the goroutine that reads a further stream: err is why it reads no more. What is in process is still
// answered if the client has ended its side in good order, or if the server shuts down.
func (st *stream) finishStream(err error) {
	c := st.c
	c.mu.Lock()
	st.eof = true
	answer := c.draining || !c.ended && st.unexpected(err) == io.EOF
	if !answer && !c.ended {
		st.abandon()
	}
	c.mu.Unlock()
	st.dropFrame()
	st.awaitAside()
	if d, is := st.session.(Drainer); is && answer && !st.shares() {
		d.Drain()
	}
	c.mu.Lock()
	st.flush()
	c.mu.Lock()
	for st.unfinished() {
		c.mu.Unlock()
		<-st.wake
		c.mu.Lock()
	}
	cause := c.cause
	if !c.ended && !answer {
		cause = lost(st.unexpected(err))
	}
	st.abandon()
	c.mu.Unlock()
	if !st.shares() {
		st.leave(cause)
	}
	netserve.CloseWrite(st.nc)
	st.nc.Close()
	c.mu.Lock()
	delete(c.others, st)
	c.main.nudge() // its reader waits for the last one
	c.main.flush() // its sending side ends after that of the others
}

// unfinished reports whether there is something to answer or to send, with c.mu held.
func (st *stream) unfinished() bool {
	switch c := st.c; {
	case c.aborted || st.gone:
		return st.writing
	case st.writing || !st.out.Empty():
		return true
	case c.ended && !c.draining:
		return false
	}
	return st.queue.len() > 0
}

// abandon makes a further stream one on which nothing is sent any more, with c.mu held.
func (st *stream) abandon() {
	st.gone = true
	if !st.writing {
		st.out.Drop()
		st.count()
	}
}

// shares reports whether the session serves other streams, too.
func (st *stream) shares() bool { return st.session != nil && st.c.serial != nil }

// awaitStreams waits until all further streams are at their end. The connection has ended.
func (c *Conn) awaitStreams() {
	c.mu.Lock()
	for len(c.others) > 0 {
		c.mu.Unlock()
		<-c.main.wake
		c.mu.Lock()
	}
	c.mu.Unlock()
}

// connect makes the session of the stream.
func (st *stream) connect() error {
	c := st.c
	c.letting.Lock()
	defer c.letting.Unlock()
	if c.session == nil {
		session, err := c.srv.backend.Connect(c)
		if err != nil {
			return err
		}
		if _, many := session.(Streamer); c.streams != nil && !many {
			c.serial = new(sync.Mutex)
		}
		c.session = session
	}
	st.session = c.session
	if many, ok := c.session.(Streamer); ok && !st.isMain() {
		session, err := many.Stream(st.id)
		if err != nil {
			return err
		}
		st.session = session
	}
	st.apis = c.srv.backend.APIs()
	return nil
}
