package kafka

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// kafkaBatches returns what Kafka's own classes wrote, by name: the bytes and what those read in them.
func kafkaBatches(t testing.TB) (names []string, entries map[string][]byte, texts map[string]string) {
	f, err := os.Open("testdata/batches.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries, texts = make(map[string][]byte), make(map[string]string)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.SplitN(lines.Text(), " ", 3)
		if words[0] == "#" {
			continue
		}
		b, err := hex.DecodeString(strings.TrimPrefix(words[1], "0x"))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, words[0])
		entries[words[0]], texts[words[0]] = b, words[2]
	}
	return names, entries, texts
}

func TestReadsWhatKafkaWrites(t *testing.T) {
	names, entries, texts := kafkaBatches(t)
	for _, name := range names {
		if got, err := describe(entries[name]); err != nil || got != texts[name] {
			t.Errorf("%s: %v\n%s\n%s", name, err, got, texts[name])
		}
	}
	if len(names) < 29 {
		t.Errorf("only %d batches", len(names))
	}
}

// writer has the records of the vectors.
func writer() *BatchWriter {
	w := new(BatchWriter)
	w.Add(1700000000000, []byte("key"), []byte("value, value, value, value, value, value"),
		Header{[]byte("name"), []byte("value")}, Header{[]byte{}, nil})
	w.Add(1700000000007, nil, []byte{})
	w.Add(1699999999997, []byte{}, nil)
	return w
}

func TestWritesWhatKafkaWrites(t *testing.T) {
	_, entries, _ := kafkaBatches(t)
	for name, o := range map[string]BatchOptions{
		"magic-2-none":               {BaseOffset: 7},
		"magic-2-none-transactional": {BaseOffset: 1 << 40, Transactional: true, Producer: &Producer{4711, 3, 2147483646}},
	} {
		b, err := writer().Append([]byte("head"), &o)
		if err != nil || string(b[:4]) != "head" {
			t.Fatal(err)
		}
		Batch(b[4:]).SetLeaderEpoch(5)
		if !bytes.Equal(b[4:], entries[name]) {
			t.Errorf("%s\n% x\n% x", name, b[4:], entries[name])
		}
	}
	for name, m := range map[string]Marker{
		"marker-commit": {ControlCommit, 4711, 3, 9, 1700000000000}, "marker-abort": {ControlAbort, 4711, 3, 9, 1700000000000},
	} {
		b, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		Batch(b).SetBaseOffset(42)
		if !bytes.Equal(b, entries[name]) {
			t.Errorf("%s\n% x\n% x", name, b, entries[name])
		}
		if got, ok, err := ReadMarker(b); got != m || !ok || err != nil {
			t.Errorf("%s: %+v, %v, %v", name, got, ok, err)
		}
	}
}

func TestCompression(t *testing.T) {
	want, err := writer().Append(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := describe(want)
	for m := compress.None; m <= compress.Zstd; m++ {
		b, err := writer().Append(nil, &BatchOptions{Compression: m})
		if err != nil {
			t.Fatal(err)
		}
		got, err := describe(b)
		if got != strings.Replace(plain, "compression=none", "compression="+m.String(), 1) || err != nil {
			t.Errorf("%v: %v\n%s", m, err, got)
		}
		if err := Batch(b).CheckProduced(); err != nil {
			t.Error(err)
		}
		if m == compress.None {
			continue
		}
		_, err = Open(b, nil, 20)
		if !errors.Is(err, kafkawire.ErrMessageTooLarge) {
			t.Errorf("%v with a limit: %v", m, err)
		}
		Batch(b)[BatchHeaderSize] ^= 0xff
		if err := Batch(b).Check(); !errors.Is(err, kafkawire.ErrCorruptMessage) {
			t.Errorf("%v: %v", m, err)
		}
		if _, err = Open(b, nil, 1000); !errors.Is(err, kafkawire.ErrCorruptMessage) && m != compress.Snappy {
			t.Errorf("%v: %v", m, err)
		}
	}
	if _, err := writer().Append(nil, &BatchOptions{Compression: 5}); !errors.Is(err, kafkawire.ErrUnsupportedCompressionType) {
		t.Errorf("no such compression: %v", err)
	}
}

func TestPatch(t *testing.T) {
	b, _ := writer().Append(nil, nil)
	batch := Batch(b)
	batch.SetBaseOffset(1000)
	batch.SetLeaderEpoch(8)
	if err := batch.Check(); err != nil || batch.BaseOffset() != 1000 || batch.LastOffset() != 1002 || batch.LeaderEpoch() != 8 {
		t.Errorf("%v, %d, %d", err, batch.BaseOffset(), batch.LeaderEpoch())
	}
	batch.SetLogAppendTime(1800000000000)
	recs, err := Open(batch, nil, 0)
	for r := (Record{}); recs.Next(&r); {
		if r.Timestamp != 1800000000000 {
			t.Errorf("timestamp %d", r.Timestamp)
		}
	}
	if err != nil || batch.Check() != nil || !batch.Attributes().LogAppendTime() || batch.MaxTimestamp() != 1800000000000 {
		t.Errorf("after SetLogAppendTime: %v, %v", err, batch.Check())
	}
	if AddSequence(1<<31-1, 1) != 0 || AddSequence(1<<31-2, 3) != 1 || AddSequence(5, 2) != 7 {
		t.Error("AddSequence")
	}
}

func TestSplit(t *testing.T) {
	_, entries, _ := kafkaBatches(t)
	one, two := entries["magic-2-gzip"], entries["magic-1-none"]
	all := append(bytes.Clone(one), two...)
	entry, rest, err := Split(all)
	if err != nil || !bytes.Equal(entry, one) || !bytes.Equal(rest, two) {
		t.Errorf("%v: % x, % x", err, entry, rest)
	}
	for n := range one {
		entry, rest, err := Split(one[:n])
		if err != nil || entry != nil || len(rest) != n {
			t.Fatalf("%d bytes: %v, %v", n, entry, err)
		}
	}
	for _, change := range []func(b []byte){
		func(b []byte) { b[atMagic] = 3 },
		func(b []byte) { b[atMagic] = 0xff },
		func(b []byte) { copy(b[atLength:], []byte{0, 0, 0, 48}) },
		func(b []byte) { b[atLength] = 0xff },
		func(b []byte) { b[atMagic] = 0; copy(b[atLength:], []byte{0, 0, 0, 13}) },
		func(b []byte) { b[atMagic] = 1; copy(b[atLength:], []byte{0, 0, 0, 21}) },
	} {
		b := bytes.Clone(one)
		change(b)
		if _, _, err := Split(b); !errors.Is(err, kafkawire.ErrCorruptMessage) {
			t.Errorf("% x: %v", b[:20], err)
		}
	}
}

func TestSplitProduced(t *testing.T) {
	_, entries, _ := kafkaBatches(t)
	one := entries["magic-2-none"]
	if b, err := SplitProduced(one); err != nil || !bytes.Equal(b, one) {
		t.Error(err)
	}
	for _, tt := range []struct {
		in   []byte
		want kafkawire.ErrorCode
	}{
		{nil, kafkawire.ErrCorruptMessage},
		{one[:70], kafkawire.ErrCorruptMessage},
		{entries["magic-1-none"], kafkawire.ErrUnsupportedForMessageFormat},
		{append(bytes.Clone(one), one...), kafkawire.ErrInvalidRecord},
		{append(bytes.Clone(one), 0), kafkawire.ErrInvalidRecord},
	} {
		if _, err := SplitProduced(tt.in); !errors.Is(err, tt.want) {
			t.Errorf("%d bytes: %v, want %v", len(tt.in), err, tt.want)
		}
	}
}

func TestCheckProduced(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(b Batch)
		want   kafkawire.ErrorCode
	}{
		"control":     {func(b Batch) { b[atAttributes+1] |= byte(control) }, kafkawire.ErrInvalidRecord},
		"horizon":     {func(b Batch) { b[atAttributes+1] |= byte(deleteHorizon) }, kafkawire.ErrInvalidRecord},
		"flags":       {func(b Batch) { b[atAttributes] = 1 }, kafkawire.ErrInvalidRecord},
		"compression": {func(b Batch) { b[atAttributes+1] |= 5 }, kafkawire.ErrUnsupportedCompressionType},
		"no records":  {func(b Batch) { b[atCount+3] = 0 }, kafkawire.ErrInvalidRecord},
		"negative":    {func(b Batch) { b[atCount] = 0x80 }, kafkawire.ErrInvalidRecord},
		"last":        {func(b Batch) { b[atLastOffsetDelta+3]++ }, kafkawire.ErrInvalidRecord},
		"append time": {func(b Batch) { b[atAttributes+1] |= byte(logAppendTime) }, kafkawire.ErrInvalidTimestamp},
		"transaction": {func(b Batch) { b[atAttributes+1] |= byte(transactional) }, kafkawire.ErrInvalidRecord},
		"sequence":    {func(b Batch) { b[atProducerID] = 0 }, kafkawire.ErrInvalidRecord},
	} {
		b, _ := writer().Append(nil, nil)
		tt.change(b)
		if err := Batch(b).CheckProduced(); !errors.Is(err, kafkawire.ErrCorruptMessage) {
			t.Errorf("%s, the checksum: %v", name, err)
		}
		Batch(b).setCRC()
		if err := Batch(b).CheckProduced(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBatchWriter(t *testing.T) {
	var w BatchWriter
	if _, err := w.Append(nil, nil); !errors.Is(err, kafkawire.ErrInvalidRecord) {
		t.Errorf("without records: %v", err)
	}
	for range 2 {
		w.Reset()
		for i := range 300 {
			time, key, value := 1700000000000+int64(i*i), bytes.Repeat([]byte("k"), i), []byte("v")
			h := Header{[]byte("h"), key}
			want := w.Len() + RecordSize(int32(i), int64(i*i), key, value, h)
			if w.Add(time, key, value, h); w.Len() != want || w.Count() != i+1 {
				t.Fatalf("record %d: %d bytes, not %d", i, w.Len(), want)
			}
		}
		b, err := w.Append(nil, nil)
		if err != nil || len(b) != w.Len() || Batch(b).Count() != 300 || Batch(b).LastOffsetDelta() != 299 {
			t.Errorf("%d bytes, not %d: %v", len(b), w.Len(), err)
		}
	}
	buf := make([]byte, 0, 1<<20)
	key, value := []byte("key"), []byte("value")
	if n := testing.AllocsPerRun(100, func() {
		w.Reset()
		w.Add(1, key, value)
		w.Add(2, key, value)
		b, err := w.Append(buf, nil)
		if err != nil {
			t.Fatal(err)
		}
		recs, err := Open(b, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for r := (Record{}); recs.Next(&r); {
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRewrite(t *testing.T) {
	var w BatchWriter
	for m := compress.None; m <= compress.Zstd; m++ {
		b, err := writer().Append(nil, &BatchOptions{Compression: m, Producer: &Producer{1, 2, 3}, BaseOffset: 100})
		if err != nil {
			t.Fatal(err)
		}
		rewrite := func(b []byte, o *RewriteOptions, offsets ...int64) []byte {
			t.Helper()
			out, n, err := w.Rewrite([]byte("x"), b, o, func(r *Record) bool {
				for _, offset := range offsets {
					if r.Offset == offset {
						return true
					}
				}
				return false
			})
			if err != nil || n != len(offsets) || out[0] != 'x' {
				t.Fatalf("%v: %d records, %v", m, n, err)
			}
			return out[1:]
		}
		if got := rewrite(b, nil, 100, 101, 102); !bytes.Equal(got, b) {
			t.Errorf("%v: all records: % x", m, got)
		}
		if got := rewrite(b, nil); len(got) != 0 {
			t.Errorf("%v: no records: % x", m, got)
		}
		head := " append=false base=100 last=102 leader=-1 max="
		rest := " producer=1/2/3/5 transactional=false control=false horizon="
		check := func(b []byte, compression, max, horizon, records string) {
			t.Helper()
			got, err := describe(b)
			if want := "magic=2 compression=" + compression + head + max + rest + horizon + records; got != want || err != nil {
				t.Errorf("%v\n%s\n%s", err, got, want)
			}
		}
		empty := rewrite(b, &RewriteOptions{KeepEmpty: true})
		check(empty, "none", "1700000000007", "-1", "")
		one := rewrite(b, nil, 101)
		check(one, m.String(), "1700000000007", "-1", ` [101 1700000000007 null ""]`)
		horizon := rewrite(one, &RewriteOptions{DeleteHorizon: 1234}, 101)
		check(horizon, m.String(), "1700000000007", "1234", ` [101 1700000000007 null ""]`)
		if again := rewrite(horizon, &RewriteOptions{DeleteHorizon: 5678}, 101); !bytes.Equal(again, horizon) {
			t.Errorf("%v: a second horizon", m)
		}
		two := rewrite(rewrite(b, &RewriteOptions{DeleteHorizon: 99}, 100, 101, 102), nil, 101, 102)
		check(two, m.String(), "1700000000007", "99", ` [101 1700000000007 null ""] [102 1699999999997 "" null]`)
	}
}

func TestError(t *testing.T) {
	err := error(&Error{Code: kafkawire.ErrNotController, Text: "it is 3", Remote: true})
	if err.Error() != "kafka: NOT_CONTROLLER: it is 3 (said by the peer)" || !errors.Is(err, kafkawire.ErrNotController) {
		t.Error(err)
	}
}

// Seal makes the same batch as Append.
func TestSeal(t *testing.T) {
	var w BatchWriter
	if _, err := w.Seal(nil); err == nil {
		t.Error("a batch without records")
	}
	o := &BatchOptions{Producer: &Producer{ID: 7, Epoch: 1, Sequence: 5}, Transactional: true}
	for n := range 30 {
		w.Reset()
		w.Grow(1000)
		if n == 3 {
			w.Checksum()
		}
		for i := range n + 1 {
			w.Add(int64(1000+i), []byte("key"), make([]byte, n*n), Header{Key: []byte("h")})
		}
		want, err := w.Append(nil, o)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			got, err := w.Seal(o)
			if err != nil || !bytes.Equal(got, want) || len(got) != w.Len() {
				t.Errorf("%v\n% x\n% x", err, got, want)
			}
		}
		w.Add(1, []byte("key"), nil)
		if b, err := w.Seal(nil); err != nil || b.Check() != nil || b.Count() != int32(n+2) || b.ProducerID() != -1 {
			t.Error(err)
		}
		b := Batch(want)
		b.SetProducer(Producer{ID: 8, Epoch: 2, Sequence: 9})
		if b.Check() != nil || b.ProducerID() != 8 || b.ProducerEpoch() != 2 || b.BaseSequence() != 9 {
			t.Error("SetProducer")
		}
	}
}
