package amqpclient091

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/sasl"
)

// conn is one network connection. The fields of the first group belong to the goroutine that connects, the others are guarded
// by c.mu.
type conn struct {
	c      *Client
	nc     net.Conn
	server *server
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

	main    lane
	mux     *mux  // nil: all channels are on one stream
	pauses  int   // readers that hold back
	answers int   // bytes that wait and are answers to the server
	closing bool  // close the network connection once the output is written
	down    bool  // the connection is over, as far as the protocol goes
	err     error // of the network
	hungUp  bool  // somebody closes nc
	flushed chan struct{}

	draining bool          // events is at work
	ev       amqp091.Event // at which it is
}

// batch is how many frames with events are handled without letting others have the lock.
const batch = 64

// maxAnswers is how many bytes the server may make the client say without reading them.
const maxAnswers = 4 << 20

var errFlood = errors.New("amqpclient091: server asks without reading the answers")

// keepBuffer is the largest output buffer that is kept for the next write. Bodies are copied into it: the caller may change them
// when Publish returns. A copy of 64 KiB takes 2 µs; what costs is memory that is not there yet, 100 times as much.
const keepBuffer = 4 << 20

// keepStream is keepBuffer for the stream of a channel.
const keepStream = 64 << 10

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
		m:       amqp091.NewConn(cfg),
		links:   make(map[uint16]*link),
		gone:    make(chan struct{}),
		flushed: make(chan struct{}),
		mux:     newMux(nc),
	}
	k.main.init(k, nil, nc, int(max(cfg.FrameMax, 64<<10)))
	return k
}

// serve reads until the connection is over.
func (k *conn) serve() {
	defer close(k.gone)
	k.main.feed()
	k.main.release()
	k.main.serve()
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
		if l != nil && e.Kind == amqp091.EventChannelClose {
			l.o.end()
		}
		if l != nil && !l.dead.Load() {
			l.closed(l.m.Err())
		}
	case amqp091.EventChannelGone:
		if l != nil {
			l.o.end()
		}
	case amqp091.EventDown:
		k.goDown()
	case amqp091.EventClose:
		k.close()
	}
}

// append encodes an EventSend.
func (k *conn) append(e *amqp091.Event) {
	o := k.route(e.ChannelID())
	if o == nil {
		return // its stream has ended
	}
	b, err := e.AppendTo(o.out)
	if err != nil {
		k.fail(err) // arguments are checked before: see call.check
		return
	}
	switch e.Method.(type) {
	case *amqp091.ChannelFlowOK, *amqp091.BasicCancelOK, *amqp091.ChannelCloseOK, *amqp091.ChannelOpen:
		o.answered(len(b) - len(o.out))
	}
	o.out = b
	o.touch()
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
	k.trim()
	k.m.Advance(time.Now())
	k.events()
	k.kick()
	k.arm()
}

// trim gives the memory of output back where there is none: the connection has been idle for a while. c.mu is held.
func (k *conn) trim() {
	k.main.trim()
	if k.mux != nil {
		for _, o := range k.mux.lanes {
			o.trim()
		}
	}
}

func (o *lane) trim() {
	if !o.writing && len(o.out) == 0 {
		o.out, o.spare = nil, nil
	}
}

// answered counts bytes that the server makes the client say.
func (o *lane) answered(n int) {
	o.answers += n
	o.k.answers += n
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
