import assert from 'node:assert/strict';
import { test } from 'node:test';
import { takeTurns } from '../../src/queue/turns.ts';
import { fc } from '../support/properties.ts';

const parcelsOf = (text: string) =>
  text
    .split(' ')
    .filter((each) => each !== '')
    .map((each) => ({
      user: each.charAt(0),
      items: [...each.slice(1)].map((n) => each.charAt(0) + n),
    }));

test('Users take turns, and each one has its mail sent in its order', () => {
  for (const [parcels, order] of [
    ['', ''],
    ['a1 a2 a3', 'a1 a2 a3'],
    ['a1 a2 a3 b1', 'a1 b1 a2 a3'],
    ['a1 a2 b1 a3 c1 b2', 'a1 b1 c1 a2 b2 a3'],
    // The recipients of one submission stay together.
    ['a123 a4 b1 b23', 'a1 a2 a3 b1 a4 b2 b3'],
  ] as const) {
    assert.equal(takeTurns(parcelsOf(parcels)).join(' '), order);
  }
});

test('Nothing is lost, and before a user’s nth parcel goes no other has more than n of them', () => {
  const parcels = fc.array(
    fc.record({ user: fc.constantFrom('a', 'b', 'c'), items: fc.array(fc.nat()) }),
  );
  fc.assert(
    fc.property(parcels, (all) => {
      const named = all.map(({ user, items }, n) => ({
        user,
        items: items.map((_, m) => ({ user, n, m })),
      }));
      const order = takeTurns(named);
      assert.equal(order.length, named.flatMap(({ items }) => items).length);
      for (const user of ['a', 'b', 'c']) {
        const own = order.filter((item) => item.user === user);
        assert.deepEqual(
          own,
          named.flatMap((parcel) => (parcel.user === user ? parcel.items : [])),
        );
      }
      const rank = new Map(
        ['a', 'b', 'c'].flatMap((user) =>
          named
            .flatMap((parcel, n) => (parcel.user === user ? [n] : []))
            .map((n, k) => [n, k] as const),
        ),
      );
      const rounds = order.map(({ n }) => rank.get(n) ?? -1);
      assert.deepEqual(
        rounds,
        rounds.toSorted((one, other) => one - other),
      );
    }),
  );
});
