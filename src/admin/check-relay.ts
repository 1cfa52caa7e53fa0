/**
 * picorelay check: each relay that a route names: its name, its addresses by IPv4 and IPv6, a session with
 * TLS and login, what it offers. Sends no mail. A login that was refused is not tried again before its
 * time: providers lock out who asks too often.
 */
import { networkInterfaces } from 'node:os';
import { type Control, ControlError } from '../control/control.ts';
import { formatRelay, isDirect, isLoopback, type Relay } from '../control/relay-url.ts';
import { DEFAULT_ROUTE, type RelayRoute, readTables } from '../control/routing.ts';
import { formatSize } from '../mail/limits.ts';
import { escapeText } from '../mail/text.ts';
import { openRelay, type Reached, reachRelay } from '../relay/probe.ts';
import type { Security, SessionOptions } from '../relay/session.ts';
import { restsOf } from '../runner/rests.ts';
import { readSettings } from '../runner/settings.ts';
import { describe } from '../runner/settlement.ts';
import type { Spool } from '../spool/spool.ts';
import { fromControlError } from './check-control.ts';
import { type Finding, failure, ok, warning } from './finding.ts';
import { count, showSize } from './layout.ts';
import { fileOf, queuedMails } from './mails.ts';
import { commandsOf, meaningOf } from './meaning.ts';

const DAY = 86_400_000;

/** A relay's certificate is looked after by somebody else, as a rule in time. */
const SOON = 7;

export async function checkRelays(
  control: Control,
  spool: Spool,
  now: () => number,
): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  const seen = new Set<string>();
  let routes: readonly RelayRoute[];
  try {
    routes = routesOf(control);
    if (isDirect(control.get('relay'))) {
      findings.push(
        ok("mail goes to the hosts of its recipients' domains; none of them is asked here"),
      );
    }
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    return [fromControlError(error)];
  }
  for (const route of routes) {
    try {
      const settings = readSettings(control, now, route);
      for (const relay of settings.relays) {
        const name = formatRelay(relay);
        if (seen.has(name)) continue;
        seen.add(name);
        const rest = spool.records.routeTrouble(route.name);
        const locked =
          rest?.stage === 'auth' &&
          rest.relay === name &&
          (restsOf(spool, control, route.name, now()).get(name)?.until ?? 0) > now();
        findings.push(
          ...(locked
            ? [
                troubleFinding(control, name, 'auth', [
                  ...rest.lines,
                  '(not tried again just now, so that the provider does not lock the account)',
                ]),
              ]
            : await checkRelay(control, spool, relay, settings.sessionWith(relay), now())),
        );
      }
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      return [...findings, fromControlError(error)];
    }
  }
  return findings;
}

/** The routes that have relays. */
function routesOf(control: Control): readonly RelayRoute[] {
  const { bySender, byDomain } = readTables(control);
  const routes: RelayRoute[] = isDirect(control.get('relay')) ? [] : [DEFAULT_ROUTE];
  for (const [kind, table] of [
    ['from', bySender],
    ['to', byDomain],
  ] as const) {
    for (const { key, destination } of table.values()) {
      if (isDirect(destination)) continue;
      routes.push({ name: key === '' ? `${kind} others` : `${kind} ${key}`, relays: destination });
    }
  }
  return routes;
}

async function checkRelay(
  control: Control,
  spool: Spool,
  relay: Relay,
  options: SessionOptions,
  now: number,
): Promise<readonly Finding[]> {
  const name = formatRelay(relay);
  const findings: Finding[] = [];
  const direct =
    relay.path === undefined && (options.way?.proxy === undefined || isLoopback(relay.host));
  if (direct) {
    const addresses = await reachRelay(relay);
    if (addresses.kind === 'unknown')
      return [troubleFinding(control, name, 'resolve', [addresses.reason])];
    const { reached } = addresses;
    const problems = reached.flatMap(({ problem }) => (problem === undefined ? [] : [problem]));
    if (problems.length === reached.length) {
      return [troubleFinding(control, name, 'connect', [...new Set(problems)])];
    }
    findings.push(...reached.map((each) => addressFinding(name, each)));
  }
  const opened = await openRelay(options);
  if (opened.kind === 'trouble') {
    const { stage, event } = opened;
    return [...findings, troubleFinding(control, name, stage, describe(event))];
  }
  findings.push(securityFinding(name, opened.security, options, now));
  if (options.login !== undefined)
    findings.push(ok(`${name}: the login of ${escapeText(options.login.user)} is taken`));
  else if (opened.extensions.has('AUTH'))
    findings.push(ok(`${name}: used without a login; it offers one`));
  findings.push(...offerFindings(name, opened.extensions, spool, control));
  return findings;
}

function addressFinding(name: string, { address, family, problem }: Reached): Finding {
  const where = `${name}: IPv${family} ${address}`;
  if (problem === undefined) return ok(`${where} takes connections`);
  if (family === 6 && !hasIPv6()) return ok(`${where} is not used: this host has no IPv6`);
  return warning(
    `${where}: ${problem}; each connection tries it first`,
    family === 6 ? 'ip -6 route' : 'ip -4 route',
  );
}

/** Whether this host has an IPv6 address beyond itself and its link. */
function hasIPv6(): boolean {
  return Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .some(
      ({ family, internal, address }) =>
        family === 'IPv6' && !internal && !address.toLowerCase().startsWith('fe80'),
    );
}

function securityFinding(
  name: string,
  security: Security | undefined,
  { relay }: SessionOptions,
  now: number,
): Finding {
  if (security === undefined) {
    return relay.path !== undefined || isLoopback(relay.host)
      ? ok(`${name}: no TLS, and none is needed on this host`)
      : warning(`${name}: no TLS: anybody on the way can read the mail`);
  }
  const { protocol, verified, subject, issuer, validTo } = security;
  const days = Math.floor((validTo - now) / DAY);
  const until = new Date(validTo).toISOString().slice(0, 10);
  const words = `${name}: ${protocol}, certificate of ${subject} by ${issuer}, until ${until}`;
  if (days < 0) return warning(`${words}: it has expired, and is not verified`);
  if (days < SOON) return warning(`${words}: ${count(days, 'day')} left`);
  const how = verified ? 'verified' : 'not verified by an authority';
  return ok(`${words} (${count(days, 'day')} left), ${how}`);
}

function offerFindings(
  name: string,
  extensions: ReadonlyMap<string, string>,
  spool: Spool,
  control: Control,
): readonly Finding[] {
  const offers = [...extensions].map(([keyword, value]) =>
    value === '' ? keyword : `${keyword} ${value}`,
  );
  const shown = offers.length === 0 ? 'nothing beyond plain SMTP' : escapeText(offers.join(', '));
  const findings = [ok(`${name} offers ${shown}`)];
  const size = Number(extensions.get('SIZE') ?? 0);
  // Without a number, or with nought, there is no fixed limit (RFC 1870 section 4).
  if (!(size > 0)) return findings;
  const largest = Math.max(
    0,
    ...queuedMails(spool).map((mail) => spool.sizeOf('spool', fileOf(mail)) ?? 0),
  );
  if (largest > size) {
    findings.push(
      warning(
        `${name} takes ${formatSize(size)} a mail; the largest in the queue has ${showSize(largest)}`,
        'picorelay list --sort size',
      ),
    );
    return findings;
  }
  const limit = control.get('databytes');
  const beyond = limit === 0 || limit > size;
  const advice = beyond ? '; control/databytes could refuse larger ones at once' : '';
  findings.push(ok(`${name} takes ${formatSize(size)} a mail${advice}`));
  return findings;
}

function troubleFinding(
  control: Control,
  relay: string,
  stage: Parameters<typeof meaningOf>[0]['stage'],
  lines: readonly string[],
): Finding {
  const { means, mend } = meaningOf({ stage, relay, lines }, control.folder, 'ID');
  return failure(
    `${relay}: ${means} (${stage}: ${lines.join(' ')})`,
    ...commandsOf(mend, control.folder),
  );
}
