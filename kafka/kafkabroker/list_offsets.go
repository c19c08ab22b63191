package kafkabroker

import (
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// The timestamps of ListOffsets that are none.
const (
	askLatest          = -1 // behind the last record that the client may see
	askEarliest        = -2 // the log start offset
	askMaxTimestamp    = -3 // the record with the latest timestamp
	askEarliestLocal   = -4 // the first that is not in a tier elsewhere only
	askLatestTiered    = -5 // the last that is in another tier
	askEarliestPending = -6 // the first that is not in another tier
)

// listOffsets finds offsets by time.
func (s *session) listOffsets(r *kafkaserver.Request) {
	var req kafkawire.ListOffsetsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	type place struct {
		topic kafkawire.TopicName
		index int32
	}
	seen := make(map[place]int)
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			seen[place{req.Topics[i].Name, req.Topics[i].Partitions[j].PartitionIndex}]++
		}
	}
	i := readUncommitted
	switch {
	case req.ReplicaID >= 0:
		i = readAll
	case req.IsolationLevel == 1:
		i = readCommitted
	}
	resp := kafkawire.ListOffsetsResponse{Topics: make([]kafkawire.ListOffsetsResponseTopic, len(req.Topics))}
	for n := range req.Topics {
		t := &req.Topics[n]
		out := kafkawire.ListOffsetsResponseTopic{Name: t.Name, Partitions: make([]kafkawire.ListOffsetsResponsePartition, len(t.Partitions))}
		allowed := s.allowed(opDescribe, resourceTopic, string(t.Name))
		for k := range t.Partitions {
			want, a := &t.Partitions[k], &out.Partitions[k]
			*a = kafkawire.ListOffsetsResponsePartition{PartitionIndex: want.PartitionIndex, Timestamp: -1, Offset: -1, LeaderEpoch: -1}
			switch {
			case !allowed:
				a.ErrorCode = kafkawire.ErrTopicAuthorizationFailed
			case seen[place{t.Name, want.PartitionIndex}] > 1:
				a.ErrorCode = kafkawire.ErrInvalidRequest
			default:
				s.listOffset(a, string(t.Name), want, i, r.Version)
			}
		}
		resp.Topics[n] = out
	}
	r.Reply(&resp)
}

// listOffset answers for a partition.
func (s *session) listOffset(a *kafkawire.ListOffsetsResponsePartition, topic string, want *kafkawire.ListOffsetsRequestPartition, i isolation, version int16) {
	p := s.b.partition(topic, want.PartitionIndex)
	if p == nil {
		a.ErrorCode = kafkawire.ErrUnknownTopicOrPartition
		return
	}
	if a.ErrorCode = s.check(p, want.CurrentLeaderEpoch); a.ErrorCode != noError {
		return
	}
	o, found, err := s.b.offsetAt(p, want.Timestamp, i, version)
	switch {
	case err != nil:
		a.ErrorCode = errorCode(err)
	case found:
		a.Offset, a.Timestamp = o.offset, o.time
		if version >= 4 {
			a.LeaderEpoch = o.epoch
		}
	}
}

// offsetAt finds an offset of a partition by time.
func (b *Broker) offsetAt(p *partition, time int64, i isolation, version int16) (o foundOffset, found bool, err error) {
	bound := p.log.latest(i)
	switch {
	case time == askLatest:
		bound.epoch = b.leaderEpoch(p)
		return bound, true, nil
	case time == askEarliest, time == askEarliestLocal && version >= 8:
		return p.log.earliest(), true, nil
	case time == askMaxTimestamp && version >= 7:
		o, found, err = p.log.latestTime()
	case time == askLatestTiered && version >= 9, time == askEarliestPending && version >= 11:
		return o, false, nil // there is no other tier
	case time < 0:
		return o, false, kafkawire.ErrUnsupportedVersion
	default:
		o, found, err = p.log.offsetFor(time)
	}
	if o.offset >= bound.offset {
		found = false // the client may not see it yet
	}
	return o, found, err
}
