import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkRecipients,
  formatSize,
  NO_LIMITS,
  OverLimit,
  parseSize,
  shortage,
} from '../../src/mail/limits.ts';
import { fc } from '../support/properties.ts';

const M = 1024 * 1024;

/** A disk of 100 MB in blocks of 4 KB. */
const room = (free: number, files = 1000, ffree = 500) => ({
  ...{ bsize: 4096, blocks: 100 * 256, bavail: free / 4096, files, ffree },
});

test('A disk has room until its floor is reached, in octets or percent, in bytes or inodes', () => {
  for (const [state, floor, expected] of [
    [room(10 * M), { octets: 10 * M }, undefined],
    [room(10 * M - 4096), { octets: 10 * M }, '9M are free on the disk, less than 10M'],
    [room(0), { octets: 0 }, undefined],
    [room(0), { percent: 0 }, undefined],
    [room(5 * M), { percent: 5 }, undefined],
    [room(5 * M - 4096), { percent: 5 }, '4M are free on the disk, less than 5M'],
    [room(50 * M, 1000, 100), { octets: 1 }, undefined],
    [room(50 * M, 1000, 99), { octets: 1 }, '99 inodes are free on the disk'],
    [room(50 * M, 1000, 49), { percent: 5 }, '49 inodes are free on the disk'],
    // A file system that makes inodes as they are needed.
    [room(50 * M, 0, 0), { octets: 1 }, undefined],
  ] as const) {
    assert.equal(shortage(state, floor), expected, JSON.stringify([state, floor]));
  }
});

test('Sizes are read with and without a unit, and nothing else is', () => {
  for (const [text, octets] of [
    ['0', 0],
    ['1000', 1000],
    ['1k', 1024],
    ['10M', 10 * M],
    ['2G', 2048 * M],
    ['1T', 1024 * 1024 * M],
    ['', undefined],
    ['M', undefined],
    ['-1', undefined],
    ['1.5M', undefined],
    ['10 M', undefined],
    ['10MB', undefined],
    ['999999999999999T', undefined],
    ['1e3', undefined],
  ] as const) {
    assert.equal(parseSize(text), octets, text);
  }
});

test('A size that is shown is never more than the size', () => {
  fc.assert(
    fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), (octets) => {
      const shown = parseSize(formatSize(octets));
      assert.ok(shown !== undefined && shown <= octets && shown > octets / 2 - 1, `${octets}`);
    }),
  );
});

test('As many recipients as the limit says are taken, one more is refused for good', () => {
  checkRecipients(NO_LIMITS, 1_000_000);
  checkRecipients({ ...NO_LIMITS, recipients: 3 }, 3);
  assert.throws(
    () => checkRecipients({ ...NO_LIMITS, recipients: 3 }, 4),
    (error) => error instanceof OverLimit && !error.passes && /^4 recipients/.test(error.message),
  );
});
