/** Which relays of a route are left alone for a while, because they could not be used. */
import { type Control, controlTimes } from '../control/control.ts';
import type { RelayRest } from '../spool/records.ts';
import type { Spool } from '../spool/spool.ts';

/**
 * The relays that failed, as long as that still says something: not after the clock was set back, and
 * not after somebody changed a control file, who has perhaps mended what was wrong.
 * @param now milliseconds since 1970-01-01 UTC
 */
export function restsOf(
  spool: Spool,
  control: Control,
  route: string,
  now: number,
): Map<string, RelayRest> {
  const rests = spool.records.relayRests(route);
  if (rests.size === 0) return new Map();
  const changed = Math.max(...controlTimes(control.folder).values());
  return new Map([...rests].filter(([, { failed }]) => failed <= now && changed <= failed));
}
