// Plays every transcript in test/dialogues/relay: what a strange or hostile relay says, and what becomes of
// the mail. test/support/hostile-relay.ts explains how they are written; their first line is the test's title.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { check } from '../support/hostile-relay.ts';

const folder = join(process.cwd(), 'test', 'dialogues', 'relay');

function read(file: string): string {
  return readFileSync(join(folder, file), 'utf8');
}

describe('transcripts', { concurrency: 8 }, () => {
  for (const file of readdirSync(folder).sort()) {
    const text = read(file);
    const [title = ''] = text.split('\n');
    test(`${title.replace(/^# /, '')} (${file})`, async () => await check(text));
  }
});

/** Transcripts in which the relay says nothing unasked, so that time plays no part. */
const ORDERLY = [
  'auth-login.txt',
  'mail-refused-354.txt',
  'parameters-offered.txt',
  'rcpt-mixed-pipelined.txt',
  'rcpt-none-354.txt',
  'reply-lf-only.txt',
  'reply-multi-line.txt',
  'second-after-half-pipelined.txt',
  'starttls-unverified.txt',
];

describe('replies cut in pieces', { concurrency: 4 }, () => {
  for (const file of ORDERLY) {
    test(`A cut at any byte of what the relay says changes nothing (${file}).`, async () => {
      const text = read(file);
      const longest = 80;
      for (let at = 1; at < longest; at++) {
        await check(text, (bytes) => [bytes.subarray(0, at), bytes.subarray(at)]);
      }
    });
  }

  test('Nor do several cuts.', async () => {
    const texts = ORDERLY.map(read);
    const property = fc.asyncProperty(
      fc.constantFrom(...texts),
      fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 8 }),
      async (text, sizes) => await check(text, (bytes) => pieces(bytes, sizes)),
    );
    await fc.assert(property, { numRuns: 50 });
  });
});

/** The bytes in pieces of these sizes, over and over. */
function pieces(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const result: Buffer[] = [];
  for (let start = 0, n = 0; start < bytes.length; n++) {
    const end = start + (sizes[n % sizes.length] ?? 1);
    result.push(bytes.subarray(start, end));
    start = end;
  }
  return result;
}
