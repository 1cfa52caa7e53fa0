// Aliases, adminaddr, masquerade and sendermap through each of the programs that take mail in.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';

const ALIASES = [
  '# /etc/aliases',
  'postmaster: root',
  'root: ann@example.com,',
  '   bob@example.com',
  'vacation: "|/usr/bin/vacation joe"',
  '',
].join('\n');

/** What a caller may hand a message to, with the recipients and the sender root. */
type Door = (site: Site, recipients: readonly string[]) => Promise<string>;

const MESSAGE = 'From: "(Cron Daemon)" <root>\nTo: root\nSubject: cron\n\noutput\n';

const DOORS: Readonly<Record<string, Door>> = {
  sendmail: async (site, recipients) => {
    const args = ['-i', '-f', 'root', '--', ...recipients];
    const done = await site.run('sendmail', args, MESSAGE);
    assert.equal(done.status, 0);
    return done.stderr;
  },
  'sendmail -bs': async (site, recipients) => {
    const dialogue = [
      'EHLO x',
      'MAIL FROM:<root>',
      ...recipients.map((each) => `RCPT TO:<${each}>`),
      'DATA',
      MESSAGE.trimEnd(),
      '.',
      'QUIT',
      '',
    ];
    const done = await site.run('sendmail', ['-bs'], dialogue.join('\r\n'));
    assert.match(done.stdout, /250 2\.0\.0 Ok: queued/);
    return done.stderr;
  },
  'qmail-inject': async (site, recipients) => {
    const args = ['-froot', '-a', ...recipients];
    const done = await site.run('qmail-inject', args, MESSAGE);
    assert.equal(done.status, 0, done.stderr);
    return done.stderr;
  },
  'qmail-queue': async (site, recipients) => {
    const message = join(site.folder, 'message');
    const envelope = join(site.folder, 'envelope');
    writeFileSync(message, MESSAGE);
    writeFileSync(envelope, `Froot\0${recipients.map((each) => `T${each}\0`).join('')}\0`);
    const command = ['sh', '-c', 'exec "$0" <"$1" 1<"$2"', programPath('qmail-queue')];
    const done = await run([...command, message, envelope], { env: site.env });
    assert.equal(done.status, 0, done.stderr);
    return done.stderr;
  },
};

for (const [name, submit] of Object.entries(DOORS)) {
  test(`Mail for users of this host through ${name} goes where the aliases say, else to adminaddr`, async (t) => {
    const site = siteFor(t);
    const relay = await startRelay(t);
    site.relays(relay.port);
    const file = join(site.folder, 'aliases');
    writeFileSync(file, ALIASES);
    site.control('aliases', file);
    site.control('adminaddr', 'admin@example.com');
    site.control('masquerade', 'example.com');
    site.control('rewriteto', 'aliases');
    const said = await submit(site, ['Postmaster', 'joe@client.test', 'vacation', 'eve@x.test']);
    if (name !== 'qmail-queue') {
      assert.match(said, /aliases line 5: "\|\/usr\/bin\/vacation joe" is a command/);
      assert.equal(said.split('\n').length, 2, 'one line');
    }
    await site.run('picorelay-cron');
    assert.deepEqual(relay.recipients().toSorted(), [
      'admin@example.com',
      'ann@example.com',
      'bob@example.com',
      'eve@x.test',
    ]);
    const [mail] = relay.received;
    assert.equal(mail?.from, 'root@example.com');
    const text = mail?.raw.toString() ?? '';
    if (name === 'qmail-queue') {
      assert.match(text, /^From: "\(Cron Daemon\)" <root>\r$/m);
    } else {
      assert.match(text, /^From: "\(Cron Daemon\)" <root@example\.com>\r$/m);
      // root is an alias for two: their addresses are not shown.
      assert.match(text, /^To: root@client\.test\r$/m);
    }
  });
}

test('Aliases that cannot be read cost no mail: it goes to adminaddr, else it keeps its name', async (t) => {
  const site = siteFor(t);
  const folder = join(site.folder, 'folder');
  mkdirSync(folder);
  const table: [path: string, reason: RegExp][] = [
    [join(site.folder, 'none'), /none: expected a file, but it is missing/],
    [folder, /folder: expected a regular file/],
    ['relative', /control\/aliases line 1: found "relative", expected an absolute path/],
  ];
  for (const [path, reason] of table) {
    site.control('aliases', path);
    for (const admin of [undefined, 'admin@example.com']) {
      site.control('adminaddr', admin);
      const before = site.queued();
      const done = await site.run('sendmail', ['root', 'eve@x.test'], '\n');
      assert.equal(done.status, 0);
      assert.match(done.stderr, reason);
      assert.equal(done.stderr.split('\n').length, 2, 'one line');
      const added = site.queued().filter((name) => !before.includes(name));
      const to = added.map((name) => name.split(':').at(-1)).toSorted();
      assert.deepEqual(to, [admin ?? 'root@client.test', 'eve@x.test'].toSorted());
      // Who asks later finds the reason with the mail.
      const shown = await site.run('picorelay', ['show', added[0] ?? '']);
      assert.match(shown.stdout, /^ {4}trouble: no aliases: .*\(control\/aliases\)$/m);
    }
  }
  // Mail for the world does not ask for them.
  const done = await site.run('sendmail', ['eve@x.test'], '\n');
  assert.deepEqual(done, { status: 0, stdout: '', stderr: '' });
});

test('A sendermap that cannot be read costs no mail', async (t) => {
  const site = siteFor(t);
  site.control('sendermap', 'root admin@example.com');
  const done = await site.run('sendmail', ['eve@x.test'], '\n');
  assert.equal(done.status, 0);
  assert.match(done.stderr, /^sendmail: queued, but not applied: .*sendermap line 1: found/);
  assert.equal(site.queued().length, 1);
});

test('No program and no file of an aliases file is touched', async (t) => {
  const site = siteFor(t);
  const trap = join(site.folder, 'trap');
  const trace = join(site.folder, 'trace');
  writeFileSync(trap, `#!/bin/sh\necho ran >${trace}\n`);
  chmodSync(trap, 0o755);
  const file = join(site.folder, 'aliases');
  writeFileSync(
    file,
    `a: |${trap}\nb: "|${trap} x"\nc: ${trace}\nd: :include:${site.folder}/list\n`,
  );
  writeFileSync(join(site.folder, 'list'), `"|${trap}", ${trace}\n`);
  site.control('aliases', file);
  const done = await site.run('sendmail', ['a', 'b', 'c', 'd'], '\n');
  assert.equal(done.status, 0);
  const found = await run(['test', '-e', trace]);
  assert.equal(found.status, 1);
  const to = site.queued().map((name) => name.split(':').at(-1));
  assert.deepEqual(to, ['a@client.test', 'b@client.test', 'c@client.test', 'd@client.test']);
});

test('A provider that takes one From only gets it, and answers still reach the author', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('sendermap', '*: account@provider.test');
  const message = 'From: Ann <ann@example.org>\nTo: eve@x.test\n\ntext\n';
  await site.run('sendmail', ['-t', '-f', 'www-data'], message);
  await site.run('picorelay-cron');
  const [mail] = relay.received;
  assert.equal(mail?.from, 'account@provider.test');
  const text = mail?.raw.toString() ?? '';
  assert.match(text, /^From: Ann <account@provider\.test>\r\nReply-To: Ann <ann@example\.org>\r$/m);
});

test('A report for a user of this host goes where the alias says, and names whom he wrote to', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ line }) => (line.startsWith('RCPT TO:<never') ? '550 5.1.1 nobody' : undefined),
  });
  site.relays(relay.port);
  site.control('bounce', 'sender');
  const file = join(site.folder, 'aliases');
  writeFileSync(file, `${ALIASES}team: never@x.test\n`);
  site.control('aliases', file);
  await site.run('sendmail', ['-f', 'root', 'team'], MESSAGE);
  await site.run('picorelay-cron');
  const [report] = relay.received;
  assert.equal(report?.from, '');
  assert.deepEqual(report?.to.toSorted(), ['ann@example.com', 'bob@example.com']);
  assert.match(report?.raw.toString() ?? '', /^Original-Recipient: rfc822; ?team@client\.test\r$/m);
});

test('An mbox line before a raw message does not break its header', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const message = join(site.folder, 'message');
  const envelope = join(site.folder, 'envelope');
  writeFileSync(message, `From root Sat Nov 21 00:00:00 2026\r\n${MESSAGE}From here\n`);
  writeFileSync(envelope, 'Froot@x.test\0Teve@x.test\0\0');
  const command = ['sh', '-c', 'exec "$0" <"$1" 1<"$2"', programPath('qmail-queue')];
  const done = await run([...command, message, envelope], { env: site.env });
  assert.equal(done.status, 0);
  await site.run('picorelay-cron');
  const text = relay.received[0]?.raw.toString() ?? '';
  assert.equal(
    text.slice(text.indexOf('From: ')),
    `${MESSAGE}From here\n`.replaceAll('\n', '\r\n'),
  );
  assert.doesNotMatch(text, /^From root/m);
});
