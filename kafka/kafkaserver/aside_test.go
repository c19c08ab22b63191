package kafkaserver_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestAsideOrder: large requests are handled beside the reader, and still one at a time and in their order.
func TestAsideOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(1, 2))
		var order []int32
		inside := false
		b := &backend{}
		b.handle = func(r *kafkaserver.Request) {
			if inside {
				t.Error("two calls at a time")
			}
			inside = true
			time.Sleep(time.Duration(r.CorrelationID%3) * time.Millisecond)
			inside = false
			order = append(order, r.CorrelationID)
			r.Reply(kafkawire.NewResponse(r.Key))
		}
		_, l := serve(t, b, nil)
		p := dial(t, l)
		var ids []int32
		go func() {
			for range 300 {
				m := p.produce([]int{10, 1000, 100 << 10, 300 << 10}[rnd.IntN(4)])
				ids = append(ids, p.last)
				p.nc.Write(m)
			}
		}()
		for id := range int32(300) {
			p.receive(id+1, new(kafkawire.ProduceResponse), 7)
		}
		for i, id := range order {
			if id != int32(i+1) {
				t.Fatalf("call %d is request %d", i+1, id)
			}
		}
		if len(order) != len(ids) {
			t.Errorf("%d calls for %d requests", len(order), len(ids))
		}
	})
}

// TestAsideReadsOn: while a large request is handled the next one is read, and the connection ends only when the session
// has all that came whole.
func TestAsideReadsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		handled := 0
		first := make(chan struct{})
		b.handle = func(r *kafkaserver.Request) {
			<-first
			b.mu.Lock()
			if len(b.closed) > 0 {
				t.Error("a request after Closed")
			}
			b.mu.Unlock()
			handled++
			r.Reply(kafkawire.NewResponse(r.Key))
		}
		_, l := serve(t, b, nil)
		p := dial(t, l)
		p.write(p.produce(200 << 10))
		p.write(p.produce(200 << 10)) // more than the pipe holds: somebody reads
		p.write(p.produce(10))
		p.nc.Close()
		synctest.Wait()
		if n := len(b.ends()); n != 0 || handled != 0 {
			t.Errorf("%d sessions ended, %d requests handled, while the first is at work", n, handled)
		}
		close(first)
		if n := len(b.ends()); n != 1 || handled != 3 {
			t.Errorf("%d sessions ended, %d requests handled", n, handled)
		}
	})
}
