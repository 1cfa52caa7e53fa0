import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import {
  formatReply,
  isIntermediate,
  isPermanent,
  isPositive,
  MalformedReply,
  REPLY_LINE_LIMIT,
  REPLY_LINES_LIMIT,
  type Reply,
  ReplyParser,
} from '../../src/mail/reply.ts';
import { escapeText, unescapeText } from '../../src/mail/text.ts';
import { fc } from '../support/properties.ts';

function octets(text: string): Uint8Array {
  return Buffer.from(text, 'latin1');
}

function parse(text: string): readonly Reply[] {
  return new ReplyParser().push(octets(text));
}

/** What a parser makes of the chunks: all replies, and how it failed. */
function outcome(chunks: readonly Uint8Array[]): { replies: Reply[]; failure: string | undefined } {
  const parser = new ReplyParser();
  const replies: Reply[] = [];
  for (const chunk of chunks) {
    if (parser.failure !== undefined) break;
    try {
      replies.push(...parser.push(chunk));
    } catch (error) {
      assert.ok(error instanceof MalformedReply);
      assert.equal(error, parser.failure);
    }
  }
  return { replies, failure: parser.failure?.message };
}

function bytewise(bytes: Uint8Array): Uint8Array[] {
  return Array.from(bytes, (byte) => Uint8Array.of(byte));
}

test('Well-formed replies are parsed with their code, enhanced status code and lines.', () => {
  const table: [string, Reply[]][] = [
    ['250 ok\r\n', [{ code: 250, enhanced: undefined, lines: ['ok'] }]],
    ['250 ok\n', [{ code: 250, enhanced: undefined, lines: ['ok'] }]],
    ['550\r\n', [{ code: 550, enhanced: undefined, lines: [''] }]],
    ['550\n', [{ code: 550, enhanced: undefined, lines: [''] }]],
    ['550 \r\n', [{ code: 550, enhanced: undefined, lines: [''] }]],
    ['550 5.7.2\r\n', [{ code: 550, enhanced: '5.7.2', lines: ['5.7.2'] }]],
    ['250-a\r\n250 b\r\n', [{ code: 250, enhanced: undefined, lines: ['a', 'b'] }]],
    ['250-\n250\n', [{ code: 250, enhanced: undefined, lines: ['', ''] }]],
    ['250 2.0.0 550 5.1.1 no\r\n', [{ code: 250, enhanced: '2.0.0', lines: ['2.0.0 550 5.1.1 no'] }]],
    ['250 a\r\n354 b\r\n', [
      { code: 250, enhanced: undefined, lines: ['a'] },
      { code: 354, enhanced: undefined, lines: ['b'] },
    ]],
    ['250 a\rb\r\r\n', [{ code: 250, enhanced: undefined, lines: ['a\rb\r'] }]],
    ['250 \x00\x1b[2J\r\n', [{ code: 250, enhanced: undefined, lines: ['\x00\x1b[2J'] }]],
    ['250 gr\xc3\xbcn\r\n', [{ code: 250, enhanced: undefined, lines: ['grün'] }]],
    ['250 gr\xfcn\r\n', [{ code: 250, enhanced: undefined, lines: ['grün'] }]],
    ['200 \r\n', [{ code: 200, enhanced: undefined, lines: [''] }]],
    ['599 \r\n', [{ code: 599, enhanced: undefined, lines: [''] }]],
    ['', []],
    ['250 unfinished', []],
    ['250-unfinished\r\n', []],
  ]; // biome-ignore format: one row a line
  for (const [text, replies] of table) {
    assert.deepEqual(parse(text), replies, JSON.stringify(text));
    assert.deepEqual(outcome(bytewise(octets(text))).replies, replies, JSON.stringify(text));
  }
});

test('The enhanced status code comes from the first line and has the class of the reply code.', () => {
  const table: [string, string | undefined][] = [
    ['550 5.1.1 x', '5.1.1'],
    ['550 5.1.1\tx', '5.1.1'],
    ['550 5.123.456', '5.123.456'],
    ['550 4.1.1 contradicts', '5.1.1'],
    ['550 2.1.1 contradicts', '5.1.1'],
    ['450 5.7.1 contradicts', '4.7.1'],
    ['250 5.1.1 contradicts', '2.1.1'],
    ['550 3.1.1 no class', undefined],
    ['550 5.1234.1 x', undefined],
    ['550 5.01.1 x', undefined],
    ['550 5.1.1.1 x', undefined],
    ['550 5.1.1x', undefined],
    ['550 5.1 x', undefined],
    ['550  5.1.1 x', undefined],
    ['550 x 5.1.1', undefined],
    ['354 2.0.0 go', undefined],
    ['550-5.1.1 a\n550 5.2.2 b', '5.1.1'],
    ['550-a\n550 5.2.2 b', undefined],
  ];
  for (const [text, enhanced] of table) {
    assert.equal(parse(`${text}\n`)[0]?.enhanced, enhanced, text);
  }
});

test('Octets that are no reply are malformed, and the parser stays dead.', () => {
  const table: [string, RegExp][] = [
    ['\r\n', /^no reply code: ""$/],
    ['25\r\n', /^no reply code/],
    ['25 0\r\n', /^no reply code/],
    ['2500 x\r\n', /^no reply code/],
    ['250x\r\n', /^no reply code/],
    ['250\r\r\n', /^no reply code/],
    ['250\tx\r\n', /^no reply code/],
    [' 250 x\r\n', /^no reply code/],
    ['199 x\r\n', /^no reply code/],
    ['600 x\r\n', /^no reply code/],
    ['000 x\r\n', /^no reply code/],
    ['HTTP/1.1 400 Bad Request\r\n', /^no reply code: "HTTP\/1.1 400 Bad Request"$/],
    ['\x1b[2J\x9b\r\n', /^no reply code: "\\x1b\[2J\\x9b"$/],
    ['250-a\r\n251 b\r\n', /^250 and 251 in one reply$/],
    ['250-a\r\n550-b\r\n', /^250 and 550 in one reply$/],
    [`250 ${'x'.repeat(REPLY_LINE_LIMIT)}`, /^a line is longer than 2048 octets$/],
    ['250-x\r\n'.repeat(REPLY_LINES_LIMIT + 1), /^a reply has more than 256 lines$/],
  ];
  for (const [text, reason] of table) {
    for (const chunks of [[octets(text)], bytewise(octets(text))]) {
      const parser = new ReplyParser();
      const feed = () => chunks.forEach((chunk) => void parser.push(chunk));
      assert.throws(
        feed,
        (error) => error instanceof MalformedReply && reason.test(error.message),
        text,
      );
      assert.throws(() => parser.push(octets('250 ok\r\n')), MalformedReply);
      assert.throws(() => parser.push(new Uint8Array()), MalformedReply);
      assert.equal(parser.pending, true);
    }
  }
});

test('The limits are met exactly.', () => {
  const longest = `250 ${'x'.repeat(REPLY_LINE_LIMIT - 6)}\r\n`;
  assert.equal(longest.length, REPLY_LINE_LIMIT);
  assert.equal(parse(longest).length, 1);
  assert.throws(() => parse(longest.replace('x', 'xx')), MalformedReply);

  const most = `${'250-x\r\n'.repeat(REPLY_LINES_LIMIT - 1)}250 x\r\n`;
  assert.equal(parse(most)[0]?.lines.length, REPLY_LINES_LIMIT);
  assert.throws(() => parse(`250-x\r\n${most}`), MalformedReply);
});

test('A megabyte without a line end is refused at the limit.', () => {
  const parser = new ReplyParser();
  const byte = octets('x');
  let pushed = 0;
  assert.throws(() => {
    for (; pushed < 1_000_000; pushed++) parser.push(byte);
  }, MalformedReply);
  assert.equal(pushed, REPLY_LINE_LIMIT);
});

test('Replies that were complete before the malformed one are not lost.', () => {
  const parser = new ReplyParser();
  assert.deepEqual(
    parser.push(octets('250 queued\r\ngarbage\r\n250 never\r\n')),
    parse('250 queued\r\n'),
  );
  assert.equal(parser.failure?.message, 'no reply code: "garbage"');
  assert.equal(parser.pending, true);
  assert.throws(() => parser.push(new Uint8Array()), MalformedReply);
});

test('An unfinished reply is pending until its last octet.', () => {
  const parser = new ReplyParser();
  assert.equal(parser.pending, false);
  for (const byte of bytewise(octets('250-a\r\n250 b\r'))) {
    assert.deepEqual(parser.push(byte), []);
    assert.equal(parser.pending, true);
  }
  assert.equal(parser.push(octets('\n')).length, 1);
  assert.equal(parser.pending, false);
  assert.equal(parser.failure, undefined);
});

test('A pushed chunk may be overwritten by its owner.', () => {
  const parser = new ReplyParser();
  const chunk = octets('250 ab');
  parser.push(chunk);
  chunk.fill(0x78);
  assert.deepEqual(parser.push(octets('c\r\n'))[0]?.lines, ['abc']);
});

const anyLine = fc.oneof(
  fc.stringMatching(/^[2-5][0-5][0-9][ -][\x00-\x09\x0b-\xff]{0,40}\r?\n$/),
  fc.stringMatching(/^250[ -][ -~]{0,10}\r\n$/),
  fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
  fc.constant(`250 ${'x'.repeat(2045)}\n`),
);

test('No octets make it throw anything else, and chunks do not change the result.', () => {
  fc.assert(
    fc.property(
      fc.array(anyLine, { maxLength: 12 }).map((lines) => octets(lines.join(''))),
      fc.array(fc.nat({ max: 300 }), { maxLength: 12 }),
      (bytes, cuts) => {
        const whole = outcome([bytes]);
        assert.deepEqual(outcome(bytewise(bytes)), whole);
        const bounds = [0, ...cuts.sort((a, b) => a - b), bytes.length];
        const chunks = bounds.slice(1).map((end, index) => bytes.slice(bounds[index] ?? 0, end));
        assert.deepEqual(outcome(chunks), whole);
      },
    ),
  );
});

test('What it hands out can be sent again and parsed to the same reply.', () => {
  const line = fc.stringMatching(/^[\x00-\x09\x0b\x0c\x0e-\x7f]{0,30}$/);
  fc.assert(
    fc.property(
      fc.integer({ min: 200, max: 599 }),
      fc.array(line, { minLength: 1, maxLength: REPLY_LINES_LIMIT }),
      (code, lines) => {
        const text = lines.map(
          (words, at) => `${code}${at < lines.length - 1 ? '-' : ' '}${words}\r\n`,
        );
        const [reply, ...rest] = parse(text.join(''));
        assert.deepEqual(rest, []);
        assert.equal(reply?.code, code);
        assert.deepEqual(reply?.lines, lines);
      },
    ),
  );
});

test('Every code belongs to its class alone.', () => {
  for (let code = 200; code <= 599; code++) {
    const reply = { code, enhanced: undefined, lines: [''] };
    assert.deepEqual(
      [isPositive(reply), isIntermediate(reply), isPermanent(reply)],
      [2, 3, 5].map((replyClass) => Math.trunc(code / 100) === replyClass),
    );
  }
});

test('A reply is shown as the relay sent it, escaped.', () => {
  const table: [string, string[]][] = [
    ['550-5.1.1 a\r\n550 b\r\n', ['550-5.1.1 a', '550 b']],
    ['250-\r\n250\r\n', ['250-', '250']],
    ['550 a\rb\x1b[2J\\\x00\r\n', ['550 a\\x0db\\x1b[2J\\\\\\x00']],
  ];
  for (const [text, shown] of table) {
    const [reply] = parse(text);
    assert.ok(reply);
    assert.deepEqual(formatReply(reply), shown);
  }
});

test('Text is escaped where a terminal or a log reader would obey it, and nowhere else.', () => {
  const table: [string, string][] = [
    ['', ''],
    ['Grüße, 世界 😀 ~', 'Grüße, 世界 😀 ~'],
    ['a\\b', 'a\\\\b'],
    ['\t\r\n\x00\x1b\x7f\x80\x9b\x9f\xa0', '\\x09\\x0d\\x0a\\x00\\x1b\\x7f\\x80\\x9b\\x9f\xa0'],
    ['\u202egnp.exe\u2066\u061c\u200f', '\\u{202e}gnp.exe\\u{2066}\\u{61c}\\u{200f}'],
    ['\u2028\u2029', '\\u{2028}\\u{2029}'],
    ['\ud83d', '\\u{d83d}'],
    ['\ude00\ud83d', '\\u{de00}\\u{d83d}'],
    ['\\x1b', '\\\\x1b'],
  ];
  for (const [text, escaped] of table) {
    assert.equal(escapeText(text), escaped);
    assert.equal(unescapeText(escaped), text);
  }
});

test('What is escaped is what Unicode calls so, of all code units.', () => {
  const unsafe = /[\p{Cc}\\\p{Bidi_Control}\p{Zl}\p{Zp}\p{Surrogate}]/u;
  for (let code = 0; code <= 0xffff; code++) {
    const text = String.fromCharCode(code);
    assert.equal(escapeText(text) !== text, unsafe.test(text), code.toString(16));
  }
});

test('Escaped text holds nothing unsafe and gives the original back.', () => {
  const unit = fc.oneof(
    fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)),
    fc.constantFrom(
      '\\',
      'x',
      'u',
      '{',
      '}',
      '0',
      'a',
      '\x1b',
      '\x9b',
      '\u202e',
      '\ud83d',
      '\ude00',
    ),
  );
  fc.assert(
    fc.property(
      fc.array(unit).map((units) => units.join('')),
      (text) => {
        const escaped = escapeText(text);
        for (const character of escaped) {
          const code = character.codePointAt(0) ?? 0;
          assert.ok(code >= 0x20 && !(code >= 0x7f && code <= 0x9f), escaped);
          assert.ok(!(code >= 0xd800 && code <= 0xdfff), escaped);
          assert.ok(!/[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/.test(character), escaped);
        }
        // An inverse is also what makes it injective.
        assert.equal(unescapeText(escaped), text);
      },
    ),
  );
});

test('A backslash that begins no escape is malformed.', () => {
  for (const text of [
    '\\',
    'a\\',
    '\\\\\\',
    '\\n',
    '\\x1',
    '\\x1B',
    '\\xg0',
    '\\u{}',
    '\\u{12345}',
    '\\u1234',
    '\\u{12',
  ]) {
    assert.equal(unescapeText(text), undefined, text);
  }
});
