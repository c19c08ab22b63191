package amqpbroker

import (
	"container/heap"
	"errors"

	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// tick does what is due: expired entries die, scheduled ones become ready, the queue ends when nobody has used it.
func (q *queue) tick() {
	bt := amqpserver.NewBatch()
	now := bt.Now().UnixMilli()
	q.mu.Lock()
	q.deadline = 0
	if q.deleted {
		q.mu.Unlock()
		return
	}
	q.expire(bt)
	q.awake(bt, now)
	q.dispatch(bt)
	unused := q.isUnused(now)
	late, limit := q.overdue(now), q.timeout()
	q.unlock()
	q.b.bury(bt)
	closeLate(bt, late, limit)
	if unused {
		q.v.deleteUnused(bt, q, now)
	}
	bt.Flush()
}

// isUnused reports whether the queue has been unused for as long as it may be. Otherwise its timer is set. q.mu is held.
func (q *queue) isUnused(now int64) bool {
	if q.set.expires < 0 || len(q.cs.list) > 0 {
		return false
	}
	if at := q.used + q.set.expires; at > now {
		q.arm(at)
		return false
	}
	return true
}

// errUsed is why a queue is not deleted.
var errUsed = errors.New("amqpbroker: the queue was used")

// deleteUnused deletes a queue that has been unused for too long, unless somebody has used it since.
func (v *vhost) deleteUnused(bt *amqpserver.Batch, q *queue, now int64) {
	_, _ = v.deleteQueueIf(bt, q, func() error {
		if !q.isUnused(now) {
			return errUsed
		}
		return nil
	})
}

// awake makes scheduled entries ready whose time has come.
func (q *queue) awake(bt *amqpserver.Batch, now int64) {
	for len(q.timed) > 0 && q.timed[0].at <= now {
		h := heap.Pop((*heldHeap)(&q.timed)).(*held)
		q.activate(bt, h)
	}
	if len(q.timed) > 0 {
		q.arm(q.timed[0].at)
	}
}

// activate makes an entry ready that was set aside, at the end of the queue.
func (q *queue) activate(bt *amqpserver.Batch, h *held) {
	e := q.unhold(h)
	q.pos++
	e.pos = q.pos
	if q.recorded(e.m) { // its place is that of its record
		m := *e.m
		m.flags |= messageMoved
		q.b.rec.message(&m, []*queue{q}, &origin{q: q, seq: e.m.seq, size: e.m.size()}, Token{})
		e.m = &m
	}
	q.push(&e)
}

// postpone sets an entry aside until a point in time in unix milliseconds. q.mu is held.
func (q *queue) postpone(e *entry, at int64) {
	h := q.hold(e, stateScheduled)
	h.at = at
	if q.recorded(e.m) {
		q.b.rec.aside(q, e, at)
	}
	heap.Push((*heldHeap)(&q.timed), h)
	q.arm(q.timed[0].at)
}

// deferEntry sets an entry aside that somebody has acquired, until somebody asks for it by its position.
func (q *queue) deferEntry(h *held) (pos uint64) {
	e := q.unhold(h)
	e.flags |= entryRedelivered
	q.hold(&e, stateDeferred)
	if q.recorded(e.m) {
		q.b.rec.aside(q, &e, 0)
	}
	return e.pos
}

// recall acquires a deferred entry by its position, for somebody who settles it. It returns nil when there is none.
func (q *queue) recall(pos uint64, now int64) *held {
	for _, h := range q.held {
		if h.state == stateDeferred && h.pos == pos {
			h.state, h.at = stateAcquired, now
			q.acquired++
			return h
		}
	}
	return nil
}

// heldHeap is a heap of scheduled entries, the earliest first.
type heldHeap []*held

func (h heldHeap) Len() int           { return len(h) }
func (h heldHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h heldHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *heldHeap) Push(x any) { *h = append(*h, x.(*held)) }

// Pop implements heap.Interface.
func (h *heldHeap) Pop() any {
	last := len(*h) - 1
	v := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return v
}
