import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openControl } from '../../src/control/control.ts';
import { endingSecrets } from '../../src/runner/secrets.ts';
import { makeCertificate, noOpenssl } from '../support/certificates.ts';

const DAY = 86_400_000;

/** What is told at a time by a control folder with these files. */
function lookerFor(t: TestContext, files: Readonly<Record<string, string>>) {
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-secrets-'));
  t.after(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, 'run'));
  const all = { me: 'h.test', spooldir: folder, ...files };
  for (const [name, text] of Object.entries(all)) {
    writeFileSync(join(folder, name), `${text}\n`, { mode: 0o600 });
  }
  return (now: number) => endingSecrets(openControl(folder), now);
}

const OAUTH = {
  oauthtokenurl: 'https://h.test/token',
  oauthclientid: 'me',
  oauthrefreshtoken: 'hush',
  oauthexpires: '2027-03-15',
};

test('A refresh token is told of from two weeks before the day that the administrator named.', (t) => {
  const look = lookerFor(t, OAUTH);
  assert.deepEqual(look(Date.UTC(2027, 1, 28, 23)), []);
  assert.deepEqual(look(Date.UTC(2027, 2, 1)), [
    {
      key: 'secret oauthrefreshtoken',
      since: Date.UTC(2027, 2, 1),
      summary:
        'the refresh token ends at 2027-03-15T00:00Z, and then mail is held up: put a new one into control/oauthrefreshtoken',
    },
  ]);
  assert.equal(look(Date.UTC(2028, 1)).length, 1);
});

test('Without a date, without OAuth, or with a file that cannot be used, nothing is told.', (t) => {
  const late = Date.UTC(2030, 1);
  const { oauthexpires: _, ...undated } = OAUTH;
  const { oauthrefreshtoken: __, ...tokenless } = OAUTH;
  for (const files of [
    undated,
    tokenless,
    { oauthexpires: '2027-03-15' },
    { ...OAUTH, oauthexpires: 'soon' },
    { tlscertfile: '/nowhere' },
    { tlscertfile: '/dev/null' },
  ]) {
    assert.deepEqual(lookerFor(t, files)(late), [], JSON.stringify(files));
  }
});

test('Our certificate is told of in the last quarter of a short life.', {
  skip: noOpenssl,
}, (t) => {
  const { cert } = makeCertificate(['DNS:h.test']);
  const until = Date.parse(new X509Certificate(cert).validTo);
  const path = join(mkdtempSync(join(tmpdir(), 'picorelay-secrets-')), 'cert');
  t.after(() => rmSync(join(path, '..'), { recursive: true }));
  writeFileSync(path, cert);
  const look = lookerFor(t, { tlscertfile: path });
  assert.deepEqual(look(until - 0.6 * DAY), []);
  const [told, ...more] = look(until - 0.4 * DAY);
  assert.deepEqual([told?.key, more], ['secret tlscertfile', []]);
  assert.match(told?.summary ?? '', /^the certificate ends at \S+Z, .* control\/tlscertfile$/);
});
