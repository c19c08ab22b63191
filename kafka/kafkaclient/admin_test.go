package kafkaclient

import (
	"context"
	"errors"
	"testing"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestBrokerAdmin(t *testing.T) {
	_, o := startBroker(t, 3, nil)
	cl := newTestClient(t, o)
	a := cl.Admin()
	ctx := t.Context()
	if err := a.CreateTopics(ctx, NewTopic{Name: "one", Partitions: 3, Configs: map[string]string{"cleanup.policy": "compact"}}, NewTopic{Name: "two"}); err != nil {
		t.Fatal(err)
	}
	err := a.CreateTopics(ctx, NewTopic{Name: "two"}, NewTopic{Name: "three"}, NewTopic{Name: "bad name"}, NewTopic{Name: "four", Configs: map[string]string{"no.such": "config"}})
	items, ok := errors.AsType[ItemErrors](err)
	if !ok || len(items) != 3 || !errors.Is(err, kafkawire.ErrTopicAlreadyExists) || !errors.Is(err, kafkawire.ErrInvalidTopic) || !errors.Is(err, kafkawire.ErrInvalidConfig) {
		t.Errorf("%v", err)
	}
	if err := a.ValidateTopics(ctx, NewTopic{Name: "five"}); err != nil {
		t.Error(err)
	}
	if err := a.CreatePartitions(ctx, "one", 5); err != nil {
		t.Error(err)
	}
	topics, err := a.Topics(ctx)
	if err != nil || len(topics) != 3 || topics[0].Name != "one" || len(topics[0].Partitions) != 5 || topics[0].ID.IsZero() {
		t.Errorf("%+v %v", topics, err)
	}
	if _, err := a.Topics(ctx, "nowhere"); !errors.Is(err, kafkawire.ErrUnknownTopicOrPartition) {
		t.Error(err)
	}
	x, err := a.Cluster(ctx)
	if err != nil || len(x.Brokers) != 3 || x.Brokers[1].Addr != "node-2:9092" || x.ID == "" {
		t.Errorf("%+v %v", x, err)
	}

	one := ConfigResource{ConfigTopic, "one"}
	if err := a.AlterConfigs(ctx, ConfigChange{Resource: one, Set: map[string]string{"retention.ms": "1000"}, Append: map[string][]string{"cleanup.policy": {"delete"}}}); err != nil {
		t.Error(err)
	}
	value := func(name string) string {
		m, err := a.Configs(ctx, one)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range m[one] {
			if c.Name == name && c.Value != nil {
				return *c.Value
			}
		}
		return ""
	}
	if v, w := value("retention.ms"), value("cleanup.policy"); v != "1000" || w != "compact,delete" {
		t.Error(v, w)
	}
	if err := a.AlterConfigs(ctx, ConfigChange{Resource: one, Delete: []string{"retention.ms", "cleanup.policy"}}); err != nil {
		t.Error(err)
	}
	if v := value("retention.ms"); v == "1000" || v == "" {
		t.Error(v)
	}
	if m, err := a.Configs(ctx, ConfigResource{ConfigBroker, "2"}); err != nil || len(m) != 1 {
		t.Error(m, err)
	}

	p := newTestProducer(t, cl, &ProducerOptions{Partitioner: ManualPartitioner})
	for i := range 10 {
		if err := p.Produce(ctx, &Record{Topic: "one", Partition: int32(i % 5), Key: []byte("k"), Value: []byte("v")}); err != nil {
			t.Fatal(err)
		}
	}
	tp := func(i int32) kafka.TopicPartition { return kafka.TopicPartition{Topic: "one", Partition: i} }
	ends, err := a.Offsets(ctx, map[kafka.TopicPartition]Start{tp(0): StartLatest(), tp(4): StartLatest(), tp(3): StartEarliest()})
	if err != nil || ends[tp(0)] != 2 || ends[tp(4)] != 2 || ends[tp(3)] != 0 || len(ends) != 3 {
		t.Error(ends, err)
	}
	if _, err := a.Offsets(ctx, map[kafka.TopicPartition]Start{tp(0): StartLatest(), tp(9): StartLatest()}); !errors.Is(err, kafkawire.ErrUnknownTopicOrPartition) {
		t.Error(err)
	}
	if m, err := a.Producers(ctx, tp(1)); err != nil || len(m[tp(1)]) != 1 || m[tp(1)][0].LastSequence != 1 {
		t.Error(m, err)
	}
	if low, err := a.DeleteRecords(ctx, map[kafka.TopicPartition]int64{tp(0): 1, tp(1): -1}); err != nil || low[tp(0)] != 1 || low[tp(1)] != 2 {
		t.Error(low, err)
	}
	if dirs, err := a.LogDirs(ctx, 1); err != nil || len(dirs) == 0 {
		t.Error(dirs, err)
	}

	at := map[kafka.TopicPartition]CommitOffset{tp(0): {Offset: 1, LeaderEpoch: -1, Metadata: "m"}, tp(2): {Offset: 2, LeaderEpoch: -1}}
	if err := a.SetGroupOffsets(ctx, "group", at); err != nil {
		t.Fatal(err)
	}
	got, err := a.GroupOffsets(ctx, "group")
	if err != nil || len(got) != 2 || got[tp(0)].Offset != 1 || got[tp(0)].Metadata != "m" {
		t.Error(got, err)
	}
	if got, err := a.GroupOffsets(ctx, "group", tp(2), tp(3)); err != nil || len(got) != 1 || got[tp(2)].Offset != 2 {
		t.Error(got, err)
	}
	groups, err := a.Groups(ctx)
	if err != nil || len(groups) == 0 || groups[0].Group != "group" {
		t.Error(groups, err)
	}
	if m, err := a.DescribeGroups(ctx, "group"); err != nil || m["group"].State != "Empty" {
		t.Error(m, err)
	}
	if err := a.DeleteGroupOffsets(ctx, "group", tp(0)); err != nil {
		t.Error(err)
	}
	if err := a.DeleteGroups(ctx, "group"); err != nil {
		t.Error(err)
	}
	if err := a.DeleteGroups(ctx, "group"); !errors.Is(err, kafkawire.ErrGroupIDNotFound) {
		t.Error(err)
	}

	q := newTestProducer(t, cl, &ProducerOptions{TransactionalID: "txn"})
	if err := q.Transact(ctx, func(ctx context.Context) error { return q.Produce(ctx, &Record{Topic: "two"}) }); err != nil {
		t.Fatal(err)
	}
	if list, err := a.Transactions(ctx); err != nil || len(list) == 0 || list[0].TransactionalID != "txn" {
		t.Error(list, err)
	}
	if m, err := a.DescribeTransactions(ctx, "txn"); err != nil || m["txn"].State == "" {
		t.Error(m, err)
	}
	if err := a.DeleteTopics(ctx, "one", "two", "three"); err != nil {
		t.Error(err)
	}
	if err := a.DeleteTopics(ctx, "one"); !errors.Is(err, kafkawire.ErrUnknownTopicOrPartition) {
		t.Error(err)
	}
}
