package mqttbroker

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// world is a broker behind a server on a network in memory, and the peers of a test. It lives in a synctest bubble.
type world struct {
	*Broker
	t      *testing.T
	server *mqttserver.Server
	net    *memnet.Listener

	mu    sync.Mutex
	peers []*peer
}

// in runs a test in a bubble with a world. Options without Authenticate let everybody in; $SYS is off unless asked for.
func in(t *testing.T, opts *Options, test func(w *world)) {
	t.Helper()
	inServer(t, opts, nil, test)
}

// inServer is in with options for the server.
func inServer(t *testing.T, opts *Options, so *mqttserver.Options, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, opts, so)
		defer w.close()
		test(w)
	})
}

// run is in as a subtest, which is named after a normative statement.
func run(t *testing.T, name string, opts *Options, test func(w *world)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { in(t, opts, test) })
}

func newWorld(t *testing.T, opts *Options, so *mqttserver.Options) *world {
	o := Options{}
	if opts != nil {
		o = *opts
	}
	if o.Authenticate == nil {
		o.Authenticate = AllowAll
	}
	if o.SysInterval == 0 {
		o.SysInterval = -1
	}
	b, err := New(&o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Broker: b, t: t, server: mqttserver.New(b, so), net: memnet.Listen("broker")}
	go w.server.Serve(w.net, nil)
	return w
}

func (w *world) close() {
	for _, p := range w.peers {
		p.conn.Close()
	}
	w.server.Close()
	w.Broker.Close()
	synctest.Wait()
}

// wait lets everything happen that can happen now.
func (w *world) wait() { synctest.Wait() }

// sleep lets time pass for one goroutine among others.
func (w *world) sleep(d time.Duration) { time.Sleep(d) }

// deadlineCount returns how many points in time are noted.
func (w *world) deadlineCount() int {
	w.deadlines.mu.Lock()
	defer w.deadlines.mu.Unlock()
	return len(w.deadlines.heap)
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// peer is a client made of packets. A goroutine collects what comes; by itself it answers messages only if auto is set.
type peer struct {
	w    *world
	t    *testing.T
	id   string
	v    mqtt.Version
	conn net.Conn
	ack  *mqtt.Connack

	mu    sync.Mutex
	gate  chan struct{}       // reading waits until it is closed
	react func(q mqtt.Packet) // takes what comes, if it is set
	auto  bool
	got   []mqtt.Packet
	end   bool
	last  uint16
}

// dial opens a connection that has sent nothing yet.
func (w *world) dial(v mqtt.Version) *peer {
	w.t.Helper()
	conn, err := w.net.Dial(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	p := &peer{w: w, t: w.t, v: v, conn: conn}
	w.mu.Lock()
	w.peers = append(w.peers, p)
	w.mu.Unlock()
	go p.read()
	return p
}

// read collects packets until the connection ends.
func (p *peer) read() {
	var buf []byte
	chunk := make([]byte, 64<<10)
	for {
		p.mu.Lock()
		gate := p.gate
		p.mu.Unlock()
		if gate != nil {
			<-gate
		}
		n, err := p.conn.Read(chunk)
		buf = append(buf, chunk[:n]...)
		for {
			size, ferr := mqtt.FrameSize(buf)
			if ferr != nil || size == 0 || size > len(buf) {
				break
			}
			dec := mqtt.Decoder{From: mqtt.Server}
			q, _, derr := dec.Decode(bytes.Clone(buf[:size]), p.v)
			if derr != nil {
				p.t.Errorf("%s: undecodable packet % x: %v", p.id, buf[:size], derr)
				return
			}
			buf = buf[size:]
			p.collect(q)
		}
		if err != nil {
			p.mu.Lock()
			p.end = true
			p.mu.Unlock()
			return
		}
	}
}

// stop makes the peer stop reading, goOn makes it read again.
func (p *peer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = make(chan struct{})
}

func (p *peer) goOn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.gate)
	p.gate = nil
}

func (p *peer) collect(q mqtt.Packet) {
	if p.react != nil {
		p.react(q)
		return
	}
	p.mu.Lock()
	auto := p.auto
	_, message := q.(*mqtt.Publish)
	if message || !auto {
		p.got = append(p.got, q)
	}
	p.mu.Unlock()
	if auto {
		p.answer(q)
	}
}

// answer does what the protocol asks for.
func (p *peer) answer(q mqtt.Packet) {
	switch q := q.(type) {
	case *mqtt.Publish:
		switch q.QoS {
		case mqtt.QoS1:
			p.send(&mqtt.Puback{ID: q.ID})
		case mqtt.QoS2:
			p.send(&mqtt.Pubrec{ID: q.ID})
		}
	case *mqtt.Pubrec:
		p.send(&mqtt.Pubrel{ID: q.ID})
	case *mqtt.Pubrel:
		p.send(&mqtt.Pubcomp{ID: q.ID})
	}
}

// automatic makes the peer answer by itself from now on; only messages are collected then.
func (p *peer) automatic() *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.auto = true
	return p
}

// send sends a packet. That the connection is closed is not an error.
func (p *peer) send(q mqtt.Packet) {
	b, err := mqtt.AppendIllegal(nil, q, p.v)
	if err != nil {
		p.t.Errorf("%s: %v", p.id, err)
	}
	p.conn.Write(b)
}

// next returns the next packet, once nothing more happens.
func (p *peer) next() mqtt.Packet {
	p.t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.got) == 0 {
		p.t.Fatalf("%s: no packet came (connection closed: %t)", p.id, p.end)
	}
	q := p.got[0]
	p.got = p.got[1:]
	return q
}

// expect returns the next packet, which must have a type.
func expect[P mqtt.Packet](p *peer) P {
	p.t.Helper()
	q := p.next()
	typed, ok := q.(P)
	if !ok {
		p.t.Fatalf("%s: got %v", p.id, q)
	}
	return typed
}

// all returns everything that came.
func (p *peer) all() []mqtt.Packet {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.got
	p.got = nil
	return got
}

// messages returns everything that came as one text: topic=payload of each message, other packets by their type.
func (p *peer) messages() string {
	var words []string
	for _, q := range p.all() {
		if m, ok := q.(*mqtt.Publish); ok {
			words = append(words, fmt.Sprintf("%s=%s", m.Topic, m.Payload))
		} else {
			words = append(words, strings.Fields(q.String())[0])
		}
	}
	return strings.Join(words, " ")
}

// want fails unless exactly these messages came.
func (p *peer) want(text string) {
	p.t.Helper()
	if got := p.messages(); got != text {
		p.t.Errorf("%s: got %q, want %q", p.id, got, text)
	}
}

// closed reports whether the broker has closed the connection.
func (p *peer) closed() bool {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end
}

// connect connects a version 5 client; edit may change CONNECT.
func (w *world) connect(id string, edit ...func(c *mqtt.Connect)) *peer {
	w.t.Helper()
	return w.connectVersion(mqtt.Version5, id, edit...)
}

func (w *world) connectVersion(v mqtt.Version, id string, edit ...func(c *mqtt.Connect)) *peer {
	w.t.Helper()
	p := w.begin(v, id, edit...)
	if p.ack = expect[*mqtt.Connack](p); p.ack.Reason.IsError() {
		w.t.Fatalf("%s: refused: %v", id, p.ack)
	}
	return p
}

// refused connects a client that must be refused, and returns the reason.
func (w *world) refused(v mqtt.Version, id string, edit ...func(c *mqtt.Connect)) mqtt.ReasonCode {
	w.t.Helper()
	p := w.begin(v, id, edit...)
	ack := expect[*mqtt.Connack](p)
	if !ack.Reason.IsError() || !p.closed() {
		w.t.Errorf("%s: not refused: %v", id, ack)
	}
	return ack.Reason
}

func (w *world) begin(v mqtt.Version, id string, edit ...func(c *mqtt.Connect)) *peer {
	w.t.Helper()
	return w.start(w.dial(v), id, edit...)
}

// beginAutomatic is begin for a peer that answers from its first message on.
func (w *world) beginAutomatic(v mqtt.Version, id string, edit ...func(c *mqtt.Connect)) *peer {
	w.t.Helper()
	return w.start(w.dial(v).automatic(), id, edit...)
}

func (w *world) start(p *peer, id string, edit ...func(c *mqtt.Connect)) *peer {
	w.t.Helper()
	p.id = id
	c := &mqtt.Connect{Version: p.v, ClientID: id, CleanStart: true}
	for _, f := range edit {
		f(c)
	}
	p.send(c)
	return p
}

// Edits of CONNECT.
func resume(c *mqtt.Connect) { c.CleanStart = false }

func expiry(seconds uint32) func(c *mqtt.Connect) {
	return func(c *mqtt.Connect) {
		c.Properties = c.Properties.AppendUint32(mqtt.PropSessionExpiryInterval, seconds)
	}
}

func receiveMaximum(n uint16) func(c *mqtt.Connect) {
	return func(c *mqtt.Connect) { c.Properties = c.Properties.AppendUint16(mqtt.PropReceiveMaximum, n) }
}

func user(name string) func(c *mqtt.Connect) {
	return func(c *mqtt.Connect) {
		c.Username, c.HasUsername, c.Password, c.HasPassword = name, true, []byte("secret"), true
	}
}

func withWill(w mqtt.Will) func(c *mqtt.Connect) { return func(c *mqtt.Connect) { c.Will = &w } }

func (p *peer) nextID() uint16 {
	p.last++
	return p.last
}

// publish sends a message: "topic=payload".
func (p *peer) publish(text string, qos mqtt.QoS, edit ...func(m *mqtt.Publish)) uint16 {
	topic, payload, _ := strings.Cut(text, "=")
	m := &mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos}
	if qos > 0 {
		m.ID = p.nextID()
	}
	for _, f := range edit {
		f(m)
	}
	p.send(m)
	return m.ID
}

// Edits of PUBLISH.
func retain(m *mqtt.Publish) { m.Retain = true }

func messageExpiry(seconds uint32) func(m *mqtt.Publish) {
	return func(m *mqtt.Publish) {
		m.Properties = m.Properties.AppendUint32(mqtt.PropMessageExpiryInterval, seconds)
	}
}

// pub publishes and completes the exchange; it returns the reason of PUBACK or PUBREC.
func (p *peer) pub(text string, qos mqtt.QoS, edit ...func(m *mqtt.Publish)) mqtt.ReasonCode {
	p.t.Helper()
	id := p.publish(text, qos, edit...)
	switch qos {
	case mqtt.QoS1:
		return expect[*mqtt.Puback](p).Reason
	case mqtt.QoS2:
		rec := expect[*mqtt.Pubrec](p)
		if rec.Reason.IsError() {
			return rec.Reason
		}
		p.send(&mqtt.Pubrel{ID: id})
		expect[*mqtt.Pubcomp](p)
		return rec.Reason
	}
	synctest.Wait()
	return 0
}

// sub subscribes to filters at a QoS; they must be granted.
func (p *peer) sub(qos mqtt.QoS, filters ...string) {
	p.t.Helper()
	var list []mqtt.Subscription
	for _, f := range filters {
		list = append(list, mqtt.Subscription{Filter: f, QoS: qos})
	}
	for _, r := range p.subscribe(0, list...) {
		if r.IsError() {
			p.t.Fatalf("%s: %v refused: %v", p.id, filters, r)
		}
	}
}

// subscribe subscribes, with a subscription identifier if id is not 0, and returns the reasons. Messages that come
// before SUBACK stay.
func (p *peer) subscribe(id uint32, list ...mqtt.Subscription) []mqtt.ReasonCode {
	p.t.Helper()
	s := &mqtt.Subscribe{ID: p.nextID(), Filters: list}
	if id != 0 {
		s.Properties = s.Properties.AppendUvarint(mqtt.PropSubscriptionIdentifier, id)
	}
	p.mu.Lock()
	auto := p.auto
	p.auto = false
	p.mu.Unlock()
	p.send(s)
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.auto = auto
	for i, q := range p.got {
		if ack, ok := q.(*mqtt.Suback); ok {
			if ack.ID != s.ID {
				p.t.Errorf("SUBACK for %d instead of %d", ack.ID, s.ID)
			}
			p.got = slices.Delete(p.got, i, i+1)
			return ack.Reasons
		}
	}
	p.t.Fatalf("%s: no SUBACK in %v", p.id, p.got)
	return nil
}

// unsub unsubscribes and returns the reasons.
func (p *peer) unsub(filters ...string) []mqtt.ReasonCode {
	p.t.Helper()
	p.send(&mqtt.Unsubscribe{ID: p.nextID(), Filters: filters})
	return expect[*mqtt.Unsuback](p).Reasons
}

// drop ends the connection without a word, leave with DISCONNECT.
func (p *peer) drop() {
	p.conn.Close()
	synctest.Wait()
}

func (p *peer) leave(edit ...func(d *mqtt.Disconnect)) {
	d := &mqtt.Disconnect{}
	for _, f := range edit {
		f(d)
	}
	p.send(d)
	p.drop()
}
