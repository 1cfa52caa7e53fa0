// Runners whose clock leaps, who are stopped for longer than their lock lives, and whose pid somebody else
// has: no mail is lost, and none is sent twice. Two and ten runners at once are in programs/runners.test.ts.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, renameSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatOwner, ownerOf } from '../../src/spool/owner.ts';
import { Spool } from '../../src/spool/spool.ts';
import { skipWithoutProgram } from '../interop/require.ts';
import { run, start, waitFor } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';

const HOUR = 3600;

function queue(site: Site, count: number): string[] {
  const spool = new Spool(site.spool, process.pid);
  spool.makeLayout();
  return Array.from({ length: count }, (_, n) => {
    const address = `u${n}@x.test`;
    spool.submit(
      { sender: 'root@client.test', recipients: [{ address }] },
      { uid: 0, pid: process.pid, time: Date.now() * 1000 + n, program: 'sendmail' },
      [Buffer.from('Subject: s\n\nb\n')],
    );
    return address;
  });
}

function ageLock(site: Site): void {
  const past = Date.now() / 1000 - HOUR;
  utimesSync(join(site.spool, 'run', 'runner.lock'), past, past);
}

test('A runner that is stopped for longer than its lock lives, and goes on, sends nothing twice', async (t) => {
  const site = siteFor(t);
  site.control('connections', '1');
  let open: (() => void) | undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  let offered = 0;
  const relay = await startRelay(t, {
    script: async ({ stage, connection }) => {
      if (stage !== 'dot' || connection !== 1) return undefined;
      // The first runner waits for an answer in the middle of its work.
      if (++offered === 5) await gate;
      return undefined;
    },
  });
  site.relays(relay.port);
  const expected = queue(site, 60);
  const first = await start([programPath('picorelay-cron')], { env: site.env });
  t.after(first.stop);
  await waitFor('the fifth mail', () => offered === 5);
  process.kill(first.pid, 'SIGSTOP');
  ageLock(site);
  open?.();
  const second = await site.run('picorelay-cron');
  assert.deepEqual(second, { status: 0, stdout: '', stderr: '' });
  // What the stopped one has claimed stays its own: it lives.
  const claimed = site.queued();
  assert.ok(claimed.length > 0);
  for (const name of claimed) assert.ok(name.endsWith(`:${first.pid}.sending`), name);
  process.kill(first.pid, 'SIGCONT');
  await waitFor('the end of the first runner', () => first.ended());
  const last = await site.run('picorelay', ['run', '--once']);
  assert.equal(last.status, 0, last.stderr);
  assert.deepEqual(site.queued(), []);
  assert.deepEqual(relay.recipients().sort(), [...expected].sort());
});

test('A pid that another process has by now is not taken for its former owner', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const expected = queue(site, 5);
  const living = await start(['sleep', '60']);
  t.after(living.stop);
  const owner = ownerOf(living.pid);
  assert.ok(owner);
  const record = formatOwner({ ...owner, start: '1' });
  writeFileSync(join(site.spool, 'run', String(living.pid)), record);
  for (const name of site.queued()) {
    const path = join(site.spool, 'spool', name);
    renameSync(path, `${path}:${living.pid}.sending`);
  }
  const { status, stderr } = await site.run('picorelay-cron');
  assert.equal(status, 0, stderr);
  assert.deepEqual(relay.recipients().sort(), [...expected].sort());
  assert.equal(site.log().match(/ interrupted /g)?.length, 5);
});

test('A clock that leaps an hour either way between runs and within them sends nothing twice', {
  skip: skipWithoutProgram('faketime'),
}, async (t) => {
  const site = siteFor(t);
  const clock = join(site.folder, 'clock');
  const set = (offset: number): void => writeFileSync(clock, `${offset < 0 ? '' : '+'}${offset}\n`);
  const deferred = new Set<string>();
  let answers = 0;
  const leaps = [HOUR, -HOUR, 0, -HOUR, HOUR];
  const relay = await startRelay(t, {
    script: ({ stage, line }) => {
      // Every few answers the clock of the runner that hears them leaps.
      if (++answers % 7 === 0) set(leaps[(answers / 7) % leaps.length] ?? 0);
      if (stage !== 'rcpt' || !/<u\d*[05]@/.test(line) || deferred.has(line)) return undefined;
      deferred.add(line);
      return '450 4.2.1 mailbox busy';
    },
  });
  site.relays(relay.port);
  const expected = queue(site, 100);
  const libraries = '/usr/lib';
  const [folder = ''] = readdirSync(libraries).filter((name) => name.endsWith('-linux-gnu'));
  const env = {
    LD_PRELOAD: join(libraries, folder, 'faketime', 'libfaketimeMT.so.1'),
    FAKETIME_TIMESTAMP_FILE: clock,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
  };
  set(0);
  set(HOUR);
  const later = await run(['date', '+%s'], { env });
  assert.ok(Number(later.stdout) - Date.now() / 1000 > HOUR / 2, 'libfaketime does not work here');
  for (const offset of [0, HOUR, -HOUR, HOUR, 0, -HOUR, 2 * HOUR, 0]) {
    set(offset);
    const { status, stderr } = await site.run('picorelay-cron', [], '', { env });
    assert.equal(status, 0, stderr);
  }
  set(0);
  const last = await site.run('picorelay', ['run', '--once'], '', { env });
  assert.equal(last.status, 0, last.stderr);
  assert.deepEqual(site.queued(), []);
  assert.deepEqual(relay.recipients().sort(), [...expected].sort());
  const stamps = new Set(readFileSync(join(site.folder, 'log'), 'utf8').match(/^.{13}/gm));
  t.diagnostic(`the log has ${stamps.size} hours, and ${deferred.size} mails were put off`);
  assert.ok(stamps.size > 1, 'no clock has leapt');
});
