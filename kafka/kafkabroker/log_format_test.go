package kafkabroker

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// unhex reads hexadecimal digits with spaces between them.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFormats compares each format with bytes that were written down by hand from Kafka's definitions.
func TestFormats(t *testing.T) {
	for name, tt := range map[string]struct {
		got  []byte
		want string
	}{
		"index":     {appendIndexEntry(nil, indexEntry{258, 4096}), "00000102 00001000"},
		"timeindex": {appendTimeEntry(nil, timeEntry{1700000000000, 258}), "0000018bcfe56800 00000102"},
		"txnindex":  {appendTxnEntry(nil, abortedTxn{4000, 16, 33, 15}), "0000 0000000000000fa0 0000000000000010 0000000000000021 000000000000000f"},
	} {
		if want := unhex(t, tt.want); !bytes.Equal(tt.got, want) {
			t.Errorf("%s: %x, want %x", name, tt.got, want)
		}
	}
	if e := readIndexEntry(unhex(t, "00000102 00001000")); e != (indexEntry{258, 4096}) {
		t.Error(e)
	}
	if e := readTimeEntry(unhex(t, "0000018bcfe56800 00000102")); e != (timeEntry{1700000000000, 258}) {
		t.Error(e)
	}
	for name, tt := range map[string]struct {
		got  []byte
		want string
	}{
		"offsets":   {encodeOffsets(map[partitionID]int64{{"b", 1}: 7, {"a-b", 10}: 5, {"a-b", 9}: 6}), "0\n3\na-b 9 6\na-b 10 5\nb 1 7\n"},
		"epochs":    {leaderEpochs{{0, 0}, {3, 120}}.encode(), "0\n2\n0 0\n3 120\n"},
		"partition": {encodePartitionMeta(kafkawire.UUID{1, 2, 3}), "version: 0\ntopic_id: AQIDAAAAAAAAAAAAAAAAAA"},
		"meta": {(&dirMeta{clusterID: "c", nodeID: 1, directoryID: kafkawire.UUID{4}, others: []string{"x=y"}}).encode(),
			"version=1\ncluster.id=c\nnode.id=1\ndirectory.id=BAAAAAAAAAAAAAAAAAAAAA\nx=y\n"},
	} {
		if string(tt.got) != tt.want {
			t.Errorf("%s: %q, want %q", name, tt.got, tt.want)
		}
	}
}

func TestSnapshotFormat(t *testing.T) {
	table := newProducerTable()
	p := newProducer(4000)
	p.epoch, p.coordinatorEpoch, p.txnFirst = 2, 5, 16
	p.add(producedBatch{lastSequence: 9, last: 33, delta: 3, time: 1700000000000})
	table.put(&p)
	q := newProducer(3)
	q.epoch, q.lastTime = 1, 17
	table.put(&q)
	want := unhex(t, `0001 00000000 00000002
		0000000000000003 0001 ffffffff ffffffffffffffff 00000000 0000000000000011 ffffffff ffffffffffffffff
		0000000000000fa0 0002 00000009 0000000000000021 00000003 0000018bcfe56800 00000005 0000000000000010`)
	got := table.encode()
	copy(want[2:], got[2:6]) // the checksum: the tests against Kafka's own tools check it
	if !bytes.Equal(got, want) {
		t.Errorf("%x\n%x", got, want)
	}
	list, err := decodeSnapshot("s", got)
	if err != nil || len(list) != 2 || list[0] != q || list[1] != p {
		t.Errorf("%+v %v", list, err)
	}
	for i := range got {
		bad := slices.Clone(got)
		bad[i] ^= 4
		if _, err := decodeSnapshot("s", bad); !errors.Is(err, kafkawire.ErrCorruptMessage) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	for n := range got {
		if _, err := decodeSnapshot("s", got[:n]); err == nil {
			t.Errorf("%d bytes are a snapshot", n)
		}
	}
}

// TestDamagedText: what makes no sense is an error.
func TestDamagedText(t *testing.T) {
	for _, s := range []string{"", "1\n0\n", "0\n", "0\nx\n", "0\n2\na 0 1\n", "0\n1\na 0\n", "0\n1\na -1 3\n", "0\n1\na 0 x\n", "0\n-1\n"} {
		if _, err := decodeOffsets("f", []byte(s)); !errors.Is(err, kafkawire.ErrCorruptMessage) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", "0\n1\n-1 5\n", "0\n1\n5\n", "0\n1\n1 -5\n", "0\n2\n1 1\n"} {
		if _, err := decodeEpochs("f", []byte(s)); !errors.Is(err, kafkawire.ErrCorruptMessage) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"version=2\n", "node.id=x\n", "directory.id=?\n"} {
		if _, err := decodeDirMeta("f", []byte(s)); !errors.Is(err, kafkawire.ErrCorruptMessage) {
			t.Errorf("%q: %v", s, err)
		}
	}
	m, err := decodeDirMeta("f", []byte("#\n#Thu Nov 26 05:41:31 UTC 2026\nnode.id=4\r\nversion=1\ncluster.id = abc\nother=z\n"))
	if err != nil || m.nodeID != 4 || m.clusterID != "abc" || !slices.Equal(m.others, []string{"other=z"}) {
		t.Errorf("%+v %v", m, err)
	}
	for _, s := range [][]byte{make([]byte, 33), make([]byte, 35), append(make([]byte, 67), 1), append([]byte{0, 1}, make([]byte, 32)...)} {
		if _, err := readTxnEntries("f", s); !errors.Is(err, kafkawire.ErrCorruptMessage) {
			t.Errorf("%x: %v", s, err)
		}
	}
	fsys := vfs.NewMem()
	for _, s := range []string{"", "version: 1\ntopic_id: AQIDAAAAAAAAAAAAAAAAAA", "version: 0\ntopic_id: x", "version: 0\n"} {
		if err := writeFile(fsys, "d/p", []byte(s)); err != nil {
			t.Fatal(err)
		}
		if _, err := readPartitionMeta(fsys, "d/p"); !errors.Is(err, kafkawire.ErrCorruptMessage) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestNames(t *testing.T) {
	if s := segmentFile(1234, logSuffix); s != "00000000000000001234.log" {
		t.Error(s)
	}
	for _, s := range []string{"", "x", ".log", "00000000000000001234", "0000000000000000123x.log", "-0000000000000001234.log", "+0000000000000001234.log", "000000000000000012345.log"} {
		if base, suffix, ok := parseSegmentFile(s); ok {
			t.Error(s, base, suffix)
		}
	}
	if base, suffix, ok := parseSegmentFile("00000000000000001234.log.deleted"); base != 1234 || suffix != ".log.deleted" || !ok {
		t.Error(base, suffix, ok)
	}
	for name, want := range map[string]partitionID{"a-0": {"a", 0}, "a-b-12": {"a-b", 12}, "__consumer_offsets-49": {"__consumer_offsets", 49}} {
		if p, ok := parsePartition(name); !ok || p != want || p.String() != name {
			t.Error(name, p, ok)
		}
	}
	for _, name := range []string{"", "a", "-1", "a-", "a-x", "a-01", "a--", "a-1.0f-delete", "a-1.0f-stray", "a-99999999999"} {
		if p, ok := parsePartition(name); ok {
			t.Error(name, p)
		}
	}
	long := partitionID{strings.Repeat("t", 249), 100}.deleteDirName(kafkawire.UUID{1})
	if len(long) != 255 || !strings.HasSuffix(long, ".01000000000000000000000000000000-delete") {
		t.Error(long)
	}
}

func TestEpochs(t *testing.T) {
	var l leaderEpochs
	for _, e := range []epochEntry{{0, 0}, {0, 5}, {2, 10}, {-1, 12}, {5, 30}} {
		l = l.assign(e.epoch, e.start)
	}
	if want := (leaderEpochs{{0, 0}, {2, 10}, {5, 30}}); !slices.Equal(l, want) {
		t.Fatal(l)
	}
	for _, tt := range []struct {
		epoch, want int32
		end         int64
	}{{-1, -1, -1}, {0, 0, 10}, {1, 0, 10}, {2, 2, 30}, {4, 2, 30}, {5, 5, 99}, {6, -1, -1}} {
		if epoch, end := l.endOf(tt.epoch, 99); epoch != tt.want || end != tt.end {
			t.Error(tt, epoch, end)
		}
	}
	if epoch, end := (leaderEpochs{{3, 7}}).endOf(1, 99); epoch != 1 || end != 7 {
		t.Error(epoch, end)
	}
	for offset, want := range map[int64]int32{0: 0, 9: 0, 10: 2, 29: 2, 30: 5, 1000: 5} {
		if got := l.at(offset); got != want {
			t.Error(offset, got)
		}
	}
	if got := (leaderEpochs{{3, 7}}).at(6); got != -1 {
		t.Error(got)
	}
	for start, want := range map[int64]leaderEpochs{0: l, 4: {{0, 4}, {2, 10}, {5, 30}}, 10: {{2, 10}, {5, 30}}, 40: {{5, 40}}} {
		if got := l.truncateStart(start); !slices.Equal(got, want) {
			t.Error(start, got)
		}
	}
	for end, want := range map[int64]leaderEpochs{0: {}, 10: {{0, 0}}, 11: {{0, 0}, {2, 10}}, 99: l} {
		if got := l.truncateEnd(end); !slices.Equal(got, want) {
			t.Error(end, got)
		}
	}
	if got := l.assign(3, 20); !slices.Equal(got, leaderEpochs{{0, 0}, {2, 10}, {3, 20}}) || len(l) != 3 || l[2].epoch != 5 {
		t.Error(got, l)
	}
}

// TestFiles compares the files of a small log with bytes written down by hand.
func TestFiles(t *testing.T) {
	c := smallConfig()
	c.indexInterval = 0
	l, m := testLog(t, c)
	first := testBatch{records: []testRecord{{1000, "k", "v"}}, producer: 9, txn: true}
	mustAppend(t, l, first.bytes(t))
	mustAppend(t, l, testBatch{records: []testRecord{{2000, "k", "w"}, {1500, "k", "x"}}}.bytes(t))
	mustAppendFrom(t, l, marker(t, 9, 0, kafka.ControlAbort, 4, 3000), fromCoordinator)
	if err := l.dir.close(); err != nil {
		t.Fatal(err)
	}
	file := func(name string) []byte {
		b, err := readFile(m, "d/"+name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	log := file("t-0/00000000000000000000.log")
	size := len(first.bytes(t))
	if b := kafka.Batch(log[size:]); b.BaseOffset() != 1 || b.LeaderEpoch() != 1 {
		t.Errorf("%x", log)
	}
	at := hex.EncodeToString([]byte{0, 0, 0, byte(size)})
	third := hex.EncodeToString([]byte{0, 0, 0, byte(len(log) - 78)})
	for name, want := range map[string]string{
		"t-0/00000000000000000000.index":     "00000002" + at + "00000003" + third,
		"t-0/00000000000000000000.timeindex": "00000000000007d0 00000002 0000000000000bb8 00000003",
		"t-0/00000000000000000000.txnindex":  "0000 0000000000000009 0000000000000000 0000000000000003 0000000000000004",
	} {
		if got, want := file(name), unhex(t, want); !bytes.Equal(got, want) {
			t.Errorf("%s\n%x\n%x", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"t-0/leader-epoch-checkpoint":      "0\n1\n1 0\n",
		"t-0/partition.metadata":           "version: 0\ntopic_id: BwAAAAAAAAAAAAAAAAAAAA",
		"recovery-point-offset-checkpoint": "0\n1\nt 0 4\n",
		"replication-offset-checkpoint":    "0\n1\nt 0 4\n",
		"log-start-offset-checkpoint":      "0\n0\n",
		"cleaner-offset-checkpoint":        "0\n0\n",
		".kafka_cleanshutdown":             `{"version":0,"brokerEpoch":-1}`,
		"meta.properties":                  "version=1\ncluster.id=\nnode.id=0\ndirectory.id=AQIDAQAAAAAAAAAAAAAAAA\n",
	} {
		if got := file(name); string(got) != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := file("t-0/00000000000000000004.snapshot"); len(got) != snapshotHead+snapshotEntry {
		t.Errorf("%x", got)
	}
}
