import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  domainOf,
  isMailbox,
  parseAddressList,
  parsePath,
  qualify,
} from '../../src/mail/address.ts';
import { fc } from '../support/properties.ts';

test('address lists as they occur are read', () => {
  const table: [string, string[]][] = [
    ['', []],
    ['  \t ', []],
    ['root', ['root']],
    ['root, bob@example.com', ['root', 'bob@example.com']],
    ['a@x,c@y', ['a@x', 'c@y']],
    [',, a@x ,\r\n\t, b@y ,', ['a@x', 'b@y']],
    ['Bob <bob@example.com>', ['bob@example.com']],
    ['"Doe, John" <john@example.com>, jane@example.com', ['john@example.com', 'jane@example.com']],
    ['J. R. Doe <doe@x>', ['doe@x']],
    ['doe@x (John (the "first" \\) ) Doe)', ['doe@x']],
    ['(c)a(c)@(c)b(c).(c)d(c)', ['a@b.d']],
    ['bob@example.com <bob@example.com>', ['bob@example.com']],
    ['undisclosed-recipients:;', []],
    ['undisclosed-recipients:', []],
    ['Team: a@x, Bob <b@y>;, c@z', ['a@x', 'b@y', 'c@z']],
    ['a@x; b@y', ['a@x', 'b@y']],
    ['A:;B:b@x;', ['b@x']],
    ['<@a,@b:c@d>', ['c@d']],
    ['Bob <@relay.example:c@d>, e@f', ['c@d', 'e@f']],
    ['"a@evil"@good', ['"a@evil"@good']],
    ['"a b"@x', ['"a b"@x']],
    ['"bob"@x', ['bob@x']],
    ['"a"."b"@x', ['a.b@x']],
    ['"a\\"b\\\\"@x', ['"a\\"b\\\\"@x']],
    ['"a\\b"@x', ['ab@x']],
    ['""@x', ['""@x']],
    ['"a b"', ['"a b"']],
    ['a..b@docomo.example, .c.@x', ['"a..b"@docomo.example', '".c."@x']],
    ['bob @ example . com', ['bob@example.com']],
    ['bob@[192.0.2.1], bob@[IPv6:2001:db8::1]', ['bob@[192.0.2.1]', 'bob@[IPv6:2001:db8::1]']],
    ['jörg@müller.example', ['jörg@müller.example']],
    ['José\u3000García <a@x>', ['a@x']],
    ['\u00a0bob@x\u00a0', ['bob@x']],
    ['=?UTF-8?Q?J=C3=B6rg?= <j@x>', ['j@x']],
    ['root@my_host', ['root@my_host']],
    ["a!b%c@x, o'brien+tag=1@x", ['a!b%c@x', "o'brien+tag=1@x"]],
    ['|/bin/sh', ['|/bin/sh']],
    ['-oQ/tmp@x', ['-oQ/tmp@x']],
    ['"Bob\r\n Smith" <b@x>', ['b@x']],
    ['"" <b@x>', ['b@x']],
  ];
  for (const [text, addresses] of table) {
    assert.deepEqual(parseAddressList(text), { addresses }, JSON.stringify(text));
  }
});

test('what cannot be read is skipped and named, its neighbours are kept', () => {
  const table: [string, string[], RegExp][] = [
    ['a@x, Bob Smith, b@y', ['a@x', 'b@y'], /words without an address in "Bob Smith"$/],
    ['J. Doe', [], /words without an address/],
    ['a@b@c, d@e', ['d@e'], /more than one @ in "a@b@c"/],
    ['a@, d@e', ['d@e'], /no domain/],
    ['@b, d@e', ['d@e'], /no local part/],
    ['<>, d@e', ['d@e'], /empty address in "<>"/],
    ['Bob <a@x, b@y', ['b@y'], /unclosed angle bracket in "Bob <a@x"/],
    ['<@a, c@y, d@e', ['d@e'], /angle bracket/],
    ['<@a>, d@e', ['d@e'], /source route without/],
    ['<<a@x>>, d@e', ['d@e'], /angle bracket inside/],
    ['a@x>, d@e', ['d@e'], /without an opening one/],
    ['<a@x> <b@y>, d@e', ['d@e'], /text after the closing/],
    ['d@e, a@x (open, b@y', ['d@e'], /unclosed comment/],
    ['d@e, "open <b@y>', ['d@e'], /unclosed quoted string/],
    ['a@[1.2.3.4, b@y', [], /unclosed address literal/],
    ['a@x), d@e', ['d@e'], /unexpected \)/],
    ['a\\b@x, d@e', ['d@e'], /unexpected \\/],
    ['a@b c, d@e', ['d@e'], /text after the domain/],
    ['a@-b.c, d@e', ['d@e'], /not a mailbox/],
    ['a@b..c, a@b., d@e', ['d@e'], /not a mailbox in "a@b\.\.c"/],
    ['a@[x:>], d@e', ['d@e'], /not a mailbox/],
    ['a@[1.2.3.4].c, d@e', ['d@e'], /not a mailbox/],
    ['A: B: a@x;, d@e', ['d@e'], /unexpected colon/],
    ['a@b: c@d; d@e', ['d@e'], /unexpected colon/],
    ['"a"b@x, d@e', ['d@e'], /words/],
    ['"a\tb"@x, a\x07@x, "a\\\nb\0"@x, d@e', ['d@e'], /not a mailbox/],
    [`a@${'x'.repeat(1000)}, d@e`, ['d@e'], /too long in "a@x+…"/],
    [`${'é'.repeat(600)}, d@e`, ['d@e'], /not a local name/],
    ['\ud800@x, d@e', ['d@e'], /in "\?@x"/],
    ['a\x1b[2J@x', [], /in "a\?\[2J@x"/],
  ];
  for (const [text, addresses, problem] of table) {
    const list = parseAddressList(text);
    assert.deepEqual(list.addresses, addresses, JSON.stringify(text));
    assert.match(list.problem ?? 'none', problem, JSON.stringify(text));
  }
});

const SYNTAX = ['<', '>', '@', ',', ';', ':', '.', '"', '\\', '(', ')', '[', ']', ' ', '\r\n '];
const listText = fc
  .array(fc.oneof(fc.constantFrom(...SYNTAX, 'a', 'é', '\0', '\t', '[1.2.3.4]'), fc.string()))
  .map((parts) => parts.join(''));

test('whatever is read can go on the wire, and reads the same again', () => {
  fc.assert(
    fc.property(listText, (text) => {
      const { addresses, problem } = parseAddressList(text);
      for (const address of addresses) {
        const full = qualify(address, { defaultHost: 'h.example', defaultDomain: undefined });
        assert.ok(isMailbox(full), full);
        assert.deepEqual(parseAddressList(address), { addresses: [address] });
        assert.equal(parsePath(`<${address}>`), address);
      }
      assert.doesNotMatch(problem ?? '', /\p{Cc}/u);
    }),
    { numRuns: 3000 },
  );
});

test('a local part of any meaning survives quoting', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme', maxLength: 20 }).filter((text) => !/[\p{C}\p{Z}]/u.test(text)),
      (local) => {
        const quoted = `"${local.replace(/["\\]/g, '\\$&')}"@x`;
        const [address] = parseAddressList(`Name <${quoted}>, b@y`).addresses;
        assert.ok(address === quoted || address === `${local}@x`);
        assert.equal(domainOf(address), 'x');
      },
    ),
  );
});

test('a megabyte of one hostile piece is read', () => {
  const pieces = [...SYNTAX, '()', '(a', 'a(', '\\(', '<@', '<@a,', 'a:', 'a.', '"\\', '"",', 'a,'];
  for (const piece of [...pieces, '@a', '[a', 'a ', '<a@x', ':;', 'é']) {
    for (const before of ['', 'a@x,', '(', '"', '<', '<@', 'a@', '[']) {
      const text = before + piece.repeat(Math.ceil(2 ** 17 / piece.length));
      const list = parseAddressList(text);
      if (before === 'a@x,') assert.equal(list.addresses[0], 'a@x');
    }
  }
  const deep = '('.repeat(2 ** 20);
  assert.match(parseAddressList(deep).problem ?? '', /unclosed comment/);
  const closed = `${deep}${')'.repeat(2 ** 20)}a@x`;
  assert.deepEqual(parseAddressList(closed), { addresses: ['a@x'] });
});

test('paths are one mailbox, one local name, or null', () => {
  const table: [string, string | undefined][] = [
    ['', ''],
    [' ', ''],
    ['<>', ''],
    ['a@x', 'a@x'],
    ['<a@x>', 'a@x'],
    [' <a@x> ', 'a@x'],
    ['root', 'root'],
    ['<root>', 'root'],
    ['<@r1,@r2:a@x>', 'a@x'],
    ['Bob <a@x>', 'a@x'],
    ['"a b"@x', '"a b"@x'],
    ['a@x,b@y', undefined],
    ['a@x,', undefined],
    ['a@x;', undefined],
    ['g: a@x;', undefined],
    ['g: a@x', undefined],
    ['a b', undefined],
    ['<a@x', undefined],
    ['(comment)', undefined],
    ['a@x\r\nRCPT TO:<b@y>', undefined],
    ['a@x\n', undefined],
    ['a@x\0', undefined],
    ['"a\tb"@x', undefined],
    ['a@x> SIZE=1', undefined],
    ['a\u0085@x', undefined],
  ];
  for (const [text, path] of table) assert.equal(parsePath(text), path, JSON.stringify(text));
});

test('only a mailbox may go on the wire', () => {
  const good = [
    'a@x',
    'a.b+c@x.y-z.example',
    '"a@b"@x',
    '"a>b"@x',
    '""@x',
    '"\\""@x',
    'a@[192.0.2.1]',
    'a@[IPv6:::1]',
    'ü@ü.example',
    'a@my_host',
    `a@${'x'.repeat(996)}`,
  ];
  const bad = [
    '',
    'a',
    '@',
    '@x',
    'a@',
    'a@@x',
    'a@b@c',
    '<a@x>',
    'a@x>',
    'a b@x',
    'a@x y',
    'a@x\r\nDATA',
    'a@x\n',
    '"a\r\nb"@x',
    '"a\0b"@x',
    '"a"b@x',
    '"a@x',
    '"a\\"@x',
    'a..b@x',
    '.a@x',
    'a@x.',
    'a@-x',
    'a@[]',
    'a@[1.2.3]',
    'a@[1.2.3.4',
    'a@[IPv6:1>]',
    'a@[x:y]',
    'a\u2028@x',
    'a@x\u0085',
    'a@\udc00x',
    '\udc00@x',
    'a\u00a0b@x',
    `a@${'x'.repeat(997)}`,
    `a@${'ü'.repeat(499)}`,
  ];
  for (const address of good) assert.ok(isMailbox(address), address);
  for (const address of bad) assert.ok(!isMailbox(address), JSON.stringify(address));
});

test('no mailbox holds an octet that could end a MAIL or RCPT line', () => {
  fc.assert(
    fc.property(listText, fc.string(), (local, domain) => {
      const address = `${local}@${domain}`;
      if (!isMailbox(address)) return;
      assert.doesNotMatch(address, /[\p{Cc}\p{Zl}\p{Zp}]/u);
      assert.doesNotMatch(address.replace(/^"(?:[^"\\]|\\.)*"/, ''), /[\s<>()",;\\]/);
    }),
    { numRuns: 2000 },
  );
});

test('local names and short hosts are qualified', () => {
  const defaults = { defaultHost: 'host.example', defaultDomain: 'example' };
  const none = { defaultHost: 'short', defaultDomain: undefined };
  const table: [string, string, string][] = [
    ['', '', ''],
    ['root', 'root@host.example', 'root@short'],
    ['"a@b"', '"a@b"@host.example', '"a@b"@short'],
    ['a@h', 'a@h.example', 'a@h'],
    ['a@localhost', 'a@localhost.example', 'a@localhost'],
    ['a.b@h', 'a.b@h.example', 'a.b@h'],
    ['a@h.net', 'a@h.net', 'a@h.net'],
    ['a@[IPv6:::1]', 'a@[IPv6:::1]', 'a@[IPv6:::1]'],
    ['a@[]', 'a@[]', 'a@[]'],
  ];
  for (const [address, full, bare] of table) {
    assert.equal(qualify(address, defaults), full);
    assert.equal(qualify(address, none), bare);
  }
  assert.equal(qualify('root', { ...defaults, defaultHost: 'h' }), 'root@h.example');
});

test('the domain is what stands behind the local part', () => {
  assert.equal(domainOf('a@Example.COM'), 'example.com');
  assert.equal(domainOf('"a@evil"@good'), 'good');
  assert.equal(domainOf('"a\\"@evil"@good'), 'good');
  assert.equal(domainOf('"a@b"'), '');
  assert.equal(domainOf('root'), '');
  assert.equal(domainOf(''), '');
});
