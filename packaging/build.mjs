// Builds the programs: bin/NAME.ts becomes the executable bin/NAME, shared code goes to dist/.
//   node packaging/build.mjs            the programs and the demonstration
//   node packaging/build.mjs --tests    also checks the types and compiles the tests into build/
//   node packaging/build.mjs --portable programs that find node by PATH (for packages)
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
process.chdir(root);
const flags = new Set(process.argv.slice(2));

// A build for this machine names its node by absolute path: cron's PATH may not hold node, and the
// kernel starts it without a detour over env.
const interpreter = flags.has('--portable') ? '/usr/bin/env node' : process.execPath;
const programs = readdirSync('bin')
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -'.ts'.length));

rmSync('dist', { recursive: true, force: true });
mkdirSync('build', { recursive: true });

const shared = {
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20.19',
  charset: 'utf8',
  logLevel: 'warning',
  // Dependencies stay in node_modules, as npm installs them beside the program.
  packages: 'external',
};

const { metafile } = await build({
  ...shared,
  entryPoints: programs.map((name) => ({ in: `bin/${name}.ts`, out: `bin/${name}` })),
  outdir: '.',
  splitting: true,
  chunkNames: 'dist/[name]-[hash]',
  banner: { js: `#!${interpreter}` },
  metafile: true,
});
// The wall test reads what each program reaches statically.
writeFileSync('build/meta.json', JSON.stringify(metafile));
for (const name of programs) {
  renameSync(`bin/${name}.js`, `bin/${name}`);
  chmodSync(`bin/${name}`, 0o755);
}

await build({
  ...shared,
  entryPoints: ['packaging/demo.ts', 'packaging/docs.ts'],
  outdir: 'build',
  logLevel: 'warning',
});

if (flags.has('--tests')) {
  const checked = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc'], {
    stdio: 'inherit',
    cwd: root,
  });
  if (checked.status !== 0) process.exit(checked.status ?? 1);
}
if (!flags.has('--quiet')) console.error(`picorelay: built ${join(root, 'bin')}`);
