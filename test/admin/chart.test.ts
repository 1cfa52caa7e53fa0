import assert from 'node:assert/strict';
import { test } from 'node:test';
import { columns, line } from '../../src/admin/chart.ts';
import { fc } from '../support/properties.ts';

const GLYPHS = ['#', '-', 'x'];

test('Bars stand on the ground, their parts on each other', () => {
  const rows = columns(
    [
      [4, 0, 0],
      [2, 1, 1],
      [0, 0, 0],
      [0, 2, 0],
    ],
    GLYPHS,
    4,
    2,
  ).map((row) => row.join(''));
  assert.deepEqual(rows, ['# x     ', '# -     ', '# #   - ', '# #   - ']);
});

test('One refusal beside thousands is seen', () => {
  const rows = columns([[10_000, 0, 1]], GLYPHS, 5, 2).map((row) => row[0]);
  assert.deepEqual(rows, ['x ', '# ', '# ', '# ', '# ']);
});

test('Every bar is as high as its share, and every part of it shows', () => {
  const bar = fc.tuple(fc.nat(10_000), fc.nat(100), fc.nat(3));
  fc.assert(
    fc.property(
      fc.array(bar, { minLength: 1, maxLength: 24 }),
      fc.integer({ min: 3, max: 9 }),
      (bars, height) => {
        const rows = columns(bars, GLYPHS, height, 2);
        assert.equal(rows.length, height);
        const most = Math.max(1, ...bars.map((parts) => parts.reduce((a, b) => a + b)));
        for (const [n, parts] of bars.entries()) {
          const seen = rows.map((row) => row[n]?.[0] ?? '?').join('');
          assert.match(seen, /^ *x*-*#*$/);
          const shown = parts.filter((part) => part > 0).length;
          const share = Math.round((parts.reduce((a, b) => a + b) / most) * height);
          assert.equal(seen.trimStart().length, Math.max(shown, share));
          for (const [part, value] of parts.entries()) {
            assert.equal(seen.includes(GLYPHS[part] ?? '?'), value > 0);
          }
        }
      },
    ),
  );
});

test('A line is as long as its share, and at least one character for what is not nothing', () => {
  assert.equal(line(0, 10, 20, '#'), '');
  assert.equal(line(1, 1000, 20, '#'), '#');
  assert.equal(line(5, 10, 20, '#'), '#'.repeat(10));
  assert.equal(line(10, 10, 20, '#'), '#'.repeat(20));
  assert.equal(line(0, 0, 20, '#'), '');
});
