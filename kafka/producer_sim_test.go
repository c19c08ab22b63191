package kafka_test

import (
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/sim"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestSequencerSimulation sends batches to a partition whose leader moves, refuses, answers late or not at all, over
// connections that are cut while requests are under way, some of which arrive all the same, after those of later
// connections. Producers crash and begin anew. Whatever happens, the log has each record once and in order, what was
// reported as appended is there, and what was reported as surely failed is not.
func TestSequencerSimulation(t *testing.T) {
	sim.Run(t, 3000, func(t *testing.T, w *sim.World) {
		s := &sequencerWorld{t: t, w: w, producers: make(map[kafkawire.ProducerID]*simProducer), at: make(map[int]int)}
		s.calm = w.Chance(0.2)
		s.old = w.Chance(0.2)
		s.begin()
		w.Run(200_000, func() bool { return s.made >= 60 && len(s.open) == 0 })
		if s.made < 60 || len(s.open) > 0 {
			t.Fatalf("%d batches made, %d not decided", s.made, len(s.open))
		}
		s.check()
	})
}

// A sequencerWorld has a partition, a producer that writes to it and the network between.
type sequencerWorld struct {
	t    *testing.T
	w    *sim.World
	calm bool // nothing goes wrong
	old  bool // the broker forgets producers and says so

	// The partition.
	log       []int       // records
	lives     []int       // of the producers that sent them
	at        map[int]int // record → how often it is in the log
	producers map[kafkawire.ProducerID]*simProducer
	leader    int
	under     int // requests under way

	// The producer.
	seq      *kafka.Sequencer
	life     int // counts producers
	nextID   kafkawire.ProducerID
	believed int // leader
	conn     *simConn
	made     int
	records  int
	open     []*simBatch // not decided, in order
	acked    []*simBatch
	refused  []*simBatch // surely not in the log
	pumping  bool
}

type simProducer struct {
	epoch int16
	last  []simRange // the last few
}

type simRange struct{ first, last int32 }

type simBatch struct {
	id      uint64
	first   int // record
	count   int
	made    time.Time
	unlucky bool // the broker does not like it
	large   bool // the broker finds it too large
}

// simConn is a connection to a broker. Requests arrive in order.
type simConn struct {
	to      int
	cut     bool
	arrival time.Time
	answer  time.Time
	pending map[*simAttempt]bool
}

type simAttempt struct {
	s    kafka.Sending
	b    simBatch
	life int
	void bool // it never arrives
}

func (s *sequencerWorld) begin() {
	s.life++
	s.nextID++
	s.seq = new(kafka.Sequencer)
	s.seq.Limit = s.w.Rand.IntN(6)
	epoch := int16(0)
	if s.w.Chance(0.1) {
		epoch = 32766
	}
	s.seq.Use(s.nextID, epoch)
	s.open, s.conn = nil, nil
	s.pump()
}

// pump sends what can be sent, now and again.
func (s *sequencerWorld) pump() {
	if s.pumping {
		return
	}
	s.pumping = true
	s.w.After(s.w.Between(0, 20*time.Millisecond), func() {
		s.pumping = false
		s.send()
		if s.made < 60 || len(s.open) > 0 {
			s.pump()
		}
	})
}

func (s *sequencerWorld) send() {
	w := s.w
	if !s.calm && s.made < 60 {
		switch {
		case w.Chance(0.01):
			s.leader = w.Rand.IntN(3)
		case w.Chance(0.01) && s.conn != nil:
			s.cut(s.conn)
		case w.Chance(0.0005):
			w.Logf("the producer crashes")
			if s.conn != nil {
				s.conn.cut = true
			}
			s.begin()
			return
		case s.old && len(s.open) == 0 && s.under == 0 && w.Chance(0.05): // that takes days
			delete(s.producers, s.nextID)
		}
	}
	if w.Chance(0.1) {
		s.believed = s.leader
	}
	if s.seq.NeedsIdentity() {
		s.nextID++
		s.seq.Use(s.nextID, 0)
	}
	for _, b := range s.open {
		if w.Now().Sub(b.made) > 30*time.Second {
			s.seq.GiveUp(b.id, kafkawire.ErrRequestTimedOut)
		}
	}
	s.drain()
	if s.conn == nil || s.conn.cut || s.conn.to != s.believed {
		s.conn = &simConn{to: s.believed, pending: make(map[*simAttempt]bool)}
	}
	for {
		id, ok := s.seq.Waiting()
		if !ok {
			break
		}
		b := s.batch(id)
		if b.large && b.count > 1 && b.made != w.Now() {
			second, ok := s.seq.Split(id, int32(b.count/2))
			if !ok {
				s.t.Fatal("no split")
			}
			s.split(b, second)
		}
		s.attempt(s.seq.Again(id), *b)
	}
	for s.seq.Open() && s.made < 60 && w.Chance(0.7) {
		b := &simBatch{first: s.records, count: 1 + w.Rand.IntN(4), made: w.Now()}
		b.unlucky = !s.calm && w.Chance(0.05)
		b.large = !s.calm && w.Chance(0.05)
		s.made++
		s.records += b.count
		x := s.seq.Send(int32(b.count))
		b.id = x.ID
		s.open = append(s.open, b)
		s.attempt(x, *b)
	}
}

func (s *sequencerWorld) batch(id uint64) *simBatch {
	for _, b := range s.open {
		if b.id == id {
			return b
		}
	}
	s.t.Fatalf("no batch %d", id)
	return nil
}

func (s *sequencerWorld) split(b *simBatch, second uint64) {
	rest := &simBatch{id: second, first: b.first + b.count/2, count: b.count - b.count/2, made: b.made}
	b.count /= 2
	b.large = false
	for i, x := range s.open {
		if x == b {
			s.open = append(s.open[:i+1], append([]*simBatch{rest}, s.open[i+1:]...)...)
			return
		}
	}
}

func (s *sequencerWorld) attempt(x kafka.Sending, b simBatch) {
	w, c := s.w, s.conn
	if x.Producer.ID != s.nextID {
		s.t.Fatalf("sent for producer %d", x.Producer.ID)
	}
	a := &simAttempt{s: x, b: b, life: s.life}
	c.pending[a] = true
	delay := w.Between(time.Millisecond, 10*time.Millisecond)
	if !s.calm && w.Chance(0.02) {
		delay = w.Between(0, 5*time.Second) // no request is under way for longer than that
	}
	at := w.Now().Add(delay)
	if at.Before(c.arrival) {
		at = c.arrival
	}
	c.arrival = at
	s.under++
	w.At(at, func() {
		s.under--
		if a.void {
			return
		}
		code := s.append(c.to, a)
		w.Logf("%v: batch %d attempt %d %v: %v", w.Now().Format("05.000"), x.ID, x.Attempt, x.Producer, code)
		answer := w.Now().Add(w.Between(time.Millisecond, 10*time.Millisecond))
		if answer.Before(c.answer) {
			answer = c.answer
		}
		c.answer = answer
		w.At(answer, func() {
			if c.cut || a.life != s.life {
				return
			}
			delete(c.pending, a)
			s.receive(a, code)
		})
	})
}

func (s *sequencerWorld) receive(a *simAttempt, code kafkawire.ErrorCode) {
	if code == kafkawire.ErrMessageTooLarge && a.b.count > 1 {
		s.seq.Lost(a.s.ID, a.s.Attempt, true) // it is split when it is sent again
	} else {
		s.seq.Receive(a.s.ID, a.s.Attempt, code)
	}
	if s.w.Chance(0.1) { // what was said twice changes nothing
		s.seq.Receive(a.s.ID, a.s.Attempt, kafkawire.ErrInvalidRecord)
		s.seq.Lost(a.s.ID, a.s.Attempt, false)
	}
	if code.StaleMetadata() {
		s.believed = s.leader
	}
	s.drain()
}

// cut ends a connection: what is under way is lost for the producer, and arrives all the same or does not.
func (s *sequencerWorld) cut(c *simConn) {
	c.cut = true
	for _, b := range s.open { // in an order that the seed decides
		for a := range c.pending {
			if a.b.id == b.id {
				a.void = s.w.Chance(0.5)
				s.seq.Lost(a.s.ID, a.s.Attempt, a.void && s.w.Chance(0.5))
			}
		}
	}
}

// append is what the broker does with a batch.
func (s *sequencerWorld) append(broker int, a *simAttempt) kafkawire.ErrorCode {
	p := a.s.Producer
	last := kafka.AddSequence(p.Sequence, int32(a.b.count)-1)
	if broker != s.leader {
		return kafkawire.ErrNotLeaderOrFollower
	}
	if !s.calm && s.w.Chance(0.02) {
		return kafkawire.ErrNotEnoughReplicas
	}
	if a.b.unlucky {
		return kafkawire.ErrInvalidRecord
	}
	if a.b.large {
		return kafkawire.ErrMessageTooLarge
	}
	st := s.producers[p.ID]
	switch {
	case st == nil && s.old && p.Sequence != 0:
		return kafkawire.ErrUnknownProducerID
	case st == nil:
		st = &simProducer{epoch: p.Epoch}
		s.producers[p.ID] = st
	case p.Epoch < st.epoch:
		return kafkawire.ErrInvalidProducerEpoch
	case p.Epoch > st.epoch:
		if p.Sequence != 0 {
			return kafkawire.ErrOutOfOrderSequenceNumber
		}
		*st = simProducer{epoch: p.Epoch}
	default:
		for _, r := range st.last {
			if r.first == p.Sequence && r.last == last {
				if s.w.Chance(0.2) {
					return kafkawire.ErrDuplicateSequenceNumber
				}
				return 0
			}
		}
		if n := len(st.last); n > 0 && p.Sequence != kafka.AddSequence(st.last[n-1].last, 1) {
			return kafkawire.ErrOutOfOrderSequenceNumber
		}
	}
	st.last = append(st.last, simRange{p.Sequence, last})
	if len(st.last) > kafka.MaxInFlight {
		st.last = st.last[1:]
	}
	for i := range a.b.count {
		s.log = append(s.log, a.b.first+i)
		s.lives = append(s.lives, a.life)
		s.at[a.b.first+i]++
	}
	if !s.calm && s.w.Chance(0.02) {
		return []kafkawire.ErrorCode{kafkawire.ErrRequestTimedOut, kafkawire.ErrNotEnoughReplicasAfterAppend, kafkawire.ErrNotLeaderOrFollower}[s.w.Rand.IntN(3)]
	}
	return 0
}

// drain takes what became of batches.
func (s *sequencerWorld) drain() {
	for {
		r, ok := s.seq.Next()
		if !ok {
			return
		}
		b := s.open[0]
		s.open = s.open[1:]
		if b.id != r.ID {
			s.t.Fatalf("batch %d came out before %d", r.ID, b.id)
		}
		switch {
		case r.Code == 0:
			s.acked = append(s.acked, b)
		case s.calm:
			s.t.Fatalf("batch %d: %v", r.ID, r.Code)
		case !r.Doubt:
			s.refused = append(s.refused, b)
		}
	}
}

func (s *sequencerWorld) check() {
	before := make(map[int]int)
	for i, r := range s.log {
		life := s.lives[i]
		if last, ok := before[life]; ok && last >= r {
			s.t.Errorf("record %d after %d", r, last)
		}
		before[life] = r
	}
	for _, b := range s.acked {
		for i := range b.count {
			if s.at[b.first+i] != 1 {
				s.t.Errorf("record %d is in the log %d times", b.first+i, s.at[b.first+i])
			}
		}
	}
	for _, b := range s.refused {
		for i := range b.count {
			if s.at[b.first+i] != 0 {
				s.t.Errorf("record %d was refused and is in the log", b.first+i)
			}
		}
	}
}
