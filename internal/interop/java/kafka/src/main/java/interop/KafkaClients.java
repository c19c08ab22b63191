package interop;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.admin.UserScramCredentialAlteration;
import org.apache.kafka.clients.admin.UserScramCredentialDeletion;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.DuplicateResourceException;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.ResourceNotFoundException;
import org.apache.kafka.common.errors.SaslAuthenticationException;
import org.apache.kafka.common.errors.TopicAuthorizationException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.quota.ClientQuotaFilterComponent;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/** What the Java producer, consumer and admin client do on a broker, one line for each thing: "ok name" or "FAIL name: why". */
public class KafkaClients {
    static final String PREFIX = System.getenv("PREFIX");
    static final long EPOCH = System.currentTimeMillis() - 3_600_000;
    /** How long something may take before it counts as hanging: a busy machine is slow. */
    static final int PATIENCE = 180_000;
    /** Shorter than that, so that what gets no answer is asked again. */
    static final int REQUEST = 60_000;

    static Admin admin;

    interface Step {
        void run() throws Exception;
    }

    public static void main(String[] args) {
        admin = Admin.create(common());
        for (String acks : new String[] {"0", "1", "all"}) {
            step("produce: acks=" + acks, () -> roundTrip("acks-" + acks, "acks", acks, "enable.idempotence", false));
        }
        for (String c : new String[] {"gzip", "snappy", "lz4", "zstd"}) {
            step("produce: " + c, () -> roundTrip(c, "compression.type", c));
        }
        step("produce: headers, null keys and values", KafkaClients::headers);
        step("produce: idempotent", () -> roundTrip("idempotent", "enable.idempotence", true));
        step("produce: too large is refused", KafkaClients::tooLarge);
        step("produce: the topic comes into being", KafkaClients::autoCreate);
        step("produce: null key to a compacted topic is refused", KafkaClients::nullKey);
        step("consume: from an offset", KafkaClients::fromOffset);
        step("consume: from a timestamp", KafkaClients::fromTimestamp);
        step("consume: out of range", KafkaClients::outOfRange);
        step("group: commit and resume", KafkaClients::resume);
        step("group: rebalance, eager", () -> rebalance("eager", "org.apache.kafka.clients.consumer.RangeAssignor"));
        step("group: rebalance, cooperative", () -> rebalance("cooperative", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"));
        step("group: static member", KafkaClients::staticMember);
        step("group: pattern of topics", KafkaClients::pattern);
        step("group: consumer protocol (KIP-848)", KafkaClients::consumerProtocol);
        step("group: share group (KIP-932)", KafkaClients::shareGroup);
        step("transaction: commit and abort", KafkaClients::transactions);
        step("transaction: consumed offsets", KafkaClients::consumedOffsets);
        step("transaction: older producer is fenced", KafkaClients::fenced);
        step("admin: topics", KafkaClients::topics);
        step("admin: errors of topics", KafkaClients::topicErrors);
        step("admin: partitions", KafkaClients::partitions);
        step("admin: configs of topics", KafkaClients::topicConfigs);
        step("admin: configs of brokers", KafkaClients::brokerConfigs);
        step("admin: wrong config is refused", KafkaClients::wrongConfig);
        step("admin: cluster", KafkaClients::cluster);
        step("admin: offsets", KafkaClients::offsets);
        step("admin: delete records", KafkaClients::deleteRecords);
        step("admin: groups", KafkaClients::groups);
        step("admin: offsets of groups", KafkaClients::groupOffsets);
        step("admin: remove members", KafkaClients::removeMembers);
        step("admin: ACLs", KafkaClients::acls);
        step("admin: SCRAM users", KafkaClients::scramUsers);
        step("admin: producers and transactions", KafkaClients::producers);
        step("admin: log directories", KafkaClients::logDirs);
        step("admin: quotas", KafkaClients::quotas);
        security();
        admin.close(Duration.ZERO);
        System.exit(0);
    }

    static void step(String name, Step s) {
        try {
            s.run();
            System.out.println("ok " + name);
        } catch (Throwable e) {
            String where = "";
            for (StackTraceElement f : e.getStackTrace()) {
                if (f.getFileName() != null && f.getFileName().equals("KafkaClients.java")) {
                    where = " (line " + f.getLineNumber() + ")";
                    break;
                }
            }
            System.out.println("FAIL " + name + ": " + e.toString().replace('\n', ' ') + where);
        }
        System.out.flush();
    }

    static void check(boolean ok, Object what) {
        if (!ok) {
            throw new IllegalStateException(String.valueOf(what));
        }
    }

    /** Expects an error of a class, which may be the cause of another one. */
    static void fails(Class<? extends Exception> want, Step s) throws Exception {
        try {
            s.run();
        } catch (Exception e) {
            for (Throwable t = e; t != null; t = t.getCause()) {
                if (want.isInstance(t)) {
                    return;
                }
            }
            throw e;
        }
        throw new IllegalStateException("no " + want.getSimpleName());
    }

    /** Repeats a step until it works: Apache Kafka needs a moment until all its parts know of a change. */
    static void eventually(Step s) throws Exception {
        for (long end = System.currentTimeMillis() + PATIENCE;; Thread.sleep(50)) {
            try {
                s.run();
                return;
            } catch (Exception e) {
                if (System.currentTimeMillis() > end) {
                    throw e;
                }
            }
        }
    }

    static String name(String s) {
        return PREFIX + "-" + s;
    }

    static Map<String, Object> common(Object... more) {
        Map<String, Object> c = new HashMap<>();
        c.put("bootstrap.servers", System.getenv("OPEN"));
        c.put("default.api.timeout.ms", PATIENCE);
        c.put("request.timeout.ms", REQUEST);
        put(c, more);
        return c;
    }

    static void put(Map<String, Object> c, Object... more) {
        for (int i = 0; i < more.length; i += 2) {
            c.put((String) more[i], more[i + 1]);
        }
    }

    static KafkaProducer<String, String> producer(Object... more) {
        Map<String, Object> c = new HashMap<>();
        c.put("bootstrap.servers", System.getenv("OPEN"));
        c.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        c.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        c.put("max.block.ms", PATIENCE);
        c.put("request.timeout.ms", REQUEST);
        c.put("delivery.timeout.ms", PATIENCE);
        put(c, more);
        return new KafkaProducer<>(c);
    }

    static KafkaConsumer<String, String> consumer(Object... more) {
        Map<String, Object> c = common("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer",
            "value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer",
            "enable.auto.commit", false, "auto.offset.reset", "earliest", "heartbeat.interval.ms", 200);
        put(c, more);
        return new KafkaConsumer<>(c);
    }

    static String create(String topic, int partitions, String... configs) throws Exception {
        String name = name(topic);
        Map<String, String> c = new HashMap<>();
        for (int i = 0; i < configs.length; i += 2) {
            c.put(configs[i], configs[i + 1]);
        }
        admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1).configs(c))).all().get();
        eventually(() -> admin.describeTopics(List.of(name)).allTopicNames().get());
        return name;
    }

    static void fillTopic(String topic, int partitions, int n, Object... more) throws Exception {
        try (KafkaProducer<String, String> p = producer(more)) {
            for (int i = 0; i < n; i++) {
                p.send(new ProducerRecord<>(topic, i % partitions, EPOCH + i * 1000L, "" + i, "" + i));
            }
            p.flush();
        }
    }

    static String fill(String topic, int partitions, int n) throws Exception {
        String name = create(topic, partitions);
        fillTopic(name, partitions, n);
        return name;
    }

    /** Polls until there are n records. */
    static List<ConsumerRecord<String, String>> read(KafkaConsumer<String, String> c, int n) {
        List<ConsumerRecord<String, String>> all = new ArrayList<>();
        for (long end = System.currentTimeMillis() + PATIENCE; all.size() < n;) {
            c.poll(Duration.ofMillis(200)).forEach(all::add);
            check(System.currentTimeMillis() < end, all.size() + " of " + n + " records");
        }
        check(all.size() == n, all.size() + " records, want " + n);
        return all;
    }

    static List<ConsumerRecord<String, String>> readTopic(String topic, int partitions, int n, Object... more) {
        try (KafkaConsumer<String, String> c = consumer(more)) {
            List<TopicPartition> ps = new ArrayList<>();
            for (int i = 0; i < partitions; i++) {
                ps.add(new TopicPartition(topic, i));
            }
            c.assign(ps);
            c.seekToBeginning(ps);
            return read(c, n);
        }
    }

    static void roundTrip(String topic, Object... more) throws Exception {
        String name = create(topic, 1);
        fillTopic(name, 1, 1000, more);
        int i = 0;
        for (ConsumerRecord<String, String> r : readTopic(name, 1, 1000)) {
            check(r.offset() == i && r.value().equals("" + i) && r.timestamp() == EPOCH + i * 1000L, r);
            i++;
        }
    }

    static void headers() throws Exception {
        String topic = create("headers", 1);
        try (KafkaProducer<String, String> p = producer()) {
            ProducerRecord<String, String> r = new ProducerRecord<>(topic, null, "v");
            r.headers().add("a", "1".getBytes(StandardCharsets.UTF_8)).add("a", "2".getBytes(StandardCharsets.UTF_8)).add("b", null);
            p.send(r);
            p.send(new ProducerRecord<>(topic, "k", null));
            p.send(new ProducerRecord<>(topic, "", ""));
        }
        List<ConsumerRecord<String, String>> rs = readTopic(topic, 1, 3);
        Header[] hs = rs.get(0).headers().toArray();
        check(rs.get(0).key() == null && rs.get(0).value().equals("v") && hs.length == 3 && Arrays.equals(hs[1].value(), new byte[] {'2'})
            && hs[2].value() == null, rs.get(0));
        check(rs.get(1).key().equals("k") && rs.get(1).value() == null, rs.get(1));
        check(rs.get(2).key().isEmpty() && rs.get(2).value().isEmpty(), rs.get(2));
    }

    static void tooLarge() throws Exception {
        String topic = create("large", 1, "max.message.bytes", "10000");
        try (KafkaProducer<String, String> p = producer()) {
            fails(RecordTooLargeException.class, () -> p.send(new ProducerRecord<>(topic, "x".repeat(20_000))).get());
            p.send(new ProducerRecord<>(topic, "x".repeat(9_000))).get();
        }
    }

    static void autoCreate() throws Exception {
        fillTopic(name("auto"), 1, 3);
        readTopic(name("auto"), 1, 3);
    }

    static void nullKey() throws Exception {
        String topic = create("compacted", 1, "cleanup.policy", "compact");
        try (KafkaProducer<String, String> p = producer()) {
            fails(org.apache.kafka.common.InvalidRecordException.class, () -> p.send(new ProducerRecord<>(topic, "v")).get());
            p.send(new ProducerRecord<>(topic, "k", "v")).get();
        }
    }

    static void fromOffset() throws Exception {
        String topic = fill("from-offset", 1, 100);
        TopicPartition tp = new TopicPartition(topic, 0);
        try (KafkaConsumer<String, String> c = consumer()) {
            c.assign(List.of(tp));
            c.seek(tp, 60);
            check(read(c, 40).get(0).offset() == 60, "not at 60");
            check(c.position(tp) == 100, c.position(tp));
        }
    }

    static void fromTimestamp() throws Exception {
        String topic = fill("from-timestamp", 1, 100);
        TopicPartition tp = new TopicPartition(topic, 0);
        try (KafkaConsumer<String, String> c = consumer()) {
            check(c.offsetsForTimes(Map.of(tp, EPOCH + 69_500)).get(tp).offset() == 70, "not 70");
            check(c.offsetsForTimes(Map.of(tp, EPOCH + 1_000_000)).get(tp) == null, "an offset of the future");
            check(c.beginningOffsets(List.of(tp)).get(tp) == 0 && c.endOffsets(List.of(tp)).get(tp) == 100, "begin or end");
        }
    }

    static void outOfRange() throws Exception {
        String topic = fill("range", 1, 10);
        TopicPartition tp = new TopicPartition(topic, 0);
        try (KafkaConsumer<String, String> c = consumer()) {
            c.assign(List.of(tp));
            c.seek(tp, 1000);
            read(c, 10);
        }
        try (KafkaConsumer<String, String> c = consumer("auto.offset.reset", "none")) {
            c.assign(List.of(tp));
            c.seek(tp, 1000);
            fails(OffsetOutOfRangeException.class, () -> read(c, 1));
        }
    }

    static void resume() throws Exception {
        String topic = fill("resume", 1, 100);
        try (KafkaConsumer<String, String> c = consumer("group.id", name("resume"), "max.poll.records", 40)) {
            c.subscribe(List.of(topic));
            read(c, 40);
            c.commitSync();
        }
        try (KafkaConsumer<String, String> c = consumer("group.id", name("resume"))) {
            c.subscribe(List.of(topic));
            check(read(c, 60).get(0).offset() == 40, "not at 40");
        }
    }

    /** A member of a group that polls in a thread. */
    static class Member implements AutoCloseable, ConsumerRebalanceListener {
        final KafkaConsumer<String, String> c;
        final AtomicBoolean stop = new AtomicBoolean();
        final AtomicInteger parts = new AtomicInteger(-1);
        final AtomicInteger generation = new AtomicInteger(-1);
        final Thread thread;
        volatile Throwable failure;

        Member(String group, String topic, Object... more) {
            Object[] all = Arrays.copyOf(more, more.length + 2);
            all[more.length] = "group.id";
            all[more.length + 1] = group;
            c = consumer(all);
            thread = new Thread(() -> {
                try {
                    c.subscribe(List.of(topic), this);
                    while (!stop.get()) {
                        c.poll(Duration.ofMillis(100));
                        generation.set(c.groupMetadata().generationId());
                        parts.set(c.assignment().size()); // for which others wait
                    }
                } catch (Throwable e) {
                    failure = e;
                } finally {
                    c.close();
                }
            });
            thread.start();
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> ps) {
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> ps) {
        }

        void await(int n) throws Exception {
            for (long end = System.currentTimeMillis() + PATIENCE; parts.get() != n; Thread.sleep(20)) {
                check(System.currentTimeMillis() < end && failure == null, "has " + parts + " partitions, want " + n + ", " + failure);
            }
        }

        @Override
        public void close() {
            stop.set(true);
            try {
                thread.join();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    static void rebalance(String group, String assignor) throws Exception {
        String topic = create("rebalance-" + group, 4);
        Object[] config = {"partition.assignment.strategy", assignor};
        try (Member one = new Member(name(group), topic, config)) {
            one.await(4);
            try (Member two = new Member(name(group), topic, config)) {
                one.await(2);
                two.await(2);
            }
            one.await(4);
        }
    }

    static void staticMember() throws Exception {
        String topic = create("static", 4);
        try (Member one = new Member(name("static"), topic, "group.instance.id", "one")) {
            one.await(4);
            try (Member two = new Member(name("static"), topic, "group.instance.id", "two")) {
                one.await(2);
                two.await(2);
            }
            int generation = one.generation.get();
            try (Member two = new Member(name("static"), topic, "group.instance.id", "two")) {
                two.await(2);
                check(two.generation.get() == generation, "generation " + generation + " became " + two.generation);
            }
        }
    }

    static void pattern() throws Exception {
        fill("pattern-a", 1, 5);
        fill("pattern-b", 1, 5);
        fill("other", 1, 5);
        try (KafkaConsumer<String, String> c = consumer("group.id", name("pattern"))) {
            c.subscribe(Pattern.compile(name("pattern-.")));
            read(c, 10);
        }
    }

    static void consumerProtocol() throws Exception {
        String topic = fill("consumer-protocol", 1, 10);
        Map<String, Object> c = common("group.id", name("consumer-protocol"), "group.protocol", "consumer", "auto.offset.reset", "earliest",
            "key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer",
            "value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        try (KafkaConsumer<String, String> k = new KafkaConsumer<>(c)) {
            k.subscribe(List.of(topic));
            read(k, 10);
            k.commitSync();
        }
    }

    static void shareGroup() throws Exception {
        String topic = fill("share", 1, 10);
        alter(new ConfigResource(ConfigResource.Type.GROUP, name("share")), AlterConfigOp.OpType.SET, "share.auto.offset.reset", "earliest");
        Map<String, Object> c = common("group.id", name("share"),
            "key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer",
            "value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        try (KafkaShareConsumer<String, String> k = new KafkaShareConsumer<>(c)) {
            k.subscribe(List.of(topic));
            int n = 0;
            for (long end = System.currentTimeMillis() + PATIENCE; n < 10;) {
                n += k.poll(Duration.ofMillis(200)).count();
                check(System.currentTimeMillis() < end, n + " of 10 records");
            }
            k.commitSync();
        }
    }

    static void transactions() throws Exception {
        String topic = create("transactions", 2);
        try (KafkaProducer<String, String> p = producer("transactional.id", name("t"))) {
            p.initTransactions();
            for (int i = 0; i < 6; i++) {
                p.beginTransaction();
                for (int j = 0; j < 10; j++) {
                    p.send(new ProducerRecord<>(topic, j % 2, null, i + "." + j));
                }
                if (i % 2 == 0) {
                    p.commitTransaction();
                } else {
                    p.flush();
                    p.abortTransaction();
                }
            }
        }
        for (ConsumerRecord<String, String> r : readTopic(topic, 2, 30, "isolation.level", "read_committed")) {
            check((r.value().charAt(0) - '0') % 2 == 0, r);
        }
        readTopic(topic, 2, 60);
    }

    static void consumedOffsets() throws Exception {
        String in = fill("from", 1, 20);
        String out = create("to", 1);
        TopicPartition tp = new TopicPartition(in, 0);
        for (boolean commit : new boolean[] {false, true}) {
            try (KafkaProducer<String, String> p = producer("transactional.id", name("eos"));
                 KafkaConsumer<String, String> c = consumer("group.id", name("eos"), "isolation.level", "read_committed")) {
                p.initTransactions();
                c.subscribe(List.of(in));
                List<ConsumerRecord<String, String>> rs = read(c, 20);
                p.beginTransaction();
                for (ConsumerRecord<String, String> r : rs) {
                    p.send(new ProducerRecord<>(out, r.value()));
                }
                p.sendOffsetsToTransaction(Map.of(tp, new OffsetAndMetadata(20)), c.groupMetadata());
                if (commit) {
                    p.commitTransaction();
                } else {
                    p.abortTransaction();
                }
            }
        }
        readTopic(out, 1, 20, "isolation.level", "read_committed");
        eventually(() -> check(admin.listConsumerGroupOffsets(name("eos")).partitionsToOffsetAndMetadata().get().get(tp).offset() == 20, "offset"));
    }

    static void fenced() throws Exception {
        String topic = create("fenced", 1);
        try (KafkaProducer<String, String> one = producer("transactional.id", name("fenced"));
             KafkaProducer<String, String> two = producer("transactional.id", name("fenced"))) {
            one.initTransactions();
            one.beginTransaction();
            one.send(new ProducerRecord<>(topic, "one")).get();
            two.initTransactions();
            two.beginTransaction();
            two.send(new ProducerRecord<>(topic, "two")).get();
            fails(ProducerFencedException.class, one::commitTransaction);
            two.commitTransaction();
        }
        check(readTopic(topic, 1, 1, "isolation.level", "read_committed").get(0).value().equals("two"), "the older one's record");
    }

    static void topics() throws Exception {
        String topic = create("topics", 3, "retention.ms", "100000");
        TopicDescription d = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
        check(d.partitions().size() == 3 && !d.isInternal() && d.partitions().get(0).leader() != null && d.partitions().get(0).isr().size() == 1, d);
        check(admin.listTopics().names().get().contains(topic), "not listed");
        admin.deleteTopics(List.of(topic)).all().get();
        eventually(() -> check(!admin.listTopics().names().get().contains(topic), "listed"));
    }

    static void topicErrors() throws Exception {
        String topic = create("errors", 1);
        fails(TopicExistsException.class, () -> create("errors", 1));
        fails(InvalidTopicException.class, () -> create("errors/", 1));
        fails(InvalidPartitionsException.class, () -> create("errors-zero", 0));
        fails(InvalidReplicationFactorException.class, () -> admin.createTopics(List.of(new NewTopic(name("errors-replicas"), 1, (short) 3))).all().get());
        fails(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of(name("none"))).all().get());
        fails(UnknownTopicOrPartitionException.class, () -> admin.describeTopics(List.of(name("none"))).allTopicNames().get());
        fails(InvalidPartitionsException.class, () -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(1))).all().get());
    }

    static void partitions() throws Exception {
        String topic = create("partitions", 1);
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
        eventually(() -> check(admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size() == 3, "not 3"));
    }

    static Config describe(ConfigResource r) throws Exception {
        return admin.describeConfigs(List.of(r)).all().get().get(r);
    }

    static void alter(ConfigResource r, AlterConfigOp.OpType op, String key, String value) throws Exception {
        admin.incrementalAlterConfigs(Map.of(r, List.of(new AlterConfigOp(new ConfigEntry(key, value), op)))).all().get();
    }

    static void topicConfigs() throws Exception {
        ConfigResource r = new ConfigResource(ConfigResource.Type.TOPIC, create("configs", 1, "retention.ms", "100000"));
        eventually(() -> check(describe(r).get("retention.ms").value().equals("100000"), "not set"));
        ConfigEntry e = describe(r).get("retention.ms");
        check(e.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG && !e.isReadOnly(), e);
        e = describe(r).get("cleanup.policy");
        check(e.isDefault() && e.value().equals("delete"), e);
        check(describe(r).entries().size() >= 25, describe(r).entries().size() + " configs");
        alter(r, AlterConfigOp.OpType.SET, "retention.ms", "5000000");
        eventually(() -> check(describe(r).get("retention.ms").value().equals("5000000"), "not altered"));
        alter(r, AlterConfigOp.OpType.APPEND, "cleanup.policy", "compact");
        eventually(() -> check(describe(r).get("cleanup.policy").value().equals("delete,compact"), "not appended"));
        alter(r, AlterConfigOp.OpType.SUBTRACT, "cleanup.policy", "delete");
        eventually(() -> check(describe(r).get("cleanup.policy").value().equals("compact"), "not subtracted"));
        alter(r, AlterConfigOp.OpType.DELETE, "retention.ms", "");
        eventually(() -> check(describe(r).get("retention.ms").value().equals("604800000"), "not deleted"));
    }

    static void brokerConfigs() throws Exception {
        ConfigResource r = new ConfigResource(ConfigResource.Type.BROKER, "" + admin.describeCluster().nodes().get().iterator().next().id());
        for (String key : List.of("log.retention.ms", "message.max.bytes", "auto.create.topics.enable", "num.partitions", "offsets.topic.num.partitions")) {
            check(describe(r).get(key) != null, "no " + key);
        }
    }

    static void wrongConfig() throws Exception {
        fails(InvalidConfigurationException.class, () -> create("wrong-1", 1, "no.such.config", "1"));
        fails(InvalidConfigurationException.class, () -> create("wrong-2", 1, "retention.ms", "long"));
        ConfigResource r = new ConfigResource(ConfigResource.Type.TOPIC, create("wrong", 1));
        fails(InvalidConfigurationException.class, () -> alter(r, AlterConfigOp.OpType.SET, "cleanup.policy", "keep"));
        fails(InvalidConfigurationException.class, () -> alter(r, AlterConfigOp.OpType.SET, "segment.bytes", "-1"));
    }

    static void cluster() throws Exception {
        check(admin.describeCluster().nodes().get().size() == 1, admin.describeCluster().nodes().get());
        check(!admin.describeCluster().clusterId().get().isEmpty(), "no cluster id");
        check(admin.describeCluster().controller().get() != null, "no controller");
        admin.describeFeatures().featureMetadata().get();
    }

    static void offsets() throws Exception {
        String topic = fill("offsets", 1, 100);
        TopicPartition tp = new TopicPartition(topic, 0);
        Map<OffsetSpec, Long> want = Map.of(OffsetSpec.earliest(), 0L, OffsetSpec.latest(), 100L, OffsetSpec.maxTimestamp(), 99L,
            OffsetSpec.forTimestamp(EPOCH + 49_500), 50L);
        for (Map.Entry<OffsetSpec, Long> w : want.entrySet()) {
            long got = admin.listOffsets(Map.of(tp, w.getKey())).partitionResult(tp).get().offset();
            check(got == w.getValue(), w.getKey() + " is " + got);
        }
    }

    static void deleteRecords() throws Exception {
        String topic = fill("delete", 1, 100);
        TopicPartition tp = new TopicPartition(topic, 0);
        long low = admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(70))).lowWatermarks().get(tp).get().lowWatermark();
        check(low == 70, low);
        check(readTopic(topic, 1, 30).get(0).offset() == 70, "not at 70");
    }

    static void groups() throws Exception {
        String topic = create("groups", 2);
        String group = name("groups");
        try (Member m = new Member(group, topic, "client.id", "me")) {
            m.await(2);
            check(admin.listGroups().valid().get().stream().anyMatch(g -> g.groupId().equals(group)), "not listed");
            ConsumerGroupDescription d = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
            check(d.groupState() == GroupState.STABLE && d.members().size() == 1, d);
            check(d.members().iterator().next().clientId().equals("me") && d.members().iterator().next().assignment().topicPartitions().size() == 2, d);
            fails(GroupNotEmptyException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
        }
        fails(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(name("none"))).all().get());
        fails(GroupIdNotFoundException.class, () -> admin.describeConsumerGroups(List.of(name("none"))).all().get());
        admin.deleteConsumerGroups(List.of(group)).all().get();
    }

    static void groupOffsets() throws Exception {
        String topic = create("group-offsets", 1);
        String group = name("group-offsets");
        TopicPartition tp = new TopicPartition(topic, 0);
        admin.alterConsumerGroupOffsets(group, Map.of(tp, new OffsetAndMetadata(3, Optional.of(0), "note"))).all().get();
        OffsetAndMetadata o = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(tp);
        check(o.offset() == 3 && o.metadata().equals("note") && o.leaderEpoch().equals(Optional.of(0)), o);
        admin.deleteConsumerGroupOffsets(group, Set.of(tp)).all().get();
        check(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(tp) == null, "there");
        try (KafkaConsumer<String, String> c = consumer("group.id", name("none"))) {
            check(c.committed(Set.of(tp)).get(tp) == null, "an unknown group has an offset");
        }
    }

    static void removeMembers() throws Exception {
        String topic = create("remove", 1);
        try (Member m = new Member(name("remove"), topic, "group.instance.id", "one")) {
            m.await(1);
        }
        admin.removeMembersFromConsumerGroup(name("remove"),
            new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one")))).all().get();
        eventually(() -> check(admin.describeConsumerGroups(List.of(name("remove"))).all().get().get(name("remove")).members().isEmpty(), "there"));
    }

    static AclBinding acl(PatternType pattern, String topic, String user, AclOperation op, AclPermissionType permission) {
        return new AclBinding(new ResourcePattern(ResourceType.TOPIC, topic, pattern), new AccessControlEntry("User:" + user, "*", op, permission));
    }

    static void acls() throws Exception {
        try (Admin a = Admin.create(login("CLOSED", "PLAIN", System.getenv("USER_NAME"), System.getenv("PASSWORD"), null))) {
            acls(a);
        }
    }

    static void acls(Admin admin) throws Exception {
        AclBinding b = acl(PatternType.PREFIXED, name("acl"), name("alice"), AclOperation.READ, AclPermissionType.DENY);
        admin.createAcls(List.of(b)).all().get();
        eventually(() -> check(admin.describeAcls(b.toFilter()).values().get().equals(List.of(b)), admin.describeAcls(b.toFilter()).values().get()));
        Collection<AclBinding> gone = admin.deleteAcls(List.of(b.toFilter())).all().get();
        check(gone.size() == 1, gone);
    }

    static UserScramCredentialAlteration scram(String user, ScramMechanism m) {
        return new UserScramCredentialUpsertion(user, new ScramCredentialInfo(m, 4096), "secret");
    }

    static void scramUsers() throws Exception {
        String user = name("scram");
        fails(DuplicateResourceException.class, () -> admin.alterUserScramCredentials(
            List.of(scram(user, ScramMechanism.SCRAM_SHA_256), scram(user, ScramMechanism.SCRAM_SHA_512))).all().get());
        admin.alterUserScramCredentials(List.of(scram(user, ScramMechanism.SCRAM_SHA_256))).all().get();
        admin.alterUserScramCredentials(List.of(scram(user, ScramMechanism.SCRAM_SHA_512))).all().get();
        eventually(() -> check(admin.describeUserScramCredentials(List.of(user)).description(user).get().credentialInfos().size() == 2, "not 2"));
        for (ScramMechanism m : List.of(ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)) {
            admin.alterUserScramCredentials(List.of(new UserScramCredentialDeletion(user, m))).all().get();
        }
        fails(ResourceNotFoundException.class,
            () -> admin.alterUserScramCredentials(List.of(new UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_256))).all().get());
    }

    static void producers() throws Exception {
        String topic = create("producers", 1);
        String id = name("producers");
        TopicPartition tp = new TopicPartition(topic, 0);
        try (KafkaProducer<String, String> p = producer("transactional.id", id)) {
            p.initTransactions();
            p.beginTransaction();
            p.send(new ProducerRecord<>(topic, "v")).get();
            check(admin.listTransactions().all().get().stream().anyMatch(t -> t.transactionalId().equals(id) && t.state() == TransactionState.ONGOING), "not listed");
            check(admin.describeTransactions(List.of(id)).description(id).get().topicPartitions().equals(Set.of(tp)), "partitions");
            List<ProducerState> ps = admin.describeProducers(List.of(tp)).partitionResult(tp).get().activeProducers();
            check(ps.size() == 1 && ps.get(0).currentTransactionStartOffset().getAsLong() == 0, ps);
            admin.fenceProducers(List.of(id)).all().get();
            fails(ProducerFencedException.class, p::commitTransaction);
        }
    }

    static void logDirs() throws Exception {
        String topic = fill("dirs", 1, 10);
        int node = admin.describeCluster().nodes().get().iterator().next().id();
        check(admin.describeLogDirs(List.of(node)).allDescriptions().get().get(node).values().stream()
            .anyMatch(d -> d.replicaInfos().containsKey(new TopicPartition(topic, 0)) && d.replicaInfos().get(new TopicPartition(topic, 0)).size() > 0), "not there");
    }

    static void quotas() throws Exception {
        ClientQuotaEntity user = new ClientQuotaEntity(Map.of("user", name("quota")));
        admin.alterClientQuotas(List.of(new ClientQuotaAlteration(user, List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 1e6))))).all().get();
        eventually(() -> check(admin.describeClientQuotas(ClientQuotaFilter.containsOnly(List.of(ClientQuotaFilterComponent.ofEntity("user", name("quota")))))
            .entities().get().get(user).get("producer_byte_rate") == 1e6, "not there"));
    }

    static Map<String, Object> login(String addr, String mechanism, String user, String password, String ca) {
        Map<String, Object> c = common("bootstrap.servers", System.getenv(addr));
        if (mechanism != null) {
            String module = mechanism.equals("PLAIN") ? "plain.PlainLoginModule" : "scram.ScramLoginModule";
            put(c, "security.protocol", "SASL_PLAINTEXT", "sasl.mechanism", mechanism, "sasl.jaas.config",
                "org.apache.kafka.common.security." + module + " required username=\"" + user + "\" password=\"" + password + "\";");
        }
        if (ca != null) {
            put(c, "security.protocol", mechanism == null ? "SSL" : "SASL_SSL", "ssl.truststore.type", "PEM", "ssl.truststore.location", System.getenv(ca));
        }
        return c;
    }

    static void ping(Map<String, Object> c) throws Exception {
        try (Admin a = Admin.create(c)) {
            a.listTopics().names().get(PATIENCE, TimeUnit.MILLISECONDS);
        }
    }

    static void security() {
        String user = System.getenv("USER_NAME");
        String password = System.getenv("PASSWORD");
        Map<String, Object> good = login("CLOSED", "PLAIN", user, password, null);
        step("security: SASL PLAIN", () -> ping(good));
        step("security: wrong password", () -> fails(SaslAuthenticationException.class, () -> ping(login("CLOSED", "PLAIN", user, "wrong", null))));
        for (ScramMechanism m : List.of(ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)) {
            step("security: " + m.mechanismName(), () -> {
                String u = name(m.mechanismName());
                try (Admin a = Admin.create(good)) {
                    a.alterUserScramCredentials(List.of(scram(u, m))).all().get();
                }
                eventually(() -> ping(login("CLOSED", m.mechanismName(), u, "secret", null)));
                fails(SaslAuthenticationException.class, () -> ping(login("CLOSED", m.mechanismName(), u, "wrong", null)));
            });
        }
        step("security: TLS", () -> ping(login("OPEN_TLS", null, null, null, "CA")));
        step("security: SASL over TLS", () -> ping(login("CLOSED_TLS", "PLAIN", user, password, "CLOSED_CA")));
        step("security: an ACL forbids", () -> {
            String limited = name("limited");
            String mine = name("mine");
            String other = name("others");
            try (Admin a = Admin.create(good)) {
                a.alterUserScramCredentials(List.of(scram(limited, ScramMechanism.SCRAM_SHA_256))).all().get();
                a.createTopics(List.of(new NewTopic(mine, 1, (short) 1), new NewTopic(other, 1, (short) 1))).all().get();
                a.createAcls(List.of(acl(PatternType.LITERAL, mine, limited, AclOperation.WRITE, AclPermissionType.ALLOW),
                    acl(PatternType.LITERAL, other, "somebody", AclOperation.WRITE, AclPermissionType.ALLOW))).all().get();
            }
            Map<String, Object> c = login("CLOSED", "SCRAM-SHA-256", limited, "secret", null);
            put(c, "enable.idempotence", false, "linger.ms", 0);
            List<Object> config = new ArrayList<>();
            c.forEach((k, v) -> config.addAll(List.of(k, v)));
            eventually(() -> {
                try (KafkaProducer<String, String> p = producer(config.toArray())) {
                    p.send(new ProducerRecord<>(mine, "x")).get();
                }
            });
            eventually(() -> {
                try (KafkaProducer<String, String> p = producer(config.toArray())) {
                    fails(TopicAuthorizationException.class, () -> p.send(new ProducerRecord<>(other, "x")).get());
                }
            });
        });
    }
}
