// picorelay verify on the spool of a built installation.
import assert from 'node:assert/strict';
import {
  linkSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { waitFor } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';
import { type Site, siteFor } from '../support/site.ts';

const LETTER = 'Subject: tea\n\nat four\n';

const verify = async (site: Site, ...options: string[]) =>
  await site.run('picorelay', ['verify', ...options]);

test('A spool that is missing, new or in use is clean', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ stage, line }) =>
      stage === 'rcpt' && line.includes('later') ? '450 4.2.1 busy' : undefined,
  });
  site.relays(relay.port);
  assert.equal((await verify(site)).stdout, 'Nothing is wrong with the spool\n');
  await site.run('sendmail', ['a@x.test', 'later@x.test'], LETTER);
  await site.run('picorelay-cron');
  await site.run('sendmail', ['b@x.test', 'c@x.test'], LETTER);
  const { stdout, status } = await verify(site);
  assert.equal(stdout, 'Nothing is wrong with the spool\n');
  assert.equal(status, 0);
});

test('Findings are one escaped line each, --repair mends them, and what can be sent goes out', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t);
  site.relays(relay.port);
  for (const to of ['a@x.test', 'b@x.test', 'c@x.test']) await site.run('sendmail', [to], LETTER);
  const [a = '', b = '', c = ''] = site.queued().map((name) => join(site.spool, 'spool', name));
  renameSync(a, `${a}:4000000.sending`);
  writeFileSync(b, readFileSync(b, 'latin1').slice(0, -1));
  linkSync(c, `${c}:2.held`);
  writeFileSync(join(site.spool, 'spool', 'a\x1b[31m\nname'), 'x');
  symlinkSync('/etc/passwd', join(site.spool, 'Undelivered', 'passwd'));
  const seen = await verify(site);
  assert.equal(seen.status, 1);
  const lines = seen.stdout.trimEnd().split('\n');
  assert.equal(lines.length, 6, seen.stdout);
  assert.match(
    seen.stdout,
    /^spool\/a\\x1b\[31m\\x0aname: its name is none of spool\/; --repair mends it$/m,
  );
  assert.match(seen.stdout, /^Undelivered\/passwd: a link, no file; /m);
  assert.match(seen.stdout, /4000000\.sending: claimed by process 4000000, which has died; /);
  assert.match(
    seen.stdout,
    /^spool\/\S+:b@x\.test: the message has \d+ octets, its envelope block says /m,
  );
  assert.match(seen.stdout, /^spool\/\S+:c@x\.test: the same mail is queued as :2\.held, too; /m);
  assert.equal(lines.at(-1), '5 findings');
  const { findings } = JSON.parse((await verify(site, '--json')).stdout) as {
    findings: { path: string; problem: string; mendable: boolean; mended: boolean }[];
  };
  assert.deepEqual(
    findings.map(({ mendable, mended }) => [mendable, mended]),
    Array.from({ length: 5 }, () => [true, false]),
  );
  const mended = await verify(site, '--repair');
  assert.equal(mended.status, 0, mended.stdout);
  assert.match(mended.stdout, /^5 findings, all mended$/m);
  assert.equal((await verify(site)).status, 0);
  assert.equal(site.names('corrupt').filter((name) => !name.endsWith(':.reason')).length, 3);
  await site.run('picorelay-cron');
  assert.deepEqual(relay.recipients(), ['a@x.test']);
  assert.equal(site.queued().length, 1, 'the one on hold');
});

test('A layout of another release is told and left alone', async (t) => {
  const site = siteFor(t);
  await site.run('sendmail', ['a@x.test'], LETTER);
  writeFileSync(join(site.spool, 'version'), '7\n');
  writeFileSync(join(site.spool, 'spool', 'foreign'), 'x');
  const { stdout, status } = await verify(site, '--repair');
  assert.equal(status, 1);
  assert.match(
    stdout,
    /^version: the spool is of layout "7\\\\n", this program knows 1; use the release that made this spool\n1 finding, 1 not mended\n$/,
  );
  assert.ok(site.names('spool').includes('foreign'));
});

test('It finds nothing and loses nothing while mail comes in and goes out', async (t) => {
  const site = siteFor(t);
  const relay = await startRelay(t, {
    script: ({ stage, line }) =>
      stage === 'rcpt' && /again/.test(line) ? '450 4.2.1 busy' : undefined,
  });
  site.relays(relay.port);
  site.control('immediate', 'background');
  site.control('retry', '1s');
  const callers = Array.from({ length: 3 }, async (_, caller) => {
    for (let n = 0; n < 12; n++) {
      const { status, stderr } = await site.run(
        'sendmail',
        [`a${caller}.${n}@x.test`, `b${caller}.${n}@x.test`, `again${n}@x.test`],
        LETTER,
      );
      assert.equal(status, 0, stderr);
    }
  });
  let done = false;
  const all = Promise.all(callers).finally(() => {
    done = true;
  });
  let looks = 0;
  while (!done) {
    const { stdout, status } = await verify(site, '--repair');
    assert.equal(status, 0, stdout);
    assert.equal(stdout, 'Nothing is wrong with the spool\n');
    looks++;
  }
  await all;
  assert.ok(looks > 1, String(looks));
  // The last submission may have started a runner that has not begun yet.
  const got = (): string[] => relay.recipients().filter((address) => !address.startsWith('again'));
  await waitFor('all mail', () => got().length >= 72, { detail: site.log });
  await site.atRest();
  await site.run('picorelay', ['run', '--once']);
  assert.equal(got().length, 72);
  assert.equal(new Set(got()).size, 72);
  assert.equal(site.queued().length, 36);
  assert.deepEqual(readdirSync(join(site.spool, 'corrupt')), []);
});
