package main

import (
	"errors"
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
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if l.delivered == 0 || l.confirms == 0 || l.commits == 0 || l.dead == 0 {
		t.Errorf("%d delivered, %d confirmed, %d committed, %d dead letters", l.delivered, l.confirms, l.commits, l.dead)
	}
	return l
}

func TestQuartet(t *testing.T) {
	if l := kill(t, peer.Quartet(), 5); l.faults.total() > 0 {
		t.Errorf("%v", l.faults.counts)
	}
}
