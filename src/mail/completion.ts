/**
 * Completes the header of a submitted message (RFC 6409 section 8, RFC 5322 section 3.6) and reads
 * its recipients. What is there stays as it is and where it is. With Resent- fields (RFC 5322 section
 * 3.6.6) all of this works on those of the latest resending. It never changes an address (rewriting.ts
 * does) and never looks at the body. The header is hostile, the context is not.
 */
import { parseAddressList } from './address.ts';
import { fieldBody, formatField, type HeaderField } from './header.ts';
import type { Note } from './note.ts';

/** What completion puts in. */
export interface Completion {
  readonly time: Date;
  /** The offset of local time in minutes east of UTC. */
  readonly zoneMinutes: number;
  /** The new Message-ID's left side (id-left), unique on this host. */
  readonly messageId: string;
  /** The new Message-ID's right side. */
  readonly idHost: string;
  /** The author, asked for when the header names none. */
  readonly from: () => { readonly address: string; readonly name: string | undefined };
  /** The body of the Received field, as `receivedField` makes it. */
  readonly received: string;
}

/** Never sent on: the first two tell secrets, the others tell what is not so any more. */
const REMOVED: ReadonlySet<string> = new Set([
  'bcc',
  'resent-bcc',
  'return-path',
  'content-length',
]);

/**
 * The header as it goes out: Received first; Bcc, Resent-Bcc, Return-Path and Content-Length removed;
 * Date, Message-ID and From added where they are missing or empty; `To: undisclosed-recipients:;`
 * where neither To nor Cc is left. With any Resent- field it is the Resent- set of the topmost block
 * that is completed. Completing the result once more changes nothing but adds a Received.
 * @param note is told of what was added and removed
 */
export function completeHeader(
  fields: readonly HeaderField[],
  context: Completion,
  note: (note: Note) => void = () => undefined,
): readonly HeaderField[] {
  const resent = fields.some(isResent);
  const prefix = resent ? 'Resent-' : '';
  const kept = fields.filter((field) => {
    const removed = REMOVED.has(field.name.toLowerCase());
    if (removed) note({ kind: 'removed', text: `${field.name}, which never goes out` });
    return !removed;
  });
  const scope = new Set(resent ? topmostBlock(kept) : kept);
  const made: readonly (readonly [name: string, body: () => string])[] = [
    ['Date', () => formatDate(context.time, context.zoneMinutes)],
    ['Message-ID', () => `<${context.messageId}@${context.idHost}>`],
    [
      'From',
      () => {
        const { name, address } = context.from();
        return formatMailbox(name, address);
      },
    ],
  ];
  const replacements = new Map<HeaderField, HeaderField>();
  const added: HeaderField[] = [];
  for (const [plain, body] of made) {
    const name = prefix + plain;
    const present = [...scope].filter((one) => hasName(one, name));
    const [first] = present;
    if (present.some((one) => fieldBody(one) !== '')) continue;
    const field = formatField(name, body());
    if (first === undefined) added.push(field);
    else replacements.set(first, field);
    note({ kind: 'completed', text: `${name}, which was ${first ? 'empty' : 'missing'}` });
  }
  const addressed = [...scope].some(
    (field) => hasName(field, `${prefix}To`) || hasName(field, `${prefix}Cc`),
  );
  if (!addressed) {
    added.push(formatField(`${prefix}To`, 'undisclosed-recipients:;'));
    note({ kind: 'completed', text: `${prefix}To, because no To or Cc is left` });
  }

  const complete = kept.map((field) => replacements.get(field) ?? field);
  // New Resent- fields join their block; RFC 5322 wants a block in one piece.
  const place = resent ? Math.max(kept.findIndex(isResent), 0) : complete.length;
  complete.splice(place, 0, ...added);
  return [formatField('Received', context.received), ...complete];
}

/**
 * The recipients that the header names: To, Cc and Bcc, or with any Resent- field Resent-To, Resent-Cc
 * and Resent-Bcc of the topmost block, of all blocks where the topmost has none of them. Each problem
 * says which field it is in. Addresses are as `parseAddressList` gives them, repeated ones too.
 */
export function recipientsOf(fields: readonly HeaderField[]): {
  readonly addresses: readonly string[];
  readonly problems: readonly string[];
} {
  const resent = fields.some(isResent);
  const names = resent ? ['Resent-To', 'Resent-Cc', 'Resent-Bcc'] : ['To', 'Cc', 'Bcc'];
  const isDestination = (field: HeaderField) => names.some((name) => hasName(field, name));
  const block = resent ? topmostBlock(fields).filter(isDestination) : [];
  const addresses: string[] = [];
  const problems: string[] = [];
  for (const field of block.length > 0 ? block : fields.filter(isDestination)) {
    const list = parseAddressList(fieldBody(field));
    for (const address of list.addresses) addresses.push(address);
    if (list.problem !== undefined) problems.push(`${field.name}: ${list.problem}`);
  }
  return { addresses, problems };
}

/**
 * The body of a Received field for a message that a local program handed in (RFC 5322 section 3.6.7).
 * `date` is as `formatDate` gives it.
 */
export function receivedField(
  origin: {
    readonly program: string;
    readonly pid: number;
    readonly uid: number;
    readonly host: string;
  },
  date: string,
): string {
  const program = origin.program.replace(/[^\w.-]/g, '-');
  const host = origin.host.replace(/[^\w.:[\]-]/g, '-');
  return `(picorelay ${program} ${origin.pid} invoked by uid ${origin.uid}) by ${host}; ${date}`;
}

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');

/** A date-time (RFC 5322 section 3.3) in the zone that lies `zoneMinutes` east of UTC. */
export function formatDate(time: Date, zoneMinutes: number): string {
  const local = new Date(time.getTime() + zoneMinutes * 60_000);
  const day = `${DAYS[local.getUTCDay()]}, ${local.getUTCDate()} ${MONTHS[local.getUTCMonth()]}`;
  const clock = [local.getUTCHours(), local.getUTCMinutes(), local.getUTCSeconds()];
  const offset = Math.abs(zoneMinutes);
  const zone = twoDigits(Math.floor(offset / 60)) + twoDigits(Math.floor(offset % 60));
  const year = String(local.getUTCFullYear()).padStart(4, '0');
  return `${day} ${year} ${clock.map(twoDigits).join(':')} ${zoneMinutes < 0 ? '-' : '+'}${zone}`;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}

function isResent(field: HeaderField): boolean {
  return field.name.toLowerCase().startsWith('resent-');
}

function hasName(field: HeaderField, name: string): boolean {
  return field.name.toLowerCase() === name.toLowerCase();
}

/**
 * The Resent- fields of the latest resending: from the first one on, up to a Received field, which
 * stands between two resendings, or to a name that was there before, other than right before.
 */
function topmostBlock(fields: readonly HeaderField[]): readonly HeaderField[] {
  const block: HeaderField[] = [];
  const seen = new Set<string>();
  let last: string | undefined;
  for (const field of fields) {
    const name = field.name.toLowerCase();
    if (isResent(field)) {
      if (seen.has(name) && name !== last) break;
      seen.add(name);
      last = name;
      block.push(field);
    } else if (block.length > 0 && name === 'received') {
      break;
    }
  }
  return block;
}

/** A mailbox (RFC 5322 section 3.4) with its display name quoted, or encoded by RFC 2047. */
export function formatMailbox(name: string | undefined, address: string): string {
  const shown = (name ?? '').replace(/[\x00-\x1f\x7f-\x9f]/g, ' ').trim();
  if (shown === '') return address;
  return /^[ -~]*$/.test(shown)
    ? `"${shown.replace(/["\\]/g, '\\$&')}" <${address}>`
    : `${encodedWords(shown)} <${address}>`;
}

/** The octets of one encoded word: with its frame it stays within 75 columns (RFC 2047 section 2). */
const OCTETS_PER_WORD = 45;

/** Text as encoded words (RFC 2047), as many as it takes. */
export function encodedWords(text: string): string {
  const words: string[] = [];
  let part = '';
  const close = () => words.push(`=?UTF-8?B?${Buffer.from(part).toString('base64')}?=`);
  for (const character of text) {
    if (Buffer.byteLength(part + character) > OCTETS_PER_WORD) {
      close();
      part = '';
    }
    part += character;
  }
  close();
  return words.join(' ');
}
