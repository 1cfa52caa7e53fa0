// The sendmail program as callers see it: where it is started from, what it is given, what it answers.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Finished, must, run, waitFor } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';

const LETTER = 'Subject: s\n\nb\n';
const QUIET: Finished = { status: 0, stdout: '', stderr: '' };

/** The one stored message of a site, its envelope block taken off. */
function stored(site: Site): string {
  const [name, ...others] = site.queued();
  assert.ok(name !== undefined && others.length === 0, `queued: ${site.queued()}`);
  const text = readFileSync(join(site.spool, 'spool', name), 'utf8');
  return text.slice(text.indexOf('\n\n') + 2);
}

/** Sender and recipients as the queue's names tell them. */
function envelopes(site: Site): string[] {
  return site.queued().map((name) => name.split(':').slice(2, 4).join(' > '));
}

test('Each program works through a link from another folder, with nothing of an environment', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const sbin = join(site.folder, 'usr', 'sbin');
  mkdirSync(sbin, { recursive: true });
  const links = {
    sendmail: 'sendmail',
    mailq: 'sendmail',
    newaliases: 'sendmail',
    'send-mail': 'sendmail',
    'picorelay-cron': 'picorelay-cron',
    'picorelay-send': 'picorelay-send',
    picorelay: 'picorelay',
  };
  for (const [name, target] of Object.entries(links)) {
    symlinkSync(programPath(target), join(sbin, name));
  }
  const go = (name: string, args: string[] = [], input = ''): Promise<Finished> =>
    run([join(sbin, name), ...args], { cwd: '/', env: site.env, input });

  assert.deepEqual(await go('mailq'), { ...QUIET, stdout: 'Mail queue is empty\n' });
  assert.deepEqual(await go('sendmail', ['a@x.test'], LETTER), QUIET);
  assert.deepEqual(await go('send-mail', ['b@x.test'], LETTER), QUIET);
  assert.match(
    (await go('mailq')).stdout,
    / root@client\.test\n +a@x\.test\n[\s\S]*in 2 Requests\.\n$/,
  );
  assert.deepEqual(await go('sendmail', ['-bi']), QUIET);
  assert.deepEqual(await go('newaliases'), QUIET);
  assert.match((await go('picorelay', ['list'])).stdout, /2 mails in the queue/);
  const sent = await go('picorelay-send', [site.queued()[0] ?? '']);
  assert.equal(sent.status, 0, sent.stderr);
  assert.deepEqual(relay.recipients(), ['a@x.test']);
  assert.deepEqual(await go('picorelay-cron'), QUIET);
  assert.deepEqual(relay.recipients(), ['a@x.test', 'b@x.test']);
});

interface Row {
  readonly title: string;
  readonly args: readonly string[];
  readonly input?: string;
  readonly status?: number;
  /** Standard error; nothing when not given. */
  readonly says?: RegExp;
  /** `sender > recipient` as in the names of the queue, which has no others. */
  readonly queued: readonly string[];
}

const ROOT = 'root@client.test';
const ROWS: readonly Row[] = [
  {
    title: 'no recipient at all',
    args: [],
    status: 64,
    says: /no recipient: name one/,
    queued: [],
  },
  {
    title: '-t without one in the header',
    args: ['-t'],
    status: 64,
    says: /no recipient in To, Cc or Bcc/,
    queued: [],
  },
  {
    title: 'an unknown option',
    args: ['-Zx', 'a@x.test'],
    status: 64,
    says: /unknown option "-Z"/,
    queued: [],
  },
  {
    title: 'an option without its value',
    args: ['a@x.test', '-f'],
    status: 64,
    says: /-f needs a value/,
    queued: [],
  },
  { title: '-bd', args: ['-bd'], status: 64, says: /no daemon/, queued: [] },
  {
    title: 'only a recipient that cannot be read',
    args: ['a@@x.test'],
    status: 65,
    says: /no recipient: /,
    queued: [],
  },
  {
    title: '-t with only one that cannot be read',
    args: ['-t'],
    input: 'To: a@@x.test\n\nb\n',
    status: 65,
    says: /no recipient: To: /,
    queued: [],
  },
  {
    title: 'a bad one among good ones',
    args: ['a@x.test', 'b@@x.test', 'c@x.test'],
    says: /^sendmail: skipped a recipient: [^\n]*\n$/,
    queued: [`${ROOT} > a@x.test`, `${ROOT} > c@x.test`],
  },
  {
    title: 'a bad one in a list',
    args: ['-t'],
    input: 'To: a@x.test, <b@@x.test>, c@x.test\n\nb\n',
    says: /skipped a recipient: To: /,
    queued: [`${ROOT} > a@x.test`, `${ROOT} > c@x.test`],
  },
  { title: 'a null sender, empty', args: ['-f', '', 'a@x.test'], queued: [' > a@x.test'] },
  { title: 'a null sender in brackets', args: ['-f', '<>', 'a@x.test'], queued: [' > a@x.test'] },
  { title: 'a glued null sender', args: ['-f<>', 'a@x.test'], queued: [' > a@x.test'] },
  {
    title: 'a sender in brackets',
    args: ['-f', '<me@y.test>', 'a@x.test'],
    queued: ['me@y.test > a@x.test'],
  },
  { title: 'a sender by -r', args: ['-rme@y.test', 'a@x.test'], queued: ['me@y.test > a@x.test'] },
  {
    title: 'a local sender and a local recipient',
    args: ['-fjo', 'ann'],
    queued: ['jo@client.test > ann@client.test'],
  },
  {
    title: 'a sender that is two',
    args: ['-f', 'a@x.test, b@x.test', 'a@x.test'],
    status: 64,
    says: /is not an address/,
    queued: [],
  },
  {
    title: 'a sender with a line end',
    args: ['-f', 'a@x.test\nb', 'a@x.test'],
    status: 64,
    says: /is not an address/,
    queued: [],
  },
  {
    title: 'recipients in a comma list',
    args: ['a@x.test,b@x.test', 'c@x.test'],
    queued: [`${ROOT} > a@x.test`, `${ROOT} > b@x.test`, `${ROOT} > c@x.test`],
  },
  {
    title: 'the same recipient three times',
    args: ['-t', 'a@x.test', 'a@x.test'],
    input: 'To: A <a@x.test>\n\nb\n',
    queued: [`${ROOT} > a@x.test`],
  },
  {
    title: 'recipients behind --',
    args: ['-oi', '-f', 'me@y.test', '--', '-odd@x.test'],
    queued: ['me@y.test > -odd@x.test'],
  },
  {
    title: 'an option behind an operand',
    args: ['a@x.test', '-fme@y.test'],
    queued: ['me@y.test > a@x.test'],
  },
  {
    title: 'operands added to -t',
    args: ['-t', 'b@x.test'],
    input: 'To: a@x.test\n\nb\n',
    queued: [`${ROOT} > a@x.test`, `${ROOT} > b@x.test`],
  },
  {
    title: 'Resent-To before To',
    args: ['-t'],
    input: 'Resent-To: r@x.test\nTo: a@x.test\n\nb\n',
    queued: [`${ROOT} > r@x.test`],
  },
  {
    title: 'cronie’s call',
    args: ['-FCronDaemon', '-i', '-odi', '-oem', '-oi', '-t', '-f', 'root', '-odq'],
    input: 'To: root\n\nb\n',
    queued: [`${ROOT} > ${ROOT}`],
  },
  {
    title: 'an attack through -X, -O and -C',
    args: ['-OQueueDirectory=/tmp', '-X/tmp/picorelay-x.php', '-C/etc/shadow', 'a@x.test'],
    queued: [`${ROOT} > a@x.test`],
  },
  {
    title: 'an address with a path in it',
    args: ['../../etc/passwd@x.test', '"../a/b:c d"@x.test'],
    queued: [
      `${ROOT} > %22..%2F..%2Fetc%2Fpasswd%22@x.test`,
      `${ROOT} > %22..%2Fa%2Fb%3Ac%20d%22@x.test`,
    ],
  },
  {
    title: 'an address in UTF-8',
    args: ['jürgen@x.test'],
    queued: [`${ROOT} > j%C3%BCrgen@x.test`],
  },
  { title: 'empty input', args: ['a@x.test'], input: '', queued: [`${ROOT} > a@x.test`] },
];

for (const { title, args, input = LETTER, status = 0, says, queued } of ROWS) {
  test(`sendmail with ${title} exits ${status} and queues ${queued.length}`, async (t) => {
    const site = siteFor(t);
    site.relays(9);
    const done = await site.run('sendmail', args, input);
    assert.equal(done.status, status, done.stderr);
    assert.equal(done.stdout, '');
    if (says === undefined) assert.equal(done.stderr, '');
    else assert.match(done.stderr, says);
    // One line, so that a caller's log has it whole.
    assert.ok((done.stderr.match(/\n/g)?.length ?? 0) <= 1, done.stderr);
    assert.deepEqual(envelopes(site).toSorted(), queued);
    assert.deepEqual(site.names('tmp'), []);
  });
}

test('-X, -C, -O and -D neither read nor write what they name', async (t) => {
  const site = siteFor(t);
  site.relays(9);
  const bait = join(site.folder, 'bait');
  const at = (name: string): string => join(bait, name);
  mkdirSync(bait);
  // A program that opens it for reading or for writing hangs there.
  await must(['mkfifo', at('fifo')]);
  const words = (path: string): string[] => [
    ...[`-X${path}`, '-X', path, `-C${path}`, '-C', path, `-D${path}`, '-D', path],
    ...[`-OQueueDirectory=${path}`, '-O', `QueueDirectory=${path}`, `-oQ${path}`],
  ];
  for (const name of ['fifo', 'new']) {
    assert.deepEqual(await site.run('sendmail', [...words(at(name)), 'a@x.test'], LETTER), QUIET);
  }
  assert.deepEqual(readdirSync(bait), ['fifo']);
  assert.equal(envelopes(site).length, 2);
});

test('A line with a lone dot ends the message unless -i is given', async (t) => {
  const input = 'Subject: s\n\none\n.\ntwo\n..\n';
  const plain = siteFor(t);
  assert.deepEqual(await plain.run('sendmail', ['a@x.test'], input), QUIET);
  assert.ok(stored(plain).endsWith('\r\n\r\none\r\n'));
  for (const option of ['-i', '-oi', '-ti']) {
    const whole = siteFor(t);
    assert.deepEqual(await whole.run('sendmail', [option, 'a@x.test'], input), QUIET);
    assert.ok(stored(whole).endsWith('\r\n\r\none\r\n.\r\ntwo\r\n..\r\n'), option);
  }
});

test('-F names the author where From has to be made, and only there', async (t) => {
  const site = siteFor(t);
  await site.run('sendmail', ['-F', 'Jo "Q" Döe', '-f', 'jo@y.test', 'a@x.test'], LETTER);
  assert.match(stored(site), /^From: \S.* <jo@y\.test>\r$/m);
  assert.match(
    stored(site),
    /^Received: \(picorelay sendmail \d+ invoked by uid \d+\) by client\.test;/,
  );
  for (const field of ['Date', 'Message-ID', 'To', 'Subject']) {
    assert.equal(stored(site).match(new RegExp(`^${field}: `, 'gm'))?.length, 1, field);
  }
  const named = siteFor(t);
  await named.run('sendmail', ['-F', 'Jo', 'a@x.test'], `From: Ann <ann@z.test>\n${LETTER}`);
  assert.match(stored(named), /^From: Ann <ann@z\.test>\r$/m);
  assert.doesNotMatch(stored(named), /\bJo\b/);
});

test('An empty message goes out with the header that it needs', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  await site.run('sendmail', ['a@x.test'], '');
  await site.run('picorelay-cron');
  assert.match(
    relay.received[0]?.raw.toString() ?? '',
    /^Received: [\s\S]*\r\nTo: undisclosed-recipients:;\r\n/,
  );
  assert.deepEqual(relay.faults, []);
});

test('A closed standard input is an empty message', async (t) => {
  const site = siteFor(t);
  const done = await run(['sh', '-c', 'exec "$0" a@x.test <&-', programPath('sendmail')], {
    env: site.env,
  });
  assert.deepEqual(done, QUIET);
  assert.match(stored(site), /\r\nTo: undisclosed-recipients:;\r\n/);
});

test('Closed outputs do not lose the mail', async (t) => {
  const site = siteFor(t);
  const done = await run(
    ['sh', '-c', 'exec "$0" a@x.test b@@x >&- 2>&-', programPath('sendmail')],
    {
      env: site.env,
      input: LETTER,
    },
  );
  assert.equal(done.status, 0);
  assert.deepEqual(envelopes(site), [`${ROOT} > a@x.test`]);
});

test('A non-blocking pipe whose writer is slow is read to its end', async (t) => {
  const site = siteFor(t);
  // The writer sets O_NONBLOCK on the pipe that both ends share, then writes with pauses.
  const writer = `
    import os, time
    os.set_blocking(0, False)
    pid = os.fork()
    if pid == 0:
        os.execv(os.environ['SENDMAIL'], ['sendmail', '-i', 'a@x.test'])
    for part in (b'Subj', b'ect: s\\n', b'\\nfirst\\n', b'last\\n'):
        time.sleep(0.1)
        os.write(3, part)
    os.close(3)
    _, status = os.waitpid(pid, 0)
    os._exit(os.waitstatus_to_exitcode(status))
  `.replace(/^ {4}/gm, '');
  const python = await run(['python3', '-c', 'import os; os.set_blocking'], {});
  if (python.status !== 0 && process.env['CI'] === undefined) {
    t.skip('python3 is not there');
    return;
  }
  assert.equal(python.status, 0, 'python3 is needed');
  const child = spawn(
    'python3',
    [
      '-c',
      `
import os
r, w = os.pipe()
os.dup2(r, 0)
os.close(r)
os.dup2(w, 3, inheritable=False)
if w != 3: os.close(w)
${writer}`,
    ],
    {
      env: {
        ...site.env,
        PATH: process.env['PATH'] ?? site.env['PATH'],
        SENDMAIL: programPath('sendmail'),
      },
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  const [status] = (await once(child, 'close')) as [number | null];
  assert.equal(status, 0);
  assert.ok(stored(site).endsWith('\r\n\r\nfirst\r\nlast\r\n'));
});

test('A submission that ends with its caller’s death leaves nothing in the queue', async (t) => {
  const site = siteFor(t);
  const child = spawn(programPath('sendmail'), ['-i', 'a@x.test', 'b@x.test'], {
    env: site.env,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  child.stdin.on('error', () => undefined);
  child.stdin.write(`Subject: s\n\n${'x'.repeat(60)}\n`.repeat(4000));
  await waitFor('a draft', () => site.names('tmp').length > 0);
  child.kill('SIGKILL');
  await once(child, 'close');
  assert.deepEqual([site.queued(), site.names('unsplit')], [[], []]);
  await site.run('picorelay-cron');
  assert.deepEqual(site.queued(), []);
});

test('The spool is closed to others whatever the caller’s umask is', async (t) => {
  for (const umask of ['000', '777', '077']) {
    const site = siteFor(t);
    const done = await run(
      ['sh', '-c', `umask ${umask}; exec "$0" a@x.test`, programPath('sendmail')],
      {
        env: site.env,
        input: LETTER,
      },
    );
    assert.deepEqual(done, QUIET, umask);
    const mode = (path: string): number => statSync(join(site.spool, path)).mode & 0o077;
    assert.equal(mode('spool'), 0, `umask ${umask}`);
    assert.equal(mode(join('spool', site.queued()[0] ?? '')), 0, `umask ${umask}`);
  }
});

/** Sends and takes in what one site has queued. */
async function deliver(t: TestContext, site: Site, extensions?: readonly string[]) {
  const relay = await startRelay(t, extensions === undefined ? {} : { extensions });
  site.relays(relay.port);
  const ran = await site.run('picorelay-cron');
  assert.deepEqual(ran, QUIET);
  assert.deepEqual(relay.faults, []);
  return relay;
}

test('Long and strange addresses arrive as they were given', async (t) => {
  const site = siteFor(t);
  const addresses = [
    `${'l'.repeat(64)}@${'d'.repeat(60)}.${'e'.repeat(60)}.${'f'.repeat(60)}.${'g'.repeat(49)}.test`,
    'a/b@x.test',
    '"a:b"@x.test',
    '"a..b"@x.test',
    '"with space"@x.test',
    '"quo\\"ted"@x.test',
    'plus+tag=x@x.test',
    '%41@x.test',
    'user@[192.0.2.1]',
  ];
  assert.equal(addresses[0]?.length, 302);
  const done = await site.run('sendmail', ['-f', addresses[0] ?? '', '--', ...addresses], LETTER);
  assert.deepEqual(done, QUIET);
  const relay = await deliver(t, site);
  assert.deepEqual(relay.recipients().toSorted(), addresses.toSorted());
  assert.equal(relay.received[0]?.from, addresses[0]);
});

test('An address in UTF-8 goes to a relay with SMTPUTF8, and to Undelivered without', async (t) => {
  const site = siteFor(t);
  await site.run('sendmail', ['jürgen@x.test', 'plain@x.test'], LETTER);
  const relay = await deliver(t, site, ['PIPELINING', '8BITMIME', 'SMTPUTF8']);
  assert.deepEqual(relay.recipients().toSorted(), ['jürgen@x.test', 'plain@x.test']);
  assert.match(relay.received[0]?.parameters ?? '', /\bSMTPUTF8\b/);

  const other = siteFor(t);
  await other.run('sendmail', ['jürgen@x.test', 'plain@x.test'], LETTER);
  const ascii = await deliver(t, other);
  assert.deepEqual(ascii.recipients(), ['plain@x.test']);
  assert.doesNotMatch(ascii.received[0]?.parameters ?? '', /SMTPUTF8/);
  assert.match(other.result('Undelivered'), /refused at rcpt by .*\n {4}553 5\.6\.7 /);
});

test('What was repaired is kept with the mail and shown', async (t) => {
  const site = siteFor(t);
  const text = `From x\nTo: b@x.test\nno field\n${'é '.repeat(2000)}\n`;
  await site.run('sendmail', ['a@x.test'], text);
  const [id = ''] = site.queued();
  const { stdout } = await site.run('picorelay', ['show', id]);
  const repairs = stdout.split('\n').filter((line) => line.startsWith('    repaired: '));
  assert.deepEqual(repairs, [
    '    repaired: mbox From line dropped',
    '    repaired: blank line after the header was missing',
    '    repaired: line over 998 octets: quoted-printable',
    '    repaired: 8-bit text without a charset: declared as utf-8',
  ]);
  await site.run('sendmail', ['b@x.test'], LETTER);
  const plain = site.queued().find((name) => name !== id) ?? '';
  assert.doesNotMatch((await site.run('picorelay', ['show', plain])).stdout, /repaired|rewritten/);
});

test('The null sender arrives as <>', async (t) => {
  const site = siteFor(t);
  await site.run('sendmail', ['-f', '<>', 'a@x.test'], LETTER);
  const relay = await deliver(t, site);
  assert.equal(relay.received[0]?.from, '');
  assert.ok(relay.lines.some((line) => line.startsWith('MAIL FROM:<>')));
});

test('A thousand recipients of one call are one file, relayed in transactions of a hundred', async (t) => {
  const site = siteFor(t);
  const addresses = Array.from({ length: 1000 }, (_, n) => `user${n}@x.test`);
  assert.deepEqual(await site.run('sendmail', ['-i', '--', ...addresses], LETTER), QUIET);
  const queued = site.queued();
  assert.equal(queued.length, 1000);
  const inodes = queued.map((name) => statSync(join(site.spool, 'spool', name)).ino);
  assert.equal(new Set(inodes).size, 1);
  const relay = await deliver(t, site);
  assert.deepEqual(relay.recipients().toSorted(), addresses.toSorted());
  assert.deepEqual(
    relay.received.map(({ to }) => to.length),
    Array<number>(10).fill(100),
  );
  assert.ok(relay.connections <= 10, `${relay.connections} connections`);
  assert.deepEqual(site.names('spool'), []);
});

const TRICKS: readonly (readonly [string, string, string])[] = [
  ['a lone dot between LF', 'a\n.\nb\n', 'a\r\n.\r\nb\r\n'],
  ['a lone dot between CRLF', 'a\r\n.\r\nb\r\n', 'a\r\n.\r\nb\r\n'],
  ['LF . CRLF', 'a\n.\r\nb\n', 'a\r\n.\r\nb\r\n'],
  ['CRLF . LF', 'a\r\n.\nb\n', 'a\r\n.\r\nb\r\n'],
  [
    'commands behind a false end',
    'a\r\n.\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<v@x.test>\r\nDATA\r\n',
    'a\r\n.\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<v@x.test>\r\nDATA\r\n',
  ],
  ['leading dots', '.a\n..b\n...\n', '.a\r\n..b\r\n...\r\n'],
  ['no line end at the end', 'a\n.', 'a\r\n.\r\n'],
];

for (const [title, body, expected] of TRICKS) {
  test(`A body with ${title} arrives as one message, octet by octet`, async (t) => {
    const site = siteFor(t);
    await site.run('sendmail', ['-i', 'a@x.test'], `Subject: s\n\n${body}`);
    const relay = await deliver(t, site);
    assert.equal(relay.offered.length, 1);
    const text = relay.received[0]?.raw.toString() ?? '';
    assert.equal(text.slice(text.indexOf('\r\n\r\n') + 4), expected);
  });
}

test('Bare CR and NUL around dots never end a message early', async (t) => {
  for (const end of [
    '\r.\r',
    '\r\n.\r',
    '\n.\r',
    '\r.\n',
    '\r.\r\n',
    '\r\r\n.\r\r\n',
    '\r\n\0.\r\n',
    '\n.\r\r\n',
  ]) {
    const site = siteFor(t);
    const input = `Subject: s\n\nbefore${end}MAIL FROM:<evil@x.test>\r\nafter\n`;
    await site.run('sendmail', ['-i', 'a@x.test'], input);
    const relay = await deliver(t, site);
    assert.equal(relay.offered.length, 1, JSON.stringify(end));
    assert.match(
      relay.received[0]?.raw.toString() ?? '',
      /before[\s\S]*MAIL FROM:<evil[\s\S]*after/,
    );
  }
});

test('8-bit text and CRLF input arrive unchanged, announced as 8BITMIME where the relay knows it', async (t) => {
  const site = siteFor(t);
  const input =
    'Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\ngrüße\r\n';
  await site.run('sendmail', ['a@x.test'], input);
  const relay = await deliver(t, site);
  assert.match(relay.received[0]?.parameters ?? '', /\bBODY=8BITMIME\b/);
  assert.ok(relay.received[0]?.raw.toString('utf8').endsWith('\r\n\r\ngrüße\r\n'));

  const plain = siteFor(t);
  await plain.run('sendmail', ['a@x.test'], LETTER);
  const other = await deliver(t, plain);
  assert.doesNotMatch(other.received[0]?.parameters ?? '', /8BITMIME/);
});
