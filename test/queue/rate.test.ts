import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  afterSo,
  formatPaces,
  onePasses,
  parsePaces,
  stillCounting,
} from '../../src/queue/rate.ts';
import { fc } from '../support/properties.ts';

const HOUR = 3_600_000;
const MINUTE = 60_000;
const START = Date.UTC(2026, 10, 20, 12);

/** How many of so many mails go out now, and what time they make of the user's. */
function send(many: number, until: number | undefined, limit: number, now: number) {
  let time = until;
  let passed = 0;
  for (let n = 0; n < many; n++) {
    const next = onePasses(time, limit, now);
    if (next === undefined) break;
    time = next;
    passed++;
  }
  return { passed, until: time };
}

test('As many as the limit says go out at once, then as many an hour', () => {
  for (const limit of [1, 7, 60, 1000, 3601]) {
    let { passed, until } = send(5000, undefined, limit, START);
    assert.equal(passed, limit);
    assert.equal(send(1, until, limit, START).passed, 0);
    let later = 0;
    for (let minute = 1; minute <= 600; minute++) {
      ({ passed, until } = send(5000, until, limit, START + minute * MINUTE));
      later += passed;
    }
    assert.ok(later >= limit * 10 - 1 && later <= limit * 10, `${limit}: ${later}`);
  }
});

test('In no hour more than twice the limit goes out, whenever mail comes', () => {
  const steps = fc.array(fc.record({ wait: fc.nat({ max: 40 }), mails: fc.nat({ max: 300 }) }), {
    maxLength: 30,
  });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 200 }), steps, (limit, all) => {
      let now = START;
      let until: number | undefined;
      const sent: { at: number; passed: number }[] = [];
      for (const { wait, mails } of all) {
        now += wait * MINUTE;
        const result = send(mails, until, limit, now);
        until = result.until;
        sent.push({ at: now, passed: result.passed });
      }
      for (const { at } of sent) {
        const within = sent.filter((each) => each.at >= at && each.at < at + HOUR);
        assert.ok(within.reduce((sum, { passed }) => sum + passed, 0) <= 2 * limit);
      }
    }),
  );
});

test('Counting at once is counting one by one', () => {
  for (const [many, limit] of [
    [1, 10],
    [10, 10],
    [50, 100],
  ] as const) {
    const { passed, until } = send(many, START + MINUTE, limit, START);
    const at = afterSo(passed, START + MINUTE, limit, START);
    assert.ok(Math.abs(at - (until ?? 0)) < 5, `${at} ${until}`);
  }
});

test('A clock that was set back holds nobody for longer than an hour', () => {
  const { until } = send(100, undefined, 100, START + 1000 * HOUR);
  assert.equal(send(100, until, 100, START).passed, 0);
  assert.equal(send(200, afterSo(0, until, 100, START), 100, START + HOUR).passed, 100);
});

test('What is kept comes back as it was, and odd lines are passed over', () => {
  const paces = new Map([
    ['0', { until: START }],
    ['1000', { until: START + 1, held: START - HOUR }],
  ]);
  assert.deepEqual(parsePaces(formatPaces(paces)), paces);
  assert.deepEqual(
    parsePaces(`x\nnobody until=now\n1 until=\n\0\n${formatPaces(paces)}9 held=`),
    paces,
  );
  assert.deepEqual(stillCounting(paces, START), new Map([['1000', paces.get('1000')]]));
  fc.assert(fc.property(fc.string(), (text) => void parsePaces(text)));
});
