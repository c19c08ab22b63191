package kafkabroker

import (
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// MoveLeader makes another of the [Options].Nodes the leader of a partition, which gets the next leader epoch. The node
// becomes a replica if it was none. That is for tests of clients; the records are the same for all nodes.
func (b *Broker) MoveLeader(topic string, partition, node int32) error {
	if b.node(node) == nil {
		return logError(kafkawire.ErrInvalidReplicaAssignment, "there is no node %d", node)
	}
	return b.elect(topic, partition, node)
}

// elect makes a node the leader of a partition.
func (b *Broker) elect(topic string, index, node int32) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	t := b.topic(topic)
	if t == nil || t.partition(index) == nil {
		return logError(kafkawire.ErrUnknownTopicOrPartition, "there is no partition %d of %s", index, topic)
	}
	p := t.partition(index)
	old := p.leadership()
	p.lead.Store(&leadership{node, old.epochBase + 1})
	if err := b.setMeta(metaChange{metaTopic, topic, t.encode(t.partitions())}); err != nil {
		p.lead.Store(&old)
		return err
	}
	p.wake() // those who wait at the old leader
	if f := b.opt.Events.LeaderChanged; f != nil {
		f(topic, index, node, b.leaderEpoch(p))
	}
	return nil
}

// electLeaders gives partitions back to their preferred leaders.
func (s *session) electLeaders(r *kafkaserver.Request) {
	var req kafkawire.ElectLeadersRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	var resp kafkawire.ElectLeadersResponse
	if !s.allowed(opAlter, resourceCluster, clusterName) {
		resp.ErrorCode = kafkawire.ErrClusterAuthorizationFailed
		r.Reply(&resp)
		return
	}
	want := req.TopicPartitions
	all := want == nil
	if all {
		for _, t := range s.b.allTopics() {
			w := kafkawire.ElectLeadersRequestTopic{Topic: kafkawire.TopicName(t.name)}
			for _, p := range t.partitions() {
				w.Partitions = append(w.Partitions, p.index)
			}
			want = append(want, w)
		}
	}
	for _, t := range want {
		out := kafkawire.ElectLeadersResponseTopic{Topic: t.Topic}
		for _, index := range t.Partitions {
			err := s.b.electPreferred(string(t.Topic), index, req.ElectionType)
			if all && errorCode(err) == kafkawire.ErrElectionNotNeeded {
				continue
			}
			out.PartitionResult = append(out.PartitionResult, kafkawire.ElectLeadersResponsePartition{
				PartitionID: index, ErrorCode: errorCode(err), ErrorMessage: errorText(err),
			})
		}
		if len(out.PartitionResult) > 0 {
			resp.ReplicaElectionResults = append(resp.ReplicaElectionResults, out)
		}
	}
	r.Reply(&resp)
}

// electPreferred gives a partition back to its preferred leader. An election among replicas that are not in sync is never
// needed: all are.
func (b *Broker) electPreferred(topic string, index int32, kind int8) error {
	p := b.partition(topic, index)
	switch {
	case p == nil:
		return logError(kafkawire.ErrUnknownTopicOrPartition, "there is no partition %d of %s", index, topic)
	case kind == 1 || int32(p.replicas[0]) == p.leader():
		return logError(kafkawire.ErrElectionNotNeeded, "the leader stays")
	case kind != 0:
		return logError(kafkawire.ErrInvalidRequest, "there is no election of type %d", kind)
	}
	return b.elect(topic, index, int32(p.replicas[0]))
}

// listPartitionReassignments lists the partitions that are being moved: there never are any.
func (s *session) listPartitionReassignments(r *kafkaserver.Request) {
	var req kafkawire.ListPartitionReassignmentsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	var resp kafkawire.ListPartitionReassignmentsResponse
	if !s.allowed(opDescribe, resourceCluster, clusterName) {
		resp.ErrorCode = kafkawire.ErrClusterAuthorizationFailed
	}
	r.Reply(&resp)
}
