package amqpclient091

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// TestMain fails when goroutines are left behind a minute later.
func TestMain(m *testing.M) {
	code := m.Run()
	for range 6000 {
		if code != 0 || runtime.NumGoroutine() <= 2 {
			os.Exit(code)
		}
		time.Sleep(10 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	fmt.Fprintf(os.Stderr, "goroutines left behind:\n%s\n", buf[:runtime.Stack(buf, true)])
	os.Exit(1)
}

// run runs f in a bubble with a broker. All of it ends with f.
func run(t *testing.T, f func(t *testing.T, s *broker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newBroker(t)
		defer s.close()
		f(t, s)
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func isCode(err error, code amqp091.Code) bool {
	e, ok := errors.AsType[*amqp091.Error](err)
	return ok && e.Remote && e.Code == code
}

func isUnknown(err error) bool {
	_, ok := errors.AsType[*UnknownError](err)
	return ok && !SafeToRetry(err)
}

// queue declares a queue on the broker.
func (s *broker) queue(name string) {
	s.do(func() { s.queues[name] = &fakeQueue{name: name} })
}

// bodies returns what is in a queue.
func (s *broker) bodies(queue string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, m := range s.queues[queue].ready {
		all = append(all, string(m.body))
	}
	return strings.Join(all, " ")
}

func TestPublish(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(nil)
		ctx := t.Context()
		check(t, c.Publish(ctx, &Message{RoutingKey: "q", Body: []byte("1"), Mandatory: true}))
		err := c.Publish(ctx, &Message{RoutingKey: "nowhere", Mandatory: true})
		e, ok := errors.AsType[*ReturnedError](err)
		if !ok || e.Code != amqp091.NoRoute || e.RoutingKey != "nowhere" || !SafeToRetry(err) {
			t.Fatal(err)
		}
		check(t, c.Publish(ctx, &Message{RoutingKey: "nowhere"}))
		if got := s.bodies("q"); got != "1" {
			t.Fatal(got)
		}
		check(t, c.Shutdown(ctx))
		if err := c.Publish(ctx, &Message{RoutingKey: "q"}); err != ErrClosed && !errors.Is(err, ErrClosed) || !SafeToRetry(err) {
			t.Fatal(err)
		}
	})
}

// Several goroutines publish on one channel, asynchronously and not; order and window hold.
func TestPublishConcurrently(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(nil)
		ch, err := c.Channel(t.Context(), &ChannelOptions{Window: 10})
		check(t, err)
		var wg sync.WaitGroup
		for p := range 4 {
			wg.Go(func() {
				for i := range 200 {
					m := &Message{RoutingKey: "q", Body: fmt.Appendf(nil, "%d.%d", p, i)}
					if p%2 == 0 {
						if err := ch.Publish(t.Context(), m); err != nil {
							t.Error(err)
						}
						continue
					}
					if _, err := ch.PublishAsync(t.Context(), m); err != nil {
						t.Error(err)
					}
					clear(m.Body)
					if st := c.Stats(); st.Inflight+st.Queued > 10 {
						t.Errorf("%+v", st)
					}
				}
			})
		}
		wg.Wait()
		check(t, ch.Drain(t.Context()))
		next := make(map[int]int)
		for _, body := range strings.Fields(s.bodies("q")) {
			var p, i int
			if fmt.Sscanf(body, "%d.%d", &p, &i); next[p] != i {
				t.Fatalf("message %q, want %d", body, next[p])
			}
			next[p]++
		}
		if len(next) != 4 || c.Stats().Confirmed != 800 {
			t.Fatal(next, c.Stats())
		}
		check(t, ch.Close())
	})
}

// The server closes the channel of Client.Publish: the message that is meant gets its error, and the channel works again.
func TestPublishRefused(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(nil)
		err := c.Publish(t.Context(), &Message{Exchange: "no", RoutingKey: "q"})
		if !isCode(err, amqp091.NotFound) || !SafeToRetry(err) {
			t.Fatal(err)
		}
		check(t, c.Publish(t.Context(), &Message{RoutingKey: "q"}))

		var all []*Publication
		s.do(func() { // the broker closes the channel when all three are on it
			s.hold = true
			for _, x := range []string{"", "no", ""} {
				p, err := c.PublishAsync(t.Context(), &Message{Exchange: x, RoutingKey: "q"})
				check(t, err)
				all = append(all, p)
			}
		})
		for _, p := range all {
			if err := p.Wait(t.Context()); !isUnknown(err) || !isCode(err, amqp091.NotFound) {
				t.Fatal(err)
			}
		}
		s.do(func() { s.hold = false })
		check(t, c.Publish(t.Context(), &Message{RoutingKey: "q"}))

		ch, err := c.Channel(t.Context(), nil)
		check(t, err)
		err = ch.Publish(t.Context(), &Message{Exchange: "no"})
		if !isCode(err, amqp091.NotFound) {
			t.Fatal(err)
		}
		err = ch.Publish(t.Context(), &Message{RoutingKey: "q"})
		if !errors.Is(err, ErrChannelClosed) || !isCode(err, amqp091.NotFound) || !SafeToRetry(err) {
			t.Fatal(err)
		}
		if ch.Err() == nil {
			t.Fatal("no error")
		}
		<-ch.Done()
	})
}

func TestPublishInvalid(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		c := s.client(nil)
		long := strings.Repeat("x", 256)
		for _, m := range []*Message{
			{RoutingKey: long},
			{Exchange: long},
			{Properties: amqp091.Properties{MessageID: long}},
			{Raw: amqp091.RawProperties{0xFF}},
			{Properties: amqp091.Properties{Headers: amqp091.Table{{Key: "h", Value: strings.Repeat("x", 140_000)}}}},
			{Properties: amqp091.Properties{Headers: amqp091.Table{{Key: "h", Value: make(chan int)}}}},
		} {
			err := c.Publish(t.Context(), m)
			if _, ok := errors.AsType[*amqp091.Error](err); !ok || !SafeToRetry(err) {
				t.Errorf("%v", err)
			}
			if _, err := c.PublishAsync(t.Context(), m); !SafeToRetry(err) {
				t.Errorf("%v", err)
			}
		}
		if st := c.Stats(); st.Inflight != 0 || st.Queued != 0 {
			t.Fatalf("%+v", st)
		}
		check(t, c.Publish(t.Context(), &Message{}))
	})
}

// connection.blocked: messages wait, and Publish as long as ctx allows.
func TestPublishBlocked(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		var told []string
		c := s.client(&Options{
			Publish: &ChannelOptions{Window: 3},
			Trace: &Trace{
				Blocked:   func(reason string) { told = append(told, reason) },
				Unblocked: func() { told = append(told, "unblocked") },
			},
		})
		s.do(func() { s.last().m.Block(time.Now(), "low on memory"); s.last().events() })
		synctest.Wait()
		if reason, ok := c.Blocked(); !ok || reason != "low on memory" {
			t.Fatal(reason, ok)
		}
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := c.Publish(ctx, &Message{RoutingKey: "q", Body: []byte("withdrawn")})
		e, ok := errors.AsType[*BlockedError](err)
		if !ok || e.Reason != "low on memory" || !errors.Is(err, context.DeadlineExceeded) || !SafeToRetry(err) || time.Since(begin) != time.Second {
			t.Fatal(err)
		}
		var all []*Publication
		for i := range 3 {
			p, err := c.PublishAsync(t.Context(), &Message{RoutingKey: "q", Body: fmt.Append(nil, i)})
			check(t, err)
			all = append(all, p)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.PublishAsync(ctx, &Message{RoutingKey: "q"}); !SafeToRetry(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // heartbeats go on
		s.do(func() { s.last().m.Unblock(time.Now()); s.last().events() })
		for _, p := range all {
			check(t, p.Wait(t.Context()))
		}
		if got := s.bodies("q"); got != "0 1 2" {
			t.Fatal(got)
		}
		if got := fmt.Sprint(told); got != "[low on memory unblocked]" {
			t.Fatal(got)
		}
	})
}

// The connection is lost before the confirms come.
func TestPublishUnknown(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(nil)
		s.do(func() { s.hold = true })
		p, err := c.PublishAsync(t.Context(), &Message{RoutingKey: "q"})
		check(t, err)
		r, err := c.PublishAsync(t.Context(), &Message{RoutingKey: "nowhere", Mandatory: true})
		check(t, err)
		synctest.Wait()
		s.drop()
		if err := p.Wait(t.Context()); !isUnknown(err) || !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		if _, ok := errors.AsType[*ReturnedError](r.Wait(t.Context())); !ok { // that much is known
			t.Fatal(r.Err())
		}
		s.do(func() { s.hold = false })
		check(t, c.Publish(t.Context(), &Message{RoutingKey: "q"}))
		if st := c.Stats(); st.Unknown != 1 || st.Connects != 2 || st.Inflight != 0 {
			t.Fatalf("%+v", st)
		}
	})
}

// With Republish messages are sent again in their order, before later ones.
func TestRepublish(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(&Options{Publish: &ChannelOptions{Republish: true}})
		s.do(func() { s.publish = func(*peer, *amqp091.Channel, *amqp091.Event) bool { return true } })
		var all []*Publication
		body := []byte("x")
		for i := range 5 {
			body[0] = byte('0' + i)
			p, err := c.PublishAsync(t.Context(), &Message{RoutingKey: "q", Body: body})
			check(t, err)
			all = append(all, p)
		}
		done := make(chan error)
		go func() { done <- c.Publish(t.Context(), &Message{RoutingKey: "q", Body: []byte("5")}) }()
		synctest.Wait()
		s.do(func() { s.publish = nil; s.refuse = errors.New("unreachable") })
		s.drop()
		synctest.Wait()
		p, err := c.PublishAsync(t.Context(), &Message{RoutingKey: "q", Body: []byte("6")})
		check(t, err)
		s.do(func() { s.refuse = nil })
		for _, p := range append(all, p) {
			check(t, p.Wait(t.Context()))
		}
		check(t, <-done)
		if got := s.bodies("q"); got != "0 1 2 3 4 5 6" {
			t.Fatal(got)
		}
		if st := c.Stats(); st.Republished != 6 || st.Unknown != 0 {
			t.Fatalf("%+v", st)
		}
	})
}

// ctx ends at each point of a Publish.
func TestPublishCancelled(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(&Options{Publish: &ChannelOptions{Window: 2}})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Publish(ctx, &Message{RoutingKey: "q"}); !SafeToRetry(err) || !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		timeout := func() context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			t.Cleanup(cancel)
			return ctx
		}
		s.do(func() { s.hold = true })
		if err := c.Publish(timeout(), &Message{RoutingKey: "q"}); SafeToRetry(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err) // sent
		}
		p, err := c.PublishAsync(t.Context(), &Message{RoutingKey: "q"})
		check(t, err)
		if err := p.Wait(timeout()); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if err := c.Publish(timeout(), &Message{RoutingKey: "q"}); !SafeToRetry(err) {
			t.Fatal(err) // the window is full
		}
		s.do(func() { s.refuse = errors.New("unreachable") })
		s.drop()
		synctest.Wait()
		if err := c.Publish(timeout(), &Message{RoutingKey: "q"}); !SafeToRetry(err) {
			t.Fatal(err) // no connection
		}
		if st := c.Stats(); st.Inflight != 0 || st.Queued != 0 {
			t.Fatalf("%+v", st)
		}
	})
}

// A stalled network: the output buffer is bounded, and messages go on in their order afterwards.
func TestPublishStalled(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(&Options{Limits: Limits{OutputBuffer: 1000}})
		ch, err := c.Channel(t.Context(), &ChannelOptions{Mode: NoConfirms, Window: 50})
		check(t, err)
		var want []string
		for i := range 300 {
			want = append(want, fmt.Sprint(i))
			check(t, ch.Publish(t.Context(), &Message{RoutingKey: "q", Body: fmt.Append(nil, i)}))
		}
		synctest.Wait()
		if got := s.bodies("q"); got != strings.Join(want, " ") {
			t.Fatal(got)
		}
	})
}
