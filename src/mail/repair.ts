/**
 * Repairs of a message's content that a relay could not take or a reader could not read: lines over
 * 998 octets (RFC 5321 section 4.5.3.1.6), octets above 127 that nothing declares (RFC 2045, RFC 6152),
 * and octets above 127 in bodies that go to a relay without 8BITMIME.
 * Works on a stream in constant memory. What needs no repair comes out byte for byte; a repaired message
 * needs no further one. Checks no signature, and breaks one only where the message could not be
 * delivered otherwise. The message is hostile: no input makes this throw, and all of it is linear.
 */
import { Buffer, isAscii } from 'node:buffer';
import { type Entity, isIdentity, type Line, LONGEST_LINE, walk } from './mime.ts';

/** What is known of a message once it has gone through `WireForm`. */
export interface Measured {
  /** The octets of the longest line, header and body. */
  readonly longestLine: number;
  /** Whether there are octets above 127, in header or body. */
  readonly eightBit: boolean;
}

/**
 * The repair that a message needs; undefined when it needs none, which for 7-bit text with short lines
 * is known without a look at it.
 * @param source gives the message in CRLF form from its first octet, each time it is called; two of
 *   its readings go on side by side. A piece is valid until the next one is asked for.
 * @throws what source throws
 */
export function repairOf(
  measured: Measured,
  source: () => Iterable<Uint8Array>,
): Repair | undefined {
  const tooLong = measured.longestLine > LONGEST_LINE;
  const undeclared = measured.eightBit && isUndeclared(source());
  return tooLong || undeclared ? new Repair(source, { undeclared, sevenBit: false }) : undefined;
}

/**
 * The form of a message for a relay that takes no octets above 127 in bodies (RFC 6152 section 3): its parts
 * in quoted-printable or base64. Undefined when the message has no such octets; `stuck` says why there is no
 * such form, because a signature would break or the rules of MIME forbid it. Header fields stay as they are.
 * @param source as for repairOf
 * @throws what source throws
 */
export function sevenBitForm(
  source: () => Iterable<Uint8Array>,
): Repair | { readonly stuck: string } | undefined {
  let entity: Entity | undefined;
  let needed = false;
  for (const step of walk(source())) {
    if (step.kind === 'headed') entity = step.entity;
    if ((step.kind !== 'body' && step.kind !== 'edge') || isAscii(step.bytes)) continue;
    if (entity?.sealed === true) return { stuck: 'a part with 8-bit text is signed or encrypted' };
    // What stands between parts is for nobody, but a boundary has to stay.
    if (step.kind === 'edge' && step.bytes[0] === DASH)
      return { stuck: 'a boundary is 8-bit text' };
    if (step.kind === 'body' && entity !== undefined && !isEncodable(entity)) {
      return { stuck: `a part of type ${entity.type} has 8-bit text that cannot be encoded` };
    }
    needed = true;
  }
  return needed
    ? new Repair(source, { undeclared: isUndeclared(source()), sevenBit: true })
    : undefined;
}

/** Whether the rules of MIME allow another encoding of a leaf (RFC 2045 section 6.4), and we know the old one. */
function isEncodable({ type, encoding }: Entity): boolean {
  const known = ['', '7bit', '8bit', 'binary', 'quoted-printable', 'base64'].includes(encoding);
  return known && type !== 'multipart' && type !== 'message';
}

/** A repair of one message. */
export class Repair {
  readonly #source: () => Iterable<Uint8Array>;
  readonly #undeclared: boolean;
  readonly #sevenBit: boolean;
  readonly #repairs = new Set<string>();

  /**
   * `undeclared`: the header has to be told of octets above 127 in the body. `sevenBit`: bodies may not have
   * any.
   */
  constructor(
    source: () => Iterable<Uint8Array>,
    options: { readonly undeclared: boolean; readonly sevenBit: boolean },
  ) {
    this.#source = source;
    this.#undeclared = options.undeclared;
    this.#sevenBit = options.sevenBit;
  }

  /** What was done, each kind once, as phrases for the log; complete when all pieces were read. */
  get repairs(): readonly string[] {
    return [...this.#repairs];
  }

  /**
   * The repaired message in CRLF form. Each piece is valid until the next one is asked for.
   * @throws what the source throws
   */
  *pieces(): Generator<Uint8Array, void, undefined> {
    const out = new Output();
    // The header of a part tells what is done to its body, so a first reading runs ahead of this one,
    // to the end of the part that this one is about to begin.
    const plans = this.#plans();
    const folding = new Folding(out, () => this.#repairs.add('line over 998 octets: folded'));
    let plan: Plan = { fields: new Map(), encode: 'none' };
    let missing = new Map<string, string>();
    let encoder: Encoder | undefined;
    let amongParts = false;
    for (const step of walk(this.#source())) {
      if (step.kind !== 'body') {
        encoder?.end(true);
        encoder = undefined;
      }
      switch (step.kind) {
        case 'open':
          plan = plans.next().value ?? plan;
          missing = new Map(plan.fields);
          break;
        case 'field': {
          const field = missing.get(step.name);
          if (field !== undefined) foldField(folding, field);
          missing.delete(step.name);
          if (!plan.fields.has(step.name)) folding.write(step, true);
          break;
        }
        case 'headed':
          for (const field of missing.values()) foldField(folding, field);
          // A header without its blank line gets one where new fields would run into the body.
          if (step.blank || plan.fields.size > 0) out.lineEnd();
          if (!step.entity.container)
            encoder = encoderFor(plan.encode, out, folding, this.#sevenBit);
          break;
        case 'body':
          encoder?.write(step);
          break;
        default:
          amongParts = true;
          folding.write(this.#sevenBit ? withoutEightBit(step) : step, false);
      }
      if (out.filled >= OUTPUT_SIZE) yield out.take();
    }
    // A leaf of a multipart that has no end boundary ends as if it had one.
    encoder?.end(amongParts);
    yield out.take();
  }

  /** What to do with each entity, in their order, as soon as it is known. */
  *#plans(): Generator<Plan, undefined, undefined> {
    let top = true;
    let leaf: Leaf | undefined;
    for (const step of walk(this.#source())) {
      if (step.kind === 'body') {
        leaf?.take(step);
      } else if (leaf !== undefined) {
        yield this.#planFor(leaf, top);
        leaf = undefined;
        top = false;
      }
      if (step.kind !== 'headed') continue;
      leaf = new Leaf(step.entity);
      if (!step.entity.container) continue;
      yield this.#planFor(leaf, top);
      leaf = undefined;
      top = false;
    }
    if (leaf !== undefined) yield this.#planFor(leaf, top);
    return undefined;
  }

  #planFor(leaf: Leaf, top: boolean): Plan {
    const { entity } = leaf;
    const undeclared = top && this.#undeclared;
    const convert = this.#sevenBit && leaf.eightBit;
    const encode = leaf.tooLong || convert ? encodingFor(entity) : 'none';
    const fields = new Map<string, string>();
    if (encode !== 'none') this.#repairs.add(REPAIRS[encode]);
    const encoded = encode === 'quoted-printable' || encode === 'base64';
    if (entity.root && (encoded || undeclared)) {
      if (!entity.fields.has('mime-version')) fields.set('mime-version', 'MIME-Version: 1.0');
      const charset = leaf.charset;
      if (lacksCharset(entity) && (charset !== 'us-ascii' || !entity.fields.has('content-type'))) {
        const before = entity.fields.get('content-type');
        fields.set('content-type', declareCharset(before, charset));
        if (charset !== 'us-ascii') {
          this.#repairs.add(`8-bit text without a charset: declared as ${charset}`);
        }
      }
    }
    const name = 'content-transfer-encoding';
    if (encoded) {
      fields.set(name, `Content-Transfer-Encoding: ${encode}`);
    } else if (this.#sevenBit) {
      // What is inside has been encoded.
      const claims = entity.encoding === '8bit' || entity.encoding === 'binary';
      if (claims && !entity.sealed) fields.set(name, 'Content-Transfer-Encoding: 7bit');
    } else if (undeclared && isSevenBit(entity)) {
      fields.set(name, 'Content-Transfer-Encoding: 8bit');
      this.#repairs.add('8-bit body without its encoding: declared as 8bit');
    }
    return { fields, encode };
  }
}

/** How the body of a leaf is changed: a whole new encoding, or breaks in its long lines only. */
type Encode = 'none' | 'quoted-printable' | 'base64' | 'soft' | 'wrap' | 'fold';

const REPAIRS = {
  'quoted-printable': 'line over 998 octets: quoted-printable',
  base64: 'line over 998 octets: base64',
  soft: 'line over 998 octets in quoted-printable: soft line breaks',
  wrap: 'line over 998 octets in base64: wrapped',
  fold: 'line over 998 octets: folded',
} as const;

interface Plan {
  /** Fields that replace those of the same name, or are added; by their names in lower case. */
  readonly fields: ReadonlyMap<string, string>;
  readonly encode: Encode;
}

/** Composite types may not be encoded (RFC 2045 section 6.4): their long lines are folded. */
function encodingFor({ type, encoding }: Entity): Encode {
  if (encoding === 'quoted-printable') return 'soft';
  if (encoding === 'base64') return 'wrap';
  if (type === 'text') return 'quoted-printable';
  return type === 'multipart' || type === 'message' ? 'fold' : 'base64';
}

/** Whether the body has octets above 127 that the header ought to tell of and does not. */
function isUndeclared(pieces: Iterable<Uint8Array>): boolean {
  let headed = false;
  for (const step of walk(pieces)) {
    if (step.kind === 'headed' && !headed) {
      headed = true;
      const { entity } = step;
      const declared = entity.fields.has('mime-version') && entity.encoding !== '7bit';
      if (declared && !lacksCharset(entity)) return false;
    } else if (headed && 'bytes' in step && !isAscii(step.bytes)) {
      return true;
    }
  }
  return false;
}

/** Whether this is text, maybe for want of a Content-Type, whose charset nobody can know. */
function lacksCharset(entity: Entity): boolean {
  const tooLongToTell =
    entity.fields.has('content-type') && entity.fields.get('content-type') === undefined;
  return (
    entity.type === 'text' &&
    entity.charset === undefined &&
    isIdentity(entity.encoding) &&
    !tooLongToTell
  );
}

function isSevenBit({ encoding }: Entity): boolean {
  return encoding === '' || encoding === '7bit';
}

/** The Content-Type with a charset; a new one where there is none or it is not valid. */
function declareCharset(field: string | undefined, charset: string): string {
  const [head] = /^[^:]*:\s*[^\s/;("]+\/[^\s/;("]+(?=\s*(?:[;(]|$))/.exec(field ?? '') ?? [];
  if (field === undefined || head === undefined)
    return `Content-Type: text/plain; charset=${charset}`;
  const tail = field.slice(head.length);
  const line = head.slice(head.lastIndexOf('\n') + 1) + tail.split('\r\n', 1).join('');
  const parameter = `charset=${charset}`;
  const gap = line.length + parameter.length < FOLD_AT ? ' ' : '\r\n ';
  return `${head};${gap}${parameter}${tail}`;
}

/** What has to be known of a body part before its header can be written. */
class Leaf {
  readonly entity: Entity;
  #tooLong = false;
  #eightBit = false;
  #utf8 = true;
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  constructor(entity: Entity) {
    this.entity = entity;
  }

  get tooLong(): boolean {
    return this.#tooLong;
  }

  get eightBit(): boolean {
    return this.#eightBit;
  }

  /** What its octets are; RFC 1428 has the name for those that nobody knows. */
  get charset(): string {
    if (!this.#eightBit) return 'us-ascii';
    return this.#utf8 ? 'utf-8' : 'unknown-8bit';
  }

  take({ bytes, last }: Line): void {
    if (!last || bytes.length > LONGEST_LINE) this.#tooLong = true;
    if (!isAscii(bytes)) this.#eightBit = true;
    if (!this.#utf8 || !lacksCharset(this.entity)) return;
    try {
      this.#decoder.decode(bytes, { stream: !last });
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      this.#utf8 = false;
    }
  }
}

const TAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;
const DASH = 45;
const COLON = 58;
const EQUALS = 61;
const QUESTION = 63;

/** Where a new field is better folded (RFC 5322 section 2.1.1). */
const FOLD_AT = 78;
/** The longest line of base64, and of quoted-printable without its last soft break. */
const BASE64_WIDTH = 76;
const QUOTED_WIDTH = 75;
/** The octets that make one line of base64. */
const BASE64_GROUP = 57;

/** Octets gathered before they are given on. */
const OUTPUT_SIZE = 32 * 1024;

/** Octets on their way out, in one buffer that is used again. */
class Output {
  #bytes = Buffer.allocUnsafe(4 * OUTPUT_SIZE);
  #filled = 0;

  get filled(): number {
    return this.#filled;
  }

  put(bytes: Buffer): void {
    this.#reserve(bytes.length);
    this.#filled += bytes.copy(this.#bytes, this.#filled);
  }

  octet(octet: number): void {
    this.#reserve(1);
    this.#bytes[this.#filled] = octet;
    this.#filled += 1;
  }

  text(text: string): void {
    this.#reserve(text.length);
    this.#filled += this.#bytes.write(text, this.#filled, 'latin1');
  }

  lineEnd(): void {
    this.octet(CR);
    this.octet(LF);
  }

  line({ bytes, last }: Line): void {
    this.put(bytes);
    if (last) this.lineEnd();
  }

  /** Everything so far; valid until more is put in. */
  take(): Uint8Array {
    const taken = this.#bytes.subarray(0, this.#filled);
    this.#filled = 0;
    return taken;
  }

  #reserve(size: number): void {
    if (this.#filled + size <= this.#bytes.length) return;
    this.#bytes = Buffer.concat([this.#bytes], 2 * (this.#filled + size));
  }
}

/** Writes the body of one leaf. */
interface Encoder {
  write(line: Line): void;
  /** @param atBoundary whether the last line end belongs to the boundary behind it */
  end(atBoundary: boolean): void;
}

function encoderFor(encode: Encode, out: Output, folding: Folding, sevenBit: boolean): Encoder {
  switch (encode) {
    case 'quoted-printable':
      return new QuotedPrintable(out);
    case 'base64':
      return new Base64(out);
    case 'soft':
      return badLinesOnly(out, new SoftBreaks(out), sevenBit);
    case 'wrap':
      return badLinesOnly(out, new Base64Wrapping(out), sevenBit);
    case 'fold':
      return { write: (line) => folding.write(line, false), end: nothing };
    default:
      return { write: (line) => out.line(line), end: nothing };
  }
}

function nothing(): void {
  // A line end is written with its line.
}

/** Lines that are too long, or have octets that they may not have. */
function badLinesOnly(
  out: Output,
  encoder: { write(line: Line): void },
  sevenBit: boolean,
): Encoder {
  let bad = false;
  return {
    write: (line) => {
      if (line.first) bad = isLong(line) || (sevenBit && !isAscii(line.bytes));
      if (bad) encoder.write(line);
      else out.line(line);
    },
    end: nothing,
  };
}

/** Whether a line that begins with this is too long: one that is not comes in one part. */
function isLong({ bytes, last }: Line): boolean {
  return !last || bytes.length > LONGEST_LINE;
}

/** A line of a preamble or an epilogue, which no reader shows. */
function withoutEightBit(line: Line): Line {
  if (isAscii(line.bytes)) return line;
  return {
    ...line,
    bytes: Buffer.from(line.bytes.map((octet) => (octet > 127 ? QUESTION : octet))),
  };
}

/** Columns of quoted-printable (RFC 2045 section 6.7). */
class QuotedLine {
  readonly #out: Output;
  #column = 0;
  /** Whether the line begins behind a soft break. */
  #broken = false;

  constructor(out: Output) {
    this.#out = out;
  }

  /** Ends the line softly where `width` octets more have no room. */
  makeRoom(width: number): void {
    if (this.#column + width <= QUOTED_WIDTH) return;
    this.#out.octet(EQUALS);
    this.#out.lineEnd();
    this.#column = 0;
    this.#broken = true;
  }

  literal(octet: number): void {
    this.makeRoom(1);
    // A soft break must not make a boundary of what was none.
    if (octet === DASH && this.#broken && this.#column === 0) this.escape(octet);
    else this.raw(octet);
  }

  escape(octet: number): void {
    this.makeRoom(3);
    this.#out.text(`=${octet.toString(16).toUpperCase().padStart(2, '0')}`);
    this.#column += 3;
  }

  raw(octet: number): void {
    this.#out.octet(octet);
    this.#column += 1;
  }

  end(): void {
    this.#out.lineEnd();
    this.#column = 0;
    this.#broken = false;
  }
}

/** Encodes text. */
class QuotedPrintable implements Encoder {
  readonly #line: QuotedLine;
  /** White space that is literal unless the line ends behind it; 0 for none. */
  #held = 0;

  constructor(out: Output) {
    this.#line = new QuotedLine(out);
  }

  write({ bytes, last }: Line): void {
    for (const octet of bytes) {
      if (this.#held > 0) this.#line.literal(this.#held);
      this.#held = 0;
      if (octet === SPACE || octet === TAB) this.#held = octet;
      else if (octet > SPACE && octet < 127 && octet !== EQUALS) this.#line.literal(octet);
      else this.#line.escape(octet);
    }
    if (!last) return;
    if (this.#held > 0) this.#line.escape(this.#held);
    this.#held = 0;
    this.#line.end();
  }

  end(): void {
    // Every line has ended, and the last line end may stay: it counts as the boundary's.
  }
}

/** Breaks lines that are quoted-printable already. */
class SoftBreaks {
  readonly #line: QuotedLine;

  constructor(out: Output) {
    this.#line = new QuotedLine(out);
  }

  write({ bytes, last }: Line): void {
    for (const octet of bytes) {
      if (octet === EQUALS) {
        // The two digits behind it stay on its line.
        this.#line.makeRoom(3);
        this.#line.raw(octet);
      } else if (octet > 126) {
        // It should have been encoded; written so it means the same.
        this.#line.escape(octet);
      } else {
        this.#line.literal(octet);
      }
    }
    if (last) this.#line.end();
  }
}

/** Encodes data; its lines keep their CRLF. */
class Base64 implements Encoder {
  readonly #out: Output;
  #rest: Buffer = Buffer.alloc(0);
  #ended = false;

  constructor(out: Output) {
    this.#out = out;
  }

  write({ bytes, last }: Line): void {
    const parts = this.#ended ? [this.#rest, CRLF, bytes] : [this.#rest, bytes];
    this.#ended = last;
    this.#encode(Buffer.concat(parts));
  }

  end(atBoundary: boolean): void {
    if (this.#ended && !atBoundary) this.#encode(Buffer.concat([this.#rest, CRLF]));
    if (this.#rest.length === 0) return;
    this.#out.text(`${this.#rest.toString('base64')}\r\n`);
  }

  #encode(bytes: Buffer): void {
    let at = 0;
    for (; bytes.length - at >= BASE64_GROUP; at += BASE64_GROUP) {
      this.#out.text(`${bytes.toString('base64', at, at + BASE64_GROUP)}\r\n`);
    }
    this.#rest = bytes.subarray(at);
  }
}

const CRLF = Buffer.from('\r\n');

/** Breaks lines of base64; what readers have to skip (RFC 2045 section 6.8) is left out of them. */
class Base64Wrapping {
  readonly #out: Output;
  #column = 0;

  constructor(out: Output) {
    this.#out = out;
  }

  write({ bytes, last }: Line): void {
    for (const octet of bytes) {
      if (!isBase64(octet)) continue;
      if (this.#column === BASE64_WIDTH) {
        this.#out.lineEnd();
        this.#column = 0;
      }
      this.#out.octet(octet);
      this.#column += 1;
    }
    if (!last) return;
    this.#out.lineEnd();
    this.#column = 0;
  }
}

function isBase64(octet: number): boolean {
  return (
    (octet >= 0x41 && octet <= 0x5a) ||
    (octet >= 0x61 && octet <= 0x7a) ||
    (octet >= 0x2f && octet <= 0x39) ||
    octet === 0x2b ||
    octet === EQUALS
  );
}

function foldField(folding: Folding, field: string): void {
  for (const line of field.split('\r\n')) {
    folding.write({ bytes: Buffer.from(line, 'latin1'), first: true, last: true }, true);
  }
}

/**
 * Breaks long lines before white space, so that unfolding a header gives them back; a word that is too
 * long is cut. What follows a break starts with white space and holds more than that, so it is neither
 * the end of a header nor a boundary.
 */
class Folding {
  readonly #out: Output;
  readonly #note: () => void;
  #rest: Buffer = Buffer.alloc(0);
  #long = false;
  #header = false;
  /** Where the field's body begins: it is not folded before that. */
  #start = 0;
  /** How many spaces the next part of the line gets in front. */
  #indent = 0;
  /** Whether a part of the line has been written. */
  #broken = false;

  constructor(out: Output, note: () => void) {
    this.#out = out;
    this.#note = note;
  }

  /** @param header whether this is a line of a header, which has a name in front and is never blank */
  write(line: Line, header: boolean): void {
    if (line.first) {
      this.#long = isLong(line);
      if (this.#long) this.#begin(line.bytes, header);
    }
    if (!this.#long) {
      this.#out.line(line);
      return;
    }
    const rest = Buffer.concat([this.#rest, line.bytes]);
    let at = 0;
    while (rest.length - at > LONGEST_LINE - this.#indent) at = this.#break(rest, at);
    this.#rest = rest.subarray(at);
    if (line.last) this.#end();
  }

  #begin(bytes: Buffer, header: boolean): void {
    this.#note();
    this.#rest = Buffer.alloc(0);
    this.#header = header;
    this.#start = header && !isBlank(bytes[0]) ? bytes.indexOf(COLON) + 1 : 0;
    // What is left of a long line that begins like a boundary could become one.
    this.#indent = !header && bytes[0] === DASH ? 1 : 0;
    this.#broken = false;
  }

  /** Writes a line's worth of what begins at `at`; gives where the rest begins. */
  #break(rest: Buffer, at: number): number {
    const limit = at + LONGEST_LINE - this.#indent;
    const body = Math.max(at, this.#start);
    this.#start = 0;
    const word = findWord(rest, body, limit);
    if (word === limit) {
      // Nothing but white space: it is left out.
      if (body > at) this.#put(rest.subarray(at, body));
      this.#indent = 1;
      return limit;
    }
    for (let end = limit - 1; end > word; end -= 1) {
      if (!isBlank(rest[end]) || isBlank(rest[end + 1])) continue;
      this.#put(rest.subarray(at, end));
      this.#indent = 0;
      return end;
    }
    let end = limit;
    // Not within a character of UTF-8, which has four octets at most.
    while (end > limit - 3 && ((rest[end] ?? 0) & 0xc0) === 0x80) end -= 1;
    this.#put(rest.subarray(at, end));
    this.#indent = isBlank(rest[end]) ? 0 : 1;
    return end;
  }

  #end(): void {
    if (findWord(this.#rest, 0, this.#rest.length) < this.#rest.length) this.#put(this.#rest);
    if (this.#broken || !this.#header) this.#out.lineEnd();
  }

  #put(bytes: Buffer): void {
    if (this.#broken) this.#out.lineEnd();
    if (this.#indent > 0) this.#out.octet(SPACE);
    this.#out.put(bytes);
    this.#broken = true;
  }
}

/** The index of the first octet from `from` on that is no white space; `limit` where there is none. */
function findWord(bytes: Buffer, from: number, limit: number): number {
  let at = from;
  while (at < limit && isBlank(bytes[at])) at += 1;
  return at;
}

function isBlank(octet: number | undefined): boolean {
  return octet === SPACE || octet === TAB;
}
