package kafkabroker

import (
	"slices"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// groupWait is a request of a member that waits for its group.
type groupWait struct {
	r *kafkaserver.Request
	s *session
}

// groupToken is where a groupWait is.
type groupToken struct {
	sh    *groupShard
	token uint64
}

// wait gives a request of a member a token, with which drain answers it. The caller holds mu.
func (s *groupShard) wait(of *session, r *kafkaserver.Request) uint64 {
	s.token++
	s.waiting[s.token] = groupWait{r, of}
	of.mu.Lock()
	of.joins = append(of.joins, groupToken{s, s.token})
	of.mu.Unlock()
	return s.token
}

// take returns a request that waits, and waits no more; nil when there is none. The caller holds mu.
func (s *groupShard) take(token uint64) *kafkaserver.Request {
	w, ok := s.waiting[token]
	if !ok {
		return nil
	}
	delete(s.waiting, token)
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if i := slices.Index(w.s.joins, groupToken{s, token}); i >= 0 {
		w.s.joins = slices.Delete(w.s.joins, i, i+1)
	}
	return w.r
}

// endJoins answers the members of a session that wait for their groups: they are to look for the coordinator again.
func (s *session) endJoins() {
	s.mu.Lock()
	list := slices.Clone(s.joins)
	s.mu.Unlock()
	for _, t := range list {
		t.sh.mu.Lock()
		r := t.sh.take(t.token)
		t.sh.mu.Unlock()
		if r == nil {
			continue
		}
		e := kafka.GroupEvent{Kind: kafka.GroupJoinReply, Error: kafkawire.ErrNotCoordinator, Generation: -1}
		if r.Key == kafkawire.KeySyncGroup {
			e.Kind = kafka.GroupSyncReply
		}
		answerMember(r, &e)
	}
}
