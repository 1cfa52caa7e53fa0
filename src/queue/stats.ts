/**
 * How many mails were relayed, put off, refused and given up, by the hour: one line an hour in a file of
 * the spool. Pure. A file that somebody edited loses its odd lines, nothing else.
 *
 *     2026-11-21T06 relayed=12 deferred=3 refused=1
 */

/** What came of attempts; `refused` holds what was given up for its age, too. */
export interface Counts {
  readonly relayed: number;
  readonly deferred: number;
  readonly refused: number;
}

/** By the hour's begin, in milliseconds since 1970-01-01 UTC. */
export type Stats = ReadonlyMap<number, Counts>;

export const HOUR = 3_600_000;

/** Hours that are kept: a week, so that a digest can be weekly. */
const KEPT = 7 * 24;

const NONE: Counts = { relayed: 0, deferred: 0, refused: 0 };

export function parseStats(text: string): Stats {
  const stats = new Map<number, Counts>();
  for (const line of text.split('\n')) {
    const [, hour, relayed, deferred, refused] =
      /^(\d{4}-\d\d-\d\dT\d\d) relayed=(\d{1,12}) deferred=(\d{1,12}) refused=(\d{1,12})$/.exec(
        line,
      ) ?? [];
    const time = Date.parse(`${hour}:00:00Z`);
    if (Number.isNaN(time)) continue;
    const counts = {
      relayed: Number(relayed),
      deferred: Number(deferred),
      refused: Number(refused),
    };
    stats.set(time, plus(stats.get(time), counts));
  }
  return stats;
}

export function formatStats(stats: Stats): string {
  return [...stats]
    .sort(([one], [other]) => one - other)
    .map(([hour, { relayed, deferred, refused }]) => {
      const begin = new Date(hour).toISOString().slice(0, 13);
      return `${begin} relayed=${relayed} deferred=${deferred} refused=${refused}\n`;
    })
    .join('');
}

/** Adds what came of one run; hours that are too old, or of a clock that ran ahead, go. */
export function addCounts(stats: Stats, counts: Counts, now: number): Stats {
  const hour = Math.floor(now / HOUR) * HOUR;
  const kept = [...stats].filter(([each]) => each > hour - KEPT * HOUR && each <= hour);
  return new Map([...kept, [hour, plus(stats.get(hour), counts)]]);
}

/** The sum of all hours that begin at or after a time. */
export function sumSince(stats: Stats, since: number): Counts {
  return [...stats]
    .filter(([hour]) => hour >= since)
    .reduce((sum, [, each]) => plus(sum, each), NONE);
}

function plus(one: Counts = NONE, other: Counts = NONE): Counts {
  return {
    relayed: one.relayed + other.relayed,
    deferred: one.deferred + other.deferred,
    refused: one.refused + other.refused,
  };
}
