import assert from 'node:assert/strict';
import { test } from 'node:test';
import { count } from '../../src/admin/layout.ts';

test('A number of things is one, or several', () => {
  const told = [
    [1, 'mail'],
    [2, 'mail'],
    [2, 'try'],
    [2, 'day'],
  ] as const;
  assert.deepEqual(
    told.map(([number, noun]) => count(number, noun)),
    ['1 mail', '2 mails', '2 tries', '2 days'],
  );
});
