"""Checks a broker with pika. Usage: check_pika.py URL [CAFILE]"""

import os
import ssl
import sys
import threading
import time
import traceback

import pika
import pika.adapters.select_connection
import pika.exceptions

URL = sys.argv[1]
CA = sys.argv[2] if len(sys.argv) > 2 else None
NAME = f"pika.{os.getpid()}"
TIMEOUT = 60


def parameters(**kwargs):
    p = pika.URLParameters(URL)
    p.socket_timeout = p.stack_timeout = TIMEOUT
    if CA:
        p.ssl_options = pika.SSLOptions(ssl.create_default_context(cafile=CA), "localhost")
    for k, v in kwargs.items():
        setattr(p, k, v)
    return p


def open(**kwargs):
    c = pika.BlockingConnection(parameters(**kwargs))
    return c, c.channel()


def take(ch, queue, n, auto_ack=True):
    """Takes n messages: (method, properties, body)."""
    got = []
    for m in ch.consume(queue, auto_ack=auto_ack, inactivity_timeout=TIMEOUT):
        assert m[0] is not None, f"{len(got)} of {n} messages"
        got.append(m)
        if len(got) == n:
            break
    ch.cancel()
    return got


def closed_with(code, f):
    """Says that f must close the channel with that code."""
    try:
        f()
    except pika.exceptions.ChannelClosedByBroker as e:
        assert e.reply_code == code, e
    else:
        raise AssertionError("no error")


def publish_and_consume():
    c, ch = open()
    ch.queue_declare(NAME, exclusive=True)
    for i in range(500):
        ch.basic_publish("", NAME, b"%d" % i)
    assert [m[2] for m in take(ch, NAME, 500)] == [b"%d" % i for i in range(500)]
    c.close()


def properties():
    c, ch = open()
    q = ch.queue_declare("", exclusive=True).method.queue
    p = pika.BasicProperties(
        content_type="text/plain", content_encoding="utf-8", headers={"a": 1, "b": "two", "c": [1, {"d": None}], "big": 1 << 40, "yes": True},
        delivery_mode=2, priority=3, correlation_id="c", reply_to="r", expiration="60000", message_id="m", timestamp=1700000000,
        type="t", user_id="guest", app_id="a",
    )
    ch.basic_publish("", q, b"x", p)
    (got,) = take(ch, q, 1)
    assert got[1] == p, got[1]
    c.close()


def bodies():
    c, ch = open()
    q = ch.queue_declare("", exclusive=True).method.queue
    for size in (0, 1, 131064, 131065, 1 << 20, 5 << 20):
        body = os.urandom(size)
        ch.basic_publish("", q, body)
        assert take(ch, q, 1)[0][2] == body, size
    c.close()


def confirms_and_returns():
    c, ch = open()
    q = ch.queue_declare("", exclusive=True).method.queue
    ch.confirm_delivery()
    for i in range(100):
        ch.basic_publish("", q, b"x", pika.BasicProperties(delivery_mode=2), mandatory=True)
    try:
        ch.basic_publish("", "no.such.queue", b"x", mandatory=True)
    except pika.exceptions.UnroutableError as e:
        assert e.messages[0].method.reply_code == 312, e.messages
    else:
        raise AssertionError("no error")
    assert ch.queue_declare(q, passive=True).method.message_count == 100
    c.close()


def rejected_publish():
    c, ch = open()
    q = ch.queue_declare("", exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}).method.queue
    ch.confirm_delivery()
    ch.basic_publish("", q, b"1")
    try:
        ch.basic_publish("", q, b"2")
    except pika.exceptions.NackError:
        pass
    else:
        raise AssertionError("no error")
    c.close()


def acknowledgements():
    c, ch = open()
    q = ch.queue_declare("", exclusive=True).method.queue
    for i in range(6):
        ch.basic_publish("", q, b"%d" % i)
    ch.basic_qos(prefetch_count=10)
    got = take(ch, q, 4, auto_ack=False)  # cancel gives back what was not taken
    tags = [m[0].delivery_tag for m in got]
    ch.basic_ack(tags[0])
    ch.basic_nack(tags[1], requeue=True)
    ch.basic_reject(tags[2], requeue=False)
    ch.basic_reject(tags[3], requeue=True)
    left = []
    while True:
        m, _, body = ch.basic_get(q, auto_ack=True)
        if m is None:
            break
        left.append((body, m.redelivered))
    assert [b for b, _ in left] == [b"1", b"3", b"4", b"5"], left
    assert left[0][1] and left[1][1], left
    c.close()


def exchanges():
    c, ch = open()
    for kind, key, binding, arguments, props in (
        ("direct", "k", "k", None, None),
        ("topic", "a.b.c", "a.#", None, None),
        ("fanout", "", "", None, None),
        ("headers", "", "", {"x-match": "any", "h": 1}, pika.BasicProperties(headers={"h": 1})),
    ):
        x = f"{NAME}.{kind}"
        ch.exchange_declare(x, kind, auto_delete=True)
        q = ch.queue_declare("", exclusive=True).method.queue
        ch.queue_bind(q, x, binding, arguments)
        ch.basic_publish(x, key, kind.encode(), props)
        (m,) = take(ch, q, 1)
        assert m[2] == kind.encode() and m[0].exchange == x and m[0].routing_key == key
        ch.queue_unbind(q, x, binding, arguments)
    a, b = f"{NAME}.a", f"{NAME}.b"
    ch.exchange_declare(a, "direct")
    ch.exchange_declare(b, "fanout")
    ch.exchange_bind(b, a, "k")
    q = ch.queue_declare("", exclusive=True).method.queue
    ch.queue_bind(q, b)
    ch.basic_publish(a, "k", b"through")
    assert take(ch, q, 1)[0][2] == b"through"
    ch.exchange_unbind(b, a, "k")
    ch.exchange_delete(a)
    ch.exchange_delete(b)
    c.close()


def errors():
    c, ch = open()
    closed_with(404, lambda: ch.queue_declare("no.such.queue", passive=True))
    ch = c.channel()
    ch.queue_declare(NAME + ".errors", auto_delete=True)
    closed_with(406, lambda: ch.queue_declare(NAME + ".errors", durable=True))
    ch = c.channel()
    ch.queue_delete(NAME + ".errors")
    closed_with(403, lambda: ch.exchange_declare("amq.own", "direct"))
    c.close()


def locked():
    c, ch = open()
    ch.queue_declare(NAME + ".mine", exclusive=True)
    d, other = open()
    closed_with(405, lambda: other.queue_declare(NAME + ".mine", exclusive=True))
    d.close()
    c.close()


def wrong_password():
    p = parameters()
    p.credentials = pika.PlainCredentials("guest", "wrong")
    try:
        pika.BlockingConnection(p)
    except pika.exceptions.ProbableAuthenticationError:
        return
    raise AssertionError("no error")


def dead_letters():
    c, ch = open()
    dead = ch.queue_declare("", exclusive=True).method.queue
    q = ch.queue_declare("", exclusive=True, arguments={
        "x-message-ttl": 50, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead,
    }).method.queue
    ch.basic_publish("", q, b"x")
    (m,) = take(ch, dead, 1)
    (death,) = m[1].headers["x-death"]
    assert death["reason"] == "expired" and death["queue"] == q and death["count"] == 1, death
    c.close()


def priorities():
    c, ch = open()
    q = ch.queue_declare("", exclusive=True, arguments={"x-max-priority": 5}).method.queue
    for p in (1, 3, 2, 5):
        ch.basic_publish("", q, b"%d" % p, pika.BasicProperties(priority=p))
    while ch.queue_declare(q, passive=True).method.message_count < 4:
        time.sleep(0.01)
    assert [m[2] for m in take(ch, q, 4)] == [b"5", b"3", b"2", b"1"]
    c.close()


def transactions():
    c, ch = open()
    q = ch.queue_declare("", exclusive=True).method.queue
    ch.tx_select()
    ch.basic_publish("", q, b"1")
    ch.tx_rollback()
    ch.basic_publish("", q, b"2")
    ch.tx_commit()
    assert ch.queue_declare(q, passive=True).method.message_count == 1
    c.close()


def rpc():
    c, ch = open()
    d, server = open()
    q = server.queue_declare("", exclusive=True).method.queue

    def answer(ch, method, props, body):
        ch.basic_publish("", props.reply_to, b"re: " + body, pika.BasicProperties(correlation_id=props.correlation_id))

    server.basic_consume(q, answer, auto_ack=True)
    got = []
    ch.basic_consume("amq.rabbitmq.reply-to", lambda *m: got.append(m), auto_ack=True)
    ch.basic_publish("", q, b"question", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="7"))
    end = time.time() + TIMEOUT
    while not got and time.time() < end:
        d.process_data_events(0.01)
        c.process_data_events(0.01)
    assert got and got[0][3] == b"re: question" and got[0][2].correlation_id == "7", got
    c.close()
    d.close()


def consumer_cancelled():
    c, ch = open()
    ch.queue_declare(NAME + ".gone")
    tags = []
    ch.add_on_cancel_callback(lambda f: tags.append(f.method.consumer_tag))
    tag = ch.basic_consume(NAME + ".gone", lambda *m: None)
    d, other = open()
    other.queue_delete(NAME + ".gone")
    end = time.time() + TIMEOUT
    while not tags and time.time() < end:
        c.process_data_events(0.05)
    assert tags == [tag], tags
    d.close()
    c.close()


def heartbeats():
    """A connection ends after two heartbeats of silence, so both sides must send some; they have time for that."""
    c, ch = open(heartbeat=5)
    end = time.time() + 13
    while time.time() < end:
        c.process_data_events(0.1)
    ch.queue_declare("", exclusive=True)
    c.close()


def silence_is_noticed():
    """A client that sends nothing for two heartbeats is cut off."""
    c, ch = open(heartbeat=3)
    time.sleep(15)
    try:
        ch.queue_declare("", exclusive=True)
    except pika.exceptions.AMQPConnectionError:
        return
    raise AssertionError("still connected")


def update_secret():
    c, ch = open()
    c.update_secret("guest", "because")
    ch.queue_declare("", exclusive=True)
    c.close()


def many_channels():
    c, _ = open()
    chs = [c.channel() for _ in range(200)]
    for ch in chs:
        ch.queue_declare("", exclusive=True)
    for ch in chs:
        ch.close()
    c.close()


def select_connection():
    """The adapter with callbacks."""
    done = []

    def on_open(c):
        c.channel(on_open_callback=on_channel)

    def on_channel(ch):
        ch.queue_declare(NAME + ".select", exclusive=True, callback=lambda ok: on_queue(ch))

    def on_queue(ch):
        ch.basic_consume(NAME + ".select", on_message, auto_ack=True)
        for i in range(50):
            ch.basic_publish("", NAME + ".select", b"%d" % i)

    def on_message(ch, method, props, body):
        done.append(body)
        if len(done) == 50:
            ch.connection.close()

    c = pika.SelectConnection(parameters(), on_open_callback=on_open, on_close_callback=lambda c, e: c.ioloop.stop(),
                              on_open_error_callback=lambda c, e: c.ioloop.stop())
    watchdog = threading.Timer(TIMEOUT, lambda: c.ioloop.add_callback_threadsafe(c.ioloop.stop))
    watchdog.start()
    c.ioloop.start()
    watchdog.cancel()
    assert done == [b"%d" % i for i in range(50)], done


CHECKS = [
    publish_and_consume, properties, bodies, confirms_and_returns, rejected_publish, acknowledgements, exchanges, errors, locked,
    wrong_password, dead_letters, priorities, transactions, rpc, consumer_cancelled, heartbeats, silence_is_noticed, update_secret,
    many_channels, select_connection,
]

failed = False
for check in CHECKS:
    try:
        check()
        print("ok", check.__name__)
    except Exception:
        failed = True
        print(f"FAIL {check.__name__}: {traceback.format_exc()}")
sys.stdout.flush()
os._exit(failed)
