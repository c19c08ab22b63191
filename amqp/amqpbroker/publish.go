package amqpbroker

import (
	"cmp"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// origin is an entry that a message was made from: it goes with the record of the message.
type origin struct {
	q       *queue
	delayed *delayed // in place of a queue
	seq     uint64
	size    int
	taken   bool // there is a record that says so; the recorder's lock guards it
}

// confirmation is what a publisher waits for. The zero value is nothing.
type confirmation struct {
	c   *channel
	seq uint64
	// then is called in place of a confirm.
	then func(bt *amqpserver.Batch, o Outcome, refused bool)
}

// token returns what the journal completes.
func (c *confirmation) token() Token { return Token{c: c.c, seq: c.seq, then: c.then} }

// done ends the wait: the message is where it is to be, or was refused.
func (c *confirmation) done(bt *amqpserver.Batch, refused bool) {
	switch {
	case c.then != nil:
		c.then(bt, Done, refused)
	case c.c != nil && c.seq != 0:
		c.c.ch.Confirm(bt, c.seq, !refused)
	}
}

// slowPause is for how long a publisher pauses when storage gets scarce.
const slowPause = 10 * time.Millisecond

// largeBody is from which size on bodies are not copied by those who send or write them.
const largeBody = 4 << 10

// distribute puts a message into queues, and confirms it when it is safe there. No lock is held.
func (b *Broker) distribute(bt *amqpserver.Batch, pub *publication, queues []*queue, from *origin, conf confirmation) {
	if len(pub.m.body) >= largeBody {
		pub.own()
	}
	if pub.m.ttl >= 0 || slices.ContainsFunc(queues, (*queue).hasTTL) {
		pub.m.at = wholeMillis(time.Now()) // the time of the batch may be that of an earlier message
	}
	if len(queues) == 1 && (b.rec == nil || !queues[0].durable || pub.m.flags&messagePersistent == 0) {
		refused := queues[0].offer(bt, pub)
		conf.done(bt, refused)
		return
	}
	sc := scratchOf(bt)
	durable := sc.queues[:0]
	if b.rec != nil && pub.m.flags&messagePersistent != 0 {
		for _, q := range queues {
			if q.durable {
				durable = append(durable, q)
			}
		}
	}
	sc.queues = durable
	refused, recorded := false, false
	if len(durable) > 0 {
		if b.rec.pressure() == PressureSlow {
			bt.Slow(slowPause)
		}
		t := Token{}
		if len(durable) == len(queues) {
			t = conf.token()
		}
		refused, recorded = b.record(bt, pub, durable, from, t)
	}
	for _, q := range queues {
		if len(durable) == 0 || !q.durable {
			refused = q.offer(bt, pub) || refused
		}
	}
	switch {
	case refused || !recorded:
		conf.done(bt, refused)
	case len(durable) < len(queues):
		if t := conf.token(); !t.IsZero() {
			b.rec.wait(t)
		}
	}
}

// offer puts a message into one queue of which the journal does not know, and reports whether the queue refuses it.
func (q *queue) offer(bt *amqpserver.Batch, pub *publication) (refused bool) {
	q.mu.Lock()
	if q.deleted {
		q.mu.Unlock()
		return false
	}
	if q.set.overflow != overflowDropHead && q.refuses(pub.m) {
		q.counts.refused++
		set := q.set
		q.mu.Unlock()
		q.refuse(bt, pub, &set, nil)
		return true
	}
	q.accept(bt, pub)
	q.unlock()
	return false
}

// refuse dead-letters what was refused, where that is asked for.
func (q *queue) refuse(bt *amqpserver.Batch, pub *publication, set *settings, from *origin) {
	if set.overflow == overflowRejectDLX && set.deadLetter {
		sc := scratchOf(bt)
		routed := sc.router.queues // the message may still be on its way to others of them
		sc.router.queues = unique[*queue]{}
		q.deadLetter(bt, pub.own(), deathMaxlen, set, from)
		sc.router.queues = routed
	}
}

// record puts a message into durable queues, with one record for all of them. When t is not zero and refused is false and
// recorded true, t is completed later.
func (b *Broker) record(bt *amqpserver.Batch, pub *publication, queues []*queue, from *origin, t Token) (refused, recorded bool) {
	byNumber := func(a, b *queue) int { return cmp.Compare(a.num, b.num) }
	if !slices.IsSortedFunc(queues, byNumber) {
		slices.SortFunc(queues, byNumber)
	}
	var rejects []*queue
	n := 0
	for _, q := range queues {
		q.mu.Lock()
		switch {
		case q.deleted:
			q.mu.Unlock()
		case q.set.overflow != overflowDropHead && q.refuses(pub.m):
			q.counts.refused++
			q.mu.Unlock()
			rejects = append(rejects, q)
		default:
			queues[n] = q
			n++
		}
	}
	queues = queues[:n]
	if n > 0 {
		if len(rejects) > 0 {
			t = Token{}
		}
		b.rec.message(pub.m, queues, from, t)
		recorded = true
	}
	for _, q := range queues {
		q.accept(bt, pub)
		q.unlock()
	}
	for i, q := range rejects {
		q.mu.Lock()
		set := q.set
		q.mu.Unlock()
		if recorded || i > 0 {
			from = nil // it goes with the first record that there is
		}
		q.refuse(bt, pub, &set, from)
	}
	return len(rejects) > 0, recorded
}
