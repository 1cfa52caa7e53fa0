// Relays that fail at every step of the way, and control folders that cannot be used: nothing that was
// accepted may get lost, and nothing but the mail's own refusal may count against it.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort } from '../support/process.ts';
import {
  type Answered,
  CLOSE,
  EXTENSIONS,
  LOSE,
  type RelayStage,
  SILENCE,
  startRelay,
  type TestRelay,
  WITH_CHUNKING,
} from '../support/relay.ts';
import { type Site, siteFor } from '../support/site.ts';

const LETTER = 'Subject: s\n\nb\n';

/** A site with one mail in its queue, and a relay that answers `say` at `stage`. */
async function oneMail(
  t: TestContext,
  stage: RelayStage,
  say: Answered,
): Promise<{ site: Site; relay: TestRelay }> {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: (asked) => (asked.stage === stage ? say : undefined),
  });
  site.relays(relay.port);
  const sent = await site.run('sendmail', ['a@x.test'], LETTER);
  assert.equal(sent.status, 0);
  return { site, relay };
}

/** Mends the relay and sees the mail arrive. */
async function arrives(site: Site, relay: TestRelay): Promise<void> {
  relay.script = () => undefined;
  await site.run('picorelay', ['run', '--once']);
  assert.deepEqual(relay.recipients(), ['a@x.test']);
  assert.deepEqual(site.names('spool'), []);
}

const LINE_OF_A_MEGABYTE = `250 ${'x'.repeat(1 << 20)}`;
const ENDLESS = '250-more\r\n'.repeat(20_000);

interface Trouble {
  readonly title: string;
  readonly stage: RelayStage;
  readonly say: Answered;
  /** The stage that the log or the result names, and what it says there. */
  readonly told: RegExp;
  /** A control file with a deadline of one second. */
  readonly deadline?: string;
}

// Nothing is wrong with the mail: no attempt is spent and the route is paused.
const ROUTE: readonly Trouble[] = [
  {
    title: 'greets with 554',
    stage: 'greeting',
    say: '554 5.7.1 not you',
    told: /greeting.*554 5\.7\.1 not you/,
  },
  { title: 'greets with 421', stage: 'greeting', say: '421 4.3.2 busy', told: /greeting.*421/ },
  { title: 'closes at the greeting', stage: 'greeting', say: CLOSE, told: /stage=greeting/ },
  {
    title: 'does not greet',
    stage: 'greeting',
    say: SILENCE,
    told: /greeting.*within 1 seconds/,
    deadline: 'timeoutgreeting',
  },
  {
    title: 'greets in another protocol',
    stage: 'greeting',
    say: 'SSH-2.0-OpenSSH_9.2\r\n',
    told: /stage=greeting/,
  },
  { title: 'closes at EHLO', stage: 'ehlo', say: CLOSE, told: /stage=ehlo/ },
  {
    title: 'does not answer EHLO',
    stage: 'ehlo',
    say: SILENCE,
    told: /ehlo.*within 1 seconds/,
    deadline: 'timeouthelo',
  },
  { title: 'puts EHLO and HELO off', stage: 'ehlo', say: '451 4.3.0 no', told: /ehlo.*451/ },
  { title: 'answers EHLO without end', stage: 'ehlo', say: ENDLESS, told: /stage=ehlo/ },
  {
    title: 'wants a login before MAIL',
    stage: 'mail',
    say: '530 5.7.0 Authentication required',
    told: /mail.*530/,
  },
  { title: 'shuts down at MAIL', stage: 'mail', say: '421 4.3.2 shutting down', told: /mail.*421/ },
  { title: 'shuts down at RCPT', stage: 'rcpt', say: '421 4.3.2 shutting down', told: /rcpt.*421/ },
  { title: 'shuts down at DATA', stage: 'data', say: '421 4.3.2 shutting down', told: /data.*421/ },
];

for (const { title, stage, say, told, deadline } of ROUTE) {
  test(`A relay that ${title} pauses the route and costs the mail no attempt`, async (t) => {
    const { site, relay } = await oneMail(t, stage, say);
    if (deadline !== undefined) site.control(deadline, '1s');
    const ran = await site.run('picorelay-cron');
    assert.equal(ran.status, 0);
    assert.match(ran.stderr, /^picorelay-cron: paused: [^\n]*\n$/);
    assert.match(site.queued().join(), /^\S+:a@x\.test:0@\d{8}T\d{6}Z\.spool$/);
    assert.deepEqual(site.names('Undelivered'), []);
    const paused = site.log().match(/^\S+ paused .*$/gm) ?? [];
    assert.equal(paused.length, 1);
    assert.match(paused[0] ?? '', told);
    await arrives(site, relay);
    assert.match(site.log(), /^\S+ resumed /m);
  });
}

// The mail was put off; whether that counts is the last column of the name.
const MAIL: readonly (Trouble & { readonly attempts: number })[] = [
  { title: 'closes at MAIL', stage: 'mail', say: CLOSE, told: /at mail .*closed/s, attempts: 0 },
  {
    title: 'does not answer MAIL',
    stage: 'mail',
    say: SILENCE,
    told: /at mail .*within 1 seconds/s,
    deadline: 'timeoutmail',
    attempts: 0,
  },
  {
    title: 'answers MAIL with nonsense',
    stage: 'mail',
    say: 'hello\r\n',
    told: /at mail .*not an SMTP reply/s,
    attempts: 0,
  },
  {
    title: 'puts MAIL off',
    stage: 'mail',
    say: '452 4.3.1 full',
    told: /at mail .*452/s,
    attempts: 1,
  },
  { title: 'closes at RCPT', stage: 'rcpt', say: CLOSE, told: /at rcpt .*closed/s, attempts: 1 },
  {
    title: 'does not answer RCPT',
    stage: 'rcpt',
    say: SILENCE,
    told: /at rcpt .*within 1 seconds/s,
    deadline: 'timeoutrcpt',
    attempts: 1,
  },
  {
    title: 'answers RCPT with a megabyte',
    stage: 'rcpt',
    say: LINE_OF_A_MEGABYTE,
    told: /at rcpt .*not an SMTP reply/s,
    attempts: 1,
  },
  {
    title: 'answers RCPT without end',
    stage: 'rcpt',
    say: ENDLESS,
    told: /at rcpt .*not an SMTP reply/s,
    attempts: 1,
  },
  {
    title: 'answers RCPT with mixed codes',
    stage: 'rcpt',
    say: '250-a\r\n550 b',
    told: /at rcpt /s,
    attempts: 1,
  },
  {
    title: 'answers RCPT with a code of no class',
    stage: 'rcpt',
    say: '999 what',
    told: /at rcpt /s,
    attempts: 1,
  },
  {
    title: 'says 250 in the text of a 450',
    stage: 'rcpt',
    say: '450 4.0.0 250 would be nice',
    told: /at rcpt .*450/s,
    attempts: 1,
  },
  { title: 'closes at DATA', stage: 'data', say: CLOSE, told: /at data .*closed/s, attempts: 1 },
  {
    title: 'does not answer DATA',
    stage: 'data',
    say: SILENCE,
    told: /at data .*within 1 seconds/s,
    deadline: 'timeoutdata',
    attempts: 1,
  },
  {
    title: 'puts the message off',
    stage: 'dot',
    say: '451 4.7.1 greylisted',
    told: /at dot .*451 4\.7\.1 greylisted\n$/s,
    attempts: 1,
  },
  {
    title: 'shuts down after the message',
    stage: 'dot',
    say: '421 4.3.2 shutting down',
    told: /at dot .*421/s,
    attempts: 1,
  },
  {
    title: 'closes after the message',
    stage: 'dot',
    say: CLOSE,
    told: /at dot .*closed.*possible duplicate/s,
    attempts: 1,
  },
  {
    title: 'does not answer the message',
    stage: 'dot',
    say: SILENCE,
    told: /at dot .*within 1 seconds.*possible duplicate/s,
    deadline: 'timeoutdot',
    attempts: 1,
  },
  {
    title: 'answers the message with nonsense',
    stage: 'dot',
    say: 'thanks\r\n',
    told: /at dot .*possible duplicate/s,
    attempts: 1,
  },
];

for (const { title, stage, say, told, deadline, attempts } of MAIL) {
  test(`A relay that ${title} gets the mail again later, ${attempts} attempts spent`, async (t) => {
    const { site, relay } = await oneMail(t, stage, say);
    if (deadline !== undefined) site.control(deadline, '1s');
    const ran = await site.run('picorelay-cron');
    assert.deepEqual(ran, { status: 0, stdout: '', stderr: '' });
    assert.match(
      site.queued().join(),
      new RegExp(`:a@x\\.test:${attempts}@\\d{8}T\\d{6}Z\\.spool$`),
    );
    assert.match(site.result('spool'), told);
    assert.deepEqual(site.names('Undelivered'), []);
    await arrives(site, relay);
  });
}

test('A relay that closes in the middle of a large message gets it whole later', async (t) => {
  const { site, relay } = await oneMail(t, 'body', CLOSE);
  const body = `Subject: large\n\n${'all work and no play\n'.repeat(200_000)}`;
  await site.run('sendmail', ['b@x.test'], body);
  await site.run('picorelay-cron');
  assert.equal(site.queued().length, 2);
  assert.deepEqual(relay.offered, []);
  relay.script = () => undefined;
  await site.run('picorelay', ['run', '--once']);
  assert.deepEqual(relay.recipients().toSorted(), ['a@x.test', 'b@x.test']);
  const large = relay.received.find(({ to }) => to.includes('b@x.test'));
  assert.ok(large?.raw.toString().endsWith(body.slice(-4_000).replaceAll('\n', '\r\n')));
});

test('A runner that cannot read its own records while it is connected says so and ends', async (t) => {
  const { site, relay } = await oneMail(t, 'other', undefined);
  const record = join(site.spool, 'routes', 'default');
  relay.script = ({ stage }) => void (stage === 'ehlo' && symlinkSync('default', record));
  const failed = await site.run('picorelay-cron');
  assert.equal(failed.status, 75);
  assert.match(failed.stderr, /^picorelay-cron: ELOOP: [^\n]+\n$/);
  rmSync(record);
  await arrives(site, relay);
});

test('A relay that knows only HELO and no PIPELINING takes the mail', async (t) => {
  const { site, relay } = await oneMail(t, 'quit', undefined);
  relay.script = ({ line }) => (line.startsWith('EHLO') ? '502 5.5.1 what?' : undefined);
  const run = await site.run('picorelay-cron');
  assert.deepEqual(run, { status: 0, stdout: '', stderr: '' });
  assert.deepEqual(relay.recipients(), ['a@x.test']);
});

test('A wrong password moves nothing, spends no attempt and is never shown', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    extensions: ['PIPELINING', 'AUTH PLAIN'],
    script: ({ stage }) => (stage === 'auth' ? '535 5.7.8 wrong password' : undefined),
  });
  const password = 'tr0ub4dor&3-geheim';
  const coded = Buffer.from(`\0jo\0${password}`).toString('base64');
  site.control('relay', `smtp://jo@127.0.0.1:${relay.port}`);
  site.control('authpassword', password);
  await site.run('sendmail', ['a@x.test', 'b@x.test'], LETTER);
  const ran = await site.run('picorelay-cron');
  assert.match(ran.stderr, /^picorelay-cron: paused: .*auth: 535 5\.7\.8 wrong password\n$/);
  assert.ok(relay.lines.includes(`AUTH PLAIN ${coded}`), 'the relay was told the password');
  const shown = await site.run('picorelay', ['run', '--once', '-v']);
  assert.equal(shown.status, 75);
  assert.match(shown.stderr, /^C: AUTH PLAIN \*+/m);
  assert.equal(site.queued().length, 2);
  for (const name of site.queued()) assert.match(name, /:0@\d{8}T\d{6}Z\.spool$/);
  assert.deepEqual(site.names('Undelivered'), []);

  relay.script = () => undefined;
  const mended = await site.run('picorelay', ['run', '--once', '-v']);
  assert.equal(mended.status, 0);
  assert.equal(relay.received.length, 1);
  const told = [shown, mended].flatMap(({ stdout, stderr }) => [stdout, stderr]);
  for (const text of [...told, ran.stderr, site.log()]) {
    assert.ok(!text.includes(password) && !text.includes(coded), text);
    assert.ok(!text.includes(Buffer.from(password).toString('base64')), text);
  }
});

test('The next relay is tried where the first is dead or refuses the site, not where it refuses the mail', async (t) => {
  const site = siteFor(t);
  const second = await startRelay(t);
  site.relays(await freePort(), second.port);
  await site.run('sendmail', ['a@x.test'], LETTER);
  const ran = await site.run('picorelay-cron');
  assert.deepEqual(ran, { status: 0, stdout: '', stderr: '' });
  assert.deepEqual(second.recipients(), ['a@x.test']);

  const first = await startRelay(t, {
    script: ({ stage }) => (stage === 'mail' ? '421 4.3.2 later' : undefined),
  });
  site.relays(first.port, second.port);
  await site.run('sendmail', ['b@x.test'], LETTER);
  await site.run('picorelay-cron');
  assert.deepEqual(second.recipients(), ['a@x.test', 'b@x.test']);
  assert.doesNotMatch(site.log(), /paused/);

  first.script = ({ stage }) => (stage === 'rcpt' ? '550 5.1.1 nobody' : undefined);
  // A relay that failed is asked last for a while, unless somebody says that it is mended.
  site.relays(first.port, second.port);
  await site.run('sendmail', ['c@x.test'], LETTER);
  await site.run('picorelay-cron');
  assert.equal(second.received.length, 2);
  assert.match(site.result('Undelivered'), /550 5\.1\.1 nobody/);
});

test('A relay that ends every session within the first mail does not get every mail of the queue tried on it', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ stage }) => (stage === 'rcpt' ? CLOSE : undefined),
  });
  site.relays(relay.port);
  for (let n = 0; n < 8; n++) await site.run('sendmail', [`a${n}@x.test`], LETTER);
  await site.run('picorelay-cron');
  assert.ok(relay.connections < 8, `${relay.connections} connections`);
  assert.equal(site.queued().length, 8);
  assert.match(site.log(), /^\S+ paused /m);
});

interface Unusable {
  readonly title: string;
  readonly breakIt: (site: Site) => void;
  readonly mend: (site: Site, port: number) => void;
  readonly told: RegExp;
}

const UNUSABLE: readonly Unusable[] = [
  {
    title: 'No relay is configured',
    breakIt: (site) => site.control('relay', undefined),
    mend: (site, port) => site.relays(port),
    told: /no relay is configured/,
  },
  {
    title: 'control/me is missing',
    breakIt: (site) => site.control('me', undefined),
    mend: (site) => site.control('me', 'client.test'),
    told: /control\/me: .*missing/,
  },
  {
    title: 'A control file is malformed',
    breakIt: (site) => site.control('queuelifetime', 'soon'),
    mend: (site) => site.control('queuelifetime', '5d'),
    told: /control\/queuelifetime line 1: found "soon"/,
  },
  {
    title: 'The password is readable by everybody',
    breakIt: (site) => {
      site.control('authuser', 'jo');
      site.control('authpassword', 'secret');
      chmodSync(join(site.folder, 'control', 'authpassword'), 0o644);
    },
    mend: (site) => {
      site.control('authuser', undefined);
      site.control('authpassword', undefined);
    },
    told: /control\/authpassword: .*chmod 640/,
  },
  {
    title: 'A control file is a folder',
    breakIt: (site) => mkdirSync(join(site.folder, 'control', 'helohost')),
    mend: (site) => rmSync(join(site.folder, 'control', 'helohost'), { recursive: true }),
    told: /control\/helohost: expected a regular file/,
  },
];

for (const { title, breakIt, mend, told } of UNUSABLE) {
  test(`${title}: mail is accepted and waits, and goes out once that is mended`, async (t) => {
    const site = siteFor(t);
    const relay = await startRelay(t);
    site.relays(relay.port);
    breakIt(site);
    const sent = await site.run('sendmail', ['a@x.test'], LETTER);
    assert.equal(sent.status, 0);
    assert.equal(sent.stdout, '');
    if (sent.stderr !== '') {
      assert.match(sent.stderr, /^sendmail: queued, but nothing is sent until [^\n]*\n$/);
      assert.match(sent.stderr, told);
    }
    const first = await site.run('picorelay-cron');
    assert.equal(first.status, 0);
    assert.match(first.stderr, /^picorelay-cron: paused: [^\n]*\n$/);
    assert.match(first.stderr, told);
    const second = await site.run('picorelay-cron');
    assert.deepEqual(second, { status: 0, stdout: '', stderr: '' });
    assert.equal(site.log().match(/^\S+ paused /gm)?.length, 1);
    assert.equal(relay.connections, 0);
    assert.match(site.queued().join(), /:0@\d{8}T\d{6}Z\.spool$/);

    mend(site, relay.port);
    const third = await site.run('picorelay-cron');
    assert.deepEqual(third, { status: 0, stdout: '', stderr: '' });
    assert.deepEqual(relay.recipients(), ['a@x.test']);
  });
}

test('With messages in flight each of sixty gets its own answer, and a break loses none of them', async (t) => {
  for (const extensions of [EXTENSIONS, WITH_CHUNKING, []]) {
    const site = siteFor(t);
    const relay = await startRelay(t, {
      extensions,
      script: ({ line }) => {
        if (/^RCPT TO:<later/.test(line)) return '450 4.2.1 later';
        return /^RCPT TO:<never/.test(line) ? '550 5.1.1 never' : undefined;
      },
    });
    site.relays(relay.port);
    // One after the other, so that the queue is in this order.
    for (let n = 0; n < 20; n++) {
      for (const kind of ['now', 'later', 'never']) {
        const done = await site.run(
          'sendmail',
          [`${kind}${n}@x.test`],
          `Subject: ${kind}${n}\n\nb\n`,
        );
        assert.equal(done.status, 0);
      }
    }
    const ran = await site.run('picorelay-cron');
    assert.deepEqual(ran, { status: 0, stdout: '', stderr: '' });
    const what = extensions.at(-1) ?? 'nothing';
    assert.deepEqual(relay.faults, [], what);
    assert.equal(relay.received.length, 20, what);
    for (const { to, raw } of relay.received) {
      assert.ok(raw.includes(`Subject: ${to[0]?.replace('@x.test', '')}\r\n`), `${what}: ${to}`);
    }
    assert.equal(site.queued().length, 20);
    assert.ok(site.queued().every((name) => /:later\d+@x\.test:1@/.test(name)));
    const refused = site.names('Undelivered').filter((name) => !name.endsWith(':.result'));
    assert.equal(refused.length, 20);
    assert.ok(refused.every((name) => /:never\d+@x\.test$/.test(name)));

    // Now the connection breaks in the middle of the queue, behind the fifth message.
    let dots = 0;
    relay.script = ({ stage }) => (stage === 'dot' && ++dots === 5 ? CLOSE : undefined);
    await site.run('picorelay', ['run', '--once']);
    relay.script = () => undefined;
    await site.run('picorelay', ['run', '--once']);
    assert.deepEqual(site.queued(), [], what);
    assert.equal(new Set(relay.recipients()).size, 40, what);
    // An answer that the break swallowed means a second copy: then the log has said so.
    const count = new Map<string, number>();
    for (const to of relay.recipients()) count.set(to, (count.get(to) ?? 0) + 1);
    for (const [to] of [...count].filter(([, copies]) => copies > 1)) {
      const recorded = new RegExp(`deferred id=\\S+:${to} .*possible duplicate`);
      assert.match(site.log(), recorded, `${what}: ${to} came twice`);
    }
    // As many as may be under way on one connection.
    assert.ok(relay.received.length <= 40 + 8, `${what}: ${relay.received.length} copies`);
  }
});

test('Whole messages that were sent before the answers failed to come are possible duplicates', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    extensions: WITH_CHUNKING,
    script: ({ stage, connection }) =>
      connection === 1 && stage !== 'greeting' && stage !== 'ehlo' ? LOSE : undefined,
  });
  site.relays(relay.port);
  site.control('connections', '1');
  site.control('timeoutmail', '1s');
  const names = ['a', 'b', 'c'];
  for (const name of names) await site.run('sendmail', [`${name}@x.test`], LETTER);
  await site.run('picorelay-cron');
  // The relay has them all, and nobody here knows.
  const first = relay.received.filter(({ connection }) => connection === 1);
  assert.deepEqual(
    first.flatMap(({ to }) => to),
    names.map((name) => `${name}@x.test`),
  );
  for (const name of site.queued()) {
    const result = readFileSync(
      join(site.spool, 'spool', `${name.split(':', 4).join(':')}:.result`),
    );
    assert.match(result.toString(), /possible duplicate/, name);
  }
  assert.equal(site.queued().length, names.length);
});
