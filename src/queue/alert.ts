/**
 * What the administrator should hear of: conditions that last, each told once when it begins and once
 * when it is over. Pure; who is told, and by which way, is the runner's business.
 */
import type { Attempt } from '../spool/result.ts';

/** Something that is wrong for a while. */
export interface Condition {
  /** Names the condition, as in `route default`; it is the same condition while the key is. */
  readonly key: string;
  /** When it began, in milliseconds since 1970-01-01 UTC. */
  readonly since: number;
  /** What is wrong and what to do, one line, escaped. */
  readonly summary: string;
}

/** A condition that the administrator was told of, or that nobody could be told of. */
export interface Told extends Condition {
  /** When it was told, in milliseconds since 1970-01-01 UTC. */
  readonly at: number;
  /** Whether any way worked. */
  readonly heard: boolean;
}

export interface News {
  readonly begun: readonly Condition[];
  /** What was told once and is no more. */
  readonly over: readonly Told[];
  /** What to remember: as if all of `begun` went out. */
  readonly told: readonly Told[];
}

/** What nobody could be told of is told again after this (milliseconds). */
const AGAIN = 15 * 60_000;

/** Refusals count as one condition while they are not further apart than this (milliseconds). */
const REFUSALS_LAST = 24 * 3_600_000;

/** What is new since the administrator was last told. */
export function newsOf(told: readonly Told[], conditions: readonly Condition[], now: number): News {
  const before = new Map(told.map((each) => [each.key, each]));
  const begun = conditions.filter(({ key }) => {
    const known = before.get(key);
    return known === undefined || (!known.heard && Math.abs(now - known.at) >= AGAIN);
  });
  const lasting = new Set(conditions.map(({ key }) => key));
  const fresh = new Set(begun);
  return {
    begun,
    over: told.filter(({ key, heard }) => heard && !lasting.has(key)),
    told: conditions.map((condition) => {
      const known = fresh.has(condition) ? undefined : before.get(condition.key);
      return { ...condition, at: known?.at ?? now, heard: known?.heard ?? true };
    }),
  };
}

/**
 * A route that takes nothing for longer than `after` milliseconds.
 * @param trouble what its pause began with
 */
export function heldUp(
  route: string,
  trouble: Attempt,
  after: number,
  now: number,
): Condition | undefined {
  if (now - trouble.time < after) return undefined;
  const by = trouble.relay === 'none' ? '' : ` by ${trouble.relay}`;
  const which = route === 'default' ? '' : ` (route ${route})`;
  return {
    key: `route ${route}`,
    since: trouble.time,
    summary: `mail is held up at ${trouble.stage}${by}${which}, nothing is lost: ${trouble.lines.join(' ')}`,
  };
}

/** Domains that are named in one alert. */
const DOMAINS_NAMED = 5;

/**
 * Domains that mail goes to without a relay and that take none for longer than `after`: one condition for
 * all of them, because their hosts are not the administrator's.
 * @param paused the routes called `mx DOMAIN`, and what their pause began with
 */
export function heldUpDomains(
  paused: readonly (readonly [route: string, trouble: Attempt])[],
  after: number,
  now: number,
): Condition | undefined {
  const long = paused
    .filter(([, { time }]) => now - time >= after)
    .sort(([, a], [, b]) => a.time - b.time);
  const [first] = long;
  if (first === undefined) return undefined;
  const named = long.slice(0, DOMAINS_NAMED).map(([route]) => route.slice('mx '.length));
  const more = long.length > named.length ? ' …' : '';
  const count = `${long.length} domain${long.length === 1 ? '' : 's'}`;
  const [, { time, stage, lines }] = first;
  return {
    key: 'mx',
    since: time,
    summary: `mail for ${count} without a relay is held up, nothing is lost: ${named.join(' ')}${more}; the first at ${stage}: ${lines.join(' ')}`,
  };
}

/** A disk without room for new mail. */
export function fullDisk(shortage: string, since: number): Condition {
  return {
    key: 'disk floor',
    since,
    summary: `new mail is refused until the disk has room: ${shortage}, see control/spoolfree`,
  };
}

/** A user whose mail is held back by the storm guard. */
export function heldBack(uid: string, since: number): Condition {
  return {
    key: `storm ${uid}`,
    since,
    summary: `mail of user ${uid} is held back, more than control/userrate allows: see picorelay list`,
  };
}

/** Mail that went to Undelivered; over when none did for a day, or when the folder is empty. */
export interface Refusals {
  /** Milliseconds since 1970-01-01 UTC. */
  readonly first: number;
  readonly last: number;
}

/** Counts what one pass refused. */
export function refusalsAfter(
  before: Refusals | undefined,
  refused: number,
  now: number,
): Refusals | undefined {
  const lasts = before !== undefined && Math.abs(now - before.last) < REFUSALS_LAST;
  if (refused === 0) return lasts ? before : undefined;
  return { first: lasts ? before.first : now, last: now };
}

export function refusedMail({ first }: Refusals): Condition {
  return {
    key: 'undelivered',
    since: first,
    summary: 'mail was refused or given up: see picorelay undelivered',
  };
}

/** What stands in a mail, a log or a message of the day about news. */
export function formatNews(host: string, { begun, over }: Omit<News, 'told'>): string {
  const lines = [
    ...begun.map(({ since, summary }) => `picorelay on ${host}: since ${iso(since)} ${summary}`),
    ...over.map(
      ({ since, summary }) => `picorelay on ${host}: over, it began ${iso(since)}: ${summary}`,
    ),
  ];
  return lines.map((line) => `${line}\n`).join('');
}

/** The same for programs: an object with the two lists. */
export function newsAsJson(host: string, { begun, over }: Omit<News, 'told'>): string {
  const show = ({ key, since, summary }: Condition) => ({ key, since: iso(since), summary });
  return `${JSON.stringify({ host, begun: begun.map(show), over: over.map(show) })}\n`;
}

function iso(time: number): string {
  return `${new Date(time).toISOString().slice(0, 19)}Z`;
}
