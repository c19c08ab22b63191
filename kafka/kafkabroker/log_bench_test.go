package kafkabroker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// benchBatch is a batch of about 16 KiB, with records of a size, and how many they are.
func benchBatch(b *testing.B, size int, method compress.Method) ([]byte, int) {
	var w kafka.BatchWriter
	value := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
	for w.Len() < 16<<10 {
		w.Add(1000, nil, value)
	}
	out, err := w.Append(nil, &kafka.BatchOptions{Compression: method})
	if err != nil {
		b.Fatal(err)
	}
	return out, w.Count()
}

func benchDir(b *testing.B, n int, flush flushPolicy) []*partitionLog {
	c := defaultLogConfig()
	c.flush, c.afterMaxMs, c.segmentBytes = flush, 1<<62, 256<<20
	c.retentionBytes = 512 << 20
	d, err := openLogDir(filepath.Join(b.TempDir(), "logs"), &logDirOptions{fs: vfs.OS{}, config: func(string) *logConfig { return c }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.close() })
	var logs []*partitionLog
	for i := range n {
		l, err := createOne(d, kafkawire.UUID{1}, c, partitionID{"bench", int32(i)})
		if err != nil {
			b.Fatal(err)
		}
		logs = append(logs, l)
	}
	return logs
}

// prune keeps a benchmark from filling the disk.
func prune(b *testing.B, l *partitionLog) {
	if l.size() > 1<<30 {
		if _, err := l.retain(1000); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppendPacked appends compressed batches, whose records are checked or not. The text shrinks as log lines do.
func BenchmarkAppendPacked(b *testing.B) {
	for _, method := range []compress.Method{compress.LZ4, compress.Snappy, compress.Zstd, compress.Gzip} {
		for _, size := range []int{1024, 100} {
			for _, trust := range []bool{true, false} {
				b.Run(fmt.Sprintf("%v/records=%dB/trust=%v", method, size, trust), func(b *testing.B) {
					rnd := rand.New(rand.NewPCG(1, 2))
					var w kafka.BatchWriter
					for w.Len() < 64<<10 {
						value := fmt.Appendf(nil, "2026-01-01T00:00:00Z level=info user=%d path=/api/v1/items/%x status=200 ", rnd.Uint32(), rnd.Uint64())
						for len(value) < size {
							value = fmt.Appendf(value, "field%d=%x ", rnd.IntN(20), rnd.Uint32())
						}
						w.Add(1000, nil, value[:size])
					}
					batch, err := w.Append(nil, &kafka.BatchOptions{Compression: method})
					if err != nil {
						b.Fatal(err)
					}
					l := benchDir(b, 1, flushNever)[0]
					c := *l.config()
					c.trustPacked = trust
					l.setConfig(&c)
					r := appendRequest{now: 1000}
					buf := make([]byte, len(batch))
					b.ReportAllocs()
					for b.Loop() {
						r.records = buf[:copy(buf, batch)]
						if _, err := l.append(&r); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*w.Count()), "ns/record")
					b.ReportMetric(float64(len(batch))/float64(w.Len()), "ratio")
				})
			}
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1024, 100} {
		b.Run(fmt.Sprintf("records=%dB", size), func(b *testing.B) {
			batch, n := benchBatch(b, size, compress.None)
			l := benchDir(b, 1, flushNever)[0]
			r := appendRequest{now: 1000}
			buf := make([]byte, len(batch))
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				r.records = buf[:copy(buf, batch)]
				if _, err := l.append(&r); err != nil {
					b.Fatal(err)
				}
				if i++; i%10_000 == 0 {
					prune(b, l)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
	}
}

// BenchmarkAppendSync appends to some partitions at once and waits for each batch until it is durable.
func BenchmarkAppendSync(b *testing.B) {
	for _, partitions := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("partitions=%d", partitions), func(b *testing.B) {
			batch, n := benchBatch(b, 1024, compress.None)
			logs := benchDir(b, partitions, flushSync)
			var next atomic.Int64
			b.SetParallelism(partitions)
			b.SetBytes(int64(len(batch)))
			b.RunParallel(func(pb *testing.PB) {
				l := logs[int(next.Add(1)-1)%partitions]
				r := appendRequest{now: 1000}
				buf := make([]byte, len(batch))
				done := make(waiter, 1)
				for pb.Next() {
					r.records = buf[:copy(buf, batch)]
					res, err := l.append(&r)
					if err != nil {
						b.Error(err)
						return
					}
					if pending, err := l.await(res.end, done); err != nil {
						b.Error(err)
						return
					} else if pending {
						<-done
					}
				}
			})
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "records/s")
			s := logs[0].dir.sync
			b.ReportMetric(float64(b.N)/float64(max(s.rounds, 1)), "batches/round")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, max := range []int{1 << 20, 16 << 10} {
		b.Run(fmt.Sprintf("max=%d", max), func(b *testing.B) {
			batch, _ := benchBatch(b, 1024, compress.None)
			l := benchDir(b, 1, flushNever)[0]
			buf := make([]byte, len(batch))
			for range 8000 {
				if _, err := l.append(&appendRequest{records: buf[:copy(buf, batch)], now: 1000}); err != nil {
					b.Fatal(err)
				}
			}
			into := make([]byte, 2<<20)
			offset, end, total := int64(0), l.state().end, int64(0)
			b.ReportAllocs()
			for b.Loop() {
				f, err := l.fetch(fetchRequest{offset: offset, maxBytes: max, atLeast: true, isolation: readUncommitted})
				if err != nil {
					b.Fatal(err)
				}
				got, err := f.read(into)
				if err != nil {
					b.Fatal(err)
				}
				f.close()
				total += int64(len(got))
				if offset = f.next; offset >= end {
					offset = 0
				}
			}
			b.SetBytes(total / int64(b.N))
		})
	}
}

// BenchmarkReadAnywhere reads a batch at a random offset of segments that get no more batches.
func BenchmarkReadAnywhere(b *testing.B) {
	batch, n := benchBatch(b, 1024, compress.None)
	l := benchDir(b, 1, flushNever)[0]
	c := *l.config()
	c.segmentBytes = 32 << 20
	l.setConfig(&c)
	buf := make([]byte, len(batch))
	for range 8000 {
		if _, err := l.append(&appendRequest{records: buf[:copy(buf, batch)], now: 1000}); err != nil {
			b.Fatal(err)
		}
	}
	into := make([]byte, 2<<20)
	i := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 7919) % (7000 * int64(n))
		f, err := l.fetch(fetchRequest{offset: i, maxBytes: 1, atLeast: true, isolation: readUncommitted})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.read(into); err != nil {
			b.Fatal(err)
		}
		f.close()
	}
}

// BenchmarkCreate makes the logs of a topic with 50 partitions.
func BenchmarkCreate(b *testing.B) {
	d := benchDir(b, 1, flushNever)[0].dir
	n := 0
	for b.Loop() {
		n++
		var ids []partitionID
		for i := range int32(50) {
			ids = append(ids, partitionID{fmt.Sprint("t", n), i})
		}
		if _, err := d.create(kafkawire.UUID{1}, d.opt.config(""), ids...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecover opens a log of 128 MiB that was not closed.
func BenchmarkRecover(b *testing.B) {
	batch, _ := benchBatch(b, 1024, compress.None)
	l := benchDir(b, 1, flushNever)[0]
	buf := make([]byte, len(batch))
	for range 8000 {
		if _, err := l.append(&appendRequest{records: buf[:copy(buf, batch)], now: 1000}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(l.size())
	for b.Loop() {
		if _, err := l.dir.openLog(l.id, l.config(), opening{now: 1000}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkClean compacts 300,000 records of 100 bytes, a third of which stays.
func BenchmarkClean(b *testing.B) {
	c := defaultLogConfig()
	c.compact, c.afterMaxMs, c.segmentBytes = true, 1<<62, 8<<20
	l := benchDir(b, 1, flushNever)[0]
	l.setConfig(c)
	value := bytes.Repeat([]byte("v"), 100)
	var w kafka.BatchWriter
	records := 0
	for b.Loop() {
		b.StopTimer()
		for range 3000 {
			w.Reset()
			for range 100 {
				records++
				w.Add(1000, fmt.Append(nil, "key", records%100_000), value)
			}
			batch, err := w.Append(nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := l.append(&appendRequest{records: batch, now: 1000}); err != nil {
				b.Fatal(err)
			}
		}
		l.writing.Lock()
		err := l.roll(0, 1000, c)
		l.writing.Unlock()
		if err != nil {
			b.Fatal(err)
		}
		l.dir.flusher.wait()
		b.StartTimer()
		if _, err := l.clean(new(offsetMap), 1000); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
}
