package amqpbroker

import (
	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// routing finds the queues of a message. It is used again and again.
type routing struct {
	queues []*queue
	seen   map[*queue]struct{} // when there are many
	todo   []*exchange
	done   []*exchange
	any    bool // the exchange that is looked at leads somewhere
	fixed  bool // the same keys lead to the same queues, whatever the properties are
	visit  func(target)
}

// manyQueues is beyond how many queues a set is used to find duplicates.
const manyQueues = 16

// add is called with where a binding leads.
func (r *routing) add(t target) {
	r.any = true
	if t.q != nil {
		r.addQueue(t.q)
		return
	}
	for _, x := range r.done {
		if x == t.x {
			return
		}
	}
	r.done = append(r.done, t.x)
	r.todo = append(r.todo, t.x)
}

func (r *routing) addQueue(q *queue) {
	if len(r.queues) < manyQueues {
		for _, known := range r.queues {
			if known == q {
				return
			}
		}
	} else {
		if len(r.seen) == 0 {
			if r.seen == nil {
				r.seen = make(map[*queue]struct{})
			}
			for _, known := range r.queues {
				r.seen[known] = struct{}{}
			}
		}
		if _, ok := r.seen[q]; ok {
			return
		}
		r.seen[q] = struct{}{}
	}
	r.queues = append(r.queues, q)
}

// begin empties the routing.
func (r *routing) begin() {
	clear(r.queues)
	r.queues = r.queues[:0]
	clear(r.seen)
	r.fixed = true
}

// via adds the queues to which an exchange leads for a key.
func (r *routing) via(v *vhost, x *exchange, key []byte, props amqp091.RawProperties) {
	r.done = append(r.done[:0], x)
	r.todo = append(r.todo[:0], x)
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
	return r.queues
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
