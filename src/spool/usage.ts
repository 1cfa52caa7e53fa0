/**
 * What users have in the queue, for the limits on it: a file for each user, to which a submission adds a
 * line and which is compared with the queue only when its sum is over a limit. So a submission within
 * its limit costs one small read, and none where there is no limit. Pure.
 *
 *     20261120T231501.123456Z:4242 50 1048576
 *
 * The prefix of the entries' names, their number, and the octets of their message. A line that a crash
 * or a second process lost makes a limit a little wider, once.
 */
import { prefixOf } from './name.ts';

/** What one submission has in the queue. */
export interface Share {
  readonly prefix: string;
  readonly entries: number;
  /** Of its file, which all its entries share. */
  readonly octets: number;
}

export interface Sum {
  readonly entries: number;
  readonly octets: number;
}

export function formatShare({ prefix, entries, octets }: Share): string {
  return `${prefix} ${entries} ${octets}\n`;
}

/** Odd lines are left out. */
export function parseShares(text: string): readonly Share[] {
  const shares: Share[] = [];
  for (const line of text.split('\n')) {
    const [, prefix, entries, octets] = /^([^ ]{1,60}) (\d{1,9}) (\d{1,15})$/.exec(line) ?? [];
    if (prefix === undefined) continue;
    shares.push({ prefix, entries: Number(entries), octets: Number(octets) });
  }
  return shares;
}

export function sumOf(shares: readonly Share[]): Sum {
  return shares.reduce(
    (sum, { entries, octets }) => ({
      entries: sum.entries + entries,
      octets: sum.octets + octets,
    }),
    { entries: 0, octets: 0 },
  );
}

/**
 * What of the shares is still in the queue.
 * @param names of entries, in any state
 * @param unsplit names in unsplit/
 */
export function stillQueued(
  shares: readonly Share[],
  names: readonly string[],
  unsplit: readonly string[],
): readonly Share[] {
  const left = new Map<string, number>();
  for (const name of names) {
    const prefix = prefixOf(name);
    left.set(prefix, (left.get(prefix) ?? 0) + 1);
  }
  const whole = new Set(unsplit.map(prefixOf));
  return shares.flatMap((share) => {
    const entries = whole.has(share.prefix) ? share.entries : left.get(share.prefix);
    return entries === undefined ? [] : [{ ...share, entries }];
  });
}
