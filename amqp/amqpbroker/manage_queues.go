package amqpbroker

import (
	"errors"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

func (c *call) queues() (any, error) {
	var list []queueName
	for _, vhost := range c.vhosts() {
		for _, name := range c.m.b.queueNames(vhost) {
			list = append(list, queueName{name, vhost})
		}
	}
	return listing{len(list), func(i int) string { return list[i].Name }, func(i int) any {
		v, ok := c.m.b.queueView(list[i].Vhost, list[i].Name)
		if !ok {
			return list[i] // it went just now
		}
		c.finish(&v)
		return v
	}}, nil
}

// finish adds what only the handler knows.
func (c *call) finish(v *queueView) {
	v.Node = c.m.node
	if c.r.URL.Query().Has("lengths_age") {
		v.queueTotals.sampled(time.Now())
	}
	if v.Stats != nil {
		c.m.rates.apply(rateKey{v.Vhost, v.Name}, v.Stats, time.Now())
	}
	for _, o := range v.ConsumerList {
		o.Channel.Node = c.m.node
	}
}

func (c *call) getQueue() (any, error) {
	v, ok := c.m.b.queueView(c.vars["vhost"], c.vars["queue"])
	if !ok {
		return nil, errNotFound
	}
	v.ConsumerList = []*consumerView{}
	for _, o := range c.m.b.consumerViews(v.Vhost) {
		if o.Queue.Name == v.Name {
			v.ConsumerList = append(v.ConsumerList, o)
		}
	}
	v.Incoming, v.Deliveries = []any{}, []any{}
	c.finish(&v)
	return v, nil
}

func (c *call) putQueue() (any, error) {
	in, err := c.body()
	if err != nil {
		return nil, err
	}
	q := QueueDefinition{Name: c.vars["queue"], Vhost: c.vars["vhost"]}
	if q.Durable, err = in.flag("durable"); err != nil {
		return nil, err
	}
	if q.AutoDelete, err = in.flag("auto_delete"); err != nil {
		return nil, err
	}
	if q.Arguments, err = in.arguments(); err != nil {
		return nil, err
	}
	isNew, err := c.m.b.putQueue(c.r.Context(), c.user.Name, q)
	if err != nil {
		return nil, err
	}
	return created(isNew), nil
}

func (c *call) deleteQueue() (any, error) {
	if _, ok := c.m.b.queueView(c.vars["vhost"], c.vars["queue"]); !ok {
		return nil, errNotFound
	}
	err := c.m.b.dropQueue(c.r.Context(), c.user.Name, c.vars["vhost"], c.vars["queue"], c.yes("if-unused"), c.yes("if-empty"))
	if err != nil {
		return nil, err
	}
	return deleted, nil
}

func (c *call) purgeQueue() (any, error) {
	if _, ok := c.m.b.queueView(c.vars["vhost"], c.vars["queue"]); !ok {
		return nil, errNotFound
	}
	if err := c.m.b.purgeQueue(c.r.Context(), c.user.Name, c.vars["vhost"], c.vars["queue"]); err != nil {
		return nil, err
	}
	return deleted, nil
}

// queueAction does nothing: there is nothing to synchronize.
func (c *call) queueAction() (any, error) {
	in, err := c.body("action")
	if err != nil {
		return nil, err
	}
	switch action, err := in.text("action"); {
	case err != nil:
		return nil, err
	case action == "sync", action == "cancel_sync":
		return deleted, nil
	default:
		return nil, badRequest([]string{"unknown", action})
	}
}

func (c *call) exchanges() (any, error) {
	var list []queueName
	for _, vhost := range c.vhosts() {
		for _, name := range c.m.b.exchangeNames(vhost) {
			list = append(list, queueName{name, vhost})
		}
	}
	return listing{len(list), func(i int) string { return list[i].Name }, func(i int) any {
		v, ok := c.m.b.exchangeView(list[i].Vhost, list[i].Name)
		if !ok {
			return list[i]
		}
		return v
	}}, nil
}

// exchange is the name of the exchange of the path: the default one has a name here.
func (c *call) exchange() string {
	if name := c.vars["exchange"]; name != "amq.default" {
		return name
	}
	return ""
}

func (c *call) getExchange() (any, error) {
	v, ok := c.m.b.exchangeView(c.vars["vhost"], c.exchange())
	if !ok {
		return nil, errNotFound
	}
	v.Incoming, v.Outgoing = []any{}, []any{}
	return v, nil
}

func (c *call) putExchange() (any, error) {
	in, err := c.body()
	if err != nil {
		return nil, err
	}
	x := ExchangeDefinition{Name: c.exchange(), Vhost: c.vars["vhost"]}
	if x.Type, err = in.text("type"); err != nil {
		return nil, err
	}
	if x.Type == "" {
		x.Type = "direct"
	}
	if x.Durable, err = in.flag("durable"); err != nil {
		return nil, err
	}
	if x.AutoDelete, err = in.flag("auto_delete"); err != nil {
		return nil, err
	}
	if x.Internal, err = in.flag("internal"); err != nil {
		return nil, err
	}
	if x.Arguments, err = in.arguments(); err != nil {
		return nil, err
	}
	isNew, err := c.m.b.putExchange(c.r.Context(), c.user.Name, x)
	if err != nil {
		return nil, err
	}
	return created(isNew), nil
}

func (c *call) deleteExchange() (any, error) {
	if _, ok := c.m.b.exchangeView(c.vars["vhost"], c.exchange()); !ok {
		return nil, errNotFound
	}
	if err := c.m.b.dropExchange(c.r.Context(), c.user.Name, c.vars["vhost"], c.exchange(), c.yes("if-unused")); err != nil {
		return nil, err
	}
	return deleted, nil
}

// aliveness declares a queue, publishes and gets a message.
func (c *call) aliveness() (any, error) {
	const name = "aliveness-test"
	vhost, ctx := c.vars["vhost"], c.r.Context()
	_, err := c.m.b.putQueue(ctx, c.user.Name, QueueDefinition{Name: name, Vhost: vhost})
	if err == nil {
		_, err = c.m.b.publishMessage(ctx, c.user.Name, vhost, "", name, nil, []byte("test_message"))
	}
	if err == nil {
		_, err = c.m.b.getMessages(ctx, c.user.Name, vhost, name, 1, getAckRemove)
	}
	if err != nil {
		reason := "failed"
		if e, ok := errors.AsType[*amqp091.Error](err); ok {
			reason = e.Text
		}
		return healthView{Status: "failed", Reason: reason}, nil
	}
	return c.healthOK()
}
