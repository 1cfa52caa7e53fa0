// Kills submissions and runners at random moments and looks at what is left. The moments come from a
// seed, so that a failure can be seen again.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { EXTENSIONS, startRelay } from './relay.ts';
import { programPath, type Site, siteFor } from './site.ts';

/** A generator of numbers from 0 to 1 (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Launched {
  readonly child: ChildProcess;
  /** The exit status, or null where it was killed, and its time from start to end in milliseconds. */
  readonly ended: Promise<{ readonly status: number | null; readonly took: number }>;
}

/** Starts a program that only its end or the caller stops. */
function launch(site: Site, program: string, args: readonly string[], input: string): Launched {
  const start = performance.now();
  const child = spawn(programPath(program), [...args], {
    env: site.env,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(input);
  const ended = once(child, 'close').then(([status]) => ({
    status: status as number | null,
    took: performance.now() - start,
  }));
  return { child, ended };
}

/**
 * Each round submits a message and kills the submission or the runner (or neither) at a random moment.
 * In the end the queue is run in peace: who was told 0 has the mail, at least once, and twice only
 * where the log says that an attempt was interrupted; who was told nothing has all of it or none.
 */
export async function crashRounds(
  t: TestContext,
  rounds: number,
  seed: number,
  extensions: readonly string[] = EXTENSIONS,
): Promise<void> {
  const random = randomFrom(seed);
  const site = siteFor(t);
  const relay = await startRelay(t, { extensions });
  site.relays(relay.port);
  await site.run('sendmail', ['warm-up@x.test'], 'Subject: s\n\n');
  // How long each took when it last ran to its end: a machine changes its pace while the test runs, and
  // a kill after the end tries nothing.
  const span = {
    submission: (await launch(site, 'sendmail', ['warm-up2@x.test'], 'Subject: s\n\n').ended).took,
    runner: (await launch(site, 'picorelay-cron', [], '').ended).took,
  };

  const told = new Map<string, number | null>();
  const rcpts = new Map<string, readonly string[]>();
  let killed = 0;
  for (let round = 0; round < rounds; round++) {
    const id = `r${round}`;
    const names = random() < 0.5 ? ['a'] : ['a', 'b', 'c'];
    rcpts.set(
      id,
      names.map((name) => `${name}.${id}@x.test`),
    );
    const body = `Subject: ${id}\n\n${'x'.repeat(70)}\n`.repeat(random() < 0.2 ? 3000 : 1);
    const submission = launch(site, 'sendmail', ['-i', '--', ...(rcpts.get(id) ?? [])], body);
    const runner = launch(site, 'picorelay-cron', [], '');
    // The interesting moments are near the end: node's own start takes most of the time.
    const victims: [Launched, number][] = [];
    if (random() < 0.6) victims.push([submission, span.submission * (0.3 + 1.2 * random())]);
    if (random() < 0.6) victims.push([runner, span.runner * (0.3 + 1.2 * random())]);
    const [submitted, ran] = await Promise.all([
      submission.ended,
      runner.ended,
      ...victims.map(async ([{ child }, after]) => {
        await delay(after);
        child.kill('SIGKILL');
      }),
    ]);
    told.set(id, submitted.status);
    if (submitted.status !== null) span.submission = submitted.took;
    if (ran.status !== null) span.runner = ran.took;
    if (submitted.status === null || ran.status === null) killed++;
  }
  assert.ok(killed > rounds / 8, `only ${killed} of ${rounds} rounds killed anything`);

  // Three runs: what the first takes back may be due a moment later.
  for (let n = 0; n < 3; n++) {
    const last = await site.run('picorelay', ['run', '--once']);
    assert.equal(last.status, 0, last.stderr);
  }
  assert.deepEqual(site.names('spool'), [], `seed ${seed}`);
  assert.deepEqual(site.names('unsplit'), [], `seed ${seed}`);
  assert.deepEqual([site.names('Undelivered'), site.names('corrupt')], [[], []], `seed ${seed}`);
  assert.deepEqual(relay.faults, []);

  // By the runner that took the claim back, or, where that one was killed too, by the one that relayed.
  const recorded =
    / (?:interrupted id=\S+:(\S+@x\.test) |relayed id=\S+ .* to=(\S+) .* duplicate=possible)/g;
  const interrupted = new Set(
    [...site.log().matchAll(recorded)].map(([, taken, relayed]) => taken ?? relayed ?? ''),
  );
  const count = new Map<string, number>();
  for (const to of relay.recipients()) count.set(to, (count.get(to) ?? 0) + 1);
  for (const [id, addresses] of rcpts) {
    const got = addresses.map((address) => count.get(address) ?? 0);
    const what = `${id} (exit ${told.get(id)}): ${got.join(' ')} copies; seed ${seed}`;
    if (told.get(id) === 0)
      assert.ok(
        got.every((copies) => copies > 0),
        `lost: ${what}`,
      );
    else assert.ok(got.every((copies) => copies > 0) || got.every((copies) => copies === 0), what);
    for (const [n, address] of addresses.entries()) {
      if ((got[n] ?? 0) > 1) assert.ok(interrupted.has(address), `not recorded: ${what}`);
    }
  }
}
