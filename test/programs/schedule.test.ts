// The schedule of control/retry as the built programs keep it.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { waitFor } from '../support/process.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';
import { type Site, siteFor } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';

/** A moment of the hour that is not now. */
const CLOSED = `TZ=UTC ${(new Date().getUTCMinutes() + 30) % 60} * * * *`;

async function siteWith(t: TestContext): Promise<{ site: Site; relay: TestRelay }> {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ line }) => (line.startsWith('RCPT TO:<later') ? '450 4.2.1 busy' : undefined),
  });
  site.relays(relay.port);
  return { site, relay };
}

test('Outside of its window a runner with new mail ends', async (t) => {
  const { site, relay } = await siteWith(t);
  site.control('retry', `1m\n${CLOSED}`);
  await site.run('sendmail', ['ok@x.test'], LETTER);
  const ran = await site.run('picorelay-cron', ['--background'], '', { limit: 5_000 });
  assert.equal(ran.status, 0);
  assert.equal(relay.connections, 0);
  assert.equal(site.queued().length, 1);
});

test('A domain whose window is closed waits alone, until somebody runs the queue', async (t) => {
  const { site, relay } = await siteWith(t);
  site.control('retry', `1m\nslow.test: ${CLOSED}\n.slow.test: ${CLOSED}`);
  await site.run('sendmail', ['a@slow.test', 'b@x.test', 'c@sub.SLOW.test'], LETTER);
  const ran = await site.run('picorelay-cron', ['--background'], '', { limit: 5_000 });
  assert.deepEqual(ran, { status: 0, stdout: '', stderr: '' });
  assert.deepEqual(
    relay.received.map(({ to }) => to),
    [['b@x.test']],
  );
  assert.equal(site.queued().length, 2);
  await site.run('picorelay', ['run', '--once']);
  assert.deepEqual(site.queued(), []);
});

test('The delays of a domain hold for its recipients', async (t) => {
  const { site } = await siteWith(t);
  site.control('retry', '1m\nslow.test: 2h 3h');
  await site.run('sendmail', ['later@slow.test', 'later@x.test'], LETTER);
  const before = Date.now();
  await site.run('picorelay-cron');
  const due = site.queued().map((name) => {
    const [, recipient, time] = /([^:]*):1@(\w+)\.spool$/.exec(name) ?? [];
    const iso = time?.replace(/^(....)(..)(..T..)(..)(..)/, '$1-$2-$3:$4:$5') ?? '';
    return [recipient, Math.floor((Date.parse(iso) - before) / 3_600_000)];
  });
  assert.deepEqual(due, [
    ['later@slow.test', 2],
    ['later@x.test', 0],
  ]);
});

test('The history says when the configuration changed between two attempts', async (t) => {
  const { site } = await siteWith(t);
  await site.run('sendmail', ['later@x.test'], LETTER);
  await site.run('picorelay', ['run', '--once']);
  await site.run('picorelay', ['run', '--once']);
  assert.doesNotMatch(site.result('spool'), /changed/);
  // Attempts are noted by the second, and a change within that second counts as before it.
  const second = Math.floor(Date.now() / 1000);
  // The clock of file times may lag a tick behind.
  await waitFor('the next second', () => Date.now() > (second + 1) * 1000 + 50);
  site.control('queuelifetime', '6d');
  await site.run('picorelay', ['run', '--once']);
  const told = site.result('spool').split('\n');
  assert.deepEqual(
    told.filter((line) => /^\S/.test(line)).map((line) => line.split(' ')[1]),
    ['deferred', 'deferred', 'changed', 'deferred'],
  );
  assert.ok(told.includes('    control files: queuelifetime'));
});
