package amqpbroker

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// vhost is a virtual host. Its lock comes before those of queues.
type vhost struct {
	b          *Broker
	name       string
	record     stored
	definition VhostDefinition
	epoch      atomic.Uint64 // counts changes of what routes depend on

	mu        sync.RWMutex
	exchanges map[string]*exchange
	queues    map[string]*queue
	deleted   bool
}

// target is where a binding leads: a queue or an exchange.
type target struct {
	q *queue
	x *exchange
}

func (t target) name() string {
	if t.q != nil {
		return t.q.name
	}
	return t.x.name
}

func (t target) durable() bool {
	if t.q != nil {
		return t.q.durable
	}
	return t.x.durable
}

// bonds are the bindings that lead to something.
type bonds map[*binding[target]]*bond

// bond is a binding with its exchange.
type bond struct {
	source *exchange
	dest   target
	b      *binding[target]
	record stored
}

func newVhost(b *Broker, name string) *vhost {
	v := &vhost{b: b, name: name, exchanges: make(map[string]*exchange), queues: make(map[string]*queue)}
	for _, x := range [...]struct {
		name, kind string
		internal   bool
	}{
		{"", "direct", false}, {"amq.direct", "direct", false}, {"amq.fanout", "fanout", false}, {"amq.topic", "topic", false},
		{"amq.headers", "headers", false}, {"amq.match", "headers", false}, {"amq.rabbitmq.trace", "topic", true},
	} {
		r, err := newRouter(x.kind, nil, target.name)
		if err != nil {
			panic(err) // the types exist
		}
		v.exchanges[x.name] = &exchange{v: v, name: x.name, kind: x.kind, durable: true, internal: x.internal, router: r}
	}
	return v
}

// changed notes that routes may be other ones now.
func (v *vhost) changed() { v.epoch.Add(1) }

func (q *queue) title() string { return fmt.Sprintf("queue '%s' in vhost '%s'", q.name, q.v.name) }
func (x *exchange) title() string {
	return fmt.Sprintf("exchange '%s' in vhost '%s'", x.name, x.v.name)
}

func errNoQueue(v *vhost, name string) error {
	return amqp091.SoftError(amqp091.NotFound, "no queue '%s' in vhost '%s'", name, v.name)
}

func errNoExchange(v *vhost, name string) error {
	return amqp091.SoftError(amqp091.NotFound, "no exchange '%s' in vhost '%s'", name, v.name)
}

// exchange returns the exchange of a name, or nil.
func (v *vhost) exchange(name string) *exchange {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.exchanges[name]
}

// queue returns the queue of a name, or nil.
func (v *vhost) queue(name string) *queue {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.queues[name]
}

// queueFor returns the queue of a name for somebody: nobody else may use an exclusive queue.
func (v *vhost) queueFor(name string, s *session) (*queue, error) {
	q := v.queue(name)
	if q == nil {
		return nil, errNoQueue(v, name)
	}
	return q, q.lockedFor(s)
}

// lockedFor is the error of somebody who must not use an exclusive queue. s is nil for the program itself.
func (q *queue) lockedFor(s *session) error {
	if q.owner == nil || s == nil || q.owner == s {
		return nil
	}
	return amqp091.SoftError(amqp091.ResourceLocked, "cannot obtain exclusive access to locked %s. It could be originally declared on "+
		"another connection or the exclusive property value does not match that of the original declaration.", q.title())
}

// queueSpec is a queue as it is declared.
type queueSpec struct {
	name       string
	durable    bool
	exclusive  bool
	autoDelete bool
	args       amqp091.Table
	owner      *session
}

// checkLength checks that clients can be sent a name or a routing key. What they send is always short enough.
func checkLength(name string) error {
	if len(name) > maxKey {
		return amqp091.SoftError(amqp091.PreconditionFailed, "a name or routing key is longer than %d bytes: %.20s…", maxKey, name)
	}
	return nil
}

// randomName returns a name that nobody else has.
func randomName(prefix string) string {
	var b [16]byte
	rand.Read(b[:])
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// declareQueue returns the queue that is declared, which is made if need be.
func (v *vhost) declareQueue(bt *amqpserver.Batch, spec *queueSpec) (q *queue, created bool, err error) {
	if q := v.queue(spec.name); q != nil {
		return q, false, q.sameAs(spec)
	}
	q, err = v.newQueue(spec)
	if err != nil {
		return nil, false, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.deleted {
		return nil, false, amqp091.HardError(amqp091.NotAllowed, "vhost '%s' is down", v.name)
	}
	if old := v.queues[spec.name]; old != nil {
		return old, false, old.sameAs(spec)
	}
	if err := v.b.admitQueue(v, q); err != nil {
		return nil, false, err
	}
	q.num = v.b.nums.Add(1)
	q.configure(v.b.settingsOf(q))
	if q.durable {
		q.record = v.b.rec.define(defQueue, []string{v.name, q.name}, q.definition())
	}
	v.queues[q.name] = q
	v.changed()
	q.mu.Lock()
	q.touch(bt.Now().UnixMilli())
	q.mu.Unlock()
	if f := v.b.opts.Events.QueueDeclared; f != nil {
		f(v.name, q.name)
	}
	return q, true, nil
}

// newQueue makes a queue that nobody knows yet.
func (v *vhost) newQueue(spec *queueSpec) (*queue, error) {
	q := &queue{
		b: v.b, v: v, name: spec.name, kind: "classic", autoDelete: spec.autoDelete, args: spec.args, set: noSettings,
		durable: spec.durable && !spec.exclusive,
	}
	if err := checkLength(spec.name); err != nil {
		return nil, err
	}
	if err := checkQueueArguments(spec.args, q.title()); err != nil {
		return nil, err
	}
	if kind, ok := spec.args.Get("x-queue-type"); ok {
		q.kind = kind.(string)
	}
	if q.kind == "quorum" {
		switch {
		case !spec.durable:
			return nil, amqp091.SoftError(amqp091.PreconditionFailed, "invalid property 'non-durable' for %s", q.title())
		case spec.exclusive:
			return nil, amqp091.SoftError(amqp091.PreconditionFailed, "invalid property 'exclusive-owner' for %s", q.title())
		}
	}
	if spec.exclusive {
		q.owner = spec.owner
	}
	if n, ok := spec.args.Get("x-max-priority"); ok {
		n, _ := integer(n)
		q.maxPriority = uint8(n)
	}
	if on, ok := spec.args.Get("x-single-active-consumer"); ok {
		q.single = on.(bool)
	}
	q.levels = make([]level, int(q.maxPriority)+1)
	q.timer.owner = q
	return q, nil
}

// sameAs checks that a queue is what somebody declares.
func (q *queue) sameAs(spec *queueSpec) error {
	if err := q.lockedFor(spec.owner); err != nil {
		return err
	}
	exclusive := q.owner != nil
	switch {
	case spec.durable != q.durable && !(exclusive && spec.exclusive): // exclusive ones are never durable, whatever was asked
		return inequivalent("durable", q.title(), spec.durable, q.durable)
	case spec.autoDelete != q.autoDelete:
		return inequivalent("auto_delete", q.title(), spec.autoDelete, q.autoDelete)
	case spec.exclusive != exclusive:
		if spec.exclusive {
			return amqp091.SoftError(amqp091.ResourceLocked, "cannot obtain exclusive access to locked %s. It could be originally declared "+
				"on another connection or the exclusive property value does not match that of the original declaration.", q.title())
		}
		return inequivalent("exclusive", q.title(), spec.exclusive, exclusive)
	}
	if err := checkQueueArguments(spec.args, q.title()); err != nil {
		return err
	}
	if len(q.args) == 0 && len(spec.args) == 0 {
		return nil
	}
	var names []string
	for _, a := range queueArguments() {
		if a.equal {
			names = append(names, a.name)
		}
	}
	return sameArguments(names, q.args, spec.args, q.title())
}

// deleteQueue deletes a queue and returns how many messages were ready. It is fine when the queue has gone already.
func (v *vhost) deleteQueue(bt *amqpserver.Batch, q *queue, ifUnused, ifEmpty bool) (n int, err error) {
	return v.deleteQueueIf(bt, q, func() error {
		switch {
		case ifUnused && len(q.cs.list) > 0:
			return amqp091.SoftError(amqp091.PreconditionFailed, "%s in use", q.title())
		case ifEmpty && q.ready > 0:
			return amqp091.SoftError(amqp091.PreconditionFailed, "%s not empty", q.title())
		}
		return nil
	})
}

// deleteQueueIf is deleteQueue under a condition, which is called with the locks held.
func (v *vhost) deleteQueueIf(bt *amqpserver.Batch, q *queue, condition func() error) (n int, err error) {
	v.mu.Lock()
	if v.queues[q.name] != q {
		v.mu.Unlock()
		return 0, nil
	}
	q.mu.Lock()
	if err := condition(); err != nil {
		q.mu.Unlock()
		v.mu.Unlock()
		return 0, err
	}
	delete(v.queues, q.name)
	if q.durable {
		v.b.rec.undefine(defQueue, []string{v.name, q.name}, q.record)
		v.b.rec.forget(q)
	}
	consumers, list := q.end()
	q.mu.Unlock()
	v.unbindAll(bt, q.bonds)
	v.changed()
	v.mu.Unlock()
	if n = list.n; !v.b.spawn(list.discard) {
		list.discard()
	}
	if q.owner != nil {
		q.owner.disowns(q)
	}
	canceled(bt, consumers)
	if f := v.b.opts.Events.QueueDeleted; f != nil {
		f(v.name, q.name)
	}
	return n, nil
}

// end makes a queue one that is not there any more. It returns its consumers, and what is to be discarded. v.mu and q.mu are
// held.
func (q *queue) end() ([]*consumer, discarded) {
	discard := q.purge()
	for _, h := range q.held {
		if h.state != stateFree && (h.from == nil || q.b.rec.claim(h.from)) {
			q.gone(&h.entry)
		}
		if h.c != nil {
			h.c.held--
		}
		h.state = stateFree // it is not used again
	}
	q.held, q.free, q.acquired, q.timed = nil, nil, 0, nil
	list := q.cs.list
	for _, c := range list {
		c.state = consumerEnded
	}
	q.cs = consumers{}
	q.finish()
	q.deleted = true
	q.deadline = 0
	q.b.deadlines.set(&q.timer, 0)
	q.wakeWaiters()
	return list, discard
}

// bind binds something to an exchange, unless it is already.
func (v *vhost) bind(source string, dest target, key string, args amqp091.Table) (added bool, err error) {
	if err := checkLength(key); err != nil {
		return false, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	x := v.exchanges[source]
	if x == nil {
		return false, errNoExchange(v, source)
	}
	if dest.q != nil && v.queues[dest.q.name] != dest.q {
		return false, errNoQueue(v, dest.q.name)
	}
	if dest.x != nil && v.exchanges[dest.x.name] != dest.x {
		return false, errNoExchange(v, dest.x.name)
	}
	b, added, err := x.router.bind(dest, key, args)
	if err != nil || !added {
		return false, err
	}
	bd := &bond{source: x, dest: dest, b: b}
	if x.durable && dest.durable() {
		bd.record = v.b.rec.define(defBinding, bd.names(), bd.definition())
	}
	list := dest.bonds()
	if *list == nil {
		*list = make(bonds)
	}
	(*list)[b] = bd
	v.changed()
	return true, nil
}

func (t target) bonds() *bonds {
	if t.q != nil {
		return &t.q.bonds
	}
	return &t.x.bonds
}

// unbind removes a binding. It is fine when there is none.
func (v *vhost) unbind(bt *amqpserver.Batch, source string, dest target, key string, args amqp091.Table) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	x := v.exchanges[source]
	if x == nil {
		return nil
	}
	b := x.router.unbind(dest, key, args)
	if b == nil {
		return nil
	}
	if bd := (*dest.bonds())[b]; bd != nil {
		v.unbound(bt, bd)
	}
	return nil
}

// unbound is what follows when a binding was taken out of its exchange. v.mu is held.
func (v *vhost) unbound(bt *amqpserver.Batch, bd *bond) {
	delete(*bd.dest.bonds(), bd.b)
	if bd.record.seq != 0 {
		v.b.rec.undefine(defBinding, bd.names(), bd.record)
	}
	v.changed()
	if x := bd.source; x.autoDelete && x.router.len() == 0 && v.exchanges[x.name] == x {
		v.removeExchange(bt, x)
	}
}

// unbindAll removes bindings that lead to something that goes. v.mu is held.
func (v *vhost) unbindAll(bt *amqpserver.Batch, list bonds) {
	for b, bd := range list {
		if bd.source.router.remove(b) {
			v.unbound(bt, bd)
		}
	}
}
