/**
 * MTA-STS (RFC 8461): what a domain demands of those who bring it mail. Where its policy is `enforce`, only
 * hosts that the policy names get mail, over TLS with a verified certificate. A policy that was seen once
 * holds until it is too old, whatever the DNS says meanwhile. No reports are sent.
 *
 * Hostile input: the TXT record, the policy file, which is bounded, and what was kept of it.
 */

import type { Trust, Way } from './connect.ts';
import { get } from './http.ts';
import type { Resolver } from './resolver.ts';

export interface Policy {
  readonly mode: 'enforce' | 'testing' | 'none';
  /** Patterns of host names, in lower case. */
  readonly hosts: readonly string[];
  /** Seconds that it holds. */
  readonly maxAge: number;
}

/** A policy as it is remembered. */
export interface KeptPolicy extends Policy {
  /** Which version of it the TXT record named. */
  readonly id: string;
  /** Until when it holds, in milliseconds since 1970-01-01 UTC. */
  readonly until: number;
  /** When fetching another one failed last. */
  readonly failed?: number;
}

export interface PolicyQuestion {
  /** In ASCII. */
  readonly domain: string;
  readonly kept: KeptPolicy | undefined;
  readonly resolver: Resolver;
  readonly way: Way;
  readonly authorities: Trust['authorities'];
  /** Milliseconds since 1970-01-01 UTC. */
  readonly now: number;
}

/** RFC 8461 section 3.3: how long to wait after a fetch that failed (milliseconds). */
const FETCH_PAUSE = 5 * 60_000;
/** Seconds for one fetch (same section). */
const FETCH_DEADLINE = 60;
/** A year, the most that a policy may say (section 3.2), in seconds. */
const LONGEST_AGE = 31_557_600;
const MOST_HOSTS = 1000;

/** What is known of a domain's policy now; to be kept, whatever its mode. Never rejects for what a server does. */
export async function currentPolicy(question: PolicyQuestion): Promise<KeptPolicy | undefined> {
  const { domain, resolver, way, authorities, now } = question;
  const kept = question.kept && question.kept.until > now ? question.kept : undefined;
  const texts = await resolver.texts(`_mta-sts.${domain}`);
  const id = texts.kind === 'found' ? recordId(texts.records) : undefined;
  // Section 3.1: a record that is gone does not end a policy.
  if (id === undefined || kept?.id === id) return kept;
  const failed = question.kept?.failed;
  // A failure in the future is one of a clock that was set back.
  if (failed !== undefined && failed <= now && now - failed < FETCH_PAUSE) return question.kept;
  const policy = await fetchPolicy(domain, way, authorities);
  if (policy !== undefined) return { ...policy, id, until: now + policy.maxAge * 1000 };
  if (kept !== undefined) return { ...kept, failed: now };
  return { mode: 'none', hosts: [], maxAge: 0, id: '', until: 0, failed: now };
}

/** The policy that binds us now, if any. */
export function bindingPolicy(kept: KeptPolicy | undefined, now: number): Policy | undefined {
  return kept !== undefined && kept.mode === 'enforce' && kept.until > now ? kept : undefined;
}

/** Whether a policy names a host (section 4.1): `*.` stands for exactly one label. */
export function namesHost({ hosts }: Policy, host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '');
  return hosts.some((pattern) =>
    pattern.startsWith('*.')
      ? name.slice(name.indexOf('.') + 1) === pattern.slice(2) && name.includes('.')
      : name === pattern,
  );
}

/** The id of the one record that begins with the version (section 3.1). */
export function recordId(texts: readonly string[]): string | undefined {
  const records = texts.filter((text) => /^v=STSv1[ \t]*;/.test(text));
  if (records.length !== 1) return undefined;
  return /^v=STSv1[ \t]*;(?:[^;]*;)*?[ \t]*id=([A-Za-z0-9]{1,32})[ \t]*(?:;|$)/.exec(
    records[0]?.slice(0, 1000) ?? '',
  )?.[1];
}

/** Reads a policy file (section 3.2); of keys that come twice the first one counts. */
export function parsePolicy(text: string): Policy | undefined {
  const values = new Map<string, string>();
  const hosts: string[] = [];
  for (const line of text.split(/\r?\n/)) {
    const [, key = '', value = ''] =
      /^([A-Za-z0-9_.-]{1,32})[ \t]*:[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    if (key === '') {
      if (line.trim() !== '') return undefined;
    } else if (key === 'mx') {
      if (!/^(?:\*\.)?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*$/.test(value)) return undefined;
      hosts.push(value.toLowerCase());
    } else if (!values.has(key)) {
      values.set(key, value);
    }
  }
  const mode = (['enforce', 'testing', 'none'] as const).find(
    (word) => word === values.get('mode'),
  );
  const age = values.get('max_age') ?? '';
  if (values.get('version') !== 'STSv1' || mode === undefined || !/^\d{1,10}$/.test(age))
    return undefined;
  if (hosts.length > MOST_HOSTS || (mode !== 'none' && hosts.length === 0)) return undefined;
  return { mode, hosts, maxAge: Math.min(Number(age), LONGEST_AGE) };
}

/** Writes and reads what is kept; what cannot be read is as good as none. */
export function formatKept(kept: KeptPolicy): string {
  return `${JSON.stringify(kept)}\n`;
}

export function parseKept(text: string): KeptPolicy | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { mode, hosts, maxAge, id, until, failed } = { ...value } as Partial<
    Record<keyof KeptPolicy, unknown>
  >;
  const known = (['enforce', 'testing', 'none'] as const).find((word) => word === mode);
  const list = Array.isArray(hosts) ? hosts.filter((host) => typeof host === 'string') : undefined;
  if (known === undefined || list === undefined || typeof id !== 'string') return undefined;
  if (typeof until !== 'number' || typeof maxAge !== 'number') return undefined;
  const more = typeof failed === 'number' ? { failed } : {};
  return { mode: known, hosts: list, maxAge, id, until, ...more };
}

/** Section 3.3: over HTTPS with a verified certificate, without redirection, as plain text. */
async function fetchPolicy(
  domain: string,
  way: Way,
  authorities: Trust['authorities'],
): Promise<Policy | undefined> {
  const url = new URL(`https://mta-sts.${domain}/.well-known/mta-sts.txt`);
  try {
    const answer = await get(url, way, { authorities, seconds: FETCH_DEADLINE });
    if (answer.status !== 200 || !/^text\/plain[ \t]*(?:;|$)/i.test(answer.type)) return undefined;
    return parsePolicy(answer.text);
  } catch (error) {
    // Whoever keeps us from fetching it is as good as nobody: section 3.3 says to go on without.
    if (error instanceof Error) return undefined;
    throw error;
  }
}
