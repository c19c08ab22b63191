package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// The kinds of faults.
const (
	lost       = "acknowledged record lost"
	twice      = "record twice"
	half       = "transaction there in part"
	undone     = "committed transaction lost"
	rolledBack = "record of a transaction that was aborted"
	disorder   = "record after a later one of its producer"
	unmoved    = "record not moved by the transactions that consume"
	corrupt    = "record is not what was sent"
	refused    = "record refused"
	stuck      = "no progress without a crash"
	hanging    = "transaction open for ever"
	noStart    = "broker did not start again"
)

// faults counts what is wrong, and remembers some of it in words.
type faults struct {
	counts map[string]int
	log    io.Writer
}

func (f *faults) add(kind, format string, args ...any) {
	if f.counts == nil {
		f.counts = make(map[string]int)
	}
	if f.counts[kind]++; f.counts[kind] <= 5 {
		fmt.Fprintf(f.log, "FAULT: %s: %s\n", kind, fmt.Sprintf(format, args...))
	}
}

func (f *faults) total() (n int) {
	for _, c := range f.counts {
		n += c
	}
	return n
}

// outcome is what became of something.
type outcome uint8

const (
	unknown outcome = iota // no answer
	taken                  // acknowledged
	not                    // aborted
)

// group is the records of a transaction.
type group struct {
	number   int
	outcome  outcome
	messages []*message
}

// message is a record.
type message struct {
	number   uint32
	producer int
	moves    bool // it is to be moved from the topic in to the topic out
	group    *group
	outcome  outcome
	seen     int
	moved    int // seen in the topic out
}

// ledger is the account of everything. It is safe for concurrent use.
type ledger struct {
	mu       sync.Mutex
	messages []*message
	groups   []*group
	faults   faults
	begin    time.Time
	kills    int
	commits  int
	aborts   int
	unknowns int
	last     map[place]uint32
}

// place is what a producer writes in order.
type place struct {
	topic     string
	partition int32
	producer  int
}

func newLedger(log io.Writer) *ledger {
	return &ledger{faults: faults{log: log}, begin: time.Now(), last: make(map[place]uint32)}
}

func (l *ledger) fault(kind, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults.add(kind, format, args...)
}

func (l *ledger) newGroup() *group {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := &group{number: len(l.groups)}
	l.groups = append(l.groups, g)
	return g
}

// publish makes a record of a producer and returns its value.
func (l *ledger) publish(producer int, g *group, moves bool, r *rand.Rand) (*message, []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &message{number: uint32(len(l.messages)), producer: producer, moves: moves, group: g}
	l.messages = append(l.messages, m)
	if g != nil {
		g.messages = append(g.messages, m)
	}
	b := make([]byte, 8+r.IntN(400))
	for i := 8; i < len(b); i++ {
		b[i] = byte(m.number) + byte(i)
	}
	binary.BigEndian.PutUint32(b, m.number)
	binary.BigEndian.PutUint32(b[4:], checksum(b))
	return m, b
}

func checksum(b []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(b[:4]), crc32.IEEETable, b[8:])
}

// acknowledged notes that a record was acknowledged.
func (l *ledger) acknowledged(m *message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.outcome = taken
}

// ended notes the end of a transaction.
func (l *ledger) ended(g *group, o outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g.outcome = o
}

// arrived notes a record that a consumer has got.
func (l *ledger) arrived(topic string, partition int32, offset int64, b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(b) < 8 || binary.BigEndian.Uint32(b[4:]) != checksum(b) || int(binary.BigEndian.Uint32(b)) >= len(l.messages) {
		l.faults.add(corrupt, "%s-%d, offset %d", topic, partition, offset)
		return
	}
	m := l.messages[binary.BigEndian.Uint32(b)]
	if topic == "out" {
		if m.moved++; m.moved > 1 {
			l.faults.add(twice, "record %d in %s-%d at %d: %d times", m.number, topic, partition, offset, m.moved)
		}
		return
	}
	if m.seen++; m.seen > 1 {
		l.faults.add(twice, "record %d in %s-%d at %d: %d times", m.number, topic, partition, offset, m.seen)
	}
	pl := place{topic, partition, m.producer}
	if before, ok := l.last[pl]; ok && m.number < before {
		l.faults.add(disorder, "record %d in %s-%d at %d, after %d", m.number, topic, partition, offset, before)
	}
	l.last[pl] = m.number
}

// missing returns how many records are owed.
func (l *ledger) missing() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.messages {
		must := m.outcome == taken && m.group == nil || m.group != nil && m.group.outcome == taken
		if must && m.seen == 0 || m.moves && m.seen > 0 && m.moved == 0 {
			n++
		}
	}
	return n
}

// balance looks what is wrong, when nothing is under way, and forgets nothing.
func (l *ledger) balance() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.messages {
		if m.group == nil && m.outcome == taken && m.seen == 0 {
			l.faults.add(lost, "record %d of producer %d, kill %d", m.number, m.producer, l.kills)
		}
		if m.moves && m.seen > 0 && m.moved == 0 {
			l.faults.add(unmoved, "record %d, kill %d", m.number, l.kills)
		}
	}
	l.commits, l.aborts, l.unknowns = 0, 0, 0
	for _, g := range l.groups {
		seen := 0
		for _, m := range g.messages {
			if m.seen > 0 {
				seen++
			}
		}
		switch g.outcome {
		case taken:
			l.commits++
		case not:
			l.aborts++
		default:
			l.unknowns++
		}
		switch {
		case g.outcome == not && seen > 0:
			l.faults.add(rolledBack, "transaction %d: %d of %d records, kill %d", g.number, seen, len(g.messages), l.kills)
		case seen > 0 && seen < len(g.messages):
			l.faults.add(half, "transaction %d: %d of %d records, kill %d", g.number, seen, len(g.messages), l.kills)
		case g.outcome == taken && seen == 0 && len(g.messages) > 0:
			l.faults.add(undone, "transaction %d: kill %d", g.number, l.kills)
		}
	}
}

// write prints the account.
func (l *ledger) write(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	acked, moved := 0, 0
	for _, m := range l.messages {
		if m.group == nil && m.outcome == taken {
			acked++
		}
		moved += m.moved
	}
	fmt.Fprintf(w, "%d kills in %v: %d records, %d acknowledged outside of transactions; %d transactions committed, %d aborted, %d without an answer; %d records moved\n",
		l.kills, time.Since(l.begin).Round(time.Second), len(l.messages), acked, l.commits, l.aborts, l.unknowns, moved)
	for _, kind := range slices.Sorted(maps.Keys(l.faults.counts)) {
		fmt.Fprintf(w, "%8d  %s\n", l.faults.counts[kind], kind)
	}
	if l.faults.total() == 0 {
		fmt.Fprintln(w, "no faults")
	}
}
