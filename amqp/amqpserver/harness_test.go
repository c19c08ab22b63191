package amqpserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// TestMain fails when a test leaves a goroutine of this package behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := leaked(); left != "" {
			fmt.Fprintln(os.Stderr, "goroutines left:\n"+left)
			code = 1
		}
	}
	os.Exit(code)
}

func leaked() string {
	var left string
	for range 3000 {
		var b bytes.Buffer
		pprof.Lookup("goroutine").WriteTo(&b, 1)
		left = ""
		for part := range strings.SplitSeq(b.String(), "\n\n") {
			if strings.Contains(part, "amqpserver.(*") {
				left += part + "\n\n"
			}
		}
		if left == "" {
			return ""
		}
		runtime.Gosched()
		time.Sleep(10 * time.Millisecond) // the process is about to end, there is nothing to wait on
	}
	return left
}

// queues is a small backend: the default exchange and queues in memory. Everything is under one lock, which it holds
// while it delivers.
type queues struct {
	authenticate func(a *amqpserver.Auth) (string, error) // nil: guest with guest
	publish      func(p *amqpserver.Publish) error        // nil takes all
	method       func(ch *amqpserver.Channel, m amqp091.Method) error
	hold         bool // do not confirm, see confirm

	mu       sync.Mutex
	queues   map[string]*queue
	sessions []*session
	log      []string
	held     []pending
}

type pending struct {
	ch  *amqpserver.Channel
	seq uint64
}

type queue struct {
	name      string
	ready     []*message
	consumers []*amqpserver.Consumer
}

type message struct {
	q           *queue
	key         string
	props, body []byte
	redelivered bool
}

func (m *message) delivery() *amqpserver.Delivery {
	return &amqpserver.Delivery{RoutingKey: m.key, Redelivered: m.redelivered, Properties: m.props, Body: m.body}
}

type session struct {
	b     *queues
	c     *amqpserver.Conn
	cause error
	ended bool
}

func (b *queues) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, fmt.Sprintf(format, args...))
}

// take returns what was noted, and forgets it.
func (b *queues) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := strings.Join(b.log, "\n")
	b.log = nil
	return s
}

func (b *queues) last() *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sessions[len(b.sessions)-1]
}

func (b *queues) Authenticate(_ context.Context, _ *amqpserver.Conn, a *amqpserver.Auth) (string, error) {
	if b.authenticate != nil {
		return b.authenticate(a)
	}
	if a.User != "guest" || a.Password != "guest" {
		return "", errors.New("wrong password")
	}
	return a.User, nil
}

func (b *queues) Open(_ context.Context, c *amqpserver.Conn, vhost string) (amqpserver.Session, error) {
	if vhost != "/" {
		return nil, amqp091.HardError(amqp091.NotAllowed, "vhost %s not found", vhost)
	}
	s := &session{b: b, c: c}
	b.mu.Lock()
	b.sessions = append(b.sessions, s)
	b.mu.Unlock()
	return s, nil
}

func (s *session) Start(*amqpserver.Batch) { s.b.note("start %s", s.c.User()) }

func (s *session) OpenChannel(_ *amqpserver.Batch, ch *amqpserver.Channel) error {
	if ch.ID() == 99 {
		return amqp091.SoftError(amqp091.ResourceError, "no more")
	}
	return nil
}

func (s *session) Method(b *amqpserver.Batch, ch *amqpserver.Channel, m amqp091.Method) error {
	if s.b.method != nil {
		if err := s.b.method(ch, m); err != nil {
			return err
		}
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	switch m := m.(type) {
	case *amqp091.QueueDeclare:
		s.b.queue(m.Queue)
		ch.Reply(b, &amqp091.QueueDeclareOK{Queue: m.Queue})
	case *amqp091.BasicConsume:
		q := s.b.queues[m.Queue]
		if q == nil {
			return amqp091.SoftError(amqp091.NotFound, "no queue '%s' in vhost '/'", m.Queue)
		}
		c, err := ch.Consume(m.ConsumerTag, m.NoAck)
		if err != nil {
			return err
		}
		c.Value = q
		ch.Reply(b, &amqp091.BasicConsumeOK{ConsumerTag: c.Tag()})
		q.consumers = append(q.consumers, c)
		q.run(b)
	case *amqp091.BasicCancel:
		if c := ch.Consumer(m.ConsumerTag); c != nil {
			ch.End(c)
			c.Value.(*queue).drop(c)
		}
		ch.Reply(b, &amqp091.BasicCancelOK{ConsumerTag: m.ConsumerTag})
	case *amqp091.BasicGet:
		q := s.b.queue(m.Queue)
		if len(q.ready) == 0 {
			ch.Reply(b, &amqp091.BasicGetEmpty{})
			return nil
		}
		msg := q.ready[0]
		if ch.GetOK(b, msg.delivery(), uint32(len(q.ready)-1), msg, m.NoAck) {
			q.ready = q.ready[1:]
		}
	case *amqp091.TxCommit:
		ch.Reply(b, &amqp091.TxCommitOK{})
	case *amqp091.TxRollback:
		ch.Reply(b, &amqp091.TxRollbackOK{})
	case *amqp091.QueueDelete:
		q := s.b.queue(m.Queue)
		for _, c := range q.consumers {
			c.Channel().Cancel(b, c)
		}
		delete(s.b.queues, m.Queue)
		ch.Reply(b, &amqp091.QueueDeleteOK{})
	default:
		return errors.New("no such thing")
	}
	return nil
}

// queue returns a queue, with b.mu held.
func (b *queues) queue(name string) *queue {
	if b.queues == nil {
		b.queues = make(map[string]*queue)
	}
	if b.queues[name] == nil {
		b.queues[name] = &queue{name: name}
	}
	return b.queues[name]
}

func (q *queue) drop(c *amqpserver.Consumer) {
	q.consumers = slices.DeleteFunc(q.consumers, func(have *amqpserver.Consumer) bool { return have == c })
}

// run delivers what is ready.
func (q *queue) run(b *amqpserver.Batch) {
	for len(q.ready) > 0 {
		m := q.ready[0]
		sent := false
		for i, c := range q.consumers {
			if sent = c.Channel().Deliver(b, c, m.delivery(), m); sent {
				q.consumers = append(append(q.consumers[:i:i], q.consumers[i+1:]...), c)
				break
			}
		}
		if !sent {
			return
		}
		q.ready = q.ready[1:]
	}
}

func (s *session) Publish(b *amqpserver.Batch, ch *amqpserver.Channel, p *amqpserver.Publish) error {
	if s.b.publish != nil {
		if err := s.b.publish(p); err != nil {
			return err
		}
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	q := s.b.queues[string(p.RoutingKey)]
	m := &message{q: q, key: string(p.RoutingKey), props: bytes.Clone(p.Properties), body: bytes.Clone(p.Body)}
	if q == nil && p.Mandatory {
		ch.Return(b, amqp091.NoRoute, "NO_ROUTE", m.delivery())
	}
	if p.Seq != 0 {
		if s.b.hold {
			s.b.held = append(s.b.held, pending{ch, p.Seq})
		} else {
			ch.Confirm(b, p.Seq, true)
		}
	}
	if q != nil {
		q.ready = append(q.ready, m)
		q.run(b)
	}
	return nil
}

func (s *session) Settled(b *amqpserver.Batch, ch *amqpserver.Channel, refs []any, how amqpserver.Settlement) {
	s.b.note("%v %d", how, len(refs))
	if how == amqpserver.Recovered || how == amqpserver.Requeued && !ch.Transactional() {
		s.requeue(b, refs)
	}
}

func (s *session) requeue(b *amqpserver.Batch, refs []any) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	for _, ref := range slices.Backward(refs) {
		m := ref.(*message)
		m.redelivered = true
		m.q.ready = slices.Insert(m.q.ready, 0, m)
	}
	for _, ref := range refs {
		ref.(*message).q.run(b)
	}
}

func (s *session) Ready(b *amqpserver.Batch, ch *amqpserver.Channel) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	for _, q := range s.b.queues {
		q.run(b)
	}
}

func (s *session) CloseChannel(b *amqpserver.Batch, ch *amqpserver.Channel, refs []any) {
	s.b.note("close channel %d, %d unsettled", ch.ID(), len(refs))
	s.b.mu.Lock()
	for _, q := range s.b.queues {
		q.consumers = slices.DeleteFunc(q.consumers, func(c *amqpserver.Consumer) bool { return c.Channel() == ch })
	}
	s.b.mu.Unlock()
	s.requeue(b, refs)
}

func (s *session) Closed(cause error) {
	s.b.note("closed: %v", cause)
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.cause, s.ended = cause, true
}

// serve starts a server for a backend on a listener of memory.
func serve(t testing.TB, b amqpserver.Backend, o *amqpserver.Options) (*amqpserver.Server, *memnet.Listener) {
	t.Helper()
	s := amqpserver.New(b, o)
	l := memnet.Listen("amqp")
	if *streams {
		l.OnDial(func(int) (*memnet.Options, error) { return &memnet.Options{Protocol: amqp091.Streams}, nil })
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l, nil) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; !errors.Is(err, amqpserver.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, l
}

// peer is a client of frames.
type peer struct {
	t    testing.TB
	nc   net.Conn
	in   []byte
	idle func() // called when nothing comes for a millisecond
}

func dial(t testing.TB, l *memnet.Listener) *peer {
	t.Helper()
	p := dialPlain(t, l)
	if *streams {
		p.nc = newBridge(p.nc)
		t.Cleanup(func() {
			p.nc.Close()
			time.Sleep(time.Millisecond) // for the bridge
		})
	}
	return p
}

// dialPlain dials without a bridge in between.
func dialPlain(t testing.TB, l *memnet.Listener) *peer {
	t.Helper()
	nc, err := l.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &peer{t: t, nc: nc}
}

// open dials and opens a connection and channel 1.
func open(t testing.TB, l *memnet.Listener, capabilities ...string) *peer {
	t.Helper()
	p := dial(t, l)
	p.login(capabilities...)
	p.send(1, &amqp091.ChannelOpen{})
	p.expect("1 channel.open-ok()")
	return p
}

// login does the handshake.
func (p *peer) login(capabilities ...string) {
	p.t.Helper()
	known := amqp091.Table{}
	for _, c := range capabilities {
		known = append(known, amqp091.Field{Key: c, Value: true})
	}
	p.raw([]byte(amqp091.ProtocolHeader))
	p.next() // start
	p.send(0, &amqp091.ConnectionStartOK{Mechanism: "PLAIN", Response: []byte("\x00guest\x00guest"), Locale: "en_US",
		ClientProperties: amqp091.Table{{Key: "capabilities", Value: known}}})
	f, ok := p.read()
	if !ok {
		p.t.Fatal("no tune")
	}
	m, err := amqp091.DecodeMethod(f.Payload)
	if err != nil {
		p.t.Fatal(err)
	}
	tune := m.(*amqp091.ConnectionTune)
	p.send(0, &amqp091.ConnectionTuneOK{ChannelMax: tune.ChannelMax, FrameMax: tune.FrameMax, Heartbeat: tune.Heartbeat})
	p.send(0, &amqp091.ConnectionOpen{VirtualHost: "/"})
	p.expect("0 connection.open-ok()")
}

func (p *peer) raw(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// send sends methods with one write.
func (p *peer) send(channel uint16, list ...amqp091.Method) {
	p.t.Helper()
	var b []byte
	var err error
	for _, m := range list {
		if b, err = amqp091.AppendMethod(b, channel, m); err != nil {
			p.t.Fatal(err)
		}
	}
	p.raw(b)
}

// appendPublish appends a message.
func appendPublish(b []byte, channel uint16, key string, body string, mandatory bool) []byte {
	b, _ = amqp091.AppendPublish(b, channel, "", key, mandatory)
	b = amqp091.AppendContentHeader(b, channel, uint64(len(body)), nil)
	return amqp091.AppendBody(b, channel, []byte(body), amqp091.DefaultFrameMax)
}

func (p *peer) publish(channel uint16, key string, bodies ...string) {
	p.t.Helper()
	var b []byte
	for _, body := range bodies {
		b = appendPublish(b, channel, key, body, false)
	}
	p.raw(b)
}

// read returns the next frame; false at the end of the connection.
func (p *peer) read() (amqp091.Frame, bool) {
	for {
		f, n, err := amqp091.NextFrame(p.in, 0)
		if err != nil {
			p.t.Fatal(err)
		}
		if n > 0 {
			p.in = p.in[n:]
			return f, true
		}
		buf := make([]byte, 64<<10)
		if p.idle != nil {
			p.nc.SetReadDeadline(time.Now().Add(time.Millisecond))
		}
		n, err = p.nc.Read(buf)
		if n == 0 && p.idle != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			p.idle()
			continue
		}
		if n == 0 {
			if err == nil || len(p.in) > 0 {
				p.t.Fatalf("read: %v after %q", err, p.in)
			}
			return f, false
		}
		p.in = append(p.in[:len(p.in):len(p.in)], buf[:n]...)
	}
}

// next returns the next frame as text, "EOF" at the end.
func (p *peer) next() string {
	p.t.Helper()
	f, ok := p.read()
	if !ok {
		return "EOF"
	}
	return f.String()
}

// expect expects frames.
func (p *peer) expect(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if got := p.next(); got != w {
			p.t.Fatalf("got  %s\nwant %s", got, w)
		}
	}
}

// quiet expects that nothing comes, within a bubble.
func (p *peer) quiet() {
	p.t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(time.Millisecond))
	defer p.nc.SetReadDeadline(time.Time{})
	if len(p.in) > 0 {
		p.t.Fatalf("got %s", p.next())
	}
	if n, err := p.nc.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatalf("not quiet: %d bytes, %v", n, err)
	}
}

// bubble runs a test in a bubble.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s:\n%v\nwant\n%v", what, got, want)
	}
}
