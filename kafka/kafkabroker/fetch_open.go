package kafkabroker

import (
	"container/list"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// fetchSession is a fetch session in the cache.
type fetchSession struct {
	id   int32
	of   *session      // whose stream it is bound to; nil: everybody's who knows the id
	used time.Time     // fetchSessions.mu guards it
	at   *list.Element // fetchSessions.mu guards it
	size int           // partitions, fetchSessions.mu guards it

	mu sync.Mutex
	m  *kafka.FetchServerSession
}

// fetchSessions is the cache of fetch sessions. As in Apache Kafka they belong to no connection, but those of connections with
// streams are bound to the stream that made them.
type fetchSessions struct {
	mu    sync.Mutex
	m     map[int32]*fetchSession
	order list.List // the first was used longest ago
	parts int       // partitions of all sessions
}

// Limits of the cache. Clients without a session name all partitions in each request.
const (
	maxFetchSessions   = 1000            // max.incremental.fetch.session.cache.slots
	minFetchSessionAge = 2 * time.Minute // a session that was not used for so long may give way
	maxFetchParts      = 1_000_000
)

// get returns a session that by may use, or nil.
func (c *fetchSessions) get(id int32, by *session, now time.Time) *fetchSession {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.m[id]
	if s == nil || s.of != by.owner() {
		return nil
	}
	s.used = now
	c.order.MoveToBack(s.at)
	return s
}

// owner is whose the fetch sessions are that the session makes and uses.
func (s *session) owner() *session {
	if s.bound {
		return s
	}
	return nil
}

// add keeps a session, if there is room, and gives it an id. Otherwise the id stays 0.
func (c *fetchSessions) add(s *fetchSession, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := s.m.Len()
	for len(c.m) >= maxFetchSessions || c.parts+n > maxFetchParts {
		oldest := c.order.Front()
		if oldest == nil || now.Sub(oldest.Value.(*fetchSession).used) < minFetchSessionAge {
			return
		}
		c.drop(oldest.Value.(*fetchSession))
	}
	if c.m == nil {
		c.m = make(map[int32]*fetchSession)
	}
	for s.id == 0 || c.m[s.id] != nil {
		s.id = rand.Int32()
	}
	c.m[s.id] = s
	s.used, s.at, s.size = now, c.order.PushBack(s), n
	c.parts += n
}

// resized notes how many partitions a session has after a request. It is false when these are more than one request, or all
// sessions, may have.
func (c *fetchSessions) resized(s *fetchSession, n int, r *kafkaserver.Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	grows := n > s.size
	if s.at != nil {
		c.parts += n - s.size
		s.size = n
	}
	return !grows || r.CheckElements(n) == nil && c.parts <= maxFetchParts
}

// remove forgets a session that by may use.
func (c *fetchSessions) remove(id int32, by *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.m[id]; s != nil && s.of == by.owner() {
		c.drop(s)
	}
}

// drop forgets a session. The caller holds mu.
func (c *fetchSessions) drop(s *fetchSession) {
	delete(c.m, s.id)
	c.order.Remove(s.at)
	s.at = nil
	c.parts -= s.size
}

// len returns how many sessions there are, and their partitions.
func (c *fetchSessions) len() (sessions, partitions int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.m), c.parts
}

// open finds out which partitions the request is about.
func (j *fetchJob) open(v *kafkawire.FetchView) error {
	c, now := &j.s.b.fetches, time.Now()
	j.full = true
	switch v.SessionEpoch {
	case kafka.FetchNoSession:
		if v.SessionID != 0 {
			c.remove(v.SessionID, j.s)
		}
		j.sessionless(v)
	case kafka.FetchNewSession:
		if v.SessionID != 0 {
			c.remove(v.SessionID, j.s)
		}
		if v.Partitions == 0 {
			return nil
		}
		s := &fetchSession{m: kafka.NewFetchServerSession(j.r.Version >= 13), of: j.s.owner()}
		s.mu.Lock() // others may guess its id
		defer s.mu.Unlock()
		j.update(s, v)
		if j.s.fetchID != 0 { // a stream has one at a time
			c.remove(j.s.fetchID, j.s)
			j.s.fetchID = 0
		}
		if c.add(s, now); s.id == 0 {
			j.sessionless(v)
			return nil
		}
		if s.of != nil {
			j.s.fetchID = s.id
		}
		j.session, j.sessionID = s, s.id
		j.take(s)
	default:
		s := c.get(v.SessionID, j.s, now)
		if s == nil {
			return kafkawire.ErrFetchSessionIDNotFound
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.m.Continue(v.SessionEpoch, j.r.Version >= 13); err != nil {
			return err
		}
		j.update(s, v)
		if !c.resized(s, s.m.Len(), j.r) {
			c.remove(s.id, j.s)
			return kafkawire.ErrFetchSessionIDNotFound // the client begins anew
		}
		if s.m.Len() == 0 {
			c.remove(s.id, j.s)
			return nil
		}
		j.session, j.sessionID, j.full = s, s.id, false
		j.take(s)
	}
	return nil
}

// update changes a session as the request says.
func (j *fetchJob) update(s *fetchSession, v *kafkawire.FetchView) {
	for {
		t, index, ok := v.NextForgotten()
		if !ok {
			break
		}
		s.m.Forget(fetchKey(t, index))
	}
	for v.Next() {
		// In a session a partition that is named again moves to what the request says.
		s.m.Set(fetchKey(v.Topic, v.Partition), wantOf(v))
	}
}

func fetchKey(t kafkawire.Topic, index int32) kafka.FetchKey {
	return kafka.FetchKey{Topic: string(t.Name), ID: t.ID, Partition: index}
}

func wantOf(v *kafkawire.FetchView) kafka.FetchWant {
	return kafka.FetchWant{
		Offset: v.FetchOffset, LogStart: v.LogStartOffset, MaxBytes: v.PartitionMaxBytes, LeaderEpoch: v.CurrentLeaderEpoch,
		LastEpoch: v.LastFetchedEpoch,
	}
}

// take makes the partitions of a session those of the job. The caller holds the session's mu, or nobody else has it.
func (j *fetchJob) take(s *fetchSession) {
	var f topicFinder
	f.j = j
	for e := range s.m.All() {
		j.parts = append(j.parts, fetchPart{FetchWant: e.FetchWant, entry: e, index: e.Partition})
		p := &j.parts[len(j.parts)-1]
		if old, ok := e.Value.(*partition); ok && !old.topic.deleted.Load() {
			f.known(p, old)
			continue
		}
		f.find(p, e.Topic, nil, e.ID)
		if p.p != nil {
			e.Value = p.p
		}
	}
}

// sessionless makes the partitions of the request those of the job.
func (j *fetchJob) sessionless(v *kafkawire.FetchView) {
	var f topicFinder
	f.j = j
	v.Rewind()
	for v.Next() {
		j.parts = append(j.parts, fetchPart{FetchWant: wantOf(v), index: v.Partition})
		f.find(&j.parts[len(j.parts)-1], "", v.Topic.Name, v.Topic.ID)
	}
}

// topicFinder finds the partitions of a fetch request. It remembers the topic that it has found last.
type topicFinder struct {
	j     *fetchJob
	topic *topicState
	code  kafkawire.ErrorCode // whether the client may read it
}

// known is find for a partition that was found before.
func (f *topicFinder) known(p *fetchPart, old *partition) {
	if f.topic != old.topic {
		f.choose(old.topic)
	}
	p.p, p.name, p.topic, p.code = old, old.topic.name, old.topic.id, f.code
}

// choose looks whether the client may read a topic.
func (f *topicFinder) choose(t *topicState) {
	f.topic, f.code = t, noError
	switch s := f.j.s; {
	case f.j.replica:
		if !s.allowed(opClusterAction, resourceCluster, clusterName) {
			f.code = kafkawire.ErrTopicAuthorizationFailed
		}
	case !s.allowed(opRead, resourceTopic, t.name):
		f.code = kafkawire.ErrTopicAuthorizationFailed
	}
}

// find finds the partition that p.index has in a topic: that of a name, in one of two forms, or of an id.
func (f *topicFinder) find(p *fetchPart, name string, raw []byte, id kafkawire.UUID) {
	b := f.j.s.b
	byID := f.j.r.Version >= 13
	same := f.topic != nil && (byID && f.topic.id == id || !byID && (raw != nil && f.topic.name == string(raw) || raw == nil && f.topic.name == name))
	if !same {
		b.mu.RLock()
		var t *topicState
		switch {
		case byID:
			t = b.byID[id]
		case raw != nil:
			t = b.topics[string(raw)]
		default:
			t = b.topics[name]
		}
		b.mu.RUnlock()
		f.topic = nil
		if t != nil {
			f.choose(t)
		}
	}
	p.topic = id
	if f.topic == nil {
		if raw != nil {
			name = string(raw)
		}
		p.name = name
		p.code = kafkawire.ErrUnknownTopicOrPartition
		switch {
		case byID:
			p.code = kafkawire.ErrUnknownTopicID
		case !f.j.s.allowed(opRead, resourceTopic, name):
			p.code = kafkawire.ErrTopicAuthorizationFailed
		}
		return
	}
	p.name, p.topic, p.code = f.topic.name, f.topic.id, f.code
	if p.p = f.topic.partition(p.index); p.p == nil && p.code == noError {
		p.code = kafkawire.ErrUnknownTopicOrPartition
	}
}
