package codecbench

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/quartet-mq/quartet/kafka"
)

// A batch of 100 records with keys of 16 bytes and values of 100.

var recordKey, recordValue = bytes.Repeat([]byte("k"), 16), bytes.Repeat([]byte("v"), 100)

const recordsInBatch = 100

func recordBatch(b *testing.B) []byte {
	var w kafka.BatchWriter
	for i := range recordsInBatch {
		w.Add(1700000000000+int64(i), recordKey, recordValue)
	}
	out, err := w.Append(nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

func BenchmarkKafkaRecords(b *testing.B) {
	batch := recordBatch(b)
	run := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/recordsInBatch, "ns/record")
		})
	}
	run("read/quartet", func() {
		entry, _, err := kafka.Split(batch)
		if err != nil || kafka.Batch(entry).Check() != nil {
			b.Fatal(err)
		}
		recs, err := kafka.Open(entry, nil, 0)
		if err != nil {
			b.Fatal(err)
		}
		for r := (kafka.Record{}); recs.Next(&r); {
		}
		if recs.Err() != nil {
			b.Fatal(recs.Err())
		}
	})
	run("read/kmsg", func() {
		var rb kmsg.RecordBatch
		if err := rb.ReadFrom(batch); err != nil {
			b.Fatal(err)
		}
		in := rb.Records
		for range rb.NumRecords {
			size, n := binary.Varint(in)
			var r kmsg.Record
			if err := r.ReadFrom(in[:n+int(size)]); err != nil {
				b.Fatal(err)
			}
			in = in[n+int(size):]
		}
	})
	var w kafka.BatchWriter
	dst := make([]byte, 0, 2*len(batch))
	run("write/quartet", func() {
		w.Reset()
		for i := range int64(recordsInBatch) {
			w.Add(1700000000000+i, recordKey, recordValue)
		}
		if _, err := w.Append(dst, nil); err != nil {
			b.Fatal(err)
		}
	})
	run("check/quartet", func() {
		entry, err := kafka.SplitProduced(batch)
		if err != nil || entry.CheckProduced() != nil {
			b.Fatal(err)
		}
		entry.SetBaseOffset(1000)
		entry.SetLeaderEpoch(3)
	})
}
