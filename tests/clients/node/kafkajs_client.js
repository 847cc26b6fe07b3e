// kafkajs behind the commands that every client program here has; see the README one folder up.
'use strict';

const readline = require('readline');
const lz4 = require('lz4-napi');
const snappy = require('snappyjs');
const zstd = require('@bokuweb/zstd-wasm');
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require('kafkajs');

const FIRST_TIMESTAMP_MS = 1700000000000;
const XERIAL_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]);

// The framing that Java's snappy uses: a head, then blocks with their length before them.
function xerialDecompress(buffer) {
  if (!buffer.subarray(0, 8).equals(XERIAL_MAGIC)) return Buffer.from(snappy.uncompress(buffer));
  const parts = [];
  for (let at = 16; at < buffer.length; ) {
    const size = buffer.readInt32BE(at);
    parts.push(Buffer.from(snappy.uncompress(buffer.subarray(at + 4, at + 4 + size))));
    at += 4 + size;
  }
  return Buffer.concat(parts);
}

CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: async (buffer) => lz4.decompressFrame(buffer),
});
CompressionCodecs[CompressionTypes.Snappy] = () => ({
  compress: async (encoder) => Buffer.from(snappy.compress(encoder.buffer)),
  decompress: async (buffer) => xerialDecompress(buffer),
});
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
});

const codecs = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD,
};

const say = (line) => console.log(typeof line === 'string' ? line : JSON.stringify(line));
const key = (i) => (i % 5 === 0 ? null : `k${i}`);
const value = (i) => (i % 5 !== 0 && i % 7 === 0 ? null : `v${i} repeats itself${' repeats itself'.repeat(i % 50)}`);
const text = (b) => (b === null || b === undefined ? null : b.toString());

function kafka(o) {
  return new Kafka({ brokers: [o.bootstrap], clientId: 'kafkajs', logLevel: logLevel.NOTHING, retry: { retries: 8 } });
}

async function produce(o) {
  const producer = kafka(o).producer({ idempotent: o.idempotent === 'true' });
  await producer.connect();
  const count = Number(o.count);
  for (let first = 0; first < count; first += 500) {
    const messages = [];
    for (let i = first; i < Math.min(first + 500, count); i++)
      messages.push({ key: key(i), value: value(i), partition: i % Number(o.partitions),
        timestamp: String(FIRST_TIMESTAMP_MS + i), headers: { n: String(i) } });
    await producer.send({ topic: o.topic, compression: codecs[o.codec || 'none'], messages });
  }
  await producer.disconnect();
  say({ acked: count });
}

function sayRecord(partition, m) {
  const headers = Object.entries(m.headers || {}).map(([name, data]) => [name, text(data)]);
  say({ p: partition, o: Number(m.offset), k: text(m.key), v: text(m.value), t: Number(m.timestamp), h: headers });
}

// kafkajs consumes in groups only.
async function consume(o) {
  const consumer = kafka(o).consumer({ groupId: `consume-${o.topic}-${process.pid}` });
  let left = Number(o.count);
  await consumer.connect();
  await consumer.subscribe({ topic: o.topic, fromBeginning: true });
  await new Promise((done) => {
    setTimeout(done, 30000).unref();
    consumer.run({ autoCommit: false, eachMessage: async ({ partition, message }) => {
      sayRecord(partition, message);
      if (--left === 0) done();
    } });
  });
  await consumer.disconnect();
}

async function expect(name, wanted, o, send) {
  const producer = kafka({ ...o }).producer({ retry: { retries: 1 } });
  await producer.connect();
  try {
    await producer.send(send);
    say(`FAIL ${name}: no error`);
  } catch (why) {
    const told = `${why.type} ${why}`.replace(/\n/g, ' ');
    say(told.includes(wanted) ? `pass ${name}` : `FAIL ${name}: ${told}`);
  }
  await producer.disconnect();
}

async function errors(o) {
  const large = Buffer.alloc(2 << 20);
  await expect('message_too_large', 'MESSAGE_TOO_LARGE', o, { topic: o.topic, messages: [{ value: large, partition: 0 }] });
  await expect('illegal_topic_name', 'invalid topic', o, { topic: 'no/such', messages: [{ value: 'x' }] });
  await expect('timestamp_refused', 'INVALID_TIMESTAMP', o,
    { topic: o.strict, messages: [{ value: 'x', partition: 0, timestamp: '1' }] });
}

async function member(o) {
  const consumer = kafka(o).consumer({ groupId: o.group, sessionTimeout: Number(o.session || 6000), heartbeatInterval: 1000,
    rebalanceTimeout: 10000, maxWaitTimeInMs: 100 });
  const asked = new Promise((done) => {
    const lines = readline.createInterface({ input: process.stdin });
    lines.on('line', done);
    lines.on('close', done);
  });
  let owned = [];
  const lose = () => {
    if (owned.length) say({ event: 'revoked', partitions: owned });
    owned = [];
  };
  consumer.on(consumer.events.REBALANCING, lose);
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    lose();
    owned = (payload.memberAssignment[o.topic] || []).map(Number).sort((a, b) => a - b);
    say({ event: 'assigned', partitions: owned });
  });
  await consumer.connect();
  await consumer.subscribe({ topic: o.topic, fromBeginning: true });
  await consumer.run({ autoCommit: false, eachBatchAutoResolve: false, eachBatch: async ({ batch, resolveOffset, heartbeat }) => {
    for (const m of batch.messages) {
      sayRecord(batch.partition, m);
      resolveOffset(m.offset);
    }
    const at = Number(batch.lastOffset()) + 1;
    try {
      await consumer.commitOffsets([{ topic: o.topic, partition: batch.partition, offset: String(at), metadata: 'by kafkajs' }]);
      say({ event: 'committed', p: batch.partition, o: at });
    } catch (why) {
      say({ event: 'commit_failed', why: String(why) });
    }
    await heartbeat();
  } });
  await asked;
  await consumer.disconnect();
  say({ event: 'closed' });
  process.exit(0);
}

async function main() {
  const options = Object.fromEntries(process.argv.slice(3).map((word) => {
    const at = word.indexOf('=');
    return [word.slice(0, at), word.slice(at + 1)];
  }));
  await zstd.init();
  await { produce, consume, errors, member }[process.argv[2]](options);
}

main().catch((why) => {
  console.error(why);
  process.exit(1);
});
