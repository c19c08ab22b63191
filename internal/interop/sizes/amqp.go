package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
	"github.com/quartet-mq/quartet/internal/interop/load/amqpload"
)

// amqpBacklog has persistent messages wait in one durable queue, restarts the broker, and takes them.
func amqpBacklog(e *env) error {
	before, err := e.memory("at first")
	if err != nil {
		return err
	}
	n, err := e.amqpFill("in one durable queue", "backlog", nil, int64(e.messages), nil)
	if err != nil {
		return err
	}
	e.rest()
	after, err := e.memory("after that")
	if err != nil {
		return err
	}
	e.table.add("memory per message", "%.1f bytes", float64(after-before)/float64(n))
	size, taken := e.disk()
	e.table.add("directory", "%s, %s of it allocated; the machine has %s of memory", mib(size), mib(taken), pageCache())
	e.stop()
	if err := e.amqpRestart("after SIGTERM", "backlog", n); err != nil {
		return err
	}
	e.Kill()
	if err := e.amqpRestart("after SIGKILL", "backlog", n); err != nil {
		return err
	}
	return e.amqpDrain("backlog", n)
}

// amqpDelayed has persistent messages wait in a delayed exchange, each for another time, and restarts the broker.
func amqpDelayed(e *env) error {
	before, err := e.memory("at first")
	if err != nil {
		return err
	}
	// Between one and two days: more than fits into the time of a test.
	delay := func(m []byte, _ int64) {
		const at = 8 + amqpload.PayloadSize + 1 + 1 + 4 // x-delay is followed by the delivery mode, a frame end and the body
		binary.BigEndian.PutUint32(m[len(m)-at:], uint32((24*time.Hour+rand.N(24*time.Hour))/time.Millisecond))
	}
	n, err := e.amqpFill("that are delayed", "due", delay, int64(e.delayed), func(f *amqpload.Flow) error {
		if err := f.Exchange("delayed", "x-delayed-message", amqpraw.Table{"x-delayed-type": "direct"}); err != nil {
			return err
		}
		return f.Bind("due", "delayed", "due")
	})
	if err != nil {
		return err
	}
	e.rest()
	after, err := e.memory("after that")
	if err != nil {
		return err
	}
	e.table.add("memory per message", "%.1f bytes", float64(after-before)/float64(n))
	size, taken := e.disk()
	e.table.add("directory", "%s, %s of it allocated", mib(size), mib(taken))
	e.stop()
	if err := e.amqpRestart("after SIGTERM", "due", 0); err != nil {
		return err
	}
	e.Kill()
	if err := e.amqpRestart("after SIGKILL", "due", 0); err != nil {
		return err
	}
	return e.amqpOneDue()
}

// amqpOneDue looks whether a message with a short delay passes those with long ones.
func (e *env) amqpOneDue() error {
	f, err := amqpload.NewFlow(e.AMQP, 1)
	if err != nil {
		return err
	}
	defer f.Close()
	f.Persistent, f.Window = true, 1
	if _, err := f.Consumer("due"); err != nil {
		return err
	}
	props := amqpraw.Props{"headers": amqpraw.Table{"x-delay": 50}}
	if _, err := f.PublisherOf(props, amqpload.Target{Exchange: "delayed", Key: "due"}); err != nil {
		return err
	}
	if err := f.PublishN(1, func(int64) error { return nil }); err != nil {
		return err
	}
	begin := time.Now()
	if err := f.Drain(time.Minute); err != nil {
		return err
	}
	if f.Received() != 1 {
		return fmt.Errorf("%d messages came", f.Received())
	}
	e.table.add("a message with a delay of 50 ms beside them", "after %v", time.Since(begin).Round(time.Millisecond))
	return nil
}

// amqpFill publishes n messages with confirms to a queue, or to the exchange of the same name as the edit of the messages
// wants, and returns their number. declare declares what there must be beside the queue.
func (e *env) amqpFill(what, queue string, edit func([]byte, int64), n int64, declare func(*amqpload.Flow) error) (int64, error) {
	const publishers = 10
	f, err := amqpload.NewFlow(e.AMQP, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	f.Persistent, f.Window = true, 100
	if err := f.Queue(queue, nil); err != nil {
		return 0, err
	}
	target, props := amqpload.Target{Key: queue}, amqpraw.Props(nil)
	if declare != nil {
		if err := declare(f); err != nil {
			return 0, err
		}
		target, props = amqpload.Target{Exchange: "delayed", Key: queue}, amqpraw.Props{"headers": amqpraw.Table{"x-delay": int32(0)}}
	}
	for range publishers {
		p, err := f.PublisherOf(props, target)
		if err != nil {
			return 0, err
		}
		p.Edit = edit
	}
	each := n / publishers
	n = each * publishers
	step, most := n/10, int64(0)
	due := step
	begin := time.Now()
	err = f.PublishN(each, func(acked int64) error {
		if acked < due {
			return e.ctx.Err()
		}
		due += step
		rss, err := e.RSS()
		most = max(most, rss)
		e.log("%d messages after %v: memory %s", acked, time.Since(begin).Round(time.Millisecond), mib(rss))
		return err
	})
	if err != nil {
		return 0, err
	}
	e.table.add(fmt.Sprintf("persistent messages of %d bytes %s, with confirms", amqpload.PayloadSize, what),
		"%d, %.0f per second", n, float64(n)/time.Since(begin).Seconds())
	e.table.add("while they come: memory, at most", "%s", mib(most))
	return n, nil
}

// amqpRestart starts the broker again and adds rows with the time from then until a client sees the n messages of a queue, and
// with the memory.
func (e *env) amqpRestart(what, queue string, n int64) error {
	begin := time.Now()
	if err := e.Exec(); err != nil {
		return err
	}
	for {
		got, err := e.amqpCount(queue)
		if err == nil {
			e.table.add(what+": start to the first answer", "%v", time.Since(begin).Round(time.Millisecond))
			if got != n {
				return fmt.Errorf("the queue has %d messages and not %d", got, n)
			}
			break
		}
		select {
		case <-e.Done():
			return fmt.Errorf("the broker ended: %w", err)
		case <-e.ctx.Done():
			return e.ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
		if time.Since(begin) > 10*time.Minute {
			return fmt.Errorf("not ready after 10 minutes: %w", err)
		}
	}
	e.rest()
	if _, err := e.memory(what); err != nil {
		return err
	}
	most, err := e.PeakRSS()
	e.table.add(what+": memory, at most", "%s", mib(most))
	return err
}

// amqpCount returns the number of messages in a queue.
func (e *env) amqpCount(queue string) (int64, error) {
	c, err := amqpload.Connect(e.AMQP)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	ok, err := amqpload.Call(c, "queue.declare", "queue", queue, "passive", true)
	return int64(ok.Int("message-count")), err
}

// amqpDrain has one consumer take n messages, acknowledging each, and looks at their order.
func (e *env) amqpDrain(queue string, n int64) error {
	f, err := amqpload.NewFlow(e.AMQP, 1)
	if err != nil {
		return err
	}
	defer f.Close()
	f.Prefetch = 1000
	begin := time.Now()
	s, err := f.Consumer(queue)
	if err != nil {
		return err
	}
	s.Stamped = true
	var most, last int64
	lastAt, sampled := begin, time.Time{}
	for s.Received < n {
		if err := f.Poll(100 * time.Millisecond); err != nil {
			return err
		}
		now := time.Now()
		if s.Received != last {
			last, lastAt = s.Received, now
		} else if now.Sub(lastAt) > time.Minute {
			return fmt.Errorf("nothing comes any more; %d of %d came", s.Received, n)
		}
		if now.Sub(sampled) > 200*time.Millisecond {
			sampled = now
			if rss, err := e.RSS(); err == nil {
				most = max(most, rss)
			}
		}
		if err := e.ctx.Err(); err != nil {
			return err
		}
	}
	e.table.add("taken afterwards by one consumer, prefetch 1000", "%d, %.0f per second", n, float64(n)/time.Since(begin).Seconds())
	e.table.add("while they are taken: memory, at most", "%s", mib(most))
	e.table.add("out of order, repeated", "%d, %d", s.Late, s.Repeated)
	e.rest()
	if _, err := e.memory("empty again"); err != nil {
		return err
	}
	size, taken := e.disk()
	e.table.add("empty again: directory", "%s, %s of it allocated", mib(size), mib(taken))
	if s.Late > 0 {
		return fmt.Errorf("%d messages came out of order", s.Late)
	}
	return nil
}
