/**
 * The qmail-queue interface (notqmail's qmail-queue(8)): the message on one descriptor, then the
 * envelope on another (mail/qmail-envelope.ts). Prints nothing; the exit code says everything.
 * Hostile input: both descriptors.
 */
import type { Origin } from '../mail/envelope.ts';
import type { Limits } from '../mail/limits.ts';
import { parseEnvelope } from '../mail/qmail-envelope.ts';
import type { Rewriter } from '../mail/rewriting.ts';
import type { Intake } from '../spool/intake.ts';
import { submitRaw } from '../spool/raw.ts';

/** Exit codes: 11 to 40 are permanent, every other but 0 is temporary. */
export const EXIT = {
  queued: 0,
  addressTooLong: 11,
  refused: 31,
  outOfMemory: 51,
  writeError: 53,
  readError: 54,
  configuration: 55,
  spoolMissing: 62,
  cannotMakeFile: 63,
  refusedForNow: 71,
  bug: 81,
  badEnvelope: 91,
} as const;

/**
 * @param zoneMinutes of the Received field's date, east of UTC
 * @returns base names of the new entries
 * @throws EnvelopeError, OverLimit, and the system calls' errors
 */
export function queueMessage(
  message: Iterable<Uint8Array>,
  envelope: Iterable<Uint8Array>,
  spool: Intake,
  origin: Origin,
  host: string,
  zoneMinutes: number,
  rewriter: Rewriter,
  limits: Limits,
): readonly string[] {
  const scratch = spool.scratch(origin, limits);
  try {
    for (const piece of message) scratch.write(piece);
    const parsed = parseEnvelope(envelope);
    return submitRaw(spool, scratch, parsed, origin, host, zoneMinutes, rewriter, limits);
  } finally {
    scratch.erase();
  }
}
