// Each message of the corpus through the real programs to a strict relay: what arrives has the form of
// the wire and the same decoded text, as Python's email package reads both.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { makeCorpus, type Sample } from '../corpus/make.ts';
import { startRelay } from '../support/relay.ts';
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
  site.relays(relay.port);
  const folder = join(site.folder, 'corpus');
  mkdirSync(folder);

  const submit = async ({ name, bytes, folds }: Sample): Promise<void> => {
    writeFileSync(join(folder, `${name}.sent`), bytes);
    if (folds) writeFileSync(join(folder, `${name}.folds`), '');
    const args = ['-i', '-f', 'ann@example.org', '--', `${name}@example.com`];
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
  for (const { to, raw, parameters } of relay.received) {
    const name = to[0]?.split('@')[0] ?? '';
    const eightBit = raw.some((octet) => octet > 127);
    assert.equal(/\bBODY=8BITMIME\b/.test(parameters), eightBit, name);
    writeFileSync(join(folder, `${name}.arrived`), raw);
  }

  const read = spawnSync('python3', [resolve('test/corpus/decode.py'), folder], {
    encoding: 'utf8',
  });
  assert.equal(read.stderr, '');
  assert.equal(read.stdout, `${count}\n`);
});
