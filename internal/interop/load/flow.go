package load

import (
	"errors"
	"fmt"
	"time"
)

// A Flow is publishers and subscribers on one loop.
type Flow struct {
	*Loop
	Pubs []*Pub
	Subs []*Sub
	// Addr is the broker's address. Durable makes sessions that outlive their connections.
	Addr    string
	Durable bool
	// Copies is how many subscribers get each message.
	Copies int64
	// Limit bounds the messages of one publisher that have not arrived, Chunk is the fewest that it sends at once at QoS 0.
	// The limit is far above what a broker needs to work without pause and keeps it from dropping messages.
	Limit, Chunk int64
}

// NewFlow returns a flow in which each message goes to copies subscribers.
func NewFlow(addr string, copies int64) (*Flow, error) {
	l, err := NewLoop()
	return &Flow{Loop: l, Addr: addr, Copies: copies}, err
}

// connect logs in as the flow wants it.
func (f *Flow) connect(id string) (*Conn, error) {
	if !f.Durable {
		return Connect(f.Addr, id)
	}
	c, _, err := Resume(f.Addr, id)
	return c, err
}

// Subscriber connects and subscribes.
func (f *Flow) Subscriber(id string, qos byte, filter string) (*Sub, error) {
	c, err := f.connect(id)
	if err != nil {
		return nil, err
	}
	if err := c.Subscribe(qos, filter); err != nil {
		c.Close()
		return nil, err
	}
	return f.Take(c)
}

// Take makes a subscribed connection a part of the flow.
func (f *Flow) Take(c *Conn) (*Sub, error) {
	s := &Sub{}
	f.Subs = append(f.Subs, s)
	return s, f.Add(c, s)
}

// Publisher connects a publisher to the topics in turn.
func (f *Flow) Publisher(id string, qos byte, topics ...string) (*Pub, error) {
	c, err := f.connect(id)
	if err != nil {
		return nil, err
	}
	p := NewPub(c, qos, topics...)
	p.From = uint32(len(f.Pubs))
	f.Pubs = append(f.Pubs, p)
	return p, f.Add(c, p)
}

// Received returns the number of deliveries.
func (f *Flow) Received() int64 {
	var n int64
	for _, s := range f.Subs {
		n += s.Received
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
			if room > 0 && (p.qos > 0 || room >= f.Chunk) && p.step(f.Loop, room) {
				sent = true
			}
		}
		now := time.Now()
		if !now.Before(until) {
			return f.err
		}
		wait := 5 * time.Millisecond
		if sent {
			wait = 0
		}
		if err := f.Poll(wait); err != nil {
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

// PublishN publishes n more messages with each publisher, without regard to what arrives, and waits until all are
// acknowledged. progress is called now and then with the number acknowledged.
func (f *Flow) PublishN(n int64, progress func(acked int64) error) error {
	goals := make([]int64, len(f.Pubs))
	for i, p := range f.Pubs {
		goals[i] = p.Sent + n
	}
	acked := func() (sum int64) {
		for _, p := range f.Pubs {
			sum += p.Acked
		}
		return sum
	}
	last, lastAt := acked(), time.Now()
	for {
		done := true
		for i, p := range f.Pubs {
			if left := goals[i] - p.Sent; left > 0 {
				p.step(f.Loop, left)
			}
			done = done && p.Acked >= goals[i]
		}
		if done {
			return progress(acked())
		}
		if err := f.Poll(5 * time.Millisecond); err != nil {
			return err
		}
		now := acked()
		if err := progress(now); err != nil {
			return err
		}
		if now != last {
			last, lastAt = now, time.Now()
		} else if time.Since(lastAt) > patience {
			return fmt.Errorf("%w for %v; %d acknowledged", errSilent, patience, now)
		}
	}
}

// patience is how long a broker may be silent.
const patience = time.Minute

var errSilent = errors.New("the broker was silent")

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
