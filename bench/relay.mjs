// The part `relay` of bench.mjs: how fast messages go to a relay over connections that are kept, beside Postfix's
// load generator and nodemailer. Each client is a process of its own with the messages in its memory.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { startSink } from './sink.mjs';

/** The root with Postfix that test/interop/roots.sh makes. */
const root = `${process.env['PICORELAY_INTEROP_ROOTS'] ?? '/var/cache/picorelay-interop'}/postfix`;
const source = existsSync(`${root}/usr/sbin/smtp-source`);

const CLIENTS = {
  'smtp-source -d': {
    command: (port, connections, messages, octets) => [
      ...['/usr/sbin/chroot', root, '/usr/sbin/smtp-source', '-d', '-s', String(connections)],
      ...['-m', String(messages), '-l', String(octets), `127.0.0.1:${port}`],
    ],
    /** Round trips a message takes. */
    trips: 4,
  },
  nodemailer: { command: node('nodemailer'), trips: 2 },
  picorelay: { command: node('picorelay'), trips: 1 },
  'picorelay, CHUNKING': { command: node('picorelay'), trips: 1 / 8, sink: ['-c'] },
};

function node(who) {
  return (...numbers) => [
    ...[process.execPath, resolve('bench/client.mjs'), who],
    ...numbers.map(String),
  ];
}

/** @param tools those of bench.mjs */
export async function relay({ table, time }) {
  const sections = [];
  for (const [octets, size] of [
    [4096, '4 KB'],
    [1_000_000, '1 MB'],
  ]) {
    for (const delay of [0, 50]) {
      const rows = [];
      for (const connections of [1, 5, 20])
        rows.push(...(await race(octets, delay, connections, time)));
      const header = ['connections', 'client', 'messages a second', '/ smtp-source', 'CPU ms each'];
      sections.push(`### ${size}, ${delay} ms\n\n${table([...header, 'peak MB'], rows)}`);
    }
  }
  return `${sections.join('\n')}${source ? '' : '\nNo smtp-source: bash test/interop/roots.sh postfix\n'}`;
}

/** Three rounds of all clients in turn; the median of each. */
async function race(octets, delay, connections, time) {
  const runs = new Map();
  for (let round = 0; round < 3; round += 1) {
    for (const [name, { command, trips, sink: options = [] }] of Object.entries(CLIENTS)) {
      if (name === 'smtp-source -d' && !source) continue;
      const sink = await startSink(options, delay);
      const messages = count(octets, delay, connections, trips);
      const own = command(sink.port, connections, messages, octets);
      const [{ cpu, peak }] = time('once', 1, '/dev/null', [own]);
      const counted = await sink.count();
      sink.stop();
      if (counted.messages !== messages) {
        throw new Error(`${name}: ${counted.messages} of ${messages} arrived`);
      }
      const run = { rate: messages / counted.seconds, cpu: cpu[0] / messages, peak };
      runs.set(name, [...(runs.get(name) ?? []), run]);
    }
  }
  const middle = (name, key) =>
    (runs.get(name) ?? []).map((run) => run[key]).sort((a, b) => a - b)[1];
  return [...runs.keys()].map((name) => [
    connections,
    name,
    middle(name, 'rate').toFixed(middle(name, 'rate') < 100 ? 1 : 0),
    source ? (middle(name, 'rate') / middle('smtp-source -d', 'rate')).toFixed(2) : '',
    middle(name, 'cpu').toFixed(2),
    (middle(name, 'peak') / 1024).toFixed(0),
  ]);
}

/** As many as take a second or two. */
function count(octets, delay, connections, trips) {
  if (delay === 0) return octets > 100_000 ? 300 : 20_000;
  const second = connections / (trips * (delay / 1000));
  const most = octets > 100_000 ? 150 : 6000;
  return Math.max(connections * 2, Math.min(most, Math.round(second * 1.5)));
}
