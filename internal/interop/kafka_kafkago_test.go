package interop

import (
	"cmp"
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// kafkaGoClient is segmentio/kafka-go.
var kafkaGoClient = kafkaClient{
	name:    "kafka-go",
	version: func() string { return goVersion("github.com/segmentio/kafka-go") },
	run: func(r *kafkaRun) {
		k := &kafkaGo{r, &kafka.Client{Addr: kafka.TCP(r.open.Kafka), Timeout: 2 * time.Minute}}
		for _, a := range []struct {
			name string
			acks kafka.RequiredAcks
		}{{"0", kafka.RequireNone}, {"1", kafka.RequireOne}, {"all", kafka.RequireAll}} {
			r.check("produce: acks="+a.name, func(ctx context.Context) error {
				return k.roundTrip(ctx, "acks-"+a.name, func(w *kafka.Writer) { w.RequiredAcks = a.acks })
			})
		}
		for _, c := range []kafka.Compression{kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
			r.check("produce: "+c.String(), func(ctx context.Context) error {
				return k.roundTrip(ctx, c.String(), func(w *kafka.Writer) { w.Compression = c })
			})
		}
		r.check("produce: headers, null keys and values", k.headers)
		r.check("produce: too large is refused", k.tooLarge)
		r.check("produce: the topic comes into being", k.autoCreate)
		r.check("consume: from an offset", k.fromOffset)
		r.check("consume: from a timestamp", k.fromTimestamp)
		r.check("consume: out of range", k.outOfRange)
		r.check("group: commit and resume", k.resume)
		r.check("group: rebalance, eager", k.rebalance)
		r.check("admin: topics", k.topics)
		r.check("admin: errors of topics", k.topicErrors)
		r.check("admin: partitions", k.partitions)
		r.check("admin: configs of topics", k.configs)
		r.check("admin: cluster", k.cluster)
		r.check("admin: offsets", k.offsets)
		r.check("admin: groups", k.groups)
		r.check("admin: offsets of groups", k.groupOffsets)
		r.check("admin: ACLs", k.acls)
		r.check("admin: SCRAM users", k.scramUsers)
		k.security()
	},
}

// kafkaGo does things with kafka-go.
type kafkaGo struct {
	*kafkaRun
	c *kafka.Client
}

func (k *kafkaGo) create(ctx context.Context, topic string, partitions int, configs ...kafka.ConfigEntry) (string, error) {
	topic = k.name(topic)
	r, err := k.c.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: configs}}})
	if err != nil || r.Errors[topic] != nil {
		return topic, either(err, func() error { return r.Errors[topic] })
	}
	return topic, retry(ctx, func() error {
		m, err := k.c.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
		if err == nil {
			err = m.Topics[0].Error
		}
		return err
	})
}

func kafkaGoMessages(n int) (ms []kafka.Message) {
	for i := range n {
		ms = append(ms, kafka.Message{Key: fmt.Append(nil, i), Value: fmt.Append(nil, i), Time: kafkaEpoch.Add(time.Duration(i) * time.Second)})
	}
	return ms
}

func (k *kafkaGo) produce(ctx context.Context, topic string, ms []kafka.Message, set ...func(*kafka.Writer)) error {
	w := &kafka.Writer{Addr: k.c.Addr, Topic: topic, BatchSize: len(ms), BatchTimeout: 10 * time.Millisecond, WriteTimeout: time.Minute, ReadTimeout: time.Minute, RequiredAcks: kafka.RequireAll, Balancer: &kafka.RoundRobin{}}
	for _, f := range set {
		f(w)
	}
	err := w.WriteMessages(ctx, ms...)
	if es := kafka.WriteErrors(nil); errors.As(err, &es) {
		err = errors.Join(es...)
	}
	return errors.Join(err, w.Close())
}

func (k *kafkaGo) fill(ctx context.Context, topic string, partitions, n int) (string, error) {
	topic, err := k.create(ctx, topic, partitions)
	if err != nil {
		return "", err
	}
	return topic, k.produce(ctx, topic, kafkaGoMessages(n))
}

func (k *kafkaGo) reader(c kafka.ReaderConfig) *kafka.Reader {
	c.Brokers, c.MaxWait = []string{k.open.Kafka}, 100*time.Millisecond
	c.HeartbeatInterval, c.SessionTimeout, c.RebalanceTimeout = 200*time.Millisecond, time.Minute, time.Minute
	return kafka.NewReader(c)
}

// read reads n records of partition 0 from an offset.
func (k *kafkaGo) read(ctx context.Context, topic string, from int64, n int) (ms []kafka.Message, err error) {
	r := k.reader(kafka.ReaderConfig{Topic: topic})
	defer r.Close()
	if err := r.SetOffset(from); err != nil {
		return nil, err
	}
	for len(ms) < n {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return ms, fmt.Errorf("%d of %d records: %w", len(ms), n, err)
		}
		ms = append(ms, m)
	}
	return ms, nil
}

func (k *kafkaGo) roundTrip(ctx context.Context, topic string, set func(*kafka.Writer)) error {
	topic, err := k.create(ctx, topic, 1)
	if err != nil {
		return err
	}
	const n = 1000
	if err := k.produce(ctx, topic, kafkaGoMessages(n), set); err != nil {
		return err
	}
	ms, err := k.read(ctx, topic, kafka.FirstOffset, n)
	if err != nil {
		return err
	}
	for i, m := range ms {
		if string(m.Value) != fmt.Sprint(i) || m.Offset != int64(i) || !m.Time.Equal(kafkaEpoch.Add(time.Duration(i)*time.Second)) {
			return fmt.Errorf("record %d: %q at %d of %v", i, m.Value, m.Offset, m.Time)
		}
	}
	return nil
}

func (k *kafkaGo) headers(ctx context.Context) error {
	topic, err := k.create(ctx, "headers", 1)
	if err != nil {
		return err
	}
	if err := k.produce(ctx, topic, []kafka.Message{
		{Value: []byte("v"), Headers: []kafka.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}}},
		{Key: []byte("k")},
	}); err != nil {
		return err
	}
	ms, err := k.read(ctx, topic, 0, 2)
	if err != nil {
		return err
	}
	if m := ms[0]; m.Key != nil || string(m.Value) != "v" || len(m.Headers) != 2 || string(m.Headers[1].Value) != "2" {
		return fmt.Errorf("%+v", m)
	}
	if m := ms[1]; string(m.Key) != "k" || m.Value != nil {
		return fmt.Errorf("%+v", m)
	}
	return nil
}

func (k *kafkaGo) tooLarge(ctx context.Context) error {
	topic, err := k.create(ctx, "large", 1, kafka.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: "10000"})
	if err != nil {
		return err
	}
	return wantErr(k.produce(ctx, topic, []kafka.Message{{Value: make([]byte, 20000)}}), kafka.MessageSizeTooLarge)
}

func (k *kafkaGo) autoCreate(ctx context.Context) error {
	topic := k.name("auto")
	if err := retry(ctx, func() error {
		return k.produce(ctx, topic, kafkaGoMessages(1), func(w *kafka.Writer) { w.AllowAutoTopicCreation = true })
	}); err != nil {
		return err
	}
	_, err := k.read(ctx, topic, 0, 1)
	return err
}

func (k *kafkaGo) fromOffset(ctx context.Context) error {
	topic, err := k.fill(ctx, "from-offset", 1, 100)
	if err != nil {
		return err
	}
	ms, err := k.read(ctx, topic, 60, 40)
	if err == nil && ms[0].Offset != 60 {
		err = fmt.Errorf("begins at %d", ms[0].Offset)
	}
	return err
}

func (k *kafkaGo) fromTimestamp(ctx context.Context) error {
	topic, err := k.fill(ctx, "from-timestamp", 1, 100)
	if err != nil {
		return err
	}
	r := k.reader(kafka.ReaderConfig{Topic: topic})
	defer r.Close()
	if err := r.SetOffsetAt(ctx, kafkaEpoch.Add(69500*time.Millisecond)); err != nil {
		return err
	}
	m, err := r.ReadMessage(ctx)
	if err == nil && m.Offset != 70 {
		err = fmt.Errorf("begins at %d", m.Offset)
	}
	return err
}

func (k *kafkaGo) outOfRange(ctx context.Context) error {
	topic, err := k.fill(ctx, "range", 1, 10)
	if err != nil {
		return err
	}
	r, err := k.c.Fetch(ctx, &kafka.FetchRequest{Topic: topic, Offset: 1000, MinBytes: 1, MaxBytes: 1000, MaxWait: time.Second})
	if err == nil {
		err = r.Error
	}
	return wantErr(err, kafka.OffsetOutOfRange)
}

func (k *kafkaGo) resume(ctx context.Context) error {
	topic, err := k.fill(ctx, "resume", 1, 100)
	if err != nil {
		return err
	}
	take := func(first int64, n int) error {
		r := k.reader(kafka.ReaderConfig{GroupID: k.name("resume"), GroupTopics: []string{topic}, StartOffset: kafka.FirstOffset})
		defer r.Close()
		for i := range n {
			m, err := r.FetchMessage(ctx)
			if err != nil {
				return fmt.Errorf("%d of %d records: %w", i, n, err)
			}
			if m.Offset != first+int64(i) {
				return fmt.Errorf("offset %d, want %d", m.Offset, first+int64(i))
			}
			if i == n-1 {
				if err := r.CommitMessages(ctx, m); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return errors.Join(take(0, 40), take(40, 60))
}

// rebalance lets two members join and checks that both get records.
func (k *kafkaGo) rebalance(ctx context.Context) error {
	topic, err := k.create(ctx, "rebalance", 4)
	if err != nil {
		return err
	}
	group := func(ctx context.Context) (*kafka.ConsumerGroup, error) {
		return kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{ID: k.name("eager"), Brokers: []string{k.open.Kafka}, Topics: []string{topic},
			HeartbeatInterval: 200 * time.Millisecond, SessionTimeout: time.Minute, RebalanceTimeout: time.Minute, Timeout: time.Minute})
	}
	// next waits for a generation with n partitions.
	next := func(g *kafka.ConsumerGroup, n int) error {
		for {
			gen, err := g.Next(ctx)
			if errors.Is(err, kafka.RebalanceInProgress) {
				continue
			}
			if err != nil {
				return err
			}
			gen.Start(func(ctx context.Context) { <-ctx.Done() })
			if len(gen.Assignments[topic]) == n {
				return nil
			}
		}
	}
	one, err := group(ctx)
	if err != nil {
		return err
	}
	defer one.Close()
	if err := next(one, 4); err != nil {
		return fmt.Errorf("alone: %w", err)
	}
	two, err := group(ctx)
	if err != nil {
		return err
	}
	errs := make(chan error, 1)
	go func() { errs <- next(two, 2) }()
	err = errors.Join(next(one, 2), <-errs)
	two.Close()
	if err != nil {
		return fmt.Errorf("two: %w", err)
	}
	return next(one, 4)
}

func (k *kafkaGo) topics(ctx context.Context) error {
	topic, err := k.create(ctx, "topics", 3)
	if err != nil {
		return err
	}
	m, err := k.c.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	if t := m.Topics[0]; t.Error != nil || len(t.Partitions) != 3 || t.Partitions[0].Leader.Host == "" {
		return fmt.Errorf("%+v", t)
	}
	r, err := k.c.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	return either(err, func() error { return r.Errors[topic] })
}

func (k *kafkaGo) topicErrors(ctx context.Context) error {
	topic, err := k.create(ctx, "errors", 1)
	if err != nil {
		return err
	}
	_, exists := k.create(ctx, "errors", 1)
	_, name := k.create(ctx, "errors/", 1)
	_, config := k.create(ctx, "errors-2", 1, kafka.ConfigEntry{ConfigName: "no.such.config", ConfigValue: "1"})
	r, err := k.c.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic + "-none"}})
	if err != nil {
		return err
	}
	return errors.Join(wantErr(exists, kafka.TopicAlreadyExists), wantErr(name, kafka.InvalidTopic), wantErr(config, kafka.InvalidConfiguration),
		wantErr(r.Errors[topic+"-none"], kafka.UnknownTopicOrPartition))
}

func (k *kafkaGo) partitions(ctx context.Context) error {
	topic, err := k.create(ctx, "partitions", 1)
	if err != nil {
		return err
	}
	r, err := k.c.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 3}}})
	if err != nil || r.Errors[topic] != nil {
		return either(err, func() error { return r.Errors[topic] })
	}
	return retry(ctx, func() error {
		m, err := k.c.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
		if err == nil && len(m.Topics[0].Partitions) != 3 {
			err = fmt.Errorf("%+v", m.Topics[0])
		}
		return err
	})
}

func (k *kafkaGo) configs(ctx context.Context) error {
	topic, err := k.create(ctx, "configs", 1)
	if err != nil {
		return err
	}
	r, err := k.c.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
		Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: "1000", ConfigOperation: kafka.ConfigOperationSet}},
	}}})
	if err != nil || r.Resources[0].Error != nil {
		return either(err, func() error { return r.Resources[0].Error })
	}
	return retry(ctx, func() error {
		d, err := k.c.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{"retention.ms"}}}})
		if err != nil {
			return err
		}
		if c := d.Resources[0].ConfigEntries; len(c) != 1 || c[0].ConfigValue != "1000" {
			return fmt.Errorf("%+v", d.Resources[0])
		}
		return nil
	})
}

func (k *kafkaGo) cluster(ctx context.Context) error {
	m, err := k.c.Metadata(ctx, &kafka.MetadataRequest{})
	if err == nil && (len(m.Brokers) != 1 || m.ClusterID == "" || m.Controller.ID != m.Brokers[0].ID) {
		err = fmt.Errorf("%+v", m)
	}
	if err != nil {
		return err
	}
	v, err := k.c.ApiVersions(ctx, &kafka.ApiVersionsRequest{})
	if err == nil {
		err = v.Error
	}
	return err
}

func (k *kafkaGo) offsets(ctx context.Context) error {
	topic, err := k.fill(ctx, "offsets", 1, 100)
	if err != nil {
		return err
	}
	r, err := k.c.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {kafka.FirstOffsetOf(0), kafka.LastOffsetOf(0), kafka.TimeOffsetOf(0, kafkaEpoch.Add(50*time.Second))}}})
	if err != nil {
		return err
	}
	if p := r.Topics[topic][0]; p.Error != nil || p.FirstOffset != 0 || p.LastOffset != 100 || len(p.Offsets) == 0 {
		return fmt.Errorf("%+v", p)
	}
	return nil
}

func (k *kafkaGo) groups(ctx context.Context) error {
	topic, err := k.fill(ctx, "groups", 1, 1)
	if err != nil {
		return err
	}
	group := k.name("groups")
	r := k.reader(kafka.ReaderConfig{GroupID: group, GroupTopics: []string{topic}, StartOffset: kafka.FirstOffset})
	if _, err := r.ReadMessage(ctx); err != nil {
		return err
	}
	list, err1 := k.c.ListGroups(ctx, &kafka.ListGroupsRequest{})
	d, err2 := k.c.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	r.Close()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if !slices.ContainsFunc(list.Groups, func(g kafka.ListGroupsResponseGroup) bool { return g.GroupID == group }) {
		return fmt.Errorf("%+v", list.Groups)
	}
	if g := d.Groups[0]; g.GroupState != "Stable" || len(g.Members) != 1 {
		return fmt.Errorf("%+v", g)
	}
	x, err := k.c.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
	return either(err, func() error { return x.Errors[group] })
}

func (k *kafkaGo) groupOffsets(ctx context.Context) error {
	topic, err := k.create(ctx, "group-offsets", 1)
	if err != nil {
		return err
	}
	group := k.name("group-offsets")
	fetch := func() (int64, error) {
		r, err := k.c.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0}}})
		if err != nil {
			return 0, err
		}
		return r.Topics[topic][0].CommittedOffset, cmp.Or(r.Error, r.Topics[topic][0].Error)
	}
	if at, err := fetch(); err != nil || at != -1 {
		return fmt.Errorf("an unknown group is at %d: %w", at, err)
	}
	r, err := k.c.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: 5}}}})
	if err != nil || r.Topics[topic][0].Error != nil {
		return fmt.Errorf("commit: %w", either(err, func() error { return r.Topics[topic][0].Error }))
	}
	if at, err := fetch(); err != nil || at != 5 {
		return fmt.Errorf("committed %d: %w", at, err)
	}
	d, err := k.c.OffsetDelete(ctx, &kafka.OffsetDeleteRequest{GroupID: group, Topics: map[string][]int{topic: {0}}})
	if err != nil || d.Error != nil {
		return either(err, func() error { return d.Error })
	}
	if at, err := fetch(); err != nil || at != -1 {
		return fmt.Errorf("deleted, but at %d: %w", at, err)
	}
	return nil
}

func (k *kafkaGo) acls(ctx context.Context) error {
	name := k.name("acl")
	c := kafkaGoLogin(k.closed.Kafka, plain.Mechanism{Username: peer.User, Password: peer.Password}, nil)
	r, err := c.CreateACLs(ctx, &kafka.CreateACLsRequest{ACLs: []kafka.ACLEntry{{ResourceType: kafka.ResourceTypeTopic, ResourceName: name, ResourcePatternType: kafka.PatternTypeLiteral,
		Principal: "User:x", Host: "*", Operation: kafka.ACLOperationTypeRead, PermissionType: kafka.ACLPermissionTypeAllow}}})
	if err != nil || r.Errors[0] != nil {
		return either(err, func() error { return r.Errors[0] })
	}
	return retry(ctx, func() error {
		d, err := c.DescribeACLs(ctx, &kafka.DescribeACLsRequest{Filter: kafka.ACLFilter{ResourceTypeFilter: kafka.ResourceTypeTopic, ResourceNameFilter: name,
			ResourcePatternTypeFilter: kafka.PatternTypeAny, Operation: kafka.ACLOperationTypeAny, PermissionType: kafka.ACLPermissionTypeAny}})
		if err == nil && (len(d.Resources) != 1 || len(d.Resources[0].ACLs) != 1) {
			err = fmt.Errorf("%+v", d)
		}
		return err
	})
}

func (k *kafkaGo) scramUsers(ctx context.Context) error {
	return k.scramUser(ctx, k.c, k.name("scram"), kafka.ScramMechanismSha256)
}

// scramUser makes a user whose password is "secret". kafka-go wants the salted password.
func (k *kafkaGo) scramUser(ctx context.Context, c *kafka.Client, user string, m kafka.ScramMechanism) error {
	salt := []byte("some salt")
	r, err := c.AlterUserScramCredentials(ctx, &kafka.AlterUserScramCredentialsRequest{Upsertions: []kafka.UserScramCredentialsUpsertion{{
		Name: user, Mechanism: m, Iterations: 4096, Salt: salt, SaltedPassword: saltedPassword(m == kafka.ScramMechanismSha512, "secret", salt, 4096)}}})
	if err != nil || r.Results[0].Error != nil {
		return either(err, func() error { return r.Results[0].Error })
	}
	return retry(ctx, func() error {
		d, err := c.DescribeUserScramCredentials(ctx, &kafka.DescribeUserScramCredentialsRequest{Users: []kafka.UserScramCredentialsUser{{Name: user}}})
		if err == nil && (len(d.Results) != 1 || len(d.Results[0].CredentialInfos) != 1) {
			err = fmt.Errorf("%+v", d)
		}
		return err
	})
}

func kafkaGoLogin(addr string, m sasl.Mechanism, p *peer.Proc) *kafka.Client {
	tr := &kafka.Transport{SASL: m, DialTimeout: time.Minute}
	if p != nil {
		tr.TLS, _ = tlsOf(p)
	}
	return &kafka.Client{Addr: kafka.TCP(addr), Transport: tr, Timeout: 2 * time.Minute}
}

func (k *kafkaGo) security() {
	client := kafkaGoLogin
	ping := func(ctx context.Context, c *kafka.Client) error {
		_, err := c.Metadata(ctx, &kafka.MetadataRequest{})
		return err
	}
	good := plain.Mechanism{Username: peer.User, Password: peer.Password}
	k.check("security: SASL PLAIN", func(ctx context.Context) error { return ping(ctx, client(k.closed.Kafka, good, nil)) })
	k.check("security: wrong password", func(ctx context.Context) error {
		return wantErr(ping(ctx, client(k.closed.Kafka, plain.Mechanism{Username: peer.User, Password: "wrong"}, nil)), kafka.SASLAuthenticationFailed)
	})
	for _, m := range []struct {
		name      string
		mechanism kafka.ScramMechanism
		algo      scram.Algorithm
	}{{"SCRAM-SHA-256", kafka.ScramMechanismSha256, scram.SHA256}, {"SCRAM-SHA-512", kafka.ScramMechanismSha512, scram.SHA512}} {
		k.check("security: "+m.name, func(ctx context.Context) error {
			user := k.name(m.name)
			if err := k.scramUser(ctx, client(k.closed.Kafka, good, nil), user, m.mechanism); err != nil {
				return err
			}
			right, err := scram.Mechanism(m.algo, user, "secret")
			if err != nil {
				return err
			}
			if err := retry(ctx, func() error { return ping(ctx, client(k.closed.Kafka, right, nil)) }); err != nil {
				return err
			}
			wrong, _ := scram.Mechanism(m.algo, user, "wrong")
			return wantErr(ping(ctx, client(k.closed.Kafka, wrong, nil)), kafka.SASLAuthenticationFailed)
		})
	}
	k.check("security: TLS", func(ctx context.Context) error { return ping(ctx, client(k.open.Kafkas, nil, k.open)) })
	k.check("security: SASL over TLS", func(ctx context.Context) error { return ping(ctx, client(k.closed.Kafkas, good, k.closed)) })
}

// either returns err, or else what f returns.
func either(err error, f func() error) error {
	if err != nil {
		return err
	}
	return f()
}

// saltedPassword returns what SCRAM calls SaltedPassword.
func saltedPassword(long bool, password string, salt []byte, iterations int) []byte {
	h := sha256.New
	if long {
		h = sha512.New
	}
	key, err := pbkdf2.Key(h, password, salt, iterations, h().Size())
	if err != nil {
		panic(err)
	}
	return key
}
