// Checks a broker with mqtt.js. Usage: node check.js URL VERSION [CAFILE]
// URL is mqtt://, mqtts:// or ws://; VERSION is 3 (3.1), 4 (3.1.1) or 5. User and password are in USER_NAME and PASSWORD.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import mqtt from "mqtt";

const [url, versionArg, ca] = process.argv.slice(2);
const version = Number(versionArg);
const root = `js/${version}/${process.pid}`;
let clients = 0;

// open connects, with options on top of the usual ones.
function open(options = {}) {
  return mqtt.connectAsync(url, {
    protocolVersion: version,
    protocolId: version === 3 ? "MQIsdp" : "MQTT",
    clientId: `js${version}-${process.pid % 10000}-${clients++}`,
    username: process.env.USER_NAME,
    password: process.env.PASSWORD,
    ca: ca ? readFileSync(ca) : undefined,
    reconnectPeriod: 0,
    connectTimeout: 60000,
    ...options,
  });
}

// collect returns a function that waits until n messages have come and returns all.
function collect(client) {
  const got = [];
  let wake = () => {};
  client.on("message", (topic, payload, packet) => {
    got.push({ topic, payload, packet });
    wake();
  });
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

const checks = {
  async everyQoS() {
    const sub = await open();
    const pub = await open();
    const wait = collect(sub);
    await sub.subscribeAsync(`${root}/q/#`, { qos: 2 });
    for (const qos of [0, 1, 2]) {
      await Promise.all(Array.from({ length: 100 }, (_, i) => pub.publishAsync(`${root}/q/${qos}`, String(i), { qos })));
    }
    const got = await wait(300);
    assert.equal(got.length, 300);
    for (const qos of [0, 1, 2]) {
      const mine = got.filter((m) => m.topic === `${root}/q/${qos}`);
      assert.deepEqual(mine.map((m) => m.payload.toString()), Array.from({ length: 100 }, (_, i) => String(i)));
      assert(mine.every((m) => m.packet.qos === qos && !m.packet.retain && !m.packet.dup));
    }
    await sub.endAsync();
    await pub.endAsync();
  },

  async largePayload() {
    const c = await open();
    const wait = collect(c);
    await c.subscribeAsync(`${root}/large`, { qos: 1 });
    const payload = Buffer.alloc(200_000, "quartet");
    await c.publishAsync(`${root}/large`, payload, { qos: 1 });
    assert((await wait(1))[0].payload.equals(payload));
    await c.endAsync();
  },

  async retained() {
    const c = await open();
    await c.publishAsync(`${root}/r`, "kept", { qos: 1, retain: true });
    const wait = collect(c);
    await c.subscribeAsync(`${root}/r`, { qos: 1 });
    const [m] = await wait(1);
    assert.equal(m.payload.toString(), "kept");
    assert.equal(m.packet.retain, true);
    await c.publishAsync(`${root}/r`, "", { qos: 1, retain: true });
    await wait(2);
    const late = await open();
    const none = collect(late);
    await late.subscribeAsync(`${root}/+`, { qos: 1 });
    await late.publishAsync(`${root}/end`, "end", { qos: 1 });
    assert.equal((await none(1))[0].topic, `${root}/end`);
    await late.endAsync();
    await c.endAsync();
  },

  async unsubscribe() {
    const c = await open();
    const wait = collect(c);
    await c.subscribeAsync([`${root}/a`, `${root}/b`], { qos: 1 });
    await c.unsubscribeAsync(`${root}/a`);
    await c.publishAsync(`${root}/a`, "no", { qos: 1 });
    await c.publishAsync(`${root}/b`, "yes", { qos: 1 });
    assert.deepEqual((await wait(1)).map((m) => m.topic), [`${root}/b`]);
    await c.endAsync();
  },

  async will() {
    const watcher = await open();
    const wait = collect(watcher);
    await watcher.subscribeAsync(`${root}/will`, { qos: 1 });
    const c = await open({ will: { topic: `${root}/will`, payload: Buffer.from("gone"), qos: 1, retain: false } });
    c.on("error", () => {});
    c.stream.destroy();
    assert.equal((await wait(1))[0].payload.toString(), "gone");
    await watcher.endAsync();
  },

  async sessionResume() {
    const id = `js${version}-${process.pid % 10000}-kept`;
    const keep = { clientId: id, clean: false, properties: version === 5 ? { sessionExpiryInterval: 60 } : undefined };
    const first = await open(keep);
    await first.subscribeAsync(`${root}/s`, { qos: 1 });
    await first.endAsync();
    const pub = await open();
    for (let i = 0; i < 20; i++) {
      await pub.publishAsync(`${root}/s`, String(i), { qos: 1 });
    }
    // The messages may come right after CONNACK, before connectAsync returns, so the listener must be there at once.
    const second = mqtt.connect(url, {
      protocolVersion: version,
      protocolId: version === 3 ? "MQIsdp" : "MQTT",
      username: process.env.USER_NAME,
      password: process.env.PASSWORD,
      ca: ca ? readFileSync(ca) : undefined,
      reconnectPeriod: 0,
      connectTimeout: 60000,
      ...keep,
    });
    const present = new Promise((resolve, reject) => {
      second.once("connect", (p) => resolve(p.sessionPresent));
      second.once("error", reject);
    });
    const got = await collect(second)(20);
    if (version > 3) {
      assert.equal(await present, true);
    }
    assert.deepEqual(got.map((m) => m.payload.toString()), Array.from({ length: 20 }, (_, i) => String(i)));
    await second.endAsync();
    await pub.endAsync();
    const clear = await open({ clientId: id, clean: true });
    await clear.endAsync();
  },
};

const checks5 = {
  async properties() {
    const c = await open();
    const wait = collect(c);
    await c.subscribeAsync(`${root}/p`, { qos: 1, properties: { subscriptionIdentifier: 7 } });
    await c.publishAsync(`${root}/p`, "with", {
      qos: 1,
      properties: {
        payloadFormatIndicator: true,
        messageExpiryInterval: 60,
        contentType: "text/plain",
        responseTopic: `${root}/answer`,
        correlationData: Buffer.from([1, 2, 3]),
        userProperties: { one: "1", many: ["a", "b"] },
      },
    });
    const p = (await wait(1))[0].packet.properties;
    assert.equal(p.contentType, "text/plain");
    assert.equal(p.responseTopic, `${root}/answer`);
    assert.deepEqual([...p.correlationData], [1, 2, 3]);
    assert.deepEqual({ ...p.userProperties }, { one: "1", many: ["a", "b"] });
    assert.equal(p.payloadFormatIndicator, true);
    assert.equal(p.subscriptionIdentifier, 7);
    assert(p.messageExpiryInterval > 0 && p.messageExpiryInterval <= 60);
    await c.endAsync();
  },

  async noLocal() {
    const c = await open();
    const wait = collect(c);
    await c.subscribeAsync(`${root}/n`, { qos: 1, nl: true });
    await c.subscribeAsync(`${root}/m`, { qos: 1 });
    await c.publishAsync(`${root}/n`, "own", { qos: 1 });
    await c.publishAsync(`${root}/m`, "end", { qos: 1 });
    assert.deepEqual((await wait(1)).map((m) => m.topic), [`${root}/m`]);
    await c.endAsync();
  },

  async sharedSubscription() {
    const members = [await open(), await open()];
    let total = 0;
    const counts = [0, 0];
    for (const [i, m] of members.entries()) {
      m.on("message", () => {
        counts[i]++;
        total++;
      });
      await m.subscribeAsync(`$share/g/${root}/h`, { qos: 1 });
    }
    const pub = await open();
    for (let i = 0; i < 50; i++) {
      await pub.publishAsync(`${root}/h`, String(i), { qos: 1 });
    }
    const end = Date.now() + 60000;
    while (total < 50 && Date.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.equal(total, 50);
    assert(counts.every((n) => n > 0), `shares ${counts}`);
    await Promise.all([...members, pub].map((c) => c.endAsync()));
  },

  async topicAlias() {
    const c = await open({ autoAssignTopicAlias: true, properties: { topicAliasMaximum: 5 }, autoUseTopicAlias: true });
    const wait = collect(c);
    await c.subscribeAsync(`${root}/alias/#`, { qos: 1 });
    for (let i = 0; i < 20; i++) {
      await c.publishAsync(`${root}/alias/${i % 8}`, String(i), { qos: 1 });
    }
    const got = await wait(20);
    assert.deepEqual(got.map((m) => m.topic), Array.from({ length: 20 }, (_, i) => `${root}/alias/${i % 8}`));
    await c.endAsync();
  },

  async takeover() {
    const id = `js5-${process.pid % 10000}-taken`;
    const first = await open({ clientId: id });
    const code = new Promise((resolve) => {
      first.on("disconnect", (p) => resolve(p.reasonCode));
      first.on("close", () => resolve("closed without DISCONNECT"));
    });
    const second = await open({ clientId: id });
    assert.equal(await code, 0x8e);
    await second.endAsync();
  },
};

const all = version === 5 ? { ...checks, ...checks5 } : checks;
const only = process.env.ONLY;
const timer = setTimeout(() => {
  console.log("FAIL: no end after 4 minutes");
  process.exit(1);
}, 240000);
for (const [name, check] of Object.entries(all)) {
  if (only && only !== name) {
    continue;
  }
  try {
    await check();
    console.log(`ok ${name}`);
  } catch (err) {
    console.log(`FAIL ${name}: ${err.stack}`);
    process.exitCode = 1;
  }
}
clearTimeout(timer);
process.exit();
