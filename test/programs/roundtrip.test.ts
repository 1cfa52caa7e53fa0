// Each message of the corpus through the real programs to two strict relays, one of which takes no 8-bit
// text: what arrives has the form of the wire and the same decoded text, as Python's email package reads it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { makeCorpus, type Sample } from '../corpus/make.ts';
import { EXTENSIONS, type Offered, startRelay } from '../support/relay.ts';
import { siteFor } from '../support/site.ts';

/** Programs at work at one time. */
const AT_ONCE = 3;

test('Every message of the corpus arrives in the form of the wire with the same decoded text', async (t) => {
  // Python is looked up where the tests run; its reading is what the programs share no code with.
  const python = spawnSync('python3', ['--version'], { encoding: 'utf8' });
  if (python.error !== undefined && process.env['CI'] === undefined) {
    t.skip('python3 is missing');
    return;
  }
  assert.equal(python.status, 0, 'python3 is needed');

  const site = siteFor(t);
  const relay = await startRelay(t);
  const narrow = await startRelay(t, {
    extensions: EXTENSIONS.filter((offer) => offer !== '8BITMIME'),
  });
  site.relays(relay.port);
  site.control('smtproutes', `narrow.test:127.0.0.1:${narrow.port}`);
  const folder = join(site.folder, 'corpus');
  const narrowFolder = join(site.folder, 'narrow');
  mkdirSync(folder);
  mkdirSync(narrowFolder);

  const submit = async ({ name, bytes, folds }: Sample): Promise<void> => {
    writeFileSync(join(folder, `${name}.sent`), bytes);
    if (folds) writeFileSync(join(folder, `${name}.folds`), '');
    const to = [`${name}@example.com`, `${name}@narrow.test`];
    const args = ['-i', '-f', 'ann@example.org', '--', ...to];
    const sent = await site.run('sendmail', args, bytes);
    assert.deepEqual(sent, { status: 0, stdout: '', stderr: '' }, name);
  };
  const corpus = makeCorpus();
  let count = 0;
  const workers = Array.from({ length: AT_ONCE }, async () => {
    for (let next = corpus.next(); next.done !== true; next = corpus.next()) {
      count += 1;
      await submit(next.value);
    }
  });
  await Promise.all(workers);
  assert.ok(count >= 200, `${count} messages`);
  assert.deepEqual(site.names('tmp'), [], 'no draft is left');

  const run = await site.run('picorelay-cron', [], '', { limit: 300_000 });
  assert.deepEqual(run, { status: 0, stdout: '', stderr: '' });
  assert.deepEqual(relay.faults, []);
  assert.deepEqual(site.names('spool'), []);
  assert.equal(relay.received.length, count);
  for (const message of relay.received) {
    const eightBit = message.raw.some((octet) => octet > 127);
    assert.equal(/\bBODY=8BITMIME\b/.test(message.parameters), eightBit, nameOf(message));
    writeFileSync(join(folder, `${nameOf(message)}.arrived`), message.raw);
  }
  compare(folder, count);

  // What has no 7-bit form was refused for that; everything else has arrived in it.
  const refused = [...site.undelivered()].filter(([name]) => name.endsWith('.result'));
  for (const [name, text] of refused) assert.match(text, /554 5\.6\.3 picorelay: /, name);
  assert.deepEqual(narrow.faults, []);
  assert.equal(narrow.received.length + refused.length, count);
  assert.ok(refused.length < count / 20, `${refused.length} of ${count} were refused`);
  let converted = 0;
  for (const message of narrow.received) {
    const name = nameOf(message);
    const { body, wasEightBit } = bodiesOf(message, join(folder, `${name}.arrived`));
    if (wasEightBit) converted += 1;
    assert.ok(!body.some((octet) => octet > 127), name);
    writeFileSync(join(narrowFolder, `${name}.arrived`), message.raw);
    for (const kind of ['sent', 'folds']) {
      const path = join(folder, `${name}.${kind}`);
      if (existsSync(path)) copyFileSync(path, join(narrowFolder, `${name}.${kind}`));
    }
  }
  assert.ok(converted > 20, `${converted} were converted`);
  compare(narrowFolder, narrow.received.length);
});

function nameOf({ to }: Offered): string {
  return to[0]?.split('@')[0] ?? '';
}

/** What stands behind the header, and whether that had octets above 127 before the conversion. */
function bodiesOf({ raw }: Offered, wide: string): { body: Buffer; wasEightBit: boolean } {
  const bodyOf = (bytes: Buffer): Buffer => bytes.subarray(bytes.indexOf('\r\n\r\n'));
  const wasEightBit = bodyOf(readFileSync(wide)).some((octet) => octet > 127);
  return { body: bodyOf(raw), wasEightBit };
}

function compare(folder: string, count: number): void {
  const read = spawnSync('python3', [resolve('test/corpus/decode.py'), folder], {
    encoding: 'utf8',
  });
  assert.equal(read.stderr, '');
  assert.equal(read.stdout, `${count}\n`);
}
