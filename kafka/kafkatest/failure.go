package kafkatest

import "github.com/quartet-mq/quartet/kafka/kafkawire"

// failure makes the response to a request that has an error code everywhere.
func failure(r *Request, code kafkawire.ErrorCode) kafkawire.Response {
	switch q := r.Message.(type) {
	case *kafkawire.ProduceRequest:
		m := new(kafkawire.ProduceResponse)
		for _, t := range q.TopicData {
			x := kafkawire.ProduceResponseTopic{Name: t.Name, TopicID: t.TopicID}
			for _, p := range t.PartitionData {
				var y kafkawire.ProduceResponsePartition
				y.Reset()
				y.Index, y.ErrorCode, y.BaseOffset = p.Index, code, -1
				x.PartitionResponses = append(x.PartitionResponses, y)
			}
			m.Responses = append(m.Responses, x)
		}
		return m
	case *kafkawire.FetchRequest:
		m := new(kafkawire.FetchResponse)
		for _, t := range q.Topics {
			x := kafkawire.FetchResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
			for _, p := range t.Partitions {
				var y kafkawire.FetchResponsePartition
				y.Reset()
				y.PartitionIndex, y.ErrorCode, y.HighWatermark, y.Records = p.Partition, code, -1, []byte{}
				x.Partitions = append(x.Partitions, y)
			}
			m.Responses = append(m.Responses, x)
		}
		return m
	case *kafkawire.ListOffsetsRequest:
		m := new(kafkawire.ListOffsetsResponse)
		for _, t := range q.Topics {
			x := kafkawire.ListOffsetsResponseTopic{Name: t.Name}
			for _, p := range t.Partitions {
				var y kafkawire.ListOffsetsResponsePartition
				y.Reset()
				y.PartitionIndex, y.ErrorCode = p.PartitionIndex, code
				x.Partitions = append(x.Partitions, y)
			}
			m.Topics = append(m.Topics, x)
		}
		return m
	case *kafkawire.OffsetCommitRequest:
		m := new(kafkawire.OffsetCommitResponse)
		for _, t := range q.Topics {
			x := kafkawire.OffsetCommitResponseTopic{Name: t.Name, TopicID: t.TopicID}
			for _, p := range t.Partitions {
				x.Partitions = append(x.Partitions, kafkawire.OffsetCommitResponsePartition{PartitionIndex: p.PartitionIndex, ErrorCode: code})
			}
			m.Topics = append(m.Topics, x)
		}
		return m
	case *kafkawire.TxnOffsetCommitRequest:
		m := new(kafkawire.TxnOffsetCommitResponse)
		for _, t := range q.Topics {
			x := kafkawire.TxnOffsetCommitResponseTopic{Name: t.Name, TopicID: t.TopicID}
			for _, p := range t.Partitions {
				x.Partitions = append(x.Partitions, kafkawire.TxnOffsetCommitResponsePartition{PartitionIndex: p.PartitionIndex, ErrorCode: code})
			}
			m.Topics = append(m.Topics, x)
		}
		return m
	case *kafkawire.OffsetFetchRequest:
		m := &kafkawire.OffsetFetchResponse{}
		if len(q.Groups) == 0 {
			m.ErrorCode = code
		}
		for _, g := range q.Groups {
			m.Groups = append(m.Groups, kafkawire.OffsetFetchResponseGroup{GroupID: g.GroupID, ErrorCode: code})
		}
		return m
	case *kafkawire.FindCoordinatorRequest:
		m := &kafkawire.FindCoordinatorResponse{NodeID: -1, Port: -1}
		if len(q.CoordinatorKeys) == 0 {
			m.ErrorCode = code
		}
		for _, k := range q.CoordinatorKeys {
			m.Coordinators = append(m.Coordinators, kafkawire.FindCoordinatorResponseCoordinator{Key: k, NodeID: -1, Port: -1, ErrorCode: code})
		}
		return m
	case *kafkawire.MetadataRequest:
		m := new(kafkawire.MetadataResponse)
		m.Reset()
		for _, t := range q.Topics {
			var x kafkawire.MetadataResponseTopic
			x.Reset()
			x.ErrorCode, x.Name, x.TopicID = code, t.Name, t.TopicID
			m.Topics = append(m.Topics, x)
		}
		return m
	case *kafkawire.JoinGroupRequest:
		return &kafkawire.JoinGroupResponse{ErrorCode: code, GenerationID: -1, ProtocolName: new(""), MemberID: q.MemberID}
	case *kafkawire.SyncGroupRequest:
		return &kafkawire.SyncGroupResponse{ErrorCode: code}
	case *kafkawire.HeartbeatRequest:
		return &kafkawire.HeartbeatResponse{ErrorCode: code}
	case *kafkawire.LeaveGroupRequest:
		return &kafkawire.LeaveGroupResponse{ErrorCode: code}
	case *kafkawire.InitProducerIDRequest:
		m := new(kafkawire.InitProducerIDResponse)
		m.Reset()
		m.ErrorCode = code
		return m
	case *kafkawire.AddOffsetsToTxnRequest:
		return &kafkawire.AddOffsetsToTxnResponse{ErrorCode: code}
	case *kafkawire.EndTxnRequest:
		m := new(kafkawire.EndTxnResponse)
		m.Reset()
		m.ErrorCode = code
		return m
	case *kafkawire.AddPartitionsToTxnRequest:
		m := new(kafkawire.AddPartitionsToTxnResponse)
		m.Reset()
		m.ErrorCode = code
		m.ResultsByTopicV3AndBelow = addPartitionsFailure(q.V3AndBelowTopics, code)
		for _, t := range q.Transactions {
			m.ResultsByTransaction = append(m.ResultsByTransaction, kafkawire.AddPartitionsToTxnResponseResultsByTransaction{
				TransactionalID: t.TransactionalID, TopicResults: addPartitionsFailure(t.Topics, code)})
		}
		return m
	}
	return nil
}

func addPartitionsFailure(topics []kafkawire.AddPartitionsToTxnRequestAddPartitionsToTxnTopic, code kafkawire.ErrorCode) (
	list []kafkawire.AddPartitionsToTxnResponseAddPartitionsToTxnTopicResult) {
	for _, t := range topics {
		x := kafkawire.AddPartitionsToTxnResponseAddPartitionsToTxnTopicResult{Name: t.Name}
		for _, p := range t.Partitions {
			x.ResultsByPartition = append(x.ResultsByPartition, kafkawire.AddPartitionsToTxnResponseAddPartitionsToTxnPartitionResult{
				PartitionIndex: p, PartitionErrorCode: code})
		}
		list = append(list, x)
	}
	return list
}
