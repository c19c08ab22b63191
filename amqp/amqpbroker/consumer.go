package amqpbroker

import (
	"cmp"
	"slices"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// sink is where a consumer sends what the queue gives it: a channel, a subscription in process, a link.
type sink interface {
	// deliver sends a message and returns true, or returns false when there is no room for it: then the consumer is blocked
	// until [queue.resume]. h is what it is settled with, nil when it is settled already. It is called with the lock of the
	// queue held and must not call the queue. m may be a view unless the consumer keeps messages.
	deliver(bt *amqpserver.Batch, c *consumer, m *message, e *entry, h *held) bool
	// canceled tells that the queue has ended the consumer. No lock of the broker is held.
	canceled(bt *amqpserver.Batch, c *consumer)
}

// consumer takes messages from a queue. Its queue's lock guards what changes.
type consumer struct {
	q         *queue
	sink      sink
	tag       string
	noAck     bool // what is delivered is settled
	exclusive bool
	keeps     bool // the sink keeps messages beyond the call of deliver
	browses   bool // the messages stay in the queue
	match     func(*message) bool
	priority  int32
	args      amqp091.Table
	arg       any // the sink's own

	state consumerState
	next  []uint64 // of a special one, for each level: entries before this position were looked at
	held  int      // how many entries it has acquired
	begun bool     // it may be given something when it is its turn
}

// consumerState is whether a consumer can be given something.
type consumerState uint8

const (
	consumerIdle    consumerState = iota // it is not its turn: there is a single active consumer
	consumerOpen                         // it takes something
	consumerBlocked                      // its sink said no
	consumerEnded
)

// special reports whether the consumer cannot simply be given the first entry.
func (c *consumer) special() bool { return c.browses || c.match != nil }

// consumers are those of a queue.
type consumers struct {
	list    []*consumer // in the order in which they came
	groups  []openGroup // the highest priority first
	open    int         // how many are in groups
	active  *consumer   // with single active consumer
	special int         // how many are special
	sole    *consumer   // the exclusive one
	had     bool        // there was one
}

// openGroup is the consumers of one priority that take something, the next first.
type openGroup struct {
	priority int32
	ring     ring[*consumer]
}

// wake makes a consumer one that takes something.
func (cs *consumers) wake(c *consumer) {
	if c.state == consumerOpen || c.state == consumerEnded {
		return
	}
	c.state = consumerOpen
	cs.group(c.priority).push(c)
	cs.open++
}

// group returns the ring of a priority.
func (cs *consumers) group(priority int32) *ring[*consumer] {
	if len(cs.groups) == 1 && cs.groups[0].priority == priority {
		return &cs.groups[0].ring
	}
	i, ok := slices.BinarySearchFunc(cs.groups, priority, func(g openGroup, p int32) int { return cmp.Compare(p, g.priority) })
	if !ok {
		cs.groups = slices.Insert(cs.groups, i, openGroup{priority: priority})
	}
	return &cs.groups[i].ring
}

// first returns the consumer whose turn it is. There is one.
func (cs *consumers) first() *consumer {
	for i := range cs.groups {
		if g := &cs.groups[i]; g.ring.n > 0 {
			return *g.ring.at(0)
		}
	}
	return nil
}

// turn lets the next one take its turn.
func (cs *consumers) turn(c *consumer) {
	if g := cs.group(c.priority); g.n > 1 {
		g.push(g.shift())
	}
}

// block takes the consumer whose turn it is out of those that take something.
func (cs *consumers) block(c *consumer) {
	cs.group(c.priority).shift()
	cs.open--
	c.state = consumerBlocked
}

// sleep is block for any consumer.
func (cs *consumers) sleep(c *consumer, state consumerState) {
	if c.state == consumerOpen {
		g := cs.group(c.priority)
		for i := range g.n {
			if *g.at(i) == c {
				g.remove(i)
				cs.open--
				break
			}
		}
	}
	c.state = state
	if len(cs.groups) > 16 { // many priorities came and went
		cs.groups = slices.DeleteFunc(cs.groups, func(g openGroup) bool { return g.ring.n == 0 })
	}
}

// successor returns the consumer that becomes the single active one: of the highest priority the first that came.
func (cs *consumers) successor() (best *consumer) {
	for _, c := range cs.list {
		if c.begun && (best == nil || c.priority > best.priority) {
			best = c
		}
	}
	return best
}
