package main

import (
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// A ledger keeps account of what the broker has confirmed and of what has arrived, and so knows what the broker owes. It knows
// nothing of the broker but the standard and the promises of package main.
type ledger struct {
	mu       sync.Mutex
	begin    time.Time
	kills    []int64 // the times of the crashes, in ms since begin
	messages []*message
	groups   []*group
	streams  uint32
	faults   faults
	staleMax time.Duration // how long before a crash a message that comes again may have been settled
	stalest  time.Duration // the longest that was seen

	delivered, again, confirms, inTx, commits, unknowns, dead int
}

func newLedger(log io.Writer) *ledger {
	return &ledger{begin: time.Now(), faults: faults{log: log}, staleMax: 10 * time.Second}
}

// What is known of a message or a transaction.
type fate uint8

const (
	unknown fate = iota // sent, and nothing is known
	taken               // confirmed or committed: it must arrive
	not                 // refused or rolled back: it must not arrive
)

// A message was published once. Nothing is ever published again.
type message struct {
	number uint32
	stream uint32 // the messages of a stream are published in order on one channel at a time
	n      int    // its number in the stream
	queues []string
	fate   fate
	due    time.Time // not to arrive before
	group  *group    // the transaction that published it
	crash  int       // how many crashes there were before
	copies map[string]*copy
}

// A copy is a message in a queue.
type copy struct {
	crash    int   // how many crashes there were before the connection of the last delivery
	at       int64 // when the last delivery was, in ms
	settled  bool  // acknowledged or rejected for good since the last delivery
	ms       int64 // when
	link     *link // on which connection
	rejected bool
	group    *group // the transaction that acknowledged it
}

// A link is a connection of a consumer, as far as the ledger must know it.
type link struct {
	crash int            // how many crashes there were before
	ended int64          // in ms since begin, 0 not yet
	order map[uint32]int // by stream: the number of the last message that was not marked
}

// A group is a transaction.
type group struct {
	fate  fate
	out   []*message // what it publishes
	in    []*message // what it acknowledges
	again int        // how many of in have come again since
	owed  int        // how many of those had been confirmed
}

// now returns the time since the begin in ms.
func (l *ledger) now() int64 { return time.Since(l.begin).Milliseconds() }

// fault notes a fault.
func (l *ledger) fault(kind, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults.add(kind, format, args...)
}

// kill notes that the broker has been killed and not been started again.
func (l *ledger) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kills = append(l.kills, l.now())
}

// crashes returns how many crashes there were.
func (l *ledger) crashes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.kills)
}

// killAfter returns the time of the first crash at or after a time in ms.
func (l *ledger) killAfter(ms int64) (at int64, ok bool) {
	for i := len(l.kills) - 1; i >= 0 && l.kills[i] >= ms; i-- {
		at, ok = l.kills[i], true
	}
	return at, ok
}

// newStream returns the number of a new stream.
func (l *ledger) newStream() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams++
	return l.streams
}

// publish notes a message that the caller is about to send to the given queues, and returns it with its body.
func (l *ledger) publish(stream uint32, n int, due time.Time, g *group, r *rand.Rand, queues ...string) (*message, []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &message{number: uint32(len(l.messages)), stream: stream, n: n, queues: queues, due: due, group: g, crash: len(l.kills), copies: make(map[string]*copy)}
	l.messages = append(l.messages, m)
	if g != nil {
		g.out = append(g.out, m)
		l.inTx++
	}
	return m, body(m.number, r)
}

// confirmed notes what the broker has said of a message.
func (l *ledger) confirmed(m *message, ack bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.fate != unknown {
		l.faults.add(stuck, "message %d is confirmed twice", m.number)
	}
	if m.fate = taken; !ack {
		m.fate = not
		l.faults.add(refused, "message %d to %v", m.number, m.queues)
	}
	l.confirms++
}

// begin begins a transaction.
func (l *ledger) newGroup() *group {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := new(group)
	l.groups = append(l.groups, g)
	return g
}

// finished notes how a transaction ended.
func (l *ledger) finished(g *group, f fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g.fate = f
	for _, m := range g.out {
		m.fate = f
	}
	switch f {
	case taken:
		l.commits++
	case unknown:
		l.unknowns++
	}
}

// newLink notes a new connection of a consumer.
func (l *ledger) newLink() *link { return &link{crash: l.crashes(), order: make(map[uint32]int)} }

// unlink notes that a connection is about to end or has ended.
func (l *ledger) unlink(k *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.ended == 0 {
		k.ended = max(l.now(), 1)
	}
}

// An arrival is a message that a consumer has got.
type arrival struct {
	queue       string
	redelivered bool
	body        []byte
	// ordered says that the queue keeps the order of what is not marked.
	ordered bool
	// from is the queue that it died in, when it is a dead letter.
	from string
}

// arrived notes a message and returns it, nil when it is not one of ours.
func (l *ledger) arrived(a arrival, k *link) *message {
	l.mu.Lock()
	defer l.mu.Unlock()
	number, ok := readStamp(a.body)
	if !ok {
		l.faults.add(corrupt, "%d bytes in %s", len(a.body), a.queue)
		return nil
	}
	if int(number) >= len(l.messages) || l.messages[number] == nil {
		l.faults.add(neverSent, "message %d in %s", number, a.queue)
		return nil
	}
	m := l.messages[number]
	l.delivered++
	if m.fate == not {
		kind := neverSent
		if m.group != nil {
			kind = rolledBack
		}
		l.faults.add(kind, "message %d in %s, crash %d", number, a.queue, len(l.kills))
	}
	if by := time.Until(m.due); by > 2*time.Millisecond {
		l.faults.add(early, "message %d by %v", number, by)
	}
	c := m.copies[a.queue]
	if c == nil {
		c = new(copy)
		m.copies[a.queue] = c
		l.first(m, a)
	} else {
		l.repeated(m, c, a)
	}
	if d := m.copies[deadOf(a.queue)]; d != nil && !l.early(d.at) {
		l.faults.add(risen, "message %d in %s, crash %d", number, a.queue, len(l.kills))
	}
	if !a.redelivered && a.ordered {
		if last, ok := k.order[m.stream]; ok && m.n < last {
			l.faults.add(late, "message %d of stream %d in %s after %d, crash %d", m.n, m.stream, a.queue, last, len(l.kills))
		}
		k.order[m.stream] = m.n
	}
	c.crash, c.at = k.crash, l.now()
	c.settled, c.link, c.group, c.rejected = false, nil, nil, false
	return m
}

// early reports whether a dead letter came at a time so shortly before a crash that its death need not be recorded: a
// rejection is recorded as lazily as an acknowledgement, and the dead letter may be delivered before that.
func (l *ledger) early(ms int64) bool {
	at, ok := l.killAfter(ms)
	return ok && time.Duration(at-ms)*time.Millisecond <= l.staleMax
}

// deadOf returns the queue where the dead letters of a queue go, empty for none.
func deadOf(queue string) string {
	if queue == "work" {
		return "dead"
	}
	return ""
}

// first judges the first delivery of a copy.
func (l *ledger) first(m *message, a arrival) {
	if a.from != "" {
		l.dead++
		if a.from == "work" {
			// It must have been rejected there, so it was delivered.
			if c := m.copies["work"]; c == nil {
				l.faults.add(wrongQueue, "message %d among the dead letters and was never delivered", m.number)
			}
			return
		}
	}
	for _, q := range m.queues {
		if q == a.queue {
			return
		}
	}
	l.faults.add(wrongQueue, "message %d for %v in %s", m.number, m.queues, a.queue)
}

// repeated judges a further delivery of a copy.
func (l *ledger) repeated(m *message, c *copy, a arrival) {
	l.again++
	if !a.redelivered {
		kind := unmarked
		if a.from != "" {
			kind = deadTwice
		}
		l.faults.add(kind, "message %d in %s, crash %d", m.number, a.queue, len(l.kills))
	}
	if !c.settled {
		return
	}
	if c.group != nil {
		if c.group.fate == taken {
			l.faults.add(undone, "message %d in %s, crash %d", m.number, a.queue, len(l.kills))
		}
		c.group.again++
		if m.fate == taken {
			c.group.owed++
		}
		return
	}
	at, ok := l.killAfter(c.ms)
	if c.link.ended != 0 && (!ok || c.link.ended < at) {
		at, ok = c.link.ended, true
	}
	if !ok {
		l.faults.add(needless, "message %d in %s, settled %d ms ago", m.number, a.queue, l.now()-c.ms)
		return
	}
	age := time.Duration(max(at-c.ms, 0)) * time.Millisecond
	l.stalest = max(l.stalest, age)
	if age > l.staleMax {
		l.faults.add(stale, "message %d in %s, settled %v before", m.number, a.queue, age)
	}
}

// settle notes that the caller is about to acknowledge a message, or to reject it for good.
func (l *ledger) settle(m *message, queue string, k *link, rejected bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := m.copies[queue]
	c.settled, c.ms, c.link, c.rejected = true, l.now(), k, rejected
}

// join notes that the caller is about to acknowledge a message in a transaction.
func (l *ledger) join(m *message, queue string, g *group) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := m.copies[queue]
	c.settled, c.ms, c.group = true, l.now(), g
	g.in = append(g.in, m)
}

// missing returns how many copies are owed.
func (l *ledger) missing() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.messages {
		if m != nil {
			n += len(m.absent())
		}
	}
	return n
}

// mayCome reports whether delayed messages whose fate is not known have not come.
func (l *ledger) mayCome() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.messages {
		if m != nil && m.fate == unknown && !m.due.IsZero() && len(m.copies) == 0 {
			return true
		}
	}
	return false
}

// absent returns the queues in which a message must be and from which it has not come, or must come again: those of the
// message, and that of the dead letters when it was rejected at last.
func (m *message) absent() (queues []string) {
	if m.fate != taken {
		return nil
	}
	for _, q := range m.queues {
		if m.copies[q] == nil {
			queues = append(queues, q)
		}
	}
	for q, c := range m.copies {
		switch {
		case !c.settled:
			queues = append(queues, q)
		case c.rejected && m.copies[deadOf(q)] == nil:
			queues = append(queues, deadOf(q))
		}
	}
	return queues
}

// balance reports what is missing while nobody publishes, everything has been taken and settled, and begins anew.
func (l *ledger) balance() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, m := range l.messages {
		if m == nil {
			continue
		}
		for _, q := range m.absent() {
			l.faults.add(lost, "message %d of stream %d in %s, crash %d", m.number, m.stream, q, len(l.kills))
		}
		if m.fate == unknown && m.group == nil {
			if there, gone := m.traces(); there > 0 && gone > 0 {
				l.faults.add(half, "message %d is not in %d of %v, crash %d", m.number, gone, m.queues, len(l.kills))
			}
		}
		l.messages[i] = nil
	}
	for _, g := range l.groups {
		l.whole(g)
	}
	l.groups = nil
}

// traces returns in how many of its queues a message was after the crash that cut its publisher off, and in how many it never
// was. What came before that crash only, from memory, tells nothing.
func (m *message) traces() (there, gone int) {
	for _, q := range m.queues {
		switch c := m.copies[q]; {
		case c == nil:
			gone++
		case c.crash > m.crash:
			there++
		}
	}
	return there, gone
}

// whole judges whether a transaction that may have been done was done as a whole.
func (l *ledger) whole(g *group) {
	if g.fate != unknown {
		return
	}
	there, gone := 0, 0
	for _, m := range g.out {
		t, n := m.traces()
		there, gone = there+t, gone+n
	}
	confirmed := 0 // others may be lost like their acknowledgement
	for _, m := range g.in {
		if m.fate == taken {
			confirmed++
		}
	}
	switch {
	case there > 0 && gone > 0:
		l.faults.add(half, "%d messages are there, %d are not, crash %d", there, gone, len(l.kills))
	case there > 0 && g.again > 0:
		l.faults.add(half, "its messages are there, and %d of %d acknowledged ones came again, crash %d", g.again, len(g.in), len(l.kills))
	case (gone > 0 || g.again > 0) && g.owed < confirmed:
		l.faults.add(half, "its messages are not there, and %d of %d acknowledged ones came again, crash %d", g.owed, confirmed, len(l.kills))
	}
}
