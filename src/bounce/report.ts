/**
 * Makes a delivery status notification of what became of a message: multipart/report (RFC 6522) with
 * a text, the fields of RFC 3464, and what is brought back of the message; with addresses in UTF-8 the
 * forms of RFC 6533. Pure: no clock, no file.
 *
 * Hostile input: addresses, replies, and the message brought back. No text of theirs becomes a field
 * or a boundary, and no line is longer than 998 octets.
 */
import { isAscii } from 'node:buffer';
import { formatDate } from '../mail/completion.ts';
import { formatField } from '../mail/header.ts';
import {
  decodeXtext,
  diagnosticOf,
  type Fate,
  hostOf,
  originalRecipient,
  statusOf,
} from './status.ts';
import { subjectOf, type Telling, tell, tellDigest, tellHeldBack } from './words.ts';

/** In whose name a report is made, for whom and when. */
export interface Letterhead {
  readonly from: string;
  readonly to: string;
  readonly host: string;
  readonly time: Date;
  /** Minutes east of UTC. */
  readonly zoneMinutes: number;
  /** Without angle brackets. */
  readonly messageId: string;
}

/** Characters of replies that the fields of all recipients together may hold. */
const DIAGNOSTICS = 200_000;

/** A report about one message, in wire form. */
export function formatReport(
  head: Letterhead,
  subject: Omit<Telling, 'host' | 'zoneMinutes'>,
): Buffer {
  const telling = { ...subject, host: head.host, zoneMinutes: head.zoneMinutes };
  const text = textPart(tell(telling));
  const parts = [text, statusPart(head, telling), excerptPart(telling)];
  const stem = freeStem(parts);
  const boundary = `${stem}picorelay`;
  const eightBit = parts.some(({ bytes }) => !isAscii(bytes));
  return Buffer.concat([
    fields([
      ...letterheadFields(head, subjectOf(telling.kind), telling.original.messageId),
      ['Content-Type', `multipart/report; report-type=delivery-status; boundary="${boundary}"`],
      ['Content-Transfer-Encoding', eightBit ? '8bit' : '7bit'],
    ]),
    Buffer.from('\r\nThis is a delivery status notification in MIME.\r\n'),
    ...parts.flatMap((part) => [
      Buffer.from(`\r\n--${boundary}\r\n`),
      partHead(part),
      Buffer.from('\r\n'),
      part.bytes,
    ]),
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ]);
}

/** One report in the place of many, in wire form: a plain text. */
export function formatDigest(head: Letterhead, items: Parameters<typeof tellDigest>[1]): Buffer {
  const part = textPart(tellDigest(head.host, items));
  const title = `Mail did not go through: ${items.length} recipients`;
  return Buffer.concat([
    fields(letterheadFields(head, title, undefined)),
    partHead(part),
    Buffer.from('\r\n'),
    part.bytes,
  ]);
}

/** Tells that mail of a user is held back, in wire form: a plain text. */
export function formatHeldBack(
  head: Letterhead,
  storm: Parameters<typeof tellHeldBack>[1],
): Buffer {
  const part = textPart(tellHeldBack(head.host, storm));
  return Buffer.concat([
    fields(letterheadFields(head, 'Mail is held back: one user sends too much', undefined)),
    partHead(part),
    Buffer.from('\r\n'),
    part.bytes,
  ]);
}

interface Part {
  readonly type: string;
  readonly description: string;
  readonly bytes: Buffer;
}

type Field = readonly [name: string, body: string];

function letterheadFields(
  head: Letterhead,
  subject: string,
  about: string | undefined,
): readonly Field[] {
  const id = about !== undefined && /^<[!-;=?-~]{1,250}>$/.test(about) ? about : undefined;
  return [
    ['Date', formatDate(head.time, head.zoneMinutes)],
    ['From', `"Mail relay on ${head.host}" <${head.from}>`],
    ['To', `<${head.to}>`],
    ['Subject', subject],
    ['Message-ID', `<${head.messageId}>`],
    ...(id === undefined
      ? []
      : ([
          ['In-Reply-To', id],
          ['References', id],
        ] as const)),
    ['Auto-Submitted', 'auto-replied'],
    ['MIME-Version', '1.0'],
  ];
}

function textPart(lines: readonly string[]): Part {
  // Whatever somebody wrote into a result file.
  const clean = lines.map((line) => line.replace(/\p{Cc}/gu, '?').trimEnd());
  const bytes = Buffer.from(clean.map((line) => `${line}\r\n`).join(''));
  return { type: 'text/plain; charset=utf-8', description: 'What happened', bytes };
}

/** RFC 3464 section 2.1: fields about the message, then a block of fields for each recipient. */
function statusPart(head: Letterhead, telling: Telling): Part {
  const recipients = telling.fates.map(recipientFields);
  // RFC 6533 section 3: with an address in UTF-8 all of it is in UTF-8.
  const utf8 = recipients.some((each) => each.some(([, body]) => !isPlain(body)));
  const plain = ([name, body]: Field): Field => [name, utf8 ? body : toAscii(body)];
  const date = (time: number): string => formatDate(new Date(time), telling.zoneMinutes);
  const message: Field[] = [];
  const { envid, accepted } = telling.original;
  if (envid !== undefined) message.push(['Original-Envelope-Id', decodeXtext(envid)]);
  message.push(['Reporting-MTA', `dns; ${head.host}`], ['Arrival-Date', date(accepted)]);
  const room = Math.max(200, Math.floor(DIAGNOSTICS / telling.fates.length));
  const blocks = [
    message,
    ...telling.fates.map((fate, n) => [
      ...(recipients[n] ?? []),
      ...fateFields(telling, fate, room, date),
    ]),
  ];
  return {
    type: utf8 ? 'message/global-delivery-status' : 'message/delivery-status',
    description: 'What happened, for programs',
    bytes: Buffer.concat(
      blocks.flatMap((each, n) => [...(n === 0 ? [] : [CRLF]), fields(each.map(plain))]),
    ),
  };
}

/** The fields that hold addresses (RFC 3464 sections 2.3.1 and 2.3.2). */
function recipientFields({ recipient }: Fate): readonly Field[] {
  const typed = (type: string, address: string): string =>
    `${isPlain(address) ? type : 'utf-8'}; ${address}`;
  const original = recipient.orcpt === undefined ? undefined : originalRecipient(recipient.orcpt);
  return [
    ...(original === undefined
      ? []
      : ([['Original-Recipient', typed(original.type, original.address)]] as const)),
    ['Final-Recipient', typed('rfc822', recipient.address)],
  ];
}

function fateFields(
  telling: Telling,
  { id, last }: Fate,
  room: number,
  date: (time: number) => string,
): readonly Field[] {
  const { kind, retryUntil } = telling;
  const list: Field[] = [
    ['Action', kind],
    ['Status', statusOf(kind, last)],
  ];
  const host = hostOf(last.relay);
  if (host !== undefined) list.push(['Remote-MTA', `dns; ${host}`]);
  const diagnostic = diagnosticOf(last);
  if (diagnostic !== undefined) list.push(['Diagnostic-Code', diagnostic.slice(0, room)]);
  if (last.lines.length > 0) list.push(['Last-Attempt-Date', date(last.time)]);
  list.push(['Final-Log-ID', id]);
  if (kind === 'delayed') list.push(['Will-Retry-Until', date(retryUntil)]);
  return list;
}

/** RFC 6522 section 3: the third part. */
function excerptPart({ original }: Telling): Part {
  const { whole, utf8, bytes } = original.excerpt;
  const type = whole
    ? utf8
      ? 'message/global'
      : 'message/rfc822'
    : utf8
      ? 'message/global-headers'
      : 'text/rfc822-headers';
  return { type, description: whole ? 'Your message' : 'The header of your message', bytes };
}

function partHead({ type, description, bytes }: Part): Buffer {
  return fields([
    ['Content-Type', type],
    ['Content-Description', description],
    ['Content-Transfer-Encoding', isAscii(bytes) ? '7bit' : '8bit'],
  ]);
}

/** Begins a boundary that occurs in no part: whatever the parts hold, it ends after a few numbers. */
function freeStem(parts: readonly Part[]): string {
  for (let n = 0; ; n++) {
    const stem = `=_report_${n}_`;
    if (parts.every(({ bytes }) => !bytes.includes(stem))) return stem;
  }
}

const CRLF = Buffer.from('\r\n');

/** Fields as octets; formatField lets nothing become a field of its own, and folds. */
function fields(list: readonly Field[]): Buffer {
  return Buffer.from(
    list.map(([name, body]) => `${formatField(name, body).raw}\r\n`).join(''),
    'latin1',
  );
}

function isPlain(text: string): boolean {
  return !/[^\x00-\x7f]/.test(text);
}

/** RFC 3464 fields are ASCII; what is not is shown like other unsafe characters. */
function toAscii(text: string): string {
  return text.replace(
    /[^\x00-\x7f]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}
