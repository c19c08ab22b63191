"""Checks a broker with gmqtt. Usage: check_gmqtt.py HOST:PORT VERSION tcp|tls [CAFILE]

VERSION is 4 (3.1.1) or 5. User and password are in USER_NAME and PASSWORD.
"""

import asyncio
import os
import ssl
import sys
import traceback

import gmqtt

HOST, PORT = sys.argv[1].split(":")
VERSION = int(sys.argv[2])
TRANSPORT = sys.argv[3]
CA = sys.argv[4] if len(sys.argv) > 4 else None
ROOT = f"gmqtt/{TRANSPORT}/{VERSION}"
TIMEOUT = 60


class Client:
    count = 0

    @classmethod
    async def open(cls, name=None, clean=True, **kwargs):
        self = cls()
        Client.count += 1
        self.c = gmqtt.Client(name or f"gm{VERSION}-{os.getpid() % 10000}-{Client.count}", clean_session=clean, **kwargs)
        self.c.set_auth_credentials(os.environ["USER_NAME"], os.environ["PASSWORD"])
        self.messages = asyncio.Queue()
        self.subscribed = asyncio.Queue()
        self.c.on_message = self.on_message
        self.c.on_subscribe = lambda c, mid, qos, properties: self.subscribed.put_nowait(qos)
        await self.c.connect(HOST, int(PORT), ssl=ssl.create_default_context(cafile=CA) if CA else False, version=VERSION)
        return self

    def on_message(self, c, topic, payload, qos, properties):
        self.messages.put_nowait((topic, payload, qos, properties))
        return 0

    async def subscribe(self, topic, qos, **kwargs):
        self.c.subscribe(topic, qos, **kwargs)
        await asyncio.wait_for(self.subscribed.get(), TIMEOUT)

    async def close(self):
        try:
            await self.c.disconnect()
        except ssl.SSLError:
            pass  # Python 3.11 takes acknowledgements behind its own close_notify for an error

    async def take(self, n):
        return [await asyncio.wait_for(self.messages.get(), TIMEOUT) for _ in range(n)]


async def every_qos():
    sub, pub = await Client.open(), await Client.open()
    await sub.subscribe(f"{ROOT}/q/#", 2)
    for qos in range(3):
        for i in range(50):
            pub.c.publish(f"{ROOT}/q/{qos}", str(i), qos=qos)
    got = await sub.take(150)
    for qos in range(3):
        mine = [m for m in got if m[0] == f"{ROOT}/q/{qos}"]
        assert [m[1] for m in mine] == [b"%d" % i for i in range(50)], mine
        assert all(m[2] == qos for m in mine)
    await sub.close()
    await pub.close()


async def retained():
    c = await Client.open()
    c.c.publish(f"{ROOT}/r", "kept", qos=1, retain=True)
    await c.subscribe(f"{ROOT}/+", 1)
    (m,) = await c.take(1)
    assert m[1] == b"kept" and m[3]["retain"]
    c.c.publish(f"{ROOT}/r", "", qos=1, retain=True)
    await c.take(1)
    await c.close()


async def session_resume():
    name = f"gm{VERSION}-{os.getpid() % 10000}-kept"
    keep = {"session_expiry_interval": 60} if VERSION == 5 else {}
    first = await Client.open(name, clean=False, **keep)
    await first.subscribe(f"{ROOT}/s", 1)
    await first.close()
    pub = await Client.open()
    await pub.subscribe(f"{ROOT}/s", 1)
    for i in range(20):
        pub.c.publish(f"{ROOT}/s", str(i), qos=1)
    await pub.take(20)  # leaving at once could cut the messages that are under way
    second = await Client.open(name, clean=False, **keep)
    assert [m[1] for m in await second.take(20)] == [b"%d" % i for i in range(20)]
    await second.close()
    await pub.close()


async def properties():
    c = await Client.open()
    await c.subscribe(f"{ROOT}/p", 1, subscription_identifier=9)
    c.c.publish(
        f"{ROOT}/p",
        "with",
        qos=1,
        content_type="text/plain",
        response_topic=f"{ROOT}/answer",
        correlation_data=b"xyz",
        message_expiry_interval=60,
        user_property=("k", "v"),
    )
    p = (await c.take(1))[0][3]
    assert p["content_type"] == ["text/plain"] and p["response_topic"] == [f"{ROOT}/answer"]
    assert p["correlation_data"] == [b"xyz"] and p["user_property"] == [("k", "v")]
    assert p["subscription_identifier"] == [9] and 0 < p["message_expiry_interval"][0] <= 60
    await c.close()


async def main():
    failed = False
    for check in [every_qos, retained, session_resume] + ([properties] if VERSION == 5 else []):
        try:
            await asyncio.wait_for(check(), 4 * TIMEOUT)
            print("ok", check.__name__)
        except Exception:
            failed = True
            print(f"FAIL {check.__name__}: {traceback.format_exc()}")
    sys.stdout.flush()
    os._exit(failed)


asyncio.run(main())
