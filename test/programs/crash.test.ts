import { test } from 'node:test';
import { crashRounds } from '../support/crash.ts';

test('Thirty rounds of killed submissions and runners lose no accepted mail and leave nothing half done', async (t) => {
  await crashRounds(t, 30, 20_261_120);
});
