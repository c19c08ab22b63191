package kafkabroker

import (
	"fmt"
	"math"
	"testing"

	"github.com/quartet-mq/quartet/kafka"
)

// TestRecoverCompactedBefore: what compaction has removed is no hole, also where the topic is not compacted any more when the
// log is recovered, and where it is not known how far it was durable.
func TestRecoverCompactedBefore(t *testing.T) {
	l, m := compactLog(t)
	var want string
	for i := range 40 {
		keyed(t, l, fmt.Sprint("a=", i), fmt.Sprint("b", i%9, "=", i))
	}
	settle(t, l)
	keyed(t, l, "c=1")
	now := l.dir.opt.cleanEvery.Milliseconds()
	l.dir.cleaner = new(offsetMap)
	if err := l.dir.cleanLog(l, now); err != nil {
		t.Fatal(err)
	}
	want = contents(t, l, 0, readAll)
	for _, checkpoint := range []bool{false, true} {
		if checkpoint {
			if err := l.dir.saveCheckpoints(); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.SyncAll("d"); err != nil {
			t.Fatal(err)
		}
		d := testDir(t, m.DropClone(), nil) // the process ends; the policy is delete now
		wantContents(t, d.get(testID), 0, readAll, want)
		if err := d.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRecoverManyTransactions: what recovery remembers of transactions does not grow with those that are over.
func TestRecoverManyTransactions(t *testing.T) {
	c := smallConfig()
	c.segmentBytes = 1 << 20
	l, _ := testLog(t, c)
	for i := range int32(50) {
		mustAppend(t, l, testBatch{records: []testRecord{{value: "v"}}, producer: 5, sequence: i, txn: true}.bytes(t))
		mustAppendFrom(t, l, marker(t, 5, 0, kafka.ControlType(i%2), 0, 1000), fromCoordinator)
	}
	mustAppend(t, l, testBatch{records: []testRecord{{value: "v"}}, producer: 6, txn: true}.bytes(t))
	replayed, recovered := newProducerTable(), newProducerTable()
	if err := l.replayTo(replayed, 101, math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	if end, cut, err := l.recoverSegment(l.segs[0], recovered); end != 101 || cut || err != nil {
		t.Fatal(end, cut, err)
	}
	if err := l.active().remember(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*producerTable{replayed, recovered} {
		if len(p.txns) != 1 || p.txns[0].producerID != 6 || len(p.m) != 2 {
			t.Errorf("%+v", p.txns)
		}
	}
	if list, err := l.abortedIn(0, 101); len(list) != 25 || err != nil {
		t.Error(list, err)
	}
}
