/**
 * The envelope as qmail-queue reads it (notqmail's qmail-queue(8)): `F` sender NUL, `T` recipient NUL
 * repeated, NUL. Pure. Hostile input: any octets; an address has a limit, how many there are is the
 * caller's business.
 */
import type { Envelope, Recipients } from './envelope.ts';
import { mailboxOf } from './raw-address.ts';

/** An envelope that is refused. */
export class EnvelopeError extends Error {
  override name = 'EnvelopeError';
  /** `too long`: an address is; `malformed`: anything else. */
  readonly kind: 'too long' | 'malformed';

  constructor(kind: 'too long' | 'malformed', message: string) {
    super(message);
    this.kind = kind;
  }
}

/** The longest address, as in qmail. */
const ADDRESS_LIMIT = 1003;

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
      if (length > ADDRESS_LIMIT) throw new EnvelopeError('too long', 'an address is too long');
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
  return new EnvelopeError('malformed', reason);
}
