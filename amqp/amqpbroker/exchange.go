package amqpbroker

import (
	"strings"
	"sync/atomic"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// exchange is an exchange. But for the counters it does not change.
type exchange struct {
	v          *vhost
	name       string
	kind       string // as declared
	durable    bool
	autoDelete bool
	internal   bool
	args       amqp091.Table
	router     *router[target]
	alternate  atomic.Pointer[string] // the alternate exchange, of the arguments or a policy
	delayed    *delayed               // of an x-delayed-message exchange
	record     stored
	bonds      bonds // by which messages come to it; v.mu guards it

	in, out atomic.Uint64 // messages published to it, and routed by it
}

const delayedKind = "x-delayed-message"

// exchangeSpec is an exchange as it is declared.
type exchangeSpec struct {
	name       string
	kind       string
	durable    bool
	autoDelete bool
	internal   bool
	args       amqp091.Table
}

// declareExchange returns the exchange that is declared, which is made if need be.
func (v *vhost) declareExchange(spec *exchangeSpec) (x *exchange, created bool, err error) {
	if x := v.exchange(spec.name); x != nil {
		return x, false, x.sameAs(spec)
	}
	x, err = v.newExchange(spec)
	if err != nil {
		return nil, false, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.deleted {
		return nil, false, amqp091.HardError(amqp091.NotAllowed, "vhost '%s' is down", v.name)
	}
	if old := v.exchanges[spec.name]; old != nil {
		return old, false, old.sameAs(spec)
	}
	if x.delayed != nil {
		x.delayed.num = v.b.nums.Add(1)
	}
	if x.durable {
		x.record = v.b.rec.define(defExchange, []string{v.name, x.name}, x.definition())
	}
	v.b.applyPolicy(x)
	v.exchanges[x.name] = x
	v.changed()
	if f := v.b.opts.Events.ExchangeDeclared; f != nil {
		f(v.name, x.name)
	}
	return x, true, nil
}

// newExchange makes an exchange that nobody knows yet.
func (v *vhost) newExchange(spec *exchangeSpec) (*exchange, error) {
	x := &exchange{
		v: v, name: spec.name, kind: spec.kind, durable: spec.durable, autoDelete: spec.autoDelete, internal: spec.internal, args: spec.args,
	}
	if err := checkLength(spec.name); err != nil {
		return nil, err
	}
	kind := spec.kind
	if kind == delayedKind {
		arg, _ := spec.args.Get("x-delayed-type")
		kind, _ = arg.(string)
		if exchangeKinds[kind] == 0 {
			return nil, amqp091.SoftError(amqp091.PreconditionFailed, "Invalid argument, 'x-delayed-type' must be an existing exchange type")
		}
		x.delayed = newDelayed(x)
	}
	var err error
	if x.router, err = newRouter(kind, spec.args, target.name); err != nil {
		return nil, err
	}
	if ae, ok := spec.args.Get("alternate-exchange"); ok {
		if name, ok := ae.(string); ok {
			x.alternate.Store(&name)
		} else {
			return nil, amqp091.SoftError(amqp091.PreconditionFailed, "invalid arg 'alternate-exchange' for %s: %s", x.title(), badType(ae))
		}
	}
	return x, nil
}

// sameAs checks that an exchange is what somebody declares.
func (x *exchange) sameAs(spec *exchangeSpec) error {
	switch {
	case spec.kind != x.kind:
		return inequivalent("type", x.title(), spec.kind, x.kind)
	case spec.durable != x.durable:
		return inequivalent("durable", x.title(), spec.durable, x.durable)
	case spec.autoDelete != x.autoDelete:
		return inequivalent("auto_delete", x.title(), spec.autoDelete, x.autoDelete)
	case spec.internal != x.internal:
		return inequivalent("internal", x.title(), spec.internal, x.internal)
	}
	return sameArguments([]string{"alternate-exchange", "x-delayed-type"}, x.args, spec.args, x.title())
}

// deleteExchange deletes the exchange of a name. It is fine when there is none.
func (v *vhost) deleteExchange(bt *amqpserver.Batch, name string, ifUnused bool) error {
	if name == "" {
		return errDefaultExchange()
	}
	if strings.HasPrefix(name, "amq.") {
		return amqp091.SoftError(amqp091.AccessRefused, "deletion of system exchange '%s' in vhost '%s' not allowed", name, v.name)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	x := v.exchanges[name]
	if x == nil {
		return nil
	}
	if ifUnused && x.router.len() > 0 {
		return amqp091.SoftError(amqp091.PreconditionFailed, "%s in use", x.title())
	}
	v.removeExchange(bt, x)
	return nil
}

// removeExchange removes an exchange with its bindings. v.mu is held.
func (v *vhost) removeExchange(bt *amqpserver.Batch, x *exchange) {
	delete(v.exchanges, x.name)
	for _, b := range x.router.bindings() {
		if bd := (*b.dest.bonds())[b]; bd != nil && x.router.remove(b) {
			v.unbound(bt, bd)
		}
	}
	v.unbindAll(bt, x.bonds)
	if x.durable {
		v.b.rec.undefine(defExchange, []string{v.name, x.name}, x.record)
	}
	if x.delayed != nil {
		x.delayed.end()
	}
	v.changed()
	if f := v.b.opts.Events.ExchangeDeleted; f != nil {
		f(v.name, x.name)
	}
}

func errDefaultExchange() error {
	return amqp091.SoftError(amqp091.AccessRefused, "operation not permitted on the default exchange")
}
