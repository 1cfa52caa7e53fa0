/**
 * Removes a spool that holds no mail, as its owner: the known folders with what belongs to no mail, and
 * nothing else. A folder that holds a message, or what no spool has, stays with all that is around it.
 *
 * Hostile input: whatever lies in the spool.
 */
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { actAsOwner } from './become.ts';
import { eraseFile, eraseFolder, hasCode, removeFolder } from './disk.ts';
import { FOLDERS, INNER_FOLDERS } from './layout.ts';
import { parseName } from './name.ts';
import { requireRootsPath } from './path-owner.ts';

/** What no mail is in: by its name, what is in it. `runner.lock` is the runner's lock, a folder. */
const SCRATCH = ['tmp', 'routes', ...INNER_FOLDERS, 'run/runner.lock', 'run'];

/** Files beside the folders. */
const FILES = ['wake', 'version'];

/**
 * @throws Error that names what stays
 * @throws UnsafePath, and the system calls' errors
 */
export function removeSpool(folder: string): void {
  requireRootsPath(folder);
  actAsOwner(folder, () => emptySpool(folder));
  if (removeFolder(folder)) return;
  const [name = ''] = fs.readdirSync(folder);
  throw new Error(`${folder} was not removed: it holds ${name}`);
}

function emptySpool(folder: string): void {
  for (const name of SCRATCH) emptyScratch(join(folder, name));
  // The history of a mail that has gone, which a sweep would erase.
  for (const name of namesIn(join(folder, 'spool'))) {
    if (parseName(name).kind === 'result') take(join(folder, 'spool', name), eraseFile);
  }
  for (const [name] of [...FOLDERS].reverse()) take(join(folder, name), eraseFolder);
  for (const name of FILES) take(join(folder, name), eraseFile);
}

function emptyScratch(path: string): void {
  for (const name of namesIn(path)) {
    const inner = join(path, name);
    const isFolder = fs.lstatSync(inner, { throwIfNoEntry: false })?.isDirectory() === true;
    take(inner, isFolder ? eraseFolder : eraseFile);
  }
  if (dirname(path).endsWith('/run')) take(path, eraseFolder);
}

/** The names in a folder; none where there is no folder of this name, also where a link has it. */
function namesIn(path: string): readonly string[] {
  try {
    return fs.lstatSync(path).isDirectory() ? fs.readdirSync(path) : [];
  } catch (error) {
    // Whoever takes the folder away says why it stays.
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return [];
    throw error;
  }
}

/** @throws Error that names what stays */
function take(path: string, erase: (path: string) => boolean): void {
  try {
    erase(path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    const why = ['ENOTEMPTY', 'EEXIST'].includes(code) ? 'it is not empty' : code;
    throw new Error(`${path} was not removed: ${why}`, { cause: error });
  }
}
