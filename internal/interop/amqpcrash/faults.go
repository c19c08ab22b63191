package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
)

// The kinds of faults.
const (
	lost        = "confirmed message lost"
	half        = "transaction done in part"
	undone      = "committed transaction undone"
	rolledBack  = "message of a transaction that was rolled back"
	unmarked    = "message came again and is not marked as redelivered"
	needless    = "message came again although it was settled and neither crash nor end of the connection came between"
	stale       = "message came again that was settled long before"
	late        = "message that is not marked came after a later one of its publisher"
	early       = "delayed message came too early"
	corrupt     = "body is not what was sent"
	neverSent   = "message that nobody sent, or that was refused"
	wrongQueue  = "message in a queue where it does not belong"
	badDeath    = "x-death is wrong"
	risen       = "message in its queue after it was among the dead letters"
	deadTwice   = "message twice among the dead letters, not marked"
	refused     = "message refused"
	cutOff      = "connection or channel closed by the broker without a crash"
	stuck       = "no answer from the broker"
	notEmpty    = "queue has messages that it does not deliver"
	noStart     = "broker did not start again"
	noEntity    = "queue, exchange or binding lost"
	extraEntity = "queue, exchange or binding back after it was deleted, or transient and back after a crash"
)

// faults counts what is wrong, and remembers some of it in words.
type faults struct {
	counts map[string]int
	log    io.Writer
}

// examples is how many faults of a kind are told.
const examples = 5

// add counts a fault.
func (f *faults) add(kind, format string, args ...any) {
	if f.counts == nil {
		f.counts = make(map[string]int)
	}
	if f.counts[kind]++; f.counts[kind] <= examples {
		fmt.Fprintf(f.log, "FAULT: %s: %s\n", kind, fmt.Sprintf(format, args...))
	}
}

// total returns the number of faults.
func (f *faults) total() (n int) {
	for _, c := range f.counts {
		n += c
	}
	return n
}

// write prints the counts.
func (f *faults) write(w io.Writer) {
	for _, kind := range slices.Sorted(maps.Keys(f.counts)) {
		fmt.Fprintf(w, "%8d  %s\n", f.counts[kind], kind)
	}
}
