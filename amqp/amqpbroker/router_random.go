package amqpbroker

import (
	"math/rand/v2"
)

// routeRandom visits one of the bindings, any with the same chance.
func (r *router[D]) routeRandom(visit func(D)) {
	set := r.set.Load()
	if set == nil {
		set = r.snapshot()
	}
	if n := len(*set); n > 0 {
		visit((*set)[rand.IntN(n)].dest)
	}
}

// snapshot makes the set again after a change.
func (r *router[D]) snapshot() *[]*binding[D] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if set := r.set.Load(); set != nil {
		return set
	}
	set := make([]*binding[D], 0, len(r.all))
	for _, b := range r.all {
		set = append(set, b)
	}
	r.set.Store(&set)
	return &set
}
