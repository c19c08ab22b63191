package amqpclient091

import (
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

func (d *Delivery) settle(o outcome) error {
	l := d.in
	if l == nil {
		return nil
	}
	c := l.k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.dead.Load() {
		return ErrStale
	}
	if d.done || d.Tag < l.settled.Low() {
		return ErrSettled
	}
	d.done = true
	l.settle(d.Tag, o)
	l.k.kick()
	l.h.checkOwned()
	return nil
}

// settle settles a delivery. Acknowledgements are put off until the next write, to be sent as one. c.mu is held.
func (l *link) settle(tag uint64, o outcome) {
	h := l.h
	h.txOpen = h.o.Mode == Transactions
	if o.multiple {
		if o.reject {
			l.flush() // before they are refused
		}
		for l.settled.Low() <= tag {
			l.settled.Done(l.settled.Low())
		}
		l.through = l.through || !o.reject
	} else {
		l.settled.Done(tag)
	}
	if !o.reject {
		l.later = append(l.later, tag)
		if !l.dirty {
			l.dirty = true
			l.k.dirty = append(l.k.dirty, l)
		}
		return
	}
	k := l.k
	if o.multiple {
		k.out = amqp091.AppendNack(k.out, l.m.ID(), tag, true, o.requeue)
	} else {
		k.out = amqp091.AppendReject(k.out, l.m.ID(), tag, o.requeue)
	}
	k.m.Sent(time.Now())
}

// flush encodes the acknowledgements that were put off: one for those below which everything is settled, one for each of
// the others. c.mu is held.
func (l *link) flush() {
	l.dirty = false
	if l.dead.Load() || len(l.later) == 0 {
		return
	}
	k, id := l.k, l.m.ID()
	low, last, n := l.settled.Low(), uint64(0), 0
	for _, tag := range l.later {
		if tag < low {
			n++
			last = max(last, tag)
		} else {
			k.out = amqp091.AppendAck(k.out, id, tag, false)
		}
	}
	if n > 0 {
		k.out = amqp091.AppendAck(k.out, id, last, n > 1 || l.through)
	}
	l.later, l.through = l.later[:0], false
	k.m.Sent(time.Now())
}

// checkOwned ends the channel of a consumer that has ended, once all its deliveries are settled. c.mu is held.
func (h *Channel) checkOwned() {
	if h.kind == kindOwned && len(h.consumers) == 0 && !h.ended && (h.link == nil || h.link.unsettled() == 0) {
		h.end(ErrChannelClosed)
	}
}
