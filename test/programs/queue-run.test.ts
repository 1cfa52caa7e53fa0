// mailq and sendmail -q, as scripts and monitoring know them, and -odi with its outcome.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { freePort } from '../support/process.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';
import { type Site, siteFor } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';
const QUIET = { status: 0, stdout: '', stderr: '' };

async function siteWith(t: TestContext): Promise<{ site: Site; relay: TestRelay }> {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ line }) => {
      if (line.startsWith('RCPT TO:<never')) return '550 5.1.1 nobody';
      return line.startsWith('RCPT TO:<later') ? '450 4.2.1 mailbox busy' : undefined;
    },
  });
  site.relays(relay.port);
  return { site, relay };
}

test('mailq shows each request with its recipients and why they wait, and ends with the sum', async (t) => {
  const { site } = await siteWith(t);
  assert.deepEqual(await site.run('sendmail', ['-bp']), {
    ...QUIET,
    stdout: 'Mail queue is empty\n',
  });
  await site.run('sendmail', ['-f', 'jo@y.test', 'later1@x.test', 'later2@x.test'], LETTER);
  await site.run('picorelay-cron');
  await site.run('sendmail', ['-f', '', 'new@x.test'], LETTER);
  const { status, stdout, stderr } = await site.run('sendmail', ['-bp'], '', {
    env: { TZ: 'UTC' },
  });
  assert.deepEqual([status, stderr], [0, '']);
  const lines = stdout.split('\n');
  assert.match(lines[0] ?? '', /^-Queue ID-.* --Size-- ---Arrival Time---- -Sender\/Recipient-+$/);
  assert.match(
    lines[1] ?? '',
    /^\d{8}T\d{6}\.\d{6}Z:\d+ +\d+ (?:Sun|Mon|Tue|Wed|Thu|Fri|Sat) [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d {2}jo@y\.test$/,
  );
  assert.deepEqual(
    lines.slice(2, 6).map((line) => line.trim()),
    ['(450 4.2.1 mailbox busy)', 'later1@x.test', 'later2@x.test', ''],
  );
  assert.match(lines[6] ?? '', / {2}MAILER-DAEMON$/);
  assert.match(stdout, /\n-- 1 Kbytes in 2 Requests\.\n$/);
});

test('sendmail -q offers what waits now, or only what matches', async (t) => {
  const { site, relay } = await siteWith(t);
  relay.script = () => '450 4.2.1 mailbox busy';
  assert.deepEqual(await site.run('sendmail', ['-q']), QUIET);
  for (const [from, to] of [
    ['jo@y.test', 'a@x.test'],
    ['al@y.test', 'b@x.test'],
    ['jo@y.test', 'c@z.test'],
    ['al@y.test', 'd@z.test'],
  ] as const) {
    await site.run('sendmail', ['-f', from, to], LETTER);
  }
  await site.run('picorelay-cron');
  relay.script = () => undefined;
  const ids = site.queued();
  assert.equal(ids.length, 4);
  assert.deepEqual(await site.run('sendmail', ['-qRX.test', '-qSnobody']), QUIET);
  assert.deepEqual(relay.recipients(), []);
  assert.deepEqual(await site.run('sendmail', ['-qSJO@']), QUIET);
  assert.deepEqual(relay.recipients().sort(), ['a@x.test', 'c@z.test']);
  assert.deepEqual(await site.run('sendmail', ['-q!Rz.test']), QUIET);
  assert.deepEqual(relay.recipients().sort(), ['a@x.test', 'b@x.test', 'c@z.test']);
  const left = site.queued()[0]?.split(':').slice(0, 2).join(':') ?? '';
  assert.deepEqual(await site.run('sendmail', [`-qI${left}`]), QUIET);
  assert.equal(relay.received.length, 4);
  assert.deepEqual(site.queued(), []);
});

test('A queue run over a dead relay says so, and that is no failure of the run', async (t) => {
  const site = siteFor(t);
  site.relays(await freePort());
  await site.run('sendmail', ['a@x.test'], LETTER);
  const ran = await site.run('sendmail', ['-q30m']);
  assert.deepEqual([ran.status, ran.stdout], [0, '']);
  assert.match(ran.stderr, /^picorelay-send: queued, but paused: .*ECONNREFUSED.*\n$/);
  assert.equal(site.queued().length, 1);
});

interface Outcome {
  readonly to: readonly string[];
  readonly status: number;
  readonly stderr: RegExp;
  readonly queued: number;
  readonly undelivered: number;
}

const OUTCOMES: readonly Outcome[] = [
  { to: ['ok@x.test'], status: 0, stderr: /^$/, queued: 0, undelivered: 0 },
  {
    to: ['never@x.test'],
    status: 69,
    stderr: /^picorelay-send: refused never@x\.test by smtp:\S+ - 550 5\.1\.1 nobody\n$/,
    queued: 0,
    undelivered: 1,
  },
  {
    to: ['later@x.test'],
    status: 0,
    stderr: /^picorelay-send: deferred later@x\.test by smtp:\S+ - 450 4\.2\.1 mailbox busy\n$/,
    queued: 1,
    undelivered: 0,
  },
  {
    to: ['never1@x.test', 'never2@x.test'],
    status: 69,
    stderr: /never1.*\n.*never2/,
    queued: 0,
    undelivered: 2,
  },
  {
    to: ['ok@x.test', 'never@x.test'],
    status: 0,
    stderr: /refused never@/,
    queued: 0,
    undelivered: 1,
  },
  {
    to: ['never@x.test', 'later@x.test'],
    status: 0,
    stderr: /(refused|deferred).*\n.*(refused|deferred)/,
    queued: 1,
    undelivered: 1,
  },
];

for (const { to, status, stderr, queued, undelivered } of OUTCOMES) {
  test(`-odi to ${to.join(' and ')} ends with ${status}`, async (t) => {
    const { site } = await siteWith(t);
    const ran = await site.run('sendmail', ['-odi', ...to], LETTER);
    assert.deepEqual([ran.status, ran.stdout], [status, '']);
    assert.match(ran.stderr, stderr);
    assert.equal(site.queued().length, queued);
    const entries = [...site.undelivered().keys()].filter((name) => !name.endsWith(':.result'));
    assert.equal(entries.length, undelivered);
  });
}

test('-odi over a dead relay is 0 with a word, and -odq only queues', async (t) => {
  const site = siteFor(t);
  site.relays(await freePort());
  site.control('immediate', 'background');
  const now = await site.run('sendmail', ['-odi', 'a@x.test'], LETTER);
  assert.equal(now.status, 0);
  assert.match(now.stderr, /^picorelay-send: queued, but paused: .*ECONNREFUSED.*\n$/);
  assert.deepEqual(await site.run('sendmail', ['-odq', 'b@x.test'], LETTER), QUIET);
  assert.equal(site.queued().length, 2);
  assert.ok(
    site.queued().some((name) => name.endsWith(':b@x.test')),
    'nobody has looked at it',
  );
});

test('hoststat and purgestat say that they hold nothing', async (t) => {
  const { site } = await siteWith(t);
  // As links: what a program is called is what it does.
  const { run } = await import('../support/process.ts');
  const { symlinkSync } = await import('node:fs');
  const { join, resolve } = await import('node:path');
  for (const name of ['hoststat', 'purgestat']) {
    symlinkSync(resolve('bin/sendmail'), join(site.folder, name));
    const ran = await run([join(site.folder, name)], { env: { ...site.env } });
    assert.deepEqual(ran, { ...QUIET, stdout: `${name}: no host status is kept here\n` });
  }
});
