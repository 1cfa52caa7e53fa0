// picorelay test, run as a program.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freePort } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { startScripted } from '../support/scripted.ts';
import { siteFor } from '../support/site.ts';

test('A test mail goes out as mail of this host does, and its dialogue is shown', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('masquerade', 'me@provider.test');
  const { status, stdout, stderr } = await site.run('picorelay', ['test', 'Ann <ann@x.test>']);
  assert.deepEqual([status, stderr], [0, '']);
  assert.match(stdout, /^S: 220 [\s\S]*^C: MAIL FROM:<me@provider\.test>/m);
  assert.match(stdout, /^C: QUIT\nS: 221 .*\n\nThe relay has taken it\. Now look/m);
  assert.deepEqual(relay.recipients(), ['ann@x.test']);
  assert.match(
    relay.received[0]?.raw.toString() ?? '',
    /^Subject: Test of picorelay on client\.test\r$/m,
  );
  assert.deepEqual(site.queued(), []);
  await site.run('picorelay', ['test', '--from', 'jo@y.test', 'ann@x.test']);
  assert.equal(relay.received[1]?.from, 'jo@y.test');
});

test('A test mail that does not get through leaves nothing, and says why', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ line }) => {
      if (line.startsWith('RCPT TO:<later')) return '450 4.2.1 mailbox busy';
      return line.startsWith('RCPT TO:<never') ? '550 5.1.1 nobody \x1b[31mhere' : undefined;
    },
  });
  site.relays(relay.port);
  site.control('bounce', undefined);
  const refused = await site.run('picorelay', ['test', 'never@x.test']);
  assert.equal(refused.status, 69);
  assert.match(
    refused.stdout,
    /<never@x\.test> was refused\.\n {4}550 5\.1\.1 nobody \\x1b\[31mhere\n\nThat means: There is no such recipient/,
  );
  const later = await site.run('picorelay', ['test', 'later@x.test']);
  assert.equal(later.status, 75);
  assert.match(later.stdout, /did not get through\.\n {4}450 4\.2\.1 mailbox busy\n/);
  site.relays(await freePort());
  const down = await site.run('picorelay', ['test', 'ann@x.test']);
  assert.equal(down.status, 75);
  assert.match(down.stdout, /ECONNREFUSED[\s\S]*Nothing listens on that port/);
  assert.deepEqual(site.names('spool'), []);
  assert.deepEqual(site.names('Undelivered'), []);
  site.relays(relay.port);
  await site.run('picorelay-cron');
  assert.deepEqual(relay.recipients(), [], 'no report is sent either');
});

test('A test shows no secret', async (t) => {
  const site = siteFor(t);
  const relay = await startScripted(t, { offers: ['AUTH PLAIN'] });
  site.control('relay', `smtp://me@127.0.0.1:${relay.port}`);
  site.control('authpassword', 'very-secret');
  const { status, stdout } = await site.run('picorelay', ['test', 'ann@x.test']);
  assert.equal(status, 0, stdout);
  const sent = relay.lines.find((line) => line.startsWith('AUTH PLAIN '))?.split(' ')[2] ?? '';
  assert.match(Buffer.from(sent, 'base64').toString(), /very-secret/);
  assert.match(stdout, /^C: AUTH PLAIN /m);
  assert.ok(!stdout.includes(sent) && !stdout.includes('very-secret'));
});

test('What is no address is refused before anything is queued', async (t) => {
  const site = siteFor(t);
  for (const address of ['@@', 'a@b@c', '']) {
    const { status } = await site.run('picorelay', ['test', address]);
    assert.ok(status === 64 || status === 65, `${address}: ${status}`);
  }
  assert.deepEqual(site.names('spool'), []);
});
