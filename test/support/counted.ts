// The built programs in a folder of their own, where each start of a runner leaves a mark.
import {
  appendFileSync,
  cpSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import type { Site } from './site.ts';

/** The folder of the programs, and how many runners they have started. */
export interface Counted {
  readonly bin: string;
  runners(): number;
}

export function countRunners(site: Site): Counted {
  const bin = join(site.folder, 'bin');
  const marks = join(site.folder, 'runners');
  cpSync('bin', bin, { recursive: true });
  cpSync('dist', join(site.folder, 'dist'), { recursive: true, preserveTimestamps: true });
  symlinkSync(resolve('node_modules'), join(site.folder, 'node_modules'));
  appendFileSync(marks, '');
  renameSync(join(bin, 'picorelay-cron'), join(bin, 'counted-cron'));
  const mark = `require('node:fs').appendFileSync(${JSON.stringify(marks)}, 'x');`;
  writeFileSync(join(bin, 'picorelay-cron'), `${mark}\nrequire('./counted-cron');\n`);
  return { bin, runners: () => readFileSync(marks).length };
}
