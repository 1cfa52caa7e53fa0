// A stranger reads README.md from the top and types what stands there. Every line of its examples is run
// here or in a test that is named, so that a line which is added or changed has to be looked at.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { SMTPServer } from 'smtp-server';
import { freshRoot } from '../interop/fresh.ts';
import { skipWithout } from '../interop/require.ts';
import { makeCertificate } from '../support/certificate.ts';
import { freePort, must, waitFor } from '../support/process.ts';

/** The lines of the examples, without what is said about them. */
const lines = readFileSync('README.md', 'utf8')
  .split('\n')
  .filter((line) => /^ {4}[a-z]/.test(line))
  .map((line) => line.trim().replace(/ {3,}# .*| {6,}#.*/, ''));

/** Where each line is run. */
const RUN = {
  'npm start': 'tree',
  'npm test': 'the test that runs this',
  'npm run build:deb': 'tree',
  'apt install ./build/picorelay_*.deb': 'root',
  'picorelay init': 'test/interop/install.test.ts',
  'git clone <this repository> /opt/picorelay && cd /opt/picorelay && npm ci && npm run build':
    'tree, but for what fetches',
  'bin/picorelay init': 'test/interop/install.test.ts',
  'bin/picorelay init --yes --email you@example.com --relay smtps://smtp.example.com --password-file /root/password':
    'root, and test/interop/install.test.ts',
  "echo 'Subject: it works' | sendmail -v you@example.com": 'root',
  'picorelay test you@example.com': 'root',
  'picorelay list': 'root',
  'picorelay run --once -v': 'root',
  'picorelay check': 'root',
  'echo smtps://you@example.com@smtp.example.com > /etc/picorelay/relay': 'root',
  'install -m 640 /dev/null /etc/picorelay/authpassword': 'root',
  "echo 'the password' > /etc/picorelay/authpassword": 'root',
} as const;

test('Every line of an example is known here', () => {
  assert.deepEqual([...new Set(lines)].sort(), Object.keys(RUN).sort());
});

test('The documents that README.md names are there, and it names each', () => {
  for (const [, path = ''] of readFileSync('README.md', 'utf8').matchAll(/\]\(([^)#:]+)\)/g)) {
    assert.doesNotThrow(() => readFileSync(path), path);
  }
  const text = readFileSync('README.md', 'utf8');
  const unnamed = readdirSync('docs').filter(
    (name) => name.endsWith('.md') && !text.includes(`(docs/${name})`),
  );
  assert.deepEqual(unnamed, []);
});

test('A stranger gets from the clone to a relay that wants TLS and a login', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-readme-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const env = {
    PATH: `${dirname(process.execPath)}:/usr/sbin:/usr/bin:/bin`,
    HOME: process.env['HOME'] ?? '/root',
  };
  // A clone, with the packages of this one, which count as newer than the lock file.
  for (const name of readdirSync('.')) {
    if (/^(\.git|build|dist|node_modules|.*\.tgz)$/.test(name)) continue;
    cpSync(name, join(folder, name), {
      recursive: true,
      filter: (path) => !path.startsWith('bin/') || path.endsWith('.ts'),
    });
  }
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
  utimesSync(join(folder, 'package-lock.json'), 0, 0);

  const shown = await must(['sh', '-c', 'npm start'], { cwd: folder, env });
  assert.match(shown, /6\. One recipient is refused/);
  writeFileSync(join(folder, 'message'), 'Subject: mine\n\nb\n');
  const own = await must(['sh', '-c', 'npm start -- someone@example.org < message'], {
    cwd: folder,
    env,
  });
  assert.match(own, /Subject: mine/);
  await must(['sh', '-c', 'npm run build:deb'], { cwd: folder, env });

  const host = await freshRoot(t);
  await host.installNode();
  mkdirSync(host.at('/root/picorelay'));
  await must(['cp', '-r', join(folder, 'build'), host.at('/root/picorelay')]);
  const relay = await startRelay(t);
  // The clone is where the stranger stands.
  const there = (line: keyof typeof RUN): Promise<string> => {
    const typed = line
      .replace('apt install', 'apt-get -q install -y')
      .replace('bin/picorelay', 'picorelay')
      .replace('smtps://smtp.example.com', relay.url)
      .replace('smtp.example.com', relay.place);
    return host.must(['sh', '-ec', `cd /root/picorelay; ${typed}`]);
  };
  await there('apt install ./build/picorelay_*.deb');
  host.write('/root/password', 'the password\n', 0o600);
  await there(
    'bin/picorelay init --yes --email you@example.com --relay smtps://smtp.example.com --password-file /root/password',
  );
  const login = [...relay.logins];
  assert.deepEqual(login, ['you@example.com the password']);

  await there("echo 'Subject: it works' | sendmail -v you@example.com");
  assert.match(relay.received.at(-1) ?? '', /^Subject: it works\r$/m);
  assert.match(await there('picorelay test you@example.com'), /you@example\.com/);
  await waitFor('the test mail', () => relay.received.length === 2);
  assert.match(await there('picorelay list'), /empty/);
  await there('picorelay run --once -v');
  // By hand, what init did.
  await host.must(['rm', '/etc/picorelay/relay', '/etc/picorelay/authpassword']);
  await there('echo smtps://you@example.com@smtp.example.com > /etc/picorelay/relay');
  await there('install -m 640 /dev/null /etc/picorelay/authpassword');
  await there("echo 'the password' > /etc/picorelay/authpassword");
  await there("echo 'Subject: it works' | sendmail -v you@example.com");
  assert.equal(relay.received.length, 3);
  assert.equal(relay.logins.at(-1), 'you@example.com the password');

  // And a job of cron's, which is what all of it is for.
  host.write(
    '/var/spool/cron/crontabs/root',
    'MAILTO=you@example.com\n@reboot echo the job says hello\n',
    0o600,
  );
  const cron = await host.start(['cron', '-f']);
  await waitFor('the output of the job', () => relay.received.length === 4, {
    detail: cron.output,
  });
  assert.doesNotMatch(await there('picorelay check'), /^(failure|warning)/m);
  await cron.stop();
  assert.match(relay.received.at(-1) ?? '', /^the job says hello\r$/m);
});

interface StrictRelay {
  /** As control/relay has it, with the pin of its certificate. */
  readonly url: string;
  readonly place: string;
  readonly received: string[];
  readonly logins: string[];
}

/** A relay that speaks TLS from the first octet and takes mail after a login only. */
async function startRelay(t: { after(end: () => void): void }): Promise<StrictRelay> {
  const received: string[] = [];
  const logins: string[] = [];
  const certificate = makeCertificate();
  const server = new SMTPServer({
    secure: true,
    ...certificate,
    disableReverseLookup: true,
    onAuth: ({ username, password }, _session, done) => {
      logins.push(`${username} ${password}`);
      done(password === 'the password' ? null : new Error('535 5.7.8 wrong'), { user: username });
    },
    onData: (stream, _session, done) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        received.push(Buffer.concat(chunks).toString());
        done();
      });
    },
  });
  server.on('error', () => undefined);
  const port = await freePort();
  await new Promise<void>((listening) => server.listen(port, '127.0.0.1', listening));
  t.after(() => server.close());
  const pin = new X509Certificate(certificate.cert).fingerprint256;
  const place = `127.0.0.1:${port}?pin=${pin}`;
  return { url: `smtps://${place}`, place, received, logins };
}
