import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMailbox } from '../../src/mail/address.ts';
import { mailboxOf, reversePathFor, verpBase } from '../../src/mail/raw-address.ts';
import { fc } from '../support/properties.ts';

test('a raw address becomes a mailbox by quoting its local part', () => {
  const table = [
    ['', ''],
    ['a@b.test', 'a@b.test'],
    ['a b@c.test', '"a b"@c.test'],
    ['a@b@c.test', '"a@b"@c.test'],
    ['a"\\@c.test', '"a\\"\\\\"@c.test'],
    ['.a@c.test', '".a"@c.test'],
    ['"a b"@c.test', '"a b"@c.test'],
    ['@c.test', '""@c.test'],
    ['jürgen@c.test', 'jürgen@c.test'],
    ['local', 'local'],
    ['a b', '"a b"'],
    ['list-@b.test-@[]', 'list-@b.test-@[]'],
  ] as const;
  for (const [raw, mailbox] of table) assert.equal(mailboxOf(raw), mailbox, raw);
});

test('any printable local part at a host makes a mailbox', () => {
  const local = fc.string({ unit: fc.constantFrom(...' "\\@.<>(),;:[]aé'), maxLength: 20 });
  fc.assert(fc.property(local, (text) => isMailbox(mailboxOf(`${text}@host.test`))));
});

test('a variable reverse-path names each recipient', () => {
  const table = [
    ['list-@h.test-@[]', 'bob@x.test', 'list-bob=x.test@h.test'],
    ['list-@h.test-@[]', '"b o\\"b"@x.test', '"list-b o\\"b=x.test"@h.test'],
    ['a b-@h.test-@[]', 'bob@x.test', '"a b-bob=x.test"@h.test'],
    ['list@h.test', 'bob@x.test', 'list@h.test'],
    ['', 'bob@x.test', ''],
    ['-@[]', 'bob@x.test', '-@[]'],
    ['#@[]', 'bob@x.test', '#@[]'],
  ] as const;
  for (const [sender, recipient, path] of table) {
    assert.equal(reversePathFor(sender, recipient), path, sender);
  }
  assert.equal(verpBase('list-@h.test-@[]'), 'list-@h.test');
  for (const other of ['', 'a@b.test', '#@[]', 'a@[]', '-@[]', 'list-@[]']) {
    assert.equal(verpBase(other), undefined, other);
  }
});
