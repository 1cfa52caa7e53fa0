// Reports of the built programs as others read them: two bounce parsers that mailing lists use, and mutt.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { EXTENSIONS, startRelay, type TestRelay } from '../support/relay.ts';
import { type Callers, occupyCallers } from './callers.ts';
import { skipWithout } from './require.ts';

const LETTER = 'From: Jo <jo@y.test>\nSubject: tea\n\nat four\n';

interface Case {
  readonly name: string;
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly message?: string;
  readonly options?: readonly string[];
  /** Whom the report is about, when it says that mail failed for good. */
  readonly failed: readonly string[];
}

const cases: readonly Case[] = [
  {
    name: 'one recipient',
    sender: 'jo@y.test',
    recipients: ['never@x.test'],
    failed: ['never@x.test'],
  },
  {
    name: 'one of three',
    sender: 'jo@y.test',
    recipients: ['ok@x.test', 'never@x.test', 'ok2@x.test'],
    failed: ['never@x.test'],
  },
  {
    name: 'all of three',
    sender: 'jo@y.test',
    recipients: ['never@x.test', 'never2@x.test', 'never3@x.test'],
    failed: ['never2@x.test', 'never3@x.test', 'never@x.test'],
  },
  {
    name: 'the whole message comes back',
    sender: 'jo@y.test',
    recipients: ['never@x.test'],
    options: ['-R', 'FULL'],
    failed: ['never@x.test'],
  },
  {
    name: 'a huge message',
    sender: 'jo@y.test',
    recipients: ['never@x.test'],
    message: `${LETTER}${'all work and no play\n'.repeat(100_000)}`,
    failed: ['never@x.test'],
  },
  { name: 'the null sender', sender: '', recipients: ['never@x.test'], failed: ['never@x.test'] },
  {
    name: 'a subject and a body in UTF-8',
    sender: 'jo@y.test',
    recipients: ['never@x.test'],
    message: 'From: Jo <jo@y.test>\nSubject: =?utf-8?q?T=C3=BCr?=\n\nüber\n',
    failed: ['never@x.test'],
  },
];

async function setUp(t: TestContext): Promise<{ relay: TestRelay; callers: Callers }> {
  const relay = await startRelay(t, {
    extensions: EXTENSIONS,
    script: ({ line }) => {
      if (line.startsWith('RCPT TO:<never'))
        return '550-5.1.1 there is nobody\r\n550 5.1.1 of that name';
      return line.startsWith('RCPT TO:<later') ? '450 4.2.1 busy' : undefined;
    },
  });
  const callers = await occupyCallers(relay.port);
  t.after(() => callers.release());
  callers.write('/etc/picorelay/bounce', 'sender\n');
  callers.write('/etc/picorelay/doublebounceto', 'admin@y.test\n');
  return { relay, callers };
}

/** What arrived from the null sender since the last call. */
function reporter(relay: TestRelay): () => readonly Buffer[] {
  let seen = 0;
  return () => {
    const all = relay.received
      .filter(({ from }) => from === '')
      // As it lies in a mailbox.
      .map(({ raw }) => Buffer.from(raw.toString('latin1').replaceAll('\r\n', '\n'), 'latin1'));
    const news = all.slice(seen);
    seen = all.length;
    return news;
  };
}

const FLUFL = `
import email, json, sys
from flufl.bounce import all_failures
temporary, permanent = all_failures(email.message_from_bytes(sys.stdin.buffer.read()))
show = lambda found: sorted(each.decode() for each in found)
print(json.dumps({'temporary': show(temporary), 'permanent': show(permanent)}))
`;

const PERL = `
my $bounce = Mail::DeliveryStatus::BounceParser->new(do { local $/; <STDIN> });
print $bounce->is_bounce ? "bounce" : "no bounce", "\\n";
print join(" ", $_->get("email"), $_->get("std_reason"), $_->get("smtp_code") || ""), "\\n" for $bounce->reports;
`;

test('bounce parsers read who failed and why', { skip: skipWithout('callers') }, async (t) => {
  const { relay, callers } = await setUp(t);
  const reports = reporter(relay);
  for (const { name, sender, recipients, message = LETTER, options = [], failed } of cases) {
    await t.test(name, async () => {
      const args = ['-f', sender, ...options, '--', ...recipients];
      const sent = await callers.run(['/usr/sbin/sendmail', ...args], { input: message });
      assert.equal(sent.status, 0, sent.stderr);
      await callers.run(['/opt/picorelay/bin/picorelay-cron']);
      const [report, ...more] = reports();
      assert.ok(report !== undefined && more.length === 0, callers.log());
      const flufl = await callers.run(['python3', '-c', FLUFL], { input: report });
      assert.deepEqual(
        JSON.parse(flufl.stdout || 'null'),
        { temporary: [], permanent: [...failed].sort() },
        flufl.stderr,
      );
      const perl = await callers.run(['perl', '-MMail::DeliveryStatus::BounceParser', '-e', PERL], {
        input: report,
      });
      const [verdict, ...about] = perl.stdout.trimEnd().split('\n');
      assert.equal(verdict, 'bounce', perl.stderr);
      assert.deepEqual(
        about.sort(),
        [...failed].sort().map((address) => `${address} user_unknown 550`),
      );
    });
  }

  await t.test('a delay is no failure', async () => {
    callers.write('/etc/picorelay/delaywarn', '1s\n');
    await callers.run(['/usr/sbin/sendmail', '-f', 'jo@y.test', 'later@x.test'], { input: LETTER });
    let found: readonly Buffer[] = [];
    for (let tick = 0; tick < 100 && found.length === 0; tick++) {
      await callers.run(['/opt/picorelay/bin/picorelay', 'run', '--once']);
      found = reports();
    }
    const [report] = found;
    assert.ok(report !== undefined, callers.log());
    const flufl = await callers.run(['python3', '-c', FLUFL], { input: report });
    assert.deepEqual(JSON.parse(flufl.stdout || 'null'), {
      temporary: ['later@x.test'],
      permanent: [],
    });
  });
});

test('mutt shows a report as text and what it is about', {
  skip: skipWithout('callers'),
}, async (t) => {
  const { relay, callers } = await setUp(t);
  const args = ['-f', 'jo@y.test', '-R', 'FULL', 'never@x.test'];
  await callers.run(['/usr/sbin/sendmail', ...args], { input: LETTER });
  await callers.run(['/opt/picorelay/bin/picorelay-cron']);
  const [report] = reporter(relay)();
  assert.ok(report !== undefined, callers.log());
  const mbox = `From MAILER-DAEMON Sat Nov 21 00:00:00 2026\n${report.toString('latin1')}\n`;
  callers.write('/tmp/report.mbox', mbox);
  callers.write(
    '/tmp/muttrc',
    [
      'set pipe_decode=yes wait_key=no quit=yes folder=/tmp record= postponed=',
      'folder-hook . \'push "<pipe-message>cat > /tmp/shown<enter><exit>"\'',
      '',
    ].join('\n'),
  );
  callers.erase('/tmp/shown');
  const shown = await callers.run([
    ...['timeout', '30', 'script', '-qec'],
    'TERM=vt100 mutt -n -R -F /tmp/muttrc -f /tmp/report.mbox; cat /tmp/shown',
    '/dev/null',
  ]);
  const text = shown.stdout.replaceAll('\r', '');
  assert.match(text, /^Subject: .*not.*$/im);
  assert.match(text, /<never@x\.test>\n.*refused it:\n.*550-5\.1\.1 there is nobody/);
  assert.match(text, /Final-Recipient: rfc822; never@x\.test/);
  assert.match(text, /Subject: tea\n[\s\S]*at four/);
});
