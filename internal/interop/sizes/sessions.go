package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/load"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// sessions makes sessions of clients that are away, then restarts the broker.
func sessions(e *env) error {
	before, err := e.memory("at first")
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := e.makeSessions(); err != nil {
		return err
	}
	d := time.Since(begin)
	e.table.add("sessions with a subscription each", "%d, %.0f per second", e.sessions, float64(e.sessions)/d.Seconds())
	e.rest()
	after, err := e.memory("after that")
	if err != nil {
		return err
	}
	e.table.add("memory per session", "%.0f bytes", float64(after-before)/float64(e.sessions))
	size, taken := e.disk()
	e.table.add("directory", "%s, %s of it allocated", mib(size), mib(taken))
	e.stop()
	if err := e.restartSessions("after SIGTERM"); err != nil {
		return err
	}
	e.Kill()
	return e.restartSessions("after SIGKILL")
}

// restartSessions starts the broker again and looks whether some of the sessions are there with their subscriptions.
func (e *env) restartSessions(what string) error {
	c, err := e.restart(what, e.sessionID(e.sessions-1))
	if err != nil {
		return err
	}
	if err := goodbye(c); err != nil {
		return err
	}
	e.rest()
	if _, err := e.memory(what); err != nil {
		return err
	}
	const samples = 200
	for i := range samples {
		if err := e.checkSession(i * (e.sessions / samples)); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) sessionID(i int) string { return fmt.Sprintf("device-%07d", i) }

// checkSession looks whether a session is there and gets a message that its client publishes itself.
func (e *env) checkSession(i int) error {
	c, present, err := load.Resume(e.TCP, e.sessionID(i))
	if err != nil {
		return err
	}
	defer c.Close()
	if !present {
		return fmt.Errorf("session %d is lost", i)
	}
	if err := c.Write(load.AppendPublish(nil, fmt.Sprintf("device/%07d/cmd", i), 0, false, 0)); err != nil {
		return err
	}
	p, err := c.Next()
	if err != nil {
		return fmt.Errorf("the subscription of session %d is lost: %w", i, err)
	}
	if p[0]&0xF0 != load.PublishByte {
		return fmt.Errorf("session %d gets %x", i, p[:2])
	}
	return goodbye(c)
}

// makeSessions makes all sessions over many connections at a time, from addresses of their own: so no port is used twice
// within the minute that the system wants.
func (e *env) makeSessions() error {
	const workers = 64
	var next atomic.Int64
	var wg sync.WaitGroup
	var errs [workers]error
	for w := range workers {
		wg.Go(func() {
			for e.ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= e.sessions {
					return
				}
				if errs[w] = e.makeSession(fmt.Sprintf("127.0.0.%d", 2+w), i); errs[w] != nil {
					return
				}
				if step := max(e.sessions/5, 1); (i+1)%step == 0 {
					if rss, err := e.RSS(); err == nil {
						e.log("%d sessions: memory %s", i+1, mib(rss))
					}
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs[:], e.ctx.Err())...)
}

// makeSession makes one session with one subscription.
func (e *env) makeSession(local string, i int) error {
	c, err := load.DialFrom(local, e.TCP)
	if err != nil {
		return err
	}
	defer c.Close()
	b := load.AppendConnect(nil, e.sessionID(i), peer.User, peer.Password, false)
	b = load.AppendSubscribe(b, 1, 1, fmt.Sprintf("device/%07d/cmd", i))
	connack, err := c.RoundTrip(b)
	if err != nil {
		return err
	}
	suback, err := c.Next()
	if err != nil {
		return err
	}
	if connack[3] != 0 || suback[0] != load.SubackByte || suback[4] > 2 {
		return fmt.Errorf("session %d: CONNACK %x, SUBACK %x", i, connack, suback)
	}
	return goodbye(c)
}
