package amqpclient091

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// take takes n deliveries.
func take(t *testing.T, s *Consumer, n int) (all []*Delivery) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for d, err := range s.Deliveries(ctx) {
		if err != nil {
			t.Fatalf("after %d deliveries: %v", len(all), err)
		}
		if all = append(all, d); len(all) == n {
			break
		}
	}
	return all
}

// rest returns how an iteration ends.
func rest(t *testing.T, s *Consumer) (n int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, e := range s.Deliveries(ctx) {
		if err = e; e == nil {
			n++
		}
	}
	return n, err
}

func (s *broker) fill(queue string, n int) {
	for i := range n {
		s.put(queue, fmt.Sprint(i))
	}
}

func TestConsume(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		s.fill("q", 10)
		c := s.client(nil)
		k, err := c.Consume(t.Context(), "q", &ConsumeOptions{Prefetch: 3, Tag: "tag"})
		check(t, err)
		if k.Tag() != "tag" {
			t.Fatal(k.Tag())
		}
		synctest.Wait()
		if n := s.count("q"); n != 7 {
			t.Fatal(n)
		}
		for i, d := range take(t, k, 3) {
			if string(d.Body) != fmt.Sprint(i) || d.RoutingKey != "q" || d.Exchange != "" || d.Tag != uint64(i+1) || d.Redelivered {
				t.Fatalf("%+v", d)
			}
			check(t, d.Ack())
			if err := d.Ack(); err != ErrSettled {
				t.Fatal(err)
			}
		}
		all := take(t, k, 3)
		check(t, all[1].AckThrough())
		if err := all[0].Ack(); err != ErrSettled {
			t.Fatal(err)
		}
		check(t, all[2].Requeue())
		synctest.Wait()
		var ch *amqp091.Channel
		s.do(func() { ch = s.consumer("q").ch })
		check(t, k.Cancel(t.Context()))
		n, err := rest(t, k)
		if err != nil || n != 3 {
			t.Fatal(n, err)
		}
		s.do(func() {
			if ch.UnsettledCount() != 3 {
				t.Error("channel of a consumer with unsettled deliveries")
			}
		})
		check(t, c.Shutdown(t.Context()))
		if err := all[2].Ack(); err != ErrSettled {
			t.Fatal(err)
		}
	})
}

// Acknowledgements go out together, in whatever order they are made.
func TestAckCoalesced(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		s.fill("q", 20)
		c := s.client(nil)
		k, err := c.Consume(t.Context(), "q", nil)
		check(t, err)
		d := take(t, k, 20)
		synctest.Wait()
		s.took()
		ack := func(want string, which ...int) {
			t.Helper()
			c.mu.Lock()
			k.on.o.writing = true // holds the writer back
			c.mu.Unlock()
			for _, i := range which {
				check(t, d[i].Ack())
			}
			c.mu.Lock()
			k.on.o.flushAcks()
			n := len(k.on.o.out)
			k.on.o.writing = false
			k.on.k.kick()
			c.mu.Unlock()
			synctest.Wait()
			sum := 0 // the broker may read the frames one by one
			for line := range strings.Lines(s.took()) {
				var settled int
				if _, err := fmt.Sscanf(line, "1/1 %d acked", &settled); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				sum += settled
			}
			if got := fmt.Sprint(n/21, " ", sum, " acked"); got != want {
				t.Fatalf("frames and settlements %q, want %q", got, want)
			}
		}
		ack("1 5 acked", 0, 1, 2, 3, 4)
		ack("1 1 acked", 6)
		ack("1 2 acked", 7, 5) // 8 covers 6 and 8; 7 was settled
		ack("3 3 acked", 9, 11, 13)
		ack("1 1 acked", 8)
		ack("2 3 acked", 12, 10, 18)
		s.do(func() {
			if n := s.consumer("q").ch.UnsettledCount(); n != 5 {
				t.Errorf("%d are unsettled", n)
			}
		})
		check(t, d[15].Reject())
		check(t, d[14].Ack())
		check(t, d[16].Ack())
		check(t, d[19].Nack(NackOptions{Multiple: true, Requeue: true})) // behind the acks
		synctest.Wait()
		if got := s.bodies("q"); got != "" {
			t.Fatal(got)
		}
		redelivered := take(t, k, 2)
		if string(redelivered[0].Body) != "17" || string(redelivered[1].Body) != "19" || !redelivered[0].Redelivered {
			t.Fatalf("%s %s", redelivered[0].Body, redelivered[1].Body)
		}
		check(t, redelivered[1].AckThrough())
		check(t, k.Cancel(t.Context()))
		synctest.Wait()
		if st := c.Stats(); st.Channels != 0 || st.Consumers != 0 {
			t.Fatalf("%+v", st) // its channel has ended
		}
	})
}

func TestAckNext(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		s.fill("q", 6)
		c := s.client(nil)
		k, err := c.Consume(t.Context(), "q", &ConsumeOptions{Prefetch: 1, Ack: AckNext})
		check(t, err)
		take(t, k, 5)
		synctest.Wait()
		for d := range k.Deliveries(t.Context()) {
			check(t, d.Reject()) // what it does itself counts
			break
		}
		check(t, k.Cancel(t.Context()))
		synctest.Wait()
		if got := s.took(); !strings.Contains(got, "1 rejected") || strings.Count(got, "acked") != 5 {
			t.Fatal(got)
		}
	})
}

// A slow consumer gets no more than its prefetch, and disturbs nobody.
func TestSlowConsumer(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("slow")
		s.queue("q")
		s.fill("slow", 1000)
		c := s.client(nil)
		ch, err := c.Channel(t.Context(), nil)
		check(t, err)
		slow, err := ch.Consume(t.Context(), "slow", &ConsumeOptions{Prefetch: 10})
		check(t, err)
		k, err := ch.Consume(t.Context(), "q", &ConsumeOptions{Prefetch: 100})
		check(t, err)
		for i := range 500 {
			check(t, ch.Publish(t.Context(), &Message{RoutingKey: "q", Body: fmt.Append(nil, i)}))
			check(t, take(t, k, 1)[0].Ack())
		}
		if n := s.count("slow"); n != 990 {
			t.Fatal(n)
		}
		check(t, slow.Close())
		synctest.Wait()
		if n := s.count("slow"); n != 1000 {
			t.Fatal(n)
		}
		if n, err := rest(t, slow); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		check(t, ch.Close())
		if _, err := rest(t, k); !errors.Is(err, ErrChannelClosed) {
			t.Fatal(err)
		}
	})
}

// A consumer without acknowledgements holds the reader back when its buffer is full, unless somebody waits for the server.
func TestAckNone(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(nil)
		k, err := c.Consume(t.Context(), "q", &ConsumeOptions{Ack: AckNone, Buffer: 10})
		check(t, err)
		for i := range 9 {
			s.put("q", fmt.Sprint(i))
		}
		synctest.Wait()
		for i := 9; i < 35; i++ {
			s.put("q", fmt.Sprint(i))
			synctest.Wait()
		}
		k.mu.Lock()
		n := k.buf.Len()
		k.mu.Unlock()
		if n > 12 {
			t.Fatalf("%d in the buffer", n)
		}
		time.Sleep(5 * time.Minute) // heartbeats go on, and nothing that the server says is missed
		check(t, c.Publish(t.Context(), &Message{RoutingKey: "nowhere"}))
		for i, d := range take(t, k, 35) {
			if string(d.Body) != fmt.Sprint(i) {
				t.Fatalf("%d: %s", i, d.Body)
			}
			check(t, d.Ack()) // does nothing
		}
		if st := c.Stats(); st.Connects != 1 {
			t.Fatalf("%+v", st)
		}
		check(t, k.Cancel(t.Context()))
	})
}

func TestAckNoneOverflow(t *testing.T) {
	oneStream(t, "a stream of its own is not read, whoever waits")
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(nil)
		k, err := c.Consume(t.Context(), "q", &ConsumeOptions{Ack: AckNone, Buffer: 10})
		check(t, err)
		s.do(func() { s.hold = true })
		_, err = c.PublishAsync(t.Context(), &Message{}) // somebody waits
		check(t, err)
		s.fill("q", 100)
		synctest.Wait()
		n, err := rest(t, k)
		if n != 40 || err != ErrOverflow {
			t.Fatal(n, err)
		}
		synctest.Wait()
		s.do(func() {
			if len(s.queues["q"].consumers) != 0 {
				t.Error("still consuming")
			}
		})
	})
}

func TestConsumeRefused(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		c := s.client(nil)
		if _, err := c.Consume(t.Context(), "no", nil); !isCode(err, amqp091.NotFound) {
			t.Fatal(err)
		}
		s.queue("q")
		ch, err := c.Channel(t.Context(), nil)
		check(t, err)
		k, err := ch.Consume(t.Context(), "q", &ConsumeOptions{Tag: "x"})
		check(t, err)
		if _, err := ch.Consume(t.Context(), "q", &ConsumeOptions{Tag: "x"}); err == nil {
			t.Fatal("two consumers with one tag")
		}
		if _, err := ch.Consume(t.Context(), "no", nil); !isCode(err, amqp091.NotFound) {
			t.Fatal(err)
		}
		if _, err := rest(t, k); !isCode(err, amqp091.NotFound) || !errors.Is(err, ErrChannelClosed) {
			t.Fatal(err)
		}
		if _, err := ch.Consume(t.Context(), "q", nil); !errors.Is(err, ErrChannelClosed) {
			t.Fatal(err)
		}
		if st := c.Stats(); st.Channels != 0 || st.Consumers != 0 {
			t.Fatalf("%+v", st)
		}
	})
}

// The server ends a consumer.
func TestConsumerCancelled(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		s.fill("q", 3)
		c := s.client(nil)
		k, err := c.Consume(t.Context(), "q", nil)
		check(t, err)
		first := take(t, k, 1)[0]
		_, err = c.DeleteQueue(t.Context(), "q", nil)
		check(t, err)
		rested, err := rest(t, k)
		if rested != 2 || err != ErrCanceled {
			t.Fatal(rested, err)
		}
		check(t, first.Ack())
		check(t, k.Cancel(t.Context()))
		check(t, k.Close())
	})
}

// ctx ends while the consumer starts, waits and ends.
func TestConsumeCancelled(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(nil)
		silent := func(p *peer, ch *amqp091.Channel, m amqp091.Method) bool { return true }
		timeout := func() context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			t.Cleanup(cancel)
			return ctx
		}
		s.do(func() { s.method = silent })
		if _, err := c.Consume(timeout(), "q", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		s.do(func() { s.method = nil })
		k, err := c.Consume(t.Context(), "q", nil)
		check(t, err)
		for _, err := range k.Deliveries(timeout()) {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		s.do(func() { s.method = silent })
		if err := k.Cancel(timeout()); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		s.drop()
		if n, err := rest(t, k); n != 0 || err != nil { // it has ended with the connection
			t.Fatal(n, err)
		}
	})
}

func TestGet(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		s.fill("q", 3)
		c := s.client(nil)
		ch, err := c.Channel(t.Context(), nil)
		check(t, err)
		d, ok, err := ch.Get(t.Context(), "q", AckManual)
		if err != nil || !ok || d.Remaining != 2 || string(d.Body) != "0" {
			t.Fatal(d, ok, err)
		}
		check(t, d.Requeue())
		if err := d.Requeue(); err != ErrSettled {
			t.Fatal(err)
		}
		for range 3 {
			if _, ok, err := ch.Get(t.Context(), "q", AckNone); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		if _, ok, err := ch.Get(t.Context(), "q", AckManual); ok || err != nil {
			t.Fatal(ok, err)
		}

		// A message that comes after ctx has ended goes back.
		s.put("q", "late")
		late := make(chan func())
		s.do(func() {
			s.method = func(p *peer, ch *amqp091.Channel, m amqp091.Method) bool {
				go func() { late <- func() { s.do(func() { p.get(ch, m.(*amqp091.BasicGet)) }) } }()
				return true
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := ch.Get(ctx, "q", AckManual); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		(<-late)()
		synctest.Wait()
		if n := s.count("q"); n != 1 {
			t.Fatal(n)
		}

		// It is asked for again when the connection is lost.
		s.do(func() {
			s.method = func(p *peer, ch *amqp091.Channel, m amqp091.Method) bool {
				s.method = nil
				p.drop()
				return true
			}
		})
		d, ok, err = ch.Get(t.Context(), "q", AckManual)
		if !ok || err != nil || string(d.Body) != "late" {
			t.Fatal(d, ok, err)
		}
		if _, _, err := ch.Get(t.Context(), "no", AckManual); !isCode(err, amqp091.NotFound) {
			t.Fatal(err)
		}
		if err := d.Ack(); err != ErrStale {
			t.Fatal(err)
		}
	})
}

func TestTransactions(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		s.fill("q", 2)
		c := s.client(nil)
		ch, err := c.Channel(t.Context(), &ChannelOptions{Mode: Transactions})
		check(t, err)
		check(t, ch.Publish(t.Context(), &Message{RoutingKey: "nowhere"}))
		check(t, ch.Commit(t.Context()))
		d, ok, err := ch.Get(t.Context(), "q", AckManual)
		if !ok || err != nil {
			t.Fatal(err)
		}
		check(t, d.Ack())
		if err := d.Ack(); err != ErrSettled {
			t.Fatal(err)
		}
		check(t, ch.Rollback(t.Context()))
		check(t, d.Ack()) // again
		check(t, ch.Commit(t.Context()))
		if err := d.Ack(); err != ErrSettled {
			t.Fatal(err)
		}

		// What was not committed is lost with the connection, and nothing is half committed.
		check(t, ch.Publish(t.Context(), &Message{RoutingKey: "q"}))
		synctest.Wait()
		s.drop()
		synctest.Wait()
		check(t, c.Connected(t.Context()))
		if err := ch.Publish(t.Context(), &Message{RoutingKey: "q"}); !errors.Is(err, ErrTransactionLost) || !SafeToRetry(err) {
			t.Fatal(err)
		}
		if err := ch.Commit(t.Context()); err != ErrTransactionLost {
			t.Fatal(err)
		}
		check(t, ch.Publish(t.Context(), &Message{RoutingKey: "q"}))
		check(t, ch.Commit(t.Context()))

		// The answer to a commit is lost.
		check(t, ch.Publish(t.Context(), &Message{RoutingKey: "q"}))
		s.do(func() {
			s.method = func(p *peer, _ *amqp091.Channel, _ amqp091.Method) bool { s.method = nil; p.drop(); return true }
		})
		if err := ch.Commit(t.Context()); !isUnknown(err) {
			t.Fatal(err)
		}
		check(t, ch.Publish(t.Context(), &Message{RoutingKey: "q"}))
		check(t, ch.Commit(t.Context()))

		other, err := c.Channel(t.Context(), nil)
		check(t, err)
		if err := other.Commit(t.Context()); err != ErrNoTransactions {
			t.Fatal(err)
		}
	})
}
