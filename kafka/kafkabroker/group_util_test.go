package kafkabroker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// groupTest is a broker that can be restarted, with a server in memory.
type groupTest struct {
	t   *testing.T
	opt Options
	fs  *vfs.Mem
	b   *Broker
	srv *kafkaserver.Server
	l   *memnet.Listener
}

// groupBubble runs a test of groups in a bubble.
func groupBubble(t *testing.T, f func(g *groupTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := &groupTest{t: t, fs: vfs.NewMem()}
		g.opt = Options{
			Dir: "d", Authenticate: AllowAll, OffsetsPartitions: 3, TransactionPartitions: 2,
			Config: map[string]string{"group.initial.rebalance.delay.ms": "0"},
		}
		defer func() { g.close() }()
		f(g)
	})
}

// pass lets time pass in the bubble.
func pass(d time.Duration) { time.Sleep(d) }

// open opens the broker.
func (g *groupTest) open() {
	g.t.Helper()
	g.opt.fs = g.fs
	b, err := Open(&g.opt)
	if err != nil {
		g.t.Fatal(err)
	}
	g.b, g.l, g.srv = b, memnet.Listen("192.0.2.9:9092"), kafkaserver.New(b, nil)
	l := g.l
	srv := g.srv
	go srv.Serve(l, nil)
}

// close closes the broker.
func (g *groupTest) close() {
	if g.b == nil {
		return
	}
	g.srv.Close()
	if err := g.b.Close(); err != nil {
		g.t.Error(err)
	}
	g.b = nil
	synctest.Wait()
}

// restart closes the broker in order and opens it again.
func (g *groupTest) restart() {
	g.t.Helper()
	g.close()
	g.open()
}

// crash loses what is not durable and opens the rest.
func (g *groupTest) crash() {
	g.t.Helper()
	fs := g.fs.DropClone()
	g.close()
	g.fs = fs
	g.open()
}

// topic makes a topic.
func (g *groupTest) topic(name string, partitions int32) *topicState {
	g.t.Helper()
	t, err := g.b.createTopic(&newTopic{name: name, partitions: partitions, replication: -1}, false)
	if err != nil {
		g.t.Fatal(err)
	}
	return t
}

// groupPeer is a client that a test plays.
type groupPeer struct {
	*peer
	session int32 // timeout in milliseconds, 0 for that of joinRequest
}

func (g *groupTest) dial() groupPeer {
	g.t.Helper()
	nc, err := g.l.Dial(context.Background())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { nc.Close() })
	return groupPeer{peer: &peer{t: g.t, nc: nc, client: "test"}}
}

// next reads the response to the last request.
func (p groupPeer) next(m kafkawire.Response, version int16) {
	p.t.Helper()
	if err := p.receive(m, version, p.id); err != nil {
		p.t.Fatal(err)
	}
}

// find asks for a coordinator, which makes the topic of the groups.
func (p groupPeer) find(group string) {
	p.t.Helper()
	r := ask[*kafkawire.FindCoordinatorResponse](p.peer, &kafkawire.FindCoordinatorRequest{CoordinatorKeys: []string{group}}, 6)
	if r.Coordinators[0].ErrorCode != 0 || r.Coordinators[0].Port != 9092 || r.Coordinators[0].NodeID != 1 {
		p.t.Fatalf("coordinator %+v", r)
	}
}

func joinRequest(group, member string) *kafkawire.JoinGroupRequest {
	return &kafkawire.JoinGroupRequest{
		GroupID: kafkawire.GroupID(group), MemberID: member, SessionTimeoutMs: 10_000, RebalanceTimeoutMs: 60_000,
		ProtocolType: "consumer", Protocols: []kafkawire.JoinGroupRequestProtocol{{Name: "range", Metadata: subscriptionOf("topic")}},
	}
}

func subscriptionOf(topics ...string) []byte {
	b, err := kafkawire.AppendVersioned(nil, &kafkawire.ConsumerProtocolSubscription{Topics: topics, GenerationID: -1}, 1)
	if err != nil {
		panic(err)
	}
	return b
}

// join makes the peer the only member of a group, and returns its id and generation.
func (p groupPeer) join(group, instance string) (id string, generation int32) {
	p.t.Helper()
	req := joinRequest(group, "")
	if p.session > 0 {
		req.SessionTimeoutMs = p.session
	}
	version := int16(9)
	if instance != "" {
		req.GroupInstanceID = &instance
	}
	r := ask[*kafkawire.JoinGroupResponse](p.peer, req, version)
	if r.ErrorCode == kafkawire.ErrMemberIDRequired {
		req.MemberID = r.MemberID
		r = ask[*kafkawire.JoinGroupResponse](p.peer, req, version)
	}
	if r.ErrorCode != 0 || r.Leader != r.MemberID {
		p.t.Fatalf("join: %+v", r)
	}
	sync := &kafkawire.SyncGroupRequest{
		GroupID: req.GroupID, GenerationID: r.GenerationID, MemberID: r.MemberID, GroupInstanceID: req.GroupInstanceID,
		ProtocolType: r.ProtocolType, ProtocolName: r.ProtocolName,
		Assignments: []kafkawire.SyncGroupRequestAssignment{{MemberID: r.MemberID, Assignment: []byte("all")}},
	}
	a := ask[*kafkawire.SyncGroupResponse](p.peer, sync, 5)
	if a.ErrorCode != 0 || string(a.Assignment) != "all" {
		p.t.Fatalf("sync: %+v", a)
	}
	return r.MemberID, r.GenerationID
}

func (p groupPeer) heartbeat(group, id string, generation int32) kafkawire.ErrorCode {
	p.t.Helper()
	return ask[*kafkawire.HeartbeatResponse](p.peer, &kafkawire.HeartbeatRequest{
		GroupID: kafkawire.GroupID(group), MemberID: id, GenerationID: generation}, 4).ErrorCode
}

// commit commits the offset of one partition.
func (p groupPeer) commit(group, id string, generation int32, topic string, partition int32, offset int64) kafkawire.ErrorCode {
	p.t.Helper()
	r := ask[*kafkawire.OffsetCommitResponse](p.peer, commitRequest(group, id, generation, topic, partition, offset), 9)
	return r.Topics[0].Partitions[0].ErrorCode
}

func commitRequest(group, id string, generation int32, topic string, partition int32, offset int64) *kafkawire.OffsetCommitRequest {
	return &kafkawire.OffsetCommitRequest{
		GroupID: kafkawire.GroupID(group), MemberID: id, GenerationIDOrMemberEpoch: generation, RetentionTimeMs: -1,
		Topics: []kafkawire.OffsetCommitRequestTopic{{Name: kafkawire.TopicName(topic), Partitions: []kafkawire.OffsetCommitRequestPartition{
			{PartitionIndex: partition, CommittedOffset: offset, CommittedLeaderEpoch: 3, CommittedMetadata: new("m")}}}},
	}
}

// committed fetches the offset of one partition, and its code.
func (p groupPeer) committed(group, topic string, partition int32, stable bool) (int64, kafkawire.ErrorCode) {
	p.t.Helper()
	r := ask[*kafkawire.OffsetFetchResponse](p.peer, &kafkawire.OffsetFetchRequest{RequireStable: stable, Groups: []kafkawire.OffsetFetchRequestGroup{{
		GroupID: kafkawire.GroupID(group), MemberEpoch: -1,
		Topics: []kafkawire.OffsetFetchRequestGroupTopic{{Name: kafkawire.TopicName(topic), PartitionIndexes: []int32{partition}}},
	}}}, 9)
	if r.Groups[0].ErrorCode != 0 {
		p.t.Fatalf("OffsetFetch: %v", r.Groups[0].ErrorCode)
	}
	a := r.Groups[0].Topics[0].Partitions[0]
	return a.CommittedOffset, a.ErrorCode
}

// describe returns the description of a group.
func (p groupPeer) describe(group string) kafkawire.DescribeGroupsResponseGroup {
	p.t.Helper()
	r := ask[*kafkawire.DescribeGroupsResponse](p.peer, &kafkawire.DescribeGroupsRequest{Groups: []kafkawire.GroupID{kafkawire.GroupID(group)}}, 5)
	return r.Groups[0]
}
