/**
 * The syntax of control/retry: when an entry that was put off is tried again. Lines are delays or
 * cron windows, for all mail or, behind `DOMAIN:`, for recipients of that domain. Pure; only the
 * syntax is read here, a calendar is the business of the queue.
 */
import { parseDuration } from './duration.ts';
import { isHostName } from './relay-url.ts';

/** When the mail of some recipients is tried. */
export interface Schedule {
  /** Seconds to wait after the first, second, … failed attempt; the last one repeats. */
  readonly delays: readonly [number, ...number[]];
  /** When relaying may happen at all: in any of these; always where there is none. */
  readonly windows: readonly CronWindow[];
}

/** The schedule of all mail, but for the domains that have one of their own. */
export interface RetryPlan extends Schedule {
  /** By domain in lower case; one that begins with a dot stands for all its subdomains. */
  readonly domains: ReadonlyMap<string, Schedule>;
}

export interface CronWindow {
  /** Five cron fields with one space between them. */
  readonly expression: string;
  /** The zone its clock runs in, as in `Europe/Berlin`; undefined is the machine's own. */
  readonly zone: string | undefined;
}

/** One line of a list file, without its surrounding white space. */
export interface Line {
  readonly number: number;
  readonly text: string;
}

const DEFAULT_DELAYS: Schedule['delays'] = [60, 300, 900, 1800, 3600, 7200, 14_400];

/** The plan of an empty control/retry. */
export const DEFAULT_PLAN: RetryPlan = { delays: DEFAULT_DELAYS, windows: [], domains: new Map() };

/** The line of delays that holds where control/retry has none; each sendmail would format it anew. */
export const DEFAULT_RETRY = '1m 5m 15m 30m 1h 2h 4h';

/** What the lines of one domain, or of no domain, have said so far. */
interface Draft {
  delays: Schedule['delays'] | undefined;
  readonly windows: CronWindow[];
}

/**
 * Reads the lines of control/retry. A delay carries its unit, which is what tells `5m 1h` from
 * cron's numbers. What a domain's lines leave open, delays or windows, is as for all mail. `problem`
 * is made to stand after the word "expected".
 */
export function parseRetry(
  lines: readonly Line[],
): RetryPlan | { readonly problem: string; readonly line: Line } {
  const all: Draft = { delays: undefined, windows: [] };
  const domains = new Map<string, Draft>();
  for (const line of lines) {
    const { domain, text } = splitDomain(line.text);
    let draft = all;
    if (domain !== undefined) {
      if (!isHostName(domain.replace(/^\./, ''))) {
        return { line, problem: 'a domain before the colon, as in example.com: 10m 1h' };
      }
      draft = domains.get(domain) ?? { delays: undefined, windows: [] };
      domains.set(domain, draft);
    }
    const problem = readLine(text, draft);
    if (problem !== undefined) return { line, problem };
  }
  const delays = all.delays ?? DEFAULT_DELAYS;
  return {
    delays,
    windows: all.windows,
    domains: new Map(
      [...domains].map(([domain, own]) => [
        domain,
        {
          delays: own.delays ?? delays,
          windows: own.windows.length > 0 ? own.windows : all.windows,
        },
      ]),
    ),
  };
}

function splitDomain(text: string): { readonly domain: string | undefined; readonly text: string } {
  const colon = text.indexOf(':');
  // A zone's name has no colon, and neither has a field or a delay.
  if (colon === -1) return { domain: undefined, text };
  return { domain: text.slice(0, colon).trim().toLowerCase(), text: text.slice(colon + 1).trim() };
}

/** Adds a line to what its domain has; the problem with it otherwise. */
function readLine(text: string, draft: Draft): string | undefined {
  const window = readWindow(text);
  if (window !== undefined) {
    if (window.zone !== undefined && !isZone(window.zone)) {
      return 'a time zone that this machine knows, as in TZ=Europe/Berlin';
    }
    draft.windows.push(window);
    return undefined;
  }
  const delays = readDelays(text);
  if (delays === undefined) {
    return `delays with their units, as in ${DEFAULT_RETRY}, or five cron fields, as in 30 * * * *`;
  }
  if (draft.delays !== undefined) return 'one line of delays only';
  draft.delays = delays;
  return undefined;
}

function readWindow(text: string): CronWindow | undefined {
  const fields = text.split(/\s+/);
  const zone = fields[0]?.startsWith('TZ=') ? fields.shift()?.slice('TZ='.length) : undefined;
  const isField =
    /^(?:[0-9*,/?#L-]|SUN|MON|TUE|WED|THU|FRI|SAT|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)+$/i;
  if (fields.length !== 5 || !fields.every((field) => isField.test(field))) return undefined;
  return { expression: fields.join(' '), zone };
}

function readDelays(text: string): Schedule['delays'] | undefined {
  const [first, ...rest] = text.split(/\s+/).map((item) => {
    const seconds = /[a-z]$/.test(item) ? parseDuration(item) : undefined;
    return seconds === 0 ? undefined : seconds;
  });
  if (first === undefined) return undefined;
  const others = rest.filter((seconds) => seconds !== undefined);
  return others.length === rest.length ? [first, ...others] : undefined;
}

function isZone(name: string): boolean {
  if (!/^[A-Za-z][A-Za-z0-9_+/-]{0,63}$/.test(name)) return false;
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}
