/**
 * Header fields (RFC 5322 section 2.2, RFC 6532) as octets: what nobody touches goes out byte for
 * byte. Reads the header off the front of a message, and makes new fields. Field text is held in
 * latin1 strings, one character for one octet. The message is hostile: reading is bounded, linear
 * however small its parts are, and guesses nothing about the body.
 */
import { isUtf8 } from 'node:buffer';
import { LONGEST_CR_RUN } from './wireform.ts';

export interface HeaderField {
  /** The name as it is written. */
  readonly name: string;
  /**
   * The whole field in latin1, one character for one octet: name, colon, body, folding as CRLF and
   * white space, without the final CRLF.
   */
  readonly raw: string;
}

/** The octets of input that a header may take. */
export const HEADER_LIMIT = 8 * 1024 * 1024;

/** The header has not ended after `HEADER_LIMIT` octets. */
export class HeaderTooLong extends Error {
  override readonly name = 'HeaderTooLong';

  constructor() {
    super(`the header is longer than ${HEADER_LIMIT} octets`);
  }
}

/** The longest line without its CRLF (RFC 5322 section 2.1.1), in octets. */
const LONGEST_LINE = 998;
/** Where a line is better folded (same section). */
const FOLD_AT = 78;

const NUL = 0;
const TAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;
const COLON = 58;

/**
 * Where the reader is in a line: at its start, in a field name, in the white space behind one, in
 * a field's body, or in an mbox line.
 */
type Place = 'start' | 'name' | 'gap' | 'body' | 'mbox';

/**
 * Reads a header piece by piece. Line ends are taken as `WireForm` takes them: LF, CRLF, a bare CR,
 * and CRs before a LF are one each. NUL octets and mbox `From ` lines before the first field are
 * dropped. The header ends at a blank line or before the first line that is neither a field nor
 * a continuation, which then begins the body. Pushed chunks are copied, never kept.
 */
export class HeaderReader {
  readonly #fields: HeaderField[] = [];
  readonly #repairs = new Set<string>();
  #rest: Uint8Array = new Uint8Array(0);
  #ended = false;
  #octets = 0;
  /** Carriage returns held back until the octet behind them is known. */
  #returns = 0;
  #place: Place = 'start';
  /** The field that is being read, in CRLF form, or the line that may become one. */
  #text = Buffer.alloc(1024);
  #length = 0;
  /** The length of that field's name; 0 while no field is open. */
  #nameLength = 0;

  /** The fields read so far, in order. */
  get fields(): readonly HeaderField[] {
    return this.#fields;
  }

  /** What of the input belongs to the body, once the header has ended; line ends as they came. */
  get rest(): Uint8Array {
    return this.#rest;
  }

  /** What had to be mended in the header, each kind once, as phrases for the log. */
  get repairs(): readonly string[] {
    return [...this.#repairs];
  }

  /**
   * Takes the next part of the message; true when the header has ended, and the rest of that part is
   * in `rest`. Nothing may be pushed after that.
   * @throws HeaderTooLong when the header does not end within `HEADER_LIMIT` octets.
   * @throws Error when the header has ended already.
   */
  push(chunk: Uint8Array): boolean {
    if (this.#ended) throw new Error('the header has ended already');
    for (let at = 0; at < chunk.length; at += 1) {
      const octet = chunk[at] ?? NUL;
      this.#octets += 1;
      if (this.#octets > HEADER_LIMIT) throw new HeaderTooLong();
      if (octet === NUL) {
        this.#repairs.add('NUL octets dropped from the header');
      } else if (octet === CR) {
        if (this.#returns < LONGEST_CR_RUN) this.#returns += 1;
        else if (this.#endLine()) return this.#finish(chunk, at + 1);
      } else if (octet === LF) {
        if (this.#returns > 1) this.#repairs.add('bare CR taken as a line end in the header');
        this.#returns = 0;
        if (this.#endLine()) return this.#finish(chunk, at + 1);
      } else if (this.#endBareReturns() || this.#take(octet)) {
        return this.#finish(chunk, at);
      }
    }
    return false;
  }

  /** The input has ended, and with it the header, if it had not before. */
  end(): void {
    if (this.#ended) return;
    if (!this.#endBareReturns()) {
      if (this.#place === 'name' || this.#place === 'gap') this.#noteMissingBlankLine();
      else this.#closeField(this.#place === 'start' ? this.#length - 2 : this.#length);
    }
    this.#finish(new Uint8Array(0), 0);
  }

  /** Makes a line end of each CR held back; true when one of them ended the header. */
  #endBareReturns(): boolean {
    while (this.#returns > 0) {
      this.#repairs.add('bare CR taken as a line end in the header');
      this.#returns -= 1;
      if (this.#endLine()) return true;
    }
    return false;
  }

  /** Takes one octet that ends no line; true when it shows that the line is no part of the header. */
  #take(octet: number): boolean {
    const blank = octet === SPACE || octet === TAB;
    if (this.#place === 'start') {
      if (blank && this.#nameLength > 0) {
        this.#place = 'body';
      } else {
        this.#closeField(this.#length - 2);
        this.#place = 'name';
      }
    }
    if (this.#place === 'mbox') return false;
    if (this.#place === 'name' || this.#place === 'gap') {
      if (octet === COLON && this.#length > 0) {
        if (this.#place === 'name') this.#nameLength = this.#length;
        else this.#nameLength = this.#text.toString('latin1', 0, this.#length).trimEnd().length;
        this.#place = 'body';
      } else if (blank && this.#length > 0 && this.#length < LONGEST_LINE) {
        this.#place = 'gap';
      } else if (this.#place === 'gap' && this.#isMboxLine()) {
        this.#repairs.add('mbox From line dropped');
        this.#place = 'mbox';
        this.#length = 0;
        return false;
      } else if (
        this.#place === 'gap' ||
        octet < 33 ||
        octet > 126 ||
        octet === COLON ||
        this.#length >= LONGEST_LINE
      ) {
        this.#noteMissingBlankLine();
        return true;
      }
    }
    this.#put(octet);
    return false;
  }

  /** Ends a line; true when that ends the header. */
  #endLine(): boolean {
    switch (this.#place) {
      case 'start':
        this.#closeField(this.#length - 2);
        return true;
      case 'mbox':
        this.#place = 'start';
        return false;
      case 'body':
        this.#put(CR);
        this.#put(LF);
        this.#place = 'start';
        return false;
      default:
        // No colon on the whole line: it is the first of the body, with this line end.
        this.#noteMissingBlankLine();
        this.#put(CR);
        this.#put(LF);
        return true;
    }
  }

  /** Whether the line so far is the start of an mbox `From ` line before the first field. */
  #isMboxLine(): boolean {
    return (
      this.#fields.length === 0 && /^>?From +$/.test(this.#text.toString('latin1', 0, this.#length))
    );
  }

  #noteMissingBlankLine(): void {
    this.#repairs.add('blank line after the header was missing');
  }

  /** Adds the open field, whose text is the first `length` octets, and forgets its text. */
  #closeField(length: number): void {
    if (this.#nameLength > 0) {
      const raw = this.#text.toString('latin1', 0, length);
      this.#fields.push({ name: raw.slice(0, this.#nameLength), raw });
    }
    this.#nameLength = 0;
    this.#length = 0;
  }

  /** Ends the header: the body begins with the text that became no field and the CRs held back. */
  #finish(chunk: Uint8Array, from: number): true {
    this.#ended = true;
    this.#rest = Buffer.concat([
      this.#text.subarray(0, this.#length),
      Buffer.alloc(this.#returns, CR),
      chunk.subarray(from),
    ]);
    this.#text = Buffer.alloc(0);
    this.#length = 0;
    return true;
  }

  #put(octet: number): void {
    if (this.#length === this.#text.length) {
      this.#text = Buffer.concat([this.#text], 2 * this.#length);
    }
    this.#text[this.#length] = octet;
    this.#length += 1;
  }
}

/**
 * Reads a message up to the end of its header; what is left of the pieces belongs to the body.
 * @throws HeaderTooLong, and what the pieces throw
 */
export function readHeader(pieces: Iterator<Uint8Array>): HeaderReader {
  const reader = new HeaderReader();
  for (let next = pieces.next(); next.done !== true; next = pieces.next()) {
    if (reader.push(next.value)) return reader;
  }
  reader.end();
  return reader;
}

/** The message again: a header of these fields, the reader's rest, and the pieces behind it. */
export function* assembleMessage(
  fields: readonly HeaderField[],
  rest: Uint8Array,
  pieces: Iterator<Uint8Array>,
): Generator<Uint8Array, void, undefined> {
  yield Buffer.from(`${fields.map(({ raw }) => `${raw}\r\n`).join('')}\r\n`, 'latin1');
  yield rest;
  for (let next = pieces.next(); next.done !== true; next = pieces.next()) yield next.value;
}

/**
 * The body of a field: unfolded, without white space around it, decoded as UTF-8, or as latin1 where
 * it is not UTF-8. Encoded words (RFC 2047) stay as they are.
 */
export function fieldBody(field: HeaderField): string {
  const octets = Buffer.from(
    field.raw.slice(field.raw.indexOf(':') + 1).replace(/\r\n/g, ''),
    'latin1',
  );
  const body = octets.toString(isUtf8(octets) ? 'utf8' : 'latin1');
  return body.replace(/^[ \t]+/, '').replace(/[ \t]+$/, '');
}

/**
 * Makes a field of a name and a body. Control characters become spaces, so a body cannot bring in
 * another field. A line over 78 octets is folded at white space, behind a semicolon or comma where it
 * can. No line is longer than 998 octets: a word that does not fit is broken, a run of spaces that
 * does not becomes one.
 */
export function formatField(name: string, body: string): HeaderField {
  const safeName = name.slice(0, FOLD_AT).replace(/[^!-9;-~]/g, '-');
  const text = Buffer.from(body.replace(/[\x00-\x1f\x7f-\x9f]/g, ' ').trim(), 'utf8')
    .toString('latin1')
    .replace(/ {79,}/g, ' ')
    .replace(/[^ ]{897}[\x80-\xbf]{0,3}(?=[^ ])/g, '$& ');
  return { name: safeName, raw: fold(`${safeName}: ${text}`, safeName.length + 2) };
}

/** The fields of that name, in order; upper and lower case are the same. */
export function findFields(fields: readonly HeaderField[], name: string): HeaderField[] {
  const wanted = name.toLowerCase();
  return fields.filter((field) => field.name.toLowerCase() === wanted);
}

/**
 * Folds a line before white space, so that unfolding gives it back. The first `from` octets, the
 * field's name, stay with the text behind them.
 */
function fold(line: string, from: number): string {
  const lines: string[] = [];
  let start = 0;
  let earliest = from;
  while (line.length - start > FOLD_AT) {
    const at = foldingPlace(line, start, earliest);
    if (at < 0) break;
    lines.push(line.slice(start, at));
    start = at;
    earliest = start + 1;
  }
  lines.push(line.slice(start));
  return lines.join('\r\n');
}

/**
 * The space before which a line that begins at `start` is best folded: the last one in its columns
 * that stands behind a semicolon, else behind a comma, else any, else the next one. -1 when there is
 * none.
 */
function foldingPlace(line: string, start: number, earliest: number): number {
  let best = -1;
  let rank = 0;
  for (let at = line.indexOf(' ', earliest); at >= 0; at = line.indexOf(' ', at + 1)) {
    if (at - start > FOLD_AT) return best < 0 && line[at - 1] !== ' ' ? at : best;
    const before = line[at - 1];
    const value = before === ';' ? 3 : before === ',' ? 2 : 1;
    if (before !== ' ' && value >= rank) {
      best = at;
      rank = value;
    }
  }
  return best;
}
