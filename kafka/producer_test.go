package kafka_test

import (
	"fmt"
	"testing"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// A producer sends two batches of ten and five records. The leader moves before the second one arrives, and is told of it
// again.
func ExampleSequencer() {
	var s kafka.Sequencer
	s.Use(4000, 0) // of an InitProducerID response
	first := s.Send(10)
	fmt.Println("send", first.Producer)
	s.Receive(first.ID, first.Attempt, 0)
	second := s.Send(5)
	fmt.Println("send", second.Producer)
	s.Receive(second.ID, second.Attempt, kafkawire.ErrNotLeaderOrFollower)
	for {
		sent, ok := s.Next()
		if !ok {
			break
		}
		fmt.Println("batch", sent.ID, "is in the log")
	}
	if id, ok := s.Waiting(); ok {
		again := s.Again(id)
		fmt.Println("send again", again.Producer)
		s.Receive(again.ID, again.Attempt, 0)
	}
	sent, _ := s.Next()
	fmt.Println("batch", sent.ID, "is in the log")
	// Output:
	// send {4000 0 0}
	// send {4000 0 10}
	// batch 1 is in the log
	// send again {4000 0 10}
	// batch 2 is in the log
}

// When a batch is given up, those after it go to the next epoch, once the broker says that it waits for the one that was.
func TestSequencerGap(t *testing.T) {
	var s kafka.Sequencer
	s.Use(1, 0)
	a := s.Send(1)
	if s.Open() {
		t.Error("two batches before the broker knows the producer")
	}
	s.Receive(a.ID, a.Attempt, 0)
	s.Next()
	b, c := s.Send(2), s.Send(3)
	s.Lost(b.ID, b.Attempt, false)
	s.Receive(c.ID, c.Attempt, kafkawire.ErrOutOfOrderSequenceNumber)
	if id, ok := s.Waiting(); !ok || id != b.ID {
		t.Fatal(id, ok)
	}
	if !s.GiveUp(b.ID, kafkawire.ErrRequestTimedOut) || !s.Broken() {
		t.Fatal("not given up")
	}
	if r, ok := s.Next(); !ok || r.ID != b.ID || !r.Doubt {
		t.Errorf("%+v", r)
	}
	// It may be that b is in the log, so c is tried with its number first.
	c = s.Again(c.ID)
	if c.Producer != (kafka.Producer{ID: 1, Sequence: 3}) {
		t.Errorf("%+v", c)
	}
	s.Receive(c.ID, c.Attempt, kafkawire.ErrOutOfOrderSequenceNumber)
	if s.Open() {
		t.Error("open")
	}
	if id, ok := s.Waiting(); !ok || id != c.ID {
		t.Fatal(id, ok)
	}
	c = s.Again(c.ID)
	if c.Producer != (kafka.Producer{ID: 1, Epoch: 1}) {
		t.Errorf("%+v", c)
	}
	s.Receive(c.ID, c.Attempt, 0)
	if r, ok := s.Next(); !ok || r.ID != c.ID || r.Code != 0 {
		t.Errorf("%+v", r)
	}
	if d := s.Send(1); d.Producer != (kafka.Producer{ID: 1, Epoch: 1, Sequence: 3}) {
		t.Errorf("%+v", d)
	}
}

// In a transaction the coordinator decides about epochs: what has no place in the sequence fails.
func TestSequencerTransactional(t *testing.T) {
	s := kafka.Sequencer{Transactional: true}
	s.Use(1, 7)
	a := s.Send(1)
	s.Receive(a.ID, a.Attempt, 0)
	s.Next()
	b := s.Send(1)
	s.Receive(b.ID, b.Attempt, kafkawire.ErrOutOfOrderSequenceNumber)
	if r, ok := s.Next(); !ok || r.Code != kafkawire.ErrOutOfOrderSequenceNumber {
		t.Errorf("%+v", r)
	}
	c := s.Send(1)
	s.Receive(c.ID, c.Attempt, kafkawire.ErrInvalidProducerEpoch)
	if r, ok := s.Next(); !ok || r.Code != kafkawire.ErrInvalidProducerEpoch || s.NeedsIdentity() {
		t.Errorf("%+v", r)
	}
	s.Use(1, 8)
	if d := s.Send(1); d.Producer != (kafka.Producer{ID: 1, Epoch: 8}) {
		t.Errorf("%+v", d)
	}
}

func TestSequencerAllocs(t *testing.T) {
	var s kafka.Sequencer
	s.Use(1, 0)
	step := func() {
		x := s.Send(10)
		y := x
		if s.Open() {
			y = s.Send(10)
		}
		s.Receive(x.ID, x.Attempt, 0)
		s.Receive(y.ID, y.Attempt, kafkawire.ErrNotLeaderOrFollower)
		for id, ok := s.Waiting(); ok; id, ok = s.Waiting() {
			z := s.Again(id)
			s.Receive(z.ID, z.Attempt, 0)
		}
		for {
			if _, ok := s.Next(); !ok {
				return
			}
		}
	}
	step()
	step()
	if n := testing.AllocsPerRun(1000, step); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
