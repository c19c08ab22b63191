package amqpclient091

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// TestCrowdedEnds: a consumer without acknowledgements whose buffer is full holds nobody back after its end.
func TestCrowdedEnds(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *broker, k *Consumer){
		"channel closed by the server": func(t *testing.T, s *broker, k *Consumer) {
			s.do(func() {
				f := s.consumer("flood")
				f.ch.Close(time.Now(), amqp091.SoftError(amqp091.PreconditionFailed, "timeout"))
				f.p.events()
			})
		},
		"channel closed":         func(t *testing.T, s *broker, k *Consumer) { k.h.Close() },
		"canceled":               func(t *testing.T, s *broker, k *Consumer) { check(t, k.Cancel(t.Context())) },
		"closed":                 func(t *testing.T, s *broker, k *Consumer) { check(t, k.Close()) },
		"canceled by the server": func(t *testing.T, s *broker, k *Consumer) { s.do(func() { s.consumer("flood").end() }) },
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasSuffix(name, "by the server") {
				oneStream(t, "what the server says is behind the deliveries, whoever waits")
			}
			run(t, func(t *testing.T, s *broker) {
				s.queue("flood")
				s.queue("q")
				c := s.client(nil)
				other, err := c.Consume(t.Context(), "q", nil)
				check(t, err)
				k, err := c.Consume(t.Context(), "flood", &ConsumeOptions{Ack: AckNone, Buffer: 4})
				check(t, err)
				s.fill("flood", 5)
				synctest.Wait()
				if crowded(c) != 1 {
					t.Fatal("the buffer is not full")
				}
				end(t, s, k)
				_, err = c.LookupQueue(t.Context(), "q") // somebody waits for the server: it is read for a moment
				check(t, err)
				if crowded(c) != 0 {
					t.Error("the buffer counts as full")
				}
				s.put("q", "x")
				take(t, other, 1)
			})
		})
	}
}

// TestCrowdedAndBroken: a reader that holds back notices that the connection cannot be written any more.
func TestCrowdedAndBroken(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("flood")
		c := s.client(nil)
		_, err := c.Consume(t.Context(), "flood", &ConsumeOptions{Ack: AckNone, Buffer: 4})
		check(t, err)
		s.fill("flood", 5)
		synctest.Wait()
		s.drop()
		time.Sleep(time.Minute)
		if n := c.Stats().Connects; n < 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// crowded returns how many buffers are full.
func crowded(c *Client) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.last.main.full
	if m := c.last.mux; m != nil {
		for _, o := range m.lanes {
			n += o.full
		}
	}
	return n
}
