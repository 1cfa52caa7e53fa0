import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_RETRY, parseRetry } from '../../src/control/retry.ts';
import { fc } from '../support/properties.ts';

const DELAYS = [60, 300, 900, 1800, 3600, 7200, 14_400];

function lines(...texts: string[]) {
  return texts.map((text, index) => ({ number: index + 1, text }));
}

test('Without a line of delays the default delays hold.', () => {
  assert.equal(DEFAULT_RETRY, '1m 5m 15m 30m 1h 2h 4h');
  assert.deepEqual(parseRetry([]), { delays: DELAYS, windows: [], domains: new Map() });
  assert.deepEqual(parseRetry(lines(DEFAULT_RETRY)), parseRetry([]));
});

test('Delays and cron windows are read side by side.', () => {
  const plan = parseRetry(
    lines(
      '30  *\t* * *',
      '90s 1h30m',
      'TZ=Europe/Berlin */5 22-23 * JAN,jul MON-FRI',
      '0 0 L * 5L',
    ),
  );
  assert.deepEqual(plan, {
    delays: [90, 5400],
    windows: [
      { expression: '30 * * * *', zone: undefined },
      { expression: '*/5 22-23 * JAN,jul MON-FRI', zone: 'Europe/Berlin' },
      { expression: '0 0 L * 5L', zone: undefined },
    ],
    domains: new Map(),
  });
});

test('Five plain numbers are cron, five numbers with units are delays.', () => {
  assert.deepEqual(parseRetry(lines('1 2 3 4 5')), {
    delays: DELAYS,
    windows: [{ expression: '1 2 3 4 5', zone: undefined }],
    domains: new Map(),
  });
  assert.deepEqual(parseRetry(lines('1s 2s 3s 4s 5s')), {
    delays: [1, 2, 3, 4, 5],
    windows: [],
    domains: new Map(),
  });
});

test('A line that is neither is a problem of that line.', () => {
  const table: [string, RegExp][] = [
    ['60 300', /units/],
    ['1m 60', /units/],
    ['0s 1m', /units/],
    ['1m 11y', /units/],
    ['* * * *', /five cron fields/],
    ['* * * * * *', /five cron fields/],
    ['@hourly', /five cron fields/],
    ['* * * * H', /five cron fields/],
    ['* * * * $(id)', /five cron fields/],
    ['TZ=Europe/Berlin', /five cron fields/],
    ['TZ=Europe/Berlin 1m 5m', /five cron fields/],
    ['TZ=Mars/Base * * * * *', /time zone/],
    ['TZ= * * * * *', /time zone/],
    ['TZ=../../etc/passwd * * * * *', /time zone/],
    ['5m', /one line of delays/],
    [': 5m', /a domain before the colon/],
    ['exa mple.com: 5m', /a domain before the colon/],
    ['../x: 5m', /a domain before the colon/],
    ['..: 5m', /a domain before the colon/],
    ['example.com:', /units/],
    ['example.com: 60', /units/],
    ['example.com: a: 5m', /units/],
  ];
  for (const [text, problem] of table) {
    const read = parseRetry(lines('1m', '0 * * * *', text));
    assert.ok('problem' in read, text);
    assert.match(read.problem, problem, text);
    assert.equal(read.line.number, 3);
  }
});

test('What the lines of a domain leave open is as for all mail.', () => {
  const plan = parseRetry(
    lines(
      '30 * * * *',
      'example.com: 10m 1h',
      'Example.ORG: TZ=UTC 0 3 * * *',
      '2m',
      '.example.net: 5 * * * *',
      '.example.net: 1d',
      'example.org: 0 4 * * *',
    ),
  );
  const all = [{ expression: '30 * * * *', zone: undefined }];
  assert.ok(!('problem' in plan));
  assert.deepEqual(
    [...plan.domains],
    [
      ['example.com', { delays: [600, 3600], windows: all }],
      [
        'example.org',
        {
          delays: [120],
          windows: [
            { expression: '0 3 * * *', zone: 'UTC' },
            { expression: '0 4 * * *', zone: undefined },
          ],
        },
      ],
      [
        '.example.net',
        { delays: [86_400], windows: [{ expression: '5 * * * *', zone: undefined }] },
      ],
    ],
  );
  const twice = parseRetry(lines('a.example: 1m', 'a.example: 2m'));
  assert.ok('problem' in twice && twice.line.number === 2);
});

test('Any lines are a plan with positive delays, or a problem.', () => {
  const word = fc.oneof(
    fc.constantFrom('1m', '0', '*', '5h', 'TZ=UTC', 'TZ=', '*/5', 'MON', ' ', '\0'),
    fc.string({ unit: 'binary', maxLength: 4 }),
  );
  const line = fc.array(word, { maxLength: 7 }).map((words) => words.join(' '));
  fc.assert(
    fc.property(fc.array(line, { maxLength: 4 }), (texts) => {
      const plan = parseRetry(lines(...texts));
      if ('problem' in plan) return;
      assert.ok(plan.delays.every((seconds) => Number.isInteger(seconds) && seconds > 0));
      for (const { expression } of plan.windows) assert.equal(expression.split(' ').length, 5);
    }),
    { numRuns: 1000 },
  );
});
