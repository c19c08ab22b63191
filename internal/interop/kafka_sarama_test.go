package interop

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// saramaClient is IBM/sarama.
var saramaClient = kafkaClient{
	name:    "sarama",
	version: func() string { return goVersion("github.com/IBM/sarama") },
	run: func(r *kafkaRun) {
		s := &saramaRun{r}
		for _, a := range []struct {
			name string
			acks sarama.RequiredAcks
		}{{"0", sarama.NoResponse}, {"1", sarama.WaitForLocal}, {"all", sarama.WaitForAll}} {
			r.check("produce: acks="+a.name, func(ctx context.Context) error {
				return s.roundTrip("acks-"+a.name, func(c *sarama.Config) { c.Producer.RequiredAcks = a.acks })
			})
		}
		for _, codec := range []sarama.CompressionCodec{sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
			r.check("produce: "+codec.String(), func(ctx context.Context) error {
				return s.roundTrip(codec.String(), func(c *sarama.Config) { c.Producer.Compression = codec })
			})
		}
		r.check("produce: headers, null keys and values", s.headers)
		r.check("produce: idempotent", func(context.Context) error {
			return s.roundTrip("idempotent", func(c *sarama.Config) {
				c.Producer.Idempotent, c.Producer.RequiredAcks, c.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
			})
		})
		r.check("produce: too large is refused", s.tooLarge)
		r.check("produce: the topic comes into being", s.autoCreate)
		r.check("consume: from an offset", s.fromOffset)
		r.check("consume: from a timestamp", s.fromTimestamp)
		r.check("consume: out of range", s.outOfRange)
		r.check("group: commit and resume", s.resume)
		r.check("group: rebalance, eager", s.rebalance)
		r.check("group: static member", s.static)
		r.check("transaction: commit and abort", s.transactions)
		r.check("transaction: consumed offsets", s.consumedOffsets)
		r.check("transaction: older producer is fenced", s.fenced)
		r.check("admin: topics", s.topics)
		r.check("admin: errors of topics", s.topicErrors)
		r.check("admin: partitions", s.partitions)
		r.check("admin: configs of topics", s.configs)
		r.check("admin: configs of brokers", s.brokerConfigs)
		r.check("admin: cluster", s.cluster)
		r.check("admin: delete records", s.deleteRecords)
		r.check("admin: groups", s.groups)
		r.check("admin: offsets of groups", s.groupOffsets)
		r.check("admin: ACLs", s.acls)
		r.check("admin: SCRAM users", s.scramUsers)
		r.check("admin: producers and transactions", s.producers)
		r.check("admin: log directories", s.logDirs)
		s.security()
	},
}

// saramaRun does things with sarama.
type saramaRun struct{ *kafkaRun }

func (s *saramaRun) config(set ...func(*sarama.Config)) *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.MaxVersion
	c.Producer.Return.Successes = true
	c.Admin.Timeout = time.Minute
	c.Metadata.Retry.Backoff = 50 * time.Millisecond
	c.Consumer.Offsets.AutoCommit.Enable = false
	c.Consumer.Group.Heartbeat.Interval = 200 * time.Millisecond
	c.Consumer.Group.Session.Timeout = time.Minute
	c.Producer.Transaction.Retry.Max = 1000
	c.Producer.Partitioner = sarama.NewRoundRobinPartitioner
	for _, f := range set {
		f(c)
	}
	return c
}

func (s *saramaRun) addrs() []string { return []string{s.open.Kafka} }

// with calls do with an admin client.
func (s *saramaRun) with(do func(sarama.ClusterAdmin) error) error {
	a, err := sarama.NewClusterAdmin(s.addrs(), s.config())
	if err != nil {
		return err
	}
	return errors.Join(do(a), a.Close())
}

func (s *saramaRun) create(topic string, partitions int32, configs map[string]*string) (string, error) {
	topic = s.name(topic)
	return topic, s.with(func(a sarama.ClusterAdmin) error {
		if err := a.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: configs}, false); err != nil {
			return err
		}
		return retry(s.t.Context(), func() error {
			ds, err := a.DescribeTopics([]string{topic})
			if err == nil && ds[0].Err != sarama.ErrNoError {
				err = ds[0].Err
			}
			return err
		})
	})
}

func saramaMessages(topic string, n int) (ms []*sarama.ProducerMessage) {
	for i := range n {
		text := fmt.Sprint(i)
		ms = append(ms, &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(text), Value: sarama.StringEncoder(text), Timestamp: kafkaEpoch.Add(time.Duration(i) * time.Second)})
	}
	return ms
}

func (s *saramaRun) produce(ms []*sarama.ProducerMessage, set ...func(*sarama.Config)) error {
	p, err := sarama.NewSyncProducer(s.addrs(), s.config(set...))
	if err != nil {
		return err
	}
	err = p.SendMessages(ms)
	if es := sarama.ProducerErrors(nil); errors.As(err, &es) {
		err = es[0].Err
	}
	return errors.Join(err, p.Close())
}

// fill is like that of franz-go.
func (s *saramaRun) fill(topic string, partitions int32, n int) (string, error) {
	topic, err := s.create(topic, partitions, nil)
	if err != nil {
		return "", err
	}
	return topic, s.produce(saramaMessages(topic, n))
}

// read reads n records of partition 0 from an offset.
func (s *saramaRun) read(topic string, from int64, n int, set ...func(*sarama.Config)) (ms []*sarama.ConsumerMessage, err error) {
	c, err := sarama.NewConsumer(s.addrs(), s.config(set...))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	p, err := c.ConsumePartition(topic, 0, from)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	for timeout := time.After(kafkaPatience / 2); len(ms) < n; {
		select {
		case m := <-p.Messages():
			ms = append(ms, m)
		case err := <-p.Errors():
			if err != nil {
				return nil, err
			}
		case <-timeout:
			return ms, fmt.Errorf("%d of %d records", len(ms), n)
		}
	}
	select {
	case m := <-p.Messages():
		return ms, fmt.Errorf("one more than %d records: %q at %d", n, m.Value, m.Offset)
	case <-time.After(50 * time.Millisecond):
	}
	return ms, nil
}

func (s *saramaRun) roundTrip(topic string, set ...func(*sarama.Config)) error {
	topic, err := s.create(topic, 1, nil)
	if err != nil {
		return err
	}
	const n = 1000
	if err := s.produce(saramaMessages(topic, n), set...); err != nil {
		return err
	}
	ms, err := s.read(topic, sarama.OffsetOldest, n)
	if err != nil {
		return err
	}
	for i, m := range ms {
		if string(m.Value) != fmt.Sprint(i) || m.Offset != int64(i) || !m.Timestamp.Equal(kafkaEpoch.Add(time.Duration(i)*time.Second)) {
			return fmt.Errorf("record %d: %q at %d of %v", i, m.Value, m.Offset, m.Timestamp)
		}
	}
	return nil
}

func (s *saramaRun) headers(context.Context) error {
	topic, err := s.create("headers", 1, nil)
	if err != nil {
		return err
	}
	hs := []sarama.RecordHeader{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("a"), Value: []byte("2")}, {Key: []byte("b"), Value: nil}}
	if err := s.produce([]*sarama.ProducerMessage{
		{Topic: topic, Value: sarama.StringEncoder("v"), Headers: hs},
		{Topic: topic, Key: sarama.StringEncoder("k")},
	}); err != nil {
		return err
	}
	ms, err := s.read(topic, 0, 2)
	if err != nil {
		return err
	}
	if m := ms[0]; m.Key != nil || string(m.Value) != "v" || len(m.Headers) != 3 || string(m.Headers[1].Value) != "2" || m.Headers[2].Value != nil {
		return fmt.Errorf("%+v", m)
	}
	if m := ms[1]; string(m.Key) != "k" || m.Value != nil {
		return fmt.Errorf("%+v", m)
	}
	return nil
}

func (s *saramaRun) tooLarge(context.Context) error {
	topic, err := s.create("large", 1, map[string]*string{"max.message.bytes": ptr("10000")})
	if err != nil {
		return err
	}
	err = s.produce([]*sarama.ProducerMessage{{Topic: topic, Value: sarama.ByteEncoder(make([]byte, 20000))}})
	return wantErr(err, sarama.ErrMessageSizeTooLarge)
}

func (s *saramaRun) autoCreate(ctx context.Context) error {
	topic := s.name("auto")
	if err := retry(ctx, func() error { return s.produce(saramaMessages(topic, 1)) }); err != nil {
		return err
	}
	_, err := s.read(topic, 0, 1)
	return err
}

func (s *saramaRun) fromOffset(context.Context) error {
	topic, err := s.fill("from-offset", 1, 100)
	if err != nil {
		return err
	}
	ms, err := s.read(topic, 60, 40)
	if err == nil && ms[0].Offset != 60 {
		err = fmt.Errorf("begins at %d", ms[0].Offset)
	}
	return err
}

func (s *saramaRun) fromTimestamp(context.Context) error {
	topic, err := s.fill("from-timestamp", 1, 100)
	if err != nil {
		return err
	}
	c, err := sarama.NewClient(s.addrs(), s.config())
	if err != nil {
		return err
	}
	defer c.Close()
	at, err := c.GetOffset(topic, 0, kafkaEpoch.Add(69500*time.Millisecond).UnixMilli())
	if err == nil && at != 70 {
		err = fmt.Errorf("offset %d", at)
	}
	return err
}

func (s *saramaRun) outOfRange(context.Context) error {
	topic, err := s.fill("range", 1, 10)
	if err != nil {
		return err
	}
	_, err = s.read(topic, 1000, 1)
	return wantErr(err, sarama.ErrOffsetOutOfRange)
}

// saramaHandler is a member of a group. It marks and commits each record.
type saramaHandler struct {
	setup  func(sarama.ConsumerGroupSession)
	handle func(sarama.ConsumerGroupSession, *sarama.ConsumerMessage)
}

func (h *saramaHandler) Setup(s sarama.ConsumerGroupSession) error {
	if h.setup != nil {
		h.setup(s)
	}
	return nil
}
func (h *saramaHandler) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h *saramaHandler) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, ok := <-c.Messages():
			if !ok {
				return nil
			}
			if h.handle != nil {
				h.handle(s, m)
			}
		case <-s.Context().Done():
			return nil
		}
	}
}

func (s *saramaRun) resume(ctx context.Context) error {
	topic, err := s.fill("resume", 1, 100)
	if err != nil {
		return err
	}
	// take consumes until it has n records, and commits them.
	take := func(n int) (first int64, err error) {
		g, err := sarama.NewConsumerGroup(s.addrs(), s.name("resume"), s.config(func(c *sarama.Config) { c.Consumer.Offsets.Initial = sarama.OffsetOldest }))
		if err != nil {
			return 0, err
		}
		defer g.Close()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		got := 0
		err = g.Consume(ctx, []string{topic}, &saramaHandler{handle: func(s sarama.ConsumerGroupSession, m *sarama.ConsumerMessage) {
			if got == 0 {
				first = m.Offset
			}
			if got < n {
				s.MarkMessage(m, "")
				got++
			}
			if got == n {
				s.Commit()
				cancel()
			}
		}})
		if got < n {
			return first, fmt.Errorf("%d of %d records: %v", got, n, err)
		}
		return first, nil
	}
	if first, err := take(40); err != nil || first != 0 {
		return fmt.Errorf("begins at %d: %w", first, err)
	}
	if first, err := take(60); err != nil || first != 40 {
		return fmt.Errorf("goes on at %d: %w", first, err)
	}
	return nil
}

// saramaMember is a member of a group that consumes nothing.
type saramaMember struct {
	sarama.ConsumerGroup
	claims     chan int
	generation atomic.Int32
	cancel     context.CancelFunc
	done       chan struct{}
}

func (s *saramaRun) join(group, topic string, set ...func(*sarama.Config)) (*saramaMember, error) {
	g, err := sarama.NewConsumerGroup(s.addrs(), s.name(group), s.config(set...))
	if err != nil {
		return nil, err
	}
	m := &saramaMember{ConsumerGroup: g, claims: make(chan int, 100), done: make(chan struct{})}
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(m.done)
		for ctx.Err() == nil {
			g.Consume(ctx, []string{topic}, &saramaHandler{setup: func(s sarama.ConsumerGroupSession) {
				m.generation.Store(s.GenerationID())
				m.claims <- len(s.Claims()[topic])
			}})
		}
	}()
	return m, nil
}

func (m *saramaMember) Close() {
	m.cancel()
	<-m.done
	m.ConsumerGroup.Close()
}

func (m *saramaMember) await(ctx context.Context, n int) error {
	last := -1
	for {
		select {
		case last = <-m.claims:
			if last == n {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("has %d partitions, want %d: %w", last, n, ctx.Err())
		}
	}
}

func (s *saramaRun) rebalance(ctx context.Context) error {
	topic, err := s.create("rebalance", 4, nil)
	if err != nil {
		return err
	}
	one, err := s.join("eager", topic)
	if err != nil {
		return err
	}
	defer one.Close()
	if err := one.await(ctx, 4); err != nil {
		return err
	}
	two, err := s.join("eager", topic)
	if err != nil {
		return err
	}
	err = errors.Join(one.await(ctx, 2), two.await(ctx, 2))
	two.Close()
	if err != nil {
		return err
	}
	return one.await(ctx, 4)
}

func (s *saramaRun) static(ctx context.Context) error {
	topic, err := s.create("static", 4, nil)
	if err != nil {
		return err
	}
	id := func(id string) func(*sarama.Config) {
		return func(c *sarama.Config) { c.Consumer.Group.InstanceId = id }
	}
	one, err := s.join("static", topic, id("one"))
	if err != nil {
		return err
	}
	defer one.Close()
	if err := one.await(ctx, 4); err != nil {
		return err
	}
	two, err := s.join("static", topic, id("two"))
	if err != nil {
		return err
	}
	err = errors.Join(one.await(ctx, 2), two.await(ctx, 2))
	two.Close()
	if err != nil {
		return err
	}
	generation := one.generation.Load()
	if two, err = s.join("static", topic, id("two")); err != nil {
		return err
	}
	defer two.Close()
	if err := two.await(ctx, 2); err != nil {
		return err
	}
	if now := two.generation.Load(); now != generation {
		return fmt.Errorf("generation %d became %d", generation, now)
	}
	return nil
}

func saramaTransactional(id string) func(*sarama.Config) {
	return func(c *sarama.Config) {
		c.Producer.Idempotent, c.Producer.RequiredAcks, c.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
		c.Producer.Transaction.ID = id
	}
}

func saramaCommitted(c *sarama.Config) { c.Consumer.IsolationLevel = sarama.ReadCommitted }

func (s *saramaRun) transactions(context.Context) error {
	topic, err := s.create("transactions", 1, nil)
	if err != nil {
		return err
	}
	p, err := sarama.NewSyncProducer(s.addrs(), s.config(saramaTransactional(s.name("t"))))
	if err != nil {
		return err
	}
	defer p.Close()
	for i := range 6 {
		if err := p.BeginTxn(); err != nil {
			return err
		}
		for j := range 10 {
			if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprintf("%d.%d", i, j))}); err != nil {
				return err
			}
		}
		end := p.CommitTxn
		if i%2 == 1 {
			end = p.AbortTxn
		}
		if err := end(); err != nil {
			return err
		}
	}
	ms, err := s.read(topic, 0, 30, saramaCommitted)
	if err != nil {
		return err
	}
	for _, m := range ms {
		if (m.Value[0]-'0')%2 != 0 {
			return fmt.Errorf("aborted record %q", m.Value)
		}
	}
	_, err = s.read(topic, 0, 60)
	return err
}

func (s *saramaRun) consumedOffsets(context.Context) error {
	topic, err := s.create("to", 1, nil)
	if err != nil {
		return err
	}
	p, err := sarama.NewSyncProducer(s.addrs(), s.config(saramaTransactional(s.name("eos"))))
	if err != nil {
		return err
	}
	defer p.Close()
	group := s.name("eos")
	for i, end := range []func() error{p.AbortTxn, p.CommitTxn} {
		if err := p.BeginTxn(); err != nil {
			return err
		}
		if _, _, err := p.SendMessage(saramaMessages(topic, 1)[0]); err != nil {
			return err
		}
		if err := p.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{topic: {{Partition: 0, Offset: int64(i + 5)}}}, group); err != nil {
			return err
		}
		if err := end(); err != nil {
			return err
		}
	}
	if _, err := s.read(topic, 0, 1, saramaCommitted); err != nil {
		return err
	}
	return s.with(func(a sarama.ClusterAdmin) error {
		o, err := a.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})
		if err != nil {
			return err
		}
		if b := o.GetBlock(topic, 0); b == nil || b.Offset != 6 {
			return fmt.Errorf("%+v", b)
		}
		return nil
	})
}

func (s *saramaRun) fenced(context.Context) error {
	topic, err := s.create("fenced", 1, nil)
	if err != nil {
		return err
	}
	begin := func() (sarama.SyncProducer, error) {
		p, err := sarama.NewSyncProducer(s.addrs(), s.config(saramaTransactional(s.name("fenced"))))
		if err != nil {
			return nil, err
		}
		if err := p.BeginTxn(); err != nil {
			return p, err
		}
		_, _, err = p.SendMessage(saramaMessages(topic, 1)[0])
		return p, err
	}
	one, err := begin()
	if err != nil {
		return err
	}
	defer one.Close()
	two, err := begin()
	if err != nil {
		return err
	}
	defer two.Close()
	if err := one.CommitTxn(); err == nil {
		return errors.New("the older one can commit")
	}
	if err := two.CommitTxn(); err != nil {
		return err
	}
	_, err = s.read(topic, 0, 1, saramaCommitted)
	return err
}

func (s *saramaRun) topics(ctx context.Context) error {
	topic, err := s.create("topics", 3, map[string]*string{"retention.ms": ptr("100000")})
	if err != nil {
		return err
	}
	return s.with(func(a sarama.ClusterAdmin) error {
		ts, err := a.ListTopics()
		if err != nil {
			return err
		}
		d := ts[topic]
		if v := d.ConfigEntries["retention.ms"]; d.NumPartitions != 3 || d.ReplicationFactor != 1 || v == nil || *v != "100000" {
			return fmt.Errorf("%+v", d)
		}
		if err := a.DeleteTopic(topic); err != nil {
			return err
		}
		return retry(ctx, func() error {
			ts, err := a.ListTopics()
			if _, ok := ts[topic]; err == nil && ok {
				err = errors.New("is there")
			}
			return err
		})
	})
}

func (s *saramaRun) topicErrors(context.Context) error {
	topic, err := s.create("errors", 1, nil)
	if err != nil {
		return err
	}
	_, exists := s.create("errors", 1, nil)
	_, config := s.create("errors-2", 1, map[string]*string{"no.such.config": ptr("1")})
	return s.with(func(a sarama.ClusterAdmin) error {
		return errors.Join(wantErr(exists, sarama.ErrTopicAlreadyExists), wantErr(config, sarama.ErrInvalidConfig),
			wantErr(a.DeleteTopic(topic+"-none"), sarama.ErrUnknownTopicOrPartition))
	})
}

func (s *saramaRun) partitions(ctx context.Context) error {
	topic, err := s.create("partitions", 1, nil)
	if err != nil {
		return err
	}
	return s.with(func(a sarama.ClusterAdmin) error {
		if err := a.CreatePartitions(topic, 3, nil, false); err != nil {
			return err
		}
		return retry(ctx, func() error {
			ds, err := a.DescribeTopics([]string{topic})
			if err == nil && len(ds[0].Partitions) != 3 {
				err = fmt.Errorf("%d partitions", len(ds[0].Partitions))
			}
			return err
		})
	})
}

// saramaConfigs describes a config of a topic or broker.
func saramaConfigs(a sarama.ClusterAdmin, t sarama.ConfigResourceType, name, key string) ([]sarama.ConfigEntry, error) {
	rs, err := a.DescribeConfigs([]*sarama.ConfigResource{{Type: t, Name: name, ConfigNames: []string{key}}}, sarama.DescribeConfigsOptions{})
	if err != nil {
		return nil, err
	}
	if len(rs) != 1 || rs[0].ErrorCode != sarama.ErrNoError {
		return nil, fmt.Errorf("%+v", rs)
	}
	return rs[0].Configs, nil
}

func (s *saramaRun) configs(ctx context.Context) error {
	topic, err := s.create("configs", 1, nil)
	if err != nil {
		return err
	}
	return s.with(func(a sarama.ClusterAdmin) error {
		expect := func(want string) error {
			return retry(ctx, func() error {
				cs, err := saramaConfigs(a, sarama.TopicResource, topic, "retention.ms")
				if err == nil && (len(cs) != 1 || cs[0].Value != want) {
					err = fmt.Errorf("%+v, want %s", cs, want)
				}
				return err
			})
		}
		if err := a.AlterConfig(sarama.TopicResource, topic, map[string]*string{"retention.ms": ptr("1000")}, false); err != nil {
			return err
		}
		if err := expect("1000"); err != nil {
			return err
		}
		if err := a.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
			"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationDelete}}, false); err != nil {
			return err
		}
		return expect("604800000")
	})
}

func (s *saramaRun) brokerConfigs(context.Context) error {
	return s.with(func(a sarama.ClusterAdmin) error {
		_, id, err := a.DescribeCluster()
		if err != nil {
			return err
		}
		cs, err := saramaConfigs(a, sarama.BrokerResource, fmt.Sprint(id), "message.max.bytes")
		if err == nil && (len(cs) != 1 || cs[0].Value == "") {
			err = fmt.Errorf("%+v", cs)
		}
		return err
	})
}

func (s *saramaRun) cluster(context.Context) error {
	return s.with(func(a sarama.ClusterAdmin) error {
		bs, controller, err := a.DescribeCluster()
		if err == nil && (len(bs) != 1 || bs[0].ID() != controller || bs[0].Addr() != s.open.Kafka) {
			err = fmt.Errorf("%d brokers, controller %d", len(bs), controller)
		}
		return err
	})
}

func (s *saramaRun) deleteRecords(context.Context) error {
	topic, err := s.fill("delete", 1, 100)
	if err != nil {
		return err
	}
	if err := s.with(func(a sarama.ClusterAdmin) error { return a.DeleteRecords(topic, map[int32]int64{0: 70}) }); err != nil {
		return err
	}
	ms, err := s.read(topic, sarama.OffsetOldest, 30)
	if err == nil && ms[0].Offset != 70 {
		err = fmt.Errorf("begins at %d", ms[0].Offset)
	}
	return err
}

func (s *saramaRun) groups(ctx context.Context) error {
	topic, err := s.create("groups", 2, nil)
	if err != nil {
		return err
	}
	m, err := s.join("groups", topic)
	if err != nil {
		return err
	}
	if err := m.await(ctx, 2); err != nil {
		m.Close()
		return err
	}
	group := s.name("groups")
	return s.with(func(a sarama.ClusterAdmin) error {
		list, err1 := a.ListConsumerGroups()
		ds, err2 := a.DescribeConsumerGroups([]string{group})
		m.Close()
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if d := ds[0]; list[group] != "consumer" || d.State != "Stable" || len(d.Members) != 1 {
			return fmt.Errorf("%+v", d)
		}
		return a.DeleteConsumerGroup(group)
	})
}

func (s *saramaRun) groupOffsets(context.Context) error {
	topic, err := s.create("group-offsets", 1, nil)
	if err != nil {
		return err
	}
	group := s.name("group-offsets")
	c, err := sarama.NewClient(s.addrs(), s.config())
	if err != nil {
		return err
	}
	defer c.Close()
	om, err := sarama.NewOffsetManagerFromClient(group, c)
	if err != nil {
		return err
	}
	p, err := om.ManagePartition(topic, 0)
	if err != nil {
		return err
	}
	if at, _ := p.NextOffset(); at != sarama.OffsetNewest {
		return fmt.Errorf("an unknown group is at %d", at)
	}
	p.MarkOffset(7, "note")
	om.Commit()
	p.AsyncClose()
	if err := om.Close(); err != nil {
		return err
	}
	return s.with(func(a sarama.ClusterAdmin) error {
		expect := func(want int64) error {
			o, err := a.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})
			if err != nil {
				return err
			}
			if b := o.GetBlock(topic, 0); b == nil || b.Offset != want || b.Err != sarama.ErrNoError {
				return fmt.Errorf("%+v, want %d", b, want)
			}
			return nil
		}
		if err := expect(7); err != nil {
			return err
		}
		if err := a.DeleteConsumerGroupOffset(group, topic, 0); err != nil {
			return err
		}
		return expect(-1)
	})
}

func (s *saramaRun) acls(ctx context.Context) error {
	a, err := sarama.NewClusterAdmin([]string{s.closed.Kafka}, s.config(saramaLogin(sarama.SASLTypePlaintext, peer.User, peer.Password)))
	if err != nil {
		return err
	}
	defer a.Close()
	return func() error {
		name := s.name("acl")
		r := sarama.Resource{ResourceType: sarama.AclResourceTopic, ResourceName: name, ResourcePatternType: sarama.AclPatternLiteral}
		if err := a.CreateACLs([]*sarama.ResourceAcls{{Resource: r, Acls: []*sarama.Acl{
			{Principal: "User:x", Host: "*", Operation: sarama.AclOperationRead, PermissionType: sarama.AclPermissionDeny}}}}); err != nil {
			return err
		}
		f := sarama.AclFilter{ResourceType: sarama.AclResourceTopic, ResourceName: &name, ResourcePatternTypeFilter: sarama.AclPatternAny, Operation: sarama.AclOperationAny, PermissionType: sarama.AclPermissionAny}
		if err := retry(ctx, func() error {
			found, err := a.ListAcls(f)
			if err == nil && (len(found) != 1 || len(found[0].Acls) != 1 || found[0].Acls[0].Principal != "User:x") {
				err = fmt.Errorf("%+v", found)
			}
			return err
		}); err != nil {
			return err
		}
		deleted, err := a.DeleteACL(f, false)
		if err == nil && len(deleted) != 1 {
			err = fmt.Errorf("%+v", deleted)
		}
		return err
	}()
}

func (s *saramaRun) scramUsers(ctx context.Context) error {
	user := s.name("scram")
	return s.with(func(a sarama.ClusterAdmin) error {
		if _, err := a.UpsertUserScramCredentials([]sarama.AlterUserScramCredentialsUpsert{{Name: user, Mechanism: sarama.SCRAM_MECHANISM_SHA_512, Iterations: 5000, Salt: []byte("salt"), Password: []byte("x")}}); err != nil {
			return err
		}
		if err := retry(ctx, func() error {
			ds, err := a.DescribeUserScramCredentials([]string{user})
			if err == nil && (len(ds[0].CredentialInfos) != 1 || ds[0].CredentialInfos[0].Iterations != 5000) {
				err = fmt.Errorf("%+v", ds[0])
			}
			return err
		}); err != nil {
			return err
		}
		_, err := a.DeleteUserScramCredentials([]sarama.AlterUserScramCredentialsDelete{{Name: user, Mechanism: sarama.SCRAM_MECHANISM_SHA_512}})
		return err
	})
}

func (s *saramaRun) producers(context.Context) error {
	topic, err := s.fill("producers", 1, 1)
	if err != nil {
		return err
	}
	if err := s.produce(saramaMessages(topic, 5), func(c *sarama.Config) {
		c.Producer.Idempotent, c.Producer.RequiredAcks, c.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
	}); err != nil {
		return err
	}
	c, err := sarama.NewClient(s.addrs(), s.config())
	if err != nil {
		return err
	}
	defer c.Close()
	b, err := c.Leader(topic, 0)
	if err != nil {
		return err
	}
	r, err := b.DescribeProducers(&sarama.DescribeProducersRequest{Topics: []sarama.DescribeProducersRequestTopic{{Name: topic, PartitionIndexes: []int32{0}}}})
	if err != nil {
		return err
	}
	if p := r.Topics[0].Partitions[0]; len(p.ActiveProducers) != 1 || p.ActiveProducers[0].LastSequence != 4 {
		return fmt.Errorf("%+v", p)
	}
	return nil
}

func (s *saramaRun) logDirs(context.Context) error {
	topic, err := s.fill("dirs", 1, 10)
	if err != nil {
		return err
	}
	return s.with(func(a sarama.ClusterAdmin) error {
		bs, _, err := a.DescribeCluster()
		if err != nil {
			return err
		}
		ds, err := a.DescribeLogDirs([]int32{bs[0].ID()})
		if err != nil {
			return err
		}
		for _, d := range ds[bs[0].ID()] {
			for _, t := range d.Topics {
				if t.Topic == topic && t.Partitions[0].Size > 0 {
					return nil
				}
			}
		}
		return fmt.Errorf("not there: %+v", ds)
	})
}

// saramaSCRAM is what sarama wants its users to write.
type saramaSCRAM struct {
	hash scram.HashGeneratorFcn
	*scram.ClientConversation
}

func (x *saramaSCRAM) Begin(user, password, authzID string) error {
	c, err := x.hash.NewClient(user, password, authzID)
	if err == nil {
		x.ClientConversation = c.NewConversation()
	}
	return err
}

func saramaLogin(mechanism sarama.SASLMechanism, user, password string) func(*sarama.Config) {
	return func(c *sarama.Config) {
		c.Net.SASL.Enable, c.Net.SASL.Mechanism, c.Net.SASL.User, c.Net.SASL.Password = true, mechanism, user, password
		c.Metadata.Retry.Max = 0
		switch mechanism {
		case sarama.SASLTypeSCRAMSHA256:
			c.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &saramaSCRAM{hash: sha256.New} }
		case sarama.SASLTypeSCRAMSHA512:
			c.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &saramaSCRAM{hash: sha512.New} }
		}
	}
}

func (s *saramaRun) security() {
	ping := func(addr string, set ...func(*sarama.Config)) error {
		a, err := sarama.NewClusterAdmin([]string{addr}, s.config(set...))
		if err != nil {
			return err
		}
		defer a.Close()
		_, err = a.ListTopics()
		return err
	}
	good := saramaLogin(sarama.SASLTypePlaintext, peer.User, peer.Password)
	s.check("security: SASL PLAIN", func(context.Context) error { return ping(s.closed.Kafka, good) })
	s.check("security: wrong password", func(context.Context) error {
		return wantErr(ping(s.closed.Kafka, saramaLogin(sarama.SASLTypePlaintext, peer.User, "wrong")), sarama.ErrSASLAuthenticationFailed)
	})
	for name, m := range map[string]sarama.ScramMechanismType{sarama.SASLTypeSCRAMSHA256: sarama.SCRAM_MECHANISM_SHA_256, sarama.SASLTypeSCRAMSHA512: sarama.SCRAM_MECHANISM_SHA_512} {
		s.check("security: "+name, func(ctx context.Context) error {
			user := s.name(name)
			a, err := sarama.NewClusterAdmin([]string{s.closed.Kafka}, s.config(good))
			if err != nil {
				return err
			}
			defer a.Close()
			if _, err := a.UpsertUserScramCredentials([]sarama.AlterUserScramCredentialsUpsert{{Name: user, Mechanism: m, Iterations: 4096, Salt: []byte("salt"), Password: []byte("secret")}}); err != nil {
				return err
			}
			if err := retry(ctx, func() error { return ping(s.closed.Kafka, saramaLogin(sarama.SASLMechanism(name), user, "secret")) }); err != nil {
				return err
			}
			return wantErr(ping(s.closed.Kafka, saramaLogin(sarama.SASLMechanism(name), user, "wrong")), sarama.ErrSASLAuthenticationFailed)
		})
	}
	secure := func(p *peer.Proc) func(*sarama.Config) {
		return func(c *sarama.Config) {
			c.Net.TLS.Enable = true
			c.Net.TLS.Config, _ = tlsOf(p)
		}
	}
	s.check("security: TLS", func(context.Context) error { return ping(s.open.Kafkas, secure(s.open)) })
	s.check("security: SASL over TLS", func(context.Context) error { return ping(s.closed.Kafkas, secure(s.closed), good) })
}
