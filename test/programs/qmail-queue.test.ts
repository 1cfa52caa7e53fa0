// qmail-queue as notqmail's clients run it: message on descriptor 0, envelope on descriptor 1.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { run, waitFor } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';

const MESSAGE = 'From: jo@x.test\nSubject: tea\n\nat four\n';

interface Queued {
  readonly status: number | null;
  readonly stderr: string;
  /** What it has written on descriptor 1, which it should only read. */
  readonly printed: string;
}

/** Runs qmail-queue with these bytes on its descriptors; a path stands for what is opened there. */
async function queue(
  site: Site,
  message: string | Buffer | { readonly path: string },
  envelope: string | Buffer | { readonly path: string },
): Promise<Queued> {
  const open = (name: string, what: string | Buffer | { readonly path: string }): string => {
    if (typeof what === 'object' && 'path' in what) return what.path;
    const path = join(site.folder, name);
    writeFileSync(path, what);
    return path;
  };
  const envelopePath = open('envelope', envelope);
  const before = typeof envelope === 'object' && 'path' in envelope ? '' : envelope.toString();
  // Descriptor 1 may be written to: what it gets then is told.
  const done = await run(
    [
      'sh',
      '-c',
      'exec "$0" 0<"$1" 1<>"$2"',
      programPath('qmail-queue'),
      open('message', message),
      envelopePath,
    ],
    { env: site.env },
  );
  const printed =
    before === '' ? '' : readFileSync(envelopePath, 'utf8').slice(Buffer.from(before).length);
  return { status: done.status, stderr: done.stderr + done.stdout, printed };
}

const DONE: Queued = { status: 0, stderr: '', printed: '' };

test('A message for three is queued as one file with a Received field and arrives unchanged', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const envelope = 'Fjo@x.test\0Ta@x.test\0Tb@x.test\0Tb@x.test\0Tc@x.test\0\0';
  assert.deepEqual(await queue(site, MESSAGE, envelope), DONE);
  assert.equal(site.queued().length, 3);
  await site.run('picorelay-cron');
  assert.equal(relay.received.length, 1);
  assert.equal(relay.received[0]?.from, 'jo@x.test');
  assert.deepEqual(relay.recipients().toSorted(), ['a@x.test', 'b@x.test', 'c@x.test']);
  const text = relay.received[0]?.raw.toString() ?? '';
  const end = text.indexOf('From: ');
  assert.equal(text.slice(end), MESSAGE.replaceAll('\n', '\r\n'));
  assert.match(
    text.slice(0, end),
    /^Received: \(picorelay qmail-queue \d+ invoked by uid \d+\) by client\.test;\s+\S+ \d+ \w+ \d{4} [\d:]+ [+-]\d{4}\r\n$/,
  );
});

test('Pipes with the envelope held back until the message is read, as qmail-inject writes them', async (t) => {
  const site = siteFor(t);
  const child = spawn(programPath('qmail-queue'), [], {
    env: site.env,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  // Node makes socket pairs of pipes, so descriptor 1 can be written from here.
  const envelope = child.stdout as unknown as import('node:stream').Duplex;
  child.stdin.write('Subject: s\n');
  child.stdin.end('\nb\n');
  envelope.write('Fjo@x.test\0Ta@');
  envelope.end('x.test\0\0');
  const [status] = (await once(child, 'exit')) as [number | null];
  assert.equal(status, 0);
  assert.match(site.queued().join(), /:jo@x\.test:a@x\.test$/);
});

test('A null sender and VERP senders are taken', async (t) => {
  for (const [sender, name] of [
    ['', ''],
    ['#@[]', '%23@%5B%5D'],
    ['list-@x.test-@[]', 'list-@x.test-@%5B%5D'],
  ]) {
    const site = siteFor(t);
    assert.deepEqual(await queue(site, MESSAGE, `F${sender}\0Ta@x.test\0\0`), DONE);
    assert.equal(site.queued().join().split(':')[2], name);
  }
});

const LONGEST = `${'a'.repeat(1003 - 1 - '@x.test'.length)}@x.test`;

const REFUSED: readonly (readonly [string, string, number])[] = [
  ['no last NUL', 'Fjo@x.test\0Ta@x.test\0', 91],
  ['nothing', '', 91],
  ['an empty first field', '\0', 91],
  ['no F', 'Ta@x.test\0\0', 91],
  ['an empty recipient', 'Fjo@x.test\0T\0\0', 91],
  ['an empty recipient among others', 'Fjo@x.test\0Ta@x.test\0T\0\0', 91],
  ['no recipient', 'Fjo@x.test\0\0', 91],
  ['an end within an address', 'Fjo@x.test\0Ta@x.t', 91],
  ['something else than T', 'Fjo@x.test\0Ta@x.test\0Xb@x.test\0\0', 91],
  ['a second F', 'Fjo@x.test\0Fjo@x.test\0Ta@x.test\0\0', 91],
  ['a recipient that is too long', `Fjo@x.test\0Ta@x.test\0T${'b'.repeat(1004)}\0\0`, 11],
  ['a sender that is too long', `F${'b'.repeat(1004)}\0Ta@x.test\0\0`, 11],
  ['an endless address', `F${'b'.repeat(100_000)}`, 11],
];

for (const [title, envelope, status] of REFUSED) {
  test(`An envelope with ${title} exits ${status} and queues nothing`, async (t) => {
    const site = siteFor(t);
    const done = await queue(site, MESSAGE, envelope);
    assert.deepEqual(done, { ...DONE, status });
    assert.deepEqual([site.queued(), site.names('unsplit'), site.names('tmp')], [[], [], []]);
  });
}

test('The longest address that qmail takes is taken', async (t) => {
  const site = siteFor(t);
  assert.equal(LONGEST.length, 1002);
  assert.deepEqual(await queue(site, MESSAGE, `Fjo@x.test\0T${LONGEST}\0\0`), DONE);
  assert.equal(site.queued().length, 1);
});

test('A folder on descriptor 0 or 1 is a read error', async (t) => {
  const site = siteFor(t);
  mkdirSync(join(site.folder, 'folder'));
  const folder = openSync(join(site.folder, 'folder'), 'r');
  const good = join(site.folder, 'good');
  writeFileSync(good, 'Fjo@x.test\0Ta@x.test\0\0');
  const file = openSync(good, 'r');
  for (const stdio of [
    [folder, file, 'pipe'],
    [file, folder, 'pipe'],
  ] as const) {
    const child = spawn(programPath('qmail-queue'), [], { env: site.env, stdio: [...stdio] });
    const [status] = (await once(child, 'exit')) as [number | null];
    assert.equal(status, 54);
  }
  assert.deepEqual([site.queued(), site.names('tmp')], [[], []]);
});

test('Five megabytes go through a scratch file, of which nothing is left', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const child = spawn(programPath('qmail-queue'), [], {
    env: site.env,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const envelope = child.stdout as unknown as import('node:stream').Duplex;
  const body = 'all work and no play\n'.repeat(250_000);
  child.stdin.end(`Subject: s\n\n${body}`);
  await waitFor('the scratch file', () => site.names('tmp').length > 0);
  envelope.end('Fjo@x.test\0Ta@x.test\0Tb@x.test\0\0');
  const [status] = (await once(child, 'exit')) as [number | null];
  assert.equal(status, 0);
  assert.deepEqual([site.names('tmp'), site.names('unsplit')], [[], []]);
  await site.run('picorelay-cron');
  const text = relay.received[0]?.raw.toString() ?? '';
  assert.ok(text.endsWith(`Subject: s\r\n\r\n${body.replaceAll('\n', '\r\n')}`));
});

test('control/me missing: the message is taken under the system’s host name', async (t) => {
  const site = siteFor(t);
  site.control('me', undefined);
  assert.deepEqual(await queue(site, MESSAGE, 'Fjo@x.test\0Ta@x.test\0\0'), DONE);
  assert.equal(site.queued().length, 1);
});

test('A message is offered at once in the background, with nothing of the caller held open', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('immediate', 'background');
  assert.deepEqual(await queue(site, MESSAGE, 'Fjo@x.test\0Ta@x.test\0\0'), DONE);
  await waitFor('the mail', () => relay.received.length === 1);
  await site.atRest();
});
