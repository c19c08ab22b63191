package amqpload

import (
	"errors"
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
	"github.com/quartet-mq/quartet/internal/interop/load"
)

// A Flow is publishers and consumers on one loop.
type Flow struct {
	*load.Loop
	Pubs []*Pub
	Subs []*Sub
	// Addr is the broker's address.
	Addr string
	// Copies is how many consumers get each message.
	Copies int64
	// Persistent is for durable queues and messages with delivery mode 2.
	Persistent bool
	// Window is how many messages of a publisher may be unconfirmed, 0 without confirms.
	Window int64
	// Prefetch is how many messages a consumer may have unacknowledged, 0 without acknowledgements.
	Prefetch int
	// Limit bounds the messages of one publisher that have not arrived, Chunk is the fewest that it sends at once without
	// confirms. The limit is far above what a broker needs to work without pause and keeps queues short.
	Limit, Chunk int64

	control *load.Conn
}

// NewFlow returns a flow in which each message goes to copies consumers.
func NewFlow(addr string, copies int64) (*Flow, error) {
	l, err := load.NewLoop()
	if err != nil {
		return nil, err
	}
	c, err := Connect(addr)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &Flow{Loop: l, Addr: addr, Copies: copies, control: c}, nil
}

// Close closes all connections.
func (f *Flow) Close() error { return errors.Join(f.control.Close(), f.Loop.Close()) }

// Call sends a method on a connection of its own and waits for the answer.
func (f *Flow) Call(name string, args ...any) (amqpraw.Method, error) {
	return Call(f.control, name, args...)
}

// Queue declares a queue.
func (f *Flow) Queue(name string, args amqpraw.Table) error {
	_, err := f.Call("queue.declare", "queue", name, "durable", f.Persistent, "arguments", args)
	return err
}

// Exchange declares an exchange.
func (f *Flow) Exchange(name, typ string, args amqpraw.Table) error {
	_, err := f.Call("exchange.declare", "exchange", name, "type", typ, "durable", f.Persistent, "arguments", args)
	return err
}

// Bind binds a queue.
func (f *Flow) Bind(queue, exchange, key string) error {
	_, err := f.Call("queue.bind", "queue", queue, "exchange", exchange, "routing-key", key)
	return err
}

// Consumer connects a consumer of a queue.
func (f *Flow) Consumer(queue string) (*Sub, error) {
	c, err := f.consume(queue)
	if err != nil {
		return nil, err
	}
	s := &Sub{Ack: f.Prefetch > 0, Stamped: f.Window > 0}
	f.Subs = append(f.Subs, s)
	return s, f.AddTaker(c, s)
}

// Stalled connects a consumer of a queue that never reads.
func (f *Flow) Stalled(queue string) (*load.Conn, error) { return f.consume(queue) }

func (f *Flow) consume(queue string) (*load.Conn, error) {
	c, err := Connect(f.Addr)
	if err == nil && f.Prefetch > 0 {
		_, err = Call(c, "basic.qos", "prefetch-count", f.Prefetch)
	}
	if err == nil {
		_, err = Call(c, "basic.consume", "queue", queue, "no-ack", f.Prefetch == 0)
	}
	if err != nil && c != nil {
		c.Close()
	}
	return c, err
}

// Publisher connects a publisher to the targets in turn.
func (f *Flow) Publisher(targets ...Target) (*Pub, error) { return f.PublisherOf(nil, targets...) }

// PublisherOf is Publisher with properties of the messages.
func (f *Flow) PublisherOf(props amqpraw.Props, targets ...Target) (*Pub, error) {
	p, c, err := f.publisher(props, targets...)
	if err != nil {
		return nil, err
	}
	f.Pubs = append(f.Pubs, p)
	return p, f.AddTaker(c, p)
}

// Alone returns a publisher whose connection blocks: see [Pub.RoundTrip]. It is not a part of the flow.
func (f *Flow) Alone(target Target) (*Pub, *load.Conn, error) { return f.publisher(nil, target) }

func (f *Flow) publisher(props amqpraw.Props, targets ...Target) (*Pub, *load.Conn, error) {
	c, err := Connect(f.Addr)
	if err != nil {
		return nil, nil, err
	}
	if f.Window > 0 {
		if _, err := Call(c, "confirm.select"); err != nil {
			c.Close()
			return nil, nil, err
		}
	}
	all := amqpraw.Props{}
	for k, v := range props {
		all[k] = v
	}
	if f.Persistent {
		all["delivery-mode"] = 2
	}
	p := NewPub(c, f.Window, all, targets...)
	p.From = uint32(len(f.Pubs))
	return p, c, nil
}

// Received returns the number of deliveries.
func (f *Flow) Received() int64 {
	var n int64
	for _, s := range f.Subs {
		n += s.Received
	}
	return n
}

// Acked returns the number of messages that were confirmed.
func (f *Flow) Acked() int64 {
	var n int64
	for _, p := range f.Pubs {
		n += p.Acked
	}
	return n
}

// Lost returns how many deliveries are missing.
func (f *Flow) Lost() int64 {
	var n int64
	for _, p := range f.Pubs {
		n += p.Sent * f.Copies
	}
	return n - f.Received()
}

// Disorder returns how many deliveries came again, and how many after a later message of their publisher.
func (f *Flow) Disorder() (repeated, late int64) {
	for _, s := range f.Subs {
		repeated += s.Repeated
		late += s.Late
	}
	return repeated, late
}

// Publish runs the flow until the given time.
func (f *Flow) Publish(until time.Time) error {
	last, lastAt := f.Received(), time.Now()
	for {
		sent := false
		for _, p := range f.Pubs {
			room := f.Limit - (p.Sent - p.forgiven - p.Delivered())
			if room > 0 && (p.window > 0 || room >= f.Chunk) && p.step(f.Loop, room) {
				sent = true
			}
		}
		now := time.Now()
		wait := 5 * time.Millisecond
		if sent || !now.Before(until) {
			wait = 0
		}
		if err := f.Poll(wait); err != nil || !now.Before(until) {
			return err
		}
		// A broker that has dropped messages would stop the flow for good, so take them for lost after a while.
		if n := f.Received(); n != last {
			last, lastAt = n, now
		} else if now.Sub(lastAt) > time.Second {
			for _, p := range f.Pubs {
				p.forgiven = p.Sent - p.Delivered()
			}
			lastAt = now
		}
	}
}

// patience is how long a broker may be silent.
const patience = time.Minute

// PublishN publishes n more messages with each publisher, without regard to what arrives, and waits until all are
// confirmed. progress is called now and then with the number confirmed.
func (f *Flow) PublishN(n int64, progress func(acked int64) error) error {
	goals := make([]int64, len(f.Pubs))
	for i, p := range f.Pubs {
		goals[i] = p.Sent + n
	}
	last, lastAt := f.Acked(), time.Now()
	for {
		done := true
		for i, p := range f.Pubs {
			if left := goals[i] - p.Sent; left > 0 {
				p.step(f.Loop, left)
			}
			if p.Nacked > 0 {
				return fmt.Errorf("%d messages were refused", p.Nacked)
			}
			done = done && p.Acked >= goals[i]
		}
		if done {
			return progress(f.Acked())
		}
		if err := f.Poll(5 * time.Millisecond); err != nil {
			return err
		}
		now := f.Acked()
		if err := progress(now); err != nil {
			return err
		}
		if now != last {
			last, lastAt = now, time.Now()
		} else if time.Since(lastAt) > patience {
			return fmt.Errorf("the broker was silent for %v; %d confirmed", patience, now)
		}
	}
}

// Drain waits for the messages that are under way: until all are there or none comes for the given time.
func (f *Flow) Drain(quiet time.Duration) error {
	last, lastAt := f.Received(), time.Now()
	for f.Lost() > 0 && time.Since(lastAt) < quiet {
		if err := f.Poll(5 * time.Millisecond); err != nil {
			return err
		}
		if n := f.Received(); n != last {
			last, lastAt = n, time.Now()
		}
	}
	return nil
}
