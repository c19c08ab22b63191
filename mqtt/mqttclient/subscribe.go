package mqttclient

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/topic"
)

// Subscribe subscribes to topic filters and returns once the server has granted all of them. It waits for a connection
// and the answer; when ctx ends first, the subscription is taken back. When the server refuses a filter, Subscribe takes
// back the others and returns an *mqtt.Error with Remote set. A nil o is the zero SubscribeOptions.
//
// The messages of all filters come through the one Subscription. Filters may be shared ones ($share/group/filter). When
// two subscriptions of a client have the same filter, the options of the later one hold, as they do at the server, and
// both get the messages. When filters of two subscriptions overlap otherwise, each gets what its own filters match; with
// a server that knows no subscription identifiers (MQTT 3.1.1) and sends a message once for each matching filter, each
// gets every copy.
//
// The subscription outlives connections: the client subscribes again when the server has lost the session.
func (c *Client) Subscribe(ctx context.Context, o *SubscribeOptions, filters ...mqtt.Subscription) (*Subscription, error) {
	if err := checkFilters(filters); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return c.subscribe(ctx, newSubscription(c, o, filters))
}

func checkFilters(filters []mqtt.Subscription) error {
	if len(filters) == 0 {
		return &mqtt.Error{Code: mqtt.ReasonProtocolError, Reason: "no topic filter"}
	}
	for i, f := range filters {
		_, rest, shared, err := topic.ParseShared(f.Filter)
		if err == nil {
			err = topic.MQTT.ValidateFilter(rest)
		}
		if err != nil {
			return &mqtt.Error{Code: mqtt.ReasonTopicFilterInvalid, Reason: f.Filter, Err: err}
		}
		if f.QoS > mqtt.QoS2 || f.RetainHandling > mqtt.RetainDontSend || shared && f.NoLocal {
			return &mqtt.Error{Code: mqtt.ReasonProtocolError, Reason: "subscription options of " + f.Filter}
		}
		for _, g := range filters[:i] {
			if g.Filter == f.Filter {
				return &mqtt.Error{Code: mqtt.ReasonProtocolError, Reason: f.Filter + " comes twice"}
			}
		}
	}
	return nil
}

func (c *Client) subscribe(ctx context.Context, s *Subscription) (*Subscription, error) {
	c.mu.Lock()
	if c.closed {
		defer c.mu.Unlock()
		return nil, c.endErr()
	}
	c.routes.add(s)
	c.ownLane(s)
	var err error
	if c.conn != nil {
		err = c.conn.sendSubscribe(s, s.filters)
		c.conn.kick()
	}
	c.mu.Unlock()
	if err == nil {
		select {
		case <-s.ready:
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.err != nil {
				return nil, s.err
			}
			return s, nil
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	s.Close()
	return nil, err
}

// subscribeRef is what a SUBSCRIBE packet was for.
type subscribeRef struct {
	s       *Subscription
	filters []mqtt.Subscription
}

// sendSubscribe sends SUBSCRIBE for filters of s. On a connection that is about to end that is left to the next one.
// c.mu is held.
func (k *conn) sendSubscribe(s *Subscription, filters []mqtt.Subscription) error {
	if k.closing {
		s.outdated = true
		return nil
	}
	l := k.c.out.of(s.lane)
	if !k.ready(l) {
		l.subscribe = append(l.subscribe, &subscribeRef{s, filters})
		return nil
	}
	p := &mqtt.Subscribe{Filters: filters}
	if k.version >= mqtt.Version5 {
		p.Properties = append(p.Properties, s.o.Properties...)
		if k.subIDs {
			p.Properties = p.Properties.AppendUvarint(mqtt.PropSubscriptionIdentifier, s.id)
		}
	}
	if err := k.sess.Subscribe(time.Now(), l.stream(), p, &subscribeRef{s, filters}); err != nil {
		return err
	}
	k.events()
	return nil
}

// resubscribe sends SUBSCRIBE for the subscriptions that the server does not have: all of them when it has lost the
// session. It also repeats UNSUBSCRIBE where the answer is missing. c.mu is held.
func (k *conn) resubscribe(present bool) {
	r := &k.c.routes
	for _, u := range slices.Clone(k.c.leaving) {
		if !present {
			u.done(k.c)
		} else {
			k.sendUnsubscribe(u)
		}
	}
	for _, s := range slices.Clone(r.subs) {
		filters := s.filters
		switch {
		case !present || s.pending || s.outdated:
			s.outdated = false
		case s.lane != 0: // it was on a stream that is gone
			filters = s.again()
		default:
			continue
		}
		if err := k.sendSubscribe(s, filters); err != nil {
			k.c.refuse(s, err)
		}
	}
}

// suback takes the answer to SUBSCRIBE. c.mu is held.
func (c *Client) suback(ref *subscribeRef, p *mqtt.Suback) {
	s := ref.s
	if s.leaving != nil {
		return
	}
	for i, r := range p.Reasons {
		if r.IsError() {
			reason, _ := p.Properties.String(mqtt.PropReasonString)
			err := &mqtt.Error{Code: r, Reason: ref.filters[i].Filter, Remote: true}
			if reason != "" {
				err.Err = errors.New(reason)
			}
			c.refuse(s, err)
			return
		}
	}
	if len(ref.filters) == len(s.filters) {
		s.granted = append(s.granted[:0], p.Reasons...)
	}
	if s.pending {
		s.pending = false
		close(s.ready)
	}
}

// refuse ends a subscription that the server does not grant. c.mu is held.
func (c *Client) refuse(s *Subscription, err error) {
	s.finish(err)
	c.leaveLocked(s)
	if s.pending {
		s.pending = false
		close(s.ready)
	}
}

// unsubscribing is an UNSUBSCRIBE without an answer.
type unsubscribing struct {
	s       *Subscription
	filters []string
}

// done ends the subscription: no more messages will come for it. c.mu is held.
func (u *unsubscribing) done(c *Client) {
	i := slices.Index(c.leaving, u)
	if i < 0 {
		return
	}
	c.leaving = slices.Delete(c.leaving, i, i+1)
	c.routes.remove(u.s)
	c.leaveLane(u.s)
	u.s.finish(nil)
	close(u.s.leaving)
}

// leave begins to unsubscribe, once. The channel that it returns is closed at the end.
func (c *Client) leave(s *Subscription) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaveLocked(s)
	if c.conn != nil {
		c.conn.kick()
	}
	return s.leaving
}

func (c *Client) leaveLocked(s *Subscription) {
	if s.leaving != nil {
		return
	}
	s.leaving = make(chan struct{})
	if s == c.unrouted {
		c.unrouted = nil
		s.finish(nil)
		close(s.leaving)
		return
	}
	heirs := c.routes.heirs(s)
	u := &unsubscribing{s: s, filters: c.routes.leave(s)}
	c.leaving = append(c.leaving, u)
	for _, h := range heirs {
		if c.conn == nil {
			h.s.outdated = true
		} else if err := c.conn.sendSubscribe(h.s, h.filters); err != nil {
			c.refuse(h.s, err)
		}
	}
	switch {
	case len(u.filters) == 0:
		u.done(c)
	case c.conn != nil:
		c.conn.sendUnsubscribe(u)
	}
}

// sendUnsubscribe sends UNSUBSCRIBE for the filters that nobody has subscribed to meanwhile. c.mu is held.
func (k *conn) sendUnsubscribe(u *unsubscribing) {
	p := new(mqtt.Unsubscribe)
	for _, f := range u.filters {
		if k.c.routes.filters[f] == nil {
			p.Filters = append(p.Filters, f)
		}
	}
	if len(p.Filters) == 0 {
		u.done(k.c)
		return
	}
	if k.closing {
		return // left to the next connection
	}
	l := k.c.out.of(u.s.lane)
	if l.state == laneEnding {
		return // left to the end of the stream
	}
	if k.sess.Unsubscribe(time.Now(), l.stream(), p, u) != nil {
		u.done(k.c) // it cannot be sent on any connection like this
		return
	}
	k.events()
}

// Unrouted returns the subscription that collects messages which match no other one: those of an earlier process when
// Options.Resume is set, or of a subscription that was closed meanwhile. It is nil when Options.Unrouted is nil, and
// after it was closed.
func (c *Client) Unrouted() *Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unrouted
}

// ownLane gives a subscription that wants one a lane, if there is one left. c.mu is held.
func (c *Client) ownLane(s *Subscription) {
	if o := c.o.Streams; s.o.Stream && o != nil && o.Max > 0 {
		if l := c.out.others.take(0, 0, o.Max); l != nil {
			l.sub, s.lane = s, l.n
		}
	}
}

// leaveLane gives the lane of a subscription back. c.mu is held.
func (c *Client) leaveLane(s *Subscription) {
	if s.lane == 0 {
		return
	}
	l := c.out.of(s.lane)
	l.sub, l.subscribe, s.lane = nil, nil, 0
	if c.conn != nil {
		c.conn.endLane(l)
	} else if l.idle() {
		c.out.others.release(l)
	}
}

// again returns the filters of a subscription for when the server may have it already.
func (s *Subscription) again() []mqtt.Subscription {
	if s.pending {
		return s.filters
	}
	again := slices.Clone(s.filters)
	for i := range again {
		again[i].RetainHandling = max(again[i].RetainHandling, mqtt.RetainSendIfNew)
	}
	return again
}
