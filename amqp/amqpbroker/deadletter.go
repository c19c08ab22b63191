package amqpbroker

import (
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// bury dead-letters what has died while the batch was used. No lock is held.
func (b *Broker) bury(bt *amqpserver.Batch) {
	sc := scratchOf(bt)
	for i := 0; i < len(sc.dead); i++ { // more may die meanwhile
		h := sc.dead[i]
		sc.dead[i] = nil
		h.q.bury(bt, h)
	}
	sc.dead = sc.dead[:0]
}

// bury dead-letters an entry. It leaves the queue when it has arrived.
func (q *queue) bury(bt *amqpserver.Batch, h *held) {
	q.mu.Lock()
	if h.state != stateDead || q.deleted {
		q.mu.Unlock()
		return
	}
	e, why, set := h.entry, h.why, q.set
	if q.recorded(e.m) {
		h.from = &origin{q: q, seq: e.m.seq, size: e.m.size()}
	}
	from := h.from
	q.mu.Unlock()
	q.deadLetter(bt, e.m, why, &set, from)
	q.mu.Lock()
	if h.state == stateDead && !q.deleted {
		q.unhold(h)
		if from != nil && !from.taken {
			q.gone(&e)
		}
	}
	q.unlock()
}

// deadLetter publishes a message to the dead letter exchange of a queue. It must have one. Without an exchange of that
// name, or queues behind it, the message is dropped.
func (q *queue) deadLetter(bt *amqpserver.Batch, m *message, why deathReason, set *settings, from *origin) {
	x := q.v.exchange(set.exchange)
	if x == nil {
		return
	}
	now := bt.Now()
	key := m.key
	if set.rekey {
		key = set.key
	}
	dead, deaths := q.died(m, why, set, now)
	dead.exchange, dead.key = x.name, key
	if x.delayed != nil && x.delay(bt, dead, from, confirmation{}) {
		return
	}
	sc := scratchOf(bt)
	targets := q.v.route(sc, x, []byte(key), dead.props)
	if why != deathRejected {
		targets = withoutCycles(targets, deaths)
	}
	if len(targets) == 0 {
		return
	}
	q.b.distribute(bt, &publication{m: dead}, targets, from, confirmation{})
}

// death is an entry of the x-death header, the last first.
type death struct {
	queue    string
	rejected bool
}

// withoutCycles removes the queues in which the message has died before, unless somebody rejected it since.
func withoutCycles(targets []*queue, deaths []death) []*queue {
	out := targets[:0]
	for _, t := range targets {
		cycle := false
		for _, d := range deaths {
			if d.rejected {
				break
			}
			if d.queue == t.name {
				cycle = true
				break
			}
		}
		if !cycle {
			out = append(out, t)
		}
	}
	return out
}

// died returns the message as it is dead-lettered, but for its exchange and key, and its deaths, the last first.
func (q *queue) died(m *message, why deathReason, set *settings, now time.Time) (*message, []death) {
	var headers amqp091.Table
	if raw := m.props.Headers(); len(raw) > 0 {
		headers, _ = raw.Decode() // it was valid when it came
	}
	var list []any
	if m.flags&messageDied != 0 {
		if v, ok := headers.Get("x-death"); ok {
			list, _ = v.([]any)
		}
	} else { // what a client says about deaths does not count
		for _, key := range []string{"x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"} {
			headers.Delete(key)
		}
	}
	keys := []any{m.key}
	if cc, ok := headers.Get("CC"); ok {
		if more, ok := cc.([]any); ok {
			keys = append(keys, more...)
		}
	}
	var entry amqp091.Table
	count := int64(1)
	for i, v := range list {
		t, _ := v.(amqp091.Table)
		name, _ := t.Get("queue")
		reason, _ := t.Get("reason")
		if name == q.name && reason == why.String() {
			n, _ := t.Get("count")
			before, _ := n.(int64)
			entry, count = t, before+1
			list = append(append([]any(nil), list[:i]...), list[i+1:]...)
			break
		}
	}
	if entry == nil {
		entry = amqp091.Table{
			{Key: "count", Value: count},
			{Key: "reason", Value: why.String()},
			{Key: "queue", Value: q.name},
			{Key: "time", Value: now.UTC().Truncate(time.Second)},
			{Key: "exchange", Value: m.exchange},
			{Key: "routing-keys", Value: keys},
		}
		if at, ok := m.props.Expiration(); ok {
			entry = append(entry, amqp091.Field{Key: "original-expiration", Value: string(at)})
		}
	} else {
		entry.Set("count", count)
	}
	list = append([]any{entry}, list...)
	headers.Set("x-death", list)
	if _, ok := headers.Get("x-first-death-reason"); !ok {
		headers.Set("x-first-death-reason", why.String())
		headers.Set("x-first-death-queue", q.name)
		headers.Set("x-first-death-exchange", m.exchange)
	}
	headers.Set("x-last-death-reason", why.String())
	headers.Set("x-last-death-queue", q.name)
	headers.Set("x-last-death-exchange", m.exchange)
	if set.rekey {
		headers.Delete("CC")
	}

	raw, err := headers.Append(nil)
	if err != nil {
		raw = m.props.Headers() // it came from the wire, so that cannot be
	}
	props := m.props.Edit(nil, amqp091.PropertyEdit{SetHeaders: true, Headers: raw, DropExpiration: true})
	dead := &message{
		props: props, body: m.body, at: now.UnixMilli(), ttl: -1, priority: m.priority,
		flags: m.flags&messagePersistent | messageDied | messageMoved,
	}
	deaths := make([]death, 0, len(list))
	for _, v := range list {
		t, _ := v.(amqp091.Table)
		name, _ := t.Get("queue")
		reason, _ := t.Get("reason")
		s, _ := name.(string)
		deaths = append(deaths, death{s, reason == deathRejected.String()})
	}
	return dead, deaths
}
