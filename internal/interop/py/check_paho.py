"""Checks a broker with paho-mqtt. Usage: check_paho.py HOST:PORT VERSION tcp|tls|ws [CAFILE]

VERSION is 3 (3.1), 4 (3.1.1) or 5. User and password are in USER_NAME and PASSWORD.
"""

import os
import queue
import sys
import traceback

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST, PORT = sys.argv[1].split(":")
VERSION = int(sys.argv[2])
TRANSPORT = sys.argv[3]
CA = sys.argv[4] if len(sys.argv) > 4 else None
ROOT = f"paho-py/{TRANSPORT}/{VERSION}"
TIMEOUT = 60


class Client:
    """A connected client whose messages are in a queue."""

    count = 0

    def __init__(self, name=None, clean=True, will=None, connect=True):
        Client.count += 1
        options = {}
        if VERSION < 5:
            options["clean_session"] = clean
        self.c = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=name or f"py{VERSION}-{os.getpid() % 10000}-{Client.count}",
            protocol=VERSION,
            transport="websockets" if TRANSPORT == "ws" else "tcp",
            **options,
        )
        if TRANSPORT == "ws":
            self.c.ws_set_options(path="/mqtt")
        if TRANSPORT == "tls":
            self.c.tls_set(CA)
        self.c.username_pw_set(os.environ["USER_NAME"], os.environ["PASSWORD"])
        self.c.connect_timeout = TIMEOUT
        self.c.max_inflight_messages_set(100)
        self.messages = queue.Queue()
        self.events = queue.Queue()
        self.c.on_message = lambda c, u, m: self.messages.put(m)
        self.c.on_connect = lambda c, u, flags, code, p: self.events.put(("connect", flags, code))
        self.c.on_subscribe = lambda c, u, mid, codes, p: self.events.put(("subscribe", codes))
        self.c.on_unsubscribe = lambda c, u, mid, codes, p: self.events.put(("unsubscribe", codes))
        self.c.on_disconnect = lambda c, u, flags, code, p: self.events.put(("disconnect", code))
        if will:
            self.c.will_set(*will)
        connect_options = {}
        if VERSION == 5:
            connect_options["clean_start"] = clean
            p = Properties(PacketTypes.CONNECT)
            if not clean:
                p.SessionExpiryInterval = 60
            connect_options["properties"] = p
        self.c.connect(HOST, int(PORT), **connect_options)
        self.c.loop_start()
        _, self.flags, code = self.event("connect")
        assert code == 0, code

    def event(self, name):
        while True:
            e = self.events.get(timeout=TIMEOUT)
            if e[0] == name:
                return e

    def subscribe(self, *args, **kwargs):
        self.c.subscribe(*args, **kwargs)
        codes = self.event("subscribe")[1]
        assert not any(c.is_failure for c in codes), codes

    def publish(self, *args, **kwargs):
        self.c.publish(*args, **kwargs).wait_for_publish(TIMEOUT)

    def take(self, n):
        return [self.messages.get(timeout=TIMEOUT) for _ in range(n)]

    def close(self):
        self.c.disconnect()
        self.c.loop_stop()


def every_qos():
    sub, pub = Client(), Client()
    sub.subscribe(f"{ROOT}/q/#", 2)
    infos = [pub.c.publish(f"{ROOT}/q/{qos}", str(i), qos) for qos in range(3) for i in range(100)]
    for i in infos:
        i.wait_for_publish(TIMEOUT)
    got = sub.take(300)
    for qos in range(3):
        mine = [m for m in got if m.topic == f"{ROOT}/q/{qos}"]
        assert [m.payload for m in mine] == [b"%d" % i for i in range(100)]
        assert all(m.qos == qos and not m.retain and not m.dup for m in mine)
    sub.close()
    pub.close()


def large_payload():
    c = Client()
    c.subscribe(f"{ROOT}/large", 1)
    payload = os.urandom(200_000)
    c.publish(f"{ROOT}/large", payload, 1)
    assert c.take(1)[0].payload == payload
    c.close()


def retained():
    c = Client()
    c.publish(f"{ROOT}/r", "kept", 2, True)
    c.subscribe(f"{ROOT}/r", 1)
    (m,) = c.take(1)
    assert m.payload == b"kept" and m.retain and m.qos == 1
    c.publish(f"{ROOT}/r", None, 1, True)
    late = Client()
    late.subscribe(f"{ROOT}/+", 1)
    late.publish(f"{ROOT}/end", "end", 1)
    assert late.take(1)[0].topic == f"{ROOT}/end"
    late.close()
    c.close()


def unsubscribe():
    c = Client()
    c.subscribe([(f"{ROOT}/a", 1), (f"{ROOT}/b", 0)])
    c.c.unsubscribe(f"{ROOT}/a")
    c.event("unsubscribe")
    c.publish(f"{ROOT}/a", "no", 1)
    c.publish(f"{ROOT}/b", "yes", 1)
    (m,) = c.take(1)
    assert m.topic == f"{ROOT}/b" and m.qos == 0
    c.close()


def will():
    watcher = Client()
    watcher.subscribe(f"{ROOT}/will", 1)
    c = Client(will=(f"{ROOT}/will", "gone", 1, False))
    c.c.loop_stop()
    c.c.socket().close()
    assert watcher.take(1)[0].payload == b"gone"
    watcher.close()


def session_resume():
    name = f"py{VERSION}-{os.getpid() % 10000}-kept"
    first = Client(name, clean=False)
    assert VERSION < 4 or not first.flags.session_present
    first.subscribe(f"{ROOT}/s", 1)
    first.close()
    pub = Client()
    for i in range(20):
        pub.publish(f"{ROOT}/s", str(i), 1)
    second = Client(name, clean=False)
    assert VERSION < 4 or second.flags.session_present
    assert [m.payload for m in second.take(20)] == [b"%d" % i for i in range(20)]
    second.close()
    pub.close()
    Client(name).close()


def properties():
    c = Client()
    p = Properties(PacketTypes.SUBSCRIBE)
    p.SubscriptionIdentifier = 300
    c.subscribe(f"{ROOT}/p", options=SubscribeOptions(qos=1), properties=p)
    p = Properties(PacketTypes.PUBLISH)
    p.PayloadFormatIndicator = 1
    p.MessageExpiryInterval = 60
    p.ContentType = "text/plain"
    p.ResponseTopic = f"{ROOT}/answer"
    p.CorrelationData = b"\x01\x02"
    p.UserProperty = [("a", "1"), ("a", "2")]
    c.publish(f"{ROOT}/p", "with", 1, properties=p)
    got = c.take(1)[0].properties
    assert got.ContentType == "text/plain" and got.ResponseTopic == f"{ROOT}/answer"
    assert got.CorrelationData == b"\x01\x02" and got.PayloadFormatIndicator == 1
    assert got.UserProperty == [("a", "1"), ("a", "2")]
    assert got.SubscriptionIdentifier == [300]
    assert 0 < got.MessageExpiryInterval <= 60
    c.close()


def retain_options():
    c = Client()
    c.publish(f"{ROOT}/ro", "kept", 1, True)
    c.subscribe(f"{ROOT}/ro", options=SubscribeOptions(qos=1, retainHandling=2, retainAsPublished=True))
    c.publish(f"{ROOT}/ro", "new", 1, True)
    (m,) = c.take(1)
    assert m.payload == b"new" and m.retain
    c.subscribe(f"{ROOT}/ro", options=SubscribeOptions(qos=1, retainHandling=1, noLocal=True))
    c.publish(f"{ROOT}/ro", None, 1, True)
    c.subscribe(f"{ROOT}/end", 1)
    c.publish(f"{ROOT}/end", "end", 1)
    assert c.take(1)[0].payload == b"end"
    c.close()


def reason_codes():
    c = Client()
    c.c.unsubscribe(f"{ROOT}/never")
    assert [r.value for r in c.event("unsubscribe")[1]] == [0x11]
    info = c.c.publish(f"{ROOT}/nobody", "x", 1)
    info.wait_for_publish(TIMEOUT)
    c.close()


def takeover():
    name = f"py5-{os.getpid() % 10000}-taken"
    first = Client(name)
    first.c.loop_stop()  # else it would connect again and take over in its turn
    second = Client(name)
    while first.events.empty():
        first.c.loop(0.1)
    assert first.event("disconnect")[1].value == 0x8E
    second.close()


CHECKS = [every_qos, large_payload, retained, unsubscribe, will, session_resume]
CHECKS_5 = [properties, retain_options, reason_codes, takeover]

failed = False
for check in CHECKS + (CHECKS_5 if VERSION == 5 else []):
    try:
        check()
        print("ok", check.__name__)
    except Exception:
        failed = True
        print(f"FAIL {check.__name__}: {traceback.format_exc()}")
sys.stdout.flush()
os._exit(failed)  # clients of failed checks are still running
