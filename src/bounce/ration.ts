/**
 * The storm guard: how many of the reports to one address go out now, and how. Up to the limit each
 * goes out by itself; what is more waits an hour and goes out as one digest. Pure.
 */
import { type Account, HOUR } from './ledger.ts';

export type Ration =
  /** So many, the first ones, each by itself; with `hold` the others are gathered from now on. */
  | { readonly how: 'each'; readonly count: number; readonly hold: boolean }
  /** All of them in one. */
  | { readonly how: 'digest' }
  | { readonly how: 'wait' };

/**
 * @param waiting reports that could go to the address now
 * @param limit reports an hour to one address
 * @param now milliseconds since 1970-01-01 UTC
 */
export function rationOf(waiting: number, account: Account, limit: number, now: number): Ration {
  if (account.heldSince !== undefined) {
    return now - account.heldSince < HOUR ? { how: 'wait' } : { how: 'digest' };
  }
  const count = Math.min(waiting, Math.max(0, limit - account.sent));
  return { how: 'each', count, hold: count < waiting };
}
