import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import {
  cramMd5,
  endPointHash,
  external,
  login,
  oauthBearer,
  plain,
  SaslFault,
  scramSha256,
  xoauth2,
} from '../../src/relay/sasl.ts';
import { makeCertificate, noOpenssl } from '../support/certificates.ts';
import { fc } from '../support/properties.ts';

const NONCE = 'rOprNGfwEbeRWgbNEkqO';
const FIRST = `r=${NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`;
const FINAL = 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=';

test('SCRAM-SHA-256 speaks the example of RFC 7677.', async () => {
  const exchange = scramSha256('user', 'pencil', NONCE, 'impossible');
  assert.equal(exchange.initial?.toString(), `n,,n=user,r=${NONCE}`);
  assert.equal(exchange.secretSaid, false);
  const proof = await exchange.answer(Buffer.from(FIRST));
  assert.equal(
    proof.toString(),
    `c=biws,r=${NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`,
  );
  assert.equal(exchange.secretSaid, true);
  assert.equal(exchange.believable, false);
  assert.equal((await exchange.answer(Buffer.from(FINAL))).length, 0);
  assert.equal(exchange.believable, true);
});

test('A SCRAM server that breaks the rules is a fault.', async () => {
  const firsts = [
    '',
    'e=other-error',
    FIRST.replace(NONCE, 'another'),
    `r=${NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`,
    FIRST.replace('i=4096', 'i=4095'),
    FIRST.replace('i=4096', 'i=1000001'),
    FIRST.replace('i=4096', 'i=x'),
    FIRST.replace('s=', 's=*'),
    `m=ext,${FIRST}`,
  ];
  for (const first of firsts) {
    const exchange = scramSha256('user', 'pencil', NONCE, 'impossible');
    await assert.rejects(async () => await exchange.answer(Buffer.from(first)), SaslFault, first);
    assert.equal(exchange.secretSaid, false, first);
  }
  for (const final of ['', 'v=', FINAL.replace('6rri', '7rri'), 'x']) {
    const exchange = scramSha256('user', 'pencil', NONCE, 'impossible');
    await exchange.answer(Buffer.from(FIRST));
    await assert.rejects(async () => await exchange.answer(Buffer.from(final)), SaslFault, final);
    assert.equal(exchange.believable, false, final);
  }
});

test('A SCRAM server that names an error is not believed.', async () => {
  const exchange = scramSha256('user', 'pencil', NONCE, 'impossible');
  await exchange.answer(Buffer.from(FIRST));
  assert.equal((await exchange.answer(Buffer.from('e=invalid-proof'))).length, 0);
  assert.equal(exchange.believable, false);
});

test('SCRAM says how it is bound to the connection.', async () => {
  const table = [
    ['impossible', 'n,,', 'c=biws,'],
    ['possible', 'y,,', 'c=eSws,'],
    [
      { name: 'tls-exporter', data: Buffer.from('xyz') },
      'p=tls-exporter,,',
      `c=${Buffer.from('p=tls-exporter,,xyz').toString('base64')},`,
    ],
  ] as const;
  for (const [binding, header, bound] of table) {
    const exchange = scramSha256('a=b,c', 'pencil', NONCE, binding);
    assert.equal(exchange.initial?.toString(), `${header}n=a=3Db=2Cc,r=${NONCE}`);
    assert.ok((await exchange.answer(Buffer.from(FIRST))).toString().startsWith(bound));
  }
});

test('No challenge makes an exchange do anything but answer or be at fault.', async () => {
  const piece = fc.constantFrom(
    'r=',
    NONCE,
    ',',
    's=',
    'AAAA',
    'i=',
    '4096',
    'v=',
    'e=',
    '\0',
    'é',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
      for (const exchange of [
        scramSha256('u', 'p', NONCE, 'impossible'),
        login('u', 'p'),
        plain('u', 'p'),
        cramMd5('u', 'p'),
      ]) {
        try {
          for (let n = 0; n < 3; n++) await exchange.answer(Buffer.from(pieces.join('')));
        } catch (error) {
          assert.ok(error instanceof SaslFault);
        }
      }
    }),
    { numRuns: 50 },
  );
});

test('The simple mechanisms say what their documents say.', async () => {
  assert.equal(plain('tim', 'tanstaaftanstaaf').initial?.toString(), '\0tim\0tanstaaftanstaaf');
  assert.equal(external('me').initial?.toString(), 'me');
  assert.equal(
    oauthBearer(
      'user@example.com',
      'vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==',
      'server.example.com',
      143,
    ).initial?.toString('base64'),
    'bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB',
  );
  assert.equal(xoauth2('me', 'token').initial?.toString(), 'user=me\x01auth=Bearer token\x01\x01');
  const cram = cramMd5('tim', 'tanstaaftanstaaf');
  const challenge = Buffer.from('<1896.697170952@postoffice.reston.mci.net>');
  assert.equal((await cram.answer(challenge)).toString(), 'tim b913a602c7eda7a495b4e6e7334d3890');
  const words = login('me', 'secret');
  assert.equal((await words.answer(Buffer.alloc(0))).toString(), 'me');
  assert.equal(words.secretSaid, false);
  assert.equal((await words.answer(Buffer.alloc(0))).toString(), 'secret');
  assert.equal(words.secretSaid, true);
  assert.throws(() => words.answer(Buffer.alloc(0)), SaslFault);
});

test('The hash of tls-server-end-point is read from the certificate.', { skip: noOpenssl }, () => {
  const rsa = ['-newkey', 'rsa:2048'];
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
  const table: [string[], string | undefined][] = [
    [[...rsa, '-sha256'], 'sha256'],
    [[...rsa, '-sha384'], 'sha384'],
    [[...rsa, '-sha512'], 'sha512'],
    [[...ec, '-sha256'], 'sha256'],
    [[...ec, '-sha384'], 'sha384'],
    [['-newkey', 'ed25519'], undefined],
  ];
  for (const [kind, hash] of table) {
    const { cert } = makeCertificate(['DNS:h'], kind);
    assert.equal(endPointHash(new X509Certificate(cert).raw), hash, kind.join(' '));
  }
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => assert.doesNotThrow(() => endPointHash(bytes))),
  );
});
