/**
 * The aliases(5) format of sendmail and Postfix, read as data: `name: target, target`, continuation
 * lines, comments, quoted names, `:include:` files. A command (`|program`) or file (`/path`) is never
 * run and never written to: such a target is refused, with a warning. The file is the admin's, the
 * names that are looked up are hostile. Pure, but for the reader of included files that is handed in;
 * linear, bounded, and nothing here throws.
 */
import { localPartOf, parsePath } from './address.ts';

/** Where the mail of an alias goes. */
type Target =
  /** An address or a local name, which may be an alias itself. */
  | { readonly kind: 'address'; readonly address: string }
  /** `\name`: this name, whatever aliases it has. */
  | { readonly kind: 'final'; readonly name: string }
  | { readonly kind: 'include'; readonly path: string }
  | { readonly kind: 'refused'; readonly what: string };

interface Alias {
  /** Where it stands, for a warning. */
  readonly place: string;
  readonly targets: readonly Target[];
}

export interface Aliases {
  /** By local part in lower case; `*` holds for every name that has none. */
  readonly names: ReadonlyMap<string, Alias>;
  /** What could not be read, one phrase each with its place. */
  readonly problems: readonly string[];
}

export const NO_ALIASES: Aliases = { names: new Map(), problems: [] };

/** The text of an included file, or why there is none. */
export type ReadInclude = (
  path: string,
) => { readonly text: string } | { readonly problem: string };

/**
 * Reads an aliases file. A line that cannot be read is left out and named in `problems`; of two
 * lines for one name the first holds.
 * @param file its path, for the problems
 */
export function parseAliases(file: string, text: string): Aliases {
  const names = new Map<string, Alias>();
  const problems: string[] = [];
  for (const { number, text: line } of logicalLines(text)) {
    const place = `${file} line ${number}`;
    const colon = endOfName(line);
    const name = nameOf(line.slice(0, Math.max(colon, 0)));
    if (name === undefined) {
      problems.push(`${place}: expected name: target, as in root: admin@example.com`);
      continue;
    }
    const targets: Target[] = [];
    for (const item of splitItems(line.slice(colon + 1))) {
      const target = parseTarget(item);
      if (target === undefined) problems.push(`${place}: ${shown(item)} is no address`);
      else targets.push(target);
    }
    if (names.has(name)) problems.push(`${place}: ${shown(name)} was there before and counts once`);
    else if (targets.length === 0) problems.push(`${place}: ${shown(name)} has no target`);
    else names.set(name, { place, targets });
  }
  return { names, problems };
}

/** What becomes of one local name. */
export interface Expansion {
  /** Addresses outside of this host. */
  readonly addresses: readonly string[];
  /** Local names at which the aliases end, in lower case but for the one that was asked for. */
  readonly names: readonly string[];
  /** Whether a command, a file or an included file was left out. */
  readonly refused: boolean;
}

/** Aliases of aliases of aliases … */
const DEEPEST = 50;
/** The targets that are followed for one message. */
const TARGETS = 10_000;

/** Follows aliases for the recipients of one message. */
export class AliasExpander {
  readonly #aliases: Aliases;
  readonly #localName: (address: string) => string | undefined;
  readonly #read: ReadInclude;
  readonly #warn: (line: string) => void;
  readonly #known = new Map<string, Expansion>();
  #followed = 0;

  /**
   * @param localName the local part of an address of this host, undefined for any other
   * @param warn gets one line about each target that was not followed
   */
  constructor(
    aliases: Aliases,
    localName: (address: string) => string | undefined,
    read: ReadInclude,
    warn: (line: string) => void,
  ) {
    this.#aliases = aliases;
    this.#localName = localName;
    this.#read = read;
    this.#warn = warn;
  }

  /** @param name a local part by its meaning; upper and lower case are the same */
  expand(name: string): Expansion {
    const key = name.toLowerCase();
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const walk = new Walk();
    this.#visit(key, walk);
    let expansion: Expansion = {
      addresses: [...walk.addresses],
      names: [...walk.names],
      refused: walk.refused,
    };
    if (this.#followed > TARGETS) {
      this.#warn(`${shown(name)} leads to more than ${TARGETS} addresses: it is not followed`);
      expansion = { addresses: [], names: [key], refused: false };
    }
    this.#known.set(key, expansion);
    return expansion;
  }

  #visit(name: string, walk: Walk): void {
    const state = walk.states.get(name);
    if (state === 'done') return;
    const alias = this.#find(name);
    if (alias === undefined || state === 'open') {
      // `joe: joe, …` is no loop: it keeps a copy under the name.
      if (state === 'open' && walk.path.at(-1) !== name) {
        this.#warn(`the aliases lead from ${shown(name)} back to it: cut there`);
      }
      walk.names.add(name);
      return;
    }
    if (walk.path.length >= DEEPEST) {
      this.#warn(`${alias.place}: ${shown(name)} lies ${DEEPEST} aliases deep: it is not followed`);
      walk.names.add(name);
      return;
    }
    walk.states.set(name, 'open');
    walk.path.push(name);
    for (const target of alias.targets) this.#follow(target, alias.place, walk);
    walk.path.pop();
    walk.states.set(name, 'done');
  }

  #follow(target: Target, place: string, walk: Walk): void {
    this.#followed += 1;
    if (this.#followed > TARGETS) return;
    switch (target.kind) {
      case 'address': {
        const name = this.#localName(target.address);
        if (name === undefined) walk.addresses.add(target.address);
        else this.#visit(name.toLowerCase(), walk);
        return;
      }
      case 'final':
        walk.names.add(target.name.toLowerCase());
        return;
      case 'refused':
        walk.refused = true;
        this.#warn(`${place}: ${target.what}`);
        return;
      default:
        this.#include(target.path, place, walk);
    }
  }

  #include(path: string, place: string, walk: Walk): void {
    if (walk.included.has(path)) return;
    walk.included.add(path);
    const found = this.#read(path);
    if ('problem' in found) {
      walk.refused = true;
      this.#warn(`${place}: :include: ${found.problem}`);
      return;
    }
    let number = 0;
    for (const line of found.text.split('\n')) {
      number += 1;
      if (/^\s*(?:#|$)/.test(line)) continue;
      const here = `${shown(path)} line ${number}`;
      for (const item of splitItems(line)) {
        const target = parseTarget(item);
        if (target === undefined) {
          this.#followed += 1;
          this.#warn(`${here}: ${shown(item)} is no address`);
        } else if (target.kind === 'include' && walk.included.size > DEEPEST) {
          walk.refused = true;
        } else {
          this.#follow(target, here, walk);
        }
      }
      if (this.#followed > TARGETS) return;
    }
  }

  /** RFC 5321 section 4.5.1 wants somebody behind postmaster; MAILER-DAEMON gets answers to reports. */
  #find(name: string): Alias | undefined {
    const { names } = this.#aliases;
    const stands = name === 'mailer-daemon' ? [name, 'postmaster', 'root'] : [name];
    if (name === 'postmaster') stands.push('root');
    for (const each of stands) {
      const alias = names.get(each);
      if (alias !== undefined) return alias;
    }
    return names.get('*');
  }
}

/** What was seen on the way from one name. */
class Walk {
  readonly addresses = new Set<string>();
  readonly names = new Set<string>();
  readonly states = new Map<string, 'open' | 'done'>();
  readonly path: string[] = [];
  readonly included = new Set<string>();
  refused = false;
}

/** Lines with their continuations, which begin with white space; comments and blank lines left out. */
function* logicalLines(text: string): Generator<{ number: number; text: string }, void, undefined> {
  let parts: string[] = [];
  let start = 0;
  let number = 0;
  for (const line of text.split('\n')) {
    number += 1;
    if (/^\s*(?:#|$)/.test(line)) continue;
    if (parts.length > 0 && /^\s/.test(line)) {
      parts.push(line.trim());
      continue;
    }
    if (parts.length > 0) yield { number: start, text: parts.join(' ') };
    parts = [line.trim()];
    start = number;
  }
  if (parts.length > 0) yield { number: start, text: parts.join(' ') };
}

/** The index of the colon behind the name, which may be quoted; -1 where there is none. */
function endOfName(line: string): number {
  if (!line.startsWith('"')) return line.indexOf(':');
  for (let at = 1; at < line.length; at += 1) {
    if (line[at] === '\\') at += 1;
    else if (line[at] === '"') return line.indexOf(':', at);
  }
  return -1;
}

function nameOf(text: string): string | undefined {
  const quoted = /^\s*"((?:[^"\\]|\\.)*)"\s*$/s.exec(text)?.[1];
  const name = quoted === undefined ? text.trim() : quoted.replace(/\\(.)/gs, '$1');
  if (name === '' || name.includes('@') || (quoted === undefined && /[\s"(),<>|/]/.test(name))) {
    return undefined;
  }
  return name.toLowerCase();
}

/** The items between commas that stand in no quotes and no comment; empty ones left out. */
function splitItems(text: string): string[] {
  const items: string[] = [];
  let from = 0;
  let depth = 0;
  let quoted = false;
  for (let at = 0; at <= text.length; at += 1) {
    const character = text[at];
    if (character === '\\') {
      at += 1;
    } else if (character === '"' && depth === 0) {
      quoted = !quoted;
    } else if (character === '(' && !quoted) {
      depth += 1;
    } else if (character === ')' && depth > 0) {
      depth -= 1;
    } else if (character === ',' && !quoted && depth === 0) {
      items.push(text.slice(from, at).trim());
      from = at + 1;
    }
  }
  items.push(text.slice(from).trim());
  return items.filter((item) => item !== '');
}

function parseTarget(item: string): Target | undefined {
  const quoted = /^"((?:[^"\\]|\\.)*)"$/s.exec(item)?.[1];
  const plain = quoted === undefined ? item : quoted.replace(/\\(.)/gs, '$1');
  if (plain.startsWith('|')) {
    return { kind: 'refused', what: `${shown(plain)} is a command, which is never run` };
  }
  if (plain.startsWith('/')) {
    return { kind: 'refused', what: `${shown(plain)} is a file, which is never written to` };
  }
  const include = /^:include:\s*(.*)$/is.exec(plain)?.[1];
  if (include !== undefined) {
    return include.startsWith('/') && !/\p{Cc}/u.test(include)
      ? { kind: 'include', path: include }
      : { kind: 'refused', what: `${shown(plain)} is no absolute path` };
  }
  const final = item.startsWith('\\');
  const address = parsePath(final ? item.slice(1) : item);
  if (address === undefined || address === '') return undefined;
  if (!final) return { kind: 'address', address };
  return address.includes('@') ? undefined : { kind: 'final', name: localPartOf(address) };
}

/** Fit for a terminal and for one line. */
function shown(text: string): string {
  const cut = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  return `"${cut.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '?')}"`;
}
