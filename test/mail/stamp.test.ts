import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { stamp } from '../../src/mail/stamp.ts';

test('A moment in digits is what toISOString has, without its marks.', () => {
  const times = fc.date({
    min: new Date('0000-01-01T00:00:00Z'),
    max: new Date('9999-12-31T23:59:59Z'),
    noInvalidDate: true,
  });
  fc.assert(
    fc.property(times, (time) => {
      assert.equal(stamp(time.getTime()), time.toISOString().replace(/[-:]|\..*/g, ''));
    }),
  );
});
