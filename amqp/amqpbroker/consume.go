package amqpbroker

import (
	"slices"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// add adds a consumer, which gets nothing before [queue.begin]. The error closes the channel.
func (q *queue) add(bt *amqpserver.Batch, c *consumer) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.deleted:
		return errNoQueue(q.v, q.name)
	case q.cs.sole != nil || c.exclusive && len(q.cs.list) > 0:
		return amqp091.SoftError(amqp091.AccessRefused, "%s in exclusive use", q.title())
	}
	c.q = q
	if c.exclusive {
		q.cs.sole = c
	}
	q.cs.list = append(q.cs.list, c)
	q.cs.had = true
	if c.special() {
		q.cs.special++
		c.next = make([]uint64, len(q.levels))
	}
	q.used = bt.Now().UnixMilli()
	c.state = consumerIdle
	return nil
}

// begin lets a consumer that was added take messages, when it is its turn.
func (q *queue) begin(bt *amqpserver.Batch, c *consumer) {
	q.mu.Lock()
	if c.state == consumerIdle && !q.deleted {
		c.begun = true
		switch {
		case q.single && q.cs.active == nil:
			q.cs.active = c
			q.cs.wake(c)
		case !q.single:
			q.cs.wake(c)
		}
		q.dispatch(bt)
	}
	q.unlock()
}

// drop ends a consumer. What it holds stays with it. It reports whether the queue is to be deleted now.
func (q *queue) drop(bt *amqpserver.Batch, c *consumer) (unused bool) {
	q.mu.Lock()
	defer q.unlock()
	unused = q.remove(bt, c)
	q.dispatch(bt)
	return unused
}

// remove is drop with q.mu held, but for giving others what is ready.
func (q *queue) remove(bt *amqpserver.Batch, c *consumer) (unused bool) {
	i := slices.Index(q.cs.list, c)
	if i < 0 || q.deleted {
		return false
	}
	q.cs.list = slices.Delete(q.cs.list, i, i+1)
	q.cs.sleep(c, consumerEnded)
	if c.special() {
		q.cs.special--
	}
	if q.cs.sole == c {
		q.cs.sole = nil
	}
	if q.grouping != nil {
		q.grouping.disown(q, c)
	}
	if q.cs.active == c {
		q.cs.active = q.cs.successor()
		if next := q.cs.active; next != nil {
			q.cs.wake(next)
		}
	}
	if len(q.cs.list) == 0 {
		q.touch(bt.Now().UnixMilli())
		return q.autoDelete
	}
	return false
}

// leave ends consumers and gives back what they and others hold, before anybody else gets something. It returns the queues
// that are to be deleted now. The references are *held.
func leave(bt *amqpserver.Batch, consumers []*consumer, refs []any) (unused []*queue) {
	for _, c := range consumers {
		c.q.mu.Lock()
		if c.q.remove(bt, c) {
			unused = append(unused, c.q)
		}
		c.q.unlock()
	}
	settle(bt, refs, amqpserver.Requeued)
	for _, c := range consumers {
		c.q.mu.Lock()
		c.q.dispatch(bt)
		c.q.unlock()
	}
	return unused
}

// touch notes that somebody has to do with the queue. q.mu is held.
func (q *queue) touch(now int64) {
	q.used = now
	if q.set.expires >= 0 && len(q.cs.list) == 0 {
		q.arm(now + q.set.expires)
	}
}

// got is a message that basic.get took.
type got struct {
	entry
	h    *held // nil when it is settled
	left int   // how many are still ready
}

// get takes the first message, and reports false when there is none. It may wait for the disk. It returns with q.mu held:
// the caller unlocks the queue when it has done with the message.
func (q *queue) get(bt *amqpserver.Batch, noAck bool) (g got, ok bool, err error) {
	q.mu.Lock()
	q.touch(bt.Now().UnixMilli())
	for !q.deleted {
		q.expire(bt)
		if q.ready == 0 {
			return g, false, nil
		}
		e := q.front()
		if e == nil || !q.reached(e.m) {
			if err := q.awaitFront(); err != nil {
				return g, false, err
			}
			continue
		}
		g.entry = q.shift()
		g.left = q.ready
		if noAck {
			q.gone(&g.entry)
			q.counts.gotNo++
		} else {
			g.h = q.hold(&g.entry, stateAcquired)
			g.h.at = bt.Now().UnixMilli()
			q.counts.got++
		}
		if g.redelivered() {
			q.counts.redelivered++
		}
		return g, true, nil
	}
	return g, false, nil
}

// taken lets an entry go that somebody got and need not acknowledge.
func (q *queue) taken(h *held) {
	q.mu.Lock()
	if h.state == stateAcquired {
		e := q.unhold(h)
		q.gone(&e)
	}
	q.unlock()
}

// canceled tells consumers that their queue has ended them.
func canceled(bt *amqpserver.Batch, list []*consumer) {
	for _, c := range list {
		c.sink.canceled(bt, c)
	}
}
