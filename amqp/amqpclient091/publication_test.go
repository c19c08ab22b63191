package amqpclient091

import "testing"

// TestBuffers: what is kept to be used again is bounded, and of the size that was asked for.
func TestBuffers(t *testing.T) {
	var f buffers
	for range 100 {
		f.give(make([]byte, 10, maxBuffers/10))
	}
	f.give(make([]byte, maxBuffers))
	f.give(nil)
	if len(f.list) != 10 || f.size != 10*(maxBuffers/10) {
		t.Errorf("%d buffers of %d bytes", len(f.list), f.size)
	}
	if b := f.take(maxBuffers/10 + 1); len(b) != 0 || cap(b) <= maxBuffers/10 || len(f.list) != 10 {
		t.Errorf("got %d of %d bytes, %d buffers are left", len(b), cap(b), len(f.list))
	}
	f.give(make([]byte, maxBuffers/4))
	for range 8 {
		if b := f.take(1); len(b) != 0 || cap(b) < maxBuffers/10 {
			t.Errorf("got %d of %d bytes", len(b), cap(b))
		}
	}
	if b := f.take(1); cap(b) != 1 || len(f.list) != 0 || f.size != 0 {
		t.Errorf("%d buffers of %d bytes are left", len(f.list), f.size)
	}
}
