package kafkabroker

import (
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// offsetFetch says how far groups have come.
func (s *session) offsetFetch(r *kafkaserver.Request) {
	req := new(kafkawire.OffsetFetchRequest)
	if err := r.Decode(req); err != nil {
		r.Fail(err)
		return
	}
	if r.Version < 8 {
		g := kafkawire.OffsetFetchRequestGroup{GroupID: req.GroupID}
		if req.Topics != nil {
			g.Topics = make([]kafkawire.OffsetFetchRequestGroupTopic, len(req.Topics))
			for i := range req.Topics {
				g.Topics[i] = kafkawire.OffsetFetchRequestGroupTopic{
					Name: req.Topics[i].Name, PartitionIndexes: req.Topics[i].PartitionIndexes,
				}
			}
		}
		req.Groups = []kafkawire.OffsetFetchRequestGroup{g}
	}
	resp := &kafkawire.OffsetFetchResponse{Groups: make([]kafkawire.OffsetFetchResponseGroup, len(req.Groups))}
	room := maxFetchedOffsets
	w := newBarrier(func(err error) {
		if err != nil {
			for i := range resp.Groups {
				resp.Groups[i] = kafkawire.OffsetFetchResponseGroup{GroupID: req.Groups[i].GroupID, ErrorCode: groupCode(err)}
			}
		}
		replyOffsets(r, req, resp)
	})
	for i := range req.Groups {
		g := &resp.Groups[i]
		if room <= 0 {
			g.GroupID, g.ErrorCode = req.Groups[i].GroupID, kafkawire.ErrInvalidRequest
			continue
		}
		s.fetchOffsets(&req.Groups[i], g, req.RequireStable, r.Version >= 10, w)
		for j := range g.Topics {
			room -= len(g.Topics[j].Partitions)
		}
	}
	w.end(nil)
}

// maxFetchedOffsets bounds the offsets in a response: a small request can ask for all offsets of a group again and again.
const maxFetchedOffsets = 1 << 20

// replyOffsets answers in the form of the version.
func replyOffsets(r *kafkaserver.Request, req *kafkawire.OffsetFetchRequest, resp *kafkawire.OffsetFetchResponse) {
	if r.Version >= 8 {
		r.Reply(resp)
		return
	}
	g := &resp.Groups[0]
	old := &kafkawire.OffsetFetchResponse{ErrorCode: g.ErrorCode}
	if g.ErrorCode != noError && r.Version < 2 {
		// There is no code for the group as a whole.
		for _, t := range req.Topics {
			g.Topics = append(g.Topics, failedOffsets(t.Name, kafkawire.UUID{}, t.PartitionIndexes, g.ErrorCode))
		}
		old.ErrorCode = noError
	}
	old.Topics = make([]kafkawire.OffsetFetchResponseTopic, len(g.Topics))
	for i := range g.Topics {
		t := &g.Topics[i]
		old.Topics[i] = kafkawire.OffsetFetchResponseTopic{Name: t.Name, Partitions: make([]kafkawire.OffsetFetchResponsePartition, len(t.Partitions))}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			old.Topics[i].Partitions[j] = kafkawire.OffsetFetchResponsePartition{
				PartitionIndex: p.PartitionIndex, CommittedOffset: p.CommittedOffset, CommittedLeaderEpoch: p.CommittedLeaderEpoch,
				Metadata: p.Metadata, ErrorCode: p.ErrorCode,
			}
		}
	}
	r.Reply(old)
}

// noOffset is the answer where there is none.
func noOffset(partition int32, code kafkawire.ErrorCode) kafkawire.OffsetFetchResponseGroupTopicPartition {
	return kafkawire.OffsetFetchResponseGroupTopicPartition{
		PartitionIndex: partition, CommittedOffset: -1, CommittedLeaderEpoch: -1, Metadata: new(""), ErrorCode: code,
	}
}

// failedOffsets is the answer for a topic of which no offsets are told.
func failedOffsets(name kafkawire.TopicName, id kafkawire.UUID, partitions []int32, code kafkawire.ErrorCode) kafkawire.OffsetFetchResponseGroupTopic {
	t := kafkawire.OffsetFetchResponseGroupTopic{Name: name, TopicID: id, Partitions: make([]kafkawire.OffsetFetchResponseGroupTopicPartition, len(partitions))}
	for i, p := range partitions {
		t.Partitions[i] = noOffset(p, code)
	}
	return t
}

// fetchOffsets says how far a group has come. Of a group that nobody knows, every partition has no offset, and that is no
// error: consumers that never join ask before they commit.
func (s *session) fetchOffsets(req *kafkawire.OffsetFetchRequestGroup, resp *kafkawire.OffsetFetchResponseGroup, stable, byID bool, w *barrier) {
	resp.GroupID = req.GroupID
	group := string(req.GroupID)
	if !s.allowed(opDescribe, resourceGroup, group) {
		resp.ErrorCode = kafkawire.ErrGroupAuthorizationFailed
		return
	}
	sh, code := s.groupShard(group)
	if code != noError {
		resp.ErrorCode = code
		return
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	w.add(sh)
	e := sh.group(group)
	if req.Topics == nil {
		resp.Topics = []kafkawire.OffsetFetchResponseGroupTopic{}
		if e != nil {
			resp.Topics = s.allOffsets(e, stable, byID)
		}
		return
	}
	resp.Topics = make([]kafkawire.OffsetFetchResponseGroupTopic, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		name := string(t.Name)
		code := noError
		if byID {
			if topic := s.b.topicByID(t.TopicID); topic != nil {
				name = topic.name
			} else {
				code = kafkawire.ErrUnknownTopicID
			}
		}
		if code == noError && !s.allowed(opDescribe, resourceTopic, name) {
			code = kafkawire.ErrTopicAuthorizationFailed
		}
		if code != noError {
			resp.Topics[i] = failedOffsets(t.Name, t.TopicID, t.PartitionIndexes, code)
			continue
		}
		resp.Topics[i] = kafkawire.OffsetFetchResponseGroupTopic{Name: kafkawire.TopicName(name), TopicID: t.TopicID}
		resp.Topics[i].Partitions = make([]kafkawire.OffsetFetchResponseGroupTopicPartition, len(t.PartitionIndexes))
		for j, p := range t.PartitionIndexes {
			resp.Topics[i].Partitions[j] = e.offset(offsetKey{name, p}, stable)
		}
	}
}

// offset returns the offset of a partition. e may be nil.
func (e *groupEntry) offset(k offsetKey, stable bool) kafkawire.OffsetFetchResponseGroupTopicPartition {
	if e == nil {
		return noOffset(k.partition, noError)
	}
	if stable && e.pending[k] > 0 {
		return noOffset(k.partition, kafkawire.ErrUnstableOffsetCommit)
	}
	c, ok := e.offsets[k]
	if !ok {
		return noOffset(k.partition, noError)
	}
	return kafkawire.OffsetFetchResponseGroupTopicPartition{
		PartitionIndex: k.partition, CommittedOffset: c.offset, CommittedLeaderEpoch: c.epoch, Metadata: &c.metadata,
	}
}

// allOffsets returns the offsets of a group that the client may see.
func (s *session) allOffsets(e *groupEntry, stable, byID bool) []kafkawire.OffsetFetchResponseGroupTopic {
	list := []kafkawire.OffsetFetchResponseGroupTopic{}
	skip, last := false, ""
	for i, k := range e.keys() {
		if i == 0 || k.topic != last {
			last = k.topic
			t := kafkawire.OffsetFetchResponseGroupTopic{Name: kafkawire.TopicName(k.topic)}
			topic := s.b.topic(k.topic)
			if topic != nil {
				t.TopicID = topic.id
			}
			if skip = !s.allowed(opDescribe, resourceTopic, k.topic) || byID && topic == nil; !skip {
				list = append(list, t)
			}
		}
		if !skip {
			t := &list[len(list)-1]
			t.Partitions = append(t.Partitions, e.offset(k, stable))
		}
	}
	return list
}
