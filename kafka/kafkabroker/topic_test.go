package kafkabroker

import (
	"slices"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestCreateTopicsValidation(t *testing.T) {
	p := connect(t, openBroker(t, &Options{MaxPartitions: 20}))
	p.mustCreate("a.b", 1)
	topic := func(name string, partitions int32, replication int16, configs ...string) kafkawire.CreateTopicsRequestTopic {
		w := kafkawire.CreateTopicsRequestTopic{Name: kafkawire.TopicName(name), NumPartitions: partitions, ReplicationFactor: replication}
		for i := 0; i < len(configs); i += 2 {
			w.Configs = append(w.Configs, kafkawire.CreateTopicsRequestConfig{Name: configs[i], Value: &configs[i+1]})
		}
		return w
	}
	assigned := func(assignments ...kafkawire.CreateTopicsRequestAssignment) kafkawire.CreateTopicsRequestTopic {
		w := topic("assigned", -1, -1)
		w.Assignments = assignments
		return w
	}
	null := topic("null", 1, 1)
	null.Configs = []kafkawire.CreateTopicsRequestConfig{{Name: "retention.ms"}}
	both := assigned(kafkawire.CreateTopicsRequestAssignment{BrokerIDs: []kafkawire.BrokerID{1}})
	both.NumPartitions = 1
	for _, step := range []struct {
		what    string
		topic   kafkawire.CreateTopicsRequestTopic
		version int16
		want    kafkawire.ErrorCode
	}{
		{"no name", topic("", 1, 1), 7, kafkawire.ErrInvalidTopic},
		{"dot", topic(".", 1, 1), 7, kafkawire.ErrInvalidTopic},
		{"dots", topic("..", 1, 1), 7, kafkawire.ErrInvalidTopic},
		{"slash", topic("a/b", 1, 1), 7, kafkawire.ErrInvalidTopic},
		{"letter", topic("ä", 1, 1), 7, kafkawire.ErrInvalidTopic},
		{"too long", topic(strings.Repeat("x", 250), 1, 1), 7, kafkawire.ErrInvalidTopic},
		{"longest", topic(strings.Repeat("x", 249), 1, 1), 7, noError},
		{"controllers", topic("__cluster_metadata", 1, 1), 7, kafkawire.ErrInvalidTopic},
		{"there", topic("a.b", 1, 1), 7, kafkawire.ErrTopicAlreadyExists},
		{"collision", topic("a_b", 1, 1), 7, kafkawire.ErrInvalidTopic},
		{"no partitions", topic("x", 0, 1), 7, kafkawire.ErrInvalidPartitions},
		{"negative partitions", topic("x", -2, 1), 7, kafkawire.ErrInvalidPartitions},
		{"no replicas", topic("x", 1, 0), 7, kafkawire.ErrInvalidReplicationFactor},
		{"too many replicas", topic("x", 1, 2), 7, kafkawire.ErrInvalidReplicationFactor},
		{"too many partitions", topic("x", 2_000_000_000, 1), 7, kafkawire.ErrPolicyViolation},
		{"default in version 3", topic("x", -1, -1), 3, noError}, // kafkajs; KIP-464 says 4, but Apache Kafka takes it
		{"default in version 4", topic("y", -1, -1), 4, noError},
		{"unknown config", topic("z", 1, 1, "no.such.config", "1"), 7, kafkawire.ErrInvalidConfig},
		{"not a number", topic("z", 1, 1, "retention.ms", "long"), 7, kafkawire.ErrInvalidConfig},
		{"too small", topic("z", 1, 1, "segment.bytes", "1"), 7, kafkawire.ErrInvalidConfig},
		{"unknown policy", topic("z", 1, 1, "cleanup.policy", "compact,burn"), 7, kafkawire.ErrInvalidConfig},
		{"no value", null, 7, kafkawire.ErrInvalidConfig},
		{"both policies", topic("z", 1, 1, "cleanup.policy", "compact, delete"), 7, noError},
		{"assignment and number", both, 7, kafkawire.ErrInvalidRequest},
		{"unknown broker", assigned(kafkawire.CreateTopicsRequestAssignment{BrokerIDs: []kafkawire.BrokerID{7}}), 7, kafkawire.ErrInvalidReplicaAssignment},
		{"no broker", assigned(kafkawire.CreateTopicsRequestAssignment{}), 7, kafkawire.ErrInvalidReplicaAssignment},
		{"broker twice", assigned(kafkawire.CreateTopicsRequestAssignment{BrokerIDs: []kafkawire.BrokerID{1, 1}}), 7, kafkawire.ErrInvalidReplicaAssignment},
		{"a hole", assigned(kafkawire.CreateTopicsRequestAssignment{PartitionIndex: 1, BrokerIDs: []kafkawire.BrokerID{1}}), 7, kafkawire.ErrInvalidReplicaAssignment},
		{"partition twice", assigned(kafkawire.CreateTopicsRequestAssignment{BrokerIDs: []kafkawire.BrokerID{1}}, kafkawire.CreateTopicsRequestAssignment{BrokerIDs: []kafkawire.BrokerID{1}}), 7, kafkawire.ErrInvalidReplicaAssignment},
		{"assignment", assigned(kafkawire.CreateTopicsRequestAssignment{PartitionIndex: 1, BrokerIDs: []kafkawire.BrokerID{1}}, kafkawire.CreateTopicsRequestAssignment{BrokerIDs: []kafkawire.BrokerID{1}}), 7, noError},
	} {
		// First it is only checked: that must say the same and change nothing.
		for _, check := range []bool{true, false} {
			req := &kafkawire.CreateTopicsRequest{Topics: []kafkawire.CreateTopicsRequestTopic{step.topic}, ValidateOnly: check}
			a := ask[*kafkawire.CreateTopicsResponse](p, req, step.version).Topics[0]
			if a.ErrorCode != step.want || a.Name != step.topic.Name || (step.want == noError) != (a.ErrorMessage == nil) {
				t.Errorf("%s (check %v): %+v", step.what, check, a)
			}
			if step.want == noError && step.version >= 5 && (a.TopicID.IsZero() != check && step.version >= 7 || len(a.Configs) != len(topicDefs) || a.NumPartitions < 1) {
				t.Errorf("%s (check %v): %+v", step.what, check, a)
			}
		}
	}
	twice := topic("twice", 1, 1)
	resp := ask[*kafkawire.CreateTopicsResponse](p, &kafkawire.CreateTopicsRequest{Topics: []kafkawire.CreateTopicsRequestTopic{twice, twice, topic("once", 1, 1)}}, 7)
	if len(resp.Topics) != 2 || resp.Topics[0].ErrorCode != kafkawire.ErrInvalidRequest || resp.Topics[1].ErrorCode != noError {
		t.Errorf("%+v", resp)
	}
}

func TestDeleteAndMakeTopicAgain(t *testing.T) {
	fs := vfs.NewMem()
	b := openBroker(t, &Options{Dir: "d", fs: fs})
	p := connect(t, b)
	first := p.mustCreate("t", 2, "retention.ms", "1000")
	p.produce("t", 0, batch("old"))
	del := func(w kafkawire.DeleteTopicsRequestTopic) kafkawire.DeleteTopicsResponseTopic {
		return ask[*kafkawire.DeleteTopicsResponse](p, &kafkawire.DeleteTopicsRequest{Topics: []kafkawire.DeleteTopicsRequestTopic{w}}, 6).Responses[0]
	}
	if a := del(kafkawire.DeleteTopicsRequestTopic{Name: new(kafkawire.TopicName("t")), TopicID: first}); a.ErrorCode != kafkawire.ErrInvalidRequest {
		t.Error("name and id:", a.ErrorCode)
	}
	if a := del(kafkawire.DeleteTopicsRequestTopic{}); a.ErrorCode != kafkawire.ErrInvalidRequest {
		t.Error("neither name nor id:", a.ErrorCode)
	}
	if a := del(kafkawire.DeleteTopicsRequestTopic{TopicID: kafkawire.UUID{1}}); a.ErrorCode != kafkawire.ErrUnknownTopicID {
		t.Error("unknown id:", a.ErrorCode)
	}
	if a := del(kafkawire.DeleteTopicsRequestTopic{Name: new(kafkawire.TopicName("x"))}); a.ErrorCode != kafkawire.ErrUnknownTopicOrPartition {
		t.Error("unknown name:", a.ErrorCode)
	}
	if a := del(kafkawire.DeleteTopicsRequestTopic{TopicID: first}); a.ErrorCode != noError || *a.Name != "t" {
		t.Errorf("%+v", a)
	}
	if a := p.produce("t", 0, batch("x")); a.ErrorCode != kafkawire.ErrUnknownTopicOrPartition {
		t.Error("produce to a topic that is gone:", a.ErrorCode)
	}
	if slices.ContainsFunc(fs.Names(), func(name string) bool { return strings.Contains(name, "/t-") }) {
		t.Error("files are left:", fs.Names())
	}
	second := p.mustCreate("t", 1)
	if first == second {
		t.Error("the id is the same")
	}
	f := ask[*kafkawire.FetchResponse](p, fetchOf("t", 0, 0), 12).Responses[0].Partitions[0]
	if f.HighWatermark != 0 || len(f.Records) != 0 || f.Records == nil {
		t.Errorf("%+v", f)
	}
	if m := b.configs.ofTopic("t"); len(m) != 0 {
		t.Error("configs are left:", m)
	}
	req := fetchOf("", 0, 0)
	req.Topics[0].Topic, req.Topics[0].TopicID = "", first
	if f := ask[*kafkawire.FetchResponse](p, req, 16).Responses[0].Partitions[0]; f.ErrorCode != kafkawire.ErrUnknownTopicID {
		t.Error("fetch by an id that is gone:", f.ErrorCode)
	}
}

// TestPartitionsOfInternalTopics: their number says where groups and transactional ids are, so it stays.
func TestPartitionsOfInternalTopics(t *testing.T) {
	b := openBroker(t, smallOptions())
	p := connect(t, b)
	for _, name := range []string{offsetsTopic, transactionsTopic} {
		topic, err := b.internalTopic(name)
		if err != nil {
			t.Fatal(err)
		}
		n := len(topic.partitions())
		req := &kafkawire.CreatePartitionsRequest{Topics: []kafkawire.CreatePartitionsRequestTopic{{Name: kafkawire.TopicName(name), Count: int32(n) + 1}}}
		if a := ask[*kafkawire.CreatePartitionsResponse](p, req, 3).Results[0]; a.ErrorCode != kafkawire.ErrInvalidPartitions {
			t.Error(name, a.ErrorCode)
		}
		if len(topic.partitions()) != n {
			t.Error(name, "has more partitions")
		}
	}
}

func TestCreatePartitions(t *testing.T) {
	p := connect(t, openBroker(t, nil))
	p.mustCreate("t", 2)
	for _, step := range []struct {
		what  string
		topic kafkawire.CreatePartitionsRequestTopic
		want  kafkawire.ErrorCode
	}{
		{"unknown", kafkawire.CreatePartitionsRequestTopic{Name: "x", Count: 3}, kafkawire.ErrUnknownTopicOrPartition},
		{"the same", kafkawire.CreatePartitionsRequestTopic{Name: "t", Count: 2}, kafkawire.ErrInvalidPartitions},
		{"fewer", kafkawire.CreatePartitionsRequestTopic{Name: "t", Count: 1}, kafkawire.ErrInvalidPartitions},
		{"too many", kafkawire.CreatePartitionsRequestTopic{Name: "t", Count: 1 << 30}, kafkawire.ErrPolicyViolation},
		{"wrong assignment", kafkawire.CreatePartitionsRequestTopic{Name: "t", Count: 3, Assignments: []kafkawire.CreatePartitionsRequestAssignment{}}, kafkawire.ErrInvalidReplicaAssignment},
		{"unknown broker", kafkawire.CreatePartitionsRequestTopic{Name: "t", Count: 3, Assignments: []kafkawire.CreatePartitionsRequestAssignment{{BrokerIDs: []kafkawire.BrokerID{3}}}}, kafkawire.ErrInvalidReplicaAssignment},
		{"one more", kafkawire.CreatePartitionsRequestTopic{Name: "t", Count: 3, Assignments: []kafkawire.CreatePartitionsRequestAssignment{{BrokerIDs: []kafkawire.BrokerID{1}}}}, noError},
	} {
		for _, check := range []bool{true, false} {
			req := &kafkawire.CreatePartitionsRequest{Topics: []kafkawire.CreatePartitionsRequestTopic{step.topic}, ValidateOnly: check}
			if a := ask[*kafkawire.CreatePartitionsResponse](p, req, 3).Results[0]; a.ErrorCode != step.want {
				t.Errorf("%s (check %v): %+v", step.what, check, a)
			}
		}
	}
	if a := p.produce("t", 2, batch("x")); a.ErrorCode != noError {
		t.Error(a.ErrorCode)
	}
}

func TestMetadataRules(t *testing.T) {
	b := openBroker(t, nil)
	p := connect(t, b)
	id := p.mustCreate("t", 1)
	meta := func(version int16, req *kafkawire.MetadataRequest) *kafkawire.MetadataResponse {
		t.Helper()
		return ask[*kafkawire.MetadataResponse](p, req, version)
	}
	named := func(auto bool, names ...string) *kafkawire.MetadataRequest {
		req := &kafkawire.MetadataRequest{AllowAutoTopicCreation: auto}
		for _, n := range names {
			req.Topics = append(req.Topics, kafkawire.MetadataRequestTopic{Name: new(kafkawire.TopicName(n))})
		}
		return req
	}
	for v := int16(0); v <= 13; v++ {
		req := named(true, "t")
		if v < 4 {
			req.AllowAutoTopicCreation = true
		}
		m := meta(v, req)
		if len(m.Topics) != 1 || *m.Topics[0].Name != "t" || m.Topics[0].ErrorCode != noError || v >= 10 && m.Topics[0].TopicID != id {
			t.Errorf("version %d: %+v", v, m)
		}
		if v >= 2 && *m.ClusterID != b.ClusterID() || v >= 1 && m.ControllerID != 1 {
			t.Errorf("version %d: %+v", v, m)
		}
	}
	if m := meta(0, &kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{}, AllowAutoTopicCreation: true}); len(m.Topics) != 1 {
		t.Error("version 0 asks for all with an empty list:", m.Topics)
	}
	if m := meta(12, &kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{}}); len(m.Topics) != 0 {
		t.Error("an empty list asks for none:", m.Topics)
	}
	if m := meta(12, named(false, "none")); m.Topics[0].ErrorCode != kafkawire.ErrUnknownTopicOrPartition {
		t.Error("no creation:", m.Topics[0].ErrorCode)
	}
	if m := meta(12, named(true, "a b")); m.Topics[0].ErrorCode != kafkawire.ErrInvalidTopic {
		t.Error("illegal name:", m.Topics[0].ErrorCode)
	}
	if m := meta(12, named(true, "made")); m.Topics[0].ErrorCode != noError || len(m.Topics[0].Partitions) != 1 {
		t.Errorf("creation: %+v", m.Topics[0])
	}
	if m := meta(12, named(true, offsetsTopic)); !m.Topics[0].IsInternal || len(m.Topics[0].Partitions) != 50 {
		t.Errorf("internal topic: %v, %d partitions", m.Topics[0].ErrorCode, len(m.Topics[0].Partitions))
	}
	m := meta(12, &kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{{TopicID: id}, {TopicID: kafkawire.UUID{9}}}})
	if *m.Topics[0].Name != "t" || m.Topics[1].ErrorCode != kafkawire.ErrUnknownTopicID || m.Topics[1].Name != nil {
		t.Errorf("by id: %+v", m.Topics)
	}
	m = meta(8, &kafkawire.MetadataRequest{IncludeClusterAuthorizedOperations: true, IncludeTopicAuthorizedOperations: true})
	if m.ClusterAuthorizedOperations != 1<<5|1<<7|1<<8|1<<9|1<<10|1<<11|1<<12 || m.Topics[0].TopicAuthorizedOperations != 1<<3|1<<4|1<<5|1<<6|1<<7|1<<8|1<<10|1<<11 {
		t.Errorf("operations %b and %b", m.ClusterAuthorizedOperations, m.Topics[0].TopicAuthorizedOperations)
	}
}

func TestNoAutoCreate(t *testing.T) {
	p := connect(t, openBroker(t, &Options{NoAutoCreate: true}))
	req := &kafkawire.MetadataRequest{AllowAutoTopicCreation: true, Topics: []kafkawire.MetadataRequestTopic{{Name: new(kafkawire.TopicName("t"))}}}
	if m := ask[*kafkawire.MetadataResponse](p, req, 12); m.Topics[0].ErrorCode != kafkawire.ErrUnknownTopicOrPartition {
		t.Error(m.Topics[0].ErrorCode)
	}
}

func TestDescribeTopicPartitionsPages(t *testing.T) {
	p := connect(t, openBroker(t, nil))
	p.mustCreate("a", 3)
	p.mustCreate("b", 2)
	p.mustCreate("c", 1)
	req := &kafkawire.DescribeTopicPartitionsRequest{ResponsePartitionLimit: 2}
	var got []string
	for range 10 {
		resp := ask[*kafkawire.DescribeTopicPartitionsResponse](p, req, 0)
		n := 0
		for _, topic := range resp.Topics {
			for _, part := range topic.Partitions {
				got = append(got, partitionID{string(*topic.Name), part.PartitionIndex}.String())
				n++
			}
		}
		if n > 2 {
			t.Error("a page of", n)
		}
		if resp.NextCursor == nil {
			break
		}
		req.Cursor = &kafkawire.DescribeTopicPartitionsRequestCursor{TopicName: resp.NextCursor.TopicName, PartitionIndex: resp.NextCursor.PartitionIndex}
	}
	if want := []string{"a-0", "a-1", "a-2", "b-0", "b-1", "c-0"}; !slices.Equal(got, want) {
		t.Error(got)
	}
	resp := ask[*kafkawire.DescribeTopicPartitionsResponse](p, &kafkawire.DescribeTopicPartitionsRequest{
		Topics: []kafkawire.DescribeTopicPartitionsRequestTopic{{Name: "x"}, {Name: "a"}}, ResponsePartitionLimit: 100,
	}, 0)
	if len(resp.Topics) != 2 || *resp.Topics[0].Name != "a" || resp.Topics[1].ErrorCode != kafkawire.ErrUnknownTopicOrPartition {
		t.Errorf("%+v", resp.Topics)
	}
}

// TestDeleteTopicsTwice: a request that names a topic twice, also in different ways, deletes it not at all.
func TestDeleteTopicsTwice(t *testing.T) {
	b := openBroker(t, smallOptions())
	p := connect(t, b)
	id := p.mustCreate("t", 1)
	p.mustCreate("u", 1)
	named := func(name kafkawire.TopicName) kafkawire.DeleteTopicsRequestTopic {
		return kafkawire.DeleteTopicsRequestTopic{Name: &name}
	}
	req := &kafkawire.DeleteTopicsRequest{Topics: []kafkawire.DeleteTopicsRequestTopic{named("t"), named("u"), {TopicID: id}}}
	list := ask[*kafkawire.DeleteTopicsResponse](p, req, 6).Responses
	if list[0].ErrorCode != kafkawire.ErrInvalidRequest || list[1].ErrorCode != noError || list[2].ErrorCode != kafkawire.ErrInvalidRequest {
		t.Errorf("%+v", list)
	}
	if b.topic("t") == nil || b.topic("u") != nil {
		t.Error(b.topic("t"), b.topic("u"))
	}
}
