"""Checks a broker with aio-pika. Usage: check_aio_pika.py URL"""

import asyncio
import os
import sys
import traceback

import aio_pika
import aio_pika.exceptions
import aio_pika.patterns

URL = sys.argv[1]
NAME = f"aio.{os.getpid()}"


async def publish_and_consume():
    async with await aio_pika.connect_robust(URL) as c:
        ch = await c.channel()
        await ch.set_qos(prefetch_count=10)
        q = await ch.declare_queue(NAME, auto_delete=True)
        for i in range(200):
            await ch.default_exchange.publish(aio_pika.Message(b"%d" % i, delivery_mode=aio_pika.DeliveryMode.PERSISTENT), q.name)
        got = []
        async with q.iterator(timeout=60) as it:
            async for m in it:
                async with m.process():
                    got.append(m.body)
                if len(got) == 200:
                    break
        assert got == [b"%d" % i for i in range(200)], got


async def unroutable():
    async with await aio_pika.connect(URL) as c:
        ch = await c.channel(publisher_confirms=True, on_return_raises=True)
        try:
            await ch.default_exchange.publish(aio_pika.Message(b"x"), "no.such.queue", mandatory=True)
        except aio_pika.exceptions.PublishError:
            return
    raise AssertionError("no error")


async def headers_and_types():
    async with await aio_pika.connect(URL) as c:
        ch = await c.channel()
        x = await ch.declare_exchange(NAME + ".h", aio_pika.ExchangeType.HEADERS, auto_delete=True)
        q = await ch.declare_queue(exclusive=True)
        await q.bind(x, arguments={"x-match": "all", "a": 1})
        headers = {"a": 1, "s": "text", "f": 1.5, "l": [1, 2], "t": {"x": True}, "big": 1 << 40}
        await x.publish(aio_pika.Message(b"x", headers=headers), "")
        m = await q.get(timeout=60)
        await m.ack()
        assert m.headers == headers, m.headers


async def rpc():
    async with await aio_pika.connect(URL) as c:
        ch = await c.channel()
        r = await aio_pika.patterns.RPC.create(ch)

        async def double(*, n):
            return 2 * n

        await r.register(NAME + ".double", double, auto_delete=True)
        assert await r.call(NAME + ".double", {"n": 21}) == 42


async def transactions():
    async with await aio_pika.connect(URL) as c:
        ch = await c.channel(publisher_confirms=False)
        q = await ch.declare_queue(exclusive=True)
        async with ch.transaction():
            await ch.default_exchange.publish(aio_pika.Message(b"x"), q.name)
        assert (await q.get(timeout=60, no_ack=True)).body == b"x"


async def main():
    failed = False
    for check in (publish_and_consume, unroutable, headers_and_types, rpc, transactions):
        try:
            await asyncio.wait_for(check(), 120)
            print("ok", check.__name__)
        except Exception:
            failed = True
            print(f"FAIL {check.__name__}: {traceback.format_exc()}")
    sys.stdout.flush()
    os._exit(failed)


asyncio.run(main())
