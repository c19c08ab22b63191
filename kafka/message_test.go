package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// message builds a message with magic 1.
func message(offset int64, attributes byte, key, value []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(offset))
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 1, attributes)
	b = binary.BigEndian.AppendUint64(b, 1000)
	for _, part := range [][]byte{key, value} {
		n := int32(len(part))
		if part == nil {
			n = -1
		}
		b = append(binary.BigEndian.AppendUint32(b, uint32(n)), part...)
	}
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-entryHead))
	binary.BigEndian.PutUint32(b[atMessageCRC:], crc32.ChecksumIEEE(b[atMagic:]))
	return b
}

func zip(t *testing.T, sets ...[]byte) []byte {
	t.Helper()
	b, err := compress.Append(nil, bytes.Join(sets, nil), compress.Gzip, 0)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMessage(t *testing.T) {
	m := Message(message(5, 0, nil, []byte("value")))
	m.SetOffset(1234)
	if err := m.Check(); err != nil || m.Offset() != 1234 || m.Timestamp() != 1000 {
		t.Errorf("%v, offset %d, time %d", err, m.Offset(), m.Timestamp())
	}
	m[len(m)-1]++
	if err := m.Check(); !errors.Is(err, kafkawire.ErrCorruptMessage) {
		t.Errorf("a wrong checksum: %v", err)
	}
}

// TestCompacted: when messages within a compressed one are gone, the rest keeps its offsets.
func TestCompacted(t *testing.T) {
	m := message(20, 1, nil, zip(t, message(0, 0, nil, []byte("a")), message(7, 0, nil, []byte("b"))))
	got, err := describe(m)
	if want := `magic=1 compression=gzip append=false [13 1000 null "61"] [20 1000 null "62"]`; got != want || err != nil {
		t.Errorf("%s, %v", got, err)
	}
}

func TestIllegalMessages(t *testing.T) {
	inner := message(0, 0, nil, []byte("a"))
	old := bytes.Clone(inner)
	old[atMagic] = 0
	for name, m := range map[string][]byte{
		"null, compressed":      message(1, 1, nil, nil),
		"zstd":                  message(1, 4, nil, []byte("x")),
		"not compressed":        message(1, 1, nil, []byte("x")),
		"nothing in it":         message(1, 1, nil, zip(t)),
		"cut off":               message(1, 1, nil, zip(t, inner, inner[:20])),
		"compressed twice":      message(1, 1, nil, zip(t, message(0, 1, nil, zip(t, inner)))),
		"another format":        message(1, 1, nil, zip(t, old)),
		"an unknown format":     message(1, 1, nil, zip(t, append(bytes.Repeat([]byte{9}, 16), inner...))),
		"a length below null":   func() []byte { b := message(1, 0, nil, nil); b[atMessageTimestamp+8+3] = 0xfe; return b }(),
		"a length beyond":       func() []byte { b := message(1, 0, nil, nil); b[atMessageTimestamp+8] = 1; return b }(),
		"bytes after the value": func() []byte { b := message(1, 0, nil, []byte("ab")); b[len(b)-3] = 1; return b }(),
	} {
		recs, err := Open(m, nil, 1<<20)
		for r := (Record{}); err == nil && recs.Next(&r); {
		}
		if err == nil {
			err = recs.Err()
		}
		if !errors.Is(err, kafkawire.ErrCorruptMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(inner[:10], nil, 0); !errors.Is(err, kafkawire.ErrCorruptMessage) {
		t.Errorf("no entry: %v", err)
	}
}

// TestIllegalRecords changes each byte of the records of a batch, which may be read then or not.
func TestIllegalRecords(t *testing.T) {
	b, err := writer().Append(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for i := BatchHeaderSize; i < len(b); i++ {
		for _, x := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			bad := bytes.Clone(b)
			bad[i] = x
			recs, err := Open(bad, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for r := (Record{}); recs.Next(&r); n++ {
				for range r.Headers.All() {
				}
			}
			if err := recs.Err(); err == nil && n != 3 || err != nil && !errors.Is(err, kafkawire.ErrInvalidRecord) {
				t.Errorf("byte %d is %#x: %d records, %v", i, x, n, err)
			}
			if recs.Err() != nil {
				failed++
			}
		}
	}
	if failed < 50 {
		t.Errorf("only %d failures", failed)
	}
	Batch(b)[atCount+3] = 200
	if _, err := Open(b, nil, 0); !errors.Is(err, kafkawire.ErrInvalidRecord) {
		t.Errorf("more records than there can be: %v", err)
	}
}

func TestReadMarkerRefuses(t *testing.T) {
	for _, key := range [][]byte{nil, {0, 0, 0}} {
		var w BatchWriter
		w.Add(1, key, nil)
		b, _ := w.Append(nil, nil)
		if _, ok, err := ReadMarker(b); ok || !errors.Is(err, kafkawire.ErrInvalidRecord) {
			t.Errorf("key % x: %v", key, err)
		}
	}
	var w BatchWriter
	w.Add(1, []byte{0, 0, 0, 1}, []byte{0, 0})
	b, _ := w.Append(nil, nil)
	if _, ok, err := ReadMarker(b); ok || !errors.Is(err, kafkawire.ErrInvalidRecord) {
		t.Errorf("no epoch: %v", err)
	}
	w.Reset()
	w.Add(1, []byte{0, 0, 0, 2}, []byte{0, 0})
	b, _ = w.Append(nil, nil)
	if _, ok, err := ReadMarker(b); ok || err != nil {
		t.Errorf("a new leader: %v, %v", ok, err)
	}
	if s := ControlType(2).String() + ControlCommit.String(); s != "ControlType(2)commit" {
		t.Error(s)
	}
}
