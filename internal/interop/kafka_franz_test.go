package interop

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// franzClient is franz-go: kgo and kadm.
var franzClient = kafkaClient{
	name:    "franz-go",
	version: func() string { return goVersion("github.com/twmb/franz-go") },
	run: func(r *kafkaRun) {
		f := &franz{r}
		for _, a := range []struct {
			name string
			acks kgo.Acks
		}{{"0", kgo.NoAck()}, {"1", kgo.LeaderAck()}, {"all", kgo.AllISRAcks()}} {
			r.check("produce: acks="+a.name, func(ctx context.Context) error {
				return f.roundTrip(ctx, "acks-"+a.name, kgo.RequiredAcks(a.acks), kgo.DisableIdempotentWrite())
			})
		}
		for _, c := range []struct {
			name  string
			codec kgo.CompressionCodec
		}{{"gzip", kgo.GzipCompression()}, {"snappy", kgo.SnappyCompression()}, {"lz4", kgo.Lz4Compression()}, {"zstd", kgo.ZstdCompression()}} {
			r.check("produce: "+c.name, func(ctx context.Context) error {
				return f.roundTrip(ctx, c.name, kgo.ProducerBatchCompression(c.codec))
			})
		}
		r.check("produce: headers, null keys and values", f.headers)
		r.check("produce: idempotent", func(ctx context.Context) error { return f.roundTrip(ctx, "idempotent") })
		r.check("produce: too large is refused", f.tooLarge)
		r.check("produce: the topic comes into being", f.autoCreate)
		r.check("produce: null key to a compacted topic is refused", f.nullKey)
		r.check("consume: from an offset", f.fromOffset)
		r.check("consume: from a timestamp", f.fromTimestamp)
		r.check("consume: out of range", f.outOfRange)
		r.check("group: commit and resume", f.resume)
		r.check("group: rebalance, eager", func(ctx context.Context) error {
			return f.rebalance(ctx, "eager", kgo.RangeBalancer())
		})
		r.check("group: rebalance, cooperative", func(ctx context.Context) error {
			return f.rebalance(ctx, "cooperative", kgo.CooperativeStickyBalancer())
		})
		r.check("group: static member", f.static)
		r.check("group: pattern of topics", f.pattern)
		r.check("transaction: commit and abort", f.transactions)
		r.check("transaction: consumed offsets", f.consumedOffsets)
		r.check("transaction: older producer is fenced", f.fenced)
		r.check("admin: topics", f.topics)
		r.check("admin: errors of topics", f.topicErrors)
		r.check("admin: partitions", f.partitions)
		r.check("admin: configs of topics", f.topicConfigs)
		r.check("admin: configs of brokers", f.brokerConfigs)
		r.check("admin: wrong config is refused", f.wrongConfig)
		r.check("admin: cluster", f.cluster)
		r.check("admin: offsets", f.offsets)
		r.check("admin: delete records", f.deleteRecords)
		r.check("admin: groups", f.groups)
		r.check("admin: offsets of groups", f.groupOffsets)
		r.check("admin: remove members", f.removeMembers)
		r.check("admin: ACLs", f.acls)
		r.check("admin: SCRAM users", f.scramUsers)
		r.check("admin: producers and transactions", f.producers)
		r.check("admin: log directories", f.logDirs)
		r.check("admin: quotas", f.quotas)
		f.security()
	},
}

// franz does things with franz-go.
type franz struct{ *kafkaRun }

// client returns a client of the open broker and closes it at the end of the test.
func (f *franz) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(f.open.Kafka), kgo.MetadataMinAge(100 * time.Millisecond)}, opts...)...)
}

func (f *franz) admin() (*kadm.Client, error) {
	c, err := f.client()
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(c), nil
}

// create makes a topic and returns its name.
func (f *franz) create(ctx context.Context, topic string, partitions int32, configs map[string]*string) (string, error) {
	a, err := f.admin()
	if err != nil {
		return "", err
	}
	defer a.Close()
	topic = f.name(topic)
	if _, err = a.CreateTopic(ctx, partitions, 1, configs, topic); err != nil {
		return topic, err
	}
	return topic, retry(ctx, func() error { // Apache Kafka's brokers hear of it later
		ts, err := a.ListTopics(ctx, topic)
		if err == nil {
			err = ts[topic].Err
		}
		return err
	})
}

// fill creates a topic with n records, "0" and so on, a second apart, the first of them at kafkaEpoch.
func (f *franz) fill(ctx context.Context, topic string, partitions int32, n int) (string, error) {
	topic, err := f.create(ctx, topic, partitions, nil)
	if err != nil {
		return "", err
	}
	c, err := f.client(kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		return "", err
	}
	defer c.Close()
	return topic, c.ProduceSync(ctx, franzRecords(n)...).FirstErr()
}

// kafkaEpoch is the time of the first record of a topic that is filled.
var kafkaEpoch = time.Now().Add(-time.Hour).Truncate(time.Second)

func franzRecords(n int) (rs []*kgo.Record) {
	for i := range n {
		rs = append(rs, &kgo.Record{Key: fmt.Append(nil, i), Value: fmt.Append(nil, i), Timestamp: kafkaEpoch.Add(time.Duration(i) * time.Second)})
	}
	return rs
}

// read polls until it has n records, and closes the client. It fails when more come soon after.
func (f *franz) read(ctx context.Context, n int, opts ...kgo.Opt) (rs []*kgo.Record, err error) {
	c, err := f.client(opts...)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for len(rs) < n {
		got := c.PollFetches(ctx)
		if err := got.Err0(); err != nil {
			return rs, fmt.Errorf("%d of %d records: %w", len(rs), n, err)
		}
		if es := got.Errors(); len(es) > 0 {
			return rs, fmt.Errorf("%d of %d records: %s: %w", len(rs), n, es[0].Topic, es[0].Err)
		}
		rs = append(rs, got.Records()...)
	}
	if len(rs) > n {
		return rs, fmt.Errorf("%d records, want %d", len(rs), n)
	}
	return rs, nil
}

// roundTrip produces records to a new topic and reads them.
func (f *franz) roundTrip(ctx context.Context, topic string, opts ...kgo.Opt) error {
	topic, err := f.create(ctx, topic, 1, nil)
	if err != nil {
		return err
	}
	c, err := f.client(append(opts, kgo.DefaultProduceTopic(topic))...)
	if err != nil {
		return err
	}
	defer c.Close()
	const n = 1000
	if err := c.ProduceSync(ctx, franzRecords(n)...).FirstErr(); err != nil {
		return err
	}
	rs, err := f.read(ctx, n, kgo.ConsumeTopics(topic))
	if err != nil {
		return err
	}
	for i, r := range rs {
		if string(r.Value) != fmt.Sprint(i) || r.Offset != int64(i) || !r.Timestamp.Equal(kafkaEpoch.Add(time.Duration(i)*time.Second)) {
			return fmt.Errorf("record %d: %q at %d of %v", i, r.Value, r.Offset, r.Timestamp)
		}
	}
	return nil
}

func (f *franz) headers(ctx context.Context) error {
	topic, err := f.create(ctx, "headers", 1, nil)
	if err != nil {
		return err
	}
	c, err := f.client(kgo.DefaultProduceTopic(topic))
	if err != nil {
		return err
	}
	defer c.Close()
	in := []*kgo.Record{
		{Key: nil, Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "", Value: nil}}},
		{Key: []byte("k"), Value: nil},
		{Key: []byte{}, Value: []byte{}},
	}
	if err := c.ProduceSync(ctx, in...).FirstErr(); err != nil {
		return err
	}
	out, err := f.read(ctx, len(in), kgo.ConsumeTopics(topic))
	if err != nil {
		return err
	}
	same := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	for i, r := range out {
		if !same(r.Key, in[i].Key) || !same(r.Value, in[i].Value) || len(r.Headers) != len(in[i].Headers) {
			return fmt.Errorf("record %d: %q %q %v", i, r.Key, r.Value, r.Headers)
		}
		for j, h := range r.Headers {
			if want := in[i].Headers[j]; h.Key != want.Key || !same(h.Value, want.Value) {
				return fmt.Errorf("record %d: header %q %q", i, h.Key, h.Value)
			}
		}
	}
	return nil
}

// wantErr says what is wrong when err is not the expected one.
func wantErr(err, want error) error {
	if errors.Is(err, want) {
		return nil
	}
	return fmt.Errorf("%v, want %w", err, want)
}

func (f *franz) tooLarge(ctx context.Context) error {
	topic, err := f.create(ctx, "large", 1, map[string]*string{"max.message.bytes": ptr("10000")})
	if err != nil {
		return err
	}
	c, err := f.client(kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer c.Close()
	err = c.ProduceSync(ctx, &kgo.Record{Value: make([]byte, 20000)}).FirstErr()
	if err := wantErr(err, kerr.MessageTooLarge); err != nil {
		return err
	}
	return c.ProduceSync(ctx, &kgo.Record{Value: make([]byte, 9000)}).FirstErr()
}

func ptr[T any](v T) *T { return &v }

func (f *franz) autoCreate(ctx context.Context) error {
	topic := f.name("auto")
	c, err := f.client(kgo.DefaultProduceTopic(topic), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(20))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.ProduceSync(ctx, franzRecords(3)...).FirstErr(); err != nil {
		return err
	}
	_, err = f.read(ctx, 3, kgo.ConsumeTopics(topic))
	return err
}

func (f *franz) nullKey(ctx context.Context) error {
	topic, err := f.create(ctx, "compacted", 1, map[string]*string{"cleanup.policy": ptr("compact")})
	if err != nil {
		return err
	}
	c, err := f.client(kgo.DefaultProduceTopic(topic))
	if err != nil {
		return err
	}
	defer c.Close()
	err = c.ProduceSync(ctx, &kgo.Record{Value: []byte("v")}).FirstErr()
	return wantErr(err, kerr.InvalidRecord)
}

func (f *franz) fromOffset(ctx context.Context) error {
	topic, err := f.fill(ctx, "from-offset", 1, 100)
	if err != nil {
		return err
	}
	return f.firstIs(ctx, topic, kgo.NewOffset().At(60), 60, 40)
}

// firstIs reads n records from an offset; the first must be the given one.
func (f *franz) firstIs(ctx context.Context, topic string, at kgo.Offset, first int64, n int) error {
	rs, err := f.read(ctx, n, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: at}}))
	if err == nil && (rs[0].Offset != first || string(rs[0].Value) != fmt.Sprint(first)) {
		err = fmt.Errorf("begins with %q at %d", rs[0].Value, rs[0].Offset)
	}
	return err
}

func (f *franz) fromTimestamp(ctx context.Context) error {
	topic, err := f.fill(ctx, "from-timestamp", 1, 100)
	if err != nil {
		return err
	}
	return f.firstIs(ctx, topic, kgo.NewOffset().AfterMilli(kafkaEpoch.Add(69500*time.Millisecond).UnixMilli()), 70, 30)
}

func (f *franz) outOfRange(ctx context.Context) error {
	topic, err := f.fill(ctx, "range", 1, 10)
	if err != nil {
		return err
	}
	at := kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(1000)}})
	if _, err := f.read(ctx, 10, at, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())); err != nil {
		return err
	}
	_, err = f.read(ctx, 1, at, kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	return wantErr(err, kerr.OffsetOutOfRange)
}

func (f *franz) resume(ctx context.Context) error {
	topic, err := f.fill(ctx, "resume", 1, 100)
	if err != nil {
		return err
	}
	group := []kgo.Opt{kgo.ConsumerGroup(f.name("resume")), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit()}
	c, err := f.client(group...)
	if err != nil {
		return err
	}
	defer c.Close()
	rs := c.PollRecords(ctx, 40).Records()
	if len(rs) == 0 {
		return fmt.Errorf("nothing: %w", context.Cause(ctx))
	}
	if err := c.CommitRecords(ctx, rs...); err != nil {
		return err
	}
	c.Close()
	next, err := f.read(ctx, 100-len(rs), group...)
	if err == nil && next[0].Offset != int64(len(rs)) {
		err = fmt.Errorf("goes on at %d", next[0].Offset)
	}
	return err
}

// rebalance lets two members join one after the other and checks that they share the partitions, and that the first has all
// again when the second leaves.
func (f *franz) rebalance(ctx context.Context, name string, b kgo.GroupBalancer) error {
	topic, err := f.create(ctx, "rebalance-"+name, 4, nil)
	if err != nil {
		return err
	}
	var members [2]*franzMember
	for i := range members {
		if members[i], err = f.join(name, topic, kgo.Balancers(b)); err != nil {
			return err
		}
		defer members[i].Close()
		if i == 0 {
			if err := members[0].await(ctx, 4); err != nil {
				return fmt.Errorf("alone: %w", err)
			}
		}
	}
	for i, m := range members {
		if err := m.await(ctx, 2); err != nil {
			return fmt.Errorf("member %d of two: %w", i, err)
		}
	}
	members[1].Close()
	if err := members[0].await(ctx, 4); err != nil {
		return fmt.Errorf("after the other: %w", err)
	}
	return nil
}

// franzMember is a member of a group that polls.
type franzMember struct {
	*kgo.Client
	assigned chan int // how many partitions it has, after each change
	stop     context.CancelFunc
	done     chan struct{}
}

func (f *franz) join(group, topic string, opts ...kgo.Opt) (*franzMember, error) {
	m := &franzMember{assigned: make(chan int, 100), done: make(chan struct{})}
	n := 0
	change := func(by int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			n += by * len(parts[topic])
			select {
			case m.assigned <- n:
			default:
			}
		}
	}
	c, err := f.client(append(opts, kgo.ConsumerGroup(f.name(group)), kgo.ConsumeTopics(topic), kgo.HeartbeatInterval(200*time.Millisecond),
		kgo.OnPartitionsAssigned(change(1)), kgo.OnPartitionsRevoked(change(-1)), kgo.OnPartitionsLost(change(-1)))...)
	if err != nil {
		return nil, err
	}
	m.Client = c
	var ctx context.Context
	ctx, m.stop = context.WithCancel(context.Background())
	go func() {
		defer close(m.done)
		for ctx.Err() == nil {
			c.PollFetches(ctx)
		}
	}()
	return m, nil
}

func (m *franzMember) Close() {
	m.stop()
	<-m.done
	m.Client.Close()
}

// await waits until the member has n partitions.
func (m *franzMember) await(ctx context.Context, n int) error {
	last := -1
	for {
		select {
		case last = <-m.assigned:
			if last == n {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("has %d partitions, want %d: %w", last, n, ctx.Err())
		}
	}
}

// static lets a static member go away and come back: the other one must not notice.
func (f *franz) static(ctx context.Context) error {
	topic, err := f.create(ctx, "static", 4, nil)
	if err != nil {
		return err
	}
	one, err := f.join("static", topic, kgo.InstanceID("one"))
	if err != nil {
		return err
	}
	defer one.Close()
	if err := one.await(ctx, 4); err != nil {
		return err
	}
	two, err := f.join("static", topic, kgo.InstanceID("two"))
	if err != nil {
		return err
	}
	if err := errors.Join(one.await(ctx, 2), two.await(ctx, 2)); err != nil {
		two.Close()
		return err
	}
	_, generation := one.GroupMetadata()
	two.Close() // a static member does not leave
	if two, err = f.join("static", topic, kgo.InstanceID("two")); err != nil {
		return err
	}
	defer two.Close()
	if err := two.await(ctx, 2); err != nil {
		return err
	}
	if _, now := one.GroupMetadata(); now != generation {
		return fmt.Errorf("generation %d became %d", generation, now)
	}
	a, err := f.admin()
	if err != nil {
		return err
	}
	defer a.Close()
	d, err := a.DescribeGroups(ctx, f.name("static"))
	if err != nil {
		return err
	}
	if ms := d[f.name("static")].Members; len(ms) != 2 || ms[0].InstanceID == nil {
		return fmt.Errorf("members %+v", ms)
	}
	return nil
}

func (f *franz) pattern(ctx context.Context) error {
	for _, topic := range []string{"pattern-a", "pattern-b", "other"} {
		if _, err := f.fill(ctx, topic, 1, 5); err != nil {
			return err
		}
	}
	_, err := f.read(ctx, 10, kgo.ConsumerGroup(f.name("pattern")), kgo.ConsumeRegex(), kgo.ConsumeTopics("^"+f.name("pattern-.$")))
	return err
}

func (f *franz) transactions(ctx context.Context) error {
	topic, err := f.create(ctx, "transactions", 2, nil)
	if err != nil {
		return err
	}
	c, err := f.client(kgo.DefaultProduceTopic(topic), kgo.TransactionalID(f.name("t")))
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range 6 {
		if err := c.BeginTransaction(); err != nil {
			return err
		}
		for j := range 10 {
			c.Produce(ctx, &kgo.Record{Value: fmt.Appendf(nil, "%d.%d", i, j)}, nil)
		}
		if err := c.Flush(ctx); err != nil {
			return err
		}
		if err := c.EndTransaction(ctx, kgo.TransactionEndTry(i%2 == 0)); err != nil {
			return err
		}
	}
	rs, err := f.read(ctx, 30, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return err
	}
	for _, r := range rs {
		if (r.Value[0]-'0')%2 != 0 {
			return fmt.Errorf("aborted record %q", r.Value)
		}
	}
	_, err = f.read(ctx, 60, kgo.ConsumeTopics(topic))
	return err
}

func (f *franz) consumedOffsets(ctx context.Context) error {
	in, err := f.fill(ctx, "from", 1, 20)
	if err != nil {
		return err
	}
	out, err := f.create(ctx, "to", 1, nil)
	if err != nil {
		return err
	}
	group := f.name("eos")
	session := func(commit kgo.TransactionEndTry) error {
		s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(f.open.Kafka), kgo.TransactionalID(f.name("eos")), kgo.ConsumerGroup(group),
			kgo.ConsumeTopics(in), kgo.DefaultProduceTopic(out), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		if err != nil {
			return err
		}
		defer s.Close()
		for n := 0; n < 20; {
			got := s.PollFetches(ctx)
			if err := got.Err(); err != nil {
				return err
			}
			if err := s.Begin(); err != nil {
				return err
			}
			for _, r := range got.Records() {
				s.Produce(ctx, &kgo.Record{Value: r.Value}, nil)
				n++
			}
			if committed, err := s.End(ctx, commit); err != nil || committed != bool(commit) {
				return fmt.Errorf("committed %v: %w", committed, err)
			}
		}
		return nil
	}
	if err := session(kgo.TryAbort); err != nil {
		return fmt.Errorf("abort: %w", err)
	}
	if err := session(kgo.TryCommit); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if _, err := f.read(ctx, 20, kgo.ConsumeTopics(out), kgo.FetchIsolationLevel(kgo.ReadCommitted())); err != nil {
		return err
	}
	a, err := f.admin()
	if err != nil {
		return err
	}
	defer a.Close()
	offsets, err := a.FetchOffsets(ctx, group)
	if err != nil {
		return err
	}
	if o, ok := offsets.Lookup(in, 0); !ok || o.At != 20 {
		return fmt.Errorf("committed offset %d", o.At)
	}
	return nil
}

func (f *franz) fenced(ctx context.Context) error {
	topic, err := f.create(ctx, "fenced", 1, nil)
	if err != nil {
		return err
	}
	begin := func(value string) (*kgo.Client, error) {
		c, err := f.client(kgo.DefaultProduceTopic(topic), kgo.TransactionalID(f.name("fenced")))
		if err != nil {
			return nil, err
		}
		if err := c.BeginTransaction(); err != nil {
			return c, err
		}
		return c, c.ProduceSync(ctx, &kgo.Record{Value: []byte(value)}).FirstErr()
	}
	one, err := begin("one")
	if err != nil {
		return err
	}
	defer one.Close()
	two, err := begin("two")
	if err != nil {
		return err
	}
	defer two.Close()
	if err := one.EndTransaction(ctx, kgo.TryCommit); !errors.Is(err, kerr.InvalidProducerEpoch) && !errors.Is(err, kerr.ProducerFenced) {
		return fmt.Errorf("commit of the older one: %v", err)
	}
	if err := two.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return err
	}
	rs, err := f.read(ctx, 1, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err == nil && string(rs[0].Value) != "two" {
		err = fmt.Errorf("%q", rs[0].Value)
	}
	return err
}

// with calls do with an admin client.
func (f *franz) with(do func(*kadm.Client) error) error {
	a, err := f.admin()
	if err != nil {
		return err
	}
	defer a.Close()
	return do(a)
}

func (f *franz) topics(ctx context.Context) error {
	topic, err := f.create(ctx, "topics", 3, map[string]*string{"retention.ms": ptr("100000")})
	if err != nil {
		return err
	}
	return f.with(func(a *kadm.Client) error {
		ts, err := a.ListTopics(ctx)
		if err != nil {
			return err
		}
		d := ts[topic]
		if len(d.Partitions) != 3 || d.ID == (kadm.TopicID{}) || d.IsInternal || len(d.Partitions[0].ISR) != 1 {
			return fmt.Errorf("%+v", d)
		}
		if _, err := a.DeleteTopic(ctx, topic); err != nil {
			return err
		}
		for ts.Has(topic) {
			if ts, err = a.ListTopics(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *franz) topicErrors(ctx context.Context) error {
	topic, err := f.create(ctx, "errors", 1, nil)
	if err != nil {
		return err
	}
	return f.with(func(a *kadm.Client) error {
		create := func(name string, partitions int32, replicas int16) error {
			_, err := a.CreateTopic(ctx, partitions, replicas, nil, name)
			return err
		}
		_, gone := a.DeleteTopic(ctx, f.name("none"))
		_, fewer := a.UpdatePartitions(ctx, 1, topic)
		rs, err := a.UpdatePartitions(ctx, 1, topic)
		if err == nil {
			fewer = rs[topic].Err
		}
		valid, err := a.ValidateCreateTopics(ctx, 1, 1, nil, f.name("validated"))
		return errors.Join(err, valid.Error(),
			wantErr(create(topic, 1, 1), kerr.TopicAlreadyExists),
			wantErr(create("a/b", 1, 1), kerr.InvalidTopicException),
			wantErr(create(strings.Repeat("x", 250), 1, 1), kerr.InvalidTopicException),
			wantErr(create(f.name("zero"), 0, 1), kerr.InvalidPartitions),
			wantErr(create(f.name("replicas"), 1, 3), kerr.InvalidReplicationFactor),
			wantErr(gone, kerr.UnknownTopicOrPartition),
			wantErr(fewer, kerr.InvalidPartitions))
	})
}

func (f *franz) partitions(ctx context.Context) error {
	topic, err := f.create(ctx, "partitions", 1, nil)
	if err != nil {
		return err
	}
	return f.with(func(a *kadm.Client) error {
		rs, err := a.CreatePartitions(ctx, 2, topic)
		if err != nil {
			return err
		}
		if err := rs.Error(); err != nil {
			return err
		}
		return retry(ctx, func() error {
			ts, err := a.ListTopics(ctx, topic)
			if err == nil && len(ts[topic].Partitions) != 3 {
				err = fmt.Errorf("%d partitions", len(ts[topic].Partitions))
			}
			return err
		})
	})
}

func franzConfig(rs kadm.ResourceConfigs, err error, key string) (kadm.Config, error) {
	if err != nil {
		return kadm.Config{}, err
	}
	if len(rs) != 1 || rs[0].Err != nil {
		return kadm.Config{}, fmt.Errorf("%+v", rs)
	}
	for _, c := range rs[0].Configs {
		if c.Key == key {
			return c, nil
		}
	}
	return kadm.Config{}, fmt.Errorf("no %s among %d configs", key, len(rs[0].Configs))
}

func (f *franz) topicConfigs(ctx context.Context) error {
	topic, err := f.create(ctx, "configs", 1, map[string]*string{"retention.ms": ptr("100000")})
	if err != nil {
		return err
	}
	return f.with(func(a *kadm.Client) error {
		expect := func(key, want string, source kmsg.ConfigSource) error {
			return retry(ctx, func() error {
				rs, err := a.DescribeTopicConfigs(ctx, topic)
				c, err := franzConfig(rs, err, key)
				if err == nil && (c.MaybeValue() != want || c.Source != source) {
					err = fmt.Errorf("%s is %q by %v", key, c.MaybeValue(), c.Source)
				}
				return err
			})
		}
		alter := func(cs ...kadm.AlterConfig) error {
			rs, err := a.AlterTopicConfigs(ctx, cs, topic)
			if err == nil {
				err = rs[0].Err
			}
			return err
		}
		if err := errors.Join(expect("retention.ms", "100000", kmsg.ConfigSourceDynamicTopicConfig),
			expect("cleanup.policy", "delete", kmsg.ConfigSourceDefaultConfig)); err != nil {
			return err
		}
		if err := alter(kadm.AlterConfig{Op: kadm.SetConfig, Name: "retention.ms", Value: ptr("5000000")},
			kadm.AlterConfig{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: ptr("compact")}); err != nil {
			return err
		}
		if err := errors.Join(expect("retention.ms", "5000000", kmsg.ConfigSourceDynamicTopicConfig),
			expect("cleanup.policy", "delete,compact", kmsg.ConfigSourceDynamicTopicConfig)); err != nil {
			return err
		}
		if err := alter(kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "retention.ms"}); err != nil {
			return err
		}
		return expect("retention.ms", "604800000", kmsg.ConfigSourceDefaultConfig)
	})
}

func (f *franz) brokerConfigs(ctx context.Context) error {
	return f.with(func(a *kadm.Client) error {
		b, err := a.BrokerMetadata(ctx)
		if err != nil {
			return err
		}
		rs, err := a.DescribeBrokerConfigs(ctx, b.Brokers[0].NodeID)
		for _, key := range []string{"log.retention.ms", "message.max.bytes", "auto.create.topics.enable", "num.partitions"} {
			if _, err := franzConfig(rs, err, key); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *franz) wrongConfig(ctx context.Context) error {
	topic, err := f.create(ctx, "wrong", 1, nil)
	if err != nil {
		return err
	}
	_, unknown := f.create(ctx, "wrong-1", 1, map[string]*string{"no.such.config": ptr("1")})
	_, value := f.create(ctx, "wrong-2", 1, map[string]*string{"retention.ms": ptr("long")})
	_, policy := f.create(ctx, "wrong-3", 1, map[string]*string{"cleanup.policy": ptr("keep")})
	return f.with(func(a *kadm.Client) error {
		rs, err := a.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "segment.bytes", Value: ptr("-1")}}, topic)
		if err != nil {
			return err
		}
		return errors.Join(wantErr(unknown, kerr.InvalidConfig), wantErr(value, kerr.InvalidConfig), wantErr(policy, kerr.InvalidConfig),
			wantErr(rs[0].Err, kerr.InvalidConfig))
	})
}

func (f *franz) cluster(ctx context.Context) error {
	return f.with(func(a *kadm.Client) error {
		m, err := a.BrokerMetadata(ctx)
		if err == nil && (len(m.Brokers) != 1 || m.Cluster == "" || m.Controller != m.Brokers[0].NodeID) {
			err = fmt.Errorf("%+v", m)
		}
		if err != nil {
			return err
		}
		v, err := a.ApiVersions(ctx)
		if err != nil {
			return err
		}
		return v[m.Controller].Err
	})
}

func (f *franz) offsets(ctx context.Context) error {
	topic, err := f.fill(ctx, "offsets", 2, 100)
	if err != nil {
		return err
	}
	return f.with(func(a *kadm.Client) error {
		sum := func(o kadm.ListedOffsets, err error) (n int64, _ error) {
			if err == nil {
				err = o.Error()
			}
			o.Each(func(l kadm.ListedOffset) { n += l.Offset })
			return n, err
		}
		first, err1 := sum(a.ListStartOffsets(ctx, topic))
		end, err2 := sum(a.ListEndOffsets(ctx, topic))
		stable, err3 := sum(a.ListCommittedOffsets(ctx, topic))
		after, err4 := sum(a.ListOffsetsAfterMilli(ctx, kafkaEpoch.Add(50*time.Second).UnixMilli(), topic))
		newest, err5 := sum(a.ListMaxTimestampOffsets(ctx, topic))
		if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
			return err
		}
		if first != 0 || end != 100 || stable != 100 || after != 50 || newest != 98 {
			return fmt.Errorf("%d to %d, stable %d, after %d, newest %d", first, end, stable, after, newest)
		}
		return nil
	})
}

func (f *franz) deleteRecords(ctx context.Context) error {
	topic, err := f.fill(ctx, "delete", 1, 100)
	if err != nil {
		return err
	}
	return f.with(func(a *kadm.Client) error {
		var o kadm.Offsets
		o.AddOffset(topic, 0, 70, -1)
		rs, err := a.DeleteRecords(ctx, o)
		if err != nil {
			return err
		}
		if err := rs.Error(); err != nil {
			return err
		}
		if r, _ := rs.Lookup(topic, 0); r.LowWatermark != 70 {
			return fmt.Errorf("low watermark %d", r.LowWatermark)
		}
		return f.firstIs(ctx, topic, kgo.NewOffset().AtStart(), 70, 30)
	})
}

func (f *franz) groups(ctx context.Context) error {
	topic, err := f.create(ctx, "groups", 2, nil)
	if err != nil {
		return err
	}
	m, err := f.join("groups", topic, kgo.ClientID("me"))
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.await(ctx, 2); err != nil {
		return err
	}
	group := f.name("groups")
	return f.with(func(a *kadm.Client) error {
		list, err := a.ListGroups(ctx)
		if err != nil {
			return err
		}
		if g := list[group]; g.State != "Stable" || g.ProtocolType != "consumer" {
			return fmt.Errorf("listed %+v", g)
		}
		if empty, err := a.ListGroups(ctx, "Empty"); err != nil || slices.Contains(empty.Groups(), group) {
			return fmt.Errorf("listed as empty: %w", err)
		}
		ds, err := a.DescribeGroups(ctx, group, f.name("none"))
		if err != nil {
			return err
		}
		d := ds[group]
		if d.State != "Stable" || len(d.Members) != 1 || d.Members[0].ClientID != "me" || !d.AssignedPartitions().Lookup(topic, 0) {
			return fmt.Errorf("described %+v", d)
		}
		if d := ds[f.name("none")]; d.State != "Dead" {
			return fmt.Errorf("unknown group: %+v", d)
		}
		_, busy := a.DeleteGroup(ctx, group)
		_, none := a.DeleteGroup(ctx, f.name("none"))
		m.Close()
		_, err = a.DeleteGroup(ctx, group)
		return errors.Join(wantErr(busy, kerr.NonEmptyGroup), wantErr(none, kerr.GroupIDNotFound), err)
	})
}

func (f *franz) groupOffsets(ctx context.Context) error {
	topic, err := f.fill(ctx, "group-offsets", 2, 10)
	if err != nil {
		return err
	}
	group := f.name("group-offsets")
	return f.with(func(a *kadm.Client) error {
		none, err := a.FetchOffsetsForTopics(ctx, f.name("none"), topic)
		if err != nil {
			return fmt.Errorf("unknown group: %w", err)
		}
		if o, _ := none.Lookup(topic, 0); o.At != -1 || o.Err != nil {
			return fmt.Errorf("unknown group: %+v", o)
		}
		var o kadm.Offsets
		o.Add(kadm.Offset{Topic: topic, Partition: 0, At: 3, LeaderEpoch: 0, Metadata: "note"})
		o.Add(kadm.Offset{Topic: topic, Partition: 1, At: 4, LeaderEpoch: -1})
		if err := a.CommitAllOffsets(ctx, group, o); err != nil {
			return err
		}
		got, err := a.FetchOffsets(ctx, group)
		if err != nil {
			return err
		}
		if o, _ := got.Lookup(topic, 0); o.At != 3 || o.Metadata != "note" || o.LeaderEpoch != 0 {
			return fmt.Errorf("%+v", o)
		}
		lags, err := a.Lag(ctx, group)
		if err != nil {
			return err
		}
		if err := lags.Error(); err != nil || lags[group].Lag.Total() != 3 {
			return fmt.Errorf("lag %d: %w", lags[group].Lag.Total(), err)
		}
		var s kadm.TopicsSet
		s.Add(topic, 0)
		deleted, err := a.DeleteOffsets(ctx, group, s)
		if err != nil {
			return err
		}
		if err := deleted.Error(); err != nil {
			return err
		}
		got, err = a.FetchOffsets(ctx, group)
		if _, ok := got.Lookup(topic, 0); err == nil && ok {
			err = errors.New("deleted offset is there")
		}
		return err
	})
}

func (f *franz) removeMembers(ctx context.Context) error {
	topic, err := f.create(ctx, "remove", 1, nil)
	if err != nil {
		return err
	}
	m, err := f.join("remove", topic, kgo.InstanceID("one"))
	if err != nil {
		return err
	}
	if err := m.await(ctx, 1); err != nil {
		m.Close()
		return err
	}
	m.Close()
	return f.with(func(a *kadm.Client) error {
		rs, err := a.LeaveGroup(ctx, kadm.LeaveGroup(f.name("remove")).InstanceIDs("one", "two").Reason("test"))
		if err != nil {
			return err
		}
		return errors.Join(rs["one"].Err, wantErr(rs["two"].Err, kerr.UnknownMemberID))
	})
}

func (f *franz) acls(ctx context.Context) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(f.closed.Kafka), franzLogin)
	if err != nil {
		return err
	}
	defer c.Close()
	return func(a *kadm.Client) error {
		topic := f.name("acl")
		b := kadm.NewACLs().Topics(topic).Allow("User:"+f.name("alice")).AllowHosts("*").Operations(kadm.OpRead, kadm.OpDescribe).ResourcePatternType(kadm.ACLPatternPrefixed)
		created, err := a.CreateACLs(ctx, b)
		if err != nil {
			return err
		}
		for _, c := range created {
			if c.Err != nil {
				return c.Err
			}
		}
		filter := kadm.NewACLs().Topics(topic + "-more").Allow("User:" + f.name("alice")).AllowHosts("*").Operations(kadm.OpAny).ResourcePatternType(kadm.ACLPatternMatch)
		if err := retry(ctx, func() error {
			found, err := a.DescribeACLs(ctx, filter)
			if err == nil && (len(found) != 1 || len(found[0].Described) != 2) {
				err = fmt.Errorf("%+v", found)
			}
			return err
		}); err != nil {
			return err
		}
		deleted, err := a.DeleteACLs(ctx, filter)
		if err != nil {
			return err
		}
		if len(deleted) != 1 || len(deleted[0].Deleted) != 2 {
			return fmt.Errorf("%+v", deleted)
		}
		return nil
	}(kadm.NewClient(c))
}

func (f *franz) scramUsers(ctx context.Context) error {
	user := f.name("scram")
	return f.with(func(a *kadm.Client) error {
		rs, err := a.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: user, Mechanism: kadm.ScramSha256, Iterations: 4096, Password: "x"}})
		if err != nil {
			return err
		}
		if rs[user].Err != nil {
			return rs[user].Err
		}
		if err := retry(ctx, func() error {
			ds, err := a.DescribeUserSCRAMs(ctx, user)
			if is := ds[user].CredInfos; err == nil && (len(is) != 1 || is[0].Iterations != 4096 || is[0].Mechanism != kadm.ScramSha256) {
				err = fmt.Errorf("%+v", ds)
			}
			return err
		}); err != nil {
			return err
		}
		del := []kadm.DeleteSCRAM{{User: user, Mechanism: kadm.ScramSha256}}
		rs, err = a.AlterUserSCRAMs(ctx, del, nil)
		if err != nil || rs[user].Err != nil {
			return cmp.Or(err, rs[user].Err)
		}
		if rs, err = a.AlterUserSCRAMs(ctx, del, nil); err != nil {
			return err
		}
		return wantErr(rs[user].Err, kerr.ResourceNotFound)
	})
}

func (f *franz) producers(ctx context.Context) error {
	topic, err := f.create(ctx, "producers", 1, nil)
	if err != nil {
		return err
	}
	id := f.name("producers")
	c, err := f.client(kgo.DefaultProduceTopic(topic), kgo.TransactionalID(id))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.BeginTransaction(); err != nil {
		return err
	}
	if err := c.ProduceSync(ctx, franzRecords(1)...).FirstErr(); err != nil {
		return err
	}
	return f.with(func(a *kadm.Client) error {
		list, err := a.ListTransactions(ctx, nil, nil)
		if err != nil {
			return err
		}
		if l := list[id]; l.State != "Ongoing" {
			return fmt.Errorf("listed %+v", l)
		}
		ds, err := a.DescribeTransactions(ctx, id)
		if err != nil {
			return err
		}
		d := ds[id]
		if d.Err != nil || d.State != "Ongoing" || !d.Topics.Lookup(topic, 0) {
			return fmt.Errorf("described %+v", d)
		}
		var s kadm.TopicsSet
		s.Add(topic, 0)
		ps, err := a.DescribeProducers(ctx, s)
		if err != nil {
			return err
		}
		p := ps[topic].Partitions[0]
		producer, ok := p.ActiveProducers[d.ProducerID]
		if p.Err != nil || !ok || producer.LastSequence != 0 || producer.CurrentTxnStartOffset != 0 {
			return fmt.Errorf("producers %+v", p)
		}
		if err := c.EndTransaction(ctx, kgo.TryCommit); err != nil {
			return err
		}
		for {
			ds, err := a.DescribeTransactions(ctx, id)
			if err != nil || ds[id].State == "CompleteCommit" {
				return err
			}
		}
	})
}

func (f *franz) logDirs(ctx context.Context) error {
	topic, err := f.fill(ctx, "dirs", 1, 100)
	if err != nil {
		return err
	}
	return f.with(func(a *kadm.Client) error {
		ds, err := a.DescribeAllLogDirs(ctx, kadm.TopicsSet{topic: {0: {}}})
		if err != nil {
			return err
		}
		size := int64(-1)
		ds.Each(func(d kadm.DescribedLogDir) {
			if p, ok := d.Topics.Lookup(topic, 0); ok {
				size = p.Size
			}
		})
		if size < 100 {
			return fmt.Errorf("%d bytes in %+v", size, ds)
		}
		return nil
	})
}

func (f *franz) quotas(ctx context.Context) error {
	return f.with(func(a *kadm.Client) error {
		user := kadm.ClientQuotaEntity{{Type: "user", Name: ptr(f.name("quota"))}}
		rs, err := a.AlterClientQuotas(ctx, []kadm.AlterClientQuotaEntry{{Entity: user, Ops: []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: 1e6}}}})
		if err == nil {
			err = rs[0].Err
		}
		if err != nil {
			return err
		}
		return retry(ctx, func() error {
			ds, err := a.DescribeClientQuotas(ctx, true, []kadm.DescribeClientQuotaComponent{{Type: "user", MatchName: user[0].Name, MatchType: kmsg.QuotasMatchTypeExact}})
			if err == nil && (len(ds) != 1 || ds[0].Values[0].Value != 1e6) {
				err = fmt.Errorf("%+v", ds)
			}
			return err
		})
	})
}

// tlsOf trusts the authority of a broker.
func tlsOf(p *peer.Proc) (*tls.Config, error) {
	pem, err := os.ReadFile(p.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}, nil
}

// franzLogin logs in as the user who may do everything.
var franzLogin = kgo.SASL(plain.Auth{User: peer.User, Pass: peer.Password}.AsMechanism())

func (f *franz) security() {
	ping := func(ctx context.Context, addr string, opts ...kgo.Opt) error {
		c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addr), kgo.RetryTimeout(time.Minute))...)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = kmsg.NewPtrMetadataRequest().RequestWith(ctx, c)
		return err
	}
	f.check("security: SASL PLAIN", func(ctx context.Context) error { return ping(ctx, f.closed.Kafka, franzLogin) })
	f.check("security: wrong password", func(ctx context.Context) error {
		err := ping(ctx, f.closed.Kafka, kgo.SASL(plain.Auth{User: peer.User, Pass: "wrong"}.AsMechanism()))
		return wantErr(err, kerr.SaslAuthenticationFailed)
	})
	// scramUser makes a user, who logs in then.
	scramUser := func(ctx context.Context, user string, m kadm.ScramMechanism) error {
		c, err := kgo.NewClient(kgo.SeedBrokers(f.closed.Kafka), franzLogin)
		if err != nil {
			return err
		}
		defer c.Close()
		rs, err := kadm.NewClient(c).AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: user, Mechanism: m, Iterations: 4096, Password: "secret"}})
		return cmp.Or(err, rs[user].Err)
	}
	for _, m := range []struct {
		name      string
		mechanism kadm.ScramMechanism
		auth      func(user, password string) sasl.Mechanism
	}{
		{"SCRAM-SHA-256", kadm.ScramSha256, func(u, p string) sasl.Mechanism { return scram.Auth{User: u, Pass: p}.AsSha256Mechanism() }},
		{"SCRAM-SHA-512", kadm.ScramSha512, func(u, p string) sasl.Mechanism { return scram.Auth{User: u, Pass: p}.AsSha512Mechanism() }},
	} {
		f.check("security: "+m.name, func(ctx context.Context) error {
			user := f.name(m.name)
			if err := scramUser(ctx, user, m.mechanism); err != nil {
				return err
			}
			if err := retry(ctx, func() error { return ping(ctx, f.closed.Kafka, kgo.SASL(m.auth(user, "secret"))) }); err != nil {
				return err
			}
			return wantErr(ping(ctx, f.closed.Kafka, kgo.SASL(m.auth(user, "wrong"))), kerr.SaslAuthenticationFailed)
		})
	}
	f.check("security: TLS", func(ctx context.Context) error {
		c, err := tlsOf(f.open)
		if err != nil {
			return err
		}
		return ping(ctx, f.open.Kafkas, kgo.DialTLSConfig(c))
	})
	f.check("security: SASL over TLS", func(ctx context.Context) error {
		c, err := tlsOf(f.closed)
		if err != nil {
			return err
		}
		return ping(ctx, f.closed.Kafkas, kgo.DialTLSConfig(c), franzLogin)
	})
	f.check("security: an ACL forbids", func(ctx context.Context) error {
		user := f.name("limited")
		if err := scramUser(ctx, user, kadm.ScramSha256); err != nil {
			return err
		}
		c, err := kgo.NewClient(kgo.SeedBrokers(f.closed.Kafka), franzLogin)
		if err != nil {
			return err
		}
		defer c.Close()
		a := kadm.NewClient(c)
		mine, other := f.name("mine"), f.name("other-s")
		if _, err := a.CreateTopics(ctx, 1, 1, nil, mine, other); err != nil {
			return err
		}
		for topic, user := range map[string]string{mine: "User:" + user, other: "User:somebody"} {
			if _, err := a.CreateACLs(ctx, kadm.NewACLs().Topics(topic).Allow(user).AllowHosts("*").Operations(kadm.OpWrite, kadm.OpDescribe).ResourcePatternType(kadm.ACLPatternLiteral)); err != nil {
				return err
			}
		}
		login := kgo.SASL(scram.Auth{User: user, Pass: "secret"}.AsSha256Mechanism())
		produce := func(topic string) error {
			c, err := kgo.NewClient(kgo.SeedBrokers(f.closed.Kafka), login, kgo.DefaultProduceTopic(topic), kgo.DisableIdempotentWrite(), kgo.UnknownTopicRetries(1))
			if err != nil {
				return err
			}
			defer c.Close()
			return c.ProduceSync(ctx, &kgo.Record{Value: []byte("x")}).FirstErr()
		}
		if err := retry(ctx, func() error { return produce(mine) }); err != nil {
			return err
		}
		return retry(ctx, func() error { return wantErr(produce(other), kerr.TopicAuthorizationFailed) })
	})
}

// scramUsers are users whose password is peer.Password, for clients that cannot make any.
var scramUsers = map[string]kadm.ScramMechanism{"scram-sha-256": kadm.ScramSha256, "scram-sha-512": kadm.ScramSha512}

// addSCRAMUsers makes them.
func addSCRAMUsers(ctx context.Context, addr string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), franzLogin)
	if err != nil {
		return err
	}
	defer c.Close()
	for user, m := range scramUsers {
		rs, err := kadm.NewClient(c).AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: user, Mechanism: m, Iterations: 4096, Password: peer.Password}})
		if err := cmp.Or(err, rs[user].Err); err != nil {
			return err
		}
	}
	return nil
}

// retry calls f until it works: a broker may need a moment until what it has been told holds everywhere.
func retry(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}
