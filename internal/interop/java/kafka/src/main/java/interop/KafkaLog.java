package interop;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** Fills a broker with topics of all kinds, and reads them. */
public class KafkaLog {
    static String address;

    public static void main(String[] args) throws Exception {
        address = args[1];
        if (args[0].equals("create")) {
            create(args[2]);
        } else if (args[0].equals("fill")) {
            fill(args[2], Integer.parseInt(args[3]));
        } else {
            for (String topic : new String[] {"plain", "compacted"}) {
                for (String isolation : new String[] {"read_uncommitted", "read_committed"}) {
                    read(topic, isolation);
                }
            }
        }
    }

    static Map<String, Object> config(Object... more) {
        Map<String, Object> c = new HashMap<>();
        c.put("bootstrap.servers", address);
        c.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        c.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        c.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        c.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        for (int i = 0; i < more.length; i += 2) {
            c.put((String) more[i], more[i + 1]);
        }
        return c;
    }

    /** Creates the topics. The compacted one keeps what is younger than lag milliseconds as it is. */
    static void create(String lag) throws Exception {
        try (Admin a = Admin.create(config())) {
            Map<String, String> small = new HashMap<>(Map.of("segment.bytes", "1048576", "index.interval.bytes", "1000"));
            NewTopic plain = new NewTopic("plain", 1, (short) 1).configs(small);
            Map<String, String> compacted = new HashMap<>(small);
            compacted.putAll(Map.of("cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0.01", "min.compaction.lag.ms", lag));
            a.createTopics(List.of(plain, new NewTopic("compacted", 1, (short) 1).configs(compacted))).all().get();
        }
    }

    /** Writes records with each compression, in transactions that are committed and aborted, and one that stays open. */
    static void fill(String name, int n) throws Exception {
        for (String compression : new String[] {"none", "gzip", "snappy", "lz4", "zstd"}) {
            try (KafkaProducer<String, String> p = new KafkaProducer<>(config("compression.type", compression, "linger.ms", 5))) {
                send(p, name + compression, n);
            }
        }
        try (KafkaProducer<String, String> p = new KafkaProducer<>(config("transactional.id", name, "linger.ms", 5))) {
            p.initTransactions();
            for (int i = 0; i < 6; i++) {
                p.beginTransaction();
                send(p, name + "t" + i, n / 2);
                if (i % 2 == 0) {
                    p.commitTransaction();
                } else {
                    p.flush();
                    p.abortTransaction();
                }
            }
        }
    }

    static void send(KafkaProducer<String, String> p, String name, int n) throws Exception {
        for (int i = 0; i < n; i++) {
            String value = name + "-" + i + "x".repeat(i % 300);
            p.send(new ProducerRecord<>("plain", 0, "k" + i % 50, value));
            p.send(new ProducerRecord<>("compacted", 0, "k" + i % 50, i % 10 == 3 ? null : value));
        }
        p.flush();
    }

    static void read(String topic, String isolation) {
        TopicPartition tp = new TopicPartition(topic, 0);
        System.out.println(topic + " " + isolation);
        try (KafkaConsumer<String, String> c = new KafkaConsumer<>(config("isolation.level", isolation, "enable.auto.commit", "false"))) {
            c.assign(List.of(tp));
            c.seekToBeginning(List.of(tp));
            long end = c.endOffsets(List.of(tp)).get(tp);
            while (c.position(tp) < end) {
                for (ConsumerRecord<String, String> r : c.poll(Duration.ofSeconds(1))) {
                    System.out.println(r.offset() + ":" + r.key() + "=" + (r.value() == null ? "-" : r.value()));
                }
            }
        }
    }
}
