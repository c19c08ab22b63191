package kafkabroker

import (
	"strings"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// groupShard has the groups of a partition of the offsets topic. What happens to them is in the partition first; the mutex
// puts appends, and what they change, in the same order.
type groupShard struct {
	g    *groupCoordinator
	p    *partition
	once sync.Once
	err  error // of loading

	mu      sync.Mutex
	dead    bool
	groups  map[string]*groupEntry
	txns    map[int64]map[txnOffset]committedOffset // offsets in open transactions, by producer
	end     int64                                   // of what was appended
	token   uint64                                  // the last one
	waiting map[uint64]groupWait                    // members that wait for the group
	sweep   *time.Timer
	batch   kafka.BatchWriter
	buf     []byte // the last batch
	scratch []byte // the last record
}

// groupEntry is a group.
type groupEntry struct {
	id      string
	m       *kafka.Group
	offsets map[offsetKey]committedOffset
	pending map[offsetKey]int // how many open transactions have an offset of it
	timer   *time.Timer
	due     time.Time // of the timer, zero when it does not run

	state      kafka.GroupState // that was told last
	generation int32
}

// offsetKey names a partition whose offset is committed.
type offsetKey struct {
	topic     string
	partition int32
}

// txnOffset names an offset within a transaction.
type txnOffset struct {
	group string
	offsetKey
}

// committedOffset is how far a group has come.
type committedOffset struct {
	offset   int64
	epoch    int32 // of the leader, -1 when it is unknown
	metadata string
	at       int64 // when it was committed, in milliseconds
	expire   int64 // when it ends, in milliseconds, -1 when that is up to the broker
	record   int64 // the offset of its record
}

func newGroupShard(g *groupCoordinator, p *partition) *groupShard {
	return &groupShard{
		g: g, p: p, groups: make(map[string]*groupEntry), txns: make(map[int64]map[txnOffset]committedOffset),
		waiting: make(map[uint64]groupWait),
	}
}

// loaded reads the partition if that was not done yet.
func (s *groupShard) loaded() error {
	s.once.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.err = s.load(); s.err != nil {
			s.g.b.log.Error("kafkabroker: groups cannot be read", "partition", s.p.index, "error", s.err)
			return
		}
		s.startSweep()
	})
	return s.err
}

// close ends the shard.
func (s *groupShard) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return
	}
	s.dead = true
	s.closeGroups(time.Now())
}

// closeGroups ends the groups of a shard that is dead. The caller holds mu.
func (s *groupShard) closeGroups(now time.Time) {
	if s.sweep != nil {
		s.sweep.Stop()
	}
	for _, e := range s.groups {
		e.m.Close(now, kafkawire.ErrNotCoordinator)
		s.drain(e)
	}
}

// group returns a group, or nil. The caller holds mu.
func (s *groupShard) group(id string) *groupEntry { return s.groups[id] }

// makeGroup returns a group, a new one if need be. The caller holds mu.
func (s *groupShard) makeGroup(now time.Time, id string) *groupEntry {
	e := s.groups[id]
	if e == nil {
		id = strings.Clone(id)
		e = newGroupEntry(id)
		e.m = kafka.NewGroup(now, id, &s.g.opt)
		s.groups[id] = e
	}
	return e
}

func newGroupEntry(id string) *groupEntry {
	return &groupEntry{id: id, offsets: make(map[offsetKey]committedOffset), pending: make(map[offsetKey]int)}
}

// dropGroup forgets a group. The caller holds mu.
func (s *groupShard) dropGroup(e *groupEntry, code kafkawire.ErrorCode) {
	delete(s.groups, e.id)
	e.m.Close(time.Now(), code)
	s.drain(e)
}

// drain does what a group wants. The caller holds mu.
func (s *groupShard) drain(e *groupEntry) {
	for ev, ok := e.m.Next(); ok; ev, ok = e.m.Next() {
		switch ev.Kind {
		case kafka.GroupPersist:
			s.persist(e, &ev)
		default:
			answerMember(s.take(ev.Token), &ev)
		}
	}
	s.observe(e)
	s.arm(e)
}

// observe tells of a state that is new.
func (s *groupShard) observe(e *groupEntry) {
	state, generation := e.m.State(), e.m.Generation()
	if state == e.state && generation == e.generation {
		return
	}
	if state == kafka.GroupStable && e.state == kafka.GroupCompletingRebalance {
		s.g.rebalances.Add(1)
	}
	e.state, e.generation = state, generation
	if f := s.g.b.opt.Events.GroupChanged; f != nil {
		f(e.id, state, generation, e.m.Len())
	}
}

// persist writes a group's record, and tells the group.
func (s *groupShard) persist(e *groupEntry, ev *kafka.GroupEvent) {
	now, token := time.Now(), ev.Token
	s.batch.Reset()
	err := s.addGroup(now, e.id, ev.Record)
	if err == nil {
		_, err = s.append(nil)
	}
	if err != nil {
		s.g.b.log.Error("kafkabroker: a group cannot be written", "group", e.id, "error", err)
		e.m.Persisted(now, token, groupCode(err))
		return
	}
	if !s.mustWait() {
		e.m.Persisted(now, token, 0)
		return
	}
	done := func(err error) {
		// The syncer must not wait for who appends meanwhile.
		s.g.b.spawn(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.groups[e.id] == e {
				e.m.Persisted(time.Now(), token, groupCode(err))
				s.drain(e)
			}
		})
	}
	if pending, err := s.p.log.await(s.end, durableFunc(done)); !pending {
		e.m.Persisted(now, token, groupCode(err))
	}
}

// arm sets the timer of a group.
func (s *groupShard) arm(e *groupEntry) {
	at := e.m.Timeout()
	if at.IsZero() || s.dead {
		if e.timer != nil {
			e.timer.Stop()
		}
		e.due = time.Time{}
		return
	}
	if !e.due.IsZero() && !at.Before(e.due) {
		return // it is early then
	}
	e.due = at
	d := max(time.Until(at), 0)
	if e.timer == nil {
		e.timer = time.AfterFunc(d, func() { s.expired(e) })
		return
	}
	e.timer.Reset(d)
}

// expired is called by the timer of a group.
func (s *groupShard) expired(e *groupEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead || s.groups[e.id] != e || e.due.IsZero() {
		return
	}
	e.due = time.Time{}
	e.m.Advance(time.Now())
	s.drain(e)
}

// append appends what is in batch. The caller holds mu. producer is that of a transaction, or nil.
func (s *groupShard) append(producer *kafka.Producer) (appendResult, error) {
	return s.appendGuarded(producer, 0)
}

// appendGuarded is append with what guardTransaction has returned.
func (s *groupShard) appendGuarded(producer *kafka.Producer, guard uint64) (appendResult, error) {
	if s.dead {
		return appendResult{}, errClosed
	}
	b := s.g.b
	o := kafka.BatchOptions{Producer: producer, Transactional: producer != nil}
	var err error
	if s.buf, err = s.batch.Append(s.buf[:0], &o); err != nil {
		return appendResult{}, err
	}
	res, err := s.p.log.append(&appendRequest{
		records: s.buf, origin: fromCoordinator, leaderEpoch: b.leaderEpoch(s.p), now: time.Now().UnixMilli(), guard: guard,
	})
	if err == nil {
		s.end = res.end
	}
	if cap(s.buf) > maxScratch {
		s.buf, s.batch = nil, kafka.BatchWriter{}
	}
	return res, err
}

// mustWait reports whether answers wait until what they say is durable.
func (s *groupShard) mustWait() bool { return s.p.log.config().acksWait() }

// durableFunc is a function as a [durableWaiter].
type durableFunc func(error)

func (f durableFunc) durable(err error) { f(err) }

// after calls done when all that was appended so far is durable, if that is what the topic is for. It may do so at once.
// The caller holds mu, so done must not take it.
func (s *groupShard) after(done func(error)) {
	if !s.mustWait() {
		done(nil)
		return
	}
	if pending, err := s.p.log.await(s.end, durableFunc(done)); !pending {
		done(err)
	}
}

// barrier collects several waits.
type barrier struct {
	mu   sync.Mutex
	n    int
	err  error
	done func(error)
}

// newBarrier returns a barrier that waits for end, besides what it is told to.
func newBarrier(done func(error)) *barrier { return &barrier{n: 1, done: done} }

// add waits for what was appended to a shard. The caller holds its mu.
func (w *barrier) add(s *groupShard) {
	w.mu.Lock()
	w.n++
	w.mu.Unlock()
	s.after(w.end)
}

// end is the end of one wait.
func (w *barrier) end(err error) {
	w.mu.Lock()
	w.n--
	if err != nil {
		w.err = err
	}
	last := w.n == 0
	w.mu.Unlock()
	if last {
		w.done(w.err)
	}
}
