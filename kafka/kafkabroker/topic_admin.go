package kafkabroker

import (
	"slices"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// createTopics makes topics.
func (s *session) createTopics(r *kafkaserver.Request) {
	var req kafkawire.CreateTopicsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	count := make(map[kafkawire.TopicName]int)
	for i := range req.Topics {
		count[req.Topics[i].Name]++
	}
	all := s.allowed(opCreate, resourceCluster, clusterName)
	resp := kafkawire.CreateTopicsResponse{Topics: make([]kafkawire.CreateTopicsResponseTopic, 0, len(count))}
	for i := range req.Topics {
		want := &req.Topics[i]
		n := count[want.Name]
		if n == 0 {
			continue // answered
		}
		a := kafkawire.CreateTopicsResponseTopic{Name: want.Name, NumPartitions: -1, ReplicationFactor: -1}
		switch {
		case n > 1:
			delete(count, want.Name)
			a.ErrorCode, a.ErrorMessage = kafkawire.ErrInvalidRequest, new("the request has this topic more than once")
		case !all && !s.allowed(opCreate, resourceTopic, string(want.Name)):
			a.ErrorCode = kafkawire.ErrTopicAuthorizationFailed
		case i >= maxCreated:
			a.ErrorCode, a.ErrorMessage = kafkawire.ErrPolicyViolation, new("the request has too many topics")
		default:
			s.create(&a, want, req.ValidateOnly)
		}
		resp.Topics = append(resp.Topics, a)
	}
	r.Reply(&resp)
}

// maxCreated bounds how many topics a request makes: an answer has all configs of each.
const maxCreated = 10_000

// create makes a topic for a client.
func (s *session) create(a *kafkawire.CreateTopicsResponseTopic, want *kafkawire.CreateTopicsRequestTopic, check bool) {
	t, err := s.tryCreate(want, check)
	if err != nil {
		a.ErrorCode, a.ErrorMessage = errorCode(err), errorText(err)
		return
	}
	list := t.partitions()
	if !check {
		a.TopicID = t.id
	}
	a.NumPartitions, a.ReplicationFactor = int32(len(list)), int16(len(list[0].replicas))
	if !s.allowed(opDescribeConfigs, resourceTopic, t.name) {
		a.TopicConfigErrorCode = kafkawire.ErrTopicAuthorizationFailed
		a.NumPartitions, a.ReplicationFactor = -1, -1
		return
	}
	a.Configs = []kafkawire.CreateTopicsResponseConfig{}
	set := configMap(want.Configs)
	for _, c := range s.b.configs.describeTopic(set) {
		a.Configs = append(a.Configs, kafkawire.CreateTopicsResponseConfig{
			Name: c.name, Value: c.shown(), ReadOnly: c.readOnly, ConfigSource: int8(c.source), IsSensitive: c.sensitive,
		})
	}
}

// configMap returns configs by their names. One without a value is left out.
func configMap(list []kafkawire.CreateTopicsRequestConfig) map[string]string {
	m := make(map[string]string, len(list))
	for _, c := range list {
		if c.Value != nil {
			m[c.Name] = *c.Value
		}
	}
	return m
}

func (s *session) tryCreate(want *kafkawire.CreateTopicsRequestTopic, check bool) (*topicState, error) {
	n := newTopic{name: string(want.Name), partitions: want.NumPartitions, replication: want.ReplicationFactor, configs: configMap(want.Configs)}
	for _, c := range want.Configs {
		if c.Value == nil {
			return nil, logError(kafkawire.ErrInvalidConfig, "the config %q has no value", c.Name)
		}
	}
	if isInternal(n.name) && s.conn != nil {
		if n.partitions == -1 || n.replication == -1 {
			return nil, logError(kafkawire.ErrInvalidRequest, "%s is made by the broker at its first use", n.name)
		}
	}
	if len(want.Assignments) > 0 {
		if n.partitions != -1 || n.replication != -1 {
			return nil, logError(kafkawire.ErrInvalidRequest, "both an assignment and a number of partitions or replicas are given")
		}
		n.assignment = make([][]kafkawire.BrokerID, len(want.Assignments))
		for _, a := range want.Assignments {
			if a.PartitionIndex < 0 || int(a.PartitionIndex) >= len(n.assignment) || n.assignment[a.PartitionIndex] != nil {
				return nil, logError(kafkawire.ErrInvalidReplicaAssignment, "the assignment does not have each partition from 0 on once")
			}
			n.assignment[a.PartitionIndex] = slices.Concat([]kafkawire.BrokerID{}, a.BrokerIDs)
			if len(a.BrokerIDs) == 0 {
				return nil, errNoReplicas(int(a.PartitionIndex))
			}
		}
	}
	return s.b.createTopic(&n, check)
}

// deleteTopics deletes topics.
func (s *session) deleteTopics(r *kafkaserver.Request) {
	var req kafkawire.DeleteTopicsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	want := req.Topics
	for i := range req.TopicNames {
		want = append(want, kafkawire.DeleteTopicsRequestTopic{Name: &req.TopicNames[i]})
	}
	resp := kafkawire.DeleteTopicsResponse{Responses: make([]kafkawire.DeleteTopicsResponseTopic, len(want))}
	found := make([]*topicState, len(want))
	count := make(map[*topicState]int)
	for i, w := range want {
		a := &resp.Responses[i]
		a.Name, a.TopicID = w.Name, w.TopicID
		t, err := s.toDelete(w, a)
		if err != nil {
			a.ErrorCode, a.ErrorMessage = errorCode(err), errorText(err)
			continue
		}
		found[i] = t
		count[t]++
	}
	for i, t := range found {
		a := &resp.Responses[i]
		switch {
		case t == nil:
		case count[t] > 1: // by its name and its id, perhaps
			a.ErrorCode, a.ErrorMessage = kafkawire.ErrInvalidRequest, new("the request has this topic more than once")
		default:
			if err := s.b.deleteTopic(t); err != nil {
				a.ErrorCode, a.ErrorMessage = errorCode(err), errorText(err)
			}
		}
	}
	r.Reply(&resp)
}

// toDelete returns the topic that a client wants to be deleted, if it may.
func (s *session) toDelete(w kafkawire.DeleteTopicsRequestTopic, a *kafkawire.DeleteTopicsResponseTopic) (*topicState, error) {
	var t *topicState
	switch {
	case w.Name != nil && !w.TopicID.IsZero():
		return nil, logError(kafkawire.ErrInvalidRequest, "both a name and an id are given")
	case w.Name == nil && w.TopicID.IsZero():
		return nil, logError(kafkawire.ErrInvalidRequest, "neither a name nor an id is given")
	case w.Name != nil:
		name := string(*w.Name)
		if !s.allowed(opDelete, resourceTopic, name) {
			return nil, kafkawire.ErrTopicAuthorizationFailed
		}
		if t = s.b.topic(name); t == nil {
			return nil, kafkawire.ErrUnknownTopicOrPartition
		}
	default:
		if t = s.b.topicByID(w.TopicID); t == nil {
			return nil, kafkawire.ErrUnknownTopicID
		}
		if s.allowed(opDescribe, resourceTopic, t.name) {
			a.Name = new(kafkawire.TopicName(t.name))
		}
		if !s.allowed(opDelete, resourceTopic, t.name) {
			return nil, kafkawire.ErrTopicAuthorizationFailed
		}
	}
	a.TopicID = t.id
	if !s.b.configs.broker().bool("delete.topic.enable") {
		return nil, kafkawire.ErrTopicDeletionDisabled
	}
	return t, nil
}
