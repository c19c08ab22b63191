package kafkabroker

import (
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// testID is the partition that most tests use.
var testID = partitionID{"t", 0}

// testRecord is a record of a test. "-" as a value is null.
type testRecord struct {
	time       int64
	key, value string
}

// testBatch makes a batch as a client sends it.
type testBatch struct {
	records  []testRecord
	method   compress.Method
	producer int64 // 0 for none
	epoch    int16
	sequence int32
	txn      bool
}

func (b testBatch) bytes(t testing.TB) []byte {
	t.Helper()
	return b.raw()
}

// raw is bytes without a test.
func (b testBatch) raw() []byte {
	var w kafka.BatchWriter
	for _, r := range b.records {
		key, value := []byte(r.key), []byte(r.value)
		if r.key == "" {
			key = nil
		}
		if r.value == "-" {
			value = nil
		}
		w.Add(r.time, key, value)
	}
	o := kafka.BatchOptions{Compression: b.method, Transactional: b.txn}
	if b.producer != 0 {
		o.Producer = &kafka.Producer{ID: kafkawire.ProducerID(b.producer), Epoch: b.epoch, Sequence: b.sequence}
	}
	out, err := w.Append(nil, &o)
	if err != nil {
		panic(err)
	}
	return out
}

// values are records with nothing but values, and the time 0.
func values(list ...string) testBatch {
	var b testBatch
	for _, v := range list {
		b.records = append(b.records, testRecord{value: v})
	}
	return b
}

func marker(t testing.TB, producer int64, epoch int16, kind kafka.ControlType, coordinator int32, time int64) []byte {
	t.Helper()
	m := kafka.Marker{Type: kind, ProducerID: kafkawire.ProducerID(producer), ProducerEpoch: epoch, CoordinatorEpoch: coordinator, Timestamp: time}
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// smallConfig has segments of a few batches.
func smallConfig() *logConfig {
	c := defaultLogConfig()
	c.segmentBytes, c.indexInterval = 1000, 100
	c.retentionMs, c.afterMaxMs = -1, 1<<62
	return c
}

func testDir(t testing.TB, fsys vfs.Tree, o *logDirOptions) *logDir {
	t.Helper()
	if o == nil {
		o = new(logDirOptions)
	}
	v := *o
	v.fs = fsys
	if v.config == nil {
		c := smallConfig()
		v.config = func(string) *logConfig { return c }
	}
	n := byte(0)
	if v.newUUID == nil {
		v.newUUID = func() kafkawire.UUID { n++; return kafkawire.UUID{1, 2, 3, n} }
	}
	d, err := openLogDir("d", &v)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// testLog makes a directory in memory with a log in it.
func testLog(t testing.TB, c *logConfig) (*partitionLog, *vfs.Mem) {
	t.Helper()
	m := vfs.NewMem()
	d := testDir(t, m, &logDirOptions{config: func(string) *logConfig { return c }})
	l, err := createOne(d, kafkawire.UUID{7}, c, testID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.close() })
	return l, m
}

func mustAppend(t testing.TB, l *partitionLog, records []byte) appendResult {
	t.Helper()
	return mustAppendFrom(t, l, records, fromClient)
}

func mustAppendFrom(t testing.TB, l *partitionLog, records []byte, from appendOrigin) appendResult {
	t.Helper()
	r, err := l.append(&appendRequest{records: records, origin: from, leaderEpoch: 1, now: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// contents reads a log from an offset on: "offset:value" for each record, "offset!commit" for a marker.
func contents(t testing.TB, l *partitionLog, offset int64, i isolation) string {
	t.Helper()
	s, err := readContents(l, offset, i)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readContents(l *partitionLog, offset int64, i isolation) (string, error) {
	var out []string
	for {
		f, err := l.fetch(fetchRequest{offset: offset, maxBytes: 300, atLeast: true, isolation: i})
		if err != nil {
			return "", err
		}
		trimmed := *f
		n, errTrim := trimmed.trim()
		b, err := f.read(make([]byte, f.size()))
		if err == nil && f.size() > 0 && (n != len(b) || trimmed.next < f.next || errTrim != nil) {
			err = fmt.Errorf("read has %d bytes, up to %d, and trim %d, up to %d, %v", len(b), f.next, n, trimmed.next, errTrim)
		}
		var aborted []abortedTxn
		if err == nil && i == readCommitted {
			aborted, err = f.aborted()
		}
		f.close()
		if err != nil {
			return "", err
		}
		if len(b) == 0 {
			return strings.Join(out, " "), nil
		}
		list, err := recordsOf(b, offset, aborted)
		if err != nil {
			return "", err
		}
		out = append(out, list...)
		offset = f.next
	}
}

// recordsOf lists the records of batches from an offset on, without those of aborted transactions.
func recordsOf(b []byte, offset int64, aborted []abortedTxn) (out []string, err error) {
	gone := make(map[int64]bool)
	for len(b) > 0 {
		entry, rest, err := kafka.Split(b)
		if err != nil {
			return nil, err
		}
		b = rest
		batch := kafka.Batch(entry)
		if err := batch.Check(); err != nil {
			return nil, err
		}
		for len(aborted) > 0 && aborted[0].first <= batch.LastOffset() {
			gone[aborted[0].producerID] = true
			aborted = aborted[1:]
		}
		id := int64(batch.ProducerID())
		if batch.Attributes().Control() {
			if m, ok, err := kafka.ReadMarker(batch); err != nil {
				return nil, err
			} else if ok {
				delete(gone, id)
				out = append(out, fmt.Sprintf("%d!%v", batch.BaseOffset(), m.Type))
			}
			continue
		}
		if gone[id] && batch.Attributes().Transactional() {
			continue
		}
		recs, err := kafka.Open(entry, nil, 1<<20)
		if err != nil {
			return nil, err
		}
		for rec := (kafka.Record{}); recs.Next(&rec); {
			if rec.Offset < offset {
				continue
			}
			v := string(rec.Value)
			if rec.Value == nil {
				v = "-"
			}
			if rec.Key != nil {
				v = string(rec.Key) + "=" + v
			}
			out = append(out, fmt.Sprintf("%d:%s", rec.Offset, v))
		}
		if recs.Err() != nil {
			return nil, recs.Err()
		}
	}
	return out, nil
}

func wantContents(t testing.TB, l *partitionLog, offset int64, i isolation, want string) {
	t.Helper()
	if got := contents(t, l, offset, i); got != want {
		t.Errorf("contents\ngot  %s\nwant %s", got, want)
	}
}

func crcIEEE(b []byte) uint32 { return crc32.ChecksumIEEE(b) }

// retain removes what retention does not keep.
func (l *partitionLog) retain(now int64) (removed int, err error) {
	l.janitor.Lock()
	defer l.janitor.Unlock()
	return l.removeOld(now)
}

func createOne(d *logDir, topic kafkawire.UUID, c *logConfig, id partitionID) (*partitionLog, error) {
	made, err := d.create(topic, c, id)
	if err != nil {
		return nil, err
	}
	return made[0], nil
}
