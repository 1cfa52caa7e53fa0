import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  addCounts,
  formatStats,
  HOUR,
  parseStats,
  type Stats,
  sumSince,
} from '../../src/queue/stats.ts';
import { fc } from '../support/properties.ts';

const NOW = Date.UTC(2026, 10, 21, 6, 30);
const one = { relayed: 1, deferred: 2, refused: 3 };

test('Counts of an hour add up and are a line', () => {
  const stats = addCounts(addCounts(parseStats(''), one, NOW), one, NOW + 1000);
  const line = 'relayed=2 deferred=4 refused=6\n';
  assert.equal(formatStats(stats), `total ${line}2026-11-21T06 ${line}`);
  assert.deepEqual(parseStats(formatStats(stats)), stats);
});

test('Hours that are too old or lie ahead go, odd lines too', () => {
  const text = `2026-11-14T06 relayed=1 deferred=0 refused=0
2026-11-14T07 relayed=2 deferred=0 refused=0
2026-11-21T07 relayed=4 deferred=0 refused=0
nonsense
2026-13-41T99 relayed=8 deferred=0 refused=0
2026-11-21T05 relayed=16 deferred=0 refused=0`;
  const stats = addCounts(parseStats(text), one, NOW);
  assert.equal(sumSince(stats, 0).relayed, 2 + 16 + 1);
  assert.equal(sumSince(stats, NOW - 2 * HOUR).relayed, 17);
});

test('Whatever is counted when, the file reads back and holds at most a week', () => {
  const event = fc.tuple(
    fc.nat(20 * 24 * HOUR),
    fc.record({ relayed: fc.nat(9), deferred: fc.nat(9), refused: fc.nat(9) }),
  );
  fc.assert(
    fc.property(fc.array(event), fc.string(), (events, text) => {
      let stats: Stats = parseStats(text);
      for (const [offset, counts] of events) stats = addCounts(stats, counts, NOW + offset);
      assert.ok(stats.hours.size <= 7 * 24);
      const again = parseStats(formatStats(stats));
      assert.deepEqual([...again.hours].sort(), [...stats.hours].sort());
      assert.deepEqual(again.total, stats.total);
    }),
  );
});

test('The total never becomes less, though hours go', () => {
  const first = addCounts(parseStats(''), one, NOW);
  const later = addCounts(first, one, NOW + 30 * 24 * HOUR);
  assert.equal(later.hours.size, 1);
  assert.deepEqual(later.total, { relayed: 2, deferred: 4, refused: 6 });
  // A file of an earlier release has no total.
  assert.deepEqual(parseStats('2026-11-21T06 relayed=1 deferred=2 refused=3\n').total, one);
});
