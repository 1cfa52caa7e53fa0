// Reading entries: those with a block, bare ones that somebody dropped in, and what is no message.
// The bytes that wait for their envelope (scratch) are read here too.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { BadBlock, formatBlock } from '../../src/spool/block.ts';
import { StoredMessage } from '../../src/spool/message.ts';
import type { Spool } from '../../src/spool/spool.ts';
import {
  envelopeTo,
  makeFolder,
  makeSpool,
  messageOf,
  NOW,
  namesIn,
  ORIGIN,
  only,
  submit,
  TEXT,
} from '../support/spool.ts';
import { fail, watch } from '../support/syscalls.ts';

const BASE = '20261120T231501.123456Z:4242:root@host.test:bob@example.com';

function drop(t: TestContext, name: string, bytes: string): Spool {
  const spool = makeSpool(t);
  fs.writeFileSync(join(spool.folder, 'spool', name), Buffer.from(bytes, 'latin1'));
  return spool;
}

function assertBad(spool: Spool, name: string, message: RegExp): void {
  const base = name.split(':').slice(0, 4).join(':');
  const action = () => spool.look(base, 'spool', name).close();
  assert.throws(action, (error) => error instanceof BadBlock && message.test(error.message));
}

test('a bare message goes by its name, and over the wire with CRLF', (t) => {
  const spool = drop(t, BASE, 'Subject: x\n\nhello\n\xe9 without an end');
  assert.equal(
    messageOf(spool, 'spool', BASE),
    'Subject: x\r\n\r\nhello\r\n\xe9 without an end\r\n',
  );
  const claim = spool.claim(only(spool), NOW);
  assert.ok(claim !== undefined);
  const message = spool.open(claim);
  assert.equal(message.sender, 'root@host.test');
  assert.deepEqual(message.recipientOf(BASE), { address: 'bob@example.com' });
  assert.equal(message.size, undefined);
  assert.equal(message.origin, undefined);
  assert.deepEqual(message.recipients, []);
  message.close();
});

test('a bare message may be short, and from the null sender', (t) => {
  const base = BASE.replace('root@host.test', '');
  const spool = drop(t, base, '\n');
  assert.equal(messageOf(spool, 'spool', base), '\r\n');
  assert.equal(spool.look(base, 'spool', base).sender, '');
});

test('what a disk lost is no bare message: an empty file, octets that are no text, half a block', (t) => {
  assertBad(drop(t, BASE, ''), BASE, /the file is empty/);
  assertBad(drop(t, BASE, '\0'.repeat(5000)), BASE, /is no text/);
  assertBad(drop(t, BASE, `${TEXT}\x01`), BASE, /is no text/);
  for (const start of ['p', 'picorel', 'picorelay:']) {
    assertBad(drop(t, BASE, start), BASE, /ends within its envelope block/);
  }
  const japanese = 'Subject: x\r\n\r\n\x1b$B%F%9%H\x1b(B\r\n';
  assert.equal(messageOf(drop(t, BASE, japanese), 'spool', BASE), japanese);
});

test('a bare message whose name was cut cannot be sent', (t) => {
  const cut = `x%%${'a'.repeat(32)}`;
  const sender = BASE.replace('root@host.test', cut);
  assertBad(drop(t, sender, TEXT), sender, /does not tell the sender/);
  const recipient = BASE.replace('bob@example.com', cut);
  const message = drop(t, recipient, TEXT).look(recipient, 'spool', recipient);
  assert.throws(() => message.recipientOf(recipient), BadBlock);
  message.close();
});

test('an entry with a block gives what was submitted', (t) => {
  const spool = makeSpool(t);
  const long = `${'x'.repeat(250)}@example.com`;
  const envelope = {
    sender: `${'y'.repeat(250)}@host.test`,
    recipients: [
      { address: long, notify: 'NEVER', orcpt: 'rfc822;x@example.com' },
      { address: '/../.é@example.com' },
    ],
    ret: 'HDRS',
    envid: 'id+20',
  } as const;
  const bases = spool.submit(envelope, ORIGIN, [Buffer.from(TEXT)]);
  for (const [index, base] of bases.entries()) {
    const message = spool.look(base, 'spool', base);
    assert.equal(message.sender, envelope.sender);
    assert.deepEqual(message.dsn, { ret: 'HDRS', envid: 'id+20' });
    assert.deepEqual(message.origin, ORIGIN);
    assert.equal(message.size, TEXT.length);
    assert.deepEqual(message.recipientOf(base), envelope.recipients[index]);
    assert.deepEqual(message.recipients, envelope.recipients);
    assert.throws(() => message.recipientOf(BASE), BadBlock);
    assert.throws(() => message.recipientOf('x'), BadBlock);
    message.close();
  }
});

test('a file that is shorter or longer than its block says is not sent', (t) => {
  const spool = makeSpool(t);
  submit(spool, 'bob@example.com');
  const path = join(spool.folder, 'spool', BASE);
  const whole = fs.readFileSync(path, 'latin1');
  const start = whole.length - TEXT.length;
  for (let length = 11; length < whole.length; length += 1) {
    fs.writeFileSync(path, whole.slice(0, length));
    assertBad(
      spool,
      BASE,
      length < start ? /ends within|no "key/ : /octets, its envelope block says/,
    );
  }
  fs.writeFileSync(path, `${whole}x`);
  assertBad(spool, BASE, /26 octets, its envelope block says 25/);
});

test('a file of zeros, as a power cut leaves it, is not taken for a block', (t) => {
  const spool = drop(t, BASE, 'picorelay: 1\n'.padEnd(300, '\0'));
  assertBad(spool, BASE, /ends within its envelope block/);
});

test('a block without an end is given up in bounded memory', (t) => {
  const spool = drop(t, BASE, 'picorelay: 1\n');
  fs.truncateSync(join(spool.folder, 'spool', BASE), 64 * 1024 * 1024);
  assertBad(spool, BASE, /has no end/);
});

test('a block is found wherever the reads divide it', (t) => {
  const folder = makeFolder(t);
  const path = join(folder, BASE);
  for (let extra = 3700; extra < 3900; extra += 1) {
    const block = formatBlock(
      envelopeTo('bob@example.com', `${'x'.repeat(extra)}@example.com`),
      ORIGIN,
    );
    fs.writeFileSync(path, `${block.replace(/size: 0+/, `size: ${'2'.padStart(16, '0')}`)}\r\n`);
    const message = new StoredMessage(path, BASE);
    assert.equal(Buffer.concat([...message.pieces()]).toString(), '\r\n');
    message.close();
  }
});

test('what is no regular file is no message, and a link is not followed', (t) => {
  const spool = makeSpool(t);
  const path = join(spool.folder, 'spool', BASE);
  fs.mkdirSync(path);
  assertBad(spool, BASE, /not a regular file/);
  fs.rmdirSync(path);
  assert.equal(spawnSync('mkfifo', [path]).status, 0);
  assertBad(spool, BASE, /not a regular file/);
  fs.unlinkSync(path);
  const target = join(spool.folder, 'target');
  fs.writeFileSync(target, TEXT);
  fs.symlinkSync(target, path);
  assertBad(spool, BASE, /not a regular file/);
  // A claim and its end concern the link, never what it points to.
  const claim = spool.claim(only(spool), NOW);
  assert.ok(claim !== undefined);
  spool.condemn(claim, 'this is not a regular file');
  assert.deepEqual(namesIn(spool, 'corrupt'), [BASE, `${BASE}:.reason`]);
  assert.equal(fs.readFileSync(target, 'latin1'), TEXT);
});

test('no descriptor stays open for a file that cannot be read', (t) => {
  const spool = drop(t, BASE, 'picorelay: 1\nx\n\n');
  const { calls, error } = watch(spool.folder, () => spool.look(BASE, 'spool', BASE));
  assert.ok(error instanceof BadBlock);
  assert.equal(calls.filter(({ name }) => name === 'openSync').length, 1);
  assert.equal(calls.filter(({ name }) => name === 'closeSync').length, 1);
});

test('bytes that wait come back, from memory or from a file that goes again', (t) => {
  const M = 1024 * 1024;
  for (const [sizes, inFile] of [
    [[], false],
    [[10, 20], false],
    [[M], false],
    [[M, 1], true],
    [[1, 3 * M, 5], true],
  ] as const) {
    const spool = makeSpool(t);
    const scratch = spool.scratch(ORIGIN);
    const expected: Buffer[] = [];
    for (const size of sizes) {
      const chunk = Buffer.alloc(size, 'abcdefg');
      expected.push(Buffer.from(chunk));
      scratch.write(chunk);
      chunk.fill('!');
    }
    assert.equal(namesIn(spool, 'tmp').length, inFile ? 1 : 0);
    for (const round of ['once', 'again']) {
      const found: Buffer[] = [];
      for (const piece of scratch.pieces()) found.push(Buffer.from(piece));
      assert.ok(Buffer.concat(found).equals(Buffer.concat(expected)), round);
    }
    scratch.erase();
    scratch.erase();
    assert.deepEqual(namesIn(spool, 'tmp'), []);
  }
});

test('Scratch bytes that cannot be erased are no reason to refuse a message that is queued', (t) => {
  for (const name of ['closeSync', 'unlinkSync']) {
    const spool = makeSpool(t);
    const scratch = spool.scratch(ORIGIN);
    scratch.write(Buffer.alloc(2 * 1024 * 1024));
    const { calls, error } = watch(
      spool.folder,
      () => scratch.erase(),
      (call, real) => (call.name === name ? fail(call, real, 'EIO') : real()),
    );
    assert.equal(error, undefined);
    assert.deepEqual(
      calls.map((call) => call.name),
      ['closeSync', 'unlinkSync'],
    );
  }
});
