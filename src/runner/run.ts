/**
 * The retry runner: one per spool, by lock. It puts right what others left, offers what is due to the
 * relay, waits a moment for new arrivals, and ends. Started in the background by a submission, by
 * cron, or by hand.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { reportsOwed } from '../bounce/ledger.ts';
import type { Reporter } from '../bounce/reporter.ts';
import { type Control, ControlError, controlTimes, openControl } from '../control/control.ts';
import { DEFAULT_PLAN, type RetryPlan } from '../control/retry.ts';
import type { Log } from '../log/log.ts';
import { domainOf } from '../mail/address.ts';
import { isDue, mayRelay, scheduleFor, watchOf } from '../queue/schedule.ts';
import { noteCounts } from '../queue/stats.ts';
import { hasCode } from '../spool/disk.ts';
import { addressOf, type EntryState, parseBase } from '../spool/name.ts';
import type { Entry, Spool, Swept } from '../spool/spool.ts';
import { Takeover } from '../spool/takeover.ts';
import { admissionOf } from './admission.ts';
import type { Alarm } from './alarm.ts';
import type { Dispatcher } from './dispatch.ts';
import { type Lock, takeLock } from './lock.ts';
import type { Tally, World } from './settlement.ts';
import {
  announceRunner,
  listenForWake,
  type WakeListener,
  wakeRunner,
  withdrawNote,
} from './wake.ts';

/**
 * `background`: a submission started it, to offer what is new. `cron`: what is due. `now`: all that
 * waits, due or not, in or out of a window.
 */
export type RunMode = 'background' | 'cron' | 'now';

export interface RunReport extends Readonly<Tally> {
  /** `busy`: another runner has the lock. `none`: there is no spool yet. */
  readonly kind: 'ran' | 'busy' | 'none';
  /** Why the route is paused, one line. */
  readonly trouble: string | undefined;
}

/** A starting runner that finds the lock taken looks again this often, so many times. */
const LOCK_LOOKS = 60;
const LOCK_PAUSE = 50;

/** A runner that outlives its last pass looks this often (milliseconds). */
const SLOW_LOOK = 2000;

/** A runner that stays tries for the lock this often (milliseconds). */
const LOCK_TURN = 1000;

/** A runner that stays looks at least and at most this often (milliseconds). */
const LONGEST_SLEEP = 60_000;
const SHORTEST_SLEEP = 1000;

/**
 * A pass that takes longer than this ends when there is new mail, so that nobody's waits until all of
 * another's is gone (milliseconds). The next pass begins at once.
 */
const LONGEST_PASS = 5000;

/** A runner that is woken for nothing rests at most this long (milliseconds). */
const LONGEST_REST = 1000;

/** The record of this process is refreshed this often (milliseconds). */
const TOUCH = 60_000;

/**
 * Runs the queue once, and on while there are new arrivals.
 * @throws LayoutError for a spool of another layout; a system call's error where the spool cannot be read
 */
export async function runQueue(
  spool: Spool,
  control: Control,
  log: Log,
  world: World,
  mode: RunMode,
): Promise<RunReport> {
  const idle = { relayed: 0, deferred: 0, refused: 0, left: 0, trouble: undefined };
  try {
    // In a folder that was made for the queue those without rights on it wait for this.
    if (spool.isBare()) spool.makeLayout();
    spool.checkLayout();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return { ...idle, kind: 'none' };
    throw error;
  }
  const lock = await takeLockPatiently(spool, mode, world.now);
  if (lock === undefined) return { ...idle, kind: 'busy' };
  return await withLock(spool, control, log, world, lock, async (runner) => await runner.run(mode));
}

async function withLock<T>(
  spool: Spool,
  control: Control,
  log: Log,
  world: World,
  lock: Lock,
  work: (runner: Runner) => Promise<T>,
): Promise<T> {
  const runner = new Runner(spool, control, log, world, lock);
  const touch = setInterval(() => spool.touch(world.now()), TOUCH);
  try {
    return await work(runner);
  } finally {
    clearInterval(touch);
    await runner.end();
    spool.leave();
    await lock.release();
    // Only now, when the queue is anybody's: an alert may take its time.
    await runner.told();
  }
}

/** What a runner that stays wants of the program around it. */
export interface Service {
  /** Called when it has the lock and takes wake-ups. */
  readonly ready: () => void;
  /** Called when another runner has the lock, before it waits for its turn. */
  readonly waiting: () => void;
  /** Whether the control folder is to be read afresh, files that it only names too; asked once. */
  readonly takeReload: () => boolean;
}

/**
 * Looks after the queue in the foreground until it is told to stop. Where another runner has the lock,
 * it waits for its turn; a spool that is missing is made.
 * @throws LayoutError for a spool of another layout; a system call's error where the spool cannot be used
 */
export async function serveQueue(
  spool: Spool,
  control: Control,
  log: Log,
  world: World,
  service: Service,
): Promise<void> {
  spool.makeLayout();
  spool.checkLayout();
  let told = false;
  while (!world.stop.aborted) {
    const lock = await takeLock(spool);
    if (lock === undefined) {
      if (!told) service.waiting();
      told = true;
      await sleep(LOCK_TURN, undefined, { signal: world.stop }).catch((error: unknown) => {
        if (!world.stop.aborted) throw error;
      });
      continue;
    }
    // After its lock was lost, because the machine slept, it begins anew.
    await withLock(spool, openControl(control.folder), log, world, lock, async (runner) => {
      await runner.serve(service);
    });
  }
}

/**
 * A runner in the background finds the lock taken when another one is about to end: that one may have
 * listed for the last time before our mail was there. So it waits until the other reads wake-ups again
 * or is gone.
 */
async function takeLockPatiently(
  spool: Spool,
  mode: RunMode,
  now: () => number,
): Promise<Lock | undefined> {
  for (let looks = 0; ; looks++) {
    const lock = await takeLock(spool);
    if (lock !== undefined || mode === 'cron') return lock;
    // Who relied on this runner has committed before: the one that is woken now will see it.
    withdrawNote(spool.folder);
    if (wakeRunner(spool.folder) || looks >= LOCK_LOOKS) return undefined;
    announceRunner(spool.folder, now());
    await sleep(LOCK_PAUSE);
  }
}

class Runner {
  readonly #spool: Spool;
  #control: Control;
  /** When the control files were changed, as of the last pass. */
  #stamp: string | undefined;
  readonly #log: Log;
  readonly #world: World;
  readonly #lock: Lock;
  readonly #takeover: Takeover;
  /** There is more to take over at once. */
  #more = false;
  /** Whether the last pass had anything to do, and how many wake-ups before it led to none that had. */
  #found = false;
  #inVain = 0;
  readonly #total: Tally = { relayed: 0, deferred: 0, refused: 0, left: 0 };
  #listener: WakeListener | undefined;
  #dispatcher: Dispatcher | undefined;
  /** Those of earlier control files that still had routes under way. */
  readonly #retired: Dispatcher[] = [];
  #reporter: Reporter | undefined;
  #alarm: Alarm | undefined;
  /** What made the last pass fail; told once while it lasts. */
  #lastFault: string | undefined;
  #full = false;
  /** What the last look at the queue could not put right. */
  #faults: ReadonlySet<string> = new Set();
  /** New entries that the last pass left alone: their window is closed, or their route is paused. */
  readonly #passedOver = new Set<string>();
  /** Whether the last pass left entries to a route that was still under way. */
  #behind = false;
  /** What is to be offered due or not, and the last pass did not come to. */
  #unfinished: ReadonlySet<string> = new Set();

  constructor(spool: Spool, control: Control, log: Log, world: World, lock: Lock) {
    this.#spool = spool;
    this.#control = control;
    this.#log = log;
    this.#world = world;
    this.#lock = lock;
    this.#takeover = new Takeover(spool);
  }

  async run(mode: RunMode): Promise<RunReport> {
    let wanted = mode;
    do {
      // Before the listing: who finds no reader after this finds its mail listed below.
      this.#listener ??= await listenForWake(this.#spool.folder);
      withdrawNote(this.#spool.folder);
      await this.#pass(wanted);
      wanted = 'background';
      // A tick that had nothing to do ends at once; a submission is rarely alone.
      const linger = mode === 'background' || this.#dispatcher?.connected ? this.#linger() : 0;
      while (
        !this.#stopped() &&
        (this.#more ||
          (this.#listener !== undefined && (await this.#wait(linger))) ||
          (await this.#lags()))
      ) {
        await this.#pass(wanted);
      }
      await this.#listener?.close();
      this.#listener = undefined;
      // Who wrote a wake-up before the FIFO was closed has committed before, so this sees it.
      // The same goes for reports. What waits for its window does so without this runner.
    } while (!this.#stopped() && this.#hasNews());
    this.#countLate(this.#world.now());
    return { ...this.#total, kind: 'ran', trouble: this.#dispatcher?.trouble };
  }

  async end(): Promise<void> {
    await this.#listener?.close();
    await Promise.all([...this.#retired, this.#dispatcher].map((each) => each?.end()));
    // What ended only now is to be on the disk, too, and counted.
    this.#countLate(this.#world.now());
  }

  /** Whether a pass has left routes to themselves, which this runner outlives, or their mail; a moment later. */
  async #lags(): Promise<boolean> {
    if (this.#dispatcher?.lags !== true && !this.#behind) return false;
    await this.#wait(SLOW_LOOK);
    return true;
  }

  /** Waits until the administrator has been told what is wrong. */
  async told(): Promise<void> {
    await this.#alarm?.end();
  }

  /** Looks after the queue until it is stopped or loses its lock. */
  async serve(service: Service): Promise<void> {
    this.#listener = await listenForWake(this.#spool.folder);
    service.ready();
    while (!this.#stopped()) {
      if (service.takeReload()) await this.#reload();
      const next = await this.#passOrFault();
      if (this.#more) continue;
      // Connections are kept for a moment, as more mail often follows.
      if (this.#dispatcher?.connected) {
        if (await this.#wait(this.#linger())) continue;
        await this.#dispatcher.close();
      }
      await this.#wait(Math.min(LONGEST_SLEEP, Math.max(SHORTEST_SLEEP, next - this.#world.now())));
    }
  }

  /** A disk that fails for a while, or a folder that somebody moved, must not end a service. */
  async #passOrFault(): Promise<number> {
    this.#more = false;
    try {
      const next = await this.#pass('cron');
      this.#lastFault = undefined;
      return next;
    } catch (error) {
      if (!(error instanceof Error && 'syscall' in error)) throw error;
      if (error.message !== this.#lastFault) this.#log.fault(error.message);
      this.#lastFault = error.message;
      return Number.POSITIVE_INFINITY;
    }
  }

  /** Whether there was a wake-up within the time. */
  async #wait(milliseconds: number): Promise<boolean> {
    // Where no FIFO can be made, new mail waits for the next look.
    if (this.#listener === undefined) {
      await this.#sleep(milliseconds);
      return false;
    }
    if (this.#found) this.#inVain = 0;
    // Whoever may wake a runner may do so for nothing, again and again.
    if (this.#inVain > 3) await this.#sleep(Math.min(LONGEST_REST, 2 ** this.#inVain));
    const woken = await this.#listener.wait(milliseconds, this.#world.stop);
    this.#inVain = woken ? this.#inVain + 1 : 0;
    return woken;
  }

  async #sleep(milliseconds: number): Promise<void> {
    const { stop } = this.#world;
    await sleep(milliseconds, undefined, { signal: stop }).catch((error: unknown) => {
      if (!stop.aborted) throw error;
    });
  }

  /** Control files that were changed hold from now on, also for a runner that lives for long. */
  async #renewControl(): Promise<void> {
    const stamp = JSON.stringify([...controlTimes(this.#control.folder)]);
    if (this.#stamp !== undefined && this.#stamp !== stamp) await this.#reload();
    this.#stamp = stamp;
  }

  async #reload(): Promise<void> {
    await this.#dispatcher?.close();
    // What is under way ends as it began.
    if (this.#dispatcher?.lags) this.#retired.push(this.#dispatcher);
    this.#dispatcher = undefined;
    this.#reporter = undefined;
    this.#control = openControl(this.#control.folder);
  }

  /** One look at the queue; tells when the next entry is due, in milliseconds since 1970-01-01 UTC. */
  async #pass(mode: RunMode): Promise<number> {
    await this.#renewControl();
    const now = this.#world.now();
    const swept = this.#tidy(now);
    for (const base of swept.takenBack) this.#log.interrupted(base);
    for (const { name, reason } of swept.corrupt) this.#log.corrupt(name, reason);
    // Told when it begins, not at each look.
    for (const fault of swept.faults) if (!this.#faults.has(fault)) this.#log.fault(fault);
    this.#faults = new Set(swept.faults);
    const { refused } = this.#total;
    this.#passedOver.clear();
    const plan = this.#plan();
    const isUrgent = (entry: Entry): boolean =>
      isWaiting(entry) && (mode === 'now' || this.#unfinished.has(entry.base));
    let queued = false;
    let next = Number.POSITIVE_INFINITY;
    // Of a long queue only what is to be tried is kept.
    const { entries } = this.#spool.list((entry) => {
      queued = true;
      next = Math.min(next, laterThan(now, entry));
      return isUrgent(entry) || isToBeTried(entry.state, plan, now);
    });
    const [urgent, due] = partition(entries, isUrgent);
    const open = [...urgent, ...this.#inWindows(due, plan, now)];
    this.#found ||= open.length > 0;
    this.#behind = false;
    if (open.length > 0) {
      next = await this.#deliver(open, mode, now);
      // What was put off just now has a time that the listing before did not know.
      this.#spool.list((entry) => {
        next = Math.min(next, laterThan(now, entry));
        return false;
      });
    }
    this.#countLate(now);
    await this.#report(queued);
    await this.#alert(queued, this.#total.refused - refused);
    return next;
  }

  /** A folder that somebody removed is made again: what was in it is gone, what comes is not to be. */
  #tidy(now: number): Swept {
    try {
      this.#takeOver(now);
      return this.#spool.sweep(now);
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
      this.#spool.makeLayout();
      this.#takeOver(now);
      return this.#spool.sweep(now);
    }
  }

  /** Queues what users without rights on the spool have submitted. */
  #takeOver(now: number): void {
    this.#more = false;
    const report = this.#takeover.run(now, admissionOf(this.#control));
    this.#found = report.taken > 0;
    for (const { name, reason } of report.corrupt) this.#log.corrupt(name, reason);
    for (const { reason, ...fields } of report.discarded) {
      this.#log.discarded({ ...fields, said: reason });
    }
    for (const fault of report.faults) this.#log.fault(fault);
    this.#more = report.more;
  }

  /** Delivers, and tells when a paused route is probed next. */
  async #deliver(due: readonly Entry[], mode: RunMode, now: number): Promise<number> {
    this.#dispatcher ??= await this.#openDispatcher();
    const delivered = await this.#dispatcher.deliver(due, {
      mayExpire: this.#mayExpire(now),
      probe: mode === 'now',
      guard: true,
      stop: () => this.#stopped() || this.#isOver(now),
      leave: () => this.#isOver(now),
    });
    this.#unfinished = new Set(
      mode === 'now' || this.#unfinished.size > 0 ? delivered.rest.map(({ base }) => base) : [],
    );
    this.#behind = delivered.behind;
    this.#count(delivered, now);
    for (const entry of delivered.held) if (isNew(entry)) this.#passedOver.add(entry.base);
    return delivered.probe;
  }

  /** What came of routes that a pass has left. */
  #countLate(now: number): void {
    for (const each of [...this.#retired, this.#dispatcher]) {
      if (each !== undefined) this.#count(each.takeLate(), now);
    }
  }

  #count({ relayed, deferred, refused, left }: Readonly<Tally>, now: number): void {
    this.#total.left += left;
    if (relayed + deferred + refused === 0) return;
    this.#spool.sync();
    this.#total.relayed += relayed;
    this.#total.deferred += deferred;
    this.#total.refused += refused;
    const counts = { relayed, deferred, refused };
    noteCounts(this.#spool, counts, now);
  }

  /** Tells senders what did not go through; what it submits is offered by the next pass. */
  async #report(queued: boolean): Promise<void> {
    if (this.#reporter === undefined) {
      // Most ticks have nothing to tell.
      if (!queued && !reportsOwed(this.#spool.folder)) return;
      const { Reporter } = await import('../bounce/reporter.ts');
      this.#reporter = new Reporter(this.#spool, this.#control, this.#log, this.#world.now);
    }
    this.#reporter.report();
  }

  async #alert(queued: boolean, refused: number): Promise<void> {
    const full = this.#diskIsFull();
    if (this.#alarm === undefined) {
      // Most ticks have nothing to tell, and nothing that they told is to be taken back.
      const told = this.#spool.records.readAlerts() !== undefined;
      const quiet = !queued && refused === 0 && !told && !full;
      if (quiet && !this.#hasMortalSecrets()) return;
      const { Alarm } = await import('./alarm.ts');
      this.#alarm = new Alarm(this.#spool, this.#log, this.#world.now);
    }
    this.#alarm.look(this.#control, refused);
  }

  /** Whether there is a certificate or token that may end (runner/secrets.ts). */
  #hasMortalSecrets(): boolean {
    try {
      const { get } = this.#control;
      return (get('tlscertfile') ?? get('oauthtokenurl')) !== undefined;
    } catch (error) {
      if (error instanceof ControlError) return false;
      throw error;
    }
  }

  /** Whether new mail is refused because the disk has no room for it; logged when that begins. */
  #diskIsFull(): boolean {
    let shortage: string | undefined;
    try {
      shortage = this.#spool.shortage(this.#control.get('spoolfree'));
    } catch (error) {
      // Who uses the file says what is wrong with it.
      if (!(error instanceof ControlError)) throw error;
    }
    if (shortage !== undefined && !this.#full) {
      this.#log.fault(`new mail is refused: ${shortage}, which control/spoolfree keeps free`);
    }
    this.#full = shortage !== undefined;
    return this.#full;
  }

  async #openDispatcher(): Promise<Dispatcher> {
    const { Dispatcher } = await import('./dispatch.ts');
    return new Dispatcher(this.#spool, this.#control, this.#log, this.#world);
  }

  #isOver(begun: number): boolean {
    if (this.#listener?.pending !== true) return false;
    return Math.abs(this.#world.now() - begun) > LONGEST_PASS;
  }

  #stopped(): boolean {
    return this.#lock.lost || this.#world.stop.aborted;
  }

  /** The plan of control/retry, or that of an empty file: the courier says what is wrong with it. */
  #plan(): RetryPlan {
    try {
      return this.#control.get('retry');
    } catch (error) {
      if (error instanceof ControlError) return DEFAULT_PLAN;
      throw error;
    }
  }

  /** Those of the entries whose window is open. */
  #inWindows(due: readonly Entry[], plan: RetryPlan, now: number): readonly Entry[] {
    if (plan.windows.length === 0 && plan.domains.size === 0) return due;
    try {
      const open = new Map<string, boolean>();
      const [inside, outside] = partition(due, ({ base }) => {
        const { name, schedule } = scheduleFor(plan, recipientDomain(base));
        let may = open.get(name);
        if (may === undefined) {
          const lastRun = this.#spool.records.lastRun(name);
          may = mayRelay(schedule, {
            now: new Date(now),
            lastRun: lastRun === undefined ? undefined : new Date(lastRun),
          });
          if (may && schedule.windows.length > 0) this.#spool.records.noteRun(name, now);
          open.set(name, may);
        }
        return may;
      });
      for (const entry of outside) if (isNew(entry)) this.#passedOver.add(entry.base);
      return inside;
    } catch (error) {
      // A window of five fields that is none: the courier says so.
      if (error instanceof RangeError) return due;
      throw error;
    }
  }

  #mayExpire(now: number): boolean {
    const before = this.#spool.records.watch();
    const watch = watchOf(before, now);
    if (watch !== before) this.#spool.records.noteWatch(watch);
    return now >= watch.graceUntil;
  }

  #hasNews(): boolean {
    return (
      this.#takeover.waiting() ||
      this.#spool.list((entry) => this.#isNews(entry)).entries.length > 0
    );
  }

  #isNews(entry: Entry): boolean {
    return isNew(entry) && !this.#passedOver.has(entry.base);
  }

  /** Milliseconds. */
  #linger(): number {
    try {
      return this.#control.get('linger') * 1000;
    } catch (error) {
      if (error instanceof ControlError) return 0;
      throw error;
    }
  }
}

/** The domain in an entry's name; of an address that was cut nothing is known, so it has none. */
function recipientDomain(base: string): string {
  return domainOf(addressOf(parseBase(base)?.recipient ?? '') ?? '');
}

function partition<T>(items: readonly T[], test: (item: T) => boolean): readonly [T[], T[]] {
  const yes: T[] = [];
  const no: T[] = [];
  for (const item of items) (test(item) ? yes : no).push(item);
  return [yes, no];
}

function isNew({ state }: Entry): boolean {
  return state.kind === 'new';
}

/** Whether an entry is one that the admin may have sent at once. */
function isWaiting({ state }: Entry): boolean {
  return state.kind === 'new' || state.kind === 'waiting';
}

/** When an entry is due after now; infinity where it is not. */
function laterThan(now: number, { state }: Entry): number {
  return state.kind === 'waiting' && state.due > now ? state.due : Number.POSITIVE_INFINITY;
}

function isToBeTried(state: EntryState, plan: RetryPlan, now: number): boolean {
  if (state.kind === 'new') return true;
  return state.kind === 'waiting' && isDue(plan, state.due, now);
}
