package kafkabroker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestBrokerReopens(t *testing.T) {
	fs := vfs.NewMem()
	b := openBroker(t, &Options{Dir: "d", fs: fs, OffsetsPartitions: 3})
	p := connect(t, b)
	id := p.mustCreate("one", 3, "segment.bytes", "10000")
	p.mustCreate("gone", 1)
	p.mustProduce("one", 2, batch("a", "b"))
	p.mustProduce("one", 2, batch("c"))
	if _, err := b.DeleteRecords("one", 2, 1); err != nil {
		t.Fatal(err)
	}
	if err := b.AddPartitions("one", 4); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteTopic("gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.internalTopic(offsetsTopic); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(&Options{Dir: "d", fs: fs}); !errors.Is(err, vfs.ErrLocked) {
		t.Error("opened twice:", err)
	}
	cluster, before := b.ClusterID(), b.Topics()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(&Options{Dir: "d", fs: fs, ClusterID: "other"}); err == nil || !strings.Contains(err.Error(), "cluster") {
		t.Error("opened as another cluster:", err)
	}
	if _, err := Open(&Options{Dir: "d", fs: fs, NodeID: 2}); err == nil {
		t.Error("opened as another node")
	}
	b = openBroker(t, &Options{Dir: "d", fs: fs, OffsetsPartitions: 7})
	if b.ClusterID() != cluster {
		t.Error("cluster", b.ClusterID())
	}
	after := b.Topics()
	if len(after) != 2 || after[1].Name != "one" || after[1].ID != id || len(after[1].Partitions) != 4 || len(after[0].Partitions) != 3 {
		t.Errorf("%+v", after)
	}
	for i, part := range after[1].Partitions {
		if was := before[1].Partitions[i]; part.Start != was.Start || part.End != was.End || part.LeaderEpoch != was.LeaderEpoch || part.Leader != was.Leader {
			t.Errorf("partition %d: %+v, was %+v", i, part, was)
		}
	}
	if !maps.Equal(after[1].Configs, map[string]string{"segment.bytes": "10000"}) || b.partition("one", 3).log.config().segmentBytes != 10000 {
		t.Error(after[1].Configs)
	}
	p = connect(t, b)
	f := ask[*kafkawire.FetchResponse](p, fetchOf("one", 2, 1), 12).Responses[0].Partitions[0]
	if got := valuesOf(t, f.Records); !slices.Equal(got, []string{"a", "b", "c"}) || f.LogStartOffset != 1 {
		t.Errorf("%q %+v", got, f)
	}
}

// TestLeaderEpochAfterPowerLoss has the leader epoch go up when the end of a log may have been lost.
func TestLeaderEpochAfterPowerLoss(t *testing.T) {
	fs := vfs.NewMem()
	b := openBroker(t, &Options{Dir: "d", fs: fs, Sync: SyncNever})
	p := connect(t, b)
	p.mustCreate("t", 1)
	for range 3 {
		p.mustProduce("t", 0, batch("a"))
	}
	lost := fs.DropClone()
	b = openBroker(t, &Options{Dir: "d", fs: lost, Sync: SyncNever})
	if epoch := b.leaderEpoch(b.partition("t", 0)); epoch != 1 {
		t.Error("epoch", epoch)
	}
	p = connect(t, b)
	end := b.partition("t", 0).log.state().end
	p.mustProduce("t", 0, batch("b"))
	req := &kafkawire.OffsetForLeaderEpochRequest{ReplicaID: -1, Topics: []kafkawire.OffsetForLeaderEpochRequestTopic{{Topic: "t"}}}
	for epoch := range int32(4) {
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, kafkawire.OffsetForLeaderEpochRequestPartition{CurrentLeaderEpoch: -1, LeaderEpoch: epoch})
	}
	got := ask[*kafkawire.OffsetForLeaderEpochResponse](p, req, 4).Topics[0].Partitions
	if got[0].EndOffset != end || got[0].LeaderEpoch != 0 || got[1].EndOffset != end+1 || got[1].LeaderEpoch != 1 || got[2].EndOffset != -1 || got[3].LeaderEpoch != -1 {
		t.Errorf("end %d: %+v", end, got)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = openBroker(t, &Options{Dir: "d", fs: lost, Sync: SyncNever})
	if epoch := b.leaderEpoch(b.partition("t", 0)); epoch != 1 {
		t.Error("epoch after an orderly end:", epoch)
	}
}

// TestMetadataSurvivesPowerLoss changes topics and configs and cuts the power at each answer. What was answered is there
// then, and nothing in between.
func TestMetadataSurvivesPowerLoss(t *testing.T) {
	const seed = 7
	t.Log("seed", seed)
	rnd := rand.New(rand.NewPCG(seed, seed))
	fs := vfs.NewMem()
	b := openBroker(t, &Options{Dir: "d", fs: fs})
	want := make(map[string]Topic)
	for step := range 60 {
		name := fmt.Sprintf("t%d", rnd.IntN(6))
		old, there := want[name]
		var err error
		switch op := rnd.IntN(5); {
		case !there:
			err = b.CreateTopic(name, &TopicOptions{Partitions: 1 + rnd.Int32N(3), Configs: map[string]string{"retention.ms": fmt.Sprint(step)}})
		case op == 0:
			err = b.DeleteTopic(name)
		case op == 1:
			err = b.AddPartitions(name, int32(len(old.Partitions))+1)
		case op == 2:
			err = b.SetTopicConfigs(name, map[string]*string{"segment.bytes": new(fmt.Sprint(1000 + step))})
		case op == 3:
			err = b.MoveLeader(name, 0, 1)
		default:
			_, err = b.Produce(t.Context(), name, 0, Record{Value: []byte("x")})
		}
		if err != nil {
			t.Fatal(step, err)
		}
		clear(want)
		for _, topic := range b.Topics() {
			want[topic.Name] = topic
		}
		for cut := range uint64(2) {
			after, err := Open(&Options{Dir: "d", fs: fs.CrashClone(seed + uint64(step)*2 + cut)})
			if err != nil {
				t.Fatal(step, err)
			}
			got := after.Topics()
			if len(got) != len(want) {
				t.Errorf("step %d: %d topics, want %d", step, len(got), len(want))
			}
			for _, g := range got {
				w := want[g.Name]
				if g.ID != w.ID || !maps.Equal(g.Configs, w.Configs) || len(g.Partitions) != len(w.Partitions) {
					t.Errorf("step %d: %+v, want %+v", step, g, w)
					continue
				}
				for i := range g.Partitions {
					if g.Partitions[i].End != w.Partitions[i].End || g.Partitions[i].LeaderEpoch != w.Partitions[i].LeaderEpoch+1 {
						t.Errorf("step %d: %s-%d %+v, want %+v", step, g.Name, i, g.Partitions[i], w.Partitions[i])
					}
				}
			}
			if err := after.Close(); err != nil {
				t.Fatal(step, err)
			}
		}
	}
}

// TestPowerLossWithinChanges cuts the power at every operation of the file system while topics are made and deleted. The
// broker opens again whatever is there, and what it has works.
func TestPowerLossWithinChanges(t *testing.T) {
	const seed = 11
	t.Log("seed", seed)
	cut := errors.New("the power is off")
	for at := 0; ; at++ {
		fs := vfs.NewMem()
		b, err := Open(&Options{Dir: "d", fs: fs})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.CreateTopic("old", &TopicOptions{Partitions: 2}); err != nil {
			t.Fatal(err)
		}
		var n atomic.Int64
		fs.SetFail(func(op vfs.Op, name string) error {
			if n.Add(1) > int64(at) {
				return cut
			}
			return nil
		})
		made := b.CreateTopic("new", &TopicOptions{Partitions: 2, Configs: map[string]string{"cleanup.policy": "compact"}})
		grown := b.AddPartitions("old", 3)
		deleted := b.DeleteTopic("old")
		off := n.Load() > int64(at)
		after := fs.CrashClone(seed + uint64(at))
		fs.SetFail(nil)
		_ = b.Close()
		again, err := Open(&Options{Dir: "d", fs: after})
		if err != nil {
			t.Fatalf("cut at operation %d: %v", at, err)
		}
		old, hasOld := again.Topic("old")
		fresh, hasNew := again.Topic("new")
		if made == nil && (!hasNew || len(fresh.Partitions) != 2 || fresh.Configs["cleanup.policy"] != "compact") {
			t.Errorf("cut at operation %d: new is %v %+v", at, hasNew, fresh)
		}
		if hasNew && len(fresh.Partitions) != 2 {
			t.Errorf("cut at operation %d: new is %+v", at, fresh)
		}
		if grown == nil && hasOld && len(old.Partitions) != 3 || deleted == nil && hasOld || !hasOld && grown != nil && deleted != nil && !off {
			t.Errorf("cut at operation %d: old is %v %+v", at, hasOld, old)
		}
		for _, topic := range again.Topics() {
			for i := range topic.Partitions {
				if _, err := again.Produce(t.Context(), topic.Name, int32(i), Record{Key: []byte("k")}); err != nil {
					t.Errorf("cut at operation %d: %v", at, err)
				}
			}
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		for _, name := range after.Names() {
			dir := filepath.Base(filepath.Dir(name))
			if id, ok := parsePartition(dir); ok && (id.topic == "old" && !hasOld || id.topic == "new" && !hasNew) {
				t.Errorf("cut at operation %d: %s is left", at, name)
			}
		}
		if !off {
			break
		}
	}
}

// TestDirectoryOfAnotherBroker opens logs that the metadata do not know, as Apache Kafka leaves them.
func TestDirectoryOfAnotherBroker(t *testing.T) {
	fs := vfs.NewMem()
	d, err := openLogDir(filepath.Join("d", logsDir), &logDirOptions{fs: fs, clusterID: "MkU3OEVBNTcwNTJENDM2Qg", nodeID: 5})
	if err != nil {
		t.Fatal(err)
	}
	id := kafkawire.UUID{1, 2, 3}
	logs, err := d.create(id, defaultLogConfig(), partitionID{"my-topic", 0}, partitionID{"my-topic", 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.create(kafkawire.UUID{}, defaultLogConfig(), partitionID{"old", 0}); err != nil { // one without partition.metadata
		t.Fatal(err)
	}
	if _, err := logs[1].append(&appendRequest{records: batch("a", "b"), leaderEpoch: 4, now: time.Now().UnixMilli()}); err != nil {
		t.Fatal(err)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	b := openBroker(t, &Options{Dir: "d", fs: fs})
	if b.ClusterID() != "MkU3OEVBNTcwNTJENDM2Qg" || b.Node(5) == nil {
		t.Error("who the broker is:", b.ClusterID(), b.opt.NodeID)
	}
	topic, ok := b.Topic("my-topic")
	if !ok || topic.ID != id || len(topic.Partitions) != 3 || topic.Partitions[2].End != 2 || topic.Partitions[2].LeaderEpoch != 5 {
		t.Errorf("%+v", topic)
	}
	old, ok := b.Topic("old")
	if !ok || old.ID.IsZero() {
		t.Errorf("%+v", old)
	}
	for _, step := range []struct {
		topic string
		index int32
		base  int64
	}{{"my-topic", 2, 2}, {"my-topic", 1, 0}, {"old", 0, 0}} {
		if base, err := b.Produce(t.Context(), step.topic, step.index, Record{}); err != nil || base != step.base {
			t.Error(step, base, err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = openBroker(t, &Options{Dir: "d", fs: fs})
	if again, _ := b.Topic("old"); again.ID != old.ID {
		t.Error("the id has changed")
	}
	if l := b.partition("old", 0).log; l.topicID != old.ID {
		t.Error("the log has the id", l.topicID)
	}
}

// TestBrokerOpensApacheDirectory serves what Apache Kafka 4.4.0 wrote.
func TestBrokerOpensApacheDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, logsDir), os.DirFS("testdata/apache-4.4.0")); err != nil {
		t.Fatal(err)
	}
	b := openBroker(t, &Options{Dir: dir})
	for _, name := range []string{"plain", "compacted"} {
		topic, ok := b.Topic(name)
		if !ok || topic.ID.IsZero() || len(topic.Partitions) != 1 || topic.Partitions[0].End == 0 {
			t.Fatalf("%s: %+v", name, topic)
		}
		n, last := 0, int64(-1)
		ctx, cancel := context.WithCancel(t.Context())
		for r, err := range b.Records(ctx, name, 0, -1, ReadCommitted) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Offset <= last {
				t.Error("offset", r.Offset, "after", last)
			}
			n, last = n+1, r.Offset
			if last >= topic.Partitions[0].LastStable-20 {
				break
			}
		}
		cancel()
		if n == 0 {
			t.Error("no records of", name)
		}
		if base, err := b.Produce(t.Context(), name, 0, Record{Key: []byte("k"), Value: []byte("v")}); err != nil || base != topic.Partitions[0].End {
			t.Error(base, err)
		}
	}
}
