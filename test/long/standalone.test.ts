// The standalone program: the tests of the programs run against it, and nothing around it reaches it.
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { before, test } from 'node:test';
import { freshRoot } from '../interop/fresh.ts';
import { skipWithout } from '../interop/require.ts';
import { must, run, waitFor } from '../support/process.ts';
import { startSink } from '../support/sink.ts';
import { siteFor } from '../support/site.ts';

const FOLDER = resolve('build/standalone');
const LETTER = 'Subject: s\n\nb\n';

before(async () => {
  await must([process.execPath, 'packaging/standalone.mjs'], {
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '/root' },
  });
});

test('The tests of the programs pass with the standalone program in their place', async () => {
  // start.test.js is about what starts the programs of bin/.
  const files = readdirSync('build/test/programs')
    .filter((file) => file.endsWith('.test.js') && file !== 'start.test.js')
    .map((file) => join('build/test/programs', file));
  const env = { PATH: process.env['PATH'] ?? '', PICORELAY_BIN: FOLDER };
  const done = await run([process.execPath, '--test', '--test-concurrency=2', ...files], {
    env,
    limit: 1_200_000,
  });
  const failed = done.stdout.match(/^ *not ok .*\n(?: .*\n)*|^# (?:pass|fail) .*$/gm) ?? [];
  assert.equal(done.status, 0, failed.join('\n'));
});

test('A link and the first word name the program, and another name gets the list', async (t) => {
  const site = siteFor(t);
  const { env } = site;
  const executable = join(FOLDER, 'picorelay-standalone');
  const quiet = { status: 0, stdout: '', stderr: '' };
  for (const command of [
    [join(FOLDER, 'sendmail'), 'a@x.test'],
    [executable, 'sendmail', 'b@x.test'],
    [executable, '/anywhere/sendmail', 'c@x.test'],
  ]) {
    assert.deepEqual(await run(command, { env, input: LETTER }), quiet);
  }
  assert.match(await must([join(FOLDER, 'mailq')], { env }), /in 3 Requests\.\n$/);
  assert.match(await must([executable, 'picorelay', 'list'], { env }), /3 mails in the queue/);
  const lost = await run([executable, 'nonsense'], { env });
  assert.equal(lost.status, 64);
  assert.match(lost.stderr, /^usage: picorelay-standalone PROGRAM/);
});

test('Neither the working folder nor the environment changes what runs', async (t) => {
  const site = siteFor(t);
  const cwd = join(site.folder, 'hostile');
  const seen = join(cwd, 'seen');
  mkdirSync(cwd);
  const evil = `require('node:fs').writeFileSync(${JSON.stringify(seen)}, '');`;
  for (const name of ['evil.cjs', 'evil.ts']) writeFileSync(join(cwd, name), evil);
  for (const name of ['.env', '.env.local', '.env.production']) {
    writeFileSync(join(cwd, name), 'PICORELAY_CONTROL=/nowhere\nBUN_BE_BUN=1\n');
  }
  writeFileSync(
    join(cwd, 'bunfig.toml'),
    'preload = ["./evil.ts"]\n[run]\npreload = ["./evil.ts"]\n',
  );
  writeFileSync(join(cwd, 'tsconfig.json'), '{"compilerOptions":{"paths":{"*":["./evil.ts"]}}}');
  writeFileSync(join(cwd, 'package.json'), '{"imports":{"node:fs":"./evil.cjs"}}');
  const surroundings: readonly Readonly<Record<string, string>>[] = [
    {},
    { NODE_OPTIONS: `--require=${cwd}/evil.cjs` },
    { BUN_OPTIONS: `--preload=${cwd}/evil.ts` },
    { BUN_BE_BUN: '1' },
    { BUN_INSPECT: 'ws://127.0.0.1:1/x', BUN_INSPECT_PRELOAD: `${cwd}/evil.ts` },
    { NODE_PATH: cwd, XDG_CONFIG_HOME: cwd, HOME: cwd },
    { USER: 'somebody', LOGNAME: 'somebody' },
  ];
  for (const [index, more] of surroundings.entries()) {
    const done = await run([join(FOLDER, 'sendmail'), `a${index}@x.test`], {
      env: { ...site.env, ...more },
      cwd,
      input: LETTER,
    });
    assert.deepEqual(done, { status: 0, stdout: '', stderr: '' }, JSON.stringify(more));
    assert.equal(existsSync(seen), false, JSON.stringify(more));
  }
  const entries = site.queued();
  assert.equal(entries.length, surroundings.length);
  for (const entry of entries) {
    const text = readFileSync(join(site.spool, 'spool', entry), 'latin1');
    assert.doesNotMatch(text, /somebody/);
  }
  // With nothing in the environment either, only /etc/picorelay would be read: not the folder's .env.
  const { stderr } = await run([join(FOLDER, 'picorelay'), 'list'], {
    env: { PICORELAY_CONTROL: join(site.folder, 'none') },
    cwd,
  });
  assert.doesNotMatch(stderr, /nowhere/);
});

test('Its Debian package works on a host without node', {
  skip: skipWithout('fresh'),
}, async (t) => {
  const host = await freshRoot(t);
  const sink = await startSink();
  t.after(() => sink.stop());
  const out = mkdtempSync(join(tmpdir(), 'picorelay-deb-'));
  t.after(() => rmSync(out, { recursive: true }));
  const built = await must(
    [process.execPath, 'packaging/deb.mjs', '--standalone', '--fast', '--out', out],
    { env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '/root' } },
  );
  const name = basename(built.trim());
  await must(['cp', join(out, name), host.at('/tmp')]);
  await host.must(['apt-get', '-y', '-q', 'install', `/tmp/${name}`]);
  const init = await host.must([
    ...['picorelay', 'init', '--yes', '--skip-test', '--relay', `smtp://127.0.0.1:${sink.port}`],
  ]);
  assert.match(init, /those of the package picorelay-standalone/);
  await host.must(['sendmail', 'a@x.test'], { input: LETTER });
  await waitFor('the mail at the relay', () => sink.received.length === 1);
  assert.match(await host.must(['mailq']), /empty/);
  await host.must(['apt-get', '-y', '-q', 'purge', 'picorelay-standalone']);
  assert.deepEqual(host.names('/var/spool/picorelay'), []);
});
