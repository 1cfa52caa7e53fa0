/**
 * A message as one relay gets it. What is in the spool goes out as it is, unless the relay wants another form
 * of it. Changes nothing in the spool.
 */
import type { Answer } from '../mail/outcome.ts';
import { sevenBitForm } from '../mail/repair.ts';
import { ownReply } from '../mail/reply.ts';
import type { Transaction } from '../relay/transactions.ts';
import type { StoredMessage } from '../spool/message.ts';

/** What a transaction wants to know of a message's octets. */
export type Rendering = Pick<Transaction, 'size' | 'eightBit' | 'pieces'>;

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
    const text = `the relay takes no 8-bit text (no 8BITMIME), and ${form.stuck}`;
    return { stage: 'data', event: { kind: 'reply', reply: ownReply(554, '5.6.3', text) } };
  }
  return { size: undefined, eightBit: false, pieces: () => form.pieces() };
}
