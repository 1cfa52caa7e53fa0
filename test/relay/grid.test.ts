// The hostile relay: every stage of a conversation by everything that a relay may do there, and what becomes
// of the mail. test/dialogues/grid holds the expectations, test/support/grid.ts explains them.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { playCase, readGrid } from '../support/grid.ts';

const grid = readGrid();
const count = grid.reduce((sum, { cases }) => sum + cases.length, 0);

for (const { file, cases } of grid) {
  describe(`${file}: ${cases.length} cases`, { concurrency: 8 }, () => {
    for (const cell of cases) test(`${cell.title}.`, async (t) => await playCase(t, cell));
  });
}

test(`The grid has ${count} cases.`, () => assert.ok(count >= 150, `${count}`));
