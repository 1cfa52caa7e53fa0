// Tests that every reader of hostile text takes a number of steps that grows with its octets and no
// faster, at any size.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mapAddresses, parseAddressList, parsePath } from '../../src/mail/address.ts';
import { AliasExpander, parseAliases } from '../../src/mail/aliases.ts';
import { completeHeader, recipientsOf } from '../../src/mail/completion.ts';
import { type HeaderField, HeaderTooLong, readHeader } from '../../src/mail/header.ts';
import { repairOf } from '../../src/mail/repair.ts';
import { Rewriter } from '../../src/mail/rewriting.ts';
import { WireForm } from '../../src/mail/wireform.ts';
import { stepsOf } from './steps.ts';

/** Text of `size` octets that begins with `start` and goes on with `piece`. */
function hostile(start: string, piece: string, size: number): string {
  return start + piece.repeat(Math.ceil((size - start.length) / piece.length));
}

/** What has made address parsers recursive, quadratic or worse. */
const ADDRESSES: readonly (readonly [start: string, piece: string])[] = [
  ['', 'a'],
  ['', 'a,'],
  ['', '('],
  ['a', '()'],
  ['', '(a '],
  ['', '"'],
  ['"', '\\"'],
  ['', '<'],
  ['<', '@a,'],
  ['', '<a@b>,'],
  ['', 'x:'],
  ['', 'a@b '],
  ['', 'a."b".'],
  ['[', '\\['],
  ['', ';'],
  ['', '\r\n '],
];

/** No octet costs more blocks than this; the figure is a multiple of what is measured. */
const STEPS_PER_OCTET = 60;

function checkSteps(what: string, size: number, action: () => void): void {
  const steps = stepsOf(action);
  const limit = STEPS_PER_OCTET * size;
  assert.ok(steps > 0 && steps < limit, `${what}: ${steps} steps for ${size} octets`);
}

/** Whole messages and headers. */
const MESSAGES: readonly (readonly [start: string, piece: string])[] = [
  ['', 'a'],
  ['', 'a:\n'],
  ['a:', '\n '],
  ['From:', ' a <b@c>,\n'],
  ['To: ', '('],
  ['To: ', 'root,'],
  ['To: ', '<root> "'],
  ['Content-Type: multipart/mixed; boundary=', 'a;'],
  ['Content-Type: text/plain', '; boundary*0=a'],
  ['Content-Type: multipart/mixed; boundary=a\n\n', '--a\n\n'],
  ['Content-Type: multipart/mixed; boundary=a\n\n', '--a'],
  ['\n', '\xff'],
  ['\n', '\r'],
  ['\n', '\0'],
  ['Resent-To: a\n', 'Received: x\nResent-To: b\n'],
];

const RULES = {
  locals: new Set(['me.test']),
  defaults: { defaultHost: 'me.test', defaultDomain: undefined },
  admin: 'admin@x.test',
  aliases: () => undefined,
  readInclude: () => ({ problem: 'none' }),
  masquerade: 'x.test',
  masqueradeFrom: 'x.test',
  senders: { entries: new Map([['*', 'acc@x.test']]) },
  rewriteTo: 'aliases' as const,
};

/** All that is done to a message between its caller and the spool. */
function takeIn(message: Buffer): void {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < message.length; at += 65_536)
    pieces.push(message.subarray(at, at + 65_536));
  let fields: readonly HeaderField[] = [];
  try {
    fields = readHeader(pieces[Symbol.iterator]()).fields;
  } catch (error) {
    if (!(error instanceof HeaderTooLong)) throw error;
  }
  recipientsOf(fields);
  const completed = completeHeader(fields, {
    time: new Date(0),
    zoneMinutes: 0,
    messageId: 'a',
    idHost: 'b',
    from: () => ({ address: 'root@me.test', name: undefined }),
    received: 'x',
  });
  new Rewriter(RULES).header(completed);
  const form = new WireForm();
  const wire = pieces.map((piece) => Buffer.from(form.transform(piece)));
  wire.push(Buffer.from(form.end()));
  for (const piece of repairOf(form, () => wire)?.pieces() ?? []) assert.ok(piece.length >= 0);
}

const MB = 1024 * 1024;

/** Adds the tests for text of this size; a message gets less where its header may not be as long. */
export function testSteps(megabytes: number): void {
  const size = megabytes * MB;
  const header = Math.min(megabytes, 7) * MB;
  for (const [start, piece] of ADDRESSES) {
    test(`${megabytes} MB of ${JSON.stringify(piece)} as an address list take a bounded number of steps`, () => {
      const text = hostile(start, piece, size);
      checkSteps('parseAddressList', size, () => parseAddressList(text));
      checkSteps('mapAddresses', size, () => mapAddresses(text, () => 'x@y.test'));
      checkSteps('parsePath', size, () => parsePath(text));
    });
  }

  for (const [start, piece] of MESSAGES) {
    const shown = JSON.stringify(`${start}${piece}`.slice(-40));
    test(`A message of ${header / MB} MB of ${shown} is taken in within a bounded number of steps`, () => {
      const message = Buffer.from(hostile(start, piece, header), 'latin1');
      checkSteps('a message', header, () => takeIn(message));
    });
  }

  test(`${megabytes} MB of aliases and what they lead to take a bounded number of steps`, () => {
    const table: (readonly [start: string, piece: string])[] = [
      ['', 'a'],
      ['', '"'],
      ['root: ', '('],
      ['root: ', 'root, '],
      ['root: ', '\n a,'],
      ['', 'a: b\n'],
      ['root: "', '\\'],
    ];
    for (const [start, piece] of table) {
      const text = hostile(start, piece, size);
      checkSteps(JSON.stringify(start + piece), size, () => {
        const aliases = parseAliases('f', text);
        const expander = new AliasExpander(
          aliases,
          (address) => address,
          () => ({ text }),
          () => undefined,
        );
        expander.expand('root');
      });
    }
  });
}
