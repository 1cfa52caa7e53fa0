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

function queued(callers: Callers): string[] {
  return callers.names(`${spoolFolder}/spool`).filter((name) => !name.endsWith(':.result'));
}

function fields({ message }: Received): string[] {
  return message.slice(0, message.indexOf('\n\n')).split('\n');
}

function bodyOf({ message }: Received): string {
  return message.slice(message.indexOf('\n\n') + 2);
}
