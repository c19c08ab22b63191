package interop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// apacheKafkaAlone starts Apache Kafka and returns its address, once it answers.
func apacheKafkaAlone(t *testing.T, more string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	need(t, "java", "java/kafka/target/dependency")
	addr := freeAddress(t)
	newApacheKafka(t, addr, addr, more).start()
	return addr
}

// newKafkaClient makes a client with patience: what fails late on a busy machine does not fail here.
func newKafkaClient(t *testing.T, o *kafkaclient.Options) *kafkaclient.Client {
	t.Helper()
	o.ConnectTimeout, o.RequestTimeout, o.APITimeout = time.Minute, 2*time.Minute, kafkaPatience
	c, err := kafkaclient.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// createKafkaTopic makes the topic of a test, which is called as the test is, and waits until the broker knows what its
// controller has made.
func createKafkaTopic(t *testing.T, c *kafkaclient.Client, partitions int32, configs ...kafkawire.CreateTopicsRequestConfig) string {
	t.Helper()
	name := strings.ReplaceAll(t.Name(), "/", "-")
	resp, err := c.Request(t.Context(), &kafkawire.CreateTopicsRequest{TimeoutMs: 60_000, Topics: []kafkawire.CreateTopicsRequestTopic{
		{Name: kafkawire.TopicName(name), NumPartitions: partitions, ReplicationFactor: 1, Configs: configs}}})
	if err != nil {
		t.Fatal(err)
	}
	if code := resp.(*kafkawire.CreateTopicsResponse).Topics[0].ErrorCode; code != 0 {
		t.Fatal(code)
	}
	eventually(t, func() (any, error, bool) {
		topics, err := c.Admin().Topics(t.Context(), name)
		return topics, err, len(topics) == 1 && len(topics[0].Partitions) == int(partitions) &&
			!slices.ContainsFunc(topics[0].Partitions, func(p kafkaclient.Partition) bool { return p.Leader < 0 })
	})
	return name
}

func kafkaTopicID(t *testing.T, c *kafkaclient.Client, topic string) kafkawire.UUID {
	t.Helper()
	name := kafkawire.TopicName(topic)
	m, err := c.Request(t.Context(), &kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{{Name: &name}}})
	if err != nil {
		t.Fatal(err)
	}
	return m.(*kafkawire.MetadataResponse).Topics[0].TopicID
}

// committedRecords reads the values of committed records of a partition. A coordinator answers before the partitions know
// that a transaction has ended: committedRecords waits until no transaction is open.
func committedRecords(t *testing.T, c *kafkaclient.Client, topic string, partition int32) (values []string) {
	t.Helper()
	name := kafkawire.TopicName(topic)
	id := kafkaTopicID(t, c, topic)
	req := new(kafkawire.FetchRequest)
	req.Reset()
	req.MaxWaitMs, req.MinBytes, req.MaxBytes, req.IsolationLevel, req.SessionEpoch = 200, 1, 1<<20, 1, -1
	end := time.Now().Add(kafkaPatience)
	for offset := int64(0); ; {
		p := kafkawire.FetchRequestPartition{}
		p.Reset()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
		req.Topics = []kafkawire.FetchRequestTopic{{Topic: name, TopicID: id, Partitions: []kafkawire.FetchRequestPartition{p}}}
		resp, err := c.Request(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		r := resp.(*kafkawire.FetchResponse).Responses[0].Partitions[0]
		if r.ErrorCode != 0 {
			t.Fatal(r.ErrorCode)
		}
		switch {
		case len(r.Records) > 0:
		case r.LastStableOffset == r.HighWatermark:
			return values
		case time.Now().After(end):
			t.Fatalf("offsets %d to %d of %s-%d stay in a transaction", r.LastStableOffset, r.HighWatermark, topic, partition)
		}
		aborted := make(map[kafkawire.ProducerID]bool)
		for b := r.Records; len(b) > 0; {
			entry, rest, err := kafka.Split(b)
			if err != nil {
				t.Fatal(err)
			}
			if entry == nil {
				break
			}
			b = rest
			batch := kafka.Batch(entry)
			for i, a := range r.AbortedTransactions { // in the order of their first offsets
				if a.FirstOffset <= batch.BaseOffset() && a.ProducerID >= 0 {
					aborted[a.ProducerID] = true
					r.AbortedTransactions[i].ProducerID = -1
				}
			}
			if batch.Attributes().Control() {
				delete(aborted, batch.ProducerID())
			} else if !batch.Attributes().Transactional() || !aborted[batch.ProducerID()] {
				recs, err := kafka.Open(batch, nil, 1<<24)
				for rec := (kafka.Record{}); err == nil && recs.Next(&rec); {
					values = append(values, string(rec.Value))
				}
			}
			offset = batch.LastOffset() + 1
		}
	}
}

// TestKafkaClient lets our client use Apache Kafka.
func TestKafkaClient(t *testing.T) {
	t.Parallel() // it waits for programs most of the time
	addr := apacheKafkaAlone(t, "transaction.abort.timed.out.transaction.cleanup.interval.ms=200\n")
	for _, test := range []struct {
		name string
		f    func(t *testing.T, c *kafkaclient.Client)
	}{
		{"produce", clientProduces},
		{"compression", clientCompresses},
		{"too large", clientSplits},
		{"transactions", clientTransacts},
		{"fencing", clientIsFenced},
		{"offsets in a transaction", clientSendsOffsets},
		{"expired transaction", clientIsLate},
		{"abortable transaction", clientAborts},
		{"administration", clientAdministers},
		{"before Kafka 4.0", clientTransactsBefore40},
	} {
		t.Run(test.name, func(t *testing.T) { test.f(t, newKafkaClient(t, &kafkaclient.Options{Addrs: []string{addr}})) })
	}
}

func newKafkaProducer(t *testing.T, c *kafkaclient.Client, o *kafkaclient.ProducerOptions) *kafkaclient.Producer {
	t.Helper()
	p, err := c.NewProducer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func clientProduces(t *testing.T, c *kafkaclient.Client) {
	topic := createKafkaTopic(t, c, 3)
	for _, o := range []*kafkaclient.ProducerOptions{nil, {Acks: kafkaclient.LeaderOnly}, {Acks: kafkaclient.NoAcks}, {NoIdempotence: true}} {
		p := newKafkaProducer(t, c, o)
		for i := range 1000 {
			r := &kafkaclient.Record{Topic: topic, Key: fmt.Append(nil, i), Value: make([]byte, 1000), Headers: []kafka.Header{{Key: []byte("n"), Value: fmt.Append(nil, i)}}}
			if err := p.ProduceAsync(t.Context(), r, func(r *kafkaclient.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for i := range int32(3) {
		n += len(committedRecords(t, c, topic, i))
	}
	if n != 4000 {
		t.Errorf("%d records", n)
	}
	err := newKafkaProducer(t, c, nil).Produce(t.Context(), &kafkaclient.Record{Topic: "bad topic!"})
	if !errors.Is(err, kafkawire.ErrInvalidTopic) {
		t.Error(err)
	}
}

func clientCompresses(t *testing.T, c *kafkaclient.Client) {
	topic := createKafkaTopic(t, c, 1)
	text := strings.Repeat("again and ", 100)
	for _, m := range []compress.Method{compress.None, compress.Gzip, compress.Snappy, compress.LZ4, compress.Zstd} {
		p := newKafkaProducer(t, c, &kafkaclient.ProducerOptions{Compression: m})
		var rs []*kafkaclient.Record
		for range 50 {
			rs = append(rs, &kafkaclient.Record{Topic: topic, Value: []byte(text)})
		}
		if err := p.Produce(t.Context(), rs...); err != nil {
			t.Errorf("%v: %v", m, err)
		}
	}
	if got := committedRecords(t, c, topic, 0); len(got) != 250 || slices.ContainsFunc(got, func(s string) bool { return s != text }) {
		t.Errorf("%d records", len(got))
	}
}

func clientSplits(t *testing.T, c *kafkaclient.Client) {
	topic := createKafkaTopic(t, c, 1, kafkawire.CreateTopicsRequestConfig{Name: "max.message.bytes", Value: new("10000")})
	p := newKafkaProducer(t, c, nil)
	var rs []*kafkaclient.Record
	for i := range 200 {
		rs = append(rs, &kafkaclient.Record{Topic: topic, Value: fmt.Append(make([]byte, 0, 1000), i, strings.Repeat(".", 900))})
	}
	if err := p.Produce(t.Context(), rs...); err != nil {
		t.Fatal(err)
	}
	for i, v := range committedRecords(t, c, topic, 0) {
		if !strings.HasPrefix(v, fmt.Sprint(i, ".")) && !strings.HasPrefix(v, fmt.Sprintf("%d.", i)) {
			t.Fatalf("record %d: %.10s", i, v)
		}
	}
	if err := p.Produce(t.Context(), &kafkaclient.Record{Topic: topic, Value: make([]byte, 20000)}); !errors.Is(err, kafkawire.ErrMessageTooLarge) {
		t.Error(err)
	}
	if err := p.Produce(t.Context(), rs[0]); err != nil {
		t.Error(err)
	}
}

func clientTransacts(t *testing.T, c *kafkaclient.Client) {
	topic := createKafkaTopic(t, c, 2)
	ctx := t.Context()
	p := newKafkaProducer(t, c, &kafkaclient.ProducerOptions{TransactionalID: "transacts", Partitioner: kafkaclient.ManualPartitioner})
	var want []string
	for i := range 20 {
		if err := p.Begin(ctx); err != nil {
			t.Fatal(err)
		}
		v := fmt.Append(nil, i)
		if err := p.Produce(ctx, &kafkaclient.Record{Topic: topic, Value: v}, &kafkaclient.Record{Topic: topic, Partition: 1, Value: v}); err != nil {
			t.Fatal(err)
		}
		end := p.Abort
		if i%3 != 0 {
			end = p.Commit
			want = append(want, fmt.Sprint(i))
		}
		if err := end(ctx); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	for i := range int32(2) {
		if got := committedRecords(t, c, topic, i); !slices.Equal(got, want) {
			t.Errorf("partition %d: %v", i, got)
		}
	}
}

func clientIsFenced(t *testing.T, c *kafkaclient.Client) {
	topic := createKafkaTopic(t, c, 1)
	ctx := t.Context()
	p := newKafkaProducer(t, c, &kafkaclient.ProducerOptions{TransactionalID: "fenced"})
	q := newKafkaProducer(t, c, &kafkaclient.ProducerOptions{TransactionalID: "fenced"})
	if err := p.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.Produce(ctx, &kafkaclient.Record{Topic: topic, Value: []byte("old")}); err != nil {
		t.Fatal(err)
	}
	if err := q.Transact(ctx, func(ctx context.Context) error {
		return q.Produce(ctx, &kafkaclient.Record{Topic: topic, Value: []byte("new")})
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(ctx); !kafkaclient.Fatal(err) {
		t.Error(err)
	}
	if err := p.Err(); !kafkaclient.Fatal(err) {
		t.Error(err)
	}
	if got := committedRecords(t, c, topic, 0); !slices.Equal(got, []string{"new"}) {
		t.Error(got)
	}
}

func clientSendsOffsets(t *testing.T, c *kafkaclient.Client) {
	topic := createKafkaTopic(t, c, 2)
	ctx := t.Context()
	p := newKafkaProducer(t, c, &kafkaclient.ProducerOptions{TransactionalID: "offsets"})
	at := func(n int64) map[kafka.TopicPartition]kafkaclient.CommitOffset {
		return map[kafka.TopicPartition]kafkaclient.CommitOffset{{Topic: kafkawire.TopicName(topic)}: {Offset: n, LeaderEpoch: -1}, {Topic: kafkawire.TopicName(topic), Partition: 1}: {Offset: n + 1, LeaderEpoch: -1}}
	}
	group := kafkaclient.GroupMetadata{Group: "transformers"}
	if err := p.Transact(ctx, func(ctx context.Context) error { return p.SendOffsets(ctx, group, at(5)) }); err != nil {
		t.Fatal(err)
	}
	if err := p.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.SendOffsets(ctx, group, at(50)); err != nil {
		t.Fatal(err)
	}
	if err := p.Abort(ctx); err != nil {
		t.Fatal(err)
	}
	// Who is not a member can't commit as one.
	if err := p.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	err := p.SendOffsets(ctx, kafkaclient.GroupMetadata{Group: "transformers", MemberID: "nobody", Generation: 3}, at(70))
	if !kafkaclient.Abortable(err) {
		t.Error(err)
	}
	if err := p.Abort(ctx); err != nil {
		t.Fatal(err)
	}
	req := new(kafkawire.OffsetFetchRequest)
	req.Reset()
	req.RequireStable = true
	req.Groups = []kafkawire.OffsetFetchRequestGroup{{GroupID: "transformers", MemberEpoch: -1, Topics: []kafkawire.OffsetFetchRequestGroupTopic{{
		Name: kafkawire.TopicName(topic), TopicID: kafkaTopicID(t, c, topic), PartitionIndexes: []int32{0, 1}}}}}
	eventually(t, func() (any, error, bool) {
		resp, err := c.RequestCoordinator(ctx, kafkaclient.GroupCoordinator, "transformers", req)
		if err != nil {
			t.Fatal(err)
		}
		g := resp.(*kafkawire.OffsetFetchResponse).Groups[0]
		got := make(map[int32]int64)
		stable := g.ErrorCode == 0
		for _, x := range g.Topics {
			for _, y := range x.Partitions {
				got[y.PartitionIndex] = y.CommittedOffset
				stable = stable && y.ErrorCode == 0
			}
		}
		if stable && (got[0] != 5 || got[1] != 6) {
			t.Fatal(got)
		}
		return g, nil, stable
	})
}

// A transaction that takes too long is aborted by the broker, which fences the producer.
func clientIsLate(t *testing.T, c *kafkaclient.Client) {
	topic := createKafkaTopic(t, c, 1)
	ctx := t.Context()
	p := newKafkaProducer(t, c, &kafkaclient.ProducerOptions{TransactionalID: "late", TransactionTimeout: 5 * time.Second})
	if err := p.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.Produce(ctx, &kafkaclient.Record{Topic: topic, Value: []byte("late")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (any, error, bool) {
		m, err := c.Admin().DescribeTransactions(ctx, "late")
		return m, err, m["late"].State == "CompleteAbort"
	})
	err := p.Commit(ctx)
	t.Logf("commit: %v", err)
	if err == nil {
		t.Error("committed")
	}
	if !kafkaclient.Fatal(err) {
		if err := p.Abort(ctx); err != nil {
			t.Error(err)
		}
	}
	if got := committedRecords(t, c, topic, 0); len(got) > 0 {
		t.Error(got)
	}
}

func clientAdministers(t *testing.T, c *kafkaclient.Client) {
	a := c.Admin()
	ctx := t.Context()
	if err := a.CreateTopics(ctx, kafkaclient.NewTopic{Name: "admin", Partitions: 2, Configs: map[string]string{"cleanup.policy": "compact"}}); err != nil {
		t.Fatal(err)
	}
	err := a.CreateTopics(ctx, kafkaclient.NewTopic{Name: "admin"}, kafkaclient.NewTopic{Name: "bad name"}, kafkaclient.NewTopic{Name: "x", Configs: map[string]string{"no.such": "config"}})
	if !errors.Is(err, kafkawire.ErrTopicAlreadyExists) || !errors.Is(err, kafkawire.ErrInvalidTopic) || !errors.Is(err, kafkawire.ErrInvalidConfig) {
		t.Error(err)
	}
	if err := a.CreatePartitions(ctx, "admin", 3); err != nil {
		t.Error(err)
	}
	resource := kafkaclient.ConfigResource{Type: kafkaclient.ConfigTopic, Name: "admin"}
	if err := a.AlterConfigs(ctx, kafkaclient.ConfigChange{Resource: resource, Set: map[string]string{"retention.ms": "1000"}, Append: map[string][]string{"cleanup.policy": {"delete"}}}); err != nil {
		t.Error(err)
	}
	// Brokers learn of changes a little later.
	eventually(t, func() (any, error, bool) {
		configs, err := a.Configs(ctx, resource, kafkaclient.ConfigResource{Type: kafkaclient.ConfigBroker, Name: "1"})
		for _, x := range configs[resource] {
			if x.Name == "cleanup.policy" && x.Source == kafkaclient.SourceTopic && x.Doc != "" {
				return *x.Value, err, len(configs) == 2 && (*x.Value == "compact,delete" || *x.Value == "delete,compact")
			}
		}
		return configs, err, false
	})
	eventually(t, func() (any, error, bool) {
		topics, err := a.Topics(ctx, "admin")
		return topics, err, len(topics) == 1 && len(topics[0].Partitions) == 3 && topics[0].Partitions[2].Leader >= 0
	})
	tp := kafka.TopicPartition{Topic: "admin", Partition: 2}
	p := newKafkaProducer(t, c, &kafkaclient.ProducerOptions{Partitioner: kafkaclient.ManualPartitioner})
	for range 5 {
		if err := p.Produce(ctx, &kafkaclient.Record{Topic: "admin", Partition: 2, Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
	}
	if ends, err := a.Offsets(ctx, map[kafka.TopicPartition]kafkaclient.Start{tp: kafkaclient.StartLatest()}); err != nil || ends[tp] != 5 {
		t.Error(ends, err)
	}
	if m, err := a.Producers(ctx, tp); err != nil || len(m[tp]) != 1 || m[tp][0].LastSequence != 4 {
		t.Error(m, err)
	}
	if low, err := a.DeleteRecords(ctx, map[kafka.TopicPartition]int64{tp: 3}); err != nil || low[tp] != 3 {
		t.Error(low, err)
	}
	if dirs, err := a.LogDirs(ctx); err != nil || len(dirs) != 1 || dirs[0].Total <= 0 {
		t.Error(dirs, err)
	}
	if x, err := a.Cluster(ctx); err != nil || len(x.Brokers) != 1 || x.ID == "" {
		t.Error(x, err)
	}
	if err := a.SetGroupOffsets(ctx, "admins", map[kafka.TopicPartition]kafkaclient.CommitOffset{tp: {Offset: 4, LeaderEpoch: -1}}); err != nil {
		t.Error(err)
	}
	if got, err := a.GroupOffsets(ctx, "admins"); err != nil || got[tp].Offset != 4 {
		t.Error(got, err)
	}
	if groups, err := a.Groups(ctx); err != nil || !slices.ContainsFunc(groups, func(g kafkaclient.GroupListing) bool { return g.Group == "admins" }) {
		t.Error(groups, err)
	}
	if m, err := a.DescribeGroups(ctx, "admins"); err != nil || m["admins"].State != "Empty" {
		t.Error(m, err)
	}
	if err := a.DeleteGroupOffsets(ctx, "admins", tp); err != nil {
		t.Error(err)
	}
	if err := a.DeleteGroups(ctx, "admins"); err != nil && !errors.Is(err, kafkawire.ErrGroupIDNotFound) {
		t.Error(err)
	}

	acl := kafkaclient.ACL{Resource: kafkaclient.TopicResource, Name: "adm", Pattern: kafkaclient.Prefixed, Principal: "User:alice", Host: "*", Operation: kafkaclient.ReadOperation, Permission: kafkaclient.Deny}
	if err := a.CreateACLs(ctx, acl); err != nil {
		t.Error(err)
	}
	eventually(t, func() (any, error, bool) {
		list, err := a.ACLs(ctx, kafkaclient.ACLFilter{Principal: "User:alice"})
		return list, err, slices.Equal(list, []kafkaclient.ACL{acl})
	})
	if list, err := a.DeleteACLs(ctx, kafkaclient.ACLFilter{Principal: "User:alice"}); err != nil || !slices.Equal(list, []kafkaclient.ACL{acl}) {
		t.Error(list, err)
	}
	if err := a.SetSCRAMPassword(ctx, "alice", kafkaclient.SHA512, "secret", 0); err != nil {
		t.Error(err)
	}
	eventually(t, func() (any, error, bool) {
		users, err := a.SCRAMUsers(ctx, "alice")
		return users, err, len(users) == 1 && slices.Equal(users[0].Credentials, []kafkaclient.SCRAMCredential{{Hash: kafkaclient.SHA512, Iterations: 8192}})
	})
	if err := a.DeleteSCRAMPassword(ctx, "alice", kafkaclient.SHA512); err != nil {
		t.Error(err)
	}
	entity := kafkaclient.QuotaEntity{"user": "alice", "client-id": ""}
	if err := a.AlterQuotas(ctx, entity, map[string]float64{"producer_byte_rate": 1 << 20}); err != nil {
		t.Error(err)
	}
	eventually(t, func() (any, error, bool) {
		list, err := a.Quotas(ctx, kafkaclient.QuotaEntity{"user": "*"})
		return list, err, len(list) == 1 && list[0].Values["producer_byte_rate"] == 1<<20 && list[0].Entity["user"] == "alice"
	})
	if err := a.AlterQuotas(ctx, entity, nil, "producer_byte_rate"); err != nil {
		t.Error(err)
	}
	if list, err := a.Transactions(ctx); err != nil {
		t.Error(list, err)
	}
	if err := a.DeleteTopics(ctx, "admin"); err != nil {
		t.Error(err)
	}
}

// eventually calls f until it is satisfied: Apache Kafka answers before all its parts know of what it has done.
func eventually(t *testing.T, f func() (got any, err error, ok bool)) {
	t.Helper()
	for end := time.Now().Add(kafkaPatience); ; time.Sleep(20 * time.Millisecond) {
		got, err, ok := f()
		if err == nil && ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%+v %v", got, err)
		}
	}
}

// TestKafkaClientSASL logs in at Apache Kafka.
func TestKafkaClientSASL(t *testing.T) {
	t.Parallel() // it waits for programs most of the time
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	need(t, "java", "java/kafka/target/dependency")
	inner := freeAddress(t)
	addr := freeAddress(t)
	k := newApacheKafka(t, inner, inner, strings.NewReplacer("INNER", inner, "SASL_ADDRESS", addr, "OWN", freeAddress(t)).Replace(`listeners=PLAINTEXT://INNER,LOGIN://SASL_ADDRESS,CONTROLLER://OWN
controller.quorum.voters=1@OWN
advertised.listeners=PLAINTEXT://INNER,LOGIN://SASL_ADDRESS
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
connections.max.reauth.ms=2000
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="secret";
listener.name.login.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.login.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
`))
	k.start()
	a := newKafkaClient(t, &kafkaclient.Options{Addrs: []string{inner}}).Admin()
	ctx := t.Context()
	if err := a.CreateTopics(ctx, kafkaclient.NewTopic{Name: "login", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	for _, h := range []string{kafkaclient.SHA256, kafkaclient.SHA512} {
		if err := a.SetSCRAMPassword(ctx, "bob", h, "pässword", 4096); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []kafkaclient.Mechanism{kafkaclient.Plain("alice", "secret"), kafkaclient.SCRAM(kafkaclient.SHA256, "bob", "pässword"), kafkaclient.SCRAM(kafkaclient.SHA512, "bob", "pässword")} {
		eventually(t, func() (any, error, bool) { // the controller knows the passwords before the broker does
			_, err := newKafkaClient(t, &kafkaclient.Options{Addrs: []string{addr}, SASL: m}).Admin().Topics(ctx, "login")
			return m.Name(), err, true
		})
		c := newKafkaClient(t, &kafkaclient.Options{Addrs: []string{addr}, SASL: m})
		p := newKafkaProducer(t, c, nil)
		// The broker ends sessions that do not log in again.
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if err := p.Produce(ctx, &kafkaclient.Record{Topic: "login"}); err != nil {
				t.Fatalf("%s: %v", m.Name(), err)
			}
		}
	}
	for _, m := range []kafkaclient.Mechanism{kafkaclient.Plain("alice", "wrong"), kafkaclient.SCRAM(kafkaclient.SHA256, "bob", "wrong"), kafkaclient.SCRAM("SCRAM-SHA-1", "bob", "wrong")} {
		c := newKafkaClient(t, &kafkaclient.Options{Addrs: []string{addr}, SASL: m})
		// Both fail at once, and not after they have tried for the time that they have.
		start := time.Now()
		_, err := c.Admin().Topics(ctx)
		if _, ok := errors.AsType[*kafkaclient.AuthError](err); !ok || time.Since(start) > kafkaPatience/2 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		start = time.Now()
		err = newKafkaProducer(t, c, &kafkaclient.ProducerOptions{DeliveryTimeout: kafkaPatience}).Produce(ctx, &kafkaclient.Record{Topic: "login"})
		if _, ok := errors.AsType[*kafkaclient.AuthError](err); !ok || time.Since(start) > kafkaPatience/2 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	}
}

// clientTransactsBefore40 runs transactions as with brokers before Kafka 4.0: partitions are added to them, and epochs stay.
func clientTransactsBefore40(t *testing.T, c *kafkaclient.Client) {
	req := &kafkawire.UpdateFeaturesRequest{TimeoutMs: 60_000, FeatureUpdates: []kafkawire.UpdateFeaturesRequestFeatureUpdate{
		{Feature: "transaction.version", MaxVersionLevel: 1, UpgradeType: 2}}}
	resp, err := c.Request(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if r := resp.(*kafkawire.UpdateFeaturesResponse); r.ErrorCode != 0 {
		t.Fatalf("%+v", r)
	}
	eventually(t, func() (any, error, bool) { // the broker learns it from the controller
		req := new(kafkawire.APIVersionsRequest)
		req.Reset()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "interop", "1"
		resp, err := c.Request(t.Context(), req)
		if err != nil {
			return nil, err, false
		}
		features := resp.(*kafkawire.APIVersionsResponse).FinalizedFeatures
		return features, nil, slices.ContainsFunc(features, func(f kafkawire.APIVersionsResponseFinalizedFeature) bool {
			return f.Name == "transaction.version" && f.MaxVersionLevel == 1
		})
	})
	cluster, err := c.Admin().Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var added atomic.Int64
	c = newKafkaClient(t, &kafkaclient.Options{Addrs: []string{cluster.Brokers[0].Addr}, Trace: &kafkaclient.Trace{Response: func(r kafkaclient.RequestInfo, err error) {
		if r.Key == kafkawire.KeyAddPartitionsToTxn {
			added.Add(1)
		}
	}}})
	defer func() {
		if added.Load() == 0 {
			t.Error("partitions were not added")
		}
	}()
	for _, test := range []struct {
		name string
		f    func(t *testing.T, c *kafkaclient.Client)
	}{
		{"transactions", clientTransacts},
		{"fencing", clientIsFenced},
		{"offsets in a transaction", clientSendsOffsets},
		{"abortable", clientAborts},
	} {
		t.Run(test.name, func(t *testing.T) { test.f(t, c) })
	}
}

// A record that the broker does not take makes a transaction one that can only be aborted; then the producer goes on.
func clientAborts(t *testing.T, c *kafkaclient.Client) {
	topic := createKafkaTopic(t, c, 1)
	ctx := t.Context()
	p := newKafkaProducer(t, c, &kafkaclient.ProducerOptions{TransactionalID: "aborts"})
	for i := range 3 {
		if err := p.Begin(ctx); err != nil {
			t.Fatal(err)
		}
		if err := p.Produce(ctx, &kafkaclient.Record{Topic: topic, Value: []byte("good")}); err != nil {
			t.Fatal(err)
		}
		if err := p.Produce(ctx, &kafkaclient.Record{Topic: topic, Value: make([]byte, 3<<20)}); !kafkaclient.Abortable(err) {
			t.Error(err)
		}
		if err := p.Commit(ctx); !kafkaclient.Abortable(err) {
			t.Error(err)
		}
		if err := p.Abort(ctx); err != nil {
			t.Fatal(err)
		}
		if err := p.Transact(ctx, func(ctx context.Context) error {
			return p.Produce(ctx, &kafkaclient.Record{Topic: topic, Value: fmt.Append(nil, i)})
		}); err != nil {
			t.Fatal(err)
		}
	}
	if got := committedRecords(t, c, topic, 0); !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Error(got)
	}
}

// TestKafkaClientRestart produces while Apache Kafka is stopped, killed and started again: every record is there once and in
// order.
func TestKafkaClientRestart(t *testing.T) {
	t.Parallel() // it waits for programs most of the time
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	need(t, "java", "java/kafka/target/dependency")
	addr := freeAddress(t)
	k := newApacheKafka(t, addr, addr, "broker.session.timeout.ms=9000\n") // it is killed
	k.start()
	c := newKafkaClient(t, &kafkaclient.Options{Addrs: []string{addr}})
	topic := createKafkaTopic(t, c, 1)
	p := newKafkaProducer(t, c, &kafkaclient.ProducerOptions{DeliveryTimeout: 2 * kafkaPatience})
	stop := make(chan struct{})
	var taken atomic.Int64
	n := 0
	produced := make(chan struct{})
	go func() {
		defer close(produced)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := p.ProduceAsync(t.Context(), &kafkaclient.Record{Topic: topic, Value: fmt.Append(nil, n)}, func(_ *kafkaclient.Record, err error) {
				if err != nil {
					t.Error(err)
				}
				taken.Add(1)
			}); err != nil {
				t.Error(err)
				return
			}
			if n++; n%100 == 0 {
				time.Sleep(5 * time.Millisecond)
			}
		}
	}()
	more := func() { // waits until records are taken
		at := taken.Load()
		eventually(t, func() (any, error, bool) { return at, nil, taken.Load() > at+1000 })
	}
	for _, signal := range []os.Signal{os.Interrupt, os.Kill} {
		more()
		k.stop(signal)
		k.start()
	}
	more()
	close(stop)
	<-produced
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := committedRecords(t, c, topic, 0)
	t.Logf("%d records", n)
	if len(got) != n {
		t.Errorf("%d records of %d", len(got), n)
	}
	for i, v := range got {
		if v != fmt.Sprint(i) {
			t.Fatalf("record %d is %s", i, v)
		}
	}
}
