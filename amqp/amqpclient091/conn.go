package amqpclient091

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/internal/sasl"
)

// conn is one network connection. The fields of the first group belong to the goroutine that reads (during the handshake
// the one that connects), the others are guarded by c.mu.
type conn struct {
	c      *Client
	nc     net.Conn
	server *server
	in     codec.Buffer
	side   sasl.Client

	m      *amqp091.Conn
	start  *amqp091.ConnectionStart  // to be answered
	secure *amqp091.ConnectionSecure // to be answered
	opened bool
	links  map[uint16]*link
	since  time.Time
	gone   chan struct{} // closed when the connection is over

	timer *time.Timer
	armed time.Time

	out     []byte  // encoded, not written
	spare   []byte  // the buffer of the last write
	answers int     // bytes of out that are answers to the server
	dirty   []*link // with acknowledgements that are not encoded
	writing bool
	closing bool  // close the network connection once out is written
	down    bool  // the connection is over, as far as the protocol goes
	err     error // of the network
	broken  error // of writing; the reader has the last word
	hungUp  bool  // somebody closes nc
	flushed chan struct{}

	full     int           // consumers without acknowledgements whose buffer is full
	waiters  int           // calls and messages that wait for an answer
	resume   chan struct{} // the reader that pauses waits for it
	draining bool          // events is at work
	ev       amqp091.Event // at which it is
	writer   func()        // is write
}

// batch is how many frames with events are handled without letting others have the lock.
const batch = 64

// maxAnswers is how many bytes the server may make the client say without reading them.
const maxAnswers = 4 << 20

var errFlood = errors.New("amqpclient091: server asks without reading the answers")

// keepBuffer is the largest output buffer that is kept for the next write. Bodies are copied into it: the caller may change them
// when Publish returns. A copy of 64 KiB takes 2 µs; what costs is memory that is not there yet, 100 times as much.
const keepBuffer = 4 << 20

func newConn(c *Client, nc net.Conn, s *server) *conn {
	l := &c.o.Limits
	cfg := &amqp091.Config{
		Role:         amqp091.Client,
		FrameMax:     l.FrameMax,
		ChannelMax:   l.ChannelMax,
		Heartbeat:    orDefault(c.o.Heartbeat, orDefault(s.uri.Heartbeat, 10*time.Second)),
		MaxMessage:   l.MaxMessage,
		CloseTimeout: closeTimeout,
		VirtualHost:  c.o.vhost(s),
	}
	if n := s.uri.FrameMax; n != 0 && c.o.Options.Limits.FrameMax == 0 {
		cfg.FrameMax = max(n, amqp091.FrameMinSize)
	}
	if n := s.uri.ChannelMax; n != 0 && c.o.Options.Limits.ChannelMax == 0 {
		cfg.ChannelMax = n
	}
	k := &conn{
		c: c, nc: nc, server: s,
		in:      codec.Buffer{Max: int(max(cfg.FrameMax, 64<<10))},
		m:       amqp091.NewConn(cfg),
		links:   make(map[uint16]*link),
		gone:    make(chan struct{}),
		flushed: make(chan struct{}),
		resume:  make(chan struct{}, 1),
	}
	k.writer = k.write // bound once
	return k
}

// open reports whether messages may be added to the output buffer.
func (k *conn) open() bool {
	return len(k.out) < k.c.o.Limits.OutputBuffer && !k.closing && !k.down && k.broken == nil
}

// serve reads until the connection is over.
func (k *conn) serve() {
	defer close(k.gone)
	k.feed()
	for {
		k.pause()
		if k.read() != nil {
			return
		}
	}
}

// read reads once and handles what came.
func (k *conn) read() error {
	n, err := k.in.Fill(k.nc)
	if n > 0 {
		k.c.mu.Lock()
		k.c.stats.BytesReceived += uint64(n)
		k.c.mu.Unlock()
		k.feed()
	}
	if err != nil {
		k.c.mu.Lock()
		if k.broken != nil {
			err = k.broken
		}
		k.fail(err)
		k.c.mu.Unlock()
	}
	return err
}

// feed handles the whole frames in the input buffer.
func (k *conn) feed() {
	for k.feedBatch() {
	}
}

// feedBatch handles some frames and reports whether there may be more.
func (k *conn) feedBatch() (more bool) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	now := time.Now()
	for range batch {
		b := k.in.Bytes()
		if k.closing || k.err != nil {
			k.in.Discard(len(b))
			b = nil
		}
		if more = len(b) > 0; !more {
			break
		}
		n, err := k.m.Receive(now, b)
		k.events()
		k.in.Discard(n)
		if more = n > 0 && err == nil; !more {
			break
		}
	}
	if k.answers > maxAnswers && k.err == nil {
		k.fail(errFlood)
	}
	if k.c.conn == k {
		k.c.sendQueued()
	}
	k.kick()
	k.arm()
	return more
}

// pause holds the reader back while a consumer without acknowledgements has no room and nobody waits for the server.
func (k *conn) pause() {
	c := k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !k.stalled() {
		return
	}
	k.m.Pause(time.Now(), true)
	for k.stalled() {
		c.mu.Unlock()
		<-k.resume
		c.mu.Lock()
	}
	k.m.Pause(time.Now(), false)
}

func (k *conn) stalled() bool {
	return k.full > 0 && k.waiters == 0 && !k.down && !k.closing && k.err == nil && k.broken == nil
}

// unpause lets the reader look again whether it has to pause. c.mu is held.
func (k *conn) unpause() {
	select {
	case k.resume <- struct{}{}:
	default:
	}
}

// wait counts n more of those who wait for the server. c.mu is held.
func (k *conn) wait(n int) {
	k.waiters += n
	if k.full > 0 && n > 0 {
		k.unpause()
	}
}

// events takes the machine's events. c.mu is held.
func (k *conn) events() {
	if k.draining {
		return
	}
	k.draining = true
	for ok := true; ok; {
		if k.ev, ok = k.m.Next(); ok {
			k.event(&k.ev)
		}
	}
	k.draining = false
}

func (k *conn) event(e *amqp091.Event) {
	var l *link
	if e.Channel != nil {
		l, _ = e.Channel.Ref.(*link)
	}
	switch e.Kind {
	case amqp091.EventSend:
		k.append(e)
		return
	case amqp091.EventDeliver:
		l.deliver(e.Content)
		return
	case amqp091.EventConfirm:
		l.confirm(e.Refs, e.Nack)
		return
	case amqp091.EventReturn:
		l.returned(e)
		return
	}
	k.trace(e)
	switch e.Kind {
	case amqp091.EventStart:
		k.start = e.Method.(*amqp091.ConnectionStart)
	case amqp091.EventSecure:
		k.secure = e.Method.(*amqp091.ConnectionSecure)
	case amqp091.EventOpened:
		k.opened = true
	case amqp091.EventReply:
		e.Ref.(*call).answer(e)
	case amqp091.EventMethod:
		l.method(e.Method)
	case amqp091.EventBlocked:
		k.c.block(e.Method.(*amqp091.ConnectionBlocked).Reason)
	case amqp091.EventUnblocked:
		k.c.unblock()
	case amqp091.EventChannelClose, amqp091.EventChannelClosed:
		if l != nil && !l.dead.Load() {
			l.closed(l.m.Err())
		}
	case amqp091.EventDown:
		k.goDown()
	case amqp091.EventClose:
		k.close()
	}
}

// append encodes an EventSend.
func (k *conn) append(e *amqp091.Event) {
	b, err := e.AppendTo(k.out)
	if err != nil {
		k.fail(err) // arguments are checked before: see call.check
		return
	}
	switch e.Method.(type) {
	case *amqp091.ChannelFlowOK, *amqp091.BasicCancelOK, *amqp091.ChannelCloseOK, *amqp091.ChannelOpen:
		k.answers += len(b) - len(k.out)
	}
	k.out = b
	if f := k.c.o.Trace.MethodSent; f != nil && e.Method != nil {
		f(e.ChannelID(), e.Method)
	}
}

func (k *conn) trace(e *amqp091.Event) {
	if f := k.c.o.Trace.MethodReceived; f != nil && e.Method != nil {
		f(e.ChannelID(), e.Method)
	}
}

// goDown takes note that the connection is over as far as the protocol goes. c.mu is held.
func (k *conn) goDown() {
	if k.down {
		return
	}
	k.down = true
	c := k.c
	if c.last == k && c.blocked {
		c.unblock()
	}
	if c.conn == k {
		c.conn = nil
		if !c.closed {
			c.up = make(chan struct{})
		}
	}
	cause := k.cause()
	for _, id := range sortedKeys(k.links) {
		k.links[id].lost(cause)
	}
	for _, ref := range k.m.Secrets() {
		ref.(*call).fail(&UnknownError{cause})
	}
	k.unpause()
}

func sortedKeys(m map[uint16]*link) []uint16 {
	ids := make([]uint16, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// arm sets the timer of the machine. It is not moved when the deadline only becomes later. c.mu is held.
func (k *conn) arm() {
	t := k.m.Timeout()
	if t.IsZero() || k.closing || !k.armed.IsZero() && !t.Before(k.armed) {
		return
	}
	k.armed = t
	if k.timer == nil {
		k.timer = time.AfterFunc(time.Until(t), k.tick)
		return
	}
	k.timer.Reset(time.Until(t))
}

// tick runs on the timer's goroutine.
func (k *conn) tick() {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	k.armed = time.Time{}
	if k.closing || k.err != nil {
		return
	}
	if !k.writing && len(k.out) == 0 {
		k.out, k.spare = nil, nil // the connection has been idle for a while
	}
	k.m.Advance(time.Now())
	k.events()
	k.kick()
	k.arm()
}

// cause returns why the connection is over. c.mu is held.
func (k *conn) cause() error {
	if err := k.m.Err(); err != nil {
		return err
	}
	if k.err == io.EOF || k.err == nil {
		return fmt.Errorf("amqpclient091: server closed the connection: %w", net.ErrClosed)
	}
	return k.err
}
