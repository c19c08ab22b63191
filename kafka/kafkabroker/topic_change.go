package kafkabroker

import (
	"slices"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// newTopic is a topic to be made.
type newTopic struct {
	name        string
	partitions  int32                  // -1 is the default
	replication int16                  // -1 is the default
	assignment  [][]kafkawire.BrokerID // nodes of each partition, in place of the two
	configs     map[string]string
	internal    bool // the broker makes it for itself
	id          kafkawire.UUID
}

// createTopic makes a topic, durably. With check it is only looked at whether that would work; the topic that is returned
// has no logs then.
func (b *Broker) createTopic(n *newTopic, check bool) (*topicState, error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	t, list, err := b.planTopic(n)
	if err != nil || check {
		return t, err
	}
	if b.isStopped() {
		return nil, logError(kafkawire.ErrNotController, "the broker is closed")
	}
	changes := []metaChange{{metaTopic, t.name, t.encode(list)}}
	if len(n.configs) > 0 {
		changes = append(changes, metaChange{metaConfig, topicConfigKey(t.name), encodeConfigs(n.configs)})
	}
	if err := b.setMeta(changes...); err != nil {
		return nil, err
	}
	b.configs.setTopic(t.name, n.configs)
	if err := b.addLogs(t, list); err != nil {
		b.configs.setTopic(t.name, nil)
		undo := []metaChange{{metaTopic, t.name, nil}, {metaConfig, topicConfigKey(t.name), nil}}
		if e := b.setMeta(undo...); e != nil {
			b.log.Error("kafkabroker: a topic could not be made, nor its mark be undone", "topic", t.name, "error", e)
		}
		return nil, err
	}
	b.show(t)
	if f := b.opt.Events.TopicCreated; f != nil {
		f(t.name, len(list))
	}
	return t, nil
}

// addLogs makes the logs of new partitions.
func (b *Broker) addLogs(t *topicState, list []*partition) error {
	ids := make([]partitionID, len(list))
	for i, p := range list {
		ids[i] = p.id()
	}
	made, err := b.logs.create(t.id, b.logConfigOf(t.name), ids...)
	if err != nil {
		return err
	}
	for i, l := range made {
		list[i].attach(l)
	}
	return nil
}

// planTopic checks a topic that is to be made. The caller holds changing.
func (b *Broker) planTopic(n *newTopic) (*topicState, []*partition, error) {
	if err := checkTopicName(n.name); err != nil {
		return nil, nil, err
	}
	if b.topic(n.name) != nil {
		return nil, nil, logError(kafkawire.ErrTopicAlreadyExists, "there is a topic %q", n.name)
	}
	if other := b.collision(n.name); other != "" {
		return nil, nil, logError(kafkawire.ErrInvalidTopic, "the names %q and %q are the same in metrics", n.name, other)
	}
	assignment := n.assignment
	if assignment == nil {
		var err error
		if assignment, err = b.assign(n); err != nil {
			return nil, nil, err
		}
	} else if err := b.checkAssignment(assignment, 0, len(assignment[0])); err != nil {
		return nil, nil, err
	}
	if err := checkTopicConfigs(n.configs); err != nil {
		return nil, nil, err
	}
	if err := b.checkPartitionCount(len(assignment)); err != nil {
		return nil, nil, err
	}
	t := &topicState{name: n.name, id: n.id, internal: isInternal(n.name)}
	if t.id.IsZero() {
		t.id = newUUID()
	}
	list := make([]*partition, len(assignment))
	for i, nodes := range assignment {
		list[i] = b.newPartition(t, int32(i), nodes)
	}
	t.list.Store(&list)
	return t, list, nil
}

// assign spreads the partitions of a new topic over the nodes.
func (b *Broker) assign(n *newTopic) ([][]kafkawire.BrokerID, error) {
	count, replication := n.partitions, int(n.replication)
	if count == -1 {
		count = b.configs.broker().int32("num.partitions")
	}
	if replication == -1 {
		replication = min(int(b.configs.broker().int32("default.replication.factor")), len(b.nodes))
	}
	switch {
	case count <= 0:
		return nil, logError(kafkawire.ErrInvalidPartitions, "a topic needs at least one partition")
	case replication <= 0:
		return nil, logError(kafkawire.ErrInvalidReplicationFactor, "a topic needs at least one replica")
	case replication > len(b.nodes):
		return nil, logError(kafkawire.ErrInvalidReplicationFactor,
			"%d replicas are wanted, and there are %d brokers", replication, len(b.nodes))
	}
	if err := b.checkPartitionCount(int(count)); err != nil {
		return nil, err
	}
	list := make([][]kafkawire.BrokerID, count)
	for i := range list {
		list[i] = b.spread(n.name, int32(i), replication)
	}
	return list, nil
}

// checkPartitionCount refuses more partitions than the broker may have.
func (b *Broker) checkPartitionCount(more int) error {
	if b.opt.MaxPartitions < 0 {
		return nil
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if more > b.opt.MaxPartitions-b.count {
		return logError(kafkawire.ErrPolicyViolation, "the broker has %d partitions and may have %d", b.count, b.opt.MaxPartitions)
	}
	return nil
}

// errNoReplicas is the error for a partition that is assigned to no node.
func errNoReplicas(partition int) error {
	return logError(kafkawire.ErrInvalidReplicaAssignment, "partition %d has no replicas", partition)
}

// checkAssignment checks an assignment of partitions to nodes. The first has the number from.
func (b *Broker) checkAssignment(list [][]kafkawire.BrokerID, from, replicas int) error {
	for i, nodes := range list {
		i += from
		switch {
		case len(nodes) == 0:
			return errNoReplicas(i)
		case len(nodes) != replicas:
			return logError(kafkawire.ErrInvalidReplicaAssignment, "partition %d has %d replicas, and others have %d", i, len(nodes), replicas)
		}
		for k, id := range nodes {
			switch {
			case b.node(int32(id)) == nil:
				return logError(kafkawire.ErrInvalidReplicaAssignment, "partition %d has a replica on broker %d, which is not there", i, id)
			case slices.Contains(nodes[:k], id):
				return logError(kafkawire.ErrInvalidReplicaAssignment, "partition %d has two replicas on broker %d", i, id)
			}
		}
	}
	return nil
}

// collision returns a topic whose name differs only in dots and underscores, which metrics do not tell apart.
func (b *Broker) collision(name string) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.plain[plainName(name)]
}

// show lets others see a topic.
func (b *Broker) show(t *topicState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topics[t.name], b.byID[t.id], b.plain[plainName(t.name)] = t, t, t.name
	b.count += len(t.partitions())
}

// hide is the reverse of show.
func (b *Broker) hide(t *topicState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.topics, t.name)
	delete(b.byID, t.id)
	delete(b.plain, plainName(t.name))
	b.count -= len(t.partitions())
}

// addPartitions makes a topic larger. assignment may be nil.
func (b *Broker) addPartitions(name string, count int32, assignment [][]kafkawire.BrokerID, check bool) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	t := b.topic(name)
	if t == nil {
		return logError(kafkawire.ErrUnknownTopicOrPartition, "there is no such topic")
	}
	old := t.partitions()
	more := int(count) - len(old)
	switch {
	case t.internal:
		// The number says where each group and transactional id is. They would begin anew elsewhere, with nobody fenced.
		return logError(kafkawire.ErrInvalidPartitions, "the number of partitions of %s cannot be changed", name)
	case more == 0:
		return logError(kafkawire.ErrInvalidPartitions, "the topic has %d partitions already", len(old))
	case more < 0:
		return logError(kafkawire.ErrInvalidPartitions, "the topic has %d partitions, and they do not become fewer", len(old))
	case assignment != nil && len(assignment) != more:
		return logError(kafkawire.ErrInvalidReplicaAssignment, "%d partitions are to be added, and %d are assigned", more, len(assignment))
	}
	if err := b.checkPartitionCount(more); err != nil {
		return err
	}
	if assignment != nil {
		if err := b.checkAssignment(assignment, len(old), len(old[0].replicas)); err != nil {
			return err
		}
	}
	if check {
		return nil
	}
	added := make([]*partition, more)
	for i := range added {
		index := int32(len(old) + i)
		nodes := b.spread(name, index, len(old[0].replicas))
		if assignment != nil {
			nodes = assignment[i]
		}
		added[i] = b.newPartition(t, index, nodes)
	}
	list := slices.Concat(old, added)
	if err := b.setMeta(metaChange{metaTopic, name, t.encode(list)}); err != nil {
		return err
	}
	if err := b.addLogs(t, added); err != nil {
		if e := b.setMeta(metaChange{metaTopic, name, t.encode(old)}); e != nil {
			b.log.Error("kafkabroker: partitions could not be made, nor their mark be undone", "topic", name, "error", e)
		}
		return err
	}
	t.list.Store(&list)
	b.mu.Lock()
	b.count += more
	b.mu.Unlock()
	if f := b.opt.Events.PartitionsAdded; f != nil {
		f(name, len(list))
	}
	return nil
}

// deleteTopic deletes a topic. Its records are gone when it returns; requests that wait for them are answered. A topic of the broker
// itself that is in use is not deleted: open transactions would stay open in all logs for ever, and members be lost.
func (b *Broker) deleteTopic(t *topicState) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	if b.topic(t.name) != t {
		return logError(kafkawire.ErrUnknownTopicOrPartition, "there is no such topic")
	}
	retired, err := b.retire(t)
	if err != nil {
		return err
	}
	doomed := metaChange{metaDoomed, t.id.String(), []byte(t.name)}
	err = b.setMeta(metaChange{metaTopic, t.name, nil}, metaChange{metaConfig, topicConfigKey(t.name), nil}, doomed)
	if err != nil {
		retired(false)
		return err
	}
	b.hide(t)
	retired(true)
	b.stats.gone.addAll(&t.stats)
	b.configs.setTopic(t.name, nil)
	t.deleted.Store(true)
	for _, p := range t.partitions() {
		if e := b.logs.remove(p.log.id); e != nil && err == nil {
			err = e
		}
		p.wake()
	}
	if forgotten := b.groups.topicDeleted(t.name); err == nil && forgotten {
		err = b.setMeta(metaChange{metaDoomed, t.id.String(), nil})
	}
	if f := b.opt.Events.TopicDeleted; f != nil {
		f(t.name)
	}
	return err
}

// internalTopic returns a topic of the broker itself. It is made at its first use.
func (b *Broker) internalTopic(name string) (*topicState, error) {
	if t := b.topic(name); t != nil {
		return t, nil
	}
	n := newTopic{name: name, replication: -1, internal: true, configs: internalConfigs()}
	switch name {
	case offsetsTopic:
		n.partitions = b.configs.broker().int32("offsets.topic.num.partitions")
	default:
		n.partitions = b.configs.broker().int32("transaction.state.log.num.partitions")
	}
	t, err := b.createTopic(&n, false)
	if t == nil {
		if t = b.topic(name); t != nil {
			err = nil // somebody was faster
		}
	}
	return t, err
}

// internalConfigs are those of the topics of the broker itself, as Kafka has them.
func internalConfigs() map[string]string {
	return map[string]string{"cleanup.policy": "compact", "compression.type": "producer", "segment.bytes": "104857600"}
}
