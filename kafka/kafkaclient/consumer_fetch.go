package kafkaclient

import (
	"errors"
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// source fetches from one broker, with one goroutine and one request at a time.
type source struct {
	c     *Consumer
	id    kafkawire.BrokerID
	wake  chan struct{}
	parts map[*consumerPartition]struct{} // Consumer.mu

	// Of the goroutine.
	session kafka.FetchSession
	stream  *conn // on which the session is, with streams
	round   uint64
	req     kafkawire.FetchRequest
	names   map[kafkawire.UUID]kafkawire.TopicName
	pause   time.Duration
	broken  int // failures one after another
}

// source returns the source of a broker, and starts it if need be. c.mu is held.
func (c *Consumer) source(id kafkawire.BrokerID) *source {
	s := c.sources[id]
	if s == nil {
		s = &source{c: c, id: id, wake: make(chan struct{}, 1), parts: make(map[*consumerPartition]struct{})}
		c.sources[id] = s
		c.spawn(s.run)
	}
	return s
}

func (s *source) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run fetches until the consumer is closed or there are no partitions.
func (s *source) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		todo, wait := s.plan()
		if todo == nil {
			return
		}
		if len(todo) > 0 {
			s.fetch(todo)
			wait = s.pause
			if s.pause = 0; wait == 0 {
				continue
			}
		}
		timer.Reset(wait)
		if len(todo) > 0 { // the broker failed
			select {
			case <-timer.C:
			case <-s.c.alive.Done():
			}
			continue
		}
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.c.alive.Done():
		}
	}
}

// plan chooses what to fetch. It returns nil when the source is to end, and how long to wait when there is nothing to do.
func (s *source) plan() (todo []kafka.FetchPartition, wait time.Duration) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(s.parts) == 0 {
		if c.sources[s.id] == s {
			delete(c.sources, s.id)
		}
		return nil, 0
	}
	now := time.Now()
	wait = time.Hour
	todo = []kafka.FetchPartition{}
	buffered := 0
	for p := range s.parts {
		if !p.paused {
			buffered += p.queued
		}
		if p.preferred >= 0 && !now.Before(p.preferredTil) {
			p.moveSource()
		}
	}
	if buffered >= c.bufferOfSource() {
		return todo, wait
	}
	c.versions++ // no two rounds are the same, since partitions move from source to source
	s.round = c.versions
	clear(s.names)
	for p := range s.parts {
		if p.state == partitionFetching && now.Before(p.retryAt) {
			wait = min(wait, p.retryAt.Sub(now))
		}
		if !p.isFetchable(now) {
			continue
		}
		todo = append(todo, kafka.FetchPartition{Topic: p.Topic, TopicID: p.topicID, Partition: p.Partition, Offset: p.fetch,
			CurrentLeaderEpoch: p.leaderEpoch, LastFetchedEpoch: -1, LogStartOffset: -1, MaxBytes: p.maxBytes})
		p.asked, p.askedAt = s.round, p.version
		if s.names == nil {
			s.names = make(map[kafkawire.UUID]kafkawire.TopicName)
		}
		s.names[p.topicID] = p.Topic
	}
	return todo, max(wait, time.Millisecond)
}

// bufferOfSource is what a source may have before it fetches more, and how much that may be. c.mu is held.
func (c *Consumer) bufferOfSource() int {
	return max(c.o.MaxBuffered/(2*max(len(c.sources), 1)), 16<<10)
}

// fetch sends one request and takes the response.
func (s *source) fetch(todo []kafka.FetchPartition) {
	c := s.c
	b := c.c.broker(s.id)
	if b == nil {
		s.failed(fmt.Errorf("%w: %d", ErrNoBroker, s.id))
		return
	}
	k, err := b.conn(c.alive, c.lane)
	if err != nil {
		s.failed(err)
		return
	}
	if k.base != nil && k != s.stream { // a session lives as long as its stream
		s.stream, s.session = k, kafka.FetchSession{}
	}
	limit, most := int16(0), int16(-1)
	byID := true
	for i := range todo {
		if todo[i].TopicID.IsZero() {
			byID, limit, most = false, 12, 12
		}
		s.session.Want(todo[i])
	}
	version, ok := k.versions.pick(kafkawire.KeyFetch, most)
	if !ok {
		s.failed(unsupported(kafkawire.KeyFetch))
		return
	}
	if version < 13 {
		byID = false
	}
	c.mu.Lock()
	size := c.bufferOfSource()
	c.mu.Unlock()
	r := &s.req
	topics, forgotten := r.Topics, r.ForgottenTopicsData
	r.Reset()
	r.Topics, r.ForgottenTopicsData = topics, forgotten
	s.session.Request(r, byID)
	if version < 7 {
		// No sessions: everything is named each time.
		s.session.DisableSession()
		s.session.Lost()
	}
	r.MaxWaitMs = int32(c.o.FetchMaxWait.Milliseconds())
	r.MinBytes = c.o.FetchMinBytes
	r.MaxBytes = min(c.o.FetchMaxBytes, int32(size))
	if c.o.ReadCommitted {
		r.IsolationLevel = 1
	}
	if version >= 11 {
		r.RackID = c.c.o.Rack
	}
	sent := time.Now()
	body, version, err := k.roundTrip(c.alive, r, &sendOptions{limit: limit, wait: c.o.FetchMaxWait})
	if err != nil {
		s.session.Lost()
		s.failed(err)
		return
	}
	var resp kafkawire.FetchResponse
	if err := resp.Decode(body, version); err != nil {
		k.fail(protocolError(err.Error()))
		s.session.Lost()
		s.failed(err)
		return
	}
	s.session.Receive(resp.ErrorCode, resp.SessionID)
	s.broken = 0
	s.received(&resp, time.Since(sent))
}

// failed waits before the next attempt: there was no response.
func (s *source) failed(err error) {
	if s.c.alive.Err() != nil {
		return
	}
	s.broken++
	s.pause = s.c.c.backoff(s.broken)
	s.c.c.meta.refresh()
	s.c.c.o.Logger.Debug("cannot fetch", "broker", s.id, "err", err)
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for p := range s.parts {
		if p.preferred >= 0 {
			p.preferred = -1
			p.moveSource()
		}
	}
	if errors.Is(err, ErrUnsupported) || isAuthError(err) {
		s.c.report(err)
	}
}

func isAuthError(err error) bool {
	_, ok := errors.AsType[*AuthError](err)
	return ok
}

// received takes what a response says of each partition.
func (s *source) received(r *kafkawire.FetchResponse, took time.Duration) {
	c := s.c
	c.mu.Lock()
	c.stats.Fetches++
	c.stats.FetchTime += took
	c.mu.Unlock()
	for i := range r.NodeEndpoints {
		e := &r.NodeEndpoints[i]
		c.c.meta.addBroker(e.NodeID, e.Host, e.Port, e.Rack)
	}
	switch r.ErrorCode {
	case 0:
	case kafkawire.ErrFetchSessionIDNotFound, kafkawire.ErrInvalidFetchSessionEpoch, kafkawire.ErrFetchSessionTopicIDError:
		return // the next request begins another
	default:
		s.pause = c.c.backoff(1)
		c.c.meta.refresh()
	}
	refresh := false
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	for i := range r.Responses {
		t := &r.Responses[i]
		name := t.Topic
		if name == "" {
			name = s.names[t.TopicID]
		}
		for j := range t.Partitions {
			o := &t.Partitions[j]
			p := c.parts[kafka.TopicPartition{Topic: name, Partition: o.PartitionIndex}]
			if p == nil || p.source != s || p.asked != s.round || p.askedAt != p.version || p.state != partitionFetching {
				continue
			}
			if o.ErrorCode != 0 {
				refresh = p.fetchFailed(o, s) || refresh
				continue
			}
			p.fetched(o)
		}
	}
	if refresh {
		c.c.meta.refresh()
	}
	c.kick()
}

// fetched takes records. c.mu is held.
func (p *consumerPartition) fetched(o *kafkawire.FetchResponsePartition) {
	p.high, p.stable = o.HighWatermark, o.LastStableOffset
	if o.LogStartOffset >= 0 {
		p.logStart = o.LogStartOffset
	}
	if o.PreferredReadReplica >= 0 && o.PreferredReadReplica != p.preferred && p.c.c.broker(o.PreferredReadReplica) != nil {
		p.preferred = o.PreferredReadReplica
		p.preferredTil = time.Now().Add(p.c.c.o.MetadataMaxAge)
		p.moveSource()
	}
	if len(o.Records) == 0 {
		p.failures = 0
		return
	}
	k := newChunk(p, o)
	if k == nil {
		// Only a part of a batch fits; old brokers do that.
		if p.maxBytes < 1<<29 {
			p.maxBytes *= 2
		}
		return
	}
	if k.next == p.fetch && k.err == nil {
		p.later() // nothing of what was asked for
		return
	}
	p.failures = 0
	p.fetch, p.fetchEp = k.next, k.epoch
	p.push(k)
}

// fetchFailed decides about the error of a partition, and reports whether metadata is out of date. c.mu is held.
func (p *consumerPartition) fetchFailed(o *kafkawire.FetchResponsePartition, s *source) (refresh bool) {
	if l := o.CurrentLeader; l != nil && l.LeaderID >= 0 {
		p.c.c.meta.setLeader(p.Topic, p.Partition, l.LeaderID, l.LeaderEpoch)
		before := p.leaderEpoch
		p.locate(p.c.c.meta.current.Load())
		if p.leaderEpoch > before {
			return false
		}
	}
	switch o.ErrorCode {
	case kafkawire.ErrOffsetOutOfRange:
		if p.preferred >= 0 {
			p.preferred = -1 // the replica may lag behind
			p.moveSource()
			return false
		}
		if p.fetch != p.position {
			p.later() // what was fetched before comes first
			return false
		}
		if p.c.o.Reset == ResetNone {
			p.fail(remote(o.ErrorCode, nil))
			return false
		}
		p.c.c.o.Logger.Info("offset out of range", "partition", p.TopicPartition.String(), "offset", p.fetch)
		p.begin(Start{kind: startReset})
		return false
	case kafkawire.ErrTopicAuthorizationFailed, kafkawire.ErrCorruptMessage, kafkawire.ErrUnsupportedCompressionType:
		p.later()
		if p.failures == 1 {
			p.c.report(&PartitionError{TopicPartition: p.TopicPartition, Offset: p.fetch, Err: remote(o.ErrorCode, nil)})
		}
		return o.ErrorCode == kafkawire.ErrTopicAuthorizationFailed
	}
	p.preferred = -1
	p.later()
	p.moveSource()
	return true
}
