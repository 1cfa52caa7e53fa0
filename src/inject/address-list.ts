/**
 * Completes addresses as qmail-inject does (notqmail's qmail-header(5)): those of a header field in
 * their place, with the names, comments and groups around them left as they are, and single ones.
 * Hostile input: the field's text; it is read once, in linear time, and nothing here throws.
 */
import { Lexer, type TokenKind } from '../mail/address.ts';

/** What addresses are completed with. */
export interface AddressDefaults {
  /** For an address without a host. */
  readonly defaultHost: string;
  /** For a host without a dot; undefined or empty: nothing is added. */
  readonly defaultDomain: string | undefined;
  /** For a host that ends with a plus sign. */
  readonly plusDomain: string;
}

export interface RewrittenList {
  /** The text with completed addresses, unfolded. */
  readonly text: string;
  /** The addresses in raw form (mail/raw-address.ts), in order; `''` for `<>`. */
  readonly addresses: readonly string[];
  /** Those of them that were written without a host. */
  readonly localNames: readonly string[];
  /** Why the first element that could not be read was left as it is; absent when all could. */
  readonly problem?: string;
}

/**
 * Completes every address of a list. Words that follow each other without an operator are addresses
 * of their own, and get the comma that is missing. Source routes and a dot or `@` at the end go.
 * @param text unfolded
 */
export function rewriteAddressList(text: string, defaults: AddressDefaults): RewrittenList {
  return new ListRewriter(text, defaults).run();
}

/**
 * Completes one address in raw form: what stands before its last `@` is the local part as it is
 * meant. The empty string and `…@[]` stay as they are.
 */
export function completeAddress(raw: string, defaults: AddressDefaults): string {
  if (raw === '' || raw.endsWith('@[]')) return raw;
  const at = raw.lastIndexOf('@');
  if (at < 0) return `${raw}@${completeHost(defaults.defaultHost, defaults)}`;
  const host = raw.slice(at + 1).replace(/\.$/, '');
  return `${raw.slice(0, at)}@${completeHost(host === '' ? defaults.defaultHost : host, defaults)}`;
}

function completeHost(host: string, { plusDomain, defaultDomain = '' }: AddressDefaults): string {
  if (host.endsWith('+')) return `${host.slice(0, -1)}.${plusDomain}`;
  const complete = defaultDomain === '' || host.includes('.') || host.startsWith('[');
  return complete ? host : `${host}.${defaultDomain}`;
}

/** A token of an address, or of a name that turns out to stand before one. */
interface Token {
  readonly kind: TokenKind;
  readonly value: string;
  readonly start: number;
  readonly end: number;
}

/** So many tokens between two separators are no address and no name. */
const LONGEST_ELEMENT = 1000;

const WORDS: ReadonlySet<TokenKind> = new Set(['atom', 'quoted', 'literal']);

class ListRewriter {
  readonly #text: string;
  readonly #defaults: AddressDefaults;
  readonly #lexer: Lexer;
  readonly #addresses: string[] = [];
  readonly #localNames: string[] = [];
  /** The new text, up to `#copied` in the old one. */
  #output = '';
  #copied = 0;
  #inGroup = false;
  /** An address in angle brackets has ended: whatever comes next is another one. */
  #closed = false;
  /** Tokens that are addresses, or the name before an angle bracket or a group's colon. */
  #run: Token[] = [];

  constructor(text: string, defaults: AddressDefaults) {
    this.#text = text;
    this.#defaults = defaults;
    this.#lexer = new Lexer(text);
  }

  run(): RewrittenList {
    let first: string | undefined;
    for (;;) {
      this.#lexer.next();
      const problem = this.#take();
      if (problem !== undefined) {
        first ??= problem;
        this.#run = [];
        this.#lexer.skipToSeparator();
      }
      const { kind } = this.#lexer;
      if (kind === ',' || kind === ';' || kind === 'end') {
        this.#endRun();
        this.#closed = false;
      }
      if (kind === ';') this.#inGroup = false;
      if (kind === 'end') break;
    }
    const text = this.#output + this.#text.slice(this.#copied);
    const found = { text, addresses: this.#addresses, localNames: this.#localNames };
    return first === undefined ? found : { ...found, problem: first };
  }

  /** Takes one token, or all up to the closing angle bracket; the answer is a problem. */
  #take(): string | undefined {
    const { kind, problem } = this.#lexer;
    switch (kind) {
      case ',':
      case ';':
      case 'end':
        return undefined;
      case 'bad':
        return problem ?? 'unreadable text';
      case '>':
        return 'closing angle bracket without an opening one';
      case ':':
        if (this.#inGroup || !isPhrase(this.#run)) return 'unexpected colon';
        this.#inGroup = true;
        this.#run = [];
        return undefined;
      case '<':
        this.#separate();
        this.#run = [];
        return this.#takeBracket();
      default:
        this.#separate();
        this.#run.push(this.#token());
        return this.#run.length > LONGEST_ELEMENT ? 'too many words without a comma' : undefined;
    }
  }

  #takeBracket(): string | undefined {
    const tokens: Token[] = [];
    let inRoute = false;
    for (;;) {
      this.#lexer.next();
      const { kind, problem } = this.#lexer;
      if (kind === '>') break;
      if (kind === '@' && tokens.length === 0) inRoute = true;
      const allowed = kind === '.' || kind === '@' || WORDS.has(kind);
      if (!allowed && !(inRoute && (kind === ',' || kind === ':'))) {
        return problem ?? 'unclosed angle bracket';
      }
      if (kind === ':') inRoute = false;
      tokens.push(this.#token());
      if (tokens.length > LONGEST_ELEMENT) return 'too many words in angle brackets';
    }
    this.#closed = true;
    if (tokens.length === 0) this.#addresses.push('');
    else this.#rewrite(tokens);
    return undefined;
  }

  #token(): Token {
    const { kind, value, start, end } = this.#lexer;
    return { kind, value, start, end };
  }

  /** Sets the comma that is missing behind an angle bracket. */
  #separate(): void {
    if (!this.#closed) return;
    this.#closed = false;
    this.#insertComma(this.#lexer.start);
  }

  /** The run is no name: it holds one address, or several where words follow each other. */
  #endRun(): void {
    let address: Token[] = [];
    for (const token of this.#run) {
      if (WORDS.has(token.kind) && WORDS.has(address.at(-1)?.kind ?? 'end')) {
        this.#rewrite(address);
        this.#insertComma(token.start);
        address = [];
      }
      address.push(token);
    }
    if (address.length > 0) this.#rewrite(address);
    this.#run = [];
  }

  #insertComma(at: number): void {
    this.#output += `${this.#text.slice(this.#copied, at).trimEnd()}, `;
    this.#copied = at;
  }

  #rewrite(tokens: readonly Token[]): void {
    const from = tokens[0]?.start ?? 0;
    const to = tokens.at(-1)?.end ?? 0;
    const kept = stripped(tokens);
    const first = kept[0];
    const last = kept.at(-1);
    this.#output += this.#text.slice(this.#copied, from);
    this.#copied = to;
    if (first === undefined || last === undefined) {
      this.#addresses.push('');
      return;
    }
    const at = kept.findLastIndex(({ kind }) => kind === '@');
    const local = textOf(at < 0 ? kept : kept.slice(0, at));
    const host = at < 0 ? undefined : textOf(kept.slice(at + 1));
    const written = host !== undefined && (last.kind === 'quoted' || host === '[]');
    const full = written ? host : completeHost(host ?? this.#defaults.defaultHost, this.#defaults);
    this.#addresses.push(`${local}@${full}`);
    if (host === undefined) this.#localNames.push(`${local}@${full}`);
    // What is there stays as it is written; only a plus sign at its end is taken off.
    const plus = host !== undefined && !full.startsWith(host) ? 1 : 0;
    const added = host === undefined ? `@${full}` : full.slice(host.length - plus);
    this.#output += this.#text.slice(first.start, last.end - plus) + added;
  }
}

/** The tokens without a source route before them and without a dot or `@` behind them. */
function stripped(tokens: readonly Token[]): readonly Token[] {
  let from = 0;
  let to = tokens.length;
  if (tokens[0]?.kind === '@') {
    const colon = tokens.findIndex(({ kind }) => kind === ':');
    from = colon < 0 ? to : colon + 1;
  }
  if (to > from && tokens[to - 1]?.kind === '.') to -= 1;
  if (to > from && tokens[to - 1]?.kind === '@') to -= 1;
  return tokens.slice(from, to);
}

function textOf(tokens: readonly Token[]): string {
  return tokens.map(({ kind, value }) => (WORDS.has(kind) ? value : kind)).join('');
}

function isPhrase(tokens: readonly Token[]): boolean {
  return tokens.length > 0 && tokens.every(({ kind }) => kind === '.' || WORDS.has(kind));
}
