// The package of npm: packed from a clean tree, installed globally from the tarball, and used.
import assert from 'node:assert/strict';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { must, run } from '../support/process.ts';
import { startSink } from '../support/sink.ts';
import { siteFor } from '../support/site.ts';

/** As cron and a login shell have it, with node somewhere else than in /usr/bin. */
const env = { PATH: `${dirname(process.execPath)}:/usr/bin:/bin` };

const npm = { env: { ...env, HOME: process.env['HOME'] ?? '/root' } };

test('npm pack makes a tarball that installs globally and works', async (t) => {
  const site = siteFor(t);
  const folder = mkdtempSync(join(tmpdir(), 'picorelay-npm-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  for (const name of readdirSync('.')) {
    if (/^(\.git|build|dist|node_modules|.*\.tgz)$/.test(name)) continue;
    cpSync(name, join(tree, name), {
      recursive: true,
      filter: (path) => !path.startsWith('bin/') || path.endsWith('.ts'),
    });
  }
  symlinkSync(resolve('node_modules'), join(tree, 'node_modules'));
  // What is installed counts as newer than the lock file: packing installs nothing.
  utimesSync(join(tree, 'package-lock.json'), 0, 0);

  const packed = await must(['npm', 'pack', '--json', '--pack-destination', folder], {
    ...npm,
    cwd: tree,
  });
  const [{ filename, files }] = JSON.parse(packed) as [
    { filename: string; files: { path: string; mode: number }[] },
  ];
  const paths = files.map(({ path }) => path);
  const wanted =
    /^(LICENSE|README\.md|CHANGELOG\.md|package\.json|(bin|control|dist|docs|man|packaging)\/.*)$/;
  assert.deepEqual(
    paths.filter(
      (path) => !wanted.test(path) || /\.(ts|map|code)$|^packaging\/(?!code\.)/.test(path),
    ),
    [],
  );
  for (const program of ['picorelay', 'sendmail', 'qmail-queue']) {
    assert.ok(
      files.some(({ path, mode }) => path === `bin/${program}` && (mode & 0o111) === 0o111),
      program,
    );
  }

  const prefix = join(folder, 'prefix');
  // Another prefix would have npm look for this machine's settings there.
  const settings = (await must(['npm', 'config', 'get', 'globalconfig'], npm)).trim();
  await must(
    [
      ...['npm', 'install', '--global', '--prefix', prefix, '--globalconfig', settings],
      ...['--no-audit', '--no-fund', join(folder, filename)],
    ],
    { ...npm, cwd: folder },
  );
  // What a mail server owns on a host is not put into PATH by a package of npm.
  assert.deepEqual(readdirSync(join(prefix, 'bin')).sort(), [
    'picorelay',
    'picorelay-cron',
    'picorelay-send',
  ]);
  const installed = join(prefix, 'lib/node_modules/picorelay');
  assert.deepEqual(
    readdirSync(join(installed, 'node_modules')).filter((name) =>
      /^(esbuild|typescript|@biomejs|smtp-server)$/.test(name),
    ),
    [],
  );
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  assert.equal(await must([join(prefix, 'bin/picorelay'), '--version'], { env }), `${version}\n`);

  const sink = await startSink();
  t.after(() => sink.stop());
  site.relays(sink.port);
  const at = { env: { ...site.env, ...env } };
  const letter = { ...at, input: 'Subject: from npm\n\nb\n' };
  assert.deepEqual(await run([join(installed, 'bin/sendmail'), 'a@x.test'], letter), {
    ...{ status: 0, stdout: '', stderr: '' },
  });
  assert.match(await must([join(prefix, 'bin/picorelay'), 'list'], at), /a@x\.test/);
  assert.deepEqual(await run([join(prefix, 'bin/picorelay-cron')], at), {
    ...{ status: 0, stdout: '', stderr: '' },
  });
  assert.match(sink.received[0]?.message ?? '', /^Subject: from npm$/m);

  // What starts them faster can be kept on the machine that they are on.
  await must([process.execPath, join(installed, 'packaging/code.mjs')], { env });
  assert.ok(readdirSync(join(installed, 'dist')).some((name) => name.endsWith('.cjs.code')));
  assert.equal((await run([join(installed, 'bin/sendmail'), 'b@x.test'], letter)).status, 0);
});
