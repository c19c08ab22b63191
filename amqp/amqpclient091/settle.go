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
	switch {
	case d.done:
		return ErrSettled
	case l.dead.Load():
		return ErrStale
	case d.Tag < l.settled.Low(), d.Tag <= l.txThrough:
		return ErrSettled
	}
	d.done = true
	if l.h.o.Mode == Transactions {
		l.settleLater(d, o)
	} else {
		l.settle(d.Tag, o)
	}
	l.k.kick()
	l.h.checkOwned()
	return nil
}

// settle settles a delivery. Acknowledgements are put off until the next write, to be sent as one. c.mu is held.
func (l *link) settle(tag uint64, o outcome) {
	if o.multiple && o.reject {
		l.flush() // before they are refused
	}
	l.mark(tag, o.multiple)
	if !o.reject {
		l.through = l.through || o.multiple
		l.later = append(l.later, tag)
		if !l.dirty {
			l.dirty = true
			l.k.dirty = append(l.k.dirty, l)
		}
		return
	}
	l.send(tag, o)
}

// mark takes note that a delivery is settled, and all before it if multiple is set.
func (l *link) mark(tag uint64, multiple bool) {
	for multiple && l.settled.Low() <= tag {
		l.settled.Done(l.settled.Low())
	}
	l.settled.Done(tag)
}

// send encodes what becomes of a delivery.
func (l *link) send(tag uint64, o outcome) {
	if l.ending {
		l.held = append(l.held, held{tag: tag, o: o})
		return
	}
	k, id := l.k, l.m.ID()
	switch {
	case !o.reject:
		k.out = amqp091.AppendAck(k.out, id, tag, o.multiple)
	case o.multiple:
		k.out = amqp091.AppendNack(k.out, id, tag, true, o.requeue)
	default:
		k.out = amqp091.AppendReject(k.out, id, tag, o.requeue)
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
