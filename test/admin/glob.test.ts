import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isGlob, matchesGlob } from '../../src/admin/glob.ts';
import { fc } from '../support/properties.ts';

const TABLE: readonly (readonly [pattern: string, text: string, fits: boolean])[] = [
  ['', '', true],
  ['', 'a', false],
  ['*', '', true],
  ['*', 'anything@x.test', true],
  ['*@x.test', 'bob@x.test', true],
  ['*@X.test', 'bob@x.TEST', true],
  ['*@x.test', 'bob@x.test.example', false],
  ['bob', 'bob@x.test', false],
  ['?ob@*', 'bob@x.test', true],
  ['?', '', false],
  ['a*b*c', 'aXbXbXc', true],
  ['a*b*c', 'aXbXbX', false],
  ['**', 'x', true],
  ['[a-z]+.', '[a-z]+.', true],
  ['a.c', 'abc', false],
];

for (const [pattern, text, fits] of TABLE) {
  test(`${JSON.stringify(pattern)} ${fits ? 'fits' : 'does not fit'} ${JSON.stringify(text)}`, () => {
    assert.equal(matchesGlob(pattern, text), fits);
  });
}

test('A pattern fits what the same regular expression fits', () => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?'), maxLength: 8 });
  const text = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 8 });
  fc.assert(
    fc.property(word, text, (pattern, given) => {
      const expression = `^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`;
      assert.equal(matchesGlob(pattern, given), new RegExp(expression).test(given));
    }),
  );
});

test('A word with * or ? is a pattern', () => {
  assert.deepEqual(['a*', 'a?', 'a', '[a]'].map(isGlob), [true, true, false, false]);
});
