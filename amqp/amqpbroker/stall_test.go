package amqpbroker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/internal/vfs"
)

// stallClient is a client that consumes, and does with its deliveries what it likes.
type stallClient struct {
	*peer
	mu   sync.Mutex
	rnd  *rand.Rand
	tags map[uint16][]uint64
	calm bool // it acknowledges everything
	seen int
}

func (c *stallClient) reaction(channel uint16, m amqp091.Method, _ *content) {
	switch m := m.(type) {
	case *amqp091.BasicDeliver:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen++
		switch what := c.rnd.IntN(10); {
		case c.calm || what < 4:
			go c.send(channel, &amqp091.BasicAck{DeliveryTag: m.DeliveryTag})
		case what < 5:
			go c.send(channel, &amqp091.BasicReject{DeliveryTag: m.DeliveryTag, Requeue: true})
		case what < 6:
			go c.send(channel, &amqp091.BasicReject{DeliveryTag: m.DeliveryTag})
		default:
			c.tags[channel] = append(c.tags[channel], m.DeliveryTag)
		}
	case *amqp091.ChannelClose:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.tags[channel] = nil
		go c.send(channel, &amqp091.ChannelCloseOK{}, &amqp091.ChannelOpen{})
	}
}

// TestNobodyWaits lets clients consume, cancel, requeue, close, and policies and alarms come and go. In the end everything that is
// in a queue with a consumer is delivered.
func TestNobodyWaits(t *testing.T) {
	for _, seed := range []uint64{1, 2, rand.Uint64()} {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { nobodyWaits(t, seed) })
		})
	}
}

func nobodyWaits(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var used int64
	var mu sync.Mutex
	o := Options{fs: vfs.NewMem(), Dir: crashDir, SegmentSize: 16 << 10, hotMessages: 16, MemoryLimit: 100, MemoryUsed: func() int64 {
		mu.Lock()
		defer mu.Unlock()
		return used
	}}
	w := newWorld(t, &o, nil)
	ctx := context.Background()
	queues := map[string]Queue{
		"plain":  {Durable: true},
		"single": {Durable: true, Arguments: args("x-single-active-consumer", true)},
		"prio":   {Durable: true, Arguments: args("x-max-priority", 5)},
		"memory": {},
		"limit":  {Durable: true, Arguments: args("x-queue-type", "quorum", "x-delivery-limit", 3)},
		"dlx":    {Durable: true, Arguments: args("x-dead-letter-exchange", "", "x-dead-letter-routing-key", "plain", "x-single-active-consumer", true)},
	}
	names := []string{"plain", "single", "prio", "memory", "limit", "dlx"}
	for name, q := range queues {
		q.Name = name
		_, err := w.DeclareQueue(ctx, "/", q)
		must(t, err)
	}
	client := func(i int) *stallClient {
		c := &stallClient{peer: w.dial(fmt.Sprint("c", i)), rnd: rand.New(rand.NewPCG(seed, uint64(i))), tags: map[uint16][]uint64{}}
		c.react = c.reaction
		c.start()
		c.send(2, &amqp091.ChannelOpen{})
		return c
	}
	clients := make([]*stallClient, 4)
	for i := range clients {
		clients[i] = client(i)
	}
	pub := w.dial("pub").start()
	for range 800 {
		i := rnd.IntN(len(clients))
		c, channel, name := clients[i], uint16(1+rnd.IntN(2)), names[rnd.IntN(len(names))]
		tag := fmt.Sprint("t", rnd.IntN(4))
		switch what := rnd.IntN(100); {
		case what < 40:
			for range rnd.IntN(8) {
				pub.publish(1, "", name, &amqp091.Properties{DeliveryMode: uint8(1 + rnd.IntN(2)), Priority: uint8(rnd.IntN(7))}, "m")
			}
		case what < 52:
			c.send(channel, &amqp091.BasicCancel{ConsumerTag: tag, NoWait: true}, &amqp091.BasicQos{PrefetchCount: uint16(rnd.IntN(4)), Global: rnd.IntN(3) == 0},
				&amqp091.BasicConsume{
					Queue: name, ConsumerTag: tag, NoAck: rnd.IntN(6) == 0, Exclusive: rnd.IntN(30) == 0, Arguments: args("x-priority", rnd.IntN(3)),
				})
		case what < 58:
			c.send(channel, &amqp091.BasicCancel{ConsumerTag: tag})
		case what < 72:
			c.mu.Lock()
			if tags := c.tags[channel]; len(tags) > 0 {
				last := tags[len(tags)-1]
				c.tags[channel] = nil
				list := []amqp091.Method{
					&amqp091.BasicAck{DeliveryTag: last, Multiple: true}, &amqp091.BasicNack{DeliveryTag: last, Multiple: true, Requeue: true},
					&amqp091.BasicNack{DeliveryTag: last, Multiple: true}, &amqp091.BasicRecover{Requeue: true},
				}
				c.mu.Unlock()
				c.send(channel, list[rnd.IntN(len(list))])
			} else {
				c.mu.Unlock()
			}
		case what < 76:
			c.mu.Lock()
			c.tags[channel] = nil
			c.mu.Unlock()
			c.send(channel, &amqp091.ChannelClose{}, &amqp091.ChannelOpen{})
		case what < 79:
			c.drop()
			clients[i] = client(i + rnd.IntN(1000)*10)
		case what < 83:
			c.send(channel, &amqp091.BasicGet{Queue: name, NoAck: rnd.IntN(2) == 0})
		case what < 86:
			must(t, w.SetPolicy(Policy{Vhost: "/", Name: "p", Pattern: name, Definition: Arguments(args("max-length", 1+rnd.IntN(100), "message-ttl", 1000+rnd.IntN(3000)))}))
		case what < 88:
			must(t, w.SetPolicy(Policy{Vhost: "/", Name: "p", Pattern: "nothing", Definition: Arguments(args("max-length", 1))}))
		case what < 90:
			mu.Lock()
			used = []int64{0, 60, 200}[rnd.IntN(3)]
			mu.Unlock()
			time.Sleep(200 * time.Millisecond)
		case what < 92:
			c.send(channel, &amqp091.TxSelect{}, &amqp091.TxCommit{})
		case what < 93:
			q := queues[name]
			q.Name = name
			_, err := w.DeleteQueue(ctx, "/", name)
			must(t, err)
			_, err = w.DeclareQueue(ctx, "/", q)
			must(t, err)
		case what < 94:
			_, err := w.PurgeQueue(ctx, "/", name)
			must(t, err)
		default:
			time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
		}
		if rnd.IntN(4) == 0 {
			w.wait()
		}
	}
	mu.Lock()
	used = 0
	mu.Unlock()
	time.Sleep(time.Second)
	for i, c := range clients {
		c.mu.Lock()
		c.calm = true
		c.mu.Unlock()
		if i%2 == 0 {
			c.drop()
			continue
		}
		for channel := range uint16(2) {
			c.send(channel+1, &amqp091.BasicRecover{Requeue: true}, &amqp091.TxCommit{})
		}
	}
	time.Sleep(10 * time.Second)
	w.wait()
	for _, name := range names {
		q := w.vhost("/").queue(name)
		q.mu.Lock()
		transactional := false
		for _, c := range q.cs.list {
			transactional = transactional || c.sink.(*channel).ch.Transactional()
		}
		if len(q.cs.list) > 0 && q.ready > 0 && !transactional {
			t.Errorf("%s: %d ready, %d acquired, %d consumers of which %d take something", name, q.ready, q.acquired, len(q.cs.list), q.cs.open)
			for _, c := range q.cs.list {
				t.Errorf("consumer %s holds %d, state %d", c.tag, c.held, c.state)
			}
		}
		q.mu.Unlock()
	}
	for _, c := range clients {
		c.drop()
	}
	pub.drop()
	w.wait()
	for _, name := range names {
		q := w.vhost("/").queue(name)
		q.mu.Lock()
		if q.acquired != 0 || len(q.held) != 0 || len(q.cs.list) != 0 || q.cs.open != 0 || q.cs.active != nil {
			t.Errorf("%s: %d acquired, %d held, %d consumers, %d open", name, q.acquired, len(q.held), len(q.cs.list), q.cs.open)
		}
		q.mu.Unlock()
	}
	w.close()
}
