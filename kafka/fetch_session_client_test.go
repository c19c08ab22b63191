package kafka

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// sessionBroker is the least of a broker that has sessions.
type sessionBroker struct {
	ids      int32
	id       int32
	epoch    int32
	contents map[string]int64 // partition → offset
}

func sessionKey(topic kafkawire.TopicName, id kafkawire.UUID, partition int32) string {
	return fmt.Sprint(topic, id, partition)
}

func (b *sessionBroker) fetch(r *kafkawire.FetchRequest, room bool) (kafkawire.ErrorCode, int32, map[string]int64) {
	contents := b.contents
	switch {
	case r.SessionEpoch <= 0:
		contents = make(map[string]int64)
	case r.SessionID != b.id:
		return kafkawire.ErrFetchSessionIDNotFound, 0, nil
	case r.SessionEpoch != b.epoch:
		return kafkawire.ErrInvalidFetchSessionEpoch, 0, nil
	}
	for _, t := range r.ForgottenTopicsData {
		for _, p := range t.Partitions {
			delete(contents, sessionKey(t.Topic, t.TopicID, p))
		}
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			contents[sessionKey(t.Topic, t.TopicID, p.Partition)] = p.FetchOffset
		}
	}
	switch {
	case r.SessionEpoch < 0 || !room:
		b.id = 0
		return 0, 0, contents
	case r.SessionEpoch == 0:
		b.ids++
		b.id, b.epoch, b.contents = b.ids, 1, contents
	default:
		b.epoch++
	}
	return 0, b.id, contents
}

// TestFetchSessionAgrees: whatever happens to sessions, a broker that answers knows exactly what is wanted.
func TestFetchSessionAgrees(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var s FetchSession
		if seed%10 == 0 {
			s.DisableSession()
		}
		b := &sessionBroker{contents: make(map[string]int64)}
		byID := seed%2 == 0
		var r kafkawire.FetchRequest
		id := kafkawire.UUID{1}
		incremental := 0
		for range 100 {
			want := make(map[string]int64)
			if rnd.IntN(20) == 0 {
				id[1]++
			}
			for p := range int32(6) {
				if rnd.IntN(4) == 0 {
					continue
				}
				w := FetchPartition{Topic: "t", TopicID: id, Partition: p, Offset: int64(rnd.IntN(3))}
				s.Want(w)
				if byID {
					want[sessionKey("", id, p)] = w.Offset
				} else {
					want[sessionKey("t", kafkawire.UUID{}, p)] = w.Offset
				}
			}
			if n := s.Len(); n != len(want) {
				t.Fatalf("seed %d: %d wanted, not %d", seed, n, len(want))
			}
			s.Request(&r, byID)
			if rnd.IntN(20) == 0 {
				if rnd.IntN(2) == 0 {
					b.fetch(&r, true)
				}
				s.Lost()
				continue
			}
			if rnd.IntN(20) == 0 {
				b.id = 0
			}
			if rnd.IntN(40) == 0 {
				byID = !byID
				b.contents = make(map[string]int64)
				s.Lost()
				continue
			}
			code, session, contents := b.fetch(&r, rnd.IntN(20) > 0)
			if code == 0 && !maps.Equal(contents, want) {
				t.Fatalf("seed %d: the broker has %v, wanted %v", seed, contents, want)
			}
			if r.SessionEpoch > 0 && code == 0 {
				incremental++
			}
			s.Receive(code, session)
		}
		if incremental < 20 && seed%10 != 0 {
			t.Errorf("seed %d: %d incremental requests", seed, incremental)
		}
	}
}

// TestFetchSessionSaysNothing: a request that changes nothing names no partition and allocates nothing.
func TestFetchSessionSaysNothing(t *testing.T) {
	var s FetchSession
	var r kafkawire.FetchRequest
	step := func() {
		for p := range int32(100) {
			s.Want(FetchPartition{Topic: "t", TopicID: kafkawire.UUID{1}, Partition: p, Offset: 7})
		}
		s.Request(&r, true)
		s.Receive(0, 9)
	}
	step()
	if n := len(r.Topics); n != 1 || len(r.Topics[0].Partitions) != 100 {
		t.Errorf("%d topics", n)
	}
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if len(r.Topics) != 0 || r.SessionID != 9 {
		t.Errorf("%+v", r)
	}
}
