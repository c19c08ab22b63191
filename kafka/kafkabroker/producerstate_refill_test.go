package kafkabroker

import (
	"fmt"
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
