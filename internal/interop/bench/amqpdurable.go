package main

import (
	"encoding/binary"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
	"github.com/quartet-mq/quartet/internal/interop/load/amqpload"
)

// amqpOneAtATime has a publisher that waits for the confirm of each persistent message before it publishes the next, over a
// socket that blocks. In between it appends as many bytes to a file in the same file system and syncs each.
func amqpOneAtATime(name string) scenario {
	return amqpScenario(name, true, func(e *env) (*outcome, error) {
		f, err := amqpload.NewFlow(e.AMQP, 0)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		f.Persistent, f.Window = true, 1
		if err := f.Queue("one", nil); err != nil {
			return nil, err
		}
		p, c, err := f.Alone(amqpload.Target{Key: "one"})
		if err != nil {
			return nil, err
		}
		defer c.Close()
		d, err := newDisk(filepath.Join(e.Dir, "baseline"), p.Size())
		if err != nil {
			return nil, err
		}
		defer d.close()
		times := make([]time.Duration, 0, 1<<20)
		if err := repeat(e.warm, &times, p.RoundTrip); err != nil {
			return nil, err
		}
		if err := d.run(e.warm / 4); err != nil {
			return nil, err
		}
		times, d.times = times[:0], d.times[:0]
		const slice = 250 * time.Millisecond // how long the broker and the file have their turns
		var busy, cpu time.Duration
		for begin := time.Now(); time.Since(begin) < e.d; {
			m, err := e.start()
			if err != nil {
				return nil, err
			}
			if err := repeat(slice, &times, p.RoundTrip); err != nil {
				return nil, err
			}
			now, err := e.CPU()
			if err != nil {
				return nil, err
			}
			busy, cpu = busy+time.Since(m.at), cpu+now-m.cpu
			if err := d.run(slice / 4); err != nil {
				return nil, err
			}
		}
		n := len(times)
		r := row{name: name, durable: true, rate: float64(n) / busy.Seconds(), cpu: cpu / time.Duration(n)}
		r.lost, err = amqpMissing(f, "one", p.Sent)
		return &outcome{rows: []row{r}, figures: d.figures(name, times)}, err
	})
}

// amqpMissing returns how many of n messages a queue does not have.
func amqpMissing(f *amqpload.Flow, queue string, n int64) (int64, error) {
	ok, err := f.Call("queue.declare", "queue", queue, "passive", true)
	return n - int64(ok.Int("message-count")), err
}

// amqpBacklog publishes n persistent messages with confirms to one queue and then has a consumer take them.
func amqpBacklog(name string, n int) scenario {
	return amqpScenario(name, true, func(e *env) (*outcome, error) {
		const publishers = 10
		each := int64(e.count(n) / publishers)
		n := each * publishers
		f, err := amqpload.NewFlow(e.AMQP, 1)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		f.Persistent, f.Window, f.Prefetch = true, 100, 100
		if err := f.Queue("backlog", nil); err != nil {
			return nil, err
		}
		for range publishers {
			if _, err := f.Publisher(amqpload.Target{Key: "backlog"}); err != nil {
				return nil, err
			}
		}
		before, err := e.settle()
		if err != nil {
			return nil, err
		}
		m, err := e.start()
		if err != nil {
			return nil, err
		}
		if err := f.PublishN(each, func(int64) error { return nil }); err != nil {
			return nil, err
		}
		built, err := m.stop(name+", build", n)
		if err != nil {
			return nil, err
		}
		after, err := e.settle()
		if err != nil {
			return nil, err
		}
		m, err = e.start()
		if err != nil {
			return nil, err
		}
		if _, err := f.Consumer("backlog"); err != nil {
			return nil, err
		}
		if err := f.Drain(patience); err != nil {
			return nil, err
		}
		drained, err := m.stop(name+", drain", f.Received())
		drained.lost = f.Lost()
		drained.repeated, drained.late = f.Disorder()
		return &outcome{
			rows:    []row{built, drained},
			figures: []figure{{name: name + ": RSS each, bytes", value: float64(after-before) / float64(n)}},
		}, err
	})
}

// amqpDelayed publishes n persistent messages that are to be delivered later, and looks how late they come. Our broker has an
// exchange for that: each message has a delay of its own, so that all come due in the same ten seconds. RabbitMQ as Debian has
// it does not: there all messages wait in a queue for the same time and are dead-lettered at its end.
func amqpDelayed(name string, n int) scenario {
	return amqpScenario(name, true, func(e *env) (*outcome, error) {
		n := int64(e.count(n))
		f, err := amqpload.NewFlow(e.AMQP, 1)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		f.Persistent, f.Window = true, 1000
		d := &delayed{e: e, f: f, n: n}
		if err := d.prepare(); err != nil {
			return nil, err
		}
		before, err := e.settle()
		if err != nil {
			return nil, err
		}
		m, err := e.start()
		if err != nil {
			return nil, err
		}
		d.begin = time.Now()
		if err := f.PublishN(n, func(int64) error { return nil }); err != nil {
			return nil, err
		}
		published, err := m.stop(name+", publish", n)
		if err != nil {
			return nil, err
		}
		after, err := e.RSS()
		if err != nil {
			return nil, err
		}
		if err := f.Drain(d.wait + d.spread + 10*time.Second); err != nil {
			return nil, err
		}
		published.lost = f.Lost()
		o := &outcome{
			rows: []row{published},
			figures: []figure{
				{name: name + ": RSS each, bytes", value: float64(after-before) / float64(n)},
				{name: name + ": due before they were published, %", value: 100 * float64(d.early) / float64(n), context: true},
				{name: name + ": delivered more than 1 ms too early", value: float64(d.tooEarly)},
				{name: name + ": p50 of being late, µs", value: quantile(d.late, 0.5)},
				{name: name + ": p99 of being late, µs", value: quantile(d.late, 0.99)},
			},
		}
		return o, nil
	})
}

// delayed is the state of that scenario. Times are since begin.
type delayed struct {
	e            *env
	f            *amqpload.Flow
	n            int64
	begin        time.Time
	wait, spread time.Duration // messages are due from wait on, over the time spread
	early        int64         // messages that were due at the time of publishing
	tooEarly     int64
	late         []time.Duration
	due          []time.Duration // by number of the message
}

// prepare measures how long it takes to publish, and makes exchanges, queues and clients.
func (d *delayed) prepare() error {
	f := d.f
	if err := f.Queue("rate", nil); err != nil {
		return err
	}
	p, err := f.Publisher(amqpload.Target{Key: "rate"})
	if err != nil {
		return err
	}
	probe := max(d.n/50, 1000)
	begin := time.Now()
	if err := f.PublishN(probe, func(int64) error { return nil }); err != nil {
		return err
	}
	d.wait = time.Second + 2*time.Since(begin)*time.Duration(d.n/probe)
	d.spread = min(10*time.Second, time.Duration(d.n)*10*time.Microsecond)
	f.Pubs = nil // p has done its part
	_ = p

	ours := d.e.Name == ours
	target := amqpload.Target{Exchange: "delayed", Key: "due"}
	props := amqpraw.Props{"headers": amqpraw.Table{"x-delay": int32(0)}}
	if ours {
		if err := f.Exchange("delayed", "x-delayed-message", amqpraw.Table{"x-delayed-type": "direct"}); err != nil {
			return err
		}
		if err := f.Queue("due", nil); err != nil {
			return err
		}
		if err := f.Bind("due", "delayed", "due"); err != nil {
			return err
		}
	} else {
		target, props = amqpload.Target{Key: "wait"}, nil
		if err := f.Queue("due", nil); err != nil {
			return err
		}
		args := amqpraw.Table{
			"x-message-ttl":             int64(d.wait / time.Millisecond),
			"x-dead-letter-exchange":    "",
			"x-dead-letter-routing-key": "due",
		}
		if err := f.Queue("wait", args); err != nil {
			return err
		}
	}
	s, err := f.Consumer("due")
	if err != nil {
		return err
	}
	d.due = make([]time.Duration, d.n)
	s.Stamped = false // they come in another order
	s.Body = d.arrived
	if p, err = f.PublisherOf(props, target); err != nil {
		return err
	}
	at := 0
	if ours {
		at = delayAt(p.Size())
	}
	p.Edit = func(m []byte, n int64) { d.edit(m, n, at) }
	return nil
}

// delayAt returns the place of the value of x-delay in a message of size bytes: the delivery mode is all that comes after it
// in the content header.
func delayAt(size int) int {
	const body, end, deliveryMode, value = 8 + amqpload.PayloadSize, 1, 1, 4
	return size - body - end - deliveryMode - value
}

// edit chooses when a message is due.
func (d *delayed) edit(m []byte, n int64, at int) {
	now := time.Since(d.begin)
	if at == 0 {
		d.due[n] = now + d.wait
		return
	}
	ms := max((d.wait+rand.N(d.spread)-now)/time.Millisecond, 0)
	if ms == 0 {
		d.early++
	}
	binary.BigEndian.PutUint32(m[at:], uint32(ms))
	d.due[n] = now + ms*time.Millisecond
}

// arrived looks how late a message is.
func (d *delayed) arrived(body []byte) {
	n := binary.BigEndian.Uint64(body[4:])
	late := time.Since(d.begin) - d.due[n]
	if late < -time.Millisecond { // the unit of delays
		d.tooEarly++
	}
	d.late = append(d.late, max(late, 0))
}
