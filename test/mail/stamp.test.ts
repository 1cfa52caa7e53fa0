import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseStamp, stamp } from '../../src/mail/stamp.ts';
import { fc } from '../support/properties.ts';

test('A moment in digits is what toISOString has, without its marks.', () => {
  const times = fc.date({
    min: new Date('0000-01-01T00:00:00Z'),
    max: new Date('9999-12-31T23:59:59Z'),
    noInvalidDate: true,
  });
  fc.assert(
    fc.property(times, (time) => {
      const text = stamp(time.getTime());
      assert.equal(text, time.toISOString().replace(/[-:]|\..*/g, ''));
      assert.equal(parseStamp(text), Math.floor(time.getTime() / 1000) * 1000);
    }),
  );
});

test('Digits of a moment that there is not are none.', () => {
  const parts = fc.tuple(
    fc.constantFrom('0000', '0099', '1900', '2000', '2023', '2024', '2100', '9999'),
    ...['month', 'day', 'hour', 'minute', 'second'].map(() => fc.integer({ min: 0, max: 99 })),
  );
  fc.assert(
    fc.property(parts, ([year, ...others]) => {
      const [month = '', day = '', ...clock] = others.map((each) => String(each).padStart(2, '0'));
      // Date.parse takes 24:00 and days that a month lacks: what it makes of them looks different.
      const text = `${year}-${month}-${day}T${clock.join(':')}.000Z`;
      const time = Date.parse(text);
      const exists = !Number.isNaN(time) && new Date(time).toISOString() === text;
      const digits = `${year}${month}${day}T${clock.join('')}`;
      assert.equal(parseStamp(digits), exists ? time : undefined);
    }),
    { numRuns: 5000 },
  );
  for (const text of [
    '',
    '20261120T23150',
    '20261120 231501',
    '2026112０T231501',
    '20261120T2315011',
  ]) {
    assert.equal(parseStamp(text), undefined);
  }
});
