// The part `scale` of bench.mjs: what a large queue costs. The entries are links to a few messages, as those
// of one submission are; nothing is due but what a row says.
import { linkSync, mkdirSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { startSink } from './sink.mjs';

const COUNTS = [10_000, 100_000, 1_000_000];
/** A file of ext4 has at most 65,000 links. */
const LINKS = 50_000;
const DUE = 100;

/** @param tools those of bench.mjs */
export async function scale({ site, time, table, figure }) {
  const relay = await startSink();
  const rows = [];
  for (const count of COUNTS) {
    const home = site({
      relay: `${relay.url}?tls=off`,
      immediate: 'off',
      linger: '0s',
      delaywarn: '0',
    });
    const spool = join(home, 'spool');
    const run = (...command) =>
      time('once', 1, '/dev/null', [['@', join(home, 'control'), ...command]])[0];
    const tick = [resolve('bin/picorelay-cron')];
    // It makes the folders.
    run(resolve('bin/sendmail'), 'first@dest.example');
    const started = Date.now();
    fill(spool, count, (n) => [started - n * 1000, `:1@${stamp(started + 3_600_000)}Z.spool`]);
    run(...tick);
    const measured = {
      'a tick with nothing due': run(...tick),
      'a tick with 100 new': added(() => fill(spool, DUE, (n) => [started + n, '']), tick),
      'a tick with 100 due': added(
        () => fill(spool, DUE, (n) => [started + n, `:1@${stamp(started)}Z.spool`]),
        tick,
      ),
      '`sendmail`, queued only': run(resolve('bin/sendmail'), 'one@dest.example'),
      '`picorelay list`': run(resolve('bin/picorelay'), 'list'),
      '`mailq`': run(resolve('bin/sendmail'), '-bp'),
    };
    for (const [what, { wall, cpu, peak }] of Object.entries(measured)) {
      rows.push([
        count.toLocaleString('en'),
        what,
        figure(wall),
        figure(cpu),
        (peak / 1024).toFixed(0),
      ]);
    }
    rmSync(spool, { recursive: true });

    function added(add, command) {
      add();
      return run(...command);
    }
  }
  relay.stop();
  return table(['entries', 'what', 'ms', 'processor ms', 'peak MB'], rows);
}

function fill(spool, count, nameOf) {
  mkdirSync(join(spool, 'tmp'), { recursive: true });
  const message = join(spool, 'tmp', 'bench');
  for (let n = 0; n < count; n += 1) {
    if (n % LINKS === 0) {
      if (n > 0) unlinkSync(message);
      writeFileSync(message, 'From: bench@bench.example\r\nSubject: bench\r\n\r\nbody\r\n');
    }
    const [accepted, state] = nameOf(n);
    const micros = String(n % 1_000_000).padStart(6, '0');
    const base = `${stamp(accepted)}.${micros}Z:${1000 + (n % 30_000)}:bench@bench.example:u${n}@dest.example`;
    linkSync(message, join(spool, 'spool', base + state));
  }
  unlinkSync(message);
}

function stamp(milliseconds) {
  return new Date(milliseconds).toISOString().replace(/[-:]|\..*/g, '');
}
