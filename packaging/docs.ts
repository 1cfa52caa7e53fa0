/**
 * Keeps equal to what they are generated from: docs/control.md, the folder control/ and the manual pages in
 * man/ (the catalogues of control files and commands), packaging/systemd (what picorelay init writes), and
 * docs/callers.md (the table of callers that the tests run).
 *   node build/docs.js --write   writes what differs, removes from the folders what is not made here
 *   node build/docs.js --check   lists what differs and exits 1
 * Paths are relative to the working folder. These folders are wholly generated: they are shipped, so a
 * file that somebody left there (a password, say) must not stay.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import packageJson from '../package.json' with { type: 'json' };
import { controlManual, shippedFiles } from '../src/control/manual.ts';
import { systemdUnits } from '../src/setup/units.ts';
import { callersManual } from '../test/programs/caller-table.ts';
import { manualPages } from './manual/pages.ts';
import { commonProviders, providersManual } from './manual/providers.ts';

const FOLDERS = ['control', 'man', 'packaging/systemd'];

/** As the Debian package has it. */
const SERVICE = {
  user: 'picorelay',
  spool: '/var/spool/picorelay',
  command: ['/usr/bin/picorelay-cron'],
  log: '/var/log/picorelay',
  control: undefined,
};

const generated = new Map([
  ['docs/control.md', controlManual()],
  ['docs/callers.md', callersManual()],
  ['docs/providers.md', providersManual()],
  ...manualPages(packageJson.version),
]);
const readme = read('README.md');
if (readme !== undefined) {
  generated.set('README.md', withTable(readme, 'providers', commonProviders()));
}
for (const [name, text] of systemdUnits(SERVICE))
  generated.set(join('packaging/systemd', name), text);
for (const [name, text] of shippedFiles()) generated.set(join('control', name), text);

const outdated = [...generated].filter(([path, text]) => read(path) !== text);
const stray = FOLDERS.flatMap((folder) =>
  (existsSync(folder) ? readdirSync(folder) : []).map((name) => join(folder, name)),
).filter((path) => !generated.has(path));

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

/** A text with another table between its two marks; one without marks stays as it is. */
function withTable(text: string, mark: string, table: string): string {
  const [open, close] = [`<!-- ${mark}: npm run docs -->\n`, `<!-- end of ${mark} -->\n`];
  const [from, to] = [text.indexOf(open), text.indexOf(close)];
  if (from === -1 || to < from) return text;
  return `${text.slice(0, from + open.length)}\n${table}\n${text.slice(to)}`;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
