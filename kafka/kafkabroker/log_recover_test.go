package kafkabroker

import (
	"fmt"
	"testing"
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
