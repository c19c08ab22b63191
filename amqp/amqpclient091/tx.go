package amqpclient091

import (
	"context"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Commit commits what was published and settled on a channel in mode Transactions, and returns when the server has. What
// is done on the channel meanwhile waits, and belongs to the next transaction. When
// the connection is lost before the answer came, the error is an *UnknownError; when it was lost earlier, with something
// that was not committed, it is ErrTransactionLost.
func (h *Channel) Commit(ctx context.Context) error {
	return h.endTransaction(ctx, &amqp091.TxCommit{})
}

// Rollback takes back what was published and settled since the last commit. Messages that were delivered stay delivered
// and can be settled again.
func (h *Channel) Rollback(ctx context.Context) error {
	return h.endTransaction(ctx, &amqp091.TxRollback{})
}

func (h *Channel) endTransaction(ctx context.Context, m amqp091.Method) error {
	if h.o.Mode != Transactions {
		return ErrNoTransactions
	}
	if err := h.Drain(ctx); err != nil {
		return err
	}
	l, err := h.await(ctx)
	if err != nil {
		return err
	}
	c := h.c
	x := newCall(m)
	x.then = func(*amqp091.Event) { l.ended(m.ID() == amqp091.IDTxCommit) }
	c.mu.Lock()
	if h.txLost {
		defer c.mu.Unlock()
		h.txLost = false
		if m.ID() == amqp091.IDTxRollback {
			return nil
		}
		return ErrTransactionLost
	}
	h.txOpen = false
	l.endTransaction(x)
	l.k.kick()
	c.mu.Unlock()
	if err := x.wait(ctx); err != errAgain {
		return err
	}
	return &UnknownError{ErrNotConnected}
}

// held is what waits until a commit or rollback is answered: a call, or what becomes of a delivery.
type held struct {
	x      *call
	ending bool      // it ends the transaction
	d      *Delivery // settled in a transaction; nil: tag is
	tag    uint64
	o      outcome
}

// endTransaction sends a commit or rollback. Until it is answered the server takes nothing else on the channel: RabbitMQ
// would close the connection. c.mu is held.
func (l *link) endTransaction(x *call) {
	if l.ending {
		l.held = append(l.held, held{x: x, ending: true})
		return
	}
	l.call(x)
	l.ending = x.o != nil
}

// ended takes the answer to a commit or rollback, and goes on with what has waited for it. c.mu is held.
func (l *link) ended(commit bool) {
	l.endSettled(commit)
	l.ending = false
	list := l.held
	l.held = nil
	for i, w := range list {
		switch {
		case w.ending:
			l.endTransaction(w.x)
			l.held = append(l.held, list[i+1:]...)
			return
		case w.x != nil:
			l.call(w.x)
		case w.d != nil:
			l.settleLater(w.d, w.o)
		default:
			l.send(w.tag, w.o)
		}
	}
	l.h.sendQueued()
}

// settled is a delivery that was settled in a transaction.
type settled struct {
	d        *Delivery
	multiple bool
}

// settleLater settles a delivery in a transaction. c.mu is held.
func (l *link) settleLater(d *Delivery, o outcome) {
	h := l.h
	h.txOpen = true
	if o.multiple {
		l.txThrough = max(l.txThrough, d.Tag)
	}
	if l.ending {
		l.held = append(l.held, held{d: d, o: o})
		return
	}
	h.txSettled = append(h.txSettled, settled{d, o.multiple})
	l.send(d.Tag, o)
}

// endSettled ends the transaction: what was settled in it is settled, or else not settled again. c.mu is held.
func (l *link) endSettled(commit bool) {
	for _, s := range l.h.txSettled {
		if commit {
			l.mark(s.d.Tag, s.multiple)
		} else {
			s.d.done = false
		}
	}
	l.h.txSettled, l.txThrough = nil, 0
}
