/**
 * The envelope block at the head of a spool file: `key: value` lines, an empty line, then the message
 * exactly as it goes over the wire.
 *
 *     picorelay: 1
 *     size: 0000000000000432
 *     body: 8BITMIME
 *     time: 1795216501123456
 *     pid: 4242
 *     uid: 1000
 *     program: sendmail
 *     sender: root@host.example
 *     smtputf8: yes
 *     requiretls: yes
 *     note: rewritten: recipient root: bob@example.com (control/aliases)
 *     recipient: bob@example.com
 *     recipient: ann@example.com NOTIFY=FAILURE ORCPT=rfc822;ann@example.com
 *
 * Size and body type are known only after the message was written: they have a fixed place and width,
 * so that they can be filled in at the end. So has, in a message that needed repair, a line `repairs:`
 * behind them, with phrases between semicolons. Addresses are encoded as in spool names, without the
 * cut; notes are escaped as for a terminal.
 *
 * Hostile input: the block of a file that somebody dropped into the spool. Parsing throws BadBlock only.
 */
import type { Envelope, Origin, Recipient } from '../mail/envelope.ts';
import { escapeText, unescapeText } from '../mail/text.ts';
import { decodeBytes, encodeBytes } from './name.ts';

/** The body type of RFC 6152: whether the message holds octets above 127. */
export type BodyType = '7BIT' | '8BITMIME';

/** What is filled in once the message is complete. */
export interface Completed {
  /** Octets of the message after the block. */
  readonly size: number;
  readonly body: BodyType;
  /** What had to be repaired in its content; undefined when there is no place for it. */
  readonly repairs?: readonly string[];
}

export interface Block extends Omit<Completed, 'repairs'> {
  readonly envelope: Envelope;
  readonly origin: Origin;
}

/** A spool file whose block cannot be read; the message says what is wrong with it. */
export class BadBlock extends Error {
  override name = 'BadBlock';
}

/** A block may not be longer than this many octets (a thousand recipients take about 40 KB). */
export const BLOCK_LIMIT = 16 * 1024 * 1024;

/** What a block of any version begins with. */
export const BLOCK_START = 'picorelay: ';

const FIRST_LINE = `${BLOCK_START}1\n`;
const SIZE_WIDTH = 16;
/** Room for every phrase that mail/repair.ts knows. */
const REPAIRS_WIDTH = 400;
/** More notes than this are not kept. */
const MOST_NOTES = 50;
const LONGEST_NOTE = 500;
/** Where formatCompleted's text goes in the file. */
export const COMPLETED_OFFSET = FIRST_LINE.length;

/**
 * The block of a submission, its size still zero.
 * @param repaired whether to leave room for the repairs
 */
export function formatBlock(envelope: Envelope, origin: Origin, repaired = false): string {
  const lines = [
    `time: ${origin.time}`,
    `pid: ${origin.pid}`,
    `uid: ${origin.uid}`,
    `program: ${origin.program}`,
    `sender: ${encodeText(envelope.sender)}`,
  ];
  if (envelope.ret !== undefined) lines.push(`ret: ${envelope.ret}`);
  if (envelope.envid !== undefined) lines.push(`envid: ${encodeText(envelope.envid)}`);
  if (envelope.smtpUtf8 === true) lines.push('smtputf8: yes');
  if (envelope.requireTls === true) lines.push('requiretls: yes');
  for (const note of (origin.notes ?? []).slice(0, MOST_NOTES)) {
    lines.push(`note: ${escapeText(note.slice(0, LONGEST_NOTE))}`);
  }
  for (const recipient of envelope.recipients) lines.push(formatRecipient(recipient));
  const completed = formatCompleted({
    size: 0,
    body: '7BIT',
    ...(repaired ? { repairs: [] } : {}),
  });
  return `${FIRST_LINE}${completed}${lines.join('\n')}\n\n`;
}

/** The lines at COMPLETED_OFFSET: two, or three with repairs; of the same length each time. */
export function formatCompleted(completed: Completed): string {
  const size = String(completed.size).padStart(SIZE_WIDTH, '0');
  const lines = `size: ${size}\nbody: ${completed.body.padEnd('8BITMIME'.length)}\n`;
  if (completed.repairs === undefined) return lines;
  const repairs = completed.repairs.join('; ').slice(0, REPAIRS_WIDTH).padEnd(REPAIRS_WIDTH);
  return `${lines}repairs: ${repairs}\n`;
}

/** Whether a file begins with a block of any version; else it is a bare message. */
export function hasBlock(start: Uint8Array): boolean {
  return Buffer.from(start.subarray(0, BLOCK_START.length)).toString('latin1') === BLOCK_START;
}

/**
 * Reads the text of a block, without its empty line.
 * @throws BadBlock when a line is unknown, missing, double or malformed, or the version is another
 */
export function parseBlock(text: string): Block {
  const lines = text.split('\n');
  const values = new Map<string, string>();
  const recipients: Recipient[] = [];
  const notes: string[] = [];
  for (const [index, line] of lines.entries()) {
    const match = /^([a-z][a-z\d]*): (.*)$/.exec(line);
    if (match === null)
      throw new BadBlock(`line ${index + 1} of the envelope block is no "key: value"`);
    const [, key = '', value = ''] = match;
    if (index === 0 && value !== '1') {
      throw new BadBlock('the envelope block is of another version; this program knows version 1');
    }
    if (key === 'recipient') {
      recipients.push(parseRecipient(value));
    } else if (key === 'note') {
      const note = unescapeText(Buffer.from(value, 'latin1').toString('utf8'));
      if (note === undefined) throw new BadBlock('a note in the envelope block is malformed');
      notes.push(note);
    } else {
      if (values.has(key)) throw new BadBlock(`the envelope block says "${key}" twice`);
      values.set(key, value.trimEnd());
    }
  }
  const [first, ...others] = recipients;
  if (first === undefined) throw new BadBlock('the envelope block names no recipient');
  const take = (key: string, pattern: RegExp): string => {
    const value = values.get(key);
    values.delete(key);
    if (value === undefined) throw new BadBlock(`the envelope block lacks "${key}"`);
    if (!pattern.test(value)) throw new BadBlock(`"${key}" in the envelope block is malformed`);
    return value;
  };
  const takeOptional = (key: string, pattern: RegExp) =>
    values.has(key) ? take(key, pattern) : undefined;
  take('picorelay', /^1$/);
  const number = /^\d{1,16}$/;
  const repairs = takeOptional('repairs', /^[ -~]*$/)?.split('; ') ?? [];
  for (const each of repairs) if (each !== '') notes.push(`repaired: ${each}`);
  const block: Block = {
    size: Number(take('size', number)),
    body: take('body', /^(7BIT|8BITMIME)$/) === '7BIT' ? '7BIT' : '8BITMIME',
    origin: {
      time: Number(take('time', number)),
      pid: Number(take('pid', number)),
      uid: Number(take('uid', number)),
      program: take('program', /^[\w-]{1,40}$/),
      ...(notes.length === 0 ? {} : { notes }),
    },
    envelope: {
      sender: decodeText(take('sender', /^/)),
      recipients: [first, ...others],
      ...optional('ret', takeOptional('ret', /^(FULL|HDRS)$/) as 'FULL' | 'HDRS' | undefined),
      ...optional('envid', mapped(takeOptional('envid', /^/), decodeText)),
      ...optional(
        'smtpUtf8',
        mapped(takeOptional('smtputf8', /^yes$/), () => true as const),
      ),
      ...optional(
        'requireTls',
        mapped(takeOptional('requiretls', /^yes$/), () => true as const),
      ),
    },
  };
  const [unknown] = values.keys();
  if (unknown !== undefined)
    throw new BadBlock(`the envelope block has an unknown key "${unknown}"`);
  return block;
}

function formatRecipient({ address, notify, orcpt }: Recipient): string {
  let line = `recipient: ${encodeText(address)}`;
  if (notify !== undefined) line += ` NOTIFY=${notify}`;
  if (orcpt !== undefined) line += ` ORCPT=${encodeText(orcpt)}`;
  return line;
}

function parseRecipient(value: string): Recipient {
  const match = /^(\S+)(?: NOTIFY=([A-Z,]+))?(?: ORCPT=(\S+))?$/.exec(value);
  if (match === null) throw new BadBlock('a recipient in the envelope block is malformed');
  const [, address = '', notify, orcpt] = match;
  return {
    address: decodeText(address),
    ...optional('notify', notify),
    ...optional('orcpt', mapped(orcpt, decodeText)),
  };
}

function encodeText(text: string): string {
  return encodeBytes(Buffer.from(text));
}

function decodeText(text: string): string {
  const bytes = decodeBytes(text);
  if (bytes === undefined) throw new BadBlock('an address in the envelope block is malformed');
  return bytes.toString('utf8');
}

function mapped<A, B>(value: A | undefined, map: (value: A) => B): B | undefined {
  return value === undefined ? undefined : map(value);
}

/** `{ key: value }`, or nothing where there is no value, as exactOptionalPropertyTypes wants it. */
function optional<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: V });
}
