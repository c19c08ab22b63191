//go:build !race

package amqpserver_test

import (
	"io"
	"runtime"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
	"github.com/quartet-mq/quartet/internal/alloctest"
)

// TestDeliverAllocations: a message costs no allocation from Deliver to the socket, and its acknowledgement none.
func TestDeliverAllocations(t *testing.T) {
	for _, noAck := range []bool{true, false} {
		backend := &sink{consumer: make(chan *amqpserver.Consumer, 1), ready: make(chan struct{}, 1), settled: make(chan int, 10)}
		_, dial := tcp(t, backend)
		p := dial()
		p.send(1, &amqp091.BasicConsume{NoAck: noAck})
		p.next()
		c := <-backend.consumer
		b := amqpserver.NewBatch()
		d := &amqpserver.Delivery{Exchange: "amq.topic", RoutingKey: "a.b", Body: make([]byte, 256)}
		m, _ := amqp091.AppendDeliver(nil, 1, "c", 1, false, d.Exchange, d.RoutingKey)
		in := make([]byte, 50*len(amqp091.AppendBody(amqp091.AppendContentHeader(m, 1, 256, nil), 1, d.Body, 0)))
		ack := make([]byte, 0, 100)
		ref, tag := any(d), uint64(0)
		round := func() {
			for range 50 {
				if !c.Channel().Deliver(b, c, d, ref) {
					t.Fatal("no")
				}
				tag++
			}
			b.Flush()
			io.ReadFull(p.nc, in)
			if !noAck {
				p.nc.Write(amqp091.AppendAck(ack[:0], 1, tag, true))
				if n := <-backend.settled; n != 50 {
					t.Fatal(n)
				}
			}
		}
		if n := alloctest.PerRun(200, 1, round); n > 1 {
			t.Errorf("no-ack %v: %v allocations for 50 messages", noAck, n)
		}
	}
}

// TestPublishAllocations: a message costs the reader no allocation, and its confirm none.
func TestPublishAllocations(t *testing.T) {
	_, dial := tcp(t, &sink{})
	p := dial()
	p.send(1, &amqp091.ConfirmSelect{})
	p.next()
	out := repeat(100)
	in := make([]byte, 4096)
	tag := uint64(0)
	round := func() {
		p.nc.Write(out)
		for tag += 100; ; {
			n, err := p.nc.Read(in)
			if err != nil {
				t.Fatal(err)
			}
			f, _, _ := amqp091.NextFrame(in[n-21:n], 0) // the last of perhaps several
			var v amqp091.AckView
			if v.Decode(f.Payload); v.DeliveryTag == tag {
				return
			}
		}
	}
	if n := alloctest.PerRun(200, 3, round); n > 3 { // a message that is cut by a read
		t.Errorf("%v allocations for 100 messages", n)
	}
}

// TestIdleMemory holds what a connection costs that does nothing, with its channel, its goroutine and the client's end.
func TestIdleMemory(t *testing.T) {
	_, dial := tcp(t, &sink{})
	dial()
	const n = 500
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range n {
		p := dial()
		p.in = nil
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
