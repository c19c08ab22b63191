package kafkabroker

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestDirectory(t *testing.T) {
	m := vfs.NewMem()
	d := testDir(t, m, nil)
	if _, err := openLogDir("d", &logDirOptions{fs: m}); !errors.Is(err, vfs.ErrLocked) {
		t.Error(err)
	}
	for i := range int32(3) {
		if _, err := createOne(d, kafkawire.UUID{5}, smallConfig(), partitionID{"t", i}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(m.DropClone().Names()); got < 3*4 {
		t.Error("a log is durable when it is made:", m.DropClone().Names())
	}
	if _, err := d.create(kafkawire.UUID{5}, smallConfig(), partitionID{"t", 9}, testID); !errors.Is(err, kafkawire.ErrTopicAlreadyExists) {
		t.Error(err)
	}
	if err := d.get(testID).setTopicID(kafkawire.UUID{6}); !errors.Is(err, kafkawire.ErrInconsistentTopicID) {
		t.Error(err)
	}
	if err := d.remove(partitionID{"x", 0}); !errors.Is(err, kafkawire.ErrUnknownTopicOrPartition) {
		t.Error(err)
	}
	l := d.get(testID)
	mustAppend(t, l, values("v").bytes(t))
	f, err := l.fetch(fetchRequest{maxBytes: 1000, isolation: readAll})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.remove(testID); err != nil {
		t.Error(err)
	}
	if b, err := f.read(make([]byte, f.size())); len(b) == 0 || err != nil {
		t.Error("who reads from it may go on:", err)
	}
	f.close()
	if _, err := l.append(&appendRequest{records: values("v").bytes(t)}); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if names, _ := m.Dirs("d"); !slices.Equal(names, []string{"t-1", "t-2"}) {
		t.Error(names)
	}
	if d.get(testID) != nil || len(d.all()) != 2 {
		t.Error(d.all())
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
	if _, err := d.create(kafkawire.UUID{5}, smallConfig(), partitionID{"t", 9}, testID); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	for _, o := range []logDirOptions{{nodeID: 3}, {clusterID: "other"}} {
		o.fs = m
		if _, err := openLogDir("d", &o); !errors.Is(err, kafkawire.ErrInconsistentClusterID) {
			t.Error(err)
		}
	}
}

// TestOtherDirectories: what is no log of ours is left alone, what was being removed is removed.
func TestOtherDirectories(t *testing.T) {
	m := vfs.NewMem()
	for _, name := range []string{"d/__cluster_metadata-0/x.log", "d/t-0.abc-stray/x", "d/t-0.abc-future/x", "d/t-0.abc-delete/x", "d/t-0.abc-delete/y", "d/other/x"} {
		if err := writeFile(m, name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	d := testDir(t, m, nil)
	if len(d.all()) != 0 {
		t.Error(d.all())
	}
	if names, _ := m.Dirs("d"); !slices.Equal(names, []string{"__cluster_metadata-0", "other", "t-0.abc-future", "t-0.abc-stray"}) {
		t.Error(names)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

// TestFewOpenFiles: many logs need few open files.
func TestFewOpenFiles(t *testing.T) {
	m := vfs.NewMem()
	d := testDir(t, m, &logDirOptions{maxOpen: 4})
	for round := range 3 {
		for i := range int32(20) {
			id := partitionID{"t", i}
			if round == 0 {
				if _, err := createOne(d, kafkawire.UUID{5}, smallConfig(), id); err != nil {
					t.Fatal(err)
				}
			}
			mustAppend(t, d.get(id), values("v").bytes(t))
		}
	}
	for i := range int32(20) {
		wantContents(t, d.get(partitionID{"t", i}), 0, readAll, "0:v 1:v 2:v")
	}
	if n := len(d.handles.open); n > 5 {
		t.Errorf("%d open files", n)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

// TestFileMadeAnew: a file that is made in the place of one that is open is open once.
func TestFileMadeAnew(t *testing.T) {
	m := vfs.NewMem()
	p := &handlePool{fs: m, max: 10}
	h := p.file("d/f")
	for range 3 {
		f, err := h.create()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("x"), 0); err != nil || len(p.open) != 1 || h.f != f {
			t.Error(err, len(p.open))
		}
		h.release()
		if err := m.Remove("d/f"); err != nil {
			t.Fatal(err)
		}
	}
	if h.shut(); len(p.open) != 0 {
		t.Error(len(p.open))
	}
}

// TestBackground: retention, compaction, flushes at intervals and checkpoints happen by themselves.
func TestBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		plain, compacted := smallConfig(), smallConfig()
		plain.retentionMs, plain.flush, plain.flushEvery = 60_000, flushInterval, time.Second
		compacted.delete, compacted.compact = false, true
		d := testDir(t, m, nil)
		d.start()
		a, err := createOne(d, kafkawire.UUID{5}, plain, partitionID{"a", 0})
		if err != nil {
			t.Fatal(err)
		}
		b, err := createOne(d, kafkawire.UUID{6}, compacted, partitionID{"b", 0})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			now := time.Now().UnixMilli()
			for _, l := range []*partitionLog{a, b} {
				r := testBatch{records: []testRecord{{now, fmt.Sprint("k", i%3), fmt.Sprint("v", i)}}}
				if _, err := l.append(&appendRequest{records: r.bytes(t), now: now}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if s := a.state(); s.durable < 99 {
			t.Errorf("flushed up to %d", s.durable)
		}
		if s := b.state(); s.durable > 99 || s.recovery == 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if s := a.state(); s.start != 100 || s.segments != 1 {
			t.Errorf("retention: %+v", s)
		}
		if got := len(strings.Fields(contents(t, b, 0, readAll))); got > 40 {
			t.Errorf("compaction left %d records", got)
		}
		if d.loadOffsets(cleanerFile)[b.id] == 0 || d.loadOffsets(recoveryPointFile)[a.id] != 100 || d.loadOffsets(highWatermarkFile)[b.id] != 100 {
			t.Error(d.loadOffsets(cleanerFile), d.loadOffsets(recoveryPointFile), d.loadOffsets(highWatermarkFile))
		}
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
}

// TestBackgroundDuringCompaction: retention and checkpoints do not wait for a compaction that takes long.
func TestBackgroundDuringCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		plain, both := smallConfig(), smallConfig()
		plain.retentionMs, both.compact = 60_000, true
		d := testDir(t, m, nil)
		var logs []*partitionLog
		for i, c := range []*logConfig{plain, both} {
			l, err := createOne(d, kafkawire.UUID{5}, c, partitionID{"t", int32(i)})
			if err != nil {
				t.Fatal(err)
			}
			logs = append(logs, l)
			for i := range 100 {
				mustAppend(t, l, testBatch{records: []testRecord{{time.Now().UnixMilli(), fmt.Sprint("k", i%3), "v"}}}.bytes(t))
			}
		}
		d.flusher.wait()
		goOn := make(chan bool)
		m.SetFail(func(op vfs.Op, name string) error {
			if op == vfs.OpCreate && strings.HasSuffix(name, logSuffix+cleanedSuffix) {
				<-goOn
			}
			return nil
		})
		d.start()
		time.Sleep(11 * time.Minute)
		if s := logs[0].state(); s.start != 100 {
			t.Errorf("%+v", s)
		}
		if starts := d.loadOffsets(logStartFile); starts[logs[0].id] != 100 {
			t.Error(starts)
		}
		close(goOn)
		synctest.Wait()
		if got := len(strings.Fields(contents(t, logs[1], 0, readAll))); got > 40 {
			t.Errorf("compaction left %d records", got)
		}
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
}

// TestSyncer: who waits is told when it is durable, whatever is synced how.
func TestSyncer(t *testing.T) {
	for _, from := range []int{-1, 4} {
		m := vfs.NewMem()
		d := testDir(t, m, &logDirOptions{syncAllFrom: from})
		var logs []*partitionLog
		for i := range int32(6) {
			l, err := createOne(d, kafkawire.UUID{5}, smallConfig(), partitionID{"t", i})
			if err != nil {
				t.Fatal(err)
			}
			logs = append(logs, l)
		}
		for round := range 5 {
			done := make(waiter, len(logs))
			waiting := 0
			for _, l := range logs[:1+round] {
				r := mustAppend(t, l, values("v").bytes(t))
				pending, err := l.await(r.end, done)
				if err != nil {
					t.Fatal(err)
				}
				if pending {
					waiting++
				}
			}
			for range waiting {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
			for i, l := range logs[:1+round] {
				if s := l.state(); s.durable != s.end {
					t.Errorf("log %d: %+v", i, s)
				}
				if pending, err := l.await(l.state().end, done); pending || err != nil {
					t.Error(pending, err)
				}
			}
		}
		again := testDir(t, m.DropClone(), nil)
		for i := range int32(5) {
			if end := again.get(partitionID{"t", i}).state().end; end != int64(5-i) {
				t.Errorf("log %d ends at %d", i, end)
			}
		}
		if d.sync.rounds == 0 || d.sync.files == 0 || from < 0 && d.sync.all != 0 {
			t.Errorf("%d rounds, %d files, %d of all", d.sync.rounds, d.sync.files, d.sync.all)
		}
		if err := errors.Join(d.close(), again.close()); err != nil {
			t.Error(err)
		}
		if pending, err := logs[0].await(99, make(waiter)); pending || !errors.Is(err, errClosed) {
			t.Error(pending, err)
		}
	}
}

// TestFlushMessages: flush.messages makes a log durable without anybody who waits.
func TestFlushMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := smallConfig()
		c.flushMessages = 10
		l, _ := testLog(t, c)
		fill(t, l, 4)
		synctest.Wait()
		if s := l.state(); s.durable != 0 {
			t.Errorf("%+v", s)
		}
		fill(t, l, 1)
		synctest.Wait()
		if s := l.state(); s.durable != 10 {
			t.Errorf("%+v", s)
		}
	})
}

// TestCreateMany makes the logs of a topic at once: all are durable, or none is there.
func TestCreateMany(t *testing.T) {
	for _, from := range []int{-1, 1} {
		m := vfs.NewMem()
		d := testDir(t, m, &logDirOptions{syncAllFrom: from})
		var ids []partitionID
		for i := range int32(50) {
			ids = append(ids, partitionID{"t", i})
		}
		made, err := d.create(kafkawire.UUID{5}, smallConfig(), ids...)
		if err != nil || len(made) != 50 || made[7] != d.get(ids[7]) {
			t.Fatal(err)
		}
		again := testDir(t, m.DropClone(), nil)
		for _, id := range ids {
			if l := again.get(id); l == nil || l.topicID != (kafkawire.UUID{5}) {
				t.Error(id, l)
			}
		}
		m.SetFail(func(op vfs.Op, name string) error {
			if strings.HasPrefix(name, "d/u-33/") && op == vfs.OpCreate || op == vfs.OpRemove && strings.HasPrefix(name, "d/u-2/") {
				return syscall.EIO
			}
			return nil
		})
		for i := range ids {
			ids[i].topic = "u"
		}
		if _, err := d.create(kafkawire.UUID{6}, smallConfig(), ids...); !errors.Is(err, syscall.EIO) {
			t.Error(err)
		}
		m.SetFail(nil)
		if d.get(partitionID{"u", 0}) != nil {
			t.Error("a log is there")
		}
		if _, err := d.create(kafkawire.UUID{6}, smallConfig(), ids...); err != nil {
			t.Error(err)
		}
		if err := errors.Join(d.close(), again.close()); err != nil {
			t.Error(err)
		}
	}
}

// TestCrashWhileMaking: whenever the power is lost while logs are made, the directory opens.
func TestCrashWhileMaking(t *testing.T) {
	m := vfs.NewMem()
	d := testDir(t, m, &logDirOptions{syncAllFrom: -1})
	var clones []*vfs.Mem
	m.SetFail(func(op vfs.Op, name string) error {
		for seed := range uint64(3) {
			clones = append(clones, m.CrashClone(seed))
		}
		return nil
	})
	for _, id := range []partitionID{{"t", 0}, {"u", 0}} {
		if _, err := d.create(kafkawire.UUID{5}, smallConfig(), id); err != nil {
			t.Fatal(err)
		}
	}
	m.SetFail(nil)
	for _, c := range clones {
		d := testDir(t, c, nil)
		for _, l := range d.all() {
			if !l.topicID.IsZero() && l.topicID != (kafkawire.UUID{5}) {
				t.Error(l.topicID)
			}
			if err := l.setTopicID(kafkawire.UUID{5}); err != nil {
				t.Error(err)
			}
			mustAppend(t, l, values("v").bytes(t))
		}
		if err := d.close(); err != nil {
			t.Error(err)
		}
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

func TestFlushPolicies(t *testing.T) {
	const never = math.MaxInt64
	for _, tt := range []struct {
		messages, ms int64
		policy       flushPolicy
		every        time.Duration
		after        int64
	}{
		{never, never, flushNever, 0, 0},
		{1, never, flushSync, 0, 0},
		{1, 50, flushSync, 50 * time.Millisecond, 0},
		{never, 1000, flushInterval, time.Second, 0},
		{500, never, flushNever, 0, 500},
		{500, 0, flushInterval, time.Millisecond, 500},
	} {
		c := defaultLogConfig()
		c.setFlush(tt.messages, tt.ms)
		if c.flush != tt.policy || c.flushEvery != tt.every || c.flushMessages != tt.after || c.acksWait() != (tt.messages == 1) {
			t.Errorf("%+v: %v %v %d", tt, c.flush, c.flushEvery, c.flushMessages)
		}
	}
}
