package kafkaclient

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// sendOptions say how a request goes out.
type sendOptions struct {
	lane  lane
	limit int16         // the highest version; zero is no limit, as none is needed below 1
	wait  time.Duration // that the request asks the broker to wait, on top of Options.RequestTimeout
}

// waiter is a request for whose response somebody waits.
type waiter struct {
	done chan struct{}
	body []byte
	err  error
}

func (w *waiter) complete(f *frame, err error) {
	if err == nil {
		w.body = f.keep()
	}
	w.err = err
	close(w.done)
}

// Request sends a request to any broker, in the highest version that both have, and returns the response. It chooses
// another broker when there is no connection, for as long as Options.APITimeout allows. It does not look at errors within
// the response. Requests that only a certain broker can answer are for [Client.RequestBroker] and
// [Client.RequestCoordinator].
//
// The request must not be changed until Request returns. Byte slices in the response are the caller's.
func (c *Client) Request(ctx context.Context, req kafkawire.Request) (kafkawire.Response, error) {
	var resp kafkawire.Response
	err := c.retry(ctx, func(ctx context.Context) error {
		var err error
		resp, err = c.requestAny(ctx, req, &sendOptions{lane: laneAdmin})
		return err
	})
	return resp, err
}

// RequestBroker sends a request to a broker, as Request does, once.
func (c *Client) RequestBroker(ctx context.Context, id kafkawire.BrokerID, req kafkawire.Request) (kafkawire.Response, error) {
	return c.requestBroker(ctx, id, req, &sendOptions{lane: laneAdmin})
}

// requestAny sends a request to any broker, once.
func (c *Client) requestAny(ctx context.Context, req kafkawire.Request, o *sendOptions) (kafkawire.Response, error) {
	var err error
	for _, b := range c.candidates() {
		var resp kafkawire.Response
		resp, err = b.request(ctx, req, o)
		if conn, ok := errors.AsType[*ConnError](err); ok && conn.Unsent && !errors.Is(err, ErrClosed) && ctx.Err() == nil {
			if _, refused := errors.AsType[*AuthError](err); !refused {
				continue
			}
		}
		return resp, err
	}
	return nil, err
}

// candidates returns the brokers that may be asked what any broker can answer, the best first: those with a connection,
// those that are not known to fail, Options.Addrs, the rest.
func (c *Client) candidates() []*broker {
	c.mu.Lock()
	known := make([]*broker, 0, len(c.brokers)+len(c.seeds))
	for _, b := range c.brokers {
		known = append(known, b)
	}
	seeds := append([]*broker(nil), c.seeds...)
	c.mu.Unlock()
	rand.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	rand.Shuffle(len(seeds), func(i, j int) { seeds[i], seeds[j] = seeds[j], seeds[i] })
	var best, good, poor []*broker
	for _, b := range append(known, seeds...) {
		switch connected, failing := b.state(); {
		case connected:
			best = append(best, b)
		case !failing:
			good = append(good, b)
		default:
			poor = append(poor, b)
		}
	}
	return append(append(best, good...), poor...)
}

// requestBroker sends a request to a broker, once.
func (c *Client) requestBroker(ctx context.Context, id kafkawire.BrokerID, req kafkawire.Request, o *sendOptions) (kafkawire.Response, error) {
	b := c.broker(id)
	if b == nil {
		c.meta.refresh()
		return nil, fmt.Errorf("%w: %d", ErrNoBroker, id)
	}
	return b.request(ctx, req, o)
}

// requestController sends a request to the controller, or what takes its place, once.
func (c *Client) requestController(ctx context.Context, req kafkawire.Request) (kafkawire.Response, error) {
	id, err := c.meta.controller(ctx)
	if err != nil {
		return nil, err
	}
	if c.broker(id) == nil { // brokers pass requests on since there is KRaft
		return c.requestAny(ctx, req, &sendOptions{lane: laneAdmin})
	}
	return c.requestBroker(ctx, id, req, &sendOptions{lane: laneAdmin})
}

// broker returns a broker, nil when there is none.
func (c *Client) broker(id kafkawire.BrokerID) *broker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.brokers[id]
}

// request sends a request and waits for the response.
func (b *broker) request(ctx context.Context, req kafkawire.Request, o *sendOptions) (kafkawire.Response, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if o == nil {
		o = new(sendOptions)
	}
	k, err := b.conn(ctx, o.lane)
	if err != nil {
		return nil, err
	}
	return k.request(ctx, req, o)
}

func (k *conn) request(ctx context.Context, req kafkawire.Request, o *sendOptions) (kafkawire.Response, error) {
	body, version, err := k.roundTrip(ctx, req, o)
	if err != nil {
		return nil, err
	}
	resp := req.NewResponse()
	if err := resp.Decode(body, version); err != nil {
		err = protocolError(err.Error())
		k.fail(err)
		return nil, &ConnError{Broker: k.info.Broker, Addr: k.info.Addr, Err: err}
	}
	return resp, nil
}

// roundTrip sends a request and returns the body of the response, which is the caller's, and its version.
func (k *conn) roundTrip(ctx context.Context, req kafkawire.Request, o *sendOptions) (body []byte, version int16, err error) {
	key := req.Key()
	limit := o.limit
	if limit == 0 {
		limit = -1
	}
	version, ok := k.versions.pick(key, limit)
	if !ok {
		return nil, 0, unsupported(key)
	}
	b, err := kafkawire.AppendRequest(nil, kafkawire.RequestHeader{Version: version, ClientID: []byte(k.c.o.ClientID)}, req)
	if err != nil {
		if errors.Is(err, kafkawire.ErrField) {
			err = fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
		return nil, 0, err
	}
	if k.isEarly() && !mayBeEarly(req) {
		if err := k.awaitConfirmed(ctx); err != nil {
			return nil, 0, err
		}
	}
	if err := k.calm(ctx); err != nil {
		return nil, 0, err
	}
	k.c.requests.Add(1)
	w := &waiter{done: make(chan struct{})}
	if err := k.send(w, key, version, k.c.o.RequestTimeout+o.wait, true, b); err != nil {
		return nil, 0, err
	}
	select {
	case <-w.done:
		return w.body, version, w.err
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
}

// retry calls f until it succeeds, fails for good, or time is up: that of ctx or Options.APITimeout.
func (c *Client) retry(ctx context.Context, f func(ctx context.Context) error) error {
	if c.o.APITimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.o.APITimeout, ErrTimeout)
		defer cancel()
	}
	var last error // that is not only that time is up
	for failures := 1; ; failures++ {
		err := f(ctx)
		if last != nil && err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
			return &expired{err: last, cause: context.Cause(ctx)}
		}
		if err == nil || !retries(err) {
			return err
		}
		last = err
		if !c.pause(ctx, c.backoffAfter(err, failures)) {
			if c.isClosed() { // the failure may be due to that
				return ErrClosed
			}
			return &expired{err: err, cause: context.Cause(ctx)}
		}
	}
}

// backoffAfter is the time to wait after a failure. The end of a transaction takes a broker a few milliseconds only.
func (c *Client) backoffAfter(err error, failures int) time.Duration {
	d := c.backoff(failures)
	if errors.Is(err, kafkawire.ErrConcurrentTransactions) {
		d = min(d, time.Duration(failures)*2*time.Millisecond)
	}
	return d
}

// retries reports whether what failed with err is to be tried again.
func retries(err error) bool {
	if _, refused := errors.AsType[*AuthError](err); refused {
		return false
	}
	return Retriable(err) || errors.Is(err, ErrNoBroker)
}

// pause waits, unless ctx or the client ends.
func (c *Client) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-c.alive.Done():
	}
	return false
}

// expired is what went wrong last when time was up.
type expired struct{ err, cause error }

func (e *expired) Error() string   { return e.cause.Error() + ": " + e.err.Error() }
func (e *expired) Unwrap() []error { return []error{e.cause, e.err} }
