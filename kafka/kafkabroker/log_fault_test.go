package kafkabroker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// faultyLogs runs logs whose n-th operation on the file system fails, and everything after it too if stuck is set. It
// returns false when there were not so many operations.
func faultyLogs(t *testing.T, n int, failure error, stuck bool) bool {
	t.Helper()
	w := newWorld(uint64(n), flushSync)
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	ops := make(chan int, 1)
	ops <- 0
	w.fs.SetFail(func(op vfs.Op, name string) error {
		if op == vfs.OpRead || op == vfs.OpOpen {
			return nil
		}
		k := <-ops + 1
		ops <- k
		if k == n || stuck && k > n {
			if op == vfs.OpWrite && n%3 == 0 {
				return &vfs.PartialError{N: n * 37 % 600, Err: failure}
			}
			return failure
		}
		return nil
	})
	for i := range 150 {
		err := w.act()
		if err != nil && !errors.Is(err, failure) && !errors.Is(err, kafkawire.ErrKafkaStorageError) {
			t.Fatalf("operation %d, action %d: %v", n, i, err)
		}
		if w.d.failure() != nil {
			break
		}
	}
	count := <-ops
	ops <- count
	if failed := w.d.failure(); failed != nil {
		for _, m := range w.logs {
			l := w.d.get(m.id)
			if _, err := l.append(&appendRequest{records: values("x").raw()}); !errors.Is(err, kafkawire.ErrKafkaStorageError) && !errors.Is(err, kafkawire.ErrInvalidRecord) {
				t.Errorf("operation %d: %v", n, err)
			}
			if _, err := l.await(1<<60, make(waiter)); !errors.Is(err, kafkawire.ErrKafkaStorageError) {
				t.Errorf("operation %d: %v", n, err)
			}
		}
	}
	c := crash{fs: w.fs.CrashClone(uint64(n))}
	if n%2 == 0 {
		c.fs = w.fs.DropClone()
	}
	for _, m := range w.logs {
		c.acked = append(c.acked, m.acked.Load())
	}
	closed := w.d.close()
	if w.d.failure() != nil && closed == nil {
		t.Errorf("operation %d: a directory that has failed was closed in order", n)
	}
	d, err := w.verify(c)
	if err != nil {
		t.Errorf("operation %d: %v", n, err)
		return false
	}
	if err := d.close(); err != nil {
		t.Errorf("operation %d: %v", n, err)
	}
	return count >= n
}

// TestErrorAtEachOperation: whatever fails, what was acknowledged is there.
func TestErrorAtEachOperation(t *testing.T) {
	for _, failure := range []error{syscall.EIO, syscall.ENOSPC} {
		for _, stuck := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v,stuck=%t", failure, stuck), func(t *testing.T) {
				n := 1
				for faultyLogs(t, n, failure, stuck) && !t.Failed() {
					n += 1 + n/30
				}
				t.Logf("%d operations", n)
			})
		}
	}
}

// TestFullDisk: an append that finds no room changes nothing, and when there is room again the log goes on.
func TestFullDisk(t *testing.T) {
	l, m := testLog(t, smallConfig())
	want := fill(t, l, 20)
	free, total, _ := m.Free("d")
	m.SetCapacity(total - free + 50)
	for range 3 {
		_, err := l.append(&appendRequest{records: values("x", "y").bytes(t)})
		if !errors.Is(err, kafkawire.ErrKafkaStorageError) || !vfs.IsNoSpace(err) || l.dir.failure() != nil {
			t.Fatal(err)
		}
	}
	if got := contents(t, l, 0, readAll); len(got) == 0 || l.state().end != 40 {
		t.Error(got)
	}
	m.SetCapacity(1 << 40)
	if r := mustAppend(t, l, values("x").bytes(t)); r.base != 40 {
		t.Errorf("%+v", r)
	}
	if err := l.dir.close(); err != nil {
		t.Fatal(err)
	}
	d := testDir(t, m.DropClone(), nil)
	wantContents(t, d.get(testID), 38, readAll, want[38]+" "+want[39]+" 40:x")
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

// TestEpochWithoutRecords: a leader epoch whose first records could not be written leaves nothing behind.
func TestEpochWithoutRecords(t *testing.T) {
	l, m := testLog(t, smallConfig())
	send := func(epoch int32) error {
		_, err := l.append(&appendRequest{records: values("v").raw(), leaderEpoch: epoch})
		return err
	}
	if err := send(1); err != nil {
		t.Fatal(err)
	}
	m.SetFail(func(op vfs.Op, name string) error {
		if op == vfs.OpWrite && strings.HasSuffix(name, logSuffix) {
			return syscall.ENOSPC
		}
		return nil
	})
	if err := send(2); !vfs.IsNoSpace(err) {
		t.Fatal(err)
	}
	m.SetFail(nil)
	if err := send(3); err != nil {
		t.Fatal(err)
	}
	if o := l.latest(readAll); o.epoch != 3 {
		t.Errorf("%+v", o)
	}
	if epoch, end := l.endOfEpoch(2); epoch != 1 || end != 1 {
		t.Error(epoch, end)
	}
	known, err := loadEpochs(m, "d/t-0/"+epochFile)
	if err != nil || !slices.Equal(known, leaderEpochs{{1, 0}, {3, 1}}) {
		t.Error(known, err)
	}
}

// TestEpochsNotDurable: when it is not known whether a directory is durable nothing more is appended.
func TestEpochsNotDurable(t *testing.T) {
	l, m := testLog(t, smallConfig())
	m.SetFail(func(op vfs.Op, name string) error {
		if op == vfs.OpSyncDir {
			return syscall.EIO
		}
		return nil
	})
	if _, err := l.append(&appendRequest{records: values("v").raw(), leaderEpoch: 1}); !errors.Is(err, syscall.EIO) || l.dir.failure() == nil {
		t.Error(err, l.dir.failure())
	}
	m.SetFail(nil)
}
