package kafka_test

import (
	"fmt"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka"
)

func Example() {
	// A producer collects records.
	var w kafka.BatchWriter
	w.Add(1700000000000, []byte("machine-7"), []byte("21.5"), kafka.Header{Key: []byte("unit"), Value: []byte("°C")})
	w.Add(1700000000250, []byte("machine-8"), []byte("22.0"))
	b, err := w.Append(nil, &kafka.BatchOptions{Compression: compress.LZ4, Producer: &kafka.Producer{ID: 1}})
	if err != nil {
		panic(err)
	}

	// A broker checks the batch and gives it offsets.
	batch, err := kafka.SplitProduced(b)
	if err == nil {
		err = batch.CheckProduced()
	}
	if err != nil {
		panic(err)
	}
	batch.SetBaseOffset(1000)
	batch.SetLeaderEpoch(3)

	// A consumer reads what the broker has.
	for log := b; len(log) > 0; {
		entry, rest, err := kafka.Split(log)
		if err != nil || entry == nil {
			break
		}
		log = rest
		records, err := kafka.Open(entry, nil, 1<<20)
		if err != nil {
			panic(err)
		}
		for r := (kafka.Record{}); records.Next(&r); {
			fmt.Printf("%d %s %s", r.Offset, r.Key, r.Value)
			for h := range r.Headers.All() {
				fmt.Printf(" %s=%s", h.Key, h.Value)
			}
			fmt.Println()
		}
	}
	// Output:
	// 1000 machine-7 21.5 unit=°C
	// 1001 machine-8 22.0
}

func ExampleJavaPartition() {
	fmt.Println(kafka.JavaPartition([]byte("machine-7"), 12))
	// Output: 4
}
