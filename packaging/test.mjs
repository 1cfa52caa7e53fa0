// Runs the linter, then every compiled test; the test runner's summary is the last thing printed.
//   node packaging/test.mjs [--long] [PART …]    PART picks the test files whose path holds it
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
process.chdir(root);
const args = process.argv.slice(2);
const long = args.includes('--long');
const parts = args.filter((arg) => arg !== '--long');

const lint = spawnSync(process.execPath, ['node_modules/@biomejs/biome/bin/biome', 'check', '.'], {
  stdio: 'inherit',
});
if (lint.status !== 0) process.exit(lint.status ?? 1);

const files = readdirSync('build/test', { recursive: true })
  .filter((file) => file.endsWith('.test.js') && file.startsWith('long/') === long)
  .filter((file) => parts.length === 0 || parts.some((part) => file.includes(part)))
  .map((file) => join('build/test', file))
  .sort();

if (files.length === 0) {
  console.error(
    `picorelay: no test file${parts.length > 0 ? ` whose path holds ${parts.join(' or ')}` : ''}`,
  );
  process.exit(parts.length > 0 ? 1 : 0);
}

// A file of the long tests may take as long as all of the others together.
const limit = long ? 30 * 60_000 : 10 * 60_000;

// NODE_EXTRA_CA_CERTS slows every start of node, and these tests start it thousands of times.
const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
const tests = spawnSync(
  process.execPath,
  ['--enable-source-maps', '--test', '--test-concurrency=2', `--test-timeout=${limit}`, ...files],
  { stdio: 'inherit', env },
);
process.exit(tests.status ?? 1);
