package main

import (
	"context"
	"slices"
	"time"
)

// connected is what connect prints: microseconds from dialing to CONNACK, ascending.
type connected struct {
	Took []int64
	// Early counts the connections whose early data the server took.
	Early uint64
}

// connect measures the time from dialing to CONNACK, n times.
func connect(ctx context.Context, o *options) (any, error) {
	e, err := newEnd(o)
	if err != nil {
		return nil, err
	}
	if !o.resume && !o.early {
		e.options.TLS.ClientSessionCache = nil
	}
	out := new(connected)
	for i := range o.n + 1 {
		begin := time.Now()
		c, err := e.dial(ctx)
		if err != nil {
			return nil, err
		}
		took := time.Since(begin)
		time.Sleep(o.interval) // for the session ticket
		if err := c.Disconnect(ctx, nil); err != nil {
			return nil, err
		}
		time.Sleep(o.interval)
		if i > 0 { // the first one has the session to resume
			out.Took = append(out.Took, took.Microseconds())
		}
	}
	if e.dialer != nil {
		out.Early = e.dialer.Stats().EarlyAccepted
	}
	slices.Sort(out.Took)
	return out, e.close(ctx)
}
