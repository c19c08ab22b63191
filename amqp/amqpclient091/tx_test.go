package amqpclient091

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// TestCommitConcurrent: what is done on a channel while a commit is under way waits for its end, for the server takes
// nothing meanwhile. It belongs to the next transaction.
func TestCommitConcurrent(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		s.fill("q", 3)
		var committing *amqp091.Channel
		s.method = func(p *peer, ch *amqp091.Channel, m amqp091.Method) bool {
			if m.ID() != amqp091.IDTxCommit {
				return false
			}
			committing = ch
			return true
		}
		c := s.client(nil)
		h, err := c.Channel(t.Context(), &ChannelOptions{Mode: Transactions})
		check(t, err)
		k, err := h.Consume(t.Context(), "q", &ConsumeOptions{Tag: "c"})
		check(t, err)
		got := take(t, k, 3)
		check(t, got[0].Ack())
		commit := func() chan error {
			done := make(chan error, 1)
			go func() { done <- h.Commit(t.Context()) }()
			synctest.Wait()
			return done
		}
		answer := func() {
			s.do(func() {
				committing.Send(time.Now(), &amqp091.TxCommitOK{})
				s.last().events()
			})
		}
		first := commit()
		check(t, got[1].Ack())
		p, err := h.PublishAsync(t.Context(), &Message{RoutingKey: "q"})
		check(t, err)
		second := commit()
		go h.Get(t.Context(), "q", AckManual)
		synctest.Wait()
		go k.Cancel(t.Context())
		synctest.Wait()
		check(t, got[2].Reject())
		synctest.Wait()
		s.took()
		answer()
		check(t, <-first)
		synctest.Wait()
		want := "1/1 1 acked\n1/1 1 rejected\n1/1 basic.get(queue=\"q\")\n1/1 basic.cancel(consumer-tag=\"c\")\n1/1 tx.commit()"
		if got := s.took(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		check(t, p.Wait(t.Context()))
		answer()
		check(t, <-second)
		synctest.Wait()
		if n := c.Stats().Connects; n != 1 {
			t.Errorf("%d connections", n)
		}
		select {
		case <-h.Done():
			t.Error(h.Err())
		default:
		}
	})
}

// TestSettledInTransaction: a delivery that another one has settled, too, cannot be settled again, until a rollback.
func TestSettledInTransaction(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		s.fill("q", 3)
		c := s.client(nil)
		h, err := c.Channel(t.Context(), &ChannelOptions{Mode: Transactions})
		check(t, err)
		k, err := h.Consume(t.Context(), "q", nil)
		check(t, err)
		got := take(t, k, 3)
		check(t, got[1].AckThrough())
		if err := got[0].Ack(); err != ErrSettled {
			t.Error(err)
		}
		check(t, h.Rollback(t.Context()))
		check(t, got[0].Ack())
		check(t, got[2].AckThrough())
		if err := got[1].Ack(); err != ErrSettled {
			t.Error(err)
		}
		check(t, h.Commit(t.Context()))
		if err := got[1].Ack(); err != ErrSettled {
			t.Error(err)
		}
		check(t, h.Commit(t.Context()))
	})
}
