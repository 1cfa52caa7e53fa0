// picorelay run: the runner in the foreground, and submission over its socket.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Running, start, waitFor } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { makeSite, programPath, type Site } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';

/** A site that goes with its test, once its services have ended. */
function siteFor(t: TestContext): Site & { readonly services: Running[] } {
  const site = Object.assign(makeSite(), { services: [] as Running[] });
  t.after(async () => {
    for (const service of site.services) await service.stop();
    // A submission that met no service has started a runner of its own, which may still write.
    await waitFor('the end of the site', () => {
      try {
        site.remove();
        return true;
      } catch {
        return false;
      }
    });
  });
  return site;
}

type ServedSite = ReturnType<typeof siteFor>;

async function serve(
  site: ServedSite,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<Running> {
  const service = await start([programPath('picorelay'), 'run', ...args], {
    env: { ...site.env, ...env },
  });
  site.services.push(service);
  return service;
}

/** Waits until the service has the lock and reads wake-ups. */
async function serving(site: Site): Promise<void> {
  await waitFor('the runner', () => site.names('run').includes('runner'));
}

async function ended(service: Running): Promise<number | string | undefined> {
  await waitFor('the end of the service', service.ended, { detail: service.output });
  return service.status();
}

test('The service relays new mail at once and what is due at its time, and ends with 0', async (t) => {
  const site = siteFor(t);
  site.control('immediate', 'background');
  site.control('retry', '1s');
  let refusals = 2;
  const relay = await startRelay(t, {
    script: ({ line }) =>
      line.startsWith('RCPT TO:<later') && refusals-- > 0 ? '450 4.2.1 busy' : undefined,
  });
  site.relays(relay.port);
  const service = await serve(site);
  await serving(site);
  await site.run('sendmail', ['ok@x.test', 'later@x.test'], LETTER);
  await waitFor('both mails', () => relay.received.length === 2, { detail: site.log });
  assert.deepEqual(relay.recipients(), ['ok@x.test', 'later@x.test']);
  process.kill(service.pid, 'SIGTERM');
  assert.equal(await ended(service), 0);
  assert.equal(service.output(), '');
  assert.deepEqual(site.queued(), []);
  assert.deepEqual(site.names('run').includes('runner.lock'), false);
});

test('A tick of cron beside the service does nothing and says nothing', async (t) => {
  const site = siteFor(t);
  await serve(site);
  await serving(site);
  assert.deepEqual(await site.run('picorelay-cron'), { status: 0, stdout: '', stderr: '' });
});

test('A second service waits for its turn and takes over when the first one is killed', async (t) => {
  const site = siteFor(t);
  site.control('immediate', 'background');
  const relay = await startRelay(t);
  site.relays(relay.port);
  const first = await serve(site);
  await serving(site);
  const second = await serve(site);
  await waitFor('its word', () => second.output().includes('another runner is at work'));
  process.kill(first.pid, 'SIGKILL');
  await ended(first);
  await site.run('sendmail', ['ok@x.test'], LETTER);
  await waitFor('the mail', () => relay.received.length === 1, { detail: second.output });
});

test('A changed control file holds from the next mail on; after HUP also files that it names', async (t) => {
  const site = siteFor(t);
  site.control('immediate', 'background');
  const [before, after] = [await startRelay(t), await startRelay(t)];
  site.relays(before.port);
  site.control('linger', '1h');
  const service = await serve(site);
  await serving(site);
  await site.run('sendmail', ['a@x.test'], LETTER);
  await waitFor('the first mail', () => before.received.length === 1);
  site.relays(after.port);
  await site.run('sendmail', ['b@x.test'], LETTER);
  await waitFor('the second mail', () => after.received.length === 1);
  const connections = after.connections;
  process.kill(service.pid, 'SIGHUP');
  await waitFor('the end of the connection', () => after.lines.includes('QUIT'));
  await site.run('sendmail', ['c@x.test'], LETTER);
  await waitFor('the third mail', () => after.received.length === 2);
  assert.equal(after.connections, connections + 1);
  assert.equal(service.ended(), false);
});

test('TERM lets the transaction that runs be finished', async (t) => {
  const site = siteFor(t);
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const relay = await startRelay(t, {
    script: async ({ stage }) => {
      if (stage === 'dot') await held;
      return undefined;
    },
  });
  site.relays(relay.port);
  await site.run('sendmail', ['a@x.test'], LETTER);
  const service = await serve(site);
  await waitFor('the transaction', () => relay.lines.includes('DATA'));
  process.kill(service.pid, 'SIGTERM');
  assert.equal(service.ended(), false);
  release();
  assert.equal(await ended(service), 0);
  assert.deepEqual(site.queued(), []);
  assert.equal(relay.received.length, 1);
});

test('systemd hears that the service is ready, lives and ends', async (t) => {
  const site = siteFor(t);
  const [path, told] = [join(site.folder, 'notify'), join(site.folder, 'told')];
  const listener = await start([
    'python3',
    '-c',
    `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
while True:
    data, control, _, _ = s.recvmsg(4096, 256)
    with open(sys.argv[2], 'ab') as f: f.write(data + b'\\n')
`,
    path,
    told,
  ]);
  site.services.push(listener);
  await waitFor('the socket', () => existsSync(path));
  const text = (): string => (existsSync(told) ? readFileSync(told, 'utf8') : '');
  const service = await serve(site, [], { NOTIFY_SOCKET: path, WATCHDOG_USEC: '400000' });
  await waitFor('signs of life', () => (text().match(/WATCHDOG=1/g)?.length ?? 0) >= 2, {
    detail: service.output,
  });
  process.kill(service.pid, 'SIGTERM');
  assert.equal(await ended(service), 0);
  const states = text()
    .split('\n')
    .filter((line) => /^[A-Z]+=1$/.test(line));
  assert.equal(states[0], 'READY=1');
  assert.ok(states.includes('STOPPING=1'));
});

test('A spool of another layout ends the service with a line', async (t) => {
  const site = siteFor(t);
  await site.run('sendmail', ['a@x.test'], LETTER);
  writeFileSync(join(site.spool, 'version'), '2\n');
  const service = await serve(site);
  assert.equal(await ended(service), 75);
  assert.match(
    service.output(),
    /^picorelay: .*version: found "2\\n", this program knows layout 1.*\n$/,
  );
});

/** What the socket answers to these pieces and the end of input. */
async function submit(path: string, ...pieces: readonly (string | Buffer)[]): Promise<string> {
  const socket = createConnection(path);
  let answer = '';
  socket.on('data', (chunk) => {
    answer += String(chunk);
  });
  socket.on('error', () => undefined);
  for (const piece of pieces) socket.write(piece);
  socket.end();
  await new Promise((resolve) => socket.once('close', resolve));
  return answer;
}

async function door(t: TestContext): Promise<{ site: ServedSite; path: string; service: Running }> {
  const site = siteFor(t);
  const path = join(site.folder, 'socket');
  const service = await serve(site, ['--socket', path]);
  await waitFor('the socket', () => existsSync(path), { detail: service.output });
  return { site, path, service };
}

test('A message over the socket is relayed to each of its recipients', async (t) => {
  const { site, path, service } = await door(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const head = 'Fjo@y.test\0Ta@x.test\0Tb@x.test\0\0';
  assert.equal(await submit(path, `${head}${LETTER}`), 'Kqueued for 2 recipients');
  // In pieces that end within the end of the envelope.
  const bytes = Buffer.from(`Fjo@y.test\0Tc@x.test\0\0${LETTER}`);
  for (const cut of [3, 11, 21, 22, 23, 24]) {
    const answer = await submit(path, bytes.subarray(0, cut), bytes.subarray(cut));
    assert.match(answer, /^Kqueued \d{8}T[\d.]+Z:\d+:jo@y\.test:c@x\.test$/);
  }
  const large = `F\0Td@x.test\0\0${LETTER}${`${'x'.repeat(70)}\n`.repeat(50_000)}`;
  assert.match(await submit(path, large), /^Kqueued/);
  await waitFor('all mails', () => relay.recipients().length === 9, { detail: site.log });
  assert.deepEqual([...new Set(relay.recipients())].sort(), [
    'a@x.test',
    'b@x.test',
    'c@x.test',
    'd@x.test',
  ]);
  assert.match(
    relay.received[0]?.raw.toString() ?? '',
    /^Received: .*\r\n[\s\S]*Subject: tea\r\n\r\nat four\r\n$/,
  );
  assert.match(site.log(), /accepted .* program=socket/);
  process.kill(service.pid, 'SIGTERM');
  assert.equal(await ended(service), 0);
  assert.equal(existsSync(path), false);
});

test('What is no submission is refused and queues nothing, and others get in', async (t) => {
  const { site, path } = await door(t);
  const table: [string | Buffer, RegExp][] = [
    ['', /^Dbad envelope: it ends before its last NUL$/],
    ['F', /^Dbad envelope/],
    ['Fjo@y.test\0Ta@x.test\0', /^Dbad envelope: it ends before its last NUL$/],
    [`Fjo@y.test\0\0${LETTER}`, /^Dbad envelope: it names no recipient$/],
    [`Xjo@y.test\0Ta@x.test\0\0${LETTER}`, /^Dbad envelope/],
    [`Fjo@y.test\0T\0\0${LETTER}`, /^Dbad envelope/],
    [`F${'x'.repeat(2000)}\0Ta@x.test\0\0${LETTER}`, /^Dbad envelope: an address is too long$/],
    ['T'.repeat(1024 * 1024 + 1), /^Dbad envelope: it is too long$/],
    [Buffer.from('Fj\xfc@y\0Ta@x.test\0\0x', 'latin1'), /^Dbad envelope: an address is not UTF-8$/],
    ['GET / HTTP/1.1\r\nHost: x\r\n\r\n', /^Dbad envelope/],
  ];
  for (const [text, answer] of table) assert.match(await submit(path, text), answer);
  assert.deepEqual(site.queued(), []);
  assert.deepEqual(site.names('tmp'), []);
  assert.match(await submit(path, `F\0Ta@x.test\0\0${LETTER}`), /^K/);
  assert.equal(site.queued().length, 1);
});

test('A shell command in an address is an address', async (t) => {
  const { site, path } = await door(t);
  const evil = '$(touch pwned);`touch pwned`|touch pwned';
  assert.match(await submit(path, `F${evil}@y.test\0T-oQ/tmp@x.test\0\0${LETTER}`), /^K/);
  assert.match(site.queued()[0] ?? '', /:-oQ%2Ftmp@x\.test/);
});

test('A client that goes away or is killed in the middle leaves nothing', async (t) => {
  if (process.env['PICORELAY_BIN'] !== undefined) {
    t.skip('bun cannot tell a client that was killed from one that closed its sending half');
    return;
  }
  const { site, path } = await door(t);
  const client = spawn('python3', [
    '-c',
    `
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'F\\0Ta@x.test\\0\\0' + b'x' * 3000000)
print('sent', flush=True)
time.sleep(600)
`,
    path,
  ]);
  await once(client.stdout, 'data');
  client.kill('SIGKILL');
  await waitFor('the scratch to go', () => site.names('tmp').length === 0);
  assert.deepEqual(site.queued(), []);
  assert.match(await submit(path, `F\0Ta@x.test\0\0${LETTER}`), /^K/);
});

test('Where the disk fails, the client hears it and may come again', async (t) => {
  const { site, path } = await door(t);
  await submit(path, `F\0Ta@x.test\0\0${LETTER}`);
  // The runner makes the folder again when it misses it.
  await waitFor('a file in the place of the folder', () => {
    rmSync(join(site.spool, 'spool'), { recursive: true, force: true });
    try {
      writeFileSync(join(site.spool, 'spool'), '');
      return true;
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EISDIR') return false;
      throw error;
    }
  });
  for (let time = 0; time < 3; time++) {
    assert.match(await submit(path, `F\0Tb@x.test\0\0${LETTER}`), /^ZE[A-Z]+/);
  }
  rmSync(join(site.spool, 'spool'));
  mkdirSync(join(site.spool, 'spool'), { recursive: true });
  assert.match(await submit(path, `F\0Tb@x.test\0\0${LETTER}`), /^K/);
});

test('A socket that was left by a killed service is replaced', async (t) => {
  const { site, path, service } = await door(t);
  process.kill(service.pid, 'SIGKILL');
  await ended(service);
  assert.equal(existsSync(path), true);
  await serve(site, ['--socket', path]);
  await waitFor('an answer', async () => (await submit(path, `F\0Ta@x.test\0\0${LETTER}`)) !== '');
  assert.equal(site.queued().length, 1);
});

test('A socket of systemd is taken from descriptor 3', async (t) => {
  const site = siteFor(t);
  const path = join(site.folder, 'socket');
  const service = await start(
    [
      'python3',
      '-c',
      `
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(5)
if s.fileno() != 3: os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ['LISTEN_PID'] = str(os.getpid())
os.environ['LISTEN_FDS'] = '1'
os.execv(sys.argv[2], [sys.argv[2], 'run'])
`,
      path,
      programPath('picorelay'),
    ],
    { env: site.env },
  );
  site.services.push(service);
  await waitFor('the socket', () => existsSync(path), { detail: service.output });
  assert.match(await submit(path, `F\0Ta@x.test\0\0${LETTER}`), /^K/);
});
