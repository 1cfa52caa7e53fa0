/** The queue for people: one line an entry, oldest first. */

import { escapeText } from '../mail/text.ts';
import { hasCode } from '../spool/disk.ts';
import { parseBase, showPart } from '../spool/name.ts';
import { type Entry, Spool } from '../spool/spool.ts';
import { printJson, type World } from './command.ts';

/** What `picorelay list --json` prints for an entry. */
export interface ListedEntry {
  readonly id: string;
  readonly state: 'new' | 'sending' | 'waiting' | 'held' | 'undelivered';
  readonly sender: string;
  readonly recipient: string;
  /** ISO 8601. */
  readonly accepted: string;
  readonly attempts: number;
  /** When it is tried next, ISO 8601; absent when only the admin moves it. */
  readonly next?: string;
}

export function list({ json }: { readonly json: boolean }, world: World): number {
  const spool = new Spool(world.control.get('spooldir'), world.pid);
  if (!json) {
    world.stdout.write(printQueue(spool, world.now()));
    return 0;
  }
  const { entries, undelivered } = listQueue(spool);
  printJson(world, { entries, undelivered, paused: troublesOf(spool) });
  return 0;
}

/** The queue as text, with a last line that counts. */
function printQueue(spool: Spool, now: number): string {
  const { entries, undelivered } = listQueue(spool);
  const lines = entries.map((entry) => printEntry(entry, now));
  lines.push(...troublesOf(spool));
  if (undelivered > 0) {
    lines.push(`${count(undelivered, 'mail')} in Undelivered: ${spool.folder}/Undelivered`);
  }
  lines.push(
    entries.length === 0 ? 'Mail queue is empty' : `${count(entries.length, 'mail')} in the queue`,
  );
  return `${lines.join('\n')}\n`;
}

/** The queue as data. */
function listQueue(spool: Spool): {
  readonly entries: readonly ListedEntry[];
  readonly undelivered: number;
} {
  try {
    return {
      entries: spool.list().entries.map(toListed),
      undelivered: spool.listUndelivered().length,
    };
  } catch (error) {
    // No spool yet: nothing was ever queued.
    if (hasCode(error, 'ENOENT')) return { entries: [], undelivered: 0 };
    throw error;
  }
}

/** Which routes are paused and why, one line each. */
export function troublesOf(spool: Spool): readonly string[] {
  try {
    return [...spool.pausedRoutes()].map(([route, trouble]) => {
      const since = new Date(trouble.time).toISOString();
      const which = route === 'default' ? '' : `route ${escapeText(route)} `;
      return `${which}paused since ${since} at ${trouble.stage} by ${trouble.relay}: ${trouble.lines.join(' ')}`;
    });
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

function toListed({ base, state }: Entry): ListedEntry {
  const name = parseBase(base);
  return {
    id: base,
    state: state.kind,
    sender: showPart(name?.sender ?? ''),
    recipient: showPart(name?.recipient ?? ''),
    accepted: new Date((name?.time ?? 0) / 1000).toISOString(),
    attempts: 'attempts' in state ? state.attempts : 0,
    ...(state.kind === 'waiting' ? { next: new Date(state.due).toISOString() } : {}),
  };
}

function printEntry(entry: ListedEntry, now: number): string {
  const age = showSpan(now - Date.parse(entry.accepted));
  const state =
    entry.next === undefined
      ? entry.state
      : `next try ${Date.parse(entry.next) <= now ? 'now' : `in ${showSpan(Date.parse(entry.next) - now)}`}`;
  const attempts = entry.attempts === 0 ? '' : `, ${count(entry.attempts, 'attempt')}`;
  return `${entry.id}\n    ${age} old, ${state}${attempts}: <${entry.sender}> to <${entry.recipient}>`;
}

/** A span of milliseconds in its largest unit. */
export function showSpan(millis: number): string {
  const seconds = Math.max(0, Math.round(millis / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)}h`;
  return `${Math.round(seconds / 86_400)}d`;
}

/** As in `1 mail`, `2 mails`, `2 tries`. */
export function count(number: number, noun: string): string {
  return `${number} ${number === 1 ? noun : `${noun}s`.replace(/ys$/, 'ies')}`;
}
