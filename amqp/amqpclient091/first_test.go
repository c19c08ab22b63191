package amqpclient091

import (
	"errors"
	"testing"
	"testing/synctest"
)

// TestFirstMessageLarge: a large message may be the first one on a channel, and may wait for the connection.
func TestFirstMessageLarge(t *testing.T) {
	run(t, func(t *testing.T, s *broker) {
		s.queue("q")
		c := s.client(nil)
		body := make([]byte, 10<<20)
		check(t, c.Publish(t.Context(), &Message{RoutingKey: "q", Body: body}))
		s.mu.Lock()
		s.refuse = errors.New("unreachable")
		s.mu.Unlock()
		s.drop()
		synctest.Wait()
		p, err := c.PublishAsync(t.Context(), &Message{RoutingKey: "q", Body: body})
		check(t, err)
		s.mu.Lock()
		s.refuse = nil
		s.mu.Unlock()
		check(t, p.Wait(t.Context()))
		if n := s.count("q"); n != 2 || c.Stats().Connects != 2 {
			t.Errorf("%d messages over %d connections", n, c.Stats().Connects)
		}
	})
}
