package mqtt

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A shell that takes one event between two is served in order, without the queue growing.
func TestEventQueue(t *testing.T) {
	var q eventQueue
	next, want := uint64(0), uint64(0)
	push := func(n int) {
		for range n {
			next++
			q.push().Token = next
		}
	}
	pop := func(n int) {
		for range n {
			e, ok := q.pop()
			want++
			if !ok || e.Token != want {
				t.Fatalf("got %d, want %d", e.Token, want)
			}
		}
	}
	push(10)
	for range 10_000 {
		pop(1)
		push(1)
	}
	if cap(q.buf) > 64 {
		t.Errorf("room for %d events, of which there are 10", cap(q.buf))
	}
	pop(10)
	if _, ok := q.pop(); ok {
		t.Error("an event too many")
	}
	q.trim()
	if q.buf != nil {
		t.Error("an idle queue keeps its memory")
	}
}

// Acknowledgements of several streams in a random order: each stream has its own order, and what is sent does not stay.
func TestAcksOfStreams(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s, _ := openServer(t, Config{}, Version311, nil)
	now := time.Unix(1, 0)
	// The first message of stream 1 is not acknowledged until the end.
	if err := s.Receive(now, 1, &Publish{Topic: []byte("t"), QoS: QoS1, ID: 60_000}); err != nil {
		t.Fatal(err)
	}
	received := map[uint64][]uint16{1: {60_000}}
	sent := map[uint64][]uint16{}
	var open []uint16
	take := func() {
		for e, ok := s.Next(); ok; e, ok = s.Next() {
			if e.Kind == EventSend {
				sent[e.Stream] = append(sent[e.Stream], e.ID)
			}
		}
	}
	for i := range 20_000 {
		id := uint16(i%50_000) + 1
		stream := uint64(r.IntN(3)) * 2 // 0, 2, 4
		if err := s.Receive(now, stream, &Publish{Topic: []byte("t"), QoS: QoS1, ID: id}); err != nil {
			t.Fatal(err)
		}
		received[stream] = append(received[stream], id)
		open = append(open, id)
		for len(open) > r.IntN(50) {
			k := r.IntN(len(open))
			if err := s.Ack(now, open[k], ReasonSuccess, nil); err != nil {
				t.Fatal(err)
			}
			open = slices.Delete(open, k, k+1)
		}
		take()
	}
	if n := len(s.in.pubacks.buf); n > 512 {
		t.Errorf("a ring of %d for %d unacknowledged messages", n, len(open)+1)
	}
	for _, id := range append(open, 60_000) {
		if err := s.Ack(now, id, ReasonSuccess, nil); err != nil {
			t.Fatal(err)
		}
	}
	take()
	for stream := range received {
		if !slices.Equal(received[stream], sent[stream]) {
			t.Errorf("stream %d: acknowledgements are not in the order of the messages", stream)
		}
	}
	if s.in.pubacks.n != 0 || s.received != 0 {
		t.Errorf("%d entries and a quota of %d are left", s.in.pubacks.n, s.received)
	}
}

// Acknowledging a large window from its end costs no more than from its front, when identifiers count up.
func TestAckFind(t *testing.T) {
	var r ackRing
	for i := range 40_000 {
		r.push(owed{id: idOf(uint64(60_000 + i))})
	}
	for i := range 40_000 {
		if got := r.find(idOf(uint64(60_000 + i))); got != i {
			t.Fatalf("entry %d is found at %d", i, got)
		}
	}
	if r.find(50_000) >= 0 {
		t.Error("finds what is not there")
	}
	r.push(owed{id: 50_000})
	if r.find(50_000) != 40_000 {
		t.Error("does not find an identifier out of turn")
	}
}
