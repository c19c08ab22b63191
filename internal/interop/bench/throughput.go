package main

import (
	"errors"
	"fmt"
)

// pairs returns a scenario with n publishers and n subscribers, each pair with a topic of its own.
func pairs(name string, n int, qos byte) scenario {
	return scenario{name: name, run: func(e *env) (*outcome, error) {
		f, err := newFlow(1)
		if err != nil {
			return nil, err
		}
		defer f.close()
		for i := range n {
			topic := fmt.Sprintf("pair/%04d", i)
			s, err := f.subscriber(e, fmt.Sprintf("sub-%d", i), qos, topic)
			if err != nil {
				return nil, err
			}
			p, err := f.publisher(e, fmt.Sprintf("pub-%d", i), qos, topic)
			if err != nil {
				return nil, err
			}
			p.delivered = func() int64 { return s.received }
		}
		// 16,384 messages are 4 MiB: more than the sockets between hold. The pairs share them.
		f.limit = max(int64(16384/n), 1024)
		f.chunk = min(f.limit/4, 128)
		r, err := f.measure(e, name)
		return &outcome{rows: []row{r}}, err
	}}
}

// fanout returns a scenario with one publisher and n subscribers to its topic.
func fanout(name string, n int) scenario {
	return scenario{name: name, run: func(e *env) (*outcome, error) {
		f, err := fan(e, n)
		if err != nil {
			return nil, err
		}
		defer f.close()
		r, err := f.measure(e, name)
		return &outcome{rows: []row{r}}, err
	}}
}

// fan returns a flow from one publisher to n subscribers.
func fan(e *env, n int) (*flow, error) {
	f, err := newFlow(int64(n))
	if err != nil {
		return nil, err
	}
	for i := range n {
		if _, err := f.subscriber(e, fmt.Sprintf("sub-%d", i), 0, "fan/out"); err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	p, err := f.publisher(e, "pub", 0, "fan/out")
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	p.delivered = func() int64 {
		slowest := f.subs[0].received
		for _, s := range f.subs[1:] {
			slowest = min(slowest, s.received)
		}
		return slowest
	}
	f.limit, f.chunk = 1024, 64
	return f, nil
}

// stalled measures a fan-out to 100 subscribers twice: with all reading, and with one that has stopped.
func stalled(name string, n int) scenario {
	return scenario{name: name, run: func(e *env) (*outcome, error) {
		all, err := fan(e, n-1)
		if err != nil {
			return nil, err
		}
		base, err := all.measure(e, name+", all read")
		if err := errors.Join(err, all.close()); err != nil {
			return nil, err
		}
		f, err := fan(e, n-1)
		if err != nil {
			return nil, err
		}
		defer f.close()
		c, err := connect(e.TCP, "stalled")
		if err != nil {
			return nil, err
		}
		defer c.Close()
		if err := c.subscribe(0, "fan/out"); err != nil {
			return nil, err
		}
		r, err := f.measure(e, name+", one stopped")
		if err != nil {
			return nil, err
		}
		return &outcome{
			rows:    []row{base, r},
			figures: []figure{{name + ": rate of the others, % of the rate without it", 100 * r.rate / base.rate, true}},
		}, nil
	}}
}

// wildcards subscribes to n filters with a wildcard over 100 connections and then publishes to one of them at a time.
func wildcards(name string, n int) scenario {
	return scenario{name: name, run: func(e *env) (*outcome, error) {
		const conns, perPacket = 100, 50
		n := e.count(n)
		f, err := newFlow(1)
		if err != nil {
			return nil, err
		}
		defer f.close()
		filters := make([][]string, conns)
		for i := range n {
			filters[i%conns] = append(filters[i%conns], fmt.Sprintf("s/%06d/+/x", i))
		}
		cs := make([]*conn, conns)
		for i := range cs {
			if cs[i], err = connect(e.TCP, fmt.Sprintf("sub-%d", i)); err != nil {
				return nil, err
			}
			defer cs[i].Close()
		}
		before, err := e.settle()
		if err != nil {
			return nil, err
		}
		m, err := e.start()
		if err != nil {
			return nil, err
		}
		for i, c := range cs {
			for fs := filters[i]; len(fs) > 0; {
				k := min(perPacket, len(fs))
				if err := c.subscribe(0, fs[:k]...); err != nil {
					return nil, err
				}
				fs = fs[k:]
			}
		}
		sub, err := m.stop(name+", subscribe", int64(n))
		if err != nil {
			return nil, err
		}
		after, err := e.settle()
		if err != nil {
			return nil, err
		}
		for _, c := range cs {
			if _, err := f.take(c); err != nil {
				return nil, err
			}
		}
		topics := make([]string, min(n, 20000))
		for i := range topics {
			topics[i] = fmt.Sprintf("s/%06d/a/x", i*7919%n) // 7919 is prime, so all differ
		}
		p, err := f.publisher(e, "pub", 0, topics...)
		if err != nil {
			return nil, err
		}
		p.delivered = f.received
		f.limit, f.chunk = 16384, 128
		pub, err := f.measure(e, name+", publish")
		if err != nil {
			return nil, err
		}
		return &outcome{
			rows:    []row{sub, pub},
			figures: []figure{{name + ": RSS each, bytes", float64(after-before) / float64(n), false}},
		}, nil
	}}
}

// newFlow returns a flow in which each message goes to copies subscribers.
func newFlow(copies int64) (*flow, error) {
	l, err := newLoop()
	return &flow{loop: l, copies: copies}, err
}

// subscriber connects and subscribes.
func (f *flow) subscriber(e *env, id string, qos byte, filter string) (*sub, error) {
	c, err := connect(e.TCP, id)
	if err != nil {
		return nil, err
	}
	if err := c.subscribe(qos, filter); err != nil {
		c.Close()
		return nil, err
	}
	return f.take(c)
}

// take makes a subscribed connection a part of the flow.
func (f *flow) take(c *conn) (*sub, error) {
	s := new(sub)
	f.subs = append(f.subs, s)
	return s, f.add(c, s)
}

// publisher connects a publisher to the topics in turn.
func (f *flow) publisher(e *env, id string, qos byte, topics ...string) (*pub, error) {
	c, err := connect(e.TCP, id)
	if err != nil {
		return nil, err
	}
	p := newPub(c, qos, topics...)
	f.pubs = append(f.pubs, p)
	return p, f.add(c, p)
}
