package interop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// kafkaTools are the console tools of Apache Kafka: the classes behind its scripts.
var kafkaTools = kafkaClient{
	name:    "console tools",
	version: kafkaJarVersion,
	need:    []string{"java", kafkaJars},
	run: func(r *kafkaRun) {
		k := &toolRun{kafkaRun: r, addr: r.open.Kafka}
		r.check("tool: kafka-topics", k.topics)
		r.check("tool: kafka-console-producer and -consumer", k.console)
		r.check("tool: kafka-consumer-groups", k.groups)
		r.check("tool: kafka-configs", k.configs)
		r.check("tool: kafka-acls", k.acls)
		r.check("tool: kafka-get-offsets", k.getOffsets)
		r.check("tool: kafka-delete-records", k.deleteRecords)
		r.check("tool: kafka-transactions", k.transactions)
		r.check("tool: kafka-producer-perf-test", k.producerPerformance)
		r.check("tool: kafka-consumer-perf-test", k.consumerPerformance)
		r.check("tool: kafka-verifiable-producer and -consumer", k.verifiable)
		r.check("tool: kafka-broker-api-versions", k.apiVersions)
		r.check("tool: kafka-cluster", k.cluster)
		r.check("tool: kafka-log-dirs", k.logDirs)
		r.check("tool: kafka-groups", k.listGroups)
		r.check("tool: kafka-features", k.features)
		r.check("tool: kafka-leader-election", k.leaderElection)
		r.check("tool: kafka-reassign-partitions", k.reassign)
		r.check("tool: kafka-metadata-quorum", k.quorum)
	},
}

type toolRun struct {
	*kafkaRun
	addr string
	more []string // arguments
}

// run runs a tool with lines for its input and returns what it prints. Tools say what went wrong in words, so an error on the
// output counts.
func (k *toolRun) run(ctx context.Context, input, class string, args ...string) (string, error) {
	server := append([]string{"--bootstrap-server", k.addr}, k.more...)
	if class == "ClusterTool" {
		args = append(args, server...)
	} else {
		args = append(server, args...)
	}
	args = append([]string{"-cp", kafkaPath, "org.apache.kafka.tools." + class}, args...)
	cmd := javaCommand(ctx, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = time.Second
	b, err := cmd.CombinedOutput()
	out := string(b)
	if err != nil || strings.Contains(out, "Exception") && !strings.Contains(out, "TimeoutException") {
		return out, fmt.Errorf("%s: %v: %s", class, err, out)
	}
	return out, nil
}

// says runs a tool and looks for what it is to print: regular expressions.
func (k *toolRun) says(ctx context.Context, class string, args []string, want ...string) error {
	out, err := k.run(ctx, "", class, args...)
	if err != nil {
		return err
	}
	for _, w := range want {
		if !regexp.MustCompile(w).MatchString(out) {
			return fmt.Errorf("%s does not say %q but %s", class, w, out)
		}
	}
	return nil
}

func words(format string, args ...any) []string { return strings.Fields(fmt.Sprintf(format, args...)) }

func (k *toolRun) topics(ctx context.Context) error {
	t := k.name("topics")
	return errors.Join(
		k.says(ctx, "TopicCommand", words("--create --topic %s --partitions 3 --replication-factor 1 --config retention.ms=100000", t), "Created topic"),
		k.says(ctx, "TopicCommand", words("--describe --topic %s", t), "PartitionCount: 3", "ReplicationFactor: 1", "Configs: .*retention.ms=100000", "Partition: 2"),
		k.says(ctx, "TopicCommand", words("--alter --topic %s --partitions 5", t)),
		k.says(ctx, "TopicCommand", words("--list"), "(?m)^"+t+"$"),
		k.says(ctx, "TopicCommand", words("--delete --topic %s", t)))
}

// fill writes n lines "k0:v0" and so on.
func (k *toolRun) fill(ctx context.Context, topic string, n int, args ...string) (string, error) {
	topic = k.name(topic)
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "h:%d\tk%d:v%d\n", i, i, i)
	}
	_, err := k.run(ctx, lines.String(), "ConsoleProducer", append([]string{"--topic", topic, "--reader-property", "parse.key=true", "--reader-property", "key.separator=:",
		"--reader-property", "parse.headers=true"}, args...)...)
	return topic, err
}

func (k *toolRun) console(ctx context.Context) error {
	t, err := k.fill(ctx, "console", 20, "--compression-codec", "lz4")
	if err != nil {
		return err
	}
	out, err := k.run(ctx, "", "consumer.ConsoleConsumer", words("--topic %s --from-beginning --max-messages 20 --timeout-ms 120000 --formatter-property print.key=true --formatter-property print.headers=true --formatter-property print.offset=true", t)...)
	if err != nil {
		return err
	}
	for i := range 20 {
		if !strings.Contains(out, fmt.Sprintf("Offset:%d\th:%d\tk%d\tv%d\n", i, i, i, i)) {
			return fmt.Errorf("no record %d: %s", i, out)
		}
	}
	return nil
}

func (k *toolRun) groups(ctx context.Context) error {
	t, err := k.fill(ctx, "groups", 10)
	if err != nil {
		return err
	}
	g := k.name("groups")
	const class = "consumer.group.ConsumerGroupCommand"
	if err := k.says(ctx, "consumer.ConsoleConsumer", words("--topic %s --group %s --from-beginning --max-messages 10 --timeout-ms 120000", t, g), "v9"); err != nil {
		return err
	}
	return errors.Join(
		k.says(ctx, class, words("--list"), "(?m)^"+g+"$"),
		k.says(ctx, class, words("--timeout 120000 --describe --group %s", g), t+` +0 +10 +10 +0`),
		k.says(ctx, class, words("--timeout 120000 --describe --group %s --state", g), "Empty"),
		k.says(ctx, class, words("--timeout 120000 --reset-offsets --group %s --topic %s --to-offset 4 --execute", g, t), t+` +0 +4`),
		k.says(ctx, class, words("--timeout 120000 --describe --group %s --offsets", g), t+` +0 +4 +10 +6`),
		k.says(ctx, class, words("--timeout 120000 --delete-offsets --group %s --topic %s", g, t), "(?i)successful"),
		k.says(ctx, class, words("--timeout 120000 --delete --group %s", g), "(?i)success"))
}

func (k *toolRun) configs(ctx context.Context) error {
	t, err := k.fill(ctx, "configs", 1)
	if err != nil {
		return err
	}
	const class = "ConfigCommand"
	return errors.Join(
		k.says(ctx, class, words("--alter --entity-type topics --entity-name %s --add-config retention.ms=12345,cleanup.policy=[compact,delete]", t), "Completed"),
		k.says(ctx, class, words("--describe --entity-type topics --entity-name %s", t), "retention.ms=12345", "cleanup.policy=compact,delete"),
		k.says(ctx, class, words("--alter --entity-type topics --entity-name %s --delete-config retention.ms", t), "Completed"),
		k.says(ctx, class, words("--describe --all --entity-type topics --entity-name %s", t), "retention.ms=604800000"),
		k.says(ctx, class, words("--alter --entity-type users --entity-name %s --add-config SCRAM-SHA-256=[iterations=4096,password=x]", k.name("user")), "Completed"),
		k.says(ctx, class, words("--describe --entity-type users --entity-name %s", k.name("user")), "SCRAM-SHA-256=iterations=4096"))
}

func (k *toolRun) acls(ctx context.Context) error {
	t := k.name("acls")
	file := filepath.Join(k.t.TempDir(), "client.properties")
	if err := os.WriteFile(file, fmt.Appendf(nil, `security.protocol=SASL_PLAINTEXT
sasl.mechanism=PLAIN
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=%q password=%q;
`, peer.User, peer.Password), 0o600); err != nil {
		return err
	}
	closed := &toolRun{k.kafkaRun, k.closed.Kafka, []string{"--command-config", file}}
	return errors.Join(
		closed.says(ctx, "AclCommand", words("--add --allow-principal User:alice --operation Read --operation Write --topic %s --resource-pattern-type prefixed", t), "Adding ACLs"),
		closed.says(ctx, "AclCommand", words("--list --topic %s --resource-pattern-type prefixed", t), "principal=User:alice, host=\\*, operation=READ, permissionType=ALLOW"),
		closed.says(ctx, "AclCommand", words("--remove --force --topic %s --resource-pattern-type prefixed", t)))
}

func (k *toolRun) getOffsets(ctx context.Context) error {
	t, err := k.fill(ctx, "offsets", 7)
	if err != nil {
		return err
	}
	return errors.Join(k.says(ctx, "GetOffsetShell", words("--topic %s", t), t+":0:7"),
		k.says(ctx, "GetOffsetShell", words("--topic %s --time earliest", t), t+":0:0"),
		k.says(ctx, "GetOffsetShell", words("--topic %s --time max-timestamp", t), t+":0:[0-6]"))
}

func (k *toolRun) deleteRecords(ctx context.Context) error {
	t, err := k.fill(ctx, "delete", 9)
	if err != nil {
		return err
	}
	file := filepath.Join(k.t.TempDir(), "offsets.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"partitions": [{"topic": %q, "partition": 0, "offset": 5}], "version": 1}`, t), 0o600); err != nil {
		return err
	}
	return k.says(ctx, "DeleteRecordsCommand", words("--offset-json-file %s", file), `low_watermark: 5`)
}

func (k *toolRun) transactions(ctx context.Context) error {
	t, err := k.fill(ctx, "transactions", 3)
	if err != nil {
		return err
	}
	id := k.name("perf")
	if err := k.says(ctx, "ProducerPerformance", words("--topic %s --num-records 1000 --record-size 100 --throughput -1 --transactional-id %s --transaction-duration-ms 100", t, id), "1000 records sent"); err != nil {
		return err
	}
	return errors.Join(
		retry(ctx, func() error { // the last one ends when its markers are written
			return k.says(ctx, "TransactionsCommand", words("list"), id+`.*(CompleteCommit|Empty)`)
		}),
		k.says(ctx, "TransactionsCommand", words("describe --transactional-id %s", id), id),
		k.says(ctx, "TransactionsCommand", words("describe-producers --topic %s --partition 0", t), `(?m)^[0-9]+\s+[0-9]+\s`),
		k.says(ctx, "TransactionsCommand", words("find-hanging --broker-id %s", k.node(ctx))))
}

// node returns the broker's id.
func (k *toolRun) node(ctx context.Context) string {
	out, _ := k.run(ctx, "", "BrokerApiVersionsCommand")
	if m := regexp.MustCompile(`\(id: ([0-9]+) `).FindStringSubmatch(out); m != nil {
		return m[1]
	}
	return "1"
}

func (k *toolRun) producerPerformance(ctx context.Context) error {
	return k.says(ctx, "ProducerPerformance", words("--topic %s --num-records 20000 --record-size 200 --throughput -1 --command-property acks=all compression.type=zstd", k.name("perf")), "20000 records sent")
}

func (k *toolRun) consumerPerformance(ctx context.Context) error {
	return k.says(ctx, "ConsumerPerformance", words("--topic %s --num-records 20000 --timeout 120000", k.name("perf")), `, 20000, `)
}

func (k *toolRun) verifiable(ctx context.Context) error {
	t := k.name("verifiable")
	if err := k.says(ctx, "VerifiableProducer", words("--topic %s --max-messages 100", t), `"sent":100`, `"acked":100`); err != nil {
		return err
	}
	return k.says(ctx, "VerifiableConsumer", words("--topic %s --group-id %s --max-messages 100 --reset-policy earliest --verbose", t, t), `partitions_assigned`, `offsets_committed`)
}

func (k *toolRun) apiVersions(ctx context.Context) error {
	return k.says(ctx, "BrokerApiVersionsCommand", nil, `Produce\(0\): .*\[usable: `, `JoinGroup\(11\): `)
}

func (k *toolRun) cluster(ctx context.Context) error {
	return k.says(ctx, "ClusterTool", []string{"cluster-id"}, "Cluster ID: .")
}

func (k *toolRun) logDirs(ctx context.Context) error {
	t, err := k.fill(ctx, "dirs", 3)
	if err != nil {
		return err
	}
	return k.says(ctx, "LogDirsCommand", words("--describe --topic-list %s", t), `"partition":"`+t+`-0","size":[1-9]`)
}

func (k *toolRun) listGroups(ctx context.Context) error {
	return k.says(ctx, "GroupsCommand", words("--list"), "GROUP")
}

func (k *toolRun) features(ctx context.Context) error {
	return k.says(ctx, "FeatureCommand", words("describe"), `transaction.version.*FinalizedVersionLevel: 2`)
}

func (k *toolRun) leaderElection(ctx context.Context) error {
	t, err := k.fill(ctx, "election", 1)
	if err != nil {
		return err
	}
	return k.says(ctx, "LeaderElectionCommand", words("--election-type preferred --topic %s --partition 0", t), "(?i)valid replica already elected")
}

func (k *toolRun) reassign(ctx context.Context) error {
	t, err := k.fill(ctx, "reassign", 1)
	if err != nil {
		return err
	}
	file := filepath.Join(k.t.TempDir(), "plan.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"version": 1, "partitions": [{"topic": %q, "partition": 0, "replicas": [%s]}]}`, t, k.node(ctx)), 0o600); err != nil {
		return err
	}
	return errors.Join(k.says(ctx, "reassign.ReassignPartitionsCommand", words("--reassignment-json-file %s --execute", file), "Successfully started"),
		k.says(ctx, "reassign.ReassignPartitionsCommand", words("--list"), "No partition reassignments found"))
}

func (k *toolRun) quorum(ctx context.Context) error {
	return k.says(ctx, "MetadataQuorumCommand", words("describe --status"), "LeaderId")
}

// kcatClient is kcat with the librdkafka of the system.
var kcatClient = kafkaClient{
	name: "kcat",
	version: func() string {
		out, _ := exec.Command("kcat", "-V").CombinedOutput()
		m := regexp.MustCompile(`Version ([0-9.]+).*librdkafka ([0-9.]+)`).FindStringSubmatch(string(out))
		if m == nil {
			return ""
		}
		return m[1] + ", librdkafka " + m[2]
	},
	need: []string{"kcat"},
	run: func(r *kafkaRun) {
		k := &kcatRun{r}
		for _, acks := range []string{"0", "1", "all"} {
			r.check("produce: acks="+acks, func(ctx context.Context) error { return k.roundTrip(ctx, "acks-"+acks, "-X", "acks="+acks) })
		}
		for _, c := range []string{"gzip", "snappy", "lz4", "zstd"} {
			r.check("produce: "+c, func(ctx context.Context) error { return k.roundTrip(ctx, c, "-z", c) })
		}
		r.check("produce: idempotent", func(ctx context.Context) error {
			return k.roundTrip(ctx, "idempotent", "-X", "enable.idempotence=true")
		})
		r.check("produce: headers, null keys and values", k.headers)
		r.check("produce: the topic comes into being", func(ctx context.Context) error { return k.roundTrip(ctx, "auto") })
		r.check("consume: from an offset", k.fromOffset)
		r.check("consume: from a timestamp", k.fromTimestamp)
		r.check("group: commit and resume", k.resume)
		r.check("transaction: commit and abort", k.transaction)
		r.check("admin: cluster", func(ctx context.Context) error {
			_, err := k.says(ctx, "", "1 brokers:", "-L")
			return err
		})
		// loginAs tries for so many seconds. kcat does not give up earlier when it is refused.
		loginAs := func(within, addr, protocol, mechanism, user, password string, more ...string) func(context.Context) error {
			return func(ctx context.Context) error {
				args := append([]string{"-L", "-m", within, "-b", addr, "-X", "security.protocol=" + protocol, "-X", "sasl.mechanism=" + mechanism, "-X", "sasl.username=" + user, "-X", "sasl.password=" + password}, more...)
				_, err := k.says(ctx, "", "1 brokers:", args...)
				return err
			}
		}
		login := func(addr, protocol, password string, more ...string) func(context.Context) error {
			return loginAs("60", addr, protocol, "PLAIN", peer.User, password, more...)
		}
		r.check("security: SASL PLAIN", login(r.closed.Kafka, "sasl_plaintext", peer.Password))
		r.check("security: wrong password", func(ctx context.Context) error {
			err := loginAs("15", r.closed.Kafka, "sasl_plaintext", "PLAIN", peer.User, "wrong")(ctx)
			if err == nil || !strings.Contains(err.Error(), "uthentication") {
				return fmt.Errorf("%v", err)
			}
			return nil
		})
		// librdkafka 2.0.2 does not send the nonce of the server back as RFC 5802 says; since CVE-2024-56128 that is refused.
		for user := range scramUsers {
			r.check("security: "+strings.ToUpper(user), loginAs("5", r.closed.Kafka, "sasl_plaintext", strings.ToUpper(user), user, peer.Password))
		}
		r.check("security: TLS", login(r.open.Kafkas, "ssl", "", "-X", "ssl.ca.location="+r.open.CA))
		r.check("security: SASL over TLS", login(r.closed.Kafkas, "sasl_ssl", peer.Password, "-X", "ssl.ca.location="+r.closed.CA))
	},
}

type kcatRun struct{ *kafkaRun }

// says runs kcat with an input and returns what it prints, in which there must be a text.
func (k *kcatRun) says(ctx context.Context, input, want string, args ...string) (string, error) {
	if !strings.Contains(" "+strings.Join(args, " "), " -b ") {
		args = append([]string{"-b", k.open.Kafka}, args...)
	}
	cmd := exec.CommandContext(ctx, "kcat", args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = time.Second
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%w: %s", err, errs.String())
	}
	if !strings.Contains(string(out), want) {
		return string(out), fmt.Errorf("kcat %v does not say %q but %s %s", args, want, out, errs.String())
	}
	return string(out), nil
}

// fill produces n lines.
func (k *kcatRun) fill(ctx context.Context, topic string, n int, args ...string) (string, error) {
	topic = k.name(topic)
	var in strings.Builder
	for i := range n {
		fmt.Fprintf(&in, "k%d:v%d\n", i, i)
	}
	_, err := k.says(ctx, in.String(), "", append([]string{"-P", "-t", topic, "-K", ":"}, args...)...)
	return topic, err
}

func (k *kcatRun) roundTrip(ctx context.Context, topic string, args ...string) error {
	const n = 500
	topic, err := k.fill(ctx, topic, n, args...)
	if err != nil {
		return err
	}
	out, err := k.says(ctx, "", "", "-C", "-t", topic, "-e", "-q", "-f", `%o %k %s\n`)
	if err != nil {
		return err
	}
	var want strings.Builder
	for i := range n {
		fmt.Fprintf(&want, "%d k%d v%d\n", i, i, i)
	}
	if out != want.String() {
		return fmt.Errorf("%d bytes, want %d: %.100s", len(out), want.Len(), out)
	}
	return nil
}

func (k *kcatRun) headers(ctx context.Context) error {
	topic := k.name("headers")
	if _, err := k.says(ctx, "k:\n", "", "-P", "-t", topic, "-K", ":", "-Z", "-H", "a=1", "-H", "a=2", "-H", "b"); err != nil {
		return err
	}
	_, err := k.says(ctx, "", "k|-1|a=1,a=2,b=NULL", "-C", "-t", topic, "-e", "-q", "-f", `%k|%S|%h\n`)
	return err
}

func (k *kcatRun) fromOffset(ctx context.Context) error {
	topic, err := k.fill(ctx, "from-offset", 100)
	if err != nil {
		return err
	}
	_, err = k.says(ctx, "", "60 v60\n61 v61\n", "-C", "-t", topic, "-p", "0", "-o", "60", "-c", "2", "-q", "-f", `%o %s\n`)
	if err == nil {
		_, err = k.says(ctx, "", "98 v98\n99 v99\n", "-C", "-t", topic, "-p", "0", "-o", "-2", "-e", "-q", "-f", `%o %s\n`)
	}
	return err
}

func (k *kcatRun) fromTimestamp(ctx context.Context) error {
	topic, err := k.fill(ctx, "from-timestamp", 10)
	if err != nil {
		return err
	}
	_, err = k.says(ctx, "", topic+" [0] offset 0", "-Q", "-t", topic+":0:"+fmt.Sprint(kafkaEpoch.UnixMilli()))
	return err
}

func (k *kcatRun) resume(ctx context.Context) error {
	topic, err := k.fill(ctx, "resume", 100)
	if err != nil {
		return err
	}
	take := func(want string, more ...string) error {
		_, err := k.says(ctx, "", want, append(append([]string{"-G", k.name("resume"), "-q", "-f", `%o %s\n`, "-X", "auto.offset.reset=earliest"}, more...), topic)...)
		return err
	}
	return errors.Join(take("0 v0\n", "-c", "40"), take("40 v40\n", "-c", "60"))
}

func (k *kcatRun) transaction(ctx context.Context) error {
	topic, err := k.fill(ctx, "transaction", 10, "-X", "transactional.id="+k.name("t"))
	if err != nil {
		return err
	}
	// Without -e: the end is where the transaction begins until its marker is written.
	_, err = k.says(ctx, "", "9 v9\n", "-C", "-t", topic, "-c", "10", "-q", "-f", `%o %s\n`, "-X", "isolation.level=read_committed")
	return err
}
