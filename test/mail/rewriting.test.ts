import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMailbox, mapAddresses, parseAddressList } from '../../src/mail/address.ts';
import { parseAliases } from '../../src/mail/aliases.ts';
import type { HeaderField } from '../../src/mail/header.ts';
import { formatNote } from '../../src/mail/note.ts';
import { type RewriteRules, Rewriter } from '../../src/mail/rewriting.ts';
import { fc } from '../support/properties.ts';

interface Changes extends Partial<Omit<RewriteRules, 'aliases' | 'senders'>> {
  readonly aliases?: string;
  readonly senders?: Readonly<Record<string, string>>;
}

function rewriterOf({ aliases, senders = {}, ...changes }: Changes = {}): Rewriter {
  return new Rewriter({
    locals: new Set(['me.test', 'localhost']),
    defaults: { defaultHost: 'me.test', defaultDomain: undefined },
    admin: undefined,
    aliases: () => (aliases === undefined ? undefined : parseAliases('/a', aliases)),
    readInclude: () => ({ problem: 'no file' }),
    masquerade: undefined,
    masqueradeFrom: undefined,
    senders: { entries: new Map(Object.entries(senders)) },
    rewriteTo: 'complete',
    ...changes,
  });
}

function fieldsOf(...raws: string[]): HeaderField[] {
  return raws.map((raw) => ({ name: raw.slice(0, raw.indexOf(':')).trimEnd(), raw }));
}

function header(changes: Changes, ...raws: string[]): string[] {
  return rewriterOf(changes)
    .header(fieldsOf(...raws))
    .map(({ raw }) => raw);
}

const ADMIN = { admin: 'admin@x.test' };

test('Mail for local names follows the aliases, then goes to the admin', () => {
  const table: [Changes, recipient: string, to: string[]][] = [
    [{}, 'root', ['root@me.test']],
    [{}, 'a@x.test', ['a@x.test']],
    [ADMIN, 'root', ['admin@x.test']],
    [ADMIN, 'ROOT@Me.Test', ['admin@x.test']],
    [ADMIN, '"odd name"@localhost', ['admin@x.test']],
    [ADMIN, 'a@x.test', ['a@x.test']],
    [{ ...ADMIN, aliases: 'root: a@x.test, joe' }, 'root', ['a@x.test', 'admin@x.test']],
    [{ aliases: 'root: a@x.test, joe' }, 'root@localhost', ['a@x.test', 'joe@me.test']],
    [{ aliases: 'root: a@x.test' }, 'Joe@localhost', ['Joe@localhost']],
    [{ aliases: 'joe: |prog' }, 'Joe', ['Joe@me.test']],
    [{ aliases: 'joe: |prog, a@x.test' }, 'joe', ['a@x.test']],
    [{ ...ADMIN, aliases: 'joe: |prog, a@x.test' }, 'joe', ['a@x.test', 'admin@x.test']],
    [{ ...ADMIN, aliases: 'joe: /dev/null' }, 'joe', ['admin@x.test']],
  ];
  for (const [changes, recipient, to] of table) {
    const found = rewriterOf(changes).recipients([{ address: recipient }]);
    assert.deepEqual(
      found.map(({ address }) => address),
      to,
      recipient,
    );
  }
});

test('A bare name is a user of this host though defaulthost is another, and that host is not', () => {
  const defaults = { defaultHost: 'gmail.test', defaultDomain: undefined };
  const rewriter = rewriterOf({ ...ADMIN, defaults });
  const [first, second, third] = rewriter.recipients(
    [{ address: 'root' }, { address: 'ann@gmail.test' }, { address: 'joe@gmail.test' }],
    (address) => address === 'joe@gmail.test',
  );
  assert.deepEqual(
    [first?.address, second?.address, third],
    ['admin@x.test', 'ann@gmail.test', undefined],
  );
});

test('Recipients stand once, and keep NOTIFY and the address that the sender knows', () => {
  const rewriter = rewriterOf({ aliases: 'root: a@x.test, b@x.test\ntop: root' });
  const found = rewriter.recipients([
    { address: 'b@x.test' },
    { address: 'r+x=y' },
    { address: 'top', notify: 'NEVER' },
    { address: 'root', orcpt: 'rfc822;other@x.test' },
  ]);
  assert.deepEqual(found, [
    { address: 'b@x.test' },
    { address: 'r+x=y@me.test' },
    { address: 'a@x.test', notify: 'NEVER', orcpt: 'rfc822;top@me.test' },
  ]);
  assert.deepEqual(rewriter.notes.map(formatNote), [
    'completed: recipient r+x=y: r+x=y@me.test (control/defaulthost)',
    'rewritten: recipient top: a@x.test, b@x.test (control/aliases)',
    'rewritten: recipient root: a@x.test, b@x.test (control/aliases)',
  ]);
});

test('Senders become what the world knows them by', () => {
  const map = {
    'joe@old.test': 'joe@new.test',
    '@old.test': '@x.test',
    root: 'admin@x.test',
  };
  const table: [Changes, sender: string, now: string][] = [
    [{}, '', ''],
    [{}, 'root', 'root@me.test'],
    [{ masquerade: 'x.test' }, 'root', 'root@x.test'],
    [{ masquerade: 'x.test' }, '"a b"@localhost', '"a b"@x.test'],
    [{ masquerade: 'x.test' }, 'a@y.test', 'a@y.test'],
    [{ masquerade: 'acc@x.test' }, 'root@me.test', 'acc@x.test'],
    [{ masquerade: 'acc@x.test' }, '#@[]', '#@[]'],
    [{ masquerade: 'acc@x.test' }, 'list-@me.test-@[]', 'list-@me.test-@[]'],
    [{ senders: map }, 'Joe@OLD.test', 'joe@new.test'],
    [{ senders: map }, 'Ann@old.test', 'Ann@x.test'],
    [{ senders: map }, 'root@localhost', 'admin@x.test'],
    [{ senders: map }, 'root@y.test', 'root@y.test'],
    [{ senders: map, masquerade: 'old.test' }, 'joe', 'joe@new.test'],
    [{ senders: { ...map, '*': 'acc@x.test' } }, 'root@y.test', 'acc@x.test'],
    [{ senders: { ...map, '*': 'acc@x.test' } }, 'admin@x.test', 'admin@x.test'],
    [{ senders: { '*': 'acc@x.test' } }, '', ''],
  ];
  for (const [changes, sender, now] of table) {
    assert.equal(rewriterOf(changes).sender(sender), now, sender);
  }
});

test('Of a header field only the addresses change', () => {
  const x = { masqueradeFrom: 'x.test' };
  const table: [Changes, before: string, after: string][] = [
    [{}, 'From: root (Cron Daemon)', 'From: root@me.test (Cron Daemon)'],
    [{}, 'from :\t"(Cron Daemon)" <root>', 'from :\t"(Cron Daemon)" <root@me.test>'],
    [
      x,
      'From: =?utf-8?q?J=C3=B6rg?=\r\n <root@me.test>',
      'From: =?utf-8?q?J=C3=B6rg?=\r\n <root@x.test>',
    ],
    [x, 'From: "a@b, c" <@r.test:root@me.test> (x)', 'From: "a@b, c" <root@x.test> (x)'],
    [x, 'Sender: root(a(b)) @ (c) me.test', 'Sender: root@x.test (a(b)) (c)'],
    [x, 'Reply-To: J\xc3\xb6rg <root@me.test>', 'Reply-To: J\xc3\xb6rg <root@x.test>'],
    [x, 'Reply-To: \xa0J\xf6rg <root@me.test>', 'Reply-To: \xa0J\xf6rg <root@x.test>'],
    [x, 'From: "a@evil.test"@me.test', 'From: "a@evil.test"@x.test'],
    [
      x,
      'To: root, Team: joe, a@y.test; b',
      'To: root@me.test, Team: joe@me.test, a@y.test; b@me.test',
    ],
    [{ rewriteTo: 'off' }, 'To: root', 'To: root'],
    [{}, 'Cc: two words, root, <open, a@@b', 'Cc: two words, root@me.test, <open, a@@b'],
    [{}, 'Subject: root@me.test', 'Subject: root@me.test'],
    [
      { ...ADMIN, rewriteTo: 'aliases' },
      'To: "R" <root>, a@y.test',
      'To: "R" <admin@x.test>, a@y.test',
    ],
    [{ aliases: 'l: a@x.test, b@x.test', rewriteTo: 'aliases' }, 'Cc: l', 'Cc: l@me.test'],
  ];
  for (const [changes, before, after] of table) {
    assert.deepEqual(header(changes, before), [after]);
  }
});

test('With Resent- fields the Resent- set alone is rewritten', () => {
  assert.deepEqual(
    header(
      { masqueradeFrom: 'x.test' },
      'Resent-From: joe',
      'Resent-To: ann',
      'From: root',
      'To: b',
    ),
    ['Resent-From: joe@x.test', 'Resent-To: ann@me.test', 'From: root', 'To: b'],
  );
});

test('An author who is replaced is kept where answers reach him, or beside', () => {
  const all = { senders: { '*': 'acc@x.test' } };
  const table: [Changes, before: string[], after: string[]][] = [
    [all, ['From: A <a@y.test>'], ['From: A <acc@x.test>', 'Reply-To: A <a@y.test>']],
    [
      all,
      ['From: a@y.test', 'Reply-To: b@y.test'],
      ['From: acc@x.test', 'X-Original-From: a@y.test', 'Reply-To: b@y.test'],
    ],
    [all, ['From: root'], ['From: acc@x.test', 'X-Original-From: root@me.test']],
    [all, ['From: acc@x.test'], ['From: acc@x.test']],
    [{ masqueradeFrom: 'x.test' }, ['From: root'], ['From: root@x.test']],
  ];
  for (const [changes, before, after] of table) assert.deepEqual(header(changes, ...before), after);
});

const PIECES = [
  ...[
    'root',
    'joe',
    'a',
    '"q d"',
    '@me.test',
    '@x.test',
    '@old.test',
    '<',
    '>',
    ',',
    ';',
    ':',
    ' ',
  ],
  ...['(c)', '(', '"', '\\', '\r\n ', '=?utf-8?q?=40?=', 'é', '\xa0', '.', '[1.2.3.4]'],
];
const body = fc
  .array(fc.constantFrom(...PIECES), { maxLength: 25 })
  .map((parts) => Buffer.from(parts.join('')).toString('latin1'));
const changes = fc.record({
  admin: fc.constantFrom(undefined, 'admin@x.test', 'root@me.test'),
  aliases: fc.constantFrom(
    '',
    'root: a@x.test',
    'root: joe\njoe: root',
    'a: a, joe\njoe: |x',
    '*: b@x.test',
  ),
  masquerade: fc.constantFrom(undefined, 'x.test', 'me.test', 'old.test', 'joe@me.test'),
  masqueradeFrom: fc.constantFrom(undefined, 'x.test', 'old.test', 'acc@x.test'),
  senders: fc.constantFrom<Record<string, string>>(
    {},
    { root: 'b@x.test', joe: 'c@x.test' },
    { '@old.test': '@new.test', 'root@x.test': 'r@y.test' },
    { '*': 'acc@x.test', '@me.test': '@x.test' },
  ),
  rewriteTo: fc.constantFrom('off' as const, 'complete' as const, 'aliases' as const),
});

test('Rewriting what was rewritten changes nothing, and never throws', () => {
  const name = fc.constantFrom(
    'From',
    'Sender',
    'Reply-To',
    'To',
    'Cc',
    'Resent-From',
    'Resent-To',
  );
  const field = fc.tuple(name, body).map(([each, text]) => `${each}: ${text}`);
  fc.assert(
    fc.property(changes, fc.array(field, { maxLength: 5 }), (rules, raws) => {
      const once = header(rules, ...raws);
      assert.deepEqual(header(rules, ...once), once);
    }),
    { numRuns: 500 },
  );
  const address = fc.constantFrom('root', 'joe@me.test', 'a@localhost', 'u@x.test', 'v@old.test');
  fc.assert(
    fc.property(
      changes,
      fc.array(address, { minLength: 1 }),
      (rules, [first = 'root', ...others]) => {
        const rewriter = rewriterOf(rules);
        const recipients = rewriter.recipients([
          { address: first },
          ...others.map((each) => ({ address: each })),
        ]);
        const found = recipients.map((each) => each.address);
        assert.ok(found.length > 0 && found.every(isMailbox));
        const again = rewriterOf(rules).recipients(recipients);
        assert.deepEqual(new Set(again.map((each) => each.address)), new Set(found));
        const sender = rewriter.sender(first);
        assert.equal(rewriter.sender(sender), sender);
      },
    ),
    { numRuns: 500 },
  );
});

test('Replaced addresses are read again as what they were replaced by, in the same order', () => {
  fc.assert(
    fc.property(body, (text) => {
      const before = parseAddressList(text).addresses;
      let count = 0;
      const mapped = mapAddresses(text, () => `u${count++}@n.test`);
      assert.equal(count, before.length);
      assert.deepEqual(
        parseAddressList(mapped).addresses,
        before.map((_, index) => `u${index}@n.test`),
        JSON.stringify([text, mapped]),
      );
      assert.equal(
        mapAddresses(text, (address) => address),
        text,
      );
    }),
    { numRuns: 1000 },
  );
});
