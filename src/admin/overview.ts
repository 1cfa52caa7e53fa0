/**
 * How picorelay does, as data: what `status`, `watch`, `metrics` and the HTML page show. Read from names
 * and small records; no mail is opened.
 */
import { type Counts, HOUR, NO_COUNTS, parseStats } from '../queue/stats.ts';
import { parseBase } from '../spool/name.ts';
import type { Spool } from '../spool/spool.ts';
import { type HeldBack, heldBackUsers, type PauseView, pausedRoutes, pauseView } from './list.ts';
import { fileOf, ifSpool, type Mail, queuedMails, undeliveredMails } from './mails.ts';

/** Mails of the queue that are not older than this, and than none of those before. */
export interface AgeGroup {
  /** Seconds; undefined for all that are older. */
  readonly upTo: number | undefined;
  readonly mails: number;
}

/** What came of attempts within an hour. */
export interface HourView extends Counts {
  /** ISO 8601. */
  readonly begin: string;
}

/** What --json prints; docs/json.md describes it. */
export interface Overview {
  readonly host: string;
  readonly time: string;
  /** When a runner was last at work; absent before the first. */
  readonly runner?: string;
  readonly paused: readonly PauseView[];
  /** Users whose mail the storm guard holds back. */
  readonly heldBack: readonly HeldBack[];
  readonly queue: {
    readonly mails: number;
    readonly new: number;
    readonly waiting: number;
    readonly held: number;
    readonly sending: number;
    readonly octets: number;
    /** When the oldest was accepted. */
    readonly oldest?: string;
    /** When the next one is due that waits. */
    readonly next?: string;
    readonly ages: readonly AgeGroup[];
  };
  /** The last 24 hours, the oldest first; the last one is under way. */
  readonly hours: readonly HourView[];
  /** Ever since there is a spool. */
  readonly total: Counts;
  readonly undelivered: {
    readonly mails: number;
    /** When the newest was accepted. */
    readonly newest?: string;
  };
  readonly corrupt: number;
}

/** The groups of ages, in seconds. */
const AGES: readonly (number | undefined)[] = [300, 3600, 4 * 3600, 86_400, undefined];

/** Hours that are shown. */
const HOURS = 24;

export function overviewOf(spool: Spool, host: string, now: number): Overview {
  const queued = queuedMails(spool);
  const refused = undeliveredMails(spool);
  const seen = spool.records.runnerSeen();
  const stats = parseStats(spool.records.readStats());
  const newest = Math.max(0, ...refused.map(acceptedAt));
  return {
    host,
    time: iso(now),
    ...(seen === undefined ? {} : { runner: iso(seen) }),
    paused: pausedRoutes(spool).map(pauseView),
    heldBack: heldBackUsers(spool),
    queue: queueOf(spool, queued, now),
    hours: lastHours(stats.hours, now),
    total: stats.total,
    undelivered: {
      mails: refused.length,
      ...(newest > 0 ? { newest: iso(newest) } : {}),
    },
    corrupt: ifSpool(spool, () => spool.countCorrupt(), 0),
  };
}

function queueOf(spool: Spool, mails: readonly Mail[], now: number): Overview['queue'] {
  const states = { new: 0, waiting: 0, held: 0, sending: 0 };
  const groups = AGES.map((upTo) => ({ upTo, mails: 0 }));
  let next = Number.POSITIVE_INFINITY;
  let octets = 0;
  for (const mail of mails) {
    if (mail.place !== 'spool') continue;
    states[mail.state.kind]++;
    octets += spool.sizeOf('spool', fileOf(mail)) ?? 0;
    if (mail.state.kind === 'waiting') next = Math.min(next, mail.state.due);
    const age = (now - acceptedAt(mail)) / 1000;
    const group = groups.find(({ upTo }) => upTo === undefined || age <= upTo);
    if (group !== undefined) group.mails++;
  }
  const [oldest] = mails;
  return {
    mails: mails.length,
    ...states,
    octets,
    ...(oldest === undefined ? {} : { oldest: iso(acceptedAt(oldest)) }),
    ...(next < Number.POSITIVE_INFINITY ? { next: iso(next) } : {}),
    ages: groups,
  };
}

function lastHours(hours: ReadonlyMap<number, Counts>, now: number): readonly HourView[] {
  const current = Math.floor(now / HOUR) * HOUR;
  return Array.from({ length: HOURS }, (_, n) => {
    const begin = current - (HOURS - 1 - n) * HOUR;
    const { relayed, deferred, refused } = hours.get(begin) ?? NO_COUNTS;
    return { begin: iso(begin), relayed, deferred, refused };
  });
}

/** Milliseconds since 1970-01-01 UTC. */
function acceptedAt({ base }: Mail): number {
  return (parseBase(base)?.time ?? 0) / 1000;
}

function iso(time: number): string {
  return new Date(time).toISOString();
}
