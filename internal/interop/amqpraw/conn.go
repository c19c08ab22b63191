package amqpraw

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Patience is how long a call waits for its answer. A broker on a busy machine may need a while.
const Patience = time.Minute

// ErrSilent says that nothing came in time.
var ErrSilent = errors.New("the broker is silent")

// Options say how to log in. Empty ones are those of a usual client: guest with its password, the virtual host "/".
type Options struct {
	User, Password, Vhost string
	// Mechanism is PLAIN when empty. Response is made of user and password when empty.
	Mechanism, Response string
	// Properties are the client's; when nil they tell of every capability.
	Properties Table
	// What tune-ok says, when not 0, in place of what the broker proposes; heartbeats are off when it is 0.
	ChannelMax uint16
	FrameMax   uint32
	Heartbeat  uint16
	// Repeats says that the broker may close a channel twice: RabbitMQ does when the answer to the first time is slow.
	Repeats bool
	// Dial makes the connection in place of TCP.
	Dial func(addr string) (net.Conn, error)
}

// Capabilities are the client properties of a client that can do everything.
func Capabilities() Table {
	return Table{"product": "amqpraw", "capabilities": Table{
		"publisher_confirms":           true,
		"exchange_exchange_bindings":   true,
		"basic.nack":                   true,
		"consumer_cancel_notify":       true,
		"connection.blocked":           true,
		"authentication_failure_close": true,
	}}
}

// Closed is the error of a channel or connection that the broker has closed.
type Closed struct {
	// Connection tells what was closed.
	Connection bool
	Code       int
	Text       string
	// Method is the method that caused it, 0 for none.
	Class, Method int
}

func (e *Closed) Error() string {
	what := "channel"
	if e.Connection {
		what = "connection"
	}
	return fmt.Sprintf("%s closed: %d %s", what, e.Code, e.Text)
}

func closed(m Method) *Closed {
	return &Closed{
		Connection: m.Name == "connection.close",
		Code:       m.Int("reply-code"), Text: m.String("reply-text"),
		Class: m.Int("class-id"), Method: m.Int("method-id"),
	}
}

// A Conn is a connection. Its methods may be called from several goroutines.
type Conn struct {
	// Start and Tune are the methods of these names as the broker sent them.
	Start, Tune Method

	nc      net.Conn
	br      *bufio.Reader
	repeats bool
	writing sync.Mutex
	done    chan struct{} // closed when reading has ended

	mu       sync.Mutex
	channels map[uint16]*Channel
	err      error
}

// DialRaw connects and sends nothing.
func DialRaw(addr string, o Options) (*Conn, error) {
	dial := o.Dial
	if dial == nil {
		dial = func(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, Patience) }
	}
	nc, err := dial(addr)
	if err != nil {
		return nil, err
	}
	c := &Conn{nc: nc, br: bufio.NewReaderSize(nc, 64<<10), done: make(chan struct{}), channels: make(map[uint16]*Channel), repeats: o.Repeats}
	c.channels[0] = newChannel(c, 0)
	return c, nil
}

// Dial connects and logs in.
func Dial(addr string, o Options) (*Conn, error) {
	c, err := DialRaw(addr, o)
	if err != nil {
		return nil, err
	}
	if err := c.login(o); err != nil {
		c.Drop()
		return nil, err
	}
	return c, nil
}

func (c *Conn) login(o Options) error {
	if err := c.Greet(); err != nil {
		return err
	}
	go c.readAll()
	zero := c.channels[0]
	if err := zero.StartOK(o); err != nil {
		return err
	}
	var err error
	if c.Tune, err = zero.reply(Patience); err != nil {
		return err
	}
	if c.Tune.Name != "connection.tune" {
		return fmt.Errorf("%s in place of connection.tune", c.Tune.Name)
	}
	zero.Send("connection.tune-ok",
		"channel-max", cmp.Or(o.ChannelMax, uint16(c.Tune.Int("channel-max"))),
		"frame-max", cmp.Or(o.FrameMax, uint32(c.Tune.Int("frame-max"))),
		"heartbeat", o.Heartbeat)
	_, err = zero.Call("connection.open", "virtual-host", cmp.Or(o.Vhost, "/"))
	return err
}

// Greet sends the protocol header and takes connection.start.
func (c *Conn) Greet() error {
	if err := c.Write([]byte(Header)); err != nil {
		return err
	}
	c.nc.SetReadDeadline(time.Now().Add(Patience))
	defer c.nc.SetReadDeadline(time.Time{})
	f, err := c.Frame()
	if err != nil {
		return err
	}
	c.Start, err = DecodeMethod(f.Payload)
	return err
}

// StartOK answers connection.start.
func (ch *Channel) StartOK(o Options) error {
	p := o.Properties
	if p == nil {
		p = Capabilities()
	}
	user, password := cmp.Or(o.User, "guest"), cmp.Or(o.Password, "guest")
	return ch.Send("connection.start-ok", "client-properties", p, "mechanism", cmp.Or(o.Mechanism, "PLAIN"),
		"response", cmp.Or(o.Response, "\x00"+user+"\x00"+password), "locale", "en_US")
}

// Frame reads one frame. It must not be called when somebody has logged in.
func (c *Conn) Frame() (f Frame, err error) {
	var h [7]byte
	if _, err := io.ReadFull(c.br, h[:]); err != nil {
		return f, err
	}
	if string(h[:4]) == "AMQP" {
		return f, fmt.Errorf("the broker wants another protocol: %q", h[:])
	}
	f.Type, f.Channel = h[0], binary.BigEndian.Uint16(h[1:])
	f.Payload = make([]byte, binary.BigEndian.Uint32(h[3:])+1)
	if _, err := io.ReadFull(c.br, f.Payload); err != nil {
		return f, err
	}
	n := len(f.Payload) - 1
	if f.Payload[n] != FrameEnd {
		return f, fmt.Errorf("frame ends with %#x", f.Payload[n])
	}
	f.Payload = f.Payload[:n]
	return f, nil
}

// ReadAll starts to take frames for the channels after the steps of a login were done one by one.
func (c *Conn) ReadAll() { go c.readAll() }

// readAll hands frames to their channels until the connection ends.
func (c *Conn) readAll() {
	defer close(c.done)
	for {
		f, err := c.Frame()
		if err == nil {
			err = c.take(f)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// fail notes why the connection has ended.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	for _, ch := range c.channels {
		ch.close(c.err)
	}
}

// take takes one frame.
func (c *Conn) take(f Frame) error {
	c.mu.Lock()
	ch := c.channels[f.Channel]
	c.mu.Unlock()
	if f.Type == FrameHeartbeat {
		return nil
	}
	if ch == nil {
		if m, err := DecodeMethod(f.Payload); c.repeats && f.Type == FrameMethod && err == nil && m.Name == "channel.close" {
			return nil
		}
		return fmt.Errorf("frame of type %d on channel %d, which is not open", f.Type, f.Channel)
	}
	if f.Type != FrameMethod {
		return ch.content(f)
	}
	m, err := DecodeMethod(f.Payload)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	switch m.Name {
	case "connection.close":
		c.Write(AppendMethod(nil, 0, "connection.close-ok"))
		return closed(m)
	case "channel.close":
		c.Write(AppendMethod(nil, f.Channel, "channel.close-ok"))
		c.mu.Lock()
		delete(c.channels, f.Channel)
		c.mu.Unlock()
		ch.close(closed(m))
		return nil
	}
	return ch.method(m)
}

// Write writes bytes as they are.
func (c *Conn) Write(b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.nc.Write(b)
	return err
}

// Zero returns channel 0.
func (c *Conn) Zero() *Channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.channels[0]
}

// Channel opens a channel.
func (c *Conn) Channel(n uint16) (*Channel, error) {
	ch := c.Expect(n)
	_, err := ch.Call("channel.open")
	return ch, err
}

// Expect makes ready for frames on a channel without opening it.
func (c *Conn) Expect(n uint16) *Channel {
	ch := newChannel(c, n)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		ch.close(c.err)
	}
	c.channels[n] = ch
	return ch
}

// Wait waits until the connection has ended and returns why: *Closed, or io.EOF when the broker has only closed the stream.
func (c *Conn) Wait(d time.Duration) error {
	select {
	case <-c.done:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.err
	case <-time.After(d):
		return ErrSilent
	}
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Close closes the connection with the methods for that.
func (c *Conn) Close() error {
	_, err := c.Zero().Call("connection.close", "reply-code", 200, "reply-text", "bye")
	c.Drop()
	return err
}

// Drop closes the socket. A reset takes what the kernel still had to send.
func (c *Conn) Drop() error {
	if t, ok := c.nc.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	return c.nc.Close()
}

// An Event is what comes without being asked for: a delivery or return with its content, an acknowledgement, a cancellation.
type Event struct {
	Method
	Props Props
	Body  []byte
}

// A Channel is a channel. Calls wait for their answers, so they come from one goroutine at a time.
type Channel struct {
	c       *Conn
	n       uint16
	replies *queue
	events  *queue

	// what is being assembled, by the goroutine that reads
	open Event
	want uint64
}

func newChannel(c *Conn, n uint16) *Channel {
	return &Channel{c: c, n: n, replies: newQueue(), events: newQueue()}
}

// method takes a method.
func (ch *Channel) method(m Method) error {
	if ch.want > 0 {
		return fmt.Errorf("%s in the midst of a content", m.Name)
	}
	e := Event{Method: m}
	switch m.Name {
	case "basic.deliver", "basic.get-ok", "basic.return":
		ch.open = e
		return nil
	}
	ch.put(e)
	return nil
}

// content takes a content header or a part of a body.
func (ch *Channel) content(f Frame) error {
	if ch.open.Name == "" {
		return fmt.Errorf("frame of type %d without method", f.Type)
	}
	switch f.Type {
	case FrameHeader:
		var err error
		if ch.want, ch.open.Props, err = DecodeHeader(f.Payload); err != nil {
			return err
		}
		ch.open.Body = make([]byte, 0, ch.want)
	case FrameBody:
		if uint64(len(f.Payload)) > ch.want {
			return errors.New("body longer than the header says")
		}
		ch.open.Body = append(ch.open.Body, f.Payload...)
		ch.want -= uint64(len(f.Payload))
	default:
		return fmt.Errorf("frame of type %d", f.Type)
	}
	if ch.want == 0 {
		ch.put(ch.open)
		ch.open = Event{}
	}
	return nil
}

func (ch *Channel) put(e Event) {
	switch {
	case strings.HasSuffix(e.Name, "-ok"), e.Name == "basic.get-empty", e.Name == "connection.tune", e.Name == "connection.secure":
		ch.replies.put(e)
	default:
		ch.events.put(e)
	}
}

func (ch *Channel) close(err error) {
	ch.replies.close(err)
	ch.events.close(err)
}

// Conn returns the connection of the channel.
func (ch *Channel) Conn() *Conn { return ch.c }

// Why returns why the connection has ended when a write has failed with err: what the broker said before it closed the stream
// tells more.
func (ch *Channel) Why(err error) error {
	if why := ch.c.Wait(Patience); why != ErrSilent {
		return why
	}
	return err
}

// Send sends a method.
func (ch *Channel) Send(name string, args ...any) error {
	return ch.c.Write(AppendMethod(nil, ch.n, name, args...))
}

// Call sends a method and waits for the answer.
func (ch *Channel) Call(name string, args ...any) (Method, error) {
	e, err := ch.CallContent(name, args...)
	return e.Method, err
}

// CallContent is Call for basic.get, whose answer may have a content.
func (ch *Channel) CallContent(name string, args ...any) (Event, error) {
	if err := ch.Send(name, args...); err != nil {
		return Event{}, ch.Why(err)
	}
	e, err := ch.replies.next(Patience)
	if err != nil {
		return e, fmt.Errorf("%s: %w", name, err)
	}
	if want := name + "-ok"; e.Name != want && e.Name != "basic.get-empty" {
		return e, fmt.Errorf("%s in place of %s", e.Name, want)
	}
	return e, nil
}

// reply waits for the next answer.
func (ch *Channel) reply(d time.Duration) (Method, error) {
	e, err := ch.replies.next(d)
	return e.Method, err
}

// Reply waits for the next answer, for callers that sent several methods at once.
func (ch *Channel) Reply() (Event, error) { return ch.replies.next(Patience) }

// Publish sends a message.
func (ch *Channel) Publish(exchange, key string, p Props, body string) error {
	return ch.c.Write(AppendPublish(nil, ch.n, exchange, key, false, p, []byte(body)))
}

// PublishMandatory sends a message that is returned when it cannot be routed.
func (ch *Channel) PublishMandatory(exchange, key string, p Props, body string) error {
	return ch.c.Write(AppendPublish(nil, ch.n, exchange, key, true, p, []byte(body)))
}

// Next waits for the next event.
func (ch *Channel) Next(d time.Duration) (Event, error) { return ch.events.next(d) }

// Err waits until the channel is closed and returns why; events that come before are thrown away. Nil: it stays open.
func (ch *Channel) Err(d time.Duration) error {
	begin := time.Now()
	for {
		_, err := ch.events.next(d - time.Since(begin))
		switch err {
		case nil:
		case ErrSilent:
			return nil
		default:
			return err
		}
	}
}

// A queue holds events without limit.
type queue struct {
	wake  chan struct{}
	mu    sync.Mutex
	items []Event
	err   error
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) put(e Event) {
	q.mu.Lock()
	q.items = append(q.items, e)
	q.mu.Unlock()
	q.signal()
}

func (q *queue) close(err error) {
	q.mu.Lock()
	if q.err == nil {
		q.err = err
	}
	q.mu.Unlock()
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next returns the next event, or the error when there is none and there will be none.
func (q *queue) next(d time.Duration) (Event, error) {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	for {
		q.mu.Lock()
		if len(q.items) > 0 {
			e := q.items[0]
			q.items = q.items[1:]
			q.mu.Unlock()
			return e, nil
		}
		err := q.err
		q.mu.Unlock()
		if err != nil {
			return Event{}, err
		}
		select {
		case <-q.wake:
		case <-deadline.C:
			return Event{}, ErrSilent
		}
	}
}
