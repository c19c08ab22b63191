package kafkabroker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestEverythingAtOnce produces, reads and changes topics from many connections. What a reader sees is in order and without
// holes, whatever else happens.
func TestEverythingAtOnce(t *testing.T) {
	const seed = 3
	t.Log("seed", seed)
	b := openBroker(t, &Options{Dir: t.TempDir(), Config: map[string]string{"log.segment.bytes": "20000"}})
	setup := connect(t, b)
	setup.mustCreate("steady", 4)
	var stop atomic.Bool
	var work, readers sync.WaitGroup
	var produced [4]atomic.Int64
	for i := range 3 {
		p := connect(t, b)
		work.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			for n := range 200 {
				part := rnd.Int32N(4)
				a := p.produce("steady", part, batch(fmt.Sprintf("%d-%d", i, n)))
				if a.ErrorCode != noError {
					t.Error(a.ErrorCode)
				}
				produced[part].Add(1)
				p.produce(fmt.Sprint("passing", rnd.IntN(3)), 0, batch("x"))
			}
		})
	}
	for i := range int32(4) {
		p := connect(t, b)
		readers.Go(func() {
			session, epoch, offset := int32(0), int32(0), int64(0)
			for end := false; !end; {
				end = stop.Load()
				m := fetchOf("steady", i, offset)
				m.MaxWaitMs, m.SessionID, m.SessionEpoch = 5, session, epoch
				resp := ask[*kafkawire.FetchResponse](p, m, 12)
				if resp.ErrorCode != noError {
					t.Error(resp.ErrorCode)
					return
				}
				session, epoch = resp.SessionID, epoch+1
				for _, topic := range resp.Responses {
					for _, a := range topic.Partitions {
						if a.ErrorCode != noError {
							t.Error(a.ErrorCode)
						}
						got := len(valuesOf(t, a.Records))
						offset += int64(got)
						end = end && got == 0
					}
				}
			}
			if want := produced[i].Load(); offset != want {
				t.Errorf("partition %d: %d records were read, %d produced", i, offset, want)
			}
		})
	}
	for i := range 2 {
		p := connect(t, b)
		work.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(10+i)))
			for range 60 {
				name := fmt.Sprint("passing", rnd.IntN(3))
				switch rnd.IntN(5) {
				case 0:
					p.create(name, 2)
				case 1:
					_ = b.DeleteTopic(name)
				case 2:
					_ = b.AddPartitions(name, 3)
				case 3:
					_ = b.SetTopicConfigs(name, map[string]*string{"retention.ms": new(fmt.Sprint(1 + rnd.IntN(1000)))})
				case 4:
					m := fetchOf(name, 0, 0)
					m.MaxWaitMs = 3
					ask[*kafkawire.FetchResponse](p, m, 12)
					b.Stats()
				}
			}
		})
	}
	work.Wait()
	stop.Store(true)
	readers.Wait()
	released(b)
}

// released waits until nothing is held for fetches. A client may have its answer before the server has given back the memory
// from which it was sent.
func released(b *Broker) {
	for s := b.Stats(); s.FetchBytes != 0 || s.FetchesWaiting != 0; s = b.Stats() {
		runtime.Gosched()
	}
}

// TestCloseAtOnce closes the broker while everything goes on.
func TestCloseAtOnce(t *testing.T) {
	for range 5 {
		b, err := Open(&Options{Dir: t.TempDir(), Authenticate: AllowAll})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.CreateTopic("t", nil); err != nil {
			t.Fatal(err)
		}
		var work sync.WaitGroup
		for range 4 {
			work.Go(func() {
				for {
					if _, err := b.Produce(context.Background(), "t", 0, Record{Value: []byte("v")}); err != nil {
						if !errors.Is(err, kafkawire.ErrNotLeaderOrFollower) {
							t.Error(err)
						}
						return
					}
				}
			})
			work.Go(func() {
				for _, err := range b.Records(context.Background(), "t", 0, -1, ReadCommitted) {
					if err != nil {
						return
					}
				}
			})
		}
		work.Go(func() {
			for b.CreateTopic(fmt.Sprint(time.Now().UnixNano()), nil) == nil {
			}
		})
		p := connect(t, b)
		p.send(waitFor("t", 0, 0, time.Hour, 1<<20), 12)
		time.AfterFunc(20*time.Millisecond, func() { _ = b.Close() })
		work.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}
