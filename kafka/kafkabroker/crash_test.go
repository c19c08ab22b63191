package kafkabroker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// The crash tests run a whole broker on a file system that knows what is synced, under idempotent and transactional load. At
// operations of the file system, and when a client has got an acknowledgement, the state after a loss of power at this
// moment is set aside with what the clients know then. Later a broker is opened on each of these states: everything that was
// acknowledged must be there, once, transactions whole or not at all, and their offsets with them.

// crashBatch is a batch of an idempotent producer.
type crashBatch struct {
	tp     kafka.TopicPartition
	p      kafka.ProducerEpoch
	seq    int32
	values []string
	acked  bool
}

// crashTxn is a transaction, as its producer knows it.
type crashTxn struct {
	id        string
	n         int
	version   int
	p         kafka.ProducerEpoch
	values    map[kafka.TopicPartition][]string // that were acknowledged, or are being written
	offset    bool                              // it commits the offset n
	ended     bool                              // the end was asked for
	commit    bool
	confirmed bool // the end was acknowledged
	given     bool // up: there was an error
}

// crashKnown is what the clients know.
type crashKnown struct {
	batches []*crashBatch
	txns    []*crashTxn
	asked   int64 // offset that a group commits
	acked   int64 // and for which there was an answer
	topics  []string
}

func (k *crashKnown) clone() *crashKnown {
	c := *k
	c.topics = slices.Clone(k.topics)
	c.batches, c.txns = nil, nil
	for _, b := range k.batches {
		n := *b
		c.batches = append(c.batches, &n)
	}
	for _, x := range k.txns {
		n := *x
		n.values = make(map[kafka.TopicPartition][]string)
		for tp, list := range x.values {
			n.values[tp] = slices.Clone(list)
		}
		c.txns = append(c.txns, &n)
	}
	return &c
}

// crashMoment is a loss of power: what is on disk and what the clients know.
type crashMoment struct {
	why   string
	disk  *vfs.Mem
	known *crashKnown
	seed  uint64
}

// crashWorld is a broker with clients.
type crashWorld struct {
	t    *testing.T
	b    *Broker
	disk *vfs.Mem
	stop atomic.Bool

	mu      sync.Mutex
	rnd     *rand.Rand
	known   *crashKnown
	most    atomic.Int64 // moments
	drop    bool         // a loss of power loses all that was not synced
	rate    int          // one of so many acknowledgements, and of ten times as many operations, is a moment
	moments []crashMoment
}

const (
	crashDir     = "data"
	crashTimeout = 10 * time.Second
)

func crashOptions(disk *vfs.Mem, seed uint64) *Options {
	o := smallOptions()
	o.Dir, o.fs = crashDir, disk
	if seed%2 == 0 {
		o.logs.syncAllFrom = -1
	}
	return o
}

// know changes what the clients know, and perhaps a loss of power follows.
func (w *crashWorld) know(why string, f func(k *crashKnown)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.known)
	if why != "" && int64(len(w.moments)) < w.most.Load() && w.rnd.IntN(w.rate) == 0 {
		w.moment(why)
	}
}

// moment sets a loss of power aside. The caller holds mu.
func (w *crashWorld) moment(why string) {
	m := crashMoment{why: why, known: w.known.clone(), seed: w.rnd.Uint64()}
	if m.disk = w.disk.DropClone(); !w.drop && w.rnd.IntN(2) == 0 {
		m.disk = w.disk.CrashClone(m.seed)
	}
	w.moments = append(w.moments, m)
}

// operation may make a loss of power of an operation of the file system.
func (w *crashWorld) operation(op vfs.Op, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rnd.IntN(10*w.rate) == 0 {
		w.moment(fmt.Sprintf("%v %s", op, name))
	}
}

func (w *crashWorld) random(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.IntN(n)
}

// openCrash opens a broker with topics.
func openCrash(t *testing.T, seed uint64, rate int) *crashWorld {
	w := &crashWorld{t: t, disk: vfs.NewMem(), rnd: rand.New(rand.NewPCG(seed, 1)), rate: rate, known: &crashKnown{}}
	w.most.Store(1000)
	b, err := Open(crashOptions(w.disk, seed))
	if err != nil {
		t.Fatal(err)
	}
	w.b = b
	p := connect(t, b)
	p.mustCreate("plain", 2)
	p.mustCreate("txn", 3)
	for _, name := range []string{offsetsTopic, transactionsTopic} {
		if _, err := b.internalTopic(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range b.logs.all() {
		c := *l.config()
		c.segmentBytes = 3000
		l.setConfig(&c)
	}
	return w
}

// load runs clients until each has taken some steps or stop is set.
func (w *crashWorld) load(steps int) {
	// A broker whose storage has failed does nothing any more.
	defer time.AfterFunc(time.Minute, func() { w.stop.Store(true) }).Stop()
	var wg sync.WaitGroup
	for i := range 3 {
		p := connect(w.t, w.b)
		wg.Go(func() { w.idempotent(p, i, steps) })
	}
	for i := range 4 {
		c := txnProducer(w.t, w.b, fmt.Sprint("tx", i), 1+i%2)
		wg.Go(func() { w.transactional(c, steps) })
	}
	p := connect(w.t, w.b)
	wg.Go(func() { w.committer(p, steps) })
	q := connect(w.t, w.b)
	wg.Go(func() { w.creator(q, steps/10) })
	wg.Wait()
}

// idempotent produces batches. It sends one again until it is acknowledged.
func (w *crashWorld) idempotent(p *peer, number, steps int) {
	var id kafka.ProducerEpoch
	for !w.stop.Load() {
		r := ask[*kafkawire.InitProducerIDResponse](p, &kafkawire.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1}, 5)
		if r.ErrorCode == noError {
			id = kafka.ProducerEpoch{ID: r.ProducerID, Epoch: r.ProducerEpoch}
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	var seqs [2]int32
	for n := 0; n < steps && !w.stop.Load(); {
		var list []*crashBatch
		var sent []int32
		for range 1 + w.random(4) {
			n++
			part := w.random(2)
			x := &crashBatch{tp: kafka.TopicPartition{Topic: "plain", Partition: int32(part)}, p: id, seq: seqs[part]}
			for i := range 1 + w.random(3) {
				x.values = append(x.values, fmt.Sprintf("p%d-%d-%d", number, n, i))
			}
			seqs[part] += int32(len(x.values))
			list = append(list, x)
			w.know("", func(k *crashKnown) { k.batches = append(k.batches, x) })
			sent = append(sent, p.send(x.request(), 9))
		}
		for i, x := range list {
			r := new(kafkawire.ProduceResponse)
			if err := p.receive(r, 9, sent[i]); err != nil {
				w.t.Error(err)
				return
			}
			if r.Responses[0].PartitionResponses[0].ErrorCode == noError {
				w.know("batch", func(*crashKnown) { x.acked = true })
			}
		}
		for _, x := range list {
			for !x.acked {
				if w.stop.Load() {
					return
				}
				if p.again(x) == noError {
					w.know("batch", func(*crashKnown) { x.acked = true })
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
		time.Sleep(time.Duration(w.random(3)) * time.Millisecond)
	}
}

// request makes a produce request of a batch.
func (x *crashBatch) request() *kafkawire.ProduceRequest {
	var b kafka.BatchWriter
	for _, v := range x.values {
		b.Add(time.Now().UnixMilli(), nil, []byte(v))
	}
	records, err := b.Append(nil, &kafka.BatchOptions{Producer: &kafka.Producer{ID: x.p.ID, Epoch: x.p.Epoch, Sequence: x.seq}})
	if err != nil {
		panic(err)
	}
	return produceTo(string(x.tp.Topic), x.tp.Partition, records)
}

// again sends a batch again.
func (p *peer) again(x *crashBatch) kafkawire.ErrorCode {
	return ask[*kafkawire.ProduceResponse](p, x.request(), 9).Responses[0].PartitionResponses[0].ErrorCode
}

// transactional runs transactions. After an error it begins anew, which ends what is open.
func (w *crashWorld) transactional(c *txnClient, steps int) {
	n := 0
	for n < steps && !w.stop.Load() {
		if c.p.ID < 0 {
			if c.init(noProducer()) != noError {
				time.Sleep(50 * time.Millisecond)
				continue
			}
		}
		n++
		x := &crashTxn{id: string(c.id), n: n, version: c.version, p: c.p, values: make(map[kafka.TopicPartition][]string)}
		w.know("", func(k *crashKnown) { k.txns = append(k.txns, x) })
		if !w.transaction(c, x) {
			w.know("", func(*crashKnown) { x.given = true })
			c.p = noProducer()
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(time.Duration(w.random(3)) * time.Millisecond)
	}
}

// transaction runs a transaction and reports whether all went well.
func (w *crashWorld) transaction(c *txnClient, x *crashTxn) bool {
	w.mu.Lock()
	order := w.rnd.Perm(3)[:1+w.rnd.IntN(3)]
	w.mu.Unlock()
	for i, part := range order {
		tp := kafka.TopicPartition{Topic: "txn", Partition: int32(part)}
		for j := range 1 + w.random(2) {
			v := fmt.Sprintf("%s-%d-%d%d", x.id, x.n, i, j)
			w.know("", func(*crashKnown) { x.values[tp] = append(x.values[tp], v) })
			if c.write("txn", tp.Partition, v) != noError {
				return false
			}
			w.know("write", func(*crashKnown) {})
		}
	}
	if w.random(2) == 0 {
		w.know("", func(*crashKnown) { x.offset = true })
		if c.offsets("g-"+x.id, "plain", 0, int64(x.n)) != noError {
			return false
		}
	}
	w.know("before the end", func(*crashKnown) { x.ended, x.commit = true, w.rnd.IntN(3) > 0 })
	if c.end(x.commit) != noError {
		return false
	}
	w.know("end", func(*crashKnown) { x.confirmed = true })
	return true
}

// committer commits offsets of a group without members.
func (w *crashWorld) committer(p *peer, steps int) {
	ask[*kafkawire.FindCoordinatorResponse](p, &kafkawire.FindCoordinatorRequest{CoordinatorKeys: []string{"plain"}}, 4)
	for n := int64(1); n <= int64(steps) && !w.stop.Load(); n++ {
		w.know("", func(k *crashKnown) { k.asked = n })
		m := &kafkawire.OffsetCommitRequest{GroupID: "plain", GenerationIDOrMemberEpoch: -1, Topics: []kafkawire.OffsetCommitRequestTopic{{
			Name: "plain", Partitions: []kafkawire.OffsetCommitRequestPartition{{CommittedOffset: n, CommittedLeaderEpoch: -1}},
		}}}
		if ask[*kafkawire.OffsetCommitResponse](p, m, 8).Topics[0].Partitions[0].ErrorCode == noError {
			w.know("offset", func(k *crashKnown) { k.acked = n })
		}
		time.Sleep(time.Duration(1+w.random(5)) * time.Millisecond)
	}
}

// creator makes topics.
func (w *crashWorld) creator(p *peer, steps int) {
	for n := range steps {
		if w.stop.Load() {
			return
		}
		name := fmt.Sprint("topic", n)
		if p.create(name, 1).ErrorCode == noError {
			w.know("topic", func(k *crashKnown) { k.topics = append(k.topics, name) })
		}
		time.Sleep(time.Duration(w.random(30)) * time.Millisecond)
	}
}

// failures are what a check found. It goes on after the first, so that mutants can be counted.
type failures []string

func (f *failures) add(format string, a ...any) { *f = append(*f, fmt.Sprintf(format, a...)) }

// checkAll checks losses of power until one is found that went wrong.
func checkAll(t *testing.T, moments []crashMoment) (f failures) {
	for i := range moments {
		// A bubble of its own, so that transactions do not time out before their moment is looked at.
		synctest.Test(t, func(t *testing.T) {
			for _, text := range moments[i].check(t) {
				f.add("moment %d: %s", i, text)
			}
		})
		if len(f) > 0 {
			return f
		}
	}
	return nil
}

// check opens a broker on what is left after a loss of power and compares.
func (m *crashMoment) check(t *testing.T) (f failures) {
	rnd := rand.New(rand.NewPCG(m.seed, 2))
	if rnd.IntN(3) == 0 {
		if !m.again(t, rnd, &f) {
			return f
		}
	}
	b, err := Open(crashOptions(m.disk, m.seed))
	if err != nil {
		f.add("%s: opened again: %v", m.why, err)
		return f
	}
	defer b.Close()
	p := connect(t, b)
	defer p.nc.Close()
	m.settled(b, &f)
	m.compare(p, &f, false)
	if len(f) > 0 {
		return f
	}
	if rnd.IntN(2) == 0 {
		m.goOn(t, b, p, &f)
	}
	time.Sleep(crashTimeout + 2*time.Minute) // the life before this one began at the same time, and took up to a minute
	m.settled(b, &f)
	m.compare(p, &f, true)
	return f
}

// again has the power lost again while a broker recovers. It reports whether the test can go on.
func (m *crashMoment) again(t *testing.T, rnd *rand.Rand, f *failures) bool {
	at, n := 1+rnd.IntN(150), 0
	var mu sync.Mutex
	var second *vfs.Mem
	m.disk.SetFail(func(vfs.Op, string) error {
		mu.Lock()
		defer mu.Unlock()
		if n++; n == at {
			second = m.disk.CrashClone(m.seed)
		}
		return nil
	})
	b, err := Open(crashOptions(m.disk, m.seed))
	if err != nil {
		f.add("%s: opened again: %v", m.why, err)
		return false
	}
	time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
	synctest.Wait()
	mu.Lock()
	if second == nil {
		second = m.disk.DropClone()
	}
	mu.Unlock()
	if err := b.Close(); err != nil {
		f.add("%s: close: %v", m.why, err)
		return false
	}
	m.disk = second
	return true
}

// settled waits until no decision waits for its markers.
func (m *crashMoment) settled(b *Broker, f *failures) {
	for range 100 {
		synctest.Wait()
		busy := slices.ContainsFunc(b.Transactions(), func(x Transaction) bool { return strings.HasPrefix(x.State, "Prepare") })
		if !busy {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	f.add("%s: decisions do not come to an end: %+v", m.why, b.Transactions())
}

// goOn has the clients do again what they got no answer for.
func (m *crashMoment) goOn(t *testing.T, b *Broker, p *peer, f *failures) {
	// As if the last acknowledgements had not arrived: five batches may be on the way.
	left := make(map[producedPlace]int)
	for _, x := range m.known.batches {
		left[producedPlace{x.tp, x.p.ID}]++
	}
	for _, x := range m.known.batches {
		at := producedPlace{x.tp, x.p.ID}
		if left[at]--; left[at] >= windowBatches {
			continue
		}
		if code := p.again(x); code != noError {
			f.add("%s: sent again: %+v: %v", m.why, *x, code)
		}
		x.acked = true
	}
	for _, x := range m.known.txns {
		if !x.ended || x.confirmed || x.given {
			continue
		}
		c := &txnClient{peer: p, id: kafkawire.TransactionalID(x.id), version: x.version, p: x.p}
		if code := c.end(x.commit); code != noError {
			f.add("%s: ended again: %+v: %v", m.why, *x, code)
			continue
		}
		x.confirmed = true
	}
	m.settled(b, f)
}

// compare looks whether all is there, once. At last, no transaction may be open.
func (m *crashMoment) compare(p *peer, f *failures, last bool) {
	k := m.known
	for _, name := range k.topics {
		if r := ask[*kafkawire.MetadataResponse](p, &kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{{Name: (*kafkawire.TopicName)(&name)}}}, 9); r.Topics[0].ErrorCode != noError {
			f.add("%s: topic %s is lost: %v", m.why, name, r.Topics[0].ErrorCode)
		}
	}
	got := make(map[kafka.TopicPartition]map[string]int) // positions
	for _, tp := range []kafka.TopicPartition{{Topic: "plain", Partition: 0}, {Topic: "plain", Partition: 1}, {Topic: "txn", Partition: 0}, {Topic: "txn", Partition: 1}, {Topic: "txn", Partition: 2}} {
		list, stable := p.committedRecords(string(tp.Topic), tp.Partition)
		got[tp] = make(map[string]int)
		for i, v := range list {
			if _, ok := got[tp][v]; ok {
				f.add("%s: %v has %s twice", m.why, tp, v)
			}
			got[tp][v] = i
		}
		if end := p.endOffset(tp); last && stable != end {
			f.add("%s: %v is stable up to %d of %d", m.why, tp, stable, end)
		}
	}
	m.comparePlain(got, f)
	m.compareTxns(p, got, f, last)
	offset, code := p.committedOffset("plain", "plain", 0)
	if offset < 0 {
		offset = 0
	}
	if code != noError || offset < k.acked || offset > k.asked {
		f.add("%s: group has offset %d (%v), and %d was acknowledged, %d asked for", m.why, offset, code, k.acked, k.asked)
	}
}

// endOffset returns the end of a partition.
func (p *peer) endOffset(tp kafka.TopicPartition) int64 {
	return ask[*kafkawire.ListOffsetsResponse](p, &kafkawire.ListOffsetsRequest{ReplicaID: -1, Topics: []kafkawire.ListOffsetsRequestTopic{{
		Name: tp.Topic, Partitions: []kafkawire.ListOffsetsRequestPartition{{PartitionIndex: tp.Partition, CurrentLeaderEpoch: -1, Timestamp: -1}},
	}}}, 7).Topics[0].Partitions[0].Offset
}

// producedPlace is where a producer's sequence numbers count.
type producedPlace struct {
	tp kafka.TopicPartition
	id kafkawire.ProducerID
}

// comparePlain looks at the batches of idempotent producers.
func (m *crashMoment) comparePlain(got map[kafka.TopicPartition]map[string]int, f *failures) {
	last := make(map[producedPlace]int)
	known := make(map[string]bool)
	for _, x := range m.known.batches {
		there := 0
		for _, v := range x.values {
			known[v] = true
			at, ok := got[x.tp][v]
			if !ok {
				continue
			}
			there++
			pl := producedPlace{x.tp, x.p.ID}
			if before, ok := last[pl]; ok && at < before {
				f.add("%s: %s comes before an earlier one", m.why, v)
			}
			last[pl] = at
		}
		if x.acked && there == 0 {
			f.add("%s: batch %+v is lost", m.why, *x)
		}
		if there != 0 && there != len(x.values) {
			f.add("%s: batch %+v is there in part", m.why, *x)
		}
	}
	for tp, values := range got {
		for v := range values {
			if tp.Topic == "plain" && !known[v] {
				f.add("%s: %v has %q, which nobody has sent", m.why, tp, v)
			}
		}
	}
}

// compareTxns looks at transactions.
func (m *crashMoment) compareTxns(p *peer, got map[kafka.TopicPartition]map[string]int, f *failures, last bool) {
	offsets := make(map[string]int64)
	for _, x := range m.known.txns {
		there, all := 0, 0
		for tp, values := range x.values {
			for _, v := range values {
				all++
				if _, ok := got[tp][v]; ok {
					there++
				}
			}
		}
		switch {
		// An open transaction hides what comes behind it.
		case last && there != 0 && there != all:
			f.add("%s: transaction %+v is there in part: %d of %d", m.why, *x, there, all)
		case there != 0 && !(x.ended && x.commit):
			f.add("%s: transaction %+v is there, and was not committed", m.why, *x)
		case last && there == 0 && x.confirmed && x.commit:
			f.add("%s: transaction %+v is lost", m.why, *x)
		}
		if _, ok := offsets[x.id]; !ok {
			offsets[x.id] = -1
		}
		if x.offset && there != 0 {
			offsets[x.id] = int64(x.n)
		}
	}
	for id, want := range offsets {
		if !last {
			break
		}
		offset, code := p.committedOffset("g-"+id, "plain", 0)
		if offset != want || code != noError {
			f.add("%s: group of %s has offset %d (%v), and its transactions say %d", m.why, id, offset, code, want)
		}
	}
}

// lives runs a life under a seed and returns the losses of power in it.
func lives(t *testing.T, seed uint64, steps, rate int, prepare func(w *crashWorld)) []crashMoment {
	w := openCrash(t, seed, rate)
	if prepare != nil {
		prepare(w)
	} else {
		w.disk.SetFail(func(op vfs.Op, name string) error { w.operation(op, name); return nil })
	}
	w.load(steps)
	w.mu.Lock()
	w.moment("the end")
	w.mu.Unlock()
	w.disk.SetFail(nil)
	_ = w.b.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moment("closed")
	return w.moments
}

func TestPowerLoss(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3, rand.Uint64()} {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			var moments []crashMoment
			synctest.Test(t, func(t *testing.T) { moments = lives(t, seed, 40, 20, nil) })
			commits := 0
			for _, x := range moments[len(moments)-1].known.txns {
				if x.confirmed && x.commit {
					commits++
				}
			}
			if t.Logf("%d losses of power, %d transactions committed", len(moments), commits); commits < 20 {
				t.Error("too few transactions")
			}
			for _, text := range checkAll(t, moments) {
				t.Error(text)
			}
		})
	}
}

// TestPowerLossMutant runs brokers on a disk that leaves out one sync: the test above must find out. It cannot for each of
// them: what a later sync makes good is not missed. Which are found depends on the order of goroutines, so that there are
// as many as it takes.
func TestPowerLossMutant(t *testing.T) {
	const from, to = 40, 120
	found, tried := 0, 0
	for skip := from; skip < to && found < 3; skip++ {
		var moments []crashMoment
		synctest.Test(t, func(t *testing.T) {
			moments = lives(t, 2, 5, 1, func(w *crashWorld) {
				w.drop = true
				w.most.Store(0)
				var n atomic.Int64
				w.disk.SetSkipSync(func(vfs.Op, string) bool {
					if n.Add(1) != int64(skip) {
						return false
					}
					w.most.Store(20) // it is noticed soon or never
					return true
				})
			})
		})
		if tried++; len(checkAll(t, moments)) > 0 {
			found++
		}
	}
	if t.Logf("%d of %d mutants were found", found, tried); found < 3 {
		t.Error("too few")
	}
}

// TestPowerLossMutants runs brokers on a disk that never syncs the files of one kind. Each must be found out.
func TestPowerLossMutants(t *testing.T) {
	for _, kind := range []string{"/plain-", "/txn-", "/" + transactionsTopic, "/" + offsetsTopic} {
		var list failures
		for seed := uint64(2); seed < 12 && len(list) == 0; seed += 2 {
			var moments []crashMoment
			synctest.Test(t, func(t *testing.T) {
				moments = lives(t, seed, 10, 4, func(w *crashWorld) {
					w.drop = true
					w.disk.SetSkipSync(func(_ vfs.Op, name string) bool { return strings.Contains(name, kind) })
				})
			})
			list = checkAll(t, moments)
		}
		if len(list) == 0 {
			t.Errorf("nobody finds that %s is not synced", kind)
			continue
		}
		t.Logf("%s: %.200s", kind, list[0])
	}
}

// fail lets an operation fail, and with ENOSPC some more.
func (w *crashWorld) fail(fault error, at int) {
	n := 0
	w.disk.SetFail(func(op vfs.Op, _ string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n++; n != at && (fault != syscall.ENOSPC || n < at || n > at+20 || op != vfs.OpWrite && op != vfs.OpCreate) {
			return nil
		}
		if fault == syscall.EIO {
			w.stop.Store(true)
		}
		return fault
	})
}

// TestDiskErrors lets an operation of the file system fail, and once the disk is full for a while: what was acknowledged is
// there nevertheless.
func TestDiskErrors(t *testing.T) {
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		t.Run(fault.Error(), func(t *testing.T) {
			for at := 1; at < 2000; at += 1 + at/2 {
				var moments []crashMoment
				synctest.Test(t, func(t *testing.T) {
					moments = lives(t, 7, 15, 40, func(w *crashWorld) { w.fail(fault, at) })
				})
				for _, text := range checkAll(t, moments) {
					t.Errorf("%v at operation %d: %s", fault, at, text)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}
