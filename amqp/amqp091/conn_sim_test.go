package amqp091

import (
	"flag"
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"
)

var simSeed = flag.Int64("conn.seed", 0, "run the simulation of this seed only")

// TestConnSimulation runs clients against servers: both machines, over streams that cut frames anywhere and are slow, with
// random publishing, confirming, settling, closing and reopening of channels. Nothing may be lost, come twice or be more
// than the credit, and both sides agree on what became of each message.
func TestConnSimulation(t *testing.T) {
	seeds := int64(50)
	if testing.Short() {
		seeds = 20
	}
	for seed := int64(1); seed <= seeds; seed++ {
		if *simSeed != 0 {
			seed = *simSeed
		}
		w := &simWorld{t: t, rnd: rand.New(rand.NewSource(seed)), now: time.Unix(1, 0), seed: seed}
		w.run()
		if t.Failed() || *simSeed != 0 {
			return
		}
	}
}

// simMessage is a message in a simulation.
type simMessage struct {
	id       int
	routable bool
	large    int

	// What the client knows.
	confirms, nacks, returns int
	unconfirmed              bool // when its channel ended
	// What the server decided.
	seq             uint64
	refused         bool
	ready, consumed int
}

func (m *simMessage) body() []byte {
	return append(fmt.Appendf(nil, "%d.", m.id), make([]byte, m.large)...)
}

func simNumber(body []byte) (n int) {
	fmt.Sscanf(string(body), "%d.", &n)
	return n
}

// simPipe is one direction of the stream.
type simPipe struct{ b []byte }

// simWorld is a client and a server.
type simWorld struct {
	t       *testing.T
	rnd     *rand.Rand
	now     time.Time
	seed    int64
	cfg     [3]Config
	c, s    *Conn
	toS     simPipe // under way to the server
	toC     simPipe
	inS     []byte // arrived, and not taken
	inC     []byte
	steps   int
	closing bool

	messages []*simMessage
	channels map[uint16]*simClientChannel
	served   map[*Channel]*simServerChannel
	queue    []*simMessage
}

type simClientChannel struct {
	ch         *Channel
	open       bool
	closed     bool
	prefetch   int
	deliveries map[uint64]int // tag → message
	consuming  bool
}

type simServerChannel struct {
	ch       *Channel
	consumer *Consumer
	held     []*simMessage // to be confirmed
}

func (w *simWorld) failf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d, step %d: %s", w.seed, w.steps, fmt.Sprintf(format, args...))
}

func (w *simWorld) check(err error) {
	if err != nil {
		w.failf("%v", err)
	}
}

func (w *simWorld) run() {
	frame := uint32(4096 << w.rnd.Intn(3))
	w.cfg[Server] = Config{Role: Server, FrameMax: frame, Heartbeat: 10 * time.Second}
	w.cfg[Client] = Config{Role: Client, Heartbeat: 8 * time.Second}
	w.c, w.s = NewConn(&w.cfg[Client]), NewConn(&w.cfg[Server])
	w.channels, w.served = make(map[uint16]*simClientChannel), make(map[*Channel]*simServerChannel)
	w.check(w.c.Connect(w.now))
	for w.steps = range 3000 {
		w.step()
	}
	// The end: no new work, then everything is confirmed and settled.
	w.closing = true
	for w.steps = 3000; w.steps < 60_000 && !w.quiet(); w.steps++ {
		w.step()
	}
	if !w.quiet() {
		w.failf("no end: %d bytes to the server, %d to the client, queue %d", len(w.toS.b)+len(w.inS), len(w.toC.b)+len(w.inC), len(w.queue))
	}
	w.verify()
	w.c.Close(w.now, nil)
	for range 5000 {
		w.drainClient()
		w.move()
		w.advance()
	}
	if w.c.phase != phaseClosed || w.s.phase != phaseClosed || w.c.Err() != nil || w.s.Err() != nil {
		w.failf("closed as %d and %d, %v and %v", w.c.phase, w.s.phase, w.c.Err(), w.s.Err())
	}
}

// quiet reports whether nothing is left to do.
func (w *simWorld) quiet() bool {
	for _, sc := range w.served {
		if sc.ch.Open() && (len(sc.held) > 0 || sc.ch.UnsettledCount() > 0) {
			return false
		}
	}
	for _, cc := range w.channels {
		if cc.open && (len(cc.deliveries) > 0 || cc.ch.UnconfirmedCount() > 0 || !cc.consuming) {
			return false
		}
	}
	return len(w.toS.b)+len(w.toC.b)+len(w.inS)+len(w.inC)+len(w.queue) == 0
}

// verify compares what both sides know.
func (w *simWorld) verify() {
	for _, m := range w.messages {
		switch {
		case m.unconfirmed:
		case m.confirms+m.nacks != 1, m.refused != (m.nacks == 1):
			w.failf("message %d: %+v", m.id, m)
		case !m.refused && m.routable != (m.returns == 0):
			w.failf("message %d is routable: %v, returned %d times", m.id, m.routable, m.returns)
		}
		if want := 0; m.consumed != want && (!m.routable || m.refused) || m.ready > 0 {
			w.failf("message %d: %+v", m.id, m)
		}
		if m.routable && !m.refused && m.seq != 0 && m.consumed != 1 {
			w.failf("message %d is consumed %d times", m.id, m.consumed)
		}
	}
}

func (w *simWorld) step() {
	switch w.rnd.Intn(10) {
	case 0, 1, 2, 3, 4:
		w.move()
	case 5, 6, 7:
		w.act()
	case 8:
		w.confirm()
	case 9:
		w.advance()
	}
	w.drainClient()
	w.drainServer()
}

func (w *simWorld) advance() {
	w.now = w.now.Add(time.Duration(w.rnd.Intn(int(time.Second / 4))))
	w.c.Advance(w.now)
	w.s.Advance(w.now)
	w.drainClient()
	w.drainServer()
}

// move moves some bytes.
func (w *simWorld) move() {
	move := func(p *simPipe, in *[]byte) {
		n := min(len(p.b), w.rnd.Intn(300))
		if w.rnd.Intn(4) == 0 {
			n = len(p.b)
		}
		*in = append(*in, p.b[:n]...)
		p.b = append([]byte(nil), p.b[n:]...)
	}
	move(&w.toS, &w.inS)
	move(&w.toC, &w.inC)
	for {
		n, err := w.s.Receive(w.now, w.inS)
		w.drainServer()
		if err != nil {
			w.failf("server: %v", err)
		}
		if n == 0 {
			break
		}
		w.inS = taken(w.inS, n)
	}
	for {
		n, err := w.c.Receive(w.now, w.inC)
		w.drainClient()
		if err != nil {
			w.failf("client: %v", err)
		}
		if n == 0 {
			break
		}
		w.inC = taken(w.inC, n)
	}
}

// taken returns what is left of an input, and ends the views of it.
func taken(b []byte, n int) []byte {
	rest := append([]byte(nil), b[n:]...)
	clear(b)
	return rest
}

// act makes the client do something.
func (w *simWorld) act() {
	if !w.c.Open() {
		return
	}
	ids := make([]uint16, 0, len(w.channels))
	for id := range w.channels {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if len(ids) == 0 || len(ids) < 3 && !w.closing && w.rnd.Intn(20) == 0 {
		ch, err := w.c.OpenChannel(w.now, nil)
		w.check(err)
		w.channels[ch.id] = &simClientChannel{ch: ch, deliveries: make(map[uint64]int), prefetch: 1 + w.rnd.Intn(5)}
		return
	}
	cc := w.channels[ids[w.rnd.Intn(len(ids))]]
	if !cc.open {
		return
	}
	switch n := w.rnd.Intn(100); {
	case n < 50 && !w.closing:
		w.publish(cc)
	case n < 98:
		w.settle(cc)
	case n < 99 && !w.closing:
		cc.ch.Close(w.now, nil)
	}
}

func (w *simWorld) publish(cc *simClientChannel) {
	m := &simMessage{id: len(w.messages), routable: w.rnd.Intn(5) > 0}
	if w.rnd.Intn(5) == 0 {
		m.large = w.rnd.Intn(20_000)
	}
	w.messages = append(w.messages, m)
	key := "queue"
	if !m.routable {
		key = "none"
	}
	out := &Outgoing{RoutingKey: key, Mandatory: true, Body: m.body()}
	seq, err := cc.ch.Publish(w.now, out, m)
	w.check(err)
	if seq == 0 {
		w.failf("no number")
	}
	w.toS.b, err = out.AppendTo(w.toS.b, cc.ch.id, w.c.FrameMax(), true)
	w.check(err)
}

// settle settles some delivery of a channel.
func (w *simWorld) settle(cc *simClientChannel) {
	tags := make([]uint64, 0, len(cc.deliveries))
	for tag := range cc.deliveries {
		tags = append(tags, tag)
	}
	if len(tags) == 0 {
		return
	}
	slices.Sort(tags)
	tag := tags[w.rnd.Intn(len(tags))]
	multiple := w.rnd.Intn(3) == 0
	how := Settlement(1 + w.rnd.Intn(3))
	if w.closing {
		how = Acked
	}
	w.check(cc.ch.Settle(w.now, tag, multiple, how))
	for _, t := range tags {
		if t == tag || multiple && t < tag {
			if how != Requeued {
				w.messages[cc.deliveries[t]].consumed++
			}
			delete(cc.deliveries, t)
		}
	}
}

// drainClient handles the events of the client.
func (w *simWorld) drainClient() {
	for e, ok := w.c.Next(); ok; e, ok = w.c.Next() {
		var cc *simClientChannel
		if e.Channel != nil {
			cc = w.channels[e.Channel.id]
		}
		switch e.Kind {
		case EventSend:
			var err error
			w.toS.b, err = e.AppendTo(w.toS.b)
			w.check(err)
		case EventStart:
			w.check(w.c.StartOK(w.now, &ConnectionStartOK{Mechanism: "PLAIN"}))
		case EventReply:
			if e.Method.ID() == IDChannelOpenOK {
				cc.open = true
				w.check(cc.ch.Call(w.now, &ConfirmSelect{}, nil))
				w.check(cc.ch.Call(w.now, &BasicQos{PrefetchCount: uint16(cc.prefetch)}, nil))
				w.check(cc.ch.Call(w.now, &BasicConsume{ConsumerTag: "c"}, nil))
			}
			cc.consuming = cc.consuming || e.Method.ID() == IDBasicConsumeOK
		case EventDeliver:
			if cc.closed {
				w.failf("a delivery on a closed channel")
			}
			cc.deliveries[e.Content.DeliveryTag] = simNumber(e.Content.Body)
			if len(cc.deliveries) > cc.prefetch {
				w.failf("%d unsettled deliveries, prefetch is %d", len(cc.deliveries), cc.prefetch)
			}
			if len(e.Content.Body) != len(w.messages[simNumber(e.Content.Body)].body()) {
				w.failf("another body")
			}
		case EventReturn:
			m, ok := e.Ref.(*simMessage)
			if !ok || m.id != simNumber(e.Content.Body) || m.confirms+m.nacks > 0 {
				w.failf("return of %v, not in time or not of %d", e.Ref, simNumber(e.Content.Body))
			}
			m.returns++
		case EventConfirm:
			for _, ref := range e.Refs {
				if m := ref.(*simMessage); e.Nack {
					m.nacks++
				} else {
					m.confirms++
				}
			}
		case EventChannelClosed:
			cc.closed, cc.open = true, false
			for _, ref := range cc.ch.Unconfirmed() {
				ref.(*simMessage).unconfirmed = true
			}
			delete(w.channels, cc.ch.id)
		case EventChannelGone, EventOpened, EventDown, EventClose:
		default:
			w.failf("client: %s", kinds[e.Kind])
		}
	}
}

// drainServer handles the events of the server.
func (w *simWorld) drainServer() {
	for e, ok := w.s.Next(); ok; e, ok = w.s.Next() {
		sc := w.served[e.Channel]
		switch e.Kind {
		case EventSend:
			var err error
			w.toC.b, err = e.AppendTo(w.toC.b)
			w.check(err)
		case EventHeader:
			w.check(w.s.Start(w.now, "PLAIN"))
		case EventStartOK:
			w.check(w.s.Tune(w.now))
		case EventOpen:
			w.check(w.s.OpenOK(w.now))
		case EventChannelOpen:
			w.served[e.Channel] = &simServerChannel{ch: e.Channel}
			w.check(e.Channel.OpenOK(w.now))
		case EventMethod:
			s, err := e.Channel.Consume("c", false)
			w.check(err)
			sc.consumer = s
			w.check(e.Channel.Send(w.now, &BasicConsumeOK{ConsumerTag: "c"}))
			w.sendOut()
		case EventPublish:
			w.take(sc, &e)
		case EventSettled:
			for _, ref := range e.Refs {
				if e.Settlement == Requeued || e.Settlement == Recovered {
					w.queue = append(w.queue, ref.(*simMessage))
				}
			}
		case EventReady:
			w.sendOut()
		case EventChannelClose:
			for _, ref := range e.Channel.Unsettled() {
				m := ref.(*simMessage)
				w.queue = append(w.queue, m)
				if m.consumed > 0 {
					m.consumed-- // the client's settlement came too late, if it came
				}
			}
			sc.consumer, sc.held = nil, nil
			w.check(e.Channel.CloseOK(w.now))
		case EventDown:
			w.s.CloseOK(w.now)
		case EventClose:
		default:
			w.failf("server: %s", kinds[e.Kind])
		}
	}
	w.sendOut()
}

// take takes a message from the client.
func (w *simWorld) take(sc *simServerChannel, e *Event) {
	m := w.messages[simNumber(e.Content.Body)]
	if len(e.Content.Body) != len(m.body()) || e.Seq == 0 {
		w.failf("message %d came as another one", m.id)
	}
	m.seq = e.Seq
	m.refused = w.rnd.Intn(10) == 0
	if !m.refused && !m.routable {
		if !sc.ch.Return(w.now) {
			w.failf("cannot return")
		}
		b, err := AppendReturn(w.toC.b, sc.ch.id, NoRoute, "NO_ROUTE", "", string(e.Content.RoutingKey))
		w.check(err)
		b = AppendContentHeader(b, sc.ch.id, uint64(len(e.Content.Body)), e.Content.Properties)
		w.toC.b = AppendBody(b, sc.ch.id, e.Content.Body, w.s.FrameMax())
	}
	if !m.refused && m.routable {
		w.queue = append(w.queue, m)
	}
	sc.held = append(sc.held, m)
}

// confirm confirms some messages, in any order.
func (w *simWorld) confirm() {
	for _, sc := range w.sorted() {
		for len(sc.held) > 0 && (w.closing || w.rnd.Intn(3) > 0) {
			i := w.rnd.Intn(len(sc.held))
			m := sc.held[i]
			sc.held = slices.Delete(sc.held, i, i+1)
			sc.ch.Confirm(m.seq, !m.refused)
		}
	}
	w.toC.b = w.s.AppendConfirms(w.now, w.toC.b)
}

// sorted returns the open channels of the server in a fixed order.
func (w *simWorld) sorted() []*simServerChannel {
	var list []*simServerChannel
	for ch, sc := range w.served {
		if ch.Open() {
			list = append(list, sc)
		}
	}
	slices.SortFunc(list, func(a, b *simServerChannel) int { return int(a.ch.id) - int(b.ch.id) })
	return list
}

// sendOut delivers what is in the queue.
func (w *simWorld) sendOut() {
	for _, sc := range w.sorted() {
		for sc.consumer != nil && len(w.queue) > 0 {
			m := w.queue[0]
			tag, ok := sc.ch.Deliver(w.now, sc.consumer, m)
			if !ok {
				break
			}
			w.queue = w.queue[1:]
			b, err := AppendDeliver(w.toC.b, sc.ch.id, "c", tag, false, "", "queue")
			w.check(err)
			b = AppendContentHeader(b, sc.ch.id, uint64(len(m.body())), nil)
			w.toC.b = AppendBody(b, sc.ch.id, m.body(), w.s.FrameMax())
		}
	}
}
