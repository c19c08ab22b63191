package kafkaclient_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestConsumerStarts(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Nodes: 2, Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
		begin := time.Now()
		for i := range 10 {
			t.b.Produce(t, kafkatest.Numbered("a", 0, i, 1)...)
			time.Sleep(time.Second)
		}
		for _, x := range []struct {
			name  string
			start kafkaclient.Start
			want  int // the first value
		}{
			{"earliest", kafkaclient.StartEarliest(), 0},
			{"at", kafkaclient.StartAt(4), 4},
			{"time", kafkaclient.StartAtTime(begin.Add(6500 * time.Millisecond)), 7},
			{"latest", kafkaclient.StartLatest(), 10},
			{"future", kafkaclient.StartAtTime(time.Now().Add(time.Hour)), 10},
		} {
			c := t.consumer(&kafkaclient.ConsumerOptions{Assign: map[kafka.TopicPartition]kafkaclient.Start{tp("a", 0): x.start}})
			at, err := c.Position(t.Context(), tp("a", 0))
			if err != nil || at != int64(x.want) {
				t.Errorf("%s: position %d, %v", x.name, at, err)
			}
			if x.want < 10 {
				t.equal(t.values(c, 10-x.want), numbers(x.want, 10-x.want))
			} else {
				t.nothing(c, time.Second)
			}
			t.shutdown(c)
		}
	})
}

func TestConsumerResets(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
		t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 5)...)
		time.Sleep(time.Hour)
		t.b.Produce(t, kafkatest.Numbered("a", 0, 5, 5)...)
		assign := map[kafka.TopicPartition]kafkaclient.Start{tp("a", 0): {}}
		for reset, want := range map[kafkaclient.Reset]int{kafkaclient.ResetEarliest: 0, kafkaclient.ResetLatest: 10, kafkaclient.ResetByAge: 5} {
			c := t.consumer(&kafkaclient.ConsumerOptions{Group: "g", Assign: assign, Reset: reset, ResetAge: time.Minute})
			if at, err := c.Position(t.Context(), tp("a", 0)); err != nil || at != int64(want) {
				t.Errorf("%v: position %d, %v", reset, at, err)
			}
			// Offsets beyond the end are out of range: the policy holds again.
			if err := c.Seek(tp("a", 0), kafkaclient.StartAt(99)); err != nil {
				t.Error(err)
			}
			if want < 10 {
				t.equal(t.values(c, 10-want), numbers(want, 10-want))
			}
			_ = c.Close()
		}
		c := t.consumer(&kafkaclient.ConsumerOptions{Group: "g", Assign: assign, Reset: kafkaclient.ResetNone})
		_, err := c.Poll(t.Context())
		var p *kafkaclient.PartitionError
		if !errors.As(err, &p) || !errors.Is(err, kafkaclient.ErrNoOffset) || p.TopicPartition != tp("a", 0) {
			t.Errorf("%v", err)
		}
		if err := c.Seek(tp("a", 0), kafkaclient.StartAt(8)); err != nil {
			t.Error(err)
		}
		t.equal(t.values(c, 2), numbers(8, 2))
		_ = c.Seek(tp("a", 0), kafkaclient.StartAt(99))
		if _, err := c.Poll(t.Context()); !errors.Is(err, kafkawire.ErrOffsetOutOfRange) {
			t.Errorf("%v", err)
		}
	})
}

func TestConsumerRecords(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
		at := time.Now().Truncate(time.Millisecond)
		value := make([]byte, 100_000)
		for m := compress.None; m <= compress.Zstd; m++ {
			var w kafka.BatchWriter
			w.Add(at.UnixMilli(), []byte("k"), nil, kafka.Header{Key: []byte("h"), Value: []byte("v")}, kafka.Header{Key: []byte("n")})
			w.Add(at.UnixMilli()+1, nil, value)
			w.Add(at.UnixMilli()+2, nil, []byte{}, kafka.Header{Key: []byte("x"), Value: []byte{}})
			batch, err := w.Append(nil, &kafka.BatchOptions{Compression: m})
			if err != nil {
				t.Fatal(err)
			}
			t.b.ProduceBatch(t, "a", 0, batch)
		}
		c := t.consumer(&kafkaclient.ConsumerOptions{Assign: map[kafka.TopicPartition]kafkaclient.Start{tp("a", 0): kafkaclient.StartEarliest()}})
		var all []*kafkaclient.Record
		for len(all) < 15 {
			got, err := c.Poll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, got...)
		}
		for i := 0; i < 15; i += 3 {
			x, y, z := all[i], all[i+1], all[i+2]
			if x.Topic != "a" || x.Partition != 0 || x.Offset != int64(i) || x.LeaderEpoch != 0 || !x.Timestamp.Equal(at) || string(x.Key) != "k" || x.Value != nil {
				t.Errorf("%+v", x)
			}
			if len(x.Headers) != 2 || string(x.Headers[0].Value) != "v" || x.Headers[1].Value != nil {
				t.Errorf("%+v", x.Headers)
			}
			if y.Key != nil || len(y.Value) != len(value) || len(y.Headers) != 0 || !y.Timestamp.Equal(at.Add(time.Millisecond)) {
				t.Errorf("key %v, %d bytes, %v", y.Key, len(y.Value), y.Timestamp)
			}
			if z.Value == nil || len(z.Headers) != 1 || z.Headers[0].Value == nil {
				t.Errorf("%+v", z)
			}
		}
	})
}

func TestConsumerCommits(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
		t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 20)...)
		options := func(mode kafkaclient.CommitMode) *kafkaclient.ConsumerOptions {
			return &kafkaclient.ConsumerOptions{Group: fmt.Sprint("g", mode), Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest, Commit: mode, MaxPollRecords: 5}
		}

		// What Poll returned before is committed by the next after the interval, and by Shutdown.
		c := t.consumer(options(kafkaclient.CommitPolled))
		t.values(c, 5)
		if at := t.committed("g0", tp("a", 0)); at != -1 {
			t.Errorf("committed %d", at)
		}
		time.Sleep(5 * time.Second)
		t.values(c, 5)
		synctest.Wait()
		if at := t.committed("g0", tp("a", 0)); at != 5 {
			t.Errorf("committed %d", at)
		}
		t.shutdown(c)
		if at := t.committed("g0", tp("a", 0)); at != 10 {
			t.Errorf("committed %d", at)
		}

		// Only what is done counts.
		c = t.consumer(options(kafkaclient.CommitDone))
		list, err := c.Poll(t.Context())
		if err != nil || len(list) != 5 {
			t.Fatal(err)
		}
		records := slices.Clone(list)
		records[1].Done()
		records[2].Done()
		if err := c.Commit(t.Context()); err != nil {
			t.Error(err)
		}
		if at := t.committed("g1", tp("a", 0)); at != 0 {
			t.Errorf("committed %d", at)
		}
		records[0].Done()
		t.shutdown(c)
		if at := t.committed("g1", tp("a", 0)); at != 3 {
			t.Errorf("committed %d", at)
		}
		c = t.consumer(options(kafkaclient.CommitDone))
		t.equal(t.values(c, 5)[:2], numbers(3, 2))
		t.shutdown(c)

		// Nothing by itself.
		c = t.consumer(options(kafkaclient.CommitManual))
		t.values(c, 10)
		time.Sleep(time.Minute)
		t.values(c, 5)
		if at := t.committed("g2", tp("a", 0)); at != -1 {
			t.Errorf("committed %d", at)
		}
		if err := c.Commit(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.CommitOffsets(t.Context(), map[kafka.TopicPartition]kafkaclient.CommitOffset{tp("a", 0): {Offset: 7, LeaderEpoch: -1, Metadata: "note"}}); err != nil {
			t.Error(err)
		}
		m, err := c.Committed(t.Context(), tp("a", 0))
		if o := m[tp("a", 0)]; err != nil || o.Offset != 7 || o.Metadata != "note" {
			t.Errorf("%+v, %v", o, err)
		}
		done := make(chan error)
		c.CommitAsync(func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Error(err)
		}
		t.shutdown(c)
		if at := t.committed("g2", tp("a", 0)); at != 15 {
			t.Errorf("committed %d", at)
		}
	})
}

func TestConsumerAll(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
		t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 20)...)
		c := t.consumer(&kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest, Commit: kafkaclient.CommitManual})
		var got []string
		for r, err := range c.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if len(got) == 3 {
				if _, err := c.Poll(t.Context()); !errors.Is(err, kafkaclient.ErrPolling) {
					t.Errorf("%v", err)
				}
				if err := c.Commit(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if got = append(got, string(r.Value)); len(got) == 7 {
				break
			}
		}
		if at := t.committed("g", tp("a", 0)); at != 3 {
			t.Errorf("committed %d, the fourth record is current", at)
		}
		if err := c.Commit(t.Context()); err != nil {
			t.Error(err)
		}
		if at := t.committed("g", tp("a", 0)); at != 7 {
			t.Errorf("committed %d", at)
		}
		for r, err := range c.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, string(r.Value)); len(got) == 9 {
				if err := c.Seek(tp("a", 0), kafkaclient.StartAt(15)); err != nil { // the rest is dropped
					t.Error(err)
				}
			}
			if len(got) == 11 {
				break
			}
		}
		t.equal(got, append(numbers(0, 9), "15", "16"))
		if rest, err := c.Poll(t.Context()); err != nil || string(rest[0].Value) != "17" {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { time.Sleep(time.Second); cancel() }()
		n := 0
		for _, err := range c.All(ctx) {
			if n++; !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		}
		if n != 1 {
			t.Errorf("%d rounds", n)
		}
		t.shutdown(c)
	})
}

func TestConsumerPauseAndSeek(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Nodes: 2, Topics: map[string]int{"a": 2}}, func(t *consumerTest) {
		t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 10)...)
		t.b.Produce(t, kafkatest.Numbered("a", 1, 100, 10)...)
		c := t.consumer(&kafkaclient.ConsumerOptions{MaxPollRecords: 3, Assign: map[kafka.TopicPartition]kafkaclient.Start{
			tp("a", 0): kafkaclient.StartEarliest(), tp("a", 1): kafkaclient.StartEarliest()}})
		synctest.Wait()
		first, err := c.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		paused := first[0].Partition
		other := 1 - paused
		c.Pause(tp("a", paused))
		if list := c.Paused(); !slices.Equal(list, []kafka.TopicPartition{tp("a", paused)}) {
			t.Errorf("%v", list)
		}
		for range 3 {
			list, err := c.Poll(t.Context())
			if err != nil || list[0].Partition != other || list[len(list)-1].Partition != other {
				t.Fatal(err, list)
			}
		}
		list, err := c.Poll(t.Context())
		if err != nil || len(list) != 1 || list[0].Offset != 9 {
			t.Fatal(err, list)
		}
		t.nothing(c, 2*time.Second)
		if n, ok := c.Lag(tp("a", paused)); !ok || n != 7 {
			t.Errorf("lag %d, %v", n, ok)
		}
		c.Resume(tp("a", paused))
		list, err = c.Poll(t.Context())
		if err != nil || list[0].Partition != paused || list[0].Offset != 3 {
			t.Fatal(err, list[0])
		}
		if err := c.Seek(tp("a", paused), kafkaclient.StartAt(9)); err != nil {
			t.Error(err)
		}
		list, err = c.Poll(t.Context())
		if err != nil || list[0].Partition != paused || list[0].Offset != 9 {
			t.Fatal(err, list[0])
		}
		if err := c.Seek(tp("b", 0), kafkaclient.StartAt(9)); !errors.Is(err, kafkaclient.ErrNotAssigned) {
			t.Error(err)
		}
		if err := c.Assign(map[kafka.TopicPartition]kafkaclient.Start{tp("a", other): kafkaclient.StartAt(8)}); err != nil {
			t.Error(err)
		}
		t.values(c, 2)
		if list := c.Assignment(); !slices.Equal(list, []kafka.TopicPartition{tp("a", other)}) {
			t.Errorf("%v", list)
		}
	})
}

func TestConsumerReadCommitted(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
		p, err := t.c.NewProducer(&kafkaclient.ProducerOptions{TransactionalID: "t"})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		value := 0
		transaction := func(end func(context.Context) error) {
			t.Helper()
			if err := p.Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := p.Produce(t.Context(), &kafkaclient.Record{Topic: "a", Value: fmt.Append(nil, value)}); err != nil {
					t.Fatal(err)
				}
				value++
			}
			t.b.Produce(t, kafkatest.Numbered("a", 0, 1000+value, 1)...)
			if end != nil {
				if err := end(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		transaction(p.Commit)
		transaction(p.Abort)
		transaction(p.Commit)
		transaction(p.Abort)
		transaction(nil)
		o := kafkaclient.ConsumerOptions{ReadCommitted: true, Assign: map[kafka.TopicPartition]kafkaclient.Start{tp("a", 0): kafkaclient.StartEarliest()}}
		c := t.consumer(&o)
		want := []string{"0", "1", "2", "1003", "1006", "6", "7", "8", "1009", "1012"}
		t.equal(t.values(c, len(want)), want)
		t.nothing(c, 5*time.Second) // the last one is open
		if at, err := c.Position(t.Context(), tp("a", 0)); err != nil || at != 20 {
			t.Errorf("position %d, %v", at, err) // after the marker of the last abort
		}
		o.ReadCommitted = false
		all := t.values(t.consumer(&o), 20)
		if len(all) != 20 || !slices.Contains(all, "3") || !slices.Contains(all, "12") {
			t.Errorf("%v", all)
		}
		if err := p.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.equal(t.values(c, 4), []string{"12", "13", "14", "1015"})
	})
}

func TestConsumerCorruptBatch(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 2}}, func(t *consumerTest) {
		for i := range 3 {
			t.b.Produce(t, kafkatest.Numbered("a", 0, i, 1)...)
		}
		t.b.Produce(t, kafkatest.Numbered("a", 1, 10, 1)...)
		t.faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyFetch}, Do: kafkatest.ChangeReply(func(m kafkawire.Response) {
			for _, x := range m.(*kafkawire.FetchResponse).Responses {
				for _, p := range x.Partitions {
					for rest := p.Records; p.PartitionIndex == 0 && len(rest) > 0; {
						entry, more, _ := kafka.Split(rest)
						if kafka.Batch(entry).BaseOffset() == 1 {
							entry[len(entry)-1] ^= 1
						}
						rest = more
					}
				}
			}
		})})
		c := t.consumer(&kafkaclient.ConsumerOptions{Assign: map[kafka.TopicPartition]kafkaclient.Start{
			tp("a", 0): kafkaclient.StartEarliest(), tp("a", 1): kafkaclient.StartEarliest()}})
		t.values(c, 2)
		_, err := c.Poll(t.Context())
		var p *kafkaclient.PartitionError
		if !errors.As(err, &p) || !errors.Is(err, kafkawire.ErrCorruptMessage) || p.Offset != 1 {
			t.Fatalf("%v", err)
		}
		t.nothing(c, 5*time.Second)
		if err := c.Seek(tp("a", 0), kafkaclient.StartAt(2)); err != nil {
			t.Fatal(err)
		}
		t.equal(t.values(c, 1), []string{"2"})
	})
}

func TestConsumerTruncation(t *testing.T) {
	for _, reset := range []kafkaclient.Reset{kafkaclient.ResetEarliest, kafkaclient.ResetNone} {
		consumerBubble(t, &kafkatest.BrokerOptions{Nodes: 2, Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
			t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 10)...)
			c := t.consumer(&kafkaclient.ConsumerOptions{Reset: reset, Assign: map[kafka.TopicPartition]kafkaclient.Start{tp("a", 0): kafkaclient.StartEarliest()}})
			t.values(c, 10)
			// The new leader says that the old epoch ended earlier.
			hits := t.faults.Add(kafkatest.Rule{Keys: []kafkawire.APIKey{kafkawire.KeyOffsetForLeaderEpoch}, Do: kafkatest.ChangeReply(func(m kafkawire.Response) {
				if p := &m.(*kafkawire.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]; p.ErrorCode == 0 {
					p.EndOffset = 6
				}
			})})
			for _, node := range []int32{1, 2, 1} {
				t.b.MoveLeader(t, "a", 0, node)
			}
			if reset == kafkaclient.ResetNone {
				_, err := c.Poll(t.Context())
				var p *kafkaclient.PartitionError
				if !errors.As(err, &p) || !errors.Is(err, kafkaclient.ErrTruncated) || p.Offset != 6 {
					t.Errorf("%v", err)
				}
			} else {
				t.equal(t.values(c, 4), numbers(6, 4))
			}
			if hits() == 0 {
				t.Error("nobody asked")
			}
		})
	}
}

func TestConsumerDeletedRecords(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 1}}, func(t *consumerTest) {
		t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 10)...)
		c := t.consumer(&kafkaclient.ConsumerOptions{Reset: kafkaclient.ResetEarliest, MaxPollRecords: 2,
			Assign: map[kafka.TopicPartition]kafkaclient.Start{tp("a", 0): kafkaclient.StartEarliest()}})
		t.values(c, 2)
		req := new(kafkawire.DeleteRecordsRequest)
		req.Reset()
		req.Topics = []kafkawire.DeleteRecordsRequestTopic{{Name: "a", Partitions: []kafkawire.DeleteRecordsRequestPartition{{PartitionIndex: 0, Offset: 7}}}}
		if _, err := t.c.Request(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		_ = c.Seek(tp("a", 0), kafkaclient.StartAt(3))
		t.equal(t.values(c, 3), numbers(7, 3))
	})
}

// TestConsumerBuffers: what waits for Poll is bounded, and everything comes.
func TestConsumerBuffers(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Nodes: 2, Topics: map[string]int{"a": 4}}, func(t *consumerTest) {
		value := make([]byte, 10_000)
		for range 20 {
			for p := range int32(4) {
				t.b.Produce(t, &kafkaclient.Record{Topic: "a", Partition: p, Value: value}, &kafkaclient.Record{Topic: "a", Partition: p, Value: value})
			}
		}
		o := kafkaclient.ConsumerOptions{MaxBuffered: 200_000, PartitionMaxBytes: 30_000, Assign: map[kafka.TopicPartition]kafkaclient.Start{}}
		for p := range int32(4) {
			o.Assign[tp("a", p)] = kafkaclient.StartEarliest()
		}
		before := t.c.Stats().BytesReceived
		c := t.consumer(&o)
		time.Sleep(time.Minute)
		if n := t.c.Stats().BytesReceived - before; n > 300_000 {
			t.Errorf("%d bytes were fetched", n)
		}
		t.values(c, 160)
	})
}
