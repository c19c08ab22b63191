package kafkabroker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// compactLog is a log to be compacted with segments of a few batches.
func compactLog(t *testing.T) (*partitionLog, *vfs.Mem) {
	t.Helper()
	c := smallConfig()
	c.compact, c.delete, c.segmentBytes, c.deleteRetentionMs = true, false, 400, 100
	return testLog(t, c)
}

// keyed are batches of one record each: "k=v".
func keyed(t *testing.T, l *partitionLog, records ...string) {
	t.Helper()
	for _, r := range records {
		key, value, _ := strings.Cut(r, "=")
		mustAppend(t, l, testBatch{records: []testRecord{{1000, key, value}}}.bytes(t))
	}
}

// settle begins a new segment and makes the old ones durable, so that they can be compacted.
func settle(t *testing.T, l *partitionLog) {
	t.Helper()
	l.writing.Lock()
	err := l.roll(0, 1000, l.config())
	l.writing.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	l.dir.flusher.wait()
}

func mustClean(t *testing.T, l *partitionLog, now int64) cleanStats {
	t.Helper()
	s, err := l.clean(new(offsetMap), now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestClean(t *testing.T) {
	l, m := compactLog(t)
	keyed(t, l, "a=1", "b=1", "a=2", "c=1", "b=2", "a=3", "d=1", "d=2", "e=1")
	settle(t, l)
	keyed(t, l, "a=4")
	s := mustClean(t, l, 5000)
	wantContents(t, l, 0, readAll, "3:c=1 4:b=2 5:a=3 7:d=2 8:e=1 9:a=4")
	if s.from != 0 || s.to != 9 || s.keys != 5 || s.segsAfter > s.segsBefore || s.bytesAfter >= s.bytesBefore || s.recordsKept != 5 || s.recordsFound != 9 {
		t.Errorf("%+v", s)
	}
	for offset := range int64(10) { // from any offset on
		if got := contents(t, l, offset, readAll); !strings.HasSuffix(got, "9:a=4") {
			t.Error(offset, got)
		}
	}
	if s := mustClean(t, l, 5000); s.to != 0 {
		t.Errorf("nothing is dirty: %+v", s)
	}
	settle(t, l)
	mustClean(t, l, 5000)
	wantContents(t, l, 0, readAll, "3:c=1 4:b=2 7:d=2 8:e=1 9:a=4")
	if err := l.dir.close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range m.Names() {
		if strings.HasSuffix(name, deletedSuffix) || strings.HasSuffix(name, cleanedSuffix) || strings.HasSuffix(name, swapSuffix) {
			t.Error(name)
		}
	}
	d := testDir(t, m, nil)
	wantContents(t, d.get(testID), 0, readAll, "3:c=1 4:b=2 7:d=2 8:e=1 9:a=4")
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

// TestTombstones: a record without a value stays for delete.retention.ms after compaction has met it.
func TestTombstones(t *testing.T) {
	l, _ := compactLog(t)
	keyed(t, l, "a=1", "b=1", "a=-", "c=1")
	settle(t, l)
	mustClean(t, l, 5000)
	wantContents(t, l, 0, readAll, "1:b=1 2:a=- 3:c=1")
	for _, now := range []int64{5050, 5099, 5100} {
		keyed(t, l, "x=1")
		settle(t, l)
		mustClean(t, l, now)
		if got := contents(t, l, 0, readAll); strings.Contains(got, "2:a=-") != (now < 5100) || strings.Contains(got, "0:") {
			t.Error(now, got)
		}
	}
	// Its time is still what it was, though the batch has the time of its removal at the place of the base timestamp.
	keyed(t, l, "t=-")
	end := l.state().end
	settle(t, l)
	mustClean(t, l, 9000)
	f, err := l.fetch(fetchRequest{offset: end - 1, maxBytes: 1000, isolation: readAll})
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.read(make([]byte, f.size()))
	f.close()
	if batch := kafka.Batch(b); err != nil || !batch.Attributes().DeleteHorizon() || batch.BaseTimestamp() != 9100 || batch.MaxTimestamp() != 1000 {
		t.Errorf("%v %x", err, b)
	}
}

// TestCleanTransactions: aborted records go, markers stay until no record of their transaction is left and then for
// delete.retention.ms.
func TestCleanTransactions(t *testing.T) {
	l, _ := compactLog(t)
	txn := func(sequence int32, records ...testRecord) {
		mustAppend(t, l, testBatch{records: records, producer: 5, txn: true, sequence: sequence, method: compress.Snappy}.bytes(t))
	}
	end := func(kind kafka.ControlType) { mustAppendFrom(t, l, marker(t, 5, 0, kind, 0, 1000), fromCoordinator) }
	keyed(t, l, "a=1", "b=1")
	txn(0, testRecord{1000, "a", "gone"}, testRecord{1000, "c", "gone"})
	end(kafka.ControlAbort)
	txn(2, testRecord{1000, "b", "2"}, testRecord{1000, "d", "1"})
	end(kafka.ControlCommit)
	txn(4, testRecord{1000, "e", "gone"})
	keyed(t, l, "b=3", "d=2")
	settle(t, l)
	// The transaction that is open keeps what is behind its first record from being compacted.
	mustClean(t, l, 5000)
	wantContents(t, l, 0, readUncommitted, "0:a=1 4!abort 5:b=2 6:d=1 7!commit 8:e=gone 9:b=3 10:d=2")
	wantContents(t, l, 0, readCommitted, "0:a=1 4!abort 5:b=2 6:d=1 7!commit")
	end(kafka.ControlAbort)
	wantContents(t, l, 0, readCommitted, "0:a=1 4!abort 5:b=2 6:d=1 7!commit 9:b=3 10:d=2 11!abort")
	settle(t, l)
	mustClean(t, l, 5050)
	wantContents(t, l, 0, readUncommitted, "0:a=1 4!abort 7!commit 9:b=3 10:d=2 11!abort")
	wantContents(t, l, 0, readCommitted, "0:a=1 4!abort 7!commit 9:b=3 10:d=2 11!abort")
	keyed(t, l, "z=1")
	settle(t, l)
	mustClean(t, l, 5149)
	wantContents(t, l, 0, readCommitted, "0:a=1 4!abort 7!commit 9:b=3 10:d=2 11!abort 12:z=1")
	keyed(t, l, "z=2")
	settle(t, l)
	mustClean(t, l, 5300)
	// The head of the producer's last batch stays while the producer is known, and with it the marker behind.
	wantContents(t, l, 0, readCommitted, "0:a=1 9:b=3 10:d=2 11!abort 13:z=2")
	if got := l.activeProducers(); len(got) != 1 || got[0].lastSequence != 4 {
		t.Errorf("%+v", got)
	}
	l.expireProducers(1e6, 1)
	for now := int64(6000); now < 10_000; now += 1000 {
		keyed(t, l, "z=3")
		settle(t, l)
		mustClean(t, l, now)
	}
	wantContents(t, l, 0, readCommitted, "0:a=1 9:b=3 10:d=2 17:z=3")
}

// TestCleanKeepsSequences: of a producer that is known, the last batch stays, if only its head.
func TestCleanKeepsSequences(t *testing.T) {
	l, m := compactLog(t)
	b := testBatch{records: []testRecord{{1000, "a", "1"}}, producer: 5}
	mustAppend(t, l, b.bytes(t))
	b.sequence = 1
	mustAppend(t, l, b.bytes(t))
	keyed(t, l, "a=2", "b=1")
	settle(t, l)
	mustClean(t, l, 5000)
	wantContents(t, l, 0, readAll, "2:a=2 3:b=1")
	for _, name := range m.Names() { // producers are read from the batches then
		if strings.HasSuffix(name, snapshotSuffix) {
			_ = m.Remove(name)
		}
	}
	_ = m.SyncAll("d")
	o := &logDirOptions{expireProducers: 1 << 60, config: func(string) *logConfig { return l.config() }}
	d := testDir(t, m.DropClone(), o)
	again := d.get(testID)
	if r := mustAppend(t, again, b.bytes(t)); !r.duplicate || r.base != 1 {
		t.Errorf("%+v", r)
	}
	b.sequence = 2
	mustAppend(t, again, b.bytes(t))
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

// TestCleanWithLittleMemory: compaction goes on with as many keys as there is room for.
func TestCleanWithLittleMemory(t *testing.T) {
	l, _ := compactLog(t)
	l.dir.opt.cleanerBytes = 20 * mapSlotBytes
	want := make(map[string]string)
	for i := range 300 {
		r := fmt.Sprintf("k%d=v%d", i*7%50, i)
		keyed(t, l, r)
		key, value, _ := strings.Cut(r, "=")
		want[key] = value
	}
	settle(t, l)
	passes := 0
	for mustClean(t, l, 5000).to > 0 {
		passes++
	}
	got := strings.Fields(contents(t, l, 0, readAll))
	if diff := differ(fold(got), want); diff != "" {
		t.Error(diff)
	}
	if passes < 5 || len(got) != 50 {
		t.Errorf("%d passes left %d records", passes, len(got))
	}
}

// TestCleanLag: young records are left alone, and old ones cannot wait.
func TestCleanLag(t *testing.T) {
	l, _ := compactLog(t)
	c := *l.config()
	c.minLagMs = 500
	l.setConfig(&c)
	keyed(t, l, "a=1", "a=2")
	settle(t, l)
	if s := mustClean(t, l, 1400); s.to != 0 {
		t.Errorf("%+v", s)
	}
	if d, err := l.dirty(1600); err != nil || d.must || d.ratio != 1 {
		t.Errorf("%+v, %v", d, err)
	}
	d := *l.config()
	d.maxLagMs = 550
	l.setConfig(&d)
	if d, err := l.dirty(1600); err != nil || !d.must {
		t.Errorf("%+v, %v", d, err)
	}
	if s := mustClean(t, l, 1600); s.to != 2 {
		t.Errorf("%+v", s)
	}
}

// TestCleanDamaged: a log that cannot be read is not compacted, and nothing of it is lost.
func TestCleanDamaged(t *testing.T) {
	l, m := compactLog(t)
	keyed(t, l, "a=1", "a=2")
	settle(t, l)
	f, err := m.Open("d/t-0/" + segmentFile(0, logSuffix))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{9}, 65); err != nil {
		t.Fatal(err)
	}
	if _, err := l.clean(new(offsetMap), 5000); !errors.Is(err, kafkawire.ErrCorruptMessage) && !errors.Is(err, kafkawire.ErrInvalidRecord) {
		t.Error(err)
	}
	if s, err := l.clean(new(offsetMap), 5000); s.to != 0 || err != nil {
		t.Errorf("%+v, %v", s, err)
	}
	if n, _ := m.Size("d/t-0/" + segmentFile(0, logSuffix)); n == 0 {
		t.Error("the segment is gone")
	}
}

// TestCleanGivenUp: who needs the segments does not wait for compaction.
func TestCleanGivenUp(t *testing.T) {
	l, m := compactLog(t)
	keyed(t, l, "a=1", "a=2", "a=3", "a=4", "a=5", "a=6")
	settle(t, l)
	m.SetFail(func(op vfs.Op, name string) error {
		if op == vfs.OpCreate && strings.HasSuffix(name, cleanedSuffix) {
			l.stop.Store(true)
		}
		return nil
	})
	if _, err := l.clean(new(offsetMap), 5000); !errors.Is(err, errAborted) {
		t.Error(err)
	}
	m.SetFail(nil)
	l.stop.Store(false)
	for _, name := range m.Names() {
		if strings.HasSuffix(name, cleanedSuffix) {
			t.Error(name)
		}
	}
	wantContents(t, l, 0, readAll, "0:a=1 1:a=2 2:a=3 3:a=4 4:a=5 5:a=6")
}

func TestOffsetMap(t *testing.T) {
	var m offsetMap
	m.reset(1000, 1<<20)
	for i := range int64(1000) {
		if !m.put(fmt.Appendf(nil, "k%d", i%400), i) {
			t.Fatal("full")
		}
	}
	for i := range int64(400) {
		want := i + 400
		if i < 200 {
			want = i + 800
		}
		if got := m.get(fmt.Appendf(nil, "k%d", i)); got != want {
			t.Errorf("k%d: %d", i, got)
		}
	}
	if got := m.get([]byte("x")); got != -1 || m.n != 400 {
		t.Error(got, m.n)
	}
	m.reset(1000, 100*mapSlotBytes)
	n := int64(0)
	for m.put(fmt.Appendf(nil, "k%d", n), n) {
		n++
	}
	if n != 90 || !m.put([]byte("k3"), 5) || m.get([]byte("k3")) != 5 {
		t.Error(n)
	}
}

// TestCrowdedBatch: a batch with more keys than there is memory for is read once, and not again until something has changed.
func TestCrowdedBatch(t *testing.T) {
	l, _ := compactLog(t)
	l.dir.opt.cleanerBytes = 1
	var crowd testBatch
	for i := range 20 {
		crowd.records = append(crowd.records, testRecord{1000, fmt.Sprint(i), "v"})
	}
	mustAppend(t, l, crowd.bytes(t))
	settle(t, l)
	if d, err := l.dirty(5000); err != nil || d.end != 20 {
		t.Fatal(d, err)
	}
	if s := mustClean(t, l, 5000); s.to != 0 {
		t.Errorf("%+v", s)
	}
	keyed(t, l, "a=1", "a=2")
	settle(t, l)
	if d, err := l.dirty(5000); err != nil || d.end > d.first {
		t.Error("it is read again:", d, err)
	}
	if _, err := l.deleteRecords(20); err != nil {
		t.Fatal(err)
	}
	keyed(t, l, "a=3", "a=4")
	settle(t, l)
	mustClean(t, l, 5000)
	wantContents(t, l, 20, readAll, "23:a=4")
}

// TestCleanThenDelete: what compaction has left of a log stays after a crash, also when its policy is another one by then.
func TestCleanThenDelete(t *testing.T) {
	l, m := compactLog(t)
	keyed(t, l, "a=1", "b=1", "c=1", "d=1", "a=2")
	settle(t, l)
	keyed(t, l, "b=2", "c=2", "d=2", "a=3", "e=1")
	settle(t, l)
	mustClean(t, l, 5000) // and the crash comes before it is noted how far
	want := contents(t, l, 0, readAll)
	d := testDir(t, m.DropClone(), nil) // with cleanup.policy=delete
	wantContents(t, d.get(testID), 0, readAll, want)
	if err := d.close(); err != nil {
		t.Error(err)
	}
}
