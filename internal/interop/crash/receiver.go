package main

import (
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// A receiver is the account of one subscriber's session: what it is owed and what it got. Its filters do not overlap.
type receiver struct {
	l         *ledger
	name      string
	interests []*interest
	tracks    map[*stream]*track
	epoch     uint32
	ends      []connEnd // of the connections so far
	// removed says that the session was ended on purpose; it is owed nothing any more.
	removed bool
}

// A connEnd is how a connection ended, and when, in ms.
type connEnd struct {
	clean bool // with DISCONNECT, which the broker has read
	at    int64
}

// An interest is one subscription, from SUBSCRIBE to UNSUBACK. The times are the ledger's; 0 is not yet.
type interest struct {
	filter                                             string
	qos                                                mqtt.QoS
	subscribing, subscribed, unsubscribing, unsubAcked int64
}

// A track is what a receiver got of one stream.
type track struct {
	s *stream
	// got is by number of the message.
	got []gotMessage
	// max is the greatest number that came, last the one that came last on this connection; -1 none.
	max, last int
	// low: nothing below is missing or will be.
	low int
}

type gotMessage struct {
	copies, here uint8  // deliveries at all, and on the connection epoch
	lost         bool   // was reported
	epoch        uint32 // connection of the last delivery
	at           int64  // its time in ms
}

// newReceiver adds a receiver.
func (l *ledger) newReceiver(name string) *receiver {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &receiver{l: l, name: name, tracks: make(map[*stream]*track)}
	l.receivers = append(l.receivers, r)
	return r
}

// connected notes a new connection.
func (r *receiver) connected() {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.epoch++
	for _, t := range r.tracks {
		t.last = -1
	}
}

// ended notes the end of the connection. clean says that it ended with DISCONNECT, which the broker has read.
func (r *receiver) ended(clean bool) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.ends = append(r.ends, connEnd{clean, r.l.now()})
}

// subscribing notes that SUBSCRIBE is about to be sent for the first time.
func (r *receiver) subscribing(filter string, qos mqtt.QoS) *interest {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	i := &interest{filter: filter, qos: qos, subscribing: r.l.tick()}
	r.interests = append(r.interests, i)
	return i
}

// note sets one of the times of an interest to now.
func (r *receiver) note(at *int64) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	*at = r.l.tick()
}

// track returns the account of a stream.
func (r *receiver) track(s *stream) *track {
	t := r.tracks[s]
	if t == nil {
		t = &track{s: s, max: -1, last: -1}
		r.tracks[s] = t
	}
	for len(t.got) < len(s.sent) {
		t.got = append(t.got, gotMessage{})
	}
	return t
}

// wanted reports whether the receiver may get a message: a subscription began before the broker had passed it on, and had not
// ended when it was sent.
func (r *receiver) wanted(s *stream, m *sentMessage) bool {
	for _, i := range r.interests {
		began := m.moved == 0 || m.again > 0 || i.subscribing < m.moved
		if began && (i.unsubAcked == 0 || m.at < i.unsubAcked) && matches(i.filter, s.topic) {
			return true
		}
	}
	return false
}

// owed returns the time since which the receiver is owed the messages of a stream. They are owed as long as nobody
// unsubscribes; what is under way then may be dropped, so it is for the caller to wait for it before.
func (r *receiver) owed(s *stream) (since int64, ok bool) {
	for _, i := range r.interests {
		if i.subscribed > 0 && i.unsubscribing == 0 && matches(i.filter, s.topic) {
			return i.subscribed, true
		}
	}
	return 0, false
}

// granted returns the QoS at which a stream's messages come: the lower one of its own and of the subscription.
func (r *receiver) granted(s *stream) mqtt.QoS {
	qos := s.qos
	for _, i := range r.interests {
		if matches(i.filter, s.topic) {
			qos = min(qos, i.qos)
		}
	}
	return qos
}

// deliver takes the account of a message that came, the resent ones of QoS 2 which the subscriber knew by their packet
// identifier left out.
func (r *receiver) deliver(p *mqtt.Publish) {
	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delivered++
	st, ok := readStamp(p.Payload)
	if !ok {
		l.faults.add(corrupt, "%s: topic %s, %d bytes", r.name, p.Topic, len(p.Payload))
		return
	}
	if w := l.wills[st.stream]; w != nil {
		w.deliver(l, int(st.n))
		return
	}
	if int(st.stream) >= len(l.streams) || int(st.n) >= len(l.streams[st.stream].sent) {
		l.faults.add(neverSent, "%s: topic %s, stream %d, message %d", r.name, p.Topic, st.stream, st.n)
		return
	}
	s, n := l.streams[st.stream], int(st.n)
	m := &s.sent[n]
	if string(p.Topic) != s.topic {
		l.faults.add(wrongTopic, "%s: %s instead of %s", r.name, p.Topic, s.topic)
	}
	if !r.wanted(s, m) {
		l.faults.add(unsubscribed, "%s: %s, message %d", r.name, s.topic, n)
	}
	t := r.track(s)
	if t.got[n].copies == 0 {
		if n < t.max && !r.second(s, m) {
			l.faults.add(late, "%s: %s QoS %d, message %d after %d, crash %d", r.name, s.topic, s.qos, n, t.max, len(l.kills))
		}
		t.max = max(t.max, n)
	} else {
		r.repeated(t, n, p.Dup)
	}
	g := &t.got[n]
	if g.epoch != r.epoch {
		g.epoch, g.here = r.epoch, 0
	}
	g.copies, g.here, g.at = min(g.copies, 254)+1, min(g.here, 254)+1, l.now()
	t.last = n
}

// second reports whether a message that comes for the first time may be one that was published twice, at first before the
// subscription was made.
func (r *receiver) second(s *stream, m *sentMessage) bool {
	since, ok := r.owed(s)
	return s.qos == mqtt.QoS1 && m.again > 0 && !(ok && m.at > since)
}

// repeated judges a message that has come before.
func (r *receiver) repeated(t *track, n int, dup bool) {
	l, s, m, g := r.l, t.s, &t.s.sent[n], &t.got[n]
	if r.granted(s) == mqtt.QoS2 {
		l.faults.add(twice, "%s: %s, message %d, DUP %v, connections %d and %d, sent %d times, crash %d",
			r.name, s.topic, n, dup, g.epoch, r.epoch, 1+m.again, len(l.kills))
		return
	}
	// A publisher that sends a message of QoS 1 again makes a second message of it.
	var copies uint8
	if s.qos == mqtt.QoS1 {
		copies = m.again
	}
	if g.epoch == r.epoch && g.here > copies {
		l.faults.add(sameConn, "%s: %s, message %d, crash %d", r.name, s.topic, n, len(l.kills))
		return
	}
	if copies > 0 {
		return
	}
	l.resent++
	if !dup {
		l.noDup++
	}
	if n <= t.last {
		l.faults.add(backward, "%s: %s, message %d after %d, crash %d", r.name, s.topic, n, t.last, len(l.kills))
	}
	l.judgeCause(r, t, n, dup)
}

// judgeCause looks for the reason of a message of QoS 1 being sent again. The subscriber acknowledged it at once, so there is
// one only when a crash came soon, or the connection broke at that moment.
func (l *ledger) judgeCause(r *receiver, t *track, n int, dup bool) {
	g := &t.got[n]
	if int(g.epoch) > len(r.ends) {
		return // on this very connection, which was judged
	}
	end := r.ends[g.epoch-1]
	crash, crashed := l.killAfter(g.at)
	if !crashed {
		if end.clean || end.at-g.at > l.staleMax.Milliseconds() {
			l.faults.add(needless, "%s: %s, message %d, DUP %v", r.name, t.s.topic, n, dup)
		}
		return
	}
	if !end.clean {
		crash = min(crash, end.at)
	}
	age := time.Duration(crash-g.at) * time.Millisecond
	l.stalest = max(l.stalest, age)
	if age > l.staleMax {
		l.faults.add(stale, "%s: %s, message %d, %v", r.name, t.s.topic, n, age)
	}
}

// missing returns how many messages the receiver is owed.
func (r *receiver) missing() (n int) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	for _, s := range r.l.streams {
		n += r.missingOf(s, func(int) {})
	}
	return n
}

// missingFrom is missing for the streams that a filter matches.
func (r *receiver) missingFrom(filter string) (n int) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	for _, s := range r.l.streams {
		if matches(filter, s.topic) {
			n += r.missingOf(s, func(int) {})
		}
	}
	return n
}

// missingOf calls f for each message of a stream that is owed and returns their number.
func (r *receiver) missingOf(s *stream, f func(n int)) (count int) {
	since, ok := r.owed(s)
	if !ok || r.removed {
		return 0
	}
	t := r.track(s)
	settled := true // so far
	for n := t.low; n < len(s.sent); n++ {
		m, g := &s.sent[n], &t.got[n]
		done := g.copies > 0 || g.lost || m.at < since
		if settled = settled && done; settled {
			t.low = n + 1
		}
		if !done && m.acked > 0 {
			count++
			f(n)
		}
	}
	return count
}

// report makes faults of what is missing.
func (r *receiver) report() {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	for _, s := range r.l.streams {
		r.missingOf(s, func(n int) {
			r.tracks[s].got[n].lost = true
			r.l.faults.add(lost, "%s: %s QoS %d, message %d of %d, sent %d times, by crash %d",
				r.name, s.topic, s.qos, n, len(s.sent), 1+s.sent[n].again, len(r.l.kills))
		})
	}
}

// remove ends the account.
func (r *receiver) remove() {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.removed = true
	for i, x := range r.l.receivers {
		if x == r {
			r.l.receivers = append(r.l.receivers[:i], r.l.receivers[i+1:]...)
			break
		}
	}
}
