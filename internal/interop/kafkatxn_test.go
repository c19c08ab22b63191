package interop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestKafkaTransactionsAsApache plays the same transactional producers against Apache Kafka and our broker, good and bad
// ones, of both versions of transactions, and compares every answer and what readers see.
func TestKafkaTransactionsAsApache(t *testing.T) {
	t.Parallel() // it waits for programs most of the time
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	need(t, "java", "java/kafka/target/dependency")
	address := freeAddress(t)
	newApacheKafka(t, address, address, "transaction.abort.timed.out.transaction.cleanup.interval.ms=200\n").start()

	b, err := kafkabroker.Open(&kafkabroker.Options{Authenticate: kafkabroker.AllowAll, OffsetsPartitions: 1, TransactionPartitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	theirs, ours := playBoth(t, address, b, playTransactions)
	differ := 0
	for i := range min(len(ours), len(theirs)) {
		if ours[i] != theirs[i] {
			differ++
			t.Errorf("%d:\nours  %s\nKafka %s", i, ours[i], theirs[i])
		}
	}
	if t.Logf("%d answers, %d differ", len(ours), differ); len(ours) != len(theirs) {
		t.Errorf("%d answers, and %d of Apache Kafka", len(ours), len(theirs))
	}
}

// txnPlay is a play whose answers are written down with names for producer ids.
type txnPlay struct {
	*groupPlay
	out []string
	ids map[kafkawire.ProducerID]string
}

// player is a producer.
type player struct {
	t       *txnPlay
	id      kafkawire.TransactionalID
	version int // of transactions
	p       kafka.ProducerEpoch
	seqs    map[string]int32
}

func playTransactions(t *testing.T, address string) []string {
	p := &txnPlay{groupPlay: newGroupPlay(t, address), ids: make(map[kafkawire.ProducerID]string)}
	defer func() {
		p.close()
		if t.Failed() {
			t.Logf("until then:\n%s", strings.Join(p.out, "\n"))
		}
	}()
	p.prepare()
	p.strangers()
	for version := 1; version <= 2; version++ {
		p.life(version)
		p.fences(version)
		p.partitions(version)
		p.late(version)
		p.mixed(version)
	}
	p.lists()
	p.markers()
	return p.out
}

func (p *txnPlay) say(format string, args ...any) {
	p.out = append(p.out, fmt.Sprintf(format, args...))
}

// name names a producer id.
func (p *txnPlay) name(id kafkawire.ProducerID) string {
	if id < 0 {
		return "none"
	}
	if p.ids[id] == "" {
		p.ids[id] = fmt.Sprint("P", len(p.ids))
	}
	return p.ids[id]
}

func (p *txnPlay) player(id string, version int) *player {
	return &player{t: p, id: kafkawire.TransactionalID(id), version: version, p: kafka.ProducerEpoch{ID: -1, Epoch: -1}, seqs: map[string]int32{}}
}

// again asks until the answer is not that the client should ask again.
func again(f func() kafkawire.ErrorCode) kafkawire.ErrorCode {
	for end := time.Now().Add(kafkaPatience); time.Now().Before(end); {
		switch code := f(); code {
		case kafkawire.ErrConcurrentTransactions, kafkawire.ErrCoordinatorLoadInProgress, kafkawire.ErrNotEnoughReplicas,
			kafkawire.ErrNotCoordinator, kafkawire.ErrCoordinatorNotAvailable:
			time.Sleep(50 * time.Millisecond)
		default:
			return code
		}
	}
	return kafkawire.ErrConcurrentTransactions
}

// init asks for an epoch.
func (c *player) init(what string, expected kafka.ProducerEpoch) {
	c.t.t.Helper()
	c.initTimeout(what, expected, playTimeout)
}

func (c *player) initTimeout(what string, expected kafka.ProducerEpoch, timeout int32) {
	c.t.t.Helper()
	var r *kafkawire.InitProducerIDResponse
	code := again(func() kafkawire.ErrorCode {
		m := &kafkawire.InitProducerIDRequest{TransactionalID: &c.id, TransactionTimeoutMs: timeout, ProducerID: expected.ID, ProducerEpoch: expected.Epoch}
		r = askGroup[*kafkawire.InitProducerIDResponse](c.t.groupPlay, "main", m, 4)
		return r.ErrorCode
	})
	if code == 0 {
		c.p, c.seqs = kafka.ProducerEpoch{ID: r.ProducerID, Epoch: r.ProducerEpoch}, map[string]int32{}
	}
	c.t.say("%s v%d init %s: %v %s/%d", c.id, c.version, what, code, c.t.name(r.ProducerID), r.ProducerEpoch)
}

// add adds a partition.
func (c *player) add(what, topic string, partitions ...int32) {
	c.t.t.Helper()
	var r *kafkawire.AddPartitionsToTxnResponse
	again(func() kafkawire.ErrorCode {
		m := &kafkawire.AddPartitionsToTxnRequest{V3AndBelowTransactionalID: c.id, V3AndBelowProducerID: c.p.ID, V3AndBelowProducerEpoch: c.p.Epoch}
		m.V3AndBelowTopics = append(m.V3AndBelowTopics, kafkawire.AddPartitionsToTxnRequestAddPartitionsToTxnTopic{Name: kafkawire.TopicName(topic), Partitions: partitions})
		r = askGroup[*kafkawire.AddPartitionsToTxnResponse](c.t.groupPlay, "main", m, 3)
		return r.ResultsByTopicV3AndBelow[0].ResultsByPartition[0].PartitionErrorCode
	})
	var list []string
	for _, a := range r.ResultsByTopicV3AndBelow[0].ResultsByPartition {
		list = append(list, fmt.Sprint(a.PartitionIndex, a.PartitionErrorCode))
	}
	slices.Sort(list)
	c.t.say("%s v%d add %s: %v", c.id, c.version, what, list)
}

// produce writes a record to a partition of play.
func (c *player) produce(what string, partition int32, value string) {
	c.t.t.Helper()
	c.produceIn(what, partition, value, []int16{0, 11, 12}[c.version])
}

func (c *player) produceIn(what string, partition int32, value string, version int16) {
	c.t.t.Helper()
	key := fmt.Sprint(partition)
	var w kafka.BatchWriter
	w.Add(time.Now().UnixMilli(), nil, []byte(value)) // old ones would be deleted, half a minute after the start
	records, err := w.Append(nil, &kafka.BatchOptions{Producer: &kafka.Producer{ID: c.p.ID, Epoch: c.p.Epoch, Sequence: c.seqs[key]}, Transactional: true})
	if err != nil {
		c.t.t.Fatal(err)
	}
	code := again(func() kafkawire.ErrorCode {
		m := &kafkawire.ProduceRequest{TransactionalID: &c.id, Acks: -1, TimeoutMs: 60_000, TopicData: []kafkawire.ProduceRequestTopic{{
			Name: "play", PartitionData: []kafkawire.ProduceRequestPartition{{Index: partition, Records: records}}}}}
		return askGroup[*kafkawire.ProduceResponse](c.t.groupPlay, "main", m, version).Responses[0].PartitionResponses[0].ErrorCode
	})
	if code == 0 {
		c.seqs[key]++
	}
	c.t.say("%s v%d produce %s: %v", c.id, c.version, what, code)
}

// write adds a partition, where the version needs that, and writes a record to it.
func (c *player) write(partition int32, value string) {
	c.t.t.Helper()
	if c.version < 2 {
		c.add("before a record", "play", partition)
	}
	c.produce(value, partition, value)
}

// end ends a transaction, as the producer that it believes to be.
func (c *player) end(what string, p kafka.ProducerEpoch, commit bool) {
	c.t.t.Helper()
	var r *kafkawire.EndTxnResponse
	code := again(func() kafkawire.ErrorCode {
		m := &kafkawire.EndTxnRequest{TransactionalID: c.id, ProducerID: p.ID, ProducerEpoch: p.Epoch, Committed: commit}
		r = askGroup[*kafkawire.EndTxnResponse](c.t.groupPlay, "main", m, []int16{0, 4, 5}[c.version])
		return r.ErrorCode
	})
	if code == 0 && c.version == 2 {
		if next := (kafka.ProducerEpoch{ID: r.ProducerID, Epoch: r.ProducerEpoch}); next != c.p {
			c.p, c.seqs = next, map[string]int32{}
		}
	}
	c.t.say("%s v%d end %s, commit %v: %v %s/%d", c.id, c.version, what, commit, code, c.t.name(r.ProducerID), r.ProducerEpoch)
}

// describe tells what the coordinator knows, when it is settled.
func (c *player) describe() {
	c.t.t.Helper()
	var a kafkawire.DescribeTransactionsResponseTransactionState
	c.t.wait(func() bool {
		r := askGroup[*kafkawire.DescribeTransactionsResponse](c.t.groupPlay, "main", &kafkawire.DescribeTransactionsRequest{TransactionalIDs: []kafkawire.TransactionalID{c.id}}, 0)
		a = r.TransactionStates[0]
		return !strings.HasPrefix(a.TransactionState, "Prepare")
	})
	var list []string
	for _, x := range a.Topics {
		slices.Sort(x.Partitions)
		list = append(list, fmt.Sprint(x.Topic, x.Partitions))
	}
	slices.Sort(list)
	c.t.say("%s describe: %v %s %s/%d timeout %d started %v %v", c.id, a.ErrorCode, a.TransactionState, c.t.name(a.ProducerID), a.ProducerEpoch,
		a.TransactionTimeoutMs, a.TransactionStartTimeMs > 0, list)
}

// read tells what a reader of committed records sees in the partitions of play, when no marker is under way.
func (p *txnPlay) read() {
	p.t.Helper()
	for partition := range int32(3) {
		m := new(kafkawire.FetchRequest)
		m.Reset()
		m.MinBytes, m.MaxBytes, m.IsolationLevel = 1, 1<<20, 1
		m.Topics = []kafkawire.FetchRequestTopic{{Topic: "play", Partitions: []kafkawire.FetchRequestPartition{{
			Partition: partition, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1, LogStartOffset: -1, PartitionMaxBytes: 1 << 20}}}}
		a := askGroup[*kafkawire.FetchResponse](p.groupPlay, "main", m, 12).Responses[0].Partitions[0]
		var aborted []string
		for _, x := range a.AbortedTransactions {
			aborted = append(aborted, fmt.Sprint(p.name(x.ProducerID), "@", x.FirstOffset))
		}
		var list []string
		for rest := a.Records; len(rest) > 0; {
			entry, more, err := kafka.Split(rest)
			if err != nil || entry == nil {
				break
			}
			rest = more
			b := kafka.Batch(entry)
			if mk, ok, err := kafka.ReadMarker(b); b.Attributes().Control() && err == nil && ok {
				list = append(list, fmt.Sprintf("%d:%v %s/%d", b.BaseOffset(), mk.Type, p.name(b.ProducerID()), b.ProducerEpoch()))
				continue
			}
			recs, err := kafka.Open(entry, nil, 1<<20)
			if err != nil {
				p.t.Fatal(err)
			}
			for r := (kafka.Record{}); recs.Next(&r); {
				list = append(list, fmt.Sprintf("%d:%s", r.Offset, r.Value))
			}
		}
		p.say("read %d: %v stable %d high %d aborted %v: %v", partition, a.ErrorCode, a.LastStableOffset, a.HighWatermark, aborted, list)
	}
}

// strangers are producers that nobody knows, and requests that make no sense.
func (p *txnPlay) strangers() {
	c := p.player("stranger", 1)
	c.p = kafka.ProducerEpoch{ID: 77, Epoch: 0}
	c.add("of an unknown id", "play", 0)
	c.end("of an unknown id", c.p, true)
	c.produceIn("of an unknown id", 0, "x", 9)
	c.produceIn("of an unknown id", 0, "x", 11)
	c.describe()
	c.version = 2
	c.end("of an unknown id", c.p, true)
	c.produce("of an unknown id", 0, "x")
	c.initTimeout("without a timeout", kafka.ProducerEpoch{ID: -1, Epoch: -1}, 0)
	c.initTimeout("with a long timeout", kafka.ProducerEpoch{ID: -1, Epoch: -1}, 1<<30)
	c.init("with an id and no epoch", kafka.ProducerEpoch{ID: 5, Epoch: -1})
	c.init("with an epoch and no id", kafka.ProducerEpoch{ID: -1, Epoch: 5})
	e := p.player("", 2)
	e.init("of no name", kafka.ProducerEpoch{ID: -1, Epoch: -1})
	e.p = kafka.ProducerEpoch{ID: 77, Epoch: 0}
	e.add("of no name", "play", 0)
	e.end("of no name", e.p, true)
	e.describe()
	f := p.player("first", 2)
	f.init("with an id, of a new name", kafka.ProducerEpoch{ID: 5, Epoch: 5})
	r := askGroup[*kafkawire.AddOffsetsToTxnResponse](p.groupPlay, "main", &kafkawire.AddOffsetsToTxnRequest{TransactionalID: "stranger", ProducerID: 7, GroupID: "g"}, 3)
	p.say("offsets of an unknown id: %v", r.ErrorCode)
}

// life is a producer's ordinary life, with what it may ask twice.
func (p *txnPlay) life(version int) {
	c := p.player(fmt.Sprint("life", version), version)
	c.init("at first", kafka.ProducerEpoch{ID: -1, Epoch: -1})
	c.describe()
	c.write(0, "a")
	c.write(1, "b")
	c.describe()
	p.read()
	before := c.p
	c.end("in order", c.p, true)
	c.describe()
	c.end("again", before, true)
	c.end("the other way", before, false)
	c.end("of what has not begun", c.p, true)
	p.read()
	c.write(0, "c")
	before = c.p
	c.end("in order", c.p, false)
	c.describe()
	c.end("again", before, false)
	c.end("the other way", before, true)
	p.read()
	if version == 2 {
		before = c.p
		c.end("of nothing", c.p, false)
		c.describe()
		c.end("of nothing, again", before, false)
	}
	before = c.p
	c.init("after an error", c.p)
	c.init("after an error, again", before)
	c.init("after an error, of long ago", kafka.ProducerEpoch{ID: c.p.ID, Epoch: 0})
	c.write(2, "d")
	c.init("after an error, in a transaction", c.p)
	c.describe()
	p.read()
	c.init("at first", kafka.ProducerEpoch{ID: -1, Epoch: -1})
	c.end("of what has not begun", c.p, true)
	if version < 2 {
		c.end("of what has not begun", c.p, false)
	}
	c.init("of another id", kafka.ProducerEpoch{ID: c.p.ID + 5000, Epoch: 0})
}

// fences is two producers with one name.
func (p *txnPlay) fences(version int) {
	c := p.player(fmt.Sprint("fence", version), version)
	c.init("at first", kafka.ProducerEpoch{ID: -1, Epoch: -1})
	c.write(0, "e")
	d := p.player(fmt.Sprint("fence", version), version)
	d.init("of another producer", kafka.ProducerEpoch{ID: -1, Epoch: -1})
	c.produce("fenced", 0, "f")
	c.add("fenced", "play", 1)
	c.end("fenced", c.p, true)
	c.end("fenced", c.p, false)
	c.init("fenced", c.p)
	d.write(0, "g")
	c.produce("fenced", 0, "h")
	c.end("fenced", c.p, true)
	d.end("in order", d.p, true)
	d.describe()
	p.read()
}

// partitions are those that may not be written to.
func (p *txnPlay) partitions(version int) {
	c := p.player(fmt.Sprint("parts", version), version)
	c.init("at first", kafka.ProducerEpoch{ID: -1, Epoch: -1})
	c.add("of no topic", "none", 0)
	c.add("some of which there are", "play", 0, 7)
	c.add("of the broker itself", "__consumer_offsets", 0)
	c.describe()
	if version < 2 {
		c.produceIn("not added", 0, "x", 9)
		c.produceIn("not added", 0, "x", 11)
	}
	c.write(0, "i")
	if version < 2 {
		c.produce("to another partition", 1, "x")
	}
	c.seqs["0"] += 5
	c.produce("out of order", 0, "x")
	c.seqs["0"] -= 5
	c.p.Epoch += 3
	c.produce("of an epoch to come", 2, "x")
	c.end("of an epoch to come", c.p, true)
	c.p.Epoch -= 3
	c.p.ID += 3000
	c.produce("of another id", 2, "x")
	c.p.ID -= 3000
	c.end("in order", c.p, true)
	c.describe()
	p.read()
}

// late is a transaction that takes too long.
func (p *txnPlay) late(version int) {
	c := p.player(fmt.Sprint("late", version), version)
	c.initTimeout("with a short timeout", kafka.ProducerEpoch{ID: -1, Epoch: -1}, 8000)
	c.write(1, "k")
	p.wait(func() bool {
		r := askGroup[*kafkawire.DescribeTransactionsResponse](p.groupPlay, "main", &kafkawire.DescribeTransactionsRequest{TransactionalIDs: []kafkawire.TransactionalID{c.id}}, 0)
		return r.TransactionStates[0].TransactionState == "CompleteAbort"
	})
	c.describe()
	c.produce("late", 1, "l")
	c.end("late", c.p, true)
	c.end("late", c.p, false)
	c.init("late", c.p)
	p.read()
	c.init("at first", kafka.ProducerEpoch{ID: -1, Epoch: -1})
	c.write(1, "m")
	c.end("in order", c.p, true)
	c.describe()
	p.read()
}

// mixed is offsets and records in a transaction.
func (p *txnPlay) mixed(version int) {
	c := p.player(fmt.Sprint("mixed", version), version)
	c.init("at first", kafka.ProducerEpoch{ID: -1, Epoch: -1})
	for i, commit := range []bool{true, false} {
		c.write(2, fmt.Sprint("n", i))
		v := int16(5)
		if version < 2 {
			v = 3
			code := again(func() kafkawire.ErrorCode {
				return askGroup[*kafkawire.AddOffsetsToTxnResponse](p.groupPlay, "main", &kafkawire.AddOffsetsToTxnRequest{
					TransactionalID: c.id, ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch, GroupID: "mixed"}, 3).ErrorCode
			})
			p.say("add offsets: %v", code)
		}
		code := again(func() kafkawire.ErrorCode {
			return askGroup[*kafkawire.TxnOffsetCommitResponse](p.groupPlay, "main", &kafkawire.TxnOffsetCommitRequest{
				TransactionalID: c.id, GroupID: "mixed", ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch, GenerationIDOrMemberEpoch: -1,
				Topics: []kafkawire.TxnOffsetCommitRequestTopic{{Name: "play", Partitions: []kafkawire.TxnOffsetCommitRequestPartition{{
					CommittedOffset: int64(10*version + i), CommittedLeaderEpoch: -1, CommittedMetadata: new("")}}}},
			}, v).Topics[0].Partitions[0].ErrorCode
		})
		p.say("commit offsets: %v", code)
		c.describe()
		c.end("in order", c.p, commit)
		c.describe()
		var at int64
		p.wait(func() bool {
			r := askGroup[*kafkawire.OffsetFetchResponse](p.groupPlay, "main", &kafkawire.OffsetFetchRequest{RequireStable: true, Groups: []kafkawire.OffsetFetchRequestGroup{{
				GroupID: "mixed", MemberEpoch: -1, Topics: []kafkawire.OffsetFetchRequestGroupTopic{{Name: "play", PartitionIndexes: []int32{0}}}}}}, 8)
			a := r.Groups[0].Topics[0].Partitions[0]
			at = a.CommittedOffset
			return a.ErrorCode == 0
		})
		p.say("offset %d", at)
	}
	p.read()
}

// lists lists transactions.
func (p *txnPlay) lists() {
	c := p.player("open", 2)
	c.init("at first", kafka.ProducerEpoch{ID: -1, Epoch: -1})
	c.write(0, "o")
	for i, m := range []*kafkawire.ListTransactionsRequest{
		{DurationFilter: -1},
		{DurationFilter: -1, StateFilters: []string{"Ongoing"}},
		{DurationFilter: -1, StateFilters: []string{"Ongoing", "Nonsense"}},
		{DurationFilter: -1, StateFilters: []string{"Nonsense"}},
		{DurationFilter: -1, ProducerIDFilters: []kafkawire.ProducerID{c.p.ID}},
		{DurationFilter: 3600_000, StateFilters: []string{"Ongoing"}},
		{DurationFilter: -1, StateFilters: []string{"Empty", "CompleteCommit", "CompleteAbort"}},
	} {
		r := askGroup[*kafkawire.ListTransactionsResponse](p.groupPlay, "main", m, 1)
		var list []string
		for _, x := range r.TransactionStates {
			list = append(list, fmt.Sprint(x.TransactionalID, p.name(x.ProducerID), x.TransactionState))
		}
		slices.Sort(list)
		p.say("list %d: %v unknown %v: %v", i, r.ErrorCode, r.UnknownStateFilters, list)
	}
	c.end("in order", c.p, true)
	c.describe()
}

// markers are written by an administrator who ends a transaction that hangs.
func (p *txnPlay) markers() {
	c := p.player("hang", 2)
	c.init("at first", kafka.ProducerEpoch{ID: -1, Epoch: -1})
	c.write(0, "p")
	for _, commit := range []bool{false, true} {
		r := askGroup[*kafkawire.WriteTxnMarkersResponse](p.groupPlay, "main", &kafkawire.WriteTxnMarkersRequest{Markers: []kafkawire.WriteTxnMarkersRequestMarker{{
			ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch, TransactionResult: commit, CoordinatorEpoch: 0,
			Topics: []kafkawire.WriteTxnMarkersRequestTopic{{Name: "play", PartitionIndexes: []int32{0}}, {Name: "none", PartitionIndexes: []int32{0}}},
		}}}, 1)
		for _, x := range r.Markers[0].Topics {
			p.say("marker in %s: %v", x.Name, x.Partitions[0].ErrorCode)
		}
		p.read()
	}
	c.end("in order", c.p, true)
	c.describe()
	p.read()
}
