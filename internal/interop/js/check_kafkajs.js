// What kafkajs does on a Kafka broker, one line for each thing: "ok name" or "FAIL name: why".
import fs from 'node:fs'
import kafkajs from 'kafkajs'

const { Kafka, logLevel, CompressionTypes, AclResourceTypes, AclOperationTypes, AclPermissionTypes, ResourcePatternTypes, ConfigResourceTypes } = kafkajs
const env = process.env
const epoch = Date.now() - 3_600_000
const patience = 180_000 // until something counts as hanging: a busy machine is slow

const connection = (more) => new Kafka({ brokers: [env.OPEN], logLevel: logLevel.NOTHING, clientId: 'me', connectionTimeout: 60_000, authenticationTimeout: 60_000, requestTimeout: 60_000, retry: { initialRetryTime: 50, retries: 8 }, ...more })
const kafka = connection()
const name = (s) => `${env.PREFIX}-${s}`
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

function check (ok, ...what) {
  if (!ok) throw new Error(what.map((w) => typeof w === 'string' ? w : JSON.stringify(w)).join(' '))
}

// fails expects an error of a type.
async function fails (type, f) {
  try {
    await f()
  } catch (e) {
    for (let c = e; c; c = c.cause) {
      if (c.type === type || c.name === type) return
      if (c.errors?.some((x) => x.type === type)) return
    }
    throw e
  }
  throw new Error('no ' + type)
}

async function eventually (f) {
  for (const end = Date.now() + patience; ; await sleep(50)) {
    try {
      return await f()
    } catch (e) {
      if (Date.now() > end) throw e
    }
  }
}

async function step (feature, f) {
  let timer
  const limit = new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Error('takes too long')), 2 * patience) })
  try {
    await Promise.race([f(), limit])
    console.log('ok ' + feature)
  } catch (e) {
    console.log(`FAIL ${feature}: ${e.name} ${e.message} ${e.errors?.map((x) => x.type) ?? ''}`.replaceAll('\n', ' '))
  }
  clearTimeout(timer)
}

const admin = kafka.admin()

async function create (topic, numPartitions = 1, configEntries = []) {
  const t = name(topic)
  await admin.createTopics({ topics: [{ topic: t, numPartitions, replicationFactor: 1, configEntries }], waitForLeaders: false })
  await eventually(() => admin.fetchTopicOffsets(t)) // Apache Kafka needs a moment until it knows its own topic
  return t
}

const records = (n, partitions) => Array.from({ length: n }, (_, i) => ({ key: `${i}`, value: `${i}`, timestamp: `${epoch + i * 1000}`, partition: i % partitions }))

async function produce (topic, messages, { acks = -1, compression, ...more } = {}) {
  const p = kafka.producer({ allowAutoTopicCreation: true, ...more })
  await p.connect()
  try {
    return await p.send({ topic, messages, acks, compression })
  } finally {
    await p.disconnect()
  }
}

async function fill (topic, n, partitions = 1) {
  const t = await create(topic, partitions)
  await produce(t, records(n, partitions))
  return t
}

// member runs a consumer of a group.
async function member (group, topics, { fromBeginning = true, autoCommit = true, seek, ...more } = {}) {
  const c = kafka.consumer({ groupId: name(group), heartbeatInterval: 200, sessionTimeout: 60_000, rebalanceTimeout: 60_000, maxWaitTimeInMs: 100, ...more })
  const m = { c, messages: [], partitions: -1 }
  c.on(c.events.GROUP_JOIN, (e) => { m.partitions = Object.values(e.payload.memberAssignment).flat().length; m.generation = e.payload.generationId })
  await c.connect()
  await c.subscribe({ topics, fromBeginning })
  await c.run({ autoCommit, autoCommitThreshold: 1, eachMessage: async ({ topic, partition, message }) => { m.messages.push({ topic, partition, ...message }) } })
  if (seek) c.seek(seek)
  m.until = async (f, what) => {
    for (const end = Date.now() + patience; !f(); await sleep(20)) check(Date.now() < end, what ?? 'waiting', { partitions: m.partitions, messages: m.messages.length })
  }
  m.has = (n) => m.until(() => m.partitions === n, `want ${n} partitions`)
  return m
}

async function read (topic, n, options = {}) {
  const m = await member(`reader-${topic}-${Math.random()}`, [topic], { autoCommit: false, ...options })
  try {
    await m.until(() => m.messages.length >= n, `want ${n} records`)
    await sleep(150)
    check(m.messages.length === n, m.messages.length, 'records, want', n)
    return m.messages
  } finally {
    await m.c.disconnect()
  }
}

async function roundTrip (topic, options) {
  const t = await create(topic)
  await produce(t, records(1000, 1), options)
  const got = await read(t, 1000)
  got.forEach((m, i) => check(m.offset === `${i}` && m.value.toString() === `${i}` && m.timestamp === `${epoch + i * 1000}`, m))
}

await admin.connect()
for (const [text, acks] of [['0', 0], ['1', 1], ['all', -1]]) await step(`produce: acks=${text}`, () => roundTrip(`acks-${text}`, { acks }))
await step('produce: gzip', () => roundTrip('gzip', { compression: CompressionTypes.GZIP }))
await step('produce: headers, null keys and values', async () => {
  const t = await create('headers')
  await produce(t, [{ value: 'v', headers: { a: ['1', '2'] } }, { key: 'k', value: null }])
  const [a, b] = await read(t, 2)
  check(a.key === null && a.headers.a.map(String).join() === '1,2', a)
  check(b.key.toString() === 'k' && b.value === null, b)
})
await step('produce: idempotent', () => roundTrip('idempotent', { idempotent: true }))
await step('produce: too large is refused', async () => {
  const t = await create('large', 1, [{ name: 'max.message.bytes', value: '10000' }])
  await fails('MESSAGE_TOO_LARGE', () => produce(t, [{ value: 'x'.repeat(20_000) }]))
})
await step('produce: the topic comes into being', async () => {
  await produce(name('auto'), records(3, 1))
  await read(name('auto'), 3)
})
await step('consume: from an offset', async () => {
  const t = await fill('from-offset', 100)
  const got = await read(t, 40, { seek: { topic: t, partition: 0, offset: '60' } })
  check(got[0].offset === '60', got[0])
})
await step('consume: from a timestamp', async () => {
  const t = await fill('from-timestamp', 100)
  const got = await admin.fetchTopicOffsetsByTimestamp(t, epoch + 69_500)
  check(got[0].offset === '70', got)
})
await step('group: commit and resume', async () => {
  const t = await fill('resume', 100)
  const one = await member('resume', [t])
  await one.until(() => one.messages.length === 100)
  await one.c.disconnect()
  await produce(t, records(10, 1))
  const two = await member('resume', [t])
  await two.until(() => two.messages.length > 0)
  await two.c.disconnect()
  check(two.messages[0].offset === '100', two.messages[0])
})
await step('group: rebalance, eager', async () => {
  const t = await create('rebalance', 4)
  const one = await member('eager', [t])
  await one.has(4)
  const two = await member('eager', [t])
  await Promise.all([one.has(2), two.has(2)])
  await two.c.disconnect()
  await one.has(4)
  await one.c.disconnect()
})
await step('group: pattern of topics', async () => {
  for (const t of ['pattern-a', 'pattern-b', 'other']) await fill(t, 5)
  const m = await member('pattern', [new RegExp(`^${name('pattern-.')}$`)])
  await m.until(() => m.messages.length === 10)
  await m.c.disconnect()
})
const transactional = (id) => kafka.producer({ transactionalId: name(id), maxInFlightRequests: 1, idempotent: true })
await step('transaction: commit and abort', async () => {
  const topic = await create('transactions')
  const p = transactional('t')
  await p.connect()
  for (let i = 0; i < 6; i++) {
    const t = await p.transaction()
    for (let j = 0; j < 10; j++) await t.send({ topic, messages: [{ value: `${i}.${j}` }] })
    await (i % 2 === 0 ? t.commit() : t.abort())
  }
  await p.disconnect()
  for (const m of await read(topic, 30)) check(Number(m.value.toString()[0]) % 2 === 0, m.value.toString())
  await read(topic, 60, { readUncommitted: true })
})
await step('transaction: consumed offsets', async () => {
  const topic = await fill('to', 5)
  const p = transactional('eos')
  await p.connect()
  for (const commit of [false, true]) {
    const t = await p.transaction()
    await t.send({ topic, messages: [{ value: 'x' }] })
    await t.sendOffsets({ consumerGroupId: name('eos'), topics: [{ topic, partitions: [{ partition: 0, offset: commit ? '4' : '3' }] }] })
    await (commit ? t.commit() : t.abort())
  }
  await p.disconnect()
  await read(topic, 6)
  await eventually(async () => {
    const [o] = await admin.fetchOffsets({ groupId: name('eos'), topics: [topic] })
    check(o.partitions[0].offset === '4', o)
  })
})
await step('admin: topics', async () => {
  const t = await create('topics', 3)
  const { topics } = await admin.fetchTopicMetadata({ topics: [t] })
  check(topics[0].partitions.length === 3, topics)
  check((await admin.listTopics()).includes(t), 'not listed')
  await admin.deleteTopics({ topics: [t] })
  await eventually(async () => check(!(await admin.listTopics()).includes(t), 'listed'))
})
await step('admin: errors of topics', async () => {
  await create('errors')
  check(await admin.createTopics({ topics: [{ topic: name('errors') }] }) === false, 'made twice')
  await fails('INVALID_TOPIC_EXCEPTION', () => create('errors/'))
  await fails('INVALID_CONFIG', () => create('errors-config', 1, [{ name: 'no.such.config', value: '1' }]))
  await fails('INVALID_REPLICATION_FACTOR', () => admin.createTopics({ topics: [{ topic: name('replicas'), replicationFactor: 3 }] }))
})
await step('admin: partitions', async () => {
  const t = await create('partitions')
  await admin.createPartitions({ topicPartitions: [{ topic: t, count: 3 }] })
  await eventually(async () => check((await admin.fetchTopicMetadata({ topics: [t] })).topics[0].partitions.length === 3, 'not 3'))
})
await step('admin: configs of topics', async () => {
  const t = await create('configs')
  await admin.alterConfigs({ validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: t, configEntries: [{ name: 'retention.ms', value: '1000' }] }] })
  await eventually(async () => {
    const r = await admin.describeConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: t, configNames: ['retention.ms'] }] })
    check(r.resources[0].configEntries[0].configValue === '1000', r.resources[0])
  })
})
await step('admin: cluster', async () => {
  const d = await admin.describeCluster()
  check(d.brokers.length === 1 && d.clusterId && d.controller === d.brokers[0].nodeId, d)
})
await step('admin: offsets', async () => {
  const t = await fill('offsets', 100)
  const [o] = await admin.fetchTopicOffsets(t)
  check(o.low === '0' && o.high === '100', o)
})
await step('admin: delete records', async () => {
  const t = await fill('delete', 100)
  await admin.fetchTopicOffsets(t) // it has to know the leader
  await admin.deleteTopicRecords({ topic: t, partitions: [{ partition: 0, offset: '70' }] })
  check((await read(t, 30))[0].offset === '70', 'not at 70')
})
await step('admin: groups', async () => {
  const t = await create('groups', 2)
  const m = await member('groups', [t])
  await m.has(2)
  check((await admin.listGroups()).groups.some((g) => g.groupId === name('groups')), 'not listed')
  const { groups: [g] } = await admin.describeGroups([name('groups')])
  check(g.state === 'Stable' && g.members.length === 1 && g.members[0].clientId === 'me', g)
  await fails('NON_EMPTY_GROUP', async () => {
    await admin.deleteGroups([name('groups')]).catch((e) => { throw e.groups?.[0]?.error ?? e })
  })
  await m.c.disconnect()
  await admin.deleteGroups([name('groups')])
})
await step('admin: offsets of groups', async () => {
  const t = await fill('group-offsets', 10)
  const fetch = async () => (await admin.fetchOffsets({ groupId: name('group-offsets'), topics: [t] }))[0].partitions[0].offset
  check(await fetch() === '-1', 'an unknown group has an offset')
  await admin.setOffsets({ groupId: name('group-offsets'), topic: t, partitions: [{ partition: 0, offset: '5' }] })
  check(await fetch() === '5', await fetch())
  await admin.resetOffsets({ groupId: name('group-offsets'), topic: t, earliest: true })
})
async function ping (more) {
  const a = connection({ retry: { retries: 0 }, ...more }).admin()
  try {
    await a.connect()
    await a.listTopics()
  } finally {
    await a.disconnect()
  }
}
// sasl makes an object for each connection: kafkajs keeps what it has made of it in it.
const sasl = (password = env.PASSWORD) => ({ mechanism: 'plain', username: env.USER_NAME, password })
const trust = (file) => ({ ca: [fs.readFileSync(file)], servername: 'localhost' })
await step('admin: ACLs', async () => {
  const admin = connection({ brokers: [env.CLOSED], sasl: sasl() }).admin()
  await admin.connect()
  const acl = { resourceType: AclResourceTypes.TOPIC, resourceName: name('acl'), resourcePatternType: ResourcePatternTypes.LITERAL, principal: 'User:x', host: '*', operation: AclOperationTypes.READ, permissionType: AclPermissionTypes.ALLOW }
  await admin.createAcls({ acl: [acl] })
  await eventually(async () => check((await admin.describeAcls({ ...acl })).resources.length === 1, 'not there'))
  const r = await admin.deleteAcls({ filters: [acl] })
  check(r.filterResponses[0].matchingAcls.length === 1, r)
})

await step('security: SASL PLAIN', () => ping({ brokers: [env.CLOSED], sasl: sasl() }))
await step('security: wrong password', () => fails('KafkaJSSASLAuthenticationError', () => ping({ brokers: [env.CLOSED], sasl: sasl('wrong') })))
for (const mechanism of ['scram-sha-256', 'scram-sha-512']) {
  const login = (password) => ({ brokers: [env.CLOSED], sasl: { mechanism, username: mechanism, password } })
  await step(`security: ${mechanism.toUpperCase()}`, async () => {
    await ping(login(env.PASSWORD))
    await fails('KafkaJSSASLAuthenticationError', () => ping(login('wrong')))
  })
}
await step('security: TLS', () => ping({ brokers: [env.OPEN_TLS], ssl: trust(env.CA) }))
await step('security: SASL over TLS', () => ping({ brokers: [env.CLOSED_TLS], sasl: sasl(), ssl: trust(env.CLOSED_CA) }))
process.exit(0)
