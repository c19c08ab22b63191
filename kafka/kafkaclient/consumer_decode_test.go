package kafkaclient

import (
	"fmt"
	"testing"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// decodeAll decodes a chunk of records as they come from a broker.
func decodeAll(d *decoder, records []byte, from int64) (n int, err error) {
	c := &Consumer{o: &consumerConfig{}}
	p := &consumerPartition{c: c, fetch: from, fetchEp: -1}
	k := newChunk(p, &kafkawire.FetchResponsePartition{Records: records})
	if k == nil {
		return 0, nil
	}
	d.load(k)
	for {
		list, ok, err := d.batch()
		if err != nil {
			return n, err
		}
		if !ok {
			return n, k.err
		}
		for i := range list {
			if r := &list[i]; r.Offset < from {
				return n, fmt.Errorf("offset %d", r.Offset)
			}
		}
		n += len(list)
	}
}

// TestDecodeAllocations: what is allocated does not depend on the number of records.
func TestDecodeAllocations(t *testing.T) {
	for _, m := range []compress.Method{compress.None, compress.LZ4} {
		for _, count := range []int{10, 10_000} {
			var w kafka.BatchWriter
			for i := range count {
				w.Add(int64(i), []byte("key"), []byte("a value of some length"), kafka.Header{Key: []byte("h"), Value: []byte("v")})
			}
			batch, err := w.Append(nil, &kafka.BatchOptions{Compression: m})
			if err != nil {
				t.Fatal(err)
			}
			d := &decoder{topic: "t", limit: 1 << 24, check: true}
			k := &chunk{data: batch}
			run := func() {
				d.load(k)
				if list, _, err := d.batch(); err != nil || len(list) != count || len(list[count-1].Headers) != 1 {
					t.Fatalf("%d records, %v", len(list), err)
				}
			}
			run()
			// The records, their headers in parts, the buffer and state of the decompression, and what others do meanwhile.
			if n := testing.AllocsPerRun(20, run); n > 5+float64(count)/1000+8*float64(m) {
				t.Errorf("%v, %d records: %v allocations", m, count, n)
			}
		}
	}
}

// FuzzDecode: whatever a broker sends, decoding ends, with records from the offset on or an error.
func FuzzDecode(f *testing.F) {
	for m := compress.None; m <= compress.Zstd; m++ {
		var w kafka.BatchWriter
		w.Add(1, []byte("k"), []byte("v"), kafka.Header{Key: []byte("h")})
		w.Add(2, nil, nil)
		b, err := w.Append(nil, &kafka.BatchOptions{Compression: m, BaseOffset: 5})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append([]byte(nil), append(b, b[:20]...)...), int64(6), true)
	}
	marker, _ := (&kafka.Marker{Type: kafka.ControlAbort, ProducerID: 1}).Append(nil)
	f.Add(marker, int64(0), false)
	f.Fuzz(func(t *testing.T, records []byte, from int64, check bool) {
		d := &decoder{topic: "t", limit: 1 << 20, check: check, committed: true}
		if from < 0 {
			from = 0
		}
		if n, err := decodeAll(d, records, from); n > len(records)*20_000 {
			t.Errorf("%d records, %v", n, err)
		}
	})
}
