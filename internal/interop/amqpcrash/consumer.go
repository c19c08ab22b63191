package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
)

// A consumer takes messages from a queue and settles them.
type consumer struct {
	h        *harness
	name     string
	r        *rand.Rand
	queue    string
	from     string // the queue that its messages died in, if they are dead letters
	prefetch int
	batch    int  // acknowledges so many at once, 0 one by one
	flapping bool // breaks its connections
	absent   bool // is there while everybody gathers, and seldom otherwise
	rejects  bool // rejects some and gives some back
	ordered  bool // what is not marked comes in order
}

func (c *consumer) run(ctx context.Context) {
	for ctx.Err() == nil {
		if c.absent && !c.h.gather.Load() && c.r.IntN(100) != 0 {
			sleep(ctx, 50*time.Millisecond)
			continue
		}
		c.h.connection(ctx, c.name, c.connect)
	}
}

// connect takes messages until the connection ends.
func (c *consumer) connect(ctx context.Context, ch *amqpraw.Channel) (own bool, err error) {
	k := c.h.l.newLink()
	defer c.h.l.unlink(k)
	if _, err := ch.Call("basic.qos", "prefetch-count", c.prefetch); err != nil {
		return false, err
	}
	if _, err := ch.Call("basic.consume", "queue", c.queue); err != nil {
		return false, err
	}
	end := time.Now().Add(time.Second + time.Duration(c.r.IntN(8000))*time.Millisecond)
	var waiting []*message
	var tag uint64
	ack := func() error {
		for _, m := range waiting {
			c.h.l.settle(m, c.queue, k, false)
		}
		waiting = waiting[:0]
		return ch.Send("basic.ack", "delivery-tag", tag, "multiple", true)
	}
	for ctx.Err() == nil {
		if (c.flapping || c.absent) && !c.h.gather.Load() && time.Now().After(end) {
			if len(waiting) > 0 && c.r.IntN(2) == 0 {
				if err := ack(); err != nil {
					return false, ch.Why(err)
				}
			}
			if c.r.IntN(2) == 0 {
				c.h.l.unlink(k)
				return true, nil // drops the connection
			}
			return false, ch.Conn().Close()
		}
		e, err := ch.Next(10 * time.Millisecond)
		if err == amqpraw.ErrSilent {
			if len(waiting) > 0 {
				if err := ack(); err != nil {
					return false, ch.Why(err)
				}
			}
			continue
		}
		if err != nil {
			return false, err
		}
		if e.Name != "basic.deliver" {
			return false, fmt.Errorf("%s %v", e.Name, e.Args)
		}
		m := c.h.l.arrived(arrival{queue: c.queue, redelivered: e.Bool("redelivered"), body: e.Body, ordered: c.ordered, from: c.from}, k)
		if m == nil {
			continue
		}
		c.checkDeath(m, e)
		tag = e.Args["delivery-tag"].(uint64)
		switch action := c.r.IntN(20); {
		case c.batch > 0:
			if waiting = append(waiting, m); len(waiting) >= c.batch {
				err = ack()
			}
		case c.rejects && action == 0:
			c.h.l.settle(m, c.queue, k, true)
			err = ch.Send("basic.reject", "delivery-tag", tag)
		case c.rejects && action == 1 && !c.h.gather.Load():
			err = ch.Send("basic.nack", "delivery-tag", tag, "requeue", true)
		default:
			c.h.l.settle(m, c.queue, k, false)
			err = ch.Send("basic.ack", "delivery-tag", tag)
		}
		if err != nil {
			return false, ch.Why(err)
		}
	}
	return true, nil
}

// checkDeath looks at what a dead letter tells of its death.
func (c *consumer) checkDeath(m *message, e amqpraw.Event) {
	if c.from == "" {
		return
	}
	reason := "rejected"
	if c.from == "ttl" {
		reason = "expired"
	}
	h, _ := e.Props["headers"].(amqpraw.Table)
	list, _ := h["x-death"].([]any)
	if len(list) == 1 {
		if d, _ := list[0].(amqpraw.Table); d["reason"] == reason && d["queue"] == c.from && d["count"] == int64(1) {
			return
		}
	}
	c.h.l.fault(badDeath, "message %d: %v", m.number, h)
}
