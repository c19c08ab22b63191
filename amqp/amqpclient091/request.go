package amqpclient091

import (
	"context"
	"errors"
	"strconv"
)

// replyQueue is RabbitMQ's pseudo-queue for direct replies.
const replyQueue = "amq.rabbitmq.reply-to"

// replies are the calls that wait for a reply. Client.mu guards it.
type replies struct {
	h     *Channel
	s     *Consumer
	next  uint64
	calls map[string]*request
}

// request is a call that waits for its reply.
type request struct {
	p     *Publication
	reply *Delivery
	err   error
	done  chan struct{}
}

// Call publishes a request and returns the reply to it, over RabbitMQ's direct reply-to: no queue is declared. It sets
// ReplyTo and CorrelationID in Properties; Mandatory is implied, so that a request that nobody can get fails with a
// *ReturnedError at once. m.Raw must be nil. It waits for the reply as long as ctx allows.
//
// When the connection is lost meanwhile the reply is lost, too, and the error is an *UnknownError.
func (c *Client) Call(ctx context.Context, m *Message) (*Delivery, error) {
	if m.Raw != nil {
		return nil, &unsentError{errors.New("amqpclient091: a request has no raw properties")}
	}
	r, err := c.repliesChannel(ctx)
	if err != nil {
		return nil, &unsentError{err}
	}
	p := &Publication{h: r.h}
	q := &request{p: p, done: make(chan struct{})}
	own := *m
	c.mu.Lock()
	r.next++
	id := strconv.FormatUint(r.next, 36)
	r.calls[id] = q
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(r.calls, id)
		c.mu.Unlock()
	}()
	own.Mandatory = true
	own.Properties.ReplyTo, own.Properties.CorrelationID = replyQueue, id
	if ctx.Err() != nil {
		return nil, &unsentError{context.Cause(ctx)}
	}
	if err := r.h.submit(ctx, p, &own); err != nil {
		return nil, err
	}
	confirmed := p.Done()
	for {
		select {
		case <-q.done:
			return q.reply, q.err
		case <-confirmed:
			if err := p.Err(); err != nil {
				return nil, err
			}
			confirmed = nil
		case <-ctx.Done():
			return nil, c.waitErr(ctx)
		}
	}
}

// Reply publishes the reply to a request: its ReplyTo is the routing key, and its CorrelationID goes along. The fields
// Exchange, RoutingKey and Properties.CorrelationID of m are ignored. A requester that has gone is no error, unless m is
// mandatory. m.Raw must be nil.
func (c *Client) Reply(ctx context.Context, request *Delivery, m *Message) error {
	to, ok := request.Raw.ReplyTo()
	if !ok || m.Raw != nil {
		return &unsentError{errors.New("amqpclient091: the request wants no reply, or the reply has raw properties")}
	}
	id, _ := request.Raw.CorrelationID()
	own := *m
	own.Exchange, own.RoutingKey, own.Properties.CorrelationID = "", string(to), string(id)
	return c.Publish(ctx, &own)
}

// repliesChannel returns the channel of Call, with its consumer.
func (c *Client) repliesChannel(ctx context.Context) (*replies, error) {
	c.mu.Lock()
	r := c.replies
	if r == nil || r.h.ended {
		r = &replies{calls: make(map[string]*request)}
		r.h = newChannel(c, nil, kindOutput)
		c.mu.Unlock()
		s, err := newConsumer(r.h, replyQueue, &ConsumeOptions{Ack: AckNone})
		if err != nil {
			return nil, err
		}
		s.reply = r.take
		r.s = s
		c.mu.Lock()
		if c.replies == nil || c.replies.h.ended {
			r.h.consumers[s.tag] = s
			r.h.order = append(r.h.order, s)
			if err := c.add(r.h); err != nil {
				c.mu.Unlock()
				return nil, err
			}
			c.replies = r
		}
		r = c.replies
	}
	c.mu.Unlock()
	_, err := r.h.await(ctx)
	return r, err
}

// take takes a reply. c.mu is held.
func (r *replies) take(d *Delivery) {
	id, _ := d.Raw.CorrelationID()
	if q := r.calls[string(id)]; q != nil {
		delete(r.calls, string(id))
		q.reply = d
		close(q.done)
	}
}

// failReplies ends the calls whose replies cannot come any more, because the channel to which they were to come has gone.
// c.mu is held.
func (h *Channel) failReplies(err error) {
	r := h.c.replies
	if r == nil || r.h != h {
		return
	}
	for id, q := range r.calls {
		if q.p.stage <= stageQueued {
			continue // it was not sent
		}
		delete(r.calls, id)
		q.err = err
		close(q.done)
	}
}
