import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import type { Relay } from '../../src/control/relay-url.ts';
import { SessionError } from '../../src/relay/connect.ts';
import { Session, type SessionOptions } from '../../src/relay/session.ts';
import { makeCertificate, noOpenssl } from '../support/certificates.ts';
import {
  type Scripted,
  type ScriptedOptions,
  sessionOptions,
  startScripted,
} from '../support/scripted.ts';

const options = { skip: noOpenssl };

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** What a session with such a relay comes to: undefined or stage and reason. */
async function attempt(
  t: TestContext,
  server: ScriptedOptions,
  changes: Partial<SessionOptions>,
  relay: Partial<Relay> = {},
): Promise<{ readonly trouble: string | undefined; readonly scripted: Scripted }> {
  const speaker = (line: string) => (line === 'STARTTLS' ? 'STARTTLS' : undefined);
  const scripted = await startScripted(t, { offers: ['STARTTLS'], speaker, ...server });
  const scheme = server.implicit ? 'smtps' : 'smtp';
  const target = {
    scheme,
    host: '127.0.0.1',
    port: scripted.port,
    user: undefined,
    ...relay,
  } as const;
  try {
    await (await Session.open(sessionOptions({ relay: target, ...changes }))).close();
    return { trouble: undefined, scripted };
  } catch (error) {
    assert.ok(error instanceof SessionError, String(error));
    return { trouble: `${error.stage}: ${JSON.stringify(error.event)}`, scripted };
  }
}

test(
  'A pin of the certificate or its key stands for an authority; any other pin ends the session.',
  options,
  async (t) => {
    const certificate = makeCertificate(['DNS:another.name']);
    const parsed = new X509Certificate(certificate.cert);
    const good = [
      sha256(parsed.raw),
      sha256(parsed.publicKey.export({ type: 'spki', format: 'der' })),
    ];
    const other = 'ab'.repeat(32);
    for (const implicit of [false, true]) {
      for (const pin of good) {
        const { trouble } = await attempt(t, { certificate, implicit }, { pins: [other, pin] });
        assert.equal(trouble, undefined);
      }
      const { trouble, scripted } = await attempt(
        t,
        { certificate, implicit },
        {
          pins: [other],
          login: { user: 'me', password: 'secret' },
        },
      );
      assert.match(trouble ?? '', /^tls: .*none of the fingerprints/);
      assert.match(trouble ?? '', new RegExp(`sha256:${good[1]}`));
      assert.ok(!scripted.lines.some((line) => line.startsWith('AUTH')));
    }
    // The relay's own line counts more.
    const own = await attempt(t, { certificate }, { pins: [other] }, { pins: good });
    assert.equal(own.trouble, undefined);
    // A pin asks for TLS even on this machine.
    const none = await attempt(
      t,
      { offers: [], speaker: (line) => (line === 'STARTTLS' ? '502 no' : undefined) },
      { pins: good },
    );
    assert.match(none.trouble ?? '', /^starttls/);
  },
);

test('Without a pin an authority has to vouch for the name of the relay.', options, async (t) => {
  const right = makeCertificate(['IP:127.0.0.1']);
  const wrong = makeCertificate(['IP:127.0.0.2']);
  for (const implicit of [false, true]) {
    const fine = await attempt(t, { certificate: right, implicit }, { authorities: right.cert });
    assert.equal(fine.trouble, undefined);
    const name = await attempt(t, { certificate: wrong, implicit }, { authorities: wrong.cert });
    assert.match(name.trouble ?? '', /^tls: /);
    const stranger = await attempt(
      t,
      { certificate: right, implicit },
      { authorities: wrong.cert },
    );
    assert.match(stranger.trouble ?? '', /^tls: /);
  }
});

test('The TLS policy of a relay line holds instead of that of control/tls.', options, async (t) => {
  const certificate = makeCertificate(['DNS:another.name']);
  const verb = (scripted: Scripted): boolean => scripted.lines.includes('STARTTLS');
  const required = await attempt(t, { certificate }, { tls: 'off' }, { tls: 'required' });
  assert.match(required.trouble ?? '', /^tls: /);
  const loose = await attempt(t, { certificate }, { tls: 'off' }, { tls: 'opportunistic' });
  assert.deepEqual([loose.trouble, verb(loose.scripted)], [undefined, true]);
  const off = await attempt(t, { certificate }, { tls: 'required' }, { tls: 'off' });
  assert.deepEqual([off.trouble, verb(off.scripted)], [undefined, false]);
});

test('TLS older than the minimum is refused.', options, async (t) => {
  const certificate = makeCertificate(['IP:127.0.0.1']);
  const old = { certificate, implicit: true, tls: { maxVersion: 'TLSv1.2' } } as const;
  const authorities = certificate.cert;
  assert.equal((await attempt(t, old, { authorities })).trouble, undefined);
  const strict = await attempt(t, old, { authorities, minimum: 'TLSv1.3' });
  assert.match(strict.trouble ?? '', /^tls: .*(version|alert)/i);
});

test(
  'A relay that asks for our certificate gets it, and hears the name it is called by.',
  options,
  async (t) => {
    const certificate = makeCertificate(['DNS:localhost', 'IP:127.0.0.1']);
    const client = makeCertificate(['DNS:client.test']);
    const heard: [unknown, unknown][] = [];
    const speaker = (_line: string, socket: unknown): undefined => {
      const secured = socket as TLSSocket & { readonly servername?: unknown };
      heard.push([secured.getPeerX509Certificate()?.subjectAltName, secured.servername]);
    };
    const tls = { requestCert: true, rejectUnauthorized: false };
    const server = { certificate, implicit: true, speaker, tls };
    const ours = {
      authorities: certificate.cert,
      certificate: { chain: client.cert, key: client.key },
    };
    assert.equal((await attempt(t, server, ours)).trouble, undefined);
    assert.deepEqual(heard[0], ['DNS:client.test', false], 'an address is no server name');
    heard.length = 0;
    assert.equal((await attempt(t, server, ours, { host: 'localhost' })).trouble, undefined);
    assert.deepEqual(heard[0], ['DNS:client.test', 'localhost']);
  },
);

test(
  'Bytes behind the 220 of STARTTLS end the session, and capabilities are read afresh.',
  options,
  async (t) => {
    const certificate = makeCertificate(['IP:127.0.0.1']);
    const injected = await attempt(
      t,
      {
        certificate,
        speaker: (line) => (line === 'STARTTLS' ? '220 go on\n250 injected' : undefined),
      },
      { authorities: certificate.cert },
    );
    assert.notEqual(injected.trouble, undefined);
    let secured = false;
    const speaker = (line: string): string | undefined => {
      if (line === 'STARTTLS') {
        secured = true;
        return 'STARTTLS';
      }
      return line.startsWith('EHLO') && secured ? '250 relay.test' : undefined;
    };
    const fresh = await attempt(
      t,
      { certificate, speaker, offers: ['STARTTLS', 'AUTH PLAIN'] },
      { authorities: certificate.cert, login: { user: 'me', password: 'secret' } },
    );
    assert.match(fresh.trouble ?? '', /^auth: .*offers no AUTH/);
  },
);
