package compress

import (
	"bytes"
	"testing"
	"testing/synctest"
)

// TestBubbles uses what pools keep from one bubble of synctest in another one, and outside.
func TestBubbles(t *testing.T) {
	src := bytes.Repeat([]byte("quartet"), 10_000)
	trip := func(t *testing.T) {
		for m := range Zstd + 1 {
			for range 3 {
				b, err := Append(nil, src, m, 0)
				if err != nil {
					t.Fatal(err)
				}
				got, err := Decode(nil, b, m, len(src))
				if err != nil || !bytes.Equal(got, src) {
					t.Fatalf("%v: %d bytes, %v", m, len(got), err)
				}
			}
		}
	}
	synctest.Test(t, trip)
	synctest.Test(t, trip)
	trip(t)
	synctest.Test(t, trip)
}
