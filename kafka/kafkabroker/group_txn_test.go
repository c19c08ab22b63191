package kafkabroker

import (
	"testing"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// txnPeer is a transactional producer.
type txnPeer struct {
	groupPeer
	name  kafkawire.TransactionalID
	id    kafkawire.ProducerID
	epoch int16
}

func (g *groupTest) producer(name string) *txnPeer {
	g.t.Helper()
	p := &txnPeer{groupPeer: g.dial(), name: kafkawire.TransactionalID(name)}
	r := ask[*kafkawire.InitProducerIDResponse](p.peer, &kafkawire.InitProducerIDRequest{
		TransactionalID: &p.name, TransactionTimeoutMs: 60_000, ProducerID: -1, ProducerEpoch: -1}, 4)
	if r.ErrorCode != 0 {
		g.t.Fatalf("%+v", r)
	}
	p.id, p.epoch = r.ProducerID, r.ProducerEpoch
	return p
}

// addOffsets puts a group into the transaction.
func (p *txnPeer) addOffsets(group string) kafkawire.ErrorCode {
	p.t.Helper()
	return settled(func() kafkawire.ErrorCode {
		return ask[*kafkawire.AddOffsetsToTxnResponse](p.peer, &kafkawire.AddOffsetsToTxnRequest{
			TransactionalID: p.name, ProducerID: p.id, ProducerEpoch: p.epoch, GroupID: kafkawire.GroupID(group)}, 3).ErrorCode
	})
}

func (p *txnPeer) commitInTxn(group, member string, generation int32, topic string, partition int32, offset int64, version int16) kafkawire.ErrorCode {
	p.t.Helper()
	return settled(func() kafkawire.ErrorCode {
		r := ask[*kafkawire.TxnOffsetCommitResponse](p.peer, &kafkawire.TxnOffsetCommitRequest{
			TransactionalID: p.name, GroupID: kafkawire.GroupID(group), ProducerID: p.id, ProducerEpoch: p.epoch,
			GenerationIDOrMemberEpoch: generation, MemberID: member,
			Topics: []kafkawire.TxnOffsetCommitRequestTopic{{Name: kafkawire.TopicName(topic), Partitions: []kafkawire.TxnOffsetCommitRequestPartition{
				{PartitionIndex: partition, CommittedOffset: offset, CommittedLeaderEpoch: -1, CommittedMetadata: new("t")}}}},
		}, version)
		return r.Topics[0].Partitions[0].ErrorCode
	})
}

// settled asks until the transaction before has ended.
func settled(f func() kafkawire.ErrorCode) kafkawire.ErrorCode {
	for {
		code := f()
		if code != kafkawire.ErrConcurrentTransactions {
			return code
		}
		pass(10 * time.Millisecond)
	}
}

func (p *txnPeer) end(commit bool, version int16) kafkawire.ErrorCode {
	p.t.Helper()
	r := ask[*kafkawire.EndTxnResponse](p.peer, &kafkawire.EndTxnRequest{
		TransactionalID: p.name, ProducerID: p.id, ProducerEpoch: p.epoch, Committed: commit}, version)
	if version >= 5 && r.ErrorCode == 0 {
		p.id, p.epoch = r.ProducerID, r.ProducerEpoch
	}
	return r.ErrorCode
}

func TestOffsetsInTransactions(t *testing.T) {
	for _, version := range []int16{3, 5} {
		groupBubble(t, func(g *groupTest) {
			endVersion := int16(3)
			if version >= 5 {
				endVersion = 5
			}
			g.open()
			g.topic("topic", 2)
			p := g.dial()
			p.find("g")
			id, generation := p.join("g", "")
			x := g.producer("x")
			must := func(code kafkawire.ErrorCode) {
				t.Helper()
				if code != 0 {
					t.Errorf("version %d: %v", version, code)
				}
			}
			want := func(stable bool, offset int64, code kafkawire.ErrorCode) {
				t.Helper()
				if o, c := p.committed("g", "topic", 1, stable); o != offset || c != code {
					t.Errorf("version %d: offset %d, %v; want %d, %v", version, o, c, offset, code)
				}
			}
			begin := func() {
				t.Helper()
				if version < 5 {
					must(x.addOffsets("g"))
				}
			}
			if version < 5 {
				// Nobody has added the group to the transaction.
				if code := x.commitInTxn("g", id, generation, "topic", 1, 1, version); code == 0 {
					t.Error("offsets outside of a transaction")
				}
			}
			begin()
			must(x.commitInTxn("g", id, generation, "topic", 1, 10, version))
			want(false, -1, 0)
			want(true, -1, kafkawire.ErrUnstableOffsetCommit)
			if o, c := p.committed("g", "topic", 0, true); o != -1 || c != 0 {
				t.Error("another partition:", o, c)
			}
			must(x.end(true, endVersion))
			want(true, 10, 0)

			begin()
			must(x.commitInTxn("g", id, generation, "topic", 1, 20, version))
			g.crash()
			p = g.dial()
			x.groupPeer = g.dial()
			want(true, -1, kafkawire.ErrUnstableOffsetCommit)
			want(false, 10, 0)
			must(x.end(false, endVersion))
			want(true, 10, 0)

			// A plain commit that comes later goes first.
			begin()
			must(x.commitInTxn("g", id, generation, "topic", 1, 30, version))
			must(p.commit("g", id, generation, "topic", 1, 31))
			want(false, 31, 0)
			must(x.end(true, endVersion))
			want(true, 31, 0)
			g.crash()
			p = g.dial()
			want(true, 31, 0)

			// Fencing by the metadata of the group.
			x.groupPeer = g.dial()
			begin()
			for _, c := range []struct {
				member     string
				generation int32
				code       kafkawire.ErrorCode
			}{
				{id, generation + 1, kafkawire.ErrIllegalGeneration}, {"nobody", generation, kafkawire.ErrUnknownMemberID},
				{"", -1, 0},
			} {
				if code := x.commitInTxn("g", c.member, c.generation, "topic", 1, 40, version); code != c.code {
					t.Errorf("version %d, %s in %d: %v", version, c.member, c.generation, code)
				}
			}
			if code := x.commitInTxn("other", "m", 1, "topic", 1, 40, version); code == 0 {
				t.Error("a group that nobody knows")
			}
			// Deleting the topic ends what is pending of it.
			if err := g.b.deleteTopic(g.b.topic("topic")); err != nil {
				t.Fatal(err)
			}
			must(x.end(true, endVersion))
			want(true, -1, 0)
			g.crash()
			p = g.dial()
			want(true, -1, 0)

			// A producer with an old epoch.
			g.topic("topic", 2)
			y := g.producer("x")
			x.groupPeer = g.dial()
			if code := x.commitInTxn("g", "", -1, "topic", 1, 50, version); code != kafkawire.ErrInvalidProducerEpoch && code != kafkawire.ErrProducerFenced {
				t.Error(code)
			}
			if version < 5 {
				must(y.addOffsets("g"))
			}
			must(y.commitInTxn("g", "", -1, "topic", 1, 60, version))
			must(y.end(true, endVersion))
			want(true, 60, 0)
		})
	}
}
