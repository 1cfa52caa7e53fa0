// The administrator's command, run as a program.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { freePort } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { siteFor } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';

test('An empty and a missing spool are an empty queue', async (t) => {
  const site = siteFor(t);
  const listed = await site.run('picorelay', ['list']);
  assert.deepEqual(listed, { status: 0, stdout: 'Mail queue is empty\n', stderr: '' });
  const json = await site.run('picorelay', ['list', '--json']);
  assert.deepEqual(JSON.parse(json.stdout), { entries: [], undelivered: 0, paused: [] });
  assert.deepEqual(site.names('.'), [], 'looking makes nothing');
});

test('list shows each mail with its state, what is paused and what lies in Undelivered', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ line }) => {
      if (line.startsWith('RCPT TO:<later@')) return '450 4.2.1 later';
      return line.startsWith('RCPT TO:<never@') ? '550 5.1.1 never' : undefined;
    },
  });
  site.relays(relay.port);
  await site.run('sendmail', ['-f', '', 'later@x.test', 'never@x.test'], LETTER);
  await site.run('picorelay-cron');
  await site.run('sendmail', ['new@x.test'], LETTER);
  site.relays(await freePort());
  await site.run('picorelay', ['run', '--once']);

  const { stdout } = await site.run('picorelay', ['list']);
  const lines = stdout.split('\n');
  assert.match(lines[0] ?? '', /^later@x\.test +\ds +\d+ {2}<> to <later@x\.test>$/);
  assert.match(lines[1] ?? '', /^ {26}1 try, next in \d+s: 450 4\.2\.1 later$/);
  assert.match(lines[2] ?? '', /^\d{6}\.\d{6} +\ds +\d+ {2}<root@client\.test> to <new@x\.test>$/);
  assert.match(lines[3] ?? '', /^ {26}next now$/);
  assert.match(
    lines.slice(4).join('\n'),
    /^paused since \S+ at connect by smtp:\/\/127\.0\.0\.1:\d+: .*\n1 mail in Undelivered: picorelay undelivered\n2 mails in the queue\n$/,
  );

  const json = JSON.parse((await site.run('picorelay', ['list', '--json'])).stdout);
  assert.equal(json.undelivered, 1);
  assert.equal(json.paused[0].stage, 'connect');
  const [later, fresh] = json.entries;
  const { accepted, next, size, last, ...others } = later;
  assert.deepEqual(others, {
    id: site.queued()[0]?.replace(/:[^:]*\.spool$/, ''),
    state: 'waiting',
    sender: '',
    recipient: 'later@x.test',
    attempts: 1,
  });
  assert.ok(size > 100);
  assert.deepEqual(last.lines, ['450 4.2.1 later']);
  assert.ok(Date.parse(accepted) <= Date.now() && Date.parse(next) > Date.now());
  assert.equal(fresh.attempts, 0);
  assert.equal(json.entries.length, 2);
});

test('show tells the envelope, every attempt and the header, in the queue and in Undelivered', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ stage }) => (stage === 'rcpt' ? '450 4.2.1 later' : undefined),
  });
  site.relays(relay.port);
  await site.run('sendmail', ['ann@x.test'], LETTER);
  const fresh = await site.run('picorelay', ['show', 'ann@x.test']);
  assert.match(fresh.stdout, /No attempt has been made yet\./);
  await site.run('picorelay', ['run', '--once']);
  await site.run('picorelay', ['run', '--once']);
  const shown = await site.run('picorelay', ['show', 'ann@x']);
  assert.equal(shown.status, 0);
  assert.equal(shown.stderr, '');
  assert.match(shown.stdout, /^ {4}from: <root@client\.test>\n {4}to: <ann@x\.test>$/m);
  assert.match(shown.stdout, /^ {4}submitted: by uid \d+ through sendmail, pid \d+$/m);
  assert.equal(shown.stdout.match(/deferred at rcpt by .*\n {4}450 4\.2\.1 later/g)?.length, 2);
  assert.match(shown.stdout, /^Subject: tea$/m);
  assert.doesNotMatch(shown.stdout, /at four/);
  relay.script = ({ stage }) => (stage === 'rcpt' ? '550 5.1.1 never' : undefined);
  await site.run('picorelay', ['run', '--once']);
  const refused = await site.run('picorelay', ['show', 'ann@x']);
  assert.match(refused.stdout, /\/Undelivered\/[\s\S]*deferred at rcpt[\s\S]*refused at rcpt/);
});

test('show asks for more where several names match, and says where none does', async (t) => {
  const site = siteFor(t);
  await site.run('sendmail', ['ann@x.test', 'ann@x.test.example'], LETTER);
  const several = await site.run('picorelay', ['show', 'ann@']);
  assert.equal(several.status, 64);
  assert.equal(several.stdout, '');
  assert.match(
    several.stderr,
    /^picorelay: "ann@" is part of 2 names:\n( {2}\S+:ann@x\.test\S*\n){2}$/,
  );
  // A whole name wins over longer ones that begin with it.
  const [whole = ''] = site.queued();
  const exact = await site.run('picorelay', ['show', whole]);
  assert.equal(exact.status, 0, exact.stderr);
  const none = await site.run('picorelay', ['show', 'bob']);
  assert.equal(none.status, 66);
  assert.match(none.stderr, /^picorelay: no mail has "bob" in its name; see picorelay list\n$/);
  const nowhere = await siteFor(t).run('picorelay', ['show', 'bob']);
  assert.equal(nowhere.status, 66, nowhere.stderr);
});

test('run offers everything at once and says what came of it', async (t) => {
  const site = siteFor(t);
  const empty = await site.run('picorelay', ['run', '--once']);
  assert.deepEqual(empty, { status: 0, stdout: '0 relayed, 0 put off, 0 refused\n', stderr: '' });
  const port = await freePort();
  site.relays(port);
  await site.run('sendmail', ['a@x.test'], LETTER);
  const down = await site.run('picorelay', ['run', '--once']);
  assert.equal(down.status, 75);
  assert.match(down.stderr, /^picorelay: paused: .*ECONNREFUSED.*\n$/);
  await startRelay(t, { port });
  const up = await site.run('picorelay', ['run', '--once', '--verbose']);
  assert.equal(up.status, 0);
  assert.match(up.stdout, /^resumed [\s\S]*^relayed [\s\S]*^1 relayed, 0 put off, 0 refused\n$/m);
  assert.match(up.stderr, /^S: 220 relay\.test ESMTP\nC: EHLO client\.test$/m);
  assert.match(up.stderr, /^C: MAIL FROM:<root@client\.test>/m);
});

test('Help and version are printed, and what is not known exits 64', async (t) => {
  const site = siteFor(t);
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  const told = await site.run('picorelay', ['--version']);
  assert.deepEqual(told, { status: 0, stdout: `${version}\n`, stderr: '' });
  const help = await site.run('picorelay', ['--help']);
  assert.equal(help.status, 0);
  assert.equal(help.stderr, '');
  for (const word of ['list', 'show', 'run'])
    assert.match(help.stdout, new RegExp(`\\b${word}\\b`));
  for (const args of [[], ['nonsense'], ['list', '--nonsense'], ['show'], ['list', 'more']]) {
    const wrong = await site.run('picorelay', args);
    assert.equal(wrong.status, 64, args.join(' '));
    assert.equal(wrong.stdout, '', args.join(' '));
    assert.match(wrong.stderr, /^picorelay: /);
  }
});

test('A control folder that cannot be used is told in one line', async (t) => {
  const site = siteFor(t);
  site.control('spooldir', 'relative');
  for (const args of [['list'], ['show', 'x'], ['run', '--once']]) {
    const wrong = await site.run('picorelay', args);
    assert.notEqual(wrong.status, 0);
    assert.match(wrong.stderr, /^picorelay: [^\n]*control\/spooldir[^\n]*\n$/, args.join(' '));
  }
});

test('The other programs print their usage, and refuse words that they do not know', async (t) => {
  const site = siteFor(t);
  for (const program of ['picorelay-cron', 'picorelay-send'] as const) {
    const help = await site.run(program, ['--help']);
    assert.deepEqual([help.status, help.stderr], [0, '']);
    assert.match(help.stdout, new RegExp(`^usage: ${program}`));
    const wrong = await site.run(program, ['--nonsense']);
    assert.equal(wrong.status, 64);
    assert.match(wrong.stderr, new RegExp(`^${program}: .*nonsense`));
  }
  const malformed = siteFor(t);
  malformed.control('spooldir', 'relative');
  for (const program of ['picorelay-cron', 'picorelay-send', 'sendmail'] as const) {
    const args = program === 'picorelay-cron' ? [] : program === 'sendmail' ? ['-bp'] : ['x'];
    const wrong = await malformed.run(program, args);
    assert.notEqual(wrong.status, 0);
    assert.match(
      wrong.stderr,
      /^[a-z-]+: [^\n]*control\/spooldir[^\n]*\n$/,
      `${program}: ${wrong.stderr}`,
    );
  }
});
