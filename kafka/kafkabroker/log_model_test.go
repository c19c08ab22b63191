package kafkabroker

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// modelBatch is a batch as the model remembers it.
type modelBatch struct {
	base, last int64
	text       []string // of each record, as contents shows it, without the offset
	keys       []string
	producer   int64 // 0 for none
	epoch      int16
	sequence   int32
	txn        bool
	end        string // "commit" or "abort" for a marker
}

// modelLog is everything that was ever appended to a log.
type modelLog struct {
	id      partitionID
	batches []modelBatch
	acked   atomic.Int64 // everything below was said to be durable
}

func (m *modelLog) end() int64 {
	if len(m.batches) == 0 {
		return 0
	}
	return m.batches[len(m.batches)-1].last + 1
}

// cut forgets what is behind an offset, as a loss of power does.
func (m *modelLog) cut(end int64) {
	for len(m.batches) > 0 && m.batches[len(m.batches)-1].base >= end {
		m.batches = m.batches[:len(m.batches)-1]
	}
}

// modelProducer is what the model knows of a producer.
type modelProducer struct {
	epoch    int16
	next     int32
	last     int64 // offset of its last record
	lastSeq  int32
	txnFirst int64 // -1 without
	batch    *modelBatch
}

// producersOf returns the producers after the batches below an offset.
func (m *modelLog) producersOf(end int64) map[int64]*modelProducer {
	all := make(map[int64]*modelProducer)
	for i := range m.batches {
		b := &m.batches[i]
		if b.base >= end || b.producer == 0 {
			continue
		}
		p := all[b.producer]
		if p == nil {
			p = &modelProducer{epoch: -1, last: -1, lastSeq: -1, txnFirst: -1}
			all[b.producer] = p
		}
		if p.epoch != b.epoch {
			p.epoch, p.lastSeq, p.next, p.last, p.batch = b.epoch, -1, 0, -1, nil
		}
		switch {
		case b.end != "":
			p.txnFirst = -1
		default:
			if b.txn && p.txnFirst < 0 {
				p.txnFirst = b.base
			}
			p.lastSeq = b.sequence + int32(b.last-b.base)
			p.next, p.last, p.batch = p.lastSeq+1, b.last, b
		}
	}
	return all
}

// read returns what a reader of a log that ends at end finds from an offset on.
func (m *modelLog) read(from, end int64, committed bool) (out []string) {
	stable := end
	open := make(map[int64]int64)
	gone := make(map[int64]bool) // base offsets of aborted batches
	of := make(map[int64][]int64)
	for i := range m.batches {
		b := &m.batches[i]
		switch {
		case b.base >= end:
		case b.end != "":
			if b.end == "abort" {
				for _, base := range of[b.producer] {
					gone[base] = true
				}
			}
			delete(open, b.producer)
			delete(of, b.producer)
		case b.txn:
			if _, ok := open[b.producer]; !ok {
				open[b.producer] = b.base
			}
			of[b.producer] = append(of[b.producer], b.base)
		}
	}
	for _, first := range open {
		stable = min(stable, first)
	}
	if !committed {
		stable, gone = end, nil
	}
	for i := range m.batches {
		b := &m.batches[i]
		if b.last < from || b.base >= stable || gone[b.base] {
			continue
		}
		if b.end != "" {
			out = append(out, fmt.Sprintf("%d!%s", b.base, b.end))
			continue
		}
		for j, text := range b.text {
			if offset := b.base + int64(j); offset >= from {
				out = append(out, fmt.Sprintf("%d:%s", offset, text))
			}
		}
	}
	return out
}

// fold reduces contents to the last value of each key.
func fold(list []string) map[string]string {
	m := make(map[string]string)
	for _, s := range list {
		_, s, ok := strings.Cut(s, ":")
		key, value, keyed := strings.Cut(s, "=")
		switch {
		case !ok || !keyed:
		case value == "-":
			delete(m, key)
		default:
			m[key] = value
		}
	}
	return m
}

func differ(got, want map[string]string) (diff string) {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] != want[key] {
			diff += fmt.Sprintf("%s is %.10q, not %.10q; ", key, got[key], want[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			diff += fmt.Sprintf("%s is %.10q; ", key, got[key])
		}
	}
	return diff
}

// compare says how a log differs from the model, or nothing.
func (m *modelLog) compare(l *partitionLog, whole bool) error {
	s := l.state()
	compact := l.config().compact
	// A loss of power may leave a hole in a compacted log that was not synced.
	holes := compact && !whole && l.config().flush != flushSync
	for _, committed := range []bool{false, true} {
		if holes && committed {
			return nil
		}
		i := readUncommitted
		if committed {
			i = readCommitted
		}
		text, err := readContents(l, s.start, i)
		if err != nil {
			return err
		}
		got, want := strings.Fields(text), m.read(s.start, s.end, committed)
		if !compact {
			if !slices.Equal(got, want) {
				return fmt.Errorf("committed=%t from %d to %d\ngot  %.2000s\nwant %.2000s", committed, s.start, s.end, text, strings.Join(want, " "))
			}
			continue
		}
		rest := want
		for _, r := range got {
			at := slices.Index(rest, r)
			if at < 0 {
				return fmt.Errorf("committed=%t: there is %s (%d to %d)", committed, r, s.start, s.end)
			}
			rest = rest[at+1:]
		}
		if committed {
			if diff := differ(fold(got), fold(want)); diff != "" {
				return fmt.Errorf("another state from %d to %d: %s", s.start, s.end, diff)
			}
		}
	}
	return m.compareProducers(l, s)
}

func (m *modelLog) compareProducers(l *partitionLog, s logState) error {
	known := make(map[int64]activeProducer)
	for _, p := range l.activeProducers() {
		known[p.id] = p
	}
	for id, w := range m.producersOf(s.end) {
		if w.last < s.start {
			continue // it may be forgotten
		}
		p, ok := known[id]
		if !ok || p.epoch != w.epoch || p.lastSequence != w.lastSeq || p.txnStart != w.txnFirst {
			return fmt.Errorf("producer %d is %+v, want %+v (log %d to %d)", id, p, *w, s.start, s.end)
		}
	}
	return nil
}

// waiter waits for durability.
type waiter chan error

func (w waiter) durable(err error) { w <- err }

// world runs logs with random actions.
type world struct {
	rnd   *rand.Rand
	fs    *vfs.Mem
	d     *logDir
	logs  []*modelLog
	conf  map[string]*logConfig
	clock int64
	seq   int
	m     offsetMap
	all   int // syncAllFrom
}

func (w *world) options() *logDirOptions {
	return &logDirOptions{config: func(topic string) *logConfig { return w.conf[topic] }, maxOpen: 5, nodeID: 1, expireProducers: 1 << 60, syncAllFrom: w.all}
}

func newWorld(seed uint64, flush flushPolicy) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 2)), fs: vfs.NewMem(), clock: 1000, conf: make(map[string]*logConfig)}
	w.all = 1 + w.rnd.IntN(3)
	for _, topic := range []string{"plain", "compacted"} {
		c := smallConfig()
		c.flush = flush
		c.segmentBytes = 600 + w.rnd.Int64N(1500)
		c.indexInterval = w.rnd.Int64N(300)
		if topic == "compacted" {
			c.compact, c.delete, c.deleteRetentionMs, c.minDirtyRatio = true, false, 200, 0
		} else {
			c.retentionBytes = 4000
		}
		w.conf[topic] = c
		w.logs = append(w.logs, &modelLog{id: partitionID{topic, 0}})
	}
	return w
}

func (w *world) open() error {
	o := w.options()
	o.fs = w.fs
	d, err := openLogDir("d", o)
	if err != nil {
		return err
	}
	w.d = d
	for _, m := range w.logs {
		if d.get(m.id) == nil {
			if _, err := createOne(d, kafkawire.UUID{9}, w.conf[m.id.topic], m.id); err != nil {
				return err
			}
		}
	}
	return nil
}

// act does something at random.
func (w *world) act() error {
	m := w.logs[w.rnd.IntN(len(w.logs))]
	l := w.d.get(m.id)
	w.clock += w.rnd.Int64N(20)
	switch k := w.rnd.IntN(100); {
	case k < 60:
		return w.append(m, l)
	case k < 75:
		return w.finish(m, l)
	case k < 78:
		return w.refused(m, l)
	case k < 84:
		return m.compare(l, true)
	case k < 90:
		if m.id.topic == "compacted" {
			_, err := l.clean(&w.m, w.clock)
			return err
		}
		if len(w.openTxns(m, l)) > 0 {
			return nil
		}
		_, err := l.retain(w.clock)
		return err
	case k < 93:
		return w.deleteRecords(m, l)
	case k < 95:
		return w.d.saveCheckpoints()
	case k < 97:
		l.writing.Lock()
		defer l.writing.Unlock()
		return l.roll(0, w.clock, l.config())
	default:
		time, at := int64(0), l.state().end
		if o, found, err := l.latestTime(); err != nil {
			return err
		} else if found {
			time, at = o.time, o.offset
		}
		o, found, err := l.offsetFor(time)
		if err == nil && found && o.offset > at {
			err = fmt.Errorf("time %d is at %d, not %d", time, o.offset, at)
		}
		return err
	}
}

func (w *world) openTxns(m *modelLog, l *partitionLog) (ids []int64) {
	for id, p := range m.producersOf(l.state().end) {
		if p.txnFirst >= 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// await makes everything so far durable.
func (w *world) await(m *modelLog, l *partitionLog, end int64) error {
	done := make(waiter, 1)
	pending, err := l.await(end, done)
	if pending {
		err = <-done
	}
	if err == nil {
		m.acked.Store(max(m.acked.Load(), end))
	}
	return err
}

func (w *world) append(m *modelLog, l *partitionLog) error {
	b := modelBatch{base: l.state().end}
	var t testBatch
	for range 1 + w.rnd.IntN(4) {
		w.seq++
		r := testRecord{time: w.clock, key: fmt.Sprint("k", w.rnd.IntN(12)), value: fmt.Sprint("v", w.seq)}
		if w.rnd.IntN(5) == 0 {
			r.value = "-"
		}
		if w.rnd.IntN(30) == 0 && r.value != "-" {
			r.value += strings.Repeat("x", w.rnd.IntN(300))
		}
		b.text, b.keys = append(b.text, r.key+"="+r.value), append(b.keys, r.key)
		t.records = append(t.records, r)
	}
	b.last = b.base + int64(len(b.text)) - 1
	if w.rnd.IntN(3) == 0 {
		t.method = compress.Snappy
	}
	if id := w.rnd.Int64N(5); id > 0 {
		p := m.producersOf(b.base)[id]
		if p == nil {
			p = &modelProducer{txnFirst: -1}
		}
		if p.txnFirst < 0 && w.rnd.IntN(10) == 0 {
			p.epoch++
			p.next = 0
		}
		b.producer, b.epoch, b.sequence = id, p.epoch, p.next
		b.txn = p.txnFirst >= 0 || id > 2
		t.producer, t.epoch, t.sequence, t.txn = id, b.epoch, b.sequence, b.txn
	}
	raw := t.raw()
	res, err := l.append(&appendRequest{records: raw, now: w.clock, leaderEpoch: int32(w.clock / 5000)})
	if err != nil {
		return w.failed(m, b, err)
	}
	if res.base != b.base || res.last != b.last || res.duplicate {
		return fmt.Errorf("appended at %+v, not at %d", res, b.base)
	}
	m.batches = append(m.batches, b)
	if w.rnd.IntN(3) == 0 {
		return w.await(m, l, res.end)
	}
	return nil
}

// failed notes that a batch is in the log or not, when the directory has failed. Else it is not.
func (w *world) failed(m *modelLog, b modelBatch, err error) error {
	if w.d.failure() != nil {
		m.batches = append(m.batches, b)
	}
	return err
}

// finish ends a transaction.
func (w *world) finish(m *modelLog, l *partitionLog) error {
	ids := w.openTxns(m, l)
	if len(ids) == 0 {
		return nil
	}
	id := ids[w.rnd.IntN(len(ids))]
	end := l.state().end
	p := m.producersOf(end)[id]
	b := modelBatch{base: end, last: end, producer: id, epoch: p.epoch, end: "commit", txn: true}
	mark := kafka.Marker{Type: kafka.ControlCommit, ProducerID: kafkawire.ProducerID(id), ProducerEpoch: p.epoch, Timestamp: w.clock}
	if w.rnd.IntN(2) == 0 {
		mark.Type, b.end = kafka.ControlAbort, "abort"
	}
	raw, err := mark.Append(nil)
	if err != nil {
		return err
	}
	res, err := l.append(&appendRequest{records: raw, origin: fromCoordinator, now: w.clock, leaderEpoch: int32(w.clock / 5000)})
	if err != nil {
		return w.failed(m, b, err)
	}
	m.batches = append(m.batches, b)
	if w.rnd.IntN(3) == 0 {
		return w.await(m, l, res.end)
	}
	return nil
}

// refused sends what must not be appended.
func (w *world) refused(m *modelLog, l *partitionLog) error {
	end := l.state().end
	for id, p := range m.producersOf(end) {
		if p.batch == nil || p.last < l.state().start {
			continue
		}
		again := testBatch{producer: id, epoch: p.epoch, sequence: p.batch.sequence, txn: p.batch.txn}
		for range p.batch.text {
			again.records = append(again.records, testRecord{key: "k"})
		}
		res, err := l.append(&appendRequest{records: again.raw(), now: w.clock})
		if err != nil || !res.duplicate || res.base != p.batch.base || res.last != p.batch.last {
			return fmt.Errorf("sent again: %+v, %w", res, err)
		}
		again.sequence = p.next + 7
		if _, err := l.append(&appendRequest{records: again.raw(), now: w.clock}); !errors.Is(err, kafkawire.ErrOutOfOrderSequenceNumber) {
			return fmt.Errorf("sequence number %d after %d: %w", again.sequence, p.lastSeq, err)
		}
		if p.epoch > 0 {
			again.epoch--
			if _, err := l.append(&appendRequest{records: again.raw(), now: w.clock}); !errors.Is(err, kafkawire.ErrInvalidProducerEpoch) {
				return fmt.Errorf("epoch %d after %d: %w", again.epoch, p.epoch, err)
			}
		}
	}
	if l.state().end != end {
		return errors.New("something was appended")
	}
	return nil
}

func (w *world) deleteRecords(m *modelLog, l *partitionLog) error {
	s := l.state()
	if len(w.openTxns(m, l)) > 0 || s.end == s.start {
		return nil
	}
	offset := s.start + w.rnd.Int64N(s.end-s.start)/4
	start, err := l.deleteRecords(offset)
	if err == nil && start != offset {
		err = fmt.Errorf("records up to %d are deleted, not %d", start, offset)
	}
	return err
}

// crash is a file system after a loss of power, and what must be in it.
type crash struct {
	fs    *vfs.Mem
	acked []int64
	at    string
}

// verify opens a directory after a crash and compares it with the model. It leaves it open in a world of its own.
func (w *world) verify(c crash) (d *logDir, err error) {
	o := w.options()
	o.fs = c.fs
	if d, err = openLogDir("d", o); err != nil {
		return nil, err
	}
	for i, m := range w.logs {
		l := d.get(m.id)
		if l == nil {
			if c.acked[i] > 0 {
				return nil, fmt.Errorf("%s is gone", m.id)
			}
			continue
		}
		if end := l.state().end; end < c.acked[i] || end > m.end() {
			return nil, fmt.Errorf("%s ends at %d; %d was acknowledged, %d appended", m.id, end, c.acked[i], m.end())
		}
		if err := m.compare(l, false); err != nil {
			return nil, fmt.Errorf("%s: %w", m.id, err)
		}
	}
	return d, nil
}

// simulateLogs runs logs through some lives, each of which ends with a loss of power or in order, and verifies the state
// after losses of power at random operations of the file system.
func simulateLogs(seed uint64, flush flushPolicy, lives, actions int, mutate func(*vfs.Mem)) (clones int, err error) {
	w := newWorld(seed, flush)
	for life := range lives {
		if mutate != nil {
			mutate(w.fs)
		}
		var mu sync.Mutex
		var crashes []crash
		dice := rand.New(rand.NewPCG(seed, uint64(life)))
		take := func(at string) {
			c := crash{at: at}
			for _, m := range w.logs {
				c.acked = append(c.acked, m.acked.Load())
			}
			if dice.IntN(3) == 0 {
				c.fs = w.fs.DropClone()
			} else {
				c.fs = w.fs.CrashClone(dice.Uint64())
			}
			crashes = append(crashes, c)
		}
		w.fs.SetFail(func(op vfs.Op, name string) error {
			mu.Lock()
			defer mu.Unlock()
			often := op == vfs.OpRename || op == vfs.OpRemove || op == vfs.OpSyncDir
			if op != vfs.OpRead && op != vfs.OpOpen && dice.IntN(120) == 0 || often && dice.IntN(25) == 0 {
				take(fmt.Sprintf("%v %s", op, name))
			}
			return nil
		})
		if err := w.open(); err != nil {
			return clones, fmt.Errorf("life %d: %w", life, err)
		}
		for i := range actions {
			if err := w.act(); err != nil {
				return clones, fmt.Errorf("life %d, action %d: %w", life, i, err)
			}
		}
		mu.Lock()
		take("the end")
		mu.Unlock()
		inOrder := w.rnd.IntN(3) == 0
		if err := w.d.close(); err != nil {
			return clones, fmt.Errorf("life %d: close: %w", life, err)
		}
		w.fs.SetFail(nil)
		last := crashes[len(crashes)-1]
		last.acked = slices.Clone(last.acked)
		if inOrder {
			for i, m := range w.logs {
				m.acked.Store(m.end())
				last.acked[i] = m.end()
			}
			last.fs, last.at = w.fs.DropClone(), "after close"
			crashes = append(crashes, last)
		}
		for i, c := range crashes {
			clones++
			d, err := w.verify(c)
			if err != nil {
				return clones, fmt.Errorf("life %d: crash %d of %d, before %s: %w", life, i, len(crashes), c.at, err)
			}
			if c.fs == last.fs {
				for _, m := range w.logs {
					m.cut(d.get(m.id).state().end)
					m.acked.Store(min(m.acked.Load(), m.end()))
				}
			}
			if err := d.close(); err != nil {
				return clones, fmt.Errorf("life %d: crash %d: close: %w", life, i, err)
			}
		}
		w.fs = last.fs
		if flush == flushNever && !inOrder { // what is left may have a hole, of which the model knows nothing
			w.logs[1] = &modelLog{id: partitionID{"compacted", int32(life + 1)}}
		}
	}
	return clones, nil
}

func modelSeeds(seeds uint64) uint64 {
	if testing.Short() {
		seeds = 1
	}
	if s, err := strconv.ParseUint(os.Getenv("KAFKALOG_SEEDS"), 10, 64); err == nil {
		seeds = s
	}
	return seeds
}

// TestModelFindsMutants: a sync that does nothing must be found, whichever it is.
func TestModelFindsMutants(t *testing.T) {
	for name, skip := range map[string]func(op vfs.Op, name string) bool{
		"every":     func(vfs.Op, string) bool { return true },
		"directory": func(op vfs.Op, _ string) bool { return op == vfs.OpSyncDir },
		"log":       func(op vfs.Op, name string) bool { return op == vfs.OpSync && strings.HasSuffix(name, logSuffix) },
		"cleaned":   func(op vfs.Op, name string) bool { return op == vfs.OpSync && strings.HasSuffix(name, cleanedSuffix) },
		"all":       func(op vfs.Op, name string) bool { return op == vfs.OpSync && name == "d" },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				_, err := simulateLogs(seed, flushSync, 3, 300, func(m *vfs.Mem) { m.SetSkipSync(skip) })
				if err != nil {
					t.Logf("found with seed %d: %.200v", seed, err)
					return
				}
			}
			t.Error("nothing found")
		})
	}
}

// TestModel: whatever is done and whenever the power is lost, logs have what they must.
func TestModel(t *testing.T) {
	for name, flush := range map[string]flushPolicy{"sync": flushSync, "never": flushNever} {
		t.Run(name, func(t *testing.T) {
			total := 0
			for seed := range modelSeeds(3) {
				n, err := simulateLogs(seed, flush, 3, 300, nil)
				total += n
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
			t.Logf("%d losses of power", total)
		})
	}
}
