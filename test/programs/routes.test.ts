// Routes of the built programs: which relay gets a mail, and what becomes of the mail for a dead one.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePort, waitFor } from '../support/process.ts';
import { EXTENSIONS, startRelay } from '../support/relay.ts';
import { siteFor } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';

test('Sender and recipient say which relay gets a mail, each with its login', async (t) => {
  const site = siteFor(t);
  const extensions = [...EXTENSIONS, 'AUTH PLAIN'];
  const script = ({ stage }: { stage: string }) => (stage === 'auth' ? '235 2.7.0 in' : undefined);
  const [standard, domain, sender] = [
    await startRelay(t, { extensions, script }),
    await startRelay(t, { extensions, script }),
    await startRelay(t, { extensions, script }),
  ];
  site.relays(standard.port);
  site.control('smtproutes', `partner.test:127.0.0.1:${domain.port}`);
  site.control('senderroutes', `jo@y.test smtp://jo%40y.test@127.0.0.1:${sender.port}`);
  site.control('authpasswords', 'jo@y.test hers');
  site.control('authcleartext', 'yes');
  await site.run('sendmail', ['-f', 'al@y.test', 'a@x.test', 'b@partner.test'], LETTER);
  await site.run('sendmail', ['-f', 'jo@y.test', 'c@x.test', 'd@partner.test'], LETTER);
  assert.deepEqual(await site.run('picorelay-cron'), { status: 0, stdout: '', stderr: '' });
  assert.deepEqual(standard.recipients(), ['a@x.test']);
  assert.deepEqual(domain.recipients(), ['b@partner.test']);
  assert.deepEqual(sender.recipients().sort(), ['c@x.test', 'd@partner.test']);
  const plain = Buffer.from('\0jo@y.test\0hers').toString('base64');
  assert.ok(sender.lines.includes(`AUTH PLAIN ${plain}`));
  assert.deepEqual(
    standard.lines.filter((line) => line.startsWith('AUTH')),
    [],
  );
});

test('The addresses of a name that was cut are looked up in the file', async (t) => {
  const site = siteFor(t);
  const [standard, partner] = [await startRelay(t), await startRelay(t)];
  site.relays(standard.port);
  const domain = `${'long-label.'.repeat(12)}partner.test`;
  site.control('smtproutes', `.partner.test:127.0.0.1:${partner.port}`);
  await site.run('sendmail', [`a@${domain}`], LETTER);
  assert.match(site.queued()[0] ?? '', /%%[0-9a-f]{32}$/);
  await site.run('picorelay-cron');
  assert.deepEqual(partner.recipients(), [`a@${domain}`]);
});

test('A route whose relay is dead holds up nobody else, and is told by its name', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('smtproutes', `dead.test:127.0.0.1:${await freePort()}`);
  for (const to of ['a@dead.test', 'b@x.test']) await site.run('sendmail', [to], LETTER);
  const ran = await site.run('picorelay-cron');
  assert.match(ran.stderr, /^picorelay-cron: paused: smtp:\/\/127\.0\.0\.1:\d+: connect: .*\n$/);
  assert.deepEqual(relay.recipients(), ['b@x.test']);
  const { stdout } = await site.run('picorelay', ['list']);
  assert.match(stdout, /^route to dead\.test paused since \S+ at connect by smtp:.*ECONNREFUSED/m);
  // Told once.
  assert.equal((await site.run('picorelay-cron')).stderr, '');
});

test('A relay that takes its time holds up nobody else, and the runner ends when it is done', async (t) => {
  const site = siteFor(t);
  let isAsked = false;
  let answer: (() => void) | undefined;
  const answered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const slow = await startRelay(t, {
    script: async ({ stage }) => {
      if (stage !== 'dot') return undefined;
      isAsked = true;
      await answered;
      return undefined;
    },
  });
  const quick = await startRelay(t);
  site.relays(slow.port);
  site.control('smtproutes', `quick.test:127.0.0.1:${quick.port}`);
  site.control('connections', '1');
  site.control('messagesinflight', '1');
  const others = ['a@x.test', 'b@x.test', 'c@x.test', 'd@x.test'];
  for (const to of others) await site.run('sendmail', [to], LETTER);
  site.control('immediate', 'background');
  const runner = site.run('picorelay-cron', ['--background'], '', { limit: 60_000 });
  await waitFor('the first message', () => isAsked);
  await site.run('sendmail', ['a@quick.test'], LETTER);
  await waitFor('the other relay’s mail', () => quick.received.length === 1, { detail: site.log });
  // The last messages, for which that pass had no relay, go with the first.
  answer?.();
  assert.deepEqual(await runner, { status: 0, stdout: '', stderr: '' });
  assert.deepEqual(slow.recipients().sort(), others);
  assert.deepEqual(site.queued(), []);
});

test('A dead relay is asked once, then left alone; new mail waits; the admin may ask at once', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ stage }) => (stage === 'greeting' ? '554 closed' : undefined),
  });
  site.relays(relay.port);
  await site.run('sendmail', ['a@x.test'], LETTER);
  for (let tick = 0; tick < 4; tick++) await site.run('picorelay-cron');
  await site.run('sendmail', ['b@x.test'], LETTER);
  const ran = await site.run('picorelay-cron', ['--background'], '', { limit: 10_000 });
  assert.equal(ran.status, 0);
  assert.equal(relay.connections, 1);
  await site.run('picorelay', ['run', '--once']);
  assert.equal(relay.connections, 2);
  const rest = readFileSync(join(site.spool, 'routes', 'default:relays'), 'utf8');
  assert.match(rest, /^smtp:\/\/127\.0\.0\.1:\d+ failures=2 last=\S+ until=\S+\n$/);
  relay.script = () => undefined;
  await site.run('picorelay', ['run', '--once']);
  assert.deepEqual(relay.recipients(), ['a@x.test', 'b@x.test']);
  assert.deepEqual(site.names('routes'), []);
  assert.equal(site.log().match(/ paused /g)?.length, 1);
  assert.equal(site.log().match(/ resumed /g)?.length, 1);
});

test('A mended control file ends the wait', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(await freePort());
  await site.run('sendmail', ['a@x.test'], LETTER);
  await site.run('picorelay-cron');
  site.relays(relay.port);
  await site.run('picorelay-cron');
  assert.deepEqual(relay.recipients(), ['a@x.test']);
});

test('A relay that failed is asked last until its rest is over', async (t) => {
  const site = siteFor(t);
  const [first, second] = [
    await startRelay(t, { script: ({ stage }) => (stage === 'greeting' ? '421 busy' : undefined) }),
    await startRelay(t),
  ];
  site.relays(first.port, second.port);
  for (const to of ['a@x.test', 'b@x.test', 'c@x.test']) {
    await site.run('sendmail', [to], LETTER);
    await site.run('picorelay-cron');
  }
  assert.deepEqual(second.recipients(), ['a@x.test', 'b@x.test', 'c@x.test']);
  assert.equal(first.connections, 1);
  assert.deepEqual(site.queued(), []);
});

test('A transcript tells apart the sessions that go on at a time', async (t) => {
  const site = siteFor(t);
  const [one, two] = [await startRelay(t), await startRelay(t)];
  site.relays(one.port);
  site.control('smtproutes', `y.test:127.0.0.1:${two.port}`);
  await site.run('sendmail', ['a@x.test', 'b@y.test'], LETTER);
  const { stderr } = await site.run('picorelay', ['run', '--once', '-v']);
  const lines = stderr.trimEnd().split('\n');
  const second = lines.filter((line) => /^[CS]: \(2\) /.test(line));
  const first = lines.filter((line) => !second.includes(line));
  for (const session of [first, second]) {
    assert.equal(session.filter((line) => /^C: .*RCPT TO:<[ab]@[xy]\.test>$/.test(line)).length, 1);
    assert.match(session[0] ?? '', /^S: (?:\(2\) )?220 /);
    assert.match(session.at(-1) ?? '', /^S: (?:\(2\) )?221 /);
  }
});
