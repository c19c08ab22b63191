package kafka

import (
	"slices"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// FetchPartition is what a consumer wants of a partition.
type FetchPartition struct {
	Topic              kafkawire.TopicName
	TopicID            kafkawire.UUID // zero when it is not known
	Partition          int32
	Offset             int64 // the first one wanted
	CurrentLeaderEpoch int32 // -1: unknown
	LastFetchedEpoch   int32 // of the record before Offset; -1: unknown
	LogStartOffset     int64 // -1 for consumers
	MaxBytes           int32
}

// FetchSession is a client's half of the fetch session with one broker (KIP-227): the broker remembers which partitions the
// client wants from which offset, and requests say only what has changed. Requests go one at a time.
//
// It is a machine without time: Want, for each partition, then Request, then Receive or Lost. It is not safe for concurrent
// use.
type FetchSession struct {
	id    int32
	epoch int32 // of the next request; 0: it begins a session
	round uint64

	partitions map[TopicPartition]*sessionPartition
	list       []*sessionPartition // in the order in which they came; nil: gone
	gone       int
	full       bool // the request under way names all partitions
	ids        bool // and it names topics by id
	off        bool
}

// sessionPartition is a partition that the broker knows of, or will.
type sessionPartition struct {
	FetchPartition
	sent  bool   // the broker knows it
	fresh bool   // as it is now
	round uint64 // in which it was wanted last
	at    int    // in list
}

// DisableSession makes every request name all partitions.
func (s *FetchSession) DisableSession() { s.off = true }

// Want adds a partition to the next request, or says what is wanted of it now. Partitions that are not wanted again for the
// request after that leave the session.
func (s *FetchSession) Want(p FetchPartition) {
	if s.partitions == nil {
		s.partitions = make(map[TopicPartition]*sessionPartition)
	}
	key := TopicPartition{p.Topic, p.Partition}
	o := s.partitions[key]
	switch {
	case o == nil:
		o = &sessionPartition{at: len(s.list)}
		s.list = append(s.list, o)
		s.partitions[key] = o
	case o.FetchPartition == p:
	case o.TopicID != p.TopicID && s.ids:
		// Another topic of the same name: the old one is forgotten as the new one is added.
		if o.sent {
			old := *o
			old.at = len(s.list)
			old.round = s.round
			s.list = append(s.list, &old)
		}
		o.sent, o.fresh = false, false
	default:
		o.fresh = false
	}
	o.FetchPartition = p
	o.round = s.round + 1
}

// Len is how many partitions are wanted for the next request.
func (s *FetchSession) Len() (n int) {
	for _, p := range s.list {
		if p != nil && p.round == s.round+1 {
			n++
		}
	}
	return n
}

// Request fills in what a request says of the session and its partitions. Everything else is the caller's. Versions from 13
// on name topics by their ids; when byID is set all wanted partitions must have one.
func (s *FetchSession) Request(r *kafkawire.FetchRequest, byID bool) {
	s.round++
	if s.ids != byID {
		s.epoch = 0 // sessions stay with one kind of names
		s.ids = byID
	}
	r.SessionID, r.SessionEpoch = s.id, s.epoch
	if s.off {
		r.SessionID, r.SessionEpoch = 0, -1
	}
	s.full = s.off || s.epoch == 0
	r.Topics, r.ForgottenTopicsData = r.Topics[:0], r.ForgottenTopicsData[:0]
	for i, p := range s.list {
		switch {
		case p == nil:
		case p.round != s.round:
			if p.sent && !s.full {
				r.ForgottenTopicsData = appendForgotten(r.ForgottenTopicsData, &p.FetchPartition, byID)
			}
			key := TopicPartition{p.Topic, p.Partition}
			if s.partitions[key] == p {
				delete(s.partitions, key)
			}
			s.list[i] = nil
			s.gone++
		case s.full || !p.sent || !p.fresh:
			r.Topics = appendWanted(r.Topics, &p.FetchPartition, byID)
			p.sent, p.fresh = true, true
		}
	}
	s.compact()
}

// compact takes holes out of the list when there are many.
func (s *FetchSession) compact() {
	if s.gone <= len(s.list)/2 {
		return
	}
	s.list = slices.DeleteFunc(s.list, func(p *sessionPartition) bool { return p == nil })
	s.gone = 0
	for i, p := range s.list {
		p.at = i
	}
}

// appendWanted adds a partition to the topic that came last, or begins another.
func appendWanted(topics []kafkawire.FetchRequestTopic, p *FetchPartition, byID bool) []kafkawire.FetchRequestTopic {
	name, id := p.Topic, p.TopicID
	if byID {
		name = ""
	} else {
		id = kafkawire.UUID{}
	}
	n := len(topics) - 1
	if n < 0 || topics[n].Topic != name || topics[n].TopicID != id {
		n++
		if n < cap(topics) {
			topics = topics[:n+1]
			topics[n] = kafkawire.FetchRequestTopic{Topic: name, TopicID: id, Partitions: topics[n].Partitions[:0]}
		} else {
			topics = append(topics, kafkawire.FetchRequestTopic{Topic: name, TopicID: id})
		}
	}
	var w kafkawire.FetchRequestPartition
	w.Reset()
	w.Partition, w.FetchOffset, w.PartitionMaxBytes = p.Partition, p.Offset, p.MaxBytes
	w.CurrentLeaderEpoch, w.LastFetchedEpoch, w.LogStartOffset = p.CurrentLeaderEpoch, p.LastFetchedEpoch, p.LogStartOffset
	topics[n].Partitions = append(topics[n].Partitions, w)
	return topics
}

func appendForgotten(topics []kafkawire.FetchRequestForgottenTopic, p *FetchPartition, byID bool) []kafkawire.FetchRequestForgottenTopic {
	name, id := p.Topic, p.TopicID
	if byID {
		name = ""
	} else {
		id = kafkawire.UUID{}
	}
	if n := len(topics) - 1; n < 0 || topics[n].Topic != name || topics[n].TopicID != id {
		topics = append(topics, kafkawire.FetchRequestForgottenTopic{Topic: name, TopicID: id})
	}
	t := &topics[len(topics)-1]
	t.Partitions = append(t.Partitions, p.Partition)
	return topics
}

// Receive takes what a response says of the session. When the broker does not go on with it the next request begins another:
// that is no error for partitions that are in the response.
func (s *FetchSession) Receive(code kafkawire.ErrorCode, sessionID int32) {
	switch {
	case s.off:
	case code == kafkawire.ErrFetchSessionIDNotFound:
		s.id, s.epoch = 0, 0
	case code != 0:
		s.epoch = 0 // with the old id, so that the broker closes that session
	case sessionID == 0:
		s.id, s.epoch = 0, 0 // no room for a session, or it was thrown out
	case s.full:
		s.id, s.epoch = sessionID, 1
	case sessionID != s.id:
		s.epoch = 0
	case s.epoch == 1<<31-1:
		s.epoch = 1
	default:
		s.epoch++
	}
}

// Lost says that there was no response. What the broker has seen is not known, so the next request begins a session.
func (s *FetchSession) Lost() { s.epoch = 0 }
