/**
 * Which way a mail goes: by its sender, else by its recipient's domain, else by control/relay. Pure.
 */

import { domainOf } from '../mail/address.ts';
import type { Control } from './control.ts';
import { type Direct, isDirect, type Relay } from './relay-url.ts';
import type { RouteLine, RouteTable } from './routes.ts';

/**
 * A way that mail goes; what has the same name shares connections, pauses and their reasons. To relays it
 * is `default`, or `from` or `to` with the table's key, as in `to example.com`; without a relay it is one for
 * each domain, `mx example.com`.
 */
export type Route = RelayRoute | DirectRoute;

export interface RelayRoute {
  readonly name: string;
  /** In the order they are tried; none for `default` means that it is control/relay's. */
  readonly relays: readonly Relay[] | undefined;
}

export interface DirectRoute {
  readonly name: string;
  readonly direct: Direct;
  /** The recipients' domain in lower case, or an address literal. */
  readonly domain: string;
}

export interface RouteTables {
  readonly bySender: RouteTable;
  readonly byDomain: RouteTable;
  /** What control/relay says, where it names no relay. */
  readonly direct?: Direct | undefined;
}

/** @throws ControlError when a table is malformed */
export function readTables(control: Control): RouteTables {
  const relay = control.get('relay');
  return {
    bySender: control.get('senderroutes'),
    byDomain: control.get('smtproutes'),
    direct: isDirect(relay) ? relay : undefined,
  };
}

/** Whether all mail goes to the relays of control/relay. */
export function isOneWay({ bySender, byDomain, direct }: RouteTables): boolean {
  return bySender.size + byDomain.size === 0 && direct === undefined;
}

export const DEFAULT_ROUTE: RelayRoute = { name: 'default', relays: undefined };

/**
 * The route of a mail. A sender's own relay comes first: it is what may send in the sender's name.
 * @param sender the reverse-path; the null sender has no route of its own
 */
export function routeOf(tables: RouteTables, sender: string, recipient: string): Route {
  const address = sender.toLowerCase();
  const domain = domainOf(recipient);
  const from = tables.bySender.get(address) ?? tables.bySender.get(domainOf(sender));
  if (from !== undefined && sender !== '') return routeBy('from', from, domain);
  const to = byDomain(tables.byDomain, domain);
  if (to !== undefined) return routeBy('to', to, domain);
  return tables.direct === undefined ? DEFAULT_ROUTE : directRoute(tables.direct, domain);
}

/** The route to a domain's own hosts. */
export function directRoute(direct: Direct, domain: string): DirectRoute {
  const { port, tls } = direct;
  // Lines that ask for different things share nothing.
  const more = [
    ...(port === 25 ? [] : [`:${port}`]),
    ...(tls === undefined ? [] : [` tls=${tls}`]),
  ];
  return { name: `mx ${domain}${more.join('')}`, direct, domain };
}

/** Whether a route's name is one of directRoute's. */
export function isDirectName(name: string): boolean {
  return name.startsWith('mx ');
}

/** qmail's order: the domain, then `.parent` from the longest on, then the line without a domain. */
function byDomain(table: RouteTable, domain: string): RouteLine | undefined {
  if (table.size === 0) return undefined;
  let key = domain;
  while (key !== '') {
    const line = table.get(key);
    if (line !== undefined) return line;
    const dot = key.indexOf('.', 1);
    key = dot === -1 ? '' : key.slice(dot);
  }
  return table.get('');
}

function routeBy(kind: 'from' | 'to', { key, destination }: RouteLine, domain: string): Route {
  if (isDirect(destination)) return directRoute(destination, domain);
  return { name: key === '' ? `${kind} others` : `${kind} ${key}`, relays: destination };
}
