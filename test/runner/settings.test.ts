import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ControlError, openControl } from '../../src/control/control.ts';
import { DEFAULT_ROUTE, directRoute } from '../../src/control/routing.ts';
import type { SessionOptions } from '../../src/relay/session.ts';
import { readSettings } from '../../src/runner/settings.ts';
import { makeCertificate, noOpenssl } from '../support/certificates.ts';
import { startScripted } from '../support/scripted.ts';
import { siteFor } from '../support/site.ts';

/** A control folder; each file is closed to others. */
function folderWith(t: TestContext, files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-settings-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const [name, text] of Object.entries({ me: 'h.test', relay: 'smtp://r.test', ...files })) {
    writeFileSync(join(folder, name), `${text}\n`, { mode: 0o600 });
  }
  return folder;
}

function optionsFrom(folder: string): readonly SessionOptions[] {
  const settings = readSettings(openControl(folder), () => 0, DEFAULT_ROUTE);
  return settings.relays.map((relay) => settings.sessionWith(relay));
}

test('Source address, proxy, pins and TLS version reach the session.', (t) => {
  const pin = 'ab'.repeat(32);
  const folder = folderWith(t, {
    sourceaddress: '2001:db8::5 192.0.2.5',
    proxy: 'socks5://me@proxy.test:1080',
    proxypassword: 'secret',
    tlspin: `# ours\n${pin.toUpperCase()}`,
    tlsminimum: '1.3',
  });
  const [options] = optionsFrom(folder);
  assert.deepEqual(options?.way, {
    source: { ipv4: '192.0.2.5', ipv6: '2001:db8::5' },
    proxy: { scheme: 'socks5', host: 'proxy.test', port: 1080, user: 'me', password: 'secret' },
  });
  assert.deepEqual(options?.pins, [pin]);
  assert.equal(options?.minimum, 'TLSv1.3');
  assert.equal(options?.login, undefined);
});

test('A login has its secret from the file, the command or a token server, and a socket has none.', async (t) => {
  const relay = 'smtp://a@r.test\nlmtp+unix:///s';
  const [file, socket] = optionsFrom(
    folderWith(t, { relay, authuser: 'b', authpassword: 'p', authpasswordcommand: 'false' }),
  );
  assert.deepEqual(file?.login, { user: 'a', mechanisms: undefined, password: 'p' });
  assert.equal(socket?.login, undefined);

  const counted = folderWith(t, {});
  const command = `echo x >> ${counted}/runs; echo from-command`;
  writeFileSync(join(counted, 'authpasswordcommand'), command, { mode: 0o600 });
  writeFileSync(join(counted, 'authuser'), 'b');
  writeFileSync(join(counted, 'authmechanisms'), 'PLAIN login');
  const [asked] = optionsFrom(counted);
  assert.deepEqual(asked?.login?.mechanisms, ['PLAIN', 'LOGIN']);
  const password = asked?.login?.password;
  assert.ok(typeof password === 'function');
  assert.ok(!existsSync(join(counted, 'runs')), 'it is run only when a relay asks');
  assert.deepEqual(await Promise.all([password(), password()]), ['from-command', 'from-command']);
  assert.equal(readFileSync(join(counted, 'runs'), 'utf8'), 'x\n');

  const oauth = { oauthtokenurl: 'https://t.test/', oauthclientid: 'c', oauthrefreshtoken: 'r' };
  const [token] = optionsFrom(folderWith(t, { ...oauth, authuser: 'b' }));
  assert.equal(typeof token?.login?.token, 'function');
});

test('Files that do not go together are named.', { skip: noOpenssl }, (t) => {
  const { cert, key } = makeCertificate(['DNS:c.test']);
  const other = makeCertificate(['DNS:c.test']);
  const pem = folderWith(t, { cert, key, other: other.key, open: key });
  mkdirSync(join(pem, 'folder'));
  writeFileSync(join(pem, 'loose'), key, { mode: 0o644 });
  const path = (name: string) => join(pem, name);
  const table: [Record<string, string>, string, RegExp][] = [
    [{ authuser: 'b' }, 'authpassword', /file is missing/],
    [
      { authuser: 'b', oauthtokenurl: 'https://t.test/' },
      'oauthclientid',
      /belongs to oauthtokenurl/,
    ],
    [{ oauthtokenurl: 'http://t.test/' }, 'oauthtokenurl', /https/],
    [{ tlscertfile: path('cert') }, 'tlskeyfile', /belongs to tlscertfile/],
    [{ tlskeyfile: path('key') }, 'tlscertfile', /belongs to tlskeyfile/],
    [
      { tlscertfile: path('cert'), tlskeyfile: path('other') },
      'tlskeyfile',
      /the key of the certificate/,
    ],
    [{ tlscertfile: path('cert'), tlskeyfile: path('loose') }, 'tlskeyfile', /others cannot read/],
    [{ tlscertfile: path('cert'), tlskeyfile: path('none') }, 'tlskeyfile', /ENOENT/],
    [{ tlscafile: path('folder') }, 'tlscafile', /EISDIR/],
    [{ tlspin: 'abc' }, 'tlspin', /fingerprints/],
    [{ sourceaddress: '192.0.2.1 192.0.2.2' }, 'sourceaddress', /one IPv4/],
    [{ proxy: 'socks5://me:secret@h:1' }, 'proxy', /proxypassword/],
    [{ authmechanisms: 'plain gssapi' }, 'authmechanisms', /scram-sha-256/],
  ];
  for (const [files, name, reason] of table) {
    assert.throws(
      () => optionsFrom(folderWith(t, files)),
      (error) => {
        assert.ok(error instanceof ControlError, String(error));
        assert.match(error.file, new RegExp(`/${name}$`));
        assert.match(error.message, reason);
        assert.ok(!error.message.includes('secret'));
        return true;
      },
      name,
    );
  }
  const files = { tlscertfile: path('cert'), tlskeyfile: path('key'), authuser: 'b' };
  const [options] = optionsFrom(folderWith(t, files));
  assert.deepEqual(options?.login, { user: 'b', mechanisms: undefined });
  assert.equal(options?.certificate?.key.trim(), key.trim());
});

test('A mail goes out by LMTP, and with the password of a command.', async (t) => {
  const site = siteFor(t);
  const path = join(site.folder, 'lmtp');
  const speaker = (line: string) => (line === '.' ? '250 2.0.0 one\n250 2.0.0 two' : undefined);
  const lmtp = await startScripted(t, { path, offers: ['PIPELINING'], speaker });
  site.control('relay', `lmtp+unix://${path}`);
  await site.run('sendmail', ['a@x.test', 'b@x.test'], 'Subject: x\n\nbody\n');
  assert.equal((await site.run('picorelay-cron')).status, 0);
  assert.deepEqual(site.queued(), [], site.log());
  assert.equal(lmtp.lines[0], 'LHLO client.test');

  const token = Buffer.from('\0me\0from command').toString('base64');
  const smtp = await startScripted(t, {
    offers: ['AUTH PLAIN'],
    speaker: (line) => (line.startsWith('AUTH') ? '235 ok' : undefined),
  });
  site.control('relay', `smtp://me@127.0.0.1:${smtp.port}`);
  site.control('authpasswordcommand', 'echo from command');
  chmodSync(join(site.folder, 'control/authpasswordcommand'), 0o600);
  await site.run('sendmail', ['a@x.test'], 'Subject: x\n\nbody\n');
  assert.equal((await site.run('picorelay-cron')).status, 0);
  assert.deepEqual(site.queued(), [], site.log());
  assert.equal(smtp.lines[1], `AUTH PLAIN ${token}`);
  site.control('authpasswordcommand', 'exit 7');
  chmodSync(join(site.folder, 'control/authpasswordcommand'), 0o600);
  await site.run('sendmail', ['a@x.test'], 'Subject: x\n\nbody\n');
  await site.run('picorelay-cron');
  assert.equal(site.queued().length, 1);
  assert.match(site.log(), /authpasswordcommand ended with exit status 7/);
});

test('Hosts of other people get nothing that is for relays.', { skip: noOpenssl }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-direct-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const { cert, key } = makeCertificate(['DNS:h.test']);
  writeFileSync(join(folder, 'cert'), cert);
  writeFileSync(join(folder, 'key'), key, { mode: 0o600 });
  const control = openControl(
    folderWith(t, {
      relay: 'mx://',
      authuser: 'me',
      authpassword: 'secret',
      tlspin: 'ab'.repeat(32),
      tlsminimum: '1.3',
      tlscertfile: join(folder, 'cert'),
      tlskeyfile: join(folder, 'key'),
      tlscafile: join(folder, 'cert'),
    }),
  );
  const route = directRoute({ scheme: 'mx', port: 25 }, 'x.test');
  const { relays, direct, sessionWith } = readSettings(control, () => 0, route);
  assert.deepEqual([relays, direct?.route], [[], route]);
  const relay = { scheme: 'smtp', host: 'mx.x.test', port: 25, user: undefined } as const;
  const options = sessionWith(relay);
  const { login, certificate, pins, tls, minimum } = options;
  assert.deepEqual(
    { login, certificate, pins, tls, minimum },
    {
      login: undefined,
      certificate: undefined,
      pins: [],
      tls: 'opportunistic',
      minimum: 'TLSv1.2',
    },
  );
  // Our own authority stands beside the public ones.
  assert.ok((options.authorities?.split('BEGIN CERTIFICATE').length ?? 0) > 50);
  assert.ok(options.authorities?.includes(cert));
});
