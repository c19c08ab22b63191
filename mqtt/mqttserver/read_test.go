package mqttserver

import "testing"

// TestLargePacketMemory: memory for a large packet grows with what has arrived of it, not with what it claims to be.
func TestLargePacketMemory(t *testing.T) {
	c := &Conn{srv: New(nil, nil)}
	c.c = c
	c.in.need = 200 << 20
	c.in.left = make([]byte, 10)
	for len(c.in.left) < 1<<20 {
		room := (*lender)(&c.stream).Acquire()
		if limit := max(2*len(c.in.left), 4<<10); cap(c.in.left) > limit {
			t.Fatalf("%d bytes have arrived and %d are allocated", len(c.in.left), cap(c.in.left))
		}
		c.in.left = c.in.left[:len(c.in.left)+min(len(room), 1000)]
	}
	c.in.need = len(c.in.left) + 5
	c.in.left = c.in.left[:len(c.in.left):len(c.in.left)]
	if room := (*lender)(&c.stream).Acquire(); len(room) != 5 {
		t.Errorf("room for %d bytes where 5 are missing", len(room))
	}
}
