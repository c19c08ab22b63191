package amqpclient091

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// TestLateAnswer: the answer to a call comes when its caller has gone, and touches nothing that the caller has. The race detector
// sees that as long as the caller does nothing before.
func TestLateAnswer(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		s.queue("p")
		s.fill("q", 1)
		c := s.client(nil)
		ch, err := c.Channel(t.Context(), nil)
		check(t, err)
		s.do(func() {
			s.method = func(p *peer, ch *amqp091.Channel, m amqp091.Method) bool {
				time.AfterFunc(2*time.Second, func() { s.do(func() { p.handle(ch, m); p.events() }) })
				return true
			}
		})
		for what, call := range map[string]func(context.Context) (any, error){
			"get": func(ctx context.Context) (any, error) {
				if d, ok, err := ch.Get(ctx, "q", AckManual); d != nil || ok {
					return d, err
				} else {
					return nil, err
				}
			},
			"declare": func(ctx context.Context) (any, error) { return c.DeclareQueue(ctx, Queue{Name: "r"}) },
			"lookup":  func(ctx context.Context) (any, error) { return c.LookupQueue(ctx, "q") },
			"purge":   func(ctx context.Context) (any, error) { return c.PurgeQueue(ctx, "p") },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			got, err := call(ctx)
			cancel()
			if got != nil && got != (QueueInfo{}) && got != uint32(0) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v, %v", what, got, err)
			}
			time.Sleep(3 * time.Second)
		}
		synctest.Wait()
		if n := s.count("q"); n != 1 {
			t.Errorf("%d messages", n)
		}
	})
}

// TestRoomAfterChannelClosed: who waits for room in the window of Client.Publish, or for its end, goes on when the server closes the
// channel because of the message before.
func TestRoomAfterChannelClosed(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(&Options{Publish: &ChannelOptions{Window: 1}})
		s.do(func() {
			s.publish = func(p *peer, ch *amqp091.Channel, e *amqp091.Event) bool {
				s.publish = nil
				time.AfterFunc(time.Second, func() {
					s.do(func() {
						ch.Close(time.Now(), &amqp091.Error{Code: amqp091.NotFound, Method: amqp091.IDBasicPublish})
						p.events()
					})
				})
				return true
			}
		})
		first := make(chan error, 1)
		go func() { first <- c.Publish(t.Context(), &Message{Exchange: "no"}) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := make(chan error, 2)
		go func() { done <- c.output.Drain(ctx) }()
		go func() { done <- c.Publish(ctx, &Message{RoutingKey: "q"}) }()
		for range 2 {
			check(t, <-done)
		}
		if err := <-first; !isCode(err, amqp091.NotFound) {
			t.Error(err)
		}
	})
}

// TestCallAfterClose: a closed client says so to each call.
func TestCallAfterClose(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		c := s.client(nil)
		check(t, c.Close())
		for range 2 {
			if _, err := c.Call(t.Context(), &Message{RoutingKey: "service"}); !errors.Is(err, ErrClosed) || !SafeToRetry(err) {
				t.Error(err)
			}
		}
	})
}
