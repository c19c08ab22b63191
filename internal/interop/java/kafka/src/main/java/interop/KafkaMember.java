package interop;

import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** A member of a consumer group: ADDRESS GROUP TOPIC ASSIGNOR. It prints its partitions and values until its input ends. */
public class KafkaMember {
    public static void main(String[] args) throws Exception {
        Map<String, Object> c = new HashMap<>();
        c.put("bootstrap.servers", args[0]);
        c.put("group.id", args[1]);
        c.put("group.protocol", "classic");
        c.put("session.timeout.ms", "120000"); // who is thrown out on a busy machine reads records twice
        c.put("auto.offset.reset", "earliest");
        c.put("partition.assignment.strategy", args[3]);
        c.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        c.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        Thread main = Thread.currentThread();
        boolean[] stop = {false};
        new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                }
            } catch (Exception e) {
                // it ends
            }
            synchronized (stop) {
                stop[0] = true;
            }
        }).start();
        try (KafkaConsumer<String, String> k = new KafkaConsumer<>(c)) {
            k.subscribe(List.of(args[2]), new ConsumerRebalanceListener() {
                public void onPartitionsAssigned(Collection<TopicPartition> list) {
                    System.out.println("partitions " + k.assignment().size());
                }

                public void onPartitionsRevoked(Collection<TopicPartition> list) {
                }
            });
            while (true) {
                for (ConsumerRecord<String, String> r : k.poll(Duration.ofMillis(100))) {
                    System.out.println("value " + r.value());
                }
                synchronized (stop) {
                    if (stop[0]) {
                        break;
                    }
                }
            }
        }
        System.exit(0);
    }
}
