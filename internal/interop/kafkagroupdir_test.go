package interop

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestKafkaGroupsMoveDirectory moves a directory with groups from Apache Kafka to our broker and back. Each changes them,
// and each must find what the other has left. Kafka's dump tool reads our records.
func TestKafkaGroupsMoveDirectory(t *testing.T) {
	t.Parallel() // it waits for programs most of the time
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	need(t, "java", "java/kafka/target/dependency")
	address := freeAddress(t)
	k := newApacheKafka(t, address, address, "offsets.topic.num.partitions=7\n") // groups must be where Kafka looks for them
	k.start()
	p := newGroupPlay(t, address)
	p.prepare()
	p.loaded()
	a := p.member("moved", "A", "one")
	p.commit(playCommit("moved", a, "one", 1, "play", 0, 1), 9)
	p.commit(playCommit("plain", "", "", -1, "playother", 0), 9)
	p.commit(playCommit("gone", "", "", -1, "playother", 0), 9)
	p.txnCommit("opened", "txngroup", 1)
	theirs := p.look()
	p.close()
	k.stop(syscall.SIGTERM)

	dir := t.TempDir()
	if err := os.Symlink(k.data, filepath.Join(dir, "logs")); err != nil {
		t.Fatal(err)
	}
	b, err := kafkabroker.Open(&kafkabroker.Options{Dir: dir, Authenticate: kafkabroker.AllowAll})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := kafkaserver.New(b, nil)
	go srv.Serve(ln, nil)
	p = newGroupPlay(t, ln.Addr().String())
	p.call(a, "A")
	same(t, "what Apache Kafka has left", p.look(), theirs)
	p.heartbeat("moved", a, "one", 1)
	p.commit(playCommit("moved", a, "one", 1, "play", 2), 9)
	p.delete("gone")
	o := p.member("ours", "O", "two")
	p.txnCommit("second", "othergroup", 2)
	ours := p.look()
	p.close()
	srv.Close()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	dumpOffsets(t, k.data)
	k.start()
	p = newGroupPlay(t, address)
	p.call(a, "A")
	p.call(o, "O")
	p.loaded()
	p.heartbeat("moved", a, "one", 1)
	p.lines = nil
	same(t, "what ours has left", ours, p.look())
	p.close()
}

// newGroupPlay begins a play of its own.
func newGroupPlay(t *testing.T, address string) *groupPlay {
	return &groupPlay{t: t, address: address, conns: make(map[string]*groupConn)}
}

func (p *groupPlay) close() {
	for _, c := range p.conns {
		c.nc.Close()
	}
}

// member makes a static member the only one of a group.
func (p *groupPlay) member(group, name, instance string) string {
	r := playJoin(group, "", instance)
	r.SessionTimeoutMs = 600_000
	id := askGroup[*kafkawire.JoinGroupResponse](p, name, r, 9).MemberID
	p.call(id, name)
	p.sync(name, playSync(group, id, instance, 1, id), 5)
	return id
}

// txnCommit commits an offset in a transaction that stays open.
func (p *groupPlay) txnCommit(txn kafkawire.TransactionalID, group kafkawire.GroupID, partition int32) {
	var id *kafkawire.InitProducerIDResponse
	p.wait(func() bool {
		id = askGroup[*kafkawire.InitProducerIDResponse](p, "main", &kafkawire.InitProducerIDRequest{
			TransactionalID: &txn, TransactionTimeoutMs: 600_000, ProducerID: -1, ProducerEpoch: -1}, 4)
		return id.ErrorCode == 0
	})
	p.wait(func() bool {
		return askGroup[*kafkawire.AddOffsetsToTxnResponse](p, "main", &kafkawire.AddOffsetsToTxnRequest{
			TransactionalID: txn, ProducerID: id.ProducerID, ProducerEpoch: id.ProducerEpoch, GroupID: group}, 3).ErrorCode == 0
	})
	r := askGroup[*kafkawire.TxnOffsetCommitResponse](p, "main", &kafkawire.TxnOffsetCommitRequest{
		TransactionalID: txn, GroupID: group, ProducerID: id.ProducerID, ProducerEpoch: id.ProducerEpoch, GenerationIDOrMemberEpoch: -1,
		Topics: []kafkawire.TxnOffsetCommitRequestTopic{{Name: "play", Partitions: []kafkawire.TxnOffsetCommitRequestPartition{
			{PartitionIndex: partition, CommittedOffset: 7, CommittedLeaderEpoch: -1, CommittedMetadata: new("")}}}},
	}, 3)
	if code := r.Topics[0].Partitions[0].ErrorCode; code != 0 {
		p.t.Fatal(code)
	}
}

// playedGroups are the groups that there may be.
var playedGroups = []string{"moved", "plain", "gone", "ours", "txngroup", "othergroup"}

// loaded waits until all groups are: the coordinator answers others before, and loads them partition by partition.
func (p *groupPlay) loaded() {
	for _, group := range playedGroups {
		p.wait(func() bool {
			r := askGroup[*kafkawire.DescribeGroupsResponse](p, "main", &kafkawire.DescribeGroupsRequest{Groups: []kafkawire.GroupID{kafkawire.GroupID(group)}}, 5)
			return r.Groups[0].ErrorCode == 0
		})
	}
	p.wait(func() bool {
		return askGroup[*kafkawire.ListGroupsResponse](p, "main", new(kafkawire.ListGroupsRequest), 5).ErrorCode == 0
	})
}

// look returns everything about the groups.
func (p *groupPlay) look() string {
	at := len(p.lines)
	for _, group := range playedGroups {
		p.describe(group)
		p.fetch(group, "", false, 9)
		p.fetch(group, "play", true, 9, 0, 1, 2)
	}
	askGroup[*kafkawire.ListGroupsResponse](p, "main", new(kafkawire.ListGroupsRequest), 5)
	return strings.NewReplacer(p.names...).Replace(strings.Join(p.lines[at:], "\n"))
}

// same compares two looks.
func same(t *testing.T, what, ours, theirs string) {
	t.Helper()
	a, b := strings.Split(ours, "\n"), strings.Split(theirs, "\n")
	t.Logf("%s: %d answers", what, len(a))
	for i := range a {
		if i < len(b) && a[i] != b[i] {
			t.Errorf("%s, answer %d:\nours  %s\nKafka %s", what, i, a[i], b[i])
		}
	}
}

// dumpOffsets lets Kafka's dump tool decode the records of the groups.
func dumpOffsets(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "__consumer_offsets-*", "*.log"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	cmd := javaCommand(t.Context(), "-cp", kafkaPath, "org.apache.kafka.tools.DumpLogSegments",
		"--offsets-decoder", "--deep-iteration", "--files", strings.Join(files, ","))
	out, err := cmd.CombinedOutput()
	if err != nil || dumpTrouble.Match(out) {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{`"group":"ours"`, `"groupInstanceId":"two"`, `"group":"othergroup"`, `"protocol":"range"`, `"group":"gone"`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	t.Logf("the dump tool decodes %d records", strings.Count(string(out), "key:"))
}
