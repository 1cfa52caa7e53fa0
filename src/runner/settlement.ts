/**
 * What becomes of entries: the verdict on an answer is written to the spool, told to the log and
 * counted. It never speaks to a relay.
 */
import type { Reporter } from '../bounce/reporter.ts';
import type { Log } from '../log/log.ts';
import { domainOf } from '../mail/address.ts';
import type { Recipient } from '../mail/envelope.ts';
import type { Answer, DialogueEvent, Stage, Verdict } from '../mail/outcome.ts';
import { formatReply } from '../mail/reply.ts';
import { nextTry, scheduleFor } from '../queue/schedule.ts';
import type { OnLine } from '../relay/dialogue.ts';
import type { StoredMessage } from '../spool/message.ts';
import { parseBase, showPart } from '../spool/name.ts';
import type { Attempt } from '../spool/result.ts';
import type { Claim, Entry, Spool } from '../spool/spool.ts';
import type { Settings } from './settings.ts';

/** What a runner takes from the world. */
export interface World {
  /** Milliseconds since 1970-01-01 UTC. */
  readonly now: () => number;
  /** 0 to 1. */
  readonly random: () => number;
  /** Aborted when the program is to end: the transaction that runs is finished, no other begins. */
  readonly stop: AbortSignal;
  /** Called for each session: who hears its dialogue. */
  readonly transcript?: () => OnLine;
}

/** What became of the entries of one delivery. */
export interface Tally {
  relayed: number;
  deferred: number;
  refused: number;
  /** Entries left as they were, because the route is at fault or somebody else has them. */
  left: number;
}

/** Site trouble: no relay of the route can be used. */
export interface Trouble {
  readonly stage: Stage;
  readonly event: DialogueEvent;
  readonly relay: string;
}

/** A claimed entry on its way. */
export interface Parcel {
  readonly claim: Claim;
  readonly recipient: Recipient;
}

/** What an attempt's record says when the final answer was not heard. */
const DOUBT = 'the relay may have taken it all the same: possible duplicate';

type Postponed = Extract<Verdict, { action: 'defer' }>;

export class Settlement {
  readonly tally: Tally = { relayed: 0, deferred: 0, refused: 0, left: 0 };
  readonly #spool: Spool;
  readonly #log: Log;
  readonly #world: World;
  readonly #reporter: Reporter;

  constructor(spool: Spool, log: Log, world: World, reporter: Reporter) {
    this.#spool = spool;
    this.#log = log;
    this.#world = world;
    this.#reporter = reporter;
  }

  /** What an answer means for one recipient becomes the state of its entry. */
  settle(
    settings: Settings,
    relay: string,
    message: StoredMessage,
    parcel: Parcel,
    answer: Answer,
    verdict: Exclude<Verdict, { action: 'again' }>,
  ): void {
    const { claim } = parcel;
    const said = describe(answer.event);
    const attempted = {
      id: claim.base,
      from: message.sender,
      to: parcel.recipient.address,
      relay,
      stage: answer.stage,
      said: said.join(' '),
    };
    const { stage, dialogue } = answer;
    const attempt = {
      ...{ time: this.#world.now(), stage, relay, lines: said },
      ...(dialogue === undefined ? {} : { dialogue }),
    };
    switch (verdict.action) {
      case 'relayed':
        // The log first: no mail goes without a line, whenever this process dies.
        this.#log.relayed(
          attempted,
          Math.max(0, Math.round(this.#age(claim.base) / 1000)),
          this.#mayBeSecond(claim),
        );
        this.#spool.finish(claim);
        this.tally.relayed++;
        return;
      case 'refuse':
        this.#noteChange(settings, claim);
        this.#refuse(claim, { ...attempt, outcome: 'refused' });
        this.#log.refused(attempted);
        this.tally.refused++;
        return;
      case 'defer':
        this.#noteChange(settings, claim);
        this.#defer(settings, claim, { ...attempt, outcome: 'deferred' }, verdict, attempted);
    }
  }

  /** The history says between which attempts the configuration changed. */
  #noteChange(settings: Settings, { base, from }: Claim): void {
    if (from.kind === 'new') return;
    const last = this.#spool.history(base).at(-1);
    const changed = last === undefined ? [] : settings.changedSince(last.time);
    if (changed.length === 0) return;
    const lines = [`control files: ${changed.join(' ')}`];
    const time = this.#world.now();
    this.#spool.note(base, { time, outcome: 'changed', stage: 'config', relay: 'none', lines });
  }

  #defer(
    settings: Settings,
    claim: Claim,
    attempt: Attempt,
    verdict: Postponed,
    attempted: Parameters<Log['deferred']>[0],
  ): void {
    const lines = verdict.possibleDuplicate ? [...attempt.lines, DOUBT] : attempt.lines;
    if (this.#age(claim.base) > settings.lifetime) {
      this.#refuse(claim, { ...attempt, outcome: 'expired', lines });
      this.#log.expired(attempted);
      this.tally.refused++;
      return;
    }
    const attempts = claim.attempts + (verdict.counted ? 1 : 0);
    const { schedule } = scheduleFor(settings.retry, domainOf(attempted.to));
    const next = nextTry(schedule, {
      attempts: Math.max(1, attempts),
      now: new Date(this.#world.now()),
      jitter: this.#world.random(),
    });
    this.#spool.defer(claim, { ...attempt, lines }, attempts, next.getTime());
    this.#log.deferred({ ...attempted, said: lines.join(' ') }, attempts, next.toISOString());
    this.tally.deferred++;
  }

  /** Site trouble: entries wait without an attempt spent; only those past their lifetime go. */
  postpone(entries: readonly Entry[], trouble: Trouble, lifetime: number | undefined): void {
    const now = this.#world.now();
    for (const entry of entries) {
      if (lifetime !== undefined && this.#age(entry.base) > lifetime) {
        this.#expire(entry, trouble);
        continue;
      }
      if (entry.state.kind !== 'new') continue;
      if (!this.#spool.postpone(entry, now)) continue;
      this.tally.left++;
      const name = parseBase(entry.base);
      this.#log.accepted({
        id: entry.base,
        from: showPart(name?.sender ?? ''),
        to: showPart(name?.recipient ?? ''),
        size: undefined,
        uid: undefined,
        program: undefined,
      });
    }
  }

  #expire(entry: Entry, trouble: Trouble): void {
    const claim = this.#spool.claim(entry, this.#world.now());
    if (claim === undefined) return;
    const { stage, relay } = trouble;
    const lines = describe(trouble.event);
    this.#refuse(claim, { time: this.#world.now(), outcome: 'expired', stage, relay, lines });
    const name = parseBase(entry.base);
    this.#log.expired({
      id: entry.base,
      from: showPart(name?.sender ?? ''),
      to: showPart(name?.recipient ?? ''),
      relay,
      stage,
      said: lines.join(' '),
    });
    this.tally.refused++;
  }

  /** To Undelivered; that its sender is to be told is on the disk before. */
  #refuse(claim: Claim, attempt: Attempt): void {
    this.#reporter.failing(claim.base);
    this.#spool.refuse(claim, attempt);
  }

  /** To corrupt/: the file cannot be read. */
  condemn(claims: readonly Claim[], reason: string): void {
    for (const claim of claims) {
      this.#end(claim, () => this.#spool.condemn(claim, reason));
      this.#log.corrupt(claim.base, reason);
      this.tally.refused++;
    }
  }

  /** The disk failed after the relay had answered. */
  notSettled(claim: Claim, verdict: Verdict, error: unknown): void {
    this.#log.fault(`${claim.base}: ${error instanceof Error ? error.message : String(error)}`);
    // What the relay has must not go out again each minute; what it refused or put off may.
    try {
      if (verdict.action === 'relayed') this.#spool.hold(claim);
      else this.#spool.release(claim, this.#world.now());
    } catch (next) {
      this.#later(claim, next, () => {
        if (verdict.action === 'relayed') this.#spool.finish(claim);
        else this.#spool.release(claim, this.#world.now());
      });
    }
    this.tally.left++;
  }

  /** This machine failed, not the mail: it waits as before. */
  giveBack(claims: readonly Claim[], error: unknown): void {
    this.release(claims);
    this.#log.fault(error instanceof Error ? error.message : String(error));
  }

  /** Back to the queue, no attempt spent. */
  release(claims: readonly Claim[]): void {
    for (const claim of claims) {
      this.#end(claim, () => this.#spool.release(claim, this.#world.now()));
    }
    this.tally.left += claims.length;
  }

  /** A claim that this machine cannot end just now must not stay one for as long as this process lives. */
  #end(claim: Claim, action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#later(claim, error, action);
    }
  }

  #later(claim: Claim, error: unknown, action: () => void): void {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    this.#log.fault(`${claim.base}: ${error.message}`);
    this.#spool.later(claim, action);
  }

  /** Tells the log of an entry that is met for the first time. */
  accepted(claim: Claim, message: StoredMessage, recipient: Recipient): void {
    this.#log.accepted({
      id: claim.base,
      from: message.sender,
      to: recipient.address,
      size: message.size,
      uid: message.origin?.uid,
      program: message.origin?.program,
    });
  }

  /** Whether an earlier attempt may have reached the relay, by the history of the entry. */
  #mayBeSecond(claim: Claim): boolean {
    if (claim.from.kind === 'new') return false;
    return this.#spool
      .history(claim.base)
      .some(({ outcome, lines }) => outcome === 'interrupted' || lines.includes(DOUBT));
  }

  /** Milliseconds since the entry was accepted. */
  #age(base: string): number {
    return this.#world.now() - (parseBase(base)?.time ?? 0) / 1000;
  }
}

/** What was heard, as lines without control characters. */
export function describe(event: DialogueEvent): readonly string[] {
  switch (event.kind) {
    case 'reply':
      return formatReply(event.reply);
    case 'closed':
      return [event.reason];
    case 'timeout':
      return [`no answer within ${event.seconds} seconds`];
    case 'malformed':
      return [`not an SMTP reply: ${event.reason}`];
  }
}
