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
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// benchServer serves a broker on a socket.
func benchServer(b *testing.B, o *Options) net.Conn {
	o.Dir, o.Authenticate = b.TempDir(), AllowAll
	br := openBroker(b, o)
	return serve(b, br, "tcp", nil)().nc
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

// BenchmarkFetchSession is one request of a fetch session with many partitions, of which none or one has something new. With wait
// the client waits for it, as consumers do.
func BenchmarkFetchSession(b *testing.B) {
	for _, parts := range []int32{100, 1000} {
		for _, wait := range []bool{false, true} {
			b.Run(fmt.Sprintf("partitions=%d/wait=%v", parts, wait), func(b *testing.B) {
				nc := benchServer(b, &Options{Sync: SyncNever})
				p := &peer{t: b, nc: nc, client: "bench"}
				p.mustCreate("t", parts) // may take longer than a connection may be silent
				producer := &peer{t: b, nc: dialAgain(b, nc), client: "bench"}
				m := fetchOf("t", 0, 0)
				one := m.Topics[0].Partitions[0]
				for i := int32(1); i < parts; i++ {
					one.Partition = i
					m.Topics[0].Partitions = append(m.Topics[0].Partitions, one)
				}
				m.SessionEpoch, m.MinBytes = 0, 1
				got := ask[*kafkawire.FetchResponse](p, m, 12)
				records := batch("v")
				m = &kafkawire.FetchRequest{ReplicaID: -1, MaxBytes: 1 << 20, MinBytes: 1, SessionID: got.SessionID}
				if wait {
					m.MaxWaitMs = 10_000
				}
				before := cpu()
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					m.SessionEpoch = int32(i + 1)
					id := p.send(m, 12)
					if wait {
						producer.produce("t", int32(i)%parts, records)
					}
					var resp kafkawire.FetchResponse
					if err := p.receive(&resp, 12, id); err != nil || resp.ErrorCode != 0 {
						b.Fatal(err, resp.ErrorCode)
					}
					m.Topics = nil
					if wait {
						one.Partition = resp.Responses[0].Partitions[0].PartitionIndex
						one.FetchOffset = resp.Responses[0].Partitions[0].HighWatermark
						m.Topics = []kafkawire.FetchRequestTopic{{Topic: "t", Partitions: []kafkawire.FetchRequestPartition{one}}}
					}
				}
				b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N)/1000, "cpu-µs/op")
			})
		}
	}
}

// dialAgain makes another connection to the server of one.
func dialAgain(b *testing.B, nc net.Conn) net.Conn {
	again, err := net.Dial("tcp", nc.RemoteAddr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = again.Close() })
	return again
}
