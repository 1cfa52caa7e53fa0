import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Original, readOriginal } from '../../src/bounce/original.ts';
import type { Envelope } from '../../src/mail/envelope.ts';
import { makeSpool, ORIGIN } from '../support/spool.ts';

/** What a report would bring back of a submitted message, whose file may be edited. */
function original(
  t: TestContext,
  text: string | Buffer,
  ret?: 'FULL' | 'HDRS',
  edit: (bytes: string) => string = (bytes) => bytes,
  more: Partial<Envelope> = {},
): Original {
  const spool = makeSpool(t);
  const envelope = {
    sender: 'a@x.test',
    recipients: [{ address: 'b@x.test' }] as const,
    ...(ret === undefined ? {} : { ret }),
    ...more,
  };
  const [base = ''] = spool.submit(envelope, ORIGIN, [Buffer.from(text)]);
  const path = join(spool.folder, 'spool', base);
  writeFileSync(path, edit(readFileSync(path, 'latin1')), 'latin1');
  const message = spool.look(base, 'spool', base);
  try {
    return readOriginal(message, 7);
  } finally {
    message.close();
  }
}

const LETTER = 'Subject: tea\r\n time\r\nMessage-ID: <a@b>\r\n\r\nat four\r\n';

test('The header comes back, the whole message where RET=FULL asks for it', (t) => {
  const header = original(t, LETTER);
  assert.equal(header.excerpt.bytes.toString(), 'Subject: tea\r\n time\r\nMessage-ID: <a@b>\r\n');
  assert.deepEqual(
    [header.subject, header.messageId, header.accepted, header.excerpt.whole],
    ['tea time', '<a@b>', 7, false],
  );
  assert.equal(original(t, LETTER, 'HDRS').excerpt.whole, false);
  const full = original(t, LETTER, 'FULL').excerpt;
  assert.deepEqual([full.whole, full.bytes.toString()], [true, LETTER]);
  // What must not travel in clear text does not come back so.
  const secret = original(t, LETTER, 'FULL', undefined, { requireTls: true });
  assert.equal(secret.excerpt.whole, false);
});

test('Of a message over 64 KB only the header comes back, of a header over 64 KB whole fields', (t) => {
  const large = original(t, `${LETTER}${'x\r\n'.repeat(30_000)}`, 'FULL').excerpt;
  assert.deepEqual([large.whole, large.bytes.includes('at four')], [false, false]);
  const limit = 64 * 1024 - LETTER.length;
  const edge = `${LETTER}${'x'
    .repeat(62)
    .concat('\r\n')
    .repeat(limit / 64)}`;
  const pad = 64 * 1024 - edge.length;
  const exact = `${edge}${'y'.repeat(Math.max(0, pad - 2))}\r\n`;
  assert.equal(exact.length, 64 * 1024);
  assert.equal(original(t, exact, 'FULL').excerpt.whole, true);
  assert.equal(original(t, `${exact}z`, 'FULL').excerpt.whole, false);
  const fields = Array.from({ length: 5000 }, (_, n) => `X-${n}: ${'v'.repeat(50)}\r\n`).join('');
  const { bytes } = original(t, `${fields}\r\nbody\r\n`).excerpt;
  assert.ok(bytes.length <= 64 * 1024 && bytes.length > 60_000);
  assert.ok(fields.startsWith(bytes.toString()), 'no field is cut');
});

test('A header in UTF-8 is told from one in another character set', (t) => {
  assert.equal(original(t, 'Subject: Bücher\n\nx\n').excerpt.utf8, true);
  assert.equal(original(t, Buffer.from('Subject: B\xfccher\n\nx\n', 'latin1')).excerpt.utf8, false);
  assert.equal(original(t, 'Subject: tea\n\nBücher\n').excerpt.utf8, false);
});

test('Long lines are folded in a header, and keep a message from coming back whole', (t) => {
  const [left, right] = ['ü'.repeat(450), 'ö'.repeat(450)];
  const unfold = (bytes: string): string => bytes.replace('\r\n ', '---');
  const { excerpt } = original(t, `Xy: ${left}\n ${right}\n\nx\n`, undefined, unfold);
  for (const line of excerpt.bytes.toString('latin1').split('\r\n')) assert.ok(line.length <= 998);
  assert.equal(excerpt.bytes.toString().replaceAll('\r\n ', ''), `Xy: ${left}---${right}\r\n`);
  // Only somebody who edits a spool file gets such a line into it.
  const merge = (bytes: string): string => bytes.replace('x\r\nx', 'xxxx');
  const full = original(
    t,
    `Subject: tea\n\n${'x'.repeat(500)}\n${'x'.repeat(500)}\n`,
    'FULL',
    merge,
  );
  assert.deepEqual(
    [full.excerpt.whole, full.excerpt.bytes.toString()],
    [false, 'Subject: tea\r\n'],
  );
});

test('A message without a header, or of nothing, brings back nothing', (t) => {
  for (const text of ['', '\r\nbody\r\n', 'no header\r\n']) {
    const { excerpt, subject } = original(t, text);
    assert.deepEqual([excerpt.bytes.length, subject], [0, undefined]);
  }
});
