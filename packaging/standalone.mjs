// Makes build/standalone/picorelay-standalone, one executable that needs no node, and a link to it for
// each program. It is the runtime of bun with the programs in it, compiled to bytecode.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The packages that hold the executable itself, with the digests of the registry: a hundred megabytes
 * that nothing else here needs, so they are no dependency. `baseline` runs on every x86-64.
 */
const VERSION = '1.4.5';
const PACKAGES = {
  x64: [
    '@oven/bun-linux-x64-baseline',
    's8yMwYcFnnrA178gji0gZbkE2WVDej/Ti1x770oPfihxyRxSMNhGhiAQNXV53aDeraZxksdvKV/RAdQBCd0qPA==',
  ],
  arm64: [
    '@oven/bun-linux-aarch64',
    '4BXmsSKnjOrlGWqZV4x/oWa7AVoR+B6lCXddMzOAXBIm3t50eslg9wb66gmtW1AamEQ1l1CDvmmruysEhqOWMg==',
  ],
};

const root = dirname(dirname(fileURLToPath(import.meta.url)));
process.chdir(root);
const folder = 'build/standalone';
const executable = 'picorelay-standalone';

const bun = fetchBun();
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const runtime = join(folder, 'runtime');
writeFileSync(runtime, deafen(readFileSync(bun)), { mode: 0o755 });
run(bun, [
  ...['build', '--compile', '--bytecode', '--format=esm', '--splitting', '--minify'],
  // Whoever calls sendmail stands in a folder of their own: what lies there is none of its business.
  ...['--no-compile-autoload-dotenv', '--no-compile-autoload-bunfig'],
  ...['--no-compile-autoload-tsconfig', '--no-compile-autoload-package-json'],
  ...[
    `--compile-executable-path=${runtime}`,
    `--outfile=${folder}/${executable}`,
    'packaging/standalone.ts',
  ],
]);
rmSync(runtime);
const programs = readdirSync('bin').filter((file) => file.endsWith('.ts'));
for (const name of [...programs.map((file) => file.slice(0, -'.ts'.length)), 'mailq']) {
  symlinkSync(executable, join(folder, name));
}
console.error(`picorelay: built ${join(root, folder, executable)}`);

/**
 * The runtime with other names for the variables that could make it do anything else than these programs
 * do: what is set for a developer's bun must not reach sendmail.
 */
function deafen(bytes) {
  for (const name of ['BUN_OPTIONS', 'BUN_BE_BUN', 'BUN_INSPECT']) {
    let at = bytes.indexOf(name);
    if (at === -1) fail(`bun ${VERSION} does not know ${name}: look what has become of it`);
    for (; at !== -1; at = bytes.indexOf(name, at)) bytes.write(':', at);
  }
  return bytes;
}

/** The path of bun, fetched once from npm's registry. */
function fetchBun() {
  const [name, integrity] =
    PACKAGES[process.arch] ?? fail(`no bun for ${process.arch} is known here`);
  const place = join('build', `bun-${VERSION}`);
  const path = join(place, 'package', 'bin', 'bun');
  if (existsSync(path)) return path;
  mkdirSync(place, { recursive: true });
  const packed = run('npm', ['pack', `${name}@${VERSION}`, '--json', '--pack-destination', place]);
  const archive = join(place, JSON.parse(packed)[0].filename);
  const digest = createHash('sha512').update(readFileSync(archive)).digest('base64');
  if (digest !== integrity) fail(`${archive} is not what it was when this was written`);
  run('tar', ['-xzf', archive, '-C', place]);
  rmSync(archive);
  chmodSync(path, 0o755);
  return path;
}

function run(command, args) {
  const done = spawnSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
  if (done.status === 0) return done.stdout;
  return fail(`${command} failed: ${done.error?.message ?? done.stderr.trim()}`);
}

function fail(reason) {
  console.error(`picorelay: ${reason}`);
  process.exit(1);
}
