/**
 * A relay as one line of text: `host`, `host:port`, `smtp://host`, `smtps://user@host`, `[::1]:25`.
 * Pure and linear; nothing is resolved and nothing here throws. The text comes from the admin, who
 * may have put a password into it: that is refused, and `withoutPassword` keeps it out of messages.
 */

export interface Relay {
  /** `smtps` speaks TLS from the first byte (RFC 8314), `smtp` starts in clear text. */
  readonly scheme: 'smtp' | 'smtps';
  /** A host name in small letters, or an IPv4 or IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
  /** The login name of this relay, decoded. */
  readonly user: string | undefined;
}

const DEFAULT_PORT = { smtp: 25, smtps: 465 } as const;
const LONGEST = 1024;

/**
 * Reads one relay. Without a port, `smtp` and the bare forms mean 25, `smtps` means 465. The user is
 * percent-decoded and ends at the last `@`, so `smtps://me@example.com@smtp.example.com` works.
 * `problem` is made to stand after the word "expected".
 */
export function parseRelay(text: string): Relay | { readonly problem: string } {
  if (text.length > LONGEST) return { problem: `at most ${LONGEST} characters` };
  const [, prefix, rest = text] = /^([^/@]*):\/\/(.*)$/s.exec(text) ?? [];
  const scheme = (prefix ?? 'smtp').toLowerCase();
  if (scheme !== 'smtp' && scheme !== 'smtps') {
    return { problem: 'smtp:// or smtps:// before the host' };
  }

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
  return { scheme, host: target.host, port: target.port ?? DEFAULT_PORT[scheme], user };
}

/** Writes a relay in its long form, port included; `parseRelay` reads it back. */
export function formatRelay(relay: Relay): string {
  const user = relay.user === undefined ? '' : `${encodeURIComponent(relay.user)}@`;
  const host = relay.host.includes(':') ? `[${relay.host}]` : relay.host;
  return `${relay.scheme}://${user}${host}:${relay.port}`;
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
  if (!labels.every((label) => /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(label))) {
    return false;
  }
  return !/^(?:\d+|0x[0-9a-f]*)$/i.test(labels.at(-1) ?? '');
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

function readUser(text: string): { readonly user: string } | { readonly problem: string } {
  if (text.includes(':')) {
    return {
      problem:
        'no password in the line: it belongs into authpassword (and write a : in a name as %3A)',
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

/** The eight 16-bit groups of an IPv6 address. */
function ipv6Groups(text: string): readonly number[] | undefined {
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
