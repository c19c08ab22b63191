package amqpbroker

import (
	"maps"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// checkTimeouts closes channels with deliveries that are not acknowledged for too long.
func (b *Broker) checkTimeouts() {
	b.mu.RLock()
	vhosts := slices.Collect(maps.Values(b.vhosts))
	b.mu.RUnlock()
	bt := amqpserver.NewBatch()
	for _, v := range vhosts {
		v.mu.RLock()
		queues := slices.Collect(maps.Values(v.queues))
		v.mu.RUnlock()
		for _, q := range queues {
			for c, d := range q.overdue(bt.Now().UnixMilli()) {
				c.ch.Close(bt, amqp091.SoftError(amqp091.PreconditionFailed,
					"delivery acknowledgement on channel %d timed out. Timeout value used: %d ms. This timeout value can be configured, "+
						"see consumers doc guide to learn more", c.ch.ID(), d))
			}
		}
	}
	bt.Flush()
}

// overdue returns the channels that hold entries for too long, with the time that they have in milliseconds.
func (q *queue) overdue(now int64) map[*channel]int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	limit := q.set.timeout
	if limit <= 0 {
		limit = int64(q.b.opts.ConsumerTimeout / time.Millisecond)
	}
	if limit <= 0 || q.acquired == 0 {
		return nil
	}
	var late map[*channel]int64
	for _, h := range q.held {
		if h.state != stateAcquired || h.at+limit > now || h.c == nil {
			continue
		}
		if c, ok := h.c.sink.(*channel); ok {
			if late == nil {
				late = make(map[*channel]int64)
			}
			late[c] = limit
		}
	}
	return late
}
