package mqttclient

import "github.com/quartet-mq/quartet/internal/ring"

// outbox holds the messages that are published and not complete: those that wait to be sent, and those in flight. Those
// with a record wait in the order of their numbers. Client.mu guards it.
type outbox struct {
	queue ring.Ring[*Publication]
	bytes int // of the queue

	first, last *Publication // in flight, in the order in which they were sent
	inflight    int

	room chan struct{} // closed when the queue has room again; nil when nobody waits
}

// fits reports whether the queue takes a message of n bytes.
func (o *outbox) fits(q *Queue, n int) bool {
	return o.queue.Len() == 0 || o.queue.Len() < q.Messages && o.bytes+n <= q.Bytes
}

func (o *outbox) push(p *Publication) {
	p.stage = stageQueued
	o.bytes += p.size()
	o.queue.Push(p)
}

func (o *outbox) pop() *Publication {
	p := o.queue.Pop()
	o.bytes -= p.size()
	return p
}

// removeQueued takes p out of the queue.
func (o *outbox) removeQueued(p *Publication) {
	if o.queue.Remove(func(q *Publication) bool { return q == p }) {
		o.bytes -= p.size()
	}
}

// wakeWaiters lets those go on that wait for room, once half of the queue is free: one wake-up for many messages.
func (o *outbox) wakeWaiters(q *Queue) {
	if o.room != nil && o.queue.Len() <= q.Messages/2 && o.bytes <= q.Bytes/2 {
		close(o.room)
		o.room = nil
	}
}

// wakeAll lets all go on that wait for room.
func (o *outbox) wakeAll() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// waitRoom returns a channel that is closed when there is room.
func (o *outbox) waitRoom() <-chan struct{} {
	if o.room == nil {
		o.room = make(chan struct{})
	}
	return o.room
}

func (o *outbox) addInflight(p *Publication) {
	p.stage = stageFlight
	p.prev = o.last
	if o.last != nil {
		o.last.next = p
	} else {
		o.first = p
	}
	o.last = p
	o.inflight++
}

// removeInflight takes p out of those in flight, and reports whether it was there.
func (o *outbox) removeInflight(p *Publication) bool {
	if p.stage != stageFlight {
		return false
	}
	p.stage = stageNew
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		o.first = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		o.last = p.prev
	}
	p.prev, p.next = nil, nil
	o.inflight--
	return true
}

// pushFront puts a message back before the others: the server has lost the session in which it was in flight.
func (o *outbox) pushFront(p *Publication) {
	p.stage = stageQueued
	o.bytes += p.size()
	o.queue.PushFront(p)
}

// drain empties the outbox, in order.
func (o *outbox) drain(inflight, queued func(*Publication)) {
	for o.first != nil {
		p := o.first
		o.removeInflight(p)
		inflight(p)
	}
	for o.queue.Len() > 0 {
		queued(o.pop())
	}
	o.wakeAll()
}
