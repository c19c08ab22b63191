package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
)

// A definer declares and deletes durable queues with an exchange and a binding each, and transient ones.
type definer struct {
	h *harness
	r *rand.Rand

	mu     sync.Mutex
	states [definitions]state
}

// definitions is how many there are.
const definitions = 20

// A state is what must be there.
type state uint8

const (
	maybe state = iota // an answer is missing
	there
	gone
	unbound // queue and exchange are there, the binding is not
)

func newDefiner(h *harness) *definer {
	d := &definer{h: h, r: h.random()}
	for i := range d.states {
		d.states[i] = gone
	}
	return d
}

func (d *definer) run(ctx context.Context) {
	for ctx.Err() == nil {
		d.h.connection(ctx, "definer", d.connect)
	}
}

func (d *definer) connect(ctx context.Context, ch *amqpraw.Channel) (own bool, err error) {
	if _, err := ch.Call("queue.declare", "queue", "transient"); err != nil {
		return false, err
	}
	for ctx.Err() == nil {
		sleep(ctx, time.Duration(d.r.IntN(40))*time.Millisecond)
		if err := d.change(ch, d.r.IntN(definitions)); err != nil {
			return false, err
		}
	}
	return true, nil
}

// change changes a definition.
func (d *definer) change(ch *amqpraw.Channel, i int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.states[i]
	d.states[i] = maybe
	queue, exchange := names(i)
	call := func(name string, args ...any) error {
		_, err := ch.Call(name, args...)
		return err
	}
	declare := func() error {
		return errors.Join(
			call("queue.declare", "queue", queue, "durable", true, "arguments", amqpraw.Table{"x-max-length": 10 + i}),
			call("exchange.declare", "exchange", exchange, "type", "direct", "durable", true),
		)
	}
	var err error
	var after state
	switch {
	case before == there && d.r.IntN(2) == 0:
		after = unbound
		err = call("queue.unbind", "queue", queue, "exchange", exchange, "routing-key", "key")
	case before == there:
		after = gone
		err = errors.Join(call("queue.delete", "queue", queue), call("exchange.delete", "exchange", exchange))
	default:
		after = there
		err = errors.Join(declare(), call("queue.bind", "queue", queue, "exchange", exchange, "routing-key", "key"))
	}
	if err != nil {
		return err
	}
	d.states[i] = after
	return nil
}

func names(i int) (queue, exchange string) {
	return fmt.Sprintf("def-queue-%d", i), fmt.Sprintf("def-exchange-%d", i)
}

// check looks at all definitions after a crash.
func (d *definer) check() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := amqpraw.Dial(d.h.addr, amqpraw.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	for i, s := range d.states {
		if s == maybe {
			continue
		}
		queue, exchange := names(i)
		if err := d.exists(c, s != gone, "queue.declare", "queue", queue, "passive", true); err != nil {
			return err
		}
		if err := d.exists(c, s != gone, "exchange.declare", "exchange", exchange, "type", "direct", "passive", true); err != nil {
			return err
		}
		if s == gone {
			continue
		}
		bound, err := d.bound(c, exchange)
		if err != nil {
			return err
		}
		if bound != (s == there) {
			kind := noEntity
			if bound {
				kind = extraEntity
			}
			d.h.l.fault(kind, "binding of %s, crash %d", queue, d.h.l.crashes())
		}
	}
	return nil
}

// exists looks whether something is there as it must.
func (d *definer) exists(c *amqpraw.Conn, want bool, name string, args ...any) error {
	ch, err := c.Channel(1)
	if err != nil {
		return err
	}
	_, err = ch.Call(name, args...)
	closed, ok := errors.AsType[*amqpraw.Closed](err)
	switch {
	case ok && closed.Code == 404:
		if want {
			d.h.l.fault(noEntity, "%s, crash %d", args[1], d.h.l.crashes())
		}
		return nil
	case err != nil:
		return err
	case !want:
		d.h.l.fault(extraEntity, "%s, crash %d", args[1], d.h.l.crashes())
	}
	_, err = ch.Call("channel.close", "reply-code", 200)
	return err
}

// bound looks whether an exchange leads anywhere.
func (d *definer) bound(c *amqpraw.Conn, exchange string) (bool, error) {
	ch, err := c.Channel(1)
	if err != nil {
		return false, err
	}
	if _, err := ch.Call("confirm.select"); err != nil {
		return false, err
	}
	if err := ch.PublishMandatory(exchange, "key", nil, "probe"); err != nil {
		return false, err
	}
	e, err := ch.Next(amqpraw.Patience)
	if err != nil {
		if _, ok := errors.AsType[*amqpraw.Closed](err); ok {
			return false, nil // the exchange is missing, which was noted
		}
		return false, err
	}
	_, err = ch.Call("channel.close", "reply-code", 200)
	return e.Name != "basic.return", err
}

// transientGone looks whether the transient queue is gone after a crash.
func (d *definer) transientGone() error {
	c, err := amqpraw.Dial(d.h.addr, amqpraw.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	return d.exists(c, false, "queue.declare", "queue", "transient", "passive", true)
}
