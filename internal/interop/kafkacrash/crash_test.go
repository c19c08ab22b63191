package main

import (
	"os"
	"testing"
)

func TestQuartet(t *testing.T) {
	o := defaults()
	o.kills, o.each = 6, 3
	l, err := run(t.Context(), o, t.TempDir(), os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	l.write(os.Stdout)
	if l.commits == 0 || l.faults.total() > 0 {
		t.Errorf("%d transactions committed, %v", l.commits, l.faults.counts)
	}
}
