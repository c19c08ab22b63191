package kafkaclient_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestConsumerChaos: consumers come and go, orderly or not, take their time and finish records in any order, while requests
// are slow, fail and get lost and leaders move. What is committed was done, and in the end every record was.
func TestConsumerChaos(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		consumerBubble(t, &kafkatest.BrokerOptions{Nodes: 3, Topics: map[string]int{"a": 6}}, func(t *consumerTest) {
			(&consumerChaos{consumerTest: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 11)), done: make(map[kafka.TopicPartition]map[int64]bool)}).run()
		})
	}
}

type consumerChaos struct {
	*consumerTest
	seed     uint64
	rnd      *rand.Rand
	produced [6]int64

	mu   sync.Mutex
	done map[kafka.TopicPartition]map[int64]bool
	errs []error
}

func (x *consumerChaos) run() {
	options := kafkaclient.ConsumerOptions{Group: "g", Topics: []string{"a"}, Reset: kafkaclient.ResetEarliest, Commit: kafkaclient.CommitDone,
		CommitInterval: time.Second, MaxPollInterval: 30 * time.Second, SessionTimeout: 10 * time.Second, MaxPollRecords: 7}
	if x.seed%2 == 0 {
		options.Assignors = []kafka.Assignor{kafka.CooperativeStickyAssignor{}}
	}
	x.addFaults()
	var stops []func()
	for range 40 {
		switch n := x.rnd.IntN(8); {
		case n < 2 && len(stops) < 5:
			stops = append(stops, x.start(options, x.rnd.IntN(3) == 0, x.rnd.Uint64()))
		case n == 2 && len(stops) > 1:
			stops[0]()
			stops = stops[1:]
		case n == 3:
			x.b.MoveLeader(x, "a", x.rnd.Int32N(6), 1+x.rnd.Int32N(3))
		case n == 4:
			x.faults.CutAll(1 + x.rnd.Int32N(3))
		default:
			p := x.rnd.Int32N(6)
			k := 1 + x.rnd.IntN(20)
			x.b.Produce(x, kafkatest.Numbered("a", p, int(x.produced[p]), k)...)
			x.produced[p] += int64(k)
		}
		time.Sleep(time.Duration(x.rnd.IntN(5000)) * time.Millisecond)
		x.check()
	}
	x.faults.Clear()
	for _, stop := range stops {
		stop()
	}
	time.Sleep(time.Minute)
	stop := x.start(options, false, 1)
	for range 60 {
		if time.Sleep(time.Second); x.missing() == 0 {
			break
		}
	}
	stop()
	x.check()
	if n := x.missing(); n > 0 {
		x.Errorf("seed %d: %d records were never done", x.seed, n)
	}
	for p, n := range x.produced {
		if at := x.committed("g", tp("a", int32(p))); n > 0 && at != n {
			x.Errorf("seed %d: committed %d of %d in partition %d", x.seed, at, n, p)
		}
	}
	for _, err := range x.errs {
		x.Errorf("seed %d: %v", x.seed, err)
	}
}

// addFaults makes some requests fail in some way.
func (x *consumerChaos) addFaults() {
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(x.seed, 12))
	codes := []kafkawire.ErrorCode{kafkawire.ErrNotCoordinator, kafkawire.ErrCoordinatorNotAvailable, kafkawire.ErrCoordinatorLoadInProgress,
		kafkawire.ErrRebalanceInProgress, kafkawire.ErrUnknownMemberID, kafkawire.ErrIllegalGeneration}
	x.faults.Add(kafkatest.Rule{Do: func(r *kafkatest.Request) kafkatest.Result {
		mu.Lock()
		defer mu.Unlock()
		switch n := rnd.IntN(100); {
		case n < 5:
			return kafkatest.Result{Delay: time.Duration(rnd.IntN(3000)) * time.Millisecond}
		case n < 7:
			return kafkatest.Cut(r)
		case n < 9:
			return kafkatest.CutReply(r)
		case n < 10:
			return kafkatest.Lose(r)
		case n < 16:
			switch r.Key {
			case kafkawire.KeyJoinGroup, kafkawire.KeySyncGroup, kafkawire.KeyHeartbeat, kafkawire.KeyOffsetCommit:
				return kafkatest.Fail(codes[rnd.IntN(len(codes))])(r)
			case kafkawire.KeyFetch, kafkawire.KeyListOffsets:
				return kafkatest.Fail(kafkawire.ErrNotLeaderOrFollower)(r)
			case kafkawire.KeyFindCoordinator, kafkawire.KeyOffsetFetch:
				return kafkatest.Fail(codes[rnd.IntN(3)])(r)
			}
		}
		return kafkatest.Result{}
	}})
}

// start starts a consumer. The function that it returns ends it, by killing it if kill is set.
func (x *consumerChaos) start(o kafkaclient.ConsumerOptions, kill bool, seed uint64) (stop func()) {
	client := x.b.Client(x, nil)
	c, err := client.NewConsumer(&o)
	if err != nil {
		x.Fatal(err)
	}
	ctx, cancel := context.WithCancel(x.Context())
	var all sync.WaitGroup
	all.Go(func() {
		rnd := rand.New(rand.NewPCG(seed, 13))
		for r, err := range c.All(ctx) {
			if err != nil {
				if !errors.Is(err, context.Canceled) && !errors.Is(err, kafkaclient.ErrClosed) && !errors.Is(err, kafka.ErrPollInterval) {
					x.mu.Lock()
					x.errs = append(x.errs, err)
					x.mu.Unlock()
				}
				continue
			}
			work := time.Duration(rnd.IntN(200)) * time.Millisecond
			if rnd.IntN(100) == 0 {
				work = time.Duration(rnd.IntN(10)) * time.Second
			}
			all.Go(func() {
				time.Sleep(work)
				x.mu.Lock()
				p := tp(r.Topic, r.Partition)
				if x.done[p] == nil {
					x.done[p] = make(map[int64]bool)
				}
				x.done[p][r.Offset] = true
				x.mu.Unlock()
				r.Done()
			})
			time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
		}
	})
	return func() {
		cancel()
		if kill {
			_ = c.Close()
			_ = client.Close()
		}
		all.Wait()
		if !kill {
			ctx, cancel := context.WithTimeout(x.Context(), 20*time.Second)
			defer cancel()
			_ = c.Shutdown(ctx)
		}
	}
}

// check: everything before a committed offset is done.
func (x *consumerChaos) check() {
	x.Helper()
	synctest.Wait()
	for p := range int32(6) {
		at := x.committed("g", tp("a", p))
		x.mu.Lock()
		for offset := range at {
			if !x.done[tp("a", p)][offset] {
				x.Errorf("seed %d: %d is committed in partition %d, and %d is not done", x.seed, at, p, offset)
				break
			}
		}
		x.mu.Unlock()
	}
}

func (x *consumerChaos) missing() (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for p, most := range x.produced {
		for offset := range most {
			if !x.done[tp("a", int32(p))][offset] {
				n++
			}
		}
	}
	return n
}
