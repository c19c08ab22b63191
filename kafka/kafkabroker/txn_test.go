package kafkabroker

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// txnClient is a transactional producer whose steps a test takes.
type txnClient struct {
	*peer
	id      kafkawire.TransactionalID
	version int // of transactions: 1 or 2
	p       kafka.ProducerEpoch
	seqs    map[kafka.TopicPartition]int32
}

// txnTries is how often a client asks again, a millisecond or a few later.
const txnTries = 2000

// txnProducer connects a producer. It has no producer id yet.
func txnProducer(t testing.TB, b kafkaserver.Backend, id string, version int) *txnClient {
	return &txnClient{peer: connect(t, b), id: kafkawire.TransactionalID(id), version: version, p: noProducer()}
}

// begin asks for a producer id, again while it must.
func (c *txnClient) begin() {
	c.t.Helper()
	if code := c.init(noProducer()); code != noError {
		c.t.Fatal("InitProducerID: ", code)
	}
}

func (c *txnClient) init(expected kafka.ProducerEpoch) kafkawire.ErrorCode {
	c.t.Helper()
	for try := 0; ; try++ {
		m := &kafkawire.InitProducerIDRequest{TransactionalID: &c.id, TransactionTimeoutMs: 10_000, ProducerID: expected.ID, ProducerEpoch: expected.Epoch}
		r := ask[*kafkawire.InitProducerIDResponse](c.peer, m, 5)
		switch r.ErrorCode {
		case noError:
			c.p, c.seqs = kafka.ProducerEpoch{ID: r.ProducerID, Epoch: r.ProducerEpoch}, make(map[kafka.TopicPartition]int32)
		case kafkawire.ErrConcurrentTransactions:
			if try < txnTries {
				time.Sleep(5 * time.Millisecond)
				continue
			}
		}
		return r.ErrorCode
	}
}

// records makes a batch of the producer.
func (c *txnClient) records(tp kafka.TopicPartition, values ...string) []byte {
	var w kafka.BatchWriter
	for _, v := range values {
		w.Add(time.Now().UnixMilli(), nil, []byte(v))
	}
	b, err := w.Append(nil, &kafka.BatchOptions{
		Producer: &kafka.Producer{ID: c.p.ID, Epoch: c.p.Epoch, Sequence: c.seqs[tp]}, Transactional: true,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// add adds a partition, as clients of version 1 must.
func (c *txnClient) add(tp kafka.TopicPartition) kafkawire.ErrorCode {
	c.t.Helper()
	m := &kafkawire.AddPartitionsToTxnRequest{
		V3AndBelowTransactionalID: c.id, V3AndBelowProducerID: c.p.ID, V3AndBelowProducerEpoch: c.p.Epoch,
		V3AndBelowTopics: []kafkawire.AddPartitionsToTxnRequestAddPartitionsToTxnTopic{{Name: tp.Topic, Partitions: []int32{tp.Partition}}},
	}
	r := ask[*kafkawire.AddPartitionsToTxnResponse](c.peer, m, 3)
	return r.ResultsByTopicV3AndBelow[0].ResultsByPartition[0].PartitionErrorCode
}

// write writes records, in a transaction.
func (c *txnClient) write(topic string, partition int32, values ...string) kafkawire.ErrorCode {
	c.t.Helper()
	tp := kafka.TopicPartition{Topic: kafkawire.TopicName(topic), Partition: partition}
	if c.version < 2 {
		for try := 0; ; try++ {
			code := c.add(tp)
			if code == kafkawire.ErrConcurrentTransactions && try < txnTries {
				time.Sleep(time.Millisecond)
				continue
			}
			if code != noError {
				return code
			}
			break
		}
	}
	for try := 0; ; try++ {
		code := c.produceOnly(tp, values...)
		if code != kafkawire.ErrConcurrentTransactions || try == txnTries {
			return code
		}
		time.Sleep(time.Millisecond)
	}
}

// produceOnly writes records and adds nothing.
func (c *txnClient) produceOnly(tp kafka.TopicPartition, values ...string) kafkawire.ErrorCode {
	c.t.Helper()
	m := produceTo(string(tp.Topic), tp.Partition, c.records(tp, values...))
	id := string(c.id)
	m.TransactionalID = (*kafkawire.TransactionalID)(&id)
	version := int16(11)
	if c.version >= 2 {
		version = 12
	}
	code := ask[*kafkawire.ProduceResponse](c.peer, m, version).Responses[0].PartitionResponses[0].ErrorCode
	if code == noError {
		c.seqs[tp] += int32(len(values))
	}
	return code
}

// offsets commits an offset of a group in the transaction.
func (c *txnClient) offsets(group, topic string, partition int32, offset int64) kafkawire.ErrorCode {
	c.t.Helper()
	// As clients do, which find the group's coordinator so.
	ask[*kafkawire.FindCoordinatorResponse](c.peer, &kafkawire.FindCoordinatorRequest{CoordinatorKeys: []string{group}}, 4)
	version := int16(5)
	if c.version < 2 {
		version = 3
		m := &kafkawire.AddOffsetsToTxnRequest{TransactionalID: c.id, ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch, GroupID: kafkawire.GroupID(group)}
		if r := ask[*kafkawire.AddOffsetsToTxnResponse](c.peer, m, 3); r.ErrorCode != noError {
			return r.ErrorCode
		}
	}
	m := &kafkawire.TxnOffsetCommitRequest{
		TransactionalID: c.id, GroupID: kafkawire.GroupID(group), ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch, GenerationIDOrMemberEpoch: -1,
		Topics: []kafkawire.TxnOffsetCommitRequestTopic{{Name: kafkawire.TopicName(topic), Partitions: []kafkawire.TxnOffsetCommitRequestPartition{{
			PartitionIndex: partition, CommittedOffset: offset, CommittedLeaderEpoch: -1,
		}}}},
	}
	return ask[*kafkawire.TxnOffsetCommitResponse](c.peer, m, version).Topics[0].Partitions[0].ErrorCode
}

// end ends the transaction.
func (c *txnClient) end(commit bool) kafkawire.ErrorCode {
	c.t.Helper()
	version := int16(5)
	if c.version < 2 {
		version = 4
	}
	for try := 0; ; try++ {
		m := &kafkawire.EndTxnRequest{TransactionalID: c.id, ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch, Committed: commit}
		r := ask[*kafkawire.EndTxnResponse](c.peer, m, version)
		if r.ErrorCode == kafkawire.ErrConcurrentTransactions && try < txnTries {
			time.Sleep(time.Millisecond)
			continue
		}
		if r.ErrorCode == noError && c.version >= 2 {
			c.p, c.seqs = kafka.ProducerEpoch{ID: r.ProducerID, Epoch: r.ProducerEpoch}, make(map[kafka.TopicPartition]int32)
		}
		return r.ErrorCode
	}
}

// committedRecords reads a partition over the wire as a consumer does that reads committed records only.
func (p *peer) committedRecords(topic string, partition int32) (values []string, stable int64) {
	p.t.Helper()
	for offset := int64(0); ; {
		m := fetchOf(topic, partition, offset)
		m.IsolationLevel = 1
		f := ask[*kafkawire.FetchResponse](p, m, 12).Responses[0].Partitions[0]
		if f.ErrorCode != noError {
			p.t.Fatal(f.ErrorCode)
		}
		if len(f.Records) == 0 {
			return values, f.LastStableOffset
		}
		var aborted []abortedTxn
		for _, a := range f.AbortedTransactions {
			aborted = append(aborted, abortedTxn{producerID: int64(a.ProducerID), first: a.FirstOffset})
		}
		if !slices.IsSortedFunc(aborted, func(a, b abortedTxn) int { return int(a.first - b.first) }) {
			p.t.Error("aborted transactions are not in order", aborted)
		}
		list, err := recordsOf(f.Records, offset, aborted)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, s := range list {
			if _, v, ok := strings.Cut(s, ":"); ok {
				values = append(values, v)
			}
		}
		for rest := f.Records; len(rest) > 0; {
			var entry []byte
			entry, rest, _ = kafka.Split(rest)
			offset = entryEnd(entry)
		}
	}
}

// committedOffset returns the offset of a group, as a stable one; code tells when there is none yet.
func (p *peer) committedOffset(group, topic string, partition int32) (int64, kafkawire.ErrorCode) {
	p.t.Helper()
	m := &kafkawire.OffsetFetchRequest{RequireStable: true, Groups: []kafkawire.OffsetFetchRequestGroup{{
		GroupID: kafkawire.GroupID(group), MemberEpoch: -1,
		Topics: []kafkawire.OffsetFetchRequestGroupTopic{{Name: kafkawire.TopicName(topic), PartitionIndexes: []int32{partition}}},
	}}}
	g := ask[*kafkawire.OffsetFetchResponse](p, m, 8).Groups[0]
	if g.ErrorCode != noError {
		return -1, g.ErrorCode
	}
	return g.Topics[0].Partitions[0].CommittedOffset, g.Topics[0].Partitions[0].ErrorCode
}

// smallOptions has few partitions for what is internal.
func smallOptions() *Options {
	return &Options{OffsetsPartitions: 2, TransactionPartitions: 2, Authenticate: AllowAll, DiskReserve: -1}
}

// eachVersion runs a test with transactions of version 1 and 2.
func eachVersion(t *testing.T, f func(t *testing.T, version int)) {
	for version := 1; version <= 2; version++ {
		t.Run(fmt.Sprint("version=", version), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, version) })
		})
	}
}

func TestTransactionLife(t *testing.T) {
	eachVersion(t, func(t *testing.T, version int) {
		b := openBroker(t, smallOptions())
		c := txnProducer(t, b, "tx", version)
		reader := connect(t, b)
		c.mustCreate("t", 2)
		c.begin()
		want := func(what string, partition int32, stable int64, want ...string) {
			t.Helper()
			synctest.Wait()
			if got, at := reader.committedRecords("t", partition); !slices.Equal(got, want) || at != stable {
				t.Errorf("%s: %q to %d, want %q to %d", what, got, at, want, stable)
			}
		}
		ok := func(what string, code kafkawire.ErrorCode) {
			t.Helper()
			if code != noError {
				t.Fatal(what, code)
			}
		}
		ok("write", c.write("t", 0, "a", "b"))
		ok("write", c.write("t", 1, "c"))
		ok("offsets", c.offsets("g", "t", 0, 17))
		want("open", 0, 0)
		if o, code := reader.committedOffset("g", "t", 0); code != kafkawire.ErrUnstableOffsetCommit {
			t.Error("offset", o, code)
		}
		ok("commit", c.end(true))
		want("committed", 0, 3, "a", "b")
		want("committed", 1, 2, "c")
		if o, code := reader.committedOffset("g", "t", 0); o != 17 || code != noError {
			t.Error("offset", o, code)
		}
		ok("write", c.write("t", 0, "d"))
		ok("offsets", c.offsets("g", "t", 0, 18))
		ok("write", c.write("t", 0, "e"))
		ok("abort", c.end(false))
		want("aborted", 0, 6, "a", "b")
		if o, code := reader.committedOffset("g", "t", 0); o != 17 || code != noError {
			t.Error("offset", o, code)
		}
		ok("write", c.write("t", 0, "f"))
		ok("commit", c.end(true))
		want("again", 0, 8, "a", "b", "f")

		// Another producer with the id fences this one, and ends what it has begun.
		ok("write", c.write("t", 1, "g"))
		d := txnProducer(t, b, "tx", version)
		d.begin()
		if code := c.write("t", 1, "h"); code != kafkawire.ErrInvalidProducerEpoch && code != kafkawire.ErrProducerFenced {
			t.Error("fenced:", code)
		}
		if code := c.end(true); code != kafkawire.ErrProducerFenced {
			t.Error("fenced:", code)
		}
		want("fenced", 1, 4, "c")
		ok("write", d.write("t", 1, "i"))

		// It takes too long.
		time.Sleep(11 * time.Second)
		want("timeout", 1, 6, "c")
		if code := d.end(true); code != kafkawire.ErrProducerFenced && code != kafkawire.ErrInvalidTxnState {
			t.Error("timeout:", code)
		}
		ok("begin anew", d.init(d.p))
		ok("write", d.write("t", 1, "j"))
		ok("commit", d.end(true))
		want("after timeout", 1, 8, "c", "j")
		if list := b.Transactions(); len(list) != 1 || list[0].ID != "tx" || list[0].State != "CompleteCommit" {
			t.Errorf("%+v", list)
		}
	})
}

// TestTransactionNeedsPartition: a batch of a partition that was not added is refused.
func TestTransactionNeedsPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, smallOptions())
		c := txnProducer(t, b, "tx", 1)
		c.mustCreate("t", 1)
		c.begin()
		tp := kafka.TopicPartition{Topic: "t"}
		if code := c.produceOnly(tp, "a"); code != kafkawire.ErrTransactionAbortable {
			t.Error("not added:", code)
		}
		c.p.Epoch++
		if code := c.produceOnly(tp, "a"); code != kafkawire.ErrInvalidProducerEpoch {
			t.Error("another epoch:", code)
		}
		c.id = "other"
		if code := c.produceOnly(tp, "a"); code != kafkawire.ErrInvalidProducerIDMapping {
			t.Error("another id:", code)
		}
		if code := c.add(kafka.TopicPartition{Topic: "no", Partition: 1}); code != kafkawire.ErrUnknownTopicOrPartition {
			t.Error("no such partition:", code)
		}
		if got, _ := c.committedRecords("t", 0); len(got) > 0 {
			t.Error(got)
		}
	})
}

// TestTransactionsGoOn: what a restart interrupts goes on.
func TestTransactionsGoOn(t *testing.T) {
	eachVersion(t, func(t *testing.T, version int) {
		fs := vfs.NewMem()
		o := smallOptions()
		o.Dir, o.fs = "d", fs
		b := openBroker(t, o)
		c := txnProducer(t, b, "tx", version)
		c.mustCreate("t", 2)
		c.begin()
		c.write("t", 0, "a")
		c.write("t", 1, "b")
		c.offsets("g", "t", 0, 3)
		// Markers fail from here on.
		fs.SetFail(func(op vfs.Op, name string) error {
			if op == vfs.OpWrite && strings.Contains(name, "t-1/") {
				return syscall.ENOSPC
			}
			return nil
		})
		if code := c.end(true); code != noError {
			t.Fatal(code)
		}
		synctest.Wait()
		if list := b.Transactions(); list[0].State != "PrepareCommit" {
			t.Errorf("%+v", list)
		}
		crashed := fs.DropClone()
		again := *o
		again.fs = crashed
		b2 := openBroker(t, &again)
		time.Sleep(time.Second)
		r := connect(t, b2)
		for partition, want := range []string{"a", "b"} {
			if got, _ := r.committedRecords("t", int32(partition)); !slices.Equal(got, []string{want}) {
				t.Error(partition, got)
			}
		}
		if o, code := r.committedOffset("g", "t", 0); o != 3 || code != noError {
			t.Error("offset", o, code)
		}
		// And where nothing crashed, when there is room again.
		fs.SetFail(nil)
		time.Sleep(3 * time.Second)
		if list := b.Transactions(); list[0].State != "CompleteCommit" {
			t.Errorf("%+v", list)
		}
		if got, _ := c.committedRecords("t", 1); !slices.Equal(got, []string{"b"}) {
			t.Error(got)
		}
	})
}

// TestTransactionRequestsOfBrokers: the form of AddPartitionsToTxn with several transactions, which brokers use.
func TestTransactionRequestsOfBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, smallOptions())
		c := txnProducer(t, b, "tx", 2)
		c.mustCreate("t", 3)
		c.begin()
		topics := func(partitions ...int32) []kafkawire.AddPartitionsToTxnRequestAddPartitionsToTxnTopic {
			return []kafkawire.AddPartitionsToTxnRequestAddPartitionsToTxnTopic{{Name: "t", Partitions: partitions}}
		}
		for _, x := range []struct {
			version int16
			list    []kafkawire.AddPartitionsToTxnRequestTransaction
			want    string
		}{
			{4, nil, ""},
			{4, []kafkawire.AddPartitionsToTxnRequestTransaction{
				{TransactionalID: "tx", ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch, Topics: topics(0)},
				{TransactionalID: "no", ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch, Topics: topics(0)},
			}, "tx [NONE] no [INVALID_PRODUCER_ID_MAPPING]"},
			{4, []kafkawire.AddPartitionsToTxnRequestTransaction{
				{TransactionalID: "tx", ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch, VerifyOnly: true, Topics: topics(0, 1)},
			}, "tx [NONE INVALID_TXN_STATE]"},
			{5, []kafkawire.AddPartitionsToTxnRequestTransaction{
				{TransactionalID: "tx", ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch, VerifyOnly: true, Topics: topics(0, 1)},
				{TransactionalID: "tx", ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch + 1, VerifyOnly: true, Topics: topics(0)},
				{TransactionalID: "tx", ProducerID: c.p.ID, ProducerEpoch: c.p.Epoch, Topics: topics(1, 9)},
			}, "tx [NONE TRANSACTION_ABORTABLE] tx [PRODUCER_FENCED] tx [OPERATION_NOT_ATTEMPTED UNKNOWN_TOPIC_OR_PARTITION]"},
		} {
			r := ask[*kafkawire.AddPartitionsToTxnResponse](c.peer, &kafkawire.AddPartitionsToTxnRequest{Transactions: x.list}, x.version)
			var got []string
			for _, a := range r.ResultsByTransaction {
				var codes []string
				eachResult(a.TopicResults, func(code *kafkawire.ErrorCode) {
					codes = append(codes, strings.TrimPrefix(code.Error(), "kafka: "))
				})
				got = append(got, fmt.Sprint(a.TransactionalID, " ", codes))
			}
			if s := strings.Join(got, " "); s != x.want || r.ErrorCode != noError {
				t.Errorf("version %d: %s (%v), want %s", x.version, s, r.ErrorCode, x.want)
			}
		}
	})
}

func TestListTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, smallOptions())
		first := connect(t, b)
		if r := ask[*kafkawire.ListTransactionsResponse](first, &kafkawire.ListTransactionsRequest{DurationFilter: -1}, 2); len(r.TransactionStates) > 0 {
			t.Errorf("%+v", r)
		}
		if r := ask[*kafkawire.DescribeTransactionsResponse](first, &kafkawire.DescribeTransactionsRequest{TransactionalIDs: []kafkawire.TransactionalID{"a"}}, 0); r.TransactionStates[0].ErrorCode != kafkawire.ErrNotCoordinator {
			t.Errorf("%+v", r)
		}
		if b.topic(transactionsTopic) != nil {
			t.Error("who looks makes the topic")
		}
		for _, id := range []string{"alpha-1", "alpha-2", "beta-1"} {
			c := txnProducer(t, b, id, 2)
			c.begin()
		}
		for _, x := range []struct {
			pattern string
			want    int
			code    kafkawire.ErrorCode
		}{
			{"", 3, noError}, {"alpha", 0, noError}, {"alpha-.", 2, noError}, {".*1", 2, noError}, {"alpha|beta-1", 1, noError},
			{"(", 0, kafkawire.ErrInvalidRegularExpression},
		} {
			m := &kafkawire.ListTransactionsRequest{DurationFilter: -1, TransactionalIDPattern: &x.pattern}
			if r := ask[*kafkawire.ListTransactionsResponse](first, m, 2); len(r.TransactionStates) != x.want || r.ErrorCode != x.code {
				t.Errorf("%q: %+v", x.pattern, r)
			}
		}
	})
}

// TestTransactionalIDsEnd: ids that were not used for a week are forgotten, also by those who come after a restart.
func TestTransactionalIDsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := smallOptions()
		o.Dir, o.fs = "d", vfs.NewMem()
		b := openBroker(t, o)
		c := txnProducer(t, b, "old", 2)
		c.mustCreate("t", 1)
		c.begin()
		c.write("t", 0, "a")
		c.end(true)
		b.txns.mu.Lock()
		b.txns.sweep.Stop() // an hour is enough
		b.txns.mu.Unlock()
		c.nc.Close()
		for range 2 {
			time.Sleep(7*24*time.Hour + time.Minute)
			b.txns.expire()
			synctest.Wait()
			if list := b.Transactions(); len(list) > 0 {
				t.Errorf("%+v", list)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = openBroker(t, o)
		}
		d := txnProducer(t, b, "old", 2)
		p := d.p
		if d.begin(); d.p.ID <= p.ID {
			t.Error("an id was given out twice", d.p)
		}
	})
}

// TestOrphans: a transaction that no coordinator knows is aborted when the broker is opened.
func TestOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		o := smallOptions()
		o.Dir, o.fs = "d", fs
		b := openBroker(t, o)
		c := txnProducer(t, b, "tx", 2)
		c.mustCreate("t", 1)
		c.begin()
		c.write("t", 0, "a")
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		for _, name := range fs.Names() {
			if strings.Contains(name, transactionsTopic) && strings.HasSuffix(name, logSuffix) {
				f, err := fs.Create(name)
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
		}
		b = openBroker(t, o)
		r := connect(t, b)
		if list, stable := r.committedRecords("t", 0); len(list) > 0 || stable != 2 {
			t.Error(list, stable)
		}
		// Its producer id is not given out again.
		d := txnProducer(t, b, "tx", 2)
		if d.begin(); d.p.ID <= c.p.ID {
			t.Error(d.p, c.p)
		}
	})
}

// TestProducerIDsThatAreMadeUp: a client that makes up the last producer ids leaves some to the others.
func TestProducerIDsThatAreMadeUp(t *testing.T) {
	o := smallOptions()
	o.Dir, o.fs = "d", vfs.NewMem()
	for i := range 3 {
		b, err := Open(o)
		if err != nil {
			t.Fatal(i, err)
		}
		p := connect(t, b)
		if i == 0 {
			p.mustCreate("t", 1)
			made := testBatch{records: []testRecord{{time: time.Now().UnixMilli(), key: "k", value: "v"}}, producer: math.MaxInt64 - 1}
			p.mustProduce("t", 0, made.bytes(t))
		}
		for range 3 {
			m := &kafkawire.InitProducerIDRequest{TransactionTimeoutMs: 10_000, ProducerID: -1, ProducerEpoch: -1}
			if r := ask[*kafkawire.InitProducerIDResponse](p, m, 5); r.ErrorCode != noError || r.ProducerID < 0 || r.ProducerID > 1e6 {
				t.Errorf("%d: %+v", i, r)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnreadableTransaction: a record that nobody can read keeps nobody else from being served, and nothing is aborted that
// may have been committed.
func TestUnreadableTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := smallOptions()
		o.Dir, o.fs = "d", vfs.NewMem()
		b := openBroker(t, o)
		c := txnProducer(t, b, "bad", 2)
		c.mustCreate("t", 1)
		c.begin()
		c.write("t", 0, "a")
		key, err := kafka.AppendTxnKey(nil, "bad")
		if err != nil {
			t.Fatal(err)
		}
		var w kafka.BatchWriter
		w.Add(0, key, []byte{0, 1, 2})
		w.Add(0, []byte{0}, nil)
		w.Add(0, []byte{0, 77}, nil)
		records, err := w.Append(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := b.txns.shard("bad", false)
		if err == nil {
			_, err = b.appendRecords(s.p, records, fromCoordinator)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = openBroker(t, o)
		time.Sleep(time.Minute)
		if list, stable := connect(t, b).committedRecords("t", 0); len(list) > 0 || stable != 0 {
			t.Error(list, stable)
		}
		d := txnProducer(t, b, "good", 2)
		d.begin()
		if code := d.write("t", 0, "b"); code != noError {
			t.Error(code)
		}
		if code := d.end(true); code != noError {
			t.Error(code)
		}
	})
}
