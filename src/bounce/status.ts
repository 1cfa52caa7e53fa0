/**
 * What an attempt means in the fields of RFC 3464: status, diagnostic, remote host. Pure. Hostile
 * input: the relay's words, here already escaped (mail/text.ts) and on lines of their own.
 */
import { parseRelay } from '../control/relay-url.ts';
import type { Recipient } from '../mail/envelope.ts';
import type { Attempt } from '../spool/result.ts';

/** `failed`: given up. `delayed`: still tried. `relayed`: given to a relay that reports nothing. */
export type Kind = 'failed' | 'delayed' | 'relayed';

/** The attempt that decided, or that was the last one. */
export interface Said extends Pick<Attempt, 'time' | 'stage' | 'relay' | 'lines'> {
  readonly outcome: Attempt['outcome'] | 'relayed';
}

/** What became of one recipient. */
export interface Fate {
  /** The entry's base name. */
  readonly id: string;
  readonly recipient: Recipient;
  /** All attempts, oldest first. */
  readonly history: readonly Attempt[];
  readonly last: Said;
}

/** The status code (RFC 3463): the relay's own where it fits the kind, else the nearest class. */
export function statusOf(kind: Kind, last: Said): string {
  const [, detail] = /^\d{3}[ -][245]\.(\d{1,3}\.\d{1,3})(?!\S)/.exec(last.lines[0] ?? '') ?? [];
  switch (kind) {
    case 'relayed':
      return '2.0.0';
    case 'failed':
      // Delivery time expired.
      if (last.outcome === 'expired') return '4.4.7';
      return `5.${detail ?? '0.0'}`;
    case 'delayed':
      if (detail !== undefined) return `4.${detail}`;
      return ['resolve', 'connect'].includes(last.stage) ? '4.4.1' : '4.0.0';
  }
}

/** The body of a Diagnostic-Code field: the relay's reply, or what this program noticed instead. */
export function diagnosticOf(last: Said): string | undefined {
  if (last.lines.length === 0) return undefined;
  const type = /^[2-5]\d\d(?:[ -]|$)/.test(last.lines[0] ?? '') ? 'smtp' : 'x-picorelay';
  return `${type}; ${last.lines.join(' ')}`;
}

/** The relay's host, without the login name that its URL may hold; undefined when none was reached. */
export function hostOf(relay: string): string | undefined {
  const parsed = parseRelay(relay);
  if (relay === 'none' || 'problem' in parsed) return undefined;
  if (parsed.host.includes(':')) return `[IPv6:${parsed.host}]`;
  return /^[\d.]+$/.test(parsed.host) ? `[${parsed.host}]` : parsed.host;
}

/** The address type and address of an ORCPT parameter (RFC 3461 section 4.2), decoded. */
export function originalRecipient(
  orcpt: string,
): { readonly type: string; readonly address: string } | undefined {
  const [, type, coded] = /^([A-Za-z0-9-]{1,40});(.+)$/s.exec(orcpt) ?? [];
  if (type === undefined || coded === undefined) return undefined;
  const text = decodeXtext(coded);
  if (type.toLowerCase() !== 'utf-8') return { type, address: text };
  // RFC 6533 section 3: utf-8-addr-xtext.
  const address = text.replace(/\\x\{([0-9A-Fa-f]{2,6})\}/g, (whole, hex: string) => {
    const point = Number.parseInt(hex, 16);
    return point > 0x10ffff ? whole : String.fromCodePoint(point);
  });
  return { type, address };
}

/** The text behind xtext (RFC 3461 section 4), its octets taken as UTF-8. */
export function decodeXtext(coded: string): string {
  const octets = Buffer.from(coded, 'utf8')
    .toString('latin1')
    .replace(/\+([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(octets, 'latin1').toString('utf8');
}
