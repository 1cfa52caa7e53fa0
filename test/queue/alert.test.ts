import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Condition,
  formatNews,
  heldUp,
  heldUpDomains,
  newsAsJson,
  newsOf,
  type Refusals,
  refusalsAfter,
  type Told,
} from '../../src/queue/alert.ts';
import type { Attempt } from '../../src/spool/result.ts';
import { fc } from '../support/properties.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const START = Date.UTC(2026, 10, 20, 12);

function condition(key: string): Condition {
  return { key, since: START, summary: `${key} is wrong` };
}

const keys = (conditions: readonly Condition[]): string[] => conditions.map(({ key }) => key);

test('A condition is told once when it begins and once when it is over.', () => {
  let told: readonly Told[] = [];
  const steps: [string[], string[], string[]][] = [
    [[], [], []],
    [['a'], ['a'], []],
    [['a'], [], []],
    [['a', 'b'], ['b'], []],
    [['b'], [], ['a']],
    [['a', 'b'], ['a'], []],
    [[], [], ['b', 'a']],
    [[], [], []],
  ];
  for (const [index, [now, begun, over]] of steps.entries()) {
    const news = newsOf(told, now.map(condition), START + index * MINUTE);
    assert.deepEqual(keys(news.begun), begun, String(index));
    assert.deepEqual(keys(news.over).sort(), [...over].sort(), String(index));
    told = news.told;
  }
});

test('Domains without a relay that are held up are one condition.', () => {
  const trouble = (minutes: number, relay: string): Attempt => ({
    time: START + minutes * MINUTE,
    outcome: 'paused',
    stage: 'connect',
    relay,
    lines: [`connect ECONNREFUSED by ${relay}`],
  });
  const paused = [6, 5, 4, 3, 2, 1, 0].map(
    (minutes) => [`mx d${minutes}.test`, trouble(minutes, `h${minutes}`)] as const,
  );
  assert.equal(heldUpDomains(paused, 15 * MINUTE, START + 14 * MINUTE), undefined);
  const one = heldUpDomains(paused, 15 * MINUTE, START + 15 * MINUTE);
  assert.deepEqual(one, {
    key: 'mx',
    since: START,
    summary:
      'mail for 1 domain without a relay is held up, nothing is lost: d0.test; the first at connect: connect ECONNREFUSED by h0',
  });
  const all = heldUpDomains(paused, 15 * MINUTE, START + HOUR);
  assert.equal(all?.key, 'mx');
  assert.match(
    all?.summary ?? '',
    /^mail for 7 domains .*: d0\.test d1\.test d2\.test d3\.test d4\.test …;/,
  );
});

test('What nobody heard is told again after a while, and its end is not told.', () => {
  const unheard = { ...condition('a'), at: START, heard: false };
  const at = (minutes: number) => newsOf([unheard], [condition('a')], START + minutes * MINUTE);
  assert.deepEqual(at(14).begun, []);
  assert.deepEqual(at(14).told, [unheard]);
  assert.deepEqual(keys(at(15).begun), ['a']);
  assert.equal(at(15).told[0]?.heard, true);
  assert.deepEqual(newsOf([unheard], [], START + MINUTE), { begun: [], over: [], told: [] });
});

test('However conditions come and go, beginnings and ends alternate for each.', () => {
  const set = fc.uniqueArray(fc.constantFrom('a', 'b', 'c'));
  fc.assert(
    fc.property(fc.array(set, { maxLength: 30 }), (steps) => {
      let told: readonly Told[] = [];
      const open = new Set<string>();
      for (const [index, now] of steps.entries()) {
        const news = newsOf(told, now.map(condition), START + index * HOUR);
        for (const { key } of news.begun) {
          assert.ok(!open.has(key));
          open.add(key);
        }
        for (const { key } of news.over) assert.ok(open.delete(key));
        assert.deepEqual([...open].sort(), [...now].sort());
        told = news.told;
      }
    }),
  );
});

test('A pause is a condition when it has lasted long enough.', () => {
  const trouble: Attempt = {
    time: START,
    outcome: 'paused',
    stage: 'auth',
    relay: 'smtp://relay.test:587',
    lines: ['535 5.7.8 wrong', 'password'],
  };
  assert.equal(heldUp('default', trouble, 15 * MINUTE, START + 15 * MINUTE - 1), undefined);
  const held = heldUp('default', trouble, 15 * MINUTE, START + 15 * MINUTE);
  assert.equal(held?.key, 'route default');
  assert.equal(held?.since, START);
  assert.match(
    held?.summary ?? '',
    /at auth by smtp:\/\/relay\.test:587.*535 5\.7\.8 wrong password/,
  );
  assert.match(heldUp('x', trouble, 0, START)?.summary ?? '', /route x/);
});

test('Refusals within a day of each other are one condition.', () => {
  let refusals: Refusals | undefined;
  const steps: [number, number, number | undefined][] = [
    [0, 0, undefined],
    [1, 3, 1],
    [2, 0, 1],
    [24, 1, 1],
    [47.9, 0, 1],
    [48, 0, undefined],
    [49, 1, 49],
    [80, 1, 80],
  ];
  for (const [hour, refused, first] of steps) {
    refusals = refusalsAfter(refusals, refused, START + hour * HOUR);
    assert.equal(
      refusals?.first,
      first === undefined ? undefined : START + first * HOUR,
      `${hour}`,
    );
  }
});

test('News are lines for people and an object for programs.', () => {
  const news = {
    begun: [condition('a')],
    over: [{ ...condition('b'), at: START, heard: true }],
  };
  assert.equal(
    formatNews('h.test', news),
    'picorelay on h.test: since 2026-11-20T12:00:00Z a is wrong\n' +
      'picorelay on h.test: over, it began 2026-11-20T12:00:00Z: b is wrong\n',
  );
  const since = '2026-11-20T12:00:00Z';
  assert.deepEqual(JSON.parse(newsAsJson('h.test', news)), {
    host: 'h.test',
    begun: [{ key: 'a', since, summary: 'a is wrong' }],
    over: [{ key: 'b', since, summary: 'b is wrong' }],
  });
});
