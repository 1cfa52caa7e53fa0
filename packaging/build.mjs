// Builds the programs: bin/NAME.ts becomes the executable bin/NAME, which starts what is in dist/.
//   node packaging/build.mjs            the programs and the demonstration
//   node packaging/build.mjs --tests    also checks the types and compiles the tests into build/
//   node packaging/build.mjs --portable programs that find node by PATH, for the package of npm
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { keepCode } from './code.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
process.chdir(root);
const flags = new Set(process.argv.slice(2));

// A build for this machine names its node by absolute path: cron's PATH may not hold node, and the
// kernel starts it without a detour over env.
const interpreter = flags.has('--portable') ? '/usr/bin/env node' : process.execPath;
const programs = readdirSync('bin')
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -'.ts'.length));
/** The administrator's command is an ES module in parts, because yargs is one; nobody waits for it. */
const inParts = programs.filter((name) => name === 'picorelay');
const whole = programs.filter((name) => !inParts.includes(name));

for (const file of readdirSync('bin')) if (!file.endsWith('.ts')) rmSync(join('bin', file));
rmSync('dist', { recursive: true, force: true });
mkdirSync('dist');
mkdirSync('build', { recursive: true });
// Nothing has to look further up for what kind of module a program is.
writeFileSync('bin/package.json', '{ "type": "commonjs" }\n');

const shared = {
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  logLevel: 'warning',
  // Dependencies stay in node_modules, as npm installs them beside the program.
  packages: 'external',
  metafile: true,
};

const parts = await build({
  ...shared,
  format: 'esm',
  charset: 'utf8',
  entryPoints: inParts.map((name) => ({ in: `bin/${name}.ts`, out: `bin/${name}` })),
  outdir: '.',
  outExtension: { '.js': '.mjs' },
  splitting: true,
  chunkNames: 'dist/[name]-[hash]',
});
for (const name of inParts) writeProgram(name, `import('./${name}.mjs');\n`);

// One file for each program, as one function that packaging/start.cjs calls.
const wholes = await build({
  ...shared,
  format: 'cjs',
  // Every character is one byte, so node need not decode the file.
  charset: 'ascii',
  entryPoints: whole.map((name) => `bin/${name}.ts`),
  outdir: 'dist',
  write: false,
  supported: { 'dynamic-import': false },
  define: { 'import.meta.dirname': '__dirname' },
  // Half the bytes to read. Names stay, and lines short enough for a stack trace to point at.
  minifyWhitespace: true,
  minifySyntax: true,
  lineLimit: 120,
  // esbuild takes a copy of each module's properties, which loads what is behind fs.promises: of an object
  // that only inherits them there is nothing to copy.
  banner: {
    js: '(function(load,__dirname){var require=(id)=>{var found=load(id);return id.startsWith("node:")?Object.create(found):found};',
  },
  footer: { js: '})' },
});
const start = readFileSync('packaging/start.cjs', 'utf8');
for (const { path, text: program } of wholes.outputFiles) {
  const name = path.slice(path.lastIndexOf('/') + 1, -'.js'.length);
  // Its content is in its name, so that a program never starts with the code of another build.
  const hash = createHash('sha256').update(program).digest('hex').slice(0, 12);
  writeFileSync(`dist/${name}-${hash}.cjs`, program);
  writeProgram(name, start.replaceAll('PROGRAM', `${name}-${hash}.cjs`));
}
// The wall test reads what each program reaches statically.
const inputs = { ...parts.metafile.inputs, ...wholes.metafile.inputs };
writeFileSync('build/meta.json', JSON.stringify(inputs));

// Code is for one version of node on one kind of machine: a package has none.
if (!flags.has('--portable')) await keepCode(root);

await build({
  ...shared,
  format: 'esm',
  charset: 'utf8',
  entryPoints: ['packaging/demo.ts', 'packaging/docs.ts', 'packaging/container/settings.ts'],
  outdir: 'build',
});

if (flags.has('--tests')) {
  // A test whose source is gone must not run.
  rmSync('build/test', { recursive: true, force: true });
  const checked = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc'], {
    stdio: 'inherit',
    cwd: root,
  });
  if (checked.status !== 0) process.exit(checked.status ?? 1);
}
if (!flags.has('--quiet')) console.error(`picorelay: built ${join(root, 'bin')}`);

function writeProgram(name, text) {
  writeFileSync(`bin/${name}`, `#!${interpreter}\n${text}`, { mode: 0o755 });
}
