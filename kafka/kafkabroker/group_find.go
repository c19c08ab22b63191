package kafkabroker

import (
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// The key types of FindCoordinator.
const (
	coordinatesGroups       = 0
	coordinatesTransactions = 1
)

// findCoordinator says which node coordinates groups or transactions.
func (s *session) findCoordinator(r *kafkaserver.Request) {
	req := new(kafkawire.FindCoordinatorRequest)
	if err := r.Decode(req); err != nil {
		r.Fail(err)
		return
	}
	name := offsetsTopic
	if req.KeyType == coordinatesTransactions {
		name = transactionsTopic
	}
	if s.b.topic(name) != nil {
		s.replyCoordinators(r, req)
		return
	}
	// The first client has the topic made.
	if !s.b.spawn(func() { s.replyCoordinators(r, req) }) {
		r.Fail(errBrokerClosed)
	}
}

func (s *session) replyCoordinators(r *kafkaserver.Request, req *kafkawire.FindCoordinatorRequest) {
	resp := new(kafkawire.FindCoordinatorResponse)
	if r.Version < 4 {
		c := s.coordinator(req.KeyType, req.CoordinatorKey)
		resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = c.ErrorCode, c.ErrorMessage, c.NodeID, c.Host, c.Port
	}
	for _, key := range req.CoordinatorKeys {
		resp.Coordinators = append(resp.Coordinators, s.coordinator(req.KeyType, key))
	}
	r.Reply(resp)
}

// coordinator says which node coordinates a group or a transactional id.
func (s *session) coordinator(kind int8, key string) kafkawire.FindCoordinatorResponseCoordinator {
	c := kafkawire.FindCoordinatorResponseCoordinator{Key: key, NodeID: -1, Port: -1}
	fail := func(code kafkawire.ErrorCode) kafkawire.FindCoordinatorResponseCoordinator {
		c.ErrorCode, c.ErrorMessage = code, new(code.String())
		return c
	}
	name, resource := offsetsTopic, resourceGroup
	switch kind {
	case coordinatesGroups:
	case coordinatesTransactions:
		name, resource = transactionsTopic, resourceTransactionalID
	default:
		return fail(kafkawire.ErrInvalidRequest)
	}
	if !s.allowed(opDescribe, resource, key) {
		return fail(refused(resource))
	}
	t, err := s.b.internalTopic(name)
	if err != nil {
		s.b.log.Error("kafkabroker: a topic of the broker itself cannot be made", "topic", name, "error", err)
		return fail(kafkawire.ErrCoordinatorNotAvailable)
	}
	list := t.partitions()
	n := s.b.node(list[coordinatorIndex(key, len(list))].leader())
	if n == nil {
		return fail(kafkawire.ErrCoordinatorNotAvailable)
	}
	c.NodeID = kafkawire.BrokerID(n.at.ID)
	c.Host, c.Port = s.address(n)
	return c
}
