package amqpclient091

import (
	"slices"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// Exchange is an exchange to declare.
type Exchange struct {
	Name string
	// Kind is "direct", "topic", "fanout", "headers", or a kind of the server's own. Empty is "direct".
	Kind       string
	Durable    bool // survives a restart of the server
	AutoDelete bool // is deleted when the last binding from it is
	Internal   bool // takes messages from other exchanges only
	Arguments  amqp091.Table
}

// Queue is a queue to declare.
type Queue struct {
	// Name is the name. Empty lets the server choose one, and another one after each reconnection: see Alias.
	Name string
	// Alias stands for the name in every call of the client, such as Bind and Consume, and in Binding. It never leaves the
	// client. It is for queues that the server names, so that bindings can be written down before the name is known.
	Alias      string
	Durable    bool // survives a restart of the server
	Exclusive  bool // for this connection only, and deleted with it
	AutoDelete bool // is deleted when the last consumer ends
	Arguments  amqp091.Table
}

// Binding is a binding from an exchange to a queue, or to another exchange.
type Binding struct {
	Source    string // an exchange
	Queue     string // the destination: the name or Alias of a queue, or
	Exchange  string // an exchange
	Key       string // the routing key, whose meaning depends on the exchange
	Arguments amqp091.Table
}

// Topology is what [Client.Declare] declares: exchanges first, then queues, then bindings.
type Topology struct {
	Exchanges []Exchange
	Queues    []Queue
	Bindings  []Binding
}

// QueueInfo is what the server says about a queue.
type QueueInfo struct {
	Name      string // the real one
	Messages  uint32 // ready for delivery
	Consumers uint32
}

// DeleteOptions are the options of DeleteQueue and DeleteExchange.
type DeleteOptions struct {
	// IfUnused refuses to delete a queue with consumers, or an exchange with bindings.
	IfUnused bool
	// IfEmpty refuses to delete a queue with messages.
	IfEmpty bool
}

// records is what the client has declared, so that it can be declared again. Client.mu guards it.
type records struct {
	exchanges []*exchangeRecord
	queues    []*queueRecord
	bindings  []*bindingRecord
	names     map[string]*queueRecord // by name, alias and earlier names
}

type exchangeRecord struct{ Exchange }

type queueRecord struct {
	Queue          // Name is as declared
	name  string   // the real one
	known []string // keys in names
}

type bindingRecord struct {
	Binding
	queue *queueRecord // of the destination, if this client has declared it
}

// maxNames is how many names a queue that the server names is known by.
const maxNames = 64

// resolve returns the real name of a queue.
func (r *records) resolve(name string) string {
	if q := r.names[name]; q != nil {
		return q.name
	}
	return name
}

// queue returns the record of a queue, or nil.
func (r *records) queue(name string) *queueRecord { return r.names[name] }

func (r *records) addExchange(x Exchange) {
	for _, old := range r.exchanges {
		if old.Name == x.Name {
			old.Exchange = x
			return
		}
	}
	r.exchanges = append(r.exchanges, &exchangeRecord{x})
}

// addQueue records a queue under its real name.
func (r *records) addQueue(q Queue, name string) {
	rec := r.names[name]
	if rec == nil && q.Alias != "" {
		rec = r.names[q.Alias]
	}
	if rec == nil {
		rec = new(queueRecord)
		r.queues = append(r.queues, rec)
	}
	if q.Alias == "" {
		q.Alias = rec.Alias
	}
	rec.Queue = q
	r.rename(rec, name)
	if q.Alias != "" {
		r.learn(rec, q.Alias)
	}
}

// rename gives a queue its real name.
func (r *records) rename(q *queueRecord, name string) {
	q.name = name
	r.learn(q, name)
}

// learn makes name stand for q.
func (r *records) learn(q *queueRecord, name string) {
	if r.names[name] == q {
		return
	}
	if r.names == nil {
		r.names = make(map[string]*queueRecord)
	}
	r.names[name] = q
	if len(q.known) >= maxNames { // the first names are those that a program has most likely kept
		i := len(q.known) - 1
		delete(r.names, q.known[i])
		q.known = q.known[:i]
	}
	q.known = append(q.known, name)
}

func (r *records) addBinding(b Binding) {
	rec := &bindingRecord{Binding: b}
	if b.Exchange == "" {
		rec.queue = r.names[b.Queue]
	}
	for _, old := range r.bindings {
		if old.same(rec) {
			return
		}
	}
	r.bindings = append(r.bindings, rec)
}

// same reports whether two records are of one binding.
func (b *bindingRecord) same(o *bindingRecord) bool {
	return b.Source == o.Source && b.Exchange == o.Exchange && b.Key == o.Key && b.queue == o.queue &&
		(b.queue != nil || b.Queue == o.Queue) && b.Arguments.Equal(o.Arguments)
}

// destination is the real name of a queue, or the exchange.
func (b *bindingRecord) destination() string {
	switch {
	case b.Exchange != "":
		return b.Exchange
	case b.queue != nil:
		return b.queue.name
	}
	return b.Queue
}

func (r *records) removeExchange(name string) {
	r.exchanges = slices.DeleteFunc(r.exchanges, func(x *exchangeRecord) bool { return x.Name == name })
	r.bindings = slices.DeleteFunc(r.bindings, func(b *bindingRecord) bool {
		return b.Source == name || b.Exchange == name
	})
}

func (r *records) removeQueue(name string) {
	q := r.names[name]
	if q != nil {
		for _, n := range q.known {
			delete(r.names, n)
		}
		r.queues = slices.DeleteFunc(r.queues, func(o *queueRecord) bool { return o == q })
	}
	r.removeBindings(func(b *bindingRecord) bool {
		return b.Exchange == "" && b.queue == q && (q != nil || b.Queue == name)
	})
}

func (r *records) removeBinding(b Binding) {
	rec := &bindingRecord{Binding: b}
	if b.Exchange == "" {
		rec.queue = r.names[b.Queue]
	}
	r.removeBindings(func(o *bindingRecord) bool { return o.same(rec) })
}

// removeBindings forgets bindings, and the exchanges that are deleted with their last one.
func (r *records) removeBindings(which func(*bindingRecord) bool) {
	var sources []string
	r.bindings = slices.DeleteFunc(r.bindings, func(b *bindingRecord) bool {
		if which(b) {
			sources = append(sources, b.Source)
			return true
		}
		return false
	})
	for _, name := range sources {
		i := slices.IndexFunc(r.exchanges, func(x *exchangeRecord) bool { return x.Name == name })
		bound := slices.ContainsFunc(r.bindings, func(b *bindingRecord) bool { return b.Source == name })
		if i >= 0 && r.exchanges[i].AutoDelete && !bound {
			r.removeExchange(name)
		}
	}
}

// forgetAutoDelete forgets a queue that the server has deleted with its last consumer. c.mu is held.
func (c *Client) forgetAutoDelete(name string) {
	q := c.records.queue(name)
	if q == nil || !q.AutoDelete {
		return
	}
	for _, h := range c.channels {
		for _, s := range h.consumers {
			if c.records.queue(s.queue) == q {
				return
			}
		}
	}
	c.records.removeQueue(name)
}
