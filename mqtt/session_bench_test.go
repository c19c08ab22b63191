package mqtt

import (
	"runtime"
	"testing"
	"time"
	"unsafe"
)

// openServer returns a server machine after CONNACK, with no event left.
func openServer(t testing.TB, cfg Config, v Version, props Properties) (*Session, *State) {
	t.Helper()
	cfg.Role = Server
	s, st := NewSession(cfg), new(State)
	c := &Connect{Version: v, ClientID: "c", CleanStart: true, KeepAlive: 60, Properties: props}
	if err := s.Receive(time.Unix(1, 0), 0, c); err != nil {
		t.Fatal(err)
	}
	drain(s)
	if err := s.Accept(time.Unix(1, 0), &Connack{}, st); err != nil {
		t.Fatal(err)
	}
	drain(s)
	return s, st
}

func drain(s *Session) (n int) {
	for _, ok := s.Next(); ok; _, ok = s.Next() {
		n++
	}
	return n
}

// flows are the steady flows that must not allocate. Each step is one message from end to end, on one machine.
func flows(t testing.TB) map[string]func() {
	now := time.Unix(2, 0)
	ref := any(&Publish{})
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	flow := func(cfg Config, v Version, props Properties, step func(s *Session, p *Publish, buf *[]byte)) func() {
		s, _ := openServer(t, cfg, v, props)
		p, buf := new(Publish), make([]byte, 0, 1024)
		return func() { step(s, p, &buf) }
	}
	topic, payload := []byte("site/7/room/3/temperature"), make([]byte, 64)
	send := func(s *Session, buf *[]byte) {
		for e, ok := s.Next(); ok; e, ok = s.Next() {
			if e.Kind == EventSend {
				b, err := e.AppendTo((*buf)[:0], Version5)
				check(err)
				*buf = b
			}
		}
	}
	publish := func(s *Session, p *Publish, qos QoS) {
		*p = Publish{Topic: topic, Payload: payload, QoS: qos}
		_, err := s.Publish(now, 0, p, ref)
		check(err)
	}
	var puback Puback
	var pubrec Pubrec
	var pubrel Pubrel
	var pubcomp Pubcomp
	id := uint16(0)
	aliases := Properties(nil).AppendUint16(PropTopicAliasMaximum, 10)
	return map[string]func(){
		"send QoS 0": flow(Config{}, Version311, nil, func(s *Session, p *Publish, _ *[]byte) { publish(s, p, QoS0) }),
		"send QoS 0 alias": flow(Config{SendAliasMaximum: 10}, Version5, aliases, func(s *Session, p *Publish, _ *[]byte) {
			publish(s, p, QoS0)
		}),
		"send QoS 1": flow(Config{}, Version5, nil, func(s *Session, p *Publish, buf *[]byte) {
			publish(s, p, QoS1)
			puback.ID = p.ID
			check(s.Receive(now, 0, &puback))
			send(s, buf)
		}),
		"send QoS 2": flow(Config{}, Version5, nil, func(s *Session, p *Publish, buf *[]byte) {
			publish(s, p, QoS2)
			pubrec.ID, pubcomp.ID = p.ID, p.ID
			check(s.Receive(now, 0, &pubrec))
			send(s, buf)
			check(s.Receive(now, 0, &pubcomp))
			send(s, buf)
		}),
		"receive QoS 0": flow(Config{}, Version5, nil, func(s *Session, p *Publish, buf *[]byte) {
			*p = Publish{Topic: topic, Payload: payload}
			check(s.Receive(now, 0, p))
			send(s, buf)
		}),
		"receive QoS 1": flow(Config{}, Version5, nil, func(s *Session, p *Publish, buf *[]byte) {
			id = id%100 + 1
			*p = Publish{Topic: topic, Payload: payload, QoS: QoS1, ID: id}
			check(s.Receive(now, 0, p))
			check(s.Ack(now, id, ReasonSuccess, nil))
			send(s, buf)
		}),
		"receive QoS 2": flow(Config{}, Version5, nil, func(s *Session, p *Publish, buf *[]byte) {
			id = id%100 + 1
			*p = Publish{Topic: topic, Payload: payload, QoS: QoS2, ID: id}
			check(s.Receive(now, 0, p))
			check(s.Ack(now, id, ReasonSuccess, nil))
			send(s, buf)
			pubrel.ID = id
			check(s.Receive(now, 0, &pubrel))
			send(s, buf)
		}),
		"receive QoS 2 barriers": flow(Config{Barriers: true}, Version5, nil, func(s *Session, p *Publish, buf *[]byte) {
			id = id%100 + 1
			*p = Publish{Topic: topic, Payload: payload, QoS: QoS2, ID: id}
			check(s.Receive(now, 0, p))
			check(s.Ack(now, id, ReasonSuccess, nil))
			send(s, buf)
			pubrel.ID = id
			check(s.Receive(now, 0, &pubrel))
			e, _ := s.Next()
			s.Persisted(now, e.Token)
			send(s, buf)
		}),
	}
}

func BenchmarkSession(b *testing.B) {
	for name, step := range flows(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}

func TestSessionDoesNotAllocate(t *testing.T) {
	for name, step := range flows(t) {
		t.Run(name, func(t *testing.T) {
			for range 200 {
				step()
			}
			if n := testing.AllocsPerRun(1000, step); n != 0 {
				t.Errorf("%v allocations for each message", n)
			}
		})
	}
}

// An idle connection of a server: the machine and its empty State.
func TestSessionSize(t *testing.T) {
	if size := unsafe.Sizeof(Event{}); size > 192 {
		t.Errorf("an event has %d bytes", size)
	}
	keep := make([]*Session, 2000)
	before := liveHeap()
	for i := range keep {
		keep[i], _ = openServer(t, Config{ReceiveMaximum: 100}, Version5, nil)
	}
	bytes := int(liveHeap()-before) / len(keep)
	t.Logf("Session %d, State %d, Event %d bytes; %d bytes of heap for an idle connection",
		unsafe.Sizeof(Session{}), unsafe.Sizeof(State{}), unsafe.Sizeof(Event{}), bytes)
	if bytes > 400 {
		t.Errorf("an idle connection takes %d bytes", bytes)
	}
	// After traffic and a ping it is as small again.
	now := time.Unix(2, 0)
	for _, s := range keep {
		for id := uint16(1); id <= 50; id++ {
			s.Receive(now, 0, &Publish{Topic: []byte("t"), QoS: 1 + QoS(id&1), ID: id})
			p := &Publish{Topic: []byte("t"), QoS: 1 + QoS(id&1)}
			if _, err := s.Publish(now, 0, p, s); err != nil {
				t.Fatal(err)
			}
		}
		for id := uint16(1); id <= 50; id++ {
			s.Ack(now, id, ReasonSuccess, nil)
			if id&1 == 1 {
				s.Receive(now, 0, &Pubrel{ID: id})
				s.Receive(now, 0, &Pubrec{ID: id})
				s.Receive(now, 0, &Pubcomp{ID: id})
			} else {
				s.Receive(now, 0, &Puback{ID: id})
			}
		}
		drain(s)
		s.Receive(now, 0, &Pingreq{})
		drain(s)
	}
	if bytes := int(liveHeap()-before) / len(keep); bytes > 400 {
		t.Errorf("after traffic an idle connection takes %d bytes", bytes)
	}
	for _, s := range keep {
		if s.Err() != nil || s.phase != phaseOpen {
			t.Fatal(s.Err())
		}
	}
}

// liveHeap returns how many bytes of the heap are in use.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
