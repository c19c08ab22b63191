package mqtt

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/sim"
)

// simMessage is an application message of a simulation. Its payload is its number, its topic tells QoS and stream.
type simMessage struct {
	number uint32 // within its QoS and stream, from 1
	qos    QoS
	stream uint64
}

func (m *simMessage) publish() *Publish {
	return &Publish{Topic: fmt.Appendf(nil, "q%d/s%d", m.qos, m.stream), QoS: m.qos,
		Payload: binary.BigEndian.AppendUint32(nil, m.number)}
}

// simRecord is a record of a node's journal.
type simRecord struct {
	delta   Delta
	id      uint16
	qos     QoS
	ref     *simMessage // outbound message
	settled bool        // ref is done
	got     *simMessage // received message
}

// simNode is one end: a machine, its State, a journal, and messages to send.
type simNode struct {
	w    *sim.World
	side sim.Side
	link *sim.Link
	// How many connections there were.
	epochs *int
	cfg    Config
	v      Version
	skip   Barrier // a mutant: this barrier does not wait
	dups   float64
	lossy  bool          // the server loses everything in a crash
	slow   time.Duration // how long it takes to get the body of a message at most

	// What survives a crash.
	disk  []simRecord
	todo  []*simMessage // all messages there ever are to send
	known bool          // the session was accepted once

	// What does not.
	life     int // counts crashes
	conn     int // counts connections
	epoch    int // of the connection that the machine is made for
	s        *Session
	st       *State
	dec      Decoder
	queue    []*simMessage        // not published yet
	sent     map[*simMessage]bool // may have been sent
	parked   []simPacket          // came before CONNACK
	pending  []simPending
	flushing bool
	body     time.Time           // when the last body that is asked for is there
	ready    bool                // publish what there is
	zero     map[simMessage]bool // QoS 0 messages that came
}

// barrierPuback is the barrier of QoS 1, which a shell holds itself.
const barrierPuback = BarrierPubrel + 1

type simPacket struct {
	stream int
	b      []byte
}

type simPending struct {
	r    simRecord
	done func()
}

// simFailure is what a run ends with that shows a fault.
type simFailure string

func (f simFailure) Error() string { return string(f) }

func (n *simNode) failf(format string, args ...any) { panic(simFailure(fmt.Sprintf(format, args...))) }

// boot makes the memory of a node from its disk.
func (n *simNode) boot() {
	n.life++
	n.st, n.s, n.parked, n.pending, n.flushing = new(State), nil, nil, nil, false
	n.sent = make(map[*simMessage]bool)
	if n.known || n.side == sim.Client {
		n.st.Resume()
	}
	inFlight, settled := make(map[*simMessage]bool), make(map[*simMessage]bool)
	for _, r := range n.disk {
		if r.delta != DeltaNone {
			if err := n.st.Apply(r.delta, r.id, r.qos, r.ref); err != nil {
				n.failf("%v: %v", n.side, err)
			}
		}
		if r.delta == DeltaAssigned {
			inFlight[r.ref], n.sent[r.ref] = true, true
		}
		if r.settled {
			settled[r.ref] = true
		}
	}
	n.queue = nil
	for _, m := range n.todo {
		if !inFlight[m] && !settled[m] {
			n.queue = append(n.queue, m)
		}
	}
}

// crash throws memory away. Of what was being written a part got to the disk.
func (n *simNode) crash() {
	for range n.w.Rand.IntN(len(n.pending) + 1) {
		n.disk = append(n.disk, n.pending[0].r)
		n.pending = n.pending[1:]
	}
	n.link.Close(n.side)
	if n.lossy && n.side == sim.Server {
		n.disk, n.known = nil, false
	}
	n.boot()
	n.reconnect()
}

// point is a place where the node may crash.
func (n *simNode) point(name string) bool {
	if !n.w.Crash(n.side.String() + " " + name) {
		return false
	}
	n.crash()
	return true
}

// write appends to the journal; done is called when the record is durable.
func (n *simNode) write(r simRecord, done func()) {
	n.pending = append(n.pending, simPending{r, done})
	if n.flushing {
		return
	}
	n.flushing = true
	life := n.life
	n.w.After(n.w.Between(0, 3*time.Millisecond), func() {
		if n.life == life {
			n.flush(life)
		}
	})
}

// flush completes what was written so far.
func (n *simNode) flush(life int) {
	batch := n.pending
	n.pending, n.flushing = nil, false
	if n.point("before the sync") {
		return
	}
	for _, p := range batch {
		n.w.Logf("%v has durably %+v %+v %+v", n.side, p.r, p.r.got, p.r.ref)
		n.disk = append(n.disk, p.r)
	}
	for i, p := range batch {
		if p.done != nil {
			if i < 3 && n.point("after the sync") {
				return
			}
			p.done()
			n.step()
			if n.life != life {
				return
			}
		}
	}
}

func (n *simNode) open() bool { return n.s != nil && n.s.phase == phaseOpen }

// reconnect has the client connect again.
func (n *simNode) reconnect() {
	if n.side != sim.Client {
		return
	}
	life := n.life
	n.w.After(n.w.Between(time.Millisecond, 10*time.Millisecond), func() {
		if n.life == life && (n.s == nil || n.s.phase == phaseClosed) {
			n.connect()
		}
	})
}

func (n *simNode) connect() {
	n.link.Connect()
	n.conn++
	*n.epochs++
	n.epoch = *n.epochs
	n.s, n.parked = NewSession(n.cfg), nil
	if err := n.s.Connect(n.w.Now(), &Connect{Version: n.v, ClientID: "c"}, n.st); err != nil {
		n.failf("%v: %v", n.side, err)
	}
	n.step()
}

// down tells that the connection is gone.
func (n *simNode) down() {
	if n.s != nil {
		n.s.Lost()
	}
	n.reconnect()
}

// receive takes bytes of the peer.
func (n *simNode) receive(stream int, b []byte) {
	if n.s == nil || n.s.phase == phaseClosed {
		first := n.side == sim.Server && stream == 0 && PacketType(b[0]>>4) == TypeConnect
		if !first {
			return
		}
	}
	if n.side == sim.Server && PacketType(b[0]>>4) == TypeConnect {
		if n.s != nil {
			n.s.Lost()
		}
		n.conn++
		n.epoch = *n.epochs
		n.s, n.parked = NewSession(n.cfg), nil
	}
	p, size, err := n.dec.Decode(b, n.v)
	if err != nil || size != len(b) {
		n.failf("%v cannot decode %x: %v", n.side, b, err)
	}
	n.w.Logf("%v receives on %d %v", n.side, stream, p)
	switch err := n.s.Receive(n.w.Now(), uint64(stream), p); {
	case err == ErrState:
		n.parked = append(n.parked, simPacket{stream, b})
	case err != nil:
		n.failf("%v receives %v: %v", n.side, p, err)
	}
	n.step()
	if n.open() && len(n.parked) > 0 {
		parked := n.parked
		n.parked = nil
		conn := n.conn
		for _, p := range parked {
			if n.conn == conn {
				n.receive(p.stream, p.b)
			}
		}
	}
}

// step does what the machine says.
func (n *simNode) step() {
	for n.s != nil {
		e, ok := n.s.Next()
		if !ok && n.ready {
			n.ready = false
			n.fill()
			continue
		}
		if !ok {
			break
		}
		life := n.life
		n.handle(&e)
		if n.life != life {
			return
		}
	}
}

// forgetDeltas makes the State on disk that of a new session.
func (n *simNode) forgetDeltas() {
	for i := range n.disk {
		n.disk[i].delta = DeltaNone
	}
	for i := range n.pending {
		n.pending[i].r.delta = DeltaNone
	}
}

func (n *simNode) handle(e *Event) {
	switch e.Kind {
	case EventSend:
		b, err := e.AppendTo(nil, n.s.Version())
		if err != nil {
			n.failf("%v: %v", n.side, err)
		}
		n.send(int(e.Stream), b)
	case EventConnect:
		if err := n.s.Accept(n.w.Now(), &Connack{SessionPresent: n.known}, n.st); err != nil {
			n.failf("%v: %v", n.side, err)
		}
		n.known, n.ready = true, true
	case EventConnack:
		n.known, n.ready = true, true
		if !e.Packet.(*Connack).SessionPresent {
			n.forgetDeltas()
		}
	case EventQuota:
		n.ready = true
	case EventPublish:
		n.got(e)
	case EventPersist:
		m, _ := e.Ref.(*simMessage)
		s, token := n.s, e.Token
		done := func() {
			if n.s == s {
				s.Persisted(n.w.Now(), token)
			}
		}
		n.write(simRecord{delta: e.Delta, id: e.ID, qos: e.QoS, ref: m}, n.unless(e.Barrier, done))
	case EventResend:
		n.resend(e)
	case EventSettled:
		n.write(simRecord{delta: e.Delta, id: e.ID, ref: e.Ref.(*simMessage), settled: true}, nil)
	case EventLost:
		if m := e.Ref.(*simMessage); e.Reason.IsError() {
			n.queue = append(n.queue, m)
		}
	case EventClose, EventDisconnect:
		n.failf("%v: event %d, %v", n.side, e.Kind, n.s.Err())
	}
}

// unless returns what is to be done after a barrier, and does it now if the mutant skips that barrier.
func (n *simNode) unless(b Barrier, done func()) func() {
	if n.skip == b {
		done()
		return nil
	}
	return done
}

// got takes a message.
func (n *simNode) got(e *Event) {
	p := e.Packet.(*Publish)
	m := &simMessage{number: binary.BigEndian.Uint32(p.Payload), qos: p.QoS}
	fmt.Sscanf(string(p.Topic), "q%d/s%d", new(int), &m.stream)
	if p.QoS == QoS0 {
		if n.zero[*m] && !n.lossy {
			n.failf("%v got QoS 0 message %d twice", n.side, m.number)
		}
		n.zero[*m] = true
		return
	}
	id, qos, conn := e.ID, p.QoS, n.conn
	ack := func() {
		if n.s == nil || qos == QoS1 && n.conn != conn {
			return
		}
		if err := n.s.Ack(n.w.Now(), id, ReasonSuccess, nil); err != nil && !n.lossy {
			n.failf("%v acks %d: %v", n.side, id, err)
		}
	}
	r := simRecord{got: m}
	if qos == QoS2 {
		r.delta, r.id = e.Delta, id
	}
	barrier := e.Barrier
	if qos == QoS1 {
		barrier = barrierPuback
	}
	late := n.w.Chance(0.2)
	n.write(r, n.unless(barrier, func() {
		if !late {
			ack()
			return
		}
		life := n.life
		n.w.After(n.w.Between(0, 5*time.Millisecond), func() {
			if n.life == life {
				ack()
				n.step()
			}
		})
	}))
}

// resend answers EventResend. A shell gets the body from elsewhere, so this may take a while.
func (n *simNode) resend(e *Event) {
	m, id, s := e.Ref.(*simMessage), e.ID, n.s
	answer := func() {
		p := m.publish()
		if n.s == s && s.Resend(n.w.Now(), m.stream, id, p) == nil {
			n.sendPublish(m, p)
		}
	}
	if n.slow == 0 {
		answer()
		return
	}
	if n.body = n.body.Add(n.w.Between(0, n.slow)); n.body.Before(n.w.Now()) {
		n.body = n.w.Now()
	}
	n.w.At(n.body, func() {
		answer()
		n.step()
	})
}

// fill publishes what there is to send.
func (n *simNode) fill() {
	for n.open() && len(n.queue) > 0 {
		m := n.queue[0]
		p := m.publish()
		send, err := n.s.Publish(n.w.Now(), m.stream, p, m)
		if err == ErrQuota {
			return
		}
		if err != nil {
			n.failf("%v: %v", n.side, err)
		}
		n.queue = n.queue[1:]
		delete(n.sent, m)
		if m.qos == QoS0 {
			n.disk = append(n.disk, simRecord{ref: m, settled: true})
		}
		if send {
			n.sendPublish(m, p)
		}
	}
}

func (n *simNode) sendPublish(m *simMessage, p *Publish) {
	if p.Dup != n.sent[m] && m.qos > QoS0 {
		n.failf("%v sends %v, sent before: %v", n.side, p, n.sent[m])
	}
	n.sent[m] = true
	b, err := Append(nil, p, n.v)
	if err != nil {
		n.failf("%v: %v", n.side, err)
	}
	n.send(int(m.stream), b)
}

func (n *simNode) send(stream int, b []byte) {
	if n.epoch != *n.epochs {
		return // the machine belongs to an older connection
	}
	n.w.Logf("%v sends on %d %x", n.side, stream, b)
	n.link.Send(n.side, stream, b)
	if t := PacketType(b[0] >> 4); t >= TypePublish && t <= TypePubcomp && b[0]&0x06 != 0 && n.w.Chance(n.dups) {
		n.link.Send(n.side, stream, b)
	}
}

// check compares what a node got with what the other sent.
func (n *simNode) check(peer *simNode) error {
	type flow struct {
		qos    QoS
		stream uint64
	}
	last := make(map[flow]uint32)
	for _, r := range n.disk {
		if r.got == nil || n.lossy {
			continue
		}
		f := flow{r.got.qos, r.got.stream}
		switch {
		case r.got.number == last[f]+1:
			last[f]++
		case r.got.number > last[f]:
			return fmt.Errorf("%v: QoS %d stream %d: message %d after %d", n.side, f.qos, f.stream, r.got.number, last[f])
		case f.qos == QoS2:
			return fmt.Errorf("%v: QoS 2 stream %d: message %d again after %d", n.side, f.stream, r.got.number, last[f])
		}
	}
	for _, m := range peer.todo {
		if m.qos > QoS0 && !n.lossy && m.number > last[flow{m.qos, m.stream}] {
			return fmt.Errorf("%v: QoS %d stream %d: message %d is lost", n.side, m.qos, m.stream, m.number)
		}
	}
	switch {
	case !n.st.Empty():
		return fmt.Errorf("%v: state is not empty in the end", n.side)
	case n.s.used() != 0 || n.s.received != 0 || n.s.Quota() != int(n.s.sendMax):
		return fmt.Errorf("%v: quota leaks: %d sent, %d received", n.side, n.s.used(), n.s.received)
	case n.s.redo != nil || n.s.in != nil && !n.s.in.idle() || n.s.held != nil && !n.s.held.empty():
		return fmt.Errorf("%v: something is left", n.side)
	}
	return nil
}

// simulate runs a world with two nodes that send each other messages.
func simulate(w *sim.World, skip Barrier, lossy bool) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case simFailure:
			err = r
		default:
			panic(r)
		}
	}()
	r := w.Rand
	v := []Version{Version311, Version5}[r.IntN(2)]
	faults := sim.Faults{MinDelay: 100 * time.Microsecond, MaxDelay: 2 * time.Millisecond}
	dups := 0.0
	if skip != BarrierNone || r.IntN(3) > 0 {
		faults.Cut, w.CrashRate = 0.01, 0.01
	}
	if r.IntN(3) == 0 && skip == BarrierNone {
		dups = 0.2
	}
	streams := 1 + r.IntN(4)
	var nodes [2]*simNode
	link := sim.NewLink(w, faults, sim.Handler{
		Deliver: func(to sim.Side, stream int, b []byte) { nodes[to].receive(stream, b) },
		Down:    func(at sim.Side) { nodes[at].down() },
	})
	for i := range nodes {
		n := &simNode{w: w, lossy: lossy, side: sim.Side(i), link: link, v: v, skip: skip, dups: dups, zero: map[simMessage]bool{}, epochs: new(int)}
		n.cfg = Config{Role: Client + Role(i), Barriers: w.CrashRate > 0 || r.IntN(2) == 0, SendMaximum: uint16(1 + r.IntN(8))}
		if v == Version5 && r.IntN(2) == 0 {
			n.cfg.TopicAliasMaximum, n.cfg.SendAliasMaximum = 2, uint16(1+r.IntN(3))
		}
		if dups == 0 {
			n.cfg.ReceiveMaximum = uint16(1 + r.IntN(8))
		}
		if r.IntN(3) == 0 {
			n.slow = time.Millisecond
		}
		numbers := make(map[simMessage]uint32)
		for range 5 + r.IntN(15) {
			m := &simMessage{qos: QoS(r.IntN(3)), stream: uint64(r.IntN(streams))}
			numbers[*m]++
			m.number = numbers[*m]
			n.todo = append(n.todo, m)
		}
		if i > 0 {
			n.epochs = nodes[0].epochs
		}
		nodes[i] = n
	}
	for _, n := range nodes {
		n.boot()
	}
	nodes[0].reconnect()
	const limit = 100_000
	w.Run(limit, func() bool { return w.Now().Sub(simStart) > 100*time.Millisecond })
	link.Faults.Cut, w.CrashRate = 0, 0
	if w.Run(limit, func() bool { return false }) == limit {
		return fmt.Errorf("no end")
	}
	if !nodes[0].open() || !nodes[1].open() {
		return fmt.Errorf("not connected in the end")
	}
	for i, n := range nodes {
		if err := n.check(nodes[1-i]); err != nil {
			return err
		}
	}
	return nil
}

var simStart = sim.New(0).Now()

// TestSessionSimulation has a client and a server machine talk over links that are cut, with packets that come twice, on
// several streams, with crashes at every barrier. QoS 1 loses nothing, QoS 2 loses and repeats nothing, order holds, the
// quota does not leak, and DUP is set exactly when a message may have been sent.
func TestSessionSimulation(t *testing.T) {
	sim.Run(t, simRuns, func(t *testing.T, w *sim.World) {
		if err := simulate(w, BarrierNone, false); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSessionSimulationForgets has the server lose everything when it crashes: the client starts a new session then and
// publishes anew. Messages may be lost or repeated, but nothing else goes wrong.
func TestSessionSimulationForgets(t *testing.T) {
	sim.Run(t, simRuns/4, func(t *testing.T, w *sim.World) {
		if err := simulate(w, BarrierNone, true); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSessionSimulationFindsMutants shows that the simulation sees a machine that does not wait at a barrier.
func TestSessionSimulationFindsMutants(t *testing.T) {
	for _, b := range []Barrier{BarrierPubrec, BarrierPubcomp, BarrierPublish, BarrierPubrel, barrierPuback} {
		t.Run(fmt.Sprint(b), func(t *testing.T) {
			for seed := range uint64(2000) {
				if err := simulate(sim.New(seed), b, false); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("not found")
		})
	}
}
