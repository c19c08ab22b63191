package kafkabroker

import (
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// describeQuotas lists the quotas of clients: there are none. Kafka's tools ask for them when they list users.
func (s *session) describeQuotas(r *kafkaserver.Request) {
	var req kafkawire.DescribeClientQuotasRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	resp := kafkawire.DescribeClientQuotasResponse{Entries: []kafkawire.DescribeClientQuotasResponseEntry{}}
	if !s.allowed(opDescribeConfigs, resourceCluster, clusterName) {
		resp.ErrorCode, resp.Entries = kafkawire.ErrClusterAuthorizationFailed, nil
	}
	r.Reply(&resp)
}
