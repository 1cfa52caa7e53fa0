// The programs that really call sendmail on a Debian host, run as they are packaged: each hands over one
// message, and the relay has to get it with the right envelope and an intact body.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { waitFor } from '../support/process.ts';
import { type Received, type Sink, startSink } from '../support/sink.ts';
import { type Callers, occupyCallers, spoolFolder } from './callers.ts';
import { skipWithout } from './require.ts';

const to = 'alice@relayed.test';
const body = 'first line\n.a dot\n\nlast line\n';

const PYTHON = `
import subprocess, sys
from email.message import EmailMessage
mail = EmailMessage()
mail['Subject'], mail['To'] = sys.argv[1:]
mail.set_content(sys.stdin.read())
subprocess.run(['/usr/sbin/sendmail', '-t', '-oi'], input=mail.as_bytes(), check=True)
`;

const NODEMAILER = `
const [subject, to] = process.argv.slice(1);
const mailer = require('/opt/picorelay/node_modules/nodemailer').createTransport({ sendmail: true });
const text = require('node:fs').readFileSync(0, 'utf8');
mailer.sendMail({ from: 'app@site.test', to, subject, text });
`;

/**
 * What Symfony Mailer 7 writes and expects with `sendmail -bs`: one command at a time, HELO, no
 * parameters, the end of the data in a write of its own, and of each answer all lines.
 */
const SYMFONY = `
$sendmail = proc_open('/usr/sbin/sendmail -bs', [['pipe', 'r'], ['pipe', 'w'], STDERR], $pipes);
function answer() {
  global $pipes;
  do { $line = fgets($pipes[1]); echo $line; } while (is_string($line) && substr($line, 3, 1) !== ' ');
}
answer();
foreach ([
  ['HELO [127.0.0.1]'], ['MAIL FROM:<app@site.test>'], ['RCPT TO:<$argv[1]>'], ['RCPT TO:<bob@relayed.test>'],
  ['DATA'], ['From: app@site.test', 'To: $argv[1]', 'Subject: symfony', '', 'line', '..dot'], ['', '.'], ['NOOP'],
  ['MAIL FROM:<app@site.test>'], ['RCPT TO:<no one>'], ['RSET'], ['QUIT'],
] as $lines) {
  $lines = str_replace('$argv[1]', $argv[1], $lines);
  fwrite($pipes[0], implode("\\r\\n", $lines) . (count($lines) > 2 ? '' : "\\r\\n"));
  if (count($lines) < 3) answer();
}
exit(proc_close($sendmail));
`;

const programs: readonly {
  readonly name: string;
  readonly command: (subject: string) => readonly string[];
  /** What it reads, where that is more than the body. */
  readonly input?: (subject: string) => string;
  readonly from?: string;
}[] = [
  { name: 'bsd-mailx', command: (subject) => ['bsd-mailx', '-s', subject, to] },
  { name: 's-nail', command: (subject) => ['s-nail', '-n', '-s', subject, to] },
  { name: 'mutt', command: (subject) => ['mutt', '-n', '-s', subject, '--', to] },
  {
    name: 'PHP mail()',
    command: (subject) => [
      ...['php', '-r', 'exit(mail($argv[1], $argv[2], $argv[3], "", "-fwww@site.test") ? 0 : 1);'],
      ...['--', to, subject, body.trimEnd()], // it adds a line end
    ],
    from: 'www@site.test',
  },
  {
    name: 'git send-email',
    command: () => [
      ...['sh', '-euc', 'cd /tmp; cat > "$1.patch"; shift; exec git send-email "$@"', 'sh', 'mail'],
      ...['--quiet', '--confirm=never', '--suppress-cc=all', `--to=${to}`],
      ...['--from=dev@site.test', `--envelope-sender=bounces@site.test`],
      'mail.patch',
    ],
    input: (subject) => `From: dev@site.test\nSubject: ${subject}\n\n${body}`,
    from: 'bounces@site.test',
  },
  {
    name: 'GNU mailutils',
    command: (subject) => ['mail.mailutils', '-r', 'jo@site.test', '-s', subject, to],
    from: 'jo@site.test',
  },
  {
    name: 'Python',
    command: (subject) => ['python3', '-c', PYTHON, subject, to],
  },
  {
    name: "Nodemailer's sendmail transport",
    command: (subject) => [process.execPath, '-e', NODEMAILER, subject, to],
    from: 'app@site.test',
  },
];

test('programs that call sendmail', { skip: skipWithout('callers') }, async (t) => {
  const sink = await startSink();
  t.after(() => sink.stop());
  const callers = await occupyCallers(sink.port);
  t.after(() => callers.release());

  for (const { name, command, input = () => body, from = 'root@host.test' } of programs) {
    await t.test(`${name} submits one message`, async () => {
      const subject = `from ${name}`;
      const finished = await callers.run(command(subject), { input: input(subject) });
      assert.equal(finished.status, 0, `${finished.stdout}${finished.stderr}`);
      const mail = await relayOne(callers, sink);
      assert.deepEqual({ from: mail.from, to: mail.to }, { from, to: [to] });
      assert.ok(fields(mail).includes(`Subject: ${subject}`), mail.message);
      assert.equal(bodyOf(mail), body);
    });
  }

  await t.test('cron mails what a job prints', async (t) => {
    await withCron(t, callers, 'root', `MAILTO=${to}\n@reboot printf 'cron says\\n.hello\\n'\n`);
    const mail = await relayOne(callers, sink);
    assert.deepEqual({ from: mail.from, to: mail.to }, { from: 'root@host.test', to: [to] });
    assert.ok(fields(mail).some((field) => /^From: .*CronDaemon|^From: .*Cron Daemon/.test(field)));
    assert.equal(bodyOf(mail), 'cron says\n.hello\n');
  });

  const PHP = 'exit(mail($argv[1], $argv[2], $argv[3], "", "-fwww@site.test") ? 0 : 1);';
  for (const [name, command, input, from] of [
    ['PHP', ['php', '-r', PHP, '--', to, 'without rights', body], '', 'www@site.test'],
    ['bsd-mailx', ['bsd-mailx', '-s', 'without rights', to], body, 'www-data@host.test'],
  ] as const) {
    await t.test(`${name} submits as a user without rights on the spool`, async () => {
      const finished = await callers.run(command, { input, user: 'www-data' });
      assert.equal(finished.status, 0, `${finished.stdout}${finished.stderr}`);
      assert.equal(callers.names(`${spoolFolder}/incoming`).length, 1);
      const mail = await relayOne(callers, sink);
      assert.deepEqual([mail.from, mail.to], [from, [to]]);
      assert.ok(fields(mail).includes('Subject: without rights'), mail.message);
      assert.equal(bodyOf(mail).trimEnd(), body.trimEnd());
    });
  }

  await t.test('cron mails what the job of a user without rights prints', async (t) => {
    await withCron(
      t,
      callers,
      'www-data',
      `MAILTO=${to}\n@reboot printf 'cron says\\n.hello\\n'\n`,
    );
    const mail = await relayOne(callers, sink);
    assert.deepEqual([mail.from, mail.to], ['www-data@host.test', [to]]);
    assert.equal(bodyOf(mail), 'cron says\n.hello\n');
  });

  await t.test('at mails what a job prints', async (t) => {
    callers.erase('/run/atd.pid');
    const atd = await callers.start(['atd', '-f']);
    t.after(() => atd.stop());
    await waitFor('atd', () => callers.names('/run').includes('atd.pid'), { detail: atd.output });
    const at = await callers.run(['at', '-m', 'now'], { input: "printf 'at says\\n.hello\\n'\n" });
    assert.equal(at.status, 0, at.stderr);
    await waitFor('an entry in the spool', () => queued(callers).length > 0, {
      detail: () => `${atd.output()}${callers.log()}`,
    });
    const mail = await relayOne(callers, sink);
    assert.deepEqual([mail.from, mail.to], ['root@host.test', ['root@host.test']]);
    assert.ok(fields(mail).some((field) => /^Subject: Output from your job +\d+$/.test(field)));
    assert.equal(bodyOf(mail), 'at says\n.hello\n');
  });

  await t.test('logwatch mails its report', async () => {
    const words = ['--output', 'mail', '--mailto', to, '--range', 'all', '--service', 'dpkg'];
    const finished = await callers.run(['logwatch', ...words]);
    assert.equal(finished.status, 0, finished.stderr);
    const mail = await relayOne(callers, sink);
    assert.deepEqual([mail.from, mail.to], ['root@host.test', [to]]);
    assert.ok(fields(mail).some((field) => field.startsWith('Subject: Logwatch for ')));
    assert.match(bodyOf(mail), /dpkg status changes Begin.*Logwatch End #+ *\n/s);
  });

  await t.test('swaks speaks SMTP through a pipe', async () => {
    const finished = await callers.run([
      ...['swaks', '--pipe', '/usr/sbin/sendmail -bs', '--helo', 'client.test'],
      ...['--from', 'jo@site.test', '--to', `${to},bob@relayed.test`],
      ...['--header', 'Subject: swaks', '--body', body.trimEnd().replaceAll('\n', '\\n')],
    ]);
    assert.equal(finished.status, 0, `${finished.stdout}${finished.stderr}`);
    const mail = await relayOne(callers, sink);
    assert.deepEqual([mail.from, [...mail.to].sort()], ['jo@site.test', [to, 'bob@relayed.test']]);
    assert.ok(fields(mail).includes('Subject: swaks'), mail.message);
    assert.equal(bodyOf(mail).trimEnd(), body.trimEnd());
  });

  await t.test('the -bs dialogue of Symfony Mailer, answer by answer', async () => {
    const finished = await callers.run(['php', '-r', SYMFONY, '--', to]);
    assert.equal(finished.status, 0, finished.stderr);
    assert.match(
      finished.stdout,
      /^220 [^\r]+\r\n250 host\.test[^\r]*\r\n250 2[^\r]+\r\n250 2[^\r]+\r\n250 2[^\r]+\r\n354 [^\r]+\r\n250 2[^\r]+\r\n250 2[^\r]+\r\n250 2[^\r]+\r\n50[13] 5[^\r]+\r\n250 2[^\r]+\r\n221 2[^\r]+\r\n$/,
    );
    const mail = await relayOne(callers, sink);
    assert.deepEqual([mail.from, [...mail.to].sort()], ['app@site.test', [to, 'bob@relayed.test']]);
    assert.equal(bodyOf(mail), 'line\n.dot\n');
  });

  await t.test('check_mailq of the monitoring plugins reads the queue', async () => {
    const check = (mta: string): Promise<string> =>
      callers
        .run(['/usr/lib/nagios/plugins/check_mailq', '-M', mta, '-w', '2', '-c', '9'])
        .then(({ status, stdout }) => `${status} ${stdout.replace(/\|.*/s, '').trim()}`);
    assert.equal(await check('postfix'), '0 OK: postfix mailq reports queue is empty');
    for (const name of ['one', 'two', 'three']) {
      await callers.run(['/usr/sbin/sendmail', `${name}@relayed.test`], { input: body });
    }
    assert.match(await check('postfix'), /^1 WARNING: postfix mailq is 3 /);
    const cron = await callers.run(['/opt/picorelay/bin/picorelay-cron']);
    assert.deepEqual(cron, { status: 0, stdout: '', stderr: '' }, callers.log());
    assert.equal(await check('postfix'), '0 OK: postfix mailq reports queue is empty');
  });

  await t.test("qmail's dot-forward hands a message to qmail-queue", async () => {
    callers.write('/srv/relay/forward', `${to}, bob@relayed.test\n`);
    const finished = await callers.run(['dot-forward', '/srv/relay/forward'], {
      input: `From: someone@site.test\nSubject: forwarded\n\n${body}`,
      env: {
        ...{ SENDER: 'someone@site.test', NEWSENDER: 'someone@site.test', HOST: 'host.test' },
        ...{ RECIPIENT: 'list@host.test', LOCAL: 'list', EXT: '', USER: 'list', HOME: '/' },
        DTLINE: 'Delivered-To: list@host.test\n',
      },
    });
    // 99 is its word for: forwarded, no further instructions are to be followed.
    assert.equal(finished.status, 99, `${finished.stdout}${finished.stderr}`);
    const mail = await relayOne(callers, sink);
    assert.equal(mail.from, 'someone@site.test');
    assert.deepEqual([...mail.to].sort(), [to, 'bob@relayed.test']);
    assert.ok(fields(mail).includes('Delivered-To: list@host.test'), mail.message);
    assert.equal(bodyOf(mail), body);
  });
});

/** Runs cron with one user's crontab until a job's mail is queued; `@reboot` jobs run at its start. */
async function withCron(
  t: TestContext,
  callers: Callers,
  user: string,
  crontab: string,
): Promise<void> {
  const file = `/var/spool/cron/crontabs/${user}`;
  // Left by an earlier run, these make cron believe that it is running, or that there was no reboot.
  for (const stale of ['/run/crond.pid', '/run/crond.reboot']) callers.erase(stale);
  callers.write(file, crontab, 0o600);
  t.after(() => callers.erase(file));
  const cron = await callers.start(['cron', '-f', '-L', '15']);
  t.after(() => cron.stop());
  await waitFor('an entry in the spool', () => queued(callers).length > 0, {
    detail: () => `${cron.output()}${callers.log()}`,
  });
}

/** Relays what is queued, which has to be one transaction, and returns it. */
async function relayOne(callers: Callers, sink: Sink): Promise<Received> {
  const before = sink.received.length;
  assert.notEqual(queued(callers).length, 0, 'nothing is queued');
  const cron = await callers.run(['/opt/picorelay/bin/picorelay-cron']);
  assert.deepEqual(cron, { status: 0, stdout: '', stderr: '' }, callers.log());
  assert.deepEqual(queued(callers), [], callers.log());
  const [mail, ...others] = sink.received.slice(before);
  assert.ok(mail, 'nothing arrived');
  assert.equal(others.length, 0, 'it arrived more than once');
  return mail;
}

/** What waits, in incoming/ too, where users without rights on the spool leave their mail. */
function queued(callers: Callers): string[] {
  const entries = callers
    .names(`${spoolFolder}/spool`)
    .filter((name) => !name.endsWith(':.result'));
  const left = callers.names(`${spoolFolder}/incoming`).filter((name) => !name.startsWith('.'));
  return [...entries, ...left];
}

function fields({ message }: Received): string[] {
  return message.slice(0, message.indexOf('\n\n')).split('\n');
}

function bodyOf({ message }: Received): string {
  return message.slice(message.indexOf('\n\n') + 2);
}
