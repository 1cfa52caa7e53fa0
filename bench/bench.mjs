// Measures this program beside yardsticks of the same run and writes bench/RESULTS.md.
//   npm run bench [-- [--peers FOLDER] PART...]
// Parts: submit loop callers recipients large memory relay drain scale; all of them when none is named. FOLDER
// holds a comparison of other relays that takes bench/peers.env as one more row (run.sh --parts …).
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { drain } from './drain.mjs';
import { relay } from './relay.mjs';
import { scale } from './scale.mjs';
import { compile, startSink } from './sink.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { peers: { type: 'string' } },
});
const PARTS = { submit, loop, callers, recipients, large, memory, relay, drain, scale };
const wanted = positionals.length > 0 ? positionals : Object.keys(PARTS);
for (const name of wanted) {
  if (!(name in PARTS)) {
    console.error(`bench: no part ${name}; there are ${Object.keys(PARTS).join(' ')}`);
    process.exit(64);
  }
}

const place = mkdtempSync(join(tmpdir(), 'picorelay-bench-'));
const standalone = resolve('build/standalone/sendmail');
const node = [process.execPath, '-e', '0'];
const yardstick = [compile('yardstick'), folder('yardstick')];
const timer = compile('time');
const sections = [];
const tools = { site, time, table, figure, ratio, message };
try {
  for (const name of wanted) {
    console.error(`bench: ${name}`);
    const load = loadavg()[0].toFixed(1);
    const figures = await PARTS[name](tools);
    const after = loadavg()[0].toFixed(1);
    sections.push(`## ${name}\n\nLoad average before it ${load}, after it ${after}.\n\n${figures}`);
  }
  if (values.peers !== undefined) sections.push(`## Beside others\n\n${peers(values.peers)}`);
} finally {
  rmSync(place, { recursive: true, force: true });
}
const head = `# Figures of one machine

\`npm run bench\`, ${new Date().toISOString().slice(0, 10)}: ${cpus().length} x ${cpus()[0].model}, Linux ${release()}, node
${process.version}. Milliseconds of whole processes, median (least), clean environment; each ratio is of
medians of runs taken in turn. [docs/performance.md](../docs/performance.md) says where the time goes.
`;
const report = `${[head, ...sections].join('\n').trim()}\n`;
console.log(report);
// A run of some parts only looks at them.
if (positionals.length === 0) writeFileSync('bench/RESULTS.md', report);

/** One call while nothing else goes on: only queued, with a runner that lives, and one that starts it. */
async function submit() {
  const relay = await startSink();
  const off = site({ immediate: 'off' });
  const woken = site({ immediate: 'background', linger: '1h', relay: relay.url });
  const first = site({ immediate: 'background', linger: '0s', relay: `smtp://127.0.0.1:1` });
  call(woken);
  const rows = [
    ['`node -e 0`', node],
    ['write, sync, link, sync in C', yardstick],
    ['`sendmail -t`, queued only', sendmail(off)],
    ['`sendmail -t`, wakes a runner', sendmail(woken)],
    ['`sendmail -t`, starts a runner', sendmail(first)],
    ...(existsSync(standalone)
      ? [
          ['standalone, queued only', sendmail(off, standalone)],
          ['standalone, wakes a runner', sendmail(woken, standalone)],
        ]
      : []),
  ];
  const runs = time(
    100,
    1,
    message(2048),
    rows.map(([, command]) => command),
  );
  stopRunners(woken);
  relay.stop();
  const [bare, disk] = runs.map(({ wall }) => median(wall));
  return table(
    ['what', 'ms', 'processor ms', '/ node', '(ms - disk) / node'],
    rows.map(([title], index) => {
      const ms = median(runs[index].wall);
      const net = index > 1 ? ratio((ms - disk) / bare) : '';
      return [title, figure(runs[index].wall), figure(runs[index].cpu), ratio(ms / bare), net];
    }),
  );
}

/** Calls in a row, with all that they set going. */
async function loop() {
  return await burst(1, 300);
}

async function callers() {
  return await burst(8, 400);
}

async function burst(atOnce, calls) {
  const relay = await startSink();
  const one = site({ immediate: 'background', linger: '2s', relay: relay.url });
  const rows = [
    ['`node -e 0`', node],
    ['`sendmail -t`', sendmail(one)],
    ...(existsSync(standalone) ? [['standalone', sendmail(one, standalone)]] : []),
  ];
  const seconds = [];
  const starts = [];
  for (const [, command] of rows) {
    const [run] = time(calls, atOnce, message(2048), [command]);
    const sum = run.wall.reduce((total, each) => total + each, 0);
    seconds.push(sum / 1000);
    await emptied(one);
    starts.push((await relay.count()).connections);
  }
  stopRunners(one);
  relay.stop();
  const done = table(
    ['what', 'connections to the relay', 'calls a second', '/ node'],
    rows.map(([title], index) => [
      title,
      starts[index],
      (calls / seconds[index]).toFixed(1),
      ratio(seconds[0] / seconds[index]),
    ]),
  );
  return `${calls} calls, ${atOnce} at once.\n\n${done}`;
}

/** One message to many: its bytes are written once. */
function recipients() {
  const off = site({ immediate: 'off' });
  const counts = [1, 10, 100, 1000];
  const commands = counts.map((count) => [
    ...sendmail(off).slice(0, -1),
    ...Array.from({ length: count }, (_, n) => `user${n}@dest.example`),
  ]);
  const runs = time(20, 1, message(2048), [yardstick, ...commands]);
  const [disk, ...ours] = runs.map(({ wall }) => wall);
  return table(
    ['recipients', 'ms', '/ write, sync, link, sync in C', 'ms for each'],
    ours.map((wall, index) => [
      counts[index],
      figure(wall),
      ratio(median(wall) / median(disk)),
      (median(wall) / counts[index]).toFixed(2),
    ]),
  );
}

/** 100 MB in one message. */
function large() {
  const off = site({ immediate: 'off' });
  const commands = [yardstick, sendmail(off)];
  if (existsSync(standalone)) commands.push(sendmail(off, standalone));
  const runs = time(5, 1, message(100_000_000), commands);
  const disk = median(runs[0].wall);
  return table(
    ['what', 'ms', '/ C', 'peak MB'],
    runs.map((run, index) => [
      ['write, sync, link, sync in C', '`sendmail -t`', 'standalone'][index],
      figure(run.wall),
      ratio(median(run.wall) / disk),
      (run.peak / 1024).toFixed(0),
    ]),
  );
}

/** Peaks of whole processes, and a runner at rest. */
async function memory() {
  const relay = await startSink();
  const off = site({ immediate: 'off' });
  const woken = site({ immediate: 'background', linger: '1h', relay: relay.url });
  const runs = time(3, 1, message(2048), [node, sendmail(off)]);
  call(woken);
  const status = readFileSync(`/proc/${await runnerOf(woken)}/status`, 'latin1');
  stopRunners(woken);
  relay.stop();
  const of = (kb) => [(kb / 1024).toFixed(0), ratio(kb / runs[0].peak)];
  return table(
    ['what', 'peak MB', '/ node'],
    [
      ['`node -e 0`', ...of(runs[0].peak)],
      ['`sendmail -t`', ...of(runs[1].peak)],
      ['a runner that has sent a mail and waits', ...of(Number(/VmHWM:\s+(\d+)/.exec(status)[1]))],
    ],
  );
}

/** The tables of the comparison, with a row of ours; the standalone program beside the quickest. */
function peers(comparison) {
  const whole = compare(comparison, 'picorelay', resolve('bin'), []);
  if (!existsSync(standalone)) return whole;
  const name = 'picorelay-standalone';
  const only = ['--only', `dma,postfix,exim,${name}`];
  return `${whole}\n${compare(comparison, name, resolve('build/standalone'), only)}`;
}

function compare(comparison, name, bin, only) {
  const home = folder(name);
  const words = { NAME: name, BIN: bin, PLACE: home };
  const env = { ...process.env };
  for (const line of readFileSync('bench/peers.env', 'utf8').split('\n')) {
    const [, variable, value] = /^(PRODUCT_\w+)=(.*)$/.exec(line) ?? [];
    if (variable === undefined) continue;
    env[variable] = value.replace(/\$(NAME|BIN|PLACE)\b/g, (_, key) => words[key]);
  }
  // The comparison calls us as a user without rights.
  chmodSync(place, 0o755);
  const out = join(home, 'RESULT.md');
  const run = spawnSync(
    'bash',
    [join(comparison, 'run.sh'), '--parts', 'base,submit,loop,drain', '--out', out, ...only],
    { env, stdio: ['ignore', 'ignore', 'inherit'] },
  );
  if (run.status !== 0) throw new Error(`the comparison ended with ${run.status}`);
  const text = readFileSync(out, 'utf8');
  const tables = text.slice(text.indexOf('### '), text.indexOf('### Raw figures'));
  return tables.replaceAll('### ', '#### ');
}

function folder(name) {
  const path = join(place, name);
  mkdirSync(path, { recursive: true });
  return path;
}

/** A control folder of its own; returns its path. */
function site(control) {
  const home = mkdtempSync(join(place, 'site-'));
  mkdirSync(join(home, 'control'));
  const files = {
    me: 'bench.example',
    spooldir: join(home, 'spool'),
    log: join(home, 'log'),
    ...control,
  };
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(home, 'control', name), `${text}\n`);
  }
  return home;
}

/** A call as timed: env(1) would be timed with it, so the control folder is in our own environment. */
function sendmail(home, program = resolve('bin/sendmail')) {
  return ['@', join(home, 'control'), program, '-t'];
}

function message(size) {
  const path = join(place, `message-${size}`);
  if (existsSync(path)) return path;
  const header = 'From: Bench <bench@bench.example>\nTo: user@dest.example\nSubject: bench\n\n';
  const line = `${'all work and no play makes jack a dull boy. '.repeat(2).slice(0, 71)}\n`;
  writeFileSync(path, header + line.repeat(Math.ceil((size - header.length) / line.length)));
  return path;
}

/** Runs commands in turn; a command may begin with `@ FOLDER`, its control folder. */
function time(runs, atOnce, input, commands) {
  const args = commands.flatMap((command) => ['--', ...command]);
  const done = spawnSync(timer, [String(runs), String(atOnce), input, ...args], {
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 26,
  });
  if (done.status !== 0) throw new Error('timing failed');
  return JSON.parse(done.stdout);
}

function call(home) {
  const [, control, program, ...args] = sendmail(home);
  const env = { PATH: process.env.PATH, PICORELAY_CONTROL: control };
  spawnSync(program, args, { env, input: readFileSync(message(2048)) });
}

/** Waits until a runner has sent what waits. */
async function emptied(home) {
  const spool = join(home, 'spool', 'spool');
  for (let look = 0; look < 600; look += 1) {
    await new Promise((done) => setTimeout(done, 50));
    if (!existsSync(spool) || readdirSync(spool).length === 0) return;
  }
  throw new Error(`mail is left in ${spool}: ${readFileSync(join(home, 'log'), 'utf8')}`);
}

async function runnerOf(home) {
  await emptied(home);
  return Number(readFileSync(join(home, 'spool', 'run', 'runner'), 'latin1').split(' ')[0]);
}

function stopRunners(home) {
  const path = join(home, 'spool', 'run', 'runner');
  if (!existsSync(path)) return;
  try {
    process.kill(Number(readFileSync(path, 'latin1').split(' ')[0]), 'SIGTERM');
  } catch {
    // It has ended.
  }
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

function figure(numbers) {
  const digits = (ms) => ms.toFixed(ms < 100 ? 1 : 0);
  return `${digits(median(numbers))} (${digits(Math.min(...numbers))})`;
}

function ratio(number) {
  return number.toFixed(2);
}

function table(header, rows) {
  const lines = [header, header.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`);
  return `${lines.join('\n')}\n`;
}
