package kafkabroker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// fill appends n batches of two records and returns what contents shows for them.
func fill(t *testing.T, l *partitionLog, n int) (want []string) {
	t.Helper()
	for i := range n {
		r := mustAppend(t, l, values(fmt.Sprint("a", i), fmt.Sprint("b", i)).bytes(t))
		if r.last != r.base+1 || r.start != 0 || r.appendTime != -1 || r.end != r.last+1 || r.duplicate {
			t.Fatalf("%+v", r)
		}
		want = append(want, fmt.Sprintf("%d:a%d", r.base, i), fmt.Sprintf("%d:b%d", r.last, i))
	}
	return want
}

func TestAppendAndRead(t *testing.T) {
	l, _ := testLog(t, smallConfig())
	want := fill(t, l, 100)
	for _, offset := range []int{0, 1, 57, 100, 199, 200} {
		wantContents(t, l, int64(offset), readUncommitted, strings.Join(want[offset:], " "))
	}
	for _, offset := range []int64{-1, 201} {
		if _, err := l.fetch(fetchRequest{offset: offset}); !errors.Is(err, kafkawire.ErrOffsetOutOfRange) {
			t.Error(err)
		}
	}
	if s := l.state(); s.segments < 8 || s.end != 200 || s.highWatermark != 200 || s.lastStable != 200 || s.epoch != 1 || l.size() < 7000 {
		t.Errorf("%+v, %d bytes", s, l.size())
	}
	f, err := l.fetch(fetchRequest{offset: 0, maxBytes: 10})
	if err != nil || f.size() != 10 {
		t.Fatal(f.size(), err)
	}
	if b, err := f.read(make([]byte, 10)); len(b) != 0 || err != nil || f.next != 0 {
		t.Error(b, err)
	}
	f.close()
}

// TestReopen opens a log again after it was closed and after it was not.
func TestReopen(t *testing.T) {
	for _, clean := range []bool{true, false} {
		l, m := testLog(t, smallConfig())
		want := fill(t, l, 100)
		if clean {
			if err := l.dir.close(); err != nil {
				t.Fatal(err)
			}
		} else if err := m.SyncAll("d"); err != nil {
			t.Fatal(err)
		}
		d := testDir(t, m.DropClone(), nil)
		if d.wasClean != clean {
			t.Error("clean", d.wasClean)
		}
		again := d.get(testID)
		if again == nil || again.topicID != (kafkawire.UUID{7}) {
			t.Fatal(again)
		}
		wantContents(t, again, 0, readUncommitted, strings.Join(want, " "))
		if r := mustAppend(t, again, values("more").bytes(t)); r.base != 200 {
			t.Errorf("%+v", r)
		}
		wantContents(t, again, 198, readUncommitted, want[198]+" "+want[199]+" 200:more")
		if err := d.close(); err != nil {
			t.Error(err)
		}
		if err := d.close(); err != nil {
			t.Error(err)
		}
		if _, err := again.append(&appendRequest{records: values("x").bytes(t)}); !errors.Is(err, errClosed) {
			t.Error(err)
		}
	}
}

func TestTransactions(t *testing.T) {
	l, _ := testLog(t, smallConfig())
	put := func(producer int64, sequence int32, value string) {
		b := testBatch{records: []testRecord{{value: value}}, producer: producer, txn: true, sequence: sequence}
		mustAppend(t, l, b.bytes(t))
	}
	put(1, 0, "one")
	put(2, 0, "two")
	mustAppend(t, l, values("plain").bytes(t))
	put(1, 1, "three")
	wantContents(t, l, 0, readCommitted, "")
	if !l.hasTransaction(1, 0) || l.hasTransaction(1, 1) || l.hasTransaction(3, 0) {
		t.Error("transactions")
	}
	mustAppendFrom(t, l, marker(t, 1, 0, kafka.ControlAbort, 3, 0), fromCoordinator)
	wantContents(t, l, 0, readCommitted, "")
	if s := l.state(); s.lastStable != 1 || l.latest(readCommitted).offset != 1 || l.latest(readUncommitted).offset != 5 {
		t.Errorf("%+v", s)
	}
	put(1, 2, "four")
	mustAppendFrom(t, l, marker(t, 2, 0, kafka.ControlCommit, 3, 0), fromCoordinator)
	wantContents(t, l, 0, readCommitted, "1:two 2:plain 4!abort")
	mustAppendFrom(t, l, marker(t, 1, 0, kafka.ControlCommit, 3, 0), fromCoordinator)
	wantContents(t, l, 0, readCommitted, "1:two 2:plain 4!abort 5:four 6!commit 7!commit")
	wantContents(t, l, 0, readUncommitted, "0:one 1:two 2:plain 3:three 4!abort 5:four 6!commit 7!commit")
	list, err := l.abortedIn(0, 8)
	if err != nil || len(list) != 1 || list[0] != (abortedTxn{1, 0, 4, 1}) {
		t.Error(list, err)
	}
	// The last sequence number is that of the last record, a marker has none.
	if got := l.activeProducers(); len(got) != 2 || got[0] != (activeProducer{1, 0, 2, 0, 3, -1}) || got[1] != (activeProducer{2, 0, 0, 0, 3, -1}) {
		t.Errorf("%+v", got)
	}
	l.expireProducers(5000, 1000)
	if got := l.activeProducers(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestMarkers: what a coordinator may not write.
func TestMarkers(t *testing.T) {
	l, _ := testLog(t, smallConfig())
	data := testBatch{records: []testRecord{{value: "v"}}, producer: 1, epoch: 5, txn: true}
	mustAppend(t, l, data.bytes(t))
	write := func(epoch int16, coordinator int32, version int16) error {
		_, err := l.append(&appendRequest{records: marker(t, 1, epoch, kafka.ControlCommit, coordinator, 0), origin: fromCoordinator, txnVersion: version})
		return err
	}
	if err := write(4, 0, 0); !errors.Is(err, kafkawire.ErrInvalidProducerEpoch) {
		t.Error(err)
	}
	if err := write(5, 0, 2); !errors.Is(err, kafkawire.ErrInvalidProducerEpoch) {
		t.Error("with version 2 each transaction has an epoch of its own:", err)
	}
	if err := write(6, 7, 2); err != nil {
		t.Error(err)
	}
	if err := write(6, 7, 2); err != nil {
		t.Error("a marker that is written again:", err)
	}
	if err := write(7, 6, 2); !errors.Is(err, kafkawire.ErrTransactionCoordinatorFenced) {
		t.Error(err)
	}
	plain := testBatch{records: []testRecord{{value: "v"}}, producer: 1, epoch: 6}
	begin := plain
	begin.txn = true
	mustAppend(t, l, begin.bytes(t))
	plain.sequence = 1
	if _, err := l.append(&appendRequest{records: plain.bytes(t)}); !errors.Is(err, kafkawire.ErrInvalidTxnState) {
		t.Error(err)
	}
}

// TestMarkersAreNotTooLarge: a topic whose batches must be smaller than a marker gets markers even so.
func TestMarkersAreNotTooLarge(t *testing.T) {
	c := smallConfig()
	l, _ := testLog(t, c)
	mustAppend(t, l, testBatch{records: []testRecord{{value: "a"}}, producer: 1, txn: true}.bytes(t))
	c.maxMessage, c.segmentBytes = 10, 14
	mustAppendFrom(t, l, marker(t, 1, 0, kafka.ControlCommit, 0, 0), fromCoordinator)
	wantContents(t, l, 0, readCommitted, "0:a 1!commit")
}

// TestVerification: with transaction.partition.verification.enable a transaction begins only where its coordinator was asked.
func TestVerification(t *testing.T) {
	c := smallConfig()
	c.strictTxn = true
	l, _ := testLog(t, c)
	b := testBatch{records: []testRecord{{value: "v"}}, producer: 1, epoch: 5, txn: true}
	put := func(guard uint64) error {
		_, err := l.append(&appendRequest{records: b.bytes(t), guard: guard})
		return err
	}
	if err := put(0); !errors.Is(err, kafkawire.ErrInvalidTxnState) {
		t.Error(err)
	}
	g, err := l.guardTransaction(1, 5, 0, true)
	if g == 0 || err != nil {
		t.Fatal(g, err)
	}
	if err := put(g + 1); !errors.Is(err, kafkawire.ErrInvalidTxnState) {
		t.Error(err)
	}
	if again, err := l.guardTransaction(1, 5, 0, true); again != g || err != nil {
		t.Error("the same transaction:", again, err)
	}
	b.sequence = 3
	if err := put(g); !errors.Is(err, kafkawire.ErrOutOfOrderSequenceNumber) {
		t.Error("it begins with sequence number 0:", err)
	}
	b.sequence = 0
	if err := put(g); err != nil {
		t.Error(err)
	}
	b.sequence = 1
	if err := put(0); err != nil {
		t.Error("the transaction is open here:", err)
	}
	if g, err := l.guardTransaction(1, 5, 2, true); g != 0 || err != nil {
		t.Error(g, err)
	}
	if _, err := l.guardTransaction(1, 4, 0, true); !errors.Is(err, kafkawire.ErrInvalidProducerEpoch) {
		t.Error(err)
	}
	// A guard from before a marker is of no use for the next transaction.
	g, _ = l.guardTransaction(1, 6, 0, true)
	mustAppendFrom(t, l, marker(t, 1, 6, kafka.ControlAbort, 0, 0), fromCoordinator)
	b.epoch, b.sequence = 6, 0
	if err := put(g); !errors.Is(err, kafkawire.ErrInvalidTxnState) {
		t.Error(err)
	}
}

// TestVerificationEndsWithMarker: a marker also makes void what was verified for a partition to which the transaction had
// not written yet. A batch that comes late would begin a transaction that nobody ends.
func TestVerificationEndsWithMarker(t *testing.T) {
	c := smallConfig()
	c.strictTxn = true
	l, _ := testLog(t, c)
	b := testBatch{records: []testRecord{{value: "v"}}, producer: 1, epoch: 5, txn: true}
	g, err := l.guardTransaction(1, 5, 0, false)
	if g == 0 || err != nil {
		t.Fatal(g, err)
	}
	mustAppendFrom(t, l, marker(t, 1, 5, kafka.ControlAbort, 0, 0), fromCoordinator)
	if _, err := l.append(&appendRequest{records: b.bytes(t), guard: g}); !errors.Is(err, kafkawire.ErrInvalidTxnState) {
		t.Error("a batch after the marker:", err)
	}
	if st := l.state(); st.lastStable != st.end {
		t.Errorf("a transaction hangs: %+v", st)
	}
}

// TestVerificationIsForgotten: clients that ask for what they never write leave nothing behind.
func TestVerificationIsForgotten(t *testing.T) {
	l, _ := testLog(t, smallConfig())
	for id := int64(1); id <= 100; id++ {
		if _, err := l.guardTransaction(id, 0, 0, true); err != nil {
			t.Fatal(err)
		}
	}
	l.expireProducers(0, 1000)
	if _, err := l.guardTransaction(101, 0, 0, true); err != nil {
		t.Fatal(err)
	}
	if n := len(l.producers.guards); n != 101 {
		t.Error("too early:", n)
	}
	l.expireProducers(0, 1000)
	if n := len(l.producers.guards); n != 1 {
		t.Error(n)
	}
}

// TestImpossibleCount: a compressed batch, whose records are not looked at, does not claim more of them than there can be.
func TestImpossibleCount(t *testing.T) {
	c := smallConfig()
	c.trustPacked = true
	l, _ := testLog(t, c)
	v := values("a")
	v.method = compress.Gzip
	b := kafka.Batch(v.bytes(t))
	const n = math.MaxInt32
	binary.BigEndian.PutUint32(b[23:], n-1)
	binary.BigEndian.PutUint32(b[57:], n)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	if b.Count() != n || b.Check() != nil {
		t.Fatal(b.Count(), b.Check())
	}
	if _, err := l.append(&appendRequest{records: b}); !errors.Is(err, kafkawire.ErrInvalidRecord) {
		t.Error(err)
	}
}

// TestSequenceWraps: sequence numbers begin again at zero after the largest.
func TestSequenceWraps(t *testing.T) {
	l, _ := testLog(t, smallConfig())
	b := testBatch{records: []testRecord{{value: "a"}, {value: "b"}}, producer: 1, sequence: math.MaxInt32 - 2}
	mustAppend(t, l, b.bytes(t)) // a producer of which nothing is known begins anywhere
	b.sequence = math.MaxInt32
	mustAppend(t, l, b.bytes(t))
	if r := mustAppend(t, l, b.bytes(t)); !r.duplicate || r.base != 2 || r.last != 3 {
		t.Errorf("%+v", r)
	}
	b.sequence = 1
	mustAppend(t, l, b.bytes(t))
	b.sequence = 4
	if _, err := l.append(&appendRequest{records: b.bytes(t)}); !errors.Is(err, kafkawire.ErrOutOfOrderSequenceNumber) {
		t.Error(err)
	}
}

// TestWindow: five batches of a producer are known when they are sent again.
func TestWindow(t *testing.T) {
	l, _ := testLog(t, smallConfig())
	b := testBatch{records: []testRecord{{value: "a"}}, producer: 1}
	for i := range int32(8) {
		b.sequence = i
		mustAppend(t, l, b.bytes(t))
	}
	for i := range int32(8) {
		b.sequence = i
		r, err := l.append(&appendRequest{records: b.bytes(t)})
		if known := i >= 3; known && (err != nil || !r.duplicate || r.base != int64(i)) || !known && !errors.Is(err, kafkawire.ErrOutOfOrderSequenceNumber) {
			t.Errorf("%d: %+v, %v", i, r, err)
		}
	}
}

func TestRefused(t *testing.T) {
	c := smallConfig()
	c.maxMessage, c.afterMaxMs, c.beforeMaxMs = 500, 100, 1000
	l, _ := testLog(t, c)
	good := values("v").bytes(t)
	change := func(f func(b kafka.Batch)) []byte {
		b := append([]byte(nil), good...)
		f(b)
		return b
	}
	old := testBatch{records: []testRecord{{time: 1e6 - 1001}, {time: 1e6}}}
	young := testBatch{records: []testRecord{{time: 1e6 + 101}, {time: 1e6}}, method: compress.LZ4}
	for name, tt := range map[string]struct {
		records []byte
		code    kafkawire.ErrorCode
	}{
		"nothing":     {nil, kafkawire.ErrInvalidRecord},
		"cut off":     {good[:66], kafkawire.ErrCorruptMessage},
		"two batches": {append(values("w").bytes(t), good...), kafkawire.ErrInvalidRecord},
		"too large":   {values(strings.Repeat("x", 500)).bytes(t), kafkawire.ErrMessageTooLarge},
		"an offset":   {change(func(b kafka.Batch) { b.SetBaseOffset(3) }), kafkawire.ErrInvalidRecord},
		"checksum":    {change(func(b kafka.Batch) { b[len(b)-1] ^= 1 }), kafkawire.ErrCorruptMessage},
		"magic":       {change(func(b kafka.Batch) { b[16] = 3 }), kafkawire.ErrCorruptMessage},
		"control":     {marker(t, 1, 0, kafka.ControlAbort, 0, 0), kafkawire.ErrInvalidRecord},
		"too old":     {old.bytes(t), kafkawire.ErrInvalidTimestamp},
		"too young":   {young.bytes(t), kafkawire.ErrInvalidTimestamp},
	} {
		_, err := l.append(&appendRequest{records: tt.records, now: 1e6})
		if !errors.Is(err, tt.code) {
			t.Errorf("%s: %v", name, err)
		}
		var e *kafka.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %T", name, err)
		}
		if tt.code != kafkawire.ErrInvalidTimestamp {
			continue
		}
		var records *batchError
		if !errors.As(err, &records) || len(records.records) != 1 || records.records[0].index != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s := l.state(); s.end != 0 {
		t.Errorf("%+v", s)
	}
	for _, from := range []appendOrigin{fromCoordinator, fromLeader} {
		bad := change(func(b kafka.Batch) { b[len(b)-1] ^= 1 })
		if _, err := l.append(&appendRequest{records: bad, origin: from}); !errors.Is(err, kafkawire.ErrCorruptMessage) {
			t.Error(err)
		}
		if _, err := l.append(&appendRequest{records: good[:65], origin: from}); !errors.Is(err, kafkawire.ErrCorruptMessage) {
			t.Error(err)
		}
	}
}

// TestKeys: a compacted topic needs keys; the records without one are named.
func TestKeys(t *testing.T) {
	c := smallConfig()
	c.compact = true
	l, _ := testLog(t, c)
	b := testBatch{records: []testRecord{{key: "a"}, {}, {key: "b"}, {}}, method: compress.Zstd}
	_, err := l.append(&appendRequest{records: b.bytes(t)})
	var records *batchError
	if !errors.Is(err, kafkawire.ErrInvalidRecord) || !errors.As(err, &records) || len(records.records) != 2 || records.records[1].index != 3 {
		t.Error(err)
	}
}

func TestLogAppendTime(t *testing.T) {
	c := smallConfig()
	c.appendTime, c.afterMaxMs = true, 0
	l, _ := testLog(t, c)
	b := testBatch{records: []testRecord{{time: 5}, {time: 9999}}, producer: 3}
	for i, now := range []int64{5000, 6000} {
		r, err := l.append(&appendRequest{records: b.bytes(t), now: now})
		if err != nil || r.appendTime != 5000 || r.duplicate != (i == 1) {
			t.Errorf("%+v, %v", r, err)
		}
	}
	mustAppendFrom(t, l, append(values("a").bytes(t), values("b").bytes(t)...), fromCoordinator)
	o, found, err := l.offsetFor(4000)
	if err != nil || !found || o != (foundOffset{0, 5000, 0}) {
		t.Error(o, found, err)
	}
	if o, found, err := l.latestTime(); err != nil || !found || o.time != 5000 {
		t.Error(o, found, err)
	}
}

// TestOffsetsForTimes: times need not be in order; the first record that is late enough is found.
func TestOffsetsForTimes(t *testing.T) {
	l, m := testLog(t, smallConfig())
	times := []int64{}
	for i := range int64(120) {
		time := 1000 + i*10 - i%7*35
		times = append(times, time)
		mustAppend(t, l, testBatch{records: []testRecord{{time: time, value: strings.Repeat("v", int(i%50))}}}.bytes(t))
	}
	check := func(l *partitionLog) {
		t.Helper()
		for target := int64(900); target < 2300; target += 7 {
			want := int64(-1)
			for i, time := range times {
				if time >= target {
					want = int64(i)
					break
				}
			}
			o, found, err := l.offsetFor(target)
			if err != nil || found != (want >= 0) || found && (o.offset != want || o.time != times[want] || o.epoch != 1) {
				t.Fatalf("%d: %+v, %t, %v; want %d", target, o, found, err, want)
			}
		}
		best := 0
		for i, time := range times {
			if time > times[best] {
				best = i
			}
		}
		if o, found, err := l.latestTime(); err != nil || !found || o != (foundOffset{int64(best), times[best], 1}) {
			t.Error(o, found, err, best)
		}
	}
	check(l)
	if err := l.dir.close(); err != nil {
		t.Fatal(err)
	}
	d := testDir(t, m, nil)
	check(d.get(testID))
	if o := d.get(testID).earliest(); o != (foundOffset{0, -1, 1}) {
		t.Error(o)
	}
	if o := d.get(testID).latest(readAll); o != (foundOffset{120, -1, 1}) {
		t.Error(o)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
	empty, _ := testLog(t, smallConfig())
	if _, found, err := empty.latestTime(); found || err != nil {
		t.Error(found, err)
	}
}

// TestEpochsOfLog: batches have the epoch of the leader that appended them, and the log knows where each began.
func TestEpochsOfLog(t *testing.T) {
	l, m := testLog(t, smallConfig())
	for i := range int64(60) {
		r := appendRequest{records: values("v").bytes(t), leaderEpoch: int32(i / 20 * 3)}
		if _, err := l.append(&r); err != nil {
			t.Fatal(err)
		}
	}
	check := func(l *partitionLog) {
		t.Helper()
		for epoch, want := range map[int32]int64{0: 20, 1: 20, 3: 40, 5: 40, 6: 60, 7: -1} {
			if _, end := l.endOfEpoch(epoch); end != want {
				t.Errorf("epoch %d ends at %d, not %d", epoch, end, want)
			}
		}
	}
	check(l)
	if start, err := l.deleteRecords(25); start != 25 || err != nil {
		t.Error(start, err)
	}
	if o := l.earliest(); o != (foundOffset{25, -1, 3}) {
		t.Error(o)
	}
	if err := l.dir.close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove("d/t-0/" + epochFile); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove("d/" + cleanShutdownFile); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove("d/" + recoveryPointFile); err != nil {
		t.Fatal(err)
	}
	d := testDir(t, m, nil) // recovery finds them in the batches
	if _, end := d.get(testID).endOfEpoch(3); end != 40 || d.get(testID).state().start != 25 {
		t.Error(end, d.get(testID).state())
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

// TestHighWatermark: readers see nothing behind it when somebody holds it.
func TestHighWatermark(t *testing.T) {
	m := vfs.NewMem()
	var moved int
	d := testDir(t, m, &logDirOptions{advanced: func(*partitionLog) { moved++ }})
	l, err := createOne(d, kafkawire.UUID{}, smallConfig(), testID)
	if err != nil {
		t.Fatal(err)
	}
	l.holdHighWatermark()
	want := fill(t, l, 40)
	if moved != 0 {
		t.Error(moved)
	}
	wantContents(t, l, 0, readUncommitted, "")
	wantContents(t, l, 0, readAll, strings.Join(want, " "))
	for _, high := range []int{10, 11, 33, 80, 99} {
		l.setHighWatermark(int64(high))
		n := min(high, 80)
		wantContents(t, l, 0, readUncommitted, strings.Join(want[:n-n%2], " ")) // whole batches
	}
	if moved != 4 {
		t.Error(moved)
	}
	l.setHighWatermark(80)
	b := testBatch{records: []testRecord{{value: "x"}}, producer: 1, txn: true}
	mustAppend(t, l, b.bytes(t))
	mustAppendFrom(t, l, marker(t, 1, 0, kafka.ControlCommit, 0, 0), fromCoordinator)
	l.setHighWatermark(81)
	if s := l.state(); s.lastStable != 80 {
		t.Errorf("a marker that replicas do not have decides nothing: %+v", s)
	}
	l.setHighWatermark(82)
	if s := l.state(); s.lastStable != 82 {
		t.Errorf("%+v", s)
	}
	if _, err := l.deleteRecords(-1); err != nil || l.state().start != 82 {
		t.Error(err, l.state())
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

// TestAppendKeepsNothing: a log does not hold the memory of requests.
func TestAppendKeepsNothing(t *testing.T) {
	l, _ := testLog(t, smallConfig())
	mustAppend(t, l, values("a").bytes(t))
	if _, err := l.append(&appendRequest{records: append(values("b").raw(), values("c").raw()...), origin: fromCoordinator}); err != nil {
		t.Fatal(err)
	}
	for _, h := range l.heads[:cap(l.heads)] {
		if h.raw != nil {
			t.Errorf("%x", h.raw)
		}
	}
}

// TestRollForCompaction: a segment gets no batches any more when its first one must be compacted.
func TestRollForCompaction(t *testing.T) {
	l, _ := compactLog(t)
	c := *l.config()
	c.maxLagMs = 100
	l.setConfig(&c)
	for i, time := range []int64{1000, 1100, 1101} {
		mustAppend(t, l, testBatch{records: []testRecord{{time, "k", "v"}}}.bytes(t))
		if want := 1 + i/2; l.state().segments != want {
			t.Errorf("%d: %d segments", time, l.state().segments)
		}
	}
}
