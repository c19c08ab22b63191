package interop;

import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/** Uses a broker in as many ways as the Java clients have, for somebody who looks at what travels. */
public class KafkaTraffic {
    interface Step {
        void run() throws Exception;
    }

    static String address;

    public static void main(String[] args) {
        address = args[0];
        step("topics", KafkaTraffic::topics);
        step("produce", KafkaTraffic::produce);
        for (String protocol : new String[] {"classic", "consumer"}) {
            step(protocol + " group", () -> consume(protocol));
        }
        step("transaction", KafkaTraffic::transaction);
        step("share group", KafkaTraffic::share);
        admin();
    }

    static void step(String name, Step s) {
        try {
            s.run();
            System.out.println(name + ": ok");
        } catch (Throwable e) {
            System.out.println(name + ": " + e);
        }
    }

    static Map<String, Object> config(Object... more) {
        Map<String, Object> c = new HashMap<>();
        c.put("bootstrap.servers", address);
        c.put("client.id", "traffic");
        c.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        c.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        c.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        c.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        for (int i = 0; i < more.length; i += 2) {
            c.put((String) more[i], more[i + 1]);
        }
        return c;
    }

    static void topics() throws Exception {
        try (Admin a = Admin.create(config())) {
            a.createTopics(List.of(new NewTopic("events", 2, (short) 1).configs(Map.of("cleanup.policy", "compact")),
                new NewTopic("copies", 1, (short) 1))).all().get();
        }
    }

    static void produce() throws Exception {
        for (String compression : new String[] {"none", "gzip", "snappy", "lz4", "zstd"}) {
            try (KafkaProducer<String, String> p = new KafkaProducer<>(config("compression.type", compression))) {
                for (int i = 0; i < 10; i++) {
                    p.send(new ProducerRecord<>("events", "key-" + i, "value " + i)).get();
                }
            }
        }
    }

    static void consume(String protocol) throws Exception {
        Map<String, Object> c = config("group.id", "group-" + protocol, "group.protocol", protocol, "auto.offset.reset", "earliest",
            "client.rack", "rack-a", "group.instance.id", "instance-" + protocol);
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(c)) {
            consumer.subscribe(List.of("events"));
            int n = 0;
            for (int i = 0; i < 240 && n < 50; i++) {
                n += consumer.poll(Duration.ofMillis(500)).count();
            }
            consumer.commitSync();
            consumer.commitSync(Map.of(new TopicPartition("events", 0), new OffsetAndMetadata(3, Optional.of(0), "a note")));
            consumer.committed(Set.of(new TopicPartition("events", 0), new TopicPartition("events", 1)));
            consumer.offsetsForTimes(Map.of(new TopicPartition("events", 0), 1L));
            consumer.endOffsets(Set.of(new TopicPartition("events", 0)));
            consumer.partitionsFor("events");
        }
    }

    static void transaction() throws Exception {
        try (KafkaProducer<String, String> p = new KafkaProducer<>(config("transactional.id", "transaction"));
             KafkaConsumer<String, String> c = new KafkaConsumer<>(config("group.id", "group-transaction", "auto.offset.reset", "earliest",
                 "isolation.level", "read_committed", "enable.auto.commit", false))) {
            p.initTransactions();
            c.subscribe(List.of("events"));
            ConsumerRecords<String, String> records = ConsumerRecords.empty();
            for (int i = 0; i < 240 && records.isEmpty(); i++) {
                records = c.poll(Duration.ofMillis(500));
            }
            for (boolean commit : new boolean[] {true, false}) {
                p.beginTransaction();
                p.send(new ProducerRecord<>("copies", "key", "value")).get();
                p.sendOffsetsToTransaction(records.nextOffsets(), c.groupMetadata());
                if (commit) {
                    p.commitTransaction();
                } else {
                    p.abortTransaction();
                }
            }
            c.subscribe(List.of("copies"));
            for (int i = 0; i < 6; i++) {
                c.poll(Duration.ofMillis(300));
            }
        }
    }

    static void share() throws Exception {
        try (Admin a = Admin.create(config())) {
            a.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.GROUP, "group-share"),
                List.of(new AlterConfigOp(new ConfigEntry("share.auto.offset.reset", "earliest"), AlterConfigOp.OpType.SET)))).all().get();
        }
        try (KafkaShareConsumer<String, String> c = new KafkaShareConsumer<>(config("group.id", "group-share"))) {
            c.subscribe(List.of("events"));
            int n = 0;
            for (int i = 0; i < 240 && n == 0; i++) {
                n = c.poll(Duration.ofMillis(500)).count();
            }
            c.commitSync();
        }
    }

    static void admin() {
        try (Admin a = Admin.create(config())) {
            ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, "events");
            TopicPartition partition = new TopicPartition("events", 0);
            AclBinding acl = new AclBinding(new ResourcePattern(ResourceType.TOPIC, "events", PatternType.LITERAL),
                new AccessControlEntry("User:alice", "*", AclOperation.READ, AclPermissionType.ALLOW));
            ClientQuotaEntity user = new ClientQuotaEntity(Map.of("user", "alice"));
            get("describe topics", () -> a.describeTopics(List.of("events", "none")).allTopicNames());
            get("list topics", () -> a.listTopics().names());
            get("describe cluster", () -> a.describeCluster().nodes());
            get("describe configs", () -> a.describeConfigs(List.of(topic, new ConfigResource(ConfigResource.Type.BROKER, "1"))).all());
            get("alter configs", () -> a.incrementalAlterConfigs(Map.of(topic,
                List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "1000000"), AlterConfigOp.OpType.SET)))).all());
            get("list config resources", () -> a.listConfigResources().all());
            get("create ACLs", () -> a.createAcls(List.of(acl)).all());
            get("describe ACLs", () -> a.describeAcls(AclBindingFilter.ANY).values());
            get("delete ACLs", () -> a.deleteAcls(List.of(AclBindingFilter.ANY)).all());
            get("alter quotas", () -> a.alterClientQuotas(List.of(new ClientQuotaAlteration(user,
                List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 1e6))))).all());
            get("describe quotas", () -> a.describeClientQuotas(ClientQuotaFilter.all()).entities());
            get("alter SCRAM", () -> a.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion("alice",
                new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), "secret"))).all());
            get("describe SCRAM", () -> a.describeUserScramCredentials().all());
            get("list offsets", () -> a.listOffsets(Map.of(partition, OffsetSpec.maxTimestamp())).all());
            get("delete records", () -> a.deleteRecords(Map.of(new TopicPartition("copies", 0), RecordsToDelete.beforeOffset(1))).all());
            get("create partitions", () -> a.createPartitions(Map.of("copies", NewPartitions.increaseTo(2))).all());
            get("elect leaders", () -> a.electLeaders(ElectionType.PREFERRED, Set.of(partition)).all());
            get("reassign", () -> a.alterPartitionReassignments(Map.of(partition, Optional.of(new NewPartitionReassignment(List.of(1))))).all());
            get("list reassignments", () -> a.listPartitionReassignments().reassignments());
            get("describe producers", () -> a.describeProducers(List.of(partition)).all());
            get("list transactions", () -> a.listTransactions().all());
            get("describe transactions", () -> a.describeTransactions(List.of("transaction")).all());
            get("fence", () -> a.fenceProducers(List.of("transaction")).all());
            get("features", () -> a.describeFeatures().featureMetadata());
            get("quorum", () -> a.describeMetadataQuorum().quorumInfo());
            get("list groups", () -> a.listGroups().all());
            get("describe consumer groups", () -> a.describeConsumerGroups(List.of("group-classic", "group-consumer")).all());
            get("describe classic groups", () -> a.describeClassicGroups(List.of("group-classic")).all());
            get("describe share groups", () -> a.describeShareGroups(List.of("group-share")).all());
            get("group offsets", () -> a.listConsumerGroupOffsets("group-classic").partitionsToOffsetAndMetadata());
            get("share group offsets", () -> a.listShareGroupOffsets(Map.of("group-share",
                new org.apache.kafka.clients.admin.ListShareGroupOffsetsSpec())).all());
            get("alter group offsets", () -> a.alterConsumerGroupOffsets("group-classic", Map.of(partition, new OffsetAndMetadata(1))).all());
            get("delete group offsets", () -> a.deleteConsumerGroupOffsets("group-classic", Set.of(partition)).all());
            get("remove members", () -> a.removeMembersFromConsumerGroup("group-classic",
                new org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions()).all());
            get("delete groups", () -> a.deleteConsumerGroups(List.of("group-consumer", "none")).all());
            get("create token", () -> a.createDelegationToken().delegationToken());
            get("describe tokens", () -> a.describeDelegationToken().delegationTokens());
            get("delete topics", () -> a.deleteTopics(List.of("copies")).all());
        }
    }

    interface Call {
        KafkaFuture<?> call();
    }

    static void get(String name, Call c) {
        step(name, () -> {
            Object o = c.call().get();
            if (o instanceof Collection<?>) {
                System.out.println(((Collection<?>) o).size());
            }
        });
    }
}
