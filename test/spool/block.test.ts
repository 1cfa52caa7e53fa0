import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Envelope, Origin } from '../../src/mail/envelope.ts';
import {
  BadBlock,
  COMPLETED_OFFSET,
  formatBlock,
  formatCompleted,
  hasBlock,
  parseBlock,
} from '../../src/spool/block.ts';
import { fc } from '../support/properties.ts';

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom('', ' ', '\n', '\n\n', 'a NOTIFY=NEVER', 'a\nrecipient: x', '.', '\u2028', '%'),
);
const filled = text.filter((value) => value !== '');
const recipient = fc.record(
  {
    address: filled,
    notify: fc.constantFrom('NEVER', 'SUCCESS', 'SUCCESS,FAILURE,DELAY'),
    orcpt: filled,
  },
  { requiredKeys: ['address'], noNullPrototype: true },
);
const envelope: fc.Arbitrary<Envelope> = fc.record(
  {
    sender: text,
    recipients: fc
      .tuple(recipient, fc.array(recipient, { maxLength: 5 }))
      .map(([first, others]): Envelope['recipients'] => [first, ...others]),
    ret: fc.constantFrom('FULL' as const, 'HDRS' as const),
    envid: text,
    smtpUtf8: fc.constant(true as const),
    requireTls: fc.constant(true as const),
  },
  { requiredKeys: ['sender', 'recipients'], noNullPrototype: true },
);
const origin: fc.Arbitrary<Origin> = fc.record(
  {
    uid: fc.nat({ max: 4_294_967_295 }),
    pid: fc.integer({ min: 1, max: 4_194_304 }),
    time: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    program: fc.constantFrom('sendmail', 'qmail-queue', 'picorelay'),
  },
  { noNullPrototype: true },
);
const completed = fc.record({
  size: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
  body: fc.constantFrom('7BIT' as const, '8BITMIME' as const),
});

/** A block as it is in the file once it is complete, without its empty line. */
function complete(block: string, size: number, body: '7BIT' | '8BITMIME'): string {
  const filled = formatCompleted({ size, body });
  const rest = block.slice(COMPLETED_OFFSET + filled.length);
  return `${block.slice(0, COMPLETED_OFFSET)}${filled}${rest}`.slice(0, -2);
}

test('notes and repairs come back from the block, and no note ends it early', () => {
  const notes = fc.array(text, { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(envelope, origin, notes, (envelope, origin, notes) => {
      const block = formatBlock(envelope, { ...origin, notes }, true);
      assert.equal(block.indexOf('\n\n'), block.length - 2);
      const repairs = ['long line: folded', '8-bit text: declared as utf-8'];
      const filled = formatCompleted({ size: 7, body: '7BIT', repairs });
      const rest = block.slice(COMPLETED_OFFSET + filled.length);
      const stored = Buffer.from(`${block.slice(0, COMPLETED_OFFSET)}${filled}${rest}`);
      assert.deepEqual(parseBlock(stored.toString('latin1').slice(0, -2)).origin, {
        ...origin,
        notes: [...notes, ...repairs.map((each) => `repaired: ${each}`)],
      });
    }),
  );
});

test('any envelope comes back from its block', () => {
  fc.assert(
    fc.property(envelope, origin, completed, (envelope, origin, { size, body }) => {
      const block = formatBlock(envelope, origin);
      assert.ok(hasBlock(Buffer.from(block)));
      // One empty line, at the end: no address can end the block early.
      assert.equal(block.indexOf('\n\n'), block.length - 2);
      assert.ok(/^[\x20-\x7e\n]*$/.test(block));
      assert.deepEqual(parseBlock(complete(block, size, body)), { envelope, origin, size, body });
    }),
  );
});

test('size and body type take the same room whatever they are', () => {
  fc.assert(
    fc.property(completed, (values) => {
      assert.equal(
        formatCompleted(values).length,
        formatCompleted({ size: 0, body: '7BIT' }).length,
      );
    }),
  );
});

const GOOD = [
  'picorelay: 1',
  'size: 0000000000000432',
  'body: 8BITMIME',
  'time: 1795216501123456',
  'pid: 4242',
  'uid: 1000',
  'program: sendmail',
  'sender: root@host.test',
  'recipient: bob@example.com',
  'recipient: ann@example.com NOTIFY=FAILURE ORCPT=rfc822%3Bann@example.com',
];

function goodBut(find: string, replacement: string): string {
  const changed = GOOD.map((line) => (line.startsWith(find) ? replacement : line));
  assert.notDeepEqual(changed, GOOD);
  return changed.join('\n');
}

test('a block that is well formed is taken', () => {
  const { envelope } = parseBlock(GOOD.join('\n'));
  assert.deepEqual(envelope, {
    sender: 'root@host.test',
    recipients: [
      { address: 'bob@example.com' },
      { address: 'ann@example.com', notify: 'FAILURE', orcpt: 'rfc822;ann@example.com' },
    ],
  });
});

test('what is wrong with a block is said', () => {
  const malformed = (key: string) => `"${key}" in the envelope block is malformed`;
  const table: readonly [string, string][] = [
    ['', 'line 1 of the envelope block is no "key: value"'],
    ['picorelay: 2', 'the envelope block is of another version; this program knows version 1'],
    [goodBut('pid', 'pid 4242'), 'line 5 of the envelope block is no "key: value"'],
    [goodBut('pid', ''), 'line 5 of the envelope block is no "key: value"'],
    [goodBut('pid', 'pid: 4242\r'), 'line 5 of the envelope block is no "key: value"'],
    [goodBut('pid', 'size: 1'), 'the envelope block says "size" twice'],
    [goodBut('pid', 'pid: 1\npid: 1'), 'the envelope block says "pid" twice'],
    [goodBut('pid', 'pids: 1'), 'the envelope block lacks "pid"'],
    [goodBut('pid', 'pid: 1\nx: y'), 'the envelope block has an unknown key "x"'],
    [goodBut('size', 'size: -1'), malformed('size')],
    [goodBut('size', 'size: 1e3'), malformed('size')],
    [goodBut('size', 'size: 12345678901234567'), malformed('size')],
    [goodBut('size', 'size: '), malformed('size')],
    [goodBut('body', 'body: BINARYMIME'), malformed('body')],
    [goodBut('time', 'time: 1.5'), malformed('time')],
    [goodBut('uid', 'uid: root'), malformed('uid')],
    [goodBut('program', 'program: a b'), malformed('program')],
    [goodBut('program', `program: ${'a'.repeat(41)}`), malformed('program')],
    [goodBut('program', 'program: sendmail\nret: BODY'), malformed('ret')],
    [goodBut('sender', 'sender: a b'), 'an address in the envelope block is malformed'],
    [goodBut('sender', 'sender: %zz'), 'an address in the envelope block is malformed'],
    [goodBut('program', 'program: x\nenvid: %'), 'an address in the envelope block is malformed'],
    [goodBut('recipient: b', 'recipient: '), 'a recipient in the envelope block is malformed'],
    [goodBut('recipient: b', 'recipient: a b'), 'a recipient in the envelope block is malformed'],
    [
      goodBut('recipient: b', 'recipient: a NOTIFY=x'),
      'a recipient in the envelope block is malformed',
    ],
    [
      goodBut('recipient: b', 'recipient: a ORCPT=x NOTIFY=NEVER'),
      'a recipient in the envelope block is malformed',
    ],
    [
      GOOD.filter((line) => !line.startsWith('recipient')).join('\n'),
      'the envelope block names no recipient',
    ],
    ...GOOD.slice(1, 8).map((line): [string, string] => {
      const key = line.slice(0, line.indexOf(':'));
      return [
        GOOD.filter((other) => other !== line).join('\n'),
        `the envelope block lacks "${key}"`,
      ];
    }),
  ];
  for (const [block, message] of table) {
    assert.throws(() => parseBlock(block), { name: 'BadBlock', message }, block);
  }
});

test('whatever the text is, reading it throws nothing but BadBlock', () => {
  const line = fc.oneof(
    fc.constantFrom(...GOOD, '', 'ret: FULL', 'envid: x', 'constructor: 1', '__proto__: 1'),
    fc.string({ unit: 'binary' }),
    fc.string().map((value) => `recipient: ${value}`),
  );
  const texts = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(line, { maxLength: 14 }).map((lines) => lines.join('\n')),
    fc
      .tuple(fc.nat({ max: 260 }), fc.nat({ max: 4 }), fc.string({ maxLength: 3 }))
      .map(([at, drop, insert]) => {
        const good = GOOD.join('\n');
        return good.slice(0, at) + insert + good.slice(at + drop);
      }),
  );
  fc.assert(
    fc.property(texts, (text) => {
      try {
        assert.ok(parseBlock(text).envelope.recipients.length > 0);
      } catch (error) {
        assert.ok(error instanceof BadBlock, String(error));
      }
    }),
    { numRuns: 1000 },
  );
});

test('only a file that begins with the first key has a block', () => {
  for (const [start, expected] of [
    ['picorelay: 1\n', true],
    ['picorelay: 2\n', true],
    ['picorelay:', false],
    ['Picorelay: 1\n', false],
    [' picorelay: 1\n', false],
    ['', false],
  ] as const) {
    assert.equal(hasBlock(Buffer.from(start)), expected, start);
  }
});
