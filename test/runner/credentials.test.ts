import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { accessToken, keptToken, passwordOf } from '../../src/runner/credentials.ts';

function folderFor(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-credentials-'));
  t.after(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, 'run'));
  return folder;
}

interface TokenServer {
  readonly url: string;
  readonly forms: readonly string[];
  answer: { status: number; body: string };
}

async function startTokenServer(t: TestContext): Promise<TokenServer> {
  const forms: string[] = [];
  const server = http.createServer((request, response) => {
    let form = '';
    request.on('data', (chunk) => {
      form += String(chunk);
    });
    request.on('end', () => {
      forms.push(form);
      response.writeHead(it.answer.status, { 'Content-Type': 'application/json' });
      response.end(it.answer.body);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const it: TokenServer = {
    url: `http://127.0.0.1:${address.port}/token`,
    forms,
    answer: { status: 200, body: '' },
  };
  return it;
}

test('The password is the first line that the command prints.', async () => {
  assert.equal(await passwordOf('printf "one two\\nthree\\n"', 20), 'one two');
  assert.equal(await passwordOf('printf secret', 20), 'secret');
  assert.equal(
    await passwordOf('echo "$(printenv HOME) $PATH"', 20),
    ' /usr/local/bin:/usr/bin:/bin',
  );
});

test('A command that fails says how, and nothing of what it printed.', async () => {
  const table: [string, number, RegExp][] = [
    ['echo secret; exit 3', 20, /ended with exit status 3$/],
    ['echo secret; kill -9 $$', 20, /ended with SIGKILL$/],
    ['true', 20, /printed no password$/],
    ['printf "sec\\033ret\\n"', 20, /printed no password$/],
    ['yes secret', 20, /prints too much$/],
    ['echo secret; sleep 1000', 0.3, /has not ended within 0.3 seconds$/],
    ['echo secret; sleep 1000 & exit 0', 0.3, /has not ended within 0.3 seconds$/],
  ];
  for (const [command, seconds, reason] of table) {
    await assert.rejects(passwordOf(command, seconds), (error) => {
      assert.ok(error instanceof Error);
      assert.match(error.message, reason, command);
      assert.ok(!error.message.includes('secret'), error.message);
      return true;
    });
  }
});

test('An access token is kept until a minute before its end, in a file closed to others.', async (t) => {
  const server = await startTokenServer(t);
  const spool = folderFor(t);
  const file = join(spool, 'run', 'oauth');
  const request = {
    url: server.url,
    clientId: 'me',
    clientSecret: 'hush',
    refreshToken: 'refresh one',
  };
  let now = 1_000_000;
  const get = (fresh = false, changes = {}) =>
    accessToken({ ...request, ...changes }, {}, spool, () => now, fresh);
  server.answer.body = '{"access_token":"first","expires_in":3600}';
  assert.equal(await get(), 'first');
  assert.equal(
    server.forms[0],
    'grant_type=refresh_token&client_id=me&refresh_token=refresh+one&client_secret=hush',
  );
  assert.equal(statSync(file).mode & 0o777, 0o600);

  server.answer.body = '{"access_token":"second","expires_in":3600,"refresh_token":"refresh two"}';
  now += 3_539_000;
  assert.equal(await get(), 'first');
  now += 2000;
  assert.equal(await get(), 'second');
  assert.equal(server.forms.length, 2);

  // The refresh token that the server gave is the one to ask with.
  server.answer.body = '{"access_token":"third"}';
  assert.equal(await get(true), 'third');
  assert.match(server.forms[2] ?? '', /refresh_token=refresh\+two/);
  // Other control files are another login.
  assert.equal(await get(false, { refreshToken: 'refresh new' }), 'third');
  assert.match(server.forms[3] ?? '', /refresh_token=refresh\+new/);
  // A file that was cut short is as good as none.
  writeFileSync(file, readFileSync(file).subarray(0, 20));
  assert.equal(await get(), 'third');
  assert.equal(server.forms.length, 5);
});

test('A server without a token says why in one line, and no secret is in it.', async (t) => {
  const server = await startTokenServer(t);
  const spool = folderFor(t);
  const request = {
    url: server.url,
    clientId: 'me',
    clientSecret: 'hush',
    refreshToken: 'refresh',
  };
  const table: [number, string, RegExp][] = [
    [
      400,
      '{"error":"invalid_grant","error_description":"revoked"}',
      /refuses the refresh token \(invalid_grant, revoked\): write a new one into control\/oauthrefreshtoken$/,
    ],
    [401, '{"error":"invalid_client"}', /HTTP status 401, invalid_client$/],
    [500, '<html>', /HTTP status 500$/],
    [200, '{}', /HTTP status 200$/],
    [200, '[]', /HTTP status 200$/],
    [200, '{"access_token":"a b\\u0001"}', /what it sent is none$/],
    [200, 'x'.repeat(100_000), /too long/],
  ];
  for (const [status, body, reason] of table) {
    server.answer = { status, body };
    const asked = accessToken(request, {}, spool, () => 0, false);
    await assert.rejects(asked, (error) => {
      assert.ok(error instanceof Error);
      assert.match(error.message, reason);
      assert.ok(!/hush|refresh=/.test(error.message));
      return true;
    });
  }
  const nobody = { ...request, url: 'http://127.0.0.1:1/token' };
  await assert.rejects(
    accessToken(nobody, {}, spool, () => 0, false),
    /ECONNREFUSED/,
  );
});

test('When the refresh token ends is kept, as long as it is that one.', async (t) => {
  const server = await startTokenServer(t);
  const spool = folderFor(t);
  const request = {
    url: server.url,
    clientId: 'me',
    clientSecret: undefined,
    refreshToken: 'one',
  };
  let now = 1_000_000;
  const answered = async (fields: object): Promise<readonly [unknown, unknown]> => {
    server.answer.body = JSON.stringify({ access_token: 'x', ...fields });
    await accessToken(request, {}, spool, () => now, true);
    const { refreshUntil, refreshLifetime } = keptToken(request, spool) ?? assert.fail();
    return [refreshUntil, refreshLifetime];
  };
  assert.deepEqual(await answered({}), [undefined, undefined]);
  assert.deepEqual(await answered({ refresh_token_expires_in: 1000 }), [2_000_000, 1_000_000]);
  // What is left of the same token, and then no word of it.
  now += 400_000;
  assert.deepEqual(await answered({ refresh_token_expires_in: 600 }), [2_000_000, 1_000_000]);
  assert.deepEqual(await answered({}), [2_000_000, 1_000_000]);
  // Another one.
  const two = { refresh_token: 'two', refresh_expires_in: '50' };
  assert.deepEqual(await answered(two), [now + 50_000, 50_000]);
  assert.deepEqual(await answered({ refresh_token: 'three' }), [undefined, undefined]);
  assert.equal(keptToken({ ...request, refreshToken: 'new' }, spool), undefined);
});
