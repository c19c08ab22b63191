package kafkabroker

import (
	"errors"
	"fmt"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// loadTopics reads which topics there are.
func (b *Broker) loadTopics() error {
	return b.eachMeta(metaTopic, func(name string, value []byte) error {
		t, err := decodeTopic(name, value)
		if err == nil {
			b.show(t)
		}
		return err
	})
}

// attachLogs gives the partitions their logs. Logs that are missing are made, empty ones: the broker ended between making
// the topic and its logs. Logs of topics that are deleted are removed. Those of topics that the metadata do not know were
// written by another broker, such as Apache Kafka; they become topics.
func (b *Broker) attachLogs() error {
	if err := b.removeDoomed(); err != nil {
		return err
	}
	found := make(map[string][]*partitionLog)
	for _, l := range b.logs.all() {
		t := b.topics[l.id.topic]
		switch {
		case t == nil:
			found[l.id.topic] = append(found[l.id.topic], l)
			continue
		case !l.topicID.IsZero() && l.topicID != t.id:
			return fmt.Errorf("kafkabroker: %s has the topic id %v, and the metadata say %v", l.path, l.topicID, t.id)
		}
		p := t.partition(l.id.partition)
		if p == nil {
			return fmt.Errorf("kafkabroker: %s is there, and the topic has %d partitions", l.path, len(t.partitions()))
		}
		if err := l.setTopicID(t.id); err != nil {
			return err
		}
		p.attach(l)
	}
	for name, logs := range found {
		if err := b.adopt(name, logs); err != nil {
			return err
		}
	}
	for _, t := range b.topics {
		if err := b.makeMissing(t); err != nil {
			return err
		}
	}
	return nil
}

// attach gives the partition its log, before others see it.
func (p *partition) attach(l *partitionLog) {
	p.log, l.owner = l, p
}

// makeMissing makes logs that are not there, and sees to it that leader epochs go up.
func (b *Broker) makeMissing(t *topicState) error {
	var missing []partitionID
	for _, p := range t.partitions() {
		if p.log == nil {
			missing = append(missing, p.id())
			continue
		}
		if l := p.leadership(); l.epochBase+b.restarts < p.log.state().epoch {
			l.epochBase = p.log.state().epoch + 1 - b.restarts
			p.lead.Store(&l)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	made, err := b.logs.create(t.id, b.logConfigOf(t.name), missing...)
	for _, l := range made {
		t.partition(l.id.partition).attach(l)
	}
	return err
}

// adopt makes a topic of logs that the metadata do not know. Partitions that are missing among them become empty ones.
func (b *Broker) adopt(name string, logs []*partitionLog) error {
	t := &topicState{name: name, internal: isInternal(name)}
	n := int32(0)
	for _, l := range logs {
		if !l.topicID.IsZero() && !t.id.IsZero() && l.topicID != t.id {
			return fmt.Errorf("kafkabroker: the partitions of %s have different topic ids", name)
		}
		if !l.topicID.IsZero() {
			t.id = l.topicID
		}
		n = max(n, l.id.partition+1)
	}
	if int(n) > len(logs)+10_000 {
		return fmt.Errorf("kafkabroker: of the topic %s there is partition %d, and few others", name, n-1)
	}
	if t.id.IsZero() {
		t.id = newUUID()
	}
	if b.byID[t.id] != nil {
		return fmt.Errorf("kafkabroker: the topics %s and %s have the same id", name, b.byID[t.id].name)
	}
	list := make([]*partition, n)
	for i := range list {
		list[i] = b.newPartition(t, int32(i), nil)
	}
	for _, l := range logs {
		if err := l.setTopicID(t.id); err != nil {
			return err
		}
		p := list[l.id.partition]
		p.attach(l)
		p.lead.Store(&leadership{p.leader(), l.state().epoch + 1 - b.restarts})
	}
	t.list.Store(&list)
	if err := b.setMeta(metaChange{metaTopic, name, t.encode(list)}); err != nil {
		return err
	}
	b.show(t)
	b.log.Info("kafkabroker: a topic was found in the directory", "topic", name, "partitions", n)
	return nil
}

// newPartition returns a partition without a log. Without replicas the nodes take turns.
func (b *Broker) newPartition(t *topicState, index int32, replicas []kafkawire.BrokerID) *partition {
	p := &partition{topic: t, index: index, replicas: replicas}
	if len(replicas) == 0 {
		p.replicas = b.spread(t.name, index, 1)
	}
	p.lead.Store(&leadership{int32(p.replicas[0]), -b.restarts})
	return p
}

// spread returns the nodes for a partition: the first leads.
func (b *Broker) spread(topic string, index int32, replication int) []kafkawire.BrokerID {
	start := int(index)
	for _, c := range []byte(topic) {
		start += int(c)
	}
	list := make([]kafkawire.BrokerID, replication)
	for i := range list {
		list[i] = kafkawire.BrokerID(b.nodes[(start+i)%len(b.nodes)].at.ID)
	}
	return list
}

// removeDoomed removes the logs of topics that were deleted before the broker ended.
func (b *Broker) removeDoomed() error {
	var done []metaChange
	err := b.eachMeta(metaDoomed, func(key string, name []byte) error {
		id, err := kafkawire.ParseUUID(key)
		if err != nil {
			return &corruptError{"the metadata journal", 0, "doomed topic"}
		}
		for _, l := range b.logs.all() {
			unnamed := l.topicID.IsZero() && l.id.topic == string(name) && b.topics[string(name)] == nil
			if l.topicID == id || unnamed {
				if err := b.logs.remove(l.id); err != nil {
					return err
				}
			}
		}
		done = append(done, metaChange{metaDoomed, key, nil})
		return nil
	})
	return errors.Join(err, b.setMeta(done...))
}
