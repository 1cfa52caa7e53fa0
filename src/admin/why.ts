/**
 * picorelay why: what keeps a mail, in plain words: what the relay said, what that means, when it is tried
 * next, and what mends it. The facts are gathered here; meaning.ts has the words.
 */
import { type Control, ControlError } from '../control/control.ts';
import { formatDuration } from '../control/duration.ts';
import { DEFAULT_ROUTE, type Route, readTables, routeOf } from '../control/routing.ts';
import { domainOf } from '../mail/address.ts';
import { escapeText } from '../mail/text.ts';
import { momentFor, scheduleFor } from '../queue/schedule.ts';
import { restsOf } from '../runner/rests.ts';
import { readSettings } from '../runner/settings.ts';
import { BadBlock } from '../spool/block.ts';
import { hasCode } from '../spool/disk.ts';
import { parseBase, showPart } from '../spool/name.ts';
import type { Attempt } from '../spool/result.ts';
import type { Spool } from '../spool/spool.ts';
import { printJson, type World } from './command.ts';
import { count, indent, paint, showSpan } from './layout.ts';
import { heldBackUsers } from './list.ts';
import {
  type AttemptView,
  attemptView,
  fileOf,
  type Mail,
  queuedMails,
  type StateName,
  shortIds,
  spoolOf,
  stateOf,
  theOne,
  undeliveredMails,
  viewOf,
} from './mails.ts';
import { meaningOf } from './meaning.ts';

/** The answer, for --json too. */
export interface Why {
  readonly id: string;
  readonly state: StateName;
  /** Why it is where it is, a sentence each. */
  readonly reasons: readonly string[];
  /** What was heard last about the mail, or about its route while that is paused. */
  readonly last?: AttemptView;
  readonly means?: string;
  /** When it is tried next; absent when only the administrator moves it. */
  readonly next?: string;
  /** When it is given up. */
  readonly until?: string;
  readonly mend: readonly string[];
}

export function why(
  { id, json }: { readonly id: string; readonly json: boolean },
  world: World,
): number {
  const spool = spoolOf(world);
  const mails = [...queuedMails(spool), ...undeliveredMails(spool)];
  const mail = theOne(mails, id);
  const word = shortIds(() => mails.map(({ base }) => base))(mail.base);
  const answer =
    mail.place === 'spool'
      ? whyQueued(spool, mail, word, world)
      : whyRefused(spool, mail, word, world);
  if (json) printJson(world, answer);
  else print(spool, mail, answer, world);
  return 0;
}

function whyRefused(spool: Spool, mail: Mail, word: string, { control }: World): Why {
  const last = lastOf(spool.history(mail.base, 'Undelivered'));
  const resend = ['When that is mended, send it again:', `    picorelay resend ${word}`];
  if (last === undefined) {
    return { id: mail.base, state: 'undelivered', reasons: ['Nobody noted why.'], mend: resend };
  }
  const { means, mend } = meaningOf(last, control.folder, word);
  const expired = last.outcome === 'expired';
  return {
    id: mail.base,
    state: 'undelivered',
    reasons: [
      expired
        ? 'It was tried for as long as control/queuelifetime says, and then given up.'
        : 'The relay refused it for good, so it is not tried any more.',
    ],
    last: attemptView(last),
    means,
    mend: [...mend.filter((line) => !/tried again by itself/.test(line)), ...resend],
  };
}

function whyQueued(
  spool: Spool,
  mail: Extract<Mail, { place: 'spool' }>,
  word: string,
  world: World,
): Why {
  const { control, now } = world;
  const { base, state } = mail;
  const reasons: string[] = [];
  const mend: string[] = [];
  const route = routeFor(control, base);
  const pause = route === undefined ? undefined : spool.records.routeTrouble(route.name);
  const history = spool.history(base);
  const own = lastOf(history);
  // While the route is paused, what was said about this mail before is not what keeps it.
  const last = pause !== undefined && pause.time >= (own?.time ?? 0) ? pause : own;
  const broken = configTrouble(control, route, now);
  if (broken !== undefined) reasons.push(broken);
  switch (state.kind) {
    case 'held':
      reasons.push('Somebody put it on hold: it is not tried until it is released.');
      mend.push('To let it go:', `    picorelay release ${word}`);
      break;
    case 'sending':
      reasons.push(`Process ${state.pid} is sending it just now.`);
      break;
    case 'new':
      reasons.push('It is new and was not offered to the relay yet.');
      break;
    case 'waiting':
      reasons.push(
        state.attempts === 0
          ? 'It waits for its first try that counts.'
          : `It was put off after ${count(state.attempts, 'try')}.`,
      );
  }
  let next = state.kind === 'waiting' ? state.due : now();
  const tried = state.kind !== 'held' && broken === undefined;
  if (tried && pause !== undefined && route !== undefined) {
    const name = route.name === 'default' ? 'The route' : `The route ${escapeText(route.name)}`;
    reasons.push(
      `${name} is paused for ${showSpan(now() - pause.time)}: all its mail waits, no try is counted.`,
    );
    const probes = [...restsOf(spool, control, route.name, now()).values()].map(
      ({ until }) => until,
    );
    if (probes.length > 0) next = Math.max(next, Math.min(...probes));
  }
  const storm = tried && state.kind !== 'sending' ? stormOver(spool, mail) : undefined;
  if (storm !== undefined) {
    reasons.push(
      `Mail of user ${storm} is held back: it is more than control/userrate allows an hour, and goes out at that rate. Retrying sends it all the same.`,
    );
  }
  const window = tried ? windowTrouble(spool, control, base, Math.max(next, now())) : undefined;
  if (window !== undefined) {
    reasons.push(window.reason);
    next = window.opens;
  }
  const overdue = now() - next;
  if (tried && state.kind !== 'sending' && overdue > RUNNER_LATE) {
    const seen = spool.records.runnerSeen();
    reasons.push(
      `It is due since ${showSpan(overdue)}, and no runner has taken it${
        seen === undefined ? '' : ` (one was last seen ${showSpan(now() - seen)} ago)`
      }.`,
    );
    mend.push('See whether a cron line or timer starts picorelay-cron:', '    picorelay check');
  }
  const meaning =
    broken === undefined && last !== undefined ? meaningOf(last, control.folder, word) : undefined;
  if (broken !== undefined) mend.push('Mend it, then:', `    picorelay retry ${word}`);
  else if (state.kind !== 'held') mend.push(...(meaning?.mend ?? []));
  const until = tried ? untilOf(control, base) : undefined;
  return {
    id: base,
    state: stateOf(mail),
    reasons,
    ...(last === undefined ? {} : { last: attemptView(last) }),
    ...(meaning === undefined ? {} : { means: meaning.means }),
    ...(tried ? { next: new Date(next).toISOString() } : {}),
    ...(until === undefined ? {} : { until: until.toISOString() }),
    mend: [
      ...mend,
      ...(tried && state.kind !== 'sending'
        ? ['To try it now:', `    picorelay retry ${word}`]
        : []),
    ],
  };
}

/** Runners come by each minute; later than this and something is amiss (milliseconds). */
const RUNNER_LATE = 5 * 60_000;

function lastOf(history: readonly Attempt[]): Attempt | undefined {
  return history.findLast(({ outcome }) => outcome !== 'warned' && outcome !== 'changed');
}

/** The user whose mail the storm guard holds back, if this mail is theirs. */
function stormOver(spool: Spool, mail: Mail): number | undefined {
  const users = heldBackUsers(spool);
  if (users.length === 0) return undefined;
  try {
    const message = spool.look(mail.base, mail.place, fileOf(mail));
    message.close();
    return users.find(({ uid }) => uid === message.origin?.uid)?.uid;
  } catch (error) {
    // Moved on, or for show to tell.
    if (error instanceof BadBlock || hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** The way that the mail goes; undefined where a table of routes is malformed. */
function routeFor(control: Control, base: string): Route | undefined {
  const name = parseBase(base);
  try {
    return routeOf(
      readTables(control),
      showPart(name?.sender ?? ''),
      showPart(name?.recipient ?? ''),
    );
  } catch (error) {
    if (error instanceof ControlError) return undefined;
    throw error;
  }
}

function configTrouble(
  control: Control,
  route: Route | undefined,
  now: () => number,
): string | undefined {
  try {
    if (route === undefined) readTables(control);
    readSettings(control, now, route ?? DEFAULT_ROUTE);
    return undefined;
  } catch (error) {
    if (error instanceof ControlError) return `The configuration cannot be used: ${error.message}`;
    throw error;
  }
}

/** Where control/retry has windows for this mail and none is open: when the next one is. */
function windowTrouble(
  spool: Spool,
  control: Control,
  base: string,
  from: number,
): { readonly reason: string; readonly opens: number } | undefined {
  const domain = domainOf(showPart(parseBase(base)?.recipient ?? ''));
  const { name, schedule } = scheduleFor(control.get('retry'), domain);
  const lastRun = spool.records.lastRun(name);
  const opens = momentFor(schedule, { from, lastRun });
  if (opens === undefined || opens <= from) return undefined;
  const which = name === '' ? '' : ` for ${name}`;
  return {
    reason: `control/retry lets mail${which} go at certain times only, and none is now.`,
    opens,
  };
}

function untilOf(control: Control, base: string): Date {
  const accepted = (parseBase(base)?.time ?? 0) / 1000;
  return new Date(accepted + control.get('queuelifetime') * 1000);
}

function print(spool: Spool, mail: Mail, answer: Why, world: World): void {
  const { stdout, now, control } = world;
  const view = viewOf(spool, mail);
  const age = showSpan(now() - Date.parse(view.accepted));
  const lines = [
    paint(stdout, 'bold', answer.id),
    `from <${view.sender}> to <${view.recipient}>, accepted ${age} ago`,
    '',
    ...answer.reasons.flatMap((reason) => indent(0, reason)),
  ];
  const { last } = answer;
  if (last !== undefined) {
    const ago = showSpan(now() - Date.parse(last.time));
    const replied = /^[2-5]\d\d/.test(last.lines[0] ?? '');
    const by = last.relay === 'none' ? '' : ` with ${last.relay}`;
    const asked = replied && last.relay !== 'none';
    const who = asked ? `${last.relay} answered ${ago} ago` : `Noted ${ago} ago${by}`;
    lines.push('', ...indent(0, `${who}, ${STAGES[last.stage]}:`));
    const width = stdout.columns ?? Number.POSITIVE_INFINITY;
    for (const line of last.lines) lines.push(...indent(4, line, width));
  }
  if (answer.means !== undefined) lines.push('', ...indent(0, `That means: ${answer.means}`));
  if (answer.next !== undefined && answer.state !== 'sending') {
    const wait = Date.parse(answer.next) - now();
    const life = formatDuration(control.get('queuelifetime'));
    lines.push(
      '',
      `Next try: ${wait <= 0 ? 'as soon as a runner looks' : `in ${showSpan(wait)}, at ${answer.next.slice(0, 19)}Z`}`,
      ...(answer.until === undefined
        ? []
        : [`Given up: ${answer.until.slice(0, 19)}Z (control/queuelifetime ${life})`]),
    );
  }
  if (answer.mend.length > 0) {
    lines.push('', 'What to do:');
    for (const line of answer.mend) lines.push(`    ${line}`);
  }
  stdout.write(`${lines.join('\n')}\n`);
}

/** When in the dialogue something was heard. */
const STAGES: Readonly<Record<AttemptView['stage'], string>> = {
  claim: 'while a process had it',
  config: 'when it read the control files',
  resolve: "when it looked up the relay's name",
  connect: 'when it connected',
  tls: 'when the encryption was set up',
  greeting: 'as its greeting',
  ehlo: 'to our greeting (EHLO)',
  starttls: 'to the wish for encryption (STARTTLS)',
  auth: 'to the login (AUTH)',
  mail: 'to the sender (MAIL FROM)',
  rcpt: 'to the recipient (RCPT TO)',
  data: 'to the wish to send the mail (DATA)',
  dot: 'after the whole mail was sent',
  rset: 'between two mails (RSET)',
  quit: 'to the farewell (QUIT)',
};
