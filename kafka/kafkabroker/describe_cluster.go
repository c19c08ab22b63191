package kafkabroker

import (
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// describeCluster says which brokers there are.
func (s *session) describeCluster(r *kafkaserver.Request) {
	var req kafkawire.DescribeClusterRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	resp := kafkawire.DescribeClusterResponse{
		EndpointType: req.EndpointType, ControllerID: kafkawire.BrokerID(s.b.nodes[0].at.ID), ClusterID: s.b.cluster,
		ClusterAuthorizedOperations: minInt32,
	}
	if req.EndpointType != 1 {
		// Controllers are asked by other means, on a listener that there is not.
		resp.ErrorCode, resp.ErrorMessage = kafkawire.ErrMismatchedEndpointType, new("this is a broker")
		if req.EndpointType != 2 {
			resp.ErrorCode, resp.ErrorMessage = kafkawire.ErrUnsupportedEndpointType, new("there is no such type of endpoints")
		}
		resp.ControllerID = -1
		r.Reply(&resp)
		return
	}
	if req.IncludeClusterAuthorizedOperations && s.allowed(opDescribe, resourceCluster, clusterName) {
		resp.ClusterAuthorizedOperations = s.authorizedOperations(resourceCluster, clusterName)
	}
	for _, n := range s.b.nodes {
		host, port := s.address(n)
		resp.Brokers = append(resp.Brokers, kafkawire.DescribeClusterResponseBroker{
			BrokerID: kafkawire.BrokerID(n.at.ID), Host: host, Port: port, Rack: n.rack(),
		})
	}
	r.Reply(&resp)
}
