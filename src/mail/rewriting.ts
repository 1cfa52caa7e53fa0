/**
 * Rewriting: what the addresses of this host become on their way out, in the envelope and in the
 * header. Local names go through aliases and then to the admin; senders get the addresses that the
 * world knows them by. Pure, but for the aliases, which are read when the first local name is met.
 * Rewriting what was rewritten changes nothing. The message is hostile: all of it is linear, nothing
 * here throws, and of a header field only the addresses change.
 */

import { isUtf8 } from 'node:buffer';
import {
  domainOf,
  formatLocalPart,
  localPartOf,
  mapAddresses,
  parsePath,
  qualify,
} from './address.ts';
import { AliasExpander, type Aliases, type Expansion, type ReadInclude } from './aliases.ts';
import type { Recipient, Recipients } from './envelope.ts';
import { fieldBody, formatField, type HeaderField } from './header.ts';
import type { Note } from './note.ts';
import { verpBase } from './raw-address.ts';

/** Who is known by which address outside (control/sendermap). */
export interface SenderMap {
  /**
   * By a whole address, a local name, `@` and a host, or `*`, each in lower case: an address, or `@`
   * and a host that takes the place of the old one.
   */
  readonly entries: ReadonlyMap<string, string>;
}

export interface RewriteRules {
  /** The hosts that are this one, in lower case. */
  readonly locals: ReadonlySet<string>;
  readonly defaults: { readonly defaultHost: string; readonly defaultDomain: string | undefined };
  /** Gets what local names get that no alias leads elsewhere. */
  readonly admin: string | undefined;
  /** Undefined where no aliases are set up. */
  readonly aliases: () => Aliases | undefined;
  readonly readInclude: ReadInclude;
  /** Takes the place of this host in the envelope sender: a host, or a whole address. */
  readonly masquerade: string | undefined;
  /** The same in From, Sender and Reply-To. */
  readonly masqueradeFrom: string | undefined;
  readonly senders: SenderMap;
  /** Local names in To and Cc: left alone, completed, or replaced by who gets the mail. */
  readonly rewriteTo: 'off' | 'complete' | 'aliases';
}

export class Rewriter {
  readonly #rules: RewriteRules;
  readonly #notes: Note[] = [];
  readonly #warned = new Set<string>();
  readonly #finals: ReadonlySet<string>;
  #expander: AliasExpander | undefined | 'unread' = 'unread';

  constructor(rules: RewriteRules) {
    this.#rules = rules;
    this.#finals = new Set([...rules.senders.entries.values()].map((each) => each.toLowerCase()));
  }

  /** What was done so far and why, in order. */
  get notes(): readonly Note[] {
    return this.#notes;
  }

  /** Notes of a rule that could not be followed. Once each. */
  warn(text: string, file = 'aliases'): void {
    if (this.#warned.has(text)) return;
    this.#warned.add(text);
    this.#note({ kind: 'trouble', text, file });
  }

  #note(note: Note): void {
    if (this.#notes.length < MOST_NOTES) this.#notes.push(note);
  }

  /** The reverse-path. The null sender and variable reverse-paths (VERP) stay as they are. */
  sender(address: string): string {
    if (address === '' || address === '#@[]' || verpBase(address) !== undefined) return address;
    const { masquerade } = this.#rules;
    return this.#asSender(address, masquerade, 'masquerade', 'envelope sender');
  }

  /** The author where the header names none. */
  author(address: string): string {
    return this.#asSender(address, this.#rules.masqueradeFrom, 'masqueradefrom', 'From');
  }

  /**
   * The recipients, each once. A recipient that another address takes the place of keeps its DSN
   * parameters; the address that the sender knows goes along as ORCPT (RFC 3461 section 4.2).
   * @param isLocalName tells of complete addresses which were written without a host
   */
  recipients(
    given: Recipients,
    isLocalName: (address: string) => boolean = () => false,
  ): Recipients {
    const found = new Map<string, Recipient>();
    for (const recipient of given) {
      for (const each of this.#recipientsFor(recipient, isLocalName(recipient.address))) {
        if (!found.has(each.address)) found.set(each.address, each);
      }
    }
    const [first = given[0], ...others] = found.values();
    return [first, ...others];
  }

  /**
   * The header with its sender and recipient fields rewritten; with any Resent- field that set alone.
   * Where From changes and would be lost, it is kept: in Reply-To if an answer to it arrives, else in
   * X-Original-From.
   */
  header(fields: readonly HeaderField[]): readonly HeaderField[] {
    const names = new Set(fields.map(({ name }) => name.toLowerCase()));
    const resent = [...names].some((name) => name.startsWith('resent-'));
    const prefix = resent ? 'resent-' : '';
    const result: HeaderField[] = [];
    for (const field of fields) {
      const name = field.name.toLowerCase();
      const role = name.startsWith(prefix) ? ROLES.get(name.slice(prefix.length)) : undefined;
      if (role === undefined) {
        result.push(field);
        continue;
      }
      let keep: string | undefined;
      const changed = this.#mapField(field, (address) => {
        if (role === 'recipient') return this.#shownRecipient(address, field.name);
        const now =
          role === 'sender'
            ? this.#asSender(address, this.#rules.masqueradeFrom, 'masqueradefrom', field.name)
            : this.#masked(address, field.name);
        if (role === 'sender' && name === 'from') keep ??= this.#worthKeeping(address, now);
        return now;
      });
      result.push(changed);
      if (keep === undefined) continue;
      const kept = names.has('reply-to') ? 'X-Original-From' : keep;
      if (names.has(kept.toLowerCase())) continue;
      names.add(kept.toLowerCase());
      const { defaults } = this.#rules;
      const body = mapAddresses(fieldBody(field), (address) => qualify(address, defaults));
      result.push(formatField(kept, body));
      this.#note({ kind: 'rewritten', text: `${kept} keeps what From was` });
    }
    return result;
  }

  /** The field that keeps an author who was replaced; undefined where nothing is lost. */
  #worthKeeping(address: string, now: string): 'Reply-To' | 'X-Original-From' | undefined {
    const { defaults } = this.#rules;
    const before = qualify(address, defaults);
    if (before.toLowerCase() === now.toLowerCase()) return undefined;
    if (this.#localName(address) === undefined) return 'Reply-To';
    return localPartOf(before) === localPartOf(now) ? undefined : 'X-Original-From';
  }

  /** Changes the addresses of a field, and no octet beside them. */
  #mapField(field: HeaderField, map: (address: string) => string): HeaderField {
    const colon = field.raw.indexOf(':') + 1;
    const octets = Buffer.from(field.raw.slice(colon), 'latin1');
    const encoding = isUtf8(octets) ? 'utf8' : 'latin1';
    const text = octets.toString(encoding);
    const mapped = mapAddresses(text, (address) => {
      const now = map(address);
      // Octets that are no UTF-8 are kept one by one, so the new ones have to be given so, too.
      return now === address || encoding === 'utf8' ? now : Buffer.from(now).toString('latin1');
    });
    if (mapped === text) return field;
    const body = Buffer.from(mapped, encoding).toString('latin1');
    return { name: field.name, raw: field.raw.slice(0, colon) + body };
  }

  #asSender(address: string, masquerade: string | undefined, file: string, what: string): string {
    const full = qualify(address, this.#rules.defaults);
    const local = this.#localName(address);
    const mapped = this.#lookUp(full, local);
    if (mapped !== undefined) return this.#rewritten(what, full, mapped, 'sendermap');
    if (local === undefined || masquerade === undefined)
      return this.#completed(what, address, full);
    const masked = withHost(full, masquerade);
    const again = this.#lookUp(masked, this.#localName(masked));
    return again === undefined
      ? this.#rewritten(what, full, masked, file)
      : this.#rewritten(what, full, again, 'sendermap');
  }

  #masked(address: string, what: string): string {
    const { masqueradeFrom, defaults } = this.#rules;
    const full = qualify(address, defaults);
    if (masqueradeFrom === undefined || this.#localName(address) === undefined) {
      return this.#completed(what, address, full);
    }
    return this.#rewritten(what, full, withHost(full, masqueradeFrom), 'masqueradefrom');
  }

  /** What control/sendermap makes of an address; one that it leads to is at its end there. */
  #lookUp(full: string, local: string | undefined): string | undefined {
    const { entries } = this.#rules.senders;
    if (entries.size === 0) return undefined;
    const whole = full.toLowerCase();
    const host = `@${domainOf(full)}`;
    if (this.#finals.has(whole) || this.#finals.has(host)) return full;
    const found =
      entries.get(whole) ??
      (local === undefined ? undefined : entries.get(local.toLowerCase())) ??
      entries.get(host) ??
      entries.get('*');
    return found?.startsWith('@') === true ? withHost(full, found.slice(1)) : found;
  }

  /** The local part of an address of this host; undefined for any other. */
  #localName(address: string): string | undefined {
    const host = domainOf(address);
    return host === '' || this.#rules.locals.has(host) ? localPartOf(address) : undefined;
  }

  #recipientsFor(recipient: Recipient, isLocalName: boolean): readonly Recipient[] {
    const { address } = recipient;
    const full = qualify(address, this.#rules.defaults);
    const { addresses, file } = this.#destinations(address, isLocalName);
    if (addresses.length === 1 && addresses[0] === full) {
      this.#completed('recipient', address, full);
      return [{ ...recipient, address: full }];
    }
    this.#note({
      kind: 'rewritten',
      text: `recipient ${address}: ${listed(addresses)}`,
      file,
    });
    const orcpt = recipient.orcpt ?? originalRecipient(full);
    return addresses.map((each) => ({
      ...recipient,
      address: each,
      ...(orcpt === undefined || each === full ? {} : { orcpt }),
    }));
  }

  /** Where mail for an address goes, and which control file says so. */
  #destinations(
    address: string,
    isLocalName: boolean,
  ): { readonly addresses: readonly string[]; readonly file: string } {
    const full = qualify(address, this.#rules.defaults);
    const name = isLocalName ? localPartOf(address) : this.#localName(address);
    if (name === undefined) return { addresses: [full], file: '' };
    const { defaults } = this.#rules;
    const admin = this.#admin();
    const { addresses, names, refused } = this.#expand(name);
    const found = new Set(addresses);
    const ends = new Set(names);
    if (refused && (admin.length > 0 || found.size + ends.size === 0)) {
      ends.add(name.toLowerCase());
    }
    for (const each of ends) {
      if (admin.length > 0) for (const one of admin) found.add(one);
      else if (each === name.toLowerCase()) found.add(full);
      else found.add(qualify(formatLocalPart(each), defaults));
    }
    const byAlias = addresses.length > 0 || !ends.has(name.toLowerCase());
    return { addresses: [...found], file: byAlias ? 'aliases' : 'adminaddr' };
  }

  /** Who reads for the admin: an address of this host may have an alias of its own. */
  #admin(): readonly string[] {
    const { admin } = this.#rules;
    if (admin === undefined) return [];
    const name = this.#localName(admin);
    if (name === undefined) return [admin];
    const { addresses, names, refused } = this.#expand(name);
    const ends = names.length > 0 || refused || addresses.length === 0;
    return ends ? [...addresses, admin] : addresses;
  }

  #expand(name: string): Expansion {
    if (this.#expander === 'unread') {
      const aliases = this.#rules.aliases();
      this.#expander =
        aliases === undefined
          ? undefined
          : new AliasExpander(
              aliases,
              (address) => this.#localName(address),
              this.#rules.readInclude,
              (line) => this.warn(line),
            );
      const [problem, ...others] = aliases?.problems ?? [];
      const more = others.length === 0 ? '' : `, and ${others.length} more like it`;
      if (problem !== undefined) this.warn(`${problem}${more}`);
    }
    return (
      this.#expander?.expand(name) ?? { addresses: [], names: [name.toLowerCase()], refused: false }
    );
  }

  /** A recipient in the header. A name that stands for several keeps their addresses to itself. */
  #shownRecipient(address: string, what: string): string {
    const { rewriteTo, defaults } = this.#rules;
    if (rewriteTo === 'off') return address;
    const full = qualify(address, defaults);
    if (rewriteTo === 'complete' || this.#localName(address) === undefined) {
      return this.#completed(what, address, full);
    }
    const { addresses, file } = this.#destinations(address, false);
    const [only = full, ...others] = addresses;
    return others.length > 0
      ? this.#completed(what, address, full)
      : this.#rewritten(what, full, only, file);
  }

  #completed(what: string, address: string, full: string): string {
    if (full !== address) {
      const file = domainOf(address) === '' ? 'defaulthost' : 'defaultdomain';
      this.#note({ kind: 'completed', text: `${what} ${address}: ${full}`, file });
    }
    return full;
  }

  #rewritten(what: string, before: string, now: string, file: string): string {
    if (now !== before) {
      this.#note({ kind: 'rewritten', text: `${what} ${before}: ${now}`, file });
    }
    return now;
  }
}

/** What the fields hold, by their names in lower case without `resent-`. */
const ROLES: ReadonlyMap<string, 'sender' | 'reply' | 'recipient'> = new Map([
  ['from', 'sender'],
  ['sender', 'sender'],
  ['reply-to', 'reply'],
  ['to', 'recipient'],
  ['cc', 'recipient'],
]);

/** @param masquerade a host, or an address that takes the place of the whole */
function withHost(address: string, masquerade: string): string {
  if (masquerade.includes('@')) return masquerade;
  return `${formatLocalPart(localPartOf(address))}@${masquerade}`;
}

/** ORCPT for an address that is replaced; in ASCII alone, as RFC 3461 has it. */
function originalRecipient(address: string): string | undefined {
  if (/[^!-~]/.test(address) || parsePath(address) === undefined) return undefined;
  const text = address.replace(
    /[+=]/g,
    (character) => `+${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return text.length > 500 ? undefined : `rfc822;${text}`;
}

/** A header can hold millions of addresses. */
const MOST_NOTES = 1000;

/** Recipients that a note names. */
const SHOWN = 10;

function listed(addresses: readonly string[]): string {
  const more = addresses.length > SHOWN ? ` and ${addresses.length - SHOWN} more` : '';
  return addresses.slice(0, SHOWN).join(', ') + more;
}
