// This checkout in a fresh root: in /opt/picorelay, as `git clone`, `npm ci` and `npm run build` leave it
// there, and the node that its programs name.
import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Fresh } from './fresh.ts';

interface Lock {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean } | undefined>>;
}

export const picorelay = '/opt/picorelay/bin/picorelay';

export function installCheckout(fresh: Fresh): void {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as Lock;
  const modules = Object.keys(packages).filter(
    (path) => path !== '' && packages[path]?.dev !== true && !path.includes('/node_modules/'),
  );
  for (const part of ['bin', 'dist', 'package.json', ...modules]) {
    cpSync(part, fresh.at(`/opt/picorelay/${part}`), { recursive: true });
  }
  mkdirSync(dirname(fresh.at(process.execPath)), { recursive: true });
  cpSync(process.execPath, fresh.at(process.execPath));
}
