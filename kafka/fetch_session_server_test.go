package kafka

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func order(s *FetchServerSession) (list []int32) {
	for p := range s.All() {
		list = append(list, p.Partition)
	}
	return list
}

func TestFetchServerSessionOrder(t *testing.T) {
	s := NewFetchServerSession(false)
	parts := make([]*FetchServerPartition, 4)
	for i := range parts {
		parts[i] = s.Set(FetchKey{Topic: "t", Partition: int32(i)}, FetchWant{Offset: 1})
	}
	if s.Len() != 4 || !slices.Equal(order(s), []int32{0, 1, 2, 3}) {
		t.Fatal(order(s))
	}
	if !s.Answer(parts[0], FetchAnswer{Records: true, HighWatermark: 5}) || !slices.Equal(order(s), []int32{1, 2, 3, 0}) {
		t.Error("who had records is not at the end:", order(s))
	}
	if p := s.Set(FetchKey{Topic: "t", Partition: 2}, FetchWant{Offset: 9}); p != parts[2] || p.Offset != 9 {
		t.Error("a change makes another partition")
	}
	if !slices.Equal(order(s), []int32{1, 2, 3, 0}) {
		t.Error("a change moves the partition:", order(s))
	}
	s.Forget(FetchKey{Topic: "t", Partition: 3})
	s.Forget(FetchKey{Topic: "t", Partition: 3})
	if !slices.Equal(order(s), []int32{1, 2, 0}) || s.Len() != 3 {
		t.Error(order(s))
	}
	if s.Answer(parts[3], FetchAnswer{Records: true}) || s.Len() != 3 || len(order(s)) != 3 {
		t.Error("an answer for a partition that was forgotten")
	}
}

func TestFetchServerSessionTellsChanges(t *testing.T) {
	s := NewFetchServerSession(true)
	p := s.Set(FetchKey{ID: kafkawire.UUID{1}}, FetchWant{})
	steps := []struct {
		name string
		a    FetchAnswer
		tell bool
	}{
		{"first", FetchAnswer{HighWatermark: 3, Start: 1}, true},
		{"nothing new", FetchAnswer{HighWatermark: 3, Start: 1}, false},
		{"high watermark", FetchAnswer{HighWatermark: 4, Start: 1}, true},
		{"log start", FetchAnswer{HighWatermark: 4, Start: 2}, true},
		{"records", FetchAnswer{HighWatermark: 4, Start: 2, Records: true}, true},
		{"special", FetchAnswer{HighWatermark: 4, Start: 2, Special: true}, true},
		{"nothing new", FetchAnswer{HighWatermark: 4, Start: 2}, false},
		{"error", FetchAnswer{HighWatermark: -1, Start: -1, Failed: true}, true},
		{"error again", FetchAnswer{HighWatermark: -1, Start: -1, Failed: true}, true},
		{"error over", FetchAnswer{HighWatermark: 4, Start: 2}, true},
		{"nothing new", FetchAnswer{HighWatermark: 4, Start: 2}, false},
	}
	for i, step := range steps {
		if got := s.Answer(p, step.a); got != step.tell {
			t.Errorf("step %d, %s: %v", i, step.name, got)
		}
	}
}

func TestFetchServerSessionEpochs(t *testing.T) {
	s := NewFetchServerSession(false)
	if err := s.Continue(2, false); !errors.Is(err, kafkawire.ErrInvalidFetchSessionEpoch) {
		t.Error(err)
	}
	if err := s.Continue(1, true); !errors.Is(err, kafkawire.ErrFetchSessionTopicIDError) {
		t.Error(err)
	}
	if err := s.Continue(1, false); err != nil {
		t.Error(err)
	}
	if err := s.Continue(1, false); !errors.Is(err, kafkawire.ErrInvalidFetchSessionEpoch) {
		t.Error("a request that is sent again:", err)
	}
	if s.Epoch() != 2 {
		t.Error(s.Epoch())
	}
	for epoch, next := range map[int32]int32{0: 1, 1: 2, math.MaxInt32: 1, -1: 1} {
		if NextFetchEpoch(epoch) != next {
			t.Error(epoch, NextFetchEpoch(epoch))
		}
	}
}
