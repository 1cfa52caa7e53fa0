/**
 * Which secrets will end soon: our certificate and what access tokens are asked for with. Told before mail
 * is held up by it. Never throws for a file that cannot be used: whoever needs it says so.
 */
import { X509Certificate } from 'node:crypto';
import { type Control, ControlError } from '../control/control.ts';
import type { Condition } from '../queue/alert.ts';
import { keptToken } from './credentials.ts';
import { readCertificate, readTokenRequest } from './settings.ts';

/** A secret and its end, in milliseconds since 1970-01-01 UTC. */
interface Ending {
  readonly name: 'tlscertfile' | 'oauthrefreshtoken';
  readonly what: string;
  readonly until: number;
  /** How long before its end it is told of. */
  readonly margin: number;
}

const DAY = 24 * 3_600_000;

/** Told so long before the end; of what lives for less than two months in its last quarter. */
const MARGIN = 14 * DAY;

/** One condition for each secret that ends soon or has ended. */
export function endingSecrets(control: Control, now: number): readonly Condition[] {
  const endings = [certificateEnd, tokenEnd].flatMap(
    (look) => unlessMalformed(() => look(control)) ?? [],
  );
  return endings
    .filter(({ until, margin }) => now >= until - margin)
    .map(({ name, what, until, margin }) => ({
      key: `secret ${name}`,
      since: until - margin,
      summary: `${what} ends at ${new Date(until).toISOString().slice(0, 16)}Z, and then mail is held up: put a new one into control/${name}`,
    }));
}

/** Of the chain only our own certificate counts, which comes first. */
function certificateEnd(control: Control): Ending | undefined {
  const pem = readCertificate(control);
  if (pem === undefined) return undefined;
  const { validFrom, validTo } = new X509Certificate(pem);
  const until = Date.parse(validTo);
  const margin = marginOf(until - Date.parse(validFrom));
  return { name: 'tlscertfile', what: 'the certificate', until, margin };
}

/** What the server said of the token that it gave, else what the administrator knows of the first one. */
function tokenEnd(control: Control): Ending | undefined {
  const request = readTokenRequest(control);
  if (request === undefined) return undefined;
  const kept = keptToken(request, control.get('spooldir'));
  const common = { name: 'oauthrefreshtoken', what: 'the refresh token' } as const;
  if (kept?.refreshUntil !== undefined) {
    return { ...common, until: kept.refreshUntil, margin: marginOf(kept.refreshLifetime ?? 0) };
  }
  if (kept !== undefined && kept.refreshToken !== request.refreshToken) return undefined;
  const until = control.get('oauthexpires');
  return until === undefined ? undefined : { ...common, until, margin: MARGIN };
}

function marginOf(lifetime: number): number {
  return Math.min(MARGIN, lifetime / 4);
}

/** OpenSSL's errors are of what a control file names, too. */
function unlessMalformed<T>(get: () => T): T | undefined {
  try {
    return get();
  } catch (error) {
    const known = error instanceof ControlError || (error instanceof Error && 'code' in error);
    if (known) return undefined;
    throw error;
  }
}
