/**
 * Addresses as people and programs write them (RFC 5322 section 3.4 with its obsolete forms, RFC 6532)
 * and as they go over the wire (RFC 5321 section 4.1.2, RFC 6531). All input is hostile: it is read
 * once, without recursion, in linear time, and nothing here throws or looks a name up.
 */

/** What `parseAddressList` found. */
export interface AddressList {
  /** The addresses in their canonical form, in order; a local name stands without `@`. */
  readonly addresses: readonly string[];
  /** What was wrong with the first element that could not be read; absent when all could. */
  readonly problem?: string;
}

/** The longest address, in octets of UTF-8, that is taken: what fits into a line (RFC 5322 2.1.1). */
const LONGEST_ADDRESS = 998;

/**
 * Reads an address list: display names, comments, quoted strings, groups (flattened), source routes
 * (dropped), empty elements, local names, address literals and UTF-8. A semicolon outside of a group
 * separates like a comma, and a group need not be closed. What cannot be read is left out and named
 * in `problem`; the elements beside it are kept.
 */
export function parseAddressList(text: string): AddressList {
  const lexer = new Lexer(text);
  const addresses: string[] = [];
  let problem: string | undefined;
  let inGroup = false;
  for (;;) {
    const element = readElement(lexer, inGroup);
    if (element.address !== undefined) addresses.push(element.address);
    if (element.problem !== undefined && problem === undefined) {
      problem = `${element.problem} in "${excerpt(text, element.start, lexer.start)}"`;
    }
    if (lexer.kind === ':') inGroup = true;
    else if (lexer.kind === ';') inGroup = false;
    else if (lexer.kind === 'end') break;
  }
  return problem === undefined ? { addresses } : { addresses, problem };
}

/**
 * Replaces addresses of a list in their place: `map` gets each in its canonical form, and what it
 * gives stands there instead. Names, groups, comments and white space stay as they are written, and
 * so do addresses that `map` gives back and elements that cannot be read. A comment within a replaced
 * address follows it.
 */
export function mapAddresses(text: string, map: (address: string) => string): string {
  const lexer = new Lexer(text);
  const parts: string[] = [];
  let copied = 0;
  let inGroup = false;
  for (;;) {
    const { address, span } = readElement(lexer, inGroup);
    if (address !== undefined && span !== undefined) {
      const mapped = map(address);
      if (mapped !== address) {
        const [from, to] = span;
        parts.push(text.slice(copied, from), mapped, commentsIn(text.slice(from, to)));
        copied = to;
      }
    }
    if (lexer.kind === ':') inGroup = true;
    else if (lexer.kind === ';') inGroup = false;
    else if (lexer.kind === 'end') break;
  }
  parts.push(text.slice(copied));
  return parts.join('');
}

/** What stands between the tokens, each with a space before it. */
function commentsIn(text: string): string {
  if (!text.includes('(')) return '';
  const lexer = new Lexer(text);
  const comments: string[] = [];
  for (let end = 0; ; end = lexer.end) {
    lexer.next();
    const gap = text.slice(end, lexer.start).trim();
    if (gap !== '') comments.push(` ${gap}`);
    if (lexer.kind === 'end') return comments.join('');
  }
}

/**
 * Reads one reverse-path or forward-path as callers pass it: with or without angle brackets, with a
 * source route (dropped), with a display name. The empty string and `<>` give the empty string, the
 * null path. Undefined when the text is not exactly one mailbox or local name, or holds a control
 * character.
 */
export function parsePath(text: string): string | undefined {
  if (/[\x00-\x1f\x7f-\x9f]/.test(text)) return undefined;
  const trimmed = text.trim();
  if (trimmed === '' || trimmed === '<>') return '';
  const lexer = new Lexer(trimmed);
  const element = readElement(lexer, true);
  return lexer.kind === 'end' ? element.address : undefined;
}

/**
 * Whether the address may go into MAIL or RCPT as it is: a Mailbox of RFC 5321 section 4.1.2 with the
 * UTF-8 of RFC 6531, at most 998 octets. Host names may hold an underscore, as some do. Of the
 * address literals only IPv4 and IPv6 pass. Control characters and line separators never do.
 */
export function isMailbox(address: string): boolean {
  if (address.length > LONGEST_ADDRESS || Buffer.byteLength(address) > LONGEST_ADDRESS)
    return false;
  const at = indexOfAt(address);
  return at > 0 && isLocalPart(address.slice(0, at)) && isDomain(address.slice(at + 1));
}

/**
 * Completes an address that holds for this host: a local name gets `@` and the default host, then a
 * host without a dot gets `.` and the default domain where there is one. The null path, an address
 * literal and a host with a dot stay as they are.
 */
export function qualify(
  address: string,
  defaults: { readonly defaultHost: string; readonly defaultDomain: string | undefined },
): string {
  if (address === '') return '';
  const full = indexOfAt(address) < 0 ? `${address}@${defaults.defaultHost}` : address;
  const host = full.slice(indexOfAt(full) + 1);
  if (defaults.defaultDomain === undefined || defaults.defaultDomain === '') return full;
  return host === '' || host.includes('.') || host.startsWith('[')
    ? full
    : `${full}.${defaults.defaultDomain}`;
}

/** The part behind the `@` in lower case; the empty string when there is none. */
export function domainOf(address: string): string {
  const at = indexOfAt(address);
  return at < 0 ? '' : address.slice(at + 1).toLowerCase();
}

/** The part before the `@` by its meaning, without quotes; all of a local name. */
export function localPartOf(address: string): string {
  const at = indexOfAt(address);
  const local = at < 0 ? address : address.slice(0, at);
  return local.startsWith('"') ? local.slice(1, -1).replace(/\\(.)/gs, '$1') : local;
}

/** The index of the `@` that ends the local part, which may be quoted; -1 when there is none. */
function indexOfAt(address: string): number {
  if (!address.startsWith('"')) return address.indexOf('@');
  for (let at = 1; at < address.length; at += 1) {
    if (address[at] === '\\') at += 1;
    else if (address[at] === '"') return address.indexOf('@', at);
  }
  return -1;
}

// These run in every submission, and Unicode properties take V8 longer to compile than all the rest of
// an address takes to read: hence ranges. A pair of surrogates is two characters above U+00A0.
const ATOM = /^[\w!#$%&'*+\-/=?^`{|}~\u00a0-\uffff]+$/;
/** Cc, Zl, Zp, and Cs, which is a surrogate without its other half. */
const NEVER = /[\x00-\x1f\x7f-\x9f\u2028\u2029]/;
const LONE_SURROGATE = /[\ud800-\udfff]/u;
/** Zs, Zl, Zp. */
const SPACE = /[ \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
const QUOTED = /^"(?:[ !#-[\]-~\u00a0-\uffff]|\\[ -~])*"$/;

function isLocalPart(local: string): boolean {
  if (isNever(local)) return false;
  return QUOTED.test(local) || isDotAtom(local);
}

function isNever(text: string): boolean {
  return NEVER.test(text) || (/[\ud800-\udfff]/.test(text) && LONE_SURROGATE.test(text));
}

function isDotAtom(text: string): boolean {
  return !SPACE.test(text) && text.split('.').every((atom) => ATOM.test(atom));
}

const LABEL = /^[A-Za-z0-9_\u00a0-\uffff-]+$/;
const LITERAL = /^\[(?:\d{1,3}(?:\.\d{1,3}){3}|[Ii][Pp][Vv]6:[\dA-Fa-f:.]{2,45})\]$/;

function isDomain(domain: string): boolean {
  if (domain.startsWith('[')) return LITERAL.test(domain);
  if (isNever(domain) || SPACE.test(domain)) return false;
  return domain
    .split('.')
    .every((label) => LABEL.test(label) && !label.startsWith('-') && !label.endsWith('-'));
}

/** One element of a list: an address, a problem, or neither (nothing stood there). */
interface Element {
  readonly address?: string;
  readonly problem?: string;
  /** Where its text begins. */
  readonly start: number;
  /** Where the address begins and ends, without name and brackets. */
  readonly span?: readonly [number, number];
}

/**
 * Reads up to and with the next `,` or `;`, the `:` behind a group's name, or the end; `lexer.kind`
 * tells which. Behind a fault only a `,` or `;` goes on, so that the next element is read afresh.
 */
function readElement(lexer: Lexer, inGroup: boolean): Element {
  lexer.next();
  const start = lexer.start;
  const outer = new Spec();
  let inner: Spec | undefined;
  let closed = false;
  for (; ; lexer.next()) {
    const spec = inner ?? outer;
    const kind = lexer.kind;
    let problem = lexer.problem;
    if (kind === 'end' || kind === ';' || (kind === ',' && (closed || !spec.inRoute))) {
      if (inner === undefined) {
        return outer.empty ? { start } : { ...outer.finish(), start };
      }
      return closed ? { ...inner.finish(), start } : { problem: 'unclosed angle bracket', start };
    }
    if (problem === undefined && closed) problem = 'text after the closing angle bracket';
    if (problem === undefined) {
      if (kind === '<') {
        if (inner === undefined) inner = new Spec();
        else problem = 'angle bracket inside of angle brackets';
      } else if (kind === '>') {
        if (inner === undefined) problem = 'closing angle bracket without an opening one';
        else closed = true;
      } else if (kind === ':' && inner === undefined) {
        if (!inGroup && outer.isPhrase) return { start };
        problem = 'unexpected colon';
      } else {
        spec.take(lexer, inner !== undefined);
      }
    }
    if (problem !== undefined) {
      lexer.skipToSeparator();
      return { problem, start };
    }
  }
}

/** Collects the tokens of one addr-spec (RFC 5322 section 3.4.1), with the source route before it. */
class Spec {
  /** The local part by its meaning, without quotes. */
  #local = '';
  #domain: string | undefined;
  #problem: string | undefined;
  /** The kind of the token before, and whether the tokens stood apart. */
  #before: TokenKind | undefined;
  #spaced = false;
  #words = 0;
  /** From the first token, of the source route if there is one, to the end of the last one. */
  #from = -1;
  #to = -1;
  /** Whether a source route is being read: from a leading `@` to the colon. */
  inRoute = false;

  get empty(): boolean {
    return this.#before === undefined;
  }

  /** Whether what was read can be the name of a group. */
  get isPhrase(): boolean {
    return this.#words > 0 && this.#domain === undefined;
  }

  take(lexer: Lexer, inAngle: boolean): void {
    const { kind, value } = lexer;
    const before = this.#before;
    this.#before = kind;
    if (before !== undefined && lexer.spaced) this.#spaced = true;
    if (this.inRoute) {
      // The route is dropped whatever it names, but it must not swallow the rest of the list.
      if (before === ',' && kind === 'atom') this.#fail('broken source route');
      if (kind === ':') this.#before = undefined;
      this.inRoute = kind !== ':' && this.#problem === undefined;
      return;
    }
    if (inAngle && before === undefined && kind === '@') {
      this.inRoute = true;
      this.#from = lexer.start;
      return;
    }
    if (this.#from < 0) this.#from = lexer.start;
    this.#to = lexer.end;
    if (kind === '@') {
      if (this.#domain !== undefined) this.#fail('more than one @');
      this.#domain = '';
    } else if (this.#domain === undefined) {
      if (kind === 'atom' || kind === 'quoted') {
        if (before === 'atom' || before === 'quoted') this.#fail('words without an address');
        this.#words += 1;
        this.#local = append(this.#local, value);
      } else if (kind === '.') {
        this.#local = append(this.#local, '.');
      } else {
        this.#fail(`unexpected ${kind === 'literal' ? 'address literal' : kind}`);
      }
    } else if (kind === 'atom' || kind === 'literal') {
      if (before === 'atom' || before === 'literal') this.#fail('text after the domain');
      this.#domain = append(this.#domain, value);
    } else if (kind === '.') {
      this.#domain = append(this.#domain, '.');
    } else {
      this.#fail('not a domain');
    }
  }

  finish(): { address: string; span: readonly [number, number] } | { problem: string } {
    const span = [this.#from, this.#to] as const;
    if (this.inRoute) return { problem: 'source route without an address' };
    if (this.#problem !== undefined) return { problem: this.#problem };
    if (this.empty) return { problem: 'empty address' };
    if (this.#words === 0) return { problem: 'no local part' };
    if (this.#domain === '') return { problem: 'no domain after the @' };
    if (this.#local.length + (this.#domain ?? '').length > LONGEST_ADDRESS) {
      return { problem: 'address too long' };
    }
    const local = formatLocalPart(this.#local);
    if (this.#domain === undefined) {
      if (this.#spaced) return { problem: 'words without an address' };
      return isLocalPart(local) && Buffer.byteLength(local) <= LONGEST_ADDRESS
        ? { address: local, span }
        : { problem: 'not a local name' };
    }
    const address = `${local}@${this.#domain}`;
    return isMailbox(address) ? { address, span } : { problem: 'not a mailbox' };
  }

  /** What fails as an address may still be a display name: told at the end, the first reason. */
  #fail(problem: string): void {
    this.#problem ??= problem;
  }
}

/** Appends, but stops where the result is too long for an address anyway. */
function append(text: string, more: string): string {
  return text.length > LONGEST_ADDRESS ? text : text + more;
}

/** The local part with quotes only where it needs them, as a dot before the `@` does. */
export function formatLocalPart(local: string): string {
  return isDotAtom(local) ? local : `"${local.replace(/["\\]/g, '\\$&')}"`;
}

export type TokenKind = 'atom' | 'quoted' | 'literal' | 'bad' | 'end' | (typeof SPECIALS)[number];

const SPECIALS = ['<', '>', '@', ',', ';', ':', '.'] as const;
const SPECIAL_KINDS: ReadonlyMap<string, TokenKind> = new Map(SPECIALS.map((c) => [c, c]));

/** An atom of any characters but the specials: which of them an address may hold is judged later. */
const ATOM_TEXT = /[^\s()<>@,;:.[\]\\"]+/y;

/** Splits an address list into tokens; comments and white space of any kind are passed over. */
export class Lexer {
  readonly #text: string;
  #at = 0;
  kind: TokenKind = 'end';
  /** The token's meaning: of an atom or literal its text, of a quoted string what it quotes. */
  value = '';
  /** Where the token begins. */
  start = 0;
  /** Whether white space or a comment stood before it. */
  spaced = false;
  /** Why the token is bad. */
  problem: string | undefined;

  constructor(text: string) {
    this.#text = text;
  }

  /** Where the token ends. */
  get end(): number {
    return this.#at;
  }

  next(): void {
    const before = this.#at;
    this.value = '';
    this.problem = undefined;
    this.#skipSpace();
    this.spaced = this.#at > before;
    this.start = this.#at;
    if (this.#at >= this.#text.length) {
      this.kind = 'end';
      return;
    }
    const character = this.#text.charAt(this.#at);
    const special = SPECIAL_KINDS.get(character);
    if (special !== undefined) {
      this.kind = special;
      this.#at += 1;
    } else if (character === '"') {
      this.#readUntil('"', 'quoted', 'unclosed quoted string');
    } else if (character === '[') {
      this.#readUntil(']', 'literal', 'unclosed address literal');
      this.value = `[${this.value}]`;
    } else if (character === '(') {
      this.#at = this.#text.length;
      this.#fail('unclosed comment');
    } else {
      ATOM_TEXT.lastIndex = this.#at;
      const atom = ATOM_TEXT.exec(this.#text)?.[0];
      if (atom === undefined) {
        this.#at += 1;
        this.#fail(`unexpected ${character}`);
      } else {
        this.kind = 'atom';
        this.value = atom;
        this.#at += atom.length;
      }
    }
  }

  /** Passes over everything up to the next `,` or `;` that is not quoted or in a comment. */
  skipToSeparator(): void {
    while (this.kind !== ',' && this.kind !== ';' && this.kind !== 'end') this.next();
    this.problem = undefined;
  }

  #fail(problem: string): void {
    this.kind = 'bad';
    this.problem = problem;
  }

  /** Passes over white space and whole comments; stops before a comment that is not closed. */
  #skipSpace(): void {
    for (; this.#at < this.#text.length; this.#at += 1) {
      const character = this.#text.charAt(this.#at);
      if (character === '(') {
        const end = endOfComment(this.#text, this.#at);
        if (end < 0) return;
        this.#at = end;
      } else if (!/\s/.test(character)) {
        return;
      }
    }
  }

  /** Reads a quoted string or a literal, whose closing character a backslash can quote. */
  #readUntil(close: string, kind: TokenKind, problem: string): void {
    const text = this.#text;
    let value = '';
    for (let at = this.#at + 1; at < text.length; at += 1) {
      let character = text.charAt(at);
      if (character === close) {
        this.kind = kind;
        this.value = value;
        this.#at = at + 1;
        return;
      }
      // The line ends of folding do not belong to the value.
      if (character === '\r' || character === '\n') continue;
      if (character === '\\' && at + 1 < text.length) {
        at += 1;
        character = text.charAt(at);
      }
      value = append(value, character);
    }
    this.#at = text.length;
    this.#fail(problem);
  }
}

/** The index of the parenthesis that closes the comment opened at `from`; -1 when none does. */
function endOfComment(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (character === '\\') at += 1;
    else if (character === '(') depth += 1;
    else if (character === ')') {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return -1;
}

/** The start of a faulty element, fit to be shown on a terminal. */
function excerpt(text: string, start: number, end: number): string {
  const shown = text.slice(start, Math.min(end, start + 60)).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '?');
  return end > start + 60 ? `${shown}…` : shown.trim();
}
