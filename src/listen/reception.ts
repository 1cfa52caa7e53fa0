/** Brings messages that come in over a socket to the spool, by the same verbs as every submission. */
import { type Control, ControlError, openControl } from '../control/control.ts';
import { readLimits } from '../control/limits.ts';
import { openRewriter } from '../control/rewriting.ts';
import type { Intake } from '../spool/intake.ts';
import { submitRaw } from '../spool/raw.ts';
import type { House } from './door.ts';

/** What this process is and knows. */
export interface Host {
  readonly pid: number;
  /** The user that the process runs as: the kernel does not tell node who connects. */
  readonly uid: number;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly now: () => number;
  /** Minutes east of UTC. */
  readonly zoneMinutes: number;
  /** The system's host name: where the control folder names none, mail is taken all the same. */
  readonly hostName: string;
}

/** @param queued called after each message, so that somebody sends it */
export function houseOf(spool: Intake, control: Control, host: Host, queued: () => void): House {
  let last = 0;
  return {
    begin: () => {
      // Microseconds that no other message of this process has.
      last = Math.max(last + 1, Math.round(host.now() * 1000));
      const origin = { uid: host.uid, pid: host.pid, time: last, program: 'socket' };
      // The process stays, and its control files change.
      const now = openControl(control.folder);
      const { limits, troubles } = readLimits(now);
      const scratch = spool.scratch(origin, limits);
      return {
        write: (chunk) => scratch.write(chunk),
        commit: (envelope) => {
          const me = nameOf(now, host);
          const names = { me, defaultHost: me, defaultDomain: undefined };
          const rewriter = openRewriter(now, names);
          for (const { text, file } of troubles) rewriter.warn(text, file);
          const { zoneMinutes } = host;
          const bases = submitRaw(
            ...([spool, scratch, envelope, origin, me, zoneMinutes, rewriter, limits] as const),
          );
          queued();
          return bases;
        },
        end: () => scratch.erase(),
      };
    },
  };
}

function nameOf(control: Control, host: Host): string {
  try {
    return control.get('me');
  } catch (error) {
    if (error instanceof ControlError) return host.hostName;
    throw error;
  }
}
