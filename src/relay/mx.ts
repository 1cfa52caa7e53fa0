/**
 * Which hosts take the mail of a domain (RFC 5321 section 5.1): its mail exchangers in their order, or its
 * own address where it names none. Connects to nobody. Hostile input: the domain, which a sender wrote, and
 * everything in the DNS.
 */
import { domainToASCII } from 'node:url';
import { isHostName, isIPv4, isIPv6 } from '../control/relay-url.ts';
import { ownReply, type Reply } from '../mail/reply.ts';
import { escapeText } from '../mail/text.ts';
import type { MxRecord, Resolver } from './resolver.ts';

export type Exchangers =
  /** Host names in ASCII, or one address, in the order they are tried. */
  | { readonly kind: 'hosts'; readonly domain: string; readonly hosts: readonly string[] }
  /** Mail for the domain can never be delivered. */
  | { readonly kind: 'refused'; readonly reply: Reply }
  /** Nobody knows for now. */
  | { readonly kind: 'trouble'; readonly reason: string };

/** Mail exchangers that are tried; a longer list is somebody's game. */
const MOST_HOSTS = 20;

/**
 * @param domain in any spelling, or an address literal
 * @param own names of this host; it and what is less preferred never gets mail back
 * @param random 0 to 1, asked to mix hosts that are preferred equally
 */
export async function findExchangers(
  domain: string,
  own: ReadonlySet<string>,
  resolver: Resolver,
  random: () => number,
): Promise<Exchangers> {
  const literal = addressOf(domain);
  if (literal !== undefined) return { kind: 'hosts', domain, hosts: [literal] };
  const name = domainToASCII(domain);
  if (domain === '' || !isHostName(name)) {
    return refused('5.1.2', 'the recipient has no domain that the DNS could know');
  }
  const mx = await resolver.mx(name);
  switch (mx.kind) {
    case 'trouble':
      return {
        kind: 'trouble',
        reason: `the mail exchangers of ${name} are not known: ${mx.reason}`,
      };
    case 'none':
      return await ownAddress(name, own, resolver);
    case 'found':
      return fromRecords(name, mx.records, own, random);
  }
}

/** A domain without mail exchangers is its own. */
async function ownAddress(
  name: string,
  own: ReadonlySet<string>,
  resolver: Resolver,
): Promise<Exchangers> {
  if (own.has(name)) return loops(name);
  const { kind, ...found } = await resolver.addresses(name);
  if (kind === 'trouble') {
    const reason = 'reason' in found ? found.reason : '';
    return { kind, reason: `the address of ${name} is not known: ${reason}` };
  }
  if (kind === 'found') return { kind: 'hosts', domain: name, hosts: [name] };
  return refused('5.1.2', `the DNS has neither mail exchanger nor address for ${name}`);
}

function fromRecords(
  name: string,
  records: readonly MxRecord[],
  own: ReadonlySet<string>,
  random: () => number,
): Exchangers {
  // RFC 7505 section 3: alone; beside others it is a mistake that says nothing.
  const named = records.filter(({ host }) => host !== '' && host !== '.');
  if (named.length === 0) return refused('5.1.10', `${name} takes no mail (null MX)`);
  const all = named.map(({ preference, host }) => ({ preference, host: host.toLowerCase() }));
  const ours = all.filter(({ host }) => own.has(host.replace(/\.$/, '')));
  const limit = Math.min(...ours.map(({ preference }) => preference));
  const sorted = all
    .filter(({ preference }) => preference < limit)
    .map((record) => ({ ...record, tie: random() }))
    .sort((a, b) => a.preference - b.preference || a.tie - b.tie);
  if (sorted.length === 0) return loops(name);
  const hosts = [...new Set(sorted.map(({ host }) => host))].filter(isHostName);
  if (hosts.length === 0) {
    const seen = escapeText(sorted[0]?.host ?? '').slice(0, 80);
    return {
      kind: 'trouble',
      reason: `the mail exchanger of ${name} has no valid name: "${seen}"`,
    };
  }
  return { kind: 'hosts', domain: name, hosts: hosts.slice(0, MOST_HOSTS) };
}

/** RFC 5321 section 4.1.3. */
function addressOf(domain: string): string | undefined {
  const [, v6, v4 = ''] = /^\[(?:IPv6:(.*)|(.*))\]$/is.exec(domain) ?? [];
  if (v6 !== undefined && isIPv6(v6)) return v6.toLowerCase();
  return isIPv4(v4) ? v4 : undefined;
}

function loops(name: string): Exchangers {
  return refused('5.4.6', `this host is itself the mail exchanger of ${name} and takes no mail`);
}

function refused(enhanced: string, text: string): Exchangers {
  return { kind: 'refused', reply: ownReply(550, enhanced, text) };
}
