package journal

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// faulty runs an owner whose n-th operation on the file system fails, and everything after it too if stuck is set. It
// returns false when there were not so many operations.
func faulty(t *testing.T, n int64, err error, stuck bool) bool {
	t.Helper()
	fs := vfs.NewMem()
	w, e := openOwner(fs, simulation(), rand.New(rand.NewPCG(uint64(n), 3)))
	if e != nil {
		t.Fatal(e)
	}
	var ops atomic.Int64
	fs.SetFail(func(op vfs.Op, name string) error {
		if op == vfs.OpRead {
			return nil
		}
		if k := ops.Add(1); k == n || stuck && k > n {
			if op == vfs.OpWrite && n%3 == 0 {
				return &vfs.PartialError{N: int(n*37) % 600, Err: err}
			}
			return err
		}
		return nil
	})
	if e := w.start(); e != nil {
		if ops.Load() < n {
			t.Fatal(e)
		}
		_ = w.j.Close()
		return true
	}
	for range 400 {
		w.act(30)
		if w.rnd.IntN(3) == 0 {
			_ = w.j.Sync(t.Context())
		}
	}
	_ = w.j.Close()
	if w.misorder.Load() {
		t.Errorf("operation %d: done after another outcome", n)
	}
	c := crash{fs: fs.CrashClone(uint64(n)), completed: w.completed.Load()}
	next, e := c.verify(newModel(), w.history, simulation())
	if e != nil {
		t.Errorf("operation %d: %v", n, e)
	}
	if failed := w.failed.Load(); failed != 0 && next > failed {
		t.Errorf("operation %d: record %d has failed, and the next is %d", n, failed, next)
	}
	return ops.Load() >= n
}

// TestErrorAtEachOperation: whatever fails, what was completed is there.
func TestErrorAtEachOperation(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		t.Run(fmt.Sprintf("stuck=%t", stuck), func(t *testing.T) {
			n := int64(1)
			for faulty(t, n, syscall.EIO, stuck) && !t.Failed() {
				n += 1 + n/50
			}
			t.Logf("%d operations", n)
		})
	}
}

// TestFullDiskAtEachOperation: a full disk at any write delays, and fails nothing.
func TestFullDiskAtEachOperation(t *testing.T) {
	for n := int64(1); n < 1000; n += 1 + n/30 {
		more := true
		synctest.Test(t, func(t *testing.T) { more = fullDisk(t, n) })
		if !more || t.Failed() {
			t.Logf("%d operations", n)
			return
		}
	}
}

func fullDisk(t *testing.T, n int64) bool {
	fs := vfs.NewMem()
	w, err := openOwner(fs, simulation(), rand.New(rand.NewPCG(uint64(n), 4)))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	var ops atomic.Int64
	var full atomic.Int64 // until when
	full.Store(time.Now().Add(time.Hour).UnixNano())
	fs.SetFail(func(op vfs.Op, name string) error {
		if op != vfs.OpWrite && op != vfs.OpCreate && op != vfs.OpRename {
			return nil
		}
		k := ops.Add(1)
		if k == n {
			full.Store(time.Now().Add(20 * time.Second).UnixNano())
		}
		if k >= n && time.Now().UnixNano() < full.Load() {
			if op == vfs.OpWrite && n%2 == 0 {
				return &vfs.PartialError{N: int(n*37) % 600, Err: syscall.ENOSPC}
			}
			return syscall.ENOSPC
		}
		return nil
	})
	for i := range 400 {
		w.act(30)
		if w.rnd.IntN(3) == 0 {
			synctest.Wait()
		}
		if i%50 == 0 {
			time.Sleep(time.Second)
		}
	}
	if err := w.j.Sync(t.Context()); err != nil {
		t.Errorf("operation %d: %v", n, err)
	}
	if err := w.j.Close(); err != nil {
		t.Errorf("operation %d: %v", n, err)
	}
	if w.broken.Load() || w.misorder.Load() {
		t.Errorf("operation %d: a token failed", n)
	}
	c := crash{fs: fs.DropClone(), completed: w.completed.Load()}
	if _, err := c.verify(newModel(), w.history, simulation()); err != nil {
		t.Errorf("operation %d: %v", n, err)
	}
	return ops.Load() >= n
}

// TestFullDiskPressure fills a disk and gives it room again.
func TestFullDiskPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		j := mustOpen(t, "d", &Options{FS: fs, SegmentSize: 64 << 10, MinFree: -1})
		c := newCollector()
		if err := j.Start(c.handler()); err != nil {
			t.Fatal(err)
		}
		fs.SetCapacity(200 << 10)
		for i := range 1000 {
			appendAll(j, i, 300)
			synctest.Wait()
		}
		synctest.Wait()
		if p := j.Pressure(); p != Full {
			t.Errorf("pressure %v", p)
		}
		if len(c.done) == 0 || len(c.done) > 700 {
			t.Errorf("%d records are completed", len(c.done))
		}
		time.Sleep(time.Minute)
		fs.SetCapacity(1 << 20)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if p := j.Pressure(); p != None {
			t.Errorf("pressure %v", p)
		}
		if len(c.done) != 1000 {
			t.Errorf("%d records are completed", len(c.done))
		}
		if n := len(c.levels); n < 2 || c.levels[n-1] != None || c.levels[n-2] != Full {
			t.Errorf("pressure was %v", c.levels)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestCloseWithFullDisk: tokens fail, nothing hangs.
func TestCloseWithFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		j := mustOpen(t, "d", &Options{FS: fs, SegmentSize: 64 << 10, MinFree: -1})
		c := newCollector()
		if err := j.Start(c.handler()); err != nil {
			t.Fatal(err)
		}
		fs.SetFail(func(op vfs.Op, _ string) error {
			if op == vfs.OpWrite {
				return syscall.ENOSPC
			}
			return nil
		})
		appendAll(j, 0, 10, 20, 30)
		time.Sleep(time.Second)
		if err := j.Close(); err == nil {
			t.Error("no error")
		}
		if len(c.outcomes) != 3 || c.outcomes[0] != Failed {
			t.Errorf("outcomes %v", c.outcomes)
		}
	})
}
