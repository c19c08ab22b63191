package amqpbroker

import (
	"slices"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// routing finds the queues of a message. It is used again and again.
type routing struct {
	queues unique[*queue]
	todo   []*exchange
	done   unique[*exchange] // those that are looked at, or to be
	any    bool              // the exchange that is looked at leads somewhere
	fixed  bool              // the same keys lead to the same queues, whatever the properties are
	visit  func(target)
}

// add is called with where a binding leads.
func (r *routing) add(t target) {
	r.any = true
	if t.q != nil {
		r.addQueue(t.q)
		return
	}
	if r.done.add(t.x) {
		r.todo = append(r.todo, t.x)
	}
}

func (r *routing) addQueue(q *queue) { r.queues.add(q) }

// unique is a list without duplicates. It is used again and again.
type unique[T comparable] struct {
	list []T
	seen map[T]struct{} // when there are many
}

// many is beyond how many a set is used to find duplicates.
const many = 64

// add appends v, unless it is in the list.
func (u *unique[T]) add(v T) bool {
	if len(u.list) < many {
		if slices.Contains(u.list, v) {
			return false
		}
	} else {
		if len(u.seen) == 0 {
			if u.seen == nil {
				u.seen = make(map[T]struct{})
			}
			for _, known := range u.list {
				u.seen[known] = struct{}{}
			}
		}
		if _, ok := u.seen[v]; ok {
			return false
		}
		u.seen[v] = struct{}{}
	}
	u.list = append(u.list, v)
	return true
}

// clear empties the list.
func (u *unique[T]) clear() {
	clear(u.list)
	u.list = u.list[:0]
	clear(u.seen)
}

// begin empties the routing.
func (r *routing) begin() {
	r.queues.clear()
	r.fixed = true
}

// via adds the queues to which an exchange leads for a key.
func (r *routing) via(v *vhost, x *exchange, key []byte, props amqp091.RawProperties) {
	r.done.clear()
	r.add(target{x: x})
	for len(r.todo) > 0 {
		x := r.todo[len(r.todo)-1]
		r.todo = r.todo[:len(r.todo)-1]
		r.any = false
		if x.name == "" {
			if q := v.queue(string(key)); q != nil {
				r.add(target{q: q})
			}
		} else {
			switch x.router.kind {
			case kindHeaders, kindHash, kindRandom:
				r.fixed = false
			}
			x.router.route(key, props, r.visit)
		}
		if r.any {
			continue
		}
		if name := x.alternate.Load(); name != nil {
			if ae := v.exchange(*name); ae != nil {
				r.add(target{x: ae})
			}
		}
	}
}

// route returns the queues of a message that is published to an exchange, by its key and by those in its headers CC and BCC.
// The slice is the scratch's.
func (v *vhost) route(sc *scratch, x *exchange, key []byte, props amqp091.RawProperties) []*queue {
	r := &sc.router
	r.begin()
	r.via(v, x, key, props)
	if headers := props.Headers(); len(headers) > 0 {
		r.copies(v, x, headers, props)
	}
	return r.queues.list
}

// copies adds the queues of the keys in the headers CC and BCC.
func (r *routing) copies(v *vhost, x *exchange, headers amqp091.RawTable, props amqp091.RawProperties) {
	for _, name := range [...]string{"CC", "BCC"} {
		list, ok := headers.Get(name)
		if !ok {
			continue
		}
		for value := range list.Values() {
			if key, ok := value.Text(); ok {
				r.via(v, x, key, props)
			}
		}
	}
}
