/**
 * What runners leave for each other beside the queue: why routes are paused and relays rest, when a window
 * was used and the queue looked at, what was counted and told. Nothing here is synced: what a crash costs
 * is found out anew. Files that cannot be read as what they should be say nothing.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { eraseFile, hasCode, readRecord, replaceText, touchFile } from './disk.ts';
import { decodeBytes, routePart } from './name.ts';
import { type Attempt, formatAttempt, parseAttempts } from './result.ts';

/** A relay that could not be used, and until when it is left alone. */
export interface RelayRest {
  /** In a row. */
  readonly failures: number;
  /** The last one, in milliseconds since 1970-01-01 UTC. */
  readonly failed: number;
  readonly until: number;
}

export class Records {
  readonly #folder: string;

  /** @param folder the spool folder */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Why a route is paused and since when; undefined when it is not. */
  routeTrouble(route: string): Attempt | undefined {
    return parseAttempts(readRecord(this.#routePath(route)))[0];
  }

  /** Notes that a route is paused, for the admin and for the log's "once". */
  pauseRoute(route: string, trouble: Attempt): void {
    replaceText(this.#routePath(route), formatAttempt(trouble));
  }

  resumeRoute(route: string): void {
    eraseFile(this.#routePath(route));
  }

  /** All routes that are paused, by name. */
  pausedRoutes(): ReadonlyMap<string, Attempt> {
    const paused = new Map<string, Attempt>();
    for (const name of fs.readdirSync(this.#path('routes')).sort()) {
      // What stands behind a colon is no route but about one.
      if (name.includes(':') || name.startsWith('.')) continue;
      // A name that was cut is shown as it is.
      const route = decodeBytes(name)?.toString() ?? name;
      const [trouble] = parseAttempts(readRecord(this.#path('routes', name)));
      if (trouble !== undefined) paused.set(route, trouble);
    }
    return paused;
  }

  /** Which relays of a route failed last; malformed lines are left out. */
  relayRests(route: string): ReadonlyMap<string, RelayRest> {
    const rests = new Map<string, RelayRest>();
    for (const line of readRecord(`${this.#routePath(route)}:relays`).split('\n')) {
      const [, relay, count, failed, until] =
        /^(\S+) failures=(\d{1,9}) last=(\S+) until=(\S+)$/.exec(line) ?? [];
      const rest = {
        failures: Number(count),
        failed: Date.parse(failed ?? ''),
        until: Date.parse(until ?? ''),
      };
      if (relay !== undefined && rest.failed >= 0 && rest.until >= 0) rests.set(relay, rest);
    }
    return rests;
  }

  noteRelayRests(route: string, rests: ReadonlyMap<string, RelayRest>): void {
    const path = `${this.#routePath(route)}:relays`;
    if (rests.size === 0) {
      eraseFile(path);
      return;
    }
    const lines = [...rests].map(([relay, { failures, failed, until }]) => {
      const [last, end] = [failed, until].map((time) => new Date(time).toISOString());
      return `${relay} failures=${failures} last=${last} until=${end}\n`;
    });
    replaceText(path, lines.join(''));
  }

  /** What a route's domain demands of those who bring mail (relay/mta-sts.ts); empty when nothing is known. */
  routePolicy(route: string): string {
    return readRecord(`${this.#routePath(route)}:policy`);
  }

  /** Keeps it; an empty text erases it. */
  noteRoutePolicy(route: string, text: string): void {
    const path = `${this.#routePath(route)}:policy`;
    if (text === '') eraseFile(path);
    else replaceText(path, text);
  }

  #routePath(route: string): string {
    return this.#path('routes', routePart(route));
  }

  /**
   * When a run last relayed by a schedule with windows, in milliseconds since 1970-01-01 UTC.
   * @param schedule the domain that has it, or an empty string for that of all mail
   */
  lastRun(schedule: string): number | undefined {
    try {
      return fs.statSync(this.#lastRunPath(schedule)).mtimeMs;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  noteRun(schedule: string, now: number): void {
    const path = this.#lastRunPath(schedule);
    replaceText(path, `${new Date(now).toISOString()}\n`);
    touchFile(path, now);
  }

  /** The record of the last look at the queue (queue/schedule.ts); undefined when there is none. */
  watch(): { readonly seen: number; readonly graceUntil: number } | undefined {
    try {
      const text = fs.readFileSync(this.#path('run', 'seen'), 'latin1');
      const [seen, graceUntil] = text.split('\n').map((line) => Date.parse(line));
      if (seen === undefined || Number.isNaN(seen)) return undefined;
      return { seen, graceUntil: Number.isNaN(graceUntil) ? 0 : (graceUntil ?? 0) };
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  /**
   * When a runner last had the lock, in milliseconds since 1970-01-01 UTC; undefined before the first. One
   * that stays refreshes it each minute.
   */
  runnerSeen(): number | undefined {
    const times = ['runner', 'runner.lock'].flatMap((name) => {
      const status = fs.statSync(this.#path('run', name), { throwIfNoEntry: false });
      return status === undefined ? [] : [status.mtimeMs];
    });
    return times.length === 0 ? undefined : Math.max(...times);
  }

  noteWatch({ seen, graceUntil }: { readonly seen: number; readonly graceUntil: number }): void {
    const times = [seen, graceUntil].map((time) => `${new Date(time).toISOString()}\n`);
    replaceText(this.#path('run', 'seen'), times.join(''));
  }

  /** What came of attempts by the hour (queue/stats.ts); empty when there is nothing. */
  readStats(): string {
    return readRecord(this.#path('run', 'stats'));
  }

  writeStats(text: string): void {
    replaceText(this.#path('run', 'stats'), text);
  }

  /** How fast users send (queue/rate.ts); empty when there is nothing. */
  readRates(): string {
    return readRecord(this.#path('run', 'rates'));
  }

  writeRates(text: string): void {
    replaceText(this.#path('run', 'rates'), text);
  }

  /** What the administrator was told of (runner/alarm.ts); undefined when there is nothing. */
  readAlerts(): string | undefined {
    try {
      return fs.readFileSync(this.#path('run', 'alerts')).toString('utf8');
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  writeAlerts(text: string): void {
    replaceText(this.#path('run', 'alerts'), text);
  }

  #lastRunPath(schedule: string): string {
    return this.#path('run', schedule === '' ? 'last' : `last:${schedule}`);
  }

  #path(...parts: readonly string[]): string {
    return join(this.#folder, ...parts);
  }
}
