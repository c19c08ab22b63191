package amqpserver_test

import (
	"fmt"
	"io"
	"math/rand"
	"sync"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// TestConcurrent runs publishers with confirms and consumers with prefetch, acknowledging at random, some of which come and
// go, over a network of memory. Every message is confirmed once; each consumer sees the messages of a publisher that it was
// the first to get in their order; nothing is lost, and nothing is settled twice.
func TestConcurrent(t *testing.T) {
	bubble(t, testConcurrent)
}

func testConcurrent(t *testing.T) {
	const publishers, consumers, messages = 4, 4, 400
	b := new(queues)
	s, l := serve(t, b, &amqpserver.Options{Limits: amqpserver.Limits{SoftLimit: 4000, Heartbeat: -1}})
	setup := open(t, l)
	setup.send(1, &amqp091.QueueDeclare{Queue: "q"})
	setup.next()

	var mu sync.Mutex
	settled := make(map[string]int)
	all := make(chan struct{})
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			p := open(t, l)
			p.send(1, &amqp091.ConfirmSelect{})
			p.next()
			go func() {
				for n := range messages {
					p.publish(1, "q", fmt.Sprintf("%d.%d", i, n))
				}
			}()
			for confirmed := uint64(0); confirmed < messages; {
				f, ok := p.read()
				m, err := amqp091.DecodeMethod(f.Payload)
				if !ok || err != nil {
					t.Errorf("publisher: %v, %v", f, err)
					return
				}
				ack := m.(*amqp091.BasicAck)
				if ack.DeliveryTag <= confirmed || !ack.Multiple && ack.DeliveryTag != confirmed+1 {
					t.Errorf("%v after %d", ack, confirmed)
				}
				confirmed = ack.DeliveryTag
			}
		}()
	}
	for i := range consumers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewSource(int64(i)))
			for life := 0; ; life++ {
				if consume(t, open(t, l), rnd, &mu, settled, publishers*messages, all, i%2 == 1) {
					return
				}
			}
		}()
	}
	wg.Wait()
	for i := range publishers {
		for n := range messages {
			if got := settled[fmt.Sprintf("%d.%d", i, n)]; got != 1 {
				t.Errorf("message %d.%d is settled %d times", i, n, got)
			}
		}
	}
	if st := s.Stats(); st.Published != publishers*messages || st.Confirmed != publishers*messages {
		t.Errorf("%+v", st)
	}
}

// consume consumes until all messages are settled, when it returns true, or for a while.
func consume(t *testing.T, p *peer, rnd *rand.Rand, mu *sync.Mutex, settled map[string]int, want int, all chan struct{}, leaves bool) bool {
	prefetch := 1 + rnd.Intn(20)
	p.send(1, &amqp091.BasicQos{PrefetchCount: uint16(prefetch)}, &amqp091.BasicConsume{Queue: "q", ConsumerTag: "c"})
	p.next()
	p.next()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-all:
			p.nc.Close()
		case <-done:
		}
	}()
	last := make(map[int]int)
	held := make(map[uint64]string)
	p.idle = func() {
		for tag := range held {
			p.settle(mu, settled, held, want, all, tag)
		}
	}
	for count := 0; ; count++ {
		f, ok := p.read()
		if !ok {
			return true
		}
		m, err := amqp091.DecodeMethod(f.Payload)
		if err != nil {
			t.Error(err)
			return true
		}
		d := m.(*amqp091.BasicDeliver)
		p.read()
		f, ok = p.read()
		if !ok {
			return true
		}
		body := string(f.Payload)
		var from, n int
		fmt.Sscanf(body, "%d.%d", &from, &n)
		if !d.Redelivered {
			if n <= last[from]-1 {
				t.Errorf("message %s after %d", body, last[from]-1)
			}
			last[from] = n + 1
		}
		held[d.DeliveryTag] = body
		if len(held) > prefetch {
			t.Errorf("%d deliveries are held, prefetch is %d", len(held), prefetch)
		}
		if leaves && count > 100+rnd.Intn(100) {
			// What it holds comes back. It reads until the server has read all that it says: a server that fails to write
			// may leave acknowledgements unread.
			p.nc.(interface{ CloseWrite() error }).CloseWrite()
			io.Copy(io.Discard, p.nc)
			p.nc.Close()
			return false
		}
		switch rnd.Intn(4) {
		case 0, 1:
			p.settle(mu, settled, held, want, all, d.DeliveryTag)
		case 2:
			for tag := range held {
				p.settle(mu, settled, held, want, all, tag)
			}
		}
	}
}

// settle acknowledges a delivery. It is counted first: from then on it must not come back.
func (p *peer) settle(mu *sync.Mutex, settled map[string]int, held map[uint64]string, want int, all chan struct{}, tag uint64) {
	mu.Lock()
	settled[held[tag]]++
	last := len(settled) == want
	mu.Unlock()
	delete(held, tag)
	b, _ := amqp091.AppendMethod(nil, 1, &amqp091.BasicAck{DeliveryTag: tag})
	p.nc.Write(b)
	if last {
		close(all)
	}
}
