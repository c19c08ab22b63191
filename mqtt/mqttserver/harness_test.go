package mqttserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
	"github.com/quartet-mq/quartet/topic"
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
			if strings.Contains(part, "mqttserver.(*") {
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

// router is a small backend: it sends each message to the connections with a matching filter.
type router struct {
	connect func(ctx context.Context, c *mqttserver.Conn) (*mqttserver.Accepted, error) // nil accepts
	publish func(s *session, p *mqtt.Publish) mqtt.ReasonCode                           // nil is success
	late    bool                                                                        // acknowledge by hand, see acks

	mu       sync.Mutex
	sessions []*session
	acks     []mqttserver.Ack
	closed   int
}

type session struct {
	r     *router
	c     *mqttserver.Conn
	state *mqtt.State

	mu      sync.Mutex
	started bool
	filters []mqtt.Subscription
	queue   []*mqtt.Publish
	settled []string
	readies int
	cause   error
	bye     *mqtt.Disconnect
	done    chan struct{}
}

func (r *router) Connect(ctx context.Context, c *mqttserver.Conn) (*mqttserver.Accepted, error) {
	if r.connect != nil {
		return r.connect(ctx, c)
	}
	return r.accept(c), nil
}

func (r *router) accept(c *mqttserver.Conn) *mqttserver.Accepted {
	s := &session{r: r, c: c, state: new(mqtt.State), done: make(chan struct{})}
	r.mu.Lock()
	r.sessions = append(r.sessions, s)
	r.mu.Unlock()
	a := &mqttserver.Accepted{Session: s, State: s.state}
	if c.ClientID() == "" {
		a.ClientID = "assigned"
	}
	return a
}

// last returns the session of the client that came last.
func (r *router) last() *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sessions) == 0 {
		return nil
	}
	return r.sessions[len(r.sessions)-1]
}

func (s *session) Start(b *mqttserver.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = true
}

func (s *session) Publish(b *mqttserver.Batch, p *mqtt.Publish, ack mqttserver.Ack) {
	reason := mqtt.ReasonSuccess
	if s.r.publish != nil {
		reason = s.r.publish(s, p)
	}
	if !reason.IsError() {
		s.r.route(b, p)
	}
	if s.r.late {
		s.r.mu.Lock()
		s.r.acks = append(s.r.acks, ack)
		s.r.mu.Unlock()
		return
	}
	ack.Done(b, reason, nil)
}

// route sends p to whoever has a filter for it.
func (r *router) route(b *mqttserver.Batch, p *mqtt.Publish) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var body *mqtt.Publish
	for _, s := range r.sessions {
		qos, ok := s.wants(string(p.Topic))
		if !ok {
			continue
		}
		if body == nil {
			body = &mqtt.Publish{Topic: bytes.Clone(p.Topic), Payload: bytes.Clone(p.Payload)}
		}
		out := *body
		out.QoS = min(qos, p.QoS)
		s.send(b, &out)
	}
}

func (s *session) wants(name string) (mqtt.QoS, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.filters {
		if topic.MQTT.Match(f.Filter, name) {
			return f.QoS, true
		}
	}
	return 0, false
}

func (s *session) send(b *mqttserver.Batch, p *mqtt.Publish) mqttserver.Result {
	r := s.c.Publish(b, p, p)
	if r == mqttserver.Refused {
		s.mu.Lock()
		s.queue = append(s.queue, p)
		s.mu.Unlock()
	}
	return r
}

func (s *session) Subscribe(b *mqttserver.Batch, p *mqtt.Subscribe) {
	ack := &mqtt.Suback{ID: p.ID}
	s.mu.Lock()
	for _, f := range p.Filters {
		s.filters = append(s.filters, f)
		ack.Reasons = append(ack.Reasons, mqtt.ReasonCode(f.QoS))
	}
	s.mu.Unlock()
	s.c.Suback(b, ack)
}

func (s *session) Unsubscribe(b *mqttserver.Batch, p *mqtt.Unsubscribe) {
	ack := &mqtt.Unsuback{ID: p.ID}
	s.mu.Lock()
	for _, f := range p.Filters {
		s.filters = slices.DeleteFunc(s.filters, func(have mqtt.Subscription) bool { return have.Filter == f })
		ack.Reasons = append(ack.Reasons, mqtt.ReasonSuccess)
	}
	s.mu.Unlock()
	s.c.Unsuback(b, ack)
}

func (s *session) Settled(b *mqttserver.Batch, ref any, reason mqtt.ReasonCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = append(s.settled, string(ref.(*mqtt.Publish).Payload))
}

func (s *session) Resend(ref any) (*mqtt.Publish, bool) {
	p := *ref.(*mqtt.Publish)
	return &p, true
}

func (s *session) Ready(b *mqttserver.Batch) {
	s.mu.Lock()
	s.readies++
	queue := s.queue
	s.queue = nil
	s.mu.Unlock()
	for i, p := range queue {
		if s.c.Publish(b, p, p) == mqttserver.Refused {
			s.mu.Lock()
			s.queue = append(queue[i:len(queue):len(queue)], s.queue...)
			s.mu.Unlock()
			return
		}
	}
}

func (s *session) Closed(cause error, d *mqtt.Disconnect) {
	s.mu.Lock()
	s.cause, s.bye = cause, d
	s.mu.Unlock()
	s.r.mu.Lock()
	s.r.closed++
	s.r.sessions = slices.DeleteFunc(s.r.sessions, func(o *session) bool { return o == s })
	s.r.mu.Unlock()
	close(s.done)
}

// Subscribed implements mqttserver.Subscriptions.
func (s *session) Subscribed(filter string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.filters, func(f mqtt.Subscription) bool { return f.Filter == filter })
}

// Subscriptions implements mqttserver.Subscriptions.
func (s *session) Subscriptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.filters)
}

// world is a server on a network in memory.
type world struct {
	t      *testing.T
	srv    *mqttserver.Server
	router *router
	l      *memnet.Listener
}

// bubble runs f with a server in a synctest bubble.
func bubble(t *testing.T, r *router, o *mqttserver.Options, f func(w *world)) {
	t.Helper()
	if r == nil {
		r = new(router)
	}
	bubbleWith(t, r, o, func(w *world) {
		w.router = r
		f(w)
	})
}

// bubbleWith is bubble with any backend.
func bubbleWith(t *testing.T, b mqttserver.Backend, o *mqttserver.Options, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, srv: mqttserver.New(b, o), l: memnet.Listen("mem")}
		done := make(chan error)
		go func() { done <- w.srv.Serve(w.l, &mqttserver.ListenerOptions{Name: "mem"}) }()
		defer func() {
			w.srv.Close()
			if err := <-done; err != mqttserver.ErrServerClosed {
				t.Errorf("Serve returned %v", err)
			}
		}()
		f(w)
	})
}

// peer is the client's end of a connection, packet by packet.
type peer struct {
	t   testing.TB
	nc  net.Conn
	dec mqtt.Decoder
	in  []byte
	buf []byte
	v   mqtt.Version
}

// dial opens a connection.
func (w *world) dial() *peer {
	w.t.Helper()
	nc, err := w.l.Dial(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return newPeer(w.t, nc)
}

func newPeer(t testing.TB, nc net.Conn) *peer {
	t.Cleanup(func() { nc.Close() })
	return &peer{t: t, nc: nc, dec: mqtt.Decoder{From: mqtt.Server}, v: mqtt.Version5}
}

// client opens a connection and gets it accepted.
func (w *world) client(c *mqtt.Connect) *peer {
	w.t.Helper()
	p := w.dial()
	p.connect(c)
	return p
}

func (p *peer) connect(c *mqtt.Connect) *mqtt.Connack {
	p.t.Helper()
	if c.Version == 0 {
		c.Version = mqtt.Version5
	}
	c.CleanStart = true
	p.v = c.Version
	p.send(c)
	ack, ok := p.recv().(*mqtt.Connack)
	if !ok || ack.Reason != mqtt.ReasonSuccess {
		p.t.Fatalf("not accepted: %v", ack)
	}
	return ack
}

// subscribe subscribes to one filter.
func (p *peer) subscribe(filter string, qos mqtt.QoS) {
	p.t.Helper()
	p.send(&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: filter, QoS: qos}}})
	if _, ok := p.recv().(*mqtt.Suback); !ok {
		p.t.Fatal("no SUBACK")
	}
}

func (p *peer) send(packets ...mqtt.Packet) {
	p.t.Helper()
	var b []byte
	for _, pk := range packets {
		var err error
		if b, err = mqtt.AppendIllegal(b, pk, p.v); err != nil {
			p.t.Fatal(err)
		}
	}
	p.write(b)
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// next returns the next packet, or the error that ends the connection.
func (p *peer) next() (mqtt.Packet, error) {
	for {
		pk, n, err := p.dec.Decode(p.in, p.v)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			p.in = p.in[n:]
			return pk, nil
		}
		p.nc.SetReadDeadline(time.Now().Add(time.Minute))
		if p.buf == nil {
			p.buf = make([]byte, 32<<10)
		}
		m, err := p.nc.Read(p.buf)
		if m == 0 && err != nil {
			return nil, err
		}
		p.in = append(bytes.Clone(p.in), p.buf[:m]...)
	}
}

func (p *peer) recv() mqtt.Packet {
	p.t.Helper()
	pk, err := p.next()
	if err != nil {
		p.t.Fatalf("no packet: %v", err)
	}
	return pk
}

// expect compares the next packets with their text forms.
func (p *peer) expect(want ...mqtt.Packet) {
	p.t.Helper()
	for _, w := range want {
		if got := p.recv().String(); got != w.String() {
			p.t.Fatalf("got  %s\nwant %s", got, w)
		}
	}
}

// expectEnd waits for the end of the connection.
func (p *peer) expectEnd() {
	p.t.Helper()
	pk, err := p.next()
	if pk != nil || !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !isReset(err) {
		p.t.Fatalf("got %v, %v instead of the end", pk, err)
	}
}

func isReset(err error) bool { return err != nil && strings.Contains(err.Error(), "reset") }

// expectDisconnect waits for the server's word: DISCONNECT with the code and the end in version 5, else only the end.
func (p *peer) expectDisconnect(code mqtt.ReasonCode) {
	p.t.Helper()
	if p.v == mqtt.Version5 {
		d, ok := p.recv().(*mqtt.Disconnect)
		if !ok || d.Reason != code {
			p.t.Fatalf("got %v, want DISCONNECT with %v", d, code)
		}
	}
	p.expectEnd()
}

func publishTo(name, payload string, qos mqtt.QoS, id uint16) *mqtt.Publish {
	return &mqtt.Publish{Topic: []byte(name), Payload: []byte(payload), QoS: qos, ID: id}
}
