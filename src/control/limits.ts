/**
 * The limits of the control folder as a whole. A file that cannot be used must not cost the mail: it is
 * taken as without that file, and a note says so.
 */
import type { Limits } from '../mail/limits.ts';
import { NO_LIMITS } from '../mail/limits.ts';
import type { Note } from '../mail/note.ts';
import type { ControlName, ControlValues } from './catalogue.ts';
import { type Control, ControlError } from './control.ts';

/** Never throws a ControlError: each trouble is a note. */
export function readLimits(control: Control): {
  readonly limits: Limits;
  readonly troubles: readonly Note[];
} {
  const troubles: Note[] = [];
  function get<N extends ControlName, T>(name: N, otherwise: T): ControlValues[N] | T {
    try {
      return control.get(name);
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      troubles.push({ kind: 'trouble', text: `not applied: ${error.message}`, file: name });
      return otherwise;
    }
  }
  const limits = {
    size: orNone(get('databytes', 0)),
    recipients: orNone(get('maxrecipients', 0)),
    userEntries: orNone(get('userentries', 0)),
    userOctets: orNone(get('userbytes', 0)),
    floor: get('spoolfree', NO_LIMITS.floor),
  };
  return { limits, troubles };
}

/** qmail's rule: nought is no limit. */
function orNone(limit: number): number {
  return limit === 0 ? Number.POSITIVE_INFINITY : limit;
}
