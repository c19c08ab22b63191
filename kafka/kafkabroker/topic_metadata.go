package kafkabroker

import (
	"maps"
	"slices"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// address returns what the client of a session is told of where a node is.
func (s *session) address(n *node) (host string, port int32) {
	if n.at.Host != "" {
		return n.at.Host, n.at.Port
	}
	return s.conn.Advertised()
}

// rack returns the rack of a node, nil for none.
func (n *node) rack() *string {
	if n.at.Rack == "" {
		return nil
	}
	return &n.at.Rack
}

// metadata says which brokers and topics there are.
func (s *session) metadata(r *kafkaserver.Request) {
	var req kafkawire.MetadataRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	resp := kafkawire.MetadataResponse{
		ClusterID: &s.b.cluster, ControllerID: kafkawire.BrokerID(s.b.nodes[0].at.ID), ClusterAuthorizedOperations: minInt32,
	}
	for _, n := range s.b.nodes {
		host, port := s.address(n)
		resp.Brokers = append(resp.Brokers, kafkawire.MetadataResponseBroker{NodeID: kafkawire.BrokerID(n.at.ID), Host: host, Port: port, Rack: n.rack()})
	}
	if req.IncludeClusterAuthorizedOperations && s.allowed(opDescribe, resourceCluster, clusterName) {
		resp.ClusterAuthorizedOperations = s.authorizedOperations(resourceCluster, clusterName)
	}
	all := req.Topics == nil || r.Version == 0 && len(req.Topics) == 0
	if all {
		for _, t := range s.b.allTopics() {
			if s.allowed(opDescribe, resourceTopic, t.name) {
				resp.Topics = append(resp.Topics, s.describe(t, req.IncludeTopicAuthorizedOperations))
			}
		}
	}
	seen := make(map[metadataKey]bool, len(req.Topics))
	for i := range req.Topics {
		want := &req.Topics[i]
		k := metadataKey{named: want.Name != nil, id: want.TopicID}
		if k.named {
			k = metadataKey{named: true, name: *want.Name}
		}
		if !seen[k] {
			seen[k] = true
			resp.Topics = append(resp.Topics, s.lookUp(&req, want))
		}
	}
	r.Reply(&resp)
}

// metadataKey is what a client asks for. One that asks for the same twice gets one answer, as many are much longer than the
// question.
type metadataKey struct {
	named bool
	name  kafkawire.TopicName
	id    kafkawire.UUID
}

const minInt32 = -1 << 31

// allTopics returns all topics in the order of their names.
func (b *Broker) allTopics() []*topicState {
	b.mu.RLock()
	defer b.mu.RUnlock()
	list := make([]*topicState, 0, len(b.topics))
	for _, name := range slices.Sorted(maps.Keys(b.topics)) {
		list = append(list, b.topics[name])
	}
	return list
}

// lookUp answers for a topic that was asked for.
func (s *session) lookUp(req *kafkawire.MetadataRequest, want *kafkawire.MetadataRequestTopic) kafkawire.MetadataResponseTopic {
	answer := kafkawire.MetadataResponseTopic{Name: want.Name, TopicID: want.TopicID, TopicAuthorizedOperations: minInt32}
	if want.Name == nil {
		t := s.b.topicByID(want.TopicID)
		switch {
		case t == nil:
			answer.ErrorCode = kafkawire.ErrUnknownTopicID
		case !s.allowed(opDescribe, resourceTopic, t.name):
			answer.ErrorCode = kafkawire.ErrTopicAuthorizationFailed
		default:
			return s.describe(t, req.IncludeTopicAuthorizedOperations)
		}
		answer.Name = nil
		return answer
	}
	answer.TopicID = kafkawire.UUID{}
	name := string(*want.Name)
	if !s.allowed(opDescribe, resourceTopic, name) {
		answer.ErrorCode = kafkawire.ErrTopicAuthorizationFailed
		return answer
	}
	t := s.b.topic(name)
	if t == nil {
		var err error
		if t, err = s.autoCreate(name, req.AllowAutoTopicCreation); t == nil {
			answer.ErrorCode = errorCode(err)
			return answer
		}
	}
	return s.describe(t, req.IncludeTopicAuthorizedOperations)
}

// autoCreate makes a topic that a client asks for, if clients may do so.
func (s *session) autoCreate(name string, want bool) (*topicState, error) {
	if err := checkTopicName(name); err != nil {
		return nil, err
	}
	if !want || !s.b.configs.broker().bool("auto.create.topics.enable") {
		return nil, kafkawire.ErrUnknownTopicOrPartition
	}
	if !s.allowed(opCreate, resourceCluster, clusterName) && !s.allowed(opCreate, resourceTopic, name) {
		return nil, kafkawire.ErrTopicAuthorizationFailed
	}
	if isInternal(name) {
		return s.b.internalTopic(name)
	}
	t, err := s.b.createTopic(&newTopic{name: name, partitions: -1, replication: -1}, false)
	if t == nil {
		if t = s.b.topic(name); t != nil {
			err = nil // somebody was faster
		}
	}
	return t, err
}

// describe says what there is to say about a topic.
func (s *session) describe(t *topicState, operations bool) kafkawire.MetadataResponseTopic {
	name := kafkawire.TopicName(t.name)
	answer := kafkawire.MetadataResponseTopic{Name: &name, TopicID: t.id, IsInternal: t.internal, TopicAuthorizedOperations: minInt32}
	if operations {
		answer.TopicAuthorizedOperations = s.authorizedOperations(resourceTopic, t.name)
	}
	list := t.partitions()
	answer.Partitions = make([]kafkawire.MetadataResponsePartition, len(list))
	for i, p := range list {
		nodes := p.nodes()
		answer.Partitions[i] = kafkawire.MetadataResponsePartition{
			PartitionIndex: p.index, LeaderID: kafkawire.BrokerID(p.leader()), LeaderEpoch: s.b.leaderEpoch(p),
			ReplicaNodes: nodes, ISRNodes: nodes, OfflineReplicas: []kafkawire.BrokerID{},
		}
	}
	return answer
}

// nodes returns the replicas of the partition, all of which are in sync. The slice must not be changed.
func (p *partition) nodes() []kafkawire.BrokerID { return p.replicas }
