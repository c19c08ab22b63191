package mqtt

import (
	"slices"
	"testing"
	"time"
)

// ends are a client and a server machine that are connected, each with its State.
type ends struct {
	t              *testing.T
	client, server *Session
	ours, theirs   State
	now            time.Time
	lost, again    []Event // of both
	persist        []Event
	got            []uint16 // messages that came, by identifier
	hold           bool     // leave messages without an acknowledgement
}

func newEnds(t *testing.T, c Config) *ends {
	e := &ends{t: t, now: time.Unix(1e9, 0)}
	c.Role = Client
	e.client = NewSession(c)
	c.Role = Server
	e.server = NewSession(c)
	if err := e.client.Connect(e.now, &Connect{Version: Version5, ClientID: "c", CleanStart: true}, &e.ours); err != nil {
		t.Fatal(err)
	}
	e.run()
	return e
}

// run passes packets to and fro until there are none.
func (e *ends) run() {
	for busy := true; busy; {
		busy = e.move(e.client, e.server) || e.move(e.server, e.client)
	}
}

// move handles the events of one end; what it sends goes to the other at once.
func (e *ends) move(from, to *Session) (some bool) {
	e.t.Helper()
	for ev, ok := from.Next(); ok; ev, ok = from.Next() {
		some = true
		switch ev.Kind {
		case EventSend:
			e.give(to, ev.Stream, decoded(e.t, &ev))
		case EventConnect:
			if err := from.Accept(e.now, &Connack{}, &e.theirs); err != nil {
				e.t.Fatal(err)
			}
		case EventPublish:
			e.got = append(e.got, ev.ID)
			if !e.hold && ev.QoS > 0 {
				if err := from.Ack(e.now, ev.ID, ReasonSuccess, nil); err != nil {
					e.t.Fatal(err)
				}
			}
		case EventLost:
			e.lost = append(e.lost, ev)
		case EventResend:
			e.again = append(e.again, ev)
		case EventPersist:
			e.persist = append(e.persist, ev)
		case EventClose:
			e.t.Fatalf("the machine is at its end: %v", from.Err())
		}
	}
	return some
}

func (e *ends) give(to *Session, stream uint64, p Packet) {
	e.t.Helper()
	if err := to.Receive(e.now, stream, p); err != nil {
		e.t.Fatalf("%v on stream %d: %v", p, stream, err)
	}
}

// decoded returns the packet of an EventSend as it comes over the wire.
func decoded(t *testing.T, ev *Event) Packet {
	t.Helper()
	b, err := ev.AppendTo(nil, Version5)
	if err != nil {
		t.Fatal(err)
	}
	var d Decoder
	p, n, err := d.Decode(b, Version5)
	if err != nil || n != len(b) {
		t.Fatalf("%d of %d bytes, %v", n, len(b), err)
	}
	return p
}

// publish sends a message and gives it to the other end when pass is set.
func (e *ends) publish(from *Session, stream uint64, qos QoS, ref any, pass bool) *Publish {
	e.t.Helper()
	p := &Publish{Topic: []byte("t"), QoS: qos}
	if send, err := from.Publish(e.now, stream, p, ref); !send || err != nil {
		e.t.Fatalf("publish: %v, %v", send, err)
	}
	to := e.server
	if from == e.server {
		to = e.client
	}
	if pass {
		e.give(to, stream, p)
	}
	return p
}

func refs(events []Event) (refs []any) {
	for _, ev := range events {
		refs = append(refs, ev.Ref)
	}
	return refs
}

func TestCloseStreamLosesWhatIsInFlight(t *testing.T) {
	e := newEnds(t, Config{SendMaximum: 10})
	e.publish(e.client, 4, QoS1, "one", false)
	e.publish(e.client, 8, QoS1, "other stream", false)
	e.publish(e.client, 4, QoS2, "two", false)
	p := e.publish(e.client, 4, QoS2, "received", false)
	e.give(e.client, 4, &Pubrec{ID: p.ID})
	if err := e.client.Subscribe(e.now, 4, &Subscribe{Filters: []Subscription{{Filter: "f"}}}, "request"); err != nil {
		t.Fatal(err)
	}
	for _, ok := e.client.Next(); ok; _, ok = e.client.Next() {
	}
	e.client.CloseStream(e.now, 4, false)
	e.move(e.client, e.server)
	if want := []any{"one", "two", "received", "request"}; !slices.Equal(refs(e.lost), want) {
		t.Fatalf("lost %v, want %v", refs(e.lost), want)
	}
	for i, ev := range e.lost {
		if success := ev.Reason == ReasonSuccess; success != (i == 2) {
			t.Errorf("%v: reason %v", ev.Ref, ev.Reason)
		}
		if settled := ev.Delta == DeltaSettled; settled != (i < 3) {
			t.Errorf("%v: delta %v", ev.Ref, ev.Delta)
		}
	}
	if n := e.client.Quota(); n != 9 {
		t.Errorf("quota %d, want all but that of the other stream", n)
	}
	if e.ours.Empty() || e.ours.requests != 0 {
		t.Error("the state is not that of one message")
	}
	e.give(e.client, 8, &Puback{ID: 2})
	if !e.ours.Empty() {
		t.Error("the state is not empty")
	}
	e.client.CloseStream(e.now, 0, false) // nothing
	e.client.CloseStream(e.now, 12, true)
	if _, ok := e.client.Next(); ok && e.client.Err() != nil {
		t.Error("closing a stream that is not in use did something")
	}
}

func TestCloseStreamForgetsInbound(t *testing.T) {
	for _, barriers := range []bool{false, true} {
		e := newEnds(t, Config{ReceiveMaximum: 3})
		e.server.cfg.Barriers = barriers
		e.hold = true
		e.publish(e.client, 4, QoS1, nil, true)
		e.publish(e.client, 4, QoS2, nil, true)
		second := e.publish(e.client, 4, QoS2, nil, true)
		e.move(e.server, e.client)
		if err := e.server.Ack(e.now, second.ID, ReasonSuccess, nil); err != nil {
			t.Fatal(err)
		}
		e.server.CloseStream(e.now, 4, false)
		e.client.CloseStream(e.now, 4, false)
		e.run()
		if !e.theirs.Empty() || e.server.received != 0 {
			t.Errorf("barriers %v: %d received, state empty: %v", barriers, e.server.received, e.theirs.Empty())
		}
		for id := range uint16(3) {
			if err := e.server.Ack(e.now, id+1, ReasonSuccess, nil); err != ErrState {
				t.Errorf("Ack of a message whose stream is gone: %v", err)
			}
		}
		if want := map[bool]int{true: 2}[barriers]; len(e.persist) != want {
			t.Errorf("barriers %v: %d deltas, want %d", barriers, len(e.persist), want)
		}
		for _, ev := range e.persist {
			if ev.Delta != DeltaReleased || ev.Barrier != BarrierNone || ev.Token == 0 {
				t.Errorf("event %+v", ev)
			}
			e.server.Persisted(e.now, ev.Token)
		}
		e.hold = false
		for range 3 { // the quota is whole again, and the identifiers are free
			e.publish(e.client, 8, QoS1, nil, true)
		}
		e.move(e.server, e.client)
		if len(e.got) != 6 {
			t.Errorf("%d messages came, want 6", len(e.got))
		}
	}
}

func TestCloseStreamKeeps(t *testing.T) {
	e := newEnds(t, Config{SendMaximum: 10})
	e.hold = true
	one := e.publish(e.client, 4, QoS1, "one", false) // lost on the way
	two := e.publish(e.client, 4, QoS2, "two", true)  // came, not acknowledged
	three := e.publish(e.client, 4, QoS2, "three", true)
	e.publish(e.client, 8, QoS1, "other stream", false)
	e.move(e.server, e.client)
	if err := e.server.Ack(e.now, two.ID, ReasonSuccess, nil); err != nil {
		t.Fatal(err)
	}
	for _, ok := e.server.Next(); ok; _, ok = e.server.Next() { // its PUBREC is lost
	}
	e.server.CloseStream(e.now, 4, true)
	e.client.CloseStream(e.now, 4, true)
	e.run()
	if want := []any{"one", "two", "three"}; !slices.Equal(refs(e.again), want) || len(e.lost) != 0 {
		t.Fatalf("again %v, lost %v", refs(e.again), refs(e.lost))
	}
	if n := e.client.Quota(); n != 0 {
		t.Errorf("quota %d while older messages are not sent again", n)
	}
	e.got, e.hold = nil, false
	for _, ev := range e.again {
		p := &Publish{Topic: []byte("t")}
		if err := e.client.Resend(e.now, 12, ev.ID, p); err != nil || !p.Dup {
			t.Fatal(err, p.Dup)
		}
		e.give(e.server, 12, p)
	}
	e.move(e.server, e.client)
	if err := e.server.Ack(e.now, three.ID, ReasonSuccess, nil); err != nil {
		t.Fatal(err)
	}
	e.run()
	if !slices.Equal(e.got, []uint16{one.ID}) {
		t.Errorf("messages %v came again as new, want that of QoS 1", e.got)
	}
	if n := e.client.Quota(); n != 9 || !e.theirs.Empty() {
		t.Errorf("quota %d, server's state empty: %v", n, e.theirs.Empty())
	}
}

func TestCloseStreamKeepsReleases(t *testing.T) {
	e := newEnds(t, Config{})
	p := e.publish(e.client, 4, QoS2, "m", true)
	e.move(e.server, e.client) // PUBREC
	for _, ok := e.client.Next(); ok; _, ok = e.client.Next() {
	}
	e.server.CloseStream(e.now, 4, true)
	e.client.CloseStream(e.now, 4, true)
	ev, ok := e.client.Next()
	if !ok || ev.Type != TypePubrel || ev.Stream != 0 || ev.ID != p.ID {
		t.Fatalf("event %+v, want PUBREL on stream 0", ev)
	}
	e.give(e.server, 0, &Pubrel{ID: p.ID})
	e.run()
	if !e.ours.Empty() || !e.theirs.Empty() {
		t.Error("something is left")
	}
}

// TestCloseStreamBehindBarrier: what its barrier holds was not sent, so it is not lost.
func TestCloseStreamBehindBarrier(t *testing.T) {
	e := newEnds(t, Config{})
	e.client.cfg.Barriers = true
	p := &Publish{Topic: []byte("t"), QoS: QoS2}
	if send, err := e.client.Publish(e.now, 4, p, "held"); send || err != nil {
		t.Fatal(send, err)
	}
	e.client.CloseStream(e.now, 4, false)
	e.move(e.client, e.server)
	if len(e.lost) != 0 || len(e.persist) != 1 {
		t.Fatalf("lost %v, %d barriers", refs(e.lost), len(e.persist))
	}
	e.client.Persisted(e.now, e.persist[0].Token)
	e.move(e.client, e.server)
	if len(e.again) != 1 || e.again[0].Dup {
		t.Fatalf("again %v", refs(e.again))
	}
}

// TestCloseStreamAfterTheEnd: what was in flight on data streams is lost with the connection, too, when nothing else was
// agreed.
func TestCloseStreamAfterTheEnd(t *testing.T) {
	e := newEnds(t, Config{})
	e.hold = true
	e.publish(e.client, 0, QoS2, "control", true)
	e.publish(e.client, 4, QoS2, "data", true)
	e.publish(e.client, 8, QoS2, "kept", true)
	e.run()
	if err := e.client.Disconnect(e.now, &Disconnect{}); err != nil {
		t.Fatal(err)
	}
	for _, ok := e.client.Next(); ok; _, ok = e.client.Next() {
	}
	e.server.Lost()
	for _, s := range []*Session{e.client, e.server} {
		s.CloseStream(e.now, 4, false)
		s.CloseStream(e.now, 8, true)
	}
	e.run()
	if want := []any{"data"}; !slices.Equal(refs(e.lost), want) {
		t.Errorf("lost %v, want %v", refs(e.lost), want)
	}
	if a, b := e.ours.out.Len(), e.theirs.in.received.Len(); a != 2 || b != 2 {
		t.Errorf("%d messages are in flight and %d received, want 2", a, b)
	}
	e.client.CloseStream(e.now, 4, false)
	NewSession(Config{Role: Server}).CloseStream(e.now, 4, false)
}
