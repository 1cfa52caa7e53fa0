import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  fieldBody,
  findFields,
  formatField,
  HEADER_LIMIT,
  HeaderReader,
  HeaderTooLong,
} from '../../src/mail/header.ts';
import { WireForm } from '../../src/mail/wireform.ts';
import { fc } from '../support/properties.ts';

interface Reading {
  readonly raws: readonly string[];
  readonly body: string;
  readonly repairs: readonly string[];
}

/** Reads chunks through one reused buffer; the body is what the reader left and what came after. */
function read(chunks: readonly string[]): Reading {
  const reader = new HeaderReader();
  let body = '';
  let ended = false;
  for (const chunk of chunks) {
    const shared = Buffer.from(chunk, 'latin1');
    if (ended) {
      body += chunk;
      continue;
    }
    ended = reader.push(shared);
    shared.fill('#');
    if (ended) body += Buffer.from(reader.rest).toString('latin1');
  }
  if (!ended) {
    reader.end();
    body = Buffer.from(reader.rest).toString('latin1');
  }
  return { raws: reader.fields.map((field) => field.raw), body, repairs: reader.repairs };
}

test('headers are taken with every kind of line end and fault', () => {
  const table: [string, string[], string, RegExp?][] = [
    ['', [], ''],
    ['\nbody', [], 'body'],
    ['\r\nbody', [], 'body'],
    ['A: b\n\nbody\n', ['A: b'], 'body\n'],
    ['A: b\r\nC: d\r\n\r\nbody\r\n', ['A: b', 'C: d'], 'body\r\n'],
    ['A: b\rC: d\r\rbody\r', ['A: b', 'C: d'], 'body\r', /bare CR/],
    ['A: b\r\r\nC: d\r\r\n\r\r\nbody', ['A: b', 'C: d'], 'body', /bare CR/],
    ['A: b\n\rbody', ['A: b'], 'body', /bare CR/],
    ['A: b\r\r\rbody', ['A: b'], '\rbody', /bare CR/],
    ['A: b\n c\n\td\r\n\r\nx', ['A: b\r\n c\r\n\td'], 'x'],
    ['A:b\nEmpty:\nSubject : c\n\n', ['A:b', 'Empty:', 'Subject : c'], ''],
    ['A: b', ['A: b'], ''],
    ['A: b\n', ['A: b'], ''],
    ['A: b\r', ['A: b'], '', /bare CR/],
    ['A: b\r\n\r', ['A: b'], '', /bare CR/],
    ['A: b\n \n\nx', ['A: b\r\n '], 'x'],
    ['A: b\0c\0\n\0\nx\0', ['A: bc'], 'x\0', /NUL/],
    ['A: b\r\0\n\r\0\nx', ['A: b'], 'x', /NUL/],
    ['A: \xfc\xff\n\n', ['A: \xfc\xff'], ''],
    ['From root Sat Nov 21\nA: b\n\nx', ['A: b'], 'x', /mbox/],
    ['From root\r\n>From bob remote\r\nA: b\r\n\r\nx', ['A: b'], 'x', /mbox/],
    ['From root', [], '', /mbox/],
    ['From root\n\nx', [], 'x', /mbox/],
    ['From : root\n\n', ['From : root'], ''],
    ['A: b\nFrom root\nC: d\n\n', ['A: b'], 'From root\nC: d\n\n', /blank line .* missing/],
    ['A: b\nHello world\nx', ['A: b'], 'Hello world\nx', /blank line/],
    ['A: b\nHello\nx', ['A: b'], 'Hello\r\nx', /blank line/],
    ['A: b\nHello', ['A: b'], 'Hello', /blank line/],
    ['A: b\nHello ', ['A: b'], 'Hello ', /blank line/],
    ['Hello, world: x\n', [], 'Hello, world: x\n', /blank line/],
    [' folded\nA: b\n\n', [], ' folded\nA: b\n\n', /blank line/],
    [': no name\n', [], ': no name\n', /blank line/],
    ['A: b\n\xe9t\xe9: c\n', ['A: b'], '\xe9t\xe9: c\n', /blank line/],
    ['A: b\n.\n', ['A: b'], '.\r\n', /blank line/],
  ];
  for (const [text, raws, body, repair] of table) {
    for (const chunks of [[text], [...text], ['', text]]) {
      const reading = read(chunks);
      assert.deepEqual([reading.raws, reading.body], [raws, body], JSON.stringify(text));
      if (repair === undefined) assert.deepEqual(reading.repairs, [], JSON.stringify(text));
      else assert.match(reading.repairs.join(), repair, JSON.stringify(text));
    }
  }
});

test('the name is kept as it is written', () => {
  const reader = new HeaderReader();
  assert.equal(reader.push(Buffer.from('sUBJECT \t: a\nTo: b\n\n')), true);
  assert.deepEqual(
    reader.fields.map((field) => field.name),
    ['sUBJECT', 'To'],
  );
});

const pieces = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '\r',
        '\n',
        '\r\n',
        '\r\r\n',
        ':',
        ' ',
        '\t',
        '\0',
        'From ',
        '>From ',
        'A: b',
      ),
      fc.constantFrom('To: x\r\n', 'Subject: y\n', '\n\n', 'word', '\xe9', '\r'.repeat(20)),
    ),
    { maxLength: 30 },
  )
  .map((parts) => parts.join(''));

function crlf(text: string): string {
  const form = new WireForm();
  const head = Buffer.from(form.transform(Buffer.from(text, 'latin1'))).toString('latin1');
  return head + Buffer.from(form.end()).toString('latin1');
}

test('any split of any bytes gives the same header and the same body', () => {
  fc.assert(
    fc.property(pieces, fc.nat(), fc.nat(), (text, one, two) => {
      const first = one % (text.length + 1);
      const second = first + (two % (text.length - first + 1));
      const whole = read([text]);
      const split = read([text.slice(0, first), text.slice(first, second), text.slice(second)]);
      const single = read([...text]);
      for (const other of [split, single]) {
        assert.deepEqual(other.raws, whole.raws);
        assert.deepEqual(other.repairs, whole.repairs);
        assert.equal(crlf(other.body), crlf(whole.body));
      }
    }),
    { numRuns: 2000 },
  );
});

test('header and body together are the message in CRLF form', () => {
  fc.assert(
    fc.property(pieces, (text) => {
      const { raws, body, repairs } = read([text]);
      if (repairs.some((repair) => repair.includes('mbox'))) return;
      const header = raws.map((raw) => `${raw}\r\n`).join('');
      const message = crlf(text);
      const missing = repairs.some((repair) => repair.includes('missing'));
      if (missing) assert.equal(header + crlf(body), message);
      else assert.ok([`${header}\r\n${crlf(body)}`, header].includes(message));
      for (const raw of raws) {
        assert.match(raw, /^[!-9;-~]+[ \t]*:(?:[^\r\n\0]|\r\n[ \t])*$/);
      }
    }),
    { numRuns: 2000 },
  );
});

test('a field of several megabytes is read octet by octet, beyond the limit the reader gives up', () => {
  const octet = Buffer.from('a');
  const reader = new HeaderReader();
  assert.equal(reader.push(Buffer.from('A:')), false);
  for (let i = 2; i < HEADER_LIMIT; i += 1) reader.push(octet);
  assert.throws(() => reader.push(octet), HeaderTooLong);

  const many = new HeaderReader();
  assert.throws(() => many.push(Buffer.alloc(HEADER_LIMIT + 1, 'A:b\n')), HeaderTooLong);
  const nothing = new HeaderReader();
  assert.throws(() => nothing.push(Buffer.alloc(HEADER_LIMIT + 1)), HeaderTooLong);
});

test('a body without header or line ends is no header, however long', () => {
  const reader = new HeaderReader();
  const body = Buffer.alloc(2 * HEADER_LIMIT, 'QUJD');
  assert.equal(reader.push(body), true);
  assert.equal(Buffer.compare(reader.rest, body), 0);
  assert.equal(reader.fields.length, 0);
});

test('a big body behind a short header does not count', () => {
  const reader = new HeaderReader();
  assert.equal(reader.push(Buffer.from(`A: b\n\n${'x'.repeat(HEADER_LIMIT)}`)), true);
  assert.equal(reader.rest.length, HEADER_LIMIT);
  assert.throws(() => reader.push(Buffer.from('x')), /ended already/);
});

test('a field body is unfolded and decoded', () => {
  const table: [string, string][] = [
    ['A: b', 'b'],
    ['A:b', 'b'],
    ['A:', ''],
    ['A : \t b \t', 'b'],
    ['A:\r\n b,\r\n\tc', 'b,\tc'],
    ['A: j\xc3\xb6rg', 'jörg'],
    ['A: j\xf6rg', 'jörg'],
    ['A:\xef\xbb\xbfb', '\ufeffb'],
    ['A: b: c', 'b: c'],
  ];
  for (const [raw, body] of table) assert.equal(fieldBody({ name: 'A', raw }), body);
});

test('a made field holds one field whatever the body is', () => {
  assert.deepEqual(formatField('To', 'a@x\r\nBcc: b@y\0'), {
    name: 'To',
    raw: 'To: a@x  Bcc: b@y',
  });
  assert.equal(formatField('X\r\nY:', 'z').raw, 'X--Y-: z');
  assert.equal(formatField('To', 'jörg').raw, 'To: j\xc3\xb6rg');
  const body = fc.array(
    fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom(' ', '\r\n', 'é'.repeat(700), ', ')),
  );
  fc.assert(
    fc.property(body, (parts) => {
      const field = formatField('Subject', parts.join(''));
      const reader = new HeaderReader();
      assert.equal(reader.push(Buffer.from(`${field.raw}\r\n\r\n`, 'latin1')), true);
      assert.deepEqual(reader.fields, [field]);
      assert.deepEqual(reader.repairs, []);
      for (const line of field.raw.split('\r\n')) {
        assert.ok(line.length <= 998);
        assert.match(line, /^Subject: |^ +[^ ]/);
      }
      assert.doesNotMatch(fieldBody(field), /\p{Cc}/u);
    }),
  );
});

test('a body of common words comes back from its field as it was', () => {
  const word = fc.stringMatching(/^[!-~é€]{1,120}$/);
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 40 }), (words) => {
      const body = words.join(' ');
      assert.equal(fieldBody(formatField('X-Any', body)), body);
    }),
  );
});

test('long address lists are folded at commas within 78 columns', () => {
  const body = Array.from({ length: 40 }, (_, i) => `"User ${i}" <user${i}@example.com>`).join(
    ', ',
  );
  const lines = formatField('To', body).raw.split('\r\n');
  for (const [i, line] of lines.entries()) {
    assert.ok(line.length <= 78, line);
    if (i < lines.length - 1) assert.ok(line.endsWith(','), line);
    if (i < lines.length - 1) assert.ok(line.length > 40, line);
  }
  const short = 'a@x, b@y';
  assert.equal(formatField('To', short).raw, `To: ${short}`);
});

test('words too long for a line are broken between characters', () => {
  const field = formatField('X', 'é'.repeat(2000));
  assert.equal(fieldBody(field).replaceAll(' ', ''), 'é'.repeat(2000));
  const wide = formatField('X', `a${' '.repeat(3000)}b`);
  assert.equal(wide.raw, 'X: a b');
});

test('fields are found by name without regard to case', () => {
  const fields = [formatField('To', 'a'), formatField('Cc', 'b'), formatField('TO', 'c')];
  assert.deepEqual(findFields(fields, 'to'), [fields[0], fields[2]]);
  assert.deepEqual(findFields(fields, 'T'), []);
});
