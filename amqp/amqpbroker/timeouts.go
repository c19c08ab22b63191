package amqpbroker

import (
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// timeout returns how long consumers may take for an acknowledgement, in milliseconds; 0 is for ever.
func (q *queue) timeout() int64 {
	if q.set.timeout > 0 {
		return q.set.timeout
	}
	return max(0, int64(q.b.opts.ConsumerTimeout/time.Millisecond))
}

// hurry sees to it that somebody looks at what channels hold, when the first of it is late. q.mu is held.
func (q *queue) hurry(now int64) {
	if limit := q.timeout(); limit > 0 && q.late == 0 {
		q.late = now + limit
		q.arm(q.late)
	}
}

// overdue returns the channels that hold entries for too long, and sets the timer for others. q.mu is held.
func (q *queue) overdue(now int64) map[*channel]struct{} {
	if q.late == 0 || q.late > now {
		if q.late != 0 {
			q.arm(q.late)
		}
		return nil
	}
	q.late = 0
	limit := q.timeout()
	if limit <= 0 {
		return nil
	}
	var late map[*channel]struct{}
	first := int64(0)
	for _, h := range q.held {
		if h.state != stateAcquired {
			continue
		}
		c := h.got
		if h.c != nil {
			c, _ = h.c.sink.(*channel)
		}
		if c == nil {
			continue
		}
		if h.at+limit > now {
			if first == 0 || h.at < first {
				first = h.at
			}
			continue
		}
		if late == nil {
			late = make(map[*channel]struct{})
		}
		late[c] = struct{}{}
	}
	if first != 0 {
		q.hurry(first)
	}
	return late
}

// closeLate closes channels that hold something for too long.
func closeLate(bt *amqpserver.Batch, late map[*channel]struct{}, limit int64) {
	for c := range late {
		c.ch.Close(bt, amqp091.SoftError(amqp091.PreconditionFailed,
			"delivery acknowledgement on channel %d timed out. Timeout value used: %d ms. This timeout value can be configured, "+
				"see consumers doc guide to learn more", c.ch.ID(), limit))
	}
}
