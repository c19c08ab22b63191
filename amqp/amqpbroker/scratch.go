package amqpbroker

import "github.com/quartet-mq/quartet/amqp/amqpserver"

// scratch is what the broker keeps in a batch.
type scratch struct {
	dead     []*held // entries that are to be dead-lettered when no lock is held
	back     []entry // entries that return to their queue
	pub      publication
	queues   []*queue // durable ones that a message goes to
	router   routing
	delivery amqpserver.Delivery
}

// scratchOf returns the scratch of a batch.
func scratchOf(bt *amqpserver.Batch) *scratch {
	if sc, ok := bt.Scratch.(*scratch); ok {
		return sc
	}
	sc := new(scratch)
	sc.router.visit = sc.router.add
	bt.Scratch = sc
	return sc
}

// publication is a message that is being published.
type publication struct {
	m    *message // perhaps a view
	view message
}

// own returns the message as one that may be kept.
func (p *publication) own() *message {
	if p.m.flags&messageView != 0 {
		p.m = p.m.own()
	}
	return p.m
}
