package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
)

// The kinds of faults.
const (
	lost         = "acknowledged message lost"
	twice        = "QoS 2 message delivered twice"
	late         = "message after a later one of its publisher and topic"
	backward     = "resent message after a later one"
	needless     = "message resent although it was acknowledged and no crash came between"
	stale        = "message resent that was acknowledged long before the crash"
	sameConn     = "message twice on one connection"
	corrupt      = "payload is not what was sent"
	neverSent    = "message that nobody sent"
	wrongTopic   = "message with another topic"
	unsubscribed = "message after unsubscribing"
	noSession    = "session lost"
	oldSession   = "session back after its end"
	refused      = "message or subscription refused"
	cutOff       = "connection closed by the broker without a crash"
	stuck        = "no answer from the broker"
	badRetained  = "retained message is not the last acknowledged one nor a later one"
	noWill       = "will not published"
	badWill      = "will published that must not be"
	willTwice    = "QoS 2 will published twice"
	noStart      = "broker did not start again"
)

// faults counts what is wrong, and remembers some of it in words.
type faults struct {
	counts map[string]int
	shown  map[string]int
	log    io.Writer
}

// examples is how many faults of a kind are told.
const examples = 5

// add counts a fault.
func (f *faults) add(kind, format string, args ...any) {
	if f.counts == nil {
		f.counts, f.shown = make(map[string]int), make(map[string]int)
	}
	f.counts[kind]++
	if f.shown[kind]++; f.shown[kind] <= examples {
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
