package main

import (
	"os"
	"testing"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// kill runs a few kills of a broker.
func kill(t *testing.T, b peer.Broker, kills int) *ledger {
	t.Helper()
	bin := t.TempDir()
	if err := b.Prepare(t.Context(), bin); err != nil {
		if b.Name == "quartet" || os.Getenv("QUARTET_INTEROP_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	o := defaults()
	o.kills, o.each = kills, 3
	l, err := run(t.Context(), b, bin, t.TempDir(), o, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if l.delivered == 0 {
		t.Error("nothing was delivered")
	}
	return l
}

func TestQuartet(t *testing.T) {
	if l := kill(t, peer.Quartet(), 5); l.faults.total() > 0 {
		t.Errorf("%v", l.faults.counts)
	}
}

// TestMosquitto shows that the checker finds losses: mosquitto acknowledges before it writes. It may have written all just before
// it is killed, so there are several tries.
func TestMosquitto(t *testing.T) {
	for try := 1; ; try++ {
		l := kill(t, peer.Mosquitto(), 3)
		if l.faults.counts[lost] > 0 {
			return
		}
		if try == 5 {
			t.Fatalf("nothing was lost: %v", l.faults.counts)
		}
	}
}
