import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RetryPlan } from '../../src/control/retry.ts';
import {
  checkWindows,
  isDue,
  mayRelay,
  nextTry,
  scheduleFor,
  type Watch,
  watchOf,
} from '../../src/queue/schedule.ts';
import { fc } from '../support/properties.ts';

function delays(first: number, ...more: number[]): RetryPlan {
  return { delays: [first, ...more], windows: [], domains: new Map() };
}

function windows(zone: string | undefined, ...expressions: string[]): RetryPlan {
  return {
    delays: [60],
    windows: expressions.map((expression) => ({ expression, zone })),
    domains: new Map(),
  };
}

const NOW = new Date('2026-11-20T12:00:00Z');

test('The next try follows the delays, the last of them repeating, stretched by the jitter.', () => {
  const plan = delays(60, 300, 3600);
  const table: [number, number, string][] = [
    [1, 0, '2026-11-20T12:01:00.000Z'],
    [2, 0, '2026-11-20T12:05:00.000Z'],
    [3, 0, '2026-11-20T13:00:00.000Z'],
    [4, 0, '2026-11-20T13:00:00.000Z'],
    [1000, 0, '2026-11-20T13:00:00.000Z'],
    [1, 1, '2026-11-20T12:01:06.000Z'],
    [1, 0.5, '2026-11-20T12:01:03.000Z'],
    [1, 0.51, '2026-11-20T12:01:04.000Z'],
    [3, 1, '2026-11-20T13:06:00.000Z'],
  ];
  for (const [attempts, jitter, due] of table) {
    assert.equal(nextTry(plan, { attempts, now: NOW, jitter }).toISOString(), due);
  }
  const now = new Date('2026-11-20T12:00:00.001Z');
  assert.equal(
    nextTry(plan, { attempts: 1, now, jitter: 0 }).toISOString(),
    '2026-11-20T12:01:01.000Z',
  );
});

test('With growing delays the next try grows with the attempts and is never early.', () => {
  const seconds = fc.integer({ min: 0, max: 10_000_000 });
  fc.assert(
    fc.property(
      fc
        .tuple(seconds, fc.array(seconds))
        .map(([first, more]) => [first, ...more].sort((a, b) => a - b)),
      fc.integer({ min: 1, max: 50 }),
      fc.date({ min: new Date(0), max: new Date('2200-01-01'), noInvalidDate: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      ([first = 0, ...more], attempts, now, jitter) => {
        const plan = delays(first, ...more);
        const delay = plan.delays[Math.min(attempts, plan.delays.length) - 1] ?? Number.NaN;
        const due = nextTry(plan, { attempts, now, jitter }).getTime();
        assert.ok(due >= now.getTime() + delay * 1000);
        assert.ok(due <= now.getTime() + delay * 1100 + 1000);
        assert.equal(due % 1000, 0);
        assert.ok(nextTry(plan, { attempts: attempts + 1, now, jitter }).getTime() >= due);
      },
    ),
  );
});

test('Without windows relaying may always happen.', () => {
  assert.equal(mayRelay(delays(60), { now: NOW, lastRun: NOW }), true);
  assert.equal(mayRelay(delays(60), { now: NOW, lastRun: undefined }), true);
});

test('A window opens once at its moment, and a missed moment is made up for.', () => {
  const table: [string, string | undefined, boolean][] = [
    ['2026-11-20T12:29:59Z', '2026-11-20T12:00:00Z', false],
    ['2026-11-20T12:30:00Z', '2026-11-20T12:00:00Z', true],
    ['2026-11-20T12:30:20Z', '2026-11-20T12:29:20Z', true],
    ['2026-11-20T12:31:20Z', '2026-11-20T12:30:20Z', false],
    ['2026-11-20T12:30:20Z', '2026-11-20T12:30:00Z', false],
    ['2026-11-21T09:00:00Z', '2026-11-20T12:30:00Z', true],
    // No run yet: the last minute counts.
    ['2026-11-20T12:29:59Z', undefined, false],
    ['2026-11-20T12:30:00Z', undefined, true],
    ['2026-11-20T12:30:59Z', undefined, true],
    ['2026-11-20T12:31:00Z', undefined, false],
    // The clock was set back: as if there was no run.
    ['2026-11-20T12:30:00Z', '2036-01-01T00:00:00Z', true],
    ['2026-11-20T12:31:00Z', '2036-01-01T00:00:00Z', false],
  ];
  for (const [now, lastRun, open] of table) {
    assert.equal(
      mayRelay(windows('UTC', '30 * * * *'), {
        now: new Date(now),
        lastRun: lastRun === undefined ? undefined : new Date(lastRun),
      }),
      open,
      `${now} ${lastRun}`,
    );
  }
});

test('Any window is enough.', () => {
  const plan = windows('UTC', '0 3 * * *', '30 * * * *');
  const input = {
    now: new Date('2026-11-20T12:30:00Z'),
    lastRun: new Date('2026-11-20T12:29:00Z'),
  };
  assert.equal(mayRelay(plan, input), true);
  assert.equal(mayRelay(windows('UTC', '0 3 * * *'), input), false);
});

/** Every minute in which a runner started each minute would relay. */
function openings(plan: RetryPlan, from: string, to: string): string[] {
  const moments: string[] = [];
  const end = Date.parse(to);
  for (let at = Date.parse(from); at < end; at += 60_000) {
    const now = new Date(at);
    if (mayRelay(plan, { now, lastRun: new Date(at - 60_000) }))
      moments.push(now.toISOString().slice(5, 16));
  }
  return moments;
}

test('Windows keep to local time across daylight saving, none skipped and none lost.', () => {
  const table: [string, string, string, string[]][] = [
    // Forward, 29 March 2026: 02:00 becomes 03:00. What falls into the gap opens after it.
    ['30 1 * * *', '2026-03-28T12:00Z', '2026-03-30T12:00Z', ['03-29T00:30', '03-29T23:30']],
    ['30 2 * * *', '2026-03-28T12:00Z', '2026-03-30T12:00Z', ['03-29T01:30', '03-30T00:30']],
    ['0 3 * * *', '2026-03-28T12:00Z', '2026-03-30T12:00Z', ['03-29T01:00', '03-30T01:00']],
    [
      '30 * * * *',
      '2026-03-29T00:00Z',
      '2026-03-29T03:00Z',
      ['03-29T00:30', '03-29T01:30', '03-29T02:30'],
    ],
    // Back, 25 October 2026: 03:00 becomes 02:00. An hourly window stays hourly.
    ['30 2 * * *', '2026-10-24T12:00Z', '2026-10-26T12:00Z', ['10-25T00:30', '10-26T01:30']],
    ['0 1 * * *', '2026-10-24T12:00Z', '2026-10-26T12:00Z', ['10-24T23:00', '10-26T00:00']],
    ['0 3 * * *', '2026-10-24T12:00Z', '2026-10-26T12:00Z', ['10-25T02:00', '10-26T02:00']],
    [
      '30 * * * *',
      '2026-10-25T00:00Z',
      '2026-10-25T03:00Z',
      ['10-25T00:30', '10-25T01:30', '10-25T02:30'],
    ],
  ];
  for (const [expression, from, to, moments] of table) {
    assert.deepEqual(openings(windows('Europe/Berlin', expression), from, to), moments, expression);
  }
});

test('A run before the clock change is followed by the right moment after it.', () => {
  const plan = windows('Europe/Berlin', '30 2 * * *');
  const table: [string, string, boolean][] = [
    ['2026-03-28T01:30:00Z', '2026-03-29T01:29:59Z', false],
    ['2026-03-28T01:30:00Z', '2026-03-29T01:30:00Z', true],
    ['2026-10-24T00:30:00Z', '2026-10-25T00:29:59Z', false],
    ['2026-10-24T00:30:00Z', '2026-10-25T00:30:00Z', true],
    // 02:30 comes twice that night; the run at the first is the night's run.
    ['2026-10-25T00:30:00Z', '2026-10-25T01:30:00Z', false],
    ['2026-10-25T00:30:00Z', '2026-10-26T01:29:59Z', false],
    ['2026-10-25T00:30:00Z', '2026-10-26T01:30:00Z', true],
  ];
  for (const [lastRun, now, open] of table) {
    assert.equal(mayRelay(plan, { lastRun: new Date(lastRun), now: new Date(now) }), open, now);
  }
});

test('A window that is no cron expression is named, escaped, and makes mayRelay throw.', () => {
  const table: [string, string | undefined, RegExp][] = [
    ['', undefined, /^window "": .*five cron fields/],
    [' ', undefined, /^window " ": .*five cron fields/],
    ['* * * *', undefined, /^window "\* \* \* \*": .*five cron fields/],
    ['* * * * * * *', undefined, /five cron fields/],
    ['99 * * * *', undefined, /^window "99 \* \* \* \*": .*99/],
    ['*/0 * * * *', undefined, /^window "\*\/0 \* \* \* \*": /],
    ['0 0 30 2 *', undefined, /^window "0 0 30 2 \*": /],
    ['\x1b * * * *', undefined, /^window "\\x1b \* \* \* \*": [^\x1b]+$/],
    ['@hourly', undefined, /five cron fields/],
    ['0 30 * * * *', undefined, /five cron fields/],
    ['30 * * * *', 'Nowhere/Atlantis', /^window "TZ=Nowhere\/Atlantis 30 \* \* \* \*": /],
  ];
  for (const [expression, zone, problem] of table) {
    const plan = windows(zone, '30 * * * *', expression);
    const bad = windows(zone, expression);
    assert.match(checkWindows(bad) ?? 'nothing', problem);
    assert.match(checkWindows(plan) ?? 'nothing', /^window "/);
    assert.throws(
      () => mayRelay(bad, { now: NOW, lastRun: undefined }),
      (error) => error instanceof RangeError && problem.test(error.message),
    );
  }
});

test('Good windows are no problem.', () => {
  for (const expression of ['30 * * * *', '*/15 8-18 * * 1-5', '0 0 29 2 *', '0 0 L * *']) {
    for (const zone of [undefined, 'UTC', 'Europe/Berlin', 'America/New_York']) {
      assert.equal(checkWindows(windows(zone, expression)), undefined, expression);
    }
  }
  assert.equal(checkWindows(delays(60)), undefined);
});

test('No window makes it throw anything but a RangeError, and an answer does not change.', () => {
  const field = fc.constantFrom(
    '*',
    '?',
    '0',
    '5',
    '30',
    '*/7',
    '1-5',
    '5-1',
    'L',
    '1#2',
    'mon',
    'x',
    '-',
    ',',
    '',
  );
  fc.assert(
    fc.property(fc.array(field, { maxLength: 7 }), (fields) => {
      const plan = windows('UTC', fields.join(' '));
      const input = { now: NOW, lastRun: new Date('2026-11-20T11:30:00Z') };
      if (checkWindows(plan) === undefined)
        assert.equal(mayRelay(plan, input), mayRelay(plan, input));
      else assert.throws(() => mayRelay(plan, input), RangeError);
    }),
    { numRuns: 500 },
  );
});

test('However often the runner comes by, a window opens at the same moments.', () => {
  const plans = ['30 2 * * *', '*/20 1-3 * * *', '0 * * * *', '15 2,3 * * 0'].map((expression) =>
    windows('Europe/Berlin', expression),
  );
  const night = fc.constantFrom('2026-03-28T22:00Z', '2026-10-24T22:00Z').map(Date.parse);
  fc.assert(
    fc.property(
      fc.constantFrom(...plans),
      night,
      fc.integer({ min: 0, max: 360 }),
      fc.integer({ min: 1, max: 360 }),
      (plan, begin, skip, length) => {
        // One look over the whole stretch sees an opening exactly if a look each minute does.
        const from = begin + skip * 60_000;
        const to = from + length * 60_000;
        const each = openings(
          plan,
          new Date(from + 60_000).toISOString(),
          new Date(to + 1).toISOString(),
        );
        const once = mayRelay(plan, { now: new Date(to), lastRun: new Date(from) });
        assert.equal(once, each.length > 0);
      },
    ),
  );
});

test('A domain has its own schedule, its subdomains have that of the nearest domain above.', () => {
  const own = new Map(
    ['example.com', '.example.com', '.b.example.com', 'org'].map((name) => [name, windows('UTC')]),
  );
  const plan: RetryPlan = { ...delays(60), domains: own };
  const table: [string, string][] = [
    ['example.com', 'example.com'],
    ['EXAMPLE.com', 'example.com'],
    ['a.example.com', '.example.com'],
    ['b.example.com', '.example.com'],
    ['a.b.example.com', '.b.example.com'],
    ['badexample.com', ''],
    ['example.org', ''],
    ['org', 'org'],
    ['[192.0.2.1]', ''],
    ['', ''],
    ['.', ''],
    ['..', ''],
  ];
  for (const [domain, name] of table) {
    const found = scheduleFor(plan, domain);
    assert.equal(found.name, name, domain);
    assert.equal(found.schedule, name === '' ? plan : own.get(name), domain);
  }
  const bad = { ...delays(60), domains: new Map([['example.com', windows('UTC', '99 * * * *')]]) };
  assert.match(checkWindows(bad) ?? 'nothing', /99/);
});

test('An entry is due at its time, and also when no delay can have put it off so far.', () => {
  const day = 86_400_000;
  const plan: RetryPlan = {
    ...delays(60, 3600),
    domains: new Map([['slow.test', delays(86_400)]]),
  };
  const now = NOW.getTime();
  const table: [number, boolean][] = [
    [now - 1, true],
    [now, true],
    [now + 1, false],
    [now + day * 1.1, false],
    [now + day * 1.1 + 1000, false],
    [now + day * 1.1 + 1001, true],
    [now + 3650 * day, true],
  ];
  for (const [due, is] of table) assert.equal(isDue(plan, due, now), is, String(due - now));
});

test('Whatever the next try is set to, it is not due before and not taken for a leap.', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 864_000 }), { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 9 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      ([first = 1, ...more], attempts, jitter) => {
        const plan = delays(first, ...more);
        const due = nextTry(plan, { attempts, now: NOW, jitter }).getTime();
        assert.equal(isDue(plan, due, due), true);
        assert.equal(isDue(plan, due, due - 1), false);
        assert.equal(isDue(plan, due, NOW.getTime()), false);
      },
    ),
  );
});

/** Looks at the queue at these hours; how many hours of grace are left at each. */
function grace(...hours: number[]): number[] {
  const hour = 3_600_000;
  let watch: Watch | undefined;
  return hours.map((at) => {
    watch = watchOf(watch, at * hour);
    return Math.max(0, watch.graceUntil / hour - at);
  });
}

test('After a gap nothing expires for four hours, but not twice in a row.', () => {
  const table: [number[], number[]][] = [
    [
      [100, 101, 125],
      [0, 0, 0],
    ],
    // A week of sleep, and the hours after it.
    [
      [100, 268, 269, 271.9, 272, 273],
      [0, 4, 3, 0.1, 0, 0],
    ],
    // The clock leaps ten years ahead and comes back: each time a gap, the second one without grace.
    [
      [100, 87_700, 101, 102],
      [0, 4, 0, 0],
    ],
    // Looked at once a week.
    [
      [0, 168, 336, 504, 672],
      [0, 4, 0, 4, 0],
    ],
    // An hour back is no gap.
    [
      [100, 99, 100],
      [0, 0, 0],
    ],
  ];
  for (const [at, left] of table) {
    assert.deepEqual(
      grace(...at).map((hours) => Math.round(hours * 10) / 10),
      left,
      String(at),
    );
  }
});

test('A record of the last look is renewed at most once an hour.', () => {
  const watch = watchOf(undefined, 0);
  assert.equal(watchOf(watch, 3_599_999), watch);
  assert.notEqual(watchOf(watch, 3_600_000), watch);
});
