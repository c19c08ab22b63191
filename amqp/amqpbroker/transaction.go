package amqpbroker

import (
	"cmp"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// transaction is what a channel has done since tx.select or the last commit or rollback.
type transaction struct {
	messages []txMessage
	bytes    int64
	settled  []txSettled
}

type txMessage struct {
	r         *route
	m         *message
	mandatory bool
	copies    bool

	// At commit:
	queues  []*queue
	durable []*queue // those of queues that the journal has it for
	waits   bool     // it is to be delayed
	delayed *delayed // by this exchange, and the journal has it
	due     int64
}

// record reports whether the journal is to have the message, and notes for which queues. Those and the delayed exchange are
// locked.
func (m *txMessage) record() bool {
	if m.delayed != nil {
		return !m.delayed.over
	}
	if m.m.flags&messagePersistent != 0 {
		for _, q := range m.queues {
			if q.durable && !q.deleted {
				m.durable = append(m.durable, q)
			}
		}
	}
	return len(m.durable) > 0
}

type txSettled struct {
	h   *held
	how amqpserver.Settlement
}

// publish adds a message.
func (t *transaction) publish(c *channel, r *route, m *message, mandatory, copies bool) error {
	t.bytes += int64(m.size()) + 128
	if limit := c.s.b.opts.MaxTransaction; limit > 0 && t.bytes > limit {
		return amqp091.SoftError(amqp091.PreconditionFailed, "transaction is larger than %d bytes", limit)
	}
	t.messages = append(t.messages, txMessage{r: r, m: m, mandatory: mandatory, copies: copies})
	return nil
}

// settle adds settlements.
func (t *transaction) settle(refs []any, how amqpserver.Settlement) {
	for _, ref := range refs {
		t.settled = append(t.settled, txSettled{ref.(*held), how})
	}
}

// rollback forgets the transaction.
func (c *channel) rollback(bt *amqpserver.Batch) {
	c.tx = transaction{}
	c.reply(bt, &amqp091.TxRollbackOK{}, false)
}

// commit does everything in the transaction at once: nobody sees a part of it, and the journal has all of it or nothing.
func (c *channel) commit(bt *amqpserver.Batch) error {
	t := c.tx
	c.tx = transaction{}
	b := c.s.b
	now := wholeMillis(time.Now())
	var queues []*queue
	var delays []*delayed
	for i := range t.messages {
		m := &t.messages[i]
		m.m.at = now
		if x := m.r.x; x.delayed != nil && x.isDelayed(m.m) {
			if m.waits = true; b.rec != nil && x.outlives(m.m) {
				m.delayed, m.due = x.delayed, now+min(delayOf(m.m.props), maxDelay)
				delays = append(delays, x.delayed)
			}
			continue
		}
		m.queues = slices.Clone(c.targets(bt, m.r, m.m, m.copies))
		if m.copies {
			stripCopies(m.m)
		}
		queues = append(queues, m.queues...)
	}
	for _, s := range t.settled {
		queues = append(queues, s.h.q)
	}
	slices.SortFunc(queues, func(a, b *queue) int { return cmp.Compare(a.num, b.num) })
	queues = slices.Compact(queues)
	slices.SortFunc(delays, func(a, b *delayed) int { return cmp.Compare(a.num, b.num) })
	delays = slices.Compact(delays)
	for _, q := range queues {
		q.mu.Lock()
	}
	if q := t.refusedBy(); q != nil {
		for _, q := range queues {
			q.mu.Unlock()
		}
		return amqp091.SoftError(amqp091.PreconditionFailed, "%s has no room for the messages of the transaction", q.title())
	}
	for _, d := range delays {
		d.mu.Lock()
	}
	durable := b.rec != nil && b.rec.commit(&t)
	for i := range t.messages {
		m := &t.messages[i]
		if m.delayed != nil && !m.delayed.over {
			m.delayed.enter(m.m, m.due, now)
		}
		pub := publication{m: m.m}
		for _, q := range m.queues {
			if !q.deleted {
				q.accept(bt, &pub)
			}
		}
	}
	for _, d := range delays {
		d.mu.Unlock()
	}
	t.settleAll(bt)
	for _, q := range queues {
		q.unlock()
	}
	b.bury(bt)
	for i := range t.messages {
		m := &t.messages[i]
		switch {
		case m.delayed != nil:
		case m.waits: // it does not outlive the broker, so that there is nothing to be done at once
			m.r.x.delay(bt, m.m, nil, confirmation{})
		case len(m.queues) == 0:
			c.unroutable(bt, m.m, m.mandatory)
		}
	}
	c.reply(bt, &amqp091.TxCommitOK{}, durable)
	return nil
}

// refusedBy returns a queue that has no room for a message. All queues are locked.
func (t *transaction) refusedBy() *queue {
	for i := range t.messages {
		for _, q := range t.messages[i].queues {
			if q.refuses(t.messages[i].m) {
				return q
			}
		}
	}
	return nil
}

// settleAll settles what the transaction has settled. All queues are locked.
func (t *transaction) settleAll(bt *amqpserver.Batch) {
	list := t.settled
	slices.SortStableFunc(list, func(a, b txSettled) int { return cmp.Compare(a.h.q.num, b.h.q.num) })
	for len(list) > 0 {
		q := list[0].h.q
		n := 0
		for n < len(list) && list[n].h.q == q {
			q.settle(bt, list[n].h, list[n].how)
			n++
		}
		q.settled(bt)
		list = list[n:]
	}
}
