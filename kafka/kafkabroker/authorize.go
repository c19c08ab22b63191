package kafkabroker

import (
	"net/netip"
	"sync"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// The operations and types of resources of package kafka, by short names.
type (
	aclOperation = kafka.ACLOperation
	resourceType = kafka.ResourceType
)

const (
	opAll             = kafka.OperationAll
	opRead            = kafka.OperationRead
	opWrite           = kafka.OperationWrite
	opCreate          = kafka.OperationCreate
	opDelete          = kafka.OperationDelete
	opAlter           = kafka.OperationAlter
	opDescribe        = kafka.OperationDescribe
	opClusterAction   = kafka.OperationClusterAction
	opDescribeConfigs = kafka.OperationDescribeConfigs
	opAlterConfigs    = kafka.OperationAlterConfigs
	opIdempotentWrite = kafka.OperationIdempotentWrite

	resourceTopic           = kafka.ResourceTopic
	resourceGroup           = kafka.ResourceGroup
	resourceCluster         = kafka.ResourceCluster
	resourceTransactionalID = kafka.ResourceTransactionalID
	resourceDelegationToken = kafka.ResourceDelegationToken
	resourceUser            = kafka.ResourceUser
)

// clusterName is the name of the one resource of type cluster.
const clusterName = kafka.ClusterName

// access is who a client is, and what was decided about it.
type access struct {
	principal, host string
	super           bool // ACLs do not matter

	mu        sync.Mutex
	version   uint64 // of the ACLs that the decisions are of
	decisions map[question]bool
}

// question is what a client wants to do with a resource.
type question struct {
	op   aclOperation
	t    resourceType
	name string
}

// maxDecisions bounds the decisions that a session keeps.
const maxDecisions = 1024

// identify finds out who the client is.
func (a *access) identify(b *Broker, c *kafkaserver.Conn) {
	a.principal = c.Principal().String()
	a.host = c.RemoteAddr().String()
	if at, err := netip.ParseAddrPort(a.host); err == nil {
		a.host = at.Addr().Unmap().WithZone("").String()
	}
	a.super = !b.acls.on || b.acls.super[a.principal]
}

// allowed reports whether the client may do something with a resource.
func (s *session) allowed(op aclOperation, t resourceType, name string) bool {
	a := &s.access
	if a.super || !s.b.acls.on {
		return true
	}
	q := question{op, t, name}
	version := s.b.acls.version.Load() // before the decision: one of newer ACLs counts as one of these, and is made again
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.version != version || a.decisions == nil || len(a.decisions) >= maxDecisions {
		a.version, a.decisions = version, make(map[question]bool)
	}
	ok, known := a.decisions[q]
	if !known {
		ok = s.b.acls.decide(a.principal, a.host, op, t, name)
		a.decisions[q] = ok
	}
	return ok
}

// allowedAny reports whether the client may do something with any resource of a type, whatever its name.
func (s *session) allowedAny(op aclOperation, t resourceType) bool {
	a := &s.access
	return a.super || !s.b.acls.on || s.b.acls.decideAny(a.principal, a.host, op, t)
}

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
