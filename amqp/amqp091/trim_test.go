package amqp091

import (
	"testing"
	"time"
)

// TestTrimOnce: many heartbeats cost no more than one round over the channels.
func TestTrimOnce(t *testing.T) {
	c, _ := openServer(t)
	now := time.Unix(2, 0)
	for id := uint16(2); id <= 2000; id++ {
		b, _ := AppendMethod(nil, id, &ChannelOpen{})
		c.Receive(now, b)
		c.channels[id].OpenOK(now)
		drainEvents(c)
	}
	var b []byte
	for range 20_000 {
		b = AppendHeartbeat(b)
	}
	for range 5 { // it would take seconds each
		if n, err := c.Receive(now, b); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
	}
}
