// picorelay explain and sendmail -bv: what would happen, without anything that happens.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startRelay } from '../support/relay.ts';
import { type Site, siteFor } from '../support/site.ts';

function rewritingSite(t: TestContext): Site {
  const site = siteFor(t);
  const file = join(site.folder, 'aliases');
  writeFileSync(file, 'root: ann@example.com, joe\nfax: |/usr/bin/fax\n');
  site.control('aliases', file);
  site.control('adminaddr', 'admin@example.com');
  site.control('masquerade', 'example.com');
  return site;
}

/** Every file of a site with its size and the time of its last change. */
function everything(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const { size, mtimeMs } = statSync(join(folder, name));
      return `${name} ${size} ${mtimeMs}`;
    });
}

const MESSAGE = `From x\nFrom: root (Cron)\nBcc: eve@x.test\nno field\n${'é '.repeat(999)}\0\n`;

test('explain shows envelope, entries, route, header, and each change with its reason', async (t) => {
  const site = rewritingSite(t);
  site.control('relay', 'smtps://user@smtp.test:465\nsmtp://b.test:25');
  const done = await site.run('picorelay', ['explain', '-t', '-f', 'root', 'root'], MESSAGE);
  assert.equal(done.status, 0, done.stderr);
  const lines = done.stdout.split('\n');
  const [from, ...to] = lines.slice(1, 5).map((line) => line.trim());
  assert.equal(from, 'from: <root@example.com>');
  assert.deepEqual(to, [
    'to: <ann@example.com> ORCPT=rfc822;root@client.test',
    'to: <admin@example.com> ORCPT=rfc822;root@client.test',
    'to: <eve@x.test>',
  ]);
  assert.match(done.stdout, /^ {4}\d{8}T\d{6}\.\d{6}Z:\d+:root@example\.com:eve@x\.test$/m);
  assert.match(
    done.stdout,
    /^ {4}default: smtps:\/\/user@smtp\.test:465, else smtp:\/\/b\.test:25$/m,
  );
  const start = lines.indexOf('What is done, and why') + 1;
  assert.deepEqual(
    lines.slice(start, lines.indexOf('', start)).map((line) => line.trim()),
    [
      'repaired: mbox From line dropped',
      'repaired: blank line after the header was missing',
      'removed: Bcc, which never goes out',
      'completed: Date, which was missing',
      'completed: Message-ID, which was missing',
      'completed: To, because no To or Cc is left',
      'rewritten: envelope sender root@client.test: root@example.com (control/masquerade)',
      'rewritten: recipient root: ann@example.com, admin@example.com (control/aliases)',
      'rewritten: From root@client.test: root@example.com (control/masqueradefrom)',
      'repaired: NUL octets dropped',
      'repaired: line over 998 octets: quoted-printable',
      'repaired: 8-bit text without a charset: declared as utf-8',
    ],
  );
  assert.match(done.stdout, /^ {4}From: root@example\.com \(Cron\)$/m);
  assert.match(done.stdout, /^ {4}Content-Transfer-Encoding: quoted-printable$/m);
  assert.doesNotMatch(done.stdout, /^ {4}Bcc:/m);
});

test('explain names the route of each recipient', async (t) => {
  const site = siteFor(t);
  site.control('relay', 'a.test');
  site.control('smtproutes', 'x.test:b.test');
  const done = await site.run('picorelay', ['explain', 'eve@x.test', 'ann@y.test'], '\n');
  assert.match(
    done.stdout,
    /\n {4}to x\.test: smtp:\/\/b\.test:25\n {8}<eve@x\.test>\n {4}default: smtp:\/\/a\.test:25\n {8}<ann@y\.test>\n/,
  );
  const verified = await site.run('sendmail', ['-bv', 'eve@x.test']);
  assert.match(verified.stdout, /host b\.test, user eve@x\.test/);
});

test('What explain shows is what sendmail does', async (t) => {
  const site = rewritingSite(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const args = ['-t', '-f', 'root', 'root'];
  const { stdout } = await site.run('picorelay', ['explain', '--json', ...args], MESSAGE);
  const told = JSON.parse(stdout) as {
    readonly envelope: { sender: string; recipients: { address: string }[] };
    readonly entries: string[];
    readonly header: string[];
    readonly size: number;
  };
  await site.run('sendmail', args, MESSAGE);
  const ours = (name: string): string => name.replace(/^[^:]*:\d+/, '');
  assert.deepEqual(site.queued().map(ours).sort(), told.entries.map(ours).sort());
  await site.run('picorelay-cron');
  const [mail] = relay.received;
  assert.equal(mail?.from, told.envelope.sender);
  assert.deepEqual(
    relay.recipients().sort(),
    told.envelope.recipients.map(({ address }) => address).sort(),
  );
  const header = mail?.raw.toString().split('\r\n\r\n')[0]?.split('\r\n') ?? [];
  const lasting = (line: string): boolean =>
    !/^(Received|Date|Message-ID): |^ .*[+-]\d{4}$/.test(line);
  assert.deepEqual(told.header.filter(lasting), header.filter(lasting));
});

test('explain and -bv change no file, make no spool and connect to nobody', async (t) => {
  const site = rewritingSite(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const before = everything(site.folder);
  await site.run('picorelay', ['explain', '-odi', 'root', 'eve@x.test'], MESSAGE);
  await site.run('sendmail', ['-bv', 'root']);
  assert.deepEqual(everything(site.folder), before);
  assert.equal(existsSync(site.spool), false);
  await site.run('sendmail', ['eve@x.test'], 'x\n');
  const waiting = everything(site.folder);
  await site.run('picorelay', ['explain', '-odi', 'root', 'eve@x.test'], MESSAGE);
  await site.run('sendmail', ['-bv', 'root']);
  assert.deepEqual(everything(site.folder), waiting);
  assert.equal(relay.connections, 0);
});

test('explain tells what sendmail would refuse, with its status', async (t) => {
  const site = siteFor(t);
  const table: [args: string[], status: number, said: RegExp][] = [
    [['-t'], 64, /sendmail would refuse this: no recipient in To/],
    [['-i', 'a@@b'], 65, /sendmail would refuse this: no recipient: more than one @/],
    [['-Z'], 64, /unknown option "-Z"/],
    [['-bs'], 64, /explain wants one message/],
  ];
  for (const [args, status, said] of table) {
    const done = await site.run('picorelay', ['explain', ...args], 'Subject: x\n\n');
    assert.equal(done.status, status, args.join(' '));
    assert.match(done.stderr, said);
    assert.equal(done.stdout, '');
  }
});

test('explain needs neither a relay nor a name of the host, and shows no raw control characters', async (t) => {
  const site = siteFor(t);
  site.control('me', undefined);
  const message = 'Subject: \x1b[31mred\n\n';
  const done = await site.run('picorelay', ['explain', 'a@x.test'], message);
  assert.equal(done.status, 0);
  assert.match(done.stdout, /no relay is named: the mail waits/);
  assert.match(done.stdout, /warning: queued, but nothing is sent until this is mended: .*\/me: /);
  assert.match(done.stdout, /Subject: \\x1b\[31mred/);
  const help = await site.run('picorelay', ['explain', '--help']);
  assert.match(help.stdout, /picorelay explain \[words\.\.\]/);
});

test('-bv shows where each address leads, in the shape of sendmail', async (t) => {
  const site = rewritingSite(t);
  site.control('relay', 'smtp.test');
  const good = await site.run('sendmail', ['-bv', 'root', 'Eve <eve@x.test>']);
  assert.deepEqual(good, {
    status: 0,
    stdout: ['ann@example.com', 'admin@example.com', 'eve@x.test']
      .map((user) => `${user}... deliverable: mailer relay, host smtp.test, user ${user}\n`)
      .join(''),
    stderr: '',
  });
  const bad = await site.run('sendmail', ['-bv', 'a@@b', 'fax']);
  assert.equal(bad.status, 67);
  assert.match(
    bad.stdout,
    /^admin@example\.com\.\.\. deliverable.*\nmore than one @ in "a@@b"\.\.\. this is no address\n$/,
  );
  assert.match(bad.stderr, /^sendmail: .*aliases line 2: "\|\/usr\/bin\/fax" is a command/);
  const none = await site.run('sendmail', ['-bv']);
  assert.equal(none.status, 64);
  mkdirSync(site.spool);
  assert.deepEqual(readdirSync(site.spool), []);
});
