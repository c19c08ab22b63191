package amqpbroker

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// durable waits until everything recorded so far is durable.
func (b *Broker) durable(ctx context.Context) error {
	if b.rec == nil {
		return nil
	}
	done := make(chan Outcome, 1)
	b.rec.wait(Token{then: func(_ *amqpserver.Batch, o Outcome, _ bool) { done <- o }})
	select {
	case o := <-done:
		if o != Done {
			return errJournal()
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// AddVhost makes a virtual host, unless there is one of that name.
func (b *Broker) AddVhost(name string) error { return b.SetVhost(VhostDefinition{Name: name}) }

// SetVhost makes a virtual host, or changes the description of the one that there is.
func (b *Broker) SetVhost(d VhostDefinition) error {
	data, err := json.Marshal(d)
	if err != nil {
		return err
	}
	created := b.setVhost(d, data)
	if f := b.opts.Events.VhostCreated; f != nil && created {
		f(d.Name)
	}
	return b.durable(context.Background())
}

// setVhost is SetVhost but for telling about it.
func (b *Broker) setVhost(d VhostDefinition, data []byte) (created bool) {
	b.hosting.Lock()
	defer b.hosting.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.vhosts[d.Name]
	created = v == nil
	if created {
		v = newVhost(b, d.Name)
		b.vhosts[d.Name] = v
	}
	v.definition = d
	v.record = b.rec.redefine(defVhost, []string{d.Name}, data, v.record)
	return created
}

// DeleteVhost deletes a virtual host with everything in it. Its connections are closed.
func (b *Broker) DeleteVhost(name string) error {
	if err := b.deleteVhost(name); err != nil {
		return err
	}
	if f := b.opts.Events.VhostDeleted; f != nil {
		f(name)
	}
	return b.durable(context.Background())
}

// deleteVhost is DeleteVhost but for telling about it. Until it is done there can be no other one of that name, of which the
// records of this one's end would be taken to tell.
func (b *Broker) deleteVhost(name string) error {
	b.hosting.Lock()
	defer b.hosting.Unlock()
	b.mu.Lock()
	v := b.vhosts[name]
	if v == nil {
		b.mu.Unlock()
		return errNoVhost(name)
	}
	delete(b.vhosts, name)
	var list []*session
	for s := range b.sessions {
		if s.v == v {
			list = append(list, s)
		}
	}
	b.mu.Unlock()
	bt := amqpserver.NewBatch()
	for _, s := range list {
		s.conn.Close(bt, amqp091.HardError(amqp091.ConnectionForced, "vhost '%s' is deleted", name))
	}
	v.end(bt)
	bt.Flush()
	for _, s := range b.reg.ofVhost(name) {
		if err := b.set(s); err != nil {
			return err
		}
	}
	b.rec.undefine(defVhost, []string{name}, v.record)
	return nil
}

// end deletes everything in a virtual host.
func (v *vhost) end(bt *amqpserver.Batch) {
	v.mu.Lock()
	v.deleted = true
	queues := slices.Collect(maps.Values(v.queues))
	v.mu.Unlock()
	for _, q := range queues {
		_, _ = v.deleteQueue(bt, q, false, false) // it cannot be refused
	}
	v.mu.Lock()
	for _, x := range v.exchanges {
		if x.record.seq != 0 || x.delayed != nil {
			v.removeExchange(bt, x)
		}
	}
	v.mu.Unlock()
}

// Vhosts returns the names of the virtual hosts, sorted.
func (b *Broker) Vhosts() []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.Sorted(maps.Keys(b.vhosts))
}

// set writes a setting down, which was checked, and makes it effective. Who is to know that it is durable calls durable.
func (b *Broker) set(s setting) error {
	b.setting.Lock()
	defer b.setting.Unlock()
	if err := b.reg.apply(s); err != nil {
		return err
	}
	key := settingKey{s.Kind, s.Vhost, s.Name, s.Sub}
	names := []string{string(s.Kind), s.Vhost, s.Name, s.Sub}
	if s.Value == nil {
		b.rec.undefine(defSetting, names, b.recorded[key])
		delete(b.recorded, key)
	} else {
		b.recorded[key] = b.rec.redefine(defSetting, names, s.Value, b.recorded[key])
	}
	if s.Kind == settingPolicy || s.Kind == settingOperatorPolicy {
		b.reapply(s.Vhost)
	}
	return nil
}

// reapply gives the queues and exchanges of a virtual host what its policies say now.
func (b *Broker) reapply(vhost string) {
	v := b.vhost(vhost)
	if v == nil {
		return
	}
	v.mu.RLock()
	queues := slices.Collect(maps.Values(v.queues))
	for _, x := range v.exchanges {
		b.applyPolicy(x)
	}
	v.mu.RUnlock()
	v.changed()
	bt := amqpserver.NewBatch()
	for _, q := range queues {
		set := b.settingsOf(q)
		q.mu.Lock()
		if !q.deleted && q.set != set {
			q.configure(set)
			q.touch(q.used)
			if q.acquired > 0 && q.timeout() > 0 { // perhaps it is late now
				q.late = bt.Now().UnixMilli()
				q.arm(q.late)
			}
			q.trim(bt)
		}
		q.unlock()
	}
	b.bury(bt)
	bt.Flush()
}

// admitQueue checks the limit of queues of a virtual host, whose lock is held.
func (b *Broker) admitQueue(v *vhost, q *queue) error {
	return b.reg.checkQueues(v.name, q.name, len(v.queues))
}

// change sets settings and waits until they are durable.
func (b *Broker) change(list ...setting) error {
	for _, s := range list {
		if err := b.set(s); err != nil {
			return err
		}
	}
	return b.durable(context.Background())
}

// SetUser makes or changes a user. See [HashPassword].
func (b *Broker) SetUser(u User) error {
	s, err := userSetting(u)
	if err != nil {
		return err
	}
	return b.change(s)
}

// DeleteUser deletes a user with the permissions. The user's connections are closed.
func (b *Broker) DeleteUser(name string) error {
	if err := b.change(b.reg.ofUser(name)...); err != nil {
		return err
	}
	bt := amqpserver.NewBatch()
	b.mu.RLock()
	for s := range b.sessions {
		if s.user == name {
			s.conn.Close(bt, amqp091.HardError(amqp091.ConnectionForced, "user '%s' is deleted", name))
		}
	}
	b.mu.RUnlock()
	bt.Flush()
	return nil
}

// SetPermission sets what a user may do in a virtual host.
func (b *Broker) SetPermission(p Permission) error {
	s, err := permissionSetting(p)
	if err != nil {
		return err
	}
	return b.change(s)
}

// SetPolicy makes or changes a policy.
func (b *Broker) SetPolicy(p Policy) error {
	s, err := policySetting(p, false)
	if err != nil {
		return err
	}
	return b.change(s)
}

// SetOperatorPolicy makes or changes a policy of an operator.
func (b *Broker) SetOperatorPolicy(p Policy) error {
	s, err := policySetting(p, true)
	if err != nil {
		return err
	}
	return b.change(s)
}

// DeletePolicy deletes a policy.
func (b *Broker) DeletePolicy(vhost, name string) error {
	return b.change(setting{Kind: settingPolicy, Vhost: vhost, Name: name})
}

// Import adds what definitions have to what there is; what is there already is changed, but for queues and exchanges, which
// must be the same. It stops at the first error.
func (b *Broker) Import(d *Definitions) error { return b.importInto(d, "") }

// importInto is Import into one virtual host, unless into is empty.
func (b *Broker) importInto(d *Definitions, into string) error {
	list, err := d.settings(into)
	if err != nil {
		return err
	}
	for _, v := range d.Vhosts {
		if err := b.SetVhost(v); err != nil {
			return err
		}
	}
	for _, s := range list {
		if err := b.set(s); err != nil {
			return err
		}
	}
	in := func(own string) (*vhost, error) { return b.vhostOf(cmp.Or(into, own)) }
	bt := amqpserver.NewBatch()
	defer bt.Flush()
	for _, x := range d.Exchanges {
		v, err := in(x.Vhost)
		if err != nil {
			return err
		}
		spec := exchangeSpec{
			name: x.Name, kind: x.Type, durable: x.Durable, autoDelete: x.AutoDelete, internal: x.Internal, args: amqp091.Table(x.Arguments),
		}
		if _, _, err := v.declareExchange(&spec); err != nil {
			return err
		}
	}
	for _, q := range d.Queues {
		v, err := in(q.Vhost)
		if err != nil {
			return err
		}
		spec := queueSpec{name: q.Name, durable: q.Durable, autoDelete: q.AutoDelete, args: amqp091.Table(q.Arguments)}
		if _, _, err := v.declareQueue(bt, &spec); err != nil {
			return err
		}
	}
	for _, bd := range d.Bindings {
		v, err := in(bd.Vhost)
		if err != nil {
			return err
		}
		var dest target
		if bd.DestinationType == destinationExchange {
			dest.x = v.exchange(bd.Destination)
		} else {
			dest.q = v.queue(bd.Destination)
		}
		if bd.Source == "" {
			continue
		}
		if dest == (target{}) || v.exchange(bd.Source) == nil {
			// RabbitMQ leaves internal exchanges out of its files, but not their bindings, and passes over them.
			b.opts.Logger.Warn("import: a binding without its ends", "vhost", v.name, "source", bd.Source, "destination", bd.Destination)
			continue
		}
		if _, err := v.bind(bd.Source, dest, bd.RoutingKey, amqp091.Table(bd.Arguments)); err != nil {
			return err
		}
	}
	return b.durable(context.Background())
}

// Definitions returns the definitions of all virtual hosts.
func (b *Broker) Definitions() *Definitions { return b.definitions("") }

// definitions returns the definitions of one virtual host, of all with an empty name.
func (b *Broker) definitions(vhost string) *Definitions {
	d := b.reg.definitions(vhost)
	d.Queues, d.Exchanges, d.Bindings = []QueueDefinition{}, []ExchangeDefinition{}, []BindingDefinition{}
	names := b.Vhosts()
	if vhost == "" {
		d.Vhosts = []VhostDefinition{}
	} else {
		names = []string{vhost}
	}
	for _, name := range names {
		b.mu.RLock()
		v := b.vhosts[name]
		own := ""
		if v != nil && vhost == "" {
			own = name
			d.Vhosts = append(d.Vhosts, v.definition)
		}
		b.mu.RUnlock()
		if v == nil {
			continue
		}
		v.export(d, own)
	}
	return d
}

// export adds the durable queues, exchanges and bindings of a virtual host to definitions, under a name for it.
func (v *vhost) export(d *Definitions, own string) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(v.queues)) {
		if q := v.queues[name]; q.durable {
			d.Queues = append(d.Queues, QueueDefinition{
				Name: q.name, Vhost: own, Durable: true, AutoDelete: q.autoDelete, Arguments: Arguments(q.args),
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.exchanges)) {
		x := v.exchanges[name]
		if x.durable && !isBuiltIn(name) {
			d.Exchanges = append(d.Exchanges, ExchangeDefinition{
				Name: x.name, Vhost: own, Type: x.kind, Durable: true, AutoDelete: x.autoDelete, Internal: x.internal, Arguments: Arguments(x.args),
			})
		}
		if !x.durable {
			continue
		}
		for _, b := range x.router.bindings() {
			if !b.dest.durable() {
				continue
			}
			kind := destinationQueue
			if b.dest.x != nil {
				kind = destinationExchange
			}
			d.Bindings = append(d.Bindings, BindingDefinition{
				Source: x.name, Vhost: own, Destination: b.dest.name(), DestinationType: kind, RoutingKey: b.key, Arguments: Arguments(b.args),
			})
		}
	}
}

// isBuiltIn reports whether an exchange is there without being declared.
func isBuiltIn(name string) bool { return name == "" || len(name) >= 4 && name[:4] == "amq." }

// The flags of definitions of queues and exchanges in the journal.
const (
	storedAutoDelete = 1 << iota
	storedInternal
)

// definition returns what is recorded of a queue beside its name.
func (q *queue) definition() []byte {
	b := binary.AppendUvarint(nil, q.num)
	flags := byte(0)
	if q.autoDelete {
		flags |= storedAutoDelete
	}
	b, _ = q.args.Append(append(b, flags)) // they were checked
	return b
}

// definition returns what is recorded of an exchange beside its name.
func (x *exchange) definition() []byte {
	b := appendText(nil, x.kind)
	flags := byte(0)
	if x.autoDelete {
		flags |= storedAutoDelete
	}
	if x.internal {
		flags |= storedInternal
	}
	b = append(b, flags)
	num := uint64(0)
	if x.delayed != nil {
		num = x.delayed.num
	}
	b, _ = x.args.Append(binary.AppendUvarint(b, num)) // they were checked
	return b
}

// names returns what tells a binding apart.
func (bd *bond) names() []string {
	kind := destinationQueue
	if bd.dest.x != nil {
		kind = destinationExchange
	}
	return []string{bd.source.v.name, bd.source.name, kind, bd.dest.name(), bd.b.key, argsID(bd.b.args)}
}

// definition returns what is recorded of a binding beside that.
func (bd *bond) definition() []byte {
	b, _ := bd.b.args.Append(nil) // they were checked
	return b
}
