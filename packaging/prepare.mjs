// Installs the dependencies when node_modules is missing or older than the lock file, so that
// `npm start` and `npm test` work on a fresh clone. Uses nothing that is not part of Node.
import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const mtime = (path) => statSync(join(root, path), { throwIfNoEntry: false })?.mtimeMs ?? 0;

if (mtime('node_modules/.package-lock.json') < mtime('package-lock.json')) {
  console.error('picorelay: installing dependencies (once)');
  // Standard input belongs to the script that comes after: `npm start -- someone < message`.
  const run = spawnSync(
    'npm',
    ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'],
    {
      cwd: root,
      stdio: ['ignore', process.stderr, process.stderr],
    },
  );
  if (run.status !== 0) {
    console.error(
      `picorelay: npm ci failed (${run.error?.message ?? `exit status ${run.status}`}); it needs npm and its registry`,
    );
    process.exit(1);
  }
}
