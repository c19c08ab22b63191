package mqttbroker

import (
	"encoding/binary"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/quartet-mq/quartet/internal/journal"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
	"github.com/quartet-mq/quartet/topic/delivery"
)

// recorder is the broker's side of a journal. The nil recorder belongs to a broker in memory: it costs nothing.
//
// Its lock comes after all locks of the broker and the server.
type recorder struct {
	j       Journal
	log     *slog.Logger
	failed  atomic.Bool
	closing atomic.Bool // the broker closes it

	mu      sync.Mutex
	refs    journal.Refs
	head    []byte
	dirty   []dirty  // sessions with records since their last checkpoint, the oldest first
	open    []uint64 // messages about which not everything was decided, see accepted
	decided bool     // somebody waits for open to become shorter
	settled sync.Cond
	notes   map[uint64]uint64 // by message: records that it is retained, where they do not follow it
	mark    uint64            // the last recordDecided
	markLen int
}

// dirty is a session and the number of its first record since its last checkpoint.
type dirty struct {
	s     *session
	first uint64
}

// newRecorder returns the recorder of a journal.
func newRecorder(j Journal, log *slog.Logger) *recorder {
	r := &recorder{j: j, log: log}
	r.settled.L = &r.mu
	return r
}

// begin starts the journal.
func (r *recorder) begin(b *Broker) error {
	return r.j.Start(JournalHandler{Complete: r.complete, Checkpoint: b.checkpoint, Keep: b.keep})
}

// broken reports whether the journal has failed: nothing may be promised any more.
func (r *recorder) broken() bool { return r != nil && r.failed.Load() }

// pressure tells how much room the journal has.
func (r *recorder) pressure() Pressure {
	if r == nil {
		return PressureNone
	}
	return r.j.Pressure()
}

// number returns a number of its own for a message that is not recorded.
func (r *recorder) number() uint64 { return r.j.Append(Entry{}, Token{}) }

// append appends a record. r.mu is held.
func (r *recorder) append(rec *record, live bool, t Token) uint64 {
	r.head = rec.appendTo(r.head[:0])
	e := Entry{Head: r.head, Body: rec.body}
	switch {
	case rec.kind == recordEnded, rec.kind == recordUnretained:
		e.Tombstone = true
	case live:
		e.Live = len(r.head)
	}
	if t.c != nil {
		t.c.waiting.Add(1)
	}
	return r.j.Append(e, t)
}

// note records something about a session, for which t waits. Sessions that end with their connection have no records but
// their owner's. It reports whether there is a record, without which t is not completed.
func (r *recorder) note(s *session, rec record, t Token) bool {
	if r == nil || !s.durable {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.noteLocked(s, &rec, t)
}

// noteHolding is note, and holds the message that the record names.
func (r *recorder) noteHolding(s *session, rec record, m *Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refs.Add(m.seq, 1)
	r.noteLocked(s, &rec, Token{})
}

// noteReleasing is note, and lets go a message that the session had.
func (r *recorder) noteReleasing(s *session, rec record, m *Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noteLocked(s, &rec, Token{})
	if m.flags&flagJournaled != 0 {
		r.releaseLocked(m.seq, m.bytes())
	}
}

// noteLocked is note with r.mu held.
func (r *recorder) noteLocked(s *session, rec *record, t Token) bool {
	rec.session = s.num
	if s.over {
		if t.IsZero() {
			return false
		}
		r.wait(t)
		return true
	}
	switch rec.kind {
	case recordReceived:
		s.receive(rec.id)
	case recordReleased:
		if s.inbound != nil {
			s.inbound.Remove(rec.id)
		}
	}
	r.touch(s, r.append(rec, false, t))
	return true
}

// touch notes that a session has a record of its own. r.mu is held.
func (r *recorder) touch(s *session, seq uint64) {
	if !s.dirty {
		s.dirty = true
		r.dirty = append(r.dirty, dirty{s, seq})
	}
}

// receive notes that a QoS 2 message of the client was taken. recorder.mu is held.
func (s *session) receive(id uint16) {
	if s.inbound == nil {
		s.inbound = new(delivery.IDs)
	}
	s.inbound.Add(id)
}

// await calls then when everything recorded so far is durable, or when the journal has failed.
func (r *recorder) await(c *conn, then func(*mqttserver.Batch, Outcome)) {
	r.wait(Token{kind: tokenFunc, c: c, then: then})
}

// wait completes t when everything recorded so far is durable.
func (r *recorder) wait(t Token) {
	if t.c != nil {
		t.c.waiting.Add(1)
	}
	r.j.Append(Entry{}, t)
}

// owner records who has a session. Broker.mu is held.
func (r *recorder) owner(s *session, o owner) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.over {
		return
	}
	if s.ownerSeq != 0 {
		r.j.Release(s.ownerSeq, int(s.ownerLen))
	}
	rec := record{kind: recordSession, session: s.num, owner: o}
	s.ownerSeq = r.append(&rec, true, Token{})
	s.ownerLen = uint32(len(r.head))
}

// ended records the end of a session, if anything of it is recorded.
func (r *recorder) ended(s *session) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.ownerSeq == 0 {
		return
	}
	r.append(&record{kind: recordEnded, session: s.num}, false, Token{})
	r.j.Release(s.ownerSeq, int(s.ownerLen))
	if s.checkSeq != 0 {
		r.j.Release(s.checkSeq, int(s.checkLen))
	}
	s.ownerSeq, s.checkSeq, s.over = 0, 0, true
}

// checkpoint records what a session has, in place of all its records so far. s.mu is held; data is all but the
// identifiers of inbound messages.
// What it had, and is on its way to other members of groups, is in moved: accepted comes later.
func (r *recorder) checkpoint(s *session, data []byte, moved []entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.over {
		return
	}
	for i := range moved {
		r.open = append(r.open, moved[i].seq)
	}
	n := 0
	if s.inbound != nil {
		n = s.inbound.Len()
	}
	data = append(data, byte(n>>8), byte(n))
	if n > 0 {
		for id := range s.inbound.All() {
			data = append(data, byte(id>>8), byte(id))
		}
	}
	data = binary.AppendUvarint(data, uint64(len(moved)))
	for i := range moved {
		data = appendText(binary.AppendUvarint(data, moved[i].seq), moved[i].group)
	}
	if s.checkSeq != 0 {
		r.j.Release(s.checkSeq, int(s.checkLen))
	}
	rec := record{kind: recordCheckpoint, session: s.num, owner: owner{client: s.id}, data: data}
	s.checkSeq = r.append(&rec, true, Token{})
	s.checkLen = uint32(len(r.head))
	s.dirty = false
}

// page records the first n of what waits for a session in one record, and returns its number and what it is worth.
func (r *recorder) page(s *session, n int, data []byte) (seq uint64, live int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := record{kind: recordPage, session: s.num, owner: owner{client: s.id}, n: n, data: data}
	seq = r.append(&rec, true, Token{})
	live = len(r.head)
	r.touch(s, seq)
	return seq, live
}

// message records a message that was accepted, gives it its number and holds it for the caller, who calls accepted and
// release later. With retained the record that follows says that it is the retained message of its topic.
func (r *recorder) message(m *Message, from origin, retained bool, t Token) {
	rec := record{kind: recordMessage, from: from, flags: m.flags, topic: m.Topic(), body: m.all()}
	m.flags |= flagJournaled
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head = rec.appendTo(r.head[:0])
	m.seq = r.j.Append(Entry{Head: r.head, Body: rec.body, Live: m.bytes()}, Token{})
	if retained {
		note := retainedRecord(m)
		r.append(&note, true, Token{})
	}
	if m.seq != 0 { // the journal is not closed
		r.refs.Add(m.seq, 1)
		r.open = append(r.open, m.seq)
	}
	if s := from.s; s != nil && !from.will {
		s.receive(from.id)
		r.touch(s, m.seq)
	}
	if !t.IsZero() { // not with the record: who waits reads the number
		r.wait(t)
	}
}

// reopen records that a message left a session and is on its way to another member of its group: accepted comes later. It
// was in flight with an identifier, or (0) the first of the queue.
func (r *recorder) reopen(s *session, e *entry, id uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.touch(s, r.append(&record{kind: recordReopened, session: s.num, seq: e.seq, id: id, filter: e.group}, false, Token{}))
	r.open = append(r.open, e.seq)
}

// holdOpen holds a message about which something else is to be decided, too.
func (r *recorder) holdOpen(m *Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refs.Add(m.seq, 1)
	r.open = append(r.open, m.seq)
}

// retain records that a message, which the journal has, is the retained one of its topic.
func (r *recorder) retain(m *Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	note := retainedRecord(m)
	if seq := r.append(&note, true, Token{}); seq != m.seq+1 {
		r.noteAt(m.seq, seq)
	}
}

// noteAt notes the number of a retained record that does not follow its message. r.mu is held.
func (r *recorder) noteAt(message, seq uint64) {
	if r.notes == nil {
		r.notes = make(map[uint64]uint64)
	}
	r.notes[message] = seq
}

// noteOf returns the number of the retained record of a message. r.mu is held.
func (r *recorder) noteOf(message uint64) uint64 {
	if seq, ok := r.notes[message]; ok {
		return seq
	}
	return message + 1
}

// retainedRecord returns the record that says that m is the retained message of its topic.
func retainedRecord(m *Message) record {
	return record{
		kind: recordRetained, seq: m.seq, flags: m.flags & flagStored, size: m.size, expires: m.expiry(), filter: m.Topic(),
	}
}

// forgetRetained releases a message that is retained no more.
func (r *recorder) forgetRetained(m *Message) {
	note := retainedRecord(m)
	r.mu.Lock()
	r.head = note.appendTo(r.head[:0])
	r.j.Release(r.noteOf(m.seq), len(r.head))
	delete(r.notes, m.seq)
	r.mu.Unlock()
	r.release(m)
}

// unretained records that a topic has no retained message.
func (r *recorder) unretained(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.append(&record{kind: recordUnretained, filter: name}, false, Token{})
}

// accepted records that everything about a message was decided, or (with a group) about its way to another member, for
// which t waits. It takes back the hold of who decided.
func (r *recorder) accepted(m *Message, group string, t Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.append(&record{kind: recordAccepted, seq: m.seq, filter: group}, false, t)
	switch i := slices.Index(r.open, m.seq); i {
	case -1:
	case 0:
		r.open = r.open[1:]
	default:
		r.open = slices.Delete(r.open, i, i+1)
	}
	if r.decided {
		r.settled.Broadcast()
	}
	r.releaseLocked(m.seq, m.bytes())
}

// decide records that everything about messages below a number was decided, as soon as it is.
func (r *recorder) decide(below uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.open) > 0 && slices.Min(r.open) < below && !r.failed.Load() {
		r.decided = true
		r.settled.Wait()
	}
	r.decided = false
	if r.mark != 0 {
		r.j.Release(r.mark, r.markLen)
	}
	r.mark = r.append(&record{kind: recordDecided, seq: below}, true, Token{})
	r.markLen = len(r.head)
}

// hold counts a record that names the message, or somebody who may make one.
func (r *recorder) hold(m *Message) {
	if r == nil || m.flags&flagJournaled == 0 {
		return
	}
	r.mu.Lock()
	r.refs.Add(m.seq, 1)
	r.mu.Unlock()
}

// tryHold is hold for a message that somebody may have released meanwhile: it reports false when it is gone.
func (r *recorder) tryHold(m *Message) bool {
	if r == nil || m.flags&flagJournaled == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refs.Get(m.seq) == 0 {
		return false
	}
	r.refs.Add(m.seq, 1)
	return true
}

// release takes a reference to the message back.
func (r *recorder) release(m *Message) {
	if r != nil && m.flags&flagJournaled != 0 {
		r.releaseSeq(m.seq, m.bytes())
	}
}

// releaseSeq is release for a message of which only the number and size are at hand.
func (r *recorder) releaseSeq(seq uint64, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.releaseLocked(seq, size)
}

// releaseLocked is releaseSeq with r.mu held.
func (r *recorder) releaseLocked(seq uint64, size int) {
	if r.refs.Remove(seq) == 0 {
		r.j.Release(seq, size)
	}
}

// complete is the journal's callback.
func (r *recorder) complete(tokens []Token, o Outcome) {
	if o != Done && !r.failed.Swap(true) {
		if !r.closing.Load() {
			r.log.Error("journal failed: no message of QoS 1 or 2 is taken any more")
		}
		r.mu.Lock()
		r.settled.Broadcast()
		r.mu.Unlock()
	}
	b := mqttserver.NewBatch()
	for i := range tokens {
		tokens[i].complete(b, o)
	}
	b.Flush()
}

// sentRecord returns the record of a message that is in flight.
func sentRecord(ref any, id uint16, queued bool) record {
	return record{kind: recordSent, id: id, queued: queued, entry: entryOf(ref)}
}

// stateRecord returns the record of a change of a session's State, if there is one of its own: assignments have
// recordSent.
func stateRecord(d mqtt.Delta, id uint16) (rec record, ok bool) {
	switch d {
	case mqtt.DeltaPubrec:
		return record{kind: recordPubrec, id: id}, true
	case mqtt.DeltaSettled:
		return record{kind: recordSettled, id: id}, true
	case mqtt.DeltaReleased:
		return record{kind: recordReleased, id: id}, true
	}
	return record{}, false
}
