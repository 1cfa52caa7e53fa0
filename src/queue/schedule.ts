/**
 * When an entry is tried again, and whether relaying may happen now. It reads no clock and draws no
 * random number. Its input is the administrator's plan from control/retry: no enemy, but fallible.
 */
import { CronExpressionParser } from 'cron-parser';
import type { CronWindow, RetryPlan, Schedule } from '../control/retry.ts';
import { escapeText } from '../mail/text.ts';

/** How far jitter stretches a delay at most, as a part of it. */
const JITTER = 0.1;

/** Without a last run, a window is open for this long after its moment: a cron job's tick. */
const TICK_MS = 60_000;

/** A queue that nobody looked after for longer than this is met after a gap (milliseconds). */
const GAP = 25 * 3_600_000;

/** How long nothing expires after a gap (milliseconds). */
const GRACE = 4 * 3_600_000;

/** A record of the last look at the queue is exact to this (milliseconds). */
const WATCH_STEP = 3_600_000;

/** Longer than any change of a zone's offset in use, short enough to walk minute by minute. */
const RUN_UP_MS = 3 * 3_600_000;

/**
 * The schedule for recipients of a domain: the domain's own, else that of the nearest domain above it
 * that has one for its subdomains, else that of all mail.
 * @returns the domain as the plan names it; an empty string stands for all mail
 */
export function scheduleFor(
  plan: RetryPlan,
  domain: string,
): { readonly name: string; readonly schedule: Schedule } {
  if (plan.domains.size > 0) {
    let name = domain.toLowerCase();
    while (name !== '') {
      const schedule = plan.domains.get(name);
      if (schedule !== undefined) return { name, schedule };
      const dot = name.indexOf('.', 1);
      name = dot === -1 ? '' : name.slice(dot);
    }
  }
  return { name: '', schedule: plan };
}

/**
 * When an entry is due again after `attempts` counted attempts (1 or more): the delay of that
 * attempt, the last delay repeating, stretched by `jitter` (0 to 1, drawn by the caller) times ten
 * per cent so that many entries do not come due together. The result is a whole second, rounded up,
 * so never earlier than the delay says (RFC 5321 section 4.5.4.1). Windows are judged when the
 * runner runs, not here.
 */
export function nextTry(
  schedule: Schedule,
  input: { readonly attempts: number; readonly now: Date; readonly jitter: number },
): Date {
  const { delays } = schedule;
  const delay = delays[Math.min(input.attempts, delays.length) - 1] ?? delays[0];
  const due = input.now.getTime() / 1000 + delay * (1 + JITTER * input.jitter);
  return new Date(Math.ceil(due) * 1000);
}

/**
 * Whether an entry that waits until `due` is to be tried now (both in milliseconds since 1970-01-01
 * UTC). One that is due later than any delay of the plan can say was put off by a clock that ran
 * ahead, or by a plan that has been shortened since: it is due.
 */
export function isDue(plan: RetryPlan, due: number, now: number): boolean {
  if (due <= now) return true;
  const delays = [plan, ...plan.domains.values()].flatMap((schedule) => schedule.delays);
  return due - now > Math.max(...delays) * 1000 * (1 + JITTER) + 1000;
}

/** How long a relay that cannot be used is left alone, by its failures in a row (minutes). */
const PROBES = [1, 2, 5, 10, 15] as const;

/** The same for a refused login: a provider locks out who tries too often. */
const LOGIN_PROBES = [5, 15, 30, 60] as const;

/**
 * When a relay that could not be used is asked again, in milliseconds since 1970-01-01 UTC.
 * @param failures in a row, this one included
 */
export function nextProbe(input: {
  readonly failures: number;
  readonly login: boolean;
  readonly now: number;
}): number {
  const steps = input.login ? LOGIN_PROBES : PROBES;
  const step = steps[Math.min(input.failures, steps.length) - 1] ?? steps[0];
  // Cron comes by each minute, a little late or early.
  return input.now + step * 60_000 - 5_000;
}

/** How well the queue was looked after; both in milliseconds since 1970-01-01 UTC. */
export interface Watch {
  readonly seen: number;
  /** Until then no mail is given up for its age. */
  readonly graceUntil: number;
}

/**
 * What a look at the queue makes of the record of the last one. After a gap, because the host slept
 * or its clock leapt, mail is old without ever having been tried: nothing expires for some hours.
 * Not twice in a row, so that mail expires even where the queue is looked at once in a week.
 * @returns the same record when there is nothing to note
 */
export function watchOf(before: Watch | undefined, now: number): Watch {
  if (before === undefined) return { seen: now, graceUntil: 0 };
  const step = Math.abs(now - before.seen);
  if (step > GAP && before.graceUntil <= before.seen) return { seen: now, graceUntil: now + GRACE };
  if (step < WATCH_STEP) return before;
  // A clock that was set back must not make the grace longer.
  const graceUntil = before.graceUntil > now + GRACE ? 0 : before.graceUntil;
  return { seen: now, graceUntil };
}

/**
 * Whether relaying may happen: always without windows, else when any window's moment has come since
 * `lastRun`, or within the last minute where there was no run. A moment that was missed, because the
 * host was off, is made up for once. A last run in the future (the clock was set back) counts as
 * none, so that mail does not wait for the clock.
 *
 * @throws {RangeError} naming the window that `checkWindows` objects to.
 */
export function mayRelay(
  schedule: Schedule,
  input: { readonly now: Date; readonly lastRun: Date | undefined },
): boolean {
  if (schedule.windows.length === 0) return true;
  const { now, lastRun } = input;
  const since =
    lastRun === undefined || lastRun > now ? new Date(now.getTime() - TICK_MS) : lastRun;
  return schedule.windows.some((window) => momentAfter(window, since) <= now);
}

/**
 * When relaying may happen at or after a time, by the windows of a schedule alone; undefined without
 * windows. Milliseconds since 1970-01-01 UTC.
 * @param input.lastRun when a run last used a window of it
 * @throws {RangeError} naming the window that `checkWindows` objects to.
 */
export function momentFor(
  schedule: Schedule,
  { from, lastRun }: { readonly from: number; readonly lastRun: number | undefined },
): number | undefined {
  if (schedule.windows.length === 0) return undefined;
  const since = lastRun === undefined || lastRun > from ? from - TICK_MS : lastRun;
  const moments = schedule.windows.map((window) => momentAfter(window, new Date(since)).getTime());
  return Math.max(from, Math.min(...moments));
}

/** What is wrong with the plan's first bad window, as an escaped sentence; undefined if none is. */
export function checkWindows(plan: RetryPlan): string | undefined {
  try {
    for (const { windows } of [plan, ...plan.domains.values()]) {
      for (const window of windows) momentAfter(window, new Date(0));
    }
    return undefined;
  } catch (error) {
    if (error instanceof RangeError) return error.message;
    throw error;
  }
}

/**
 * The window's first moment after `since`. Always forward: the library's backward search disagrees
 * with its forward search across daylight saving. And always from some hours before: the library
 * makes up for a moment that falls into the skipped hour, and leaves out the second of one that
 * comes twice, only when it has walked across the change itself.
 */
function momentAfter(window: CronWindow, since: Date): Date {
  // The library fills up missing fields, down to the empty string, with "always".
  if (window.expression.trim().split(/\s+/).length !== 5) {
    throw badWindow(window, 'a window has five cron fields');
  }
  try {
    const cron = CronExpressionParser.parse(window.expression, {
      currentDate: new Date(since.getTime() - RUN_UP_MS),
      ...(window.zone === undefined ? {} : { tz: window.zone }),
    });
    let moment: Date;
    do moment = cron.next().toDate();
    while (moment <= since);
    return moment;
  } catch (error) {
    throw badWindow(window, error instanceof Error ? error.message : String(error));
  }
}

function badWindow({ expression, zone }: CronWindow, reason: string): RangeError {
  const line = zone === undefined ? expression : `TZ=${zone} ${expression}`;
  return new RangeError(escapeText(`window "${line}": ${reason}`));
}
