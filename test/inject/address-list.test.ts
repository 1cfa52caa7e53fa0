import assert from 'node:assert/strict';
import { test } from 'node:test';
import { completeAddress, rewriteAddressList } from '../../src/inject/address-list.ts';
import { fc } from '../support/properties.ts';

const DEFAULTS = { defaultHost: 'host', defaultDomain: 'dom.test', plusDomain: 'plus.test' };

test('a single address is completed behind its last @', () => {
  const table = [
    ['', ''],
    ['bob', 'bob@host.dom.test'],
    ['bob@a', 'bob@a.dom.test'],
    ['bob@a.b', 'bob@a.b'],
    ['bob@a+', 'bob@a.plus.test'],
    ['bob@a.b+', 'bob@a.b.plus.test'],
    ['bob@a.', 'bob@a.dom.test'],
    ['bob@', 'bob@host.dom.test'],
    ['bob@[192.0.2.1]', 'bob@[192.0.2.1]'],
    ['x@y@a', 'x@y@a.dom.test'],
    ['x@[]', 'x@[]'],
    ['list-@a.b-@[]', 'list-@a.b-@[]'],
  ] as const;
  for (const [raw, complete] of table) {
    assert.equal(completeAddress(raw, DEFAULTS), complete, raw);
  }
  assert.equal(completeAddress('bob', { ...DEFAULTS, defaultHost: 'h+' }), 'bob@h.plus.test');
  assert.equal(completeAddress('bob@a', { ...DEFAULTS, defaultDomain: '' }), 'bob@a');
  assert.equal(completeAddress('bob@a', { ...DEFAULTS, defaultDomain: undefined }), 'bob@a');
});

test('the addresses of a list are completed in their place and the rest stays as it is', () => {
  const table: [text: string, rewritten: string, addresses: string[]][] = [
    ['', '', []],
    ['bob', 'bob@host.dom.test', ['bob@host.dom.test']],
    ['a@b.test,  c@d.test', 'a@b.test,  c@d.test', ['a@b.test', 'c@d.test']],
    [
      'djb fred',
      'djb@host.dom.test, fred@host.dom.test',
      ['djb@host.dom.test', 'fred@host.dom.test'],
    ],
    ['J. R.  Smith <js@a>', 'J. R.  Smith <js@a.dom.test>', ['js@a.dom.test']],
    ['"Doe, J" <jd@a+> (x, y)', '"Doe, J" <jd@a.plus.test> (x, y)', ['jd@a.plus.test']],
    ['bob (the (best)) @ a . b', 'bob (the (best)) @ a . b', ['bob@a.b']],
    ['bob (x) @ a .', 'bob (x) @ a.dom.test', ['bob@a.dom.test']],
    ['"a b"@c', '"a b"@c.dom.test', ['a b@c.dom.test']],
    ['"a\\"b"', '"a\\"b"@host.dom.test', ['a"b@host.dom.test']],
    ['<@r,@s:bob@t>', '<bob@t.dom.test>', ['bob@t.dom.test']],
    ['<>', '<>', ['']],
    ['x@[], <y@[]>', 'x@[], <y@[]>', ['x@[]', 'y@[]']],
    ['bob@[192.0.2.1]', 'bob@[192.0.2.1]', ['bob@[192.0.2.1]']],
    [
      'Team: a, b@c.test; , d',
      'Team: a@host.dom.test, b@c.test; , d@host.dom.test',
      ['a@host.dom.test', 'b@c.test', 'd@host.dom.test'],
    ],
    ['recipient list not shown: ;', 'recipient list not shown: ;', []],
    [
      '<a@b.c> <d@e.f> Foo <g>',
      '<a@b.c>, <d@e.f>, Foo <g@host.dom.test>',
      ['a@b.c', 'd@e.f', 'g@host.dom.test'],
    ],
    ['<a@b.c> d (x)', '<a@b.c>, d@host.dom.test (x)', ['a@b.c', 'd@host.dom.test']],
    ['Jürgen <jürgen@a>', 'Jürgen <jürgen@a.dom.test>', ['jürgen@a.dom.test']],
    ['<@r:>', '<>', ['']],
    [', ,', ', ,', []],
  ];
  for (const [text, rewritten, addresses] of table) {
    const { localNames, ...found } = rewriteAddressList(text, DEFAULTS);
    assert.deepEqual(found, { text: rewritten, addresses }, text);
    assert.ok(localNames.every((name) => name.endsWith('@host.dom.test')));
  }
});

test('an element that cannot be read stays as it is and costs the others nothing', () => {
  const table: [text: string, rewritten: string, addresses: string[], problem: RegExp][] = [
    [
      'a, b <c, d',
      'a@host.dom.test, b <c, d@host.dom.test',
      ['a@host.dom.test', 'd@host.dom.test'],
      /angle bracket/,
    ],
    ['a, "b, c', 'a@host.dom.test, "b, c', ['a@host.dom.test'], /quoted string/],
    ['a (b, c', 'a (b, c', [], /comment/],
    ['x) y, b', 'x) y, b@host.dom.test', ['b@host.dom.test'], /unexpected/],
    ['a: b: c, d', 'a: b: c, d@host.dom.test', ['d@host.dom.test'], /colon/],
    ['a>, d', 'a>, d@host.dom.test', ['d@host.dom.test'], /angle bracket/],
    [
      `${'a '.repeat(2000)}, d`,
      `${'a '.repeat(2000)}, d@host.dom.test`,
      ['d@host.dom.test'],
      /comma/,
    ],
  ];
  for (const [text, rewritten, addresses, problem] of table) {
    const list = rewriteAddressList(text, DEFAULTS);
    assert.equal(list.text, rewritten);
    assert.deepEqual(list.addresses, addresses, text);
    assert.match(list.problem ?? '', problem, text);
  }
});

test('whatever the text is, the result is stable, and complete where all could be read', () => {
  const text = fc.string({ unit: fc.constantFrom(...'ab+.@,;:<>()[]"\\ é'), maxLength: 30 });
  fc.assert(
    fc.property(text, (given) => {
      const once = rewriteAddressList(given, DEFAULTS);
      const twice = rewriteAddressList(once.text, DEFAULTS);
      // A source route can uncover another one, and a dot or @ at the end another of these.
      fc.pre(!/[@.]\s*[.@]|@.*:/.test(given));
      if (once.problem === undefined && !given.includes('[')) {
        assert.deepEqual(
          twice.addresses.filter((address) => address !== ''),
          once.addresses.filter((address) => address !== ''),
        );
      }
      for (const address of once.addresses) assert.ok(address === '' || address.includes('@'));
    }),
    { numRuns: 2000 },
  );
});

test('a long list takes linear time and memory', () => {
  const list = rewriteAddressList('a b <c>,'.repeat(200_000), DEFAULTS);
  assert.equal(list.addresses.length, 200_000);
});
