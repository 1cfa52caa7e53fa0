/**
 * Reports in plain words, for somebody who never heard of SMTP: what happened, what the relay said,
 * what to do. Pure. Hostile input: addresses, subjects and replies; each is escaped and put on lines
 * of its own, none of them long.
 */
import { formatDate } from '../mail/completion.ts';
import { escapeText } from '../mail/text.ts';
import type { Attempt } from '../spool/result.ts';
import type { Original } from './original.ts';
import { type Fate, hostOf, type Kind, type Said, statusOf } from './status.ts';

/** Characters on a line, all of four octets: within the 998 that a relay takes. */
const LINE = 240;

/** Characters of replies and attempts that a report shows of all its recipients together. */
const SHOWN = 200_000;

/** Recipients that a digest lists. */
const LISTED = 1000;

export interface Telling {
  readonly kind: Kind;
  readonly host: string;
  readonly zoneMinutes: number;
  readonly original: Original;
  readonly fates: readonly Fate[];
  /** When mail that waits is given up, milliseconds since 1970-01-01 UTC. */
  readonly retryUntil: number;
}

/** The Subject of a report. */
export function subjectOf(kind: Kind): string {
  switch (kind) {
    case 'failed':
      return 'Mail could not be delivered';
    case 'delayed':
      return 'Mail is delayed';
    case 'relayed':
      return 'Mail was relayed';
  }
}

/** The text of a report: lines without line ends. */
export function tell(telling: Telling): readonly string[] {
  const { kind, host, fates, original, zoneMinutes } = telling;
  const room = Math.max(200, Math.floor(SHOWN / fates.length));
  const whom = fates.length === 1 ? 'this recipient' : `these ${fates.length} recipients`;
  const until = formatDate(new Date(telling.retryUntil), zoneMinutes);
  const opening = {
    failed: `Your message could not be delivered to ${whom}:`,
    delayed: `Your message has not been delivered yet to ${whom}:`,
    relayed: `Your message was given on for ${whom}:`,
  }[kind];
  const closing = {
    failed: [
      'It is not tried any more. The message is kept on that host for its administrator.',
      'The rest of this report tells the same to programs and brings back what you sent.',
    ],
    delayed: [`There is nothing to do: it is tried again until ${until}.`],
    relayed: ['The next mail server sends no reports: you will not hear whether it arrives.'],
  }[kind];
  return [
    `This is the mail relay on ${host}.`,
    '',
    opening,
    '',
    ...fates.flatMap((fate) => tellFate(kind, fate, room)),
    ...closing,
    '',
    'The message:',
    `    accepted: ${formatDate(new Date(original.accepted), zoneMinutes)}`,
    ...labelled('subject', original.subject),
    ...labelled('Message-ID', original.messageId),
  ];
}

/** One report in the place of many: lines without line ends. */
export function tellDigest(
  host: string,
  items: readonly { readonly kind: Kind; readonly subject: string | undefined; fate: Fate }[],
): readonly string[] {
  const shown = items.slice(0, LISTED);
  const more = items.length - shown.length;
  return [
    `This is the mail relay on ${host}.`,
    '',
    'So much mail did not go through that one report for each would be too many.',
    `These ${items.length} are told together:`,
    '',
    ...shown.flatMap(({ kind, subject, fate }) => [
      `${isoSeconds(fate.last.time)} ${kind === 'failed' ? 'not delivered' : 'delayed'}`,
      ...cut(`    to <${escapeText(fate.recipient.address)}>`, ''),
      ...labelled('subject', subject),
      ...cut(`    ${fate.last.lines.join(' ')}`.slice(0, 2 * LINE), '    '),
    ]),
    ...(more > 0 ? ['', `${more} more; on that host, picorelay list shows all.`] : []),
  ];
}

/** The text that a storm guard's administrator gets: whose mail is held back, why, what to do. */
export function tellHeldBack(
  host: string,
  storm: {
    readonly user: string;
    readonly limit: number;
    readonly held: number;
    readonly sender: string;
    readonly subject: string | undefined;
  },
): readonly string[] {
  const { user, limit, held, sender, subject } = storm;
  return [
    `This is the mail relay on ${host}.`,
    '',
    ...cut(`The user ${escapeText(user)} sends so much mail that it is held back from now on.`, ''),
    `${limit} recipients an hour is the limit of control/userrate; by now ${held} wait.`,
    'Nothing is lost: what waits goes out at that rate.',
    '',
    'The first mail that was held back:',
    ...cut(`    from <${escapeText(sender)}>`, ''),
    ...labelled('subject', subject),
    '',
    'On that host, picorelay list shows what waits and picorelay retry sends what you',
    'name. If all of it is meant to go out now, remove control/userrate for a while.',
    'You are told of this user again when an hour has passed without too much mail.',
  ];
}

function tellFate(kind: Kind, fate: Fate, room: number): readonly string[] {
  const { last, history, recipient } = fate;
  const lines = [`    <${escapeText(recipient.address)}>`, `        ${what(kind, last)}`];
  let left = room;
  for (const line of last.lines) {
    left -= line.length;
    if (left < 0) {
      lines.push('            …');
      break;
    }
    lines.push(`            ${line}`);
  }
  if (kind === 'failed') lines.push(`        What to do: ${advice(last)}`);
  if (history.length > 1) lines.push(...tellHistory(history, left));
  return [...lines.flatMap((line) => cut(line, ' '.repeat(16))), ''];
}

function what(kind: Kind, last: Said): string {
  const known = hostOf(last.relay);
  // What the DNS says for certain, no mail server was asked about.
  if (kind === 'failed' && last.outcome !== 'expired' && known === undefined) {
    return 'It cannot be delivered:';
  }
  const host = known ?? 'no mail server';
  switch (kind) {
    case 'relayed':
      return `${host} took it.`;
    case 'delayed':
      return last.lines.length === 0 ? 'It was not tried yet.' : `The last try, at ${host}, met:`;
    case 'failed':
      return last.outcome === 'expired'
        ? `It was tried for too long. The last try, at ${host}, met:`
        : `${host} refused it:`;
  }
}

/** By the detail of the status code (RFC 3463 section 3); the first that fits. */
const ADVICE: readonly (readonly [RegExp, string])[] = [
  [/^4\.4\.7$/, 'send it again later, or ask the administrator what holds mail up.'],
  [/^5\.1\.[78]$/, 'your own address was refused; show this to your administrator.'],
  [/^5\.1\./, 'look whether the address is right, and send the message again.'],
  [/^5\.2\.2$/, 'the mailbox is full; reach the recipient in another way, or try again later.'],
  [/^5\.2\./, 'the mailbox takes no mail; reach the recipient in another way.'],
  [/^5\.3\.4$|^5\.2\.3$/, 'the message is too large; send less of it, or give a link to it.'],
  [/^5\.6\./, 'the message has a form that is not taken on its way; send it in a simpler one.'],
  [/^5\.7\./, 'a rule forbids it; show the words above to your administrator.'],
];

function advice(last: Said): string {
  const status = statusOf('failed', last);
  if (status === '5.2.3') return 'the message is too large; send less of it, or give a link to it.';
  const [, text] = ADVICE.find(([pattern]) => pattern.test(status)) ?? [];
  return text ?? 'read the words above; where they do not help, show them to your administrator.';
}

function tellHistory(history: readonly Attempt[], room: number): readonly string[] {
  const told = history.map((attempt) => {
    const host = hostOf(attempt.relay) ?? 'none';
    const head = `${isoSeconds(attempt.time)} ${attempt.outcome} at ${attempt.stage} by ${host}`;
    return [`            ${head}`, ...attempt.lines.map((line) => `                ${line}`)];
  });
  // The newest matter most.
  let left = room;
  let from = told.length;
  while (from > 0) {
    left -= told[from - 1]?.join('').length ?? 0;
    if (left < 0) break;
    from--;
  }
  const earlier = from === 0 ? [] : [`            ${from} earlier ones are left out.`];
  return ['        All attempts:', ...earlier, ...told.slice(from).flat()];
}

function labelled(label: string, value: string | undefined): readonly string[] {
  if (value === undefined) return [];
  return cut(`    ${label}: ${escapeText(value).slice(0, 2 * LINE)}`, '        ');
}

/** A line as several that are short enough. */
function cut(line: string, indent: string): readonly string[] {
  if (line.length <= LINE) return [line];
  const lines: string[] = [];
  let rest = line;
  while (rest.length > LINE) {
    // Not between the halves of a character.
    const at = /[\ud800-\udbff]/.test(rest.charAt(LINE - 1)) ? LINE - 1 : LINE;
    lines.push(rest.slice(0, at));
    rest = indent + rest.slice(at);
  }
  return [...lines, rest];
}

function isoSeconds(time: number): string {
  return `${new Date(time).toISOString().slice(0, 19)}Z`;
}
