package kafkabroker

import (
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// deleteRecords removes the records below an offset.
func (s *session) deleteRecords(r *kafkaserver.Request) {
	var req kafkawire.DeleteRecordsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	var resp kafkawire.DeleteRecordsResponse
	var done []*kafkawire.DeleteRecordsResponsePartition
	for _, t := range req.Topics {
		out := kafkawire.DeleteRecordsResponseTopic{Name: t.Name, Partitions: make([]kafkawire.DeleteRecordsResponsePartition, len(t.Partitions))}
		allowed := s.allowed(opDelete, resourceTopic, string(t.Name))
		for i, want := range t.Partitions {
			a := &out.Partitions[i]
			a.PartitionIndex, a.LowWatermark = want.PartitionIndex, -1
			p := s.b.partition(string(t.Name), want.PartitionIndex)
			switch {
			case !allowed:
				a.ErrorCode = kafkawire.ErrTopicAuthorizationFailed
			case p == nil:
				a.ErrorCode = kafkawire.ErrUnknownTopicOrPartition
			case p.leader() != s.node.at.ID:
				a.ErrorCode = kafkawire.ErrNotLeaderOrFollower
			default:
				low, err := s.b.deleteRecords(p, want.Offset)
				if a.ErrorCode = errorCode(err); err == nil {
					a.LowWatermark = low
					done = append(done, a)
				}
			}
		}
		resp.Topics = append(resp.Topics, out)
	}
	if len(done) > 0 {
		if err := s.b.logs.saveStarts(); err != nil {
			for _, a := range done {
				a.ErrorCode, a.LowWatermark = errorCode(err), -1
			}
		}
	}
	r.Reply(&resp)
}

// deleteRecords removes the records of a partition below an offset, -1 for all. It is durable with logDir.saveStarts. The
// files follow in the background.
func (b *Broker) deleteRecords(p *partition, offset int64) (int64, error) {
	if c := p.log.config(); !c.delete && c.compact || p.topic.internal {
		return -1, logError(kafkawire.ErrPolicyViolation, "the topic %s is not one of which records are deleted", p.topic.name)
	}
	low, err := p.log.deleteRecords(offset)
	if err == nil {
		p.wake() // readers of what is gone are to learn it
	}
	return low, err
}
