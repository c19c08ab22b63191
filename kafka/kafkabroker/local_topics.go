package kafkabroker

import (
	"context"
	"maps"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TopicOptions are what a topic is made with. Nil is all defaults.
type TopicOptions struct {
	// Partitions is how many there are. Zero is [Options].DefaultPartitions.
	Partitions int32
	// Replicas is how many of the [Options].Nodes have each partition. Zero is 1.
	Replicas int16
	// Configs are configs of the topic, such as "cleanup.policy".
	Configs map[string]string
}

// Topic is what there is to know about a topic.
type Topic struct {
	Name       string
	ID         kafkawire.UUID
	Internal   bool // one of the broker itself
	Partitions []Partition
	Configs    map[string]string // that are set for the topic
}

// Partition is what there is to know about a partition.
type Partition struct {
	Leader, LeaderEpoch int32
	Replicas            []kafkawire.BrokerID // all are in sync
	Start               int64                // offset of the first record
	End                 int64                // behind the last record
	HighWatermark       int64                // what readers see ends here
	LastStable          int64                // what readers with [ReadCommitted] see ends here
	Durable             int64                // what survives a loss of power ends here
	Size                int64                // bytes of records in files
}

// CreateTopic makes a topic, durably.
func (b *Broker) CreateTopic(name string, o *TopicOptions) error {
	if o == nil {
		o = new(TopicOptions)
	}
	n := newTopic{name: name, partitions: o.Partitions, replication: o.Replicas, configs: maps.Clone(o.Configs)}
	if n.partitions == 0 {
		n.partitions = -1
	}
	if n.replication == 0 {
		n.replication = -1
	}
	_, err := b.createTopic(&n, false)
	return err
}

// DeleteTopic deletes a topic with its records.
func (b *Broker) DeleteTopic(name string) error {
	t := b.topic(name)
	if t == nil {
		return errNoTopic(name)
	}
	return b.deleteTopic(t)
}

// AddPartitions makes a topic one with count partitions. They cannot become fewer.
func (b *Broker) AddPartitions(name string, count int32) error {
	return b.addPartitions(name, count, nil, false)
}

// Topics returns all topics in the order of their names.
func (b *Broker) Topics() []Topic {
	var list []Topic
	for _, t := range b.allTopics() {
		list = append(list, b.describeLocal(t))
	}
	return list
}

// Topic returns a topic. ok is false when there is none.
func (b *Broker) Topic(name string) (topic Topic, ok bool) {
	t := b.topic(name)
	if t == nil {
		return Topic{}, false
	}
	return b.describeLocal(t), true
}

func (b *Broker) describeLocal(t *topicState) Topic {
	out := Topic{Name: t.name, ID: t.id, Internal: t.internal, Configs: maps.Clone(b.configs.ofTopic(t.name))}
	for _, p := range t.partitions() {
		st := p.log.state()
		out.Partitions = append(out.Partitions, Partition{
			Leader: p.leader(), LeaderEpoch: b.leaderEpoch(p), Replicas: append([]kafkawire.BrokerID(nil), p.replicas...),
			Start: st.start, End: st.end, HighWatermark: st.highWatermark, LastStable: st.lastStable, Durable: st.durable, Size: p.log.size(),
		})
	}
	return out
}

// SetTopicConfigs changes configs of a topic, durably: those that are given. A nil value makes it the default again.
func (b *Broker) SetTopicConfigs(name string, configs map[string]*string) error {
	return b.setConfigs(configName{configOfTopic, name}, configs)
}

// SetConfigs changes configs of the broker, durably: those that are given. A nil value makes it again what the options say.
func (b *Broker) SetConfigs(configs map[string]*string) error {
	return b.setConfigs(configName{configOfBroker, ""}, configs)
}

func (b *Broker) setConfigs(of configName, configs map[string]*string) error {
	var changes []configChange
	for name, value := range configs {
		c := configChange{name: name, value: value}
		if value == nil {
			c.op = configDelete
		}
		changes = append(changes, c)
	}
	return b.changeConfigs(of, changes, false, false)
}

// DeleteRecords removes the records of a partition below an offset, -1 for all, durably. It returns where the partition
// begins.
func (b *Broker) DeleteRecords(topic string, partition int32, offset int64) (start int64, err error) {
	p, err := b.localPartition(topic, partition, false)
	if err != nil {
		return -1, err
	}
	if start, err = b.deleteRecords(p, offset); err != nil {
		return -1, err
	}
	return start, b.logs.saveStarts()
}

// OffsetAt returns the offset of the first record of a partition that is not older than a time. found is false when there
// is none.
func (b *Broker) OffsetAt(topic string, partition int32, t time.Time) (offset int64, found bool, err error) {
	p, err := b.localPartition(topic, partition, false)
	if err != nil {
		return -1, false, err
	}
	o, found, err := b.offsetAt(p, max(t.UnixMilli(), 0), readUncommitted, kafkawire.KeyListOffsets.MaxVersion())
	if !found || err != nil {
		return -1, false, err
	}
	return o.offset, true, nil
}

// Flush makes all records durable that were appended so far, whatever [Options].Sync says.
func (b *Broker) Flush(ctx context.Context) error {
	for _, t := range b.allTopics() {
		for _, p := range t.partitions() {
			if err := p.awaitDurable(ctx, p.log.state().end); err != nil {
				return err
			}
		}
	}
	return nil
}

func errNoTopic(name string) error {
	return logError(kafkawire.ErrUnknownTopicOrPartition, "there is no topic %q", name)
}
