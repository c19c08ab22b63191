package amqpclient091

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/internal/memnet"
)

// broker is a small broker for tests, on the machine's server role: direct routing, queues in memory, no rights. Tests script
// what it does wrong.
type broker struct {
	t testing.TB
	l *memnet.Listener

	mu        sync.Mutex
	exchanges map[string]string // kinds by name
	queues    map[string]*fakeQueue
	bindings  []fakeBinding
	peers     []*peer // that are connected
	dials     int
	names     int      // of queues that the server has named
	log       []string // methods that came
	ready     bool     // consumers have credit again
	config    amqp091.Config
	offer     string // SASL mechanisms

	// Scripts.
	hold    bool                                                      // confirm nothing
	sticky  bool                                                      // exclusive queues outlive their connection
	method  func(p *peer, ch *amqp091.Channel, m amqp091.Method) bool // true: it is answered
	start   func(p *peer, m *amqp091.ConnectionStartOK) bool          // true: it is answered
	publish func(p *peer, ch *amqp091.Channel, e *amqp091.Event) bool // true: it is handled
	refuse  error                                                     // of dialing
}

type fakeQueue struct {
	name      string
	declare   amqp091.QueueDeclare
	owner     *peer
	ready     []*fakeMessage
	consumers []*fakeConsumer
}

type fakeMessage struct {
	exchange, key string
	props         amqp091.RawProperties
	body          []byte
	redelivered   bool
	q             *fakeQueue
}

type fakeBinding struct{ source, key, queue string }

type fakeConsumer struct {
	p  *peer
	ch *amqp091.Channel
	s  *amqp091.Consumer
	q  *fakeQueue
}

// peer is a connection to the server.
type peer struct {
	s  *broker
	n  int // from 1
	nc net.Conn
	m  *amqp091.Conn
	in codec.Buffer

	channels []*amqp091.Channel
	out      []byte
	wake     chan struct{}
	done     chan struct{}
	closing  bool
	gone     bool
	stalled  bool // writes nothing
	mute     bool // has no heartbeats
	deaf     bool // reads nothing
}

func newBroker(t testing.TB) *broker {
	s := &broker{
		t: t, l: memnet.Listen("server"), exchanges: map[string]string{"": "direct", "amq.direct": "direct"},
		queues: make(map[string]*fakeQueue), config: amqp091.Config{Role: amqp091.Server, Heartbeat: 10 * time.Second},
		offer: "PLAIN AMQPLAIN",
	}
	t.Cleanup(s.close)
	if *streams {
		s.l.OnDial(func(int) (*memnet.Options, error) { return &memnet.Options{Protocol: amqp091.Streams}, nil })
	}
	go func() {
		for {
			nc, err := s.l.Accept()
			if err != nil {
				return
			}
			if *streams {
				nc = newBridge(nc)
			}
			s.accept(nc)
		}
	}()
	return s
}

func (s *broker) accept(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials++
	p := &peer{s: s, n: s.dials, nc: nc, m: amqp091.NewConn(&s.config), wake: make(chan struct{}, 1), done: make(chan struct{})}
	s.peers = append(s.peers, p)
	go p.read()
	go p.write()
	go p.tick()
}

func (s *broker) close() {
	s.l.Close()
	s.drop()
}

// dial is a DialFunc.
func (s *broker) dial(ctx context.Context, _ *url.URL) (net.Conn, error) {
	s.mu.Lock()
	err := s.refuse
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s.l.Dial(ctx)
}

// client returns a client of the server.
func (s *broker) client(o *Options) *Client {
	s.t.Helper()
	if o == nil {
		o = &Options{}
	}
	o.Dialers = map[string]DialFunc{"mem": s.dial}
	if o.Backoff == (Backoff{}) {
		o.Backoff = Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond}
	}
	c, err := Dial(context.Background(), "mem://server", o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// do runs f with the lock held, and then sends what there is to send.
func (s *broker) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	for s.ready {
		s.ready = false
		for _, q := range s.queues {
			q.pump()
		}
	}
	for _, p := range s.peers {
		p.flush()
	}
}

// drop cuts all connections.
func (s *broker) drop() {
	s.do(func() {
		for _, p := range slices.Clone(s.peers) {
			p.drop()
		}
	})
}

// last returns the latest connection.
func (s *broker) last() *peer { return s.peers[len(s.peers)-1] }

// channel returns the channel on which the connection has a consumer of a queue.
func (s *broker) consumer(queue string) *fakeConsumer {
	q := s.queues[queue]
	if q == nil || len(q.consumers) == 0 {
		s.t.Fatalf("no consumer on queue %q", queue)
	}
	return q.consumers[0]
}

// took returns the methods that came since the last call, without those of the handshake.
func (s *broker) took() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.log, "\n")
	s.log = nil
	return all
}

// put puts a message into a queue.
func (s *broker) put(queue, body string) {
	s.do(func() {
		q := s.queues[queue]
		q.ready = append(q.ready, &fakeMessage{key: queue, body: []byte(body), q: q})
		q.pump()
	})
}

// count returns how many messages are ready in a queue.
func (s *broker) count(queue string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.queues[queue]; q != nil {
		return len(q.ready)
	}
	return -1
}

func (p *peer) read() {
	for {
		p.s.mu.Lock()
		deaf := p.deaf
		p.s.mu.Unlock()
		if deaf {
			<-p.done
			return
		}
		n, err := p.in.Fill(p.nc)
		p.s.do(func() {
			if n > 0 && !p.gone {
				p.feed()
			}
			if err != nil {
				p.drop()
			}
		})
		if err != nil {
			return
		}
	}
}

// tick lets the machine have its time.
func (p *peer) tick() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-p.done:
			return
		}
		p.s.do(func() {
			if !p.gone && !p.mute {
				p.m.Advance(time.Now())
				p.events()
			}
		})
	}
}

func (p *peer) feed() {
	for !p.closing && !p.gone {
		n, err := p.m.Receive(time.Now(), p.in.Bytes())
		p.events()
		p.in.Discard(n)
		if n == 0 || err != nil {
			return
		}
	}
	p.in.Discard(p.in.Len())
}

func (p *peer) write() {
	for range p.wake {
		p.s.mu.Lock()
		b, closing := p.out, p.closing
		p.out = nil
		p.s.mu.Unlock()
		if len(b) > 0 {
			p.nc.Write(b)
		}
		if closing {
			p.nc.Close()
		}
	}
}

// flush lets the writer write. The lock is held.
func (p *peer) flush() {
	if p.stalled || p.gone {
		return
	}
	p.out = p.m.AppendConfirms(time.Now(), p.out)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// drop ends the connection as if it was cut. The lock is held.
func (p *peer) drop() {
	if p.gone {
		return
	}
	p.gone = true
	p.nc.Close()
	close(p.wake)
	close(p.done)
	s := p.s
	s.peers = slices.DeleteFunc(s.peers, func(o *peer) bool { return o == p })
	for _, ch := range p.channels {
		p.endChannel(ch)
	}
	for _, q := range s.queues {
		if q.owner == p && !s.sticky {
			delete(s.queues, q.name)
		}
	}
}

// endChannel gives back what the channel has not settled.
func (p *peer) endChannel(ch *amqp091.Channel) {
	for _, q := range p.s.queues {
		q.consumers = slices.DeleteFunc(q.consumers, func(c *fakeConsumer) bool { return c.ch == ch })
	}
	requeue(ch.Unsettled())
}

func requeue(refs []any) {
	queues := make(map[*fakeQueue]bool)
	for _, ref := range slices.Backward(refs) {
		m := ref.(*fakeMessage)
		m.redelivered = true
		m.q.ready = slices.Insert(m.q.ready, 0, m)
		queues[m.q] = true
	}
	for q := range queues {
		q.pump()
	}
}

func (p *peer) events() {
	for {
		e, ok := p.m.Next()
		if !ok {
			return
		}
		p.event(&e)
	}
}

func (p *peer) event(e *amqp091.Event) {
	now := time.Now()
	switch e.Kind {
	case amqp091.EventSend:
		p.out, _ = e.AppendTo(p.out)
	case amqp091.EventHeader:
		p.m.Start(now, p.s.offer)
	case amqp091.EventStartOK:
		if f := p.s.start; f == nil || !f(p, e.Method.(*amqp091.ConnectionStartOK)) {
			p.m.Tune(now)
		}
	case amqp091.EventSecureOK:
		p.m.Tune(now)
	case amqp091.EventOpen:
		p.m.OpenOK(now)
	case amqp091.EventUpdateSecret:
		p.record(0, e.Method)
		p.m.UpdateSecretOK(now)
	case amqp091.EventChannelOpen:
		p.channels = append(p.channels, e.Channel)
		e.Channel.OpenOK(now)
	case amqp091.EventMethod:
		p.record(e.Channel.ID(), e.Method)
		if f := p.s.method; f == nil || !f(p, e.Channel, e.Method) {
			if err := p.handle(e.Channel, e.Method); err != nil {
				e.Channel.Close(now, err)
			}
		}
	case amqp091.EventPublish:
		if f := p.s.publish; f == nil || !f(p, e.Channel, e) {
			p.published(e)
		}
	case amqp091.EventSettled:
		p.s.log = append(p.s.log, fmt.Sprintf("%d/%d %d %s", p.n, e.Channel.ID(), len(e.Refs), e.Settlement))
		if e.Settlement == amqp091.Requeued || e.Settlement == amqp091.Recovered {
			requeue(e.Refs)
		}
	case amqp091.EventReady:
		p.s.ready = true
	case amqp091.EventChannelClose:
		p.s.log = append(p.s.log, fmt.Sprintf("%d/%d channel.close", p.n, e.Channel.ID()))
		p.endChannel(e.Channel)
		e.Channel.CloseOK(now)
	case amqp091.EventChannelClosed:
		p.endChannel(e.Channel)
	case amqp091.EventDown:
		p.s.log = append(p.s.log, fmt.Sprintf("%d connection.close %v", p.n, p.m.Err()))
		p.m.CloseOK(now)
	case amqp091.EventClose:
		p.closing = true
	}
}

func (p *peer) record(channel uint16, m amqp091.Method) {
	p.s.log = append(p.s.log, fmt.Sprintf("%d/%d %s", p.n, channel, m))
}

// handle does what a method asks for.
func (p *peer) handle(ch *amqp091.Channel, m amqp091.Method) *amqp091.Error {
	s, now := p.s, time.Now()
	switch m := m.(type) {
	case *amqp091.ExchangeDeclare:
		kind, ok := s.exchanges[m.Exchange]
		switch {
		case m.Passive && !ok:
			return amqp091.SoftError(amqp091.NotFound, "no exchange '%s' in vhost '/'", m.Exchange)
		case !m.Passive && ok && kind != m.Type:
			return amqp091.SoftError(amqp091.PreconditionFailed, "inequivalent arg 'type' for exchange '%s'", m.Exchange)
		case !m.Passive:
			s.exchanges[m.Exchange] = m.Type
		}
		ch.Send(now, &amqp091.ExchangeDeclareOK{})
	case *amqp091.ExchangeDelete:
		delete(s.exchanges, m.Exchange)
		ch.Send(now, &amqp091.ExchangeDeleteOK{})
	case *amqp091.ExchangeBind:
		ch.Send(now, &amqp091.ExchangeBindOK{})
	case *amqp091.ExchangeUnbind:
		ch.Send(now, &amqp091.ExchangeUnbindOK{})
	case *amqp091.QueueDeclare:
		return p.declare(ch, m)
	case *amqp091.QueueBind:
		if err := p.check(m.Queue); err != nil {
			return err
		}
		if _, ok := s.exchanges[m.Exchange]; !ok {
			return amqp091.SoftError(amqp091.NotFound, "no exchange '%s' in vhost '/'", m.Exchange)
		}
		if b := (fakeBinding{m.Exchange, m.RoutingKey, m.Queue}); !slices.Contains(s.bindings, b) {
			s.bindings = append(s.bindings, b)
		}
		ch.Send(now, &amqp091.QueueBindOK{})
	case *amqp091.QueueUnbind:
		s.bindings = slices.DeleteFunc(s.bindings, func(b fakeBinding) bool { return b == fakeBinding{m.Exchange, m.RoutingKey, m.Queue} })
		ch.Send(now, &amqp091.QueueUnbindOK{})
	case *amqp091.QueuePurge:
		ch.Send(now, &amqp091.QueuePurgeOK{MessageCount: uint32(len(s.queues[m.Queue].ready))})
		s.queues[m.Queue].ready = nil
	case *amqp091.QueueDelete:
		n := 0
		if q := s.queues[m.Queue]; q != nil {
			n = len(q.ready)
			for _, c := range q.consumers {
				c.end()
			}
			delete(s.queues, m.Queue)
		}
		ch.Send(now, &amqp091.QueueDeleteOK{MessageCount: uint32(n)})
	case *amqp091.BasicConsume:
		if err := p.check(m.Queue); m.Queue != replyQueue && err != nil {
			return err
		}
		c, _ := ch.Consume(m.ConsumerTag, m.NoAck)
		ch.Send(now, &amqp091.BasicConsumeOK{ConsumerTag: m.ConsumerTag})
		if q := s.queues[m.Queue]; q != nil {
			q.consumers = append(q.consumers, &fakeConsumer{p, ch, c, q})
			q.pump()
		}
	case *amqp091.BasicCancel:
		if c := ch.Consumer(m.ConsumerTag); c != nil {
			ch.Cancel(c)
			for _, q := range s.queues {
				q.consumers = slices.DeleteFunc(q.consumers, func(o *fakeConsumer) bool { return o.s == c })
			}
		}
		ch.Send(now, &amqp091.BasicCancelOK{ConsumerTag: m.ConsumerTag})
	case *amqp091.BasicGet:
		return p.get(ch, m)
	case *amqp091.TxCommit:
		ch.Send(now, &amqp091.TxCommitOK{})
	case *amqp091.TxRollback:
		ch.Send(now, &amqp091.TxRollbackOK{})
	}
	return nil
}

// check returns why a connection may not use a queue.
func (p *peer) check(queue string) *amqp091.Error {
	q := p.s.queues[queue]
	switch {
	case q == nil:
		return amqp091.SoftError(amqp091.NotFound, "no queue '%s' in vhost '/'", queue)
	case q.owner != nil && q.owner != p:
		return amqp091.SoftError(amqp091.ResourceLocked, "cannot obtain exclusive access to locked queue '%s'", queue)
	}
	return nil
}

func (p *peer) declare(ch *amqp091.Channel, m *amqp091.QueueDeclare) *amqp091.Error {
	s := p.s
	if m.Queue == "" {
		s.names++
		m.Queue = fmt.Sprintf("amq.gen-%d", s.names)
	}
	err := p.check(m.Queue)
	if err != nil && (m.Passive || err.Code != amqp091.NotFound) {
		return err
	}
	if err != nil {
		q := &fakeQueue{name: m.Queue, declare: *m}
		if m.Exclusive {
			q.owner = p
		}
		s.queues[m.Queue] = q
	}
	q := s.queues[m.Queue]
	if !m.Passive && q.declare.Durable != m.Durable {
		return amqp091.SoftError(amqp091.PreconditionFailed, "inequivalent arg 'durable' for queue '%s'", m.Queue)
	}
	ch.Send(time.Now(), &amqp091.QueueDeclareOK{
		Queue: m.Queue, MessageCount: uint32(len(q.ready)), ConsumerCount: uint32(len(q.consumers)),
	})
	return nil
}

func (p *peer) get(ch *amqp091.Channel, m *amqp091.BasicGet) *amqp091.Error {
	if err := p.check(m.Queue); err != nil {
		return err
	}
	q := p.s.queues[m.Queue]
	if len(q.ready) == 0 {
		ch.Send(time.Now(), &amqp091.BasicGetEmpty{})
		return nil
	}
	t := q.ready[0]
	q.ready = q.ready[1:]
	tag, _ := ch.Get(time.Now(), m.NoAck, t)
	p.events()
	p.out, _ = amqp091.AppendGetOK(p.out, ch.ID(), tag, t.redelivered, t.exchange, t.key, uint32(len(q.ready)))
	p.content(ch, t)
	return nil
}

func (p *peer) content(ch *amqp091.Channel, m *fakeMessage) {
	p.out = amqp091.AppendContentHeader(p.out, ch.ID(), uint64(len(m.body)), m.props)
	p.out = amqp091.AppendBody(p.out, ch.ID(), m.body, p.m.FrameMax())
}

// pump delivers what it can.
func (q *fakeQueue) pump() {
	for len(q.ready) > 0 {
		i := slices.IndexFunc(q.consumers, func(c *fakeConsumer) bool { return c.deliver(q.ready[0]) })
		if i < 0 {
			return
		}
		q.ready = q.ready[1:]
		c := q.consumers[i]
		q.consumers = append(slices.Delete(q.consumers, i, i+1), c)
	}
}

func (c *fakeConsumer) deliver(m *fakeMessage) bool {
	tag, ok := c.ch.Deliver(time.Now(), c.s, m)
	if !ok {
		return false
	}
	c.p.events()
	c.p.out, _ = amqp091.AppendDeliver(c.p.out, c.ch.ID(), c.s.Tag(), tag, m.redelivered, m.exchange, m.key)
	c.p.content(c.ch, m)
	return true
}

// end cancels the consumer at the client.
func (c *fakeConsumer) end() {
	if c.ch.Cancel(c.s) {
		c.ch.Send(time.Now(), &amqp091.BasicCancel{ConsumerTag: c.s.Tag(), NoWait: true})
		c.p.events()
	}
}

func (p *peer) published(e *amqp091.Event) {
	s, t := p.s, e.Content
	exchange, key := string(t.Exchange), string(t.RoutingKey)
	if _, ok := s.exchanges[exchange]; !ok {
		e.Channel.Close(time.Now(), &amqp091.Error{
			Code: amqp091.NotFound, Text: "no exchange '" + exchange + "' in vhost '/'", Method: amqp091.IDBasicPublish,
		})
		return
	}
	var to []*fakeQueue
	if exchange == "" {
		if q := s.queues[key]; q != nil {
			to = append(to, q)
		}
	}
	for _, b := range s.bindings {
		if q := s.queues[b.queue]; q != nil && b.source == exchange && b.key == key {
			to = append(to, q)
		}
	}
	m := fakeMessage{exchange: exchange, key: key, props: slices.Clone(t.Properties), body: slices.Clone(t.Body)}
	if len(to) == 0 && t.Mandatory && e.Channel.Return(time.Now()) {
		p.events()
		p.out, _ = amqp091.AppendReturn(p.out, e.Channel.ID(), amqp091.NoRoute, "NO_ROUTE", exchange, key)
		p.content(e.Channel, &m)
	}
	for _, q := range to {
		own := m
		own.q = q
		q.ready = append(q.ready, &own)
		q.pump()
	}
	if !s.hold {
		e.Channel.Confirm(e.Seq, true)
	}
}
