// Every way to log in that Debian's mail servers offer, each by itself, over verified TLS: the right secret gets
// the mail through, and the server says by which mechanism; a wrong one moves nothing.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startSink } from '../support/sink.ts';
import { makeSite } from '../support/site.ts';
import { startAiosmtpd } from './aiosmtpd.ts';
import { startDovecot } from './dovecot.ts';
import { startExim } from './exim.ts';
import { startPostfix } from './postfix.ts';
import { type RelayServer, recipients } from './relay-server.ts';
import { skipWithout } from './require.ts';

const [alice = ''] = recipients;

interface Offer {
  readonly mechanism: string;
  /** What the server's log says of a login. */
  readonly logged: RegExp;
  readonly secret?: string;
}

/** Logs in by each of the offers; `arrived` counts the mails that came through. */
async function logInByEach(
  t: TestContext,
  server: RelayServer,
  port: number,
  offers: readonly Offer[],
  arrived: () => number,
): Promise<void> {
  const { access } = server;
  assert.ok(access !== undefined);
  for (const { mechanism, logged, secret = access.password } of offers) {
    await t.test(mechanism, async (t) => {
      const site = makeSite();
      t.after(() => site.remove());
      site.control('relay', `smtp://127.0.0.1:${port}`);
      site.control('tlscafile', access.caFile);
      site.control('authuser', access.user);
      site.control('authmechanisms', mechanism);
      const sent = await site.run('sendmail', ['-f', alice, alice], 'Subject: hello\n\nhello\n');
      assert.equal(sent.status, 0, sent.stderr);
      const before = arrived();

      site.control('authpassword', `not ${secret}`);
      await site.run('picorelay-cron');
      assert.equal(site.queued().length, 1, site.log());
      assert.match(site.log(), /^\S+ paused .* stage=auth /m);

      site.control('authpassword', secret);
      const told = server.log().length;
      const cron = await site.run('picorelay', ['run', '--once']);
      assert.equal(cron.status, 0, cron.stderr);
      assert.deepEqual(site.queued(), [], site.log());
      await server.drained();
      assert.equal(arrived() - before, 1, server.log());
      assert.match(server.log().slice(told), logged);
    });
  }
}

test('Postfix', { skip: skipWithout('postfix') }, async (t) => {
  const server = await startPostfix();
  t.after(() => server.stop());
  const offers = ['PLAIN', 'LOGIN', 'CRAM-MD5', 'SCRAM-SHA-256'].map((mechanism) => ({
    mechanism: mechanism.toLowerCase(),
    logged: new RegExp(`sasl_method=${mechanism}, sasl_username=relayuser`),
  }));
  await logInByEach(t, server, server.port, offers, () => server.received(alice).length);
});

test('Exim', { skip: skipWithout('exim') }, async (t) => {
  const server = await startExim();
  t.after(() => server.stop());
  const offers = ['plain', 'login', 'cram-md5'].map((mechanism) => ({
    mechanism,
    logged: new RegExp(` A=${mechanism.slice(0, 4)}\\w*:relayuser `),
  }));
  await logInByEach(t, server, server.port, offers, () => server.received(alice).length);
});

test('aiosmtpd', { skip: skipWithout('aiosmtpd') }, async (t) => {
  const server = await startAiosmtpd();
  t.after(() => server.stop());
  const offers = ['plain', 'login'].map((mechanism) => ({
    mechanism,
    logged: new RegExp(`^AUTH ${mechanism.toUpperCase()} True$`, 'm'),
  }));
  await logInByEach(t, server, server.port, offers, () => server.received(alice).length);
});

test("Dovecot's submission service", { skip: skipWithout('dovecot') }, async (t) => {
  const sink = await startSink();
  t.after(() => sink.stop());
  const server = await startDovecot(sink.port);
  t.after(() => server.stop());
  const offers = [
    ...['PLAIN', 'LOGIN', 'CRAM-MD5', 'SCRAM-SHA-256'].map((method) => ({ method })),
    ...['OAUTHBEARER', 'XOAUTH2'].map((method) => ({ method, secret: server.token })),
  ].map(({ method, ...secret }) => ({
    mechanism: method.toLowerCase(),
    logged: new RegExp(`Login: user=<relayuser>, method=${method}, .*TLS`),
    ...secret,
  }));
  await logInByEach(t, server, server.submissionPort, offers, () => sink.received.length);
});
