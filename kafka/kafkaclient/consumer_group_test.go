package kafkaclient_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestConsumerGroup(t *testing.T) {
	for name, assignors := range map[string][]kafka.Assignor{
		"default": nil, "cooperative": {kafka.CooperativeStickyAssignor{}}, "sticky": {kafka.StickyAssignor{}}, "roundrobin": {kafka.RoundRobinAssignor{}},
	} {
		t.Run(name, func(t *testing.T) {
			consumerBubble(t, &kafkatest.BrokerOptions{Nodes: 3, Topics: map[string]int{"a": 12, "b": 12}}, func(t *consumerTest) {
				o := kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a", "b"}, Reset: kafkaclient.ResetEarliest, Assignors: assignors, CommitInterval: time.Second}
				n := 0
				produce := func() {
					for p := range int32(12) {
						t.b.Produce(t, kafkatest.Numbered("a", p, n, 10)...)
						t.b.Produce(t, kafkatest.Numbered("b", p, n+10, 10)...)
						n += 20
					}
					time.Sleep(2 * time.Second)
				}
				var members []*member
				for i := range 4 {
					members = append(members, t.member(o))
					want := 24 / (i + 1)
					uneven := func(m *member) bool { return m.count() != want }
					for range 6 { // a member that rejoins before it gave partitions back makes another rebalance necessary
						if time.Sleep(10 * time.Second); !slices.ContainsFunc(members, uneven) {
							break
						}
					}
					for _, m := range members {
						if got := m.count(); got != want {
							t.Errorf("%d of %d partitions", got, want)
						}
					}
					produce()
				}
				members[0].leave(t)
				time.Sleep(10 * time.Second)
				produce()
				members[1].leave(t)
				time.Sleep(10 * time.Second)
				members[2].stop() // it does not poll any more
				<-members[2].done
				time.Sleep(10 * time.Second)
				_ = members[2].c.Close()
				time.Sleep(10 * time.Second)
				produce()
				if got := members[3].count(); got != 24 {
					t.Errorf("%d partitions", got)
				}
				members[3].leave(t)
				var all []int
				for _, m := range members {
					for _, v := range m.values {
						i, _ := strconv.Atoi(v)
						all = append(all, i)
					}
					if len(m.errs) > 0 {
						t.Errorf("%v", m.errs)
					}
				}
				slices.Sort(all)
				if len(all) != n || len(slices.Compact(all)) != n {
					t.Errorf("%d records, %d of them different, want %d", len(all), len(slices.Compact(all)), n)
				}
			})
		})
	}
}

func TestConsumerCallbacksMayCallAnything(t *testing.T) {
	for _, cooperative := range []bool{false, true} {
		consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 4}}, func(t *consumerTest) {
			for p := range int32(4) {
				t.b.Produce(t, kafkatest.Numbered("a", p, 0, 10)...)
			}
			var leaving atomic.Bool
			everything := func(c *kafkaclient.Consumer, list []kafka.TopicPartition) {
				want := kafkaclient.ErrPolling
				if leaving.Load() {
					want = kafkaclient.ErrClosed
				}
				if _, err := c.Poll(t.Context()); !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
				for _, p := range list {
					if _, err := c.Position(t.Context(), p); err != nil {
						t.Errorf("%v", err)
					}
					if _, err := c.Committed(t.Context(), p); err != nil {
						t.Errorf("%v", err)
					}
					c.Pause(p)
					c.Resume(p)
					c.Lag(p)
				}
				if err := c.Commit(t.Context()); err != nil {
					t.Errorf("%v", err)
				}
				done := make(chan struct{})
				c.CommitAsync(func(error) { c.Assignment(); close(done) })
				<-done
				c.Assignment()
				c.Subscription()
				_, _ = c.GroupMetadata()
				c.Consumed()
				_, _ = c.Offsets(t.Context(), map[kafka.TopicPartition]kafkaclient.Start{tp("a", 0): kafkaclient.StartLatest()})
			}
			o := kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest}
			if cooperative {
				o.Assignors = []kafka.Assignor{kafka.CooperativeStickyAssignor{}}
			}
			o.OnRevoked = everything
			first := true
			o.OnAssigned = func(c *kafkaclient.Consumer, list []kafka.TopicPartition) {
				everything(c, list)
				for _, p := range list {
					if err := c.Seek(p, kafkaclient.StartAt(8)); err != nil {
						t.Error(err)
					}
				}
				if first {
					c.Rebalance("in a callback")
				}
				first = false
			}
			m := t.member(o)
			time.Sleep(20 * time.Second)
			o.OnAssigned = func(c *kafkaclient.Consumer, list []kafka.TopicPartition) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if err := c.Shutdown(ctx); err != nil {
					t.Error(err)
				}
			}
			second := t.member(o)
			<-second.done
			time.Sleep(20 * time.Second)
			if m.count() != 4 {
				t.Errorf("%d partitions, %v", m.count(), m.events)
			}
			o.OnAssigned = func(c *kafkaclient.Consumer, list []kafka.TopicPartition) { _ = c.Close() }
			third := t.member(o)
			<-third.done
			time.Sleep(10 * time.Second)
			leaving.Store(true)
			m.leave(t)
			if !slices.Contains(m.values, "8") || slices.Contains(m.values, "7") {
				t.Errorf("%v", m.values)
			}
		})
	}
}

func TestConsumerTooSlow(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 2}}, func(t *consumerTest) {
		t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 10)...)
		t.b.Produce(t, kafkatest.Numbered("a", 1, 10, 10)...)
		lost := 0
		o := kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest, MaxPollInterval: time.Minute, MaxPollRecords: 5,
			OnLost: func(c *kafkaclient.Consumer, list []kafka.TopicPartition) { lost += len(list) }}
		c := t.consumer(&o)
		list, err := c.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		slow := slices.Clone(list)
		o.OnLost = nil
		other := t.member(o)
		time.Sleep(55 * time.Second)
		if n := other.count(); n != 0 {
			t.Errorf("the other has %d partitions too early", n)
		}
		time.Sleep(20 * time.Second)
		if n := other.count(); n != 2 {
			t.Errorf("the other has %d partitions", n)
		}
		slow[0].Done()
		if err := c.Commit(t.Context()); !errors.Is(err, kafka.ErrCommitFailed) {
			t.Errorf("commit: %v", err)
		}
		if _, err := c.Poll(t.Context()); !errors.Is(err, kafka.ErrPollInterval) {
			t.Errorf("poll: %v", err)
		}
		if lost != 2 {
			t.Errorf("%d partitions lost", lost)
		}
		// It comes back.
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, _ = c.Poll(ctx)
		if n := len(c.Assignment()); n != 1 || other.count() != 1 {
			t.Errorf("%d and %d partitions", n, other.count())
		}
		other.leave(t)
		t.shutdown(c)
	})
}

// TestConsumerSlowLoop: a loop that takes long for all that was polled at once, and not for a single record, keeps its place.
func TestConsumerSlowLoop(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 2}}, func(t *consumerTest) {
		t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 20)...)
		t.b.Produce(t, kafkatest.Numbered("a", 1, 100, 20)...)
		var events []string
		o := kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest, MaxPollInterval: time.Minute,
			OnRevoked: func(c *kafkaclient.Consumer, list []kafka.TopicPartition) {
				events = append(events, fmt.Sprint("revoked ", len(list)))
			}}
		c := t.consumer(&o)
		o.OnRevoked = nil
		var other *member
		n := 0
		seen := make(map[string]bool)
		for r, err := range c.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if v := string(r.Value); seen[v] {
				t.Errorf("%s comes twice", v)
			} else {
				seen[v] = true
			}
			time.Sleep(20 * time.Second) // 800 seconds for all
			if n++; n == 10 {
				other = t.member(o)
			}
			if n == 15 && other.count() != 1 {
				t.Errorf("the other has %d partitions", other.count())
			}
			if at := t.committed("g", tp("a", r.Partition)); at != r.Offset {
				t.Errorf("committed %d, the current record is %d", at, r.Offset)
			}
			if n == 20 {
				break
			}
		}
		if len(events) != 1 {
			t.Errorf("%v", events)
		}
		for _, v := range other.values {
			if seen[v] {
				t.Errorf("%s comes to both", v)
			}
		}
		other.leave(t)
		t.shutdown(c)
	})
}

func TestConsumerPattern(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.NewBroker(t, &kafkatest.BrokerOptions{Topics: map[string]int{"log-a": 2, "other": 2}})
		x := &consumerTest{T: t, b: b, c: b.Client(t, &kafkaclient.Options{MetadataMaxAge: 10 * time.Second})}
		m := x.member(kafkaclient.ConsumerOptions{Group: "g", Pattern: regexp.MustCompile("^log-"), Reset: kafkaclient.ResetEarliest})
		time.Sleep(5 * time.Second)
		if n := m.count(); n != 2 {
			t.Errorf("%d partitions", n)
		}
		b.CreateTopic(t, "log-b", 3, nil)
		b.Produce(t, kafkatest.Numbered("log-b", 1, 0, 3)...)
		time.Sleep(20 * time.Second)
		if n := m.count(); n != 5 {
			t.Errorf("%d partitions", n)
		}
		x.equal(m.c.Subscription(), []string{"log-a", "log-b"})
		m.leave(x)
		x.equal(m.values, numbers(0, 3))
	})
}

func TestConsumerStatic(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 4}}, func(t *consumerTest) {
		o := kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, InstanceID: "one"}
		one := t.member(o)
		o.InstanceID = "two"
		two := t.member(o)
		time.Sleep(20 * time.Second)
		events := two.changes()
		one.leave(t)
		o.InstanceID = "one"
		one = t.member(o)
		time.Sleep(20 * time.Second)
		if one.count() != 2 || two.count() != 2 || two.changes() != events {
			t.Errorf("%d and %d partitions, %v", one.count(), two.count(), two.events)
		}
		// Another one of the same name fences the first.
		again := t.member(o)
		<-one.done
		if len(one.errs) != 1 || !errors.Is(one.errs[0], kafkawire.ErrFencedInstanceID) || !kafkaclient.Fatal(one.errs[0]) {
			t.Errorf("%v", one.errs)
		}
		again.leave(t)
		two.leave(t)
	})
}

func TestConsumerFollowsLeaders(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Nodes: 3, Topics: map[string]int{"a": 3}}, func(t *consumerTest) {
		m := t.member(kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest})
		n := 0
		for round := range 6 {
			for p := range int32(3) {
				t.b.Produce(t, kafkatest.Numbered("a", p, n, 10)...)
				n += 10
				t.b.MoveLeader(t, "a", p, int32(round)%3+1)
			}
			if round == 3 {
				t.faults.CutAll(0)
			}
			time.Sleep(3 * time.Second)
		}
		m.leave(t)
		if len(m.errs) > 0 {
			t.Errorf("%v", m.errs)
		}
		slices.SortFunc(m.values, func(a, b string) int {
			x, _ := strconv.Atoi(a)
			y, _ := strconv.Atoi(b)
			return x - y
		})
		t.equal(m.values, numbers(0, n))
	})
}

func TestConsumerWithFaults(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Nodes: 2, Topics: map[string]int{"a": 4}}, func(t *consumerTest) {
		key := func(keys ...kafkawire.APIKey) []kafkawire.APIKey { return keys }
		for _, r := range []kafkatest.Rule{
			{Keys: key(kafkawire.KeyFindCoordinator), Times: 2, Do: kafkatest.Fail(kafkawire.ErrCoordinatorNotAvailable)},
			{Keys: key(kafkawire.KeyJoinGroup), Times: 1, Do: kafkatest.Fail(kafkawire.ErrNotCoordinator)},
			{Keys: key(kafkawire.KeyJoinGroup), Times: 1, Do: kafkatest.CutReply},
			{Keys: key(kafkawire.KeySyncGroup), Times: 1, Do: kafkatest.Fail(kafkawire.ErrRebalanceInProgress)},
			{Keys: key(kafkawire.KeySyncGroup), Times: 1, Do: kafkatest.Cut},
			{Keys: key(kafkawire.KeyOffsetFetch), Times: 1, Do: kafkatest.Fail(kafkawire.ErrCoordinatorLoadInProgress)},
			{Keys: key(kafkawire.KeyOffsetFetch), Times: 1, Do: kafkatest.Lose},
			{Keys: key(kafkawire.KeyListOffsets), Times: 1, Do: kafkatest.Fail(kafkawire.ErrLeaderNotAvailable)},
			{Keys: key(kafkawire.KeyListOffsets), Times: 1, Do: kafkatest.Cut},
			{Keys: key(kafkawire.KeyFetch), Times: 1, Do: kafkatest.Fail(kafkawire.ErrNotLeaderOrFollower)},
			{Keys: key(kafkawire.KeyFetch), Times: 1, Do: kafkatest.Fail(kafkawire.ErrUnknownLeaderEpoch)},
			{Keys: key(kafkawire.KeyFetch), Times: 2, Do: kafkatest.CutReply},
			{Keys: key(kafkawire.KeyFetch), Skip: 4, Times: 1, Do: kafkatest.ChangeReply(func(m kafkawire.Response) {
				m.(*kafkawire.FetchResponse).ErrorCode = kafkawire.ErrFetchSessionIDNotFound
				m.(*kafkawire.FetchResponse).Responses = nil
			})},
			{Keys: key(kafkawire.KeyOffsetCommit), Times: 1, Do: kafkatest.Fail(kafkawire.ErrNotCoordinator)},
			{Keys: key(kafkawire.KeyOffsetCommit), Times: 1, Do: kafkatest.CutReply},
			{Keys: key(kafkawire.KeyHeartbeat), Times: 1, Do: kafkatest.Fail(kafkawire.ErrUnknownMemberID)},
			{Keys: key(kafkawire.KeyHeartbeat), Times: 1, Do: kafkatest.Cut},
		} {
			t.faults.Add(r)
		}
		for p := range int32(4) {
			t.b.Produce(t, kafkatest.Numbered("a", p, int(p)*10, 10)...)
		}
		m := t.member(kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest, CommitInterval: time.Second})
		time.Sleep(5 * time.Minute)
		if m.count() != 4 {
			t.Errorf("%d partitions: %v", m.count(), m.events)
		}
		m.leave(t)
		if len(m.errs) > 0 {
			t.Errorf("%v", m.errs)
		}
		slices.Sort(m.values)
		if got := slices.Compact(m.values); len(got) != 40 {
			t.Errorf("%d values", len(got))
		}
		for p := range int32(4) {
			if at := t.committed("g", tp("a", p)); at != 10 {
				t.Errorf("committed %d", at)
			}
		}
	})
}

// TestConsumerOldBroker: with a broker of old versions everything works, too.
func TestConsumerOldBroker(t *testing.T) {
	consumerBubble(t, &kafkatest.BrokerOptions{Topics: map[string]int{"a": 2}}, func(t *consumerTest) {
		old := map[kafkawire.APIKey]int16{kafkawire.KeyFetch: 10, kafkawire.KeyListOffsets: 4, kafkawire.KeyMetadata: 7, kafkawire.KeyOffsetCommit: 6,
			kafkawire.KeyOffsetFetch: 5, kafkawire.KeyFindCoordinator: 2, kafkawire.KeyJoinGroup: 3, kafkawire.KeyHeartbeat: 2,
			kafkawire.KeyLeaveGroup: 2, kafkawire.KeySyncGroup: 2, kafkawire.KeyOffsetForLeaderEpoch: 2}
		t.faults.LimitVersions(old)
		seen := make(map[kafkawire.APIKey]int16)
		var mu sync.Mutex
		t.faults.Watch(func(r *kafkatest.Request) {
			mu.Lock()
			defer mu.Unlock()
			seen[r.Key] = max(seen[r.Key], r.Version)
		})
		t.b.Produce(t, kafkatest.Numbered("a", 0, 0, 10)...)
		m := t.member(kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest})
		time.Sleep(20 * time.Second)
		m.leave(t)
		t.equal(m.values, numbers(0, 10))
		if at := t.committed("g", tp("a", 0)); at != 10 {
			t.Errorf("committed %d", at)
		}
		mu.Lock()
		defer mu.Unlock()
		for key, most := range old {
			if v, ok := seen[key]; ok && v > most {
				t.Errorf("%v in version %d", key, v)
			}
		}
		if seen[kafkawire.KeyFetch] != 10 || seen[kafkawire.KeyJoinGroup] != 3 {
			t.Errorf("%v", seen)
		}
	})
}
