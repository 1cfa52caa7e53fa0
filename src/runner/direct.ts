/**
 * Delivery without a relay: the hosts of a domain become the relays of its route, each with the TLS that the
 * domain's MTA-STS policy demands. Nothing of what is configured for relays goes there: no login, no pins, no
 * certificate of ours.
 */
import type { Control } from '../control/control.ts';
import { type Destination, isDirect, type Relay } from '../control/relay-url.ts';
import { type DirectRoute, directRoute, type Route } from '../control/routing.ts';
import type { Reply } from '../mail/reply.ts';
import type { Trust, Way } from '../relay/connect.ts';
import type { KeptPolicy } from '../relay/mta-sts.ts';
import type { Resolver } from '../relay/resolver.ts';
import type { Spool } from '../spool/spool.ts';
import type { World } from './settlement.ts';

/** What is needed to find the hosts of a domain. */
export interface DirectSettings {
  readonly route: DirectRoute;
  readonly nameServers: readonly string[];
  /** This host's own names in lower case. */
  readonly own: ReadonlySet<string>;
  readonly way: Way;
  readonly authorities: Trust['authorities'];
}

export type FoundRelays =
  | { readonly kind: 'relays'; readonly relays: readonly Relay[]; readonly way: Way }
  | { readonly kind: 'refused'; readonly reply: Reply }
  | { readonly kind: 'trouble'; readonly reason: string };

/** The route without a relay that a route is, if it is one. */
export function directOf(route: Route, destination: Destination): DirectRoute | undefined {
  if ('direct' in route) return route;
  // Mail whose address nobody can read has no domain; whoever opens it says so.
  return route.relays === undefined && isDirect(destination)
    ? directRoute(destination, '')
    : undefined;
}

/** @throws ControlError */
export function readDirect(
  control: Control,
  route: DirectRoute,
  way: Way,
): Omit<DirectSettings, 'authorities'> {
  const names = [control.get('me'), control.get('helohost'), ...(control.get('locals') ?? [])];
  return {
    route,
    nameServers: control.get('nameservers'),
    own: new Set(names.map((name) => name.toLowerCase())),
    way,
  };
}

/** The name that a domain has among relays, for its rests and its troubles. */
export function domainRelay({ domain }: DirectRoute): string {
  return `mx://${encodeURIComponent(domain)}`;
}

/** Asks the DNS who takes the domain's mail, and the domain what it demands. */
export async function findRelays(
  { route, nameServers, own, way, authorities }: DirectSettings,
  spool: Spool,
  { now, random }: Pick<World, 'now' | 'random'>,
): Promise<FoundRelays> {
  const [{ openResolver }, { findExchangers }] = await Promise.all([
    import('../relay/resolver.ts'),
    import('../relay/mx.ts'),
  ]);
  const { direct, name } = route;
  const resolver = openResolver(nameServers);
  const found = await findExchangers(route.domain, own, resolver, random);
  if (found.kind !== 'hosts') return found;
  const { domain, hosts } = found;
  const path = { ...way, lookup: lookupOf(resolver) };
  const relayOf = (host: string, tls: Relay['tls']): Relay => ({
    scheme: 'smtp',
    host,
    port: direct.port,
    user: undefined,
    ...(tls === undefined ? {} : { tls }),
  });
  if (direct.tls === 'off' || domain.startsWith('[')) {
    return { kind: 'relays', relays: hosts.map((host) => relayOf(host, direct.tls)), way: path };
  }
  const { bindingPolicy, currentPolicy, formatKept, namesHost, parseKept } = await import(
    '../relay/mta-sts.ts'
  );
  const text = spool.records.routePolicy(name);
  const kept = parseKept(text);
  const question = { domain, kept, resolver, way: path, authorities, now: now() };
  const policy: KeptPolicy | undefined = await currentPolicy(question);
  const fresh = policy === undefined ? '' : formatKept(policy);
  if (fresh !== text) spool.records.noteRoutePolicy(name, fresh);
  const binding = bindingPolicy(policy, now());
  if (binding === undefined) {
    return { kind: 'relays', relays: hosts.map((host) => relayOf(host, direct.tls)), way: path };
  }
  const named = hosts.filter((host) => namesHost(binding, host));
  if (named.length === 0) {
    const reason = `the MTA-STS policy of ${domain} names none of its mail exchangers (${hosts.join(', ')})`;
    return { kind: 'trouble', reason };
  }
  return { kind: 'relays', relays: named.map((host) => relayOf(host, 'required')), way: path };
}

function lookupOf(resolver: Resolver): NonNullable<Way['lookup']> {
  return async (host) => {
    const { noAddress } = await import('../relay/connect.ts');
    const found = await resolver.addresses(host);
    if (found.kind === 'found') return found.records;
    throw noAddress(
      host,
      found.kind === 'trouble' ? `has no known address: ${found.reason}` : 'has no address',
    );
  };
}
