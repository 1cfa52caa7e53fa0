/**
 * A message that comes with its envelope and its header complete, as by qmail's interface: it is queued
 * as it is, with a Received field in front. Of addresses only those of the envelope are rewritten, and
 * of the message an mbox `From ` line before the header goes, which would end it. Hostile input: all of
 * the message.
 */
import { formatDate, receivedField } from '../mail/completion.ts';
import type { Envelope, Origin } from '../mail/envelope.ts';
import { checkRecipients, type Limits } from '../mail/limits.ts';
import { keptNotes, type Note } from '../mail/note.ts';
import type { Rewriter } from '../mail/rewriting.ts';
import type { Intake } from './intake.ts';
import type { Scratch } from './scratch.ts';

/**
 * @param zoneMinutes of the Received field's date, east of UTC
 * @returns base names of the new entries
 * @throws OverLimit, and the system calls' errors; nothing is queued then
 */
export function submitRaw(
  spool: Intake,
  scratch: Scratch,
  envelope: Envelope,
  origin: Origin,
  host: string,
  zoneMinutes: number,
  rewriter: Rewriter,
  limits: Limits,
): readonly string[] {
  checkRecipients(limits, envelope.recipients.length);
  const rewritten: Envelope = {
    ...envelope,
    sender: rewriter.sender(envelope.sender),
    recipients: rewriter.recipients(envelope.recipients),
  };
  const skip = mboxLineLength(scratch.pieces());
  const repairs: Note[] = skip === 0 ? [] : [{ kind: 'repaired', text: 'mbox From line dropped' }];
  const date = formatDate(new Date(origin.time / 1000), zoneMinutes);
  const received = `Received: ${receivedField({ ...origin, host }, date)}\r\n`;
  return spool.submit(
    rewritten,
    { ...origin, notes: keptNotes([...repairs, ...rewriter.notes]) },
    withReceived(received, scratch.pieces(), skip),
    limits,
  );
}

/** How much of a message is the mbox `From ` line that it begins with, with its line end. */
function mboxLineLength(pieces: Iterable<Uint8Array>): number {
  const LF = 0x0a;
  let start = '';
  let length = 0;
  for (const piece of pieces) {
    if (start.length < 6) start += Buffer.from(piece.subarray(0, 6)).toString('latin1');
    if (start.length >= 6 && !/^>?From /.test(start)) return 0;
    const end = piece.indexOf(LF);
    if (end >= 0) return /^>?From /.test(start) ? length + end + 1 : 0;
    length += piece.length;
  }
  return 0;
}

/** The field, then what follows the first `skip` octets. */
function* withReceived(
  field: string,
  pieces: Iterable<Uint8Array>,
  skip: number,
): Generator<Uint8Array, void, undefined> {
  yield Buffer.from(field, 'latin1');
  let left = skip;
  for (const piece of pieces) {
    if (piece.length > left) yield piece.subarray(left);
    left = Math.max(left - piece.length, 0);
  }
}
