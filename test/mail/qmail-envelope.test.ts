import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EnvelopeError, parseEnvelope } from '../../src/mail/qmail-envelope.ts';
import { fc } from '../support/properties.ts';

const parse = (text: string | Buffer): ReturnType<typeof parseEnvelope> =>
  parseEnvelope([Buffer.from(text)]);

const faultOf = (action: () => unknown): string | undefined => {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof EnvelopeError, String(error));
    return error.kind;
  }
  return undefined;
};

test('Sender and recipients come in their order, each recipient once', () => {
  assert.deepEqual(parse('Fjo@x\0Tb@x\0Ta@x\0Tb@x\0\0'), {
    sender: 'jo@x',
    recipients: [{ address: 'b@x' }, { address: 'a@x' }],
  });
  assert.equal(parse('F\0Ta@x\0\0').sender, '');
  assert.equal(parse('Fjürgen@x\0Ta@x\0\0').sender, 'jürgen@x');
});

test('What comes behind the last NUL is not looked at', () => {
  assert.equal(parse('Fjo@x\0Ta@x\0\0Tb@x\0').recipients.length, 1);
});

test('An address of 1003 octets is refused with its letter, one less is taken', () => {
  // qmail counts the letter before the address.
  assert.equal(
    faultOf(() => parse(`Fjo@x\0T${'a'.repeat(1002)}\0\0`)),
    undefined,
  );
  assert.equal(
    faultOf(() => parse(`Fjo@x\0T${'a'.repeat(1004)}\0\0`)),
    'too long',
  );
});

test('An endless address is refused before it is read to its end', () => {
  let pieces = 0;
  const endless = (function* (): Generator<Uint8Array> {
    for (;;) {
      pieces++;
      yield Buffer.from('F'.repeat(500));
    }
  })();
  assert.equal(
    faultOf(() => parseEnvelope(endless)),
    'too long',
  );
  assert.ok(pieces < 5);
});

for (const text of [
  '',
  '\0',
  'F',
  'Fjo@x',
  'Fjo@x\0',
  'Fjo@x\0\0',
  'Ta@x\0\0',
  'Fjo@x\0Ta@x',
  'Fjo@x\0Ta@x\0',
  'Fjo@x\0a@x\0\0',
  'fjo@x\0Ta@x\0\0',
  'Fjo@x\0T\0\0',
]) {
  test(`The envelope ${JSON.stringify(text)} is bad`, () => {
    assert.equal(
      faultOf(() => parse(text)),
      'malformed',
    );
  });
}

test('Octets that are no UTF-8 are bad, and no input makes it throw anything else', () => {
  assert.equal(
    faultOf(() => parse(Buffer.from('Fj\xfcrgen@x\0Ta@x\0\0', 'latin1'))),
    'malformed',
  );
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 30 }), { maxLength: 5 }), (pieces) => {
      faultOf(() => parseEnvelope(pieces));
    }),
  );
});

test('The pieces may be cut anywhere', () => {
  const text = 'Fjürgen@x.test\0Ta@x.test\0Tb@x.test\0\0';
  const whole = parse(text);
  fc.assert(
    fc.property(fc.array(fc.nat(text.length), { maxLength: 6 }), (cuts) => {
      const bytes = Buffer.from(text);
      const places = [0, ...cuts, bytes.length].toSorted((a, b) => a - b);
      const pieces = places.slice(1).map((end, n) => bytes.subarray(places[n], end));
      assert.deepEqual(parseEnvelope(pieces), whole);
    }),
  );
});
