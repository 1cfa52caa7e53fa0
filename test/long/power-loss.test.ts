// Cuts the power, on paper: a record of each scenario's system calls gives every state that a power cut may
// leave (support/power-loss.ts has the rules), each of them is made, and the spool's own code has to find
// every recipient in it whose mail was accepted. Then records with one sync left out, which must be noticed.
import assert from 'node:assert/strict';
import fs, { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mock, type TestContext, test } from 'node:test';
import { NO_LIMITS } from '../../src/mail/limits.ts';
import { BadBlock } from '../../src/spool/block.ts';
import type { StoredMessage } from '../../src/spool/message.ts';
import { parseBase } from '../../src/spool/name.ts';
import { Spool } from '../../src/spool/spool.ts';
import { Takeover } from '../../src/spool/takeover.ts';
import { skipWithoutProgram } from '../interop/require.ts';
import { randomFrom } from '../support/crash.ts';
import { build, signatureOf, Volume } from '../support/power-loss.ts';
import { startRelay } from '../support/relay.ts';
import { RUNS, SUBMISSIONS } from '../support/scenarios.ts';
import { makeSite, programPath } from '../support/site.ts';
import { type SystemCall, trace } from '../support/strace.ts';
import { type Scenario, SENDER } from '../support/sweep.ts';

/** At most so many states are looked at behind one call, where all combinations are more. */
const MOST = 64;

const skip = skipWithoutProgram('strace');
const BODY = 'one line\n';
const random = randomFrom(20_261_121);

/** What was recorded of a scenario: the volume as it was before, and the calls. */
interface Recorded {
  readonly scenario: Scenario;
  readonly volume: () => Volume;
  readonly calls: readonly SystemCall[];
}

/** What the spool's code finds of the scenario's mail. */
interface Found {
  readonly queued: ReadonlyMap<string, number>;
  readonly undelivered: ReadonlySet<string>;
  readonly trouble: readonly string[];
}

/** Runs a scenario under strace; `within` may look at what is recorded before it goes. */
async function record<T>(scenario: Scenario, within: (recorded: Recorded) => T): Promise<T> {
  const cleanups: (() => unknown)[] = [];
  const site = makeSite();
  try {
    const relay = await startRelay(
      { after: (cleanup: unknown) => void cleanups.push(cleanup as () => unknown) },
      scenario.script === undefined ? {} : { script: scenario.script },
    );
    site.relays(relay.port);
    for (const [name, text] of Object.entries(scenario.control ?? {})) site.control(name, text);
    await scenario.prepare?.({ site, relay });
    const before = new Volume(site.folder, ['control', 'log', 'strace']).copy();
    const { status, stderr, calls } = await trace(scenario.command({ site, relay }), {
      env: site.env,
      input: scenario.input ?? '',
      log: join(site.folder, 'strace'),
      octets: 1_000_000,
    });
    assert.equal(status, 0, stderr);
    return within({ scenario, volume: before, calls });
  } finally {
    for (const cleanup of cleanups) await cleanup();
    site.remove();
  }
}

/** Goes through the calls and cuts the power behind each; gives what is wrong, and how much was looked at. */
function check(
  { scenario, volume: start, calls }: Recorded,
  onlyAtEnd = false,
): {
  readonly states: number;
  readonly cuts: number;
  readonly wrong: ReadonlyMap<string, number>;
} {
  const volume = start();
  const known = new Map<string, Found>();
  const wrong = new Map<string, number>();
  const relayed = new Set<string>();
  let cuts = 0;
  const look = (ended: boolean): void => {
    for (const disk of volume.crashes(MOST, random)) {
      cuts++;
      const signature = signatureOf(disk);
      const found = known.get(signature) ?? find(disk, scenario);
      known.set(signature, found);
      for (const fault of faultsOf(scenario, found, ended, relayed)) {
        wrong.set(fault, (wrong.get(fault) ?? 0) + 1);
      }
    }
  };
  if (!onlyAtEnd) look(false);
  for (const call of calls) {
    for (const address of erasedBy(call, scenario)) relayed.add(address);
    if (volume.apply(call) && !onlyAtEnd) look(false);
  }
  look(true);
  return { states: known.size, cuts, wrong };
}

/** The recipients whose entry, which is relayed by now, a call erases. */
function erasedBy({ name, args }: SystemCall, { fate, to }: Scenario): readonly string[] {
  if (fate !== 'relayed' || name !== 'unlink') return [];
  const path = Buffer.from(args.replace(/[^\da-f]|\\x/g, ''), 'hex').toString();
  return to.filter((address) => new RegExp(`:${address}:\\d+\\.sending$`).test(path));
}

function faultsOf(
  { fate, to }: Scenario,
  { queued, undelivered, trouble }: Found,
  ended: boolean,
  relayed: ReadonlySet<string>,
): readonly string[] {
  const faults = [...trouble];
  const there = to.filter((address) => queued.has(address) || undelivered.has(address));
  if (to.some((address) => (queued.get(address) ?? 0) > 1)) faults.push('twice in the queue');
  if (fate === 'submitted') {
    if (undelivered.size > 0) faults.push('in Undelivered');
    if (ended && there.length < to.length) faults.push('accepted and lost');
    if (!ended && there.length > 0 && there.length < to.length) faults.push('half a submission');
  } else {
    if (to.some((address) => !there.includes(address) && !relayed.has(address)))
      faults.push('lost');
    if (ended && fate === 'relayed' && relayed.size > 0 && there.length > 0) {
      faults.push('relayed, and queued again');
    }
  }
  return faults;
}

/** Makes a state and lets the spool's code look for the mail, as a runner does. */
function find(disk: Parameters<typeof build>[0], { body }: Scenario): Found {
  const queued = new Map<string, number>();
  const undelivered = new Set<string>();
  const trouble: string[] = [];
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-power-'));
  const unsynced = mock.method(fs, 'fsyncSync', () => undefined);
  try {
    build(disk, folder);
    const spool = new Spool(join(folder, 'spool'), process.pid);
    if (!existsSync(spool.folder)) return { queued, undelivered, trouble };
    // A runner makes what is missing, too.
    spool.makeLayout();
    spool.checkLayout();
    const now = Date.now();
    const { corrupt } = new Takeover(spool).run(now, {
      received: () => 'Received: by test\r\n',
      limits: NO_LIMITS,
    });
    const swept = spool.sweep(now);
    for (const { reason } of [...corrupt, ...swept.corrupt]) trouble.push(`corrupt: ${reason}`);
    trouble.push(...swept.faults);
    for (const entry of spool.list().entries) {
      const claim = spool.claim(entry, now);
      if (claim === undefined) continue;
      let message: StoredMessage;
      try {
        message = spool.open(claim);
      } catch (error) {
        if (!(error instanceof BadBlock)) throw error;
        trouble.push(`corrupt: ${error.message}`);
        continue;
      }
      const text = Buffer.concat([...message.pieces()].map((piece) => Buffer.from(piece)));
      const { address } = message.recipientOf(claim.base);
      message.close();
      if (message.sender === '') continue;
      if (!text.toString('latin1').endsWith(`\r\n\r\n${body.replaceAll('\n', '\r\n')}`)) {
        trouble.push('another body');
      }
      queued.set(address, (queued.get(address) ?? 0) + 1);
    }
    for (const base of spool.listUndelivered()) {
      undelivered.add(parseBase(base)?.recipient ?? '');
      const history = spool.history(base, 'Undelivered');
      const reason = history.some(({ outcome }) => outcome === 'refused' || outcome === 'expired');
      if (!reason) trouble.push('in Undelivered without its reason');
    }
  } catch (error) {
    trouble.push(`the spool's code failed: ${String(error)}`);
  } finally {
    unsynced.mock.restore();
    rmSync(folder, { recursive: true, force: true });
  }
  return { queued, undelivered, trouble };
}

/** A submission behind one that was killed while it made the spool. */
async function recordAfterKill(call: SystemCall): Promise<ReturnType<typeof check> | undefined> {
  const site = makeSite();
  try {
    const before = new Volume(site.folder, ['control', 'log', 'strace']).copy();
    const submit = async (to: string, inject?: Parameters<typeof trace>[2]) =>
      await trace(
        [programPath('sendmail'), '-f', SENDER, to],
        {
          env: site.env,
          input: `Subject: swept\n\n${BODY}`,
          log: join(site.folder, 'strace'),
          octets: 1_000_000,
        },
        inject,
      );
    const killed = await submit('killed@x.test', { call, fault: 'KILL' });
    // Threads race for their places: it did not come to that call.
    if (killed.status !== null) return undefined;
    const { status, stderr, calls } = await submit('a@x.test');
    assert.equal(status, 0, stderr);
    const scenario: Scenario = {
      title: 'behind a kill',
      command: () => [],
      to: ['a@x.test'],
      body: BODY,
      fate: 'submitted',
    };
    return check({ scenario, volume: before, calls: [...killed.calls, ...calls] }, true);
  } finally {
    site.remove();
  }
}

function report(t: TestContext, title: string, result: ReturnType<typeof check>): void {
  const wrong = [...result.wrong].map(([fault, count]) => `${count} ${fault}`).join('; ');
  t.diagnostic(
    `${title}: ${result.cuts} power cuts, ${result.states} states: ${wrong || 'all found'}`,
  );
}

// A user without rights cannot sync the folder that his file's name stands in: decision 11 says what that
// rests on, and test/programs/incoming-power.test.ts cuts the power of a real file system.
const SMALL = [...SUBMISSIONS, ...RUNS].filter(({ title }) => !/5 MB|without rights/.test(title));

for (const scenario of SMALL) {
  test(`After a power cut everything accepted is found: ${scenario.title}`, { skip }, async (t) => {
    const result = await record(scenario, check);
    report(t, scenario.title, result);
    assert.ok(result.states > 5, 'hardly any states');
    assert.deepEqual([...result.wrong.keys()], []);
  });
}

test('Mail behind a submission that was killed while it made the spool outlives a power cut', {
  skip,
}, async (t) => {
  const first = SUBMISSIONS.find(({ title }) => /first mail/.test(title));
  assert.ok(first);
  const calls = await record(first, (recorded) => recorded.calls);
  const points = calls.filter(
    ({ name, args }) =>
      /^(?:mkdir|rename|link)$/.test(name) || (/^(?:fsync|openat)$/.test(name) && isBelow(args)),
  );
  let states = 0;
  let missed = 0;
  for (const point of points) {
    const result = await recordAfterKill(point);
    if (result === undefined) {
      missed++;
      continue;
    }
    states += result.states;
    assert.deepEqual([...result.wrong.keys()], [], `${point.name} ${point.nth}`);
  }
  t.diagnostic(`killed at ${points.length - missed} calls: ${states} states: all found`);
  assert.ok(points.length - missed > 20);
});

/** Whether the arguments name something below the folder for temporary files. */
function isBelow(args: string): boolean {
  return Buffer.from(args.replace(/[^\da-f]|\\x/g, ''), 'hex')
    .toString()
    .includes('/spool');
}

/** Records with a sync left out: the scenario, the part of the path whose syncs go, what comes of it. */
const PLANTED: readonly (readonly [title: RegExp, path: RegExp, fault: string])[] = [
  [/^sendmail, one recipient/, /\/tmp\/[^/]*$/, 'accepted and lost'],
  [/^sendmail, one recipient/, /\/spool\/spool$/, 'accepted and lost'],
  [/^sendmail, three recipients, 1 KB$/, /\/unsplit$/, 'half a submission'],
  [/^sendmail, three recipients, 1 KB$/, /\/spool\/spool$/, 'accepted and lost'],
  [/first mail of a new spool/, /\/spool$/, 'accepted and lost'],
  [/splits a submission/, /\/spool\/spool$/, 'lost'],
  [/refused/, /\/Undelivered$/, 'in Undelivered without its reason'],
  [/refused/, /:\.result$/, 'in Undelivered without its reason'],
  [/takes over/, /\/tmp\/[^/]*$/, 'lost'],
];

for (const [title, path, fault] of PLANTED) {
  const scenario = SMALL.find((each) => title.test(each.title));
  assert.ok(scenario);
  test(`A sync of ${path.source} that is left out is noticed: ${scenario.title}`, {
    skip,
  }, async (t) => {
    const result = await record(scenario, (recorded) => {
      const calls = recorded.calls.filter(({ name, args }) => {
        const file = Buffer.from(args.replace(/^\d+<|>.*$|\\x/g, ''), 'hex').toString();
        return !(/sync/.test(name) && path.test(file));
      });
      assert.ok(calls.length < recorded.calls.length, 'there is no such sync');
      return check({ ...recorded, calls });
    });
    report(t, scenario.title, result);
    assert.ok(result.wrong.size > 0, 'not noticed');
    assert.ok(
      [...result.wrong.keys()].some((each) => each.includes(fault)),
      fault,
    );
  });
}
