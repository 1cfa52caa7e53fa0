import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { test } from 'node:test';
import { type DkimKey, DkimReader, keyRecord, keysFor } from '../../src/mail/dkim.ts';
import { HEADER_LIMIT, HeaderTooLong } from '../../src/mail/header.ts';
import { WireForm } from '../../src/mail/wireform.ts';
import { makeCorpus } from '../corpus/make.ts';
import { makeKey, noDkimpy, verify } from '../support/dkim.ts';
import { fc } from '../support/properties.ts';

const RSA: DkimKey = { domain: 'x.test', selector: 'r', key: makeKey('rsa') };
const ED: DkimKey = { domain: 'x.test', selector: 'e', key: makeKey('ed25519') };
const TIME = 1_795_216_501;

function readerOf(message: Uint8Array, size = 64 * 1024): DkimReader {
  const reader = new DkimReader();
  const shared = Buffer.alloc(size);
  for (let at = 0; at < message.length; at += size) {
    const length = Buffer.from(message).copy(shared, 0, at, at + size);
    reader.push(shared.subarray(0, length));
    shared.fill('\r\n\r\n \t');
  }
  return reader;
}

function wire(text: string): Buffer {
  return Buffer.from(text.replaceAll('\n', '\r\n'), 'latin1');
}

function signedBy(message: Uint8Array, ...keys: readonly DkimKey[]): Buffer {
  const reader = readerOf(message);
  const fields = keys.map((key) => reader.signature(key, TIME)).join('');
  return Buffer.concat([Buffer.from(fields, 'latin1'), message]);
}

/** The value of a tag of the signature, without folding. */
function tag(field: string, name: string): string | undefined {
  return new RegExp(`[;:]\\s*${name}=([^;]*)`).exec(field)?.[1]?.replace(/\s/g, '');
}

const LETTER =
  'From: Jo <jo@x.test>\nTo: al@y.test\nSubject: tea\nDate: Sat, 21 Nov 2026 07:00:00 +0000\n\nat four\n';

test('Bodies have the digests of RFC 8463 and RFC 6376.', () => {
  const digest = (body: string): string | undefined =>
    tag(readerOf(wire(`From: a@x.test\n\n${body}`)).signature(ED, TIME), 'bh');
  // RFC 8463 appendix A.
  assert.equal(
    digest('Hi.\n\nWe lost the game.  Are you hungry yet?\n\nJoe.\n'),
    '2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=',
  );
  // An empty body (RFC 6376 section 3.4.4).
  const empty = '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=';
  for (const body of ['', '\n', '\n\n\n', ' \n\t\n', '  ']) assert.equal(digest(body), empty, body);
  const same = digest(' C \nD \t E\n');
  for (const body of ['\tC\nD E\n', ' C\t\nD  E \n\n\n', ' C\nD E', ' C\nD E\n \n\t']) {
    assert.equal(digest(body), same, JSON.stringify(body));
  }
  assert.notEqual(digest('C\nD E\n'), same);
});

test('The fields that matter are signed, and others of their names forbidden.', () => {
  const names = (text: string, key: DkimKey = ED) =>
    tag(readerOf(wire(text)).signature(key, TIME), 'h');
  assert.equal(names('From: a@x.test\n\n'), 'from:from:reply-to:subject:to:cc');
  assert.equal(
    names(
      'FROM: a@x.test\nto : b@y.test\nTo: c@y.test\nReceived: x\nDate: y\nList-Id: z\n\nbody\n',
    ),
    'from:from:reply-to:subject:to:to:to:cc:date:date:list-id',
  );
  const chosen = { ...ED, fields: ['from', 'subject'] };
  assert.equal(names('From: a@x.test\nTo: b@y.test\n\n', chosen), 'from:from:subject');
});

test('No line of the signature is long, and its tags are in their places.', () => {
  const field = readerOf(wire(LETTER)).signature(RSA, TIME);
  assert.match(field, /^DKIM-Signature: v=1; a=rsa-sha256; c=relaxed\/relaxed; d=x\.test; s=r;/);
  for (const line of field.split('\r\n')) assert.ok(line.length <= 78, line);
  assert.equal(tag(field, 't'), String(TIME));
  assert.ok(field.endsWith('\r\n') && !/\r\n[^ ]/.test(field.slice(0, -2)));
});

test('The keys of the longest domain that the author lies in sign.', () => {
  const keys = [RSA, ED, { ...ED, domain: 'sub.x.test' }, { ...ED, domain: 'test' }];
  const found = (domain: string) =>
    keysFor(keys, domain).map((key) => `${key.selector}:${key.domain}`);
  assert.deepEqual(found('x.test'), ['r:x.test', 'e:x.test']);
  assert.deepEqual(found('a.x.test'), ['r:x.test', 'e:x.test']);
  assert.deepEqual(found('a.sub.x.test'), ['e:sub.x.test']);
  assert.deepEqual(found('ax.test'), ['e:test']);
  assert.deepEqual(found('x.example'), []);
  assert.deepEqual(found(''), []);
  const author = (text: string) => readerOf(wire(text)).authorDomain('s@sender.test');
  assert.equal(author(LETTER), 'x.test');
  assert.equal(author('From: "a@b.test" <jo@X.Test> (c@d.test)\n\n'), 'x.test');
  assert.equal(author('From: J\xf6rg <j@b\xfccher.test>\n\n'), 'xn--bcher-kva.test');
  assert.equal(author('To: a@b.test\n\n'), 'sender.test');
  assert.equal(author('From: nobody\n\n'), '');
});

test('A record shows the public half of its key.', () => {
  const spki = createPublicKey(RSA.key).export({ type: 'spki', format: 'der' }).toString('base64');
  assert.equal(keyRecord(RSA.key), `v=DKIM1; k=rsa; p=${spki}`);
  assert.match(keyRecord(ED.key), /^v=DKIM1; k=ed25519; p=[A-Za-z0-9+/]{43}=$/);
});

test('A header without an end is too long at last.', () => {
  const reader = new DkimReader();
  const piece = Buffer.from(`X: ${'y'.repeat(1_000_000)}\r\n`);
  assert.throws(() => {
    for (let size = 0; size <= HEADER_LIMIT; size += piece.length) reader.push(piece);
  }, HeaderTooLong);
});

const PIECES = [
  'From: a@x.test\r\n',
  'To:b\r\n',
  ' more \t\r\n',
  'no field\r\n',
  'X :y\r\n',
  '\r\n',
  ' ',
  '\t',
  '\r',
  '\n',
  'é',
  'a',
  '=',
  ':',
];
const messages = fc.array(fc.constantFrom(...PIECES), { maxLength: 30 }).map((parts) => {
  const form = new WireForm();
  const start = Buffer.from(form.transform(Buffer.from(parts.join(''))));
  return Buffer.concat([start, form.end()]);
});

test('Where pieces end makes no difference.', () => {
  fc.assert(
    fc.property(messages, fc.integer({ min: 1, max: 40 }), (message, size) => {
      const [one, other] = [readerOf(message), readerOf(message, size)];
      assert.equal(other.signature(ED, TIME), one.signature(ED, TIME));
      assert.equal(other.size, message.length);
    }),
    { numRuns: 1000 },
  );
});

test('dkimpy finds every signature good: of the corpus, and of anything else with a From.', {
  skip: noDkimpy,
}, () => {
  const all: Buffer[] = [];
  for (const { bytes } of makeCorpus()) {
    if (bytes.length > 300_000) continue;
    const form = new WireForm();
    const start = Buffer.from(form.transform(bytes));
    all.push(Buffer.concat([start, form.end()]));
  }
  const random = fc
    .sample(messages, 300)
    .map((each) => Buffer.concat([Buffer.from('From: a@x.test\r\n'), each]));
  // Python reads bare CRs, and a header with lines that are none, otherwise.
  all.push(...random.filter((each) => !/\r(?!\n)|(?<!\r)\n/.test(each.toString())));
  const plain = all.filter((each) => {
    const [header, ...body] = each.toString('latin1').split('\r\n\r\n');
    const lines = header?.split('\r\n') ?? [];
    return body.length > 0 && lines.every((line) => /^[!-9;-~]+:|^[ \t]+\S/.test(line));
  });
  const few = { ...RSA, selector: 'f', fields: ['from', 'date'] };
  const keys = [RSA, ED, few];
  const verdicts = verify(
    plain.map((each) => signedBy(each, ...keys)),
    keys,
  );
  const wrong = verdicts.flatMap((verdict, index) =>
    verdict === 'good; good; good'
      ? []
      : [`${verdict}: ${JSON.stringify(plain[index]?.toString('latin1').slice(0, 300))}`],
  );
  assert.deepEqual(wrong, []);
  assert.ok(verdicts.length > 300);
});

test('dkimpy finds a message bad that was changed where it matters, and good where it does not.', {
  skip: noDkimpy,
}, () => {
  const text = signedBy(wire(LETTER), ED).toString('latin1');
  const table: [string, string][] = [
    [text, 'good'],
    [text.replace('Subject: tea', 'subject:\ttea \r\n '), 'good'],
    [text.replace('at four\r\n', 'at  four \r\n\r\n'), 'good'],
    [`Received: by y.test\r\n${text}`, 'good'],
    [text.replace('four', 'five'), 'bad'],
    [text.replace('Subject: tea', 'Subject: coffee'), 'bad'],
    [`Subject: more\r\n${text}`, 'bad'],
    [`From: eve@z.test\r\n${text}`, 'bad'],
    [`Reply-To: eve@z.test\r\n${text}`, 'bad'],
    [text.replace('\r\n\r\n', '\r\nCc: eve@z.test\r\n\r\n'), 'bad'],
  ];
  const verdicts = verify(
    table.map(([message]) => Buffer.from(message, 'latin1')),
    [ED],
  );
  assert.deepEqual(
    verdicts.map((verdict) => (verdict === 'good' ? 'good' : 'bad')),
    table.map(([, expected]) => expected),
  );
});
