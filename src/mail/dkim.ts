/**
 * Signs messages by DKIM (RFC 6376, RFC 8463): relaxed canonicalization of header and body, RSA or Ed25519
 * over SHA-256. Reads a message as a stream and holds its header only. Verifies nothing. The message is
 * hostile: whatever it is, reading is linear, and what it says never reaches the signature's own tags.
 */
import { Buffer } from 'node:buffer';
import { createHash, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { domainToASCII } from 'node:url';
import { domainOf, parseAddressList } from './address.ts';
import { fieldBody, HEADER_LIMIT, HeaderTooLong } from './header.ts';

/** What signs the mail of a domain. */
export interface DkimKey {
  /** In lower case; it signs for the domains below it, too. */
  readonly domain: string;
  readonly selector: string;
  /** A private RSA or Ed25519 key. */
  readonly key: KeyObject;
  /** The fields to sign, each against another one of its name; undefined: those that matter. */
  readonly fields?: readonly string[] | undefined;
}

/** Another field of these names would change what a reader sees, so their absence is signed, too. */
const ALWAYS = ['from', 'reply-to', 'subject', 'to', 'cc'];

/** Where they are there, another one is forbidden; lists and gateways may add the first one. */
const ALONE = [
  'sender',
  'date',
  'message-id',
  'in-reply-to',
  'references',
  'mime-version',
  'content-type',
  'content-transfer-encoding',
];

/** Signed where they are there (RFC 6376 section 5.4.1, RFC 8058 section 4). */
const IF_THERE = [
  'content-id',
  'content-description',
  'resent-date',
  'resent-from',
  'resent-sender',
  'resent-to',
  'resent-cc',
  'resent-message-id',
  'list-id',
  'list-help',
  'list-unsubscribe',
  'list-unsubscribe-post',
  'list-subscribe',
  'list-post',
  'list-owner',
  'list-archive',
  'feedback-id',
];

const TAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;

/** Octets of the body that are looked at together. */
const STRETCH = 8 * 1024;

/** Octets of the body that are gathered before they are hashed. */
const BATCH = 64 * 1024;

/** Octets of a public key, which end its SubjectPublicKeyInfo (RFC 8410 section 4). */
const ED25519_LENGTH = 32;

/** Where lines of the signature are folded. */
const WIDTH = 76;

/** One field of a header, in latin1. */
interface Field {
  /** In lower case. */
  readonly name: string;
  readonly raw: string;
}

/** Reads a message in wire form; then it can be signed by any number of keys. */
export class DkimReader {
  /** As if behind the line before, so that an empty header ends like any other. */
  #head: Buffer[] = [Buffer.from('\r\n')];
  #headLength = 2;
  #fields: readonly Field[] | undefined;
  readonly #body = new RelaxedBody();
  #size = 0;

  /** Octets so far. */
  get size(): number {
    return this.#size;
  }

  /**
   * Takes the next octets, which are not kept.
   * @throws HeaderTooLong
   */
  push(piece: Uint8Array): void {
    this.#size += piece.length;
    const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    if (this.#fields !== undefined) {
      this.#body.push(bytes);
      return;
    }
    // The blank line may be cut anywhere.
    const kept = Buffer.from(bytes);
    const overlap = Buffer.concat([lastOctets(this.#head, 3), kept]);
    this.#head.push(kept);
    this.#headLength += kept.length;
    const found = overlap.indexOf('\r\n\r\n');
    if (found === -1) {
      if (this.#headLength > HEADER_LIMIT) throw new HeaderTooLong();
      return;
    }
    const whole = Buffer.concat(this.#head);
    const end = found + this.#headLength - overlap.length;
    this.#fields = splitFields(whole.toString('latin1', 2, Math.max(2, end)));
    this.#head = [];
    this.#body.push(whole.subarray(end + 4));
  }

  /** The domain of the author, in ASCII and lower case; that of the envelope sender where From has none. */
  authorDomain(sender: string): string {
    const from = this.#header().findLast(({ name }) => name === 'from');
    const [author = sender] =
      from === undefined ? [] : parseAddressList(fieldBody({ ...from })).addresses;
    return domainToASCII(domainOf(author)).toLowerCase();
  }

  /**
   * The DKIM-Signature field, folded, with its CRLF; to be put in front of the message. All of the message
   * has to be pushed before.
   * @param time seconds since 1970-01-01 UTC
   */
  signature({ domain, selector, key, fields }: DkimKey, time: number): string {
    const header = this.#header();
    const names = fields === undefined ? usualNames(header) : chosenNames(fields, header);
    const algorithm = key.asymmetricKeyType === 'ed25519' ? 'ed25519-sha256' : 'rsa-sha256';
    const tags = [
      'v=1',
      `a=${algorithm}`,
      'c=relaxed/relaxed',
      `d=${domain}`,
      `s=${selector}`,
      `t=${time}`,
      `h=${names.join(':')}`,
      `bh=${this.#body.digest()}`,
      'b=',
    ];
    const unsigned = `DKIM-Signature: ${foldTags(tags)}`;
    const input = Buffer.from(
      `${signedFields(names, header).map(relaxedField).join('')}${relaxedField({ name: 'dkim-signature', raw: unsigned }).slice(0, -2)}`,
      'latin1',
    );
    // RFC 8463 section 3: Ed25519 signs the digest.
    const signed =
      algorithm === 'ed25519-sha256'
        ? sign(null, createHash('sha256').update(input).digest(), key)
        : sign('sha256', input, key);
    const used = unsigned.length - unsigned.lastIndexOf('\n') - 1;
    return `${unsigned}${foldBase64(signed.toString('base64'), used)}\r\n`;
  }

  /** Where no blank line ever came, all of it is header. */
  #header(): readonly Field[] {
    this.#fields ??= splitFields(Buffer.concat(this.#head).toString('latin1', 2));
    return this.#fields;
  }
}

/** The keys that sign for a domain: those of the longest name that it lies in. */
export function keysFor(keys: readonly DkimKey[], domain: string): readonly DkimKey[] {
  const fit = keys.filter((key) => domain === key.domain || domain.endsWith(`.${key.domain}`));
  const longest = Math.max(...fit.map((key) => key.domain.length));
  return fit.filter((key) => key.domain.length === longest);
}

/** What the DNS has to say at `SELECTOR._domainkey.DOMAIN` (RFC 6376 section 3.6.1, RFC 8463 section 4). */
export function keyRecord(key: KeyObject): string {
  const encoded = createPublicKey(key).export({ type: 'spki', format: 'der' });
  return key.asymmetricKeyType === 'ed25519'
    ? `v=DKIM1; k=ed25519; p=${encoded.subarray(-ED25519_LENGTH).toString('base64')}`
    : `v=DKIM1; k=rsa; p=${encoded.toString('base64')}`;
}

/** The body in relaxed form (RFC 6376 section 3.4.4), on its way into a digest. */
class RelaxedBody {
  readonly #hash = createHash('sha256');
  readonly #out = Buffer.allocUnsafe(BATCH + 3);
  #filled = 0;
  /** Line ends that count only when something follows. */
  #lineEnds = 0;
  #blank = false;
  #return = false;
  #any = false;
  #digest: string | undefined;

  push(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; at += STRETCH) {
      const stretch = bytes.subarray(at, at + STRETCH);
      if (!this.#takeWhole(stretch)) this.#takeSlowly(stretch);
    }
  }

  /** Nothing to relax, as in base64: searches and the digest are native code. False: look at each octet. */
  #takeWhole(bytes: Buffer): boolean {
    let end = bytes.length;
    while (end >= 2 && bytes[end - 1] === LF && bytes[end - 2] === CR) end -= 2;
    const last = bytes[end - 1];
    if (end === 0 || last === CR || last === SPACE || this.#blank || this.#return) return false;
    if (bytes.includes(TAB) || bytes.includes('  ') || bytes.includes(' \r\n')) return false;
    for (; this.#lineEnds > 0; this.#lineEnds -= 1) this.#lineEnd();
    this.#hash.update(this.#out.subarray(0, this.#filled));
    this.#filled = 0;
    this.#hash.update(bytes.subarray(0, end));
    this.#lineEnds = (bytes.length - end) / 2;
    this.#any = true;
    return true;
  }

  #takeSlowly(bytes: Buffer): void {
    const out = this.#out;
    for (let at = 0; at < bytes.length; at += 1) {
      const octet = bytes[at] ?? 0;
      if (octet === LF && this.#return) {
        this.#return = false;
        this.#blank = false;
        this.#lineEnds += 1;
        continue;
      }
      if (this.#return) {
        // A bare CR is no line end; wire form has none.
        this.#return = false;
        this.#text(CR);
      }
      if (octet === CR) this.#return = true;
      else if (octet === SPACE || octet === TAB) this.#blank = true;
      else if (this.#lineEnds === 0 && !this.#blank && this.#filled < BATCH) {
        out[this.#filled] = octet;
        this.#filled += 1;
        this.#any = true;
      } else this.#text(octet);
    }
  }

  /** In base64; asked for when all of the body was pushed. */
  digest(): string {
    if (this.#digest !== undefined) return this.#digest;
    if (this.#return) this.#text(CR);
    if (this.#any) this.#lineEnd();
    this.#hash.update(this.#out.subarray(0, this.#filled));
    this.#digest = this.#hash.digest('base64');
    return this.#digest;
  }

  /** An octet, and before it what was held back. */
  #text(octet: number): void {
    for (; this.#lineEnds > 0; this.#lineEnds -= 1) this.#lineEnd();
    if (this.#blank) this.#put(SPACE);
    this.#blank = false;
    this.#put(octet);
    this.#any = true;
  }

  #lineEnd(): void {
    this.#put(CR);
    this.#put(LF);
  }

  #put(octet: number): void {
    if (this.#filled >= BATCH) {
      this.#hash.update(this.#out.subarray(0, this.#filled));
      this.#filled = 0;
    }
    this.#out[this.#filled] = octet;
    this.#filled += 1;
  }
}

function lastOctets(parts: readonly Buffer[], count: number): Buffer {
  const tail: Buffer[] = [];
  let wanted = count;
  for (let index = parts.length - 1; index >= 0 && wanted > 0; index -= 1) {
    const part = parts[index] ?? Buffer.alloc(0);
    const bytes = part.subarray(Math.max(0, part.length - wanted));
    tail.unshift(bytes);
    wanted -= bytes.length;
  }
  return Buffer.concat(tail);
}

/** Lines that are no fields are left out: nobody can sign them. */
function splitFields(header: string): readonly Field[] {
  const fields: Field[] = [];
  // No line of it begins with white space but those that go on.
  for (const raw of header.replace(/\r\n$/, '').split(/\r\n(?![ \t])/)) {
    const [, name] = /^([!-9;-~]+)[ \t]*:/.exec(raw) ?? [];
    if (name !== undefined) fields.push({ name: name.toLowerCase(), raw });
  }
  return fields;
}

/** RFC 6376 section 3.4.2. */
function relaxedField({ name, raw }: Field): string {
  const body = raw.slice(raw.indexOf(':') + 1).replaceAll('\r\n', '');
  // Not trim(), which takes the last octet of an à for white space.
  return `${name}:${body.replace(/[ \t]+/g, ' ').replace(/^ | $/g, '')}\r\n`;
}

function usualNames(header: readonly Field[]): readonly string[] {
  const count = (name: string): number => header.filter((field) => field.name === name).length;
  const times = (name: string, number: number): string[] => Array<string>(number).fill(name);
  return [
    ...ALWAYS.flatMap((name) => times(name, count(name) + 1)),
    ...ALONE.flatMap((name) => (count(name) === 0 ? [] : times(name, count(name) + 1))),
    ...IF_THERE.flatMap((name) => times(name, count(name))),
  ];
}

function chosenNames(fields: readonly string[], header: readonly Field[]): readonly string[] {
  return fields.flatMap((name) => {
    const count = header.filter((field) => field.name === name).length;
    return Array<string>(count + 1).fill(name);
  });
}

/** The fields that the names of h= stand for: each name one more, from the last one up (section 5.4.2). */
function signedFields(names: readonly string[], header: readonly Field[]): readonly Field[] {
  const left = new Map<string, Field[]>();
  for (const field of header) {
    const known = left.get(field.name);
    if (known === undefined) left.set(field.name, [field]);
    else known.push(field);
  }
  return names.flatMap((name) => left.get(name)?.pop() ?? []);
}

function foldTags(tags: readonly string[]): string {
  let text = '';
  let column = 'DKIM-Signature: '.length;
  const add = (word: string, gap: string): void => {
    const fits = column + gap.length + word.length <= WIDTH;
    text += text === '' ? word : fits ? `${gap}${word}` : `\r\n ${word}`;
    column = fits ? column + gap.length + word.length : word.length + 1;
  };
  for (const [index, tag] of tags.entries()) {
    const end = index === tags.length - 1 ? '' : ';';
    const parts = tag.startsWith('h=') ? tag.split(/(?<=:)/) : [tag];
    for (const [part, word] of parts.entries()) {
      add(part === parts.length - 1 ? `${word}${end}` : word, part === 0 ? ' ' : '');
    }
  }
  return text;
}

function foldBase64(text: string, used: number): string {
  const first = Math.max(0, WIDTH - used);
  const rest = text.slice(first).replace(/.{1,75}/g, '\r\n $&');
  return `${text.slice(0, first)}${rest}`;
}
