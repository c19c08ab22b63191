package quicnet

import (
	"context"
	"net"
	"time"
)

// addressDelay is how long an address of a host is tried before the next one is too (RFC 8305, section 5).
const addressDelay = 250 * time.Millisecond

// attempt makes a connection in one of several ways.
type attempt func(context.Context) (net.Conn, error)

// race makes the attempts one after the other: the next one starts when the one before has failed, or has not succeeded
// for the delay. The first that succeeds wins; the others are cancelled, and what they still get is closed. It returns
// the winner's number and the errors of those that failed before, by number.
func race(ctx context.Context, delay time.Duration, attempts ...attempt) (conn net.Conn, winner int, errs []error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
		i    int
	}
	results := make(chan result, len(attempts))
	errs = make([]error, len(attempts))
	started, running := 0, 0
	next := func() {
		if started == len(attempts) {
			return
		}
		i := started
		started++
		running++
		go func() {
			c, err := attempts[i](ctx)
			results <- result{c, err, i}
		}()
	}
	next()
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for running > 0 {
		select {
		case <-timer.C:
			next()
		case r := <-results:
			running--
			if r.err == nil {
				go func() {
					for range running {
						if late := <-results; late.err == nil {
							_ = late.conn.Close()
						}
					}
				}()
				return r.conn, r.i, errs
			}
			errs[r.i] = r.err
			if ctx.Err() == nil {
				next()
			}
		}
		timer.Reset(delay)
	}
	return nil, -1, errs
}
