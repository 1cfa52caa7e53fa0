import assert from 'node:assert/strict';
import { test } from 'node:test';
import { escapeText } from '../../src/mail/text.ts';
import {
  type Attempt,
  countedAttempts,
  formatAttempt,
  parseAttempts,
} from '../../src/spool/result.ts';
import { fc } from '../support/properties.ts';

const HEAD = '2026-11-20T23:15:01Z deferred at rcpt by smtp://relay.test:25';

/** What a server that knows this format would say. */
const reply = fc
  .oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('', HEAD, `\n${HEAD}`, `x\r\n${HEAD}\n`, `    ${HEAD}`, `\u2028${HEAD}`, '\n'),
  )
  .map(escapeText);

const attempt: fc.Arbitrary<Attempt> = fc.record(
  {
    time: fc.nat({ max: 253_402_300_799 }).map((seconds) => seconds * 1000),
    outcome: fc.constantFrom(
      'deferred',
      'refused',
      'expired',
      'interrupted',
      'paused',
      'warned',
      'changed',
    ),
    stage: fc.constantFrom('config', 'connect', 'starttls', 'rcpt', 'dot', 'claim'),
    relay: fc.constantFrom('none', 'smtp://relay.test:25', 'smtps://[::1]:465'),
    lines: fc.array(reply, { maxLength: 4 }),
  },
  { noNullPrototype: true },
);

test('attempts come back as they were written, and no line of a server becomes one', () => {
  fc.assert(
    fc.property(fc.array(attempt, { maxLength: 5 }), (attempts) => {
      assert.deepEqual(parseAttempts(attempts.map(formatAttempt).join('')), attempts);
    }),
  );
});

test('the dialogue stands below what was said, and comes back apart', () => {
  const attempt: Attempt = {
    time: Date.UTC(2026, 10, 20, 23, 15, 1),
    outcome: 'deferred',
    stage: 'rcpt',
    relay: 'smtp://relay.test:25',
    lines: ['450 4.2.1 mailbox busy'],
    dialogue: ['C: RCPT TO:<a@x.test>', 'S: 450 4.2.1 mailbox busy'],
  };
  const text = formatAttempt(attempt);
  assert.equal(
    text,
    `${HEAD}\n    450 4.2.1 mailbox busy\n    C: RCPT TO:<a@x.test>\n    S: 450 4.2.1 mailbox busy\n`,
  );
  assert.deepEqual(parseAttempts(text), [attempt]);
});

test('an attempt is text for people', () => {
  const attempt: Attempt = {
    time: Date.UTC(2026, 10, 20, 23, 15, 1),
    outcome: 'deferred',
    stage: 'rcpt',
    relay: 'smtp://relay.test:25',
    lines: ['450 4.2.1 mailbox busy', ''],
  };
  assert.equal(formatAttempt(attempt), `${HEAD}\n    450 4.2.1 mailbox busy\n    \n`);
});

test('odd lines of an edited file belong to the attempt above them', () => {
  const attempts = parseAttempts(`before\n${HEAD}\nnote\n${HEAD.replace('T23', 'T25')}\n\n`);
  assert.equal(attempts.length, 1);
  assert.deepEqual(attempts[0]?.lines, ['note', HEAD.replace('T23', 'T25')]);
});

test('whatever the file holds, reading it does not throw', () => {
  const line = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom(HEAD, `    ${HEAD}`, '\n'));
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      assert.ok(parseAttempts(lines.join('\n')).length <= lines.length);
    }),
  );
});

test('only deferrals count for the schedule', () => {
  const attempts = (['deferred', 'interrupted', 'paused', 'deferred', 'refused'] as const).map(
    (outcome): Attempt => ({ time: 0, outcome, stage: 'rcpt', relay: 'none', lines: [] }),
  );
  assert.equal(countedAttempts(attempts), 2);
});
