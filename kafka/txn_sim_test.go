package kafka

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/sim"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// The simulation has a broker with the coordinator of one transactional id and a few partitions, which crashes, and
// producers with that id of which each believes that it is the current one. Requests are lost, come twice, and overtake each
// other where the version of transactions is made for that. What is checked is what a reader of committed records sees.

// simMutant is something that the shell around the machine does wrong.
type simMutant int

const (
	noMutant      simMutant = iota
	earlyAnswer             // does not wait until a record is durable
	earlyWritten            // does not wait until a marker is durable
	noResume                // does not resume after a restart
	noGuard                 // does not ask the coordinator before records are written
	oldVersion              // takes clients of which requests overtake each other for old ones, whose epochs stay
	reversedWrite           // keeps the first of the records instead of the last
)

// simEntry is a batch or a marker in a partition.
type simEntry struct {
	p       ProducerEpoch
	marker  bool
	commit  bool
	seq     int
	txn     int // that the record belongs to
	version int16
}

// simPartition is the log of a partition with what it knows of producers.
type simPartition struct {
	id      TopicPartition
	log     []simEntry
	durable int

	// What follows from the log.
	epoch  map[kafkawire.ProducerID]int16
	seqs   map[kafkawire.ProducerID]int
	open   map[kafkawire.ProducerID]bool
	guards map[kafkawire.ProducerID]int
	guard  int
}

func (p *simPartition) replay(log []simEntry) {
	p.log, p.durable = nil, len(log)
	p.epoch, p.seqs = make(map[kafkawire.ProducerID]int16), make(map[kafkawire.ProducerID]int)
	p.open, p.guards = make(map[kafkawire.ProducerID]bool), make(map[kafkawire.ProducerID]int)
	for _, e := range log {
		p.apply(e)
	}
}

func (p *simPartition) apply(e simEntry) {
	id := e.p.ID
	if old, ok := p.epoch[id]; !ok || old != e.p.Epoch {
		p.seqs[id] = -1
	}
	p.epoch[id] = e.p.Epoch
	p.open[id] = !e.marker
	delete(p.guards, id)
	if !e.marker {
		p.seqs[id] = e.seq
	}
	p.log = append(p.log, e)
}

// write appends records, or a marker, as the log of a broker does.
func (p *simPartition) write(e simEntry, guard int, force bool) kafkawire.ErrorCode {
	epoch, known := p.epoch[e.p.ID]
	open := p.open[e.p.ID]
	switch {
	case known && e.p.Epoch < epoch:
		return kafkawire.ErrInvalidProducerEpoch
	case e.marker:
		if known && e.version >= 2 && e.p.Epoch == epoch && open {
			return kafkawire.ErrInvalidProducerEpoch
		}
	case known && e.p.Epoch == epoch && e.seq <= p.seqs[e.p.ID]:
		return 0 // there already
	case !force && (!open || epoch != e.p.Epoch) && (guard == 0 || p.guards[e.p.ID] != guard):
		return kafkawire.ErrInvalidTxnState
	case known && e.p.Epoch == epoch && e.seq != p.seqs[e.p.ID]+1, (!known || epoch != e.p.Epoch) && e.seq != 0:
		return kafkawire.ErrOutOfOrderSequenceNumber
	}
	p.apply(e)
	return 0
}

// committed returns how often each transaction's record is visible.
func (p *simPartition) committed() map[int]int {
	seen, open := make(map[int]int), make(map[kafkawire.ProducerID][]int)
	for _, e := range p.log {
		switch {
		case !e.marker:
			open[e.p.ID] = append(open[e.p.ID], e.txn)
		default:
			if e.commit {
				for _, n := range open[e.p.ID] {
					seen[n]++
				}
			}
			delete(open, e.p.ID)
		}
	}
	return seen
}

// simBroker is the process with the coordinator.
type simBroker struct {
	w      *sim.World
	mutant simMutant
	parts  []*simPartition
	nextID kafkawire.ProducerID

	log     [][]byte // of the coordinator: values; all of it is replayed
	durable int

	t       *Txn
	life    int
	request uint64
	answers map[uint64]func(TxnEvent)
	crashes int
}

func (b *simBroker) boot() {
	b.life++
	b.t, b.answers = new(Txn), make(map[uint64]func(TxnEvent))
	for _, p := range b.parts {
		p.replay(p.log[:p.durable:p.durable])
	}
	b.log = b.log[:b.durable:b.durable]
	if len(b.log) > 0 {
		last := b.log[len(b.log)-1]
		if b.mutant == reversedWrite {
			last = b.log[0]
		}
		r, err := ReadTxnValue(last)
		if err != nil {
			panic(err)
		}
		b.t.Restore(r)
	}
	if b.mutant != noResume {
		b.do(func(t *Txn) { t.Resume() })
	}
}

// crash throws away what is not durable, but perhaps a part of it.
func (b *simBroker) crash() {
	b.crashes++
	b.durable += b.w.Rand.IntN(len(b.log) - b.durable + 1)
	for _, p := range b.parts {
		p.durable += b.w.Rand.IntN(len(p.log) - p.durable + 1)
	}
	b.w.Logf("crash: %d records, %v", b.durable, b.t.rec.State)
	b.boot()
}

// later calls f in a while, if the process lives.
func (b *simBroker) later(d time.Duration, f func()) {
	life := b.life
	b.w.After(d, func() {
		if b.life == life {
			f()
		}
	})
}

// do calls the machine and does what it wants.
func (b *simBroker) do(f func(t *Txn)) {
	life := b.life
	f(b.t)
	for e, ok := b.t.Next(); ok; e, ok = b.t.Next() {
		switch e.Kind {
		case TxnReply:
			if f := b.answers[e.Request]; f != nil {
				delete(b.answers, e.Request)
				f(e)
			}
		case TxnWrite:
			value, err := e.Record.AppendValue(nil)
			if err != nil {
				panic(err)
			}
			b.persist(value, e.Token)
		case TxnMarkers:
			for _, tp := range e.Partitions {
				b.mark(tp, e)
			}
		}
		if b.life != life {
			return
		}
	}
	if at := b.t.Timeout(); !at.IsZero() {
		b.w.At(at, func() {
			if b.life == life && b.t.Timeout().Equal(at) {
				b.do(func(t *Txn) { t.Advance(b.w.Now()) })
			}
		})
	}
}

func (b *simBroker) persist(value []byte, token uint64) {
	if b.w.Chance(0.03) {
		b.later(0, func() { b.do(func(t *Txn) { t.Failed(b.w.Now(), token, kafkawire.ErrCoordinatorNotAvailable) }) })
		return
	}
	b.log = append(b.log, value)
	end := len(b.log)
	if b.w.Crash("append") {
		b.crash()
		return
	}
	done := func() { b.do(func(t *Txn) { t.Persisted(b.w.Now(), token) }) }
	if b.mutant == earlyAnswer {
		b.later(0, done)
		return
	}
	b.later(b.w.Between(0, 20*time.Millisecond), func() {
		b.durable = max(b.durable, end)
		if b.w.Crash("sync") {
			b.crash()
			return
		}
		done()
	})
}

func (b *simBroker) mark(tp TopicPartition, e TxnEvent) {
	p := b.parts[tp.Partition]
	m := simEntry{p: e.Producer, marker: true, commit: e.Commit, version: e.Version}
	if b.w.Chance(0.1) || p.write(m, 0, false) != 0 {
		b.later(0, func() { b.do(func(t *Txn) { t.Unwritten(b.w.Now(), e.Token, tp) }) })
		return
	}
	end := len(p.log)
	done := func() {
		life := b.life
		b.do(func(t *Txn) { t.Written(b.w.Now(), e.Token, tp) })
		if b.life == life && b.w.Chance(0.1) {
			b.later(b.w.Between(0, time.Second), func() { b.do(func(t *Txn) { t.Written(b.w.Now(), e.Token, tp) }) })
		}
	}
	if b.mutant == earlyWritten {
		b.later(0, done)
		return
	}
	b.later(b.w.Between(0, 20*time.Millisecond), func() {
		p.durable = max(p.durable, end)
		if b.w.Crash("marker") {
			b.crash()
			return
		}
		done()
	})
}

// seenAs is the version of transactions that the shell takes a client's for.
func (b *simBroker) seenAs(version int16) int16 {
	if b.mutant == oldVersion {
		return 1
	}
	return version
}

// ask has the machine handle a request.
func (b *simBroker) ask(answer func(TxnEvent), f func(t *Txn, request uint64, fresh kafkawire.ProducerID)) {
	b.request++
	request := b.request
	b.answers[request] = answer
	fresh := kafkawire.ProducerID(-1)
	if b.t.NeedsProducerID() {
		b.nextID++ // blocks of ids are durable before they are used
		fresh = b.nextID
	}
	b.do(func(t *Txn) { f(t, request, fresh) })
}

// produce handles the records of a transaction for a partition.
func (b *simBroker) produce(tp TopicPartition, e simEntry, version int16, answer func(kafkawire.ErrorCode)) {
	p := b.parts[tp.Partition]
	add := func(guard int) {
		code := p.write(e, guard, b.mutant == noGuard)
		if code != 0 {
			answer(code)
			return
		}
		end := len(p.log)
		b.later(b.w.Between(0, 20*time.Millisecond), func() {
			p.durable = max(p.durable, end)
			if b.w.Crash("produce") {
				b.crash()
				return
			}
			answer(0)
		})
	}
	epoch, known := p.epoch[e.p.ID]
	switch {
	case known && e.p.Epoch < epoch:
		answer(kafkawire.ErrInvalidProducerEpoch)
		return
	case p.open[e.p.ID] && epoch == e.p.Epoch, b.mutant == noGuard:
		add(0)
		return
	}
	if p.guards[e.p.ID] == 0 {
		p.guard++
		p.guards[e.p.ID] = p.guard
	}
	guard := p.guards[e.p.ID]
	if version < 2 {
		if code := b.t.Verify(e.p, tp); code != 0 {
			answer(code)
			return
		}
		b.later(b.w.Between(0, 5*time.Millisecond), func() { add(guard) })
		return
	}
	b.ask(func(r TxnEvent) {
		if r.Code != 0 {
			answer(r.Code)
			return
		}
		add(guard)
	}, func(t *Txn, request uint64, _ kafkawire.ProducerID) {
		t.AddPartitions(b.w.Now(), request, e.p, []TopicPartition{tp}, version)
	})
}

// simTxn is a transaction as its producer sees it.
type simTxn struct {
	n         int
	parts     []TopicPartition
	ended     bool // the end was asked for
	commit    bool
	confirmed bool // the end was acknowledged
}

// simProducer is a producer; it does one thing after the other.
type simProducer struct {
	w       *sim.World
	b       *simBroker
	name    int
	version int16
	p       ProducerEpoch
	seqs    map[int32]int
	step    int // counts the requests, so that late answers are passed over
	fenced  bool
	done    func(*simTxn)
	left    int // transactions
	number  func() int
}

// call sends a request until an answer comes that is not one to try again.
func (c *simProducer) call(send func(answer func(kafkawire.ErrorCode, ProducerEpoch)), then func(kafkawire.ErrorCode, ProducerEpoch)) {
	c.step++
	step, attempt := c.step, 0
	var try func()
	again := func(d time.Duration) {
		attempt++
		this := attempt
		c.w.After(d, func() {
			if c.step == step && attempt == this {
				try()
			}
		})
	}
	answer := func(code kafkawire.ErrorCode, p ProducerEpoch) {
		c.w.After(c.w.Between(0, 5*time.Millisecond), func() {
			if c.step != step || c.w.Chance(0.03) { // lost
				return
			}
			switch code {
			case kafkawire.ErrConcurrentTransactions, kafkawire.ErrCoordinatorNotAvailable:
				again(c.w.Between(5*time.Millisecond, 20*time.Millisecond))
				return
			}
			c.step++
			then(code, p)
		})
	}
	deliver := func(most time.Duration) {
		c.w.After(c.w.Between(0, most), func() {
			// Of version 1, nothing that is late arrives when the producer has gone on: connections keep the order.
			if c.version >= 2 || c.step == step {
				send(answer)
			}
		})
	}
	try = func() {
		if !c.w.Chance(0.03) {
			deliver(5 * time.Millisecond)
		}
		if c.w.Chance(0.1) {
			deliver(300 * time.Millisecond)
		}
		again(150 * time.Millisecond)
	}
	try()
}

// init begins the producer's life.
func (c *simProducer) init() {
	// A late duplicate of this request would fence whoever came afterwards, so there is none.
	c.call(func(answer func(kafkawire.ErrorCode, ProducerEpoch)) {
		if c.p.ID >= 0 {
			return
		}
		c.b.ask(func(e TxnEvent) { answer(e.Code, e.Producer) }, func(t *Txn, request uint64, fresh kafkawire.ProducerID) {
			t.InitProducerID(c.w.Now(), request, 400, ProducerEpoch{-1, -1}, fresh)
		})
	}, func(code kafkawire.ErrorCode, p ProducerEpoch) {
		if code != 0 {
			panic(fmt.Sprintf("init: %v", code))
		}
		c.p, c.seqs = p, make(map[int32]int)
		c.w.Logf("producer %d has %v", c.name, p)
		c.begin()
	})
}

func (c *simProducer) begin() {
	if c.left--; c.left < 0 {
		c.fenced = true
		return
	}
	x := &simTxn{n: c.number(), commit: c.w.Chance(0.7)}
	for _, i := range c.w.Rand.Perm(len(c.b.parts))[:1+c.w.Rand.IntN(len(c.b.parts))] {
		x.parts = append(x.parts, c.b.parts[i].id)
	}
	c.done(x)
	c.produce(x, 0)
}

// produce writes a record to each partition, one after the other.
func (c *simProducer) produce(x *simTxn, i int) {
	if i == len(x.parts) {
		if c.w.Chance(0.1) { // dawdles until the transaction is aborted, perhaps
			c.w.After(c.w.Between(0, time.Second), func() { c.end(x) })
			return
		}
		c.end(x)
		return
	}
	tp := x.parts[i]
	write := func() {
		e := simEntry{p: c.p, seq: c.seqs[tp.Partition], txn: x.n}
		c.call(func(answer func(kafkawire.ErrorCode, ProducerEpoch)) {
			c.b.produce(tp, e, c.version, func(code kafkawire.ErrorCode) { answer(code, ProducerEpoch{}) })
		}, func(code kafkawire.ErrorCode, _ ProducerEpoch) {
			if code != 0 {
				c.w.Logf("producer %d: produce: %v", c.name, code)
				c.fenced = true
				return
			}
			c.seqs[tp.Partition]++
			c.produce(x, i+1)
		})
	}
	if c.version >= 2 {
		write()
		return
	}
	p := c.p
	c.call(func(answer func(kafkawire.ErrorCode, ProducerEpoch)) {
		c.b.ask(func(e TxnEvent) { answer(e.Code, e.Producer) }, func(t *Txn, request uint64, _ kafkawire.ProducerID) {
			t.AddPartitions(c.w.Now(), request, p, []TopicPartition{tp}, c.version)
		})
	}, func(code kafkawire.ErrorCode, _ ProducerEpoch) {
		if code != 0 {
			c.w.Logf("producer %d: add: %v", c.name, code)
			c.fenced = true
			return
		}
		write()
	})
}

func (c *simProducer) end(x *simTxn) {
	x.ended = true
	p := c.p
	c.call(func(answer func(kafkawire.ErrorCode, ProducerEpoch)) {
		c.b.ask(func(e TxnEvent) { answer(e.Code, e.Producer) }, func(t *Txn, request uint64, fresh kafkawire.ProducerID) {
			t.End(c.w.Now(), request, p, x.commit, c.b.seenAs(c.version), fresh)
		})
	}, func(code kafkawire.ErrorCode, next ProducerEpoch) {
		if code != 0 {
			c.w.Logf("producer %d: end of %d: %v", c.name, x.n, code)
			c.fenced = true
			return
		}
		x.confirmed = true
		c.w.Logf("producer %d: %d ended, commit %v, next %v", c.name, x.n, x.commit, next)
		if next.ID >= 0 && next != c.p {
			c.p, c.seqs = next, make(map[int32]int)
		}
		c.begin()
	})
}

// simCount tells what happened in simulations.
type simCount struct{ committed, not, crashes, rotations int }

// simulateTxn runs a world and returns what is wrong.
func simulateTxn(w *sim.World, mutant simMutant, total *simCount) error {
	b := &simBroker{w: w, mutant: mutant}
	for i := range 3 {
		b.parts = append(b.parts, &simPartition{id: TopicPartition{"t", int32(i)}})
	}
	b.boot()
	if w.Chance(0.3) { // near the end of the epochs
		b.nextID = 7
		r := TxnRecord{ProducerID: 7, Epoch: int16(32750 + w.Rand.IntN(18)), PreviousID: 7, NextID: -1, State: TxnCompleteAbort, Started: 1}
		v, err := r.AppendValue(nil)
		if err != nil {
			return err
		}
		b.log, b.durable = [][]byte{v}, 1
		b.boot()
	}
	var txns []*simTxn
	n := 0
	var producers []*simProducer
	var start func()
	start = func() {
		c := &simProducer{w: w, b: b, name: len(producers), version: int16(1 + w.Rand.IntN(2)), p: ProducerEpoch{-1, -1}, left: 2 + w.Rand.IntN(15)}
		c.done = func(x *simTxn) { txns = append(txns, x) }
		c.number = func() int { n++; return n }
		producers = append(producers, c)
		c.init()
		if len(producers) < 4 {
			w.After(w.Between(0, 2*time.Second), start)
		}
	}
	start()
	w.CrashRate = 0.02
	w.Run(100_000, func() bool { return w.Now().Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) > 20*time.Second })
	w.CrashRate = 0
	b.crash()
	end := w.Now().Add(30 * time.Second)
	w.Run(100_000, func() bool { return w.Now().After(end) })
	if s := b.t.rec.State; s == TxnOngoing || s.deciding() {
		return fmt.Errorf("%v at the end", s)
	}
	seen := make([]map[int]int, len(b.parts))
	for i, p := range b.parts {
		seen[i] = p.committed()
		for id, open := range p.open {
			if open {
				return fmt.Errorf("%v has an open transaction of %v", p.id, id)
			}
		}
	}
	commits, aborts := 0, 0
	for _, x := range txns {
		got := 0
		for i := range seen {
			c := seen[i][x.n]
			if c > 1 || c == 1 && !slices.Contains(x.parts, b.parts[i].id) {
				return fmt.Errorf("transaction %d is %d times in %v", x.n, c, b.parts[i].id)
			}
			got += c
		}
		switch {
		case got != 0 && got != len(x.parts):
			return fmt.Errorf("transaction %d is visible in %d of %d partitions (%+v)", x.n, got, len(x.parts), *x)
		case got != 0 && (!x.ended || !x.commit):
			return fmt.Errorf("transaction %d is visible and was not committed (%+v)", x.n, *x)
		case got == 0 && x.confirmed && x.commit:
			return fmt.Errorf("transaction %d was committed and is not visible", x.n)
		}
		if x.confirmed && x.commit {
			commits++
		} else {
			aborts++
		}
	}
	total.committed += commits
	total.not += aborts
	total.crashes += b.crashes
	if b.nextID > 1 {
		total.rotations++
	}
	if mutant == noMutant && commits == 0 && len(txns) > 20 {
		return fmt.Errorf("no transaction of %d was committed", len(txns))
	}
	return nil
}

func TestTxnSimulation(t *testing.T) {
	var total simCount
	sim.Run(t, 300, func(t *testing.T, w *sim.World) {
		if err := simulateTxn(w, noMutant, &total); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%+v", total)
}

// TestTxnSimulationFindsMutants shows that the simulation sees what is done too early or not at all.
func TestTxnSimulationFindsMutants(t *testing.T) {
	for m := earlyAnswer; m <= reversedWrite; m++ {
		found := -1
		for seed := range uint64(300) {
			if simulateTxn(sim.New(seed), m, new(simCount)) != nil {
				found = int(seed)
				break
			}
		}
		if t.Logf("mutant %d: seed %d", m, found); found < 0 {
			t.Errorf("mutant %d is not found", m)
		}
	}
}
