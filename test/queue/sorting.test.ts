import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DialogueEvent, Stage, Verdict } from '../../src/mail/outcome.ts';
import { sortAnswer } from '../../src/queue/sorting.ts';
import { fc } from '../support/properties.ts';

const SAMPLES: Readonly<Record<string, DialogueEvent>> = {
  '2xx': reply(250),
  '3xx': reply(354),
  '4xx': reply(451),
  '5xx': reply(550),
  '421': reply(421),
  closed: { kind: 'closed', reason: 'reset' },
  timeout: { kind: 'timeout', seconds: 300 },
  malformed: { kind: 'malformed', reason: 'no reply code' },
  '600': reply(600),
  unknown: { kind: 'nonsense' } as unknown as DialogueEvent,
};

// site: the route; message, rcpt: another try that counts; free: one that does not; maybe: another
// try, possibly a duplicate; REFUSE: Undelivered.
const TABLE = `
  stage     2xx      3xx      4xx      5xx         421      closed   timeout  malformed  600      unknown
  config    site     site     site     site        site     site     site     site       site     site
  resolve   site     site     site     site        site     site     site     site       site     site
  connect   site     site     site     site        site     site     site     site       site     site
  tls       site     site     site     site        site     site     site     site       site     site
  greeting  site     site     site     site        site     site     site     site       site     site
  ehlo      site     site     site     site        site     site     site     site       site     site
  starttls  site     site     site     site        site     site     site     site       site     site
  auth      site     site     site     site        site     site     site     site       site     site
  mail      message  message  message  REFUSE-msg  site     free     free     free       message  message
  rcpt      rcpt     rcpt     rcpt     REFUSE-one  site     message  message  message    rcpt     rcpt
  data      message  message  message  REFUSE-msg  site     message  message  message    message  message
  dot       RELAYED  maybe    message  REFUSE-msg  message  maybe    maybe    maybe      maybe    maybe
  rset      message  message  message  message     message  message  message  message    message  message
  quit      message  message  message  message     message  message  message  message    message  message
`;

const VERDICTS: Readonly<Record<string, Verdict>> = {
  site: { action: 'defer', scope: 'site', counted: false, possibleDuplicate: false },
  message: { action: 'defer', scope: 'message', counted: true, possibleDuplicate: false },
  free: { action: 'defer', scope: 'message', counted: false, possibleDuplicate: false },
  maybe: { action: 'defer', scope: 'message', counted: true, possibleDuplicate: true },
  rcpt: { action: 'defer', scope: 'recipient', counted: true, possibleDuplicate: false },
  again: { action: 'again' },
  'REFUSE-msg': { action: 'refuse', scope: 'message' },
  'REFUSE-one': { action: 'refuse', scope: 'recipient' },
  RELAYED: { action: 'relayed' },
};

function reply(code: number, ...lines: string[]): DialogueEvent {
  const enhanced = /^[245]\.\d+\.\d+(?= |$)/.exec(lines[0] ?? '')?.[0];
  return { kind: 'reply', reply: { code, enhanced, lines: lines.length > 0 ? lines : ['words'] } };
}

function cells(line: string): string[] {
  return line.trim().split(/\s+/);
}

function stagesOf(table: string): string[] {
  return table
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => cells(line)[0] ?? '');
}

test('Each stage and event has the verdict of the table.', () => {
  const [head, ...rows] = TABLE.trim().split('\n').map(cells);
  assert.ok(head);
  assert.deepEqual(
    head.slice(1),
    Object.keys(SAMPLES).sort((a, b) => head.indexOf(a) - head.indexOf(b)),
  );
  assert.equal(rows.length, 14);
  for (const [stage, ...row] of rows) {
    assert.equal(row.length, head.length - 1, stage);
    for (const [index, name] of row.entries()) {
      const event: DialogueEvent | undefined = SAMPLES[head[index + 1] ?? ''];
      assert.ok(event);
      for (const othersAccepted of [false, true]) {
        assert.deepEqual(
          sortAnswer({ stage: stage as Stage, event }, { othersAccepted }),
          VERDICTS[name],
          `${stage} ${head[index + 1]}`,
        );
      }
    }
  }
});

test('Some replies mean something else than their class says.', () => {
  // othersAccepted: yes, no, or - for both.
  const table: [Stage, DialogueEvent, 'yes' | 'no' | '-', string][] = [
    // Authentication required.
    ['mail', reply(530), '-', 'site'],
    ['mail', reply(530, '5.7.0 Must issue a STARTTLS command first'), '-', 'site'],
    ['rcpt', reply(530, '5.7.1 Authentication required'), '-', 'site'],
    ['data', reply(530), '-', 'site'],
    ['dot', reply(530), '-', 'REFUSE-msg'],
    ['mail', reply(550, '5.7.1 Authentication required'), '-', 'site'],
    ['mail', reply(551, '5.7.1 SMTP AUTH is REQUIRED'), '-', 'site'],
    ['mail', reply(553, '5.7.1 <a@b>: Sender address rejected: not logged in'), '-', 'site'],
    ['mail', reply(554, '5.7.0 please login first'), '-', 'site'],
    ['mail', reply(550, '5.7.57 Client not authenticated to send mail'), '-', 'site'],
    ['mail', reply(550, '5.7.1 You must', '5.7.1 authenticate'), '-', 'site'],
    ['mail', reply(550, '5.7.1 relaying denied without authentication'), '-', 'site'],
    // Something else is refused, however similar it sounds.
    ['mail', reply(550, 'Authentication required'), '-', 'REFUSE-msg'],
    ['mail', reply(550, '5.1.8 Authentication required'), '-', 'REFUSE-msg'],
    ['mail', reply(552, '5.7.1 Authentication required'), '-', 'REFUSE-msg'],
    ['mail', reply(550, '5.7.1 Sender not authorized'), '-', 'REFUSE-msg'],
    ['mail', reply(550, '5.7.1 author unknown'), '-', 'REFUSE-msg'],
    ['mail', reply(550, '5.7.1 DMARC authentication is required'), '-', 'REFUSE-msg'],
    ['mail', reply(550, '5.7.26 mail without authentication is not accepted'), '-', 'REFUSE-msg'],
    ['rcpt', reply(550, '5.7.1 Authentication required'), '-', 'REFUSE-one'],
    ['dot', reply(550, '5.7.1 Authentication required'), '-', 'REFUSE-msg'],
    // At AUTH nothing is about the mail.
    ['auth', reply(535, '5.7.8 Authentication credentials invalid'), '-', 'site'],
    ['auth', reply(534, '5.7.9 mechanism is too weak'), '-', 'site'],
    ['auth', reply(538), '-', 'site'],
    ['auth', reply(454, '4.7.0 Temporary authentication failure'), '-', 'site'],
    ['auth', reply(530), '-', 'site'],
    ['greeting', reply(554), '-', 'site'],
    // Too many recipients.
    ['rcpt', reply(452), 'yes', 'again'],
    ['rcpt', reply(452), 'no', 'rcpt'],
    ['rcpt', reply(552, '5.5.3 Too Many Recipients'), 'yes', 'again'],
    ['rcpt', reply(552, '5.5.3 Too Many Recipients'), 'no', 'rcpt'],
    ['rcpt', reply(552, '5.5.3 too many', '5.5.3 recipients'), 'yes', 'again'],
    ['rcpt', reply(550, '5.5.3 enough'), 'yes', 'again'],
    ['rcpt', reply(554, '5.5.3 enough'), 'no', 'rcpt'],
    ['rcpt', reply(551, '5.5.3 enough'), 'yes', 'REFUSE-one'],
    ['rcpt', reply(552, '5.2.2 mailbox full'), '-', 'REFUSE-one'],
    ['rcpt', reply(550, 'too many recipients'), '-', 'REFUSE-one'],
    ['rcpt', reply(451), 'yes', 'rcpt'],
    ['mail', reply(452), 'yes', 'message'],
    ['dot', reply(452), 'yes', 'message'],
    ['dot', reply(552, '5.5.3 too many recipients'), 'yes', 'REFUSE-msg'],
    // A relay's words do not outweigh its code.
    ['dot', reply(250, '2.0.0 550 5.1.1 refused'), '-', 'RELAYED'],
    ['dot', reply(451, '250 ok'), '-', 'message'],
    ['dot', reply(554, '5.6.0 no valid recipients'), '-', 'REFUSE-msg'],
  ];
  for (const [stage, event, others, name] of table) {
    assert.ok(VERDICTS[name], name);
    for (const othersAccepted of [true, false]) {
      if (others === (othersAccepted ? 'no' : 'yes')) continue;
      assert.deepEqual(
        sortAnswer({ stage, event }, { othersAccepted }),
        VERDICTS[name],
        `${stage} ${JSON.stringify(event)} ${othersAccepted}`,
      );
    }
  }
});

const anyStage = fc.constantFrom(...(stagesOf(TABLE) as Stage[]));
const words = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom('5.7.1 Authentication required', 'too many recipients', '5.7.1 please log in'),
);
const code = fc.oneof(
  fc.integer({ min: 200, max: 599 }),
  fc.constantFrom(421, 452, 530, 550, 552, 554),
  fc.constantFrom(Number.NaN, -1, 0, 199, 600, 5500, Number.POSITIVE_INFINITY),
);
const anyEvent: fc.Arbitrary<DialogueEvent> = fc.oneof(
  fc
    .tuple(code, fc.array(words, { maxLength: 3 }))
    .map(([number, lines]) => reply(number, ...lines)),
  fc.constantFrom(...Object.values(SAMPLES)),
);

test('Only a 5xx to MAIL, RCPT, DATA or the dot refuses, and only a 2xx to the dot relays.', () => {
  fc.assert(
    fc.property(anyStage, anyEvent, fc.boolean(), (at, heard, othersAccepted) => {
      const { action } = sortAnswer({ stage: at, event: heard }, { othersAccepted });
      const number = heard.kind === 'reply' ? heard.reply.code : undefined;
      if (action === 'refuse') {
        assert.ok(['mail', 'rcpt', 'data', 'dot'].includes(at));
        assert.ok(number !== undefined && number >= 500 && number <= 599);
      }
      if (action === 'again') assert.ok(at === 'rcpt' && othersAccepted);
      const taken = at === 'dot' && number !== undefined && number >= 200 && number <= 299;
      assert.equal(action === 'relayed', taken);
    }),
    { numRuns: 1000 },
  );
});

test('A possible duplicate is recorded after the dot only, and site trouble spends no attempt.', () => {
  fc.assert(
    fc.property(anyStage, anyEvent, fc.boolean(), (at, heard, othersAccepted) => {
      const verdict = sortAnswer({ stage: at, event: heard }, { othersAccepted });
      if (verdict.action !== 'defer') return;
      if (verdict.possibleDuplicate) assert.equal(at, 'dot');
      if (verdict.scope === 'site') assert.equal(verdict.counted, false);
      if (at === 'dot') assert.notEqual(verdict.scope, 'site');
    }),
    { numRuns: 1000 },
  );
});
