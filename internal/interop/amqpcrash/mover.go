package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
)

// A mover takes messages from the queue pipe, publishes another one for each to the queue piped, and acknowledges, all in one
// transaction.
type mover struct {
	h      *harness
	name   string
	r      *rand.Rand
	stream uint32
	n      int
	busy   atomic.Bool
}

func (v *mover) idle() bool { return !v.busy.Load() }

func (v *mover) run(ctx context.Context) {
	for ctx.Err() == nil {
		v.h.connection(ctx, v.name, v.connect)
		v.busy.Store(false)
	}
}

// A taken message and its delivery tag.
type held struct {
	m   *message
	tag uint64
}

func (v *mover) connect(ctx context.Context, ch *amqpraw.Channel) (own bool, err error) {
	k := v.h.l.newLink()
	defer v.h.l.unlink(k)
	if _, err := ch.Call("tx.select"); err != nil {
		return false, err
	}
	if _, err := ch.Call("basic.qos", "prefetch-count", 20); err != nil {
		return false, err
	}
	if _, err := ch.Call("basic.consume", "queue", "pipe"); err != nil {
		return false, err
	}
	var batch []held
	for ctx.Err() == nil {
		e, err := ch.Next(10 * time.Millisecond)
		switch {
		case err == amqpraw.ErrSilent && len(batch) == 0:
			v.busy.Store(false)
			continue
		case err == amqpraw.ErrSilent:
		case err != nil:
			return false, err
		case e.Name != "basic.deliver":
			return false, fmt.Errorf("%s %v", e.Name, e.Args)
		default:
			v.busy.Store(true)
			m := v.h.l.arrived(arrival{queue: "pipe", redelivered: e.Bool("redelivered"), body: e.Body, ordered: true}, k)
			if m != nil {
				batch = append(batch, held{m, e.Args["delivery-tag"].(uint64)})
			}
			if len(batch) < 5 {
				continue
			}
		}
		if v.r.IntN(10) == 0 {
			// At first in vain: after the rollback the messages are unacknowledged still.
			if err := v.rollback(ch, batch); err != nil {
				return false, err
			}
		}
		if err := v.move(ch, batch); err != nil {
			return false, err
		}
		batch = batch[:0]
	}
	return true, nil
}

// frames publishes and acknowledges for a batch.
func (v *mover) frames(g *group, batch []held, ack bool) (b []byte) {
	for _, x := range batch {
		_, body := v.h.l.publish(v.stream, v.n, time.Time{}, g, v.r, "piped")
		v.n++
		b = amqpraw.AppendPublish(b, 1, "", "piped", false, amqpraw.Props{"delivery-mode": 2}, body)
		if ack {
			v.h.l.join(x.m, "pipe", g)
		}
		b = amqpraw.AppendMethod(b, 1, "basic.ack", "delivery-tag", x.tag)
	}
	return b
}

func (v *mover) rollback(ch *amqpraw.Channel, batch []held) error {
	g := v.h.l.newGroup()
	b := v.frames(g, batch, false)
	v.h.l.finished(g, not)
	if err := ch.Conn().Write(b); err != nil {
		return ch.Why(err)
	}
	_, err := ch.Call("tx.rollback")
	return err
}

func (v *mover) move(ch *amqpraw.Channel, batch []held) error {
	g := v.h.l.newGroup()
	b := v.frames(g, batch, true)
	if err := ch.Conn().Write(b); err != nil {
		v.h.l.finished(g, not)
		return ch.Why(err)
	}
	if _, err := ch.Call("tx.commit"); err != nil {
		v.h.l.finished(g, unknown)
		return err
	}
	v.h.l.finished(g, taken)
	return nil
}
