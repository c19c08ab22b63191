package interop;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AlreadyClosedException;
import com.rabbitmq.client.BuiltinExchangeType;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.Recoverable;
import com.rabbitmq.client.RecoveryListener;
import com.rabbitmq.client.RpcClient;
import com.rabbitmq.client.RpcClientParams;
import com.rabbitmq.client.RpcServer;
import com.rabbitmq.client.ShutdownSignalException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Checks a broker with the RabbitMQ Java client. Arguments: URL of AMQP, URL of the management API. */
public class CheckRabbitMQ {
    private static final String NAME = "java." + ProcessHandle.current().pid();

    private final String url;
    private final URI management;

    private CheckRabbitMQ(String url, String management) {
        this.url = url;
        this.management = URI.create(management);
    }

    public static void main(String[] args) {
        CheckRabbitMQ c = new CheckRabbitMQ(args[0], args[1]);
        Check check = new Check();
        check.run("publishAndConsume", c::publishAndConsume);
        check.run("confirms", c::confirms);
        check.run("mandatory", c::mandatory);
        check.run("properties", c::properties);
        check.run("acknowledgements", c::acknowledgements);
        check.run("exchanges", c::exchanges);
        check.run("errors", c::errors);
        check.run("transactions", c::transactions);
        check.run("deadLetters", c::deadLetters);
        check.run("singleActiveConsumer", c::singleActiveConsumer);
        check.run("rpc", c::rpc);
        check.run("consumerCancelled", c::consumerCancelled);
        check.run("heartbeats", c::heartbeats);
        check.run("wrongPassword", c::wrongPassword);
        check.run("recovery", c::recovery);
        check.exit();
    }

    private ConnectionFactory factory() throws Exception {
        ConnectionFactory f = new ConnectionFactory();
        f.setUri(url);
        f.setConnectionTimeout(Check.WAIT * 1000);
        f.setHandshakeTimeout(Check.WAIT * 1000);
        f.setChannelRpcTimeout(10 * Check.WAIT * 1000);
        f.setAutomaticRecoveryEnabled(false);
        return f;
    }

    private Connection open() throws Exception {
        return factory().newConnection(NAME);
    }

    private static BlockingQueue<Delivery> collect(Channel ch, String queue, boolean autoAck) throws Exception {
        BlockingQueue<Delivery> got = new LinkedBlockingQueue<>();
        ch.basicConsume(queue, autoAck, (tag, d) -> got.add(d), tag -> {});
        return got;
    }

    private static Delivery take(BlockingQueue<Delivery> q) throws Exception {
        Delivery d = q.poll(Check.WAIT, TimeUnit.SECONDS);
        if (d == null) {
            throw new AssertionError("no message");
        }
        return d;
    }

    private static String text(Delivery d) {
        return new String(d.getBody(), StandardCharsets.UTF_8);
    }

    private static byte[] bytes(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    private interface Call {
        void run() throws Exception;
    }

    /** Says that the call must close the channel with that code. */
    private static void closes(int code, Call call) throws Exception {
        try {
            call.run();
        } catch (Exception e) {
            Throwable cause = e instanceof ShutdownSignalException ? e : e.getCause();
            if (cause instanceof ShutdownSignalException s && s.getReason() instanceof AMQP.Channel.Close c) {
                Check.equal(code, c.getReplyCode());
                return;
            }
            throw e;
        }
        throw new AssertionError("no error");
    }

    private void publishAndConsume() throws Exception {
        try (Connection c = open()) {
            Channel ch = c.createChannel();
            String q = ch.queueDeclare().getQueue();
            BlockingQueue<Delivery> got = collect(ch, q, true);
            for (int i = 0; i < 1000; i++) {
                ch.basicPublish("", q, null, bytes("" + i));
            }
            for (int i = 0; i < 1000; i++) {
                Check.equal("" + i, text(take(got)));
            }
            byte[] large = new byte[3 << 20];
            ch.basicPublish("", q, null, large);
            Check.equal(large.length, take(got).getBody().length);
        }
    }

    private void confirms() throws Exception {
        try (Connection c = open()) {
            Channel ch = c.createChannel();
            ch.queueDeclare(NAME + ".confirms", true, false, false, null);
            ch.confirmSelect();
            for (int i = 0; i < 500; i++) {
                ch.basicPublish("", NAME + ".confirms", com.rabbitmq.client.MessageProperties.PERSISTENT_BASIC, bytes("x"));
            }
            ch.waitForConfirmsOrDie(Check.WAIT * 1000L);
            Check.equal(500L, ch.messageCount(NAME + ".confirms"));
            ch.queueDelete(NAME + ".confirms");
        }
    }

    private void mandatory() throws Exception {
        try (Connection c = open()) {
            Channel ch = c.createChannel();
            BlockingQueue<String> events = new LinkedBlockingQueue<>();
            ch.addReturnListener(r -> events.add("return " + r.getReplyCode()));
            ch.addConfirmListener((tag, multiple) -> events.add("ack " + tag), (tag, multiple) -> events.add("nack " + tag));
            ch.confirmSelect();
            ch.basicPublish("", "no.such.queue", true, null, bytes("x"));
            Check.equal("return 312", events.poll(Check.WAIT, TimeUnit.SECONDS));
            Check.equal("ack 1", events.poll(Check.WAIT, TimeUnit.SECONDS));
        }
    }

    private void properties() throws Exception {
        try (Connection c = open()) {
            Channel ch = c.createChannel();
            String q = ch.queueDeclare().getQueue();
            Map<String, Object> headers = new HashMap<>();
            headers.put("int", 1);
            headers.put("long", 1L << 40);
            headers.put("bool", true);
            headers.put("double", 1.5);
            headers.put("date", new Date(1_700_000_000_000L));
            headers.put("list", List.of(1, true));
            headers.put("null", null);
            headers.put("decimal", new java.math.BigDecimal("3.14"));
            AMQP.BasicProperties p = new AMQP.BasicProperties.Builder().contentType("text/plain").contentEncoding("utf-8").headers(headers)
                    .deliveryMode(2).priority(3).correlationId("c").replyTo("r").expiration("60000").messageId("m")
                    .timestamp(new Date(1_700_000_000_000L)).type("t").userId("guest").appId("a").clusterId("x").build();
            ch.basicPublish("", q, p, new byte[0]);
            AMQP.BasicProperties got = take(collect(ch, q, true)).getProperties();
            Check.equal(headers, got.getHeaders());
            Check.equal(p.toString(), got.toString());
        }
    }

    private void acknowledgements() throws Exception {
        try (Connection c = open()) {
            Channel ch = c.createChannel();
            String q = ch.queueDeclare().getQueue();
            for (int i = 0; i < 6; i++) {
                ch.basicPublish("", q, null, bytes("" + i));
            }
            ch.basicQos(3);
            BlockingQueue<Delivery> got = collect(ch, q, false);
            List<Long> tags = new ArrayList<>();
            for (int i = 0; i < 3; i++) {
                tags.add(take(got).getEnvelope().getDeliveryTag());
            }
            Check.equal(null, got.poll(100, TimeUnit.MILLISECONDS));
            ch.basicReject(tags.get(0), true);
            Delivery again = take(got);
            Check.equal("0", text(again));
            Check.equal(true, again.getEnvelope().isRedeliver());
            ch.basicAck(again.getEnvelope().getDeliveryTag(), true);
            for (int i = 3; i < 6; i++) {
                Check.equal("" + i, text(take(got)));
            }
            ch.basicRecover(true);
            for (int i = 3; i < 6; i++) {
                Check.equal("" + i, text(take(got)));
            }
        }
    }

    private void exchanges() throws Exception {
        try (Connection c = open()) {
            Channel ch = c.createChannel();
            for (BuiltinExchangeType type : List.of(BuiltinExchangeType.DIRECT, BuiltinExchangeType.FANOUT,
                    BuiltinExchangeType.TOPIC, BuiltinExchangeType.HEADERS)) {
                String x = NAME + "." + type;
                ch.exchangeDeclare(x, type, false, true, null);
                String q = ch.queueDeclare().getQueue();
                ch.queueBind(q, x, type == BuiltinExchangeType.TOPIC ? "*.b.#" : "a.b", Map.of("h", 1));
                ch.basicPublish(x, "a.b", new AMQP.BasicProperties.Builder().headers(Map.of("h", 1)).build(), bytes("x"));
                Delivery d = take(collect(ch, q, true));
                Check.equal(x, d.getEnvelope().getExchange());
                ch.exchangeDelete(x);
            }
        }
    }

    private void errors() throws Exception {
        try (Connection c = open()) {
            closes(404, () -> c.createChannel().queueDeclarePassive("no.such.queue"));
            closes(403, () -> c.createChannel().exchangeDeclare("amq.own", "direct"));
            Channel ch = c.createChannel();
            String q = NAME + ".errors";
            ch.queueDeclare(q, false, true, true, null);
            closes(406, () -> c.createChannel().queueDeclare(q, false, true, false, null));
            try (Connection d = open()) {
                closes(405, () -> d.createChannel().basicGet(q, true));
            }
            CompletableFuture<Integer> code = new CompletableFuture<>();
            Channel bad = c.createChannel();
            bad.addShutdownListener(e -> code.complete(((AMQP.Channel.Close) e.getReason()).getReplyCode()));
            bad.basicAck(99, false);
            Check.equal(406, code.get(Check.WAIT, TimeUnit.SECONDS));
            try {
                bad.basicAck(99, false);
                throw new AssertionError("no error");
            } catch (AlreadyClosedException e) {
                // as it must be
            }
            ch.queueDelete(q);
        }
    }

    private void transactions() throws Exception {
        try (Connection c = open()) {
            Channel ch = c.createChannel();
            String q = ch.queueDeclare().getQueue();
            ch.txSelect();
            ch.basicPublish("", q, null, bytes("1"));
            ch.txRollback();
            ch.basicPublish("", q, null, bytes("2"));
            Check.equal(0L, ch.messageCount(q));
            ch.txCommit();
            GetResponse r = ch.basicGet(q, false);
            Check.equal("2", new String(r.getBody(), StandardCharsets.UTF_8));
            ch.basicAck(r.getEnvelope().getDeliveryTag(), false);
            ch.txCommit();
            Check.equal(0L, ch.messageCount(q));
        }
    }

    @SuppressWarnings("unchecked")
    private void deadLetters() throws Exception {
        try (Connection c = open()) {
            Channel ch = c.createChannel();
            String dead = ch.queueDeclare().getQueue();
            String q = ch.queueDeclare("", false, true, true,
                    Map.of("x-dead-letter-exchange", "", "x-dead-letter-routing-key", dead, "x-max-length", 1)).getQueue();
            ch.basicPublish("", q, null, bytes("1"));
            ch.basicPublish("", q, null, bytes("2"));
            Delivery d = take(collect(ch, dead, true));
            Map<String, Object> death = ((List<Map<String, Object>>) d.getProperties().getHeaders().get("x-death")).get(0);
            Check.equal("maxlen", death.get("reason").toString());
            Check.equal(1L, death.get("count"));
        }
    }

    private void singleActiveConsumer() throws Exception {
        try (Connection c = open()) {
            Channel ch = c.createChannel();
            String q = ch.queueDeclare("", false, true, true, Map.of("x-single-active-consumer", true)).getQueue();
            BlockingQueue<Delivery> first = new LinkedBlockingQueue<>();
            String tag = ch.basicConsume(q, true, (t, d) -> first.add(d), t -> {});
            BlockingQueue<Delivery> second = collect(ch, q, true);
            ch.basicPublish("", q, null, bytes("1"));
            Check.equal("1", text(take(first)));
            ch.basicCancel(tag);
            ch.basicPublish("", q, null, bytes("2"));
            Check.equal("2", text(take(second)));
        }
    }

    private void rpc() throws Exception {
        try (Connection c = open(); Connection s = open()) {
            Channel sch = s.createChannel();
            String q = sch.queueDeclare().getQueue();
            RpcServer server = new RpcServer(sch, q) {
                @Override
                public byte[] handleCall(byte[] request, AMQP.BasicProperties replyProperties) {
                    return bytes("re: " + new String(request, StandardCharsets.UTF_8));
                }
            };
            Thread t = new Thread(() -> {
                try {
                    server.mainloop();
                } catch (Exception e) {
                    // the connection is closed at the end
                }
            });
            t.setDaemon(true);
            t.start();
            RpcClient client = new RpcClient(new RpcClientParams().channel(c.createChannel()).exchange("").routingKey(q).timeout(Check.WAIT * 1000));
            for (int i = 0; i < 20; i++) {
                Check.equal("re: " + i, client.stringCall("" + i));
            }
        }
    }

    private void consumerCancelled() throws Exception {
        try (Connection c = open()) {
            Channel ch = c.createChannel();
            ch.queueDeclare(NAME + ".gone", false, false, false, null);
            CompletableFuture<String> gone = new CompletableFuture<>();
            String tag = ch.basicConsume(NAME + ".gone", true, (t, d) -> {}, gone::complete);
            c.createChannel().queueDelete(NAME + ".gone");
            Check.equal(tag, gone.get(Check.WAIT, TimeUnit.SECONDS));
        }
    }

    /** A connection ends after two heartbeats of silence, so both sides must send some; they have time for that. */
    private void heartbeats() throws Exception {
        ConnectionFactory f = factory();
        f.setRequestedHeartbeat(5);
        try (Connection c = f.newConnection()) {
            Check.equal(5, c.getHeartbeat());
            Thread.sleep(13_000);
            c.createChannel().queueDeclare();
        }
    }

    private void wrongPassword() throws Exception {
        ConnectionFactory f = factory();
        f.setPassword("wrong");
        try {
            f.newConnection().close();
        } catch (com.rabbitmq.client.AuthenticationFailureException e) {
            return;
        }
        throw new AssertionError("no error");
    }

    /** The operator closes the connection; queues, bindings and consumers are made again. */
    private void recovery() throws Exception {
        ConnectionFactory f = factory();
        f.setAutomaticRecoveryEnabled(true);
        f.setNetworkRecoveryInterval(200);
        String name = NAME + ".recovery";
        try (Connection c = f.newConnection(name)) {
            CountDownLatch recovered = new CountDownLatch(1);
            ((Recoverable) c).addRecoveryListener(new RecoveryListener() {
                @Override
                public void handleRecovery(Recoverable r) {
                    recovered.countDown();
                }

                @Override
                public void handleRecoveryStarted(Recoverable r) {}
            });
            Channel ch = c.createChannel();
            String x = NAME + ".recovered";
            ch.exchangeDeclare(x, "direct", false, true, null);
            String q = ch.queueDeclare().getQueue();
            ch.queueBind(q, x, "k");
            BlockingQueue<Delivery> got = collect(ch, q, true);
            drop(name);
            Check.equal(true, recovered.await(Check.WAIT, TimeUnit.SECONDS));
            ch.basicPublish(x, "k", null, bytes("again"));
            Check.equal("again", text(take(got)));
        }
    }

    /** Closes a connection over the management API, which may not know it at once. */
    private void drop(String name) throws Exception {
        HttpClient http = HttpClient.newHttpClient();
        String auth = "Basic " + Base64.getEncoder().encodeToString(bytes(management.getUserInfo()));
        String base = "http://" + management.getHost() + ":" + management.getPort() + "/api/connections";
        for (int i = 0; i < 5 * Check.WAIT; i++) {
            String list = http.send(HttpRequest.newBuilder(URI.create(base)).header("Authorization", auth).build(),
                    HttpResponse.BodyHandlers.ofString()).body();
            for (String one : list.split("(?=\\{\"auth_mechanism\")|(?<=\\}),(?=\\{)")) {
                java.util.regex.Matcher m = java.util.regex.Pattern.compile("\"name\":\"([^\"]* -> [^\"]*)\"").matcher(one);
                if (one.contains("\"" + name + "\"") && m.find()) {
                    String path = URLEncoder.encode(m.group(1), StandardCharsets.UTF_8).replace("+", "%20");
                    int status = http.send(HttpRequest.newBuilder(URI.create(base + "/" + path)).header("Authorization", auth).DELETE().build(),
                            HttpResponse.BodyHandlers.discarding()).statusCode();
                    Check.equal(204, status);
                    return;
                }
            }
            Thread.sleep(200);
        }
        throw new AssertionError("the management API does not show the connection " + name);
    }
}
