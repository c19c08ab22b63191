package mqttbroker

import (
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// cold is the part of a session's queue that is not in memory: its entries name messages in the journal. Everything in it
// is recorded. It follows the ring of the queue.
type cold struct {
	head    entries // in memory
	pages   []page  // in the journal
	tail    entries // in memory
	opened  []openedPage
	inline  int // how many of the first entries of the queue are in the session's last checkpoint
	loading bool
	failed  bool   // a page cannot be read
	gen     uint64 // another one after each change of head other than by the loader; see Broker.gens
}

// page is a record with many entries.
type page struct {
	seq   uint64
	live  int // what the record is worth
	n     int
	skip  int // of n, how many have gone
	bytes int // what the messages count
}

// openedPage is a page of which entries are in the ring or in head. Its record is needed until they have gone: a replay
// counts them off.
type openedPage struct {
	seq  uint64
	live int
	left int // how many of its entries are in the queue
}

const (
	hotBytes     = 1 << 20 // as much of what waits for a session with a journal is in memory
	loadMessages = 128     // so many are loaded at a time
)

// isCold reports whether there are entries out of memory.
func (q *queue) isCold() bool { return q.n > q.k }

// takesHot reports whether the next reference may wait in memory.
func (q *queue) takesHot(limit int) bool { return !q.isCold() && q.k < limit && q.bytes < hotBytes }

// hotBytes returns what the messages in memory count.
func (q *queue) hotBytes() (n int) {
	for i := range q.k {
		n += sizeOf(q.at(i))
	}
	return n
}

// pushCold appends a reference that is recorded.
func (q *queue) pushCold(e *entry) {
	if q.cold == nil {
		q.cold = new(cold)
	}
	q.cold.tail.push(e)
	q.n++
	q.bytes += int(e.size)
}

// gone counts one of the first entries off. It returns the page that is not needed any more, if there is one.
func (c *cold) gone() (p openedPage, done bool) {
	if c == nil || c.inline == 0 && len(c.opened) == 0 {
		return p, false
	}
	if c.inline > 0 {
		c.inline--
		return p, false
	}
	o := &c.opened[0]
	if o.left--; o.left > 0 {
		return p, false
	}
	p, c.opened = *o, c.opened[1:]
	return p, true
}

// seal puts what waits in the tail into a page, when it is enough. A replay has all that was queued since the last page
// in its tail: if some of that is not in the tail any more, a checkpoint brings both together. s.mu is held.
func (b *Broker) seal(s *session) {
	q := &s.backlog.queue
	c := q.cold
	if c.tail.n < b.opts.pageEntries {
		return
	}
	others := q.waiting() - c.inline
	for _, o := range c.opened {
		others -= o.left
	}
	if others > 0 {
		b.rewrite(s)
	}
	p := page{n: c.tail.n, bytes: c.tail.bytes}
	p.seq, p.live = b.rec.page(s, c.tail.n, c.tail.appendTo(nil))
	c.pages = append(c.pages, p)
	c.tail = entries{}
}

// left notes that the first of the queue has gone out of it. s.mu is held.
func (b *Broker) left(s *session) {
	q := &s.backlog.queue
	if p, done := q.cold.gone(); done {
		b.rec.j.Release(p.seq, p.live)
	}
	if q.n == 0 {
		q.cold = nil
	}
}

// chill moves what waits in memory for a session whose client has gone out of memory. s.mu is held. What has QoS 0 and
// is not recorded is dropped.
func (b *Broker) chill(s *session) {
	if b.rec == nil || !s.durable || s.backlog == nil || s.backlog.queue.k == 0 {
		return
	}
	q := &s.backlog.queue
	for _, ref := range q.filter(recorded) {
		b.lost(s, ref, DropSlow)
	}
	if q.k == 0 {
		return
	}
	var front entries
	for i := range q.k {
		e := entryOf(q.at(i))
		front.push(&e)
	}
	if q.cold == nil {
		q.cold = new(cold)
	}
	q.cold.head.prepend(&front)
	q.cold.gen = b.gens.Add(1)
	q.ring, q.head, q.k = nil, 0, 0
}

// recorded reports whether the queue's records name ref.
func recorded(ref any) bool {
	m, qos, _, _ := unpack(ref)
	if o, ok := ref.(*outgoing); ok && (o.recorded || o.ephemeral) {
		return o.recorded
	}
	return qos > 0 && m.flags&flagJournaled != 0
}

// warm sees to it that what waits is in memory when its turn comes. s.mu is held.
func (c *conn) warm() {
	l := c.s.backlog
	if l == nil || l.queue.cold == nil || l.queue.cold.loading || !l.queue.isCold() || l.queue.k >= c.b.opts.hotMessages/2 {
		return
	}
	l.queue.cold.loading = c.b.spawn(c.load)
}

// fetch brings the first page of the queue of a session into memory, so that it can be dropped. s.mu is held.
func (b *Broker) fetch(s *session) {
	co := s.backlog.queue.cold
	if co.loading {
		return
	}
	co.loading = b.spawn(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.cold() != co {
			return
		}
		opened := co.head.n > 0 || b.openPage(s, co, b.rec.j.Reader())
		co.loading, co.failed = false, !opened
		if opened && s.backlog != nil {
			b.makeRoom(s)
			s.trim()
		}
		if c := s.conn.Load(); c != nil {
			c.warm()
		}
	})
}

// load loads messages until enough of them wait in memory, and sends them.
func (c *conn) load() {
	bt := mqttserver.NewBatch()
	r := c.b.rec.j.Reader()
	for c.loadSome(r) {
		c.drain(bt)
		bt.Flush()
		bt.Wait()
	}
}

// goOn sends what waits.
func (c *conn) goOn() {
	bt := mqttserver.NewBatch()
	c.drain(bt)
	bt.Flush()
	bt.Wait()
}

// loadSome loads some messages. It reports whether there may be more to load; otherwise nobody is loading any more.
func (c *conn) loadSome(r JournalReader) bool {
	b, s := c.b, c.s
	s.mu.Lock()
	list, gen := c.toLoad(r) // unlocks meanwhile
	s.mu.Unlock()
	if len(list) == 0 {
		return false
	}
	messages := make([]*Message, 0, len(list))
	for i := range list {
		m, err := b.readSurely(r, list[i].seq)
		if err == nil {
			messages = append(messages, m)
			continue
		}
		if !b.isStopped() {
			b.opts.Logger.Error("journal: a message that waits cannot be read", "client", s.id, "err", err)
		}
		break
	}
	s.mu.Lock()
	co := s.cold()
	if co == nil {
		s.mu.Unlock()
		return false
	}
	if co.gen != gen || s.conn.Load() != c { // the queue was changed, or the client has gone
		s.mu.Unlock()
		return true
	}
	if len(messages) == 0 {
		defer s.mu.Unlock()
		if co.loading = !b.rec.broken() && !b.isStopped(); co.loading {
			b.skipUnreadable(s, co)
		}
		return co.loading && s.backlog != nil
	}
	moved := c.loaded(co, messages)
	s.mu.Unlock()
	b.redispatch(moved)
	return true
}

// readSurely reads a message, several times if need be.
func (b *Broker) readSurely(r JournalReader, seq uint64) (m *Message, err error) {
	for range 3 {
		if m, err = readMessage(r, seq); err == nil || b.isStopped() {
			return m, err
		}
		r = b.rec.j.Reader()
	}
	return nil, err
}

// skipUnreadable drops the first message of the head, which would stop all that come after it. s.mu is held.
func (b *Broker) skipUnreadable(s *session, co *cold) {
	q := &s.backlog.queue
	e := co.head.pop()
	co.gen = b.gens.Add(1)
	q.n--
	q.bytes -= int(e.size)
	b.rec.releaseSeq(e.seq, int(e.size))
	b.dropped(s, "", DropUnreadable)
	b.rewrite(s)
	if q.n == 0 {
		q.cold = nil
	}
	s.trim()
}

// cold returns the cold part of the queue, or nil. s.mu is held.
func (s *session) cold() *cold {
	if s.backlog == nil {
		return nil
	}
	return s.backlog.queue.cold
}

// loaded puts the messages of the first entries in memory. What came by a shared subscription that is gone is returned,
// to go to another member; what the client may not receive any more is dropped. s.mu is held.
func (c *conn) loaded(co *cold, messages []*Message) (moved []any) {
	s, q := c.s, &c.s.backlog.queue
	var denied []any
	for _, m := range messages {
		e := co.head.pop()
		member := s.subs.get(e.group)
		ref := e.ref(m, member)
		if e.group != "" && member == nil {
			moved = append(moved, &outgoing{m: m, qos: e.qos, retain: e.retain, ids: e.ids, member: &subscription{s: s, filter: e.group}})
		} else if s.checks() && s.allowed(ActionReceive, m.Topic()) != Allow {
			denied = append(denied, ref)
		} else {
			q.load(ref)
			continue
		}
		q.n--
		q.bytes -= m.bytes()
	}
	for _, ref := range denied {
		if s.recordsOf(ref) {
			m, _, _, _ := unpack(ref)
			c.b.rec.release(m)
		}
		c.b.lost(s, ref, DropDenied)
	}
	if len(denied)+len(moved) > 0 {
		c.b.rewriteMoving(s, moved)
	}
	return moved
}

// checks reports whether messages are authorized one by one. s.mu is held.
func (s *session) checks() bool {
	for _, sub := range s.subs.list {
		if sub.options().has(optChecked) {
			return true
		}
	}
	return false
}

// toLoad returns the next entries whose messages are to be loaded, none when nothing is to be loaded any more; they stay
// in the head. s.mu is held, but not while a page is read.
func (c *conn) toLoad(r JournalReader) (list []entry, gen uint64) {
	s := c.s
	for {
		co := s.cold()
		if co == nil {
			return nil, 0
		}
		q := &s.backlog.queue
		if now := s.conn.Load(); now != c {
			co.loading = false
			if now != nil { // it does not load because this one did
				c.b.spawn(now.goOn)
			}
			return nil, 0
		}
		if q.k >= c.b.opts.hotMessages || q.k > 0 && q.hotBytes() >= hotBytes || !q.isCold() || c.b.rec.broken() {
			co.loading = false
			return nil, 0
		}
		if co.head.n > 0 {
			rest := co.head
			bytes := 0
			for len(list) < loadMessages && rest.n > 0 && bytes < hotBytes {
				e := rest.pop()
				bytes += int(e.size)
				list = append(list, e)
			}
			return list, co.gen
		}
		if !c.b.openPage(s, co, r) {
			co.loading = false
			return nil, 0
		}
	}
}

// openPage moves the next page, or else the tail, into the empty head. s.mu is held, but not while the page is read. It
// reports false when the page cannot be read.
func (b *Broker) openPage(s *session, co *cold, r JournalReader) bool {
	if len(co.pages) == 0 {
		co.head, co.tail = co.tail, entries{}
		return true
	}
	p := co.pages[0]
	s.mu.Unlock()
	list, err := readPage(r, p)
	s.mu.Lock()
	if s.cold() != co || len(co.pages) == 0 || co.pages[0].seq != p.seq || co.head.n > 0 {
		return true
	}
	if err != nil {
		b.opts.Logger.Error("journal: a page of a queue cannot be read", "client", s.id, "err", err)
		return false // it stays like this: what is in the page may be what must not be lost
	}
	s.backlog.queue.bytes -= p.bytes - list.bytes // what had gone
	co.opened = append(co.opened, openedPage{seq: p.seq, live: p.live, left: list.n})
	co.head, co.pages = list, co.pages[1:]
	return true
}

// readPage reads the entries of a page that have not gone yet.
func readPage(r JournalReader, p page) (entries, error) {
	b, err := r.Read(p.seq)
	if err != nil {
		return entries{}, err
	}
	var rec record
	if err := rec.parse(b); err != nil {
		return entries{}, err
	}
	list, err := parseEntries(rec.data)
	if err != nil {
		return entries{}, err
	}
	list.b = append([]byte(nil), list.b...)
	for range min(p.skip, list.n) {
		list.pop()
	}
	return list, nil
}

// readMessage reads a message.
func readMessage(r JournalReader, seq uint64) (*Message, error) {
	b, err := r.Read(seq)
	if err != nil {
		return nil, err
	}
	var rec record
	if err = rec.parse(b); err == nil && rec.kind != recordMessage {
		err = errRecord
	}
	if err != nil {
		return nil, err
	}
	return restoreMessage(string(rec.data), seq, &rec)
}
