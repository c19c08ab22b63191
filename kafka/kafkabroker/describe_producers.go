package kafkabroker

import (
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// describeProducers lists who produces to partitions with a producer id.
func (s *session) describeProducers(r *kafkaserver.Request) {
	var req kafkawire.DescribeProducersRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	var resp kafkawire.DescribeProducersResponse
	room := maxAnswers
	for _, t := range req.Topics {
		out := kafkawire.DescribeProducersResponseTopic{Name: t.Name}
		allowed := s.allowed(opRead, resourceTopic, string(t.Name))
		for _, index := range t.PartitionIndexes {
			a := kafkawire.DescribeProducersResponsePartition{PartitionIndex: index, ActiveProducers: []kafkawire.DescribeProducersResponseActiveProducer{}}
			p := s.b.partition(string(t.Name), index)
			switch {
			case !allowed:
				a.ErrorCode = kafkawire.ErrTopicAuthorizationFailed
			case p == nil:
				a.ErrorCode = kafkawire.ErrUnknownTopicOrPartition
			case p.leader() != s.node.at.ID:
				a.ErrorCode = kafkawire.ErrNotLeaderOrFollower
			case room <= 0:
				a.ErrorCode = kafkawire.ErrInvalidRequest
			default:
				for _, x := range p.log.activeProducers() {
					a.ActiveProducers = append(a.ActiveProducers, kafkawire.DescribeProducersResponseActiveProducer{
						ProducerID: kafkawire.ProducerID(x.id), ProducerEpoch: int32(x.epoch), LastSequence: x.lastSequence,
						LastTimestamp: x.lastTime, CoordinatorEpoch: x.coordinatorEpoch, CurrentTxnStartOffset: x.txnStart,
					})
				}
				room -= len(a.ActiveProducers)
			}
			out.Partitions = append(out.Partitions, a)
		}
		resp.Topics = append(resp.Topics, out)
	}
	r.Reply(&resp)
}
