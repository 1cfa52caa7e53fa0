/**
 * How many mails were relayed, put off, refused and given up, by the hour and in all: lines in a file of
 * the spool. A file that somebody edited loses its odd lines, nothing else.
 *
 *     total relayed=4711 deferred=93 refused=20
 *     2026-11-21T06 relayed=12 deferred=3 refused=1
 */
import type { Spool } from '../spool/spool.ts';

/** What came of attempts; `refused` holds what was given up for its age, too. */
export interface Counts {
  readonly relayed: number;
  readonly deferred: number;
  readonly refused: number;
}

export interface Stats {
  /** Ever since there is a spool. */
  readonly total: Counts;
  /** By the hour's begin, in milliseconds since 1970-01-01 UTC. */
  readonly hours: ReadonlyMap<number, Counts>;
}

export const HOUR = 3_600_000;

/** Hours that are kept: a week, so that a digest can be weekly. */
const KEPT = 7 * 24;

export const NO_COUNTS: Counts = { relayed: 0, deferred: 0, refused: 0 };

export function parseStats(text: string): Stats {
  let total: Counts | undefined;
  const hours = new Map<number, Counts>();
  for (const line of text.split('\n')) {
    const [, when, relayed, deferred, refused] =
      /^(\d{4}-\d\d-\d\dT\d\d|total) relayed=(\d{1,12}) deferred=(\d{1,12}) refused=(\d{1,12})$/.exec(
        line,
      ) ?? [];
    const counts = {
      relayed: Number(relayed),
      deferred: Number(deferred),
      refused: Number(refused),
    };
    if (when === 'total') total = counts;
    const time = Date.parse(`${when}:00:00Z`);
    if (!Number.isNaN(time)) hours.set(time, plus(hours.get(time), counts));
  }
  return { total: total ?? [...hours.values()].reduce(plus, NO_COUNTS), hours };
}

export function formatStats({ total, hours }: Stats): string {
  const lines = [...hours]
    .sort(([one], [other]) => one - other)
    .map(([hour, counts]) => formatCounts(new Date(hour).toISOString().slice(0, 13), counts));
  return [formatCounts('total', total), ...lines].join('');
}

function formatCounts(when: string, { relayed, deferred, refused }: Counts): string {
  return `${when} relayed=${relayed} deferred=${deferred} refused=${refused}\n`;
}

/** Adds what came of one run; hours that are too old, or of a clock that ran ahead, go. */
export function addCounts({ total, hours }: Stats, counts: Counts, now: number): Stats {
  const hour = Math.floor(now / HOUR) * HOUR;
  const kept = [...hours].filter(([each]) => each > hour - KEPT * HOUR && each <= hour);
  return {
    total: plus(total, counts),
    hours: new Map([...kept, [hour, plus(hours.get(hour), counts)]]),
  };
}

/** Notes in the spool what came of one run. */
export function noteCounts({ records }: Spool, counts: Counts, now: number): void {
  const { relayed, deferred, refused } = counts;
  if (relayed + deferred + refused === 0) return;
  records.writeStats(formatStats(addCounts(parseStats(records.readStats()), counts, now)));
}

/** The sum of all hours that begin at or after a time. */
export function sumSince({ hours }: Stats, since: number): Counts {
  return [...hours]
    .filter(([hour]) => hour >= since)
    .reduce((sum, [, each]) => plus(sum, each), NO_COUNTS);
}

function plus(one: Counts = NO_COUNTS, other: Counts = NO_COUNTS): Counts {
  return {
    relayed: one.relayed + other.relayed,
    deferred: one.deferred + other.deferred,
    refused: one.refused + other.refused,
  };
}
