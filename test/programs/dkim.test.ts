// DKIM signatures on what arrives, and what becomes of mail while a key cannot be used.
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { DkimKey } from '../../src/mail/dkim.ts';
import { makeKey, noDkimpy, verify } from '../support/dkim.ts';
import { EXTENSIONS, startRelay, WITH_CHUNKING } from '../support/relay.ts';
import { type Site, siteFor } from '../support/site.ts';

interface Signing {
  readonly site: Site;
  readonly keys: readonly DkimKey[];
  readonly file: (name: string) => string;
}

/** A site whose mail of x.test is signed twice. */
function signingSite(t: TestContext): Signing {
  const site = siteFor(t);
  const keys = (['rsa', 'ed25519'] as const).map((kind) => ({
    domain: 'x.test',
    selector: kind,
    key: makeKey(kind),
  }));
  const file = (name: string): string => join(site.folder, `${name}.pem`);
  for (const { selector, key } of keys) {
    writeFileSync(file(selector), key.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  }
  site.control(
    'dkim',
    `# two\n${keys.map(({ selector }) => `x.test ${selector} ${file(selector)}`).join('\n')}`,
  );
  return { site, keys, file };
}

const LETTER = 'From: Jo <jo@mail.x.test>\nSubject: grün\n\n.\n. a dot\nfrom here\n\n';

test('Mail of the domain is signed as it goes out, to relays of every kind; other mail is not', {
  skip: noDkimpy,
}, async (t) => {
  const { site, keys } = signingSite(t);
  const offers = [EXTENSIONS, WITH_CHUNKING, [], ['PIPELINING', 'SIZE 100000']];
  const relays = await Promise.all(offers.map((extensions) => startRelay(t, { extensions })));
  const routes = relays.map(({ port }, n) => `d${n}.test:127.0.0.1:${port}`);
  site.control('smtproutes', routes.join('\n'));
  site.relays(relays[0]?.port ?? 0);
  const to = relays.map((_, n) => `a@d${n}.test`);
  const eightBit = LETTER.replace(
    '\n\n',
    '\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nTee, grün  \n',
  );
  for (const text of [LETTER, eightBit, `${LETTER}${'all work and no play \n'.repeat(20_000)}`]) {
    await site.run('sendmail', ['-i', ...to], text);
  }
  await site.run('sendmail', ['b@d0.test'], 'From: eve@z.test\n\nx\n');
  assert.deepEqual(await site.run('picorelay-cron'), { status: 0, stdout: '', stderr: '' });
  const [large, ...others] = [...relays].reverse();
  // The last relay takes no more than 100,000 octets.
  assert.equal(large?.received.length, 2);
  for (const relay of others) assert.ok(relay.received.length >= 3);
  for (const relay of relays) {
    assert.deepEqual(relay.faults, []);
    const ours = relay.received.filter(({ raw }) => raw.includes('mail.x.test'));
    for (const verdict of verify(
      ours.map(({ raw }) => raw),
      keys,
    ))
      assert.equal(verdict, 'good; good');
    // What was announced is what came.
    for (const { parameters, raw } of relay.received) {
      const [, size] = /SIZE=(\d+)/.exec(parameters) ?? [];
      if (size !== undefined) assert.equal(Number(size), raw.length);
    }
  }
  assert.match(relays[2]?.received[1]?.raw.toString() ?? '', /\r\nTee, gr=C3=BCn =20\r\n/);
  const [foreign] = relays[0]?.received.filter(({ raw }) => raw.includes('eve@z.test')) ?? [];
  assert.ok(foreign && !foreign.raw.includes('DKIM-Signature'));
});

test('A key that cannot be used holds up mail instead of letting it out unsigned', async (t) => {
  const { site, file } = signingSite(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  const weak = makeKey('rsa', 512).export({ type: 'pkcs8', format: 'pem' });
  writeFileSync(file('weak'), weak, { mode: 0o600 });
  writeFileSync(file('broken'), 'nothing\n', { mode: 0o600 });
  writeFileSync(file('open'), weak, { mode: 0o644 });
  const table: [string, RegExp][] = [
    [`x.test s ${file('none')}`, /control\/dkim line 1: .*ENOENT/],
    [`# a\nx.test s ${file('broken')}`, /control\/dkim line 2: .*private key in PEM form/],
    [`x.test s ${file('weak')}`, /control\/dkim line 1: .*an RSA key of 1024 bits or more/],
    [`x.test s ${file('open')}`, /control\/dkim line 1: .*others cannot read .*chmod 640/],
    ['x.test s', /control\/dkim line 1: .*a domain, a selector/],
    [`x.test s ${file('rsa')} To:Subject`, /control\/dkim line 1: /],
  ];
  for (const [text, reason] of table) {
    site.control('dkim', text);
    const sent = await site.run('sendmail', ['a@y.test'], LETTER);
    assert.deepEqual(sent, { status: 0, stdout: '', stderr: '' });
    const ran = await site.run('picorelay', ['run', '--once']);
    assert.match(ran.stderr, reason, text);
    assert.equal(ran.status, 75);
  }
  assert.equal(relay.connections, 0);
  assert.equal(site.queued().length, table.length);
  site.control('dkim', `x.test s ${file('rsa')} From:Subject`);
  await site.run('picorelay-cron');
  assert.equal(relay.received.length, table.length);
  for (const { raw } of relay.received)
    assert.match(raw.toString(), /^DKIM-Signature: .*\r\n t=\d+; h=from:from:subject:subject;/);
});

test('picorelay dkim shows what the DNS has to say', async (t) => {
  const { site, file } = signingSite(t);
  const { status, stdout, stderr } = await site.run('picorelay', ['dkim']);
  assert.deepEqual([status, stderr], [0, '']);
  assert.match(
    stdout,
    /^rsa\._domainkey\.x\.test\. IN TXT \( "v=DKIM1; k=rsa; p=[^"]{237}" "[^"]+" \)\n/,
  );
  assert.match(
    stdout,
    /^ed25519\._domainkey\.x\.test\. IN TXT \( "v=DKIM1; k=ed25519; p=[^"]{44}" \)$/m,
  );
  chmodSync(file('rsa'), 0o644);
  assert.match((await site.run('picorelay', ['dkim'])).stderr, /chmod 640/);
});
