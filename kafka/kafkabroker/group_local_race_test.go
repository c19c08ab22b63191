package kafkabroker

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestCommitWhileTopicDeleted: offsets are committed or refused while their topic is deleted again and again.
func TestCommitWhileTopicDeleted(t *testing.T) {
	b := openBroker(t, smallOptions())
	if err := b.CreateTopic("t", nil); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var committers sync.WaitGroup
	for range 4 {
		committers.Go(func() {
			for !stop.Load() {
				_ = b.CommitGroupOffsets(context.Background(), "g", GroupOffset{Topic: "t", LeaderEpoch: -1})
			}
		})
	}
	for range 30 {
		topic := b.topic(offsetsTopic)
		for ; topic == nil; topic = b.topic(offsetsTopic) {
			runtime.Gosched()
		}
		if err := b.deleteTopic(topic); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	committers.Wait()
}
