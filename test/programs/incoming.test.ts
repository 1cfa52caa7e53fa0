// Users without rights on the spool submit by incoming/, and whoever runs the queue takes their mail over:
// real users, real programs, and what hostile users leave there. Only root can be all of them.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { asOther, BOB, EVE, placeFor, QUEUE, QUIET, WWW } from '../support/place.ts';
import { run, waitFor } from '../support/process.ts';
import { siteFor } from '../support/site.ts';
import { asUser, canStartNode, programsForAll, queueCommand } from '../support/users.ts';

const LETTER = 'Subject: s\n\nb\n';

test('Every program that submits takes the road of a user without rights by itself', {
  skip: asOther,
}, async (t) => {
  const place = await placeFor(t);
  if (place === undefined) return;
  const { site, bin, relay, incoming, cron } = place;
  const as = (command: readonly string[], input = '') => asUser(site, WWW, command, input);
  const mail = 'To: c@x.test\nCc: d@x.test\nSubject: s\n\nb\n';
  assert.deepEqual(await as([join(bin, 'sendmail'), '-t', '-i'], mail), QUIET);
  assert.deepEqual(
    await as([join(bin, 'sendmail'), '-odi', '-f', 'w@x.test', 'e@x.test'], LETTER),
    QUIET,
  );
  assert.deepEqual(await as([join(bin, 'qmail-inject'), 'f@x.test'], LETTER), QUIET);
  assert.deepEqual(
    await as(queueCommand(join(bin, 'qmail-queue'), join(site.folder, 'q'), LETTER)),
    QUIET,
  );
  const large = `Subject: large\n\n${'0123456789\n'.repeat(200_000)}`;
  assert.deepEqual(
    await as(queueCommand(join(bin, 'qmail-queue'), join(site.folder, 'q'), large)),
    QUIET,
  );
  const session =
    'HELO x\r\nMAIL FROM:<w@x.test>\r\nRCPT TO:<g@x.test>\r\nDATA\r\nSubject: s\r\n\r\nb\r\n.\r\nQUIT\r\n';
  const dialogue = await as([join(bin, 'sendmail'), '-bs'], session);
  assert.equal(dialogue.status, 0);
  assert.match(dialogue.stdout, /^250 2\.0\.0 Ok: queued\r$/m);

  assert.equal(readdirSync(incoming).length, 6);
  for (const name of readdirSync(incoming)) {
    const { uid, mode, nlink } = statSync(join(incoming, name));
    assert.deepEqual([uid, mode & 0o7777, nlink], [WWW, 0o644, 1], name);
  }
  assert.deepEqual(site.queued(), []);
  assert.deepEqual(await site.run('picorelay', ['list']), {
    ...QUIET,
    stdout: '6 files in incoming, which the next run takes over\nMail queue is empty\n',
  });
  await cron();
  assert.deepEqual(readdirSync(incoming), []);
  assert.deepEqual([site.names('unsplit'), site.names('tmp'), site.names('spool')], [[], [], []]);
  assert.deepEqual(relay.faults, []);
  const recipients = relay.received.flatMap(({ to }) => to).toSorted();
  assert.deepEqual(
    recipients,
    ['a', 'a', 'c', 'd', 'e', 'f', 'g'].map((name) => `${name}@x.test`),
  );
  for (const { raw } of relay.received) {
    const trace = new RegExp(`^Received: \\(picorelay incoming \\d+ invoked by uid ${WWW}\\)`);
    assert.match(raw.toString('latin1'), trace);
  }
});

test('What is believed of a file is its owner, not what its block says', {
  skip: asOther,
}, async (t) => {
  const place = await placeFor(t);
  if (place === undefined) return;
  const { site, incoming, bin } = place;
  const block = [
    'picorelay: 1',
    'size: 0000000000000019',
    'body: 7BIT    ',
    'time: 1',
    'pid: 1',
    'uid: 0',
    'program: root-tool',
    'sender: eve@x.test',
    'recipient: bob@x.test',
  ].join('\n');
  const file = `${block}\n\nSubject: s\r\n\r\nfoo\r\n`;
  site.control('relay', undefined);
  const made = await asUser(
    site,
    EVE,
    ['sh', '-c', 'cat > "$0"', join(incoming, 'anything')],
    file,
  );
  assert.deepEqual(made, QUIET);
  await run([join(bin, 'picorelay-cron')], { env: site.env });
  const [name = '', ...others] = site.queued();
  assert.deepEqual(others, []);
  const text = readFileSync(join(site.spool, 'spool', name), 'latin1');
  assert.match(text, new RegExp(`^uid: ${EVE}$`, 'm'));
  assert.match(text, /^program: incoming$/m);
  assert.doesNotMatch(name, /^1970|:1:/);
  const { uid, mode } = statSync(join(site.spool, 'spool', name));
  assert.deepEqual([uid, mode & 0o7777], [QUEUE, 0o600]);
});

test('A member of the group that the spool hands on submits straight into it', {
  skip: asOther,
}, async (t) => {
  const place = await placeFor(t, 0o2711);
  if (place === undefined) return;
  const { site, bin, relay, incoming, cron } = place;
  site.control('immediate', undefined);
  const command = [join(bin, 'sendmail'), 'a@x.test', 'b@x.test'];
  assert.deepEqual(await asUser(site, BOB, command, LETTER, [QUEUE]), QUIET);
  assert.equal(site.queued().length, 2);
  for (const entry of site.queued()) {
    const { uid, gid, mode } = statSync(join(site.spool, 'spool', entry));
    assert.deepEqual([uid, gid, mode & 0o7777], [BOB, QUEUE, 0o640]);
  }
  const listed = await asUser(site, BOB, [join(bin, 'sendmail'), '-bp'], '', [QUEUE]);
  assert.match(listed.stdout, /in 1 Request\.\n$/);
  // Another user has no rights on it: his file is the group's to read.
  assert.deepEqual(await asUser(site, WWW, [join(bin, 'sendmail'), 'c@x.test'], LETTER), QUIET);
  const [name = ''] = readdirSync(incoming);
  const { uid, gid, mode } = statSync(join(incoming, name));
  assert.deepEqual([uid, gid, mode & 0o7777], [WWW, QUEUE, 0o640]);
  await cron();
  const recipients = relay.received.flatMap(({ to }) => to).toSorted();
  assert.deepEqual(recipients, ['a@x.test', 'b@x.test', 'c@x.test']);
});

test('Nobody but the queue’s user lists incoming or reaches another user’s file there', {
  skip: asOther,
}, async (t) => {
  const place = await placeFor(t);
  if (place === undefined) return;
  const { site, bin, incoming } = place;
  assert.deepEqual(await asUser(site, WWW, [join(bin, 'sendmail'), 'a@x.test'], LETTER), QUIET);
  const [name = ''] = readdirSync(incoming);
  const tried = async (line: string): Promise<number | null> =>
    (await asUser(site, EVE, ['sh', '-c', line, join(incoming, name)])).status;
  assert.notEqual(await tried('ls "$(dirname "$0")"'), 0);
  // Also who knows its name.
  assert.notEqual(await tried('rm -f "$0"'), 0);
  assert.notEqual(await tried('mv "$0" "$0.x"'), 0);
  assert.notEqual(await tried('echo >> "$0"'), 0);
  assert.deepEqual(readdirSync(incoming), [name]);
});

test('Where root runs the queue, what waits in incoming is for root alone to read', {
  skip: asOther,
}, async (t) => {
  const site = siteFor(t);
  if (!(await canStartNode(site, WWW))) {
    t.skip('node is not to be started by others');
    return;
  }
  const bin = programsForAll(t);
  assert.deepEqual(await site.run('sendmail', ['a@x.test'], LETTER), QUIET);
  assert.deepEqual(await asUser(site, WWW, [join(bin, 'sendmail'), 'b@x.test'], LETTER), QUIET);
  const incoming = join(site.spool, 'incoming');
  const [name = ''] = readdirSync(incoming);
  const { uid, mode } = statSync(join(incoming, name));
  assert.deepEqual([uid, mode & 0o7777], [WWW, 0o600]);
  await site.run('picorelay-cron');
  assert.deepEqual(
    site
      .queued()
      .map((each) => each.split(':')[3])
      .toSorted(),
    ['a@x.test', 'b@x.test'],
  );
});

test('A living runner is woken by a user without rights', { skip: asOther }, async (t) => {
  const place = await placeFor(t);
  if (place === undefined) return;
  const { site, bin, relay } = place;
  site.control('immediate', undefined);
  const service = await place.start([join(bin, 'picorelay'), 'run']);
  await waitFor('the runner', () => site.names('run').includes('runner'), {
    detail: service.output,
  });
  // Its next look by itself is a minute away.
  await site.run('sendmail', ['root@x.test'], LETTER);
  await waitFor('its first mail', () => relay.received.length === 1, { detail: site.log });
  assert.deepEqual(await asUser(site, WWW, [join(bin, 'sendmail'), 'a@x.test'], LETTER), QUIET);
  await waitFor('the mail', () => relay.received.length === 2, { detail: site.log });
});

test('A user without rights hears in one line who may see or run the queue', {
  skip: asOther,
}, async (t) => {
  const place = await placeFor(t);
  if (place === undefined) return;
  const { site, bin } = place;
  const said = async (...words: readonly string[]) =>
    await asUser(site, WWW, [join(bin, 'sendmail'), ...words], LETTER);
  assert.deepEqual(await said('-bp'), {
    status: 77,
    stdout: '',
    stderr: `sendmail: only root and uid${QUEUE} may look at the queue; what you sent is safe there; try sudo mailq\n`,
  });
  assert.deepEqual(await said('-q'), {
    status: 77,
    stdout: '',
    stderr: `sendmail: only root and uid${QUEUE} may run the queue; cron does each minute\n`,
  });
  const verbose = await said('-v', 'a@x.test');
  assert.equal(verbose.status, 0);
  assert.match(verbose.stderr, /^sendmail: queued; -v shows the dialogue to root [^\n]*\n$/);
});

test('A user without rights needs no secret to submit and gets none', {
  skip: asOther,
}, async (t) => {
  const place = await placeFor(t);
  if (place === undefined) return;
  const { site, bin, relay, cron } = place;
  site.control('authpassword', 'geheim');
  const path = join(site.folder, 'control', 'authpassword');
  chownSync(path, 0, QUEUE);
  chmodSync(path, 0o640);
  assert.deepEqual(await asUser(site, WWW, [join(bin, 'sendmail'), 'a@x.test'], LETTER), QUIET);
  assert.notEqual((await asUser(site, WWW, ['cat', path])).status, 0);
  await cron();
  assert.equal(relay.received.length, 1);
  // One that is not as it has to be is refused by who uses it, with the line that mends it.
  for (const [uid, gid, mode] of [
    [0, QUEUE, 0o644],
    [0, 0, 0o600],
    [WWW, QUEUE, 0o640],
    [0, WWW, 0o640],
  ] as const) {
    chownSync(path, uid, gid);
    chmodSync(path, mode);
    assert.deepEqual(await asUser(site, WWW, [join(bin, 'sendmail'), 'b@x.test'], LETTER), QUIET);
    const told = await run([join(bin, 'picorelay'), 'run', '--once'], { env: site.env });
    const [, command = ''] =
      /paused: [^\n]*(?:Close it|program): ([^\n]*)\n$/.exec(told.stderr) ?? [];
    assert.match(command, /^(chown|chmod) /, told.stderr);
    assert.equal((await run(['sh', '-c', command])).status, 0);
    const then = await run([join(bin, 'picorelay'), 'run', '--once'], { env: site.env });
    assert.deepEqual([then.status, then.stderr], [0, ''], command);
  }
  assert.equal(relay.received.length, 5);
});

test('Wake-ups without end keep no runner busy', { skip: asOther }, async (t) => {
  const place = await placeFor(t);
  if (place === undefined) return;
  const { site, bin, relay } = place;
  site.control('immediate', undefined);
  const service = await place.start([join(bin, 'picorelay'), 'run']);
  await waitFor('the runner', () => site.names('run').includes('runner'), {
    detail: service.output,
  });
  const flood = await place.start([
    'setpriv',
    `--reuid=${EVE}`,
    '--clear-groups',
    '--',
    'sh',
    '-c',
    'exec cat /dev/zero > "$0"',
    join(site.spool, 'wake'),
  ]);
  for (const n of [1, 2, 3]) {
    const command = [join(bin, 'sendmail'), `a${n}@x.test`];
    assert.deepEqual(await asUser(site, WWW, command, LETTER), QUIET);
    await waitFor('the mail', () => relay.received.length === n, { detail: site.log });
  }
  // Only so much goes into the FIFO as the runner takes out of it: a full one each time that it looks.
  const written = /^wchar: (\d+)$/m.exec(readFileSync(`/proc/${flood.pid}/io`, 'latin1'))?.[1];
  assert.ok(Number(written) > 0 && Number(written) < 6 * 1024 * 1024, `${written} octets`);
});

for (const [title, prefix, uid] of [
  [
    'A service that may write nowhere but into incoming, without new privileges, submits',
    [
      ...['unshare', '--mount', 'sh', '-c'],
      'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && mount --bind "$1" "$1" && mount -o remount,bind,rw "$1" && shift && exec "$@"',
    ],
    WWW,
  ],
  ['root of a container without root submits', ['unshare', '--user', '--map-root-user'], WWW],
  [
    'A user of a user name space of his own submits',
    ['unshare', '--user', '--map-current-user'],
    WWW,
  ],
] as const) {
  test(title, { skip: asOther }, async (t) => {
    const place = await placeFor(t);
    if (place === undefined) return;
    const { site, bin, relay, incoming, cron } = place;
    const drop = [
      'setpriv',
      `--reuid=${uid}`,
      `--regid=${uid}`,
      '--clear-groups',
      '--no-new-privs',
      '--',
    ];
    const confined = (command: readonly string[]): readonly string[] =>
      prefix[1] === '--mount'
        ? [...prefix, site.spool, incoming, ...drop, ...command]
        : [...drop, ...prefix, ...command];
    if ((await run(confined(['true']), { cwd: '/' })).status !== 0) {
      t.skip('no name space can be made here');
      return;
    }
    const command = confined([join(bin, 'sendmail'), '-f', 'w@x.test', 'a@x.test']);
    assert.deepEqual(await run(command, { env: site.env, input: LETTER, cwd: '/' }), QUIET);
    const queue = confined(queueCommand(join(bin, 'qmail-queue'), join(site.folder, 'q'), LETTER));
    assert.deepEqual(await run(queue, { env: site.env, cwd: '/' }), QUIET);
    for (const name of readdirSync(incoming)) {
      assert.equal(statSync(join(incoming, name)).uid, uid);
    }
    await cron();
    assert.deepEqual(
      relay.received.map(({ to }) => to),
      [['a@x.test'], ['a@x.test']],
    );
  });
}
