package kafka

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TopicPartition names a partition of a topic.
type TopicPartition struct {
	Topic     kafkawire.TopicName
	Partition int32
}

// String returns the topic and the number with a dash between them, as Kafka writes it.
func (p TopicPartition) String() string {
	return string(p.Topic) + "-" + strconv.Itoa(int(p.Partition))
}

// Compare orders partitions by topic and number. The result is negative when p comes first, 0 when both are the same.
func (p TopicPartition) Compare(other TopicPartition) int {
	if c := strings.Compare(string(p.Topic), string(other.Topic)); c != 0 {
		return c
	}
	return cmp.Compare(p.Partition, other.Partition)
}
