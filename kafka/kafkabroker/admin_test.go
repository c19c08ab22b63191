package kafkabroker

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestListOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, nil)
		p := connect(t, b)
		p.mustCreate("t", 1)
		p.mustCreate("empty", 1)
		start := time.Now().UnixMilli()
		for range 3 { // at 0, 1 and 2 seconds; two records each
			p.mustProduce("t", 0, batch("a", "b"))
			time.Sleep(time.Second)
		}
		if _, err := b.DeleteRecords("t", 0, 1); err != nil {
			t.Fatal(err)
		}
		look := func(version int16, topic string, index int32, at int64, epoch int32) kafkawire.ListOffsetsResponsePartition {
			t.Helper()
			req := &kafkawire.ListOffsetsRequest{ReplicaID: -1, Topics: []kafkawire.ListOffsetsRequestTopic{{
				Name: kafkawire.TopicName(topic), Partitions: []kafkawire.ListOffsetsRequestPartition{{PartitionIndex: index, CurrentLeaderEpoch: epoch, Timestamp: at}},
			}}}
			return ask[*kafkawire.ListOffsetsResponse](p, req, version).Topics[0].Partitions[0]
		}
		for _, step := range []struct {
			what    string
			version int16
			topic   string
			at      int64
			offset  int64
			time    int64
			code    kafkawire.ErrorCode
		}{
			{"latest", 1, "t", -1, 6, -1, noError},
			{"latest", 11, "t", -1, 6, -1, noError},
			{"earliest", 11, "t", -2, 1, -1, noError},
			{"latest time", 7, "t", -3, 4, start + 2000, noError},
			{"latest time in an old version", 6, "t", -3, -1, -1, kafkawire.ErrUnsupportedVersion},
			{"earliest local", 8, "t", -4, 1, -1, noError},
			{"earliest local in an old version", 7, "t", -4, -1, -1, kafkawire.ErrUnsupportedVersion},
			{"latest tiered", 9, "t", -5, -1, -1, noError},
			{"unknown", 11, "t", -7, -1, -1, kafkawire.ErrUnsupportedVersion},
			{"the beginning of time", 11, "t", 0, 1, start, noError},
			{"a time", 11, "t", start + 1, 2, start + 1000, noError},
			{"that very time", 11, "t", start + 1000, 2, start + 1000, noError},
			{"after all", 11, "t", start + 2001, -1, -1, noError},
			{"empty latest", 11, "empty", -1, 0, -1, noError},
			{"empty earliest", 11, "empty", -2, 0, -1, noError},
			{"empty time", 11, "empty", 0, -1, -1, noError},
			{"empty latest time", 11, "empty", -3, -1, -1, noError},
			{"no topic", 11, "none", -1, -1, -1, kafkawire.ErrUnknownTopicOrPartition},
		} {
			a := look(step.version, step.topic, 0, step.at, -1)
			if a.Offset != step.offset || a.Timestamp != step.time || a.ErrorCode != step.code {
				t.Errorf("%s: %+v", step.what, a)
			}
		}
		if a := look(11, "t", 0, -1, 1); a.ErrorCode != kafkawire.ErrUnknownLeaderEpoch {
			t.Errorf("%+v", a)
		}
		if a := look(11, "t", 1, -1, -1); a.ErrorCode != kafkawire.ErrUnknownTopicOrPartition {
			t.Errorf("%+v", a)
		}
		twice := kafkawire.ListOffsetsRequestPartition{CurrentLeaderEpoch: -1, Timestamp: -1}
		req := &kafkawire.ListOffsetsRequest{ReplicaID: -1, Topics: []kafkawire.ListOffsetsRequestTopic{{Name: "t", Partitions: []kafkawire.ListOffsetsRequestPartition{twice, twice}}}}
		for _, a := range ask[*kafkawire.ListOffsetsResponse](p, req, 11).Topics[0].Partitions {
			if a.ErrorCode != kafkawire.ErrInvalidRequest {
				t.Errorf("twice: %+v", a)
			}
		}
		offset, found, err := b.OffsetAt("t", 0, time.UnixMilli(start+500))
		if offset != 2 || !found || err != nil {
			t.Error(offset, found, err)
		}
	})
}

func TestDeleteRecordsRequest(t *testing.T) {
	b := openBroker(t, nil)
	p := connect(t, b)
	p.mustCreate("t", 1)
	p.mustCreate("compacted", 1, "cleanup.policy", "compact")
	p.mustCreate("both", 1, "cleanup.policy", "compact,delete")
	for _, topic := range []string{"t", "compacted", "both"} {
		p.mustProduce(topic, 0, batch("a", "b", "c", "d"))
	}
	for _, step := range []struct {
		topic  string
		offset int64
		low    int64
		code   kafkawire.ErrorCode
	}{
		{"t", 2, 2, noError},
		{"t", 1, 2, noError},
		{"t", 5, -1, kafkawire.ErrOffsetOutOfRange},
		{"t", -2, -1, kafkawire.ErrOffsetOutOfRange},
		{"t", -1, 4, noError},
		{"both", 3, 3, noError},
		{"compacted", 3, -1, kafkawire.ErrPolicyViolation},
		{"none", 0, -1, kafkawire.ErrUnknownTopicOrPartition},
	} {
		req := &kafkawire.DeleteRecordsRequest{Topics: []kafkawire.DeleteRecordsRequestTopic{{
			Name: kafkawire.TopicName(step.topic), Partitions: []kafkawire.DeleteRecordsRequestPartition{{Offset: step.offset}},
		}}}
		if a := ask[*kafkawire.DeleteRecordsResponse](p, req, 2).Topics[0].Partitions[0]; a.LowWatermark != step.low || a.ErrorCode != step.code {
			t.Errorf("%+v: %+v", step, a)
		}
	}
}

func TestDescribeOthers(t *testing.T) {
	b := openBroker(t, &Options{ClusterID: "us"})
	p := connect(t, b)
	p.mustCreate("t", 2)
	records := batch("a", "b")
	p.mustProduce("t", 1, records)

	c := ask[*kafkawire.DescribeClusterResponse](p, &kafkawire.DescribeClusterRequest{EndpointType: 1, IncludeClusterAuthorizedOperations: true}, 2)
	if c.ClusterID != "us" || len(c.Brokers) != 1 || c.Brokers[0].Host != "mem" || c.Brokers[0].Port != 9092 || c.ControllerID != 1 || c.ClusterAuthorizedOperations <= 0 {
		t.Errorf("%+v", c)
	}
	if c = ask[*kafkawire.DescribeClusterResponse](p, &kafkawire.DescribeClusterRequest{EndpointType: 2}, 1); c.ErrorCode != kafkawire.ErrMismatchedEndpointType {
		t.Errorf("%+v", c)
	}
	if c = ask[*kafkawire.DescribeClusterResponse](p, &kafkawire.DescribeClusterRequest{EndpointType: 3}, 1); c.ErrorCode != kafkawire.ErrUnsupportedEndpointType {
		t.Errorf("%+v", c)
	}

	d := ask[*kafkawire.DescribeLogDirsResponse](p, &kafkawire.DescribeLogDirsRequest{}, 4).Results
	if len(d) != 1 || d[0].LogDir == "" || len(d[0].Topics) != 1 || len(d[0].Topics[0].Partitions) != 2 || d[0].Topics[0].Partitions[1].PartitionSize != int64(len(records)) {
		t.Errorf("%+v", d)
	}
	one := []kafkawire.DescribeLogDirsRequestTopic{{Topic: "t", Partitions: []int32{1, 7}}, {Topic: "none", Partitions: []int32{0}}}
	if d = ask[*kafkawire.DescribeLogDirsResponse](p, &kafkawire.DescribeLogDirsRequest{Topics: one}, 1).Results; len(d[0].Topics) != 1 || len(d[0].Topics[0].Partitions) != 1 {
		t.Errorf("%+v", d)
	}

	var w kafka.BatchWriter
	w.Add(time.Now().UnixMilli(), nil, []byte("v"))
	idempotent, err := w.Append(nil, &kafka.BatchOptions{Producer: &kafka.Producer{ID: 77, Epoch: 3, Sequence: 0}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second is a duplicate
		if a := p.produce("t", 0, slices.Clone(idempotent)); a.ErrorCode != noError || a.BaseOffset != 0 {
			t.Errorf("%+v", a)
		}
	}
	x := ask[*kafkawire.DescribeProducersResponse](p, &kafkawire.DescribeProducersRequest{Topics: []kafkawire.DescribeProducersRequestTopic{{Name: "t", PartitionIndexes: []int32{0, 1, 5}}}}, 0).Topics[0].Partitions
	if a := x[0].ActiveProducers; len(a) != 1 || a[0].ProducerID != 77 || a[0].ProducerEpoch != 3 || a[0].LastSequence != 0 || a[0].CurrentTxnStartOffset != -1 {
		t.Errorf("%+v", a)
	}
	if len(x[1].ActiveProducers) != 0 || x[2].ErrorCode != kafkawire.ErrUnknownTopicOrPartition {
		t.Errorf("%+v", x)
	}
	if r := ask[*kafkawire.ListPartitionReassignmentsResponse](p, &kafkawire.ListPartitionReassignmentsRequest{}, 0); r.ErrorCode != noError || len(r.Topics) != 0 {
		t.Errorf("%+v", r)
	}
}

// TestSeveralNodes has one broker look like three.
func TestSeveralNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, &Options{Nodes: []Node{{ID: 1, Host: "a", Port: 1, Rack: "x"}, {ID: 2, Host: "b", Port: 2}, {ID: 3, Host: "c", Port: 3}}})
		if b.Node(4) != nil {
			t.Error("a fourth node")
		}
		if err := b.CreateTopic("t", &TopicOptions{Partitions: 6, Replicas: 3}); err != nil {
			t.Fatal(err)
		}
		peers := map[int32]*peer{1: connect(t, b.Node(1)), 2: connect(t, b.Node(2)), 3: connect(t, b.Node(3))}
		m := ask[*kafkawire.MetadataResponse](peers[2], &kafkawire.MetadataRequest{}, 12)
		leads := make(map[kafkawire.BrokerID]int)
		for _, part := range m.Topics[0].Partitions {
			leads[part.LeaderID]++
			if len(part.ReplicaNodes) != 3 || part.ReplicaNodes[0] != part.LeaderID || len(part.ISRNodes) != 3 {
				t.Errorf("%+v", part)
			}
		}
		if len(m.Brokers) != 3 || m.Brokers[1].Host != "b" || *m.Brokers[0].Rack != "x" || leads[1] != 2 || leads[2] != 2 || leads[3] != 2 {
			t.Errorf("%+v", m)
		}
		leader := int32(m.Topics[0].Partitions[0].LeaderID)
		other := leader%3 + 1
		if a := peers[leader].produce("t", 0, batch("a")); a.ErrorCode != noError {
			t.Errorf("%+v", a)
		}
		resp := ask[*kafkawire.ProduceResponse](peers[other], produceTo("t", 0, batch("a")), 10)
		a := resp.Responses[0].PartitionResponses[0]
		if a.ErrorCode != kafkawire.ErrNotLeaderOrFollower || a.CurrentLeader == nil || int32(a.CurrentLeader.LeaderID) != leader || len(resp.NodeEndpoints) != 1 {
			t.Errorf("%+v", resp)
		}
		// A fetch that waits hears of a new leader.
		fetched := make(chan *kafkawire.FetchResponse, 1)
		m2 := waitFor("t", 0, 1, time.Hour, 1)
		m2.Topics[0].TopicID, m2.Topics[0].Topic = m.Topics[0].TopicID, ""
		id := peers[leader].send(m2, 16)
		go func() {
			resp := new(kafkawire.FetchResponse)
			_ = peers[leader].receive(resp, 16, id)
			fetched <- resp
		}()
		synctest.Wait()
		if err := b.MoveLeader("t", 0, other); err != nil {
			t.Error(err)
		}
		f := <-fetched
		if part := f.Responses[0].Partitions[0]; part.ErrorCode != kafkawire.ErrNotLeaderOrFollower || part.CurrentLeader == nil || int32(part.CurrentLeader.LeaderID) != other || part.CurrentLeader.LeaderEpoch != 1 || len(f.NodeEndpoints) != 1 {
			t.Errorf("%+v", f)
		}
		if a := peers[other].produce("t", 0, batch("b")); a.ErrorCode != noError || a.BaseOffset != 1 {
			t.Errorf("%+v", a)
		}
		all := ask[*kafkawire.ElectLeadersResponse](peers[1], &kafkawire.ElectLeadersRequest{}, 2)
		if len(all.ReplicaElectionResults) != 1 || len(all.ReplicaElectionResults[0].PartitionResult) != 1 || b.partition("t", 0).leader() != leader {
			t.Errorf("%+v", all)
		}
		one := &kafkawire.ElectLeadersRequest{TopicPartitions: []kafkawire.ElectLeadersRequestTopic{{Topic: "t", Partitions: []int32{0, 9}}}}
		got := ask[*kafkawire.ElectLeadersResponse](peers[1], one, 2).ReplicaElectionResults[0].PartitionResult
		if got[0].ErrorCode != kafkawire.ErrElectionNotNeeded || got[1].ErrorCode != kafkawire.ErrUnknownTopicOrPartition {
			t.Errorf("%+v", got)
		}
		if err := b.MoveLeader("t", 0, 9); err == nil {
			t.Error("a leader that there is not")
		}
	})
}

func TestLocalVerbs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, &Options{NoAutoCreate: true})
		ctx := t.Context()
		if _, err := b.Produce(ctx, "t", 0, Record{}); !errors.Is(err, kafkawire.ErrUnknownTopicOrPartition) {
			t.Error(err)
		}
		if err := b.CreateTopic("t", &TopicOptions{Partitions: 2}); err != nil {
			t.Fatal(err)
		}
		if err := b.CreateTopic("t", nil); !errors.Is(err, kafkawire.ErrTopicAlreadyExists) {
			t.Error(err)
		}
		if _, err := b.Produce(ctx, "t", 2, Record{}); !errors.Is(err, kafkawire.ErrUnknownTopicOrPartition) {
			t.Error(err)
		}
		if _, err := b.Produce(ctx, "t", 0); err == nil {
			t.Error("no records")
		}
		headers := []kafka.Header{{Key: []byte("h"), Value: []byte("v")}}
		at := time.UnixMilli(time.Now().UnixMilli())
		base, err := b.Produce(ctx, "t", 1, Record{Key: []byte("k"), Value: []byte("v"), Headers: headers}, Record{Timestamp: at.Add(time.Second)})
		if base != 0 || err != nil {
			t.Fatal(base, err)
		}
		got := make(chan Record)
		reading, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			for r, err := range b.Records(reading, "t", 1, -1, ReadUncommitted) {
				if err != nil {
					ended <- err
					return
				}
				got <- r
			}
		}()
		if r := <-got; string(r.Key) != "k" || string(r.Value) != "v" || len(r.Headers) != 1 || !r.Timestamp.Equal(at) || r.Offset != 0 {
			t.Errorf("%+v", r)
		}
		if r := <-got; r.Key != nil || r.Value != nil || r.Offset != 1 || !r.Timestamp.Equal(at.Add(time.Second)) {
			t.Errorf("%+v", r)
		}
		synctest.Wait()
		if _, err := b.Produce(ctx, "t", 1, Record{Value: []byte("later")}); err != nil {
			t.Error(err)
		}
		if r := <-got; string(r.Value) != "later" {
			t.Errorf("%+v", r)
		}
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		f, err := b.Fetch(ctx, "t", 1, &Fetch{Offset: 1, MaxBytes: 1})
		if err != nil || f.Next != 2 || f.HighWatermark != 3 || f.Start != 0 || f.First != 1 {
			t.Errorf("%+v %v", f, err)
		}
		n := 0
		for r, err := range f.Records() {
			if err != nil || r.Offset != 1 {
				t.Error(r, err)
			}
			n++
		}
		if n != 1 {
			t.Error(n, "records")
		}
		if _, err := b.Fetch(ctx, "t", 1, &Fetch{Offset: 4}); !errors.Is(err, kafkawire.ErrOffsetOutOfRange) {
			t.Error(err)
		}
		waiting := make(chan error, 1)
		go func() {
			_, err := b.Fetch(ctx, "t", 0, &Fetch{Wait: true})
			waiting <- err
		}()
		synctest.Wait()
		if err := b.DeleteTopic("t"); err != nil {
			t.Error(err)
		}
		if err := <-waiting; !errors.Is(err, kafkawire.ErrUnknownTopicOrPartition) {
			t.Error(err)
		}
		if err := b.DeleteTopic("t"); !errors.Is(err, kafkawire.ErrUnknownTopicOrPartition) {
			t.Error(err)
		}
		if s := b.Stats(); s.All.MessagesIn != 3 || s.Topics != 0 || s.Partitions != 0 || s.All.BytesOut == 0 {
			t.Errorf("%+v", s)
		}
		if err := b.Flush(ctx); err != nil {
			t.Error(err)
		}
	})
}
