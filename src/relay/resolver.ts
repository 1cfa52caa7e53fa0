/**
 * The DNS questions of delivery without a relay, and only those: relays that somebody named are looked up
 * by the system, so that /etc/hosts counts. Hostile input: the answers; names in them are no host names
 * until somebody has looked.
 */
import { Resolver as DnsResolver } from 'node:dns/promises';

export interface MxRecord {
  readonly preference: number;
  /** Empty for the root, which says that there is no mail exchanger (RFC 7505). */
  readonly host: string;
}

export interface Address {
  readonly address: string;
  readonly family: 4 | 6;
}

/**
 * `none`: there is no such name, or it has no such record; which of the two, bun cannot tell, and some name
 * servers do not (RFC 8020 came late). `trouble`: nobody knows, for now.
 */
export type Found<T> =
  | { readonly kind: 'found'; readonly records: readonly T[] }
  | { readonly kind: 'none' }
  | { readonly kind: 'trouble'; readonly reason: string };

/** Each takes a name in ASCII and never rejects for anything that a server says or fails to say. */
export interface Resolver {
  mx(domain: string): Promise<Found<MxRecord>>;
  addresses(host: string): Promise<Found<Address>>;
  texts(name: string): Promise<Found<string>>;
}

/** Milliseconds for one question to one server, and how often each is asked; the wait grows each time. */
const PATIENCE = { timeout: 5000, tries: 3 };

/** Records of one answer that are looked at. */
const MOST_RECORDS = 100;

/** @param servers addresses with or without ports; the system's where there are none */
export function openResolver(servers: readonly string[]): Resolver {
  const dns = new DnsResolver(PATIENCE);
  if (servers.length > 0) dns.setServers(servers);
  return {
    mx: async (domain) =>
      await ask(async () => {
        const records = await dns.resolveMx(domain);
        return records.map(({ priority, exchange }) => ({ preference: priority, host: exchange }));
      }),
    addresses: async (host) => {
      const [v6, v4] = await Promise.all([
        ask(async () => addresses(await dns.resolve6(host), 6)),
        ask(async () => addresses(await dns.resolve4(host), 4)),
      ]);
      if (v6.kind === 'found' && v4.kind === 'found') {
        return { kind: 'found', records: [...v6.records, ...v4.records] };
      }
      const both = [v6, v4];
      const certain = both.find(({ kind }) => kind === 'found');
      return certain ?? both.find(({ kind }) => kind === 'trouble') ?? v4;
    },
    texts: async (name) =>
      await ask(async () => (await dns.resolveTxt(name)).map((parts) => parts.join(''))),
  };
}

function addresses(records: readonly string[], family: 4 | 6): readonly Address[] {
  return records.map((address) => ({ address, family }));
}

async function ask<T>(question: () => Promise<readonly T[]>): Promise<Found<T>> {
  try {
    const records = await question();
    return records.length === 0
      ? { kind: 'none' }
      : { kind: 'found', records: records.slice(0, MOST_RECORDS) };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENODATA' || code === 'ENOTFOUND') return { kind: 'none' };
    if (typeof code !== 'string') throw error;
    return { kind: 'trouble', reason: TROUBLES[code] ?? `the DNS query failed with ${code}` };
  }
}

const TROUBLES: Readonly<Record<string, string>> = {
  ESERVFAIL: 'the DNS server failed (SERVFAIL)',
  EREFUSED: 'the DNS server refused to answer',
  ETIMEOUT: 'no DNS server answered in time',
  ECONNREFUSED: 'no DNS server can be reached',
};
