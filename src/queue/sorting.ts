/**
 * What a relay's answer means for one recipient: relayed, another try, the next transaction, or
 * Undelivered. One table, stage by event, and a few exceptions to it. It never talks to a relay and
 * never touches an entry. Hostile input: the reply, code and text. Doubt is temporary: whatever the
 * table does not know for certain is tried again.
 */
import type { Answer, DialogueEvent, Stage, Verdict } from '../mail/outcome.ts';
import type { Reply } from '../mail/reply.ts';

/** What the answer alone does not tell. */
export interface SortingContext {
  /** Whether the relay has taken other recipients in the same transaction. */
  readonly othersAccepted: boolean;
}

/**
 * The verdict on one answer. Answers that end nothing (a 2xx to MAIL, a 354 to DATA, anything to
 * RSET or QUIT) are the dialogue's to act on; given here all the same, they defer. RFC 5321
 * sections 4.2.1 and 4.5.4; no input makes it throw.
 */
export function sortAnswer(answer: Answer, context: SortingContext): Verdict {
  const { stage, event } = answer;
  if (event.kind === 'reply') {
    const { reply } = event;
    const exception = EXCEPTIONS.find((candidate) => applies(candidate, stage, reply, context));
    if (exception !== undefined) return exception.verdict;
  }
  return TABLE[stage][columnOf(event)];
}

/** An event as the table knows it; `?` is a code or an event of unknown shape. */
type Column = '2xx' | '3xx' | '4xx' | '5xx' | '421' | 'closed' | 'timeout' | 'malformed' | '?';

/** Nothing is wrong with the mail: the route pauses, no attempt is spent. */
const SITE = defer('site', false, false);
/** Another try for the message, the attempt spent. */
const RETRY = defer('message', true, false);
/** Another try for the message, the attempt not spent: the relay had said nothing about it yet. */
const FREE = defer('message', false, false);
/** Another try, and the relay may have the message already. */
const MAYBE = defer('message', true, true);
/** Another try for this recipient alone. */
const RCPT = defer('recipient', true, false);
const AGAIN: Verdict = { action: 'again' };
const SENT: Verdict = { action: 'relayed' };
const NO_MESSAGE: Verdict = { action: 'refuse', scope: 'message' };
const NO_RCPT: Verdict = { action: 'refuse', scope: 'recipient' };

/** Before MAIL nothing has been said about any mail. */
// biome-ignore format: one row of the table below
const BEFORE_MAIL: Row =
            { '2xx': SITE,  '3xx': SITE,  '4xx': SITE,  '5xx': SITE,       '421': SITE,  closed: SITE,  timeout: SITE,  malformed: SITE,  '?': SITE };

type Row = Readonly<Record<Column, Verdict>>;

// biome-ignore format: a table is read in columns
const TABLE: Readonly<Record<Stage, Row>> = {
  config:   BEFORE_MAIL,
  resolve:  BEFORE_MAIL,
  connect:  BEFORE_MAIL,
  tls:      BEFORE_MAIL,
  greeting: BEFORE_MAIL,
  ehlo:     BEFORE_MAIL,
  starttls: BEFORE_MAIL,
  auth:     BEFORE_MAIL,
  mail:     { '2xx': RETRY, '3xx': RETRY, '4xx': RETRY, '5xx': NO_MESSAGE, '421': SITE,  closed: FREE,  timeout: FREE,  malformed: FREE,  '?': RETRY },
  rcpt:     { '2xx': RCPT,  '3xx': RCPT,  '4xx': RCPT,  '5xx': NO_RCPT,    '421': SITE,  closed: RETRY, timeout: RETRY, malformed: RETRY, '?': RCPT },
  data:     { '2xx': RETRY, '3xx': RETRY, '4xx': RETRY, '5xx': NO_MESSAGE, '421': SITE,  closed: RETRY, timeout: RETRY, malformed: RETRY, '?': RETRY },
  dot:      { '2xx': SENT,  '3xx': MAYBE, '4xx': RETRY, '5xx': NO_MESSAGE, '421': RETRY, closed: MAYBE, timeout: MAYBE, malformed: MAYBE, '?': MAYBE },
  rset:     { '2xx': RETRY, '3xx': RETRY, '4xx': RETRY, '5xx': RETRY,      '421': RETRY, closed: RETRY, timeout: RETRY, malformed: RETRY, '?': RETRY },
  quit:     { '2xx': RETRY, '3xx': RETRY, '4xx': RETRY, '5xx': RETRY,      '421': RETRY, closed: RETRY, timeout: RETRY, malformed: RETRY, '?': RETRY },
};

/** A reply that means something else than its row says. All that is given must hold. */
interface Exception {
  readonly stages: readonly Stage[];
  readonly codes: readonly number[];
  readonly enhanced?: RegExp;
  readonly text?: RegExp;
  readonly unless?: RegExp;
  readonly othersAccepted?: boolean;
  readonly verdict: Verdict;
}

/**
 * Text that asks the client to log in. The gaps are bounded, so that a long reply costs no more
 * than its length.
 */
const ASKS_FOR_LOGIN = new RegExp(
  [
    String.raw`\b(?:auth|authenticat(?:e|ion)|log[ -]?[io]n)\b.{0,40}?\b(?:required|needed|first|before)\b`,
    String.raw`\b(?:must|needs?|please|requires?|required|without)\b.{0,40}?\b(?:auth|authenticat(?:e|ed|ion)|log(?:ged)?[ -]?[io]n)\b`,
    String.raw`\bnot (?:been )?(?:authenticated|logged[ -]?[io]n)\b`,
  ].join('|'),
  'is',
);

/** Codes that come with 5.5.3. */
const TOO_MANY = [550, 552, 554];

/** The first that applies wins. */
const EXCEPTIONS: readonly Exception[] = [
  // RFC 4954 section 6: authentication required. The site's account is wrong, not the mail.
  { stages: ['mail', 'rcpt', 'data'], codes: [530], verdict: SITE },
  // The same from relays that have no 530. 5.7.20 to 5.7.29 and the words in `unless` are about the
  // message's own authentication (RFC 7372): there one mail is refused, and pausing the route for
  // it would hold up all the others.
  {
    stages: ['mail'],
    codes: [550, 551, 553, 554],
    enhanced: /^5\.7\.(?!2[0-9]$)/,
    text: ASKS_FOR_LOGIN,
    unless: /\b(?:SPF|DKIM|DMARC)\b/i,
    verdict: SITE,
  },
  // RFC 5321 section 4.5.3.1.10: too many recipients, which older relays say with 552.
  { stages: ['rcpt'], codes: [452], othersAccepted: true, verdict: AGAIN },
  {
    stages: ['rcpt'],
    codes: [552],
    text: /too many recipients/i,
    othersAccepted: true,
    verdict: AGAIN,
  },
  { stages: ['rcpt'], codes: [552], text: /too many recipients/i, verdict: RCPT },
  // RFC 3463 section 3.6 has a code for it.
  {
    stages: ['rcpt'],
    codes: TOO_MANY,
    enhanced: /^5\.5\.3$/,
    othersAccepted: true,
    verdict: AGAIN,
  },
  { stages: ['rcpt'], codes: TOO_MANY, enhanced: /^5\.5\.3$/, verdict: RCPT },
];

function applies(
  exception: Exception,
  stage: Stage,
  reply: Reply,
  context: SortingContext,
): boolean {
  const { stages, codes, enhanced, text, unless, othersAccepted } = exception;
  if (!stages.includes(stage) || !codes.includes(reply.code)) return false;
  if (othersAccepted !== undefined && othersAccepted !== context.othersAccepted) return false;
  if (enhanced !== undefined && !enhanced.test(reply.enhanced ?? '')) return false;
  if (text === undefined) return true;
  // A sentence may go on in the next line, which repeats the enhanced status code.
  const words = reply.lines.map((line) => line.replace(/^[245]\.\d+\.\d+(?: |$)/, '')).join(' ');
  return text.test(words) && !unless?.test(words);
}

function columnOf(event: DialogueEvent): Column {
  switch (event.kind) {
    case 'reply':
      return columnOfCode(event.reply.code);
    case 'closed':
    case 'timeout':
    case 'malformed':
      return event.kind;
    default:
      return '?';
  }
}

function columnOfCode(code: number): Column {
  if (code === 421) return '421';
  if (code >= 200 && code <= 299) return '2xx';
  if (code >= 300 && code <= 399) return '3xx';
  if (code >= 400 && code <= 499) return '4xx';
  if (code >= 500 && code <= 599) return '5xx';
  return '?';
}

function defer(
  scope: 'site' | 'message' | 'recipient',
  counted: boolean,
  possibleDuplicate: boolean,
): Verdict {
  return { action: 'defer', scope, counted, possibleDuplicate };
}
