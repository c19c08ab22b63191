package amqpclient091

import (
	"context"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Commit commits what was published and settled on a channel in mode Transactions, and returns when the server has. When
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
	x.then = func(*amqp091.Event) { l.endSettled(m.ID() == amqp091.IDTxCommit) }
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
	l.call(x)
	l.k.kick()
	c.mu.Unlock()
	if err := x.wait(ctx); err != errAgain {
		return err
	}
	return &UnknownError{ErrNotConnected}
}
