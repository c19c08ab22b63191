// Checks a broker with amqplib. Usage: node check_amqplib.js URL [CAFILE]
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import amqp from "amqplib";

const [url, ca] = process.argv.slice(2);
const name = `amqplib.${process.pid}`;

const open = (query = "", options = {}) => amqp.connect(url + query, ca ? { ca: [readFileSync(ca)], ...options } : options);

// collect consumes from a queue and returns a function that waits until n messages have come and returns all.
async function collect(ch, queue, options = { noAck: true }) {
  const got = [];
  let wake = () => {};
  await ch.consume(
    queue,
    (m) => {
      got.push(m);
      wake();
    },
    options,
  );
  return async (n) => {
    const end = Date.now() + 60000;
    while (got.length < n) {
      assert(Date.now() < end, `${got.length} of ${n} messages after a minute`);
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, 100);
      });
    }
    return got;
  };
}

const sequence = (n) => Array.from({ length: n }, (_, i) => String(i));

// closedWith says that the call must close the channel with that code.
async function closedWith(c, code, f) {
  const ch = await c.createChannel();
  let seen;
  ch.on("error", (e) => {
    seen = e;
  });
  await assert.rejects(f(ch));
  assert.equal(seen?.code, code);
}

const checks = {
  async publishAndConsume() {
    const c = await open();
    const ch = await c.createChannel();
    const { queue } = await ch.assertQueue("", { exclusive: true });
    const wait = await collect(ch, queue);
    for (const s of sequence(1000)) ch.sendToQueue(queue, Buffer.from(s));
    const got = await wait(1000);
    assert.deepEqual(got.map((m) => m.content.toString()), sequence(1000));
    await c.close();
  },

  async confirms() {
    const c = await open();
    const ch = await c.createConfirmChannel();
    const { queue } = await ch.assertQueue(`${name}.confirms`, { durable: true });
    for (const s of sequence(500)) ch.publish("", queue, Buffer.from(s), { persistent: true });
    await ch.waitForConfirms();
    assert.equal((await ch.checkQueue(queue)).messageCount, 500);
    assert.equal((await ch.deleteQueue(queue)).messageCount, 500);
    await c.close();
  },

  async mandatory() {
    const c = await open();
    const ch = await c.createConfirmChannel();
    const returned = new Promise((resolve) => ch.on("return", resolve));
    ch.publish("", "no.such.queue", Buffer.from("x"), { mandatory: true, messageId: "7" });
    const m = await returned;
    assert.equal(m.fields.replyCode, 312);
    assert.equal(m.properties.messageId, "7");
    await ch.waitForConfirms();
    await c.close();
  },

  async properties() {
    const c = await open();
    const ch = await c.createChannel();
    const { queue } = await ch.assertQueue("", { exclusive: true });
    const headers = { a: 1, b: "two", c: [1, { d: true }], e: 1.5, big: 2 ** 40, no: null };
    ch.sendToQueue(queue, Buffer.alloc(0), {
      contentType: "text/plain", contentEncoding: "utf-8", headers, persistent: true, priority: 3, correlationId: "c", replyTo: "r",
      expiration: "60000", messageId: "m", timestamp: 1700000000, type: "t", userId: "guest", appId: "a",
    });
    const wait = await collect(ch, queue);
    const [m] = await wait(1);
    assert.deepEqual(m.properties.headers, headers);
    assert.equal(m.properties.deliveryMode, 2);
    assert.equal(m.properties.expiration, "60000");
    assert.equal(m.properties.timestamp, 1700000000);
    assert.equal(m.content.length, 0);
    await c.close();
  },

  async acknowledgements() {
    const c = await open();
    const ch = await c.createChannel();
    const { queue } = await ch.assertQueue("", { exclusive: true });
    await ch.prefetch(2);
    for (const s of sequence(6)) ch.sendToQueue(queue, Buffer.from(s));
    const wait = await collect(ch, queue, {});
    let got = await wait(2);
    await ch.checkQueue(queue);
    assert.equal(got.length, 2);
    ch.nack(got[0], false, true);
    ch.ack(got[1]);
    got = await wait(4);
    assert(got.some((m) => m.fields.redelivered && m.content.toString() === "0"));
    ch.ack(got[3], true);
    await wait(6);
    ch.ackAll();
    await wait(7); // one came twice
    ch.ackAll();
    assert.equal((await ch.checkQueue(queue)).messageCount, 0);
    await c.close();
  },

  async topology() {
    const c = await open();
    const ch = await c.createChannel();
    const [a, b] = [`${name}.a`, `${name}.b`];
    await ch.assertExchange(a, "topic", { durable: false });
    await ch.assertExchange(b, "fanout", { durable: false, alternateExchange: a });
    await ch.bindExchange(b, a, "x.#");
    const { queue } = await ch.assertQueue("", { exclusive: true, messageTtl: 60000, maxLength: 100, maxPriority: 3 });
    await ch.bindQueue(queue, b, "");
    ch.publish(a, "x.y", Buffer.from("hello"));
    const wait = await collect(ch, queue);
    assert.equal((await wait(1))[0].fields.routingKey, "x.y");
    await ch.unbindQueue(queue, b, "");
    await ch.unbindExchange(b, a, "x.#");
    await ch.purgeQueue(queue);
    await ch.deleteExchange(a);
    await ch.deleteExchange(b);
    await c.close();
  },

  async errors() {
    const c = await open();
    await closedWith(c, 404, (ch) => ch.checkQueue("no.such.queue"));
    await closedWith(c, 404, (ch) => ch.checkExchange("no.such.exchange"));
    await closedWith(c, 403, (ch) => ch.assertExchange("amq.own", "direct"));
    const ch = await c.createChannel();
    await ch.assertQueue(`${name}.errors`, { durable: false, autoDelete: true });
    await closedWith(c, 406, (ch) => ch.assertQueue(`${name}.errors`, { durable: true }));
    await ch.deleteQueue(`${name}.errors`);
    await c.close();
  },

  async consumerCancelled() {
    const c = await open();
    const ch = await c.createChannel();
    await ch.assertQueue(`${name}.gone`);
    const cancelled = new Promise((resolve) => ch.consume(`${name}.gone`, resolve));
    await ch.checkQueue(`${name}.gone`);
    await ch.deleteQueue(`${name}.gone`);
    assert.equal(await cancelled, null);
    await c.close();
  },

  async heartbeats() {
    // A connection ends after two heartbeats of silence, so both sides must send some; they have time for that.
    const c = await open("?heartbeat=5");
    await new Promise((resolve) => setTimeout(resolve, 13000));
    await c.createChannel();
    await c.close();
  },

  async deadLetters() {
    const c = await open();
    const ch = await c.createChannel();
    const dead = await ch.assertQueue("", { exclusive: true });
    const q = await ch.assertQueue("", { exclusive: true, deadLetterExchange: "", deadLetterRoutingKey: dead.queue });
    ch.sendToQueue(q.queue, Buffer.from("x"), { expiration: "20" });
    const wait = await collect(ch, dead.queue);
    const [m] = await wait(1);
    assert.equal(m.properties.headers["x-death"][0].reason, "expired");
    assert.equal(m.properties.headers["x-first-death-queue"], q.queue);
    await c.close();
  },

  async large() {
    const c = await open("?frameMax=8192");
    const ch = await c.createChannel();
    const { queue } = await ch.assertQueue("", { exclusive: true });
    const body = Buffer.alloc(3 << 20, "large");
    ch.sendToQueue(queue, body);
    const wait = await collect(ch, queue);
    assert((await wait(1))[0].content.equals(body));
    await c.close();
  },

  async updateSecret() {
    const c = await open();
    await c.updateSecret(Buffer.from("guest"), "because");
    await c.close();
  },
};

let failed = false;
for (const [name, check] of Object.entries(checks)) {
  try {
    await Promise.race([check(), new Promise((_, reject) => setTimeout(() => reject(new Error("no end after 2 minutes")), 120000).unref())]);
    console.log("ok", name);
  } catch (e) {
    failed = true;
    console.log(`FAIL ${name}: ${e.stack}`);
  }
}
process.exit(failed ? 1 : 0);
