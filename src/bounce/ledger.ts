/**
 * What reports are still owed, and how many were sent: one empty file for each failed entry in
 * run/bounces/, made before the entry goes to Undelivered, erased once its sender is told; the reports of
 * the last hour in run/reports; and in run/delays up to when delayed mail was told of.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import {
  appendLine,
  eraseFile,
  hasCode,
  makeFolder,
  replaceText,
  syncFolder,
} from '../spool/disk.ts';
import { decodeBytes, encodeBytes, parseBase } from '../spool/name.ts';

/** The time over which reports are counted (milliseconds). */
export const HOUR = 3_600_000;

/** What an address was sent within the last hour, and since when its reports are gathered instead. */
export interface Account {
  readonly sent: number;
  readonly heldSince: number | undefined;
}

/** Whether any report is owed. */
export function reportsOwed(spoolFolder: string): boolean {
  return namesIn(join(spoolFolder, 'run', 'bounces')).length > 0;
}

interface Line {
  readonly what: 'sent' | 'held';
  readonly time: number;
  readonly address: string;
}

export class Ledger {
  readonly #owed: string;
  readonly #reports: string;
  readonly #delays: string;
  #lines: Line[] | undefined;

  constructor(spoolFolder: string) {
    this.#owed = join(spoolFolder, 'run', 'bounces');
    this.#reports = join(spoolFolder, 'run', 'reports');
    this.#delays = join(spoolFolder, 'run', 'delays');
  }

  /**
   * Notes that an entry fails. On the disk when this returns.
   * @throws the system call's error; then nothing is noted
   */
  owe(base: string): void {
    const path = join(this.#owed, base);
    try {
      replaceText(path, '');
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
      makeFolder(this.#owed, 0o700);
      replaceText(path, '');
    }
    syncFolder(this.#owed);
  }

  /** The base names of the failed entries whose senders are to be told, oldest mail first. */
  owed(): readonly string[] {
    return namesIn(this.#owed);
  }

  /** Since when that is owed, in milliseconds since 1970-01-01 UTC; infinity when it is told meanwhile. */
  since(base: string): number {
    try {
      return fs.statSync(join(this.#owed, base)).mtimeMs;
    } catch (error) {
      // Another runner has told it meanwhile.
      if (hasCode(error, 'ENOENT')) return Number.POSITIVE_INFINITY;
      throw error;
    }
  }

  /** The sender was told, or nobody is to be. */
  settle(base: string): void {
    eraseFile(join(this.#owed, base));
  }

  /** @param now milliseconds since 1970-01-01 UTC */
  accountOf(address: string, now: number): Account {
    const lines = this.#load(now).filter((line) => line.address === address);
    return {
      sent: lines.filter(({ what }) => what === 'sent').length,
      heldSince: lines.find(({ what }) => what === 'held')?.time,
    };
  }

  noteSent(address: string, now: number): void {
    this.#add({ what: 'sent', time: now, address });
  }

  /** From now on reports to this address are gathered. */
  hold(address: string, now: number): void {
    this.#add({ what: 'held', time: now, address });
  }

  /** Reports to this address are gathered no more. */
  release(address: string, now: number): void {
    this.#keep(this.#load(now).filter((line) => line.what === 'sent' || line.address !== address));
  }

  /**
   * The time up to which all that was accepted needs no report of delay any more, in milliseconds since
   * 1970-01-01 UTC. One in the future is of a clock that was set back, and is none.
   */
  delaysTold(now: number): number {
    const time = Date.parse(readOr(this.#delays).trim());
    return time <= now ? time : Number.NEGATIVE_INFINITY;
  }

  /** Not synced: a report that a crash repeats is no harm. */
  noteDelaysTold(time: number): void {
    replaceText(this.#delays, `${new Date(time).toISOString()}\n`);
  }

  /** Forgets an hour's gathering for addresses that nothing waits for any more. */
  releaseOthers(waiting: ReadonlySet<string>, now: number): void {
    const lines = this.#load(now);
    const kept = lines.filter(
      ({ what, address, time }) => what === 'sent' || waiting.has(address) || now - time < HOUR,
    );
    if (kept.length < lines.length) this.#keep(kept);
  }

  #keep(lines: Line[]): void {
    this.#lines = lines;
    replaceText(this.#reports, lines.map(formatLine).join(''));
  }

  #add(line: Line): void {
    this.#load(line.time).push(line);
    appendLine(this.#reports, formatLine(line));
  }

  /** The lines that count; old ones go. A clock that was set back makes none count for ever. */
  #load(now: number): Line[] {
    const fresh = ({ time }: Line): boolean => time <= now && now - time < HOUR;
    if (this.#lines !== undefined) {
      this.#lines = this.#lines.filter((line) => line.what === 'held' || fresh(line));
      return this.#lines;
    }
    const all = parseLines(readOr(this.#reports));
    const lines = all.filter((line) => line.time <= now && (line.what === 'held' || fresh(line)));
    if (lines.length < all.length) this.#keep(lines);
    this.#lines = lines;
    return lines;
  }
}

function readOr(path: string): string {
  try {
    return fs.readFileSync(path, 'latin1');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return '';
    throw error;
  }
}

function namesIn(folder: string): string[] {
  try {
    return fs
      .readdirSync(folder)
      .filter((name) => parseBase(name) !== undefined)
      .sort();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

function formatLine({ what, time, address }: Line): string {
  return `${what} ${time} ${encodeBytes(Buffer.from(address))}\n`;
}

/** Lines that a crash left half written are passed over. */
function parseLines(text: string): Line[] {
  return text.split('\n').flatMap((line) => {
    const [, what, time, coded = ''] = /^(sent|held) (\d{1,16}) (\S+)$/.exec(line) ?? [];
    const address = decodeBytes(coded)?.toString('utf8');
    if (what === undefined || address === undefined) return [];
    return [{ what: what === 'sent' ? 'sent' : 'held', time: Number(time), address }];
  });
}
