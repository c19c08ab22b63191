package main

import (
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
	"github.com/quartet-mq/quartet/internal/interop/load/amqpload"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// amqpScenario is a scenario for brokers that speak AMQP. The most memory that the broker had is a figure of each.
func amqpScenario(name string, durable bool, run func(*env) (*outcome, error)) scenario {
	return scenario{name: name, durable: durable, listeners: peer.Listeners{AMQP: true}, run: func(e *env) (*outcome, error) {
		o, err := run(e)
		if err != nil {
			return nil, err
		}
		rss, err := e.PeakRSS()
		o.figures = append(o.figures, figure{name: name + ": memory at most, MiB", value: float64(rss) / (1 << 20)})
		return o, err
	}}
}

// amqpLoad says how messages travel.
type amqpLoad struct {
	// pairs is the number of publishers and of consumers, each pair with a queue of its own.
	pairs int
	// prefetch is how many messages a consumer may have unacknowledged, 0 without acknowledgements.
	prefetch int
	// window is how many messages a publisher may have unconfirmed, 0 without confirms.
	window int64
	// durable is for durable queues and persistent messages.
	durable bool
}

// flow connects what the load says.
func (l amqpLoad) flow(e *env, copies int64) (*amqpload.Flow, error) {
	f, err := amqpload.NewFlow(e.AMQP, copies)
	if err != nil {
		return nil, err
	}
	f.Persistent, f.Window, f.Prefetch = l.durable, l.window, l.prefetch
	return f, nil
}

// amqpPairs returns a scenario with pairs of a publisher and a consumer over the default exchange.
func amqpPairs(name string, l amqpLoad) scenario {
	return amqpScenario(name, l.durable, func(e *env) (*outcome, error) {
		f, err := l.flow(e, 1)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		for i := range l.pairs {
			queue := fmt.Sprintf("pair-%04d", i)
			if err := f.Queue(queue, nil); err != nil {
				return nil, err
			}
			s, err := f.Consumer(queue)
			if err != nil {
				return nil, err
			}
			p, err := f.Publisher(amqpload.Target{Key: queue})
			if err != nil {
				return nil, err
			}
			p.Delivered = func() int64 { return s.Received }
		}
		// As for MQTT: more than the sockets between hold.
		f.Limit = max(int64(16384/l.pairs), 1024)
		f.Chunk = min(f.Limit/4, 128)
		r, err := measure(e, f, name)
		return &outcome{rows: []row{r}}, err
	})
}

// amqpFan returns a flow from one publisher over a fanout exchange to n queues with a consumer each.
func amqpFan(e *env, exchange string, n int) (*amqpload.Flow, error) {
	f, err := amqpload.NewFlow(e.AMQP, int64(n))
	if err != nil {
		return nil, err
	}
	if err := amqpFanTo(f, exchange, n); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func amqpFanTo(f *amqpload.Flow, exchange string, n int) error {
	if err := f.Exchange(exchange, "fanout", nil); err != nil {
		return err
	}
	for i := range n {
		queue := fmt.Sprintf("%s-%04d", exchange, i)
		if err := f.Queue(queue, nil); err != nil {
			return err
		}
		if err := f.Bind(queue, exchange, ""); err != nil {
			return err
		}
		if _, err := f.Consumer(queue); err != nil {
			return err
		}
	}
	p, err := f.Publisher(amqpload.Target{Exchange: exchange})
	if err != nil {
		return err
	}
	p.Delivered = func() int64 {
		slowest := f.Subs[0].Received
		for _, s := range f.Subs[1:] {
			slowest = min(slowest, s.Received)
		}
		return slowest
	}
	f.Limit, f.Chunk = 2048, 64
	return nil
}

// amqpFanout returns a scenario with one publisher and n queues.
func amqpFanout(name string, n int) scenario {
	return amqpScenario(name, false, func(e *env) (*outcome, error) {
		f, err := amqpFan(e, "fan", n)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r, err := measure(e, f, name)
		return &outcome{rows: []row{r}}, err
	})
}

// amqpStalled measures a fan-out to n queues, one of which has a consumer that does not read. Every quarter of a second that
// queue is bound to the exchange, or unbound again, so that both halves have the same luck. It keeps its 20,000 newest messages.
func amqpStalled(name string, n int) scenario {
	return amqpScenario(name, false, func(e *env) (*outcome, error) {
		f, err := amqpFan(e, "all", n-1)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if err := f.Queue("stalled", amqpraw.Table{"x-max-length": 20_000}); err != nil {
			return nil, err
		}
		c, err := f.Stalled("stalled")
		if err != nil {
			return nil, err
		}
		defer c.Close()
		rows := [2]row{{name: name + ", all read"}, {name: name + ", one stopped"}}
		var received [2]int64
		var spent [2]time.Duration
		if err := f.Publish(time.Now().Add(e.warm)); err != nil {
			return nil, err
		}
		begin := time.Now()
		for time.Since(begin) < 2*e.d || min(received[0], received[1]) == 0 && time.Since(begin) < 2*e.d+patience {
			for i := range rows {
				m, err := e.start()
				if err != nil {
					return nil, err
				}
				before := f.Received()
				if err := f.Publish(m.at.Add(250 * time.Millisecond)); err != nil {
					return nil, err
				}
				cpu, err := e.CPU()
				if err != nil {
					return nil, err
				}
				received[i] += f.Received() - before
				spent[i] += time.Since(m.at)
				rows[i].cpu += cpu - m.cpu
				change := "queue.bind"
				if i == 1 {
					change = "queue.unbind"
				}
				if _, err := f.Call(change, "queue", "stalled", "exchange", "all"); err != nil {
					return nil, err
				}
			}
		}
		if err := f.Drain(e.quiet); err != nil {
			return nil, err
		}
		for i := range rows {
			if received[i] == 0 {
				return nil, fmt.Errorf("%s: nothing got through", rows[i].name)
			}
			rows[i].rate = float64(received[i]) / spent[i].Seconds()
			rows[i].cpu /= time.Duration(received[i])
		}
		rows[1].lost = f.Lost()
		return &outcome{
			rows:    rows[:],
			figures: []figure{{name: name + ": rate of the others, % of the rate without it", value: 100 * rows[1].rate / rows[0].rate, higher: true}},
		}, nil
	})
}

// amqpTopics binds ten queues to a topic exchange with n keys altogether, half of them with * and half with #, and publishes
// to one of them at a time.
func amqpTopics(name string, n int) scenario {
	return amqpScenario(name, false, func(e *env) (*outcome, error) {
		const queues = 10
		f, err := amqpload.NewFlow(e.AMQP, 1)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if err := f.Exchange("topics", "topic", nil); err != nil {
			return nil, err
		}
		for q := range queues {
			queue := fmt.Sprintf("topic-%04d", q)
			if err := f.Queue(queue, nil); err != nil {
				return nil, err
			}
			if _, err := f.Consumer(queue); err != nil {
				return nil, err
			}
		}
		var targets []amqpload.Target
		for i := range n {
			key := fmt.Sprintf("stock.%06d.", i)
			pattern := key + "*.price"
			if i%2 == 1 {
				pattern = key + "#"
			}
			if err := f.Bind(fmt.Sprintf("topic-%04d", i%queues), "topics", pattern); err != nil {
				return nil, err
			}
			targets = append(targets, amqpload.Target{Exchange: "topics", Key: key + "nyse.price"})
		}
		p, err := f.Publisher(targets...)
		if err != nil {
			return nil, err
		}
		p.Delivered = f.Received
		f.Limit, f.Chunk = 16384, 128
		r, err := measure(e, f, name)
		return &outcome{rows: []row{r}}, err
	})
}

// amqpPingpong sends one message at a time and waits for it on another connection.
func amqpPingpong(name string) scenario {
	return amqpScenario(name, false, func(e *env) (*outcome, error) {
		f, err := amqpload.NewFlow(e.AMQP, 1)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if err := f.Queue("ping", nil); err != nil {
			return nil, err
		}
		in, err := f.Stalled("ping")
		if err != nil {
			return nil, err
		}
		defer in.Close()
		out, err := amqpload.Connect(e.AMQP)
		if err != nil {
			return nil, err
		}
		defer out.Close()
		message := amqpraw.AppendPublish(nil, 1, "", "ping", false, nil, make([]byte, amqpload.PayloadSize))
		ping := func() error {
			if err := out.Write(message); err != nil {
				return err
			}
			for frames := 0; frames < 3; frames++ { // method, header, body
				if _, err := amqpload.Next(in); err != nil {
					return fmt.Errorf("waiting for a message: %w", err)
				}
			}
			return nil
		}
		var times []time.Duration
		if err := repeat(e.warm, &times, ping); err != nil {
			return nil, err
		}
		times = times[:0]
		m, err := e.start()
		if err != nil {
			return nil, err
		}
		if err := repeat(e.d, &times, ping); err != nil {
			return nil, err
		}
		r, err := m.stop(name, int64(len(times)))
		return &outcome{
			rows: []row{r},
			figures: []figure{
				{name: name + " p50, µs", value: quantile(times, 0.5)},
				{name: name + " p99, µs", value: quantile(times, 0.99)},
			},
		}, err
	})
}

// repeat calls f for the time d and appends the time of each call to times.
func repeat(d time.Duration, times *[]time.Duration, f func() error) error {
	begin := time.Now()
	for now := begin; now.Sub(begin) < d; {
		if err := f(); err != nil {
			return err
		}
		end := time.Now()
		*times = append(*times, end.Sub(now))
		now = end
	}
	return nil
}
