package kafkabroker

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// benchServer serves a broker on a socket.
func benchServer(b *testing.B, o *Options) net.Conn {
	o.Dir, o.Authenticate = b.TempDir(), AllowAll
	br := openBroker(b, o)
	srv := kafkaserver.New(br, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l, nil) }()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = nc.Close()
		_ = srv.Close()
		<-done
	})
	return nc
}

// BenchmarkProduce sends produce requests without pause, some in flight, each with a batch for each partition. The client
// does next to nothing, in the same process.
func BenchmarkProduce(b *testing.B) {
	for _, sync := range []Sync{SyncNever, SyncAcks} {
		for _, parts := range []int{1, 8, 64} {
			for _, size := range []int{1 << 10, 16 << 10} {
				b.Run(fmt.Sprintf("%v/%d/%d", sync, parts, size), func(b *testing.B) { benchProduce(b, sync, parts, size) })
			}
		}
	}
}

func benchProduce(b *testing.B, sync Sync, parts, size int) {
	nc := benchServer(b, &Options{Sync: sync, DefaultPartitions: int32(parts)})
	p := &peer{t: b, nc: nc, client: "bench"}
	p.mustCreate("t", int32(parts))
	var w kafka.BatchWriter
	for w.Len() < size {
		w.Add(time.Now().UnixMilli(), nil, make([]byte, 1000))
	}
	records, err := w.Append(nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	req := produceTo("t", 0, records)
	for i := 1; i < parts; i++ {
		req.TopicData[0].PartitionData = append(req.TopicData[0].PartitionData, kafkawire.ProduceRequestPartition{Index: int32(i), Records: records})
	}
	frame, err := kafkawire.AppendRequest(nil, kafkawire.RequestHeader{Version: 9, ClientID: []byte("bench")}, req)
	if err != nil {
		b.Fatal(err)
	}
	const inFlight = 5
	credit := make(chan struct{}, inFlight)
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	before := cpu()
	b.ResetTimer()
	go func() {
		for range b.N {
			credit <- struct{}{}
			if _, err := nc.Write(frame); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	r := bufio.NewReaderSize(nc, 64<<10)
	var head [4]byte
	for range b.N {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Discard(int(binary.BigEndian.Uint32(head[:]))); err != nil {
			b.Fatal(err)
		}
		<-credit
	}
	n := float64(b.N * parts * w.Count())
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/n, "cpu-ns/record")
	b.ReportMetric(n/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkFetch reads a log again and again.
func BenchmarkFetch(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			nc := benchServer(b, &Options{Sync: SyncNever})
			p := &peer{t: b, nc: nc, client: "bench"}
			p.mustCreate("t", 1)
			var w kafka.BatchWriter
			for w.Len() < 16<<10 {
				w.Add(time.Now().UnixMilli(), nil, make([]byte, 1000))
			}
			records, err := w.Append(nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			for range 4096 {
				p.produce("t", 0, records)
			}
			per := max(size/len(records), 1)
			b.ReportAllocs()
			b.SetBytes(int64(per * len(records)))
			before := cpu()
			b.ResetTimer()
			offset, last := int64(0), int64(4096*w.Count())
			buf := make([]byte, 2<<20)
			for range b.N {
				m := fetchOf("t", 0, offset)
				m.Topics[0].Partitions[0].PartitionMaxBytes, m.MaxBytes = int32(per*len(records)), math.MaxInt32
				p.send(m, 12)
				if _, err := io.ReadFull(nc, buf[:4]); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(nc, buf[:binary.BigEndian.Uint32(buf)]); err != nil {
					b.Fatal(err)
				}
				if offset += int64(per * w.Count()); offset >= last {
					offset = 0
				}
			}
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N*per*w.Count()), "cpu-ns/record")
		})
	}
}

// BenchmarkEndToEnd is the time from sending a record to having it, for one consumer of many that wait.
func BenchmarkEndToEnd(b *testing.B) {
	for _, sync := range []Sync{SyncNever, SyncAcks} {
		for _, readers := range []int{1, 100} {
			b.Run(fmt.Sprintf("%v/%d", sync, readers), func(b *testing.B) {
				nc := benchServer(b, &Options{Sync: sync})
				p := &peer{t: b, nc: nc, client: "bench"}
				p.mustCreate("t", 1)
				done := make(chan time.Time, readers)
				for range readers {
					c, err := net.Dial("tcp", nc.RemoteAddr().String())
					if err != nil {
						b.Fatal(err)
					}
					b.Cleanup(func() { _ = c.Close() })
					q := &peer{t: b, nc: c, client: "bench"}
					go func() {
						m := fetchOf("t", 0, 0)
						m.MaxWaitMs = 60_000
						for i := range b.N {
							m.Topics[0].Partitions[0].FetchOffset = int64(i)
							if q.receive(new(kafkawire.FetchResponse), 12, q.send(m, 12)) != nil {
								return
							}
							done <- time.Now()
						}
					}()
				}
				records := batch("x")
				var all []time.Duration
				for range b.N {
					start := time.Now()
					p.mustProduce("t", 0, records)
					for range readers {
						all = append(all, (<-done).Sub(start))
					}
				}
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
				b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
			})
		}
	}
}
