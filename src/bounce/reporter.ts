/**
 * Tells senders what became of their mail: reads what is owed from the spool, decides who hears of it,
 * and submits the reports like any other mail, from the null sender.
 *
 * That an entry fails is noted durably before it goes to Undelivered, and the note is erased after the
 * report is committed: a crash in between repeats a report and loses none. Only what became of relayed
 * mail is told without a note, because nothing of it is left: there a crash loses the report.
 */
import { type Control, ControlError } from '../control/control.ts';
import { loginName } from '../control/host.ts';
import { readTables, routeOf } from '../control/routing.ts';
import type { Log } from '../log/log.ts';
import { reversePathFor } from '../mail/raw-address.ts';
import { BadBlock } from '../spool/block.ts';
import { hasCode } from '../spool/disk.ts';
import type { StoredMessage } from '../spool/message.ts';
import { addressOf, formatName, parseBase, prefixOf } from '../spool/name.ts';
import type { Attempt } from '../spool/result.ts';
import type { Entry, Spool } from '../spool/spool.ts';
import { type Account, HOUR, Ledger } from './ledger.ts';
import { readOriginal } from './original.ts';
import { addresseeOf, type Policy, readPolicy } from './policy.ts';
import { rationOf } from './ration.ts';
import { formatDigest, formatHeldBack, formatReport, type Letterhead } from './report.ts';
import type { Fate, Kind } from './status.ts';

/**
 * The most messages that one call looks into. A relay that is away for a day leaves a hundred thousand to
 * be told of: they are told in the order of their age, by this and later calls.
 */
const MOST_MESSAGES = 2000;

/** One message of which a report may be due, with those of its recipients that it is about. */
interface Case {
  readonly kind: Kind;
  readonly sender: string;
  /** When it was accepted, in milliseconds since 1970-01-01 UTC. */
  readonly accepted: number;
  readonly fates: Fate[];
  /** Opens the message: the file of the first recipient. */
  readonly open: () => StoredMessage;
  /** To be done once the sender is told, or nobody is to be. */
  readonly settled: (() => void)[];
}

export class Reporter {
  readonly #spool: Spool;
  readonly #control: Control;
  readonly #log: Log;
  readonly #now: () => number;
  readonly #ledger: Ledger;
  /**
   * Reports made, for names that are unique within a millisecond. `relayed` is told by the courier's
   * reporter alone, the other kinds by the runner's.
   */
  #made = 0;

  /** @param now milliseconds since 1970-01-01 UTC */
  constructor(spool: Spool, control: Control, log: Log, now: () => number) {
    this.#spool = spool;
    this.#control = control;
    this.#log = log;
    this.#now = now;
    this.#ledger = new Ledger(spool.folder);
  }

  /**
   * To be called before an entry goes to Undelivered: its sender is told by the next `report`.
   * @throws the system call's error
   */
  failing(base: string): void {
    this.#ledger.owe(base);
  }

  /**
   * The relay has the message for these recipients and will report nothing: who asked for it is told.
   * Never throws. These reports are not counted by the storm guard: each was asked for.
   */
  relayed(message: StoredMessage, fates: readonly Fate[]): void {
    const asked = fates.filter(({ recipient }) => wants(recipient.notify, 'SUCCESS'));
    const [first] = asked;
    if (first === undefined) return;
    const sender = reversePathFor(message.sender, first.recipient.address);
    if (sender === '') return;
    this.#guard(first.id, () => {
      const policy = readPolicy(this.#control);
      const to = addresseeOf(policy, sender, addresses(asked));
      if (to !== undefined) this.#send(policy, to, 'relayed', asked, message);
    });
  }

  /**
   * The storm guard holds mail of a user back from now on: the administrator is told, or where nobody is
   * named the sender of the first mail of it. Never throws; it is told once.
   */
  heldBack(first: Entry, uid: number, held: number, limit: number): void {
    this.#guard(first.base, () => {
      const policy = readPolicy(this.#control);
      const message = this.#spool.look(first.base, 'spool', formatName(first.base, first.state));
      try {
        const { sender } = message;
        const to = policy.admin ?? sender;
        if (policy.mode === 'off' || to === '') return;
        const { subject } = readOriginal(message, 0);
        const user = `${loginName(uid)} (${uid})`;
        const letter = formatHeldBack(this.#letterhead(policy, to, 'held'), {
          ...{ user, limit, held, sender, subject },
        });
        this.#submit(policy, to, letter, [], 'held');
      } finally {
        message.close();
      }
    });
  }

  /**
   * Sends the reports that are due: of failed entries, and of those that wait for too long. Never
   * throws; what cannot be told now is told by a later call.
   */
  report(): void {
    this.#guard('reports', () => {
      const policy = readPolicy(this.#control);
      const look = new Look(policy, (to) => this.#ledger.accountOf(to, this.#now()), this.#now());
      const failed = this.#failed(this.#ledger.owed(), look);
      const delayed = this.#delayed(policy, look);
      const addressed = new Map<string, Case[]>();
      for (const each of [...failed, ...delayed.cases]) {
        const to = addresseeOf(policy, each.sender, addresses(each.fates));
        // Nobody hears of a delay but the sender, who may want to find another way.
        if (
          to === undefined ||
          each.fates.length === 0 ||
          (each.kind === 'delayed' && each.sender === '')
        ) {
          settle(each);
          continue;
        }
        const those = addressed.get(to);
        if (those === undefined) addressed.set(to, [each]);
        else those.push(each);
      }
      for (const [to, those] of addressed) {
        this.#guard(to, () => this.#ration(policy, to, those, look.left.has(to)));
      }
      this.#ledger.releaseOthers(new Set([...addressed.keys(), ...look.left]), this.#now());
      delayed.end();
    });
  }

  /**
   * Within its limit each report goes out by itself, the others together when an hour is over.
   * @param more whether there are others to tell, which this call has not looked into
   */
  #ration(policy: Policy, to: string, cases: readonly Case[], more: boolean): void {
    const [first, ...others] = cases;
    if (first === undefined) return;
    const now = this.#now();
    const ration = rationOf(cases.length, this.#ledger.accountOf(to, now), policy.limit, now);
    switch (ration.how) {
      case 'wait':
        return;
      case 'digest':
        if (others.length === 0) this.#sendCase(policy, to, first);
        else this.#sendDigest(policy, to, cases);
        this.#ledger.release(to, now);
        if (more) this.#ledger.hold(to, now);
        return;
      case 'each':
        for (const each of cases.slice(0, ration.count)) {
          this.#guard(to, () => this.#sendCase(policy, to, each));
        }
        if (ration.hold || more) this.#ledger.hold(to, now);
    }
  }

  #sendCase(policy: Policy, to: string, each: Case): void {
    const message = each.open();
    try {
      this.#send(policy, to, each.kind, each.fates, message);
    } finally {
      message.close();
    }
    this.#ledger.noteSent(to, this.#now());
    settle(each);
  }

  #send(
    policy: Policy,
    to: string,
    kind: Kind,
    fates: readonly Fate[],
    message: StoredMessage,
  ): void {
    const accepted = acceptedAt(fates[0]?.id ?? '');
    const report = formatReport(this.#letterhead(policy, to, kind), {
      kind,
      original: readOriginal(message, accepted),
      fates,
      retryUntil: accepted + policy.lifetime,
    });
    this.#submit(policy, to, report, fates, kind);
  }

  #sendDigest(policy: Policy, to: string, cases: readonly Case[]): void {
    const items = cases.flatMap((each) => {
      const message = each.open();
      try {
        const { subject } = readOriginal(message, 0);
        return each.fates.map((fate) => ({ kind: each.kind, subject, fate }));
      } finally {
        message.close();
      }
    });
    const fates = items.map(({ fate }) => fate);
    const digest = formatDigest(this.#letterhead(policy, to, 'digest'), items);
    this.#submit(policy, to, digest, fates, 'digest');
    this.#ledger.noteSent(to, this.#now());
    for (const each of cases) settle(each);
  }

  #submit(
    policy: Policy,
    to: string,
    report: Buffer,
    fates: readonly Fate[],
    kind: Kind | 'digest' | 'held',
  ): void {
    const [base = ''] = this.#spool.submit(
      { sender: '', recipients: policy.deliver(to) },
      {
        uid: process.getuid?.() ?? 0,
        pid: this.#spool.self.pid,
        time: Math.round(this.#now() * 1000),
        program: 'bounce',
      },
      [report],
    );
    for (const { id } of fates) this.#log.reported({ id, to, kind, report: base });
  }

  #letterhead(policy: Policy, to: string, kind: Kind | 'digest' | 'held'): Letterhead {
    const time = new Date(this.#now());
    const digits = time.toISOString().replace(/\D/g, '');
    return {
      from: policy.from,
      to,
      host: policy.me,
      time,
      zoneMinutes: -time.getTimezoneOffset(),
      messageId: `${digits}.${this.#made++}.${this.#spool.self.pid}.${kind}@${policy.idHost}`,
    };
  }

  /** The failed entries whose senders are still to be told, by message. */
  #failed(owed: readonly string[], look: Look): Iterable<Case> {
    let queued: ReadonlySet<string> | undefined;
    const cases = new Map<string, Case>();
    for (const base of owed) {
      if (!look.into(base)) continue;
      const settled = (): void => this.#ledger.settle(base);
      this.#collect(cases, {
        base,
        kind: 'failed',
        wish: 'FAILURE',
        open: () => this.#spool.look(base, 'Undelivered', base),
        history: () => this.#spool.history(base, 'Undelivered'),
        settle: settled,
        gone: () => {
          // About to be refused, or taken away by the admin. A listing can miss a moving entry.
          if (this.#now() - this.#ledger.since(base) <= HOUR) return;
          queued ??= new Set(this.#spool.list().entries.map((entry) => entry.base));
          if (!queued.has(base)) settled();
        },
      });
    }
    return cases.values();
  }

  /**
   * The entries that wait for longer than `delaywarn` and have not been reported so, by message; and what
   * is to be called when they are told. A mark keeps the time up to which all are, so that a long queue is
   * looked into once and not by each tick.
   */
  #delayed(
    policy: Policy,
    look: Look,
  ): { readonly cases: Iterable<Case>; readonly end: () => void } {
    if (policy.mode === 'off' || policy.delay === 0) return { cases: [], end: () => undefined };
    const now = this.#now();
    const mark = this.#ledger.delaysTold(now);
    let reached = now - policy.delay;
    let seen = false;
    const untold = (accepted: number): void => {
      reached = Math.min(reached, accepted - 1);
    };
    const { entries } = this.#spool.list(({ base, state }) => {
      const accepted = acceptedAt(base);
      if (accepted <= mark || now - accepted <= policy.delay) return false;
      seen = true;
      // What is past its lifetime is about to fail; what is on hold waits for the administrator.
      if (state.kind === 'held' || now - accepted > policy.lifetime) return false;
      if (state.kind !== 'sending' && !look.waits(base)) return true;
      untold(accepted);
      return false;
    });
    const cases = new Map<string, Case>();
    const paused = this.#spool.records.pausedRoutes();
    const tables = readTables(this.#control);
    for (const entry of entries) {
      const { base, state } = entry;
      const accepted = acceptedAt(base);
      if (!look.into(base)) {
        untold(accepted);
        continue;
      }
      const history = this.#spool.history(base);
      if (history.some(({ outcome }) => outcome === 'warned')) continue;
      const addresses = paused.size === 0 ? undefined : this.#spool.addressesOf(entry);
      const route = addresses && routeOf(tables, addresses.sender, addresses.recipient);
      const trouble = route && paused.get(route.name);
      const collected = this.#collect(cases, {
        base,
        kind: 'delayed',
        wish: 'DELAY',
        open: () => this.#spool.look(base, 'spool', formatName(base, state)),
        history: () => (trouble === undefined ? history : [...history, trouble]),
        settle: () => this.#spool.note(base, warning(this.#now())),
        gone: () => untold(accepted),
      });
      if (!collected) untold(accepted);
    }
    const end = (): void => {
      for (const each of cases.values()) if (each.settled.length > 0) untold(each.accepted);
      if (seen) this.#ledger.noteDelaysTold(reached);
    };
    return { cases: cases.values(), end };
  }

  /** Adds one entry to the case of its message; false where it could not be read. */
  #collect(
    cases: Map<string, Case>,
    found: {
      readonly base: string;
      readonly kind: Kind;
      readonly wish: 'FAILURE' | 'DELAY';
      readonly open: () => StoredMessage;
      readonly history: () => readonly Attempt[];
      readonly settle: () => void;
      readonly gone: () => void;
    },
  ): boolean {
    const { base, kind } = found;
    return this.#guard(base, () => {
      let message: StoredMessage;
      try {
        message = found.open();
      } catch (error) {
        if (hasCode(error, 'ENOENT')) {
          found.gone();
          return;
        }
        // Nobody can be told whose message it is; it stays where it is for the admin.
        if (error instanceof BadBlock) found.settle();
        throw error;
      }
      try {
        const { size, dsn } = message;
        const recipient = message.recipientOf(base);
        // A variable reverse-path tells its owner by itself which recipient is meant.
        const sender = reversePathFor(message.sender, recipient.address);
        // A name proves nothing: bare messages may share a date and a pid.
        const key =
          message.origin === undefined
            ? base
            : JSON.stringify([prefixOf(base), sender, size, dsn.envid]);
        const wanted = wants(recipient.notify, found.wish);
        // Before the case: one whose history cannot be read just now is told by a later call.
        const history = wanted ? found.history() : [];
        const one = cases.get(key) ?? {
          ...{ kind, sender, accepted: acceptedAt(base), fates: [], open: found.open, settled: [] },
        };
        cases.set(key, one);
        one.settled.push(found.settle);
        if (!wanted) return;
        // What the administrator changed is none of the sender's business.
        const told = history.filter(({ outcome }) => outcome !== 'changed');
        one.fates.push({
          id: base,
          recipient,
          history: told,
          last: lastOf(told, this.#now()),
        });
      } finally {
        message.close();
      }
    });
  }

  /** One message that cannot be reported must not stop the others, nor the runner. Tells whether it went well. */
  #guard(what: string, action: () => void): boolean {
    try {
      action();
      return true;
    } catch (error) {
      // The runner says what is wrong with the control folder; all that is owed stays noted.
      if (error instanceof ControlError) return false;
      if (!(error instanceof BadBlock || (error instanceof Error && 'code' in error))) throw error;
      this.#log.fault(`${what}: no report: ${error.message}`);
      return false;
    }
  }
}

/** What one call looks into: by the names of entries, before any of them is opened. */
class Look {
  /** Who has more to hear than this call tells. */
  readonly left = new Set<string>();
  readonly #policy: Policy;
  readonly #accountOf: (to: string) => Account;
  readonly #now: number;
  /** By the sender as names have it. */
  readonly #readers = new Map<
    string,
    { readonly to: string | undefined; readonly waits: boolean }
  >();
  #messages = 0;
  #prefix = '';

  constructor(policy: Policy, accountOf: (to: string) => Account, now: number) {
    this.#policy = policy;
    this.#accountOf = accountOf;
    this.#now = now;
  }

  /** Whether the reader of an entry's report waits for the digest. */
  waits(base: string): boolean {
    const { to, waits } = this.#readerOf(parseBase(base)?.sender ?? '');
    if (waits && to !== undefined) this.left.add(to);
    return waits;
  }

  /** Whether an entry is to be opened: its reader does not wait, and there is room for its message. */
  into(base: string): boolean {
    if (this.waits(base)) return false;
    const prefix = prefixOf(base);
    if (prefix !== this.#prefix && this.#messages === MOST_MESSAGES) {
      const { to } = this.#readerOf(parseBase(base)?.sender ?? '');
      if (to !== undefined) this.left.add(to);
      return false;
    }
    if (prefix !== this.#prefix) this.#messages++;
    this.#prefix = prefix;
    return true;
  }

  /** Where the name does not tell who reads, the entry has to. */
  #readerOf(part: string): { readonly to: string | undefined; readonly waits: boolean } {
    let reader = this.#readers.get(part);
    if (reader === undefined) {
      const sender = addressOf(part) ?? '';
      const to = sender === '' ? undefined : addresseeOf(this.#policy, sender, []);
      const waits = to !== undefined && this.#waits(to);
      reader = { to, waits };
      this.#readers.set(part, reader);
    }
    return reader;
  }

  #waits(to: string): boolean {
    return rationOf(1, this.#accountOf(to), this.#policy.limit, this.#now).how === 'wait';
  }
}

/** Its sender has been told, or nobody is to be. */
function settle(each: Case): void {
  for (const settled of each.settled.splice(0)) settled();
}

/** RFC 3461 section 4.1: without NOTIFY the sender hears of failures and delays. */
function wants(notify: string | undefined, wish: 'SUCCESS' | 'FAILURE' | 'DELAY'): boolean {
  if (notify === undefined) return wish !== 'SUCCESS';
  return notify.toUpperCase().split(',').includes(wish);
}

function addresses(fates: readonly Fate[]): readonly string[] {
  return fates.map(({ recipient }) => recipient.address);
}

/** Milliseconds since 1970-01-01 UTC. */
function acceptedAt(base: string): number {
  return (parseBase(base)?.time ?? 0) / 1000;
}

/** The attempt that tells most: the one that decided, else the last one. */
function lastOf(history: readonly Attempt[], now: number): Fate['last'] {
  const decided = history.findLast(({ outcome }) => outcome === 'refused' || outcome === 'expired');
  const none: Attempt = {
    time: now,
    outcome: 'deferred',
    stage: 'claim',
    relay: 'none',
    lines: [],
  };
  return decided ?? history.at(-1) ?? none;
}

function warning(now: number): Attempt {
  const time = Math.floor(now / 1000) * 1000;
  return {
    time,
    outcome: 'warned',
    stage: 'claim',
    relay: 'none',
    lines: ['it waits for longer than control/delaywarn says'],
  };
}
