// Delivery without a relay, by the built programs: a name server, mail exchangers and policies of the
// test's own, on addresses of the loopback.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Certificate, makeCertificate, noOpenssl } from '../support/certificates.ts';
import { type NameServer, startNameServer, type Zone } from '../support/dns.ts';
import { notRoot, startPolicyServer } from '../support/policy-server.ts';
import { freePort } from '../support/process.ts';
import { EXTENSIONS, startRelay, type TestRelay } from '../support/relay.ts';
import { startScripted } from '../support/scripted.ts';
import { type Site, siteFor } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';

interface World {
  readonly site: Site;
  readonly dns: NameServer;
  readonly port: number;
  /** A mail exchanger at 127.0.0.N. */
  readonly host: (n: number, options?: Parameters<typeof startRelay>[1]) => Promise<TestRelay>;
}

async function worldFor(t: TestContext, zone: Zone): Promise<World> {
  const site = siteFor(t);
  const dns = await startNameServer(t, zone);
  const port = await freePort();
  site.control('nameservers', dns.address);
  site.control('relay', `mx://:${port}`);
  const host: World['host'] = (n, options = {}) =>
    startRelay(t, { ...options, host: `127.0.0.${n}`, port });
  return { site, dns, port, host };
}

async function sendTo(site: Site, ...recipients: readonly string[]): Promise<void> {
  const { status, stderr } = await site.run('sendmail', recipients, LETTER);
  assert.deepEqual([status, stderr], [0, '']);
}

test('Each domain gets its mail at its own hosts, one transaction for all its recipients', async (t) => {
  const { site, dns, port, host } = await worldFor(t, {
    'x.test': { MX: [[10, 'mx.x.test']] },
    'mx.x.test': { addresses: ['127.0.0.41'] },
    'bare.test': { addresses: ['127.0.0.42'] },
  });
  const [x, bare, literal] = [await host(41), await host(42), await host(43)];
  // The password is for a relay; it never goes to strangers, whatever they offer.
  site.control('authuser', 'me');
  site.control('authpassword', 'secret');
  site.control('authcleartext', 'yes');
  await sendTo(site, 'a@x.test', 'b@X.test', 'c@bare.test', 'd@[127.0.0.43]');
  const explained = await site.run('picorelay', ['explain', 'a@x.test', 'c@bare.test'], LETTER);
  assert.match(explained.stdout, new RegExp(`mx x\\.test:${port}: mx://:${port}`));
  assert.deepEqual(dns.questions, []);
  assert.deepEqual(await site.run('picorelay-cron'), { status: 0, stdout: '', stderr: '' });
  assert.deepEqual(x.recipients().sort(), ['a@x.test', 'b@X.test']);
  assert.equal(x.received.length, 1);
  assert.deepEqual(bare.recipients(), ['c@bare.test']);
  assert.deepEqual(literal.recipients(), ['d@[127.0.0.43]']);
  assert.deepEqual(site.queued(), []);
  assert.deepEqual(site.names('routes'), []);
  for (const relay of [x, bare, literal]) assert.deepEqual(relay.faults, []);
});

test('What the DNS says for certain is told at once; what it does not know waits', async (t) => {
  const { site, dns } = await worldFor(t, {
    'null.test': { MX: [[0, '.']] },
    'self.test': { MX: [[10, 'client.test']] },
    'broken.test': 'SERVFAIL',
  });
  await sendTo(site, 'a@nowhere.test', 'b@null.test', 'c@self.test', 'd@broken.test');
  const ran = await site.run('picorelay-cron');
  assert.match(
    ran.stderr,
    /^picorelay-cron: paused: mx:\/\/broken\.test: resolve: .*SERVFAIL.*\n$/,
  );
  const refused = [...site.undelivered()].filter(([name]) => name.endsWith('.result'));
  const told = refused.map(([name, text]) => [
    /[abc]@(\w+)\.test/.exec(name)?.[1],
    /55\d (5\.\d+\.\d+) /.exec(text)?.[1],
  ]);
  assert.deepEqual(Object.fromEntries(told), { nowhere: '5.1.2', null: '5.1.10', self: '5.4.6' });
  assert.match(site.queued().join(), /^[^,]*:d@broken\.test:0@[^,]*\.spool$/);
  const { stdout } = await site.run('picorelay', ['list']);
  assert.match(
    stdout,
    /^route mx broken\.test:\d+ paused since \S+ at resolve by mx:\/\/broken\.test/m,
  );
  // Until its rest is over nobody is asked again.
  const { length } = dns.questions;
  await site.run('picorelay-cron');
  assert.equal(dns.questions.length, length);
});

test('A sender is told that the DNS knows no such domain, and of no mail server that said so', async (t) => {
  const { site, host } = await worldFor(t, { 'home.test': { addresses: ['127.0.0.55'] } });
  const home = await host(55);
  site.control('bounce', 'sender');
  await site.run('sendmail', ['-f', 'me@home.test', 'a@nowhere.test'], LETTER);
  for (let run = 0; run < 2; run++) await site.run('picorelay-cron');
  const [report] = home.received;
  assert.deepEqual([report?.from, report?.to], ['', ['me@home.test']]);
  const text = report?.raw.toString() ?? '';
  assert.match(text, /<a@nowhere\.test>\r\n {8}It cannot be delivered:\r\n {12}550 5\.1\.2 /);
  assert.match(text, /\r\nStatus: 5\.1\.2\r\n/);
  assert.doesNotMatch(text, /Remote-MTA/);
});

test('Hosts are tried by preference, one that fails rests, and a dead domain holds up no other', async (t) => {
  const { site, host } = await worldFor(t, {
    'x.test': {
      MX: [
        [20, 'second.x.test'],
        [10, 'first.x.test'],
        [5, 'gone.x.test'],
      ],
    },
    'first.x.test': { addresses: ['127.0.0.44'] },
    'second.x.test': { addresses: ['::1', '127.0.0.45'] },
    'dead.test': { addresses: ['127.0.0.46'] },
  });
  const first = await host(44, {
    script: ({ stage }) => (stage === 'greeting' ? '421 busy' : undefined),
  });
  const second = await host(45);
  await sendTo(site, 'a@x.test', 'b@dead.test');
  await site.run('picorelay-cron');
  assert.equal(first.connections, 1);
  assert.deepEqual(second.recipients(), ['a@x.test']);
  assert.equal(site.queued().length, 1);
  const rests = site.names('routes').find((name) => /x\.test.*:relays$/.test(name));
  const text = readFileSync(join(site.spool, 'routes', rests ?? ''), 'utf8');
  assert.match(
    text,
    /^smtp:\/\/gone\.x\.test:\d+ failures=1 .*\nsmtp:\/\/first\.x\.test:\d+ failures=1 /,
  );
  // Both rest, so the third one is asked first.
  await sendTo(site, 'c@x.test');
  await site.run('picorelay-cron');
  assert.equal(first.connections, 1);
  assert.deepEqual(second.recipients(), ['a@x.test', 'c@x.test']);
});

test('A route in smtproutes without a relay is direct, as in qmail; the others keep theirs', async (t) => {
  const { site, port, host } = await worldFor(t, { 'direct.test': { addresses: ['127.0.0.47'] } });
  const [relay, direct] = [await startRelay(t), await host(47)];
  site.relays(relay.port);
  site.control('smtproutes', `direct.test::${port}`);
  await sendTo(site, 'a@direct.test', 'b@other.test');
  await site.run('picorelay-cron');
  assert.deepEqual(direct.recipients(), ['a@direct.test']);
  assert.deepEqual(relay.recipients(), ['b@other.test']);
});

/** A mail exchanger that speaks TLS with this certificate. */
async function startSecure(
  t: TestContext,
  host: string,
  port: number,
  certificate: Certificate | undefined,
): Promise<Awaited<ReturnType<typeof startScripted>>> {
  const speaker = (line: string) => (line === 'STARTTLS' ? 'STARTTLS' : undefined);
  const offers = [...EXTENSIONS, 'STARTTLS'];
  return await startScripted(t, {
    offers,
    speaker,
    host,
    port,
    ...(certificate === undefined ? {} : { certificate }),
  });
}

test('TLS is taken where it is offered, whoever vouches for it, and left where it fails', {
  skip: noOpenssl,
}, async (t) => {
  const { site, port } = await worldFor(t, {
    'own.test': { addresses: ['127.0.0.48'] },
    'broken.test': { addresses: ['127.0.0.49'] },
  });
  const own = await startSecure(t, '127.0.0.48', port, makeCertificate(['DNS:stranger']));
  const broken = await startSecure(t, '127.0.0.49', port, undefined);
  await sendTo(site, 'a@own.test', 'b@broken.test');
  await site.run('picorelay-cron');
  assert.deepEqual(site.queued(), []);
  const heard = (lines: readonly string[]) =>
    lines.map((line) => line.split(/[ :]/, 1)[0] ?? '').join(' ');
  assert.match(heard(own.lines), /^EHLO STARTTLS EHLO MAIL RCPT DATA \. QUIT$/);
  // Another connection, in clear text.
  assert.match(heard(broken.lines), /^EHLO STARTTLS EHLO MAIL RCPT DATA \. QUIT$/);
  assert.match(site.log(), /relay="smtp:\/\/broken\.test:\d+\?tls=off"/);
  // What a line asks for is kept.
  site.control('smtproutes', `own.test:mx://:${port}?tls=required`);
  await sendTo(site, 'c@own.test');
  const ran = await site.run('picorelay-cron');
  assert.match(ran.stderr, /own\.test.*: tls: /);
  assert.equal(site.queued().length, 1);
});

test('A policy of MTA-STS lets only its hosts have mail, over verified TLS, and is kept in the spool', {
  skip: noOpenssl || notRoot,
}, async (t) => {
  const zone = {
    'x.test': {
      MX: [
        [10, 'evil.test'],
        [20, 'mx.x.test'],
      ],
    },
    'evil.test': { addresses: ['127.0.0.51'] },
    'mx.x.test': { addresses: ['127.0.0.52'] },
    '_mta-sts.x.test': { TXT: ['v=STSv1; id=1'] },
    'mta-sts.x.test': { addresses: ['127.0.0.53'] },
  } as const;
  const { site, dns, port, host } = await worldFor(t, zone);
  const certificate = makeCertificate(['DNS:mx.x.test', 'DNS:mta-sts.x.test']);
  const authority = join(site.folder, 'ca.pem');
  writeFileSync(authority, certificate.cert);
  site.control('tlscafile', authority);
  const policies = await startPolicyServer(t, '127.0.0.53', certificate);
  policies.text = 'version: STSv1\nmode: enforce\nmx: mx.x.test\nmax_age: 86400\n';
  const evil = await host(51);
  const good = await startSecure(t, '127.0.0.52', port, certificate);
  await sendTo(site, 'a@x.test');
  assert.equal((await site.run('picorelay-cron')).stderr, '');
  assert.equal(evil.connections, 0);
  assert.ok(good.lines.includes('RCPT TO:<a@x.test>'));
  assert.deepEqual(
    site.names('routes').map((name) => name.replace(/\d+:/, 'PORT:')),
    ['mx%20x.test%3APORT:policy'],
  );

  // Somebody takes the record away and answers for the domain: the policy that was seen holds.
  dns.zone = { ...zone, 'x.test': { MX: [[10, 'evil.test']] }, '_mta-sts.x.test': {} };
  await sendTo(site, 'b@x.test');
  const ran = await site.run('picorelay-cron');
  assert.match(ran.stderr, /names none of its mail exchangers \(evil\.test\)/);
  assert.equal(evil.connections, 0);
  assert.equal(site.queued().length, 1);
  assert.equal(policies.requests, 1);

  // Or the right name at the wrong address, with a certificate of another.
  dns.zone = { ...zone, 'mx.x.test': { addresses: ['127.0.0.54'] } };
  const wrong = await startSecure(t, '127.0.0.54', port, makeCertificate(['DNS:mx.x.test']));
  assert.match(
    (await site.run('picorelay', ['run', '--once'])).stderr,
    /mx\.x\.test:\d+\?tls=required: tls: /,
  );
  assert.ok(!wrong.lines.some((line) => line.startsWith('MAIL')));

  // The domain takes it back.
  dns.zone = { ...zone, '_mta-sts.x.test': { TXT: ['v=STSv1; id=2'] } };
  policies.text = 'version: STSv1\nmode: none\nmax_age: 86400\n';
  await site.run('picorelay', ['run', '--once']);
  assert.deepEqual(evil.recipients(), ['b@x.test']);
});
