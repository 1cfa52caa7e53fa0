// From sendmail to the relay through picorelay-cron: what is accepted, kept, retried, refused, expired.
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePort } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { siteFor } from '../support/site.ts';

const LETTER =
  'From: root@client.test\nTo: ann@a.test\nCc: bob@b.test\nBcc: eve@secret.test\nSubject: tea\n\nat four\n';

test('Mail for three waits as one file while the relay is down and goes out once it is up', async (t) => {
  const site = siteFor(t);
  const port = await freePort();
  site.relays(port);

  const sent = await site.run('sendmail', ['-t', '-i'], LETTER);
  assert.deepEqual(sent, { status: 0, stdout: '', stderr: '' });
  assert.equal(site.queued().length, 3);
  const inodes = site.queued().map((name) => statSync(join(site.spool, 'spool', name)).ino);
  assert.equal(new Set(inodes).size, 1);
  assert.deepEqual([site.names('tmp'), site.names('unsplit')], [[], []]);

  const down = await site.run('picorelay-cron');
  assert.equal(down.status, 0);
  assert.equal(down.stdout, '');
  assert.match(down.stderr, /^picorelay-cron: paused: .*connect: .*ECONNREFUSED.*\n$/);
  assert.equal(site.queued().length, 3);
  const again = await site.run('picorelay-cron');
  assert.deepEqual(again, { status: 0, stdout: '', stderr: '' }, 'an outage is told once');

  const relay = await startRelay(t, { port });
  // The next look would be a minute later.
  const up = await site.run('picorelay', ['run', '--once']);
  assert.deepEqual([up.status, up.stderr], [0, '']);
  assert.deepEqual(site.names('spool'), []);
  assert.deepEqual(relay.faults, []);
  assert.equal(relay.received.length, 1, 'one transaction');
  assert.deepEqual(relay.received[0]?.to.toSorted(), [
    'ann@a.test',
    'bob@b.test',
    'eve@secret.test',
  ]);
  const text = relay.received[0]?.raw.toString() ?? '';
  assert.match(text, /\r\nSubject: tea\r\n/);
  assert.doesNotMatch(text, /bcc|secret\.test/i);
  assert.ok(text.endsWith('\r\n\r\nat four\r\n'));
});

test('Recipients of one message are judged each by their own reply', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ line }) => {
      if (line.startsWith('RCPT TO:<later@')) return '450 4.2.1 mailbox busy';
      return line.startsWith('RCPT TO:<never@') ? '550 5.1.1 nobody of that name' : undefined;
    },
  });
  site.relays(relay.port);
  await site.run('sendmail', ['now@x.test', 'later@x.test', 'never@x.test'], 'Subject: s\n\nb\n');
  const before = Date.now();
  const ran = await site.run('picorelay-cron');
  assert.deepEqual(ran, { status: 0, stdout: '', stderr: '' });

  assert.deepEqual(relay.recipients(), ['now@x.test']);
  assert.equal(relay.received.length, 1);
  const [waiting, ...others] = site.queued();
  assert.deepEqual(others, []);
  const [, base = '', due = ''] =
    /^(.*:later@x\.test):1@(\d{8}T\d{6}Z)\.spool$/.exec(waiting ?? '') ?? [];
  const next = Date.parse(due.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  // The first delay is a minute, stretched by up to ten per cent, in whole seconds.
  assert.ok(next >= before + 60_000 && next <= Date.now() + 67_000, `due ${due}`);
  assert.ok(site.names('spool').includes(`${base}:.result`));
  // What was said to others is theirs.
  const told = (head: string, to: string, reply: string): RegExp =>
    new RegExp(
      `^\\S+Z ${head} by smtp://127\\.0\\.0\\.1:\\d+\n {4}${reply}\n {4}C: MAIL FROM:<[^>\n]*>[^\n]*\n {4}S: 250 [^\n]*\n {4}C: RCPT TO:<${to}>[^\n]*\n {4}S: ${reply}\n$`,
    );
  assert.match(
    site.result('spool'),
    told('deferred at rcpt', 'later@x.test', '450 4.2.1 mailbox busy'),
  );
  assert.match(
    site.result('Undelivered'),
    told('refused at rcpt', 'never@x.test', '550 5.1.1 nobody of that name'),
  );
  const refused = site.names('Undelivered').filter((name) => !name.endsWith('.result'));
  assert.equal(refused.length, 1);
  assert.match(refused[0] ?? '', /:never@x\.test$/);

  // Not due yet: nothing is offered. By hand it is, and the attempts add up.
  const connections = relay.connections;
  await site.run('picorelay-cron');
  assert.equal(relay.connections, connections);
  const run = await site.run('picorelay', ['run', '--once']);
  assert.match(run.stdout, /0 relayed, 1 put off, 0 refused\n$/);
  assert.match(site.queued()[0] ?? '', /:2@\d{8}T\d{6}Z\.spool$/);
  assert.equal(site.result('spool').match(/deferred at rcpt/g)?.length, 2);

  relay.script = () => undefined;
  const last = await site.run('picorelay', ['run', '--once']);
  assert.match(last.stdout, /1 relayed, 0 put off, 0 refused\n$/);
  assert.deepEqual(site.names('spool'), [], 'the result goes with its entry');
});

test('A refused message takes all its recipients to Undelivered', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ stage }) => (stage === 'dot' ? '554-5.7.1 no\r\n554 5.7.1 thanks' : undefined),
  });
  site.relays(relay.port);
  await site.run('sendmail', ['a@x.test', 'b@x.test'], 'Subject: s\n\nb\n');
  await site.run('picorelay-cron');
  assert.deepEqual(site.names('spool'), []);
  const results = [...site.undelivered()].filter(([name]) => name.endsWith(':.result'));
  assert.equal(results.length, 2);
  for (const [, text] of results) {
    assert.match(
      text,
      /refused at dot by .*\n {4}554-5\.7\.1 no\n {4}554 5\.7\.1 thanks\n {4}C: MAIL FROM:/,
    );
  }
});

test('Mail older than its lifetime goes to Undelivered, with a relay that answers and with none', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ stage }) => (stage === 'rcpt' ? '451 4.3.0 later' : undefined),
  });
  site.relays(relay.port);
  site.control('queuelifetime', '1s');
  await site.run('sendmail', ['a@x.test'], 'Subject: s\n\nb\n');
  const accepted = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 1_050 - (Date.now() - accepted)));
  await site.run('picorelay-cron');
  assert.deepEqual(site.names('spool'), []);
  assert.match(site.result('Undelivered'), /expired at rcpt by .*\n {4}451 4\.3\.0 later\n/);

  const other = siteFor(t);
  other.relays(await freePort());
  other.control('queuelifetime', '1s');
  await other.run('sendmail', ['a@x.test'], 'Subject: s\n\nb\n');
  await new Promise((resolve) => setTimeout(resolve, 1_050));
  await other.run('picorelay-cron');
  assert.deepEqual(other.names('spool'), []);
  assert.match(other.result('Undelivered'), /expired at connect by .*\n {4}.*ECONNREFUSED/);
});

test('What has no form for a relay without 8BITMIME is refused as such, and keeps its signature', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, { extensions: ['PIPELINING'] });
  site.relays(relay.port);
  const part = 'Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\ngrün\n';
  const letter = (type: string): string =>
    `Subject: tea\nMIME-Version: 1.0\nContent-Type: multipart/${type}; boundary=b\n\n--b\n${part}--b--\n`;
  await site.run('sendmail', ['a@x.test'], letter('signed'));
  await site.run('sendmail', ['b@x.test'], letter('mixed'));
  await site.run('picorelay-cron');
  assert.deepEqual(relay.recipients(), ['b@x.test']);
  assert.match(relay.received[0]?.raw.toString('latin1') ?? '', /\r\n\r\ngr=C3=BCn\r\n--b--\r\n$/);
  assert.match(site.result('Undelivered'), /554 5\.6\.3 picorelay: .*signed or encrypted/);
  const [kept = ''] = [...site.undelivered()].flatMap(([name, text]) =>
    name.endsWith('.result') ? [] : [text],
  );
  assert.match(kept, /grün/);
});
