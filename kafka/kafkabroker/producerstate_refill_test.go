package kafkabroker

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestWindowAfterRestarts: a producer with several batches on the way sends all of them again, after one restart or two, in
// order or not, and none is taken twice.
func TestWindowAfterRestarts(t *testing.T) {
	for _, segment := range []int64{1 << 20, 300} {
		for restarts := range 4 {
			t.Run(fmt.Sprintf("segment=%d,restarts=%d", segment, restarts), func(t *testing.T) {
				fs := vfs.NewMem()
				c := smallConfig()
				c.segmentBytes = segment
				open := func() (*logDir, *partitionLog) {
					d := testDir(t, fs, &logDirOptions{config: func(string) *logConfig { return c }})
					if l := d.get(testID); l != nil {
						return d, l
					}
					l, err := createOne(d, kafkawire.UUID{7}, c, testID)
					if err != nil {
						t.Fatal(err)
					}
					return d, l
				}
				d, l := open()
				now := time.Now().UnixMilli()
				var sent [][]byte
				for producer := int64(1); producer <= 2; producer++ {
					for n := range int32(9) {
						b := testBatch{records: []testRecord{{time: now, value: fmt.Sprint(producer, n)}}, producer: producer, sequence: n}
						sent = append(sent, b.raw())
						mustAppend(t, l, b.raw())
					}
				}
				for n := range restarts {
					if n%2 == 0 {
						if err := fs.SyncAll("d"); err != nil {
							t.Fatal(err)
						}
						fs = fs.DropClone() // the process ends and nothing is lost
					} else if err := d.close(); err != nil {
						t.Fatal(err)
					}
					d, l = open()
				}
				for _, first := range []int{4, 13} {
					for i := range 5 {
						if r := mustAppend(t, l, sent[first+i]); !r.duplicate || r.base != int64(first+i) {
							t.Errorf("batch %d: %+v", first+i, r)
						}
					}
				}
				_ = d.close()
			})
		}
	}
}

// TestMissedBatch: when the first batch of a producer cannot be written, those that follow it on the way wait for it to be
// sent again. They would be in the place of the first otherwise.
func TestMissedBatch(t *testing.T) {
	l, fs := testLog(t, smallConfig())
	send := func(sequence int32, epoch int16) (appendResult, error) {
		b := testBatch{records: []testRecord{{value: fmt.Sprint(sequence)}}, producer: 1, epoch: epoch, sequence: sequence}
		return l.append(&appendRequest{records: b.raw(), leaderEpoch: 1, now: 1000})
	}
	fs.SetFail(func(op vfs.Op, name string) error {
		if op == vfs.OpWrite {
			return syscall.ENOSPC
		}
		return nil
	})
	if _, err := send(0, 0); !vfs.IsNoSpace(err) {
		t.Fatal(err)
	}
	fs.SetFail(nil)
	if _, err := send(1, 0); !errors.Is(err, kafkawire.ErrOutOfOrderSequenceNumber) {
		t.Error(err)
	}
	for _, sequence := range []int32{0, 1} {
		if _, err := send(sequence, 0); err != nil {
			t.Error(err)
		}
	}
	wantContents(t, l, 0, readUncommitted, "0:0 1:1")
}
