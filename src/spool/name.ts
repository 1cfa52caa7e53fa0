/**
 * Names of spool files. An entry's base name is `date:pid:from:to`, its state a suffix:
 *
 *     20261120T231501.123456Z:4242:root@host.example:bob@example.com              new
 *     20261120T231501.123456Z:4242:root@host.example:bob@example.com:77.sending   claimed by pid 77
 *     …:3@20261120T234500Z.spool      waiting: attempts so far, next one due
 *     …:3.held                        on hold by the admin
 *     …:.result                       the history of attempts, beside the entry
 *
 * Addresses are percent-encoded byte by byte except letters, digits and `@ . _ + = -`, so that none
 * can hold a `/`, a `:`, a leading dot or a byte that a terminal obeys. A long address is cut and
 * ends in `%%` and a digest of the whole; the envelope block inside the file is then the authority.
 *
 * Hostile input: any name that somebody puts into the folder. Parsing never throws.
 */

import { parseStamp, stamp } from '../mail/stamp.ts';

/** What an entry's base name says. Times are microseconds since 1970-01-01 UTC. */
export interface BaseName {
  readonly time: number;
  readonly pid: number;
  /** As in the name: encoded, perhaps cut. */
  readonly sender: string;
  readonly recipient: string;
}

export type EntryState =
  | { readonly kind: 'new' }
  | { readonly kind: 'sending'; readonly pid: number }
  /** `due` in milliseconds since 1970-01-01 UTC, whole seconds. */
  | { readonly kind: 'waiting'; readonly attempts: number; readonly due: number }
  | { readonly kind: 'held'; readonly attempts: number };

export type SpoolName =
  | { readonly kind: 'entry'; readonly base: string; readonly state: EntryState }
  | { readonly kind: 'result'; readonly base: string }
  | { readonly kind: 'foreign' };

/** Encoded addresses longer than this are cut, so that base name and suffix fit NAME_MAX (255). */
const SENDER_MAX = 88;
const RECIPIENT_MAX = 100;
/** Names of routes, with `:policy` behind them. */
const ROUTE_MAX = 240;
const DIGEST_LENGTH = 32;

const BASE = /^(\d{8}T\d{6}\.\d{6}Z):([1-9]\d{0,9}):([\w@.+=%-]*):([\w@.+=%-]+)$/;
const PART = /^(?:[A-Za-z0-9@._+=-]|%[0-9A-F]{2})*(?:%%[0-9a-f]{32})?$/;

/**
 * The base name of the entry for one recipient.
 * @param key times in microseconds since 1970-01-01 UTC; addresses without angle brackets
 */
export function formatBase(key: {
  readonly time: number;
  readonly pid: number;
  readonly sender: string;
  readonly recipient: string;
}): string {
  const recipient = recipientPart(key.recipient);
  return `${submissionPrefix(key.time, key.pid)}:${senderPart(key.sender)}:${recipient}`;
}

/** `date:pid`, which all entries of one submission share. */
export function submissionPrefix(time: number, pid: number): string {
  return `${formatMicros(time)}:${pid}`;
}

/** `date:pid` of a base name or of the name of a file in unsplit/. */
export function prefixOf(name: string): string {
  return name.slice(0, name.indexOf(':', name.indexOf(':') + 1));
}

/** How a reverse-path stands in a base name; the null sender is empty. */
export function senderPart(address: string): string {
  return cut(encodeBytes(Buffer.from(address)), address, SENDER_MAX);
}

/** How a recipient stands in a base name. */
export function recipientPart(address: string): string {
  return cut(encodeBytes(Buffer.from(address)), address, RECIPIENT_MAX);
}

/** How a route's name begins the names of the files about it, which end in `:policy` at most. */
export function routePart(route: string): string {
  return cut(encodeBytes(Buffer.from(route)), route, ROUTE_MAX);
}

/** What a base name says, or undefined when it is none. */
export function parseBase(base: string): BaseName | undefined {
  const match = BASE.exec(base);
  if (match === null) return undefined;
  const [, date = '', pid = '', sender = '', recipient = ''] = match;
  const time = parseMicros(date);
  if (time === undefined || !PART.test(sender) || !PART.test(recipient)) return undefined;
  return { time, pid: Number(pid), sender, recipient };
}

/**
 * The address behind a part of a base name: undefined where it was cut (ask the envelope block) or
 * where its bytes are not UTF-8.
 */
export function addressOf(part: string): string | undefined {
  const bytes = decodeBytes(part);
  if (bytes === undefined) return undefined;
  const text = bytes.toString('utf8');
  return Buffer.from(text).equals(bytes) ? text : undefined;
}

/** An address for people: decoded where that is possible and shows nothing a terminal obeys. */
export function showPart(part: string): string {
  const address = addressOf(part);
  return address === undefined || /[^\x21-\x7e]/.test(address) ? part : address;
}

/** The name of an entry in a given state. */
export function formatName(base: string, state: EntryState): string {
  switch (state.kind) {
    case 'new':
      return base;
    case 'sending':
      return `${base}:${state.pid}.sending`;
    case 'waiting':
      return `${base}:${state.attempts}@${formatSeconds(state.due)}.spool`;
    case 'held':
      return `${base}:${state.attempts}.held`;
  }
}

/** The name of the file with the history of an entry's attempts. */
export function resultName(base: string): string {
  return `${base}:.result`;
}

/** Of the folders and of the names in them: what the file `version` holds. */
export const LAYOUT_VERSION = '1\n';

export const REASON = ':.reason';

/** Beside what lies in corrupt/; names are limited by octets. */
export function reasonName(name: string): string {
  return `${Buffer.from(name).subarray(0, 240).toString('utf8')}${REASON}`;
}

/** What a file in the spool is by its name. Never throws. */
export function parseName(name: string): SpoolName {
  // The fourth colon, if there is one, begins the suffix.
  let colon = -1;
  for (let n = 0; n < 4; n++) {
    colon = name.indexOf(':', colon + 1);
    if (colon === -1) break;
  }
  const base = colon === -1 ? name : name.slice(0, colon);
  if (parseBase(base) === undefined) return { kind: 'foreign' };
  if (colon === -1) return { kind: 'entry', base, state: { kind: 'new' } };
  const suffix = name.slice(colon + 1);
  if (suffix === '.result') return { kind: 'result', base };
  const state = parseState(suffix);
  return state === undefined ? { kind: 'foreign' } : { kind: 'entry', base, state };
}

/**
 * What the name says of a file from incoming/ that a process has claimed (takeover.ts); undefined for any
 * other name.
 */
export function parseTaking(
  name: string,
):
  | { readonly time: number; readonly pid: number; readonly inode: string; readonly owner: number }
  | undefined {
  const [, date = '', pid = '', inode = '', owner = ''] =
    /^([^:]+):([1-9]\d{0,9}):(\d{1,20})\.([1-9]\d{0,9})\.taking$/.exec(name) ?? [];
  const time = parseMicros(date);
  return time === undefined ? undefined : { time, pid: Number(pid), inode, owner: Number(owner) };
}

/** The name that parseTaking reads. */
export function formatTaking(
  taking: { readonly time: number; readonly pid: number; readonly inode: string },
  owner: number,
): string {
  return `${submissionPrefix(taking.time, taking.pid)}:${taking.inode}.${owner}.taking`;
}

function parseState(suffix: string): EntryState | undefined {
  const match = /^(0|[1-9]\d{0,9})(?:@(\d{8}T\d{6})Z)?\.(sending|spool|held)$/.exec(suffix);
  if (match === null) return undefined;
  const number = Number(match[1]);
  const [, , date, word] = match;
  if (word === 'spool') {
    const due = date === undefined ? undefined : parseStamp(date);
    return due === undefined ? undefined : { kind: 'waiting', attempts: number, due };
  }
  if (date !== undefined) return undefined;
  return word === 'sending' ? { kind: 'sending', pid: number } : { kind: 'held', attempts: number };
}

/**
 * Bytes in the alphabet of spool names: letters, digits and `@ . _ + = -` stand for themselves, a
 * leading dot and every other byte as `%XX`. The pair of decodeBytes.
 */
export function encodeBytes(bytes: Uint8Array): string {
  const whole = Buffer.from(bytes).toString('latin1');
  if (/^(?!\.)[A-Za-z0-9@._+=-]*$/.test(whole)) return whole;
  let text = '';
  for (const [index, byte] of bytes.entries()) {
    const char = String.fromCharCode(byte);
    const plain = /[A-Za-z0-9@._+=-]/.test(char) && !(index === 0 && char === '.');
    text += plain ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return text;
}

/** The bytes behind encodeBytes' text, or undefined for any other text. */
export function decodeBytes(text: string): Buffer | undefined {
  if (!/^(?:[A-Za-z0-9@._+=-]|%[0-9A-F]{2})*$/.test(text)) return undefined;
  const latin1 = text.replace(/%([0-9A-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(latin1, 'latin1');
}

function cut(encoded: string, address: string, max: number): string {
  if (encoded.length <= max) return encoded;
  // Not loaded at the start: node:crypto costs milliseconds and long addresses are rare.
  const { createHash } = process.getBuiltinModule('node:crypto');
  const digest = createHash('sha256').update(address).digest('hex').slice(0, DIGEST_LENGTH);
  // A cut through an escape would leave half of it.
  const start = encoded.slice(0, max - DIGEST_LENGTH - 2).replace(/%.?$/, '');
  return `${start}%%${digest}`;
}

function formatMicros(time: number): string {
  const millis = Math.floor(time / 1000);
  const micros = String(time - Math.floor(millis / 1000) * 1_000_000).padStart(6, '0');
  return `${stamp(millis)}.${micros}Z`;
}

function parseMicros(text: string): number | undefined {
  if (!/^.{15}\.\d{6}Z$/.test(text)) return undefined;
  const millis = parseStamp(text.slice(0, 15));
  return millis === undefined ? undefined : millis * 1000 + Number(text.slice(16, 22));
}

function formatSeconds(millis: number): string {
  return `${stamp(millis)}Z`;
}
