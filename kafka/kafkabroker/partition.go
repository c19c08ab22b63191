package kafkabroker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// partition is a partition of a topic.
type partition struct {
	topic    *topicState
	index    int32
	log      *partitionLog // set before others see the partition
	lead     atomic.Pointer[leadership]
	replicas []kafkawire.BrokerID // never changed

	waiting atomic.Int32  // how many there are in waiters
	mu      sync.Mutex    // of waiters, taken last
	changed chan struct{} // closed when there is more to read, nil when nobody asked
	waiters []fetchWaiter // who waits for more records
}

// leadership says which node leads a partition. It is never changed, only replaced.
type leadership struct {
	leader    int32
	epochBase int32 // the leader epoch less Broker.restarts
}

// leadership returns which node leads.
func (p *partition) leadership() leadership { return *p.lead.Load() }

// leader returns the id of the node that leads.
func (p *partition) leader() int32 { return p.lead.Load().leader }

// leaderEpoch returns the epoch of the leader.
func (b *Broker) leaderEpoch(p *partition) int32 { return p.lead.Load().epochBase + b.restarts }

// id names the partition.
func (p *partition) id() partitionID { return partitionID{p.topic.name, p.index} }

// appendRecords appends batches of the broker itself, in the order of the calls. They are durable when p.log.await with
// the result's end says so.
func (b *Broker) appendRecords(p *partition, records []byte, origin appendOrigin) (appendResult, error) {
	return p.log.append(&appendRequest{
		records: records, origin: origin, leaderEpoch: b.leaderEpoch(p), now: time.Now().UnixMilli(),
	})
}

// appendMarker appends the control batch that ends a transaction in the partition. See appendRecords. Whoever keeps
// something about the records of transactions in this partition is told, before others see the marker's effect. txnVersion is that of the transaction.
func (b *Broker) appendMarker(p *partition, marker []byte, producerID int64, epoch int16, commit bool, txnVersion int16) (appendResult, error) {
	res, err := p.log.append(&appendRequest{
		records: marker, origin: fromCoordinator, leaderEpoch: b.leaderEpoch(p), now: time.Now().UnixMilli(), txnVersion: txnVersion,
	})
	if err == nil && p.topic.name == offsetsTopic {
		b.markerWritten(p, producerID, epoch, commit, res)
	}
	return res, err
}

// check returns the error for a request to a node about a partition, whose sender thinks that the leader has an epoch; -1 is
// no opinion.
func (s *session) check(p *partition, epoch int32) kafkawire.ErrorCode {
	switch {
	case p.topic.deleted.Load():
		return kafkawire.ErrUnknownTopicOrPartition
	case p.leader() != s.node.at.ID:
		return kafkawire.ErrNotLeaderOrFollower
	}
	switch current := s.b.leaderEpoch(p); {
	case epoch < 0 || epoch == current:
		return noError
	case epoch < current:
		return kafkawire.ErrFencedLeaderEpoch
	default:
		return kafkawire.ErrUnknownLeaderEpoch
	}
}
