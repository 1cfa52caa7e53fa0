// What happens right behind the commit: control/immediate says background, wait or off.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { freePort, waitFor } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { programPath, type Site, siteFor } from '../support/site.ts';

const LETTER = 'Subject: s\n\nb\n';
const QUIET = { status: 0, stdout: '', stderr: '' };

/** The runner's pid, once it has the spool. */
async function runnerOf(site: Site): Promise<number> {
  const text = await waitFor('a runner', () =>
    site.names('run').includes('runner')
      ? readFileSync(`${site.spool}/run/runner`, 'latin1')
      : undefined,
  );
  return Number(text.split(' ')[0]);
}

test('sendmail returns before a slow relay has greeted, and the mail arrives without cron', async (t) => {
  const site = siteFor(t);
  const gate = makeGate();
  const relay = await startRelay(t, {
    script: async ({ stage }) => {
      if (stage === 'greeting') await gate.opened;
      return undefined;
    },
  });
  site.relays(relay.port);
  site.control('immediate', 'background');
  // `run` waits for the end of both pipes as cron does: the runner holds neither.
  const secret = { env: { SECRET: 'of the caller', HOME: '/nowhere' } };
  assert.deepEqual(await site.run('sendmail', ['a@x.test'], LETTER, secret), QUIET);
  assert.equal(relay.received.length, 0);
  await waitFor('the runner', () => relay.connections === 1);
  const pid = await runnerOf(site);
  assert.equal(readlinkSync(`/proc/${pid}/cwd`), '/');
  for (const fd of [0, 1, 2]) {
    assert.equal(readlinkSync(`/proc/${pid}/fd/${fd}`), '/dev/null', `descriptor ${fd}`);
  }
  const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').filter(Boolean);
  assert.deepEqual(environment.map((each) => each.split('=')[0]).toSorted(), [
    'HOME',
    'PATH',
    'PICORELAY_CONTROL',
  ]);
  gate.open();
  await waitFor('the mail', () => relay.received.length === 1);
  await waitFor('an empty spool', () => site.names('spool').length === 0);
  await site.atRest();
  assert.deepEqual(relay.faults, []);
});

test('The runner holds no other descriptor of the caller open either', async (t) => {
  const site = siteFor(t);
  const gate = makeGate();
  const relay = await startRelay(t, {
    script: async ({ stage }) => {
      if (stage === 'greeting') await gate.opened;
      return undefined;
    },
  });
  site.relays(relay.port);
  site.control('immediate', 'background');
  const child = spawn(programPath('sendmail'), ['a@x.test'], {
    env: site.env,
    stdio: ['pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
  });
  child.stdin?.end(LETTER);
  for (const stream of child.stdio.slice(1)) stream?.on('data', () => undefined);
  // `close` comes only when all of the pipes have ended.
  const [status] = (await once(child, 'close')) as [number | null];
  assert.equal(status, 0);
  gate.open();
  await waitFor('the mail', () => relay.received.length === 1);
  await site.atRest();
});

test('Fifty calls in a row make few connections, and all mail arrives', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('immediate', 'background');
  site.control('linger', '2s');
  const expected: string[] = [];
  for (let n = 0; n < 50; n++) {
    expected.push(`a${n}@x.test`);
    assert.deepEqual(await site.run('sendmail', [`a${n}@x.test`], LETTER), QUIET);
  }
  await waitFor('fifty mails', () => relay.received.length >= 50, {
    detail: () => `${relay.received.length} came; ${site.queued().join('\n')}`,
  });
  await site.atRest();
  assert.deepEqual(relay.recipients().toSorted(), expected.toSorted());
  assert.ok(relay.connections <= 10, `${relay.connections} connections`);
  assert.deepEqual(site.names('spool'), []);
});

test('Twenty calls at once are all delivered, without lingering as with it', async (t) => {
  for (const linger of ['0s', '1s']) {
    const site = siteFor(t);
    const relay = await startRelay(t);
    site.relays(relay.port);
    site.control('immediate', 'background');
    site.control('linger', linger);
    const calls = Array.from({ length: 20 }, (_, n) =>
      site.run('sendmail', [`a${n}@x.test`, `b${n}@x.test`], LETTER),
    );
    for (const done of await Promise.all(calls)) assert.deepEqual(done, QUIET);
    await waitFor('forty mails', () => relay.recipients().length >= 40, {
      detail: () => `${relay.recipients().length} came; ${site.queued().join('\n')}\n${site.log()}`,
    });
    await site.atRest();
    assert.equal(new Set(relay.recipients()).size, 40);
    assert.equal(relay.recipients().length, 40);
  }
});

test('With wait, the mail is at the relay when sendmail returns, or waits with its reason', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('immediate', 'wait');
  assert.deepEqual(await site.run('sendmail', ['a@x.test', 'b@x.test'], LETTER), QUIET);
  assert.equal(relay.received.length, 1);
  assert.deepEqual(site.names('spool'), []);

  site.relays(await freePort());
  const sent = await site.run('sendmail', ['c@x.test'], LETTER);
  assert.equal(sent.status, 0, 'it is queued');
  assert.equal(sent.stdout, '');
  assert.match(site.queued().join(), /:c@x\.test:0@\d{8}T\d{6}Z\.spool$/);
});

test('With off, and with -odq, nothing is started', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  assert.deepEqual(await site.run('sendmail', ['a@x.test'], LETTER), QUIET);
  site.control('immediate', 'background');
  assert.deepEqual(await site.run('sendmail', ['-odq', 'b@x.test'], LETTER), QUIET);
  assert.deepEqual(site.names('run'), []);
  assert.equal(site.queued().length, 2);
  assert.ok(site.queued().every((name) => !name.endsWith('.spool')));
  // The other way round, -odb and -odi override the control file too.
  site.control('immediate', 'off');
  assert.deepEqual(await site.run('sendmail', ['-odi', 'c@x.test'], LETTER), QUIET);
  assert.deepEqual(relay.recipients(), ['c@x.test']);
  assert.deepEqual(await site.run('sendmail', ['-odb', 'd@x.test'], LETTER), QUIET);
  await waitFor('all mail', () => relay.received.length === 4);
  await site.atRest();
});

test('A malformed control/immediate is told, and cron sends the mail once it is mended', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('immediate', 'soon');
  const sent = await site.run('sendmail', ['a@x.test'], LETTER);
  assert.equal(sent.status, 0);
  assert.match(sent.stderr, /^sendmail: queued, but not offered at once: [^\n]*control\/immediate/);
  site.control('immediate', 'off');
  assert.deepEqual(await site.run('picorelay-cron'), QUIET);
  assert.deepEqual(relay.recipients(), ['a@x.test']);
});

test('A spool without its FIFO, and with another file in its place, still sends at once', async (t) => {
  for (const make of ['true', 'echo x >"$0"', 'mkdir "$0"', 'ln -s /dev/null "$0"']) {
    const site = siteFor(t);
    const relay = await startRelay(t);
    site.relays(relay.port);
    await site.run('sendmail', ['a@x.test'], LETTER);
    const made = spawn('sh', ['-c', make, `${site.spool}/wake`], { stdio: 'ignore' });
    await once(made, 'close');
    site.control('immediate', 'background');
    assert.deepEqual(await site.run('sendmail', ['b@x.test'], LETTER), QUIET);
    await waitFor('both mails', () => relay.received.length === 2, { detail: () => make });
    await site.atRest();
    assert.ok(readdirSync(site.spool).includes('wake'));
  }
});

function makeGate(): { readonly opened: Promise<void>; open(): void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
