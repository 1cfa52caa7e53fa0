import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Limits, NO_LIMITS, OverLimit } from '../../src/mail/limits.ts';
import type { Spool } from '../../src/spool/spool.ts';
import { formatShare, parseShares, stillQueued, sumOf } from '../../src/spool/usage.ts';
import { fc } from '../support/properties.ts';
import { envelopeTo, makeSpool, NOW, ORIGIN, TEXT } from '../support/spool.ts';

const BASE = '20261120T231501.123456Z:4242:root@host.test:bob@x.test';

test('Shares are read back as they were written, and odd lines are passed over', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record(
          {
            prefix: fc.stringMatching(/^[0-9TZ.:]{1,40}$/),
            entries: fc.nat({ max: 100_000 }),
            octets: fc.nat(),
          },
          { noNullPrototype: true },
        ),
      ),
      fc.string(),
      (shares, odd) => {
        const text = shares.map(formatShare).join('');
        assert.deepEqual(parseShares(text), shares);
        const mixed = parseShares(`${odd.replace(/\n/g, ' ')}x\n${text}`);
        assert.deepEqual(mixed.slice(mixed.length - shares.length), shares);
      },
    ),
  );
});

test('What is still queued is counted by its entries, in any state, and whole before it is split', () => {
  const shares = [
    { prefix: '20261120T231501.123456Z:4242', entries: 5, octets: 10 },
    { prefix: '20261120T231502.000000Z:4242', entries: 3, octets: 20 },
    { prefix: '20261120T231503.000000Z:4242', entries: 1, octets: 40 },
  ];
  const names = [BASE, `${BASE}2:3.held`];
  const left = stillQueued(shares, names, ['20261120T231502.000000Z:4242:root@host.test']);
  assert.deepEqual(left, [{ ...shares[0], entries: 2 }, shares[1]]);
  assert.deepEqual(sumOf(left), { entries: 5, octets: 30 });
});

/** Gives the number of new entries, or the kind of limit that was in the way. */
function submitted(
  spool: Spool,
  limits: Partial<Limits>,
  { uid = 1000, recipients = 1, text = TEXT } = {},
): number | string {
  const [first = '', ...others] = Array.from({ length: recipients }, (_, n) => `u${n}@x.test`);
  try {
    return spool.submit(envelopeTo(first, ...others), { ...ORIGIN, uid }, [Buffer.from(text)], {
      ...NO_LIMITS,
      ...limits,
    }).length;
  } catch (error) {
    if (error instanceof OverLimit) return error.kind;
    throw error;
  }
}

function relayOne(spool: Spool): void {
  const [entry] = spool.list().entries;
  const claim = entry && spool.claim(entry, NOW);
  assert.ok(claim);
  spool.finish(claim);
}

function empty(spool: Spool): void {
  while (spool.list().entries.length > 0) relayOne(spool);
}

test('A user has as many entries in the queue as the limit says, and more when some were relayed', (t) => {
  const spool = makeSpool(t);
  const limits = { userEntries: 3 };
  assert.equal(submitted(spool, limits, { recipients: 2 }), 2);
  assert.equal(submitted(spool, limits, { recipients: 2 }), 'user');
  assert.equal(submitted(spool, limits), 1);
  assert.equal(submitted(spool, limits), 'user');
  assert.equal(submitted(spool, limits, { uid: 1001 }), 1, 'another user');
  assert.equal(submitted(spool, limits, { uid: 0, recipients: 9 }), 9, 'root');
  relayOne(spool);
  assert.equal(submitted(spool, limits), 1);
  assert.equal(submitted(spool, limits), 'user');
  empty(spool);
  assert.equal(submitted(spool, limits, { recipients: 3 }), 3);
});

test('A user has as many octets in the queue as the limit says, wherever the message crosses it', (t) => {
  const spool = makeSpool(t);
  const limits = { userOctets: 3 * TEXT.length };
  assert.equal(submitted(spool, limits, { recipients: 5 }), 5, 'one file, five links');
  assert.equal(submitted(spool, limits, { text: TEXT + TEXT + TEXT }), 'user');
  assert.equal(submitted(spool, limits, { text: TEXT + TEXT }), 2 - 1);
  assert.equal(submitted(spool, limits), 'user');
  empty(spool);
  assert.equal(submitted(spool, limits), 1);
});

test('A record that somebody spoiled makes a limit wider once, and stops nobody', (t) => {
  const spool = makeSpool(t);
  const limits = { userEntries: 2 };
  assert.equal(submitted(spool, limits, { recipients: 2 }), 2);
  writeFileSync(join(spool.folder, 'run', 'users', '1000'), '\0\0\xffnonsense\n1 2\n');
  assert.equal(submitted(spool, limits, { recipients: 2 }), 2);
  assert.equal(submitted(spool, limits), 'user');
});

test('Without a limit on users nothing is recorded and nothing is listed', (t) => {
  const spool = makeSpool(t);
  assert.equal(submitted(spool, { size: 1000 }), 1);
  assert.equal(existsSync(join(spool.folder, 'run', 'users')), false);
  assert.equal(submitted(spool, { userEntries: 2 }), 1);
  assert.match(readFileSync(join(spool.folder, 'run', 'users', '1000'), 'latin1'), /^\S+ 1 25\n$/);
});

test('A message over its limit is refused for good and leaves nothing', (t) => {
  const spool = makeSpool(t);
  assert.equal(submitted(spool, { size: TEXT.length }), 1);
  assert.equal(submitted(spool, { size: TEXT.length - 1 }), 'size');
  assert.equal(submitted(spool, { size: TEXT.length }, { text: TEXT.replaceAll('\r', '') }), 1);
  assert.equal(submitted(spool, { floor: { octets: Number.MAX_SAFE_INTEGER } }), 'disk');
  assert.equal(spool.list().entries.length, 2);
});

test('Recipients whose block could not be read back are refused, not lost', (t) => {
  const spool = makeSpool(t);
  const recipients = Array.from({ length: 70_000 }, (_, n) => ({
    address: `${n}${'x'.repeat(240)}@x.test`,
  }));
  const [first, ...others] = recipients;
  assert.ok(first);
  assert.throws(
    () => spool.submit({ sender: '', recipients: [first, ...others] }, ORIGIN, [Buffer.from(TEXT)]),
    (error) => error instanceof OverLimit && error.kind === 'recipients',
  );
  assert.deepEqual(spool.list().entries, []);
});
