/** Which relays mail would go to, for programs that only tell. Nothing is connected to. */
import { type Control, ControlError } from '../control/control.ts';
import { type Destination, formatDirect, formatRelay, isDirect } from '../control/relay-url.ts';
import { readTables, routeOf } from '../control/routing.ts';

/** The way of some recipients. */
export interface Way {
  /** As `picorelay list` names it. */
  readonly route: string;
  /** In the order in which they are tried. */
  readonly relays: readonly string[];
  /** The host or socket of the first of them. */
  readonly host?: string;
  readonly recipients: readonly string[];
}

/** The ways of the recipients, or why their mail waits. Throws no ControlError. */
export function waysOf(
  control: Control,
  sender: string,
  recipients: readonly string[],
): readonly Way[] | { readonly problem: string } {
  const ways = new Map<string, Way>();
  const addressed = new Map<string, string[]>();
  try {
    const tables = readTables(control);
    for (const recipient of recipients) {
      const route = routeOf(tables, sender, recipient);
      const { name } = route;
      const destination = 'direct' in route ? route.direct : (route.relays ?? control.get('relay'));
      if (!isDirect(destination) && destination.length === 0) {
        return { problem: 'no relay is named: the mail waits' };
      }
      const named = addressed.get(name) ?? [];
      named.push(recipient);
      addressed.set(name, named);
      if (named.length === 1) ways.set(name, wayTo(name, destination, named));
    }
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    return { problem: `the mail waits: ${error.message}` };
  }
  return [...ways.values()];
}

function wayTo(route: string, destination: Destination, recipients: readonly string[]): Way {
  // Nothing is looked up here, so no host is named.
  if (isDirect(destination)) return { route, relays: [formatDirect(destination)], recipients };
  const [first] = destination;
  const host = first?.path ?? first?.host;
  return {
    route,
    relays: destination.map(formatRelay),
    ...(host === undefined ? {} : { host }),
    recipients,
  };
}
