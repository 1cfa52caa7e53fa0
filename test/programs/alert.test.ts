// Alerts of the built programs: what an administrator hears by another way than mail.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort, waitFor } from '../support/process.ts';
import { EXTENSIONS, startRelay } from '../support/relay.ts';
import { type Site, siteFor } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';

const textOf = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '');

/** A webhook that keeps what it is sent. */
async function webhook(t: TestContext): Promise<{ port: number; bodies: unknown[] }> {
  const bodies: unknown[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => {
      text += String(chunk);
    });
    request.on('end', () => {
      bodies.push(JSON.parse(text));
      response.end('ok');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return { port: address.port, bodies };
}

function alerted(site: Site, ...roads: string[]): void {
  site.control('alert', roads.join('\n'));
  site.control('alertafter', '0s');
}

test('A relay that is down is told by every way, once, and so is its return', async (t) => {
  const site = siteFor(t);
  const hook = await webhook(t);
  const [texts, objects, motd] = ['texts', 'objects', 'motd'].map((name) =>
    join(site.folder, name),
  ) as [string, string, string];
  alerted(
    site,
    `run cat >> ${texts}`,
    `run-json cat >> ${objects}`,
    `file ${motd}`,
    `post http://127.0.0.1:${hook.port}/hook`,
  );
  site.relays(await freePort());
  await site.run('sendmail', ['bob@x.test'], LETTER);
  for (let run = 0; run < 3; run++) await site.run('picorelay', ['run', '--once']);
  assert.match(
    textOf(texts),
    /^picorelay on client\.test: since \S+ mail is held up at connect by smtp:\/\/127\.0\.0\.1:\d+, nothing is lost: .*ECONNREFUSED.*\n$/,
  );
  assert.equal(textOf(motd), textOf(texts));
  assert.equal(hook.bodies.length, 1);

  const relay = await startRelay(t);
  site.relays(relay.port);
  for (let run = 0; run < 2; run++) await site.run('picorelay', ['run', '--once']);
  assert.deepEqual(relay.recipients(), ['bob@x.test']);
  const [begun, over, ...more] = textOf(texts).trimEnd().split('\n');
  assert.match(begun ?? '', /since/);
  assert.match(over ?? '', /^picorelay on client\.test: over, it began \S+: mail is held up/);
  assert.deepEqual(more, []);
  assert.equal(textOf(motd), '');
  assert.deepEqual(
    hook.bodies,
    textOf(objects)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
  );
  assert.equal(hook.bodies.length, 2);
});

test('A wrong password over night: one alert, nothing in Undelivered, and then all is relayed', async (t) => {
  const site = siteFor(t);
  const texts = join(site.folder, 'texts');
  alerted(site, `run cat >> ${texts}`);
  const relay = await startRelay(t, {
    extensions: [...EXTENSIONS, 'AUTH PLAIN'],
    script: ({ stage }) => (stage === 'auth' ? '535 5.7.8 wrong' : undefined),
  });
  site.relays(relay.port);
  site.control('authuser', 'me');
  site.control('authpassword', 'stale');
  site.control('authcleartext', 'yes');
  for (const to of ['a@x.test', 'b@x.test', 'c@x.test']) await site.run('sendmail', [to], LETTER);
  for (let run = 0; run < 8; run++) await site.run('picorelay-cron');
  assert.equal(textOf(texts).match(/\n/g)?.length, 1);
  assert.match(textOf(texts), /held up at auth .*535 5\.7\.8 wrong/);
  assert.deepEqual(site.names('Undelivered'), []);
  assert.equal(site.queued().length, 3);
  relay.script = ({ stage }) => (stage === 'auth' ? '235 2.7.0 welcome' : undefined);
  await site.run('picorelay', ['run', '--once']);
  assert.deepEqual(relay.recipients(), ['a@x.test', 'b@x.test', 'c@x.test']);
  assert.match(textOf(texts), /\n.*over.*\n$/);
});

test('Refused mail is told once, and that all of it was dealt with', async (t) => {
  const site = siteFor(t);
  const texts = join(site.folder, 'texts');
  alerted(site, `run cat >> ${texts}`);
  site.control('bounce', 'off');
  const relay = await startRelay(t, {
    script: ({ stage }) => (stage === 'rcpt' ? '550 5.1.1 nobody' : undefined),
  });
  site.relays(relay.port);
  for (const to of ['a@x.test', 'b@x.test']) {
    await site.run('sendmail', [to], LETTER);
    await site.run('picorelay-cron');
  }
  assert.match(textOf(texts), /^picorelay on client\.test: since \S+ mail was refused.*\n$/);
  rmSync(join(site.spool, 'Undelivered'), { recursive: true });
  mkdirSync(join(site.spool, 'Undelivered'));
  await site.run('picorelay-cron');
  await site.run('picorelay-cron');
  assert.match(textOf(texts), /^.*since.*\n.*over, it began \S+: mail was refused.*\n$/);
});

test('A command that hangs does not hold up the queue, and one that fails is in the log', async (t) => {
  const site = siteFor(t);
  const started = join(site.folder, 'started');
  alerted(site, `run echo $$ > ${started}; exec sleep 600`, 'run exit 3');
  site.relays(await freePort());
  await site.run('sendmail', ['a@x.test'], LETTER);
  const hanging = site.run('picorelay', ['run', '--once']);
  t.after(async () => {
    const pid = Number(textOf(started));
    if (pid > 0) process.kill(pid, 'SIGKILL');
    await hanging;
  });
  await waitFor('the alert', () => textOf(started).endsWith('\n'));
  const relay = await startRelay(t);
  site.relays(relay.port);
  await waitFor('the mail', async () => {
    await site.run('picorelay', ['run', '--once']);
    return relay.recipients().includes('a@x.test');
  });
  assert.match(site.log(), /fault said="control\/alert: run exit 3: ended with exit status 3"/);
});

test('A token that is about to end is told in time, once, and over when there is a new one', async (t) => {
  const site = siteFor(t);
  const texts = join(site.folder, 'texts');
  alerted(site, `run cat >> ${texts}`);
  const relay = await startRelay(t);
  site.relays(relay.port);
  site.control('oauthtokenurl', 'http://127.0.0.1:1/');
  site.control('oauthclientid', 'me');
  site.control('oauthrefreshtoken', 'hush');
  chmodSync(join(site.folder, 'control/oauthrefreshtoken'), 0o600);
  const day = (days: number): string =>
    new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
  site.control('oauthexpires', day(30));
  await site.run('sendmail', ['a@x.test'], LETTER);
  await site.run('picorelay-cron');
  assert.equal(textOf(texts), '');
  site.control('oauthexpires', day(7));
  for (let run = 0; run < 3; run++) await site.run('picorelay-cron');
  assert.match(
    textOf(texts),
    /^picorelay on client\.test: since \S+ the refresh token ends at .*\n$/,
  );
  assert.equal(
    site.log().match(/ expiring secret=oauthrefreshtoken said="the refresh/g)?.length,
    1,
  );
  site.control('oauthexpires', day(365));
  await site.run('picorelay-cron');
  assert.match(textOf(texts), /\n.*over, it began .*the refresh token ends.*\n$/);
});
