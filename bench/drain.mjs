// The part `drain` of bench.mjs: a queue that waited, over a relay that is back. Entries of 4 KB, one
// recipient each; the time runs from the start of the runner to the last message at the relay. Beside it
// Debian's Postfix with its default settings, in the same round over the same line.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { startSink } from './sink.mjs';

const root = `${process.env['PICORELAY_INTEROP_ROOTS'] ?? '/var/cache/picorelay-interop'}/postfix`;
/** Inside the root. */
const home = '/srv/bench';
const hasPostfix = process.getuid?.() === 0 && existsSync(`${root}/usr/sbin/smtp-source`);

/** @param tools those of bench.mjs */
export async function drain({ site, time, table }) {
  const cases = [
    ['0 ms', 0, [], {}],
    ['0 ms, CHUNKING', 0, ['-c'], {}],
    ['50 ms, 20 connections', 50, [], { connections: '20' }],
    ['50 ms, 20 connections, CHUNKING', 50, ['-c'], { connections: '20' }],
  ];
  const rows = [];
  for (const [title, delay, options, control] of cases) {
    const entries = 3000;
    const ours = [];
    const theirs = [];
    for (let round = 0; round < 3; round += 1) {
      ours.push(await picorelay({ site, time }, entries, delay, options, control));
      // Postfix offers no BDAT to a relay: its figure is the same with and without.
      if (hasPostfix) theirs.push(await postfix(delay === 0 ? 3000 : 600, delay));
    }
    const [own, other] = [middle(ours), middle(theirs)];
    rows.push([
      ...[title, entries, own.rate.toFixed(0), own.connections, own.cpu.toFixed(2), own.peak],
      ...(other
        ? [other.rate.toFixed(0), other.connections, (own.rate / other.rate).toFixed(2)]
        : []),
    ]);
  }
  const header = ['relay', 'entries', 'messages a second', 'connections', 'CPU ms each', 'peak MB'];
  const beside = hasPostfix ? ['Postfix', 'its connections', '/ Postfix'] : [];
  return `${table([...header, ...beside], rows)}\n${await manyRecipients({ site, time, table })}`;
}

async function picorelay({ site, time }, entries, delay, options, control) {
  const sink = await startSink(options, delay);
  const folder = site({ relay: `${sink.url}?tls=off`, immediate: 'off', linger: '0s', ...control });
  // Files of their own: one that has other names is erased with less work.
  spawnSync('cp', ['-a', await filled(site, entries), join(folder, 'spool')]);
  spawnSync('sync');
  const begin = process.hrtime.bigint();
  const [run] = flush(folder, time);
  const counted = await sink.count();
  sink.stop();
  if (counted.messages !== entries) throw new Error(`${counted.messages} of ${entries} arrived`);
  rmSync(folder, { recursive: true });
  return figures(counted, begin, run, entries);
}

function figures(counted, begin, { cpu = [Number.NaN], peak = 0 }, entries) {
  const seconds = Number(counted.last - begin) / 1e9;
  const { messages, connections, octets } = counted;
  const mega = Math.round(peak / 1024);
  return {
    rate: entries / seconds,
    messages,
    connections,
    octets,
    cpu: cpu[0] / entries,
    peak: mega,
  };
}

function flush(folder, time) {
  return time('once', 1, '/dev/null', [
    ['@', join(folder, 'control'), resolve('bin/picorelay-cron')],
  ]);
}

const templates = new Map();

/** A spool with so many messages, queued as a submission would. */
async function filled(site, entries) {
  if (!templates.has(entries)) templates.set(entries, await fill(join(site({}), 'spool'), entries));
  return templates.get(entries);
}

async function fill(folder, entries) {
  const { Spool } = await import('../build/src/spool/spool.js');
  const spool = new Spool(folder, process.pid);
  const time = Date.now() * 1000;
  for (let n = 0; n < entries; n += 1) {
    const origin = { uid: 0, pid: process.pid, time: time + n, program: 'bench' };
    const recipients = [{ address: `user${n}@dest.example` }];
    spool.submit({ sender: 'bench@bench.example', recipients }, origin, [letter(4096)]);
  }
  spool.leave();
  return folder;
}

function letter(octets) {
  const head =
    'From: Bench <bench@bench.example>\r\nTo: user@dest.example\r\nSubject: bench\r\n\r\n';
  const line = `${'all work and no play makes jack a dull boy. '.repeat(2).slice(0, 71)}\r\n`;
  return Buffer.from(head + line.repeat(Math.ceil((octets - head.length) / line.length)));
}

/** Fills Postfix's queue while it may not send, then lets it. */
async function postfix(entries, delay, octets = 4096, recipients = 1) {
  const sink = await startSink([], delay);
  const port = await startPostfix(sink.port);
  try {
    inRoot(
      '/usr/sbin/smtp-source',
      '-d',
      '-s',
      '10',
      '-m',
      `${entries}`,
      '-l',
      `${octets}`,
      '-r',
      `${recipients}`,
      '-t',
      'user@dest.example',
      '-f',
      'bench@bench.example',
      `127.0.0.1:${port}`,
    );
    const queued = () => ['incoming', 'active', 'deferred'].map(inQueue);
    await until(() => queued().join() === `0,0,${entries}`);
    inRoot('/usr/sbin/postconf', '-c', home, '-e', 'defer_transports=');
    inRoot('/usr/sbin/postfix', '-c', home, 'reload');
    await new Promise((done) => setTimeout(done, 1000));
    await sink.count();
    spawnSync('sync');
    const begin = process.hrtime.bigint();
    inRoot('/usr/sbin/postqueue', '-c', home, '-f');
    await until(() => queued().join() === '0,0,0');
    const counted = await sink.count();
    return figures(counted, begin, {}, entries);
  } finally {
    inRoot('/usr/sbin/postfix', '-c', home, 'stop');
    sink.stop();
  }
}

async function startPostfix(relayPort) {
  const folder = join(root, home);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const port = 20_000 + Math.floor(Math.random() * 10_000);
  writeFileSync(
    join(folder, 'main.cf'),
    `compatibility_level = 3.6
queue_directory = ${home}/queue
data_directory = ${home}/data
maillog_file = ${home}/log
maillog_file_prefixes = ${home}
myhostname = bench.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
alias_maps =
alias_database =
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
smtp_host_lookup = native
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:${relayPort}
defer_transports = smtp
`,
  );
  // Debian's own services, without chroots, and a port of ours instead of 25.
  const services = `127.0.0.1:${port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`;
  writeFileSync(join(folder, 'master.cf'), services);
  inRoot('/usr/bin/install', '-d', '-o', 'postfix', `${home}/data`);
  inRoot('/usr/bin/install', '-d', `${home}/queue`);
  inRoot('/usr/sbin/postfix', '-c', home, 'start');
  await new Promise((done) => setTimeout(done, 1500));
  return port;
}

function inRoot(...command) {
  const done = spawnSync('/usr/sbin/chroot', [root, ...command], {
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (done.status !== 0) throw new Error(`${command.join(' ')}: ${done.stderr}`);
}

/** One message of 100 KB to a thousand: what goes over the wire. */
async function manyRecipients({ site, time, table }) {
  const submit = async (folder) => {
    const { Spool } = await import('../build/src/spool/spool.js');
    const spool = new Spool(folder, process.pid);
    const origin = { uid: 0, pid: process.pid, time: Date.now() * 1000, program: 'bench' };
    const recipients = Array.from({ length: 1000 }, (_, n) => ({
      address: `user${n}@dest.example`,
    }));
    spool.submit({ sender: 'bench@bench.example', recipients }, origin, [letter(102_400)]);
    spool.leave();
  };
  const sink = await startSink();
  const folder = site({
    relay: `${sink.url}?tls=off`,
    immediate: 'off',
    linger: '0s',
    transactionrecipients: '1000',
  });
  await submit(join(folder, 'spool'));
  flush(folder, time);
  const ours = await sink.count();
  sink.stop();
  const rows = [['picorelay', ours.messages, ours.octets, '']];
  if (hasPostfix) {
    const theirs = await postfix(1, 0, 102_400, 1000);
    rows.push([
      'Postfix',
      theirs.messages,
      theirs.octets,
      (theirs.octets / ours.octets).toFixed(1),
    ]);
  }
  return `One message of 100 KB to 1,000 recipients:\n\n${table(['', 'transactions', 'octets', '/ picorelay'], rows)}`;
}

/** The run in the middle, by rate. */
function middle(runs) {
  return [...runs].sort((a, b) => a.rate - b.rate)[runs.length >> 1];
}

/** Files in one of Postfix's queues. */
function inQueue(name) {
  const folder = join(root, home, 'queue', name);
  const all = readdirSync(folder, { recursive: true, withFileTypes: true });
  return all.filter((entry) => entry.isFile()).length;
}

async function until(condition) {
  const end = Date.now() + 120_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error('waited in vain for Postfix');
    await new Promise((done) => setTimeout(done, 50));
  }
}
