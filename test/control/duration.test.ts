import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatDuration, parseDuration } from '../../src/control/duration.ts';
import { fc } from '../support/properties.ts';

const LONGEST = 10 * 365 * 86_400;

test('Durations are read with and without units.', () => {
  const table: [string, number][] = [
    ['0', 0],
    ['90', 90],
    ['90s', 90],
    ['15m', 900],
    ['2h', 7200],
    ['5d', 432_000],
    ['1w', 604_800],
    ['1h30m', 5400],
    ['1w2d3h4m5s', 604_800 + 2 * 86_400 + 3 * 3600 + 4 * 60 + 5],
    ['007m', 420],
    [`${LONGEST}`, LONGEST],
    ['3650d', LONGEST],
  ];
  for (const [text, seconds] of table) assert.equal(parseDuration(text), seconds, text);
});

test('Whatever is no duration is undefined.', () => {
  const table = [
    '',
    ' ',
    '-1',
    '1.5h',
    '1 h',
    'h',
    '1H',
    '30m1h',
    '1h1h',
    '1h30',
    '90\n',
    '1e3',
    '٣',
    `${LONGEST + 1}`,
    '3650d1s',
    '9999999999s',
    `${'9'.repeat(400)}`,
  ];
  for (const text of table) assert.equal(parseDuration(text), undefined, JSON.stringify(text));
});

test('A written duration is read back as the same seconds.', () => {
  assert.equal(formatDuration(0), '0s');
  assert.equal(formatDuration(5400), '1h30m');
  assert.equal(formatDuration(5 * 86_400), '5d');
  fc.assert(
    fc.property(fc.integer({ min: 0, max: LONGEST }), (seconds) => {
      assert.equal(parseDuration(formatDuration(seconds)), seconds);
    }),
  );
});

test('Any text is a duration in bounds or undefined.', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[0-9wdhms]{0,30}$/), (text) => {
      const seconds = parseDuration(text);
      if (seconds === undefined) return;
      assert.ok(Number.isInteger(seconds) && seconds >= 0 && seconds <= LONGEST);
    }),
  );
});
