/**
 * The qmail-queue interface (notqmail's qmail-queue(8)): the message on one descriptor, then the
 * envelope on another, `F` sender NUL, `T` recipient NUL repeated, NUL. Prints nothing; the exit code
 * says everything. Hostile input: both descriptors.
 */
import { receivedField } from '../mail/completion.ts';
import type { Envelope, Origin, Recipients } from '../mail/envelope.ts';
import { mailboxOf } from '../mail/raw-address.ts';
import type { Spool } from '../spool/spool.ts';

/** Exit codes: 11 to 40 are permanent, every other but 0 is temporary. */
export const EXIT = {
  queued: 0,
  addressTooLong: 11,
  outOfMemory: 51,
  writeError: 53,
  readError: 54,
  configuration: 55,
  spoolMissing: 62,
  cannotMakeFile: 63,
  bug: 81,
  badEnvelope: 91,
} as const;

/** An envelope that qmail-queue refuses, with its exit code. */
export class EnvelopeError extends Error {
  override name = 'EnvelopeError';
  readonly exit: number;

  constructor(exit: number, message: string) {
    super(message);
    this.exit = exit;
  }
}

/** The longest address, as in qmail. */
const ADDRESS_LIMIT = 1003;

/**
 * @param now the text of the Received field's date
 * @returns base names of the new entries
 * @throws EnvelopeError, and the system calls' errors
 */
export function queueMessage(
  message: Iterable<Uint8Array>,
  envelope: Iterable<Uint8Array>,
  spool: Spool,
  origin: Origin,
  host: string,
  date: string,
): readonly string[] {
  const scratch = spool.scratch(origin);
  try {
    for (const piece of message) scratch.write(piece);
    const parsed = parseEnvelope(envelope);
    const received = `Received: ${receivedField({ ...origin, host }, date)}\r\n`;
    return spool.submit(parsed, origin, prepend(received, scratch.pieces()));
  } finally {
    scratch.erase();
  }
}

/**
 * Reads the envelope.
 * @throws EnvelopeError
 */
export function parseEnvelope(pieces: Iterable<Uint8Array>): Envelope {
  const reader = new FieldReader(pieces);
  const first = reader.next();
  if (first === undefined || first === '' || !first.startsWith('F'))
    throw bad('it begins with no F');
  const recipients: string[] = [];
  for (;;) {
    const field = reader.next();
    if (field === undefined) throw bad('it ends before its last NUL');
    if (field === '') break;
    if (!field.startsWith('T')) throw bad('there is something else than T');
    // An entry of no name could not be told from a foreign file.
    if (field === 'T') throw bad('a recipient is empty');
    recipients.push(field.slice(1));
  }
  const unique = [...new Set(recipients.map(mailboxOf))].map((address) => ({ address }));
  const [one, ...others] = unique;
  if (one === undefined) throw bad('it names no recipient');
  const all: Recipients = [one, ...others];
  return { sender: mailboxOf(first.slice(1)), recipients: all };
}

/** NUL-terminated fields as text. */
class FieldReader {
  readonly #pieces: Iterator<Uint8Array>;
  #piece: Uint8Array = Buffer.alloc(0);

  constructor(pieces: Iterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.iterator]();
  }

  /** The next field without its NUL, or undefined at the end of input. */
  next(): string | undefined {
    const parts: Buffer[] = [];
    let length = 0;
    for (;;) {
      const nul = this.#piece.indexOf(0);
      const part = Buffer.from(nul === -1 ? this.#piece : this.#piece.subarray(0, nul));
      length += part.length;
      if (length > ADDRESS_LIMIT)
        throw new EnvelopeError(EXIT.addressTooLong, 'an address is too long');
      parts.push(part);
      if (nul !== -1) {
        this.#piece = this.#piece.subarray(nul + 1);
        return decode(Buffer.concat(parts));
      }
      const more = this.#pieces.next();
      if (more.done === true) return undefined;
      this.#piece = more.value;
    }
  }
}

/** Addresses are text: bytes that are no UTF-8 could not be sent to any relay. */
function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw bad('an address is not UTF-8');
  }
}

function bad(reason: string): EnvelopeError {
  return new EnvelopeError(EXIT.badEnvelope, reason);
}

function* prepend(
  head: string,
  pieces: Iterable<Uint8Array>,
): Generator<Uint8Array, void, undefined> {
  yield Buffer.from(head, 'latin1');
  yield* pieces;
}
