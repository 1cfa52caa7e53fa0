// qmail-inject from its standard input to the spool, to the relay, and to other queue programs.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Finished, run } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';

const LETTER = 'To: ann, "b c"@b.test\nBcc: eve@secret.test\nSubject: tea\n\nat four\n.\n';

/** Runs qmail-inject for joe, with more variables. */
function inject(
  site: Site,
  args: readonly string[],
  input: string | Buffer,
  env: Readonly<Record<string, string>> = {},
): Promise<Finished> {
  return run([programPath('qmail-inject'), ...args], {
    input,
    env: { ...site.env, QMAILUSER: 'joe', ...env },
    limit: 30_000,
  });
}

/** A queue program of shell: keeps what it gets in `message` and `envelope`, then runs `end`. */
function queueStub(site: Site, end: string): string {
  const path = join(site.folder, 'stub');
  const text = `#!/bin/sh\nexec 3<&1 1>/dev/null\ncd ${site.folder}\ncat >message\ncat <&3 >envelope\n${end}\n`;
  writeFileSync(path, text, { mode: 0o755 });
  return path;
}

/** One line; what the harness adds where the program did not read all of its input is not its own. */
const ONE_LINE = /^qmail-inject: fatal: [^\n]+; nothing was queued\n(?:\(standard input: .*\))?$/;

const DATE = /Date: \w{3}, \d+ \w{3} \d{4} [\d:]{8} \+0000\n/;
const ID = /Message-ID: <\d{14}\.\d+\.qmail@client\.test>\n/;
const MADE = new RegExp(`^${DATE.source}${ID.source}From: joe@client\\.test\n`);

test('A message goes straight into the spool, for each recipient of its header', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  assert.deepEqual(await inject(site, [], LETTER), { status: 0, stdout: '', stderr: '' });
  assert.equal(site.queued().length, 3);
  assert.equal((await site.run('picorelay-cron')).status, 0);
  const [transaction, ...others] = relay.received;
  assert.equal(others.length, 0);
  assert.equal(transaction?.from, 'joe@client.test');
  assert.deepEqual(transaction?.to.toSorted(), [
    '"b c"@b.test',
    'ann@client.test',
    'eve@secret.test',
  ]);
  const text = transaction?.raw.toString().replaceAll('\r\n', '\n') ?? '';
  assert.match(
    text,
    /^Received: \(picorelay qmail-inject \d+ invoked by uid \d+\) by client\.test;/,
  );
  assert.match(text.slice(text.indexOf('Date: ')), MADE);
  assert.doesNotMatch(text, /secret/);
  assert.ok(text.endsWith('To: ann@client.test, "b c"@b.test\nSubject: tea\n\nat four\n.\n'));
});

test('-n prints the message and queues nothing', async (t) => {
  const site = siteFor(t);
  const env = { QMAILINJECT: 'r', QMAILQUEUE: '/bin/false' };
  const { status, stdout, stderr } = await inject(
    site,
    ['-n'],
    'To: ann\r\nX: y\r\n\r\nhi\r\n',
    env,
  );
  assert.deepEqual([status, stderr], [0, '']);
  const [first = '', ...lines] = stdout.split('\n');
  assert.equal(first, 'Return-Path: <joe-@client.test-@[]>');
  assert.match(lines.join('\n'), MADE);
  assert.deepEqual(lines.slice(3), ['To: ann@client.test', 'X: y', '', 'hi', '']);
  assert.deepEqual(site.names('spool'), []);
});

test('A per-recipient VERP gives each recipient a reverse-path of its own', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  await inject(site, [], LETTER, { QMAILINJECT: 'r', QMAILSUSER: 'list' });
  assert.equal(site.queued().length, 3);
  await site.run('picorelay-cron');
  assert.deepEqual(relay.received.map(({ from, to }) => [from, ...to]).toSorted(), [
    ['"list-b c=b.test"@client.test', '"b c"@b.test'],
    ['list-ann=client.test@client.test', 'ann@client.test'],
    ['list-eve=secret.test@client.test', 'eve@secret.test'],
  ]);
  assert.deepEqual(site.queued(), []);
});

test('Another queue program gets the message on descriptor 0 and the envelope on descriptor 1', async (t) => {
  const site = siteFor(t);
  const env = { QMAILQUEUE: queueStub(site, 'exit 0') };
  const big = LETTER + `${'y'.repeat(99)}\n`.repeat(20_000);
  const sent = await inject(
    site,
    ['-f', 's r', '-H', 'zoe@z.test'],
    big.replaceAll('\n', '\r\n'),
    env,
  );
  assert.deepEqual(sent, { status: 0, stdout: '', stderr: '' });
  const message = readFileSync(join(site.folder, 'message'), 'utf8');
  assert.match(message, MADE);
  assert.ok(message.endsWith(big.slice(big.indexOf('Subject: '))));
  assert.equal(
    readFileSync(join(site.folder, 'envelope'), 'utf8'),
    'Fs r@client.test\0Tzoe@z.test\0Tann@client.test\0Tb c@b.test\0Teve@secret.test\0\0',
  );
  assert.deepEqual(site.names('spool'), []);
});

test('Our own qmail-queue takes what qmail-inject hands it', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const sent = await inject(site, ['-f', 's r'], LETTER, {
    QMAILQUEUE: programPath('qmail-queue'),
  });
  assert.deepEqual(sent, { status: 0, stdout: '', stderr: '' });
  await site.run('picorelay-cron');
  assert.equal(relay.received[0]?.from, '"s r"@client.test');
  assert.deepEqual(relay.received[0]?.to.toSorted(), [
    '"b c"@b.test',
    'ann@client.test',
    'eve@secret.test',
  ]);
  assert.match(relay.received[0]?.raw.toString() ?? '', /^Received: \(picorelay qmail-queue /);
});

test('The exit code of the queue program decides', async (t) => {
  const site = siteFor(t);
  const table: [end: string, status: number, said: RegExp][] = [
    ['exit 11', 100, /too long/],
    ['exit 31', 100, /refused the message for good/],
    ['exit 40', 100, /exit code 40/],
    ['exit 115', 100, /too long/],
    ['exit 10', 111, /exit code 10/],
    ['exit 41', 111, /exit code 41/],
    ['exit 53', 111, /disk/],
    ['exit 71', 111, /refused the message for now/],
    ['exit 91', 111, /envelope/],
    ['printf "Dno such\\nlist" >&6; exit 82', 100, /fatal: no such\?list;/],
    ['printf "Znot today" >&6; exit 82', 111, /fatal: not today;/],
    ['printf "Dignored" >&6; exit 71', 111, /for now/],
    ['exit 82', 111, /exit code 82/],
    ['kill -9 $$', 111, /killed/],
  ];
  for (const [end, status, said] of table) {
    const sent = await inject(site, [], LETTER, { QMAILQUEUE: queueStub(site, end) });
    assert.equal(sent.status, status, end);
    assert.equal(sent.stdout, '');
    assert.match(sent.stderr, said, end);
    assert.match(sent.stderr, ONE_LINE);
  }
});

test('A queue program that reads nothing or cannot be run is no success', async (t) => {
  const site = siteFor(t);
  const big = `To: ann\n\n${'y'.repeat(99)}\n`.repeat(20_000);
  for (const program of ['/bin/true', '/nowhere/qq', 'qq', '/']) {
    const sent = await inject(site, [], big, { QMAILQUEUE: program });
    assert.equal(sent.status, 111, program);
    assert.match(sent.stderr, ONE_LINE);
  }
});

test('What cannot be sent is refused with one line, and nothing is queued', async (t) => {
  const site = siteFor(t);
  const table: [args: string[], input: string | Buffer, said: RegExp][] = [
    [['-z'], LETTER, /option -z/],
    [['-f'], LETTER, /-f/],
    [['-a'], LETTER, /no recipient/],
    [[], 'Subject: x\n\n', /no recipient/],
    [[], '', /no recipient/],
    [[], 'To: "b\nCc: x@[]\n\n', /no recipient: .*To: unclosed/],
    [['-f', 'a@b c'], LETTER, /sender/],
    [['a@b c'], LETTER, /recipient/],
    [[], 'From: "x\nTo: ann\n\n', /From: /],
    [['ann'], Buffer.alloc(9 * 1024 * 1024, 'X: y\n'), /header/],
  ];
  for (const [args, input, said] of table) {
    const { status, stdout, stderr } = await inject(site, args, input);
    assert.deepEqual([status, stdout], [100, ''], stderr);
    assert.match(stderr, said);
    assert.match(stderr, ONE_LINE);
  }
  assert.deepEqual([site.names('spool'), site.names('tmp')], [[], []]);
});

test('A control folder that names no host costs no mail, one that names no spool defers it', async (t) => {
  const site = siteFor(t);
  site.control('me', undefined);
  const sent = await inject(site, ['ann@a.test'], 'Subject: x\n\nb\n');
  assert.equal(sent.status, 0);
  assert.match(sent.stderr, /^qmail-inject: mend this, mail waits until then: [^\n]*me[^\n]*\n$/);
  assert.equal(site.queued().length, 1);
  site.control('spooldir', 'relative');
  const refused = await inject(site, ['ann@a.test'], 'Subject: x\n\nb\n');
  assert.equal(refused.status, 111);
  assert.match(refused.stderr, /spooldir/);
});

test('QMAILMFTFILE adds Mail-Followup-To to mail for a list', async (t) => {
  const site = siteFor(t);
  const lists = join(site.folder, 'lists');
  writeFileSync(lists, '# lists\nteam@lists.test\n');
  const letter = 'To: Team@lists.test\nCc: ann\n\n';
  const { stdout } = await inject(site, ['-n'], letter, { QMAILMFTFILE: lists });
  assert.match(stdout, /\nMail-Followup-To: Team@lists\.test, ann@client\.test\n/);
  const none = await inject(site, ['-n'], letter, { QMAILMFTFILE: join(site.folder, 'none') });
  assert.equal(none.status, 0);
  assert.doesNotMatch(none.stdout, /Followup/);
  const folder = await inject(site, ['-n'], letter, { QMAILMFTFILE: site.folder });
  assert.equal(folder.status, 111);
});

test('New mail is offered at once where the control folder says so', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('immediate', 'wait');
  const sent = await inject(site, [], LETTER);
  assert.deepEqual(sent, { status: 0, stdout: '', stderr: '' });
  assert.equal(relay.received.length, 1);
  assert.deepEqual(site.queued(), []);
});
