// Many mails of one user: the storm guard, and turns between users.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { NO_LIMITS } from '../../src/mail/limits.ts';
import { Spool } from '../../src/spool/spool.ts';
import { waitFor } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { type Site, siteFor } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';

/** Of the last submission, in microseconds: of one process each has its own. */
let submitted = Date.now() * 1000;

/** Queues mails of a user, as the programs would: the tests need not be root for it. */
function submitAs(site: Site, uid: number, ...recipients: readonly string[]): void {
  const spool = new Spool(site.spool, process.pid);
  for (const address of recipients) {
    submitted = Math.max(submitted + 1, Date.now() * 1000);
    const origin = { uid, pid: process.pid, time: submitted, program: 'sendmail' };
    spool.submit(
      { sender: `u${uid}@x.test`, recipients: [{ address }] },
      origin,
      [Buffer.from(LETTER)],
      NO_LIMITS,
    );
  }
}

const many = (name: string, count: number): string[] =>
  Array.from({ length: count }, (_, n) => `${name}${n}@x.test`);

test('A storm of one user is held back and told once; other users and reports are not', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('userrate', '5');
  site.control('bounce', 'sender');
  site.control('adminaddr', 'admin@x.test');
  const texts = join(site.folder, 'texts');
  site.control('alert', `run cat >> ${texts}`);
  submitAs(site, 1000, ...many('a', 20));
  submitAs(site, 1001, ...many('b', 3));
  for (let run = 0; run < 3; run++) await site.run('picorelay-cron');
  assert.deepEqual(
    relay.recipients().toSorted(),
    [...many('a', 5), 'admin@x.test', ...many('b', 3)].toSorted(),
  );
  assert.equal(site.queued().length, 15);
  const [notice, ...more] = relay.received.filter(({ to }) => to.includes('admin@x.test'));
  assert.deepEqual(more, []);
  const text = String(notice?.raw);
  assert.match(
    text,
    /^The user .*\(1000\) sends so much mail that it is held back from now on\.\r$/m,
  );
  assert.match(text, /by now 15 wait\.\r$/m);
  assert.match(site.log(), /^\S* ?.*storm uid=1000 held=15 limit=5$/m);
  assert.equal(site.log().match(/storm uid/g)?.length, 1);
  assert.match(readFileSync(texts, 'utf8'), /^[^\n]*mail of user 1000 is held back[^\n]*\n$/);
  const { stdout } = await site.run('picorelay', ['list']);
  assert.match(stdout, /^mail of user 1000 is held back since /m);
  const [waiting = ''] = site.queued();
  const why = await site.run('picorelay', ['why', waiting]);
  assert.match(
    why.stdout.replace(/\s+/g, ' '),
    /Mail of user 1000 is held back: it is more than control\/userrate allows/,
  );
  const check = await site.run('picorelay', ['check', 'queue']);
  assert.match(check.stdout, /mail of user 1000 is held back: control\/userrate/);
  // What the admin names goes out; nothing else needs to be touched.
  const [first = ''] = site.queued();
  const sent = await site.run('picorelay-send', [first]);
  assert.equal(sent.status, 0, sent.stderr);
  assert.equal(site.queued().length, 14);
  site.control('userrate', undefined);
  await site.run('picorelay-cron');
  assert.equal(site.queued().length, 0);
  assert.equal(relay.received.length, 24);
});

test('A sendmail that waits for the outcome is held back all the same, with its mail queued', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('userrate', '2');
  for (let n = 0; n < 4; n++) {
    const { status, stderr } = await site.run('sendmail', ['-odi', `a${n}@x.test`], LETTER);
    assert.equal(status, 0, stderr);
  }
  assert.equal(relay.recipients().filter((address) => address.startsWith('a')).length, 2);
  assert.equal(site.queued().filter((name) => /:a\d@/.test(name)).length, 2);
});

test('Mail that a relay did not take is not counted, so that an outage is no storm', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  const up = relay.port;
  site.relays(1);
  site.control('userrate', '5');
  submitAs(site, 1000, ...many('a', 5));
  for (let run = 0; run < 3; run++) await site.run('picorelay', ['run', '--once']);
  site.relays(up);
  await site.run('picorelay', ['run', '--once']);
  assert.equal(relay.received.length, 5);
});

test('Users take turns: one mail does not wait for five hundred of another user', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('connections', '1');
  submitAs(site, 1000, ...many('a', 500));
  submitAs(site, 1001, 'b@x.test');
  await site.run('picorelay-cron');
  assert.equal(relay.received.length, 501);
  assert.ok(
    relay.recipients().indexOf('b@x.test') < 20,
    `${relay.recipients().indexOf('b@x.test')}`,
  );
});

test('New mail of another user goes out while five thousand of the first are on their way', async (t) => {
  const site = siteFor(t);
  let slow = true;
  const relay = await startRelay(t, {
    script: async ({ stage }) => {
      if (stage === 'dot' && slow) await new Promise((resolve) => setTimeout(resolve, 20));
      return undefined;
    },
  });
  site.relays(relay.port);
  site.control('connections', '1');
  submitAs(site, 1000, ...many('a', 5000));
  const running = site.run('picorelay-cron', [], '', { limit: 200_000 });
  t.after(async () => {
    slow = false;
    await running;
  });
  await waitFor('the first mail', () => relay.received.length > 0);
  submitAs(site, 1001, 'b@x.test');
  writeFileSync(join(site.spool, 'wake'), 'w', { flag: 'a' });
  await waitFor('the mail of the other user', () => relay.recipients().includes('b@x.test'));
  assert.ok(relay.received.length < 4000, `${relay.received.length}`);
});

test('A disk without room is told when it begins and when it is over, and the queue goes on', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const texts = join(site.folder, 'texts');
  site.control('alert', `run cat >> ${texts}`);
  await site.run('sendmail', ['a@x.test'], LETTER);
  site.control('spoolfree', '8000T');
  const { status, stderr } = await site.run('sendmail', ['b@x.test'], LETTER);
  assert.equal(status, 75);
  assert.match(stderr, /^sendmail: \S+ are free on the disk, [^\n]*; nothing was queued\n$/);
  for (let run = 0; run < 2; run++) await site.run('picorelay-cron');
  assert.deepEqual(relay.recipients(), ['a@x.test']);
  assert.match(
    readFileSync(texts, 'utf8'),
    /^[^\n]*since \S+ new mail is refused until the disk has room: [^\n]*\n$/,
  );
  assert.match(site.log(), /fault said="new mail is refused: /);
  site.control('spoolfree', undefined);
  await site.run('picorelay-cron');
  assert.match(
    readFileSync(texts, 'utf8'),
    /\n[^\n]*over, it began \S+: new mail is refused [^\n]*\n$/,
  );
  assert.ok(existsSync(join(site.spool, 'run', 'alerts')));
});
