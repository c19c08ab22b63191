package interop

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestKafkaGroupsAsApache plays the same members of groups against Apache Kafka and our broker, and compares every answer.
func TestKafkaGroupsAsApache(t *testing.T) {
	t.Parallel() // it waits for programs most of the time
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	need(t, "java", "java/kafka/target/dependency")
	const session = "group.min.session.timeout.ms"
	address := freeAddress(t)
	newApacheKafka(t, address, address, session+"=500\ngroup.max.size=3\n").start()

	b, err := kafkabroker.Open(&kafkabroker.Options{
		Authenticate: kafkabroker.AllowAll, OffsetsPartitions: 1, TransactionPartitions: 1,
		Config: map[string]string{session: "500", "group.initial.rebalance.delay.ms": "0", "group.max.size": "3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	theirs, ours := playBoth(t, address, b, playGroups)
	if len(ours) != len(theirs) {
		t.Fatalf("%d answers, and %d of Apache Kafka", len(ours), len(theirs))
	}
	differ := 0
	for i := range ours {
		if ours[i] != theirs[i] {
			differ++
			t.Errorf("%d:\nours  %s\nKafka %s", i, ours[i], theirs[i])
		}
	}
	t.Logf("%d answers, %d differ", len(ours), differ)
	if dir := os.Getenv("KAFKA_GROUPS_OUT"); dir != "" {
		os.WriteFile(filepath.Join(dir, "theirs.txt"), []byte(strings.Join(theirs, "\n")+"\n"), 0o644)
		os.WriteFile(filepath.Join(dir, "ours.txt"), []byte(strings.Join(ours, "\n")+"\n"), 0o644)
	}
}

// groupPlay is one run of the play.
type groupPlay struct {
	t       *testing.T
	address string
	conns   map[string]*groupConn
	names   []string // pairs for a strings.Replacer: ids and what they are called
	lines   []string
}

type groupConn struct {
	nc   net.Conn
	last int32
}

func playGroups(t *testing.T, address string) []string {
	p := newGroupPlay(t, address)
	defer func() {
		p.close()
		if t.Failed() {
			t.Logf("until then:\n%s", strings.Join(p.lines, "\n"))
		}
	}()
	p.prepare()
	p.unknown()
	p.life()
	p.static()
	p.errors()
	p.timeouts()
	p.offsets()
	p.transactions()
	p.size()
	names := strings.NewReplacer(p.names...)
	for i, line := range p.lines {
		p.lines[i] = names.Replace(line)
	}
	return p.lines
}

// send sends a request on the connection of a name.
func (p *groupPlay) send(conn string, m kafkawire.Request, version int16) {
	p.t.Helper()
	c := p.conns[conn]
	if c == nil {
		nc, err := net.Dial("tcp", p.address)
		if err != nil {
			p.t.Fatal(err)
		}
		c = &groupConn{nc: nc}
		p.conns[conn] = c
	}
	c.last++
	b, err := kafkawire.AppendRequest(nil, kafkawire.RequestHeader{Version: version, CorrelationID: c.last, ClientID: []byte("play")}, m)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := c.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// receive reads a response and notes it.
func receive[R kafkawire.Response](p *groupPlay, conn string, m R, version int16) R {
	p.t.Helper()
	c := p.conns[conn]
	c.nc.SetReadDeadline(time.Now().Add(kafkaPatience))
	var size [4]byte
	if _, err := io.ReadFull(c.nc, size[:]); err != nil {
		p.t.Fatalf("%v on %s at %s: %v", m.Key(), conn, p.address, err)
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c.nc, b); err != nil {
		p.t.Fatal(err)
	}
	_, body, err := kafkawire.DecodeResponseHeader(b, m.Key(), version)
	if err == nil {
		err = m.Decode(body, version)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.note(m, version)
	return m
}

// ask sends a request, reads the response and notes it.
func askGroup[R kafkawire.Response](p *groupPlay, conn string, m kafkawire.Request, version int16) R {
	p.t.Helper()
	p.send(conn, m, version)
	return receive(p, conn, m.NewResponse().(R), version)
}

// note writes a response down, with names for ids, and without texts for people.
func (p *groupPlay) note(m kafkawire.Response, version int16) {
	name := strings.NewReplacer(p.names...).Replace
	switch r := m.(type) {
	case *kafkawire.JoinGroupResponse:
		slices.SortFunc(r.Members, func(a, b kafkawire.JoinGroupResponseMember) int {
			return strings.Compare(name(a.MemberID), name(b.MemberID))
		})
	case *kafkawire.OffsetCommitResponse:
		for _, t := range r.Topics {
			slices.SortFunc(t.Partitions, func(a, b kafkawire.OffsetCommitResponsePartition) int {
				return int(a.PartitionIndex - b.PartitionIndex)
			})
		}
	case *kafkawire.DescribeGroupsResponse:
		for i := range r.Groups {
			g := &r.Groups[i]
			g.ErrorMessage = nil
			slices.SortFunc(g.Members, func(a, b kafkawire.DescribeGroupsResponseMember) int {
				return strings.Compare(name(a.MemberID), name(b.MemberID))
			})
		}
	case *kafkawire.DeleteGroupsResponse:
		for i := range r.Results {
			r.Results[i].ErrorMessage = nil
		}
		slices.SortFunc(r.Results, func(a, b kafkawire.DeleteGroupsResponseResult) int {
			return strings.Compare(string(a.GroupID), string(b.GroupID))
		})
	case *kafkawire.OffsetDeleteResponse:
		for _, t := range r.Topics {
			slices.SortFunc(t.Partitions, func(a, b kafkawire.OffsetDeleteResponsePartition) int {
				return int(a.PartitionIndex - b.PartitionIndex)
			})
		}
	case *kafkawire.OffsetFetchResponse:
		sortOffsets(r)
	case *kafkawire.FindCoordinatorResponse:
		r.ErrorMessage, r.Port = nil, 0
		for i := range r.Coordinators {
			r.Coordinators[i].ErrorMessage, r.Coordinators[i].Port = nil, 0
		}
	case *kafkawire.ListGroupsResponse:
		slices.SortFunc(r.Groups, func(a, b kafkawire.ListGroupsResponseGroup) int {
			return strings.Compare(string(a.GroupID), string(b.GroupID))
		})
	}
	b, err := json.Marshal(m)
	if err != nil {
		p.t.Fatal(err)
	}
	p.lines = append(p.lines, fmt.Sprintf("%v %d %s", m.Key(), version, strings.ReplaceAll(string(b), `"UnknownTags":null`, "")))
}

// sortOffsets brings offsets into an order, of which Kafka has none.
func sortOffsets(r *kafkawire.OffsetFetchResponse) {
	slices.SortFunc(r.Topics, func(a, b kafkawire.OffsetFetchResponseTopic) int {
		return strings.Compare(string(a.Name), string(b.Name))
	})
	for _, t := range r.Topics {
		slices.SortFunc(t.Partitions, func(a, b kafkawire.OffsetFetchResponsePartition) int { return int(a.PartitionIndex - b.PartitionIndex) })
	}
	for _, g := range r.Groups {
		slices.SortFunc(g.Topics, func(a, b kafkawire.OffsetFetchResponseGroupTopic) int {
			return strings.Compare(string(a.Name), string(b.Name))
		})
		for _, t := range g.Topics {
			slices.SortFunc(t.Partitions, func(a, b kafkawire.OffsetFetchResponseGroupTopicPartition) int {
				return int(a.PartitionIndex - b.PartitionIndex)
			})
		}
	}
}

// call gives an id a name.
func (p *groupPlay) call(id, name string) { p.names = append(p.names, id, name) }

// comment marks where the play is.
func (p *groupPlay) comment(text string) { p.lines = append(p.lines, "# "+text) }

func (p *groupPlay) heartbeat(group, id, instance string, generation int32) {
	r := &kafkawire.HeartbeatRequest{GroupID: kafkawire.GroupID(group), MemberID: id, GenerationID: generation}
	if instance != "" {
		r.GroupInstanceID = &instance
	}
	askGroup[*kafkawire.HeartbeatResponse](p, "main", r, 4)
}

func (p *groupPlay) describe(group string) {
	for _, version := range []int16{5, 6} {
		askGroup[*kafkawire.DescribeGroupsResponse](p, "main", &kafkawire.DescribeGroupsRequest{
			Groups: []kafkawire.GroupID{kafkawire.GroupID(group)}, IncludeAuthorizedOperations: true}, version)
	}
}

// playTimeout is, in milliseconds, what does not pass while the play lasts. Where a timeout is to pass, the others are so long
// that a busy machine does in time what is to be done meanwhile.
const playTimeout = 600_000

func playJoin(group, id, instance string, protocols ...string) *kafkawire.JoinGroupRequest {
	r := &kafkawire.JoinGroupRequest{
		GroupID: kafkawire.GroupID(group), MemberID: id, SessionTimeoutMs: playTimeout, RebalanceTimeoutMs: playTimeout, ProtocolType: "consumer",
	}
	if instance != "" {
		r.GroupInstanceID = &instance
	}
	if len(protocols) == 0 {
		protocols = []string{"range"}
	}
	for _, name := range protocols {
		name, topic, _ := strings.Cut(name, ":")
		b := binary.BigEndian.AppendUint16([]byte{0, 0, 0, 0, 0, 1}, uint16(len("play"+topic)))
		b = append(append(b, "play"+topic...), 0, 0, 0, 0)
		r.Protocols = append(r.Protocols, kafkawire.JoinGroupRequestProtocol{Name: name, Metadata: b})
	}
	return r
}

// enter joins as a client does, up to the second request, whose answer is to be received.
func (p *groupPlay) enter(conn, name, group string, protocols ...string) string {
	r := askGroup[*kafkawire.JoinGroupResponse](p, conn, playJoin(group, "", "", protocols...), 0+4)
	p.call(r.MemberID, name)
	p.send(conn, playJoin(group, r.MemberID, "", protocols...), 9)
	return r.MemberID
}

func (p *groupPlay) joined(conn string) *kafkawire.JoinGroupResponse {
	return receive(p, conn, new(kafkawire.JoinGroupResponse), 9)
}

func playSync(group, id, instance string, generation int32, to ...string) *kafkawire.SyncGroupRequest {
	r := &kafkawire.SyncGroupRequest{
		GroupID: kafkawire.GroupID(group), MemberID: id, GenerationID: generation, ProtocolType: new("consumer"), ProtocolName: new("range"),
	}
	if instance != "" {
		r.GroupInstanceID = &instance
	}
	for i, m := range to {
		r.Assignments = append(r.Assignments, kafkawire.SyncGroupRequestAssignment{MemberID: m, Assignment: fmt.Append(nil, "part", i)})
	}
	return r
}

func (p *groupPlay) sync(conn string, r *kafkawire.SyncGroupRequest, version int16) {
	askGroup[*kafkawire.SyncGroupResponse](p, conn, r, version)
}

func playCommit(group, id, instance string, generation int32, topic string, partitions ...int32) *kafkawire.OffsetCommitRequest {
	r := &kafkawire.OffsetCommitRequest{
		GroupID: kafkawire.GroupID(group), MemberID: id, GenerationIDOrMemberEpoch: generation, RetentionTimeMs: -1,
		Topics: []kafkawire.OffsetCommitRequestTopic{{Name: kafkawire.TopicName(topic)}},
	}
	if instance != "" {
		r.GroupInstanceID = &instance
	}
	for _, i := range partitions {
		r.Topics[0].Partitions = append(r.Topics[0].Partitions, kafkawire.OffsetCommitRequestPartition{
			PartitionIndex: i, CommittedOffset: int64(100 + i), CommittedLeaderEpoch: 2, CommittedMetadata: new("meta")})
	}
	return r
}

func (p *groupPlay) commit(r *kafkawire.OffsetCommitRequest, version int16) {
	askGroup[*kafkawire.OffsetCommitResponse](p, "main", r, version)
}

func (p *groupPlay) fetch(group, topic string, stable bool, version int16, partitions ...int32) {
	r := &kafkawire.OffsetFetchRequest{RequireStable: stable}
	if version < 8 {
		r.GroupID = kafkawire.GroupID(group)
		if topic != "" {
			r.Topics = []kafkawire.OffsetFetchRequestTopic{{Name: kafkawire.TopicName(topic), PartitionIndexes: partitions}}
		}
	} else {
		g := kafkawire.OffsetFetchRequestGroup{GroupID: kafkawire.GroupID(group), MemberEpoch: -1}
		if topic != "" {
			g.Topics = []kafkawire.OffsetFetchRequestGroupTopic{{Name: kafkawire.TopicName(topic), PartitionIndexes: partitions}}
		}
		r.Groups = []kafkawire.OffsetFetchRequestGroup{g}
	}
	askGroup[*kafkawire.OffsetFetchResponse](p, "main", r, version)
}

func (p *groupPlay) leave(group string, members ...kafkawire.LeaveGroupRequestMember) {
	askGroup[*kafkawire.LeaveGroupResponse](p, "main", &kafkawire.LeaveGroupRequest{GroupID: kafkawire.GroupID(group), Members: members}, 5)
}

func (p *groupPlay) delete(groups ...kafkawire.GroupID) {
	askGroup[*kafkawire.DeleteGroupsResponse](p, "main", &kafkawire.DeleteGroupsRequest{GroupsNames: groups}, 3)
}

// prepare makes topics and waits for the coordinators.
func (p *groupPlay) prepare() {
	p.comment("before there is a coordinator")
	p.heartbeat("unknown", "m", "", 1)
	create := &kafkawire.CreateTopicsRequest{TimeoutMs: 60_000}
	for _, name := range []kafkawire.TopicName{"play", "playother"} {
		create.Topics = append(create.Topics, kafkawire.CreateTopicsRequestTopic{Name: name, NumPartitions: 3, ReplicationFactor: 1})
	}
	p.send("main", create, 4)
	receive(p, "main", new(kafkawire.CreateTopicsResponse), 4)
	for _, kind := range []int8{0, 1} {
		p.wait(func() bool {
			r := askGroup[*kafkawire.FindCoordinatorResponse](p, "main", &kafkawire.FindCoordinatorRequest{KeyType: kind, CoordinatorKeys: []string{"g"}}, 4)
			return r.Coordinators[0].ErrorCode == 0
		})
	}
	p.wait(func() bool {
		r := askGroup[*kafkawire.HeartbeatResponse](p, "main", &kafkawire.HeartbeatRequest{GroupID: "unknown", MemberID: "m"}, 4)
		return r.ErrorCode != kafkawire.ErrCoordinatorLoadInProgress && r.ErrorCode != kafkawire.ErrNotCoordinator &&
			r.ErrorCode != kafkawire.ErrCoordinatorNotAvailable
	})
	for version := int16(0); version <= 6; version++ {
		r := &kafkawire.FindCoordinatorRequest{CoordinatorKey: "g"}
		if version >= 4 {
			r = &kafkawire.FindCoordinatorRequest{CoordinatorKeys: []string{"g", "h"}}
		}
		askGroup[*kafkawire.FindCoordinatorResponse](p, "main", r, version)
	}
}

// wait repeats something until it is so; only the last try is noted.
func (p *groupPlay) wait(f func() bool) {
	p.t.Helper()
	at := len(p.lines)
	for end := time.Now().Add(kafkaPatience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		p.lines = p.lines[:at]
		if f() {
			return
		}
	}
	p.t.Fatal(errors.New("it does not come to be"), p.lines[at:])
}

func (p *groupPlay) unknown() {
	p.comment("groups that nobody knows")
	p.heartbeat("unknown", "m", "", 1)
	p.heartbeat("", "m", "", 1)
	for version := int16(0); version <= 9; version++ {
		r := playJoin("unknown", "m", "")
		if version == 0 {
			r.RebalanceTimeoutMs = -1
		}
		askGroup[*kafkawire.JoinGroupResponse](p, "main", r, version)
	}
	askGroup[*kafkawire.JoinGroupResponse](p, "main", playJoin("", "", ""), 9)
	for version := int16(0); version <= 5; version++ {
		p.sync("main", playSync("unknown", "m", "", 1), version)
	}
	p.sync("main", playSync("", "m", "", 1), 5)
	for version := int16(0); version <= 2; version++ {
		askGroup[*kafkawire.LeaveGroupResponse](p, "main", &kafkawire.LeaveGroupRequest{GroupID: "unknown", MemberID: "m"}, version)
	}
	p.leave("unknown", kafkawire.LeaveGroupRequestMember{MemberID: "m"}, kafkawire.LeaveGroupRequestMember{GroupInstanceID: new("i")})
	p.leave("", kafkawire.LeaveGroupRequestMember{MemberID: "m"})
	for version := int16(0); version <= 6; version++ {
		askGroup[*kafkawire.DescribeGroupsResponse](p, "main", &kafkawire.DescribeGroupsRequest{Groups: []kafkawire.GroupID{"unknown", ""}}, version)
	}
	for version := int16(2); version <= 9; version++ {
		p.commit(playCommit("unknown", "m", "", 1, "play", 0), version)
	}
	for version := int16(1); version <= 9; version++ {
		p.fetch("unknown", "play", false, version, 0, 9)
	}
	p.fetch("unknown", "", true, 7)
	p.fetch("unknown", "", true, 9)
	p.fetch("unknown", "nothing", true, 9, 1)
	p.delete("unknown", "")
	askGroup[*kafkawire.OffsetDeleteResponse](p, "main", &kafkawire.OffsetDeleteRequest{GroupID: "unknown"}, 0)
	askGroup[*kafkawire.ListGroupsResponse](p, "main", new(kafkawire.ListGroupsRequest), 5)
}

func (p *groupPlay) life() {
	p.comment("the life of a group")
	a := p.enter("a", "A", "g", "range:", "sticky:")
	p.joined("a")
	p.describe("g")
	p.heartbeat("g", a, "", 1)
	p.commit(playCommit("g", a, "", 1, "play", 0), 9)
	p.sync("a", playSync("g", a, "", 1, a), 5)
	p.describe("g")
	p.commit(playCommit("g", a, "", 1, "play", 0), 9)
	b := p.enter("b", "B", "g", "range:", "sticky:")
	p.wait(func() bool {
		r := askGroup[*kafkawire.HeartbeatResponse](p, "main", &kafkawire.HeartbeatRequest{GroupID: "g", MemberID: a, GenerationID: 1}, 4)
		return r.ErrorCode == kafkawire.ErrRebalanceInProgress
	})
	p.describe("g")
	p.commit(playCommit("g", a, "", 1, "play", 1), 9)
	p.sync("a", playSync("g", a, "", 1, a), 5)
	p.heartbeat("g", b, "", 1)
	askGroup[*kafkawire.ListGroupsResponse](p, "main", &kafkawire.ListGroupsRequest{StatesFilter: []string{"preparingrebalance"}}, 5)
	p.send("a", playJoin("g", a, "", "range:", "sticky:"), 9)
	p.joined("a")
	p.joined("b")
	p.send("b", playSync("g", b, "", 2), 5)
	p.sync("a", playSync("g", a, "", 2, a), 5)
	receive(p, "b", new(kafkawire.SyncGroupResponse), 5)
	p.describe("g")
	p.comment("a follower joins again")
	p.send("b", playJoin("g", b, "", "range:", "sticky:"), 9)
	p.joined("b")
	p.comment("with other metadata, and back")
	p.send("b", playJoin("g", b, "", "range:"), 9)
	p.wait(func() bool {
		r := askGroup[*kafkawire.HeartbeatResponse](p, "main", &kafkawire.HeartbeatRequest{GroupID: "g", MemberID: a, GenerationID: 2}, 4)
		return r.ErrorCode == kafkawire.ErrRebalanceInProgress
	})
	p.send("a", playJoin("g", a, "", "range:", "sticky:"), 9)
	p.joined("a")
	p.joined("b")
	p.comment("the leader and the follower ask again before there is an assignment")
	p.send("a", playJoin("g", a, "", "range:", "sticky:"), 9)
	p.joined("a")
	p.send("b", playJoin("g", b, "", "range:"), 9)
	p.joined("b")
	p.comment("errors of SyncGroup")
	p.sync("a", &kafkawire.SyncGroupRequest{GroupID: "g", MemberID: a, GenerationID: 3}, 5)
	p.sync("a", &kafkawire.SyncGroupRequest{GroupID: "g", MemberID: a, GenerationID: 3, ProtocolType: new("consumer")}, 5)
	p.sync("a", playSync("g", a, "", 2), 5)
	p.sync("a", playSync("g", "nobody", "", 3), 5)
	s := playSync("g", a, "", 3, a, b)
	s.ProtocolName, s.ProtocolType = new("sticky"), new("consumer")
	p.sync("a", s, 5)
	s.ProtocolName, s.ProtocolType = new("range"), new("connect")
	p.sync("a", s, 5)
	s.ProtocolName, s.ProtocolType = new("range"), new("consumer")
	p.sync("a", s, 5)
	p.sync("b", playSync("g", b, "", 3), 5)
	p.comment("the leader joins again")
	p.send("a", playJoin("g", a, "", "range:", "sticky:"), 9)
	p.wait(func() bool {
		r := askGroup[*kafkawire.HeartbeatResponse](p, "main", &kafkawire.HeartbeatRequest{GroupID: "g", MemberID: b, GenerationID: 3}, 4)
		return r.ErrorCode == kafkawire.ErrRebalanceInProgress
	})
	p.leave("g", kafkawire.LeaveGroupRequestMember{MemberID: b}, kafkawire.LeaveGroupRequestMember{MemberID: b})
	p.joined("a")
	p.sync("a", playSync("g", a, "", 4, a), 5)
	p.delete("g")
	askGroup[*kafkawire.LeaveGroupResponse](p, "main", &kafkawire.LeaveGroupRequest{GroupID: "g", MemberID: a}, 2)
	p.describe("g")
	p.fetch("g", "", false, 9)
	p.heartbeat("g", a, "", 4)
	p.heartbeat("g", a, "", 5)
	p.sync("a", playSync("g", a, "", 5, a), 5)
	p.send("a", playJoin("g", a, "", "range:", "sticky:"), 9)
	p.joined("a")
	p.comment("another type of protocol, when the group is empty")
	r := playJoin("g", "", "", "default:")
	r.ProtocolType = "connect"
	c := askGroup[*kafkawire.JoinGroupResponse](p, "c", r, 3).MemberID
	p.call(c, "C")
	p.leave("g", kafkawire.LeaveGroupRequestMember{MemberID: c})
	p.describe("g")
	p.delete("g")
	p.describe("g")
	p.fetch("g", "", false, 9)
}

func (p *groupPlay) static() {
	p.comment("static members")
	a := askGroup[*kafkawire.JoinGroupResponse](p, "a", playJoin("s", "", "A"), 9).MemberID
	p.call(a, "A1")
	p.send("b", playJoin("s", "", "B"), 9)
	p.wait(func() bool {
		r := askGroup[*kafkawire.HeartbeatResponse](p, "main", &kafkawire.HeartbeatRequest{GroupID: "s", MemberID: a, GenerationID: 1, GroupInstanceID: new("A")}, 4)
		return r.ErrorCode == kafkawire.ErrRebalanceInProgress
	})
	p.send("a", playJoin("s", a, "A"), 9)
	b := p.joined("b").MemberID
	p.call(b, "B1")
	p.joined("a")
	p.send("b", playSync("s", b, "B", 2), 5)
	p.sync("a", playSync("s", a, "A", 2, a, b), 5)
	receive(p, "b", new(kafkawire.SyncGroupResponse), 5)
	p.describe("s")
	again := func(conn, instance, name string, version int16, protocols ...string) string {
		p.send(conn, playJoin("s", "", instance, protocols...), version)
		r := receive(p, conn, new(kafkawire.JoinGroupResponse), version)
		p.call(r.MemberID, name)
		return r.MemberID
	}
	p.comment("a follower is restarted")
	b2 := again("b2", "B", "B2", 9)
	p.heartbeat("s", b, "B", 2)
	p.heartbeat("s", b, "", 2)
	p.heartbeat("s", b2, "B", 2)
	p.heartbeat("s", b2, "C", 2)
	p.sync("b", playSync("s", b, "B", 2), 5)
	p.sync("b", playSync("s", b2, "B", 2), 5)
	p.send("b", playJoin("s", b, "B"), 9)
	p.joined("b")
	c := playCommit("s", b, "B", 2, "play", 0)
	p.commit(c, 9)
	p.commit(playCommit("s", b2, "B", 2, "play", 0), 9)
	p.leave("s", kafkawire.LeaveGroupRequestMember{MemberID: b, GroupInstanceID: new("B")})
	p.comment("the leader is restarted")
	a2 := again("a2", "A", "A2", 9)
	p.sync("a2", playSync("s", a2, "A", 2), 5)
	a3 := again("a3", "A", "A3", 8)
	p.sync("a3", playSync("s", a3, "A", 2), 5)
	p.describe("s")
	p.comment("with other metadata")
	b3 := again("b3", "B", "B3", 9, "range:other")
	p.describe("s")
	p.comment("replaced while the generation waits for its assignment")
	p.send("a3", playJoin("s", a3, "A"), 9)
	p.wait(func() bool {
		r := askGroup[*kafkawire.HeartbeatResponse](p, "main", &kafkawire.HeartbeatRequest{GroupID: "s", MemberID: b3, GenerationID: 2, GroupInstanceID: new("B")}, 4)
		return r.ErrorCode == kafkawire.ErrRebalanceInProgress
	})
	p.send("b3", playJoin("s", b3, "B"), 9)
	p.joined("a3")
	p.joined("b3")
	p.send("b3", playSync("s", b3, "B", 3), 5)
	p.send("b4", playJoin("s", "", "B"), 9)
	receive(p, "b3", new(kafkawire.SyncGroupResponse), 5)
	p.wait(func() bool {
		r := askGroup[*kafkawire.HeartbeatResponse](p, "main", &kafkawire.HeartbeatRequest{GroupID: "s", MemberID: a3, GenerationID: 3, GroupInstanceID: new("A")}, 4)
		return r.ErrorCode == kafkawire.ErrRebalanceInProgress
	})
	p.comment("an administrator removes them")
	p.leave("s", kafkawire.LeaveGroupRequestMember{GroupInstanceID: new("A")}, kafkawire.LeaveGroupRequestMember{GroupInstanceID: new("C")},
		kafkawire.LeaveGroupRequestMember{})
	p.call(p.joined("b4").MemberID, "B4")
	p.leave("s", kafkawire.LeaveGroupRequestMember{GroupInstanceID: new("B")})
	p.describe("s")
}

func (p *groupPlay) errors() {
	p.comment("joins that are refused")
	for _, ms := range []int32{0, -1, 499, 1_800_001} {
		r := playJoin("e", "", "")
		r.SessionTimeoutMs = ms
		askGroup[*kafkawire.JoinGroupResponse](p, "main", r, 9)
	}
	p.describe("e")
	r := playJoin("e", "", "")
	r.Protocols = []kafkawire.JoinGroupRequestProtocol{}
	askGroup[*kafkawire.JoinGroupResponse](p, "main", r, 9)
	p.wait(func() bool { // Apache Kafka shows what is committed
		r := askGroup[*kafkawire.DescribeGroupsResponse](p, "main", &kafkawire.DescribeGroupsRequest{Groups: []kafkawire.GroupID{"e"}}, 5)
		return r.Groups[0].GroupState == "Empty"
	})
	p.describe("e")
	r = playJoin("e", "", "")
	r.ProtocolType = ""
	askGroup[*kafkawire.JoinGroupResponse](p, "main", r, 3)
	a := p.enter("a", "EA", "e")
	p.joined("a")
	r = playJoin("e", "", "")
	r.ProtocolType = "connect"
	askGroup[*kafkawire.JoinGroupResponse](p, "main", r, 9)
	askGroup[*kafkawire.JoinGroupResponse](p, "main", playJoin("e", "", "", "other"), 9)
	askGroup[*kafkawire.JoinGroupResponse](p, "main", playJoin("e", "", "", "other"), 5)
	askGroup[*kafkawire.JoinGroupResponse](p, "main", playJoin("e", "nobody", ""), 9)
	askGroup[*kafkawire.JoinGroupResponse](p, "main", playJoin("e", "nobody", "static"), 9)
	p.heartbeat("e", a, "", 0)
	p.heartbeat("e", a, "", 2)
	p.heartbeat("e", a, "static", 1)
	p.heartbeat("e", "", "", -1)
	for version := int16(2); version <= 9; version++ {
		p.commit(playCommit("e", a, "", 2, "play", 0), version)
	}
	p.sync("a", playSync("e", a, "", 1, a), 5)
	p.commit(playCommit("e", a, "", 2, "play", 0), 9)
	p.commit(playCommit("e", a, "", -1, "play", 0), 9)
	p.commit(playCommit("e", "", "", 1, "play", 0), 9)
	p.commit(playCommit("e", "", "", -1, "play", 0), 9)
	p.commit(playCommit("e", "nobody", "", 1, "play", 0), 9)
	p.commit(playCommit("e", a, "static", 1, "play", 0), 9)
	p.commit(playCommit("e", a, "", 1, "nothing", 0), 9)
	p.commit(playCommit("e", a, "", 1, "play", 0, 1, 9, -1), 9)
	p.fetch("e", "", false, 9)
	long := playCommit("e", a, "", 1, "play", 0, 1)
	long.Topics[0].Partitions[0].CommittedMetadata = new(strings.Repeat("x", 4097))
	long.Topics[0].Partitions[1].CommittedMetadata = nil
	p.commit(long, 9)
	p.fetch("e", "play", false, 9, 0, 1, 2)
	od := &kafkawire.OffsetDeleteRequest{GroupID: "e"}
	for _, name := range []kafkawire.TopicName{"play", "playother", "nothing"} {
		od.Topics = append(od.Topics, kafkawire.OffsetDeleteRequestTopic{Name: name, Partitions: []kafkawire.OffsetDeleteRequestPartition{{PartitionIndex: 0}, {PartitionIndex: 9}}})
	}
	p.commit(playCommit("e", a, "", 1, "playother", 0, 1), 9)
	askGroup[*kafkawire.OffsetDeleteResponse](p, "main", od, 0)
	p.fetch("e", "", false, 9)
	for _, c := range [][2][]string{{{"stable"}, nil}, {{"Empty"}, nil}, {nil, {"consumer"}}, {nil, {"Classic"}}, {{"nonsense"}, {"nonsense"}}} {
		askGroup[*kafkawire.ListGroupsResponse](p, "main", &kafkawire.ListGroupsRequest{StatesFilter: c[0], TypesFilter: c[1]}, 5)
	}
	p.leave("e", kafkawire.LeaveGroupRequestMember{MemberID: a, GroupInstanceID: new("static")}, kafkawire.LeaveGroupRequestMember{MemberID: a})
	askGroup[*kafkawire.OffsetDeleteResponse](p, "main", od, 0)
	p.fetch("e", "", false, 9)
	p.commit(playCommit("e", a, "", 1, "play", 0), 9)
	p.commit(playCommit("e", a, "", -1, "play", 0), 9)
	p.fetch("e", "", false, 9)
}

func (p *groupPlay) timeouts() {
	p.comment("who does not come with the id in time is forgotten")
	try := 0
	p.wait(func() bool { // asking is joining: each try is a group, and the time gets longer
		try++
		group := fmt.Sprint("forgets", try)
		r := playJoin(group, "", "")
		r.SessionTimeoutMs = 600
		x := askGroup[*kafkawire.JoinGroupResponse](p, "x", r, 9).MemberID
		p.call(x, "X")
		time.Sleep(time.Duration(try) * 1200 * time.Millisecond)
		again := askGroup[*kafkawire.JoinGroupResponse](p, "x", playJoin(group, x, ""), 9)
		if again.ErrorCode == 0 {
			p.leave(group, kafkawire.LeaveGroupRequestMember{MemberID: x})
		}
		return again.ErrorCode != 0
	})

	p.comment("timeouts")
	r := playJoin("t", "", "")
	r.RebalanceTimeoutMs = 8000
	a := askGroup[*kafkawire.JoinGroupResponse](p, "a", r, 3).MemberID
	p.call(a, "TA")
	p.sync("a", playSync("t", a, "", 1, a), 5)
	p.comment("who does not join in time is removed")
	b := p.enterWith("b", "TB", "t", playTimeout, 1000)
	p.joined("b")
	p.heartbeat("t", a, "", 2)
	p.comment("who does not ask for an assignment in time is removed")
	p.waitMembers("t", 0)
	p.heartbeat("t", b, "", 2)
	p.describe("t")
	p.comment("a session ends")
	c := p.enterWith("c", "TC", "t", 8000, playTimeout)
	p.joined("c")
	p.sync("c", playSync("t", c, "", 4, c), 5)
	p.describe("t")
	p.waitMembers("t", 0)
	p.heartbeat("t", c, "", 4)
	p.describe("t")
	p.comment("a static member that does not come in time stays, until it does not ask for its assignment in time")
	rs := playJoin("t", "", "S")
	rs.RebalanceTimeoutMs = 8000
	s := askGroup[*kafkawire.JoinGroupResponse](p, "s", rs, 9)
	p.call(s.MemberID, "TS")
	p.sync("s", playSync("t", s.MemberID, "S", s.GenerationID, s.MemberID), 5)
	d := p.enterWith("d", "TD", "t", playTimeout, 8000)
	p.joined("d")
	p.describe("t")
	p.sync("d", playSync("t", d, "", s.GenerationID+1, d, s.MemberID), 5)
	p.describe("t")
	p.heartbeat("t", s.MemberID, "S", s.GenerationID+1)
	p.waitMembers("t", 1)
	p.describe("t")
	p.leave("t", kafkawire.LeaveGroupRequestMember{MemberID: d})
	p.describe("t")
}

// waitMembers waits until a group has n members only. Whoever describes a group changes nothing.
func (p *groupPlay) waitMembers(group kafkawire.GroupID, n int) {
	p.t.Helper()
	p.wait(func() bool {
		r := askGroup[*kafkawire.DescribeGroupsResponse](p, "main", &kafkawire.DescribeGroupsRequest{Groups: []kafkawire.GroupID{group}}, 5)
		return r.Groups[0].ErrorCode == 0 && len(r.Groups[0].Members) == n
	})
}

// enterWith is enter with timeouts.
func (p *groupPlay) enterWith(conn, name, group string, session, rebalance int32) string {
	r := playJoin(group, "", "")
	r.SessionTimeoutMs, r.RebalanceTimeoutMs = session, rebalance
	r.MemberID = askGroup[*kafkawire.JoinGroupResponse](p, conn, r, 9).MemberID
	p.call(r.MemberID, name)
	p.send(conn, r, 9)
	return r.MemberID
}

func (p *groupPlay) offsets() {
	p.comment("offsets without members")
	p.commit(playCommit("o", "", "", -1, "play", 0, 2), 9)
	p.describe("o")
	for version := int16(2); version <= 9; version++ {
		p.commit(playCommit("o", "", "", -1, "playother", int32(version)%3), version)
	}
	for version := int16(1); version <= 9; version++ {
		p.fetch("o", "play", false, version, 0, 1, 2)
	}
	p.fetch("o", "", false, 2)
	p.fetch("o", "", false, 9)
	p.fetch("o", "nothing", false, 9, 1)
	p.commit(playCommit("", "", "", -1, "play", 0), 9)
	p.fetch("", "play", false, 9, 0, 1)
	p.fetch("", "play", false, 7, 0, 1)
	p.describe("")
	askGroup[*kafkawire.ListGroupsResponse](p, "main", new(kafkawire.ListGroupsRequest), 5)
	p.comment("members where only offsets were")
	a := p.enter("a", "OA", "o")
	p.joined("a")
	p.commit(playCommit("o", "", "", -1, "play", 0), 9)
	p.leave("o", kafkawire.LeaveGroupRequestMember{MemberID: a})
	p.commit(playCommit("o", "", "", -1, "play", 1), 9)
	p.commit(playCommit("o", "stranger", "", -1, "play", 1), 9)
	p.fetch("o", "", false, 9)
	p.delete("o", "", "o")
	p.fetch("o", "", false, 9)
}

func (p *groupPlay) transactions() {
	p.comment("offsets in transactions")
	name := kafkawire.TransactionalID("txn")
	var init *kafkawire.InitProducerIDResponse
	at := len(p.lines)
	p.wait(func() bool {
		init = askGroup[*kafkawire.InitProducerIDResponse](p, "main", &kafkawire.InitProducerIDRequest{
			TransactionalID: &name, TransactionTimeoutMs: playTimeout, ProducerID: -1, ProducerEpoch: -1}, 4)
		return init.ErrorCode == 0
	})
	p.lines = p.lines[:at]
	commit := func(group, member string, generation int32, version int16, partitions ...int32) kafkawire.ErrorCode {
		r := &kafkawire.TxnOffsetCommitRequest{
			TransactionalID: name, GroupID: kafkawire.GroupID(group), ProducerID: init.ProducerID, ProducerEpoch: init.ProducerEpoch,
			GenerationIDOrMemberEpoch: generation, MemberID: member, Topics: []kafkawire.TxnOffsetCommitRequestTopic{{Name: "play"}},
		}
		for _, i := range partitions {
			r.Topics[0].Partitions = append(r.Topics[0].Partitions, kafkawire.TxnOffsetCommitRequestPartition{
				PartitionIndex: i, CommittedOffset: int64(200 + i), CommittedLeaderEpoch: -1, CommittedMetadata: new("txn")})
		}
		return askGroup[*kafkawire.TxnOffsetCommitResponse](p, "main", r, version).Topics[0].Partitions[0].ErrorCode
	}
	end := func(ok bool, version int16) {
		p.wait(func() bool {
			r := askGroup[*kafkawire.EndTxnResponse](p, "main", &kafkawire.EndTxnRequest{
				TransactionalID: name, ProducerID: init.ProducerID, ProducerEpoch: init.ProducerEpoch, Committed: ok}, version)
			if version >= 5 && r.ErrorCode == 0 {
				init.ProducerID, init.ProducerEpoch = r.ProducerID, r.ProducerEpoch
			}
			return r.ErrorCode != kafkawire.ErrConcurrentTransactions
		})
		p.lines = p.lines[:len(p.lines)-1]
	}
	stable := func(group string) { // until markers are written
		p.wait(func() bool {
			r := askGroup[*kafkawire.OffsetFetchResponse](p, "main", &kafkawire.OffsetFetchRequest{RequireStable: true, Groups: []kafkawire.OffsetFetchRequestGroup{{
				GroupID: kafkawire.GroupID(group), MemberEpoch: -1, Topics: []kafkawire.OffsetFetchRequestGroupTopic{{Name: "play", PartitionIndexes: []int32{0, 1, 2}}}}}}, 9)
			return !slices.ContainsFunc(r.Groups[0].Topics[0].Partitions, func(a kafkawire.OffsetFetchResponseGroupTopicPartition) bool {
				return a.ErrorCode != 0
			})
		})
	}
	add := func(group string) {
		p.wait(func() bool {
			r := askGroup[*kafkawire.AddOffsetsToTxnResponse](p, "main", &kafkawire.AddOffsetsToTxnRequest{
				TransactionalID: name, ProducerID: init.ProducerID, ProducerEpoch: init.ProducerEpoch, GroupID: kafkawire.GroupID(group)}, 3)
			return r.ErrorCode != kafkawire.ErrConcurrentTransactions
		})
	}
	p.comment("outside of a transaction")
	commit("x", "", -1, 3, 0)
	add("x")
	commit("x", "", -1, 3, 0, 1)
	commit("x", "", -1, 3, 9)
	commit("x", "m", 1, 3, 0)
	commit("y", "m", 1, 3, 0)
	commit("", "", -1, 3, 0)
	p.describe("x")
	p.fetch("x", "play", false, 9, 0, 1, 2)
	p.fetch("x", "play", true, 9, 0, 1, 2)
	p.fetch("x", "play", true, 7, 0, 1, 2)
	p.fetch("x", "", true, 9)
	end(true, 3)
	stable("x")
	p.fetch("x", "", true, 9)
	p.comment("aborted")
	add("x")
	commit("x", "", -1, 3, 2)
	p.fetch("x", "", true, 9)
	end(false, 3)
	stable("x")
	p.comment("with members")
	a := p.enter("a", "XA", "x")
	p.joined("a")
	add("x")
	commit("x", a, 1, 3, 1)
	commit("x", a, 2, 3, 1)
	commit("x", "nobody", 1, 3, 1)
	commit("x", "", -1, 3, 1)
	commit("x", "", -1, 2, 1)
	p.sync("a", playSync("x", a, "", 1, a), 5)
	p.commit(playCommit("x", a, "", 1, "play", 1), 9)
	p.fetch("x", "", false, 9)
	end(true, 3)
	stable("x")
	p.comment("the second version of transactions")
	p.wait(func() bool { return commit("x", a, 1, 5, 2) != kafkawire.ErrConcurrentTransactions })
	commit("x", a, 1, 5, 0)
	p.fetch("x", "", true, 9)
	end(true, 5)
	stable("x")
	p.leave("x", kafkawire.LeaveGroupRequestMember{MemberID: a})
	p.wait(func() bool { return commit("x", "", -1, 5, 0) != kafkawire.ErrConcurrentTransactions })
	p.delete("x")
	p.fetch("x", "", true, 9)
	end(true, 5)
	p.wait(func() bool {
		r := askGroup[*kafkawire.OffsetFetchResponse](p, "main", &kafkawire.OffsetFetchRequest{RequireStable: true, Groups: []kafkawire.OffsetFetchRequestGroup{{GroupID: "x", MemberEpoch: -1}}}, 9)
		return r.Groups[0].ErrorCode == 0
	})
}

func (p *groupPlay) size() {
	p.comment("a group that is full")
	a := p.enter("a", "SA", "full")
	p.joined("a")
	b := p.enter("b", "SB", "full")
	p.wait(func() bool {
		r := askGroup[*kafkawire.HeartbeatResponse](p, "main", &kafkawire.HeartbeatRequest{GroupID: "full", MemberID: a, GenerationID: 1}, 4)
		return r.ErrorCode == kafkawire.ErrRebalanceInProgress
	})
	d := p.enter("d", "SD", "full")
	askGroup[*kafkawire.JoinGroupResponse](p, "c", playJoin("full", "", ""), 9) // neither pending ones count nor those that have not come
	p.leave("full", kafkawire.LeaveGroupRequestMember{MemberID: p.lastID()})
	p.send("a", playJoin("full", a, ""), 9)
	p.joined("a")
	p.joined("b")
	p.joined("d")
	for version := int16(3); version <= 9; version++ {
		askGroup[*kafkawire.JoinGroupResponse](p, "c", playJoin("full", "", ""), version)
	}
	askGroup[*kafkawire.JoinGroupResponse](p, "c", playJoin("full", "", "static"), 9)
	askGroup[*kafkawire.JoinGroupResponse](p, "c", playJoin("full", "nobody", ""), 9)
	p.sync("a", playSync("full", a, "", 2, a, b, d), 5)
	p.sync("b", playSync("full", b, "", 2), 5)
	p.sync("d", playSync("full", d, "", 2), 5)
	askGroup[*kafkawire.JoinGroupResponse](p, "c", playJoin("full", "", ""), 9)
	p.send("b", playJoin("full", b, ""), 9)
	p.joined("b")
	p.leave("full", kafkawire.LeaveGroupRequestMember{MemberID: a}, kafkawire.LeaveGroupRequestMember{MemberID: b},
		kafkawire.LeaveGroupRequestMember{MemberID: d})
	p.describe("full")
}

// lastID returns the member id in the answer that was noted last, and gives it a name.
func (p *groupPlay) lastID() string {
	_, id, _ := strings.Cut(p.lines[len(p.lines)-1], `"MemberID":"`)
	id, _, _ = strings.Cut(id, `"`)
	p.call(id, "pending")
	return id
}

// playBoth plays with Apache Kafka and with a broker of ours at the same time, and returns what each answered.
func playBoth(t *testing.T, address string, b *kafkabroker.Broker, play func(t *testing.T, address string) []string) (theirs, ours []string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := kafkaserver.New(b, nil)
	go srv.Serve(ln, nil)
	defer srv.Close()
	t.Run("play", func(t *testing.T) {
		t.Run("Apache Kafka", func(t *testing.T) {
			t.Parallel() // it waits for timeouts
			theirs = play(t, address)
		})
		t.Run("ours", func(t *testing.T) {
			t.Parallel()
			ours = play(t, ln.Addr().String())
		})
	})
	return theirs, ours
}
