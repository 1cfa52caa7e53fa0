// picorelay digest, as cron calls it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freePort } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { siteFor } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';

test('There is nothing to say before the first mail', async (t) => {
  const site = siteFor(t);
  assert.deepEqual(await site.run('picorelay', ['digest']), { status: 0, stdout: '', stderr: '' });
});

test('A digest tells what went out, what waits and why, and what was refused', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ line }) => {
      if (line.startsWith('RCPT TO:<never')) return '550 5.1.1 nobody \x1b[31mhere';
      return line.startsWith('RCPT TO:<later') ? '450 4.2.1 mailbox busy' : undefined;
    },
  });
  site.relays(relay.port);
  const waiting = ['later1@x.test', 'later2@x.test'];
  const refused = Array.from({ length: 8 }, (_, n) => `never${n}@x.test`);
  await site.run('sendmail', ['-f', 'jo@y.test', 'ok@x.test', ...waiting, ...refused], LETTER);
  await site.run('picorelay-cron');
  const { status, stdout, stderr } = await site.run('picorelay', ['digest']);
  assert.deepEqual([status, stderr], [0, '']);
  const lines = stdout.trimEnd().split('\n');
  assert.equal(lines[0], 'picorelay on client.test, the last 24 hours:');
  assert.equal(lines[1], '  1 relayed, 2 tries put off, 8 refused or given up');
  assert.match(lines[2] ?? '', /^ {2}2 mails waiting, the oldest for \d+s:$/);
  assert.match(lines[3] ?? '', /:jo@y\.test:later1@x\.test$/);
  assert.equal(lines[4], '    2 x rcpt: 450 4.2.1 mailbox busy');
  assert.equal(lines[5], '  8 mails refused or given up, now in Undelivered:');
  assert.match(lines[6] ?? '', /^ {4}<never\d@x\.test> 550 5\.1\.1 nobody \\x1b\[31mhere$/);
  assert.equal(lines.at(-1), '    and 2 more');
  assert.ok(lines.length <= 20 && lines.every((line) => line.length <= 78));

  site.relays(await freePort());
  await site.run('picorelay', ['run', '--once']);
  const paused = await site.run('picorelay', ['digest', '--hours', '2']);
  assert.match(paused.stdout, /the last 2 hours:\n[\s\S]*\n {2}paused since /);
});

test('A week at most', async (t) => {
  const site = siteFor(t);
  const { status, stderr } = await site.run('picorelay', ['digest', '--hours', '999']);
  assert.notEqual(status, 0);
  assert.equal(stderr, 'picorelay: digest: --hours takes 1 to 168\n');
});
