/**
 * A message as one relay gets it: in 7 bits where the relay takes no more, and signed by DKIM, last of all,
 * so that the signature covers what goes out. Changes nothing in the spool.
 */
import { setImmediate as breathe } from 'node:timers/promises';
import type { DkimKey } from '../mail/dkim.ts';
import { HeaderTooLong } from '../mail/header.ts';
import type { Answer } from '../mail/outcome.ts';
import { sevenBitForm } from '../mail/repair.ts';
import { ownReply } from '../mail/reply.ts';
import type { Transaction } from '../relay/transactions.ts';
import type { StoredMessage } from '../spool/message.ts';

/** What a transaction wants to know of a message's octets. */
export type Rendering = Pick<Transaction, 'size' | 'eightBit' | 'pieces'>;

/** Octets that are read for a signature before others have a turn. */
const TURN = 4 * 1024 * 1024;

/**
 * @param extensions what the relay offers, by keyword in capitals
 * @returns an answer where the relay cannot have the message in any form
 * @throws the system call's error when the message cannot be read
 */
export function render(
  message: StoredMessage,
  extensions: ReadonlyMap<string, string>,
): Rendering | Answer {
  const stored: Rendering = {
    size: message.size,
    eightBit: message.body === '8BITMIME',
    pieces: () => message.pieces(),
  };
  if (!stored.eightBit || extensions.has('8BITMIME')) return stored;
  // RFC 6152 section 3: converted, or refused by us.
  const form = sevenBitForm(stored.pieces);
  if (form === undefined) return { ...stored, eightBit: false };
  if ('stuck' in form) {
    return refused('5.6.3', `the relay takes no 8-bit text (no 8BITMIME), and ${form.stuck}`);
  }
  return { size: undefined, eightBit: false, pieces: () => form.pieces() };
}

/**
 * The same with a signature of each key of the author's domain in front.
 * @param now milliseconds since 1970-01-01 UTC
 * @throws as render does
 */
export async function signed(
  rendering: Rendering,
  sender: string,
  keys: readonly DkimKey[],
  now: number,
): Promise<Rendering | Answer> {
  const { DkimReader, keysFor } = await import('../mail/dkim.ts');
  const reader = new DkimReader();
  try {
    let next = TURN;
    for (const piece of rendering.pieces()) {
      reader.push(piece);
      if (reader.size < next) continue;
      next += TURN;
      await breathe();
    }
  } catch (error) {
    if (error instanceof HeaderTooLong) return refused('5.6.0', error.message);
    throw error;
  }
  const time = Math.floor(now / 1000);
  const fit = keysFor(keys, reader.authorDomain(sender));
  const fields = Buffer.from(fit.map((key) => reader.signature(key, time)).join(''), 'latin1');
  return {
    ...rendering,
    size: fields.length + reader.size,
    pieces: function* () {
      yield fields;
      yield* rendering.pieces();
    },
  };
}

function refused(enhanced: string, text: string): Answer {
  return { stage: 'data', event: { kind: 'reply', reply: ownReply(554, enhanced, text) } };
}
