// The part `drain` of bench.mjs: how fast a queue goes out after an outage, over a line without delay and
// over one with a round trip of 50 ms, and what a message to a thousand recipients costs on the wire.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** @param tools those of bench.mjs */
export async function drain({ site, startRelay, time, table, ratio, message }) {
  const rows = [];
  let one;
  for (const [roundTrip, count, connections] of [
    [0, 3000, 1],
    [0, 3000, 5],
    [0, 3000, 20],
    [50, 200, 1],
    [50, 1000, 5],
    [50, 2000, 20],
  ]) {
    for (const chunking of [false, true]) {
      const relay = await startRelay(...(chunking ? ['--chunking'] : []));
      const line = roundTrip === 0 ? undefined : await startLine(relay.port, roundTrip);
      const home = site({
        relay: `smtp://127.0.0.1:${line?.port ?? relay.port}?tls=off`,
        immediate: 'off',
        connections: String(connections),
      });
      queue(home, count, readFileSync(message(4096)));
      const [{ wall, cpu, peak }] = flush(home, time);
      const rate = (count * 1000) / wall[0];
      if (roundTrip === 0 && connections === 1 && !chunking) one = rate;
      rows.push([
        `${roundTrip} ms`,
        connections,
        chunking ? 'CHUNKING' : 'PIPELINING',
        rate.toFixed(0),
        ratio(rate / one),
        (cpu[0] / count).toFixed(2),
        (peak / 1024).toFixed(0),
      ]);
      await line?.stop();
      relay.stop();
    }
  }
  const rates = table(
    [
      'round trip',
      'connections',
      'the relay offers',
      'messages a second',
      '/ the first row',
      'processor ms each',
      'peak MB',
    ],
    rows,
  );
  return `Messages of 4 KB, each to one recipient.\n\n${rates}\n${await wire({ site, startRelay, time, table, ratio, message })}`;
}

/** Bytes from us to the relay for one message to a thousand recipients. */
async function wire({ site, startRelay, time, table, ratio, message }) {
  const rows = [];
  for (const size of [4096, 100_000]) {
    let postfix;
    for (const each of [50, 100, 1000]) {
      const relay = await startRelay();
      const home = site({
        relay: `${relay.url}?tls=off`,
        immediate: 'off',
        transactionrecipients: String(each),
      });
      const words = Array.from({ length: 1000 }, (_, n) => `user${n}@dest.example`);
      call(home, words, readFileSync(message(size)));
      const line = await startLine(relay.port, 0);
      const there = join(home, 'control');
      spawnSync('sh', [
        '-c',
        'echo "$1" > "$2/relay"',
        'sh',
        `smtp://127.0.0.1:${line.port}?tls=off`,
        there,
      ]);
      flush(home, time);
      const bytes = await line.stop();
      postfix ??= bytes;
      rows.push([`${Math.round(size / 1000)} KB`, each, bytes, ratio(bytes / postfix)]);
      relay.stop();
    }
  }
  return `One message to 1,000 recipients; 50 a transaction is what Postfix does by default, 100 what we do.\n\n${table(
    ['message', 'recipients a transaction', 'bytes sent', '/ 50 a transaction'],
    rows,
  )}`;
}

function flush(home, time) {
  const command = ['@', join(home, 'control'), resolve('bin/picorelay-cron')];
  const done = time('once', 1, '/dev/null', [command]);
  const left = spawnSync('sh', ['-c', 'ls "$1/spool/spool" | wc -l', 'sh', home], {
    encoding: 'utf8',
  });
  if (Number(left.stdout) !== 0) throw new Error(`${left.stdout.trim()} mails are left in ${home}`);
  return done;
}

/** Queues so many messages by one session, which takes no time that anybody measures. */
function queue(home, count, text) {
  const body = text.toString('latin1').replaceAll('\n', '\r\n');
  const one = (n) =>
    `MAIL FROM:<bench@bench.example>\r\nRCPT TO:<user${n}@dest.example>\r\nDATA\r\n${body}.\r\n`;
  const input = `EHLO bench.example\r\n${Array.from({ length: count }, (_, n) => one(n)).join('')}QUIT\r\n`;
  call(home, ['-bs'], input);
}

function call(home, words, input) {
  const env = { PATH: process.env.PATH, PICORELAY_CONTROL: join(home, 'control') };
  const done = spawnSync(resolve('bin/sendmail'), words, { env, input, maxBuffer: 1 << 26 });
  if (done.status !== 0) throw new Error(`sendmail: ${done.status} ${done.stderr}`);
}

/** A line to a relay with this round trip; `stop` tells how many bytes went to the relay. */
async function startLine(port, roundTrip) {
  const child = spawn(process.execPath, ['bench/line.mjs', port, roundTrip], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [first] = await once(child.stdout, 'data');
  return {
    port: Number(first),
    stop: async () => {
      const told = once(child.stdout, 'data');
      child.kill('SIGTERM');
      return Number((await told)[0]);
    },
  };
}
