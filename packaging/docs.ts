/**
 * Keeps docs/control.md and the folder control/ equal to what src/control/manual.ts generates, and
 * docs/callers.md to the table of callers that the tests run.
 *   node build/docs.js --write   writes what differs, removes from control/ what is not made here
 *   node build/docs.js --check   lists what differs and exits 1
 * Paths are relative to the working folder. control/ is wholly generated: it is shipped, so a file
 * that somebody left there (a password, say) must not stay.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { controlManual, shippedFiles } from '../src/control/manual.ts';
import { callersManual } from '../test/programs/caller-table.ts';

const SHIPPED = 'control';

const generated = new Map([
  ['docs/control.md', controlManual()],
  ['docs/callers.md', callersManual()],
]);
for (const [name, text] of shippedFiles()) generated.set(join(SHIPPED, name), text);

const outdated = [...generated].filter(([path, text]) => read(path) !== text);
const stray = (existsSync(SHIPPED) ? readdirSync(SHIPPED) : [])
  .map((name) => join(SHIPPED, name))
  .filter((path) => !generated.has(path));

const [mode] = process.argv.slice(2);
if (mode === '--write') {
  for (const [path, text] of outdated) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    console.log(`written: ${path}`);
  }
  for (const path of stray) {
    rmSync(path);
    console.log(`removed: ${path}`);
  }
} else if (mode === '--check') {
  for (const [path] of outdated) console.log(`differs: ${path}`);
  for (const path of stray) console.log(`not generated: ${path}`);
  if (outdated.length + stray.length > 0) {
    console.log('npm run docs writes them anew');
    process.exitCode = 1;
  }
} else {
  console.error('usage: node build/docs.js --write | --check');
  process.exitCode = 2;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
