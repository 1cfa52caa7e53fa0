import { test } from 'node:test';
import { crashRounds } from '../support/crash.ts';
import { EXTENSIONS, WITH_CHUNKING } from '../support/relay.ts';

const ROUNDS = 200;

for (const [seed, extensions] of [
  [1, EXTENSIONS],
  [2, WITH_CHUNKING],
  [3, []],
] as const) {
  const offer = extensions.at(-1) ?? 'nothing';
  test(`${ROUNDS} rounds of killed submissions and runners lose no accepted mail, seed ${seed}, a relay that offers ${offer}`, async (t) => {
    await crashRounds(t, ROUNDS, seed, extensions);
  });
}
