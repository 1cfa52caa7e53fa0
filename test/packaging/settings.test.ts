// What a container is given becomes its control folder.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Finished, run } from '../support/process.ts';
import { siteFor } from '../support/site.ts';

/** Runs the program with this environment; the folder is new. */
async function settle(
  t: TestContext,
  env: Readonly<Record<string, string>>,
): Promise<
  Finished & { readonly files: Readonly<Record<string, string>>; readonly folder: string }
> {
  const folder = join(siteFor(t).folder, 'settings');
  const done = await run([process.execPath, 'build/container/settings.js'], {
    env: { PICORELAY_CONTROL: folder, ...env },
  });
  const files = readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]);
  return { ...done, folder, files: Object.fromEntries(files) as Record<string, string> };
}

test('Variables become control files that only their owner reads', async (t) => {
  const secret = join(siteFor(t).folder, 'secret');
  writeFileSync(secret, 'p ass\n');
  const done = await settle(t, {
    PICORELAY_ME: 'app.test',
    PICORELAY_RELAY: 'smtp://one.test:587\nsmtps://two.test',
    PICORELAY_QUEUE_LIFETIME: '2d',
    PICORELAY_AUTH_PASSWORD_FILE: secret,
    PICORELAY_AUTHUSER: 'me',
    // What Kubernetes sets for a service called picorelay, and what is somebody else's.
    PICORELAY_PORT: 'tcp://10.0.0.1:25',
    PICORELAY_SERVICE_HOST: '10.0.0.1',
    RELAY: 'nothing of ours',
  });
  assert.deepEqual(
    { status: done.status, stdout: done.stdout, stderr: done.stderr },
    { status: 0, stdout: '', stderr: '' },
  );
  assert.deepEqual(done.files, {
    authpassword: 'p ass\n',
    authuser: 'me\n',
    log: 'stderr\n',
    me: 'app.test\n',
    queuelifetime: '2d\n',
    relay: 'smtp://one.test:587\nsmtps://two.test\n',
  });
  for (const name of Object.keys(done.files)) {
    assert.equal(statSync(join(done.folder, name)).mode & 0o777, 0o600, name);
  }
});

test('Without a name the host is called what it is called, and it is said', async (t) => {
  const { status, stderr, files } = await settle(t, { PICORELAY_LOG: '/tmp/log' });
  assert.equal(status, 0);
  assert.equal(
    stderr,
    `picorelay: PICORELAY_ME is not set: the relay is greeted as "${hostname()}"\n`,
  );
  assert.deepEqual(files, { log: '/tmp/log\n', me: `${hostname()}\n` });
});

for (const [fault, env, told] of [
  [
    'a name that no control file has',
    { PICORELAY_RELAI: 'x' },
    /^picorelay: PICORELAY_RELAI: no control file has this name/m,
  ],
  ['a malformed value', { PICORELAY_TLS: 'sometimes' }, /^picorelay: PICORELAY_TLS: .*sometimes/m],
  [
    'a file that is missing',
    { PICORELAY_RELAY_FILE: '/no/file' },
    /^picorelay: PICORELAY_RELAY_FILE: ENOENT/m,
  ],
  [
    'a malformed secret, which it does not show',
    { PICORELAY_AUTHPASSWORD: 'hush\u0007' },
    /^picorelay: PICORELAY_AUTHPASSWORD: (?!.*hush)/m,
  ],
] as const) {
  test(`The start ends with 78 for ${fault}`, async (t) => {
    const { status, stderr } = await settle(t, { PICORELAY_ME: 'app.test', ...env });
    assert.equal(status, 78);
    assert.match(stderr, told);
    assert.doesNotMatch(stderr, /hush/);
  });
}

test('A folder that cannot be written is told with the option that mends it', async () => {
  const { status, stderr } = await run([process.execPath, 'build/container/settings.js'], {
    env: { PICORELAY_CONTROL: '/proc/picorelay/control', PICORELAY_ME: 'app.test' },
  });
  assert.equal(status, 78);
  assert.match(stderr, /--tmpfs \/proc\/picorelay:mode=1777/);
});
