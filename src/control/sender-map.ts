/** The syntax of control/sendermap: who sends under which address. Pure, and nothing here throws. */
import { isMailbox } from '../mail/address.ts';
import type { SenderMap } from '../mail/rewriting.ts';
import { isHostName } from './relay-url.ts';
import type { Line } from './retry.ts';

export const SENDER_MAP_TAKES =
  'lines like root: admin@example.com, joe@old.example: joe@example.com, @old.example: @example.com or *: host@example.com';

/**
 * Reads the lines. What is on a right side is at its end, so it may not be on a left side with
 * another right side: such a line would never hold. `problem` is made to stand after "expected".
 */
export function parseSenderMap(
  lines: readonly Line[],
): SenderMap | { readonly problem: string; readonly line: Line } {
  const entries = new Map<string, string>();
  for (const line of lines) {
    const colon = line.text.lastIndexOf(':');
    const from = line.text.slice(0, Math.max(colon, 0)).trim().toLowerCase();
    const to = line.text.slice(colon + 1).trim();
    if (!isPattern(from) || !(isMailbox(to) || isAtHost(to))) {
      return { problem: SENDER_MAP_TAKES, line };
    }
    if (entries.has(from)) return { problem: 'one line for each sender', line };
    entries.set(from, to);
  }
  const ends = new Set([...entries.values()].map((to) => to.toLowerCase()));
  for (const [from, to] of entries) {
    const host = from.slice(from.lastIndexOf('@'));
    const isEnd = ends.has(from) || (from.includes('@') && ends.has(host));
    if (!isEnd || to.toLowerCase() === from) continue;
    const line = lines.find(({ text }) => text.toLowerCase().startsWith(from));
    const problem = `no line for ${from}, which another line leads to: it is not followed further`;
    return { problem, line: line ?? { number: 1, text: '' } };
  }
  return { entries };
}

function isPattern(from: string): boolean {
  if (from === '*' || isAtHost(from) || isMailbox(from)) return true;
  return !from.includes('@') && isMailbox(`${from}@host.invalid`);
}

function isAtHost(text: string): boolean {
  return text.startsWith('@') && isHostName(text.slice(1));
}
