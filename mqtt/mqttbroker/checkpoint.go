package mqttbroker

import (
	"encoding/binary"

	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// rewrite records what a session has, in place of all its records so far. s.mu is held.
func (b *Broker) rewrite(s *session) { b.rewriteMoving(s, nil) }

// rewriteMoving is rewrite when deliveries have just been taken out of the session, to go to other members of their
// groups: both is recorded at once. s.mu is held.
func (b *Broker) rewriteMoving(s *session, refs []any) {
	if b.rec == nil || !s.durable {
		return
	}
	var moved []entry
	for _, ref := range refs {
		if recorded(ref) {
			moved = append(moved, entryOf(ref))
		}
	}
	b.rec.checkpoint(s, b.appendCheckpoint(nil, s), moved)
	if c := s.cold(); c != nil { // what is in memory is in the checkpoint
		for _, p := range c.opened {
			b.rec.j.Release(p.seq, p.live)
		}
		c.opened, c.inline = nil, s.backlog.queue.waiting()
	}
}

// waiting returns how many recorded messages are in memory: in the ring and the head.
func (q *queue) waiting() (n int) {
	for i := range q.k {
		if recorded(q.at(i)) {
			n++
		}
	}
	if q.cold != nil {
		n += q.cold.head.n
	}
	return n
}

// appendCheckpoint appends what a session has, but for the identifiers of inbound messages: subscriptions, what is in
// flight, the queue. s.mu is held.
func (b *Broker) appendCheckpoint(dst []byte, s *session) []byte {
	stored := 0
	for _, sub := range s.subs.list {
		if !sub.options().has(optEphemeral) {
			stored++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(stored))
	for _, sub := range s.subs.list {
		o := sub.options()
		if o.has(optEphemeral) {
			continue
		}
		dst = append(dst, byte(o&optStored))
		dst = binary.AppendUvarint(dst, uint64(o.id()))
		dst = appendText(dst, sub.filter)
	}
	var flight []byte
	n := 0
	view := func() {
		if s.state == nil {
			return
		}
		var prev uint64
		for o := range s.state.Outbound() {
			if out, ok := o.Ref.(*outgoing); ok && out.ephemeral {
				continue
			}
			step := byte(0)
			if o.Released {
				step = 1
			}
			e := entryOf(o.Ref)
			flight = append(binary.BigEndian.AppendUint16(flight, o.ID), step)
			flight = appendEntry(flight, &e, prev)
			prev = e.seq
			n++
		}
	}
	if s.awake {
		s.owner.c.ViewState(view)
	} else {
		view()
	}
	dst = append(binary.AppendUvarint(dst, uint64(n)), flight...)
	return appendQueue(dst, s)
}

// appendQueue appends what waits for a session. s.mu is held.
func appendQueue(dst []byte, s *session) []byte {
	var front, tail entries
	var pages []page
	if s.backlog != nil {
		q := &s.backlog.queue
		for i := range q.k {
			if ref := q.at(i); recorded(ref) {
				e := entryOf(ref)
				front.push(&e)
			}
		}
		if c := q.cold; c != nil {
			for rest := c.head; rest.n > 0; {
				e := rest.pop()
				front.push(&e)
			}
			pages, tail = c.pages, c.tail
		}
	}
	dst = front.appendTo(dst)
	dst = binary.AppendUvarint(dst, uint64(len(pages)))
	for _, p := range pages {
		for _, v := range [...]uint64{p.seq, uint64(p.live), uint64(p.n), uint64(p.skip), uint64(p.bytes)} {
			dst = binary.AppendUvarint(dst, v)
		}
	}
	return tail.appendTo(dst)
}

// pace is how much the checkpoints of many sessions write before they wait until that is durable.
const pace = 64 << 10

// checkpoint is called by the journal before records below a number are thrown away.
func (b *Broker) checkpoint(below uint64) {
	r := b.rec
	written := 0
	for !r.broken() {
		r.mu.Lock()
		if len(r.dirty) == 0 || r.dirty[0].first >= below {
			r.mu.Unlock()
			break
		}
		s := r.dirty[0].s
		r.dirty[0] = dirty{}
		r.dirty = r.dirty[1:]
		over := s.over || !s.dirty
		r.mu.Unlock()
		if over {
			continue
		}
		s.mu.Lock()
		b.rewrite(s)
		s.mu.Unlock()
		r.mu.Lock()
		written += int(s.checkLen)
		r.mu.Unlock()
		if written >= pace {
			written = 0
			if r.pressure() == PressureFull { // perhaps it waits for the room that this is to make
				continue
			}
			done := make(chan struct{})
			r.await(nil, func(*mqttserver.Batch, Outcome) { close(done) })
			<-done
		}
	}
	r.decide(below)
}

// keep says what is to become of a record.
func (b *Broker) keep(seq uint64, raw []byte) Verdict {
	switch recordKind(raw[0]) { // most records are of these kinds
	case recordMessage:
		return keepIf(b.rec.needs(seq))
	case recordAccepted, recordReopened, recordQueued, recordSent, recordDropped, recordPubrec, recordSettled, recordReceived,
		recordReleased:
		return Discard // checkpoint has made it superfluous
	case recordEnded, recordUnretained:
		return Tombstone
	}
	var rec record
	if err := rec.parse(raw); err != nil {
		b.opts.Logger.Error("journal: unknown record", "seq", seq, "err", err)
		return Keep
	}
	switch rec.kind {
	case recordRetained:
		m, ok := b.retained.names.Get(rec.filter)
		return keepIf(ok && m.seq == rec.seq)
	case recordDecided:
		return keepIf(b.rec.marked(seq))
	case recordSession, recordCheckpoint, recordPage:
		s := b.recordedSession(rec.owner.client, rec.session)
		return keepIf(s != nil && s.needs(b.rec, &rec, seq))
	}
	return Discard
}

func keepIf(needed bool) Verdict {
	if needed {
		return Keep
	}
	return Discard
}

// needs reports whether somebody needs a message.
func (r *recorder) needs(seq uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refs.Get(seq) > 0
}

// marked reports whether a record is the last recordDecided.
func (r *recorder) marked(seq uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mark == seq
}

// recordedSession returns the session of a client with a number, also one that is about to end.
func (b *Broker) recordedSession(client string, num uint64) *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.sessions[client]; s != nil && s.num == num {
		return s
	}
	return b.ending[num]
}

// needs reports whether the session needs a record of its own.
func (s *session) needs(r *recorder, rec *record, seq uint64) bool {
	if rec.kind != recordPage {
		r.mu.Lock()
		defer r.mu.Unlock()
		return seq == s.ownerSeq || seq == s.checkSeq
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended { // its pages are being taken apart
		return true
	}
	c := s.cold()
	if c == nil {
		return false
	}
	for _, p := range c.pages {
		if p.seq == seq {
			return true
		}
	}
	for _, p := range c.opened {
		if p.seq == seq {
			return true
		}
	}
	return false
}
