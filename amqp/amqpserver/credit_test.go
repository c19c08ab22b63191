package amqpserver_test

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// TestCredit does at random what clients do with credit, and looks whenever nothing moves any more: no limit is exceeded,
// no message is lost, and none waits while a consumer has credit.
func TestCredit(t *testing.T) {
	for seed := range int64(100) {
		bubble(t, func(t *testing.T) {
			b := new(queues)
			_, l := serve(t, b, &amqpserver.Options{Limits: amqpserver.Limits{SoftLimit: 2000}})
			w := &creditWorld{t: t, seed: seed, rnd: rand.New(rand.NewSource(seed)), b: b, p: open(t, l), publisher: open(t, l)}
			w.publisher.send(1, &amqp091.QueueDeclare{Queue: "q"})
			w.publisher.next()
			w.p.send(2, &amqp091.ChannelOpen{})
			w.channels = [3]*creditChannel{1: {}, 2: {tx: seed%2 == 0}}
			if w.channels[2].tx {
				w.p.send(2, &amqp091.TxSelect{})
			}
			for range 300 {
				w.step()
				if w.rnd.Intn(4) == 0 {
					w.read(w.rnd.Intn(20))
				}
				if w.rnd.Intn(10) == 0 {
					w.check()
				}
			}
			w.check()
		})
	}
}

type creditWorld struct {
	t         *testing.T
	seed      int64
	rnd       *rand.Rand
	b         *queues
	p         *peer
	publisher *peer
	channels  [3]*creditChannel // by number, from 1
	published int
	gone      int // messages that are settled for good
	tags      int
}

type creditChannel struct {
	limit, prefetch int
	consumers       []*creditConsumer // also those that have ended
	unsettled       []creditDelivery
	settled         []creditDelivery // in the transaction
	tx              bool
}

type creditConsumer struct {
	tag          string
	limit        int
	noAck, ended bool
}

type creditDelivery struct {
	tag      uint64
	consumer *creditConsumer // nil: of basic.get
}

// step does something, mostly without reading the answer.
func (w *creditWorld) step() {
	id := uint16(1 + w.rnd.Intn(2))
	ch := w.channels[id]
	switch w.rnd.Intn(14) {
	case 0, 1:
		c := &creditConsumer{tag: fmt.Sprint("c", w.tags), limit: ch.prefetch, noAck: w.rnd.Intn(8) == 0}
		w.tags++
		ch.consumers = append(ch.consumers, c)
		w.p.send(id, &amqp091.BasicConsume{Queue: "q", ConsumerTag: c.tag, NoAck: c.noAck})
	case 2:
		ch.prefetch = w.rnd.Intn(4)
		w.p.send(id, &amqp091.BasicQos{PrefetchCount: uint16(ch.prefetch)})
	case 3:
		w.read(0)
		ch.limit = w.rnd.Intn(6)
		w.p.send(id, &amqp091.BasicQos{PrefetchCount: uint16(ch.limit), Global: true})
	case 4, 5:
		if n := len(ch.consumers); n > 0 {
			c := ch.consumers[w.rnd.Intn(n)]
			c.ended = true
			w.p.send(id, &amqp091.BasicCancel{ConsumerTag: c.tag})
		}
	case 6:
		if w.rnd.Intn(4) == 0 {
			w.p.send(id, &amqp091.BasicRecover{Requeue: true})
			w.read(0)
		}
	case 7:
		w.p.send(id, &amqp091.BasicGet{Queue: "q"})
	case 8:
		if ch.tx && w.rnd.Intn(2) == 0 {
			w.p.send(id, &amqp091.TxCommit{})
			w.gone += len(ch.settled)
			ch.settled = nil
		} else if ch.tx {
			w.p.send(id, &amqp091.TxRollback{})
			w.read(0)
			ch.unsettled = append(ch.unsettled, ch.settled...)
			slices.SortFunc(ch.unsettled, func(a, b creditDelivery) int { return int(a.tag) - int(b.tag) })
			ch.settled = nil
		}
	case 9, 10:
		w.publisher.publish(1, "q", strings.Repeat("x", w.rnd.Intn(800)))
		w.published++
	default:
		w.ack(id, ch)
	}
}

// ack settles some of what was read.
func (w *creditWorld) ack(id uint16, ch *creditChannel) {
	n := len(ch.unsettled)
	if n == 0 {
		return
	}
	i := w.rnd.Intn(n)
	multiple := w.rnd.Intn(3) == 0
	first := i
	if multiple {
		first = 0
	}
	list := slices.Clone(ch.unsettled[first : i+1])
	ch.unsettled = slices.Delete(ch.unsettled, first, i+1)
	tag := list[len(list)-1].tag
	requeue := w.rnd.Intn(2) == 0 && !ch.tx // the backend here knows no transactions
	switch w.rnd.Intn(2) {
	case 0:
		requeue = false
		w.p.send(id, &amqp091.BasicAck{DeliveryTag: tag, Multiple: multiple})
	default:
		w.p.send(id, &amqp091.BasicNack{DeliveryTag: tag, Multiple: multiple, Requeue: requeue})
	}
	switch {
	case ch.tx:
		ch.settled = append(ch.settled, list...)
	case !requeue:
		w.gone += len(list)
	}
}

// read reads n methods, or all that comes when n is 0.
func (w *creditWorld) read(n int) {
	quiet := false
	w.p.idle = func() { quiet = true }
	for range n {
		if quiet {
			break
		}
		w.one(&quiet)
	}
	for n == 0 && !quiet {
		w.one(&quiet)
	}
	w.p.idle = nil
}

// one reads a frame. When nothing comes, an answer makes something come.
func (w *creditWorld) one(quiet *bool) {
	done := false
	w.p.idle = func() {
		if !done {
			*quiet, done = true, true
			w.p.send(1, &amqp091.ChannelFlow{Active: true})
		}
	}
	f, ok := w.p.read()
	if !ok {
		w.t.Fatalf("seed %d: the end of the connection", w.seed)
	}
	if f.Type != amqp091.FrameMethod {
		return
	}
	m, err := amqp091.DecodeMethod(f.Payload)
	if err != nil {
		w.t.Fatal(err)
	}
	ch := w.channels[f.Channel]
	switch m := m.(type) {
	case *amqp091.BasicDeliver:
		i := slices.IndexFunc(ch.consumers, func(c *creditConsumer) bool { return c.tag == m.ConsumerTag })
		c := ch.consumers[i]
		if c.noAck {
			w.gone++
		} else {
			ch.unsettled = append(ch.unsettled, creditDelivery{m.DeliveryTag, c})
		}
	case *amqp091.BasicGetOK:
		ch.unsettled = append(ch.unsettled, creditDelivery{m.DeliveryTag, nil})
	case *amqp091.BasicRecoverOK: // comes before what is delivered again
		ch.unsettled = nil
	case *amqp091.ChannelClose, *amqp091.ConnectionClose:
		w.t.Fatalf("seed %d: %v", w.seed, m)
	}
}

// check looks at everything when nothing moves any more.
func (w *creditWorld) check() {
	w.read(0)
	w.b.mu.Lock()
	ready := len(w.b.queue("q").ready)
	w.b.mu.Unlock()
	have := ready + w.gone
	for id, ch := range w.channels {
		if id == 0 {
			continue
		}
		have += len(ch.unsettled) + len(ch.settled)
		used := make(map[*creditConsumer]int)
		all := 0
		for _, d := range append(slices.Clone(ch.unsettled), ch.settled...) {
			if d.consumer != nil {
				used[d.consumer]++
				all++
			}
		}
		for _, c := range ch.consumers {
			n := used[c]
			if c.limit > 0 && n > c.limit {
				w.t.Errorf("seed %d: channel %d: %d deliveries of %d", w.seed, id, n, c.limit)
			}
			if full := c.limit > 0 && n >= c.limit || ch.limit > 0 && all >= ch.limit; ready > 0 && !c.ended && (c.noAck || !full) {
				w.t.Fatalf("seed %d: %d messages wait, and consumer %s has %d deliveries of %d, channel %d has %d of %d", w.seed, ready,
					c.tag, n, c.limit, id, all, ch.limit)
			}
		}
	}
	if have != w.published {
		w.t.Fatalf("seed %d: %d messages of %d", w.seed, have, w.published)
	}
}
