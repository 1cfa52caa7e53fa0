import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Relay } from '../../src/control/relay-url.ts';
import { Session, type SessionOptions } from '../../src/relay/session.ts';
import { makeCertificate, noOpenssl } from '../support/certificates.ts';
import { sessionOptions, startScripted } from '../support/scripted.ts';

/** What the relay heard as MAIL, and the reply that counts for the recipient. */
async function offer(
  t: TestContext,
  offers: readonly string[],
  tls: Relay['tls'],
  transaction: { readonly sender?: string; readonly requireTls?: true } = { requireTls: true },
): Promise<{ mail: readonly string[]; reply: string }> {
  const certificate = makeCertificate(['IP:127.0.0.1']);
  const speaker = (line: string) => (line === 'STARTTLS' ? 'STARTTLS' : undefined);
  const relay = await startScripted(t, {
    offers: ['STARTTLS', 'DSN', ...offers],
    speaker,
    certificate,
  });
  const options: SessionOptions = sessionOptions({
    relay: {
      scheme: 'smtp',
      host: '127.0.0.1',
      port: relay.port,
      user: undefined,
      ...(tls && { tls }),
    },
    authorities: certificate.cert,
  });
  const session = await Session.open(options);
  const text = Buffer.from('Subject: tea\r\n\r\n');
  const [answer] = await session.send({
    sender: 'a@x.test',
    recipients: [{ address: 'b@y.test' }],
    ret: 'FULL',
    size: text.length,
    eightBit: false,
    pieces: () => [text],
    ...transaction,
  });
  await session.close();
  const { event } = answer ?? assert.fail('no answer');
  return {
    mail: relay.lines.filter((line) => line.startsWith('MAIL')),
    reply: event.kind === 'reply' ? `${event.reply.code} ${event.reply.lines.join()}` : event.kind,
  };
}

test('What requires TLS goes to a relay that offers so over verified TLS, or to nobody (RFC 8689)', {
  skip: noOpenssl,
}, async (t) => {
  const good = await offer(t, ['REQUIRETLS'], 'required');
  assert.deepEqual(good, { mail: ['MAIL FROM:<a@x.test> REQUIRETLS RET=HDRS'], reply: '250 ok' });
  const table: [string[], Relay['tls'], RegExp][] = [
    [[], 'required', /^550 5\.7\.30 .*does not offer REQUIRETLS/],
    [['REQUIRETLS'], 'opportunistic', /^550 5\.7\.30 .*verified/],
    [['REQUIRETLS'], 'off', /^550 5\.7\.30 .*verified/],
  ];
  for (const [offers, tls, reply] of table) {
    const { mail, reply: said } = await offer(t, offers, tls);
    assert.match(said, reply);
    assert.deepEqual(mail, []);
  }
  // A report goes, with it or without; other mail is none of this.
  const report = { sender: '', requireTls: true } as const;
  for (const [offers, tls, more] of [
    [['REQUIRETLS'], 'required', ' REQUIRETLS RET=HDRS'],
    [['REQUIRETLS'], 'opportunistic', ' RET=HDRS'],
    [[], 'required', ' RET=HDRS'],
  ] as const) {
    assert.deepEqual((await offer(t, offers, tls, report)).mail, [`MAIL FROM:<>${more}`]);
  }
  assert.deepEqual((await offer(t, ['REQUIRETLS'], 'required', {})).mail, [
    'MAIL FROM:<a@x.test> RET=FULL',
  ]);
});
