package kafkabroker

import (
	"errors"
	"fmt"
	"strings"
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
