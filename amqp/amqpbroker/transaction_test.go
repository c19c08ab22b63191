package amqpbroker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// memJournal is a journal in memory that keeps all of its records. What it has is durable at once.
type memJournal struct {
	mu      sync.Mutex
	records [][]byte
	closed  bool
	h       JournalHandler
	tokens  chan Token
	done    chan struct{}
}

func newMemJournal(records [][]byte) *memJournal {
	return &memJournal{records: slices.Clone(records), tokens: make(chan Token, 1000), done: make(chan struct{})}
}

func (j *memJournal) Replay(f func(seq uint64, record []byte) error) error {
	for i, raw := range j.records {
		if err := f(uint64(i+1), raw); err != nil {
			return err
		}
	}
	return nil
}

func (j *memJournal) Start(h JournalHandler) error {
	j.h = h
	go func() {
		defer close(j.done)
		for t := range j.tokens {
			h.Complete([]Token{t}, Done)
		}
	}()
	return nil
}

func (j *memJournal) Append(e Entry, t Token) (seq uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		if !t.IsZero() {
			go j.h.Complete([]Token{t}, Failed)
		}
		return 0
	}
	if len(e.Head) > 0 || t.IsZero() {
		j.records = append(j.records, append(slices.Clone(e.Head), e.Body...))
		seq = uint64(len(j.records))
	}
	if !t.IsZero() {
		j.tokens <- t
	}
	return seq
}

func (j *memJournal) Close() error {
	j.mu.Lock()
	if !j.closed {
		close(j.tokens)
	}
	j.closed = true
	j.mu.Unlock()
	if j.h.Complete != nil {
		<-j.done
	}
	return nil
}

func (j *memJournal) Read(seq uint64) ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if seq == 0 || seq > uint64(len(j.records)) {
		return nil, errors.New("no such record")
	}
	return j.records[seq-1], nil
}

func (j *memJournal) Restore(uint64, int)   {}
func (j *memJournal) Release(uint64, int)   {}
func (j *memJournal) Reader() JournalReader { return j }
func (j *memJournal) Pressure() Pressure    { return PressureNone }

// log returns the records so far.
func (j *memJournal) log() [][]byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.records)
}

// TestTransactionCut loses the power after each record of a transaction that has messages for queues, messages that are delayed,
// acknowledgements and a rejection, and then again after each record that the broker writes when it begins again: there is all of
// it or nothing.
func TestTransactionCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newMemJournal(nil)
		w := newWorld(t, &Options{Journal: j}, nil)
		ctx := context.Background()
		for _, q := range []Queue{
			{Name: "in", Durable: true, Arguments: args("x-dead-letter-exchange", "", "x-dead-letter-routing-key", "dead")},
			{Name: "plain", Durable: true}, {Name: "out", Durable: true}, {Name: "dead", Durable: true}, {Name: "x", Durable: true},
			{Name: "y", Durable: true},
		} {
			_, err := w.DeclareQueue(ctx, "/", q)
			must(t, err)
		}
		for _, name := range []string{"x", "y"} {
			must(t, w.DeclareExchange(ctx, "/", Exchange{Name: name, Type: delayedKind, Durable: true, Arguments: args("x-delayed-type", "direct")}))
			must(t, w.Bind(ctx, "/", Binding{Source: name, Destination: name, RoutingKey: "k"}))
		}
		w.put(t, "/", "in", "reject")
		w.put(t, "/", "in", "ack")
		w.put(t, "/", "plain", "reject")
		p := w.dial("tx").start()
		p.send(1, &amqp091.TxSelect{}, &amqp091.BasicGet{Queue: "in"}, &amqp091.BasicGet{Queue: "in"}, &amqp091.BasicGet{Queue: "plain"})
		w.wait()
		persistent := &amqp091.Properties{DeliveryMode: amqp091.Persistent}
		slow := &amqp091.Properties{DeliveryMode: amqp091.Persistent, Headers: args("x-delay", int32(1000))}
		p.publish(1, "x", "k", slow, "late1")
		p.publish(1, "", "out", persistent, "out1")
		p.publish(1, "y", "k", slow, "late2")
		p.publish(1, "", "out", persistent, "out2")
		p.send(1, &amqp091.BasicReject{DeliveryTag: 1}, &amqp091.BasicAck{DeliveryTag: 2}, &amqp091.BasicReject{DeliveryTag: 3})
		w.wait()
		before := len(j.log())
		p.send(1, &amqp091.TxCommit{})
		w.wait()
		log := j.log()
		w.close()

		const nothing = "in=reject,ack plain=reject out= dead= x= y="
		const all = "in= plain= out=out1,out2 dead=reject x=late1 y=late2"
		seen := map[string]int{}
		for n := before; n <= len(log); n++ {
			got, more := reopened(t, log[:n])
			if seen[got]++; got != nothing && got != all || n == before && got != nothing || n == len(log) && got != all {
				t.Errorf("%d of %d records: %s", n-before, len(log)-before, got)
			}
			for k := n; k <= len(more); k++ {
				if again, _ := reopened(t, more[:k]); again != got {
					t.Errorf("%d of %d records, and %d of what comes when the broker begins again: %s, was %s", n-before, len(log)-before, k-n, again, got)
				}
			}
		}
		if seen[nothing] < 5 || seen[all] < 2 {
			t.Errorf("outcomes are %v: the transaction has fewer records than expected", seen)
		}
	})
}

// reopened opens a broker on records and returns what is in its queues and what waits in its delayed exchanges, and the records
// that there are when it has settled down.
func reopened(t *testing.T, records [][]byte) (got string, more [][]byte) {
	j := newMemJournal(records)
	b := open(t, Options{Journal: j})
	defer b.Close()
	synctest.Wait()
	more = j.log()
	time.Sleep(5 * time.Second)
	synctest.Wait()
	for _, name := range []string{"in", "plain", "out", "dead", "x", "y"} {
		got += fmt.Sprintf(" %s=", name)
		for i := 0; ; i++ {
			d, ok, err := b.Get("/", name, false)
			must(t, err)
			if !ok {
				break
			}
			if i > 0 {
				got += ","
			}
			got += string(d.Body)
		}
	}
	return got[1:], more
}

// TestTransactionTTL counts the time that messages have to live from the commit.
func TestTransactionTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Options{}, nil)
		defer w.close()
		q := declare(t, w.Broker, Queue{Name: "q"})
		timed := declare(t, w.Broker, Queue{Name: "timed", Arguments: args("x-message-ttl", int32(1000))})
		p := w.dial("tx").start()
		p.send(1, &amqp091.TxSelect{})
		p.publish(1, "", "q", &amqp091.Properties{Expiration: "1000"}, "m")
		p.publish(1, "", "timed", &amqp091.Properties{}, "m")
		w.wait()
		time.Sleep(5 * time.Second)
		p.send(1, &amqp091.TxCommit{})
		w.wait()
		time.Sleep(999 * time.Millisecond)
		w.wait()
		for _, q := range []*queue{q, timed} {
			q.mu.Lock()
			equal(t, q.name, q.ready, 1)
			q.mu.Unlock()
		}
		time.Sleep(time.Millisecond)
		w.wait()
		for _, q := range []*queue{q, timed} {
			equal(t, q.name, drain(t, q), "")
		}
		p.drop()
	})
}

// TestTTLWithinBatch publishes messages long after the time of the batch that they come with, and not on a whole millisecond:
// none expires too early, whichever way it came.
func TestTTLWithinBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		defer b.Close()
		ctx := context.Background()
		must(t, b.DeclareExchange(ctx, "/", Exchange{Name: "x", Type: delayedKind, Arguments: args("x-delayed-type", "fanout")}))
		time.Sleep(300 * time.Microsecond)
		timed := declare(t, b, Queue{Name: "timed", Arguments: args("x-message-ttl", int32(10))})
		plain := declare(t, b, Queue{Name: "plain"})
		bt := amqpserver.NewBatch()
		bt.Now()
		time.Sleep(5 * time.Millisecond)
		for _, q := range []*queue{timed, plain} {
			m := &message{key: q.name, props: amqp091.RawProperties{0, 0}, at: bt.Now().UnixMilli(), ttl: -1}
			if q == plain {
				m.ttl = 10
			}
			b.distribute(bt, &publication{m: m}, []*queue{q}, nil, confirmation{})
		}
		b.done(bt)
		must(t, b.Publish(ctx, "/", &Message{RoutingKey: "timed"}))
		time.Sleep(10*time.Millisecond - time.Nanosecond)
		synctest.Wait()
		for _, q := range []*queue{timed, plain} {
			q.mu.Lock()
			equal(t, q.name, q.ready, map[*queue]int{timed: 2, plain: 1}[q])
			q.mu.Unlock()
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		equal(t, "timed", drain(t, timed), "")
		equal(t, "plain", drain(t, plain), "")
		must(t, b.Publish(ctx, "/", &Message{RoutingKey: "plain", Properties: amqp091.Properties{Expiration: "0"}}))
		equal(t, "a message that expires at once", drain(t, plain), "")
	})
}
