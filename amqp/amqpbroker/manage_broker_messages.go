package amqpbroker

import (
	"context"
	"errors"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

func (b managedBroker) publishMessage(ctx context.Context, user, vhost, exchange, key string, p amqp091.RawProperties, data []byte) (
	routed bool, err error) {
	v, err := b.vhostOf(vhost)
	if err != nil {
		return false, err
	}
	x := v.exchange(exchange)
	if x == nil {
		return false, errNoExchange(v, exchange)
	}
	if err := b.on(user, vhost, opWrite, resourceExchange, exchange); err != nil {
		return false, err
	}
	if x.router.kind == kindTopic {
		if err := b.reg.permit(user, vhost).checkTopic(opWrite, exchange, []byte(key)); err != nil {
			return false, err
		}
	}
	if x.internal {
		return false, amqp091.SoftError(amqp091.AccessRefused, "cannot publish to internal %s", x.title())
	}
	if id, ok := p.UserID(); ok {
		if err := b.reg.mayClaim(user, id); err != nil {
			return false, err
		}
	}
	m := &Message{Exchange: exchange, RoutingKey: key, Mandatory: true, Body: data}
	if err := p.Decode(&m.Properties); err != nil {
		return false, err
	}
	err = b.Publish(ctx, vhost, m)
	switch {
	case errors.Is(err, &amqp091.Error{Code: amqp091.NoRoute}):
		return false, nil
	case errors.Is(err, ErrNacked):
		return false, badRequest("a queue has refused the message")
	}
	var e *amqp091.Error
	if errors.As(err, &e) && e.Code == amqp091.NoRoute {
		return false, nil
	}
	return err == nil, err
}

func (b managedBroker) getMessages(ctx context.Context, user, vhost, queue string, n int, mode getMode) (out []gotMessage, err error) {
	q, err := b.queueOfUser(user, vhost, queue, opRead)
	if err != nil {
		var e *amqp091.Error
		if errors.As(err, &e) && e.Code == amqp091.NotFound {
			return nil, &apiError{404, "not_found", e.Code.String() + " - " + e.Text}
		}
		return nil, err
	}
	var taken []Delivery
	defer func() {
		for i := range taken {
			switch mode {
			case getAckRequeue, getRejectRequeue:
				taken[i].Requeue()
			case getAckRemove:
				taken[i].Ack()
			case getRejectRemove:
				taken[i].Reject()
			}
		}
	}()
	size := 0
	for len(out) < n && size < maxGetBytes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d, ok, err := b.Get(vhost, queue, false)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		taken = append(taken, d)
		size += len(d.Body)
		q.mu.Lock()
		left := q.ready
		q.mu.Unlock()
		out = append(out, gotMessage{d.Exchange, d.RoutingKey, d.Redelivered, left, d.Properties, d.Body})
	}
	return out, nil
}

func (b managedBroker) exportDefinitions(vhost string) *Definitions { return b.definitions(vhost) }

func (b managedBroker) importDefinitions(_ context.Context, d *Definitions, vhost string) error {
	if vhost != "" {
		for _, list := range [...]int{len(d.Users), len(d.Vhosts), len(d.Permissions)} {
			if list > 0 {
				return badRequest("definitions of one vhost have no users, vhosts and permissions")
			}
		}
	}
	return b.importInto(d, vhost)
}
