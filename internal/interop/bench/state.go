package main

import (
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/load"
)

// pingpong sends one message at a time to the broker and waits for it to come back on another connection.
func pingpong(name string) scenario {
	return scenario{name: name, run: func(e *env) (*outcome, error) {
		in, err := load.Connect(e.TCP, "in")
		if err != nil {
			return nil, err
		}
		defer in.Close()
		if err := in.Subscribe(0, "ping/pong"); err != nil {
			return nil, err
		}
		out, err := load.Connect(e.TCP, "out")
		if err != nil {
			return nil, err
		}
		defer out.Close()
		packet := load.AppendPublish(nil, "ping/pong", 0, false, 0)
		if err := pingFor(in, out, packet, e.warm, nil); err != nil {
			return nil, err
		}
		m, err := e.start()
		if err != nil {
			return nil, err
		}
		times := make([]time.Duration, 0, 1<<20)
		if err := pingFor(in, out, packet, e.d, &times); err != nil {
			return nil, err
		}
		r, err := m.stop(name, int64(len(times)))
		if err != nil {
			return nil, err
		}
		return &outcome{
			rows: []row{r},
			figures: []figure{
				{name: name + " p50, µs", value: quantile(times, 0.5)},
				{name: name + " p99, µs", value: quantile(times, 0.99)},
			},
		}, nil
	}}
}

// pingFor sends packets one by one for the time d and appends the time of each to times.
func pingFor(in, out *load.Conn, packet []byte, d time.Duration, times *[]time.Duration) error {
	buf := make([]byte, 2*len(packet))
	begin := time.Now()
	for now := begin; now.Sub(begin) < d; {
		if err := out.Write(packet); err != nil {
			return err
		}
		for got := 0; got < len(packet); {
			n, err := in.Read(buf[got:])
			if err != nil {
				return fmt.Errorf("waiting for a message: %w", err)
			}
			got += n
		}
		end := time.Now()
		if times != nil {
			*times = append(*times, end.Sub(now))
		}
		now = end
	}
	return nil
}

// retained stores n retained messages over one connection, then one subscriber asks for all.
func retained(name string, n int) scenario {
	return scenario{name: name, run: func(e *env) (*outcome, error) {
		n := e.count(n)
		c, err := load.Connect(e.TCP, "store")
		if err != nil {
			return nil, err
		}
		defer c.Close()
		before, err := e.settle()
		if err != nil {
			return nil, err
		}
		m, err := e.start()
		if err != nil {
			return nil, err
		}
		if err := store(c, n); err != nil {
			return nil, err
		}
		stored, err := m.stop(name+", store", int64(n))
		if err != nil {
			return nil, err
		}
		after, err := e.settle()
		if err != nil {
			return nil, err
		}
		drained, err := drainRetained(e, name+", drain", n)
		if err != nil {
			return nil, err
		}
		return &outcome{
			rows: []row{stored, drained},
			figures: []figure{
				{name: name + ": RSS each, bytes", value: float64(after-before) / float64(n)},
				{name: name + ": lost in the drain", value: float64(drained.lost)},
			},
		}, nil
	}}
}

// store publishes n retained messages. A PINGREQ at the end tells that the broker has handled all.
func store(c *load.Conn, n int) error {
	var b []byte
	for i := range n {
		b = load.AppendPublish(b, fmt.Sprintf("r/%06d", i), 0, true, 0)
		if len(b) >= load.WriteSize {
			if err := c.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	ack, err := c.RoundTrip(append(b, 0xC0, 0))
	if err == nil && ack[0] != load.PingrespByte {
		err = fmt.Errorf("%x instead of PINGRESP", ack)
	}
	return err
}

// drainRetained subscribes and waits until the n messages are there or none has come for a while.
func drainRetained(e *env, name string, n int) (row, error) {
	l, err := load.NewLoop()
	if err != nil {
		return row{}, err
	}
	defer l.Close()
	c, err := load.Connect(e.TCP, "drain")
	if err != nil {
		return row{}, err
	}
	s := new(load.Sub)
	if err := l.Add(c, s); err != nil {
		return row{}, err
	}
	m, err := e.start()
	if err != nil {
		return row{}, err
	}
	l.Send(c, load.AppendSubscribe(nil, 1, 0, "r/#"))
	var last int64
	lastAt := time.Now()
	patience := 20 * time.Second // a broker may gather all of them before it sends the first
	for s.Received < int64(n) && time.Since(lastAt) < patience {
		if err := l.Poll(5 * time.Millisecond); err != nil {
			return row{}, err
		}
		if s.Received != last {
			last, lastAt, patience = s.Received, time.Now(), 3*time.Second
		}
	}
	// What was lost does not come, so the time without messages at the end is not a part of the drain.
	m.at = m.at.Add(time.Since(lastAt))
	r, err := m.stop(name, s.Received)
	r.lost = int64(n) - s.Received
	return r, err
}
