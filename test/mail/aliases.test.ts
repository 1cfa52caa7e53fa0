import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AliasExpander, parseAliases, type ReadInclude } from '../../src/mail/aliases.ts';
import { fc } from '../support/properties.ts';

const NO_FILE: ReadInclude = (path) => ({ problem: `${path} is missing` });

function localName(address: string): string | undefined {
  const [local, host] = address.split('@');
  return host === undefined || host === 'me.test' ? local : undefined;
}

function expand(
  text: string,
  name: string,
  read: ReadInclude = NO_FILE,
): { addresses: string[]; names: string[]; refused: boolean; warnings: string[] } {
  const warnings: string[] = [];
  const aliases = parseAliases('/etc/aliases', text);
  const expander = new AliasExpander(aliases, localName, read, (line) => warnings.push(line));
  const { addresses, names, refused } = expander.expand(name);
  return { addresses: [...addresses], names: [...names], refused, warnings };
}

test('Names lead to addresses through other names', () => {
  const table: [text: string, name: string, addresses: string[], names: string[]][] = [
    ['', 'root', [], ['root']],
    ['root: a@x.test', 'root', ['a@x.test'], []],
    ['ROOT : A@x.test', 'Root', ['A@x.test'], []],
    ['root:a@x.test,b@x.test\n\t, c@x.test', 'root', ['a@x.test', 'b@x.test', 'c@x.test'], []],
    // A comment does not end a continued line.
    ['# x\nroot: a@x.test,\n# y\n\n  b@x.test', 'root', ['a@x.test', 'b@x.test'], []],
    ['root: a@x.test\r\nb: c@x.test\r\n', 'b', ['c@x.test'], []],
    ['"odd name": a@x.test', 'odd name', ['a@x.test'], []],
    ['"a:b\\"": a@x.test', 'a:b"', ['a@x.test'], []],
    ['root: "Doe, J" <a@x.test> (the, admin)', 'root', ['a@x.test'], []],
    ['root: "a b"@x.test', 'root', ['"a b"@x.test'], []],
    ['root: joe\njoe: ann@me.test\nann: a@x.test', 'root', ['a@x.test'], []],
    ['root: joe, a@x.test', 'root', ['a@x.test'], ['joe']],
    ['joe: \\joe, a@x.test', 'joe', ['a@x.test'], ['joe']],
    ['joe: joe, a@x.test', 'joe', ['a@x.test'], ['joe']],
    ['a: b, c\nb: d\nc: d\nd: a@x.test', 'a', ['a@x.test'], []],
    ['*: all@x.test', 'anybody', ['all@x.test'], []],
    ['*: all@x.test\nroot: a@x.test', 'root', ['a@x.test'], []],
    ['root: a@x.test', 'postmaster', ['a@x.test'], []],
    ['root: a@x.test\npostmaster: p@x.test', 'MAILER-DAEMON', ['p@x.test'], []],
    ['root: a@x.test\nmailer-daemon: m@x.test', 'MAILER-DAEMON', ['m@x.test'], []],
    ['mailer-daemon: postmaster\n*: all@x.test', 'MAILER-DAEMON', ['all@x.test'], []],
    ['root: constructor', 'root', [], ['constructor']],
  ];
  for (const [text, name, addresses, names] of table) {
    const found = expand(text, name);
    assert.deepEqual(found, { addresses, names, refused: false, warnings: [] }, text);
  }
});

test('Commands and files are refused with the line they stand in, and their neighbours hold', () => {
  const table: [target: string, warning: RegExp][] = [
    ['|/usr/bin/vacation joe', /line 2: "\|\/usr\/bin\/vacation joe" is a command/],
    ['"|/usr/bin/filter -a, -b"', /line 2: "\|\/usr\/bin\/filter -a, -b" is a command/],
    ['"|cat \\"x\\""', /is a command/],
    ['/var/mail/joe', /"\/var\/mail\/joe" is a file/],
    ['/dev/null', /is a file/],
    [':include:list', /no absolute path/],
    [':include:/none', /:include: \/none is missing/],
    ['|\x1b[31mred', /"\|\?\[31mred"/],
  ];
  for (const [target, warning] of table) {
    const found = expand(`a: b@x.test\njoe: ${target}, c@x.test`, 'joe');
    assert.deepEqual(found.addresses, ['c@x.test'], target);
    assert.equal(found.refused, true, target);
    assert.equal(found.warnings.length, 1, target);
    assert.match(found.warnings[0] ?? '', warning);
  }
});

test('Lines that cannot be read are named, and the others hold', () => {
  const text = [
    'no colon',
    ': x@y.test',
    'a@b.test: x@y.test',
    'empty:',
    'bad: one two, x@y.test',
    'root: a@x.test',
    'ROOT: b@x.test',
  ].join('\n');
  const { names, problems } = parseAliases('f', text);
  assert.deepEqual([...names.keys()], ['bad', 'root']);
  assert.deepEqual(
    problems.map((problem) => problem.split(':')[0]),
    ['f line 1', 'f line 2', 'f line 3', 'f line 4', 'f line 5', 'f line 7'],
  );
  assert.deepEqual(expand(text, 'root').addresses, ['a@x.test']);
});

test('An included file is a list of targets, whatever else it says', () => {
  const files: Readonly<Record<string, string>> = {
    '/list': '# members\na@x.test, joe\n\n"|/bin/sh", /etc/passwd\n:include:/more\n',
    '/more': 'b@x.test\n:include:/list\n',
  };
  const read: ReadInclude = (path) => ({ text: files[path] ?? '' });
  const found = expand('list: ":include:/list"\njoe: j@x.test', 'list', read);
  assert.deepEqual(found.addresses, ['a@x.test', 'j@x.test', 'b@x.test']);
  assert.equal(found.refused, true);
  assert.deepEqual(
    found.warnings.map((line) => line.slice(0, 16)),
    ['"/list" line 4: ', '"/list" line 4: '],
  );
});

test('A loop is cut and its name kept, with a warning', () => {
  const found = expand('a: b\nb: c, x@x.test\nc: a', 'a');
  assert.deepEqual(found.addresses, ['x@x.test']);
  assert.deepEqual(found.names, ['a']);
  assert.match(found.warnings.join(), /"a" back to it/);
});

test('What would be too many addresses or too deep is not followed, and the name kept', () => {
  const wide = `all: ${Array.from({ length: 20_000 }, (_, n) => `u${n}@x.test`).join(', ')}`;
  const found = expand(wide, 'all');
  assert.deepEqual([found.addresses, found.names], [[], ['all']]);
  assert.match(found.warnings.join(), /more than 10000/);
  // Each name stands for two of the next: 2^40 ways.
  const doubling = Array.from(
    { length: 40 },
    (_, n) => `n${n}: n${n + 1}, m${n}\nm${n}: n${n + 1}`,
  );
  assert.deepEqual(expand(doubling.join('\n'), 'n0').names, ['n40']);
  const deep = Array.from({ length: 60 }, (_, n) => `n${n}: n${n + 1}`).join('\n');
  assert.deepEqual(expand(deep, 'n0').names, ['n50']);
});

test('No file makes the parser or the expansion throw, and every name ends somewhere', () => {
  const piece = fc.constantFrom(
    ...['a', 'b', 'c', ':', ',', '\n', '\n ', '"', '\\', '(', ')', '|', '/', '@me.test', '@x.test'],
    ':include:/f',
    '*',
    '#',
    ' ',
    '\0',
    'é',
  );
  const text = fc.array(piece, { maxLength: 60 }).map((pieces) => pieces.join(''));
  fc.assert(
    fc.property(text, text, fc.constantFrom('a', 'b', 'postmaster'), (file, included, name) => {
      const found = expand(file, name, () => ({ text: included }));
      const ends = found.addresses.length + found.names.length;
      assert.ok(ends > 0 || found.refused || found.warnings.length > 0);
    }),
  );
});
