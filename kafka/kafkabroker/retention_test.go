package kafkabroker

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestRetentionBySize(t *testing.T) {
	l, m := testLog(t, smallConfig())
	want := fill(t, l, 100)
	c := *l.config()
	c.retentionBytes = 3000
	l.setConfig(&c)
	n, err := l.retain(1e9)
	if s := l.state(); err != nil || n == 0 || l.size() < 3000 || l.size() > 4000 || s.start == 0 {
		t.Errorf("%d segments, %v, %+v, %d bytes", n, err, s, l.size())
	}
	start := l.state().start
	wantContents(t, l, start, readAll, strings.Join(want[start:], " "))
	if _, err := l.fetch(fetchRequest{offset: start - 1}); !errors.Is(err, kafkawire.ErrOffsetOutOfRange) {
		t.Error(err)
	}
	for _, name := range m.Names() {
		if base, _, ok := parseSegmentFile(strings.TrimPrefix(name, "d/t-0/")); ok && base < start {
			t.Error(name)
		}
	}
	if n, err := l.retain(1e9); n != 0 || err != nil {
		t.Error(n, err)
	}
	c.retentionBytes = 0
	if n, err = l.retain(1e9); err != nil {
		t.Error(n, err)
	}
}

// TestRetentionByTime: the last segment goes too when all its records are old enough.
func TestRetentionByTime(t *testing.T) {
	l, _ := testLog(t, smallConfig())
	for i := range int64(60) {
		mustAppend(t, l, testBatch{records: []testRecord{{time: 1000 * i, value: "v"}}}.bytes(t))
	}
	c := *l.config()
	c.retentionMs = 10_000
	l.setConfig(&c)
	if _, err := l.retain(50_000); err != nil || l.state().start < 20 || l.state().start > 40 {
		t.Error(err, l.state())
	}
	if _, err := l.retain(69_000); err != nil || l.state().start > 59 {
		t.Error(err, l.state())
	}
	if _, err := l.retain(69_001); err != nil || l.state().start != 60 || l.state().segments != 1 {
		t.Error(err, l.state())
	}
	if r := mustAppend(t, l, values("v").bytes(t)); r.base != 60 || r.start != 60 {
		t.Errorf("%+v", r)
	}
	// Without cleanup.policy delete nothing is too old.
	c.delete, c.compact = false, true
	if n, err := l.retain(1e12); n != 0 || err != nil {
		t.Error(n, err)
	}
}

// TestRetentionOnFullDisk: retention makes room also where there is none for a checkpoint of the leader epochs.
func TestRetentionOnFullDisk(t *testing.T) {
	l, m := testLog(t, smallConfig())
	for i := range 60 {
		if _, err := l.append(&appendRequest{records: values("v").bytes(t), leaderEpoch: int32(i / 10)}); err != nil {
			t.Fatal(err)
		}
	}
	c := *l.config()
	c.retentionBytes = 1000
	l.setConfig(&c)
	free, total, _ := m.Free("d")
	m.SetCapacity(total - free)
	n, err := l.retain(1000)
	s := l.state()
	if err != nil || n == 0 || s.start < 20 {
		t.Fatal(n, err, s)
	}
	if epoch, _ := l.endOfEpoch(0); epoch != 0 || l.earliest().epoch < 2 {
		t.Error(epoch, l.earliest())
	}
	if err := m.SyncAll("d"); err != nil {
		t.Fatal(err)
	}
	m.SetCapacity(1 << 40)
	d := testDir(t, m.DropClone(), nil)
	if o := d.get(testID).earliest(); o != l.earliest() {
		t.Errorf("%+v, want %+v", o, l.earliest())
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

func TestDeleteRecords(t *testing.T) {
	l, m := testLog(t, smallConfig())
	want := fill(t, l, 50)
	for _, offset := range []int64{-2, 101} {
		if _, err := l.deleteRecords(offset); !errors.Is(err, kafkawire.ErrOffsetOutOfRange) {
			t.Error(err)
		}
	}
	if start, err := l.deleteRecords(43); start != 43 || err != nil {
		t.Error(start, err)
	}
	if start, err := l.deleteRecords(10); start != 43 || err != nil {
		t.Error(start, err)
	}
	wantContents(t, l, 43, readAll, strings.Join(want[43:], " "))
	if err := errors.Join(l.dir.saveStarts(), m.SyncAll("d")); err != nil {
		t.Fatal(err)
	}
	d := testDir(t, m.DropClone(), nil) // segments that are before the start are removed
	if s := d.get(testID).state(); s.start != 43 || s.segments >= l.state().segments {
		t.Errorf("%+v", s)
	}
	wantContents(t, d.get(testID), 43, readAll, strings.Join(want[43:], " "))
	if err := d.close(); err != nil {
		t.Error(err)
	}
	if n, err := l.retain(0); n == 0 || err != nil {
		t.Error(n, err)
	}
	if start, err := l.deleteRecords(-1); start != 100 || err != nil {
		t.Error(start, err)
	}
}

// TestStartIsKept: the start of a log does not go back in a crash while its first segments are being removed, and others write
// the checkpoint.
func TestStartIsKept(t *testing.T) {
	l, m := testLog(t, smallConfig())
	fill(t, l, 50)
	start, err := l.deleteRecords(l.segments()[2].base)
	if err != nil {
		t.Fatal(err)
	}
	l.dir.flusher.wait()
	if err := errors.Join(l.dir.saveCheckpoints(), m.SyncAll("d")); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	var crashed *vfs.Mem
	m.SetFail(func(op vfs.Op, name string) (err error) {
		if op == vfs.OpRename && strings.HasSuffix(name, logSuffix) {
			once.Do(func() {
				err = l.dir.saveStarts()
				crashed = m.DropClone()
			})
		}
		return err
	})
	if n, err := l.retain(0); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	m.SetFail(nil)
	d := testDir(t, crashed, nil)
	if s := d.get(testID).state(); s.start != start {
		t.Errorf("%+v, want %d", s, start)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

// TestStartIsNotDurability: where a log starts says nothing about what is durable.
func TestStartIsNotDurability(t *testing.T) {
	l, m := testLog(t, smallConfig())
	f := l.dir.flusher
	f.mu.Lock()
	f.running = true // the disk is slow
	f.mu.Unlock()
	fill(t, l, 50)
	if _, err := l.deleteRecords(-1); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.dir.saveRecoveryPoints(), syncHandle(l.active().log), m.SyncDir("d/t-0")); err != nil {
		t.Fatal(err)
	}
	crashed := m.DropClone()
	f.run()
	d := testDir(t, crashed, nil)
	if s := d.get(testID).state(); s.end != 0 || s.segments != 1 {
		t.Errorf("the first segments are lost: %+v", s)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

// TestRetentionWhileAppending: a segment all of whose records are too old is not removed with one that came meanwhile.
func TestRetentionWhileAppending(t *testing.T) {
	c := smallConfig()
	c.retentionMs = 1000
	for range 100 {
		l, _ := testLog(t, c)
		mustAppend(t, l, values("old").bytes(t))
		l.writing.Lock()
		var retained sync.WaitGroup
		retained.Go(func() {
			if _, err := l.retain(5000); err != nil {
				t.Error(err)
			}
		})
		for range 100 { // until it waits to remove the segment
			runtime.Gosched()
		}
		young := testBatch{records: []testRecord{{5000, "", "young"}}}
		_, _, err := l.appendLocked(&appendRequest{records: young.bytes(t), now: 5000}, c)
		l.writing.Unlock()
		retained.Wait()
		if s := l.state(); err != nil || s.start > 1 || s.end != 2 {
			t.Fatalf("%v, %+v", err, s)
		}
	}
}

// TestRetentionWhileFetching: who has read records of an aborted transaction does not hear that there is none, when retention
// removes them before it asks.
func TestRetentionWhileFetching(t *testing.T) {
	l, _ := testLog(t, smallConfig())
	mustAppend(t, l, testBatch{records: []testRecord{{5, "", "gone"}}, producer: 5, txn: true}.bytes(t))
	mustAppendFrom(t, l, marker(t, 5, 0, kafka.ControlAbort, 0, 1000), fromCoordinator)
	settle(t, l)
	mustAppend(t, l, values("a").bytes(t))
	f, err := l.fetch(fetchRequest{maxBytes: 1000, isolation: readCommitted})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if _, err := f.read(make([]byte, f.size())); err != nil {
		t.Fatal(err)
	}
	if list, err := f.aborted(); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if _, err := l.deleteRecords(2); err != nil {
		t.Fatal(err)
	}
	if n, err := l.retain(1000); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if list, err := f.aborted(); !errors.Is(err, kafkawire.ErrOffsetOutOfRange) {
		t.Error(list, err)
	}
}
