package kafkabroker

import (
	"math"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// ForgetProducers forgets the idempotent producers of a partition that have no transaction open there, as the broker does
// by itself with those that were idle for producer.id.expiration.ms. That is for tests of clients: their next batch is
// answered with UNKNOWN_PRODUCER_ID or taken as a first one.
func (b *Broker) ForgetProducers(topic string, partition int32) error {
	p := b.partition(topic, partition)
	if p == nil || p.log == nil {
		return kafkawire.ErrUnknownTopicOrPartition
	}
	p.log.expireProducers(math.MaxInt64/2, 0)
	return nil
}
