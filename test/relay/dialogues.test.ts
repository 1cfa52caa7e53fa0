// Plays every transcript in test/dialogues/relay: what a strange or hostile relay says, and what becomes of
// the mail. test/support/hostile-relay.ts explains how they are written; their first line is the test's title.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { check, longestWrite } from '../support/hostile-relay.ts';
import { fc } from '../support/properties.ts';

const folder = join(process.cwd(), 'test', 'dialogues', 'relay');

function read(file: string): string {
  return readFileSync(join(folder, file), 'utf8');
}

const files = readdirSync(folder).sort();

describe('transcripts', { concurrency: 8 }, () => {
  for (const file of files) {
    const text = read(file);
    const [title = ''] = text.split('\n');
    test(`${title.replace(/^# /, '')} (${file})`, async () => await check(text));
  }
});

const orderly = files
  .map((file) => ({ file, text: read(file) }))
  .flatMap(({ file, text }) => {
    const longest = longestWrite(text);
    return longest === undefined ? [] : [{ file, text, longest }];
  });

describe('replies cut in pieces', { concurrency: 8 }, () => {
  for (const { file, text, longest } of orderly) {
    test(`A cut at any of ${longest} bytes of what the relay says changes nothing (${file}).`, async () => {
      for (let at = 1; at < longest; at++) {
        await check(text, (bytes) => [bytes.subarray(0, at), bytes.subarray(at)]);
      }
    });
  }

  test('Nor do several cuts.', async () => {
    const property = fc.asyncProperty(
      fc.constantFrom(...orderly),
      fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 8 }),
      async ({ text }, sizes) => await check(text, (bytes) => pieces(bytes, sizes)),
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
