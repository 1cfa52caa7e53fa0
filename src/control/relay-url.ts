/**
 * A relay as one line of text: `host`, `host:port`, `smtp://host`, `smtps://user@host?tls=required`,
 * `[::1]:25`, `lmtp://host:24`, `lmtp+unix:///path`; `mx://` for delivery without one; and a proxy,
 * `socks5://host:1080`.
 * Pure and linear; nothing is resolved and nothing here throws. The text comes from the admin, who
 * may have put a password into it: that is refused, and `withoutPassword` keeps it out of messages.
 */
import { Buffer } from 'node:buffer';

export interface Relay {
  /** `smtps` speaks TLS from the first byte (RFC 8314), `smtp` and `lmtp` start in clear text. */
  readonly scheme: 'smtp' | 'smtps' | 'lmtp';
  /** A host name in small letters, an address without brackets, or `localhost` with a `path`. */
  readonly host: string;
  /** 0 with a `path`. */
  readonly port: number;
  /** The login name of this relay, decoded. */
  readonly user: string | undefined;
  /** The Unix socket that is connected to instead of host and port. */
  readonly path?: string;
  /** What holds for this relay instead of control/tls. */
  readonly tls?: TlsPolicy;
  /** What holds for this relay instead of control/tlspin; as parsePin gives them. */
  readonly pins?: readonly string[];
}

/** No relay: mail goes straight to the mail exchangers of each recipient's domain (RFC 5321 section 5.1). */
export interface Direct {
  readonly scheme: 'mx';
  readonly port: number;
  /** What is asked of every mail exchanger; without it TLS is opportunistic, or what MTA-STS demands. */
  readonly tls?: TlsPolicy;
}

/** Where mail goes: to relays in the order they are tried, or to its domains' own hosts. */
export type Destination = readonly Relay[] | Direct;

export function isDirect(destination: Destination | undefined): destination is Direct {
  return destination !== undefined && 'scheme' in destination;
}

export type TlsPolicy = 'required' | 'opportunistic' | 'off';

/** A server that connects to relays in our place. */
export interface ProxyServer {
  /** `socks5`: RFC 1928. `http`: the method CONNECT (RFC 9110 section 9.3.6). */
  readonly scheme: 'socks5' | 'http';
  readonly host: string;
  readonly port: number;
  readonly user: string | undefined;
}

const DEFAULT_PORT = { smtp: 25, smtps: 465, lmtp: 24 } as const;
const LONGEST = 1024;

/** Octets that the name of a Unix socket may have on Linux. */
const LONGEST_PATH = 107;

/**
 * Reads one relay. Without a port, `smtp` and the bare forms mean 25, `smtps` 465, `lmtp` 24. The
 * user is percent-decoded and ends at the last `@`, so `smtps://me@example.com@smtp.example.com`
 * works. Behind a `?` stand `tls=` and any number of `pin=`, joined by `&`.
 * `problem` is made to stand after the word "expected".
 */
export function parseRelay(text: string): Relay | { readonly problem: string } {
  if (text.length > LONGEST) return { problem: `at most ${LONGEST} characters` };
  const [, prefix, behind = text] = /^([^/@?]*):\/\/(.*)$/s.exec(text) ?? [];
  const scheme = (prefix ?? 'smtp').toLowerCase();
  if (scheme === 'smtp+unix' || scheme === 'lmtp+unix') {
    return readSocket(scheme === 'smtp+unix' ? 'smtp' : 'lmtp', behind);
  }
  if (scheme !== 'smtp' && scheme !== 'smtps' && scheme !== 'lmtp') {
    return { problem: 'smtp://, smtps:// or lmtp:// before the host' };
  }

  const [, rest = '', query] = /^([^?]*)(?:\?(.*))?$/s.exec(behind) ?? [];
  const policy = readQuery(query);
  if ('problem' in policy) return policy;
  const at = rest.lastIndexOf('@');
  let user: string | undefined;
  if (at >= 0) {
    if (prefix === undefined) {
      return { problem: 'smtp:// or smtps:// before a login name, as in smtps://user@host' };
    }
    const login = readUser(rest.slice(0, at));
    if ('problem' in login) return login;
    user = login.user;
  }

  // People copy URLs with the slash that closes them.
  let place = rest.slice(at + 1);
  if (prefix !== undefined && place.endsWith('/')) place = place.slice(0, -1);
  const target = readPlace(place);
  if ('problem' in target) return target;
  const port = target.port ?? DEFAULT_PORT[scheme];
  return { scheme, host: target.host, port, user, ...policy };
}

/** Reads what may stand in the place of relays: `mx://`, with `:port` and `?tls=` behind it. Undefined for any other text. */
export function parseDirect(text: string): Direct | { readonly problem: string } | undefined {
  if (text.length > LONGEST) return undefined;
  const [, rest, query] = /^mx:\/\/([^?]*)(?:\?(.*))?$/is.exec(text) ?? [];
  if (rest === undefined) return undefined;
  const policy = readQuery(query);
  if ('problem' in policy) return policy;
  const { tls, pins } = policy;
  const [, digits] = /^\/?$|^:(\d{1,5})\/?$/.exec(rest) ?? [undefined, '0'];
  const port = digits === undefined ? DEFAULT_PORT.smtp : Number(digits);
  if (pins !== undefined || port < 1 || port > 65_535) {
    return { problem: 'nothing, a :port or ?tls= behind mx://, which names no host' };
  }
  return { scheme: 'mx', port, ...(tls === undefined ? {} : { tls }) };
}

/** Writes it as `parseDirect` reads it. */
export function formatDirect({ port, tls }: Direct): string {
  const place = port === DEFAULT_PORT.smtp ? '' : `:${port}`;
  return `mx://${place}${tls === undefined ? '' : `?tls=${tls}`}`;
}

/** Writes a relay in its long form, port included; `parseRelay` reads it back. */
export function formatRelay(relay: Relay): string {
  if (relay.path !== undefined) return `${relay.scheme}+unix://${relay.path}`;
  const user = relay.user === undefined ? '' : `${encodeURIComponent(relay.user)}@`;
  const query = [
    ...(relay.tls === undefined ? [] : [`tls=${relay.tls}`]),
    ...(relay.pins ?? []).map((pin) => `pin=${pin}`),
  ].join('&');
  const place = `${relay.scheme}://${user}${bracketed(relay.host)}:${relay.port}`;
  return query === '' ? place : `${place}?${query}`;
}

/**
 * Reads a proxy, `socks5://` or `http://` with host and port. The user is percent-decoded; a password
 * is refused. `problem` is made to stand after the word "expected".
 */
export function parseProxy(text: string): ProxyServer | { readonly problem: string } {
  if (text.length > LONGEST) return { problem: `at most ${LONGEST} characters` };
  const [, scheme, login, place = ''] =
    /^(socks5|http):\/\/(?:(.*)@)?([^@]*?)\/?$/is.exec(text) ?? [];
  if (scheme === undefined) return { problem: 'socks5:// or http:// before host and port' };
  const target = readPlace(place);
  if ('problem' in target) return target;
  if (target.port === undefined) return { problem: 'the port of the proxy behind its host' };
  const reader = login === undefined ? { user: undefined } : readUser(login, 'proxypassword');
  if ('problem' in reader) return reader;
  const known = scheme.toLowerCase() === 'http' ? 'http' : 'socks5';
  return { scheme: known, host: target.host, port: target.port, user: reader.user };
}

/**
 * Reads the SHA-256 fingerprint of a certificate or public key: hexadecimal, with or without colons, or
 * base64, each with or without `sha256:` or `sha256//` before it. Small hexadecimal digits are returned.
 */
export function parsePin(text: string): string | undefined {
  const bare = text.replace(/^sha256(?::|\/\/)/i, '');
  if (/^[0-9a-f]{2}(?::?[0-9a-f]{2}){31}$/i.test(bare))
    return bare.replaceAll(':', '').toLowerCase();
  // 32 octets leave the last two bits of the last digit empty.
  if (!/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=?$/.test(bare)) return undefined;
  return Buffer.from(bare, 'base64').toString('hex');
}

/** A host as it stands before `:port`. */
export function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** The text of a relay line with anything that may be a password replaced by `***`. */
export function withoutPassword(text: string): string {
  const at = text.lastIndexOf('@');
  if (at < 0) return text;
  const scheme = /^[^:@]*:\/\//.exec(text)?.[0] ?? '';
  const colon = text.indexOf(':', scheme.length);
  return colon < 0 || colon > at ? text : `${text.slice(0, colon + 1)}***${text.slice(at)}`;
}

/**
 * Whether a host is this machine whatever a name server says: `localhost`, 127.0.0.0/8, `::1`, and
 * the IPv4 loopback written as IPv6 (`::ffff:127.0.0.1`).
 */
export function isLoopback(host: string): boolean {
  if (/^localhost\.?$/i.test(host)) return true;
  if (isIPv4(host)) return host.startsWith('127.');
  const groups = ipv6Groups(host);
  if (groups === undefined) return false;
  const [, , , , , marker, high = 0, low] = groups;
  if (groups.slice(0, 5).some((group) => group !== 0)) return false;
  return marker === 0xffff ? high >> 8 === 127 : marker === 0 && high === 0 && low === 1;
}

/**
 * Whether a text can be a host name: ASCII labels of up to 63 letters, digits, `-` and `_`, in all
 * at most 253 (RFC 1123 section 2.1, with the underscore that container names use). A last label
 * that is a number is none: resolvers take such a name for an address of their own reading.
 */
export function isHostName(text: string): boolean {
  if (text.length > 253) return false;
  const labels = text.split('.');
  if (!labels.every((label) => /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label))) {
    return false;
  }
  return !/^(?:\d+|0[Xx][0-9A-Fa-f]*)$/.test(labels.at(-1) ?? '');
}

/** Whether a text is an IPv4 address in its one plain form: four decimal numbers, no leading zeros. */
export function isIPv4(text: string): boolean {
  const octets = text.split('.');
  return octets.length === 4 && octets.every((o) => /^(?:0|[1-9]\d{0,2})$/.test(o) && +o <= 255);
}

/** Whether a text is an IPv6 address (RFC 4291 section 2.2), without brackets and without a zone. */
export function isIPv6(text: string): boolean {
  return ipv6Groups(text) !== undefined;
}

function readSocket(scheme: 'smtp' | 'lmtp', path: string): Relay | { readonly problem: string } {
  const fit = path.startsWith('/') && !/[\p{Cc}\p{Cs}]/u.test(path);
  if (!fit || Buffer.byteLength(path) > LONGEST_PATH) {
    const example = 'as in lmtp+unix:///run/dovecot/lmtp';
    return { problem: `an absolute path of at most ${LONGEST_PATH} bytes, ${example}` };
  }
  return { scheme, host: 'localhost', port: 0, user: undefined, path };
}

function readQuery(query = ''): Pick<Relay, 'tls' | 'pins'> | { readonly problem: string } {
  let tls: TlsPolicy | undefined;
  const pins: string[] = [];
  for (const item of query === '' ? [] : query.split('&')) {
    const [, key, value = ''] = /^(tls|pin)=(.*)$/is.exec(item) ?? [];
    const policy = (['required', 'opportunistic', 'off'] as const).find((word) => word === value);
    const pin = key === 'pin' ? parsePin(value) : undefined;
    if (key === 'tls' && policy !== undefined && tls === undefined) tls = policy;
    else if (pin !== undefined) pins.push(pin);
    else {
      return {
        problem: 'tls=required, tls=opportunistic, tls=off or pin=FINGERPRINT behind the ?',
      };
    }
  }
  return { ...(tls === undefined ? {} : { tls }), ...(pins.length === 0 ? {} : { pins }) };
}

function readUser(
  text: string,
  secret = 'authpassword',
): { readonly user: string } | { readonly problem: string } {
  if (text.includes(':')) {
    return {
      problem: `no password in the line: it belongs into ${secret} (and write a : in a name as %3A)`,
    };
  }
  let user: string;
  try {
    user = decodeURIComponent(text);
  } catch (error) {
    // decodeURIComponent throws nothing else.
    if (!(error instanceof URIError)) throw error;
    return { problem: '%25 for a % in the login name' };
  }
  // A NUL or a line end would change the AUTH command; a lone surrogate has no UTF-8 form.
  if (user === '' || /[\p{Cc}\p{Cs}]/u.test(user)) {
    return { problem: 'a login name without control characters before the @' };
  }
  return { user };
}

function readPlace(
  text: string,
): { readonly host: string; readonly port: number | undefined } | { readonly problem: string } {
  if (isIPv6(text)) return { host: text.toLowerCase(), port: undefined };
  const [, literal, name = '', digits] = /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/s.exec(text) ?? [];
  const host = (literal ?? name).toLowerCase();
  const known =
    literal === undefined ? isIPv4(host) || isHostName(host.replace(/\.$/, '')) : isIPv6(host);
  if (!known) return { problem: 'a host name or an address, as in smtp.example.com or [::1]' };
  if (digits === undefined) return { host, port: undefined };
  const port = /^\d{1,5}$/.test(digits) ? Number(digits) : 0;
  if (port < 1 || port > 65_535) return { problem: 'a port from 1 to 65535 after the colon' };
  return { host, port };
}

/** The eight 16-bit groups of an IPv6 address; undefined for any other text. */
export function ipv6Groups(text: string): readonly number[] | undefined {
  if (text.length > 45) return undefined;
  const colon = text.lastIndexOf(':');
  const tail = text.slice(colon + 1);
  if (colon >= 0 && isIPv4(tail)) {
    const [a = 0, b = 0, c = 0, d = 0] = tail.split('.').map(Number);
    const hex = `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
    return ipv6Groups(text.slice(0, colon + 1) + hex);
  }
  const halves = text.split('::').map((half) => (half === '' ? [] : half.split(':')));
  const [head = [], rest = []] = halves;
  const count = head.length + rest.length;
  if (halves.length > 2 || (halves.length === 1 ? count !== 8 : count > 7)) return undefined;
  const groups = [...head, ...Array<string>(8 - count).fill('0'), ...rest];
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  return groups.map((group) => Number.parseInt(group, 16));
}
