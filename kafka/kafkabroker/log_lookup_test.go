package kafkabroker

import (
	"encoding/binary"
	"testing"

	"github.com/quartet-mq/quartet/codec"
)

// TestWrongMaxTimestamp: some clients leave the latest time of a batch out. It is that of its records all the same, for
// searches and for retention.
func TestWrongMaxTimestamp(t *testing.T) {
	for _, wrong := range []int64{-1, 1 << 50} {
		l, _ := testLog(t, smallConfig())
		for i := range int64(30) {
			b := testBatch{records: []testRecord{{time: 1000 + i, value: "a"}, {time: 500, value: "b"}}}.raw()
			binary.BigEndian.PutUint64(b[35:], uint64(wrong))
			binary.BigEndian.PutUint32(b[batchCRCAt:], codec.CRC32C(b[batchDataAt:]))
			mustAppend(t, l, b)
		}
		if o, found, err := l.offsetFor(1010); err != nil || !found || o != (foundOffset{20, 1010, 1}) {
			t.Errorf("%d: %+v, %t, %v", wrong, o, found, err)
		}
		if o, found, err := l.latestTime(); err != nil || !found || o != (foundOffset{58, 1029, 1}) {
			t.Errorf("%d: %+v, %t, %v", wrong, o, found, err)
		}
		c := *l.config()
		c.retentionMs = 100
		l.setConfig(&c)
		if n, err := l.retain(1130); err != nil || l.state().start != 60 {
			t.Errorf("%d: %d segments, %v, %+v", wrong, n, err, l.state())
		}
	}
}

// TestLatestTimeOfWhatIsThere: the latest time is that of a record that can be read: not one before the start of the log,
// nor one that compaction has removed and of which a batch without records is left.
func TestLatestTimeOfWhatIsThere(t *testing.T) {
	l, _ := testLog(t, smallConfig())
	for _, time := range []int64{900, 100, 300, 200, 300} {
		mustAppend(t, l, testBatch{records: []testRecord{{time: time, value: "v"}, {time: time - 10, value: "v"}}}.bytes(t))
	}
	settle(t, l)
	mustAppend(t, l, testBatch{records: []testRecord{{time: 250, value: "v"}}}.bytes(t))
	for _, want := range []foundOffset{{0, 900, 1}, {1, 890, 1}, {4, 300, 1}, {5, 290, 1}} {
		if _, err := l.deleteRecords(want.offset); err != nil {
			t.Fatal(err)
		}
		if want.offset == 5 {
			want = foundOffset{8, 300, 1}
		}
		if o, found, err := l.latestTime(); err != nil || !found || o != want {
			t.Errorf("%+v, %t, %v; want %+v", o, found, err, want)
		}
	}
	if _, err := l.deleteRecords(9); err != nil {
		t.Fatal(err)
	}
	if o, found, err := l.latestTime(); err != nil || !found || o != (foundOffset{9, 290, 1}) {
		t.Errorf("%+v, %t, %v", o, found, err)
	}
	if _, err := l.deleteRecords(-1); err != nil {
		t.Fatal(err)
	}
	if o, found, err := l.latestTime(); err != nil || found {
		t.Errorf("%+v, %t, %v", o, found, err)
	}

	l, _ = compactLog(t)
	mustAppend(t, l, testBatch{records: []testRecord{{time: 900, key: "a", value: "1"}}, producer: 5}.bytes(t))
	mustAppend(t, l, testBatch{records: []testRecord{{time: 100, key: "b", value: "1"}}}.bytes(t))
	mustAppend(t, l, testBatch{records: []testRecord{{time: 200, key: "a", value: "2"}}}.bytes(t))
	settle(t, l)
	mustClean(t, l, 5000)
	wantContents(t, l, 0, readAll, "1:b=1 2:a=2")
	if o, found, err := l.latestTime(); err != nil || !found || o != (foundOffset{2, 200, 1}) {
		t.Errorf("%+v, %t, %v", o, found, err)
	}
}
