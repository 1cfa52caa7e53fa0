import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { HOUR, Ledger, reportsOwed } from '../../src/bounce/ledger.ts';
import { rationOf } from '../../src/bounce/ration.ts';
import { fc } from '../support/properties.ts';
import { makeSpool, NOW } from '../support/spool.ts';

test('No address gets more than its limit and a digest in any hour, and all that waits is told', () => {
  const arrivals = fc.array(fc.nat({ max: 30 }), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(arrivals, fc.integer({ min: 1, max: 10 }), (perStep, limit) => {
      const step = HOUR / 10;
      const sent: number[] = [];
      let heldSince: number | undefined;
      let waiting = 0;
      // Four hours after the last arrival there is nothing left to tell.
      for (const [n, more] of [...perStep, ...Array<number>(40).fill(0)].entries()) {
        const now = n * step;
        waiting += more;
        if (waiting === 0) continue;
        const account = { sent: sent.filter((time) => now - time < HOUR).length, heldSince };
        const ration = rationOf(waiting, account, limit, now);
        if (ration.how === 'digest') {
          sent.push(now);
          waiting = 0;
          heldSince = undefined;
        } else if (ration.how === 'each') {
          for (let k = 0; k < ration.count; k++) sent.push(now);
          waiting -= ration.count;
          if (ration.hold) heldSince = now;
        }
        const lastHour = sent.filter((time) => now - time < HOUR).length;
        assert.ok(lastHour <= limit + 1, `${lastHour} in an hour`);
      }
      assert.equal(waiting, 0);
    }),
  );
});

test('Within the limit each goes by itself at once', () => {
  assert.deepEqual(rationOf(3, { sent: 17, heldSince: undefined }, 20, 0), {
    how: 'each',
    count: 3,
    hold: false,
  });
  assert.deepEqual(rationOf(4, { sent: 17, heldSince: undefined }, 20, 0), {
    how: 'each',
    count: 3,
    hold: true,
  });
});

const BASE = '20261120T231501.123456Z:4242:root@host.test:bob@x.test';

test('What is owed stays owed until it is settled, and a stray file is none', (t) => {
  const spool = makeSpool(t);
  const ledger = new Ledger(spool.folder);
  assert.deepEqual(ledger.owed(), []);
  assert.equal(reportsOwed(spool.folder), false);
  ledger.owe(BASE);
  ledger.owe(BASE);
  writeFileSync(join(spool.folder, 'run', 'bounces', 'core'), '');
  assert.deepEqual(new Ledger(spool.folder).owed(), [BASE]);
  assert.equal(reportsOwed(spool.folder), true);
  ledger.settle(BASE);
  ledger.settle(BASE);
  assert.deepEqual(ledger.owed(), []);
  assert.equal(reportsOwed(spool.folder), false);
});

test('The account of an address outlives the process, and an hour ends it', (t) => {
  const spool = makeSpool(t);
  const ledger = new Ledger(spool.folder);
  ledger.noteSent('a b\n@x.test', NOW);
  ledger.noteSent('c@x.test', NOW);
  ledger.noteSent('a b\n@x.test', NOW + 1000);
  ledger.hold('a b\n@x.test', NOW + 1000);
  const account = (now: number) => new Ledger(spool.folder).accountOf('a b\n@x.test', now);
  assert.deepEqual(account(NOW + 2000), { sent: 2, heldSince: NOW + 1000 });
  assert.deepEqual(account(NOW + HOUR), { sent: 1, heldSince: NOW + 1000 });
  ledger.releaseOthers(new Set(['a b\n@x.test']), NOW + 2 * HOUR);
  assert.equal(account(NOW + 2 * HOUR).heldSince, NOW + 1000);
  ledger.releaseOthers(new Set(), NOW + 2 * HOUR);
  assert.deepEqual(account(NOW + 2 * HOUR), { sent: 0, heldSince: undefined });
});

test('Half a line, and times of a clock that was set back, count for nothing', (t) => {
  const spool = makeSpool(t);
  const path = join(spool.folder, 'run', 'reports');
  writeFileSync(path, `sent ${NOW + HOUR} a@x.test\nheld ${NOW + HOUR} a@x.test\nsent ${NOW}`);
  const ledger = new Ledger(spool.folder);
  assert.deepEqual(ledger.accountOf('a@x.test', NOW), { sent: 0, heldSince: undefined });
  ledger.noteSent('a@x.test', NOW);
  assert.equal(readFileSync(path, 'latin1').endsWith(`sent ${NOW} a@x.test\n`), true);
  assert.equal(new Ledger(spool.folder).accountOf('a@x.test', NOW).sent, 1);
});
