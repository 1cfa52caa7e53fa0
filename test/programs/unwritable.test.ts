// What the submitting programs answer where the spool cannot take the mail: nothing is queued, and the
// status says why. Other users and a full disk are only to be had as root.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { must, run } from '../support/process.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';
import {
  asUser,
  canStartNode,
  isRoot,
  NOBODY,
  programsForAll,
  queueCommand,
} from '../support/users.ts';

const LETTER = 'Subject: s\n\nb\n';
const asOther = isRoot ? false : 'only root can become another user';

test('A spool of another user that is closed refuses with 77, qmail-queue with a temporary code', {
  skip: asOther,
}, async (t) => {
  const site = siteFor(t);
  const bin = programsForAll(t);
  if (!(await canStartNode(site, NOBODY))) {
    t.skip('node is not to be started by others');
    return;
  }
  await site.run('sendmail', ['warm-up@x.test'], LETTER);
  chmodSync(site.spool, 0o700);
  const before = site.queued();
  const refused = await asUser(site, NOBODY, [join(bin, 'sendmail'), 'a@x.test'], LETTER);
  assert.equal(refused.status, 77, refused.stderr);
  assert.match(refused.stderr, /^sendmail: EACCES: [^\n]* chmod 711 [^\n]*; nothing was queued\n$/);
  const queue = await asUser(
    site,
    NOBODY,
    queueCommand(join(bin, 'qmail-queue'), site.folder, LETTER),
  );
  assert.ok(queue.status === 53 || queue.status === 63, `exit ${queue.status}`);
  assert.equal(queue.stderr, '');
  assert.deepEqual(site.queued(), before);
});

test('A missing spool that may not be made refuses with 77, qmail-queue with 62', {
  skip: asOther,
}, async (t) => {
  const site = siteFor(t);
  const bin = programsForAll(t);
  if (!(await canStartNode(site, NOBODY))) {
    t.skip('node is not to be started by others');
    return;
  }
  const refused = await asUser(site, NOBODY, [join(bin, 'sendmail'), 'a@x.test'], LETTER);
  assert.equal(refused.status, 77, refused.stderr);
  const queue = await asUser(
    site,
    NOBODY,
    queueCommand(join(bin, 'qmail-queue'), site.folder, LETTER),
  );
  assert.equal(queue.status, 62);
});

test('A spool folder that is a file refuses with a temporary status', async (t) => {
  const site = siteFor(t);
  writeFileSync(site.spool, '');
  const refused = await site.run('sendmail', ['a@x.test'], LETTER);
  assert.equal(refused.status, 75, refused.stderr);
  assert.match(refused.stderr, /^sendmail: [^\n]*; nothing was queued\n$/);
  const queue = await run(queueCommand(programPath('qmail-queue'), site.folder, LETTER), {
    env: site.env,
  });
  assert.equal(queue.status, 62);
  assert.equal(queue.stdout + queue.stderr, '');
});

test('A malformed control/spooldir refuses with 78, qmail-queue with 55', async (t) => {
  const site = siteFor(t);
  site.control('spooldir', 'not/absolute');
  const refused = await site.run('sendmail', ['a@x.test'], LETTER);
  assert.equal(refused.status, 78);
  assert.match(
    refused.stderr,
    /^sendmail: [^\n]*control\/spooldir line 1: found "not\/absolute"[^\n]*\n$/,
  );
  const queue = await run(queueCommand(programPath('qmail-queue'), site.folder, LETTER), {
    env: site.env,
  });
  assert.equal(queue.status, 55);
  assert.equal(queue.stdout + queue.stderr, '');
});

test('A full disk refuses with a temporary status and leaves nothing behind', async (t) => {
  const site = siteFor(t);
  // Off, so that the disk itself is met; limits.test.ts has what the floor does before that.
  site.control('spoolfree', '0');
  mkdirSync(site.spool);
  const mounted = isRoot
    ? await run(['mount', '-t', 'tmpfs', '-o', 'size=256k,mode=711', 'picorelay-test', site.spool])
    : undefined;
  if (mounted?.status !== 0) {
    t.skip('no small file system can be mounted here');
    return;
  }
  // Not a hook of the test: hooks run in their order, and the site goes first.
  try {
    await fillDisk(site);
  } finally {
    await must(['umount', site.spool]);
  }
});

async function fillDisk(site: Site): Promise<void> {
  const large = `Subject: s\n\n${'all work and no play\n'.repeat(20_000)}`;
  for (const recipients of [['a@x.test'], ['a@x.test', 'b@x.test']]) {
    const refused = await site.run('sendmail', ['-i', ...recipients], large);
    assert.equal(refused.status, 75, refused.stderr);
    assert.match(refused.stderr, /^sendmail: ENOSPC[^\n]*; nothing was queued\n$/);
    assert.deepEqual([site.queued(), site.names('unsplit'), site.names('tmp')], [[], [], []]);
  }
  const command = queueCommand(programPath('qmail-queue'), site.folder, large);
  const queue = await run(command, { env: site.env });
  assert.equal(queue.status, 53);
  assert.deepEqual([site.queued(), site.names('unsplit'), site.names('tmp')], [[], [], []]);
  const small = await site.run('sendmail', ['a@x.test'], LETTER);
  assert.deepEqual(small, { status: 0, stdout: '', stderr: '' }, 'small mail still fits');
}

test('A program that root starts works as the owner of the spool', { skip: asOther }, async (t) => {
  const site = siteFor(t);
  await site.run('sendmail', ['a@x.test'], LETTER);
  const owned = siteFor(t);
  const bin = programsForAll(t);
  chmodSync(owned.folder, 0o755);
  mkdirSync(owned.spool, { mode: 0o711 });
  chownSync(owned.spool, NOBODY, NOBODY);
  const sent = await run([join(bin, 'sendmail'), 'a@x.test'], { env: owned.env, input: LETTER });
  assert.deepEqual(sent, { status: 0, stdout: '', stderr: '' });
  const file = statSync(join(owned.spool, 'spool', owned.queued()[0] ?? ''));
  assert.deepEqual([file.uid, file.gid], [NOBODY, NOBODY]);
});
