/**
 * The syntax of control/smtproutes and control/senderroutes: which relays take the mail for a domain,
 * or of a sender. Pure; nothing is looked up here.
 *
 *     example.com:relay.example.net            qmail's form: a domain, its relay, perhaps a port
 *     .example.com:[192.0.2.1]:2525            every domain below example.com
 *     example.org:smtps://me@mail.example.org  a relay as in control/relay; several follow each other
 *     :relay.example.net                       every other domain
 *     example.net:                             no relay: the domain's own mail exchangers (or mx://)
 */
import {
  type Destination,
  isDirect,
  isHostName,
  parseDirect,
  parseRelay,
  type Relay,
  withoutPassword,
} from './relay-url.ts';
import type { Line } from './retry.ts';

/** Where the mail of one line of a table goes. */
export interface RouteLine {
  /** As it stands in the table, in lower case: a domain, `.domain`, an address, or nothing. */
  readonly key: string;
  readonly destination: Destination;
}

/** By key; lines of the same key are one, their relays in the order of the lines. */
export type RouteTable = ReadonlyMap<string, RouteLine>;

export interface RouteProblem {
  readonly line: Line;
  readonly found: string;
  readonly expected: string;
}

/** The lines of control/smtproutes. */
export function parseSmtpRoutes(lines: readonly Line[]): RouteTable | RouteProblem {
  return parseTable(lines, (text) => {
    const colon = text.indexOf(':');
    if (colon < 0) return undefined;
    const key = text.slice(0, colon).trim().toLowerCase();
    const known = key === '' || isHostName(key.replace(/^\./, ''));
    // qmail's form of mail exchangers: no relay, perhaps with the port behind it.
    const rest = text.slice(colon + 1).trim();
    return known ? { key, rest: /^(?::\d+)?$/.test(rest) ? `mx://${rest}` : rest } : undefined;
  });
}

/** The lines of control/senderroutes: an address, `@domain` or a domain, then relays. */
export function parseSenderRoutes(lines: readonly Line[]): RouteTable | RouteProblem {
  return parseTable(lines, (text) => {
    const [, name = '', rest = ''] = /^(\S+)\s+(.*)$/s.exec(text) ?? [];
    const key = name.replace(/^@/, '').toLowerCase();
    const domain = key.slice(key.lastIndexOf('@') + 1);
    return isHostName(domain) && !/\p{Cc}/u.test(key) ? { key, rest } : undefined;
  });
}

function parseTable(
  lines: readonly Line[],
  split: (text: string) => { readonly key: string; readonly rest: string } | undefined,
): RouteTable | RouteProblem {
  const table = new Map<string, RouteLine>();
  for (const line of lines) {
    const found = withoutPassword(line.text);
    const parts = split(line.text);
    if (parts === undefined) {
      return { line, found, expected: 'what the mail is for or from, and then its relay' };
    }
    const before = table.get(parts.key)?.destination;
    const words = parts.rest.split(/\s+/).filter((word) => word !== '');
    const destination = parseDestination(words, before);
    if ('problem' in destination) return { line, found, expected: destination.problem };
    table.set(parts.key, { key: parts.key, destination });
  }
  return table;
}

/** @param before what earlier lines said of the same mail */
function parseDestination(
  words: readonly string[],
  before: Destination | undefined,
): Destination | { readonly problem: string } {
  const [first, ...others] = words;
  if (first === undefined) return { problem: 'a relay' };
  const direct = parseDirect(first);
  if (direct !== undefined && 'problem' in direct) return direct;
  if (direct !== undefined ? others.length > 0 || before !== undefined : isDirect(before)) {
    return { problem: 'mail exchangers (mx:// or nothing) or relays, not both' };
  }
  if (direct !== undefined) return direct;
  const relays: Relay[] = before === undefined || isDirect(before) ? [] : [...before];
  for (const word of words) {
    // qmail writes IPv4 addresses in brackets.
    const relay = parseRelay(word.replace(/^\[(\d+(?:\.\d+){3})\]/, '$1'));
    if ('problem' in relay) return relay;
    relays.push(relay);
  }
  return relays;
}
