package kafkabroker

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestConcurrentUse: everybody appends, reads, searches, waits, compacts and removes at once. Readers see offsets in order
// and never an error but that records are gone.
func TestConcurrentUse(t *testing.T) {
	m := vfs.NewMem()
	c := smallConfig()
	c.compact, c.segmentBytes, c.retentionBytes, c.flush = true, 2000, 20_000, flushSync
	d := testDir(t, m, &logDirOptions{maxOpen: 3, config: func(string) *logConfig { return c }})
	l, err := createOne(d, kafkawire.UUID{1}, c, testID)
	if err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var appenders, others sync.WaitGroup
	for p := range int64(3) {
		appenders.Go(func() {
			done := make(waiter, 1)
			for i := range int32(400) {
				b := testBatch{producer: p + 1, sequence: 2 * i}
				for range 2 {
					b.records = append(b.records, testRecord{int64(i), fmt.Sprint("k", i%20), fmt.Sprint(p, "-", i)})
				}
				r, err := l.append(&appendRequest{records: b.raw(), now: int64(i)})
				if err != nil || r.duplicate {
					t.Errorf("%+v, %v", r, err)
					return
				}
				if pending, err := l.await(r.end, done); err != nil {
					t.Error(err)
				} else if pending {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	work := func(f func() error) {
		others.Go(func() {
			for !stop.Load() {
				if err := f(); err != nil && !errors.Is(err, kafkawire.ErrOffsetOutOfRange) && !errors.Is(err, errAborted) {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 2 {
		work(func() error {
			s := l.state()
			text, err := readContents(l, s.start, isolation(i))
			last := int64(-1)
			for _, r := range strings.Fields(text) {
				offset := int64(0)
				if _, err := fmt.Sscanf(r, "%d", &offset); err != nil || offset <= last {
					return fmt.Errorf("%s after %d", r, last)
				}
				last = offset
			}
			return err
		})
	}
	work(func() error { _, _, err := l.offsetFor(200); return err })
	work(func() error { _, _, err := l.latestTime(); return err })
	work(func() error { _, err := l.retain(1000); return err })
	work(func() error { return d.saveCheckpoints() })
	var keys offsetMap
	work(func() error { _, err := l.clean(&keys, 1000); return err })
	appenders.Wait()
	stop.Store(true)
	others.Wait()
	if s := l.state(); s.end != 2400 {
		t.Errorf("%+v", s)
	}
	text := contents(t, l, l.state().start, readAll)
	if err := d.close(); err != nil {
		t.Error(err)
	}
	d = testDir(t, m.DropClone(), &logDirOptions{config: func(string) *logConfig { return c }})
	wantContents(t, d.get(testID), d.get(testID).state().start, readAll, text)
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

// TestRemovedWhileSynced: a log that is removed while a round syncs it is no failure of the directory.
func TestRemovedWhileSynced(t *testing.T) {
	for _, at := range []vfs.Op{vfs.OpSync, vfs.OpSyncDir} {
		m := vfs.NewMem()
		c := smallConfig()
		c.flush = flushSync
		d := testDir(t, m, &logDirOptions{syncAllFrom: -1, config: func(string) *logConfig { return c }})
		l, err := createOne(d, kafkawire.UUID{1}, c, testID)
		if err != nil {
			t.Fatal(err)
		}
		res, err := l.append(&appendRequest{records: values("a").raw()})
		if err != nil {
			t.Fatal(err)
		}
		l.mu.Lock()
		l.dirDirty = at == vfs.OpSyncDir
		l.mu.Unlock()
		var once sync.Once
		m.SetFail(func(op vfs.Op, name string) (err error) {
			if op == at && strings.HasPrefix(name, "d/t-0") {
				once.Do(func() {
					if e := d.remove(testID); e != nil {
						t.Error(e)
					}
					err = fs.ErrNotExist
				})
			}
			return err
		})
		done := make(waiter, 1)
		if pending, err := l.await(res.end, done); err != nil || !pending {
			t.Fatal(pending, err)
		}
		<-done
		if err := d.failure(); err != nil {
			t.Error(at, err)
		}
		if l.dirPath() == "d/t-0" {
			t.Error(at, "it was not removed")
		}
		m.SetFail(nil)
		if err := d.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestReadOfRemovedLog: who comes to a log that was removed is told so.
func TestReadOfRemovedLog(t *testing.T) {
	l, _ := testLog(t, smallConfig())
	mustAppend(t, l, testBatch{records: []testRecord{{5, "", "v"}}, producer: 5, txn: true}.bytes(t))
	mustAppendFrom(t, l, marker(t, 5, 0, 0, 0, 1000), fromCoordinator)
	if err := l.dir.remove(testID); err != nil {
		t.Fatal(err)
	}
	if _, err := l.fetch(fetchRequest{maxBytes: 1000}); !errors.Is(err, kafkawire.ErrNotLeaderOrFollower) {
		t.Error(err)
	}
	if _, err := l.abortedIn(0, 2); !errors.Is(err, kafkawire.ErrNotLeaderOrFollower) {
		t.Error(err)
	}
	if _, _, err := l.offsetFor(1); errorCode(err) != kafkawire.ErrNotLeaderOrFollower {
		t.Error(err)
	}
	if _, _, err := l.latestTime(); errorCode(err) != kafkawire.ErrNotLeaderOrFollower {
		t.Error(err)
	}
}

// tornTree writes entries of transaction indexes in two parts, as a file system may that writes page by page.
type tornTree struct {
	vfs.Tree
	between func()
}

func (t *tornTree) Create(name string) (vfs.File, error) { return t.open(name, t.Tree.Create) }
func (t *tornTree) Open(name string) (vfs.File, error)   { return t.open(name, t.Tree.Open) }

func (t *tornTree) open(name string, open func(string) (vfs.File, error)) (vfs.File, error) {
	f, err := open(name)
	if err != nil || !strings.HasSuffix(name, txnIndexSuffix) {
		return f, err
	}
	return &tornFile{f, t}, nil
}

type tornFile struct {
	vfs.File
	t *tornTree
}

func (f *tornFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p[:len(p)/2], off)
	if err != nil {
		return n, err
	}
	f.t.between()
	m, err := f.File.WriteAt(p[n:], off+int64(n))
	return n + m, err
}

// TestAbortedWhileWritten: who reads a transaction index while an entry is added finds those before it.
func TestAbortedWhileWritten(t *testing.T) {
	fsys := &tornTree{Tree: vfs.NewMem()}
	d := testDir(t, fsys, nil)
	l, err := createOne(d, kafkawire.UUID{1}, smallConfig(), testID)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		fsys.between = func() {
			if list, err := l.abortedIn(0, 100); len(list) != i || err != nil {
				t.Error(i, list, err)
			}
		}
		mustAppend(t, l, testBatch{records: []testRecord{{5, "", "gone"}}, producer: 5, sequence: int32(i), txn: true}.bytes(t))
		mustAppendFrom(t, l, marker(t, 5, 0, kafka.ControlAbort, 0, 1000), fromCoordinator)
	}
	if list, err := l.abortedIn(0, 100); len(list) != 3 || err != nil {
		t.Error(list, err)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}
