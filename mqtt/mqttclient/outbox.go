package mqttclient

// outbox holds the messages that are published and not complete: those that wait to be sent, and those in flight. Those
// with a record wait in the order of their numbers. Client.mu guards it.
type outbox struct {
	lane         // of stream 0, the only one without Options.Streams
	others lanes // of data streams
	count  int   // messages that wait, in all lanes
	total  int   // their bytes

	first, last *Publication // in flight, in the order in which they were sent
	inflight    int

	waiters int // that wait for room
}

// of returns the lane with a number.
func (o *outbox) of(n uint8) *lane {
	if n == 0 {
		return &o.lane
	}
	return o.others.all[n-1]
}

// fits reports whether a queue of q's bounds takes a message of n bytes in l. Where lanes share the queue each may have
// as much as is left for others, so that one which does not move leaves room.
func (o *outbox) fits(q *Queue, l *lane, n int, share bool) bool {
	if o.count == 0 {
		return true
	}
	if o.count >= q.Messages || o.total+n > q.Bytes {
		return false
	}
	return !share || l.queue.Len() == 0 || l.queue.Len() < q.Messages-o.count && l.bytes+n <= q.Bytes-o.total
}

func (o *outbox) push(p *Publication) {
	p.stage = stageQueued
	l := o.of(p.lane)
	o.add(l, 1, p.size())
	l.queue.Push(p)
}

// pop takes the first message of a lane.
func (o *outbox) pop(l *lane) *Publication {
	p := l.queue.Pop()
	o.add(l, -1, -p.size())
	return p
}

// add counts messages that wait in l.
func (o *outbox) add(l *lane, messages, bytes int) {
	o.count += messages
	o.total += bytes
	l.bytes += bytes
	l.used = true
}

// removeQueued takes p out of the queue.
func (o *outbox) removeQueued(p *Publication) {
	l := o.of(p.lane)
	if l.queue.Remove(func(q *Publication) bool { return q == p }) {
		o.add(l, -1, -p.size())
	}
}

// oldest returns the lane whose first message is dropped for one of l: l itself, or when it has none the longest.
func (o *outbox) oldest(l *lane) *lane {
	if l.queue.Len() > 0 {
		return l
	}
	l = &o.lane
	for _, m := range o.others.order {
		if m.queue.Len() > l.queue.Len() {
			l = m
		}
	}
	return l
}

// wakeWaiters lets those go on that wait for room, once half of the queue is free: one wake-up for many messages.
func (o *outbox) wakeWaiters(q *Queue, share bool) {
	if o.waiters == 0 {
		return
	}
	half := o.count <= q.Messages/2 && o.total <= q.Bytes/2
	o.lane.wakeIf(half || share && o.halfFree(q, &o.lane))
	for _, l := range o.others.order {
		l.wakeIf(half && !share || share && o.halfFree(q, l))
	}
}

// halfFree reports whether l, which shares the queue, has half of its share free.
func (o *outbox) halfFree(q *Queue, l *lane) bool {
	messages, bytes := q.Messages-o.count, q.Bytes-o.total
	return messages > 0 && bytes > 0 && l.queue.Len() <= messages/2 && l.bytes <= bytes/2
}

// wakeAll lets all go on that wait for room.
func (o *outbox) wakeAll() {
	o.lane.wakeIf(true)
	for _, l := range o.others.order {
		l.wakeIf(true)
	}
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
	if p.lane != 0 {
		o.of(p.lane).inflight++
	}
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
	if p.lane != 0 {
		l := o.of(p.lane)
		l.inflight--
		l.used = true
	}
	return true
}

// pushFront puts a message back before the others: the server has lost the session or the stream in which it was in
// flight.
func (o *outbox) pushFront(p *Publication) {
	p.stage = stageQueued
	l := o.of(p.lane)
	o.add(l, 1, p.size())
	l.queue.PushFront(p)
}

// drain empties the outbox, in order.
func (o *outbox) drain(inflight, queued func(*Publication)) {
	for o.first != nil {
		p := o.first
		o.removeInflight(p)
		inflight(p)
	}
	for o.lane.queue.Len() > 0 {
		queued(o.pop(&o.lane))
	}
	for _, l := range o.others.order {
		for l.queue.Len() > 0 {
			queued(o.pop(l))
		}
	}
	o.wakeAll()
}
