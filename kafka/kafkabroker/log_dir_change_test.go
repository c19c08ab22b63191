package kafkabroker

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// makeAgain removes the log of a partition and makes another one of the same name.
func makeAgain(t *testing.T, d *logDir, c *logConfig) *partitionLog {
	t.Helper()
	if d.get(testID) != nil {
		if err := d.remove(testID); err != nil {
			t.Fatal(err)
		}
	}
	l, err := createOne(d, kafkawire.UUID{8}, c, testID)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestCheckpointsOfOldLog: what the checkpoints say about a log that was removed is not taken for what is to be known of a
// new one of its name. Its records would be before its start, or not be looked at after a loss of power.
func TestCheckpointsOfOldLog(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%t", restart), func(t *testing.T) {
			fs := vfs.NewMem()
			c := smallConfig()
			c.flush = flushSync
			o := &logDirOptions{config: func(string) *logConfig { return c }}
			d := testDir(t, fs, o)
			l, err := createOne(d, kafkawire.UUID{7}, c, testID)
			if err != nil {
				t.Fatal(err)
			}
			fill(t, l, 50)
			if _, err := l.deleteRecords(90); err != nil {
				t.Fatal(err)
			}
			d.flusher.wait()
			if err := d.saveCheckpoints(); err != nil {
				t.Fatal(err)
			}
			if restart { // between removing the old log and making the new one
				if err := d.remove(testID); err != nil {
					t.Fatal(err)
				}
				fs = fs.DropClone()
				d = testDir(t, fs, o)
			}
			l = makeAgain(t, d, c)
			want := strings.Join(fill(t, l, 20), " ")
			done := make(waiter, 1)
			pending, err := l.await(40, done)
			if pending {
				err = <-done
			}
			if err != nil {
				t.Fatal(err)
			}
			f, err := fs.Open("d/t-0/" + segmentFile(0, logSuffix))
			if err == nil {
				_, err = f.WriteAt([]byte{9}, 65) // damage that recovery is to find
			}
			damaged := fs.DropClone()
			if err == nil {
				err = errors.Join(f.Sync(), fs.SyncDir("d"))
			}
			if err != nil {
				t.Fatal(err)
			}
			again := testDir(t, damaged, o)
			wantContents(t, again.get(testID), 0, readAll, want)
			again = testDir(t, fs.DropClone(), o)
			if s := again.get(testID).state(); s.end != 0 || s.start != 0 {
				t.Errorf("the first batch is damaged: %+v", s)
			}
		})
	}
}

// TestCreateUndone: of logs that could not be made nothing comes back in a crash, and no file stays open. A directory that no
// topic knows would keep the broker from starting, or become a topic.
func TestCreateUndone(t *testing.T) {
	m := vfs.NewMem()
	d := testDir(t, m, &logDirOptions{syncAllFrom: -1})
	var mu sync.Mutex
	var ops []string
	m.SetFail(func(op vfs.Op, name string) error {
		mu.Lock()
		defer mu.Unlock()
		if op == vfs.OpSyncDir && name == "d/t-1" {
			return syscall.ENOSPC
		}
		ops = append(ops, fmt.Sprint(op, " ", name))
		return nil
	})
	if _, err := d.create(kafkawire.UUID{7}, smallConfig(), testID, partitionID{"t", 1}); !vfs.IsNoSpace(err) || d.failure() != nil {
		t.Fatal(err, d.failure())
	}
	if n := len(ops); n == 0 || ops[n-1] != fmt.Sprint(vfs.OpSyncDir, " d") {
		t.Error(ops)
	}
	if len(d.handles.open) != 0 {
		t.Error(len(d.handles.open), "files are open")
	}
	m.SetFail(nil)
	if err := d.close(); err != nil {
		t.Error(err)
	}
}
