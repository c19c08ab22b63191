package interop;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.List;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;

/**
 * Reads lines "NAME VERSION 0xHEX" and answers each with the same bytes, as Kafka's own classes write them again, and
 * what they found in them as JSON.
 */
public class KafkaWire {
    static final List<String> PACKAGES = List.of(
        "org.apache.kafka.common.message.",
        "org.apache.kafka.coordinator.group.generated.",
        "org.apache.kafka.coordinator.transaction.generated.");

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null; ) {
            String[] words = line.split(" ");
            String answer;
            try {
                answer = decode(words[0], Short.parseShort(words[1]), HexFormat.of().parseHex(words[2].substring(2)));
            } catch (Throwable e) {
                answer = "error " + e.toString().replace('\n', ' ');
            }
            System.out.println(answer);
        }
    }

    static Class<?> find(String name) throws ClassNotFoundException {
        for (String p : PACKAGES) {
            try {
                return Class.forName(p + name);
            } catch (ClassNotFoundException e) {
                // the next one
            }
        }
        throw new ClassNotFoundException(name);
    }

    static String decode(String name, short version, byte[] bytes) throws Exception {
        Class<?> type = find(name);
        Message m = (Message) type.getDeclaredConstructor().newInstance();
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        m.read(new ByteBufferAccessor(buffer), version);
        if (buffer.hasRemaining()) {
            return "error " + buffer.remaining() + " bytes are left";
        }
        ByteBuffer out = MessageUtil.toByteBufferAccessor(m, version).buffer();
        byte[] again = new byte[out.remaining()];
        out.get(again);
        Class<?> converter = find(name + "JsonConverter");
        Method write = converter.getMethod("write", type, short.class, boolean.class);
        Object json = write.invoke(null, m, version, false);
        return "0x" + HexFormat.of().formatHex(again) + " " + json;
    }
}
