/**
 * The mails of the queue and of Undelivered as commands name, filter and show them. An id on the command
 * line is any part of an entry's name that no other has; with `*` or `?` in it, it is a pattern and may
 * name several.
 */
import fs from 'node:fs';
import { basename, join } from 'node:path';
import { parseDuration } from '../control/duration.ts';
import { hasCode } from '../spool/disk.ts';
import { type EntryState, formatName, parseBase, parseName, showPart } from '../spool/name.ts';
import type { Attempt } from '../spool/result.ts';
import { Spool } from '../spool/spool.ts';
import { CommandError, EX_NOINPUT, EX_USAGE, type World } from './command.ts';
import { isGlob, matchesGlob } from './glob.ts';
import { count } from './layout.ts';

/** One recipient's mail, where it lies. */
export type Mail =
  | { readonly base: string; readonly place: 'spool'; readonly state: EntryState }
  | { readonly base: string; readonly place: 'Undelivered' };

export type StateName = EntryState['kind'] | 'undelivered';

/** What --json shows of a mail everywhere; docs/json.md describes it. */
export interface MailView {
  readonly id: string;
  readonly state: StateName;
  readonly sender: string;
  readonly recipient: string;
  /** ISO 8601, as all times. */
  readonly accepted: string;
  /** Octets of its file. */
  readonly size: number;
  readonly attempts: number;
  /** When it is tried next; absent where only the administrator moves it. */
  readonly next?: string;
  /** What was heard last; absent before the first attempt. */
  readonly last?: AttemptView;
}

export interface AttemptView {
  readonly time: string;
  readonly outcome: Attempt['outcome'];
  readonly stage: Attempt['stage'];
  readonly relay: string;
  readonly lines: readonly string[];
}

/** Which mails are meant, as the options say. */
export interface Filter {
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly older: string | undefined;
  readonly state: StateName | undefined;
}

/** Which mails a command is to touch. */
export interface Choice extends Filter {
  readonly ids: readonly string[];
  readonly all: boolean;
}

export function spoolOf({ control, pid }: World): Spool {
  return new Spool(control.get('spooldir'), pid);
}

/** What the action gives; `none` where there is no spool yet, so that nothing was ever queued. */
export function ifSpool<T>(spool: Spool, action: () => T, none: T): T {
  try {
    return action();
  } catch (error) {
    // A spool that lacks one folder is no empty one.
    if (hasCode(error, 'ENOENT') && !fs.existsSync(join(spool.folder, 'version'))) return none;
    throw error;
  }
}

/** The file names of what waits, oldest first: of a queue of a million no more is to be kept. */
export function queuedNames(spool: Spool): readonly string[] {
  return ifSpool(spool, () => spool.entryNames(), []);
}

/** The mail of such a name. */
export function mailNamed(name: string): Mail {
  const parsed = parseName(name);
  if (parsed.kind !== 'entry') throw new Error(`${name} is no entry`);
  return { base: parsed.base, place: 'spool', state: parsed.state };
}

/** What waits, oldest first. */
export function queuedMails(spool: Spool): readonly Mail[] {
  return ifSpool(
    spool,
    () => spool.list().entries.map((entry): Mail => ({ ...entry, place: 'spool' })),
    [],
  );
}

/** What was refused or given up, oldest first. */
export function undeliveredMails(spool: Spool): readonly Mail[] {
  return ifSpool(
    spool,
    () => spool.listUndelivered().map((base): Mail => ({ base, place: 'Undelivered' })),
    [],
  );
}

/** Whether a filter lets a mail through. */
export function filterOf(filter: Filter, now: number): (mail: Mail) => boolean {
  const { from, to, older, state } = filter;
  const age = older === undefined ? undefined : parseDuration(older);
  if (older !== undefined && age === undefined) {
    throw new CommandError(
      EX_USAGE,
      `--older takes a duration such as 90s, 2h or 5d, not ${quoted(older)}`,
    );
  }
  return (mail) => {
    const name = parseBase(mail.base);
    if (name === undefined) return false;
    if (from !== undefined && !matchesGlob(from, showPart(name.sender))) return false;
    if (to !== undefined && !matchesGlob(to, showPart(name.recipient))) return false;
    if (state !== undefined && stateOf(mail) !== state) return false;
    return age === undefined || now - name.time / 1000 > age * 1000;
  };
}

/**
 * The mails that a command is to touch: those that are named, or all that the filter lets through.
 * @throws CommandError where nothing is chosen, nothing is found, or a name is of several
 */
export function chosen(mails: readonly Mail[], choice: Choice, now: number): readonly Mail[] {
  const { ids, all, from, to, older, state } = choice;
  const filters = [from, to, older, state].some((each) => each !== undefined);
  if (ids.length > 0 && (all || filters)) {
    throw new CommandError(EX_USAGE, 'name mails, or choose them by options, not both');
  }
  if (ids.length === 0 && !all && !filters) {
    throw new CommandError(
      EX_USAGE,
      'which mail? Any part of its name that no other has, or options, or --all',
    );
  }
  if (ids.length > 0) return named(mails, ids);
  const found = mails.filter(filterOf(choice, now));
  if (found.length === 0) throw new CommandError(EX_NOINPUT, 'no mail is chosen by these options');
  return found;
}

/** The mails that these words name; each word must name one, or be a pattern. */
export function named(mails: readonly Mail[], ids: readonly string[]): readonly Mail[] {
  const found = new Set<Mail>();
  for (const id of ids) for (const mail of namedBy(mails, id)) found.add(mail);
  return mails.filter((mail) => found.has(mail));
}

/**
 * The one mail that a word names.
 * @throws CommandError when there is none, or several
 */
export function theOne(mails: readonly Mail[], id: string): Mail {
  const [mail, ...others] = namedBy(mails, id);
  if (mail !== undefined && others.length === 0) return mail;
  throw ambiguous(id, [...(mail === undefined ? [] : [mail]), ...others]);
}

function namedBy(mails: readonly Mail[], id: string): readonly Mail[] {
  if (isGlob(id)) {
    const matching = mails.filter(({ base }) => matchesGlob(`*${id}*`, base));
    if (matching.length > 0) return matching;
    throw new CommandError(EX_NOINPUT, `no mail has ${quoted(id)} in its name`);
  }
  // The path or the name of a file means its entry.
  const parsed = parseName(basename(id));
  const wanted = parsed.kind === 'foreign' ? id : parsed.base;
  const ways: readonly ((mail: Mail) => boolean)[] = [
    ({ base }) => base === wanted,
    ({ base }) => clockOf(base) === wanted || recipientOf(base) === wanted,
    ({ base }) => base.includes(wanted),
  ];
  for (const way of ways) {
    const matching = mails.filter(way);
    if (matching.length === 1) return matching;
    if (matching.length > 1) throw ambiguous(id, matching);
  }
  throw new CommandError(EX_NOINPUT, `no mail has ${quoted(id)} in its name; see picorelay list`);
}

function ambiguous(id: string, mails: readonly Mail[]): CommandError {
  const shown = mails.slice(0, 10).map(({ base }) => `\n  ${base}`);
  const more = mails.length > shown.length ? `\n  and ${mails.length - shown.length} more` : '';
  return new CommandError(
    EX_USAGE,
    `${quoted(id)} is part of ${count(mails.length, 'name')}:${shown.join('')}${more}`,
  );
}

/**
 * A short id for each of these mails: the time of day in its name, else its recipient, else the whole
 * name; by each of them `theOne` finds the mail among these. For a million of them it keeps a number each.
 * @param bases asked several times
 */
export function shortIds(bases: () => Iterable<string>): (base: string) => string {
  let count = 0;
  for (const _ of bases()) count++;
  const clocks = new Float64Array(count);
  const several = new Set<number>();
  for (const base of bases()) {
    clocks[--count] = Number(clockOf(base));
    // A recipient may look like a time.
    if (isClock(recipientOf(base))) several.add(Number(recipientOf(base)));
  }
  clocks.sort();
  for (const [n, clock] of clocks.entries()) if (clock === clocks[n + 1]) several.add(clock);
  const isAlone = (base: string): boolean => !several.has(Number(clockOf(base)));
  const recipients = new Map<string, number>();
  if (several.size > 0) {
    for (const base of bases()) if (!isAlone(base)) recipients.set(recipientOf(base), 0);
    for (const base of bases()) {
      const known = recipients.get(recipientOf(base));
      if (known !== undefined) recipients.set(recipientOf(base), known + 1);
    }
  }
  return (base) => {
    if (isAlone(base)) return clockOf(base);
    const recipient = recipientOf(base);
    return recipients.get(recipient) === 1 && !isClock(recipient) ? recipient : base;
  };
}

function isClock(word: string): boolean {
  return /^\d{6}\.\d{6}$/.test(word);
}

/** As in `231501.123456` of `20261120T231501.123456Z:…`. */
function clockOf(base: string): string {
  return base.slice(9, 22);
}

function recipientOf(base: string): string {
  return base.slice(base.lastIndexOf(':') + 1);
}

/** The name of a mail's file. */
export function fileOf(mail: Mail): string {
  return mail.place === 'spool' ? formatName(mail.base, mail.state) : mail.base;
}

export function stateOf(mail: Mail): StateName {
  return mail.place === 'spool' ? mail.state.kind : 'undelivered';
}

/** A mail as it is shown, its history read. */
export function viewOf(spool: Spool, mail: Mail): MailView {
  const name = parseBase(mail.base);
  const history = spool.history(mail.base, mail.place);
  const last = history.findLast(({ outcome }) => outcome !== 'warned' && outcome !== 'changed');
  const tried = history.filter(({ outcome }) => TRIES.has(outcome)).length;
  const state = mail.place === 'spool' ? mail.state : undefined;
  return {
    id: mail.base,
    state: stateOf(mail),
    sender: showPart(name?.sender ?? ''),
    recipient: showPart(name?.recipient ?? ''),
    accepted: new Date((name?.time ?? 0) / 1000).toISOString(),
    size: spool.sizeOf(mail.place, fileOf(mail)) ?? 0,
    attempts: state !== undefined && 'attempts' in state ? state.attempts : tried,
    ...(state?.kind === 'waiting' ? { next: new Date(state.due).toISOString() } : {}),
    ...(last === undefined ? {} : { last: attemptView(last) }),
  };
}

const TRIES: ReadonlySet<Attempt['outcome']> = new Set(['deferred', 'refused', 'expired']);

export function attemptView({ time, outcome, stage, relay, lines }: Attempt): AttemptView {
  return { time: new Date(time).toISOString(), outcome, stage, relay, lines };
}

function quoted(word: string): string {
  return JSON.stringify(word);
}
