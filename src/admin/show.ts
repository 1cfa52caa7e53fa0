/** One entry for people: envelope, history, header. Everything of the message is escaped. */
import { escapeText } from '../mail/text.ts';
import { BadBlock } from '../spool/block.ts';
import { hasCode } from '../spool/disk.ts';
import type { StoredMessage } from '../spool/message.ts';
import { formatName, parseBase, showPart } from '../spool/name.ts';
import { type Attempt, formatAttempt } from '../spool/result.ts';
import { Spool } from '../spool/spool.ts';
import { CommandError, EX_NOINPUT, EX_USAGE, type World } from './command.ts';

/** The header is shown up to this many octets. */
const HEADER_SHOWN = 16 * 1024;

export function show({ id }: { readonly id: string }, world: World): number {
  const spool = new Spool(world.control.get('spooldir'), world.pid);
  const found = findEntries(spool, id);
  const [first, ...others] = found;
  if (first === undefined) {
    throw new CommandError(
      EX_NOINPUT,
      `no mail has ${JSON.stringify(id)} in its name; see picorelay list`,
    );
  }
  if (others.length > 0 && first.base !== id) {
    const names = found.map(({ base }) => `\n  ${base}`).join('');
    throw new CommandError(
      EX_USAGE,
      `${JSON.stringify(id)} is part of ${found.length} names:${names}`,
    );
  }
  world.stdout.write(printEntry(spool, first));
  return 0;
}

/** Where an entry was found. */
interface Found {
  readonly base: string;
  readonly where: 'spool' | 'Undelivered';
  readonly name: string;
}

/**
 * The entries whose base name holds this text: every one of the queue and of Undelivered.
 */
function findEntries(spool: Spool, text: string): readonly Found[] {
  try {
    return allEntries(spool).filter(({ base }) => base.includes(text));
  } catch (error) {
    // No spool yet: nothing was ever queued.
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

function allEntries(spool: Spool): readonly Found[] {
  const queued = spool
    .list()
    .entries.map(
      ({ base, state }): Found => ({ base, where: 'spool', name: formatName(base, state) }),
    );
  const refused = spool
    .listUndelivered()
    .map((base): Found => ({ base, where: 'Undelivered', name: base }));
  return [...queued, ...refused];
}

/** What `picorelay show` prints of an entry. */
function printEntry(spool: Spool, found: Found): string {
  const lines = [found.base, `    file: ${spool.folder}/${found.where}/${found.name}`];
  const history = spool.history(found.base, found.where);
  try {
    const message = spool.look(found.base, found.where, found.name);
    try {
      lines.push(
        ...envelopeLines(message, found.base),
        '',
        ...historyLines(history),
        ...headerLines(message),
      );
    } finally {
      message.close();
    }
  } catch (error) {
    if (!(error instanceof BadBlock)) throw error;
    lines.push(`    unreadable: ${error.message}`, '', ...historyLines(history));
  }
  return `${lines.join('\n')}\n`;
}

function envelopeLines(message: StoredMessage, base: string): string[] {
  const name = parseBase(base);
  const lines = [
    `    from: <${escapeText(message.sender)}>`,
    `    to: <${escapeText(message.recipientOf(base).address)}>`,
    `    accepted: ${new Date((name?.time ?? 0) / 1000).toISOString()}`,
  ];
  if (message.size !== undefined) lines.push(`    size: ${message.size} octets`);
  const { origin } = message;
  if (origin !== undefined) {
    lines.push(`    submitted: by uid ${origin.uid} through ${origin.program}, pid ${origin.pid}`);
  }
  for (const note of origin?.notes ?? []) lines.push(`    ${escapeText(note)}`);
  if (message.origin === undefined)
    lines.push(`    sender by its name: ${showPart(name?.sender ?? '')}`);
  return lines;
}

function historyLines(history: readonly Attempt[]): string[] {
  if (history.length === 0) return ['No attempt has been made yet.', ''];
  return [...history.map((attempt) => formatAttempt(attempt).trimEnd()), ''];
}

function headerLines(message: StoredMessage): string[] {
  const parts: Buffer[] = [];
  let length = 0;
  for (const piece of message.pieces()) {
    parts.push(Buffer.from(piece));
    length += piece.length;
    if (length > HEADER_SHOWN) break;
  }
  const text = Buffer.concat(parts).toString('utf8');
  const end = text.indexOf('\r\n\r\n');
  return text
    .slice(0, end === -1 ? HEADER_SHOWN : end)
    .split('\r\n')
    .map(escapeText);
}
