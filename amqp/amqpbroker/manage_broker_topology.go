package amqpbroker

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

func (b managedBroker) queueNames(name string) []string {
	v := b.vhost(name)
	if v == nil {
		return nil
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	return slices.Sorted(maps.Keys(v.queues))
}

func (b managedBroker) queueView(vhost, name string) (queueView, bool) {
	v := b.vhost(vhost)
	if v == nil {
		return queueView{}, false
	}
	q := v.queue(name)
	if q == nil {
		return queueView{}, false
	}
	e := b.reg.policyFor(vhost, resourceQueue, q.kind, name)
	return q.view(&e), true
}

// view describes a queue.
func (q *queue) view(e *effectivePolicy) queueView {
	view := queueView{
		Name: q.name, Vhost: q.v.name, Type: q.kind, State: "running", Durable: q.durable, AutoDelete: q.autoDelete,
		Exclusive: q.owner != nil, Arguments: Arguments(q.args), Effective: Arguments(e.definition), Stats: &messageStats{},
	}
	policy, operator := e.names()
	if policy != "" {
		view.Policy = &policy
	}
	if operator != "" {
		view.Operator = &operator
	}
	if q.owner != nil {
		d := q.owner.details()
		view.Owner = &d
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	view.queueTotals.set(q.ready, q.acquired)
	view.Consumers = len(q.cs.list)
	if view.Consumers > 0 && q.cs.open > 0 {
		view.Utilisation, view.Capacity = 1, 1 // somebody could take more at any time
	}
	if q.cs.sole != nil {
		tag := q.cs.sole.tag
		view.ExclusiveTag = &tag
	}
	if q.cs.active != nil {
		tag := q.cs.active.tag
		view.SingleActive = &tag
	}
	view.BytesReady = q.bytes
	for _, h := range q.held {
		if h.state == stateAcquired {
			view.BytesUnacked += h.m.length()
		}
	}
	view.Bytes = view.BytesReady + view.BytesUnacked
	view.RAM, view.BytesRAM = q.hot+q.acquired, q.hotBytes+view.BytesUnacked
	view.Paged = q.ready - q.hot
	view.BytesPaged = max(q.bytes-q.hotBytes, 0)
	view.Memory = view.BytesRAM
	if view.Consumers == 0 && q.used != 0 {
		view.IdleSince = time.UnixMilli(q.used).UTC().Format("2006-01-02T15:04:05.000-07:00")
	}
	view.Stats.add(&q.counts)
	return view
}

// on checks a permission of a user.
func (b managedBroker) on(user, vhost string, op accessOp, kind resourceKind, name string) error {
	return b.reg.permit(user, vhost).check(op, kind, name)
}

// toDeadLetter checks that a user may let messages go from something to an exchange that an argument names.
func (b managedBroker) toDeadLetter(user, vhost string, kind resourceKind, from string, args Arguments, arg string) error {
	v, _ := amqp091.Table(args).Get(arg)
	to, ok := v.(string)
	if !ok {
		return nil
	}
	if err := b.on(user, vhost, opRead, kind, from); err != nil {
		return err
	}
	return b.on(user, vhost, opWrite, resourceExchange, to)
}

func (b managedBroker) putQueue(ctx context.Context, user string, d QueueDefinition) (isNew bool, err error) {
	v, err := b.vhostOf(d.Vhost)
	if err != nil {
		return false, err
	}
	if err := checkName(d.Name); err != nil {
		return false, err
	}
	isNew = v.queue(d.Name) == nil
	if isNew {
		if err := reserved("queue", d.Name); err != nil {
			return false, err
		}
	}
	if err := b.on(user, d.Vhost, opConfigure, resourceQueue, d.Name); err != nil {
		return false, err
	}
	if err := b.toDeadLetter(user, d.Vhost, resourceQueue, d.Name, d.Arguments, "x-dead-letter-exchange"); err != nil {
		return false, err
	}
	_, err = b.DeclareQueue(ctx, d.Vhost, Queue{Name: d.Name, Durable: d.Durable, AutoDelete: d.AutoDelete, Arguments: amqp091.Table(d.Arguments)})
	return isNew, err
}

// queueOfUser returns a queue that a user may do something with. Nobody may do anything with exclusive ones here.
func (b managedBroker) queueOfUser(user, vhost, name string, op accessOp) (*queue, error) {
	if err := b.on(user, vhost, op, resourceQueue, name); err != nil {
		return nil, err
	}
	q, err := b.queueOf(vhost, name)
	if err != nil {
		return nil, err
	}
	return q, q.lockedFor(&session{})
}

func (b managedBroker) dropQueue(ctx context.Context, user, vhost, name string, ifUnused, ifEmpty bool) error {
	q, err := b.queueOfUser(user, vhost, name, opConfigure)
	if err != nil {
		return err
	}
	bt := amqpserver.NewBatch()
	_, err = q.v.deleteQueue(bt, q, ifUnused, ifEmpty)
	b.done(bt)
	if err != nil {
		return err
	}
	return b.durable(ctx)
}

func (b managedBroker) purgeQueue(ctx context.Context, user, vhost, name string) error {
	if _, err := b.queueOfUser(user, vhost, name, opRead); err != nil {
		return err
	}
	_, err := b.PurgeQueue(ctx, vhost, name)
	return err
}

func (b managedBroker) exchangeNames(name string) []string {
	v := b.vhost(name)
	if v == nil {
		return nil
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	return slices.Sorted(maps.Keys(v.exchanges))
}

func (b managedBroker) exchangeView(vhost, name string) (exchangeView, bool) {
	v := b.vhost(vhost)
	if v == nil {
		return exchangeView{}, false
	}
	x := v.exchange(name)
	if x == nil {
		return exchangeView{}, false
	}
	view := exchangeView{
		Name: x.name, Vhost: vhost, Type: x.kind, Durable: x.durable, AutoDelete: x.autoDelete, Internal: x.internal,
		Arguments: Arguments(x.args),
	}
	if isBuiltIn(name) {
		view.Who = "rmq-internal"
	}
	if name != "" {
		e := b.reg.policyFor(vhost, resourceExchange, "", name)
		if policy, _ := e.names(); policy != "" {
			view.Policy = &policy
		}
	}
	if in, out := x.in.Load(), x.out.Load(); in > 0 {
		view.Stats = &exchangeStats{In: in, Out: out}
	}
	return view, true
}

func (b managedBroker) putExchange(ctx context.Context, user string, d ExchangeDefinition) (isNew bool, err error) {
	v, err := b.vhostOf(d.Vhost)
	if err != nil {
		return false, err
	}
	if err := checkName(d.Name); err != nil {
		return false, err
	}
	isNew = v.exchange(d.Name) == nil
	if isNew {
		if err := reserved("exchange", d.Name); err != nil {
			return false, err
		}
	}
	if err := b.on(user, d.Vhost, opConfigure, resourceExchange, d.Name); err != nil {
		return false, err
	}
	if err := b.toDeadLetter(user, d.Vhost, resourceExchange, d.Name, d.Arguments, "alternate-exchange"); err != nil {
		return false, err
	}
	return isNew, b.DeclareExchange(ctx, d.Vhost, Exchange{
		Name: d.Name, Type: d.Type, Durable: d.Durable, AutoDelete: d.AutoDelete, Internal: d.Internal, Arguments: amqp091.Table(d.Arguments),
	})
}

func (b managedBroker) dropExchange(ctx context.Context, user, vhost, name string, ifUnused bool) error {
	v, err := b.vhostOf(vhost)
	if err != nil {
		return err
	}
	if err := b.on(user, vhost, opConfigure, resourceExchange, name); err != nil {
		return err
	}
	bt := amqpserver.NewBatch()
	err = v.deleteExchange(bt, name, ifUnused)
	b.done(bt)
	if err != nil {
		return err
	}
	return b.durable(ctx)
}

func (b managedBroker) bindingsFrom(vhost, name string) (out []BindingDefinition) {
	v := b.vhost(vhost)
	if v == nil {
		return nil
	}
	if name == "" {
		for _, q := range b.queueNames(vhost) {
			out = append(out, defaultBinding(vhost, q))
		}
		return out
	}
	x := v.exchange(name)
	if x == nil {
		return nil
	}
	for _, bd := range x.router.bindings() {
		out = append(out, describeBinding(x, bd))
	}
	return out
}

// defaultBinding is how every queue is bound to the default exchange.
func defaultBinding(vhost, queue string) BindingDefinition {
	return BindingDefinition{Vhost: vhost, Destination: queue, DestinationType: destinationQueue, RoutingKey: queue}
}

func describeBinding(source *exchange, bd *binding[target]) BindingDefinition {
	kind := destinationQueue
	if bd.dest.x != nil {
		kind = destinationExchange
	}
	return BindingDefinition{
		Source: source.name, Vhost: source.v.name, Destination: bd.dest.name(), DestinationType: kind, RoutingKey: bd.key,
		Arguments: Arguments(bd.args),
	}
}

func (b managedBroker) bindingsTo(vhost, kind, name string) (out []BindingDefinition) {
	v := b.vhost(vhost)
	if v == nil {
		return nil
	}
	var dest target
	if kind == destinationExchange {
		if dest.x = v.exchange(name); dest.x == nil {
			return nil
		}
	} else {
		if dest.q = v.queue(name); dest.q == nil {
			return nil
		}
		out = append(out, defaultBinding(vhost, name))
	}
	v.mu.RLock()
	list := slices.Collect(maps.Values(*dest.bonds()))
	v.mu.RUnlock()
	slices.SortFunc(list, func(a, b *bond) int {
		return cmp.Or(cmp.Compare(a.source.name, b.source.name), cmp.Compare(a.b.seq, b.b.seq))
	})
	for _, bd := range list {
		out = append(out, describeBinding(bd.source, bd.b))
	}
	return out
}

// bindable checks that a user may make or remove a binding.
func (b managedBroker) bindable(user string, d *BindingDefinition) error {
	kind := resourceQueue
	if d.DestinationType == destinationExchange {
		kind = resourceExchange
	}
	if err := checkName(d.RoutingKey); err != nil {
		return err
	}
	if d.Source == "" || kind == resourceExchange && d.Destination == "" {
		return errDefaultExchange()
	}
	if err := b.on(user, d.Vhost, opWrite, kind, d.Destination); err != nil {
		return err
	}
	if err := b.on(user, d.Vhost, opRead, resourceExchange, d.Source); err != nil {
		return err
	}
	v, err := b.vhostOf(d.Vhost)
	if err != nil {
		return err
	}
	if kind == resourceQueue {
		if q := v.queue(d.Destination); q != nil {
			if err := q.lockedFor(&session{}); err != nil {
				return err
			}
		}
	}
	if x := v.exchange(d.Source); x != nil && x.router.kind == kindTopic {
		return b.reg.permit(user, d.Vhost).checkTopic(opRead, x.name, []byte(d.RoutingKey))
	}
	return nil
}

func (d *BindingDefinition) binding() Binding {
	return Binding{
		Source: d.Source, Destination: d.Destination, ToExchange: d.DestinationType == destinationExchange, RoutingKey: d.RoutingKey,
		Arguments: amqp091.Table(d.Arguments),
	}
}

func (b managedBroker) putBinding(ctx context.Context, user string, d BindingDefinition) error {
	if err := b.bindable(user, &d); err != nil {
		return err
	}
	return b.Bind(ctx, d.Vhost, d.binding())
}

func (b managedBroker) dropBinding(ctx context.Context, user string, d BindingDefinition) error {
	if err := b.bindable(user, &d); err != nil {
		return err
	}
	return b.Unbind(ctx, d.Vhost, d.binding())
}
