package amqpclient091

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// recover puts everything in its place on a new connection: exchanges, queues and bindings first, then channels with their
// consumers. It returns early when the connection is lost.
func (c *Client) recover(ctx context.Context, k *conn) {
	if !c.recoverTopology(ctx, k) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.down || c.closed {
		return
	}
	c.conn = k
	channels := slices.Clone(c.channels)
	c.recovering = 1 + len(channels)
	for _, h := range channels {
		if h.ended {
			c.recoveredOne()
			continue
		}
		h.attach(k, true)
	}
	c.recoveredOne()
	c.sendQueued()
	k.kick()
	k.arm()
	close(c.up)
	c.reportFirst(nil)
}

// recoveredOne counts the channels that are in their place. c.mu is held.
func (c *Client) recoveredOne() {
	if c.recovering--; c.recovering > 0 {
		return
	}
	if f := c.o.Trace.Recovered; f != nil && c.stats.Connects > 1 {
		f()
	}
}

// recoveryFailed tells that something could not be put in its place. c.mu is held.
func (c *Client) recoveryFailed(what, name string, err error) {
	e := &RecoveryError{What: what, Name: name, Err: err}
	c.o.Logger.Warn("recovery", "err", e)
	if f := c.o.Trace.RecoveryFailed; f != nil {
		f(e)
	}
}

// step is a declaration of recovery.
type step struct {
	what  string
	name  string
	build func() amqp091.Method  // called with c.mu held
	done  func(m amqp091.Method) // called with c.mu held; may be nil
	queue *queueRecord
	drop  func() // forgets it, called with c.mu held
}

// recoverTopology declares again what was declared, and reports whether the connection is still there.
func (c *Client) recoverTopology(ctx context.Context, k *conn) bool {
	c.mu.Lock()
	exchanges, queues := c.records.exchangeSteps(), c.queueSteps()
	c.mu.Unlock()
	if !c.declareAll(ctx, k, exchanges) || !c.declareAll(ctx, k, queues) {
		return false
	}
	c.mu.Lock()
	bindings := c.records.bindingSteps()
	c.mu.Unlock()
	return c.declareAll(ctx, k, bindings)
}

func (r *records) exchangeSteps() (steps []step) {
	for _, x := range r.exchanges {
		steps = append(steps, step{
			what: "exchange", name: x.Name,
			build: func() amqp091.Method { return x.method() },
			drop:  func() { r.removeExchange(x.Name) },
		})
	}
	return steps
}

func (c *Client) queueSteps() (steps []step) {
	for _, q := range c.records.queues {
		steps = append(steps, step{what: "queue", name: q.name, queue: q,
			build: func() amqp091.Method { return q.method() },
			drop:  func() { c.records.removeQueue(q.name) },
			done: func(m amqp091.Method) {
				if from, to := q.name, queueInfo(m).Name; from != to {
					c.records.rename(q, to)
					if f := c.o.Trace.Renamed; f != nil {
						f(from, to)
					}
				}
			}})
	}
	return steps
}

func (r *records) bindingSteps() (steps []step) {
	for _, b := range r.bindings {
		steps = append(steps, step{
			what: "binding", name: b.Source + " to " + b.destination(),
			build: func() amqp091.Method { return b.bind(b.destination()) },
			drop:  func() { r.removeBindings(func(o *bindingRecord) bool { return o == b }) },
		})
	}
	return steps
}

// lockedWait is how long recovery waits between attempts to declare an exclusive queue that an earlier connection still has
// at the server, and lockedMax how long in all.
const (
	lockedWait = 200 * time.Millisecond
	lockedMax  = 30 * time.Second
)

// declareAll does steps, many at once, and reports whether the connection is still there. A refusal is told and does not
// keep the others. An exclusive queue that is locked, because the server has not noticed the end of the earlier connection,
// is tried again for a while.
func (c *Client) declareAll(ctx context.Context, k *conn, steps []step) bool {
	begin := time.Now()
	for len(steps) > 0 {
		l, err := c.controlLink(ctx, k)
		if err != nil {
			return false
		}
		calls := make([]*call, len(steps))
		c.mu.Lock()
		for i, s := range steps {
			x := newCall(s.build())
			if s.done != nil {
				x.then = func(e *amqp091.Event) { s.done(e.Method) }
			}
			calls[i] = x
			l.call(x)
		}
		k.kick()
		c.mu.Unlock()
		var again, locked []step
		for i, x := range calls {
			<-x.done
			switch e, remote := errors.AsType[*amqp091.Error](x.err); {
			case x.err == nil:
			case x.err == errAgain:
				again = append(again, steps[i])
			case !remote:
				return false
			case e.Code == amqp091.ResourceLocked && steps[i].queue != nil && steps[i].queue.Exclusive &&
				time.Since(begin) < lockedMax:
				locked = append(locked, steps[i])
			default:
				c.mu.Lock()
				c.recoveryFailed(steps[i].what, steps[i].name, x.err)
				if e.Hard {
					steps[i].drop() // otherwise it would end each connection
				}
				c.mu.Unlock()
			}
		}
		if len(again) == 0 && len(locked) > 0 && !sleep(ctx, lockedWait) {
			return false
		}
		steps = append(again, locked...)
	}
	return true
}
