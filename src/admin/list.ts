/** picorelay list and undelivered: two lines a mail. */
import { escapeText } from '../mail/text.ts';
import { parsePaces } from '../queue/rate.ts';
import { hasCode } from '../spool/disk.ts';
import type { Attempt } from '../spool/result.ts';
import type { Spool } from '../spool/spool.ts';
import { gathered, type Output, printEntries, type World } from './command.ts';
import { count, cut, paint, showSize, showSpan } from './layout.ts';
import {
  type AttemptView,
  attemptView,
  type Filter,
  filterOf,
  ifSpool,
  type Mail,
  type MailView,
  mailNamed,
  queuedMails,
  queuedNames,
  shortIds,
  spoolOf,
  undeliveredMails,
  viewOf,
} from './mails.ts';

export type SortKey = 'age' | 'size' | 'from' | 'to' | 'attempts' | 'next';

interface ListOptions extends Filter {
  readonly sort: SortKey;
  readonly reverse: boolean;
  readonly json: boolean;
}

/** A route that is paused, for --json. */
export interface PauseView extends Omit<AttemptView, 'outcome'> {
  readonly route: string;
}

/** Columns of a short id and of the age and size behind it. */
const ID = 13;

export function list(options: ListOptions, world: World): number {
  const spool = spoolOf(world);
  const now = world.now();
  const queued = queuedNames(spool);
  const refused = undeliveredMails(spool);
  const passes = filterOf(options, now);
  const wanted =
    options.state === 'undelivered'
      ? refused.filter(passes)
      : queued.filter((name) => passes(mailNamed(name)));
  const views = viewsOf(wanted, spool, options);
  const paused = pausedRoutes(spool);
  if (options.json) {
    printEntries(world, views, {
      undelivered: refused.length,
      paused: paused.map(pauseView),
    });
    return 0;
  }
  const ids = shortIds(function* () {
    for (const name of queued) yield mailNamed(name).base;
    for (const { base } of refused) yield base;
  });
  printViews(views, ids, now, world.stdout);
  const lines = [...paused.map(pauseLine), ...stormLines(spool)].map((line) =>
    paint(world.stdout, 'yellow', line),
  );
  if (options.state !== 'undelivered' && refused.length > 0) {
    lines.push(`${count(refused.length, 'mail')} in Undelivered: picorelay undelivered`);
  }
  const incoming = spool.countIncoming();
  if (incoming > 0) {
    lines.push(`${count(incoming, 'file')} in incoming, which the next run takes over`);
  }
  const all =
    queued.length === 0 ? 'Mail queue is empty' : `${count(queued.length, 'mail')} in the queue`;
  const which = wanted.length === 1 ? 'is' : 'are';
  lines.push(
    wanted.length === queued.length || options.state === 'undelivered'
      ? all
      : `${all}, of which ${wanted.length} ${which} shown`,
  );
  for (const line of lines) world.stdout.write(`${line}\n`);
  return 0;
}

export function undelivered(options: Omit<ListOptions, 'state'>, world: World): number {
  const spool = spoolOf(world);
  const now = world.now();
  const refused = undeliveredMails(spool);
  const wanted = refused.filter(filterOf({ ...options, state: undefined }, now));
  const views = viewsOf(wanted, spool, options);
  if (options.json) {
    printEntries(world, views);
    return 0;
  }
  const { stdout } = world;
  const bases = [...queuedMails(spool), ...refused].map(({ base }) => base);
  printViews(
    views,
    shortIds(() => bases),
    now,
    stdout,
  );
  stdout.write(
    refused.length === 0
      ? 'Undelivered is empty\n'
      : `${count(refused.length, 'mail')} in ${spool.folder}/Undelivered\n`,
  );
  return 0;
}

/** Mails, or names of queued ones, in their order as they are shown; by age one after the other. */
function* viewsOf(
  mails: readonly (Mail | string)[],
  spool: Spool,
  { sort, reverse }: Pick<ListOptions, 'sort' | 'reverse'>,
): Generator<MailView, void, undefined> {
  const view = (mail: Mail | string): MailView =>
    viewOf(spool, typeof mail === 'string' ? mailNamed(mail) : mail);
  if (sort === 'age') {
    // Names sort by age.
    for (const mail of reverse ? mails.toReversed() : mails) yield view(mail);
    return;
  }
  const views = mails.map(view).sort(ORDERS[sort]);
  yield* reverse ? views.reverse() : views;
}

const ORDERS: Readonly<
  Record<Exclude<SortKey, 'age'>, (one: MailView, other: MailView) => number>
> = {
  size: (one, other) => other.size - one.size,
  from: (one, other) => compare(one.sender, other.sender),
  to: (one, other) => compare(one.recipient, other.recipient),
  attempts: (one, other) => other.attempts - one.attempts,
  // What nobody tries comes last.
  next: (one, other) => compare(one.next ?? '~', other.next ?? '~'),
};

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

/** Mails for people; only a terminal has its lines cut. */
export function printViews(
  views: Iterable<MailView>,
  ids: (base: string) => string,
  now: number,
  output: Output,
): void {
  const write = gathered(output);
  const width = output.columns ?? Number.POSITIVE_INFINITY;
  for (const view of views) {
    const id = ids(view.id);
    const age = showSpan(now - Date.parse(view.accepted)).padStart(5);
    const about = `${age} ${showSize(view.size).padStart(5)}  `;
    const [state, colour] = stateWords(view, now);
    const said = view.last === undefined ? '' : `: ${view.last.lines.join(' ')}`;
    const margin = ' '.repeat(ID);
    if (id.length > ID) {
      // An id that is longer names the recipient, or sender and recipient.
      const from = cut(id === view.id ? '' : ` from <${view.sender}>`, width - id.length);
      write(`${paint(output, 'bold', id)}${from}\n`);
      const room = width - ID - about.length;
      write(`${margin}${about}${paint(output, colour, cut(state + said, room))}\n`);
    } else {
      const whom = `<${view.sender}> to <${view.recipient}>`;
      write(`${paint(output, 'bold', id.padEnd(ID))}${cut(about + whom, width - ID)}\n`);
      const words = cut(state + said, width - ID - about.length);
      write(`${' '.repeat(ID + about.length)}${paint(output, colour, words)}\n`);
    }
  }
  write('', true);
}

function stateWords(
  { state, attempts, next, last }: MailView,
  now: number,
): readonly [string, 'dim' | 'yellow' | 'red' | 'green'] {
  const tried = attempts === 0 ? '' : `${count(attempts, 'try')}, `;
  switch (state) {
    case 'new':
      return ['new, not tried yet', 'dim'];
    case 'sending':
      return [`${tried}being sent now`, 'green'];
    case 'held':
      return [`${tried}on hold`, 'yellow'];
    case 'undelivered': {
      const ago = last === undefined ? '' : ` ${showSpan(now - Date.parse(last.time))} ago`;
      return [`${last?.outcome ?? 'refused'}${ago}`, 'red'];
    }
    case 'waiting': {
      const due = Date.parse(next ?? '');
      return [`${tried}next ${due <= now ? 'now' : `in ${showSpan(due - now)}`}`, 'dim'];
    }
  }
}

/** Which routes are paused and why. */
export function pausedRoutes(spool: Spool): readonly (readonly [string, Attempt])[] {
  return ifSpool(spool, () => [...spool.records.pausedRoutes()], []);
}

/** Whose mail the storm guard holds back, one line each. */
function stormLines(spool: Spool): readonly string[] {
  return heldBackUsers(spool).map(
    ({ uid, since }) =>
      `mail of user ${uid} is held back since ${since}: more than control/userrate allows`,
  );
}

/** A user whose mail the storm guard holds back, for --json. */
export interface HeldBack {
  readonly uid: number;
  readonly since: string;
}

export function heldBackUsers(spool: Spool): readonly HeldBack[] {
  let rates: string;
  try {
    rates = spool.records.readRates();
  } catch (error) {
    // Members of the spool's group may see what waits, but not what the runner knows.
    if (hasCode(error, 'EACCES')) return [];
    throw error;
  }
  return [...parsePaces(rates)].flatMap(([uid, { held }]) =>
    held === undefined ? [] : [{ uid: Number(uid), since: new Date(held).toISOString() }],
  );
}

export function pauseLine([route, trouble]: readonly [string, Attempt]): string {
  const since = new Date(trouble.time).toISOString();
  const which = route === 'default' ? '' : `route ${escapeText(route)} `;
  return `${which}paused since ${since} at ${trouble.stage} by ${trouble.relay}: ${trouble.lines.join(' ')}`;
}

export function pauseView([route, trouble]: readonly [string, Attempt]): PauseView {
  const { outcome: _, ...view } = attemptView(trouble);
  return { route, ...view };
}
