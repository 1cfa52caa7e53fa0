/**
 * From a mail address or the name of a relay to the account that mail goes out by, and from that to
 * control files. Pure; what the domain name system says is a parameter.
 */

import type { ControlName } from '../control/catalogue.ts';
import { formatRelay, isHostName, parseRelay, type Relay } from '../control/relay-url.ts';
import { domainOf } from '../mail/address.ts';
import { findProvider, type Provider, providerOfMx } from './providers.ts';

/** A relay, and how it was found. */
export interface Candidate {
  readonly relay: Relay;
  readonly provider: Provider | undefined;
  /** Why this one, in words. */
  readonly source: string;
  /** Whether nothing but an answer that anybody could have forged speaks for it. */
  readonly doubtful: boolean;
}

/** What the domain name system says of a mail domain. */
export interface Announced {
  readonly relays: readonly Relay[];
  /** Hosts that take its mail. */
  readonly hosts: readonly string[];
}

/** The account that mail goes out by. */
export interface MailAccount {
  readonly relay: Relay;
  readonly login: string | undefined;
  readonly secret: Secret | undefined;
  readonly email: string | undefined;
  /** Who gets the mail of this host's users. */
  readonly adminaddr: string | undefined;
  /** Whether all mail has to come from `email`. */
  readonly ownAddress: boolean;
}

export type Secret = { readonly password: string } | { readonly command: string };

/** The provider of a mail address whose domain is in the table. */
export function knownCandidate(email: string): Candidate | undefined {
  const provider = findProvider(domainOf(email));
  return provider && candidateOf(provider, `${provider.name}, by the address`);
}

/** What the domain of a mail address announces, best first (RFC 6186, RFC 8314). */
export function announcedCandidates(email: string, announced: Announced): readonly Candidate[] {
  const domain = domainOf(email);
  const provider = announced.hosts.map(providerOfMx).find((each) => each !== undefined);
  const byMx =
    provider === undefined
      ? []
      : [candidateOf(provider, `${provider.name}, whose hosts take mail for ${domain}`)];
  const bySrv = announced.relays.map((relay): Candidate => {
    const known = findProvider(relay.host) ?? providerOfMx(relay.host);
    const own = relay.host === domain || relay.host.endsWith(`.${domain}`);
    return {
      relay,
      provider: known,
      source: `announced by ${domain} (SRV)`,
      doubtful: known === undefined && !own,
    };
  });
  return [...bySrv, ...byMx];
}

/**
 * What an admin calls the relay: a URL, a host with or without a port, or a provider's name. The port of
 * a bare host is the table's, else 587, which is for login, or 25 without one.
 * @returns a string that says what is wrong
 */
export function namedCandidate(text: string, withLogin: boolean): Candidate | string {
  const provider = findProvider(text);
  if (provider !== undefined) return candidateOf(provider, provider.name);
  const bare = isHostName(text) && withLogin;
  const relay = parseRelay(bare ? `smtp://${text}:587` : text);
  if ('problem' in relay) return `expected ${relay.problem}`;
  return {
    relay,
    provider: findProvider(relay.host),
    source: 'as named',
    doubtful: false,
  };
}

function candidateOf(provider: Provider, source: string): Candidate {
  const relay = parseRelay(provider.relay);
  if ('problem' in relay) throw new Error(`${provider.name}: ${relay.problem}`);
  return { relay, provider, source, doubtful: false };
}

/** What to log in with, if nobody says otherwise. */
export function usualLogin(candidate: Candidate, email: string | undefined): string | undefined {
  return candidate.relay.user ?? candidate.provider?.login ?? email;
}

/** The control files of an account; undefined for one that would contradict them. */
export function accountSettings(account: MailAccount): Map<ControlName, string | undefined> {
  const { relay, login, secret, email, adminaddr, ownAddress } = account;
  const { user: _, ...bare } = relay;
  const settings = new Map<ControlName, string | undefined>([
    ['relay', formatRelay({ ...bare, user: undefined })],
    ['authuser', login],
    ['authpassword', secret !== undefined && 'password' in secret ? secret.password : undefined],
    [
      'authpasswordcommand',
      secret !== undefined && 'command' in secret ? secret.command : undefined,
    ],
  ]);
  if (adminaddr !== undefined) settings.set('adminaddr', adminaddr);
  if (email === undefined || login === undefined) return settings;
  // root@this-host is nobody's address there: mail of this host's users goes out as the account's.
  if (ownAddress) settings.set('sendermap', `*: ${email}`);
  else settings.set('masquerade', email);
  return settings;
}
