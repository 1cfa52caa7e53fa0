/**
 * What this site has to say of submissions that come by incoming/: the trace that they get, and which of
 * them are not taken.
 */
import { type Control, ControlError } from '../control/control.ts';
import { readLimits } from '../control/limits.ts';
import { formatDate, receivedField } from '../mail/completion.ts';
import type { Admission } from '../spool/takeover.ts';

/** Minutes east of UTC of the dates in a trace: a runner has no user whose zone it could be. */
const UTC = 0;

export function admissionOf(control: Control): Admission {
  let host: string | undefined;
  return {
    received: (origin) => {
      host ??= hostName(control);
      const date = formatDate(new Date(origin.time / 1000), UTC);
      return `Received: ${receivedField({ ...origin, host }, date)}\r\n`;
    },
    // Those of a caller's own program are checked before; here those who write their files themselves are.
    limits: readLimits(control).limits,
  };
}

/** Mail is taken all the same where no name is configured, and waits until it is. */
function hostName(control: Control): string {
  try {
    return control.get('me');
  } catch (error) {
    if (error instanceof ControlError) return process.getBuiltinModule('node:os').hostname();
    throw error;
  }
}
