package kafkabroker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestHugeAnswers: small requests that ask for the same things again and again have no huge answers.
func TestHugeAnswers(t *testing.T) {
	b := openBroker(t, nil)
	p := connect(t, b)
	p.mustCreate("t", 1)
	t.Run("configs", func(t *testing.T) {
		req := &kafkawire.DescribeConfigsRequest{Resources: make([]kafkawire.DescribeConfigsRequestResource, 60_000)}
		for i := range req.Resources {
			req.Resources[i] = kafkawire.DescribeConfigsRequestResource{ResourceType: 2, ResourceName: "t"}
		}
		n := 0
		list := ask[*kafkawire.DescribeConfigsResponse](p, req, 4).Results
		for i := range list {
			n += len(list[i].Configs)
		}
		if last := &list[len(list)-1]; n == 0 || n > 2*maxAnswers || last.ErrorCode != kafkawire.ErrInvalidRequest {
			t.Error(n, last.ErrorCode)
		}
	})
	t.Run("producers", func(t *testing.T) {
		for i := range int64(256) {
			p.mustProduce("t", 0, testBatch{records: []testRecord{{time: 1, key: "k", value: "v"}}, producer: 1000 + i}.bytes(t))
		}
		req := &kafkawire.DescribeProducersRequest{Topics: []kafkawire.DescribeProducersRequestTopic{{Name: "t", PartitionIndexes: make([]int32, 5000)}}}
		list := ask[*kafkawire.DescribeProducersResponse](p, req, 0).Topics[0].Partitions
		if first, last := &list[0], &list[len(list)-1]; len(first.ActiveProducers) != 256 || last.ErrorCode != kafkawire.ErrInvalidRequest {
			t.Error(len(first.ActiveProducers), last.ErrorCode)
		}
	})
	t.Run("topics", func(t *testing.T) {
		req := &kafkawire.CreateTopicsRequest{ValidateOnly: true}
		for i := range maxCreated + 1 {
			req.Topics = append(req.Topics, kafkawire.CreateTopicsRequestTopic{Name: kafkawire.TopicName(fmt.Sprint(i)), NumPartitions: 1, ReplicationFactor: 1})
		}
		list := ask[*kafkawire.CreateTopicsResponse](p, req, 7).Topics
		if first, last := &list[0], &list[len(list)-1]; first.ErrorCode != noError || last.ErrorCode != kafkawire.ErrPolicyViolation {
			t.Error(first.ErrorCode, last.ErrorCode)
		}
	})
	t.Run("size", func(t *testing.T) {
		id := strings.Repeat("x", 30_000)
		req := new(kafkawire.DescribeGroupsRequest)
		for range maxRequestSize/len(id) + 1 {
			req.Groups = append(req.Groups, kafkawire.GroupID(id))
		}
		if err := p.receive(new(kafkawire.DescribeGroupsResponse), 0, p.send(req, 0)); err == nil {
			t.Error("it was answered")
		}
	})
}
