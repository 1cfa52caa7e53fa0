// Runs a scenario once for each system call that it makes, with the process killed at that call or the
// call failing, and looks afterwards whether every mail is where it has to be.
import assert from 'node:assert/strict';
import { chownSync, existsSync, renameSync, rmSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { prefixOf, senderPart } from '../../src/spool/name.ts';
import { Spool } from '../../src/spool/spool.ts';
import { type Script, startRelay, type TestRelay } from './relay.ts';
import { makeSite, type Site } from './site.ts';
import { type Fault, type SystemCall, type Traced, trace } from './strace.ts';

/** One run of a scenario has one of its own. */
export interface Place {
  readonly site: Site;
  readonly relay: TestRelay;
}

export interface Scenario {
  readonly title: string;
  readonly control?: Readonly<Record<string, string | undefined>>;
  /** What the relay answers while the swept process runs. */
  readonly script?: Script;
  /** Whether it answers so afterwards, too. */
  readonly persists?: boolean;
  readonly prepare?: (place: Place) => void | Promise<void>;
  readonly command: (place: Place) => readonly string[];
  readonly input?: string;
  readonly to: readonly string[];
  /** The message's body with LF line ends. */
  readonly body: string;
  /**
   * `submitted`: the swept process takes the mail in, and its exit status says whether it did.
   * `relayed`, `refused`: the mail was there before, and this is what has to become of it.
   */
  readonly fate: 'submitted' | 'relayed' | 'refused';
}

/** Processes at a time. */
const WORKERS = 2;

/** How often a point is looked for, and how often of these at the same number. */
const ROUNDS = 8;
const TRIES = 3;

/** Of a longer row of calls of one kind on one file, those in the middle are sampled. */
const LONGEST_ROW = 6;
const SAMPLE = 16;

export const SENDER = 'root@client.test';

/** Sweeps a scenario and prints what came of it. */
export async function sweep(
  t: TestContext,
  scenario: Scenario,
  faults: readonly Fault[],
): Promise<void> {
  const places = Array.from({ length: WORKERS }, () => new Booth(scenario));
  const [first] = places;
  assert.ok(first);
  const { calls } = await first.attempt();
  const numbers = new Numbers();
  numbers.learn(calls);
  for (const fault of faults) {
    const all = calls.filter(({ call }) => canMeet(fault, call));
    const points = sampled(all);
    const came = new Map<string, number>();
    const missed: string[] = [];
    const queue = [...points];
    await Promise.all(
      places.map(async (place) => {
        for (let point = queue.shift(); point !== undefined; point = queue.shift()) {
          const outcome = await place.attemptAt(point, fault, numbers);
          if (outcome === undefined) missed.push(`${point.call.nth}: ${point.kind}`);
          else came.set(outcome, (came.get(outcome) ?? 0) + 1);
        }
      }),
    );
    const left = all.length - points.length;
    const sample = left > 0 ? ` (${left} alike in the middle of long rows left out)` : '';
    const results = [...came].sort().map(([what, count]) => `${count} ${what}`);
    if (missed.length > 0) {
      results.push(`${missed.length} that the process did not come to: ${missed.join(', ')}`);
    }
    t.diagnostic(
      `${scenario.title}: ${fault} at ${points.length} calls${sample}: ${results.join('; ')}`,
    );
    assert.ok(points.length > 5, 'the trace shows no calls to speak of');
    assert.ok(
      missed.length <= points.length / 20,
      `${missed.length} of ${points.length} points were missed: ${missed.join(', ')}`,
    );
  }
}

/** A call at which something can happen, and what it is apart from what differs from run to run. */
interface Point {
  readonly call: SystemCall;
  readonly kind: string;
  /** Which one of its kind, from 0. */
  readonly turn: number;
}

/**
 * The numbers that strace knew each point by, the latest first. Threads and children race, so that a
 * call's number in one run may be another's in the next, and all behind it are shifted with it.
 */
class Numbers {
  /** By kind, by turn. */
  readonly #seen = new Map<string, readonly (readonly number[])[]>();

  learn(points: readonly Point[]): void {
    for (const { call, kind, turn } of points) {
      const turns = [...(this.#seen.get(kind) ?? [])];
      turns[turn] = [call.nth, ...(turns[turn] ?? []).filter((nth) => nth !== call.nth)];
      this.#seen.set(kind, turns);
    }
  }

  /** Its own, then those of the turns before it: a row of calls may be shorter in another run. */
  of({ kind, turn }: Point): readonly number[] {
    return (this.#seen.get(kind) ?? [])
      .slice(0, turn + 1)
      .reverse()
      .flat();
  }
}

/** Where one scenario is run again and again, each time from nothing. */
class Booth {
  readonly #scenario: Scenario;

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
  }

  /** One run; what became of it, or undefined when the process did not come to the call. */
  async attemptAt(point: Point, fault: Fault, numbers: Numbers): Promise<string | undefined> {
    const tries = new Map<number, number>();
    for (let round = 0; round < ROUNDS; round++) {
      const nth = numbers.of(point).find((number) => (tries.get(number) ?? 0) < TRIES);
      if (nth !== undefined) {
        tries.set(nth, (tries.get(nth) ?? 0) + 1);
        const call = { ...point.call, nth };
        const { outcome, hit } = await this.attempt({ ...point, call }, fault);
        if (hit) {
          numbers.learn([{ ...point, call }]);
          return outcome;
        }
      }
      numbers.learn((await this.attempt()).calls);
    }
    return undefined;
  }

  async attempt(
    point?: Point,
    fault: Fault = 'KILL',
  ): Promise<{ calls: readonly Point[]; outcome: string; hit: boolean }> {
    const scenario = this.#scenario;
    const cleanups: (() => unknown)[] = [];
    const site = makeSite();
    const call = point?.call;
    try {
      const relay = await startRelay(
        { after: (cleanup: unknown) => void cleanups.push(cleanup as () => unknown) },
        scenario.script === undefined ? {} : { script: scenario.script },
      );
      const place = { site, relay };
      site.relays(relay.port);
      for (const [name, text] of Object.entries(scenario.control ?? {})) site.control(name, text);
      await scenario.prepare?.(place);
      const traced = await trace(
        scenario.command(place),
        {
          env: site.env,
          input: scenario.input ?? '',
          log: join(site.folder, 'strace'),
          // An error in node's own pipes can leave the process waiting for itself.
          limit: call === undefined ? 60_000 : 20_000,
        },
        call && { call, fault },
      );
      const struck = call && struckCall(traced.calls, call, fault);
      const hit = struck !== undefined && kindOf(struck, site.folder) === point?.kind;
      // An error in node's own pipes is none that files can have.
      if (call !== undefined && !hit && fault !== 'KILL') return { calls: [], outcome: '', hit };
      const what = `${fault} at ${call?.nth}: ${struck && kindOf(struck, site.folder)}`;
      try {
        if (call === undefined) assert.equal(traced.status, 0, traced.stderr);
        checkAnswer(scenario, traced, fault);
        if (scenario.persists !== true) relay.script = () => undefined;
        await settleDown(site);
        const calls = pointsOf(traced.calls, site.folder);
        return { calls, outcome: judge(scenario, place, traced, fault), hit };
      } catch (error) {
        const detail = [what, traced.status, traced.stderr, site.log()].join('\n');
        throw new Error(`${String(error)}\n${detail}\n${listOf(site)}`, { cause: error });
      }
    } finally {
      for (const cleanup of cleanups) await cleanup();
      site.remove();
    }
  }
}

/**
 * strace counts for each thread alone, so that it strikes the first thread that comes to a number: what
 * another thread or a child does is within reach where the main thread makes fewer calls of that name.
 */
function reachable(calls: readonly SystemCall[]): readonly SystemCall[] {
  const main = calls[0]?.thread;
  const most = new Map<string, number>();
  for (const { thread, name, nth } of calls) if (thread === main) most.set(name, nth);
  return calls.filter(({ thread, name, nth }) => thread === main || nth > (most.get(name) ?? 0));
}

function pointsOf(calls: readonly SystemCall[], folder: string): readonly Point[] {
  const turns = new Map<string, number>();
  return reachable(calls)
    .filter((call) => concerns(call, folder))
    .map((call) => {
      const kind = kindOf(call, folder);
      const turn = turns.get(kind) ?? 0;
      turns.set(kind, turn + 1);
      return { call, kind, turn };
    });
}

/** Calls on the spool and the log, and what comes and goes on standard input and the relay's connection. */
function concerns({ name, args }: SystemCall, folder: string): boolean {
  if (args.includes('<socket:') || /^[01]</.test(args)) return /^(?:read|write|close)/.test(name);
  return args.includes(join(folder, 'spool')) || args.includes(join(folder, 'log'));
}

/** A call without what differs from run to run: its name and the files that it is about. */
function kindOf({ name, args }: SystemCall, folder: string): string {
  const files = [...args.matchAll(/<([^>]+)>|"(\/[^"]*)"/g)].map(([, behind, named]) =>
    (behind ?? named ?? '')
      .replaceAll(folder, '')
      .replace(/\d{8}T\d{6}\.?\d*Z/g, 'TIME')
      .replace(/:[A-Za-z0-9]{20,}/g, ':TOKEN')
      .replace(/socket:\[\d+\]/g, 'SOCKET')
      .replace(/[:/.]\d+\b/g, ':N'),
  );
  return [name, ...files].join(' ');
}

/** The call at which it happened. */
function struckCall(
  calls: readonly SystemCall[],
  { name, nth }: SystemCall,
  fault: Fault,
): SystemCall | undefined {
  return calls.find(
    (call) =>
      call.name === name &&
      call.nth === nth &&
      (fault === 'KILL' ? call.result.startsWith('?') : call.result.endsWith('(INJECTED)')),
  );
}

/** Which errors a call may have in the world. */
function canMeet(fault: Fault, { name, args }: SystemCall): boolean {
  if (fault === 'KILL') return true;
  if (args.includes('<socket:')) return false;
  if (fault === 'EIO') return true;
  if (/^open/.test(name)) return args.includes('O_CREAT');
  return /^(mk|link|symlink|rename|unlink|write|pwrite|fsync|fdatasync|close|fallocate|copy)/.test(
    name,
  );
}

function sampled(points: readonly Point[]): Point[] {
  const rows = new Map<string, Point[]>();
  for (const point of points) {
    rows.set(point.kind, [...(rows.get(point.kind) ?? []), point]);
  }
  const chosen = new Set<Point>();
  for (const row of rows.values()) {
    for (const [n, point] of row.entries()) {
      const edge = n < LONGEST_ROW / 2 || n >= row.length - LONGEST_ROW / 2;
      if (edge || n % SAMPLE === 0) chosen.add(point);
    }
  }
  return points.filter((point) => chosen.has(point));
}

/** A failure is told in one clear line, and never with a stack. */
function checkAnswer({ fate }: Scenario, { status, stderr }: Traced, fault: Fault): void {
  assert.doesNotMatch(stderr, /^ {4}at /m);
  if (fault === 'KILL') return;
  assert.notEqual(status, null, 'it crashed, or came to no end');
  if (fate === 'submitted') {
    if (status !== 0 && stderr !== '') {
      assert.match(stderr, /^[\w-]+: [^\n]+; nothing was queued\n$/);
    }
  } else {
    assert.ok(status === 0 || status === 75, `exit ${status}`);
    if (status === 75) assert.match(stderr, /^(?:[\w-]+: [^\n]+\n)+$/);
  }
}

/** Runs the queue in peace until nothing waits. */
async function settleDown(site: Site): Promise<void> {
  const busy = (): boolean =>
    [
      ...site.queued(),
      ...site.names('unsplit'),
      ...site.names('incoming'),
      ...site.names('run/bounces'),
    ].some((name) => !name.endsWith('.held') && !name.startsWith('.'));
  for (let round = 0; round < 6 && (round === 0 || busy()); round++) {
    // A lock of a dead process is taken over after two seconds, which need not pass here.
    const lock = join(site.spool, 'run', 'runner.lock');
    const past = Date.now() / 1000 - 10;
    if (existsSync(lock)) utimesSync(lock, past, past);
    const { status, stderr } =
      round === 0
        ? await site.run('picorelay-cron')
        : await site.run('picorelay', ['run', '--once']);
    assert.equal(status, 0, stderr);
  }
  assert.ok(!busy(), 'the queue is not quiet');
}

/** What became of the mail, in a few words; throws where that is not right. */
function judge(
  { fate, to, body }: Scenario,
  { site, relay }: Place,
  { status }: Traced,
  fault: Fault,
): string {
  assert.deepEqual(relay.faults, []);
  assert.deepEqual(site.names('corrupt'), []);
  const mails = relay.received.filter(({ from }) => from !== '');
  for (const { raw } of mails) {
    const start = raw.indexOf('\r\n\r\n') + 4;
    assert.ok(raw.subarray(start).equals(Buffer.from(body.replaceAll('\n', '\r\n'))), 'the body');
  }
  const got = to.map((address) => mails.filter((mail) => mail.to.includes(address)).length);
  const copies = `copies: ${got.join(' ')}`;
  const undelivered = site.names('Undelivered');
  const held = site.queued();
  if (fate === 'refused') {
    assert.ok(
      got.every((count) => count === 0),
      copies,
    );
    for (const address of to) {
      assert.ok(
        undelivered.some((name) => name.endsWith(`:${address}`)),
        `no ${address} in Undelivered`,
      );
      assert.ok(
        undelivered.some((name) => name.endsWith(`:${address}:.result`)),
        'no result',
      );
    }
    assert.equal(undelivered.length, 2 * to.length);
    const reports = relay.received
      .filter(({ from }) => from === '')
      .map(({ raw }) => raw.toString());
    for (const address of to) {
      const own = reports.filter((report) => report.includes(`rfc822; ${address}`)).length;
      assert.ok(own === 1 || own === 2, `${own} reports about ${address}`);
    }
    return reports.length === 1 ? 'reported once' : 'reported twice';
  }
  assert.deepEqual(undelivered, []);
  if (fate === 'submitted') {
    assert.deepEqual(held, []);
    assert.ok(
      got.every((count) => count <= 1),
      copies,
    );
    const all = got.every((count) => count === 1);
    const none = got.every((count) => count === 0);
    if (status === 0) assert.ok(all, `lost after exit 0; ${copies}`);
    else if (fault === 'KILL') assert.ok(all || none, copies);
    else assert.ok(none, `queued after exit ${status}; ${copies}`);
    if (status === 0) return 'told 0, relayed once';
    const told = status === null ? 'not told' : 'refused';
    return all ? `${told}, relayed once` : `${told}, not queued`;
  }
  const doubt =
    / (?:interrupted id=\S+:(\S+@\S+) |relayed id=\S+ .* to=(\S+) .* duplicate=possible)/g;
  const recorded = new Set([...site.log().matchAll(doubt)].map(([, a, b]) => a ?? b ?? ''));
  const words = new Set<string>();
  for (const [n, address] of to.entries()) {
    const count = got[n] ?? 0;
    const isHeld = held.some((name) => name.includes(`:${address}:`));
    assert.ok(count > 0, `lost; ${copies}`);
    assert.ok(count === 1 || (count === 2 && recorded.has(address)), copies);
    assert.ok(!isHeld || (count === 1 && / fault /.test(site.log())), 'held without a reason');
    if (count === 2) words.add('relayed twice, on record');
    if (isHeld) words.add('relayed once, held');
  }
  return [...words].sort().join(' and ') || 'relayed once';
}

function listOf(site: Site): string {
  const folders = [
    'tmp',
    'incoming',
    'unsplit',
    'spool',
    'Undelivered',
    'corrupt',
    'run',
    'run/bounces',
  ];
  return folders.map((folder) => `${folder}: ${site.names(folder).join(' ')}`).join('\n');
}

/** The spool of a site, for preparing what a process finds. */
export function spoolOf({ site }: Place): Spool {
  const spool = new Spool(site.spool, process.pid);
  spool.makeLayout();
  return spool;
}

/** Puts a mail into the queue, accepted so many milliseconds ago. */
export function queueMail(
  place: Place,
  { to, body }: Pick<Scenario, 'to' | 'body'>,
  age = 0,
): Spool {
  const spool = spoolOf(place);
  const [first = '', ...others] = to;
  spool.submit(
    {
      sender: SENDER,
      recipients: [{ address: first }, ...others.map((address) => ({ address }))],
    },
    { uid: 0, pid: process.pid, time: (Date.now() - age) * 1000, program: 'sendmail' },
    [Buffer.from(`Subject: swept\n\n${body}`)],
  );
  return spool;
}

/** Makes one file of the entries in spool/, as a submission leaves it that died before its split. */
export function unsplit({ site }: Place): void {
  const [first = '', ...others] = site.queued();
  for (const entry of others) rmSync(join(site.spool, 'spool', entry));
  const name = `${prefixOf(first)}:${senderPart(SENDER)}`;
  renameSync(join(site.spool, 'spool', first), join(site.spool, 'unsplit', name));
}

/** The same as a user left it who has no rights on the spool. */
export function untaken({ site }: Place, uid: number): void {
  const [first = '', ...others] = site.queued();
  for (const entry of others) rmSync(join(site.spool, 'spool', entry));
  const path = join(site.spool, 'incoming', `${prefixOf(first)}:0123456789abcdef0123456789abcdef`);
  renameSync(join(site.spool, 'spool', first), path);
  if (process.getuid?.() === 0) chownSync(path, uid, uid);
}
