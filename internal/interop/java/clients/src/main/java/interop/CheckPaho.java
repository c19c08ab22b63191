package interop;

import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.eclipse.paho.client.mqttv3.IMqttDeliveryToken;
import org.eclipse.paho.client.mqttv3.MqttCallback;
import org.eclipse.paho.client.mqttv3.MqttClient;
import org.eclipse.paho.client.mqttv3.MqttConnectOptions;
import org.eclipse.paho.client.mqttv3.MqttMessage;
import org.eclipse.paho.client.mqttv3.persist.MemoryPersistence;

/** Checks a broker with the Paho client. Arguments: host, port, version (3 or 4). User and password: USER_NAME, PASSWORD. */
public class CheckPaho {
    static final int N = 100;
    static String url;
    static int version;
    static final String id = "paho-" + ProcessHandle.current().pid() % 10000;

    public static void main(String[] args) {
        url = "tcp://" + args[0] + ":" + args[1];
        version = Integer.parseInt(args[2]);
        Check check = new Check();
        check.run("everyQoS", CheckPaho::everyQoS);
        check.run("retained", CheckPaho::retained);
        check.run("session", CheckPaho::session);
        check.exit();
    }

    /** A connected client whose messages are in a queue. */
    static class Client implements MqttCallback {
        final BlockingQueue<MqttMessage> messages = new LinkedBlockingQueue<>();
        final MqttClient c;

        Client(String name, boolean clean) throws Exception {
            c = new MqttClient(url, id + name, new MemoryPersistence());
            MqttConnectOptions o = new MqttConnectOptions();
            o.setMqttVersion(version);
            o.setCleanSession(clean);
            o.setMaxInflight(1000); // a publish that has returned may still count for a moment
            o.setUserName(System.getenv("USER_NAME"));
            o.setPassword(System.getenv("PASSWORD").toCharArray());
            c.setCallback(this);
            c.connect(o);
        }

        MqttMessage next() throws Exception {
            MqttMessage m = messages.poll(Check.WAIT, TimeUnit.SECONDS);
            if (m == null) {
                throw new AssertionError("no message after " + Check.WAIT + " s");
            }
            return m;
        }

        @Override
        public void messageArrived(String topic, MqttMessage m) {
            messages.add(m);
        }

        @Override
        public void connectionLost(Throwable cause) {}

        @Override
        public void deliveryComplete(IMqttDeliveryToken token) {}
    }

    static void everyQoS() throws Exception {
        Client sub = new Client("s", true);
        Client pub = new Client("p", true);
        for (int qos = 0; qos <= 2; qos++) {
            String topic = id + "/" + version + "/" + qos;
            sub.c.subscribe(topic, qos);
            for (int i = 0; i < N; i++) {
                pub.c.publish(topic, ("" + i).getBytes(), qos, false);
            }
            for (int i = 0; i < N; i++) {
                MqttMessage m = sub.next();
                Check.equal("" + i, new String(m.getPayload()));
                Check.equal(qos, m.getQos());
                Check.equal(false, m.isRetained());
            }
        }
        sub.c.disconnect();
        pub.c.disconnect();
    }

    static void retained() throws Exception {
        String topic = id + "/" + version + "/kept";
        Client c = new Client("r", true);
        c.c.publish(topic, "kept".getBytes(), 1, true);
        c.c.subscribe(topic, 1);
        MqttMessage m = c.next();
        Check.equal("kept", new String(m.getPayload()));
        Check.equal(true, m.isRetained());
        c.c.publish(topic, new byte[0], 1, true);
        Check.equal(0, c.next().getPayload().length);
        c.c.disconnect();
    }

    static void session() throws Exception {
        String topic = id + "/" + version + "/session";
        Client first = new Client("k", false);
        first.c.subscribe(topic, 1);
        first.c.disconnect();
        Client pub = new Client("p", true);
        for (int i = 0; i < N; i++) {
            pub.c.publish(topic, ("" + i).getBytes(), 1, false);
        }
        Client second = new Client("k", false);
        for (int i = 0; i < N; i++) {
            Check.equal("" + i, new String(second.next().getPayload()));
        }
        second.c.disconnect();
        pub.c.disconnect();
        new Client("k", true).c.disconnect();
    }
}
