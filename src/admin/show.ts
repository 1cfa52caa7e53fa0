/** One entry for people: envelope, history, header. Everything of the message is escaped. */
import { join } from 'node:path';
import { escapeText } from '../mail/text.ts';
import { BadBlock } from '../spool/block.ts';
import type { StoredMessage } from '../spool/message.ts';
import { parseBase, showPart } from '../spool/name.ts';
import { type Attempt, formatAttempt } from '../spool/result.ts';
import type { Spool } from '../spool/spool.ts';
import { printJson, type World } from './command.ts';
import {
  type AttemptView,
  attemptView,
  fileOf,
  type Mail,
  type MailView,
  queuedMails,
  spoolOf,
  theOne,
  undeliveredMails,
  viewOf,
} from './mails.ts';

/** The header is shown up to this many octets. */
const HEADER_SHOWN = 16 * 1024;

export function show(
  { id, json }: { readonly id: string; readonly json: boolean },
  world: World,
): number {
  const spool = spoolOf(world);
  const mail = theOne([...queuedMails(spool), ...undeliveredMails(spool)], id);
  if (json) printJson(world, detailsOf(spool, mail));
  else world.stdout.write(printMail(spool, mail));
  return 0;
}

/** What --json shows of one mail. */
interface Details extends MailView {
  readonly file: string;
  /** Why its file cannot be read; then there is no `message`. */
  readonly unreadable?: string;
  readonly submitted?: { readonly uid: number; readonly program: string; readonly pid: number };
  readonly notes: readonly string[];
  readonly history: readonly (AttemptView & Pick<Attempt, 'dialogue'>)[];
  /** The lines of its header, escaped; at most the first 16 KB. */
  readonly header: readonly string[];
}

function detailsOf(spool: Spool, mail: Mail): Details {
  const view = viewOf(spool, mail);
  const history = spool.history(mail.base, mail.place).map((attempt) => {
    const { dialogue } = attempt;
    return { ...attemptView(attempt), ...(dialogue === undefined ? {} : { dialogue }) };
  });
  const file = join(spool.folder, mail.place, fileOf(mail));
  const details = { ...view, file, history };
  try {
    const message = spool.look(mail.base, mail.place, fileOf(mail));
    try {
      const { origin } = message;
      return {
        ...details,
        sender: escapeText(message.sender),
        recipient: escapeText(message.recipientOf(mail.base).address),
        ...(origin === undefined
          ? {}
          : { submitted: { uid: origin.uid, program: origin.program, pid: origin.pid } }),
        notes: (origin?.notes ?? []).map(escapeText),
        header: headerLines(message),
      };
    } finally {
      message.close();
    }
  } catch (error) {
    if (!(error instanceof BadBlock)) throw error;
    return { ...details, unreadable: error.message, notes: [], header: [] };
  }
}

/** What `picorelay show` prints of an entry. */
function printMail(spool: Spool, mail: Mail): string {
  const lines = [mail.base, `    file: ${spool.folder}/${mail.place}/${fileOf(mail)}`];
  const history = spool.history(mail.base, mail.place);
  try {
    const message = spool.look(mail.base, mail.place, fileOf(mail));
    try {
      lines.push(
        ...envelopeLines(message, mail.base),
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
