package main

import (
	"errors"
	"fmt"

	"github.com/quartet-mq/quartet/internal/interop/load"
)

// pairs returns a scenario with n publishers and n subscribers, each pair with a topic of its own.
func pairs(name string, n int, qos byte) scenario {
	return scenario{name: name, run: func(e *env) (*outcome, error) {
		f, err := load.NewFlow(e.TCP, 1)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		f.Durable = e.Data != ""
		for i := range n {
			topic := fmt.Sprintf("pair/%04d", i)
			s, err := f.Subscriber(fmt.Sprintf("sub-%d", i), qos, topic)
			if err != nil {
				return nil, err
			}
			p, err := f.Publisher(fmt.Sprintf("pub-%d", i), qos, topic)
			if err != nil {
				return nil, err
			}
			p.Delivered = func() int64 { return s.Received }
		}
		// 16,384 messages are 4 MiB: more than the sockets between hold. The pairs share them.
		f.Limit = max(int64(16384/n), 1024)
		f.Chunk = min(f.Limit/4, 128)
		r, err := measure(e, f, name)
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
		defer f.Close()
		r, err := measure(e, f, name)
		return &outcome{rows: []row{r}}, err
	}}
}

// fan returns a flow from one publisher to n subscribers.
func fan(e *env, n int) (*load.Flow, error) {
	f, err := load.NewFlow(e.TCP, int64(n))
	if err != nil {
		return nil, err
	}
	for i := range n {
		if _, err := f.Subscriber(fmt.Sprintf("sub-%d", i), 0, "fan/out"); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	p, err := f.Publisher("pub", 0, "fan/out")
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	p.Delivered = func() int64 {
		slowest := f.Subs[0].Received
		for _, s := range f.Subs[1:] {
			slowest = min(slowest, s.Received)
		}
		return slowest
	}
	f.Limit, f.Chunk = 1024, 64
	return f, nil
}

// stalled measures a fan-out to 100 subscribers twice: with all reading, and with one that has stopped.
func stalled(name string, n int) scenario {
	return scenario{name: name, run: func(e *env) (*outcome, error) {
		all, err := fan(e, n-1)
		if err != nil {
			return nil, err
		}
		base, err := measure(e, all, name+", all read")
		if err := errors.Join(err, all.Close()); err != nil {
			return nil, err
		}
		f, err := fan(e, n-1)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		c, err := load.Connect(e.TCP, "stalled")
		if err != nil {
			return nil, err
		}
		defer c.Close()
		if err := c.Subscribe(0, "fan/out"); err != nil {
			return nil, err
		}
		r, err := measure(e, f, name+", one stopped")
		if err != nil {
			return nil, err
		}
		return &outcome{
			rows:    []row{base, r},
			figures: []figure{{name: name + ": rate of the others, % of the rate without it", value: 100 * r.rate / base.rate, higher: true}},
		}, nil
	}}
}

// wildcards subscribes to n filters with a wildcard over 100 connections and then publishes to one of them at a time.
func wildcards(name string, n int) scenario {
	return scenario{name: name, run: func(e *env) (*outcome, error) {
		const conns, perPacket = 100, 50
		n := e.count(n)
		f, err := load.NewFlow(e.TCP, 1)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		filters := make([][]string, conns)
		for i := range n {
			filters[i%conns] = append(filters[i%conns], fmt.Sprintf("s/%06d/+/x", i))
		}
		cs := make([]*load.Conn, conns)
		for i := range cs {
			if cs[i], err = load.Connect(e.TCP, fmt.Sprintf("sub-%d", i)); err != nil {
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
				if err := c.Subscribe(0, fs[:k]...); err != nil {
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
			if _, err := f.Take(c); err != nil {
				return nil, err
			}
		}
		topics := make([]string, min(n, 20000))
		for i := range topics {
			topics[i] = fmt.Sprintf("s/%06d/a/x", i*7919%n) // 7919 is prime, so all differ
		}
		p, err := f.Publisher("pub", 0, topics...)
		if err != nil {
			return nil, err
		}
		p.Delivered = f.Received
		f.Limit, f.Chunk = 16384, 128
		pub, err := measure(e, f, name+", publish")
		if err != nil {
			return nil, err
		}
		return &outcome{
			rows:    []row{sub, pub},
			figures: []figure{{name: name + ": RSS each, bytes", value: float64(after-before) / float64(n)}},
		}, nil
	}}
}
