import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DotStuffing, LONGEST_CR_RUN, WireForm } from '../../src/mail/wireform.ts';
import { fc } from '../support/properties.ts';

interface Transform {
  transform(chunk: Uint8Array): Uint8Array;
  end(): Uint8Array;
}

/** Runs the chunks through one reused input buffer, as a reader of a pipe does. */
function run(transform: Transform, chunks: readonly string[]): string {
  const shared = Buffer.alloc(Math.max(1, ...chunks.map((chunk) => chunk.length)));
  const out: string[] = [];
  for (const chunk of chunks) {
    shared.fill('\r\n.');
    shared.write(chunk, 'latin1');
    out.push(latin1(transform.transform(shared.subarray(0, chunk.length))));
  }
  out.push(latin1(transform.end()));
  return out.join('');
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}

function wire(...chunks: string[]): string {
  return run(new WireForm(), chunks);
}

function stuff(...chunks: string[]): string {
  return run(new DotStuffing(), chunks);
}

/** What WireForm has to do, said the slow way. */
function expectedWire(text: string): string {
  const held = LONGEST_CR_RUN;
  const lines = text
    .replaceAll('\0', '')
    .replace(new RegExp(`\r{${held + 1},}`, 'g'), (all) => {
      return '\n'.repeat(all.length - held) + '\r'.repeat(held);
    })
    .replace(/\r*\n|\r/g, '\n');
  const complete = lines === '' || lines.endsWith('\n') ? lines : `${lines}\n`;
  return complete.replaceAll('\n', '\r\n');
}

const EVIL = ['\n.\n', '\r.\r', '\r\n.\r', '\n.\r\n', '\r\r\n.\r\r\n', '\r\n.\r\n'];

const bytes = fc
  .array(
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom('\r', '\n', '.', '\0', 'a', '\xe9', ...EVIL) },
      { weight: 1, arbitrary: fc.string({ maxLength: 40 }).map((text) => text.slice(0, 40)) },
      { weight: 1, arbitrary: fc.nat({ max: 40 }).map((count) => '\r'.repeat(count)) },
    ),
    { maxLength: 24 },
  )
  .map((parts) => Buffer.from(parts.join(''), 'latin1').toString('latin1'));

/** A text and one way to cut it into chunks, empty ones among them. */
const cutBytes = fc
  .tuple(bytes, fc.array(fc.nat({ max: 200 }), { maxLength: 8 }))
  .map(([text, cuts]) => {
    const places = [0, ...cuts.map((cut) => Math.min(cut, text.length)), text.length];
    places.sort((a, b) => a - b);
    return { text, chunks: places.slice(1).map((end, i) => text.slice(places[i], end)) };
  });

test('every kind of line end becomes one CRLF', () => {
  const table: [string, string][] = [
    ['', ''],
    ['a', 'a\r\n'],
    ['a\n', 'a\r\n'],
    ['a\r\n', 'a\r\n'],
    ['a\r', 'a\r\n'],
    ['a\rb', 'a\r\nb\r\n'],
    ['a\r\r\nb', 'a\r\nb\r\n'],
    ['a\r\r\r\nb\n', 'a\r\nb\r\n'],
    ['a\r\rb', 'a\r\n\r\nb\r\n'],
    ['a\n\rb', 'a\r\n\r\nb\r\n'],
    ['\n\n\n', '\r\n\r\n\r\n'],
    ['\r\n\r\n', '\r\n\r\n'],
    ['a\0b\0', 'ab\r\n'],
    ['\0', ''],
    ['a\r\0\nb', 'a\r\nb\r\n'],
    ['a\0\r\n\0', 'a\r\n'],
    ['\xff\xfe\n', '\xff\xfe\r\n'],
  ];
  for (const [input, output] of table) assert.equal(wire(input), output, JSON.stringify(input));
});

test('the CRLF form of any bytes at any split is that of the whole', () => {
  fc.assert(
    fc.property(cutBytes, ({ text, chunks }) => {
      assert.equal(wire(...chunks), expectedWire(text));
    }),
    { numRuns: 2000 },
  );
});

test('the CRLF form of a CRLF form is itself', () => {
  fc.assert(
    fc.property(bytes, (text) => {
      const once = wire(text);
      assert.equal(wire(once), once);
      assert.doesNotMatch(once, /\0|\r(?!\n)|(?<!\r)\n/);
    }),
  );
});

test('a chunk in CRLF form comes back as the same object', () => {
  const chunk = Buffer.from('a\r\n\r\nb c\r\n.\r\n');
  assert.equal(new WireForm().transform(chunk), chunk);
  const plain = new Uint8Array(chunk);
  assert.equal(new WireForm().transform(plain), plain);
  const noDot = Buffer.from('a.\r\nb.c\r\n');
  assert.equal(new DotStuffing().transform(noDot), noDot);
});

test('a stream of carriage returns needs no memory', () => {
  const form = new WireForm();
  let written = 0;
  for (let i = 0; i < 100; i += 1) written += form.transform(Buffer.alloc(1000, '\r')).length;
  assert.equal(written, 2 * (100_000 - LONGEST_CR_RUN));
  assert.equal(latin1(form.transform(Buffer.from('\n'))), '\r\n');
});

test('eight-bit octets and the longest line are seen across chunks', () => {
  fc.assert(
    fc.property(cutBytes, ({ text, chunks }) => {
      const form = new WireForm();
      const lines = run(form, chunks).split('\r\n');
      assert.equal(form.longestLine, Math.max(...lines.map((line) => line.length)));
      assert.equal(form.eightBit, /[\x80-\xff]/.test(text));
    }),
  );
  const open = new WireForm();
  open.transform(Buffer.alloc(700, 'a'));
  open.transform(Buffer.alloc(700, 'a'));
  assert.equal(open.longestLine, 1400);
});

test('dots at the start of a line are doubled and the end mark is added', () => {
  const table: [string[], string][] = [
    [[], '.\r\n'],
    [['.'], '..\r\n.\r\n'],
    [['a\r\n'], 'a\r\n.\r\n'],
    [['a'], 'a\r\n.\r\n'],
    [['a\r'], 'a\r\r\n.\r\n'],
    [['.\r\n'], '..\r\n.\r\n'],
    [['..\r\n.a\r\na.\r\n'], '...\r\n..a\r\na.\r\n.\r\n'],
    [['a\r\n', '.b\r\n'], 'a\r\n..b\r\n.\r\n'],
    [['a\r', '\n', '', '.', '.', '\r', '\n'], 'a\r\n...\r\n.\r\n'],
    [['a\n.\nb\r\n'], 'a\n..\nb\r\n.\r\n'],
  ];
  for (const [input, output] of table) {
    assert.equal(stuff(...input), output, JSON.stringify(input));
  }
});

test('taking the doubled dots out again gives the message, at any split', () => {
  fc.assert(
    fc.property(cutBytes, ({ text, chunks }) => {
      const form = new WireForm();
      const parts = chunks.map((chunk) => latin1(form.transform(Buffer.from(chunk, 'latin1'))));
      parts.push(latin1(form.end()));
      const data = stuff(...parts);
      assert.ok(data.endsWith('.\r\n'));
      assert.equal(data.slice(0, -3).replace(/(^|\r\n)\.\./g, '$1.'), wire(text));
    }),
    { numRuns: 1000 },
  );
});

test('the end-of-data mark stands only at the very end, for smuggling input at every split', () => {
  for (const evil of EVIL) {
    for (const other of ['', ...EVIL]) {
      const text = `a${evil}MAIL FROM:<x@y>${other}.${evil}`;
      for (let first = 0; first <= text.length; first += 1) {
        for (let second = first; second <= text.length; second += 1) {
          assertOneEnd([text.slice(0, first), text.slice(first, second), text.slice(second)]);
        }
      }
    }
  }
});

test('the end-of-data mark stands only at the very end, for any bytes at any split', () => {
  fc.assert(
    fc.property(cutBytes, ({ chunks }) => assertOneEnd(chunks)),
    { numRuns: 1000 },
  );
});

/** Both steps chained as a session does it: each view is used before the next call. */
function assertOneEnd(chunks: readonly string[]): void {
  const form = new WireForm();
  const dots = new DotStuffing();
  // The data follow the line end of the DATA command's reply exchange.
  let data = '\r\n';
  for (const chunk of chunks) {
    data += latin1(dots.transform(form.transform(Buffer.from(chunk, 'latin1'))));
  }
  data += latin1(dots.transform(form.end())) + latin1(dots.end());
  assert.equal(data.indexOf('\r\n.\r\n'), data.length - 5, JSON.stringify(chunks));
  assert.doesNotMatch(data, /\r(?!\n)|(?<!\r)\n/);
}
