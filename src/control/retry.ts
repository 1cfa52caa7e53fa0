/**
 * The syntax of control/retry: when an entry that was put off is tried again. Lines are delays or
 * cron windows. Pure; only the syntax is read here, a calendar is the business of the queue.
 */
import { formatDuration, parseDuration } from './duration.ts';

export interface RetryPlan {
  /** Seconds to wait after the first, second, … failed attempt; the last one repeats. */
  readonly delays: readonly [number, ...number[]];
  /** When relaying may happen at all: in any of these; always where there is none. */
  readonly windows: readonly CronWindow[];
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

const DEFAULT_DELAYS: RetryPlan['delays'] = [60, 300, 900, 1800, 3600, 7200, 14_400];

/** The line of delays that holds where control/retry has none. */
export const DEFAULT_RETRY = DEFAULT_DELAYS.map(formatDuration).join(' ');

const CRON_FIELD =
  /^(?:[0-9*,/?#L-]|SUN|MON|TUE|WED|THU|FRI|SAT|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)+$/i;

/**
 * Reads the lines of control/retry. A delay carries its unit, which is what tells `5m 1h` from
 * cron's numbers. `problem` is made to stand after the word "expected".
 */
export function parseRetry(
  lines: readonly Line[],
): RetryPlan | { readonly problem: string; readonly line: Line } {
  let delays: RetryPlan['delays'] | undefined;
  const windows: CronWindow[] = [];
  for (const line of lines) {
    const window = readWindow(line.text);
    if (window !== undefined) {
      if (window.zone !== undefined && !isZone(window.zone)) {
        return { line, problem: 'a time zone that this machine knows, as in TZ=Europe/Berlin' };
      }
      windows.push(window);
      continue;
    }
    const read = readDelays(line.text);
    if (read === undefined) {
      return {
        line,
        problem: `delays with their units, as in ${DEFAULT_RETRY}, or five cron fields, as in 30 * * * *`,
      };
    }
    if (delays !== undefined) return { line, problem: 'one line of delays only' };
    delays = read;
  }
  return { delays: delays ?? DEFAULT_DELAYS, windows };
}

function readWindow(text: string): CronWindow | undefined {
  const fields = text.split(/\s+/);
  const zone = fields[0]?.startsWith('TZ=') ? fields.shift()?.slice('TZ='.length) : undefined;
  if (fields.length !== 5 || !fields.every((field) => CRON_FIELD.test(field))) return undefined;
  return { expression: fields.join(' '), zone };
}

function readDelays(text: string): RetryPlan['delays'] | undefined {
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
