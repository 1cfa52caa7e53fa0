// The whole table of docs: every stage of a session against everything that a relay can do there.
// Each cell is a transcript made here; the cases that need telling are in test/dialogues/relay.
import { describe, test } from 'node:test';
import { check } from '../support/hostile-relay.ts';

const EVENTS = [
  '2xx',
  '3xx',
  '4xx',
  '5xx',
  '421',
  'close',
  'reset',
  'timeout',
  'malformed',
] as const;
type Event = (typeof EVENTS)[number];

const STAGES = [
  'greeting',
  'ehlo',
  'starttls',
  'auth',
  'mail',
  'rcpt',
  'data',
  'body',
  'dot',
] as const;
type Stage = (typeof STAGES)[number];

/** What becomes of the first recipient. `on`: the conversation goes on and the mail is relayed. */
// biome-ignore format: a table is read in columns
const TABLE: Readonly<Record<Stage, readonly string[]>> = {
  //         2xx            3xx                              4xx                5xx                      421              close                            reset                            timeout                          malformed
  greeting: ['on',          'site',                          'site',            'site',                  'site',          'site',                          'site',                          'site',                          'site'],
  ehlo:     ['on',          'site',                          'site',            'on',                    'site',          'site',                          'site',                          'site',                          'site'],
  starttls: ['on',          'site',                          'site',            'site',                  'site',          'site',                          'site',                          'site',                          'site'],
  auth:     ['on',          'site',                          'site',            'site',                  'site',          'site',                          'site',                          'site',                          'site'],
  mail:     ['on',          'retry message',                 'retry message',   'Undelivered message',   'site',          'retry message uncounted',       'retry message uncounted',       'retry message uncounted',       'retry message uncounted'],
  rcpt:     ['on',          'retry recipient',               'retry recipient', 'Undelivered recipient', 'site',          'retry message',                 'retry message',                 'retry message',                 'retry message'],
  data:     ['retry message', 'on',                          'retry message',   'Undelivered message',   'site',          'retry message',                 'retry message',                 'retry message',                 'retry message'],
  body:     ['retry message', 'retry message',               'retry message',   'Undelivered message',   'retry message', 'retry message',                 'retry message',                 'retry message',                 'retry message'],
  dot:      ['on',          'retry message possible duplicate', 'retry message', 'Undelivered message',  'retry message', 'retry message possible duplicate', 'retry message possible duplicate', 'retry message possible duplicate', 'retry message possible duplicate'],
};

/** The relay's words where a stage has its own; the first column that fits. */
const CODES: Readonly<Record<string, number>> = {
  'greeting 2xx': 220,
  'greeting 5xx': 554,
  'starttls 2xx': 220,
  'starttls 4xx': 454,
  'auth 2xx': 235,
  'auth 3xx': 334,
  'auth 4xx': 454,
  'auth 5xx': 535,
  '2xx': 250,
  '3xx': 354,
  '4xx': 451,
  '5xx': 550,
  '421': 421,
};

const ENDINGS: ReadonlyMap<Event, string> = new Map([
  ['close', '@close'],
  ['reset', '@reset'],
  ['timeout', '@hang'],
]);

function codeOf(stage: Stage, event: Event): number | undefined {
  return CODES[`${stage} ${event}`] ?? CODES[event];
}

/** The stage in front of which the client waits, and what names it in the settings. */
const TIMEOUT: Readonly<Record<Stage, string>> = {
  greeting: 'greeting',
  ehlo: 'helo',
  starttls: 'helo',
  auth: 'helo',
  mail: 'mail',
  rcpt: 'rcpt',
  data: 'data',
  body: 'block',
  dot: 'dot',
};

/** The transcript in which `event` happens at `stage` and everything else goes well. */
function transcript(stage: Stage, event: Event, pipelining: boolean): string {
  const settings = ['to: one@there.test', 'to: two@there.test'];
  if (stage === 'starttls') settings.push('authorities: own');
  if (stage === 'auth') settings.push('login: user password');
  if (stage === 'body') settings.push('megabytes: 50');
  if (event === 'timeout') settings.push(`timeout: ${TIMEOUT[stage]} 0.3`);
  const lines = [...settings, ...conversation(stage, event, pipelining), ...outcome(stage, event)];
  return lines.join('\n');
}

function conversation(stage: Stage, event: Event, pipelining: boolean): string[] {
  const lines: string[] = [];
  const code = codeOf(stage, event);
  /** Adds the relay's words at a stage; false when they are the event. */
  const say = (at: Stage, ...words: readonly string[]): boolean => {
    if (at !== stage) lines.push(...words);
    else if (code !== undefined) lines.push(`< ${code} here it is`);
    else if (event === 'malformed') lines.push('< here is what you wanted');
    else lines.push(ENDINGS.get(event) ?? '');
    if (at === stage && event === '421') lines.push('@close');
    return at !== stage || (verdictOf(stage, event) === 'on' && event !== '5xx');
  };
  const offers = (...keywords: readonly string[]): string[] => [
    '< 250-relay.test',
    ...keywords.map((keyword) => `< 250-${keyword}`),
    '< 250 HELP',
  ];
  const after = [
    ...(pipelining ? ['PIPELINING'] : []),
    ...(stage === 'auth' ? ['AUTH PLAIN'] : []),
  ];

  if (!say('greeting', '< 220 relay.test')) return lines;
  lines.push('> EHLO client.test');
  if (!say('ehlo', ...offers(...(stage === 'starttls' ? ['STARTTLS'] : after)))) {
    if (event !== '5xx') return lines;
    lines.push('> HELO client.test', '< 250 relay.test');
  }
  // The single line that answers EHLO in its own row offers nothing.
  if (stage === 'ehlo') pipelining = false;
  if (stage === 'starttls') {
    lines.push('> STARTTLS');
    if (!say('starttls')) return lines;
    lines.push('@tls', '> EHLO client.test', ...offers(...after));
  }
  if (stage === 'auth') {
    lines.push('> AUTH PLAIN AHVzZXIAcGFzc3dvcmQ=');
    if (!say('auth', '< 235 ok')) {
      // nodemailer says nothing more to a relay that wants more.
      if (event === '3xx') lines.push('>', '< 501 no');
      return lines;
    }
  }

  const [mail, one, two, data] = [
    '> MAIL FROM:<a@client.test>',
    '> RCPT TO:<one@there.test>',
    '> RCPT TO:<two@there.test>',
    '> DATA',
  ];
  const goesOn = code !== undefined && event !== '421';
  lines.push(...(pipelining ? [mail, one, two, data] : [mail]));
  if (!say('mail', '< 250 ok')) {
    if (pipelining && goesOn) lines.push('< 503 no MAIL', '< 503 no MAIL', '< 503 no MAIL');
    return lines;
  }
  if (!pipelining) lines.push(one);
  if (!say('rcpt', '< 250 ok') && !goesOn) return lines;
  if (!pipelining) lines.push(two);
  lines.push('< 250 ok');
  if (!pipelining) lines.push(data);
  if (!say('data', '< 354 go on')) return lines;
  if (stage === 'body') {
    lines.push('@skip 100000');
    say('body');
    const last = lines.pop() ?? '';
    if (last.startsWith('<')) lines.push(last.replace('<', '<!'), '@gone');
    else
      lines.push(...(event === '421' ? [(lines.pop() ?? '').replace('<', '<!'), '@gone'] : [last]));
    return lines;
  }
  lines.push('> Subject: hello', '>', '> hello', '> .');
  say('dot', '< 250 ok');
  return lines;
}

/** What has to come out, as a transcript says it. */
function outcome(stage: Stage, event: Event): string[] {
  const verdict = verdictOf(stage, event);
  const relayed = '= two@there.test dot 250 relayed';
  if (verdict === 'on') return ['= one@there.test dot 250 relayed', relayed];
  const kind = event === 'close' || event === 'reset' ? 'closed' : event;
  const heard = `${codeOf(stage, event) ?? kind}`;
  if (stage === 'auth' && event === '3xx') return ['= session auth 501 site'];
  if (STAGES.indexOf(stage) < STAGES.indexOf('mail'))
    return [`= session ${stage} ${heard} ${verdict}`];
  if (stage === 'body') {
    // A refusal in the middle of the message is the answer to it; anything else said there is none.
    const early = event === '2xx' || event === '3xx' ? 'malformed' : heard;
    const what = /^[45]/.test(early) ? `dot ${early}` : `data ${early}`;
    return ['one', 'two'].map((who) => `= ${who}@there.test ${what} ${verdict}`);
  }
  const first = `= one@there.test ${stage} ${heard} ${verdict}`;
  const alone = stage === 'rcpt' && verdict.endsWith('recipient');
  return [first, alone ? relayed : first.replace('one', 'two')];
}

function verdictOf(stage: Stage, event: Event): string {
  return TABLE[stage][EVENTS.indexOf(event)] ?? '';
}

describe('stage by event', { concurrency: 8 }, () => {
  for (const stage of STAGES) {
    for (const event of EVENTS) {
      // Before MAIL the extensions change nothing, but what follows must still work with both.
      for (const pipelining of [false, true]) {
        const title = `${stage}, ${event}${pipelining ? ', pipelined' : ''}: ${verdictOf(stage, event)}.`;
        test(title, async () => await check(transcript(stage, event, pipelining)));
      }
    }
  }
});
