// What a hostile user of the host can do to the queue: everything that a file can be lies in incoming/, or
// takes another's place while it is looked at. Nothing outside the spool is read or written, and the mail
// of others goes out with the next run. What only root can make (devices) root makes for him.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatBlock } from '../../src/spool/block.ts';
import { asOther, BOB, EVE, type Place, placeFor, QUEUE, QUIET, WWW } from '../support/place.ts';
import { must, run } from '../support/process.ts';
import { trace } from '../support/strace.ts';
import { asUser } from '../support/users.ts';

const LETTER = 'Subject: s\n\nb\n';
const SECRET = 'root:x:0:0: nobody else may see this';

/** A submission as a program of a user's own may write it; `size` is what its block says. */
function forged(to: string, body = 'Subject: forged\r\n\r\nx\r\n', size = body.length): string {
  const envelope = { sender: 'eve@x.test', recipients: [{ address: to }] } as const;
  const block = formatBlock(envelope, { uid: 0, pid: 1, time: 1, program: 'sendmail' });
  return block.replace(/0{16}/, String(size).padStart(16, '0')) + body;
}

async function submitAs(place: Place, uid: number, to: string): Promise<void> {
  const command = [join(place.bin, 'sendmail'), to];
  assert.deepEqual(await asUser(place.site, uid, command, LETTER), QUIET);
}

/** What is known of a file without reading it. */
function known(path: string): string {
  const { mode, uid, gid, size, nlink, mtimeMs, atimeMs, ino } = lstatSync(path);
  return [mode, uid, gid, size, nlink, mtimeMs, atimeMs, ino].join(' ');
}

/** All that lies below a folder, with what is known of it. */
function below(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .toSorted()
    .map((name) => `${name} ${known(join(folder, name))}`);
}

test('Whatever a user leaves in incoming, nothing outside is read or written and others’ mail goes out', {
  skip: asOther,
}, async (t) => {
  const place = await placeFor(t);
  if (place === undefined) return;
  const { site, bin, relay, incoming } = place;
  const outside = join(site.folder, 'outside');
  mkdirSync(outside, { mode: 0o755 });
  for (const name of ['secret', 'bobs', 'target']) {
    writeFileSync(join(outside, name), `${SECRET}\n`, { mode: 0o644 });
  }
  chownSync(join(outside, 'bobs'), BOB, BOB);
  const server = createServer().listen(join(incoming, 'socket'));
  t.after(() => server.close());
  await once(server, 'listening');

  const at = (name: string): string => join(incoming, name);
  symlinkSync(join(outside, 'secret'), at('symlink'));
  symlinkSync(join(outside, 'secret'), at('.symlink'));
  symlinkSync(incoming, at('loop'));
  symlinkSync('/dev/full', at('symlink to a device'));
  symlinkSync(join(outside, 'new'), at('dangling'));
  linkSync(join(outside, 'bobs'), at('hardlink'));
  linkSync(join(outside, 'secret'), at('hardlink of root'));
  await must(['mkfifo', at('fifo'), at('.fifo')]);
  await must(['mknod', at('zero'), 'c', '1', '5']);
  await must(['mknod', at('tty'), 'c', '5', '0']);
  await must(['mknod', at('loop device'), 'b', '7', '0']);
  mkdirSync(at('folder'));
  mkdirSync(at('full folder'));
  writeFileSync(at('full folder/x'), forged('never@x.test'));
  writeFileSync(at('sparse'), forged('never@x.test', 'Subject: s\r\n\r\n', 2 ** 40));
  truncateSync(at('sparse'), 2 ** 40 + forged('never@x.test', '').length);
  writeFileSync(at('sparse, undeclared'), forged('never@x.test'));
  truncateSync(at('sparse, undeclared'), 2 ** 40);
  writeFileSync(
    Buffer.concat([Buffer.from(`${incoming}/`), Buffer.alloc(255, 0xfe)]),
    forged('odd1@x.test'),
  );
  writeFileSync(at('two\nlines\x1b[2J'), forged('odd2@x.test'));
  writeFileSync(
    at('20261120T231501.123456Z:1:root@x.test:a@x.test:1.sending'),
    forged('odd3@x.test'),
  );
  writeFileSync(at('1.taking'), forged('odd4@x.test'));
  writeFileSync(at('set-uid'), forged('odd5@x.test'));
  chmodSync(at('set-uid'), 0o6755);
  writeFileSync(at('closed'), forged('never@x.test'), { mode: 0o600 });
  writeFileSync(at('nobody’s'), forged('never@x.test'), { mode: 0 });
  writeFileSync(at('empty'), '');
  writeFileSync(at('binary'), Buffer.from(Array.from({ length: 5000 }, (_, n) => (n * 7) % 256)));
  writeFileSync(at('block without end'), `picorelay: 1\n${'note: x\n'.repeat(100_000)}`);
  writeFileSync(at('injection'), forged('never@x.test').replace('never@', 'a%0D%0ADATA%0D%0A@'));
  await must([
    'find',
    incoming,
    '-mindepth',
    '1',
    '-links',
    '1',
    '-exec',
    'chown',
    '-h',
    `${EVE}:${EVE}`,
    '{}',
    '+',
  ]);
  await must(['chown', `${EVE}:${EVE}`, at('folder'), at('full folder')]);
  chmodSync(at('set-uid'), 0o6755);
  await submitAs(place, WWW, 'a@x.test');
  await submitAs(place, BOB, 'b@x.test');

  // Links to them are made by now: their own number of links is to be one again.
  const before = below(outside).map((line) =>
    line.replace(/^((?:bobs|secret) (?:\d+ ){4})2 /, '$11 '),
  );
  const traced = await trace([join(bin, 'picorelay-cron')], {
    env: site.env,
    log: join(site.folder, 'trace'),
  });
  assert.deepEqual([traced.status, traced.stdout, traced.stderr], [0, '', '']);

  // The mail of others, and what of hers is a message by whatever name, went out in this run.
  const recipients = relay.received.flatMap(({ to }) => to).toSorted();
  assert.deepEqual(
    recipients,
    ['a', 'b', 'odd1', 'odd2', 'odd3', 'odd4', 'odd5'].map((name) => `${name}@x.test`),
  );
  assert.deepEqual(relay.faults, []);
  for (const { raw, to } of relay.received) {
    assert.doesNotMatch(raw.toString('latin1'), /root:x/);
    if (to[0]?.startsWith('odd')) {
      assert.match(raw.toString('latin1'), new RegExp(`^Received: [^\r]*by uid ${EVE}\\)`));
    }
  }
  // Everything else is gone or lies in corrupt/ with its reason, but for a folder that holds something.
  assert.deepEqual(readdirSync(incoming), ['full folder']);
  assert.deepEqual([site.names('spool'), site.names('unsplit'), site.names('tmp')], [[], [], []]);
  const reasons = site
    .names('corrupt')
    .filter((name) => name.endsWith(':.reason'))
    .map((name) => readFileSync(join(site.spool, 'corrupt', name), 'utf8'));
  assert.deepEqual(
    reasons
      .map((reason) => reason.replace(/ \(of uid .*/s, '').replace(/10995\d{8}/, '1TB'))
      .toSorted(),
    [
      'an address in its envelope block has control characters',
      'it has no envelope block, and is no text',
      'it is too large',
      'its mode does not let the user read it who runs the queue',
      'its mode does not let the user read it who runs the queue',
      'the file ends within its envelope block',
      'the message has 1TB octets, its envelope block says 22',
    ],
  );
  assert.match(
    site.log(),
    new RegExp(`discarded uid=${EVE} count=1 name=empty said="an empty file"`),
  );
  assert.match(
    site.log(),
    new RegExp(`discarded uid=${EVE} count=\\d+ name=\\S+ said="no regular file"`),
  );
  // Lines of the log are lines, whatever a file is called.
  for (const line of site.log().trimEnd().split('\n')) assert.match(line, /^\d{4}-[\x20-\x7e]*$/);

  assert.deepEqual(below(outside), before);
  // No name of hers was ever opened: what is opened has a name that this program gave it.
  const opened = traced.calls.filter(({ name }) => /^(open|truncate|utime|chmod|chown)/.test(name));
  assert.ok(opened.length > 50);
  for (const { args } of opened) {
    assert.doesNotMatch(args, new RegExp(`"${incoming}/`), args);
    assert.doesNotMatch(args, new RegExp(`"${outside}`), args);
  }
  // What changed files elsewhere than in the spool and its log? Nothing.
  for (const { name, args } of traced.calls) {
    const writes =
      /^(mkdir|mknod|rmdir|link|symlink|unlink|rename|truncate|chmod|chown)/.test(name) ||
      (/^open/.test(name) && /O_(WRONLY|RDWR|CREAT)/.test(args));
    if (!writes) continue;
    for (const [, path = ''] of args.matchAll(/"([^"]*)"/g)) {
      assert.ok(
        path.startsWith(`${site.spool}/`) ||
          path === join(site.folder, 'log') ||
          path.startsWith('/dev/'),
        `${name}(${args})`,
      );
    }
  }
});

test('Thousands of files of one user hold up nobody', { skip: asOther }, async (t) => {
  const place = await placeFor(t);
  if (place === undefined) return;
  const { site, relay, incoming, cron } = place;
  const many = (kind: string, number: number, content: string): void => {
    for (let n = 0; n < number; n++) {
      const path = join(incoming, `00000000T000000.000000Z:1:${kind}${n}`);
      writeFileSync(path, content);
      chownSync(path, EVE, EVE);
    }
  };
  many('empty', 5000, '');
  many('junk', 400, 'junk');
  many('mail', 400, forged('eve@x.test'));
  await submitAs(place, WWW, 'a@x.test');
  await submitAs(place, BOB, 'b@x.test');
  await cron();
  const order = relay.received.map(({ to }) => to[0] ?? '');
  assert.equal(order.length, 402);
  // They came last, and were in the first pass, which takes two hundred.
  for (const other of ['a@x.test', 'b@x.test']) {
    assert.ok(order.indexOf(other) >= 0 && order.indexOf(other) < 200, `${order.indexOf(other)}`);
  }
  assert.deepEqual(readdirSync(incoming), []);
  // A line for each pass, not for each file.
  const told = site
    .log()
    .split('\n')
    .filter((line) => line.includes(' discarded '));
  assert.equal(told.length, 1);
  assert.match(told[0] ?? '', /count=5000 /);
});

test('What changes places while it is looked at gives nothing away', {
  skip: asOther,
}, async (t) => {
  const place = await placeFor(t);
  if (place === undefined) return;
  const { site, relay, incoming, cron } = place;
  const secret = join(site.folder, 'secret');
  writeFileSync(secret, forged('stolen@x.test', `Subject: s\r\n\r\n${SECRET}\r\n`), {
    mode: 0o640,
  });
  chownSync(secret, 0, QUEUE);
  const mail = join(site.folder, 'mail');
  writeFileSync(mail, forged('eve@x.test'));
  chmodSync(mail, 0o644);
  // The queue's user may read the secret; she may not, and has him led to it by every kind of link.
  const racer = await place.start([
    ...['setpriv', `--reuid=${EVE}`, `--regid=${EVE}`, '--clear-groups', '--', 'sh', '-c'],
    `cd "$0" && while :; do
         cp "$2" .a 2>/dev/null && mv -f .a race; ln -s "$1" .b && mv -f .b race
         cp "$2" .a && chmod 644 .a && mv -f .a race; mkdir race.d 2>/dev/null; mv -fT .a race.d 2>/dev/null
         mkfifo .c && mv -f .c race; rmdir race.d 2>/dev/null
       done 2>/dev/null`,
    incoming,
    secret,
    mail,
  ]);
  for (let n = 0; n < 8; n++) {
    await submitAs(place, WWW, `w${n}@x.test`);
    await cron();
  }
  await racer.stop();
  await cron();
  const recipients = new Set(relay.received.flatMap(({ to }) => to));
  for (let n = 0; n < 8; n++) assert.ok(recipients.delete(`w${n}@x.test`), `w${n}`);
  recipients.delete('eve@x.test');
  assert.deepEqual([...recipients], []);
  for (const { raw } of relay.received) assert.doesNotMatch(raw.toString('latin1'), /root:x/);
  for (const name of site.names('corrupt')) {
    const path = join(site.spool, 'corrupt', name);
    assert.ok(lstatSync(path).isFile(), name);
    assert.doesNotMatch(readFileSync(path, 'latin1'), /root:x/);
  }
});

test('A file that its owner goes on writing is queued as it was or not at all', {
  skip: asOther,
}, async (t) => {
  const place = await placeFor(t);
  if (place === undefined) return;
  const { site, relay, incoming, cron } = place;
  const body = `Subject: s\r\n\r\n${'0123456789\r\n'.repeat(400_000)}`;
  const path = join(incoming, 'growing');
  writeFileSync(path, forged('eve@x.test', body));
  chownSync(path, EVE, EVE);
  const writer = await place.start([
    ...['setpriv', `--reuid=${EVE}`, `--regid=${EVE}`, '--clear-groups', '--', 'sh', '-c'],
    'exec 3>>"$0"; echo open; while :; do printf x >&3; done',
    path,
  ]);
  const grown = statSync(path).size;
  while (statSync(path).size === grown) await run(['true']);
  await submitAs(place, WWW, 'a@x.test');
  await cron();
  await writer.stop();
  assert.deepEqual(
    relay.received.flatMap(({ to }) => to),
    ['a@x.test'],
  );
  assert.match(
    site
      .names('corrupt')
      .filter((name) => name.endsWith('.reason'))
      .map((name) => readFileSync(join(site.spool, 'corrupt', name), 'utf8'))
      .join(),
    /^(it was changed|the message has \d+ octets, its envelope block says)/,
  );
});

test('Other folders of the spool take nothing from a user without rights', {
  skip: asOther,
}, async (t) => {
  const place = await placeFor(t);
  if (place === undefined) return;
  const { site, incoming } = place;
  const tried = async (line: string): Promise<number | null> =>
    (await asUser(site, EVE, ['sh', '-c', line, site.spool])).status;
  const folders = readdirSync(site.spool).filter((name) =>
    lstatSync(join(site.spool, name)).isDirectory(),
  );
  for (const name of folders.filter((each) => each !== 'incoming')) {
    assert.notEqual(await tried(`: > "$0/${name}/x"`), 0, name);
    assert.notEqual(await tried(`ls "$0/${name}"`), 0, name);
    assert.notEqual(await tried(`rmdir "$0/${name}" || mv "$0/${name}" "$0/x"`), 0, name);
  }
  for (const line of [
    ': > "$0/x"',
    'ls "$0"',
    'echo 2 > "$0/version"',
    'rm -f "$0/wake" || mv "$0/wake" "$0/x"',
    'head -c 1 "$0/wake"',
    'rmdir "$0/incoming" || mv "$0/incoming" "$0/x"',
    'chmod 777 "$0/incoming"',
    'ls "$0/incoming"',
  ]) {
    assert.notEqual(await tried(line), 0, line);
  }
  assert.deepEqual(readdirSync(incoming), []);
});
