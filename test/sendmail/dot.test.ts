import assert from 'node:assert/strict';
import { test } from 'node:test';
import { untilLoneDot } from '../../src/sendmail/submit.ts';
import { fc } from '../support/properties.ts';

/** What is let through of this input, given in these pieces. */
function passed(pieces: readonly string[]): string {
  const out: Buffer[] = [];
  for (const piece of untilLoneDot(pieces.map((text) => Buffer.from(text, 'latin1')))) {
    out.push(Buffer.from(piece));
  }
  return Buffer.concat(out).toString('latin1');
}

const ROWS: readonly (readonly [string, string])[] = [
  ['', ''],
  ['.', ''],
  ['.\n', ''],
  ['.\r\n', ''],
  ['.\nmore', ''],
  ['a\n.\nb\n', 'a\n'],
  ['a\r\n.\r\nb\r\n', 'a\r\n'],
  ['a\n.', 'a\n'],
  ['a\n.\r', 'a\n'],
  ['a.\n.b\n..\n. \n', 'a.\n.b\n..\n. \n'],
  ['a\n.\r\rb\n', 'a\n.\r\rb\n'],
  ['a\r.\rb', 'a\r.\rb'],
  ['a', 'a'],
];

for (const [input, expected] of ROWS) {
  test(`Of ${JSON.stringify(input)} the message is ${JSON.stringify(expected)}`, () => {
    assert.equal(passed([input]), expected);
    assert.equal(passed([...input]), expected, 'octet by octet');
  });
}

test('Pieces may be cut anywhere and used again by their maker', () => {
  const text = fc.string({ unit: fc.constantFrom('a', '.', '\r', '\n'), maxLength: 40 });
  fc.assert(
    fc.property(text, fc.array(fc.nat(40), { maxLength: 6 }), (input, cuts) => {
      const places = [0, ...cuts.filter((cut) => cut < input.length), input.length].toSorted(
        (a, b) => a - b,
      );
      const pieces = places.slice(1).map((end, n) => input.slice(places[n], end));
      const reused = function* (): Generator<Uint8Array> {
        const buffer = Buffer.alloc(64);
        for (const piece of pieces) yield buffer.subarray(0, buffer.write(piece, 'latin1'));
      };
      let out = '';
      for (const piece of untilLoneDot(reused())) out += Buffer.from(piece).toString('latin1');
      // The rule itself: everything before the first line that is a dot.
      const end = /(?:^|\n)\.\r?(?:\n|$)/.exec(input);
      const expected =
        end === null ? input : input.slice(0, end.index + (end[0].startsWith('\n') ? 1 : 0));
      assert.equal(out, expected);
    }),
    { numRuns: 2000 },
  );
});

test('Nothing behind the dot is read', () => {
  const source = (function* (): Generator<Uint8Array> {
    yield Buffer.from('a\n.\n');
    throw new Error('read on');
  })();
  let out = '';
  for (const piece of untilLoneDot(source)) out += Buffer.from(piece).toString();
  assert.equal(out, 'a\n');
});
