import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEEPEST } from '../../src/mail/mime.ts';
import { repairOf, sevenBitForm } from '../../src/mail/repair.ts';
import { WireForm } from '../../src/mail/wireform.ts';
import { makeCorpus } from '../corpus/make.ts';
import { fc } from '../support/properties.ts';

interface Mended {
  readonly text: string;
  readonly repairs: readonly string[];
}

/** What becomes of a message, given in pieces of `size` octets in a buffer that is used again. */
function mend(message: string, size = 64 * 1024): Mended {
  const { wire, form } = wireForm(message);
  const repair = repairOf(form, () => inPieces(wire, size));
  if (repair === undefined) return { text: wire.toString('latin1'), repairs: [] };
  const parts: string[] = [];
  for (const piece of repair.pieces()) parts.push(Buffer.from(piece).toString('latin1'));
  return { text: parts.join(''), repairs: repair.repairs };
}

function wireForm(message: string): { wire: Buffer; form: WireForm } {
  const form = new WireForm();
  const start = Buffer.from(form.transform(Buffer.from(message, 'latin1')));
  return { wire: Buffer.concat([start, form.end()]), form };
}

function* inPieces(bytes: Buffer, size: number): Generator<Uint8Array, void, undefined> {
  const shared = Buffer.alloc(size);
  for (let at = 0; at < bytes.length; at += size) {
    const length = bytes.copy(shared, 0, at, at + size);
    yield shared.subarray(0, length);
    shared.fill('\r\n--b\r\n');
  }
}

function octets(text: string): string {
  return Buffer.from(text).toString('latin1');
}

const UTF8 = octets('Grüße');
const LONG = `${'word '.repeat(300)}end`;
const MIME = 'MIME-Version: 1.0\n';

const QUOTED = 'line over 998 octets: quoted-printable';
const AS_8BIT = '8-bit body without its encoding: declared as 8bit';

/** Message, repaired message, repairs. A blank line stands for itself, line ends become CRLF. */
const TABLE: Readonly<Record<string, readonly [string, string, readonly string[]]>> = {
  'Text of 7 bits and short lines stays as it is': ['A: b\n\ntext\n', 'A: b\n\ntext\n', []],
  'Lines of 998 octets stay as they are': [
    `A: b\n\n${'x'.repeat(998)}\n`,
    `A: b\n\n${'x'.repeat(998)}\n`,
    [],
  ],
  'A line of 999 octets makes text quoted-printable': [
    `A: b\n\n${'x'.repeat(999)}\na=b \n\n\tc\t\n`,
    `A: b\nMIME-Version: 1.0\nContent-Type: text/plain; charset=us-ascii\nContent-Transfer-Encoding: quoted-printable\n\n${`${'x'.repeat(75)}=\n`.repeat(13)}${'x'.repeat(24)}\na=3Db=20\n\n\tc=09\n`,
    [QUOTED],
  ],
  'A soft break never begins a line that could be a boundary': [
    `A: b\n\n${'x'.repeat(75)}--b${'y'.repeat(921)}\n`,
    `A: b\nMIME-Version: 1.0\nContent-Type: text/plain; charset=us-ascii\nContent-Transfer-Encoding: quoted-printable\n\n${'x'.repeat(75)}=\n=2D-b${'y'.repeat(70)}=\n${`${'y'.repeat(75)}=\n`.repeat(11)}${'y'.repeat(26)}\n`,
    [QUOTED],
  ],
  'Text of UTF-8 is declared': [
    `A: b\n\n${UTF8}\n`,
    `A: b\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n${UTF8}\n`,
    ['8-bit text without a charset: declared as utf-8', AS_8BIT],
  ],
  'Text of 8 bits that is no UTF-8 is declared by the name for that': [
    'A: b\n\nGr\xfc\xdfe\n',
    'A: b\nMIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\nContent-Transfer-Encoding: 8bit\n\nGr\xfc\xdfe\n',
    ['8-bit text without a charset: declared as unknown-8bit', AS_8BIT],
  ],
  'A character that the end of a line cuts is no UTF-8': [
    'A: b\n\n\xc3\n\xbc\n',
    'A: b\nMIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\nContent-Transfer-Encoding: 8bit\n\n\xc3\n\xbc\n',
    ['8-bit text without a charset: declared as unknown-8bit', AS_8BIT],
  ],
  'Octets above 127 in the header alone are none of this': [
    `A: ${UTF8}\n\ntext\n`,
    `A: ${UTF8}\n\ntext\n`,
    [],
  ],
  'A declared charset stays as it is': [
    `${MIME}Content-Type: text/plain; charset="iso-8859-1"\n\n${UTF8}\n`,
    `${MIME}Content-Type: text/plain; charset="iso-8859-1"\n\n${UTF8}\n`,
    [],
  ],
  'A charset joins the parameters that are there': [
    `${MIME}Content-Type: text/html; format=flowed;\n delsp=yes\n\n${UTF8}\n`,
    `${MIME}Content-Type: text/html; charset=utf-8; format=flowed;\n delsp=yes\nContent-Transfer-Encoding: 8bit\n\n${UTF8}\n`,
    ['8-bit text without a charset: declared as utf-8', AS_8BIT],
  ],
  'A charset that has no room gets a line': [
    `${MIME}Content-Type: text/html; name="a name that takes nearly all of the line"\nContent-Transfer-Encoding: 8bit\n\n${UTF8}\n`,
    `${MIME}Content-Type: text/html;\n charset=utf-8; name="a name that takes nearly all of the line"\nContent-Transfer-Encoding: 8bit\n\n${UTF8}\n`,
    ['8-bit text without a charset: declared as utf-8'],
  ],
  'A charset in a comment is none': [
    `${MIME}Content-Type: text/plain (; charset=x)\n\n${UTF8}\n`,
    `${MIME}Content-Type: text/plain; charset=utf-8 (; charset=x)\nContent-Transfer-Encoding: 8bit\n\n${UTF8}\n`,
    ['8-bit text without a charset: declared as utf-8', AS_8BIT],
  ],
  'A type that is not valid is replaced': [
    `${MIME}Content-Type: text\n\n${UTF8}\n`,
    `${MIME}Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n${UTF8}\n`,
    ['8-bit text without a charset: declared as utf-8', AS_8BIT],
  ],
  'What says 7bit and is not says 8bit': [
    `${MIME}Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 7BIT\nA: b\n\n--b\n\n${UTF8}\n--b--\n`,
    `${MIME}Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\nA: b\n\n--b\n\n${UTF8}\n--b--\n`,
    [AS_8BIT],
  ],
  'New fields of a header without its blank line bring one': [
    `A: b\n${UTF8} is the body\n`,
    `A: b\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n${UTF8} is the body\n`,
    ['8-bit text without a charset: declared as utf-8', AS_8BIT],
  ],
  'Only the part with the long line is encoded': [
    `Content-Type: multipart/mixed; boundary="b b"\n\nfirst\n--b b\n\nshort \n--b b \nContent-Transfer-Encoding: 7bit\nX: y\nContent-Transfer-Encoding: 7bit\n\n${'='.repeat(1000)}\n--b b--\nlast\n`,
    `Content-Type: multipart/mixed; boundary="b b"\n\nfirst\n--b b\n\nshort \n--b b \nContent-Transfer-Encoding: quoted-printable\nX: y\n\n${`${'=3D'.repeat(25)}=\n`.repeat(39)}${'=3D'.repeat(25)}\n--b b--\nlast\n`,
    [QUOTED],
  ],
  'A long line that begins like a boundary is none': [
    `Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--b${' '.repeat(1000)}\n--b--\n`,
    `Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: quoted-printable\n\n--b${' '.repeat(72)}=\n${`${' '.repeat(75)}=\n`.repeat(12)}${' '.repeat(27)}=20\n--b--\n`,
    [QUOTED],
  ],
  'Data becomes base64, its last line end belongs to the boundary': [
    `${MIME}Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: image/png\n\n${'\x90'.repeat(1000)}\n--b--\n`,
    `${MIME}Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\n${base64Lines('\x90'.repeat(1000))}--b--\n`,
    ['line over 998 octets: base64'],
  ],
  'Data in a multipart without its end boundary end the same way': [
    `${MIME}Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: image/png\n\n${'\x90'.repeat(1000)}\n`,
    `${MIME}Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\n${base64Lines('\x90'.repeat(1000))}`,
    ['line over 998 octets: base64'],
  ],
  'Data that is the whole message keeps its last line end': [
    `${MIME}Content-Type: image/png\n\n${'\x90'.repeat(1000)}\n\nx\n`,
    `${MIME}Content-Type: image/png\nContent-Transfer-Encoding: base64\n\n${base64Lines(`${'\x90'.repeat(1000)}\r\n\r\nx\r\n`)}`,
    ['line over 998 octets: base64'],
  ],
  'Long lines of base64 are wrapped': [
    `${MIME}Content-Transfer-Encoding: BASE64\n\n${'QUJD'.repeat(20)}\n${'QUJD'.repeat(250)} !\n`,
    `${MIME}Content-Transfer-Encoding: BASE64\n\n${'QUJD'.repeat(20)}\n${`${'QUJD'.repeat(19)}\n`.repeat(13)}${'QUJD'.repeat(3)}\n`,
    ['line over 998 octets in base64: wrapped'],
  ],
  'Long lines of quoted-printable get soft breaks, never within an escape': [
    `${MIME}Content-Transfer-Encoding: quoted-printable\n\n=20=\nx${'=3D'.repeat(333)}-=\nend\n`,
    `${MIME}Content-Transfer-Encoding: quoted-printable\n\n=20=\nx${'=3D'.repeat(24)}=\n${`${'=3D'.repeat(25)}=\n`.repeat(12)}${'=3D'.repeat(9)}-=\nend\n`,
    ['line over 998 octets in quoted-printable: soft line breaks'],
  ],
  'A long field is folded at white space': [
    `A: ${'x'.repeat(500)} ${'y'.repeat(500)}\n\ntext\n`,
    `A: ${'x'.repeat(500)}\n ${'y'.repeat(500)}\n\ntext\n`,
    ['line over 998 octets: folded'],
  ],
  'A word that is longer than a line is cut': [
    `A: ${'x'.repeat(1990)}\n\ntext\n`,
    `A: ${'x'.repeat(995)}\n ${'x'.repeat(995)}\n\ntext\n`,
    ['line over 998 octets: folded'],
  ],
  'A word is not cut within a character': [
    `A: ${'x'.repeat(994)}${octets('€')}y\n\ntext\n`,
    `A: ${'x'.repeat(994)}\n ${octets('€')}y\n\ntext\n`,
    ['line over 998 octets: folded'],
  ],
  'A fold leaves no blank line in the header': [
    `A:${' '.repeat(3000)}\nB: x${' '.repeat(3000)}\n ${' '.repeat(3000)}\nC: d\n\ntext\n`,
    `A:\nB: x${' '.repeat(994)}\nC: d\n\ntext\n`,
    ['line over 998 octets: folded'],
  ],
  'A preamble is folded and makes no boundary': [
    `Content-Type: multipart/mixed; boundary=b\n\n--b${' '.repeat(1000)}x\n--b\n\n--b--\n`,
    `Content-Type: multipart/mixed; boundary=b\n\n --b${' '.repeat(994)}\n${' '.repeat(6)}x\n--b\n\n--b--\n`,
    ['line over 998 octets: folded'],
  ],
  'A message within a message is repaired there': [
    `${MIME}Content-Type: message/rfc822\n\nA: b\n\n${'x'.repeat(999)}\n`,
    `${MIME}Content-Type: message/rfc822\n\nA: b\nMIME-Version: 1.0\nContent-Type: text/plain; charset=us-ascii\nContent-Transfer-Encoding: quoted-printable\n\n${`${'x'.repeat(75)}=\n`.repeat(13)}${'x'.repeat(24)}\n`,
    [QUOTED],
  ],
};

function base64Lines(text: string): string {
  return Buffer.from(text, 'latin1')
    .toString('base64')
    .replace(/.{1,76}/g, '$&\n');
}

for (const [title, [message, expected, repairs]] of Object.entries(TABLE)) {
  test(title, () => {
    for (const size of [64 * 1024, 1, 999]) {
      const mended = mend(message, size);
      assert.equal(mended.text, expected.replaceAll('\n', '\r\n'));
      assert.deepEqual(mended.repairs, repairs);
    }
  });
}

test('A multipart that lies too deep is one leaf, whose long lines are folded', () => {
  const nested = (depth: number) => {
    let text = `\n${LONG}\n`;
    for (let level = depth; level > 0; level -= 1) {
      text = `Content-Type: multipart/mixed; boundary=b${level}.\n\n--b${level}.\n${text}--b${level}.--\n`;
    }
    return mend(text).repairs;
  };
  assert.deepEqual(nested(DEEPEST), [QUOTED]);
  assert.deepEqual(nested(DEEPEST + 1), ['line over 998 octets: folded']);
});

const PIECES = [
  'Content-Type: multipart/mixed; boundary=b\r\n',
  'Content-Type: multipart/digest; boundary="--"\r\n',
  'Content-Type: message/rfc822\r\n',
  'Content-Type: text/plain',
  'Content-Type: image/png;\r\n name="x"\r\n',
  '; charset=x\r\n',
  'Content-Transfer-Encoding: base64\r\n',
  'Content-Transfer-Encoding: Quoted-Printable\r\n',
  'content-transfer-encoding : 7bit\r\n',
  'MIME-Version: 1.0\r\n',
  '\r\n',
  '\r\n\r\n',
  '\r\n--b\r\n',
  '\r\n--b--\r\n',
  '\r\n----\r\n',
  '--b',
  ' ',
  '\t',
  ':',
  '=',
  '-',
  '"',
  '(',
  UTF8,
  '\xc3',
  'From x\r\n',
  'A: b\r\n',
  ' '.repeat(1001),
  '-'.repeat(1001),
  '='.repeat(999),
  'x'.repeat(998),
  `--b${' '.repeat(997)}`,
  LONG,
  octets('€ä '.repeat(200)),
];

const messages = fc
  .array(fc.constantFrom(...PIECES), { maxLength: 40 })
  .map((parts) => parts.join(''));

function isAllowed(text: string): boolean {
  return text.split('\r\n').every((line) => line.length <= 998 && !/[\r\n]/.test(line));
}

test('Whatever comes, the repaired message has no long line and needs no further repair', () => {
  fc.assert(
    fc.property(messages, (message) => {
      const once = mend(message);
      assert.ok(isAllowed(once.text));
      assert.deepEqual(mend(once.text), { text: once.text, repairs: [] });
      const { wire, form } = wireForm(message);
      if (form.longestLine <= 998 && !form.eightBit) {
        assert.equal(once.text, wire.toString('latin1'));
      }
    }),
    { numRuns: 3000 },
  );
});

test('Any split of a message gives the same repair', () => {
  fc.assert(
    fc.property(messages, fc.integer({ min: 1, max: 3000 }), (message, size) => {
      assert.deepEqual(mend(message, size), mend(message));
    }),
    { numRuns: 1000 },
  );
});

test('Every message of the corpus has short lines after one repair and needs no second one', () => {
  let repaired = 0;
  for (const { name, bytes } of makeCorpus()) {
    const once = mend(bytes.toString('latin1'));
    if (once.repairs.length > 0) repaired += 1;
    assert.ok(isAllowed(once.text), name);
    assert.deepEqual(mend(once.text).repairs, [], name);
  }
  assert.ok(repaired > 150, `${repaired} repaired`);
});

test('A large message is read three times at most and given in small pieces', () => {
  const size = 24 * 1024 * 1024;
  const piece = Buffer.alloc(64 * 1024, 'all work = and -- no. play? ');
  const heads = [
    'A: b\r\n\r\n',
    'Content-Type: image/png\r\n\r\n',
    'Content-Transfer-Encoding: base64\r\n\r\n',
    'Content-Transfer-Encoding: quoted-printable\r\n\r\n',
    'Content-Type: multipart/mixed; boundary=b\r\n\r\n',
    'A: ',
    `Content-Type: text/plain; name="`,
  ];
  for (const head of heads) {
    let read = 0;
    const source = function* (): Generator<Uint8Array, void, undefined> {
      yield Buffer.from(head);
      for (let at = 0; at < size; at += piece.length) {
        read += piece.length;
        yield piece;
      }
    };
    const repair = repairOf({ longestLine: size, eightBit: true }, source);
    let largest = 0;
    for (const { length } of repair?.pieces() ?? []) largest = Math.max(largest, length);
    assert.ok(read <= 3 * size, `${read} octets read`);
    assert.ok(largest > 0 && largest < 512 * 1024, `a piece of ${largest} octets`);
  }
});

/** The form for a relay without 8BITMIME; `=` where there is nothing to do. */
function narrow(message: string, size = 64 * 1024): string {
  const { wire } = wireForm(message);
  const form = sevenBitForm(() => inPieces(wire, size));
  if (form === undefined) return '=';
  if ('stuck' in form) return form.stuck;
  return [...form.pieces()].map((piece) => Buffer.from(piece).toString('latin1')).join('');
}

const TEXT = 'Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n';
const AS_TEXT = TEXT.replace('8bit', 'quoted-printable');
const HI = 'Gr=C3=BC=C3=9Fe';
const MIXED = `${MIME}Content-Type: multipart/mixed; boundary=b\n`;
const SIGNED = `${MIME}Content-Type: multipart/signed; boundary=b\n`;
const IN_SIGNED = 'a part with 8-bit text is signed or encrypted';

const NARROW: Readonly<Record<string, readonly [string, string]>> = {
  'Text of 7 bits is left alone': [`${MIME}${TEXT}\ntext\n`, '='],
  'Octets above 127 in the header are left alone': [`A: ${UTF8}\n\ntext\n`, '='],
  'Text becomes quoted-printable': [
    `${MIME}${TEXT}\n${UTF8} a=b \n.\n`,
    `${MIME}${AS_TEXT}\n${HI} a=3Db=20\n.\n`,
  ],
  'Text that nothing declares is declared': [
    `A: b\n\n${UTF8}\n`,
    `A: b\n${MIME}Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n${HI}\n`,
  ],
  'Data become base64': [
    `${MIME}Content-Type: image/png\nContent-Transfer-Encoding: binary\n\n${UTF8}\n`,
    `${MIME}Content-Type: image/png\nContent-Transfer-Encoding: base64\n\n${base64Lines(`${UTF8}\r\n`)}`,
  ],
  'Of a multipart only the parts that need it': [
    `${MIXED}Content-Transfer-Encoding: 8bit\n\nsee ${UTF8}\n--b\n${TEXT}\n${UTF8}\n--b\n\ntext=\n--b--\n`,
    `${MIXED}Content-Transfer-Encoding: 7bit\n\nsee Gr????e\n--b\n${AS_TEXT}\n${HI}\n--b\n\ntext=\n--b--\n`,
  ],
  'Of a message within a message the text': [
    `${MIME}Content-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\n${MIME}${TEXT}\n${UTF8}\n`,
    `${MIME}Content-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\n${MIME}${AS_TEXT}\n${HI}\n`,
  ],
  'Quoted-printable with octets above 127 means the same without them': [
    `${MIME}${AS_TEXT}\n${UTF8}=20=\nno\n`,
    `${MIME}${AS_TEXT}\n${HI}=20=\nno\n`,
  ],
  'Base64 with octets above 127 means the same without them': [
    `${MIME}Content-Transfer-Encoding: base64\n\naG\xfck=\n`,
    `${MIME}Content-Transfer-Encoding: base64\n\naGk=\n`,
  ],
  'A signed part stays as it is beside one that is not': [
    `${MIXED}\n--b\n${SIGNED.replace('=b', '=c')}\n--c\nContent-Transfer-Encoding: 8bit\n\ntext\n--c--\n--b\n${TEXT}\n${UTF8}\n--b--\n`,
    `${MIXED}\n--b\n${SIGNED.replace('=b', '=c')}\n--c\nContent-Transfer-Encoding: 8bit\n\ntext\n--c--\n--b\n${AS_TEXT}\n${HI}\n--b--\n`,
  ],
  'A signed part must not be changed': [`${SIGNED}\n--b\n${TEXT}\n${UTF8}\n--b--\n`, IN_SIGNED],
  'Nor what lies deeper in it': [
    `${SIGNED}\n--b\n${MIXED.replace('=b', '=c')}\n--c\n${TEXT}\n${UTF8}\n--c--\n--b--\n`,
    IN_SIGNED,
  ],
  'Nor an encrypted one': [
    `${SIGNED.replace('signed', 'encrypted')}\n--b\n${TEXT}\n${UTF8}\n--b--\n`,
    IN_SIGNED,
  ],
  'A composite type must not be encoded': [
    `${MIME}Content-Type: message/partial; id=x\n\n${UTF8}\n`,
    'a part of type message has 8-bit text that cannot be encoded',
  ],
  'An encoding that nobody knows cannot be taken off': [
    `${MIME}Content-Type: text/plain\nContent-Transfer-Encoding: x-uuencode\n\n${UTF8}\n`,
    'a part of type text has 8-bit text that cannot be encoded',
  ],
  'A boundary has to stay': [
    `${MIME}Content-Type: multipart/mixed; boundary="\xfc"\n\n--\xfc\n\ntext\n--\xfc--\n`,
    'a boundary is 8-bit text',
  ],
};

for (const [title, [message, expected]] of Object.entries(NARROW)) {
  test(`For a relay without 8BITMIME: ${title}`, () => {
    for (const size of [64 * 1024, 1, 7]) {
      assert.equal(narrow(message, size), expected.replaceAll('\n', '\r\n'));
    }
  });
}

test('Whatever comes, a converted message has 7 bits in its bodies and needs no other form', () => {
  fc.assert(
    fc.property(messages, (message) => {
      const { text } = mend(message);
      const once = narrow(text);
      if (once === '=' || !once.includes('\n')) return;
      assert.ok(isAllowed(once));
      assert.equal(narrow(once), '=');
    }),
    { numRuns: 3000 },
  );
});

test('Many parts, parameters and quotes cost no more than their octets', () => {
  const part = `\r\n--b\r\nContent-Type: text/plain${';'.repeat(8000)}${'"('.repeat(4000)}\r\n\r\n${LONG}`;
  const message = `Content-Type: multipart/mixed; boundary=b\r\n\r\n${part.repeat(1500)}`;
  assert.deepEqual(mend(message).repairs, [QUOTED, 'line over 998 octets: folded']);
});
