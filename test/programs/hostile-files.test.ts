// Hostile files in each folder of the spool: nothing is lost, each is told in one clear line, and other mail
// goes its way. test/long/hostile-folders.test.ts takes the folders themselves away.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startRelay } from '../support/relay.ts';
import { siteFor } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';
const BASE = '20261120T231501.000000Z:4242:root@host.test:hostile@x.test';

/** What can lie where a mail should. */
const CONTENTS: Readonly<Record<string, Buffer>> = {
  'zero-byte': Buffer.alloc(0),
  truncated: Buffer.from('picorelay: 1\nsize: 00000000000'),
  'without its last octet': Buffer.from(
    'picorelay: 1\nsize: 0000000000000009\nbody: 7BIT    \ntime: 1\npid: 1\nuid: 1\nprogram: x\nsender: a@x.test\nrecipient: hostile@x.test\n\nA: b\r\n\r\n',
  ),
  binary: Buffer.from(Array.from({ length: 70_000 }, (_, n) => (n * 7) % 256)),
  'of another version': Buffer.from('picorelay: 2\nsize: 1\n\nx'),
  'with a wrong block': Buffer.from('picorelay: 1\nno line\n\nx'),
  'with a block of another recipient': Buffer.from(
    'picorelay: 1\nsize: 0000000000000005\nbody: 7BIT    \ntime: 1\npid: 1\nuid: 1\nprogram: x\nsender: root@host.test\nrecipient: other@x.test\n\nA: b\r\n',
  ),
  'with a huge block': Buffer.from(`picorelay: 1\n${'note: x\n'.repeat(2_200_000)}`),
};

for (const [kind, content] of Object.entries(CONTENTS)) {
  test(`An entry that is ${kind} goes to corrupt with its reason, and other mail goes out`, async (t) => {
    const site = siteFor(t);
    const relay = await startRelay(t);
    site.relays(relay.port);
    await site.run('sendmail', ['first@x.test'], LETTER);
    writeFileSync(join(site.spool, 'spool', BASE), content);
    await site.run('sendmail', ['second@x.test'], LETTER);
    const { stdout, stderr, status } = await site.run('picorelay-cron');
    assert.equal(stdout + stderr, '');
    assert.equal(status, 0);
    assert.deepEqual(relay.recipients().toSorted(), ['first@x.test', 'second@x.test']);
    assert.deepEqual(site.queued(), []);
    assert.ok(readFileSync(join(site.spool, 'corrupt', BASE)).equals(content));
    assert.match(
      readFileSync(join(site.spool, 'corrupt', `${BASE}:.reason`), 'utf8'),
      /^[^\n]{10,}\n$/,
    );
    assert.equal(site.log().match(/corrupt id=\S+ said=/g)?.length, 1);
  });
}

test('Foreign names in each folder of the spool stop no mail and stay where they are', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  await site.run('sendmail', ['first@x.test', 'also@x.test'], LETTER);
  const folders = ['tmp', 'spool', 'Undelivered', 'corrupt', 'run', 'routes'];
  const names = ['core', '.hidden', 'a\x1b[2J\nb', '\u202e', `${'x'.repeat(255)}`, '-rf', '%2e%2e'];
  for (const folder of folders) {
    for (const name of names)
      writeFileSync(join(site.spool, folder, name), CONTENTS['binary'] ?? '');
    mkdirSync(join(site.spool, folder, 'folder'));
    symlinkSync('/etc/passwd', join(site.spool, folder, 'link'));
  }
  for (let run = 0; run < 2; run++) {
    await site.run('sendmail', [`mail${run}@x.test`], LETTER);
    const { stdout, stderr, status } = await site.run('picorelay-cron');
    assert.equal(stdout + stderr, '');
    assert.equal(status, 0);
  }
  assert.equal(relay.received.length, 3);
  for (const folder of folders) {
    for (const name of names) assert.ok(existsSync(join(site.spool, folder, name)), folder);
  }
  const { stdout } = await site.run('picorelay', ['list']);
  assert.doesNotMatch(stdout, /\x1b\[2J|\u202e/);
  // The fsck puts them aside, and nothing is lost.
  const mended = await site.run('picorelay', ['verify', '--repair']);
  assert.equal(mended.status, 0, mended.stdout);
  assert.doesNotMatch(mended.stdout, /\x1b\[2J|\u202e/);
});

test('What is no submission in unsplit goes to corrupt, and those beside it are split', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  await site.run('sendmail', ['first@x.test'], LETTER);
  for (const [kind, content] of Object.entries(CONTENTS)) {
    writeFileSync(join(site.spool, 'unsplit', kind), content);
  }
  await site.run('sendmail', ['a@x.test', 'b@x.test'], LETTER);
  const { stdout, stderr } = await site.run('picorelay-cron');
  assert.equal(stdout + stderr, '');
  assert.equal(relay.received.length, 2);
  assert.deepEqual(site.names('unsplit'), []);
  for (const [kind, content] of Object.entries(CONTENTS)) {
    assert.ok(readFileSync(join(site.spool, 'corrupt', kind)).equals(content), kind);
    assert.ok(existsSync(join(site.spool, 'corrupt', `${kind}:.reason`)), kind);
  }
});

test('A second file of the same name does not replace the first one in corrupt', async (t) => {
  const site = siteFor(t);
  site.relays(1);
  await site.run('sendmail', ['a@x.test'], LETTER);
  const relay = await startRelay(t);
  site.relays(relay.port);
  for (const text of ['picorelay: 1\nx', 'picorelay: 1\ny', 'picorelay: 1\nz']) {
    writeFileSync(join(site.spool, 'spool', BASE), text);
    await site.run('picorelay-cron');
  }
  const texts = site
    .names('corrupt')
    .filter((name) => !name.endsWith(':.reason'))
    .map((name) => readFileSync(join(site.spool, 'corrupt', name), 'latin1').at(-1));
  assert.deepEqual(texts.toSorted(), ['x', 'y', 'z']);
});
