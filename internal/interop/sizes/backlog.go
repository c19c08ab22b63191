package main

import (
	"fmt"
	"log"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/load"
)

// log tells how far a test is.
func (e *env) log(format string, args ...any) {
	log.Printf("%s: %s", e.table.name, fmt.Sprintf(format, args...))
}

// backlog has messages wait for a session, restarts the broker with SIGKILL, and takes them.
func backlog(e *env) error {
	if err := e.away("backlog", 1, "b/#"); err != nil {
		return err
	}
	before, err := e.memory("at first")
	if err != nil {
		return err
	}
	n, err := e.fill()
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
	e.Kill()
	c, err := e.restart("after SIGKILL", "backlog")
	if err != nil {
		return err
	}
	if _, err := e.memory("after SIGKILL"); err != nil {
		c.Close()
		return err
	}
	return e.drain(c, n)
}

// fill publishes the messages and returns their number.
func (e *env) fill() (int64, error) {
	const publishers = 10
	f, err := load.NewFlow(e.TCP, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	f.Durable = true
	for i := range publishers {
		if _, err := f.Publisher(fmt.Sprintf("pub-%d", i), 1, fmt.Sprintf("b/%d", i)); err != nil {
			return 0, err
		}
	}
	each := int64(e.messages / publishers)
	n := each * publishers
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
	e.table.add(fmt.Sprintf("messages of %d bytes at QoS 1 for a session that is away", load.PayloadSize),
		"%d, %.0f per second", n, float64(n)/time.Since(begin).Seconds())
	e.table.add("while they come: memory, at most", "%s", mib(most))
	return n, nil
}

// drain takes n messages over c and looks at their order.
func (e *env) drain(c *load.Conn, n int64) error {
	l, err := load.NewLoop()
	if err != nil {
		return err
	}
	defer l.Close()
	s := new(load.Sub)
	begin := time.Now()
	if err := l.Add(c, s); err != nil {
		return err
	}
	var most, last int64
	lastAt, sampled := begin, time.Time{}
	for s.Received < n {
		if err := l.Poll(100 * time.Millisecond); err != nil {
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
	e.table.add("taken by the session afterwards", "%d, %.0f per second", n, float64(n)/time.Since(begin).Seconds())
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
