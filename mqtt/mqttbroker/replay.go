package mqttbroker

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// restoring is the state of a broker while it replays its journal.
type restoring struct {
	b        *Broker
	sessions map[uint64]*restored
	users    map[string]string // so that equal names are one string
	open     map[uint64]opened
	rec      record // the one that is replayed
	retained map[string]*Message
}

var errTorn = errors.New("its records do not fit together")

// restored is a session that is being restored. The queue of its session is not within any bounds meanwhile.
type restored struct {
	s         *session
	first     uint64
	known     bool // there was a recordSession
	connected bool // at last
	stale     bool // its recordSession has a will that was published
	torn      bool // records that a checkpoint has made superfluous are gone: what there is makes no sense before that comes
}

// opened is a message about which not everything is decided yet.
type opened struct {
	reopened bool     // it is not to go to everybody, any more
	retained bool     // there is a record that it is retained
	groups   []string // to which it is to go besides
	first    receiver // who has it; session 0 is nobody
	more     []receiver
}

// got returns who has the message.
func (o *opened) got() []receiver {
	if o.first.session == 0 {
		return nil
	}
	return append([]receiver{o.first}, o.more...)
}

// targets returns to whom it is to go: groups, and "" for everybody.
func (o *opened) targets() []string {
	if o.reopened {
		return o.groups
	}
	return append([]string{""}, o.groups...)
}

// receiver is who has a message already: a session, or a group.
type receiver struct {
	session uint64
	group   string
}

// restore replays the journal.
func (b *Broker) restore() error {
	r := &restoring{
		b: b, sessions: make(map[uint64]*restored), users: make(map[string]string), open: make(map[uint64]opened),
		retained: make(map[string]*Message),
	}
	if err := b.rec.j.Replay(r.replay); err != nil {
		return err
	}
	for num := range r.sessions {
		b.ids.Store(max(b.ids.Load(), num))
	}
	for num, t := range r.sessions {
		if t.torn && t.known {
			return fmt.Errorf("mqttbroker: session %d of %q: %w", num, t.s.id, errTorn)
		}
	}
	expired := r.keepRetained()
	replaced := r.keepSessions()
	r.forgetNotes()
	undecided, err := r.undecided()
	if err != nil {
		return err
	}
	if err := b.rec.begin(b); err != nil {
		return err
	}
	for _, name := range expired {
		b.rec.unretained(name)
	}
	b.mu.Lock()
	for _, t := range r.sessions {
		if t.stale && t.known {
			b.recordOwner(t.s, false)
		}
	}
	b.mu.Unlock()
	r.users, r.sessions = nil, nil
	r.decide(undecided)
	for _, s := range replaced {
		b.endSession(s, EndReplaced)
	}
	return nil
}

// replay replays a record.
func (r *restoring) replay(seq uint64, raw []byte) error {
	err := r.rec.parse(raw)
	if err == nil {
		err = r.apply(seq, &r.rec)
	}
	if err != nil {
		return fmt.Errorf("mqttbroker: record %d: %w", seq, err)
	}
	return nil
}

func (r *restoring) apply(seq uint64, rec *record) error {
	switch rec.kind {
	case recordMessage:
		r.opens(seq, "")
		switch {
		case rec.from.num == 0:
		case rec.from.will:
			t := r.session(rec.from.num, seq)
			t.s.will, t.stale = nil, true
		default:
			t := r.session(rec.from.num, seq)
			t.s.receive(rec.from.id)
			t.touch(seq)
		}
		return nil
	case recordAccepted:
		r.accepted(rec)
		return nil
	case recordDecided:
		for open := range r.open { // everything about them is decided, but that was thrown away
			if open < rec.seq {
				delete(r.open, open)
			}
		}
		r.b.rec.mark, r.b.rec.markLen = seq, int(rec.size)
		return nil
	case recordRetained:
		if seq != rec.seq+1 {
			r.b.rec.noteAt(rec.seq, seq)
		}
		if o, ok := r.open[rec.seq]; ok {
			o.retained = true
			r.open[rec.seq] = o
		}
		r.retained[rec.filter] = coldMessage(rec.filter, rec.seq, rec.flags, rec.size, rec.expires)
		return nil
	case recordUnretained:
		delete(r.retained, rec.filter)
		return nil
	case recordEnded:
		delete(r.sessions, rec.session)
		r.b.ids.Store(max(r.b.ids.Load(), rec.session))
		return nil
	}
	return r.session(rec.session, seq).apply(r, seq, rec)
}

// opens notes a message that is not decided, and to whom it is to go.
func (r *restoring) opens(seq uint64, group string) {
	o, ok := r.open[seq]
	if ok || group != "" {
		if !ok {
			o.reopened = true
		}
		o.groups = append(o.groups, group)
		o.forget(group)
	}
	r.open[seq] = o
}

// forget forgets who has the message as a member of a group, and has it no more.
func (o *opened) forget(group string) {
	o.more = slices.DeleteFunc(o.more, func(r receiver) bool { return r.group == group })
	if o.first.group == group {
		o.first = receiver{}
		if n := len(o.more); n > 0 {
			o.first, o.more = o.more[n-1], o.more[:n-1]
		}
	}
}

// accepted notes that a message, or its way to a group, is decided.
func (r *restoring) accepted(rec *record) {
	o, ok := r.open[rec.seq]
	switch {
	case !ok:
		return
	case rec.filter == "":
		o.reopened = true // or never open to everybody
	default:
		if i := slices.Index(o.groups, rec.filter); i >= 0 {
			o.groups = slices.Delete(o.groups, i, i+1)
		}
	}
	if o.reopened && len(o.groups) == 0 {
		delete(r.open, rec.seq)
		return
	}
	r.open[rec.seq] = o
}

// gets notes who has a message.
func (r *restoring) gets(e *entry, session uint64) {
	o, ok := r.open[e.seq]
	switch {
	case !ok:
		return
	case o.first.session == 0:
		o.first = receiver{session, e.group}
	default:
		o.more = append(o.more, receiver{session, e.group})
	}
	r.open[e.seq] = o
}

// session returns the session with a number, which is made if need be: the record that says who has it may come later.
func (r *restoring) session(num, seq uint64) *restored {
	s := r.sessions[num]
	if s == nil {
		s = &restored{s: &session{num: num, durable: true}, first: seq}
		r.sessions[num] = s
	}
	return s
}

// apply replays a record of the session.
func (t *restored) apply(r *restoring, seq uint64, rec *record) error {
	s := t.s
	switch rec.kind {
	case recordSession:
		if s.id == "" {
			s.id, s.user = rec.owner.client, r.user(rec.owner.user)
		}
		s.expiry, s.expires, s.will = rec.owner.expiry, rec.owner.expires, rec.owner.will
		t.known, t.connected, t.stale, s.told = true, rec.owner.connected, false, true
		s.ownerSeq, s.ownerLen = seq, uint32(rec.size)
		return nil
	case recordCheckpoint:
		s.checkSeq, s.checkLen = seq, uint32(rec.size)
		s.dirty = false
		return t.checkpoint(r, rec.data)
	}
	t.touch(seq)
	switch rec.kind {
	case recordReopened:
		r.opens(rec.seq, rec.filter)
		if rec.id != 0 {
			t.change(mqtt.DeltaSettled, rec.id, 0, nil)
		} else {
			t.pop()
		}
	case recordSubscribed:
		sub := s.subs.get(rec.filter)
		if sub == nil {
			sub = &subscription{s: s, filter: rec.filter}
			s.subs.add(sub)
		}
		sub.opts.Store(uint64(rec.opts))
	case recordUnsubscribed:
		s.subs.remove(rec.filter)
	case recordQueued:
		r.gets(&rec.entry, s.num)
		s.pending().queue.pushCold(&rec.entry)
	case recordPage:
		t.page(seq, rec)
	case recordDropped:
		t.pop()
	case recordSent:
		r.gets(&rec.entry, s.num)
		if rec.queued {
			t.pop()
		}
		e := rec.entry
		t.change(mqtt.DeltaAssigned, rec.id, e.qos, &e)
	case recordPubrec:
		t.change(mqtt.DeltaPubrec, rec.id, 0, nil)
	case recordSettled:
		t.change(mqtt.DeltaSettled, rec.id, 0, nil)
	case recordReceived:
		s.receive(rec.id)
	case recordReleased:
		if s.inbound != nil {
			s.inbound.Remove(rec.id)
		}
	}
	return nil
}

// touch notes that the session has a record of its own.
func (t *restored) touch(seq uint64) {
	if !t.s.dirty {
		t.s.dirty, t.first = true, seq
	}
}

// user returns a name as a string that is shared.
func (r *restoring) user(name string) string {
	if known, ok := r.users[name]; ok {
		return known
	}
	r.users[name] = name
	return name
}

// change replays a change of the State of the session.
func (t *restored) change(d mqtt.Delta, id uint16, qos mqtt.QoS, ref any) {
	if t.s.state == nil {
		t.s.state = new(mqtt.State)
	}
	t.torn = t.s.state.Apply(d, id, qos, ref) != nil || t.torn
}

// pop takes the first entry off the queue. Those of pages are counted only.
func (t *restored) pop() {
	if t.s.backlog == nil {
		return
	}
	q := &t.s.backlog.queue
	c := q.cold
	switch {
	case c == nil:
		return
	case c.head.n > 0:
		e := c.head.pop()
		c.inline--
		q.bytes -= int(e.size)
	case len(c.pages) > 0:
		p := &c.pages[0]
		if p.skip++; p.skip == p.n {
			q.bytes -= p.bytes
			c.pages = c.pages[1:]
		}
	case c.tail.n > 0:
		e := c.tail.pop()
		q.bytes -= int(e.size)
	default:
		return
	}
	if q.n--; q.n == 0 {
		t.s.backlog = nil
	}
}

// page replays that the first entries of the tail are in a page.
func (t *restored) page(seq uint64, rec *record) {
	c := t.s.cold()
	if c == nil || c.tail.n != rec.n {
		t.torn = true
		return
	}
	p := page{seq: seq, live: int(rec.size), n: rec.n}
	p.bytes = c.tail.bytes
	c.pages = append(c.pages, p)
	c.tail = entries{}
}

// checkpoint replays what the session has.
func (t *restored) checkpoint(r *restoring, data []byte) error {
	s := t.s
	rd := codec.NewReader(data)
	s.subs, s.state, s.backlog, s.inbound, t.torn = subscriptions{}, nil, nil, nil, false
	for range rd.Count(int(rd.Uvarint32()), 3) {
		o := subscriptionOptions(rd.Uint8())&optStored | subscriptionOptions(rd.Uvarint32())<<idShift
		sub := &subscription{s: s, filter: readText(&rd)}
		sub.opts.Store(uint64(o))
		s.subs.add(sub)
	}
	var prev uint64
	for range rd.Count(int(rd.Uvarint32()), 6) {
		id, step := rd.Uint16(), rd.Uint8()
		e := readEntry(&rd, prev)
		prev = e.seq
		if rd.Err() != nil {
			break
		}
		t.change(mqtt.DeltaAssigned, id, e.qos, &e)
		if step == 1 {
			t.change(mqtt.DeltaPubrec, id, 0, nil)
		}
		r.gets(&e, s.num)
	}
	t.queue(&rd, r)
	for range rd.Count(int(rd.Uint16()), 2) {
		s.receive(rd.Uint16())
	}
	for range rd.Count(int(rd.Uvarint32()), 2) {
		r.opens(rd.Uvarint64(), readText(&rd))
	}
	return rd.Err()
}

// queue replays what waits for the session.
func (t *restored) queue(rd *codec.Reader, r *restoring) {
	c := &cold{head: cloneEntries(readEntries(rd))}
	c.inline = c.head.n
	n, bytes := c.head.n, c.head.bytes
	for range rd.Count(int(rd.Uvarint32()), 5) {
		p := page{seq: rd.Uvarint64(), live: int(rd.Uvarint32()), n: int(rd.Uvarint32()), skip: int(rd.Uvarint32()), bytes: int(rd.Uvarint64())}
		c.pages = append(c.pages, p)
		n += p.n - p.skip
		bytes += p.bytes
	}
	c.tail = cloneEntries(readEntries(rd))
	n, bytes = n+c.tail.n, bytes+c.tail.bytes
	if n == 0 || rd.Err() != nil {
		return
	}
	q := &t.s.pending().queue
	q.cold, q.n, q.bytes = c, n, bytes
	if len(r.open) > 0 {
		for _, list := range []entries{c.head, c.tail} {
			for list.n > 0 {
				e := list.pop()
				r.gets(&e, t.s.num)
			}
		}
	}
}

func cloneEntries(l entries) entries {
	l.b = slices.Clone(l.b[l.off:])
	l.off = 0
	return l
}

// keepRetained makes the retained messages those of the broker. It returns the topics of those that have expired.
func (r *restoring) keepRetained() (expired []string) {
	b := r.b
	now := time.Now().UnixMilli()
	for name, m := range r.retained {
		if m.expired(now) {
			expired = append(expired, name)
			continue
		}
		b.restoreRef(m.seq, m.bytes())
		note := retainedRecord(m)
		b.rec.j.Restore(b.rec.noteOf(m.seq), len(note.appendTo(nil)))
		b.retained.names.Set(name, m)
		b.gauges.retained.Add(1)
		b.gauges.retainedBytes.Add(int64(m.bytes()))
		if m.flags&flagExpires != 0 {
			b.deadlines.add(m)
		}
	}
	r.retained = nil
	return expired
}

// forgetNotes forgets the records of messages that are not retained any more.
func (r *restoring) forgetNotes() {
	for seq := range r.b.rec.notes {
		if r.b.rec.refs.Get(seq) == 0 {
			delete(r.b.rec.notes, seq)
		}
	}
}

// restoreRef counts somebody who needs a message.
func (b *Broker) restoreRef(seq uint64, size int) {
	if b.rec.refs.Add(seq, 1) == 0 {
		b.rec.j.Restore(seq, size)
	}
}

// keepSessions makes the sessions those of the broker. It returns those that were replaced but had not ended.
func (r *restoring) keepSessions() (replaced []*session) {
	b := r.b
	now := time.Now()
	if b.rec.mark != 0 {
		b.rec.j.Restore(b.rec.mark, b.rec.markLen)
	}
	var dirtied []dirty
	nums := slices.Sorted(maps.Keys(r.sessions))
	for _, num := range slices.Backward(nums) {
		t := r.sessions[num]
		if !t.known {
			continue // it has ended
		}
		s := t.s
		b.rec.j.Restore(s.ownerSeq, int(s.ownerLen))
		if s.checkSeq != 0 {
			b.rec.j.Restore(s.checkSeq, int(s.checkLen))
		}
		if s.dirty {
			dirtied = append(dirtied, dirty{s, t.first})
		}
		r.keepMessages(s)
		if b.sessions[s.id] != nil { // by one with a greater number
			s.subs = subscriptions{}
			s.permit.Store(b.permissionsOf(s))
			replaced = append(replaced, s)
			b.ending[s.num] = s
			continue
		}
		r.keepSession(t, now)
	}
	slices.SortFunc(dirtied, func(x, y dirty) int { return cmp.Compare(x.first, y.first) })
	b.rec.dirty = dirtied
	return replaced
}

// keepSession makes a session one of the broker. A client that was connected is away since now.
func (r *restoring) keepSession(t *restored, now time.Time) {
	b, s := r.b, t.s
	b.sessions[s.id] = s
	s.permit.Store(b.permissionsOf(s))
	if t.connected && s.expiry != forever {
		s.expires = seconds(now, s.expiry)
	}
	if t.connected && s.will != nil {
		s.will.due = seconds(now, s.will.delay)
	}
	for _, sub := range s.subs.list {
		filter, shared := sharedFilter(sub.filter)
		if b.opts.Authorize != nil {
			s.reauthorize(sub)
		}
		b.gauges.subscriptions.Add(1)
		if shared {
			b.gauges.shared.Add(1)
			b.join(sub, filter)
		} else {
			b.subs.Insert(filter, sub)
		}
	}
	s.overlaps.Store(s.subs.overlap())
	b.schedule(s)
}

// permissionsOf returns what the client of a session may do that is away.
func (b *Broker) permissionsOf(s *session) *Permissions {
	p := b.permissions(&Client{ID: s.id, User: s.user})
	return b.permitOf(&p)
}

// keepMessages counts the messages that a session needs, and restores its State.
func (r *restoring) keepMessages(s *session) {
	b := r.b
	if s.state != nil {
		for o := range s.state.Outbound() {
			e := o.Ref.(*entry)
			b.restoreRef(e.seq, int(e.size))
		}
	}
	if s.inbound != nil && s.inbound.Len() > 0 {
		if s.state == nil {
			s.state = new(mqtt.State)
		}
		for id := range s.inbound.All() {
			_ = s.state.Apply(mqtt.DeltaReceived, id, mqtt.QoS2, nil) // no identifier is zero, see receive
		}
	}
	if s.state != nil && s.state.Empty() {
		s.state = nil
	}
	c := s.cold()
	if c == nil {
		return
	}
	lists := []entries{c.head, c.tail}
	reader := b.rec.j.Reader()
	for _, p := range c.pages {
		b.rec.j.Restore(p.seq, p.live)
		list, err := readPage(reader, p)
		if err != nil {
			b.opts.Logger.Error("journal: a page of a queue cannot be read", "client", s.id, "err", err)
			continue
		}
		lists = append(lists, list)
	}
	for _, list := range lists {
		for list.n > 0 {
			e := list.pop()
			b.restoreRef(e.seq, int(e.size))
		}
	}
}

// undecided returns the messages that were accepted, and of which the journal does not say that everybody has them.
func (r *restoring) undecided() (list []*Message, err error) {
	b := r.b
	var seqs []uint64
	for seq := range r.open {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	reader := b.rec.j.Reader()
	for _, seq := range seqs {
		m, err := readMessage(reader, seq)
		if err != nil {
			return nil, fmt.Errorf("mqttbroker: message %d: %w", seq, err)
		}
		b.restoreRef(seq, m.bytes())
		b.rec.open = append(b.rec.open, seq)
		list = append(list, m)
	}
	return list, nil
}

// decide gives messages to those who should have them and have not: their publishers may have been told that they are
// safe.
func (r *restoring) decide(list []*Message) {
	b := r.b
	bt := mqttserver.NewBatch()
	for _, m := range list {
		o := r.open[m.seq]
		targets := o.targets()
		for range targets[1:] {
			b.rec.holdOpen(m)
		}
		for _, group := range targets {
			b.deliverOpen(bt, m, group, &o)
			b.rec.accepted(m, group, Token{})
		}
	}
	bt.Flush()
}

// deliverOpen delivers a message to those who have not got it: a member of a group, or with "" everybody.
func (b *Broker) deliverOpen(bt *mqttserver.Batch, m *Message, group string, o *opened) {
	sc := b.scratch(bt)
	now := time.Now().UnixMilli()
	if m.expired(now) {
		return
	}
	pub := sc.publication(m, publisher{stripe: &b.counters[0]}, now)
	pub.got = o.got()
	if group != "" {
		if g := b.groups.m[group]; g != nil {
			g.deliver(bt, sc, pub)
		}
		return
	}
	if old, ok := b.retained.names.Get(m.Topic()); m.Retain() && !o.retained && (!ok || old.seq < m.seq) {
		b.distribute(bt, sc, pub)
		return
	}
	b.fanOut(bt, sc, pub)
}
