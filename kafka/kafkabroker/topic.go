package kafkabroker

import (
	"sync/atomic"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// The topics of the broker itself.
const (
	offsetsTopic      = "__consumer_offsets"
	transactionsTopic = "__transaction_state"
)

// topicState is a topic. Its partitions become more, never fewer. What has no lock of its own is never changed.
type topicState struct {
	name     string
	id       kafkawire.UUID
	internal bool
	list     atomic.Pointer[[]*partition]
	deleted  atomic.Bool
	stats    topicCounts
}

// partitions returns the partitions by their index. The slice must not be changed.
func (t *topicState) partitions() []*partition {
	if p := t.list.Load(); p != nil {
		return *p
	}
	return nil
}

// partition returns a partition, or nil.
func (t *topicState) partition(index int32) *partition {
	if list := t.partitions(); index >= 0 && int(index) < len(list) {
		return list[index]
	}
	return nil
}

// isInternal reports whether a topic is one of the broker itself.
func isInternal(name string) bool { return name == offsetsTopic || name == transactionsTopic }

// topic returns the topic of a name, or nil.
func (b *Broker) topic(name string) *topicState {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.topics[name]
}

// topicByID returns the topic of an id, or nil.
func (b *Broker) topicByID(id kafkawire.UUID) *topicState {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.byID[id]
}

// partition returns a partition, nil if there is none.
func (b *Broker) partition(topic string, index int32) *partition {
	if t := b.topic(topic); t != nil {
		return t.partition(index)
	}
	return nil
}

// topicVersion is the version of the format of a topic in the metadata journal.
const topicVersion = 1

// encode returns the value of a topic in the metadata journal.
func (t *topicState) encode(list []*partition) []byte {
	b := append([]byte{topicVersion}, t.id[:]...)
	b = codec.AppendUvarint32(b, uint32(len(list)))
	for _, p := range list {
		l := p.leadership()
		b = codec.AppendVarint32(b, l.leader)
		b = codec.AppendVarint32(b, l.epochBase)
		b = codec.AppendUvarint32(b, uint32(len(p.replicas)))
		for _, r := range p.replicas {
			b = codec.AppendVarint32(b, int32(r))
		}
	}
	return b
}

// decodeTopic reads what encode writes.
func decodeTopic(name string, value []byte) (*topicState, error) {
	t := &topicState{name: name, internal: isInternal(name)}
	r := codec.NewReader(value)
	version := r.Uint8()
	copy(t.id[:], r.Bytes(len(t.id)))
	n := r.Count(int(r.Uvarint32()), 3)
	list := make([]*partition, n)
	for i := range list {
		p := &partition{topic: t, index: int32(i)}
		l := leadership{leader: r.Varint32(), epochBase: r.Varint32()}
		p.lead.Store(&l)
		p.replicas = make([]kafkawire.BrokerID, r.Count(int(r.Uvarint32()), 1))
		for j := range p.replicas {
			p.replicas[j] = kafkawire.BrokerID(r.Varint32())
		}
		list[i] = p
	}
	if version != topicVersion && r.Err() == nil || r.Err() != nil || r.Len() > 0 {
		return nil, &corruptError{"the metadata journal", 0, "topic " + name}
	}
	t.list.Store(&list)
	return t, nil
}

func encodeInt32(v int32) []byte { return codec.AppendVarint32(nil, v) }

func decodeInt32(b []byte) int32 {
	r := codec.NewReader(b)
	return r.Varint32()
}
