package kafkabroker

import (
	"slices"
	"strings"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// createPartitions adds partitions to topics.
func (s *session) createPartitions(r *kafkaserver.Request) {
	var req kafkawire.CreatePartitionsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	count := make(map[kafkawire.TopicName]int)
	for _, t := range req.Topics {
		count[t.Name]++
	}
	var resp kafkawire.CreatePartitionsResponse
	for _, t := range req.Topics {
		var err error
		switch n := count[t.Name]; {
		case n == 0:
			continue // answered
		case n > 1:
			delete(count, t.Name)
			err = logError(kafkawire.ErrInvalidRequest, "the request has this topic more than once")
		case !s.allowed(opAlter, resourceTopic, string(t.Name)):
			err = kafkawire.ErrTopicAuthorizationFailed
		case s.b.topic(string(t.Name)) == nil:
			err = kafkawire.ErrUnknownTopicOrPartition
		default:
			var nodes [][]kafkawire.BrokerID
			for _, a := range t.Assignments {
				nodes = append(nodes, a.BrokerIDs)
			}
			if t.Assignments != nil && nodes == nil {
				nodes = [][]kafkawire.BrokerID{}
			}
			err = s.b.addPartitions(string(t.Name), t.Count, nodes, req.ValidateOnly)
		}
		resp.Results = append(resp.Results, kafkawire.CreatePartitionsResponseResult{
			Name: t.Name, ErrorCode: errorCode(err), ErrorMessage: errorText(err),
		})
	}
	r.Reply(&resp)
}

// maxDescribed is max.request.partition.size.limit: how many partitions a response has at most.
const maxDescribed = 2000

// describeTopicPartitions lists partitions page by page.
func (s *session) describeTopicPartitions(r *kafkaserver.Request) {
	var req kafkawire.DescribeTopicPartitionsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	names := make([]string, 0, len(req.Topics))
	for _, t := range req.Topics {
		names = append(names, string(t.Name))
	}
	all := len(names) == 0
	if all {
		for _, t := range s.b.allTopics() {
			names = append(names, t.name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	d := describing{s: s, left: max(min(int(req.ResponsePartitionLimit), maxDescribed), 1)}
	first := int32(0)
	if c := req.Cursor; c != nil {
		if c.PartitionIndex < 0 {
			r.Fail(logError(kafkawire.ErrInvalidRequest, "a cursor at partition %d", c.PartitionIndex))
			return
		}
		i, found := slices.BinarySearchFunc(names, string(c.TopicName), strings.Compare)
		names = names[i:]
		if found {
			first = c.PartitionIndex
		}
	}
	for _, name := range names {
		if !d.topic(name, first, all) {
			break
		}
		first = 0
	}
	r.Reply(&d.resp)
}

// describing is a DescribeTopicPartitions under way.
type describing struct {
	s    *session
	resp kafkawire.DescribeTopicPartitionsResponse
	left int
}

// topic adds a topic from a partition on. It reports false when the page is full.
func (d *describing) topic(name string, first int32, all bool) bool {
	s := d.s
	a := kafkawire.DescribeTopicPartitionsResponseTopic{Name: new(kafkawire.TopicName(name)), TopicAuthorizedOperations: minInt32}
	t := s.b.topic(name)
	allowed := s.allowed(opDescribe, resourceTopic, name)
	switch {
	case all && (!allowed || t == nil):
		return true
	case !allowed:
		a.ErrorCode = kafkawire.ErrTopicAuthorizationFailed
	case t == nil:
		a.ErrorCode = kafkawire.ErrUnknownTopicOrPartition
		if err := checkTopicName(name); err != nil {
			a.ErrorCode = errorCode(err)
		}
	}
	if a.ErrorCode != noError {
		d.resp.Topics = append(d.resp.Topics, a)
		return true
	}
	list := t.partitions()
	first = min(first, int32(len(list)))
	if d.left == 0 {
		d.resp.NextCursor = &kafkawire.DescribeTopicPartitionsResponseNextCursor{TopicName: kafkawire.TopicName(name), PartitionIndex: first}
		return false
	}
	a.TopicID, a.IsInternal = t.id, t.internal
	a.TopicAuthorizedOperations = s.authorizedOperations(resourceTopic, name)
	rest := list[first:]
	page := rest[:min(len(rest), d.left)]
	d.left -= len(page)
	for _, p := range page {
		a.Partitions = append(a.Partitions, kafkawire.DescribeTopicPartitionsResponsePartition{
			PartitionIndex: p.index, LeaderID: kafkawire.BrokerID(p.leader()), LeaderEpoch: s.b.leaderEpoch(p), ReplicaNodes: p.replicas,
			ISRNodes: p.replicas, EligibleLeaderReplicas: []kafkawire.BrokerID{}, LastKnownELR: []kafkawire.BrokerID{}, OfflineReplicas: []kafkawire.BrokerID{},
		})
	}
	d.resp.Topics = append(d.resp.Topics, a)
	if len(page) < len(rest) {
		next := first + int32(len(page))
		d.resp.NextCursor = &kafkawire.DescribeTopicPartitionsResponseNextCursor{TopicName: kafkawire.TopicName(name), PartitionIndex: next}
		return false
	}
	return true
}
