/**
 * The storm guard at work: counts the mails of each user as they are offered first, holds back what is
 * over control/userrate, and says of whom that began. What is held back stays in the queue as it is, and
 * is asked about again by each pass.
 *
 * Two processes that send at a time count each other's mails late: a limit may be passed by a few.
 */
import { type Control, ControlError } from '../control/control.ts';
import {
  afterSo,
  formatPaces,
  onePasses,
  type Pace,
  parsePaces,
  stillCounting,
} from '../queue/rate.ts';
import { type Entry, REPORTS, type Spool } from '../spool/spool.ts';

/** A user whose mail is held back from now on. */
export interface Storm {
  readonly uid: number;
  /** Mails an hour that go out. */
  readonly limit: number;
  /** So many are held back by now; the first of them. */
  readonly held: number;
  readonly first: Entry;
}

export class StormGuard {
  readonly #spool: Spool;
  readonly #userOf: (entry: Entry) => string;
  readonly #now: () => number;
  /** Mails an hour; undefined where there is no limit. */
  readonly #limit: number | undefined;
  readonly #until = new Map<string, number>();
  readonly #passed = new Map<string, number>();
  readonly #held = new Map<string, Entry[]>();

  /** Begins a pass. */
  constructor(spool: Spool, control: Control, userOf: (entry: Entry) => string, now: () => number) {
    this.#spool = spool;
    this.#userOf = userOf;
    this.#now = now;
    this.#limit = limitOf(control);
    if (this.#limit === undefined) return;
    for (const [user, { until }] of parsePaces(spool.records.readRates()))
      this.#until.set(user, until);
  }

  /** All that was held back. */
  get held(): readonly Entry[] {
    return [...this.#held.values()].flat();
  }

  /** Whether an entry may be offered now; it is counted if it may. */
  admits(entry: Entry): boolean {
    if (this.#limit === undefined || !isFirst(entry)) return true;
    const user = this.#userOf(entry);
    // Reports have a guard of their own.
    if (user === REPORTS) return true;
    const until = onePasses(this.#until.get(user), this.#limit, this.#now());
    if (until === undefined) {
      const held = this.#held.get(user);
      if (held === undefined) this.#held.set(user, [entry]);
      else held.push(entry);
      return false;
    }
    this.#until.set(user, until);
    this.#passed.set(user, (this.#passed.get(user) ?? 0) + 1);
    return true;
  }

  /** These were admitted and have not been offered after all. */
  giveBack(entries: readonly Entry[]): void {
    if (this.#limit === undefined) return;
    for (const entry of entries) {
      if (!isFirst(entry)) continue;
      const user = this.#userOf(entry);
      const passed = this.#passed.get(user);
      if (passed !== undefined) this.#passed.set(user, passed - 1);
    }
  }

  /** Ends the pass: remembers what was counted, and tells whose mail is held back from now on. */
  end(): readonly Storm[] {
    if (this.#limit === undefined) return [];
    const now = this.#now();
    const text = this.#spool.records.readRates();
    const paces = new Map<string, Pace>(stillCounting(parsePaces(text), now));
    for (const [user, passed] of this.#passed) {
      const before = paces.get(user);
      if (passed === 0) continue;
      paces.set(user, { ...before, until: afterSo(passed, before?.until, this.#limit, now) });
    }
    const storms: Storm[] = [];
    for (const [user, entries] of this.#held) {
      const before = paces.get(user);
      const [first] = entries;
      if (before?.held !== undefined || first === undefined) continue;
      paces.set(user, { until: before?.until ?? now, held: now });
      storms.push({ uid: Number(user), limit: this.#limit, held: entries.length, first });
    }
    const after = formatPaces(paces);
    if (after !== text) this.#spool.records.writeRates(after);
    return storms;
  }
}

/** The courier says what is wrong with a file that is malformed; until then it limits nothing. */
function limitOf(control: Control): number | undefined {
  try {
    const limit = control.get('userrate');
    return limit === 0 ? undefined : limit;
  } catch (error) {
    if (error instanceof ControlError) return undefined;
    throw error;
  }
}

/** Whether an entry has not been offered yet, as far as its name tells. */
function isFirst({ state }: Entry): boolean {
  return state.kind === 'new' || (state.kind === 'waiting' && state.attempts === 0);
}
