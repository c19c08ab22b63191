//go:build !race

package kafkaserver_test

import (
	"encoding/binary"
	"io"
	"runtime"
	"testing"

	"github.com/quartet-mq/quartet/internal/alloctest"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestProduceAllocations: a produce request and its response cost one small allocation, the request itself.
func TestProduceAllocations(t *testing.T) {
	for _, size := range []int{100, 16 << 10, 1 << 20} {
		m := &kafkawire.ProduceResponse{Responses: []kafkawire.ProduceResponseTopic{{Name: "t",
			PartitionResponses: []kafkawire.ProduceResponsePartition{{BaseOffset: 5}}}}}
		p := tcp(t, &backend{handle: func(r *kafkaserver.Request) { r.Reply(m) }}, nil)
		out := p.produce(size)
		in := make([]byte, 1<<10)
		round := func() {
			p.nc.Write(out)
			io.ReadFull(p.nc, in[:4])
			io.ReadFull(p.nc, in[:binary.BigEndian.Uint32(in)])
		}
		round()
		n := alloctest.PerRun(500, 1.5, round)
		t.Logf("%d bytes: %v allocations", size, n)
		if n > 1.5 {
			t.Errorf("%d bytes: %v allocations", size, n)
		}
	}
}

// TestFetchAllocations: a fetch whose response has records costs two small allocations, the request and the list of its pieces.
func TestFetchAllocations(t *testing.T) {
	b := &backend{handle: func(r *kafkaserver.Request) {
		data := kafkaserver.NewBuffer(1 << 20)
		var splices [1]kafkaserver.Splice
		out := append(r.Start(), "some fields"...)
		splices[0] = kafkaserver.Splice{At: len(out), Data: data.Bytes, Owner: data}
		r.ReplyEncoded(append(out, "others"...), splices[:]...)
	}}
	p := tcp(t, b, &kafkaserver.Options{Limits: kafkaserver.Limits{SendBuffer: -1}}) // all of it leaves at once
	out := p.encode(&kafkawire.FetchRequest{}, 12)
	in := make([]byte, 2<<20)
	round := func() {
		p.nc.Write(out)
		io.ReadFull(p.nc, in[:4])
		io.ReadFull(p.nc, in[:binary.BigEndian.Uint32(in)])
	}
	round()
	n := alloctest.PerRun(200, 3, round)
	t.Logf("%v allocations", n)
	if n > 3 {
		t.Errorf("%v allocations", n)
	}
}

// TestIdleMemory holds what a connection costs that does nothing, with its goroutine and the client's end.
func TestIdleMemory(t *testing.T) {
	b := new(backend)
	p := tcp(t, b, nil)
	p.beat()
	const n = 500
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // what is pooled goes with the second one
	runtime.ReadMemStats(&before)
	for range n {
		other := another(t, p)
		other.beat()
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	heap, stack := int(after.HeapAlloc-before.HeapAlloc)/n, int(after.StackInuse-before.StackInuse)/n
	t.Logf("%d bytes of heap and %d of stack for each", heap, stack)
	if heap > 8<<10 || stack > 8<<10 {
		t.Errorf("%d bytes of heap and %d of stack for each", heap, stack)
	}
}
