package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// A ledger keeps account of what the broker has acknowledged and of what has arrived, and so knows what the broker owes. It
// knows nothing of the broker but the standard. Its clock counts events, so that it can tell what was before what.
type ledger struct {
	mu        sync.Mutex
	clock     int64
	begin     time.Time
	kills     []int64 // the times of the crashes, in ms since begin
	streams   []*stream
	receivers []*receiver
	wills     map[uint32]*willStream // by number of their stream
	faults    faults
	onRelease bool          // the broker passes messages of QoS 2 on when PUBREL comes, which the standard allows
	staleMax  time.Duration // how long before a crash a resent message may have been acknowledged
	stalest   time.Duration // the longest that was seen
	noDup     int           // resent messages without DUP
	resent    int           // resent messages
	delivered int
	acks      int
}

func newLedger(log io.Writer) *ledger {
	return &ledger{
		begin:    time.Now(),
		wills:    make(map[uint32]*willStream),
		faults:   faults{log: log},
		staleMax: 10 * time.Second,
	}
}

// A stream is the messages of one publisher to one topic at one QoS. Their order is promised.
type stream struct {
	number uint32
	topic  string
	qos    mqtt.QoS
	sent   []sentMessage
}

type sentMessage struct {
	at    int64 // when its first PUBLISH was sent
	acked int64 // when the broker took it over: PUBACK or PUBREC; 0 not yet
	moved int64 // when it had passed it on for sure: see ledger.onRelease
	again uint8 // how many more times PUBLISH was sent
	ms    int64 // when acked was set, in ms since the ledger's begin
	empty bool  // takes a retained message away
}

// tick returns the next time.
func (l *ledger) tick() int64 {
	l.clock++
	return l.clock
}

// now returns the time since the begin in ms.
func (l *ledger) now() int64 { return time.Since(l.begin).Milliseconds() }

// fault notes a fault.
func (l *ledger) fault(kind, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults.add(kind, format, args...)
}

// kill notes that the broker is about to be killed.
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

// newStream adds a stream.
func (l *ledger) newStream(topic string, qos mqtt.QoS) *stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &stream{number: uint32(len(l.streams)), topic: topic, qos: qos}
	l.streams = append(l.streams, s)
	return s
}

// next gives out the next message of a stream, which the caller sends at once.
func (l *ledger) next(s *stream, r *rand.Rand, empty bool) (n uint32, payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = uint32(len(s.sent))
	s.sent = append(s.sent, sentMessage{at: l.tick(), empty: empty})
	if !empty {
		payload = stamp{s.number, n}.payload(r)
	}
	return n, payload
}

// sentAgain notes that PUBLISH is sent again.
func (l *ledger) sentAgain(s *stream, n uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := &s.sent[n]; m.again < 255 {
		m.again++
	}
}

// acked notes that the broker has taken a message over. Publishers get acknowledgements in order, so it has taken those
// before too.
func (l *ledger) acked(s *stream, n uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.sent[n].acked == 0 {
		s.sent[n].acked, s.sent[n].ms = l.tick(), l.now()
		l.acks++
		if s.qos == mqtt.QoS1 || !l.onRelease {
			s.sent[n].moved = l.clock
		}
	}
}

// completed notes PUBCOMP.
func (l *ledger) completed(s *stream, n uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.sent[n].moved == 0 {
		s.sent[n].moved = l.tick()
	}
}

// current returns the numbers of the last message that the broker has passed on for sure (-1: none) and of the last that was sent.
func (s *stream) current() (acked, sent int) {
	for acked = len(s.sent) - 1; acked >= 0 && s.sent[acked].moved == 0; acked-- {
	}
	return acked, len(s.sent) - 1
}

// describe tells about the last messages of a stream.
func (l *ledger) describe(s *stream) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	acked, sent := s.current()
	text := fmt.Sprintf("%d was sent, %d acknowledged", sent, acked)
	if n := len(l.kills); n > 0 && acked >= 0 {
		text += fmt.Sprintf(" %d ms before crash %d", l.kills[n-1]-s.sent[acked].ms, n)
	}
	for n := max(acked-2, 0); n <= sent; n++ {
		m := &s.sent[n]
		text += fmt.Sprintf("; %d: sent %d times, acknowledged %v, empty %v", n, 1+m.again, m.acked > 0, m.empty)
	}
	return text
}

// retainedWrong returns why the retained message n (-1: none) of the stream's topic is wrong, while nobody publishes.
func (l *ledger) retainedWrong(s *stream, n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	acked, sent := s.current()
	switch {
	case n > sent:
		return "was never sent"
	case n >= 0 && n < acked:
		return "is older"
	case n >= 0 && s.sent[n].empty:
		return "has a payload that was not sent"
	case n >= 0:
		return ""
	case acked < 0:
		return ""
	}
	for i := acked; i <= sent; i++ {
		if s.sent[i].empty {
			return ""
		}
	}
	return "is missing"
}

// mayBeEmpty reports whether there may be no retained message.
func (l *ledger) mayBeEmpty(s *stream) bool { return l.retainedWrong(s, -1) == "" }

// matches reports whether a filter matches a topic name. It knows what the filters of this program need.
func matches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range f {
		switch {
		case level == "#":
			return true
		case i >= len(t) || level != "+" && level != t[i]:
			return false
		}
	}
	return len(f) == len(t)
}
