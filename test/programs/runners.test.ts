// Several runners on one spool, and files in it that nobody queued.
import assert from 'node:assert/strict';
import {
  copyFileSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { must, run } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { type Site, siteFor } from '../support/site.ts';

const LETTER = 'Subject: s\n\nb\n';
const QUIET = { status: 0, stdout: '', stderr: '' };

/** Puts a bare message into the queue under a proper name. */
function drop(site: Site, from: string, to: string, text: string, micros = 0): string {
  const name = `20261101T000000.${String(micros).padStart(6, '0')}Z:4242:${from}:${to}`;
  writeFileSync(join(site.spool, 'spool', name), text);
  return name;
}

/** The spool with its folders, empty. */
async function layout(site: Site): Promise<void> {
  site.control('queuelifetime', '3650d');
  await site.run('sendmail', ['layout@x.test'], LETTER);
  const [name = ''] = site.queued();
  rmSync(join(site.spool, 'spool', name));
}

/** A pid that nobody has, as a dead owner's record has it. */
async function deadOwner(): Promise<string> {
  const pid = (await must(['sh', '-c', 'echo $$'])).trim();
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  return `${pid} 1 ${boot} pid:[4026531836]\n`;
}

/** A lock whose owner is gone, an hour old. */
async function staleLock(site: Site): Promise<void> {
  mkdirSync(join(site.spool, 'run', 'runner.lock'));
  const before = Date.now() / 1000 - 3600;
  utimesSync(join(site.spool, 'run', 'runner.lock'), before, before);
  writeFileSync(join(site.spool, 'run', 'runner'), await deadOwner());
}

for (const runners of [2, 10]) {
  test(`${runners} runners on one stale lock deliver each of 200 mails exactly once`, async (t) => {
    const site = siteFor(t);
    await layout(site);
    const relay = await startRelay(t);
    site.relays(relay.port);
    const expected = Array.from({ length: 200 }, (_, n) => `u${n}@x.test`);
    for (const [n, to] of expected.entries()) drop(site, 'jo@x.test', to, LETTER, n);
    await staleLock(site);
    const runs = Array.from({ length: runners }, () => site.run('picorelay-cron'));
    for (const done of await Promise.all(runs)) assert.deepEqual(done, QUIET);
    // Whoever lost the lock claims no more; what it left is for the next tick.
    assert.deepEqual(await site.run('picorelay-cron'), QUIET);
    assert.deepEqual(relay.recipients().toSorted(), expected.toSorted());
    assert.deepEqual(site.names('spool'), []);
    assert.deepEqual(
      site.names('run').filter((name) => /^\d+$/.test(name)),
      [],
    );
  });
}

test('A lock whose owner has just died is taken over at once', async (t) => {
  const site = siteFor(t);
  await layout(site);
  const relay = await startRelay(t);
  site.relays(relay.port);
  drop(site, 'jo@x.test', 'a@x.test', LETTER);
  await staleLock(site);
  const before = Date.now() / 1000 - 5;
  utimesSync(join(site.spool, 'run', 'runner.lock'), before, before);
  assert.deepEqual(await site.run('picorelay-cron'), QUIET);
  assert.deepEqual(relay.recipients(), ['a@x.test']);
});

test('A claim of a dead process goes back and says possible duplicate; one of a living process stays', async (t) => {
  const site = siteFor(t);
  await layout(site);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const record = await deadOwner();
  const dead = record.split(' ')[0] ?? '';
  const base = drop(site, 'jo@x.test', 'a@x.test', LETTER);
  copyFileSync(
    join(site.spool, 'spool', base),
    join(site.spool, 'spool', `${base}:${dead}.sending`),
  );
  rmSync(join(site.spool, 'spool', base));
  writeFileSync(join(site.spool, 'run', dead), record);
  const mine = drop(site, 'jo@x.test', 'b@x.test', LETTER, 1);
  const held = `${mine}:${process.pid}.sending`;
  renameSync(join(site.spool, 'spool', mine), join(site.spool, 'spool', held));
  const start = readFileSync('/proc/self/stat', 'latin1').split(') ')[1]?.split(' ')[19];
  const space = readlinkSync('/proc/self/ns/pid');
  const boot = record.split(' ')[2];
  writeFileSync(
    join(site.spool, 'run', String(process.pid)),
    `${process.pid} ${start} ${boot} ${space}\n`,
  );

  assert.deepEqual(await site.run('picorelay-cron'), QUIET);
  assert.deepEqual(relay.recipients(), ['a@x.test']);
  assert.deepEqual(site.queued(), [held]);
  assert.match(site.log(), new RegExp(`interrupted id=${base}`));
});

test('A file that somebody drops in under a proper name is sent as it is', async (t) => {
  const site = siteFor(t);
  await layout(site);
  const relay = await startRelay(t);
  site.relays(relay.port);
  drop(site, 'jo@x.test', 'a@x.test', 'Subject: by hand\n\n.\nb\n');
  drop(site, '', 'b@x.test', 'Subject: null\r\n\r\nb', 1);
  assert.deepEqual(await site.run('picorelay-cron'), QUIET);
  assert.deepEqual(
    relay.received.map(({ from, to, raw }) => [from, ...to, raw.toString()]),
    [
      ['jo@x.test', 'a@x.test', 'Subject: by hand\r\n\r\n.\r\nb\r\n'],
      ['', 'b@x.test', 'Subject: null\r\n\r\nb\r\n'],
    ],
  );
  assert.deepEqual(relay.faults, []);
  assert.deepEqual(site.names('spool'), []);
});

test('Unreadable files go to corrupt beside their reasons, and the others are delivered', async (t) => {
  const site = siteFor(t);
  await layout(site);
  const relay = await startRelay(t);
  site.relays(relay.port);
  await site.run('sendmail', ['short@x.test'], LETTER);
  const [short = ''] = site.queued();
  const path = join(site.spool, 'spool', short);
  writeFileSync(path, readFileSync(path).subarray(0, -3));
  const unknown = drop(
    site,
    'jo@x.test',
    'key@x.test',
    'picorelay: 1\nwhat: ever\n\nSubject: s\n\n',
  );
  const version = drop(site, 'jo@x.test', 'version@x.test', 'picorelay: 2\n\nSubject: s\n\n', 1);
  const endless = drop(site, 'jo@x.test', 'end@x.test', 'picorelay: 1\n', 2);
  const other = drop(site, 'jo@x.test', 'cut@x.test%%0123456789abcdef0123456789abcdef', LETTER, 3);
  const link = drop(site, 'jo@x.test', 'link@x.test', LETTER, 4);
  rmSync(join(site.spool, 'spool', link));
  symlinkSync('/etc/passwd', join(site.spool, 'spool', link));
  const fifo = `20261101T000000.000005Z:4242:jo@x.test:fifo@x.test`;
  await run(['mkfifo', join(site.spool, 'spool', fifo)]);
  const folder = `20261101T000000.000006Z:4242:jo@x.test:folder@x.test`;
  mkdirSync(join(site.spool, 'spool', folder));
  drop(site, 'jo@x.test', 'good@x.test', LETTER, 7);
  await site.run('sendmail', ['better@x.test'], LETTER);

  const ran = await site.run('picorelay-cron');
  assert.equal(ran.status, 0);
  assert.equal(ran.stdout, '');
  assert.deepEqual(relay.recipients().toSorted(), ['better@x.test', 'good@x.test']);
  const corrupt = site.names('corrupt');
  for (const name of [short, unknown, version, endless, other]) {
    assert.ok(corrupt.includes(name), name);
    const reason = corrupt.find((each) => each === `${name.slice(0, 240)}:.reason`);
    assert.ok(reason !== undefined, `a reason for ${name}`);
    assert.ok(readFileSync(join(site.spool, 'corrupt', reason), 'utf8').trim() !== '');
    assert.ok(site.log().includes(`corrupt id=${name} `), name);
  }
  const shown = relay.received.map(({ raw }) => raw.toString()).join('');
  assert.ok(!shown.includes('root:'), 'no link is followed');
  for (const name of [link, fifo, folder]) {
    const left = [...site.names('spool'), ...corrupt].some((each) => each.startsWith(name));
    assert.ok(left, `${name} is lost`);
  }
  // What cannot be judged must not stop the mail of the next tick.
  await site.run('sendmail', ['next@x.test'], LETTER);
  await site.run('picorelay-cron');
  assert.ok(relay.recipients().includes('next@x.test'));
});

test('Foreign names are left alone, and an unsplit submission is split by the next runner', async (t) => {
  const site = siteFor(t);
  await layout(site);
  const relay = await startRelay(t);
  site.relays(relay.port);
  for (const name of ['README', 'a:b:c:d', '.hidden', '20261101T000000.000000Z:1:a@x:b@x:odd']) {
    writeFileSync(join(site.spool, 'spool', name), LETTER);
  }
  const before = site.names('spool');
  await site.run('sendmail', ['a@x.test', 'b@x.test'], LETTER);
  // As its submitter would leave it that died between the commit and the second link.
  const [first = '', second = ''] = site.queued().filter((name) => name.includes('root@'));
  const unsplit = first.slice(0, first.lastIndexOf(':'));
  linkSync(join(site.spool, 'spool', first), join(site.spool, 'unsplit', unsplit));
  rmSync(join(site.spool, 'spool', second));
  assert.match((await site.run('picorelay', ['list'])).stdout, /^Mail queue is empty\n$/m);
  assert.deepEqual(await site.run('picorelay-cron'), QUIET);
  assert.deepEqual(relay.recipients().toSorted(), ['a@x.test', 'b@x.test']);
  assert.deepEqual(site.names('spool'), before);
  assert.deepEqual(site.names('unsplit'), []);
});

test('A spool of another layout is not touched', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  await site.run('sendmail', ['a@x.test'], LETTER);
  const queued = site.queued();
  writeFileSync(join(site.spool, 'version'), '2\n');
  const ran = await site.run('picorelay-cron');
  assert.equal(ran.status, 75);
  assert.match(ran.stderr, /^picorelay-cron: [^\n]*version: found "2\\n"[^\n]*\n$/);
  assert.deepEqual(site.queued(), queued);
  assert.equal(relay.connections, 0);
});

test('picorelay-cron without a spool has nothing to do and says nothing', async (t) => {
  const site = siteFor(t);
  assert.deepEqual(await site.run('picorelay-cron'), QUIET);
});

test('picorelay-send makes one attempt at what is named, due or not', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ line }) => {
      if (line.startsWith('RCPT TO:<later@')) return '450 4.2.1 later';
      return line.startsWith('RCPT TO:<never@') ? '550 5.1.1 never' : undefined;
    },
  });
  site.relays(relay.port);
  for (const to of ['now', 'later', 'never', 'other']) {
    await site.run('sendmail', [`${to}@x.test`], LETTER);
  }
  const named = (to: string): string =>
    site.queued().find((name) => name.includes(`:${to}@`)) ?? to;
  const now = await site.run('picorelay-send', [join(site.spool, 'spool', named('now'))]);
  assert.deepEqual([now.status, now.stderr], [0, '']);
  assert.match(now.stdout, /^relayed /m);
  for (const attempt of [1, 2]) {
    const later = await site.run('picorelay-send', ['--quiet', named('later')]);
    // For sendmail -q and -odi: what waits is queued, and bad news alone is told.
    assert.deepEqual([later.status, later.stdout], [0, '']);
    assert.match(
      later.stderr,
      /^picorelay-send: deferred later@x\.test by \S+ - 450 4\.2\.1 later\n$/,
    );
    assert.match(named('later'), new RegExp(`:${attempt}@\\d+T\\d+Z\\.spool$`));
  }
  const never = await site.run('picorelay-send', ['-v', named('never')]);
  assert.equal(never.status, 69);
  assert.match(
    never.stderr,
    /^C: RCPT TO:<never@x\.test>\nC: DATA\n(S: .*\n)*S: 550 5\.1\.1 never$/m,
  );
  const gone = await site.run('picorelay-send', ['nothing', named('now')]);
  assert.equal(gone.status, 66);
  assert.match(gone.stderr, /^picorelay-send: "nothing" is no entry of /m);
  assert.equal((await site.run('picorelay-send')).status, 64);
  assert.deepEqual(relay.recipients(), ['now@x.test']);
  assert.equal(site.queued().length, 2);
});
