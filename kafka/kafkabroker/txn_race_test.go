package kafkabroker

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestTransactionWithoutVerification: transaction.partition.verification.enable says nothing about producers that make
// partitions part of their transactions by writing to them.
func TestTransactionWithoutVerification(t *testing.T) {
	eachVersion(t, func(t *testing.T, version int) {
		o := smallOptions()
		o.Config = map[string]string{"transaction.partition.verification.enable": "false"}
		b := openBroker(t, o)
		c := txnProducer(t, b, "tx", version)
		c.mustCreate("t", 1)
		c.begin()
		if code := c.write("t", 0, "a"); code != noError {
			t.Fatal(code)
		}
		if code := c.end(true); code != noError {
			t.Fatal(code)
		}
		synctest.Wait()
		if got, stable := c.committedRecords("t", 0); len(got) != 1 || stable != 2 {
			t.Error(got, stable)
		}
		c.id = ""
		m := produceTo("t", 0, c.records(kafka.TopicPartition{Topic: "t"}, "b"))
		if code := ask[*kafkawire.ProduceResponse](c.peer, m, 11).Responses[0].PartitionResponses[0].ErrorCode; code != kafkawire.ErrTransactionalIDAuthorizationFailed {
			t.Error("without a transactional id:", code)
		}
	})
}

// TestLateOffsetsOfATransaction: offsets that were verified, and come behind the marker, do not begin a transaction that nobody
// ends. Producers of before KIP-890 have the same epoch in the next one.
func TestLateOffsetsOfATransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, smallOptions())
		c := txnProducer(t, b, "tx", 1)
		c.mustCreate("t", 1)
		c.begin()
		if code := c.offsets("g", "t", 0, 1); code != noError {
			t.Fatal(code)
		}
		if code := c.end(true); code != noError {
			t.Fatal(code)
		}
		synctest.Wait()
		sh, err := b.localShard("g")
		if err != nil {
			t.Fatal(err)
		}
		guard, err := sh.p.log.guardTransaction(int64(c.p.ID), c.p.Epoch, -1, false)
		if guard == 0 || err != nil {
			t.Fatal(guard, err)
		}
		m := kafka.Marker{Type: kafka.ControlAbort, ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch, Timestamp: time.Now().UnixMilli()}
		marker, err := m.Append(nil)
		if err == nil {
			_, err = b.appendMarker(sh.p, marker, int64(c.p.ID), c.p.Epoch, false, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		sh.mu.Lock()
		defer sh.mu.Unlock()
		sh.batch.Reset()
		if err := sh.addOffset(time.Now(), "g", offsetKey{"t", 0}, &committedOffset{offset: 2, epoch: -1, expire: -1}); err != nil {
			t.Fatal(err)
		}
		if _, err := sh.appendGuarded(&kafka.Producer{ID: c.p.ID, Epoch: c.p.Epoch}, guard); !errors.Is(err, kafkawire.ErrInvalidTxnState) {
			t.Error(err)
		}
	})
}

// TestTransactionalIDThatBeganAnew: who still holds what a transactional id was before it ended does not end the new one.
func TestTransactionalIDThatBeganAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, smallOptions())
		c := txnProducer(t, b, "tx", 2)
		c.begin()
		s, err := b.txns.shard("tx", false)
		if err != nil {
			t.Fatal(err)
		}
		old := s.list()[0]
		s.do(old, func(x *kafka.Txn, now time.Time) { x.Expire(now, 0) })
		synctest.Wait()
		if len(s.list()) != 0 {
			t.Fatal("it has not ended")
		}
		c.begin()
		first := c.p
		s.do(old, func(x *kafka.Txn, now time.Time) { x.Expire(now, time.Hour) }) // as the next sweep does, which listed it before
		c.begin()
		if c.p.ID != first.ID || c.p.Epoch != first.Epoch+1 {
			t.Errorf("%+v after %+v: the producer is not fenced", c.p, first)
		}
	})
}

// TestLongTransactionalIDs: many records at once whose keys are long are not one batch that is too large.
func TestLongTransactionalIDs(t *testing.T) {
	b := openBroker(t, &Options{TransactionPartitions: 1})
	p := connect(t, b)
	ask[*kafkawire.FindCoordinatorResponse](p, &kafkawire.FindCoordinatorRequest{KeyType: 1, CoordinatorKeys: []string{"x"}}, 4)
	s, err := b.txns.shard("x", false)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.writing = true // somebody else
	s.mu.Unlock()
	const n = 60
	codes := make(chan kafkawire.ErrorCode, n)
	begins := func(x *kafka.Txn, now time.Time, request uint64, fresh kafkawire.ProducerID) {
		x.InitProducerID(now, request, 1000, noProducer(), fresh)
	}
	for i := range n {
		id := kafkawire.TransactionalID(strings.Repeat(string(rune('A'+i)), 30_000))
		s.callWithID(id, true, func(_ kafka.ProducerEpoch, code kafkawire.ErrorCode) { codes <- code }, begins)
	}
	for queued := 0; queued < n; runtime.Gosched() {
		s.mu.Lock()
		queued = len(s.queue)
		s.mu.Unlock()
	}
	s.mu.Lock()
	s.writing = false
	s.mu.Unlock()
	s.drain()
	for range n {
		if code := <-codes; code != noError {
			t.Fatal(code)
		}
	}
}

// TestTransactionBehindALateMarker: a request that waits for the marker of the transaction before, in the partition to which it
// writes, is not refused because of it.
func TestTransactionBehindALateMarker(t *testing.T) {
	for _, topic := range []string{"t", offsetsTopic} {
		t.Run(topic, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := openBroker(t, smallOptions())
				c := txnProducer(t, b, "tx", 2)
				c.mustCreate("t", 1)
				limit := func(n string) {
					change := []configChange{{"max.message.bytes", configSetTo, &n}}
					if err := b.changeConfigs(configName{configOfTopic, topic}, change, false, false); err != nil {
						t.Fatal(err)
					}
				}
				write := func() kafkawire.ErrorCode {
					if topic == offsetsTopic {
						return c.offsets("g", "t", 0, 1)
					}
					return c.produceOnly(kafka.TopicPartition{Topic: "t"}, "a")
				}
				c.begin()
				if code := write(); code != noError {
					t.Fatal(code)
				}
				limit("70") // not enough for a marker
				if code := c.end(true); code != noError {
					t.Fatal(code)
				}
				time.Sleep(950 * time.Millisecond)
				limit("1000")
				if code := write(); code != noError { // just before the marker is tried again
					t.Error(topic, code)
				}
				if code := c.end(true); code != noError {
					t.Error(topic, code)
				}
				synctest.Wait()
				if got, stable := c.committedRecords("t", 0); topic == "t" && (len(got) != 2 || stable != 4) {
					t.Error(got, stable)
				}
			})
		})
	}
}
