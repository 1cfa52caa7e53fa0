/**
 * What the domain name system says about a mail domain: its submission services (RFC 6186, RFC 8314
 * section 5.1) and the hosts that take its mail. Hostile input: the answers; a name in one is only
 * returned when it can be a host name, and a caller who has no other reason to trust it asks the admin.
 */
import { Resolver } from 'node:dns/promises';
import { isHostName, type Relay } from '../control/relay-url.ts';

/** Milliseconds for one question, asked twice. */
const PATIENCE = 3000;

/** The most answers that count. */
const MOST = 20;

/**
 * The submission relays that a domain announces, best first: TLS from the first byte before STARTTLS, as
 * RFC 8314 has it, then by priority and weight. None where it announces none, or nobody answers.
 * @param servers whom to ask instead of the system's name servers, as in `127.0.0.1:5353`
 */
export async function announcedRelays(
  domain: string,
  servers?: readonly string[],
): Promise<readonly Relay[]> {
  const resolver = resolverOf(servers);
  const relays = await Promise.all(
    (['submissions', 'submission'] as const).map(async (service) => {
      const found = await answered(resolver.resolveSrv(`_${service}._tcp.${domain}`));
      return found
        .filter(({ name, port }) => port > 0 && isHostName(name))
        .sort((a, b) => a.priority - b.priority || b.weight - a.weight)
        .map(
          ({ name, port }): Relay => ({
            scheme: service === 'submissions' ? 'smtps' : 'smtp',
            host: name.toLowerCase(),
            port,
            user: undefined,
          }),
        );
    }),
  );
  return relays.flat();
}

/** The hosts that take mail for a domain (MX), best first; none where there are none or nobody answers. */
export async function mailHosts(
  domain: string,
  servers?: readonly string[],
): Promise<readonly string[]> {
  const found = await answered(resolverOf(servers).resolveMx(domain));
  return found
    .filter(({ exchange }) => isHostName(exchange))
    .sort((a, b) => a.priority - b.priority)
    .map(({ exchange }) => exchange.toLowerCase());
}

function resolverOf(servers: readonly string[] | undefined): Resolver {
  const resolver = new Resolver({ timeout: PATIENCE, tries: 2 });
  if (servers !== undefined) resolver.setServers(servers);
  return resolver;
}

/** No answer and no record are the same here: there is nothing to go by. */
async function answered<T>(question: Promise<readonly T[]>): Promise<readonly T[]> {
  try {
    return (await question).slice(0, MOST);
  } catch {
    return [];
  }
}
