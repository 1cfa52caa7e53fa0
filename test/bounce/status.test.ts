import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decodeXtext,
  diagnosticOf,
  hostOf,
  originalRecipient,
  type Said,
  statusOf,
} from '../../src/bounce/status.ts';
import { fc } from '../support/properties.ts';

const said = (line: string | undefined, change: Partial<Said> = {}): Said => ({
  time: 0,
  outcome: 'refused',
  stage: 'rcpt',
  relay: 'none',
  lines: line === undefined ? [] : [line],
  ...change,
});

test('The status is the relay’s own where it fits what happened, else the nearest class', () => {
  const table: [Parameters<typeof statusOf>, string][] = [
    [['failed', said('550 5.1.1 nobody')], '5.1.1'],
    [['failed', said('550-5.7.26 no')], '5.7.26'],
    [['failed', said('550 5.1.1')], '5.1.1'],
    [['failed', said('550 5.1.1x')], '5.0.0'],
    [['failed', said('550')], '5.0.0'],
    [['failed', said('550 2.1.1 strange')], '5.1.1'],
    [['failed', said('452 4.2.2 full', { outcome: 'expired' })], '4.4.7'],
    [['delayed', said('452 4.2.2 full')], '4.2.2'],
    [['delayed', said('535 5.7.8 wrong password', { stage: 'auth' })], '4.7.8'],
    [['delayed', said('ECONNREFUSED', { stage: 'connect' })], '4.4.1'],
    [['delayed', said(undefined)], '4.0.0'],
    [['relayed', said('250 2.1.5 taken')], '2.0.0'],
  ];
  for (const [input, expected] of table) {
    assert.equal(statusOf(...input), expected, JSON.stringify(input));
  }
});

test('A reply is of type smtp, what was noticed here is not', () => {
  assert.equal(diagnosticOf(said('550 no')), 'smtp; 550 no');
  assert.equal(diagnosticOf(said('550')), 'smtp; 550');
  assert.equal(diagnosticOf(said('', { lines: ['550-a', '550 b'] })), 'smtp; 550-a 550 b');
  assert.equal(diagnosticOf(said('5501 x')), 'x-picorelay; 5501 x');
  assert.equal(diagnosticOf(said(undefined)), undefined);
});

test('A relay is shown by its host alone', () => {
  assert.equal(hostOf('smtps://alice@mail.example.com:465'), 'mail.example.com');
  assert.equal(hostOf('smtp://192.0.2.1:25'), '[192.0.2.1]');
  assert.equal(hostOf('smtp://[2001:db8::1]:25'), '[IPv6:2001:db8::1]');
  assert.equal(hostOf('none'), undefined);
  assert.equal(hostOf('http://x'), undefined);
});

test('ORCPT is decoded by RFC 3461 and RFC 6533', () => {
  const table: [string, ReturnType<typeof originalRecipient>][] = [
    ['rfc822;a+2Bb@x.test', { type: 'rfc822', address: 'a+b@x.test' }],
    ['utf-8;j\\x{F6}rg@x.test', { type: 'utf-8', address: 'jörg@x.test' }],
    ['utf-8;j+C3+B6rg@x.test', { type: 'utf-8', address: 'jörg@x.test' }],
    ['utf-8;\\x{110000}', { type: 'utf-8', address: '\\x{110000}' }],
    ['rfc822;\\x{F6}', { type: 'rfc822', address: '\\x{F6}' }],
    ['a@x.test', undefined],
    ['rfc822;', undefined],
    [';a@x.test', undefined],
  ];
  for (const [orcpt, expected] of table) assert.deepEqual(originalRecipient(orcpt), expected);
});

test('xtext gives back what was encoded', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      const octets = Buffer.from(text).toString('latin1');
      const coded = octets.replace(
        /[^!-*,-<>-~]/g,
        (octet) => `+${octet.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
      );
      assert.equal(decodeXtext(coded), text);
    }),
  );
});
