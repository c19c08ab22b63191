package kafkabroker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// right is an operation on one of the resources that the test has: topic "t", group "g", transactional id "x", the cluster.
type right struct {
	op kafka.ACLOperation
	on kafka.ResourceType
}

func (r right) acl() kafka.ACL {
	name := map[kafka.ResourceType]string{kafka.ResourceTopic: "t", kafka.ResourceGroup: "g", kafka.ResourceTransactionalID: "x",
		kafka.ResourceCluster: kafka.ClusterName}[r.on]
	return allow("alice", r.op, r.on, name)
}

// needs are what each request needs: any one of some sets of rights. What Kafka's documentation says holds.
type needs [][]right

func on(t kafka.ResourceType, ops ...kafka.ACLOperation) needs {
	var n needs
	for _, op := range ops {
		n = append(n, []right{{op, t}})
	}
	return n
}

// accessCases are a request of each kind.
func accessCases() []struct {
	req     kafkawire.Request
	version int16
	needs   needs
} {
	partition := []int32{0}
	return []struct {
		req     kafkawire.Request
		version int16
		needs   needs
	}{
		{produceTo("t", 0, batch("v")), 9, on(resourceTopic, opWrite)},
		{fetchOf("t", 0, 0), 12, on(resourceTopic, opRead)},
		{&kafkawire.ListOffsetsRequest{ReplicaID: -1, Topics: []kafkawire.ListOffsetsRequestTopic{{Name: "t",
			Partitions: []kafkawire.ListOffsetsRequestPartition{{CurrentLeaderEpoch: -1, Timestamp: -1}}}}}, 7, on(resourceTopic, opDescribe, opRead, opWrite)},
		{&kafkawire.OffsetForLeaderEpochRequest{ReplicaID: -1, Topics: []kafkawire.OffsetForLeaderEpochRequestTopic{{Topic: "t",
			Partitions: []kafkawire.OffsetForLeaderEpochRequestPartition{{CurrentLeaderEpoch: -1}}}}}, 4, on(resourceTopic, opDescribe)},
		{&kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{{Name: new(kafkawire.TopicName("t"))}}}, 9, on(resourceTopic, opDescribe, opAlter, opDelete)},
		{&kafkawire.DescribeTopicPartitionsRequest{ResponsePartitionLimit: 10, Topics: []kafkawire.DescribeTopicPartitionsRequestTopic{{Name: "t"}}}, 0, on(resourceTopic, opDescribe)},
		{&kafkawire.DescribeProducersRequest{Topics: []kafkawire.DescribeProducersRequestTopic{{Name: "t", PartitionIndexes: partition}}}, 0, on(resourceTopic, opRead)},
		{&kafkawire.CreateTopicsRequest{ValidateOnly: true, Topics: []kafkawire.CreateTopicsRequestTopic{{Name: "t", NumPartitions: 1, ReplicationFactor: 1}}}, 4,
			append(on(resourceTopic, opCreate), on(resourceCluster, opCreate)...)},
		{&kafkawire.CreatePartitionsRequest{ValidateOnly: true, Topics: []kafkawire.CreatePartitionsRequestTopic{{Name: "t", Count: 5}}}, 2, on(resourceTopic, opAlter)},
		{&kafkawire.DeleteTopicsRequest{TopicNames: []kafkawire.TopicName{"nosuch"}}, 1, needs{{{opDelete, kafka.ResourceUnknown}}}},
		{&kafkawire.DeleteRecordsRequest{Topics: []kafkawire.DeleteRecordsRequestTopic{{Name: "t",
			Partitions: []kafkawire.DeleteRecordsRequestPartition{{Offset: 0}}}}}, 1, on(resourceTopic, opDelete)},
		{&kafkawire.DescribeConfigsRequest{Resources: []kafkawire.DescribeConfigsRequestResource{{ResourceType: 2, ResourceName: "t"}}}, 1,
			on(resourceTopic, opDescribeConfigs, opAlterConfigs)},
		{&kafkawire.AlterConfigsRequest{ValidateOnly: true, Resources: []kafkawire.AlterConfigsRequestResource{{ResourceType: 2, ResourceName: "t"}}}, 1,
			on(resourceTopic, opAlterConfigs)},
		{&kafkawire.IncrementalAlterConfigsRequest{ValidateOnly: true,
			Resources: []kafkawire.IncrementalAlterConfigsRequestResource{{ResourceType: 4, ResourceName: "1"}}}, 1, on(resourceCluster, opAlterConfigs)},
		{&kafkawire.ListConfigResourcesRequest{}, 0, on(resourceCluster, opDescribeConfigs)},
		{&kafkawire.DescribeLogDirsRequest{}, 3, on(resourceCluster, opDescribe, opAlter)},
		{&kafkawire.ElectLeadersRequest{TopicPartitions: []kafkawire.ElectLeadersRequestTopic{{Topic: "t", Partitions: partition}}}, 1, on(resourceCluster, opAlter)},
		{&kafkawire.ListPartitionReassignmentsRequest{TimeoutMs: 1000}, 0, on(resourceCluster, opDescribe)},
		{&kafkawire.DescribeClientQuotasRequest{}, 0, on(resourceCluster, opDescribeConfigs)},
		{&kafkawire.DescribeUserSCRAMCredentialsRequest{}, 0, on(resourceCluster, opDescribe)},
		{&kafkawire.AlterUserSCRAMCredentialsRequest{Upsertions: []kafkawire.AlterUserSCRAMCredentialsRequestUpsertion{{Name: "z",
			Salt: []byte{}, SaltedPassword: []byte{}}}}, 0, on(resourceCluster, opAlter)},
		{&kafkawire.DescribeACLsRequest{ResourceTypeFilter: 1, PatternTypeFilter: 1, Operation: 1, PermissionType: 1}, 1, on(resourceCluster, opDescribe)},
		{&kafkawire.CreateACLsRequest{Creations: []kafkawire.CreateACLsRequestCreation{{ResourcePatternType: 3}}}, 1, on(resourceCluster, opAlter)},
		{&kafkawire.DeleteACLsRequest{Filters: []kafkawire.DeleteACLsRequestFilter{{PatternTypeFilter: 3}}}, 1, on(resourceCluster, opAlter)},

		{&kafkawire.FindCoordinatorRequest{CoordinatorKey: "g"}, 3, on(resourceGroup, opDescribe, opRead)},
		{&kafkawire.FindCoordinatorRequest{KeyType: 1, CoordinatorKeys: []string{"x"}}, 4, on(resourceTransactionalID, opDescribe, opWrite)},
		{&kafkawire.JoinGroupRequest{GroupID: "g", SessionTimeoutMs: 10_000, RebalanceTimeoutMs: 10_000, ProtocolType: "consumer",
			Protocols: []kafkawire.JoinGroupRequestProtocol{{Name: "p", Metadata: []byte{}}}}, 5, on(resourceGroup, opRead)},
		{&kafkawire.SyncGroupRequest{GroupID: "g", MemberID: "m"}, 3, on(resourceGroup, opRead)},
		{&kafkawire.HeartbeatRequest{GroupID: "g", MemberID: "m"}, 3, on(resourceGroup, opRead)},
		{&kafkawire.LeaveGroupRequest{GroupID: "g", Members: []kafkawire.LeaveGroupRequestMember{{MemberID: "m"}}}, 3, on(resourceGroup, opRead)},
		{&kafkawire.OffsetCommitRequest{GroupID: "g", GenerationIDOrMemberEpoch: -1, RetentionTimeMs: -1, Topics: []kafkawire.OffsetCommitRequestTopic{{Name: "t",
			Partitions: []kafkawire.OffsetCommitRequestPartition{{CommittedLeaderEpoch: -1}}}}}, 7, needs{{{opRead, resourceGroup}, {opRead, resourceTopic}}}},
		{&kafkawire.OffsetFetchRequest{GroupID: "g", Topics: []kafkawire.OffsetFetchRequestTopic{{Name: "t", PartitionIndexes: partition}}}, 5,
			needs{{{opDescribe, resourceGroup}, {opDescribe, resourceTopic}}}},
		{&kafkawire.OffsetDeleteRequest{GroupID: "g", Topics: []kafkawire.OffsetDeleteRequestTopic{{Name: "t",
			Partitions: []kafkawire.OffsetDeleteRequestPartition{{}}}}}, 0, needs{{{opDelete, resourceGroup}, {opRead, resourceTopic}}}},
		{&kafkawire.DescribeGroupsRequest{Groups: []kafkawire.GroupID{"g"}}, 0, on(resourceGroup, opDescribe)},
		{&kafkawire.DeleteGroupsRequest{GroupsNames: []kafkawire.GroupID{"g"}}, 1, on(resourceGroup, opDelete)},

		{&kafkawire.InitProducerIDRequest{TransactionTimeoutMs: 1000, ProducerID: -1, ProducerEpoch: -1}, 1,
			append(on(resourceCluster, opIdempotentWrite), on(resourceTopic, opWrite)...)},
		{&kafkawire.InitProducerIDRequest{TransactionalID: new(kafkawire.TransactionalID("x")), TransactionTimeoutMs: 1000, ProducerID: -1, ProducerEpoch: -1}, 1,
			on(resourceTransactionalID, opWrite)},
		{&kafkawire.AddPartitionsToTxnRequest{V3AndBelowTransactionalID: "x", V3AndBelowTopics: []kafkawire.AddPartitionsToTxnRequestAddPartitionsToTxnTopic{{Name: "t", Partitions: partition}}}, 3,
			needs{{{opWrite, resourceTransactionalID}, {opWrite, resourceTopic}}}},
		{&kafkawire.AddPartitionsToTxnRequest{Transactions: []kafkawire.AddPartitionsToTxnRequestTransaction{{TransactionalID: "x",
			Topics: []kafkawire.AddPartitionsToTxnRequestAddPartitionsToTxnTopic{{Name: "t", Partitions: partition}}}}}, 4, on(resourceCluster, opClusterAction)},
		{&kafkawire.AddOffsetsToTxnRequest{TransactionalID: "x", GroupID: "g"}, 3, needs{{{opWrite, resourceTransactionalID}, {opRead, resourceGroup}}}},
		{&kafkawire.TxnOffsetCommitRequest{TransactionalID: "x", GroupID: "g", GenerationIDOrMemberEpoch: -1, Topics: []kafkawire.TxnOffsetCommitRequestTopic{{Name: "t",
			Partitions: []kafkawire.TxnOffsetCommitRequestPartition{{CommittedLeaderEpoch: -1}}}}}, 3,
			needs{{{opWrite, resourceTransactionalID}, {opRead, resourceGroup}, {opRead, resourceTopic}}}},
		{&kafkawire.EndTxnRequest{TransactionalID: "x"}, 3, on(resourceTransactionalID, opWrite)},
		{&kafkawire.WriteTxnMarkersRequest{Markers: []kafkawire.WriteTxnMarkersRequestMarker{{Topics: []kafkawire.WriteTxnMarkersRequestTopic{{Name: "t",
			PartitionIndexes: partition}}}}}, 1, on(resourceCluster, opClusterAction, opAlter)},
		{&kafkawire.DescribeTransactionsRequest{TransactionalIDs: []kafkawire.TransactionalID{"x"}}, 0, on(resourceTransactionalID, opDescribe)},
	}
}

// openRequests are those that need no right: they leave out what a client may not see.
var openRequests = []kafkawire.APIKey{kafkawire.KeyDescribeCluster, kafkawire.KeyListGroups, kafkawire.KeyListTransactions}

// TestACLMatrix asks for everything that the broker can do, without any right and with just those that Kafka's documentation
// names.
func TestACLMatrix(t *testing.T) {
	b := secured(t, &Options{NoAutoCreate: true}, "alice")
	login(t, b, "admin").mustCreate("t", 2)
	alice := login(t, b, "alice")
	done := slices.Clone(openRequests)
	for _, c := range accessCases() {
		key := c.req.Key()
		done = append(done, key)
		refused := func() bool {
			resp := c.req.NewResponse()
			if err := alice.receive(resp, c.version, alice.send(c.req, c.version)); err != nil {
				t.Fatal(key, err)
			}
			return strings.Contains(fmt.Sprintf("%+v", resp), "AUTHORIZATION_FAILED")
		}
		if !refused() {
			t.Errorf("%v version %d without any right", key, c.version)
		}
		for _, set := range c.needs {
			if set[0].on == kafka.ResourceUnknown {
				continue // cannot be had
			}
			for i := range set { // one is missing
				if len(set) > 1 {
					for j, r := range set {
						if j != i {
							b.AddACLs(r.acl())
						}
					}
					if !refused() {
						t.Errorf("%v version %d without %v on %v", key, c.version, set[i].op, set[i].on)
					}
					b.DeleteACLs(kafka.AnyACL())
				}
			}
			for _, r := range set {
				if err := b.AddACLs(r.acl()); err != nil {
					t.Fatal(err)
				}
			}
			if refused() {
				t.Errorf("%v version %d is refused with %v", key, c.version, set)
			}
			if _, err := b.DeleteACLs(kafka.AnyACL()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, h := range handlerList() {
		if !slices.Contains(done, h.key) {
			t.Errorf("nothing is said about who may ask for %v", h.key)
		}
	}
}
