/**
 * The storm guard: how many mails an hour one user may have sent. So many may go at once; what is more
 * waits, and goes out at that rate. Pure, and nothing but a time is kept of a user: it lies as far ahead
 * as sending what went out takes at the rate that is allowed.
 *
 *     1000 until=2026-11-20T23:59:01.000Z held=2026-11-20T23:15:01.000Z
 *
 * `held` says since when mail of the user is held back. A file that somebody edited loses its odd lines.
 */

export interface Pace {
  /** Milliseconds since 1970-01-01 UTC, as `held`. */
  readonly until: number;
  readonly held?: number;
}

/** By user. */
export type Paces = ReadonlyMap<string, Pace>;

const HOUR = 3_600_000;

/**
 * What one more mail makes of the time of a user; undefined when it has to wait.
 * @param limit mails an hour
 */
export function onePasses(
  until: number | undefined,
  limit: number,
  now: number,
): number | undefined {
  const next = from(until, now) + HOUR / limit;
  return next > now + HOUR + 1 ? undefined : next;
}

/** What so many mails that went out make of the time of a user. */
export function afterSo(
  many: number,
  until: number | undefined,
  limit: number,
  now: number,
): number {
  return Math.min(now + HOUR, from(until, now) + (many * HOUR) / limit);
}

/** A clock that was set back must not hold mail for longer than the guard itself can. */
function from(until: number | undefined, now: number): number {
  return Math.min(Math.max(until ?? now, now), now + HOUR);
}

/** Without the users who have been quiet for so long that nothing counts any more. */
export function stillCounting(paces: Paces, now: number): Paces {
  return new Map([...paces].filter(([, { until }]) => until > now));
}

export function parsePaces(text: string): Paces {
  const paces = new Map<string, Pace>();
  for (const line of text.split('\n')) {
    const [, user, end, begin] =
      /^(\d{1,10}) until=(\S{1,30})(?: held=(\S{1,30}))?$/.exec(line) ?? [];
    const until = Date.parse(end ?? '');
    const held = begin === undefined ? undefined : Date.parse(begin);
    if (user === undefined || Number.isNaN(until) || Number.isNaN(held)) continue;
    paces.set(user, held === undefined ? { until } : { until, held });
  }
  return paces;
}

export function formatPaces(paces: Paces): string {
  return [...paces]
    .map(([user, { until, held }]) => {
      const since = held === undefined ? '' : ` held=${new Date(held).toISOString()}`;
      return `${user} until=${new Date(until).toISOString()}${since}\n`;
    })
    .join('');
}
