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
			l.o.dirty = append(l.o.dirty, l)
			l.o.touch()
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
	w, id := l.o, l.m.ID()
	switch {
	case !o.reject:
		w.out = amqp091.AppendAck(w.out, id, tag, o.multiple)
	case o.multiple:
		w.out = amqp091.AppendNack(w.out, id, tag, true, o.requeue)
	default:
		w.out = amqp091.AppendReject(w.out, id, tag, o.requeue)
	}
	w.touch()
	l.k.m.Sent(time.Now())
}

// flush encodes the acknowledgements that were put off: one for those below which everything is settled, one for each of
// the others. c.mu is held.
func (l *link) flush() {
	l.dirty = false
	if l.dead.Load() || len(l.later) == 0 {
		return
	}
	o, id := l.o, l.m.ID()
	low, last, n := l.settled.Low(), uint64(0), 0
	for _, tag := range l.later {
		if tag < low {
			n++
			last = max(last, tag)
		} else {
			o.out = amqp091.AppendAck(o.out, id, tag, false)
		}
	}
	if n > 0 {
		o.out = amqp091.AppendAck(o.out, id, last, n > 1 || l.through)
	}
	l.later, l.through = l.later[:0], false
	o.touch()
	l.k.m.Sent(time.Now())
}

// checkOwned ends the channel of a consumer that has ended, once all its deliveries are settled. c.mu is held.
func (h *Channel) checkOwned() {
	if h.kind == kindOwned && len(h.consumers) == 0 && !h.ended && (h.link == nil || h.link.unsettled() == 0) {
		h.end(ErrChannelClosed)
	}
}
