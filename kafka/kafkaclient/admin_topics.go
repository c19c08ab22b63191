package kafkaclient

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// NewTopic is a topic to be created.
type NewTopic struct {
	Name        string
	Partitions  int32 // zero is the broker's default
	Replication int16 // zero is the broker's default

	// Assignment chooses the replicas of each partition, the first one being the preferred leader. Then there are no
	// Partitions and no Replication.
	Assignment map[int32][]kafkawire.BrokerID

	Configs map[string]string // such as "cleanup.policy": "compact"
}

// CreateTopics creates topics.
func (a *Admin) CreateTopics(ctx context.Context, topics ...NewTopic) error {
	return a.createTopics(ctx, topics, false)
}

// ValidateTopics reports whether topics could be created, and creates none.
func (a *Admin) ValidateTopics(ctx context.Context, topics ...NewTopic) error {
	return a.createTopics(ctx, topics, true)
}

func (a *Admin) createTopics(ctx context.Context, topics []NewTopic, validate bool) error {
	names := make([]string, len(topics))
	for i := range topics {
		names[i] = topics[i].Name
	}
	return changeEach(ctx, a.c, names, func(names []string) kafkawire.Request {
		req := &kafkawire.CreateTopicsRequest{TimeoutMs: a.requestTimeout(), ValidateOnly: validate}
		for _, t := range topics {
			if !slices.Contains(names, t.Name) {
				continue
			}
			x := kafkawire.CreateTopicsRequestTopic{Name: kafkawire.TopicName(t.Name), NumPartitions: orDefault(t.Partitions, -1), ReplicationFactor: orDefault(t.Replication, -1)}
			for _, i := range slices.Sorted(maps.Keys(t.Assignment)) {
				x.NumPartitions, x.ReplicationFactor = -1, -1
				x.Assignments = append(x.Assignments, kafkawire.CreateTopicsRequestAssignment{PartitionIndex: i, BrokerIDs: t.Assignment[i]})
			}
			for _, k := range slices.Sorted(maps.Keys(t.Configs)) {
				x.Configs = append(x.Configs, kafkawire.CreateTopicsRequestConfig{Name: k, Value: new(t.Configs[k])})
			}
			req.Topics = append(req.Topics, x)
		}
		return req
	}, func(r *kafkawire.CreateTopicsResponse) (list []itemResult) {
		for _, t := range r.Topics {
			list = append(list, itemResult{string(t.Name), t.ErrorCode, t.ErrorMessage})
		}
		return list
	})
}

// DeleteTopics deletes topics.
func (a *Admin) DeleteTopics(ctx context.Context, names ...string) error {
	return changeEach(ctx, a.c, names, func(names []string) kafkawire.Request {
		return &deleteTopics{new(kafkawire.DeleteTopicsRequest), names, a.requestTimeout()}
	}, func(r *kafkawire.DeleteTopicsResponse) (list []itemResult) {
		for _, t := range r.Responses {
			if t.Name != nil {
				list = append(list, itemResult{string(*t.Name), t.ErrorCode, t.ErrorMessage})
			}
		}
		return list
	})
}

// deleteTopics is a DeleteTopicsRequest by name in every version.
type deleteTopics struct {
	*kafkawire.DeleteTopicsRequest
	names   []string
	timeout int32
}

func (r *deleteTopics) Append(dst []byte, version int16) ([]byte, error) {
	req := kafkawire.DeleteTopicsRequest{TimeoutMs: r.timeout}
	for _, s := range r.names {
		name := kafkawire.TopicName(s)
		if version < 6 {
			req.TopicNames = append(req.TopicNames, name)
		} else {
			req.Topics = append(req.Topics, kafkawire.DeleteTopicsRequestTopic{Name: &name})
		}
	}
	return req.Append(dst, version)
}

// CreatePartitions makes a topic have more partitions: total in all. replicas chooses the brokers of the new ones; without
// any the controller does.
func (a *Admin) CreatePartitions(ctx context.Context, topic string, total int32, replicas ...[]kafkawire.BrokerID) error {
	x := kafkawire.CreatePartitionsRequestTopic{Name: kafkawire.TopicName(topic), Count: total}
	for _, ids := range replicas {
		x.Assignments = append(x.Assignments, kafkawire.CreatePartitionsRequestAssignment{BrokerIDs: ids})
	}
	req := &kafkawire.CreatePartitionsRequest{TimeoutMs: a.requestTimeout(), Topics: []kafkawire.CreatePartitionsRequestTopic{x}}
	return changeEach(ctx, a.c, []string{topic}, func([]string) kafkawire.Request { return req }, func(r *kafkawire.CreatePartitionsResponse) (list []itemResult) {
		for _, t := range r.Results {
			list = append(list, itemResult{string(t.Name), t.ErrorCode, t.ErrorMessage})
		}
		return list
	})
}

// Topic describes a topic.
type Topic struct {
	Name       string
	ID         kafkawire.UUID // zero with brokers before Kafka 2.8
	Internal   bool
	Partitions []Partition // by index
}

// Partition describes a partition.
type Partition struct {
	Index       int32
	Leader      kafkawire.BrokerID   // -1: none
	LeaderEpoch int32                // -1: unknown
	Replicas    []kafkawire.BrokerID // the preferred leader first
	ISR         []kafkawire.BrokerID // those in sync
	Offline     []kafkawire.BrokerID
}

// Topics describes topics, all without names, in the order of their names.
func (a *Admin) Topics(ctx context.Context, names ...string) ([]Topic, error) {
	req := new(kafkawire.MetadataRequest)
	req.Reset()
	req.AllowAutoTopicCreation = false
	for _, s := range names {
		req.Topics = append(req.Topics, kafkawire.MetadataRequestTopic{Name: new(kafkawire.TopicName(s))})
	}
	r, err := request[*kafkawire.MetadataResponse](ctx, a.c, req)
	if err != nil {
		return nil, err
	}
	var errs ItemErrors
	var list []Topic
	for i := range r.Topics {
		t := &r.Topics[i]
		if t.Name == nil {
			continue
		}
		if t.ErrorCode != 0 {
			errs.add(string(*t.Name), remote(t.ErrorCode, nil))
			continue
		}
		x := Topic{Name: string(*t.Name), ID: t.TopicID, Internal: t.IsInternal}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			x.Partitions = append(x.Partitions, Partition{p.PartitionIndex, p.LeaderID, p.LeaderEpoch, p.ReplicaNodes, p.ISRNodes, p.OfflineReplicas})
		}
		slices.SortFunc(x.Partitions, func(a, b Partition) int { return int(a.Index) - int(b.Index) })
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b Topic) int { return compareNames(a.Name, b.Name) })
	return list, errs.err()
}

// DeleteRecords deletes the records of partitions before an offset, all for -1. It returns the first offsets that are left.
func (a *Admin) DeleteRecords(ctx context.Context, before map[kafka.TopicPartition]int64) (map[kafka.TopicPartition]int64, error) {
	var errs ItemErrors
	out := make(map[kafka.TopicPartition]int64)
	a.byLeader(ctx, slices.Collect(maps.Keys(before)), &errs, func(ctx context.Context, id kafkawire.BrokerID, list []kafka.TopicPartition) (map[kafka.TopicPartition]error, error) {
		req := &kafkawire.DeleteRecordsRequest{TimeoutMs: a.requestTimeout()}
		for _, tp := range list {
			if n := len(req.Topics); n == 0 || req.Topics[n-1].Name != tp.Topic {
				req.Topics = append(req.Topics, kafkawire.DeleteRecordsRequestTopic{Name: tp.Topic})
			}
			t := &req.Topics[len(req.Topics)-1]
			t.Partitions = append(t.Partitions, kafkawire.DeleteRecordsRequestPartition{PartitionIndex: tp.Partition, Offset: before[tp]})
		}
		resp, err := a.c.requestBroker(ctx, id, req, &sendOptions{lane: laneAdmin, wait: a.c.o.RequestTimeout})
		if err != nil {
			return nil, err
		}
		again := make(map[kafka.TopicPartition]error)
		for _, t := range resp.(*kafkawire.DeleteRecordsResponse).Topics {
			for _, p := range t.Partitions {
				tp := kafka.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}
				a.sort(tp, p.ErrorCode, again, &errs)
				if p.ErrorCode == 0 {
					out[tp] = p.LowWatermark
				}
			}
		}
		return again, nil
	})
	return out, errs.err()
}

// sort puts an error code where it belongs.
func (a *Admin) sort(tp kafka.TopicPartition, code kafkawire.ErrorCode, again map[kafka.TopicPartition]error, errs *ItemErrors) {
	switch {
	case code == 0:
	case code.Retriable():
		again[tp] = remote(code, nil)
	default:
		errs.add(tp.String(), remote(code, nil))
	}
}

// Offsets returns an offset of each of some partitions: the first one, the end, or the first one that is not older than a
// time, as their [StartEarliest], [StartLatest] or [StartAtTime] says. It is -1 when nothing is that young.
func (a *Admin) Offsets(ctx context.Context, partitions map[kafka.TopicPartition]Start) (map[kafka.TopicPartition]int64, error) {
	for tp, s := range partitions {
		if s.kind != startEarliest && s.kind != startLatest && s.kind != startTime {
			return nil, fmt.Errorf("kafkaclient: %v has no Start that brokers know", tp)
		}
	}
	var errs ItemErrors
	out := make(map[kafka.TopicPartition]int64)
	a.byLeader(ctx, slices.Collect(maps.Keys(partitions)), &errs, func(ctx context.Context, id kafkawire.BrokerID, list []kafka.TopicPartition) (map[kafka.TopicPartition]error, error) {
		req := new(kafkawire.ListOffsetsRequest)
		req.Reset()
		req.ReplicaID = -1
		for _, tp := range list {
			if n := len(req.Topics); n == 0 || req.Topics[n-1].Name != tp.Topic {
				req.Topics = append(req.Topics, kafkawire.ListOffsetsRequestTopic{Name: tp.Topic})
			}
			t := &req.Topics[len(req.Topics)-1]
			t.Partitions = append(t.Partitions, kafkawire.ListOffsetsRequestPartition{PartitionIndex: tp.Partition, CurrentLeaderEpoch: -1, Timestamp: partitions[tp].timestamp()})
		}
		resp, err := a.c.RequestBroker(ctx, id, req)
		if err != nil {
			return nil, err
		}
		again := make(map[kafka.TopicPartition]error)
		for _, t := range resp.(*kafkawire.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				tp := kafka.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}
				a.sort(tp, p.ErrorCode, again, &errs)
				if p.ErrorCode == 0 {
					out[tp] = p.Offset
				}
			}
		}
		return again, nil
	})
	return out, errs.err()
}
