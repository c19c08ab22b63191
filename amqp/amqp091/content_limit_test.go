package amqp091

import (
	"testing"
	"time"
)

// TestIncompleteMemory: what is collected of messages that are not complete takes no more memory than the limit says, also
// where it has room to grow.
func TestIncompleteMemory(t *testing.T) {
	c, _ := openServer(t)
	c.cfg.MaxMessage = 10_000
	now := time.Unix(2, 0)
	in := func(b []byte) error {
		_, err := c.Receive(now, b)
		return err
	}
	var err error
	for id := uint16(2); err == nil; id++ {
		if id == 200 {
			t.Fatal("no limit")
		}
		b, _ := AppendMethod(nil, id, &ChannelOpen{})
		if err := in(b); err != nil {
			t.Fatal(err)
		}
		c.channels[id].OpenOK(now)
		drainEvents(c)
		b, _ = AppendPublish(nil, id, "", "q", false)
		b = AppendContentHeader(b, id, 10_000, nil)
		if err = in(AppendBody(b, id, make([]byte, 500), 0)); err != nil {
			break
		}
		memory := 0
		for _, ch := range c.channels {
			memory += cap(ch.content.body)
		}
		if memory > collectFactor*c.cfg.MaxMessage {
			t.Fatalf("%d bytes on %d channels", memory, len(c.channels))
		}
	}
	if e, ok := err.(*Error); !ok || e.Code != ResourceError {
		t.Error(err)
	}
}
