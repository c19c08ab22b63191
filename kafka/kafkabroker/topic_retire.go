package kafkabroker

import (
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// retire keeps the coordinators from working with a topic of the broker itself that is to be deleted. It fails while somebody
// needs what is in it: groups with members, transactions that are open. end is called when the topic is gone, or is not to go
// after all. Other topics are nothing to it.
func (b *Broker) retire(t *topicState) (end func(gone bool), err error) {
	switch t.name {
	case offsetsTopic:
		return b.groups.retire(t)
	case transactionsTopic:
		return b.txns.retire(t)
	}
	return func(bool) {}, nil
}

// retire is that of the broker for the topic of groups.
func (g *groupCoordinator) retire(t *topicState) (end func(gone bool), err error) {
	var list []*groupShard
	for _, p := range t.partitions() {
		s := g.shard(p)
		_ = s.loaded() // one that cannot be read may be deleted: then it begins anew
		list = append(list, s)
	}
	for _, s := range list {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.txns) > 0 {
			return nil, logError(kafkawire.ErrInvalidRequest, "offsets in %s are part of an open transaction", t.name)
		}
		for _, e := range s.groups {
			if e.m.Len() > 0 || e.m.Pending() > 0 {
				return nil, logError(kafkawire.ErrInvalidRequest, "the group %s, whose state is in %s, has members", e.id, t.name)
			}
		}
	}
	for _, s := range list {
		s.dead = true
	}
	return func(gone bool) {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, s := range list {
			s.mu.Lock()
			if s.dead = gone || g.closed; gone {
				s.closeGroups(time.Now())
				s.groups = make(map[string]*groupEntry)
				if g.shards[s.p.index] == s {
					delete(g.shards, s.p.index)
				}
			}
			s.mu.Unlock()
		}
	}, nil
}

// retire is that of the broker for the topic of transactions.
func (c *txnCoordinator) retire(t *topicState) (end func(gone bool), err error) {
	var list []*txnShard
	c.mu.Lock()
	for _, p := range t.partitions() {
		list = append(list, c.shardOf(p))
	}
	c.mu.Unlock()
	for _, s := range list {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, e := range s.entries {
			if r, ok := e.txn.Record(); !e.txn.Idle() || ok && isOpen(r.State) {
				return nil, logError(kafkawire.ErrInvalidRequest, "a transaction of %s, whose state is in %s, is open", e.id, t.name)
			}
		}
		if len(s.queue) > 0 || s.writing {
			return nil, logError(kafkawire.ErrInvalidRequest, "%s is being written", t.name)
		}
	}
	for _, s := range list {
		s.dead = true
	}
	return func(gone bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range list {
			s.mu.Lock()
			if s.dead = gone; gone {
				delete(c.shards, s.p)
				s.entries = make(map[kafkawire.TransactionalID]*txnEntry)
			}
			s.mu.Unlock()
		}
	}, nil
}

// isOpen reports whether a transaction has records whose fate is not in all logs.
func isOpen(s kafka.TxnState) bool {
	return s == kafka.TxnOngoing || s == kafka.TxnPrepareCommit || s == kafka.TxnPrepareAbort
}
