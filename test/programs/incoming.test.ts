// Users without rights on the spool submit by incoming/, and whoever runs the queue takes their mail over:
// real users, real programs, and what hostile users leave there. Only root can be all of them.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { run, start, waitFor } from '../support/process.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';
import { type Site, siteFor } from '../support/site.ts';
import { asUser, canStartNode, isRoot, programsForAll, queueCommand } from '../support/users.ts';

const LETTER = 'Subject: s\n\nb\n';
const asOther = isRoot ? false : 'only root can become another user';

/** Users that need no name: the queue's, and three who submit. */
const QUEUE = 61001;
const WWW = 61033;
const EVE = 61666;
const BOB = 61002;

interface Place {
  readonly site: Site;
  readonly bin: string;
  readonly relay: TestRelay;
  readonly incoming: string;
  /** Runs the queue once, as cron does. */
  cron(): Promise<void>;
}

/** A site whose spool belongs to a user of its own, laid out by a first run. */
async function placeFor(t: TestContext, mode = 0o711): Promise<Place | undefined> {
  const site = siteFor(t);
  if (!(await canStartNode(site, WWW))) {
    t.skip('node is not to be started by others');
    return undefined;
  }
  mkdirSync(site.spool);
  chownSync(site.spool, QUEUE, QUEUE);
  chmodSync(site.spool, mode);
  chmodSync(join(site.folder, 'log'), 0o666);
  chmodSync(site.folder, 0o755);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const bin = programsForAll(t);
  // As root, as cron does; what it loads later it has to load as the queue's user.
  const cron = async (): Promise<void> => {
    assert.deepEqual(await run([join(bin, 'picorelay-cron')], { env: site.env }), sent);
  };
  await cron();
  return { site, bin, relay, incoming: join(site.spool, 'incoming'), cron };
}

const sent = { status: 0, stdout: '', stderr: '' };

test('Every program that submits takes the road of a user without rights by itself', {
  skip: asOther,
}, async (t) => {
  const place = await placeFor(t);
  if (place === undefined) return;
  const { site, bin, relay, incoming, cron } = place;
  const as = (command: readonly string[], input = '') => asUser(site, WWW, command, input);
  const mail = 'To: c@x.test\nCc: d@x.test\nSubject: s\n\nb\n';
  assert.deepEqual(await as([join(bin, 'sendmail'), '-t', '-i'], mail), sent);
  assert.deepEqual(
    await as([join(bin, 'sendmail'), '-odi', '-f', 'w@x.test', 'e@x.test'], LETTER),
    sent,
  );
  assert.deepEqual(await as([join(bin, 'qmail-inject'), 'f@x.test'], LETTER), sent);
  assert.deepEqual(
    await as(queueCommand(join(bin, 'qmail-queue'), join(site.folder, 'q'), LETTER)),
    sent,
  );
  const large = `Subject: large\n\n${'0123456789\n'.repeat(200_000)}`;
  assert.deepEqual(
    await as(queueCommand(join(bin, 'qmail-queue'), join(site.folder, 'q'), large)),
    sent,
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
  assert.deepEqual(made, sent);
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
  assert.deepEqual(await asUser(site, BOB, command, LETTER, [QUEUE]), sent);
  assert.equal(site.queued().length, 2);
  for (const entry of site.queued()) {
    const { uid, gid, mode } = statSync(join(site.spool, 'spool', entry));
    assert.deepEqual([uid, gid, mode & 0o7777], [BOB, QUEUE, 0o640]);
  }
  const listed = await asUser(site, BOB, [join(bin, 'sendmail'), '-bp'], '', [QUEUE]);
  assert.match(listed.stdout, /in 1 Request\.\n$/);
  // Another user has no rights on it: his file is the group's to read.
  assert.deepEqual(await asUser(site, WWW, [join(bin, 'sendmail'), 'c@x.test'], LETTER), sent);
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
  assert.deepEqual(await asUser(site, WWW, [join(bin, 'sendmail'), 'a@x.test'], LETTER), sent);
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
  assert.deepEqual(await site.run('sendmail', ['a@x.test'], LETTER), sent);
  assert.deepEqual(await asUser(site, WWW, [join(bin, 'sendmail'), 'b@x.test'], LETTER), sent);
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
  const service = await start([join(bin, 'picorelay'), 'run'], { env: site.env });
  t.after(service.stop);
  await waitFor('the runner', () => site.names('run').includes('runner'), {
    detail: service.output,
  });
  // Its next look by itself is a minute away.
  await site.run('sendmail', ['root@x.test'], LETTER);
  await waitFor('its first mail', () => relay.received.length === 1, { detail: site.log });
  assert.deepEqual(await asUser(site, WWW, [join(bin, 'sendmail'), 'a@x.test'], LETTER), sent);
  await waitFor('the mail', () => relay.received.length === 2, { detail: site.log });
});
