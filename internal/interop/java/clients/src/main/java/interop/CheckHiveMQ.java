package interop;

import com.hivemq.client.mqtt.MqttGlobalPublishFilter;
import com.hivemq.client.mqtt.datatypes.MqttQos;
import com.hivemq.client.mqtt.mqtt3.Mqtt3BlockingClient;
import com.hivemq.client.mqtt.mqtt3.Mqtt3Client;
import com.hivemq.client.mqtt.mqtt3.message.publish.Mqtt3Publish;
import com.hivemq.client.mqtt.mqtt5.Mqtt5BlockingClient;
import com.hivemq.client.mqtt.mqtt5.Mqtt5Client;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5Publish;
import java.nio.charset.StandardCharsets;
import java.util.Optional;
import java.util.concurrent.TimeUnit;

/** Checks a broker with the HiveMQ client. Arguments: host, port, version (4 or 5). User and password: USER_NAME, PASSWORD. */
public class CheckHiveMQ {
    static final int N = 100;
    static String host;
    static int port;
    static final String id = "hivemq-client-" + ProcessHandle.current().pid() + "-";

    public static void main(String[] args) {
        host = args[0];
        port = Integer.parseInt(args[1]);
        Check check = new Check();
        if (args[2].equals("4")) {
            check.run("everyQoS", CheckHiveMQ::everyQoS3);
            check.run("session", CheckHiveMQ::session3);
        } else {
            check.run("everyQoS", CheckHiveMQ::everyQoS5);
            check.run("session", CheckHiveMQ::session5);
            check.run("retained", CheckHiveMQ::retained5);
        }
        check.exit();
    }

    static byte[] bytes(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    static Mqtt3BlockingClient open3(String name, boolean clean) {
        Mqtt3BlockingClient c = Mqtt3Client.builder()
                .identifier(id + name)
                .serverHost(host)
                .serverPort(port)
                .simpleAuth()
                .username(System.getenv("USER_NAME"))
                .password(bytes(System.getenv("PASSWORD")))
                .applySimpleAuth()
                .buildBlocking();
        c.connectWith().cleanSession(clean).send();
        return c;
    }

    static Mqtt3Publish next(Mqtt3BlockingClient.Mqtt3Publishes ps) throws InterruptedException {
        Optional<Mqtt3Publish> p = ps.receive(Check.WAIT, TimeUnit.SECONDS);
        return p.orElseThrow(() -> new AssertionError("no message after " + Check.WAIT + " s"));
    }

    static void everyQoS3() throws Exception {
        Mqtt3BlockingClient sub = open3("sub", true);
        Mqtt3BlockingClient pub = open3("pub", true);
        try (Mqtt3BlockingClient.Mqtt3Publishes ps = sub.publishes(MqttGlobalPublishFilter.ALL)) {
            for (MqttQos qos : MqttQos.values()) {
                String topic = id + "3/" + qos.getCode();
                sub.subscribeWith().topicFilter(topic).qos(qos).send();
                for (int i = 0; i < N; i++) {
                    pub.publishWith().topic(topic).qos(qos).payload(bytes("" + i)).send();
                }
                for (int i = 0; i < N; i++) {
                    Mqtt3Publish p = next(ps);
                    Check.equal(topic, p.getTopic().toString());
                    Check.equal(qos, p.getQos());
                    Check.equal("" + i, new String(p.getPayloadAsBytes()));
                }
            }
        }
        sub.disconnect();
        pub.disconnect();
    }

    static void session3() throws Exception {
        String topic = id + "3/session";
        Mqtt3BlockingClient first = open3("stay", false);
        first.subscribeWith().topicFilter(topic).qos(MqttQos.AT_LEAST_ONCE).send();
        first.disconnect();
        Mqtt3BlockingClient pub = open3("pub", true);
        for (int i = 0; i < N; i++) {
            pub.publishWith().topic(topic).qos(MqttQos.AT_LEAST_ONCE).payload(bytes("" + i)).send();
        }
        try (Mqtt3BlockingClient.Mqtt3Publishes ps = first.publishes(MqttGlobalPublishFilter.ALL)) {
            Check.equal(true, first.connectWith().cleanSession(false).send().isSessionPresent());
            for (int i = 0; i < N; i++) {
                Check.equal("" + i, new String(next(ps).getPayloadAsBytes()));
            }
        }
        first.disconnect();
        pub.disconnect();
    }

    static Mqtt5BlockingClient open5(String name, long expiry) {
        Mqtt5BlockingClient c = Mqtt5Client.builder()
                .identifier(id + name)
                .serverHost(host)
                .serverPort(port)
                .simpleAuth()
                .username(System.getenv("USER_NAME"))
                .password(bytes(System.getenv("PASSWORD")))
                .applySimpleAuth()
                .buildBlocking();
        c.connectWith().cleanStart(expiry == 0).sessionExpiryInterval(expiry).send();
        return c;
    }

    static Mqtt5Publish next(Mqtt5BlockingClient.Mqtt5Publishes ps) throws InterruptedException {
        Optional<Mqtt5Publish> p = ps.receive(Check.WAIT, TimeUnit.SECONDS);
        return p.orElseThrow(() -> new AssertionError("no message after " + Check.WAIT + " s"));
    }

    static void everyQoS5() throws Exception {
        Mqtt5BlockingClient sub = open5("sub", 0);
        Mqtt5BlockingClient pub = open5("pub", 0);
        try (Mqtt5BlockingClient.Mqtt5Publishes ps = sub.publishes(MqttGlobalPublishFilter.ALL)) {
            for (MqttQos qos : MqttQos.values()) {
                String topic = id + "5/" + qos.getCode();
                sub.subscribeWith().topicFilter(topic).qos(qos).send();
                for (int i = 0; i < N; i++) {
                    pub.publishWith().topic(topic).qos(qos).payload(bytes("" + i))
                            .contentType("text/plain")
                            .responseTopic("answers")
                            .correlationData(new byte[] {1, 2})
                            .messageExpiryInterval(60)
                            .userProperties().add("i", "" + i).applyUserProperties()
                            .send();
                }
                for (int i = 0; i < N; i++) {
                    Mqtt5Publish p = next(ps);
                    Check.equal(topic, p.getTopic().toString());
                    Check.equal(qos, p.getQos());
                    Check.equal("" + i, new String(p.getPayloadAsBytes()));
                    Check.equal("text/plain", p.getContentType().orElseThrow().toString());
                    Check.equal("answers", p.getResponseTopic().orElseThrow().toString());
                    Check.equal(2, p.getCorrelationData().orElseThrow().remaining());
                    Check.equal("" + i, p.getUserProperties().asList().get(0).getValue().toString());
                    Check.equal(true, p.getMessageExpiryInterval().orElseThrow() <= 60);
                }
            }
        }
        sub.disconnect();
        pub.disconnect();
    }

    static void session5() throws Exception {
        String topic = id + "5/session";
        Mqtt5BlockingClient first = open5("stay", 60);
        first.subscribeWith().topicFilter(topic).qos(MqttQos.EXACTLY_ONCE).send();
        first.disconnect();
        Mqtt5BlockingClient pub = open5("pub", 0);
        for (int i = 0; i < N; i++) {
            pub.publishWith().topic(topic).qos(MqttQos.EXACTLY_ONCE).payload(bytes("" + i)).send();
        }
        try (Mqtt5BlockingClient.Mqtt5Publishes ps = first.publishes(MqttGlobalPublishFilter.ALL)) {
            Check.equal(true, first.connectWith().cleanStart(false).sessionExpiryInterval(60).send().isSessionPresent());
            for (int i = 0; i < N; i++) {
                Check.equal("" + i, new String(next(ps).getPayloadAsBytes()));
            }
        }
        first.disconnectWith().sessionExpiryInterval(0).send();
        pub.disconnect();
    }

    static void retained5() throws Exception {
        String topic = id + "5/kept";
        Mqtt5BlockingClient c = open5("retained", 0);
        c.publishWith().topic(topic).qos(MqttQos.AT_LEAST_ONCE).retain(true).payload(bytes("kept")).send();
        try (Mqtt5BlockingClient.Mqtt5Publishes ps = c.publishes(MqttGlobalPublishFilter.ALL)) {
            c.subscribeWith().topicFilter(topic).qos(MqttQos.AT_LEAST_ONCE).send();
            Mqtt5Publish p = next(ps);
            Check.equal(true, p.isRetain());
            Check.equal("kept", new String(p.getPayloadAsBytes()));
            c.publishWith().topic(topic).qos(MqttQos.AT_LEAST_ONCE).retain(true).send();
            Check.equal(false, next(ps).isRetain());
        }
        c.disconnect();
    }
}
