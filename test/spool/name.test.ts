import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  addressOf,
  decodeBytes,
  type EntryState,
  encodeBytes,
  formatBase,
  formatName,
  parseBase,
  parseName,
  prefixOf,
  recipientPart,
  resultName,
  senderPart,
  showPart,
  submissionPrefix,
} from '../../src/spool/name.ts';
import { fc } from '../support/properties.ts';

const TIME = 1_795_216_501_123_456;
const BASE = '20261120T231501.123456Z:4242:root@host.test:bob@example.com';
/** Linux gives no pid above 2^22. */
const PID_MAX = 4_194_304;

const address = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 400 }),
  fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes).toString('utf8')),
  fc
    .array(fc.constantFrom('.', '/', ':', '%', '\0', '\n', '\x1b', ' ', 'é', '€', 'a', '@'), {
      maxLength: 120,
    })
    .map((chars) => chars.join('')),
);
const recipient = address.filter((text) => text !== '');
const time = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const pid = fc.integer({ min: 1, max: PID_MAX });
const plain = { noNullPrototype: true };
const state: fc.Arbitrary<EntryState> = fc.oneof(
  fc.constant({ kind: 'new' as const }),
  fc.record({ kind: fc.constant('sending' as const), pid }, plain),
  fc.record(
    {
      kind: fc.constant('waiting' as const),
      attempts: fc.nat({ max: 99_999 }),
      due: fc.nat({ max: 253_402_300_799 }).map((seconds) => seconds * 1000),
    },
    plain,
  ),
  fc.record({ kind: fc.constant('held' as const), attempts: fc.nat({ max: 99_999 }) }, plain),
);

test('any address comes back from a base name, or is marked as cut', () => {
  fc.assert(
    fc.property(time, pid, address, recipient, (time, pid, sender, recipient) => {
      const base = formatBase({ time, pid, sender, recipient });
      const parsed = parseBase(base);
      assert.deepEqual(parsed, {
        time,
        pid,
        sender: senderPart(sender),
        recipient: recipientPart(recipient),
      });
      assert.equal(prefixOf(base), submissionPrefix(time, pid));
      for (const [text, part, max] of [
        [sender, senderPart(sender), 88],
        [recipient, recipientPart(recipient), 100],
      ] as const) {
        const whole = encodeBytes(Buffer.from(text));
        if (whole.length <= max) {
          assert.equal(addressOf(part), text);
        } else {
          assert.equal(addressOf(part), undefined);
          assert.match(part, /%%[0-9a-f]{32}$/);
          // What is left of it is whole characters of the encoding.
          const kept = part.slice(0, -34);
          assert.notEqual(decodeBytes(kept), undefined);
          assert.ok(whole.startsWith(kept));
          assert.ok(part.length <= max && part.length > max - 3);
        }
      }
    }),
  );
});

test('no name holds a byte that a path or a terminal obeys, and none is longer than NAME_MAX', () => {
  fc.assert(
    fc.property(time, pid, address, recipient, state, (time, pid, sender, recipient, state) => {
      const base = formatBase({ time, pid, sender, recipient });
      for (const name of [formatName(base, state), resultName(base)]) {
        assert.match(name, /^[A-Za-z0-9@._+=%:-]+$/);
        assert.ok(name.length <= 255, `${name.length}`);
      }
      for (const part of base.split(':').slice(2)) assert.ok(!part.startsWith('.'));
    }),
  );
});

test('the longest base name with the longest suffix fits NAME_MAX', () => {
  const long = `${'é'.repeat(150)}@example.com`;
  const base = formatBase({ time: TIME, pid: PID_MAX, sender: long, recipient: long });
  const due = 253_402_300_799_000;
  assert.ok(formatName(base, { kind: 'waiting', attempts: 99_999, due }).length <= 255);
  assert.ok(formatName(base, { kind: 'sending', pid: PID_MAX }).length <= 255);
});

test('addresses of 300 characters stay distinct though only their ends differ', () => {
  const parts = new Set<string>();
  for (const end of ['a', 'b', 'A', 'é', '', '%', '.']) {
    const long = `${'x'.repeat(299)}${end}`;
    for (const part of [senderPart(long), recipientPart(long)]) {
      assert.equal(addressOf(part), undefined);
      parts.add(part);
    }
  }
  assert.equal(parts.size, 14);
});

test('a cut never leaves half of an escape', () => {
  for (const shift of [0, 1, 2]) {
    const long = 'x'.repeat(shift) + 'é'.repeat(100);
    for (const part of [senderPart(long), recipientPart(long)]) {
      const kept = decodeBytes(part.slice(0, part.indexOf('%%')));
      assert.ok(kept !== undefined && kept.length > shift);
      const base = `20261120T231501.123456Z:4242:${part}:${part}`;
      assert.equal(parseBase(base)?.recipient, part);
    }
  }
});

test('different addresses have different parts', () => {
  fc.assert(
    fc.property(address, address, (one, other) => {
      fc.pre(one !== other);
      assert.notEqual(recipientPart(one), recipientPart(other));
      assert.notEqual(senderPart(one), senderPart(other));
    }),
  );
});

test('names sort by time', () => {
  fc.assert(
    fc.property(time, time, pid, pid, recipient, (one, other, pid, otherPid, recipient) => {
      fc.pre(one !== other);
      const a = formatBase({ time: one, pid, sender: '', recipient });
      const b = formatBase({ time: other, pid: otherPid, sender: 'z@z', recipient });
      assert.equal(a < b, one < other);
    }),
  );
});

test('a name in any state is read back as it was written', () => {
  fc.assert(
    fc.property(time, pid, address, recipient, state, (time, pid, sender, recipient, state) => {
      const base = formatBase({ time, pid, sender, recipient });
      assert.deepEqual(parseName(formatName(base, state)), { kind: 'entry', base, state });
      assert.deepEqual(parseName(resultName(base)), { kind: 'result', base });
    }),
  );
});

/** Names that are nearly right: pieces in some order, or a good name with one thing changed. */
const piece = fc.constantFrom(
  ...[
    ':',
    '::',
    '20261120T231501.123456Z',
    '20261120T231501Z',
    '20261331T000000.000000Z',
    '0',
    '1',
  ],
  ...[
    '4242',
    '04',
    '9999999999',
    '99999999999',
    '-1',
    '@',
    '.',
    '%',
    '%2E',
    '%2e',
    '%%',
    'a@b',
    'é',
  ],
  ...['.sending', '.spool', '.held', '.result', '\n', '\u2028', '/', `%%${'a'.repeat(32)}`],
);
const nearly = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme' }),
  fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join('')),
  fc
    .tuple(
      fc.constantFrom(
        BASE,
        `${BASE}:77.sending`,
        `${BASE}:3@20261120T234500Z.spool`,
        `${BASE}:3.held`,
        `${BASE}:.result`,
      ),
      fc.nat({ max: 110 }),
      fc.nat({ max: 3 }),
      fc.oneof(piece, fc.constant('')),
    )
    .map(([name, at, drop, insert]) => name.slice(0, at) + insert + name.slice(at + drop)),
);

test('reading never throws, and writing what was read gives the same name', () => {
  fc.assert(
    fc.property(nearly, (name) => {
      const parsed = parseName(name);
      if (parsed.kind === 'entry') assert.equal(formatName(parsed.base, parsed.state), name);
      if (parsed.kind === 'result') assert.equal(resultName(parsed.base), name);
      parseBase(name);
      addressOf(name);
      showPart(name);
      prefixOf(name);
    }),
    { numRuns: 2000 },
  );
});

test('each state of an entry has its suffix', () => {
  const due = Date.UTC(2026, 10, 20, 23, 45);
  const table: readonly [string, EntryState][] = [
    ['', { kind: 'new' }],
    [':77.sending', { kind: 'sending', pid: 77 }],
    [':3@20261120T234500Z.spool', { kind: 'waiting', attempts: 3, due }],
    [':0@20261120T234500Z.spool', { kind: 'waiting', attempts: 0, due }],
    [':3.held', { kind: 'held', attempts: 3 }],
  ];
  for (const [suffix, state] of table) {
    assert.equal(formatName(BASE, state), BASE + suffix);
    assert.deepEqual(parseName(BASE + suffix), { kind: 'entry', base: BASE, state });
  }
});

test('anything else in the folder is foreign', () => {
  const names = [
    '',
    ':::',
    'README',
    '.hidden',
    BASE.replace('Z:', ':'),
    BASE.replace('20261120', '20261131'),
    BASE.replace('T2315', 'T2415'),
    BASE.replace('T231501', 'T231560'),
    BASE.replace('20261120', '20260230'),
    BASE.replace(':4242:', ':0:'),
    BASE.replace(':4242:', ':04242:'),
    BASE.replace(':4242:', ':-1:'),
    BASE.replace('bob@example.com', ''),
    BASE.replace('bob', 'b%6fb'),
    BASE.replace('bob', 'b%6'),
    BASE.replace('bob', 'b%%b'),
    BASE.replace('bob', 'b b'),
    BASE.replace('bob', 'b\nb'),
    BASE.replace('bob', 'bé'),
    `${BASE}\n`,
    `${BASE}:`,
    `${BASE}:.sending`,
    `${BASE}:.held`,
    `${BASE}:77.sent`,
    `${BASE}:077.sending`,
    `${BASE}:3@20261120T234500Z.held`,
    `${BASE}:3@20261120T234500Z.sending`,
    `${BASE}:3.spool`,
    `${BASE}:3@20261120T240000Z.spool`,
    `${BASE}:3@20261120T234500.spool`,
    `${BASE}:3@20261120T234500Z.spool~`,
    `${BASE}:3@20261120T234500Z.spool:x`,
    `${BASE}:.result.gz`,
    `${BASE}.gz:x`,
    `${BASE}:x`,
  ];
  for (const name of names) assert.deepEqual(parseName(name), { kind: 'foreign' }, name);
});

test('the null sender is empty and a leading dot is escaped', () => {
  const base = formatBase({ time: TIME, pid: 4242, sender: '', recipient: '.a/b:c%@x' });
  assert.equal(base, '20261120T231501.123456Z:4242::%2Ea%2Fb%3Ac%25@x');
  assert.deepEqual(parseBase(base), {
    time: TIME,
    pid: 4242,
    sender: '',
    recipient: '%2Ea%2Fb%3Ac%25@x',
  });
});

test('people see an address decoded only where no byte of it misleads them', () => {
  const table: readonly [string, string][] = [
    ['bob@example.com', 'bob@example.com'],
    ['b%2Fb@example.com', 'b/b@example.com'],
    ['b%1B%5B2J@example.com', 'b%1B%5B2J@example.com'],
    ['b%20b', 'b%20b'],
    ['%C3%A9@x', '%C3%A9@x'],
    ['%FF@x', '%FF@x'],
    [`x%%${'a'.repeat(32)}`, `x%%${'a'.repeat(32)}`],
  ];
  for (const [part, shown] of table) assert.equal(showPart(part), shown);
});

test('any bytes come back from their encoding', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      assert.deepEqual(decodeBytes(encodeBytes(bytes)), Buffer.from(bytes));
    }),
  );
});
