/**
 * Which way a mail goes: by its sender, else by its recipient's domain, else to the relays of
 * control/relay. Pure.
 */

import { domainOf } from '../mail/address.ts';
import type { Control } from './control.ts';
import type { Relay } from './relay-url.ts';
import type { RouteLine, RouteTable } from './routes.ts';

/** A way that mail goes; what has the same name shares connections, pauses and their reasons. */
export interface Route {
  /** `default`, or `from` or `to` with the table's key, as in `to example.com`. */
  readonly name: string;
  /** In the order they are tried; none for `default` means that it is control/relay's. */
  readonly relays: readonly Relay[] | undefined;
}

export interface RouteTables {
  readonly bySender: RouteTable;
  readonly byDomain: RouteTable;
}

/** @throws ControlError when a table is malformed */
export function readTables(control: Control): RouteTables {
  return { bySender: control.get('senderroutes'), byDomain: control.get('smtproutes') };
}

export const DEFAULT_ROUTE: Route = { name: 'default', relays: undefined };

/**
 * The route of a mail. A sender's own relay comes first: it is what may send in the sender's name.
 * @param sender the reverse-path; the null sender has no route of its own
 */
export function routeOf(tables: RouteTables, sender: string, recipient: string): Route {
  const address = sender.toLowerCase();
  const from = tables.bySender.get(address) ?? tables.bySender.get(domainOf(sender));
  if (from !== undefined && sender !== '') return named('from', from);
  const to = byDomain(tables.byDomain, domainOf(recipient));
  return to === undefined ? DEFAULT_ROUTE : named('to', to);
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

function named(kind: 'from' | 'to', { key, relays }: RouteLine): Route {
  return { name: key === '' ? `${kind} others` : `${kind} ${key}`, relays };
}
