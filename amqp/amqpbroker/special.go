package amqpbroker

import (
	"sort"

	"github.com/quartet-mq/quartet/amqp/amqpserver"
)

// grouping keeps the messages of a group with the consumer that got the first of them, until that consumer goes.
type grouping struct {
	groupOf func(*message) string // "" for a message without a group
	owners  map[string]*consumer
}

// dispatchSpecial is dispatch for queues with consumers that do not take whatever is first. Each consumer looks at the
// entries once, in order; those that are not in memory are loaded as far as somebody looks.
func (q *queue) dispatchSpecial(bt *amqpserver.Batch) {
	q.expire(bt)
	for progress := true; progress; {
		progress = false
		for i := q.cs.open; i > 0 && q.cs.open > 0; i-- {
			c := q.cs.first()
			if q.serve(bt, c) {
				progress = true
			} else if c.state == consumerOpen {
				q.cs.turn(c)
			}
		}
	}
}

// serve gives a consumer the next entry for it, and reports whether there was one that it took.
func (q *queue) serve(bt *amqpserver.Batch, c *consumer) bool {
	l, i := q.seek(c)
	if l == nil {
		return false
	}
	e := l.hot.at(i)
	if !q.reached(e.m) {
		return false
	}
	if c.browses {
		if !c.sink.deliver(bt, c, e.m, e, nil) {
			q.cs.block(c)
			return false
		}
		c.next[e.level] = e.pos + 1
		q.cs.turn(c)
		return true
	}
	if !q.give(bt, c, e) {
		return false
	}
	if g := q.grouping; g != nil {
		if name := g.groupOf(e.m); name != "" {
			g.owners[name] = c
		}
	}
	taken := l.hot.remove(i)
	q.left(l, &taken)
	return true
}

// seek finds the next entry for a consumer.
func (q *queue) seek(c *consumer) (*level, int) {
	for lv := len(q.levels) - 1; lv >= 0; lv-- {
		l := &q.levels[lv]
		i := 0
		if c.next != nil {
			i = sort.Search(l.hot.n, func(i int) bool { return l.hot.at(i).pos >= c.next[lv] })
		}
		for ; i < l.hot.n; i++ {
			e := l.hot.at(i)
			if q.suits(c, e) {
				return l, i
			}
			if c.next != nil {
				c.next[lv] = e.pos + 1
			}
		}
		if l.cold != nil {
			q.load()
			return nil, 0
		}
	}
	return nil, 0
}

// suits reports whether a consumer may have an entry.
func (q *queue) suits(c *consumer, e *entry) bool {
	if c.match != nil && !c.match(e.m) {
		return false
	}
	if q.grouping == nil || c.browses {
		return true
	}
	name := q.grouping.groupOf(e.m)
	owner := q.grouping.owners[name]
	return name == "" || owner == nil || owner == c
}

// disown lets the groups of a consumer go to others.
func (g *grouping) disown(q *queue, c *consumer) {
	for name, owner := range g.owners {
		if owner == c {
			delete(g.owners, name)
		}
	}
	for _, other := range q.cs.list {
		clear(other.next)
	}
}
