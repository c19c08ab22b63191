package interop;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Assignment;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.GroupSubscription;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Subscription;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.clients.consumer.internals.ConsumerProtocol;
import org.apache.kafka.common.Cluster;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;

/**
 * Reads a case per line and prints what the assignor gives each member. A line is the name of the assignor, then
 * "t/NAME/RACKS/RACKS" for each topic, with the racks of each partition separated by + and - for one that has none, and
 * "m/ID/INSTANCE/HEX" for each member, with the metadata of its JoinGroup request.
 */
public class KafkaAssign {
    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            try {
                System.out.println(assign(line.split(" ")));
            } catch (Throwable e) {
                System.out.println("error " + e.toString().replace('\n', ' '));
            }
        }
    }

    static String assign(String[] words) {
        ConsumerPartitionAssignor assignor = switch (words[0]) {
            case "range" -> new RangeAssignor();
            case "roundrobin" -> new RoundRobinAssignor();
            case "sticky" -> new StickyAssignor();
            default -> new CooperativeStickyAssignor();
        };
        List<PartitionInfo> partitions = new ArrayList<>();
        Map<String, Subscription> members = new HashMap<>();
        Map<String, Node> nodes = new HashMap<>();
        for (int i = 1; i < words.length; i++) {
            String[] parts = words[i].split("/", -1);
            if (parts[0].equals("t")) {
                for (int p = 2; p < parts.length; p++) {
                    List<Node> replicas = new ArrayList<>();
                    for (String rack : parts[p].split("\\+")) {
                        int n = nodes.size();
                        replicas.add(nodes.computeIfAbsent(rack, r -> new Node(n, "h", 1, r.equals("-") ? null : r)));
                    }
                    Node[] array = replicas.toArray(new Node[0]);
                    partitions.add(new PartitionInfo(parts[1], p - 2, array[0], array, array));
                }
            } else {
                Subscription s = ConsumerProtocol.deserializeSubscription(ByteBuffer.wrap(HexFormat.of().parseHex(parts[3])));
                s.setGroupInstanceId(parts[2].isEmpty() ? Optional.empty() : Optional.of(parts[2]));
                members.put(parts[1], s);
            }
        }
        Cluster cluster = new Cluster("c", nodes.values(), partitions, Set.of(), Set.of());
        Map<String, Assignment> result = assignor.assign(cluster, new GroupSubscription(members)).groupAssignment();
        StringBuilder out = new StringBuilder();
        for (Map.Entry<String, Assignment> e : new TreeMap<>(result).entrySet()) {
            TreeSet<String> names = new TreeSet<>();
            for (TopicPartition p : e.getValue().partitions()) {
                names.add(p.topic() + "-" + p.partition());
            }
            out.append(e.getKey()).append('=').append(String.join(",", names)).append(' ');
        }
        return out.toString().trim();
    }
}
