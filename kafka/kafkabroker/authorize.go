package kafkabroker

import "github.com/quartet-mq/quartet/kafka/kafkawire"

// aclOperation is what somebody wants to do, in Kafka's numbers.
type aclOperation int8

// The operations.
const (
	opAll             aclOperation = 2
	opRead            aclOperation = 3
	opWrite           aclOperation = 4
	opCreate          aclOperation = 5
	opDelete          aclOperation = 6
	opAlter           aclOperation = 7
	opDescribe        aclOperation = 8
	opClusterAction   aclOperation = 9
	opDescribeConfigs aclOperation = 10
	opAlterConfigs    aclOperation = 11
	opIdempotentWrite aclOperation = 12
)

// resourceType is a type of what ACLs are about, in Kafka's numbers.
type resourceType int8

// The types of resources.
const (
	resourceTopic           resourceType = 2
	resourceGroup           resourceType = 3
	resourceCluster         resourceType = 4
	resourceTransactionalID resourceType = 5
	resourceDelegationToken resourceType = 6
	resourceUser            resourceType = 7
)

// clusterName is the name of the one resource of type cluster.
const clusterName = "kafka-cluster"

// allowed reports whether the client may do something with a resource.
func (s *session) allowed(op aclOperation, t resourceType, name string) bool { return true }

// authorizedOperations is what a client may do with a resource, one bit for each operation.
func (s *session) authorizedOperations(t resourceType, name string) int32 {
	var ops []aclOperation
	switch t {
	case resourceTopic:
		ops = []aclOperation{opRead, opWrite, opCreate, opDescribe, opDelete, opAlter, opDescribeConfigs, opAlterConfigs}
	case resourceGroup:
		ops = []aclOperation{opRead, opDescribe, opDelete, opDescribeConfigs, opAlterConfigs}
	case resourceCluster:
		ops = []aclOperation{opCreate, opClusterAction, opDescribeConfigs, opAlterConfigs, opIdempotentWrite, opAlter, opDescribe}
	case resourceTransactionalID:
		ops = []aclOperation{opDescribe, opWrite}
	}
	bits := int32(0)
	for _, op := range ops {
		if s.allowed(op, t, name) {
			bits |= 1 << op
		}
	}
	return bits
}

// refused is the error code for a resource that a client may not use.
func refused(t resourceType) kafkawire.ErrorCode {
	switch t {
	case resourceTopic:
		return kafkawire.ErrTopicAuthorizationFailed
	case resourceGroup:
		return kafkawire.ErrGroupAuthorizationFailed
	case resourceTransactionalID:
		return kafkawire.ErrTransactionalIDAuthorizationFailed
	}
	return kafkawire.ErrClusterAuthorizationFailed
}
