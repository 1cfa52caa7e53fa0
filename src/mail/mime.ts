/**
 * Walks through the parts of a MIME message (RFC 2045, RFC 2046) line by line, in constant memory:
 * multiparts, messages within messages, and the leaves that hold text or data. Decodes nothing and
 * changes nothing. The message is hostile: whatever it is, the walk is linear, bounded in depth and in
 * what it keeps of a header, and never throws.
 */
import { Buffer } from 'node:buffer';

/** The longest line without its CRLF (RFC 5322 section 2.1.1), in octets. */
export const LONGEST_LINE = 998;

/** Multiparts and messages within each other; what lies deeper is one leaf. */
export const DEEPEST = 32;

/** RFC 2046 section 5.1.1 allows 70 octets; some programs write more. */
const LONGEST_BOUNDARY = 250;

/** What is kept of a field, in octets; a longer Content-Type is not understood. */
const FIELD_LIMIT = 16 * 1024;

const LF = 10;
const CR = 13;
const DASH = 45;

/** A line or a part of one, without its CRLF. A line up to `LONGEST_LINE` comes in one part. */
export interface Line {
  readonly bytes: Buffer;
  /** Whether the line begins here. */
  readonly first: boolean;
  /** Whether the line ends here. */
  readonly last: boolean;
}

/** A message or body part, as its header describes it. */
export interface Entity {
  /** Whether this is the header of a message, not of a body part. */
  readonly root: boolean;
  /**
   * MIME-Version, Content-Type and Content-Transfer-Encoding by their names in lower case: the first
   * such field, whole, in latin1; undefined where it is longer than is kept.
   */
  readonly fields: ReadonlyMap<string, string | undefined>;
  /** Lower case; `text` where there is no valid Content-Type (RFC 2045 section 5.2). */
  readonly type: string;
  readonly charset: string | undefined;
  /** Content-Transfer-Encoding in lower case, empty where it is missing. */
  readonly encoding: string;
  /** Whether other entities follow inside it. */
  readonly container: boolean;
  /** Whether it lies in a multipart/signed or multipart/encrypted, whose parts nobody may change (RFC 1847). */
  readonly sealed: boolean;
}

/**
 * `open`: an entity begins, its header follows. `field`: a line of the header; `name` is the field's
 * in lower case, empty for an mbox line. `headed`: the header has ended, with its blank line or without.
 * `body`: a line of a leaf. `edge`: a line between the parts: boundary, preamble or epilogue.
 */
export type Step =
  | { readonly kind: 'open' }
  | ({ readonly kind: 'field'; readonly name: string } & Line)
  | { readonly kind: 'headed'; readonly entity: Entity; readonly blank: boolean }
  | ({ readonly kind: 'body' | 'edge' } & Line);

/**
 * All of a message in CRLF form, step by step; each `open` has its `headed` before the next one. The
 * bytes of a step are valid until the next step is asked for.
 */
export function* walk(pieces: Iterable<Uint8Array>): Generator<Step, void, undefined> {
  const frames: Frame[] = [];
  let place: 'header' | 'body' | 'edge' = 'header';
  let header = new PartHeader(true, false);
  let depth = 0;

  const enter = (entity: PartKind): boolean => {
    if (entity.container) depth += 1;
    if (entity.boundary !== undefined) {
      const sealed = entity.sealed || entity.seals;
      frames.push({ boundary: entity.boundary, depth, digest: entity.digest, sealed });
    }
    place = !entity.container ? 'body' : entity.boundary === undefined ? 'header' : 'edge';
    if (place !== 'header') return false;
    header = new PartHeader(true, false);
    return true;
  };

  const sealed = (): boolean => frames[frames.length - 1]?.sealed ?? false;

  yield { kind: 'open' };
  for (const line of splitLines(pieces)) {
    const delimiter = line.first ? findDelimiter(line, frames) : undefined;
    if (delimiter !== undefined) {
      if (place === 'header') {
        yield { kind: 'headed', entity: header.end(DEEPEST, sealed()), blank: false };
      }
      const { index, frame, closes } = delimiter;
      frames.length = closes ? index : index + 1;
      depth = closes ? frame.depth - 1 : frame.depth;
      yield { kind: 'edge', ...line };
      place = closes ? 'edge' : 'header';
      if (closes) continue;
      header = new PartHeader(false, frame.digest);
      yield { kind: 'open' };
      continue;
    }
    if (place === 'header') {
      if (line.first && line.last && line.bytes.length === 0) {
        const entity = header.end(depth, sealed());
        yield { kind: 'headed', entity, blank: true };
        if (enter(entity)) yield { kind: 'open' };
        continue;
      }
      let name = header.take(line);
      while (name === undefined && place === 'header') {
        const entity = header.end(depth, sealed());
        yield { kind: 'headed', entity, blank: false };
        if (!enter(entity)) break;
        yield { kind: 'open' };
        name = header.take(line);
      }
      if (name !== undefined) {
        yield { kind: 'field', name, ...line };
        continue;
      }
    }
    yield { kind: place === 'edge' ? 'edge' : 'body', ...line };
  }
  if (place === 'header') {
    yield { kind: 'headed', entity: header.end(DEEPEST, sealed()), blank: false };
  }
}

/** A multipart whose parts are being read. */
interface Frame {
  readonly boundary: string;
  readonly depth: number;
  readonly digest: boolean;
  readonly sealed: boolean;
}

/** An entity with what only the walk needs to know of it. */
interface PartKind extends Entity {
  /** Of a multipart that is walked through. */
  readonly boundary: string | undefined;
  /** Whether its parts are messages where they do not say otherwise. */
  readonly digest: boolean;
  /** Whether its parts are sealed. */
  readonly seals: boolean;
}

/** Cuts a message into lines. */
function* splitLines(pieces: Iterable<Uint8Array>): Generator<Line, void, undefined> {
  /** The start of a line, or of the rest of a long one, that goes on in the next piece. */
  const held = Buffer.allocUnsafe(LONGEST_LINE + 2);
  let filled = 0;
  let first = true;
  for (const piece of pieces) {
    const input = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    let at = 0;
    while (at < input.length) {
      const lf = input.indexOf(LF, at);
      const part = input.subarray(at, lf < 0 ? input.length : lf);
      at += part.length + 1;
      if (lf < 0 && filled + part.length < held.length) {
        filled += part.copy(held, filled);
        break;
      }
      const bytes = filled === 0 ? part : Buffer.concat([held.subarray(0, filled), part]);
      const returns = bytes[bytes.length - 1] === CR ? 1 : 0;
      yield { bytes: bytes.subarray(0, bytes.length - returns), first, last: lf >= 0 };
      first = lf >= 0;
      filled = lf < 0 ? returns : 0;
      held[0] = CR;
    }
  }
  if (filled > 0 || !first) yield { bytes: held.subarray(0, filled), first, last: true };
}

/** The multipart that a line is a boundary of, and whether it is the last one (RFC 2046 section 5.1.1). */
function findDelimiter(
  { bytes, last }: Line,
  frames: readonly Frame[],
): { index: number; frame: Frame; closes: boolean } | undefined {
  if (bytes[0] !== DASH || bytes[1] !== DASH || frames.length === 0) return undefined;
  if (!last || bytes.length > LONGEST_LINE) return undefined;
  const text = bytes.toString('latin1', 2).replace(/[ \t]+$/, '');
  for (let index = frames.length - 1; index >= 0; index -= 1) {
    const frame = frames[index];
    if (frame === undefined || !text.startsWith(frame.boundary)) continue;
    const rest = text.slice(frame.boundary.length);
    if (rest === '' || rest === '--') return { index, frame, closes: rest !== '' };
  }
  return undefined;
}

const KEPT = ['mime-version', 'content-type', 'content-transfer-encoding'];

/** Reads a header; keeps the fields that describe the body. */
class PartHeader {
  readonly #root: boolean;
  readonly #inDigest: boolean;
  readonly #fields = new Map<string, string | undefined>();
  #name: string | undefined;
  /** Whether the field that is read is one to keep. */
  #keeping = false;

  constructor(root: boolean, inDigest: boolean) {
    this.#root = root;
    this.#inDigest = inDigest;
  }

  /** Takes a line; gives its field's name, or undefined when the line is no part of a header. */
  take({ bytes, first }: Line): string | undefined {
    const start = bytes.toString('latin1', 0, LONGEST_LINE);
    const goesOn = this.#name !== undefined && (!first || /^[ \t]/.test(start));
    if (!goesOn) {
      const mbox = this.#root && this.#name === undefined && /^>?From /.test(start);
      const name = mbox ? '' : /^([!-9;-~]+)[ \t]*:/.exec(start)?.[1]?.toLowerCase();
      if (name === undefined) return undefined;
      this.#name = name;
      this.#keeping = KEPT.includes(name) && !this.#fields.has(name);
    }
    if (this.#keeping) this.#keep(bytes, goesOn, first);
    return this.#name;
  }

  #keep(bytes: Buffer, goesOn: boolean, first: boolean): void {
    const name = this.#name ?? '';
    const before = goesOn ? this.#fields.get(name) : '';
    if (before === undefined) return;
    const text = `${before}${goesOn && first ? '\r\n' : ''}${bytes.toString('latin1')}`;
    this.#fields.set(name, text.length > FIELD_LIMIT ? undefined : text);
  }

  /** @param depth how many entities this one lies in */
  end(depth: number, sealed: boolean): PartKind {
    const content = parseContentType(this.#fields.get('content-type'));
    const [type = 'text', subtype = ''] =
      content?.type ?? (this.#inDigest ? ['message', 'rfc822'] : []);
    const encoding = parseEncoding(this.#fields.get('content-transfer-encoding'));
    const boundary = parameterOf(content, 'boundary') ?? '';
    const multipart =
      type === 'multipart' && boundary !== '' && boundary.length <= LONGEST_BOUNDARY;
    const message =
      type === 'message' && /^(?:rfc822|global)$/.test(subtype) && isIdentity(encoding);
    const container = depth < DEEPEST && (multipart || message);
    return {
      root: this.#root,
      fields: this.#fields,
      type,
      charset: parameterOf(content, 'charset'),
      encoding,
      container,
      boundary: container && multipart ? boundary : undefined,
      digest: subtype === 'digest',
      sealed,
      seals: multipart && (subtype === 'signed' || subtype === 'encrypted'),
    };
  }
}

/** Whether octets stand for themselves under a Content-Transfer-Encoding; unknown ones count as none. */
export function isIdentity(encoding: string): boolean {
  return encoding !== 'quoted-printable' && encoding !== 'base64';
}

function parseEncoding(field: string | undefined): string {
  const [value = ''] = splitParameters(field);
  return value.toLowerCase();
}

interface ContentType {
  readonly type: readonly [string, string];
  /** By their names in lower case, as they are written. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** The most pieces that a parameter is put together of. */
const MOST_PIECES = 100;

/** A parameter by its meaning: whole, or in the encoded form or the pieces of RFC 2231. */
function parameterOf(content: ContentType | undefined, name: string): string | undefined {
  const parameters = content?.parameters;
  const whole = parameters?.get(name);
  if (parameters === undefined || whole !== undefined) return whole;
  const encoded = parameters.get(`${name}*`);
  if (encoded !== undefined) return percentDecoded(withoutCharset(encoded));
  const pieces: string[] = [];
  for (let index = 0; index < MOST_PIECES; index += 1) {
    const plain = parameters.get(`${name}*${index}`);
    const piece = plain ?? parameters.get(`${name}*${index}*`);
    if (piece === undefined) break;
    const text = index === 0 && plain === undefined ? withoutCharset(piece) : piece;
    pieces.push(plain === undefined ? percentDecoded(text) : text);
  }
  return pieces.length === 0 ? undefined : pieces.join('');
}

/** RFC 2231 section 4: character set and language stand before the text, each with an apostrophe. */
function withoutCharset(value: string): string {
  return value.replace(/^[^']*'[^']*'/, '');
}

function percentDecoded(text: string): string {
  return text.replace(/%([\dA-F]{2})/gi, (_, digits: string) => {
    return String.fromCharCode(Number.parseInt(digits, 16));
  });
}

/** Undefined when there is no type. */
function parseContentType(field: string | undefined): ContentType | undefined {
  const [start = '', ...rest] = splitParameters(field);
  const [, type, subtype] = /^([^\s/]+)\/([^\s/]+)/.exec(start.toLowerCase()) ?? [];
  if (type === undefined || subtype === undefined) return undefined;
  const parameters = new Map<string, string>();
  for (const parameter of rest) {
    const equals = parameter.indexOf('=');
    const name = parameter.slice(0, Math.max(equals, 0)).trim().toLowerCase();
    if (!parameters.has(name)) parameters.set(name, parameter.slice(equals + 1).trim());
  }
  return { type: [type, subtype], parameters };
}

/** A field's body cut at its semicolons, without comments and quotation marks. */
function splitParameters(field: string | undefined): string[] {
  if (field === undefined) return [];
  const body = field.slice(field.indexOf(':') + 1).replaceAll('\r\n', '');
  const parts: string[] = [];
  let part = '';
  // No alternative fails once it has begun: the match is linear.
  for (const [token] of body.matchAll(/"(?:[^"\\]|\\.)*"?|\((?:[^()\\]|\\.)*\)?|;|[^";(]+/gs)) {
    if (token === ';') {
      parts.push(part.trim());
      part = '';
    } else if (token.startsWith('"')) {
      part += token.slice(1).replace(/"$/, '').replace(/\\(.)/gs, '$1');
    } else if (!token.startsWith('(')) {
      part += token;
    }
  }
  return [...parts, part.trim()];
}
