"""What librdkafka does on a Kafka broker by way of confluent-kafka-python, one line for each thing: "ok name" or "FAIL name: why"."""

import os
import sys
import threading
import time
import traceback

from confluent_kafka import (Consumer, ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, Producer,
                             TopicPartition)
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, AlterConfigOpType,
                                   ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourcePatternType,
                                   ResourceType, ScramCredentialInfo, ScramMechanism, UserScramCredentialDeletion,
                                   UserScramCredentialUpsertion)

env = os.environ
OPEN = {"bootstrap.servers": env["OPEN"]}
EPOCH = int(time.time() * 1000) - 3_600_000
PATIENCE = 180  # seconds until something counts as hanging: a busy machine is slow
quiet = {"error_cb": lambda e: None, "log_cb": None, "log_level": 0}


def name(s):
    return env["PREFIX"] + "-" + s


def config(*parts, **more):
    c = dict(OPEN)
    for p in parts:
        c.update(p)
    c.update({k.replace("_", "."): v for k, v in more.items()})
    c["error_cb"] = lambda e: None
    c["log_level"] = 0
    return c


def check(ok, *what):
    if not ok:
        raise Exception(" ".join(map(str, what)))


def fails(code, f):
    """Expects an error with a code."""
    try:
        f()
    except KafkaException as e:
        if e.args[0].code() == code:
            return
        raise
    raise Exception(f"no error {code}")


def eventually(f):
    end = time.time() + PATIENCE
    while True:
        try:
            return f()
        except Exception:
            if time.time() > end:
                raise
            time.sleep(0.05)


def step(feature, f):
    try:
        f()
        print("ok", feature, flush=True)
    except Exception as e:
        at = traceback.extract_tb(e.__traceback__)[-1]
        print(f"FAIL {feature}: {type(e).__name__} {str(e)!r} (line {at.lineno})".replace("\n", " "), flush=True)


admin = AdminClient(config())


def wait(futures):
    return {k: f.result(PATIENCE) for k, f in futures.items()}


def create(topic, partitions=1, **configs):
    t = name(topic)
    wait(admin.create_topics([NewTopic(t, partitions, 1, config={k.replace("_", "."): v for k, v in configs.items()})]))

    def there():
        check(admin.list_topics(t, timeout=PATIENCE).topics[t].error is None, "not there")
    eventually(there)
    return t


def produce(topic, n, partitions=1, **more):
    p = Producer(config(**more))
    errors = []
    for i in range(n):
        p.produce(topic, str(i), str(i), i % partitions, on_delivery=lambda e, m: e and errors.append(e), timestamp=EPOCH + i * 1000)
    check(p.flush(PATIENCE) == 0, "not flushed")
    if errors:
        raise KafkaException(errors[0])


def fill(topic, n, partitions=1):
    t = create(topic, partitions)
    produce(t, n, partitions)
    return t


def take(c, n):
    out = []
    end = time.time() + PATIENCE
    while len(out) < n:
        for m in c.consume(n - len(out), 0.5):
            if m.error():
                raise KafkaException(m.error())
            out.append(m)
        check(time.time() < end, len(out), "of", n, "records")
    return out


def read(topic, n, offset=0, partitions=1, **more):
    c = Consumer(config(group_id=name("reader"), enable_auto_commit=False, auto_offset_reset="earliest", **more))
    try:
        c.assign([TopicPartition(topic, p, offset) for p in range(partitions)])
        out = take(c, n)
        check(c.poll(0.1) is None, "more than", n, "records")
        return out
    finally:
        c.close()


def round_trip(topic, **more):
    t = create(topic)
    produce(t, 1000, **more)
    for i, m in enumerate(read(t, 1000)):
        check(m.offset() == i and m.value() == b"%d" % i and m.timestamp()[1] == EPOCH + i * 1000, i, m.offset(), m.value())


def headers():
    t = create("headers")
    p = Producer(config())
    p.produce(t, b"v", None, headers=[("a", b"1"), ("a", b"2"), ("b", None)])
    p.produce(t, None, b"k")
    p.produce(t, b"", b"")
    check(p.flush(PATIENCE) == 0, "not flushed")
    a, b, c = read(t, 3)
    check(a.key() is None and a.headers() == [("a", b"1"), ("a", b"2"), ("b", None)], a.headers())
    check(b.key() == b"k" and b.value() is None, b.value())
    check(c.key() == b"" and c.value() == b"", c.value())


def delivered(topic, value, key=None, **more):
    p = Producer(config(**more))
    got = []
    p.produce(topic, value, key, on_delivery=lambda e, m: got.append(e))
    p.flush(PATIENCE)
    if got[0]:
        raise KafkaException(got[0])


def too_large():
    t = create("large", max_message_bytes="10000")
    fails(KafkaError.MSG_SIZE_TOO_LARGE, lambda: delivered(t, b"x" * 20000))
    delivered(t, b"x" * 9000)


def auto_create():
    produce(name("auto"), 3)
    read(name("auto"), 3)


def null_key():
    t = create("compacted", cleanup_policy="compact")
    fails(KafkaError.INVALID_RECORD, lambda: delivered(t, b"v"))
    delivered(t, b"v", b"k")


def from_offset():
    t = fill("from-offset", 100)
    check(read(t, 40, 60)[0].offset() == 60, "not at 60")


def from_timestamp():
    t = fill("from-timestamp", 100)
    c = Consumer(config(group_id=name("times")))
    at = c.offsets_for_times([TopicPartition(t, 0, EPOCH + 69_500)], PATIENCE)[0].offset
    low, high = c.get_watermark_offsets(TopicPartition(t, 0), PATIENCE)
    c.close()
    check((at, low, high) == (70, 0, 100), at, low, high)


def out_of_range():
    t = fill("range", 10)
    read(t, 10, 1000)
    c = Consumer(config(group_id=name("range"), auto_offset_reset="error"))
    c.assign([TopicPartition(t, 0, 1000)])
    fails(KafkaError._AUTO_OFFSET_RESET, lambda: take(c, 1))
    c.close()


def group(g, **more):
    return Consumer(config(group_id=name(g), enable_auto_commit=False, auto_offset_reset="earliest", heartbeat_interval_ms=200, **more))


def resume():
    t = fill("resume", 100)
    c = group("resume")
    c.subscribe([t])
    m = take(c, 40)[-1]
    c.commit(m, asynchronous=False)
    c.close()
    c = group("resume")
    c.subscribe([t])
    check(take(c, 60)[0].offset() == 40, "not at 40")
    c.close()


class Member:
    """A member of a group that polls in a thread."""

    def __init__(self, g, topic, **more):
        self.c = group(g, **more)
        self.parts = -1
        self.stop = False
        self.c.subscribe([topic])
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop:
            self.c.poll(0.05)
            self.parts = len(self.c.assignment())
        self.c.close()

    def wait(self, n):
        end = time.time() + PATIENCE
        while self.parts != n:
            check(time.time() < end, "has", self.parts, "partitions, want", n)
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop = True
        self.thread.join()


def rebalance(g, assignor):
    t = create("rebalance-" + g, 4)
    more = {"partition_assignment_strategy": assignor}
    with Member(g, t, **more) as one:
        one.wait(4)
        with Member(g, t, **more) as two:
            one.wait(2)
            two.wait(2)
        one.wait(4)


def static():
    t = create("static", 4)
    with Member("static", t, group_instance_id="one") as one:
        one.wait(4)
        with Member("static", t, group_instance_id="two") as two:
            two.wait(2)
            one.wait(2)
        with Member("static", t, group_instance_id="two") as two:
            two.wait(2)
            one.wait(2)
        d = wait(admin.describe_consumer_groups([name("static")]))[name("static")]
        check(sorted(m.group_instance_id for m in d.members) == ["one", "two"], d.members)


def pattern():
    for t in ("pattern-a", "pattern-b", "other"):
        fill(t, 5)
    c = group("pattern")
    c.subscribe(["^" + name("pattern-.")])
    take(c, 10)
    c.close()


def transactions():
    t = create("transactions", 2)
    p = Producer(config(transactional_id=name("t")))
    p.init_transactions(PATIENCE)
    for i in range(6):
        p.begin_transaction()
        for j in range(10):
            p.produce(t, f"{i}.{j}", partition=j % 2)
        p.flush(PATIENCE)
        if i % 2 == 0:
            p.commit_transaction(PATIENCE)
        else:
            p.abort_transaction(PATIENCE)
    for m in read(t, 30, partitions=2, isolation_level="read_committed"):
        check(int(m.value()[:1]) % 2 == 0, m.value())
    read(t, 60, partitions=2, isolation_level="read_uncommitted")


def consumed_offsets():
    source, to = fill("from", 20), create("to")
    for commit in (False, True):
        c = group("eos", isolation_level="read_committed")
        c.subscribe([source])
        got = take(c, 20)
        p = Producer(config(transactional_id=name("eos")))
        p.init_transactions(PATIENCE)
        p.begin_transaction()
        for m in got:
            p.produce(to, m.value())
        p.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), PATIENCE)
        if commit:
            p.commit_transaction(PATIENCE)
        else:
            p.abort_transaction(PATIENCE)
        c.close()
    read(to, 20, isolation_level="read_committed")
    c = group("eos")
    check(c.committed([TopicPartition(source, 0)], PATIENCE)[0].offset == 20, "offset")
    c.close()


def fenced():
    t = create("fenced")
    one, two = (Producer(config(transactional_id=name("fenced"))) for _ in range(2))
    one.init_transactions(PATIENCE)
    one.begin_transaction()
    one.produce(t, "one")
    one.flush(PATIENCE)
    two.init_transactions(PATIENCE)
    two.begin_transaction()
    two.produce(t, "two")
    fails(KafkaError._FENCED, lambda: one.commit_transaction(PATIENCE))
    two.commit_transaction(PATIENCE)
    check(read(t, 1, isolation_level="read_committed")[0].value() == b"two", "the older one's record")


def topics():
    t = create("topics", 3)
    d = admin.list_topics(t, timeout=PATIENCE).topics[t]
    check(len(d.partitions) == 3 and len(d.partitions[0].isrs) == 1, d)
    wait(admin.delete_topics([t]))

    def gone():
        check(t not in admin.list_topics(timeout=PATIENCE).topics, "there")
    eventually(gone)


def topic_errors():
    t = create("errors")
    fails(KafkaError.TOPIC_ALREADY_EXISTS, lambda: create("errors"))
    fails(KafkaError.TOPIC_EXCEPTION, lambda: create("errors/"))
    fails(KafkaError.INVALID_REPLICATION_FACTOR, lambda: wait(admin.create_topics([NewTopic(name("replicas"), 1, 3)])))
    fails(KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: wait(admin.delete_topics([name("none")])))
    fails(KafkaError.INVALID_PARTITIONS, lambda: wait(admin.create_partitions([NewPartitions(t, 1)])))


def partitions():
    t = create("partitions")
    wait(admin.create_partitions([NewPartitions(t, 3)]))

    def three():
        check(len(admin.list_topics(t, timeout=PATIENCE).topics[t].partitions) == 3, "not 3")
    eventually(three)


def topic_configs():
    r = ConfigResource(ConfigResource.Type.TOPIC, create("configs", retention_ms="100000"))

    def expect(key, value):
        def f():
            got = wait(admin.describe_configs([r]))[r][key].value
            check(got == value, key, got)
        eventually(f)
    expect("retention.ms", "100000")
    for op, key, value, want in ((AlterConfigOpType.SET, "retention.ms", "5000000", "5000000"),
                                 (AlterConfigOpType.APPEND, "cleanup.policy", "compact", "delete,compact"),
                                 (AlterConfigOpType.SUBTRACT, "cleanup.policy", "delete", "compact"),
                                 (AlterConfigOpType.DELETE, "retention.ms", None, "604800000")):
        wait(admin.incremental_alter_configs([ConfigResource(r.restype, r.name, incremental_configs=[
            ConfigEntry(key, value, incremental_operation=op)])]))
        expect(key, want)


def broker_configs():
    node = next(iter(admin.list_topics(timeout=PATIENCE).brokers))
    r = ConfigResource(ConfigResource.Type.BROKER, str(node))
    got = wait(admin.describe_configs([r]))[r]
    for key in ("log.retention.ms", "message.max.bytes", "auto.create.topics.enable", "num.partitions"):
        check(key in got, "no", key)


def wrong_config():
    fails(KafkaError.INVALID_CONFIG, lambda: create("wrong-1", no_such_config="1"))
    fails(KafkaError.INVALID_CONFIG, lambda: create("wrong-2", retention_ms="long"))


def cluster():
    d = admin.describe_cluster(include_authorized_operations=True).result(PATIENCE)
    check(len(d.nodes) == 1 and d.cluster_id and d.controller, d.nodes)


def offsets():
    t = fill("offsets", 100)
    p = TopicPartition(t, 0)
    for spec, want in ((OffsetSpec.earliest(), 0), (OffsetSpec.latest(), 100), (OffsetSpec.max_timestamp(), 99),
                       (OffsetSpec.for_timestamp(EPOCH + 49_500), 50)):
        got = wait(admin.list_offsets({p: spec}, isolation_level=IsolationLevel.READ_COMMITTED))[p].offset
        check(got == want, got, want)


def delete_records():
    t = fill("delete", 100)
    p = TopicPartition(t, 0, 70)
    check(wait(admin.delete_records([p]))[p].low_watermark == 70, "not 70")
    check(read(t, 30)[0].offset() == 70, "not at 70")


def groups():
    t, g = create("groups", 2), name("groups")
    with Member("groups", t, client_id="me") as m:
        m.wait(2)
        listed = admin.list_consumer_groups().result(PATIENCE).valid
        check(any(x.group_id == g for x in listed), "not listed")
        d = wait(admin.describe_consumer_groups([g]))[g]
        check(d.state.name == "STABLE" and len(d.members) == 1 and d.members[0].client_id == "me", d.state)
        check(len(d.members[0].assignment.topic_partitions) == 2, "assignment")
        fails(KafkaError.NON_EMPTY_GROUP, lambda: wait(admin.delete_consumer_groups([g])))
    wait(admin.delete_consumer_groups([g]))
    fails(KafkaError.GROUP_ID_NOT_FOUND, lambda: wait(admin.delete_consumer_groups([g])))


def group_offsets():
    t, g = create("group-offsets"), name("group-offsets")
    wait(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(g, [TopicPartition(t, 0, 3, "note")])]))
    got = wait(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(g)]))[g].topic_partitions[0]
    check(got.offset == 3 and got.metadata == "note", got)
    c = group("none")
    check(c.committed([TopicPartition(t, 0)], PATIENCE)[0].offset == -1001, "an unknown group has an offset")
    c.close()


def acls():
    admin = AdminClient(login("CLOSED", "sasl_plaintext"))
    b = AclBinding(ResourceType.TOPIC, name("acl"), ResourcePatternType.PREFIXED, "User:x", "*", AclOperation.READ, AclPermissionType.DENY)
    f = AclBindingFilter(ResourceType.TOPIC, name("acl"), ResourcePatternType.PREFIXED, None, None, AclOperation.ANY, AclPermissionType.ANY)
    wait(admin.create_acls([b]))

    def there():
        check(admin.describe_acls(f).result(PATIENCE) == [b], "not there")
    eventually(there)
    check(len(wait(admin.delete_acls([f]))[f]) == 1, "not deleted")


def scram_upsert(a, user, mechanism):
    wait(a.alter_user_scram_credentials([UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), b"secret")]))


def scram_users():
    user = name("scram")
    scram_upsert(admin, user, ScramMechanism.SCRAM_SHA_256)

    def there():
        d = wait(admin.describe_user_scram_credentials([user]))[user]
        check(d.scram_credential_infos[0].iterations == 4096, d)
    eventually(there)
    gone = [UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_256)]
    wait(admin.alter_user_scram_credentials(gone))
    fails(KafkaError.RESOURCE_NOT_FOUND, lambda: wait(admin.alter_user_scram_credentials(gone)))


def login(addr, protocol, mechanism="PLAIN", user=env["USER_NAME"], password=env["PASSWORD"], ca=None):
    c = config({"bootstrap.servers": env[addr], "security.protocol": protocol, "sasl.mechanism": mechanism, "sasl.username": user,
                "sasl.password": password})
    if ca:
        c["ssl.ca.location"] = env[ca]
    return c


def ping(c):
    failed = []

    def error(e):
        failed.append(e)
    c["error_cb"] = error
    a = AdminClient(c)
    end = time.time() + PATIENCE
    while True:
        try:
            a.list_topics(timeout=5)
            return
        except KafkaException:
            a.poll(0)
            for e in failed:
                if e.code() == KafkaError._AUTHENTICATION:
                    raise KafkaException(e)
            if time.time() > end:
                raise


def wrong_password():
    fails(KafkaError._AUTHENTICATION, lambda: ping(login("CLOSED", "sasl_plaintext", password="wrong")))


def scram_login(text, mechanism):
    user = name(text)
    scram_upsert(AdminClient(login("CLOSED", "sasl_plaintext")), user, mechanism)
    eventually(lambda: ping(login("CLOSED", "sasl_plaintext", text, user, "secret")))
    fails(KafkaError._AUTHENTICATION, lambda: ping(login("CLOSED", "sasl_plaintext", text, user, "wrong")))


for acks in ("0", "1", "all"):
    step("produce: acks=" + acks, lambda: round_trip("acks-" + acks, acks=acks))
for codec in ("gzip", "snappy", "lz4", "zstd"):
    step("produce: " + codec, lambda: round_trip(codec, compression_type=codec))
step("produce: headers, null keys and values", headers)
step("produce: idempotent", lambda: round_trip("idempotent", enable_idempotence=True))
step("produce: too large is refused", too_large)
step("produce: the topic comes into being", auto_create)
step("produce: null key to a compacted topic is refused", null_key)
step("consume: from an offset", from_offset)
step("consume: from a timestamp", from_timestamp)
step("consume: out of range", out_of_range)
step("group: commit and resume", resume)
step("group: rebalance, eager", lambda: rebalance("eager", "range"))
step("group: rebalance, cooperative", lambda: rebalance("cooperative", "cooperative-sticky"))
step("group: static member", static)
step("group: pattern of topics", pattern)
step("transaction: commit and abort", transactions)
step("transaction: consumed offsets", consumed_offsets)
step("transaction: older producer is fenced", fenced)
step("admin: topics", topics)
step("admin: errors of topics", topic_errors)
step("admin: partitions", partitions)
step("admin: configs of topics", topic_configs)
step("admin: configs of brokers", broker_configs)
step("admin: wrong config is refused", wrong_config)
step("admin: cluster", cluster)
step("admin: offsets", offsets)
step("admin: delete records", delete_records)
step("admin: groups", groups)
step("admin: offsets of groups", group_offsets)
step("admin: ACLs", acls)
step("admin: SCRAM users", scram_users)
step("security: SASL PLAIN", lambda: ping(login("CLOSED", "sasl_plaintext")))
step("security: wrong password", wrong_password)
step("security: SCRAM-SHA-256", lambda: scram_login("SCRAM-SHA-256", ScramMechanism.SCRAM_SHA_256))
step("security: SCRAM-SHA-512", lambda: scram_login("SCRAM-SHA-512", ScramMechanism.SCRAM_SHA_512))
step("security: TLS", lambda: ping(login("OPEN_TLS", "ssl", ca="CA")))
step("security: SASL over TLS", lambda: ping(login("CLOSED_TLS", "sasl_ssl", ca="CLOSED_CA")))
sys.stdout.flush()
os._exit(0)
