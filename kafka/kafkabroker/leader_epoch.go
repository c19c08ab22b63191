package kafkabroker

import (
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// endOfEpoch returns the largest leader epoch that is not above the asked one, and where it ended. Both are -1 when the
// partition does not know. A log hears of an epoch with the first record in it, so those since then end where the log ends.
func (b *Broker) endOfEpoch(p *partition, epoch int32) (int32, int64) {
	st := p.log.state()
	if epoch > st.epoch && epoch <= b.leaderEpoch(p) {
		if st.epoch < 0 || epoch == b.leaderEpoch(p) {
			return epoch, st.end
		}
		return st.epoch, st.end
	}
	return p.log.endOfEpoch(epoch)
}

// offsetForLeaderEpoch says where the epochs of leaders end.
func (s *session) offsetForLeaderEpoch(r *kafkaserver.Request) {
	var req kafkawire.OffsetForLeaderEpochRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	follower := req.ReplicaID >= 0 && s.allowed(opClusterAction, resourceCluster, clusterName)
	var resp kafkawire.OffsetForLeaderEpochResponse
	for _, t := range req.Topics {
		out := kafkawire.OffsetForLeaderEpochResponseTopic{Topic: t.Topic}
		allowed := follower || s.allowed(opDescribe, resourceTopic, string(t.Topic))
		for _, want := range t.Partitions {
			a := kafkawire.OffsetForLeaderEpochResponsePartition{Partition: want.Partition, LeaderEpoch: -1, EndOffset: -1}
			p := s.b.partition(string(t.Topic), want.Partition)
			switch {
			case !allowed:
				a.ErrorCode = kafkawire.ErrTopicAuthorizationFailed
			case p == nil:
				a.ErrorCode = kafkawire.ErrUnknownTopicOrPartition
			default:
				if a.ErrorCode = s.check(p, want.CurrentLeaderEpoch); a.ErrorCode == noError {
					a.LeaderEpoch, a.EndOffset = s.b.endOfEpoch(p, want.LeaderEpoch)
				}
			}
			out.Partitions = append(out.Partitions, a)
		}
		resp.Topics = append(resp.Topics, out)
	}
	r.Reply(&resp)
}
