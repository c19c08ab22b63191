package main

import (
	"math/rand/v2"

	"github.com/quartet-mq/quartet/mqtt"
)

// A willStream is the wills of one client, one for each of its connections.
type willStream struct {
	number uint32
	topic  string
	qos    mqtt.QoS
	// returns says that the client always comes back before the will's delay is over, so that none is ever published.
	returns bool
	wills   []lastWill
}

// A lastWill is the will of one connection.
type lastWill struct {
	accepted bool  // CONNACK came
	begin    int64 // when that was, in ms
	end      int   // willOpen …
	endAt    int64 // in ms
	read     bool  // the broker has read DISCONNECT
	got      int
	judged   bool
}

// The ends of a connection.
const (
	willOpen       = iota
	willDisconnect // with DISCONNECT
	willCut        // without
)

// newWillStream adds the wills of a client.
func (l *ledger) newWillStream(topic string, qos mqtt.QoS, returns bool) *willStream {
	s := l.newStream(topic, qos)
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &willStream{number: s.number, topic: topic, qos: qos, returns: returns}
	l.wills[s.number] = w
	return w
}

// owed reports whether the will should still come.
func (x *lastWill) owed() bool { return x.accepted && x.end == willCut && x.got == 0 && !x.judged }

// nextWill returns the payload of the will of the next connection.
func (l *ledger) nextWill(w *willStream, r *rand.Rand) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.wills = append(w.wills, lastWill{})
	return stamp{w.number, uint32(len(w.wills) - 1)}.payload(r)
}

// update changes the last will.
func (l *ledger) update(w *willStream, f func(*lastWill)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&w.wills[len(w.wills)-1])
}

// cut notes that the connection broke.
func (l *ledger) cut(w *willStream) {
	l.update(w, func(x *lastWill) {
		if x.end == willOpen {
			x.end, x.endAt = willCut, l.now()
		}
	})
}

// deliver takes the account of a will that came.
func (w *willStream) deliver(l *ledger, n int) {
	if n >= len(w.wills) {
		l.faults.add(neverSent, "will %d of %s", n, w.topic)
		return
	}
	x := &w.wills[n]
	x.got++
	switch {
	case w.returns:
		l.faults.add(badWill, "%s, connection %d: the client came back within the delay", w.topic, n)
	case x.end == willOpen && x.accepted && !l.crashedSince(x.begin):
		l.faults.add(badWill, "%s, connection %d: it is open", w.topic, n)
	case x.end == willDisconnect && x.read && !l.crashedSoon(x.endAt):
		l.faults.add(badWill, "%s QoS %d, connection %d: it ended with DISCONNECT %d ms ago, crash %d", w.topic, w.qos, n, l.now()-x.endAt, len(l.kills))
	case x.got > 1 && w.qos == mqtt.QoS2:
		l.faults.add(willTwice, "%s, connection %d", w.topic, n)
	}
}

// soon is how long before a crash a DISCONNECT may be forgotten by it, in ms. Nothing acknowledges a DISCONNECT.
const soon = 1000

// crashedSince reports whether there was a crash after a time, whether or not the client has noticed.
func (l *ledger) crashedSince(ms int64) bool {
	_, ok := l.killAfter(ms)
	return ok
}

// crashedSoon reports whether there was a crash soon after a time.
func (l *ledger) crashedSoon(ms int64) bool {
	at, ok := l.killAfter(ms)
	return ok && at-ms < soon
}

// willTime is how long a will may take, in ms: more than the delay of any that is awaited, less than the time without progress
// after which the account is balanced.
const willTime = 15_000

// willsMissing returns how many wills should still come.
func (l *ledger) willsMissing() (count int) {
	l.eachOwed(func(*willStream, int) { count++ })
	return count
}

// reportWills makes faults of wills that should have come.
func (l *ledger) reportWills() {
	l.eachOwed(func(w *willStream, n int) {
		if x := &w.wills[n]; l.now()-x.endAt > willTime {
			x.judged = true
			l.faults.add(noWill, "%s QoS %d, connection %d from %d to %d ms; crashes at %d ms", w.topic, w.qos, n, x.begin, x.endAt, l.kills)
		}
	})
}

// eachOwed calls f for each will that should have come.
func (l *ledger) eachOwed(f func(w *willStream, n int)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.wills {
		for n := range w.wills {
			if !w.returns && w.wills[n].owed() {
				f(w, n)
			}
		}
	}
}

// willsOwed reports whether a will of the client should still come.
func (l *ledger) willsOwed(w *willStream) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range w.wills {
		if w.wills[i].owed() {
			return true
		}
	}
	return false
}
