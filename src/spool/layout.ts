/**
 * The layout of a spool: its folders with their modes, and the file that says which layout it is. All
 * that a submission needs of it is to make it where it is missing.
 */
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { hasCode, makeFolder, replaceDurably, syncFolder } from './disk.ts';
import { LAYOUT_VERSION } from './name.ts';

/**
 * The folders of the spool with their modes. Where the spool folder hands its group on (set-group-id), its
 * members may submit straight into the spool and look at what waits; else the second mode does not count.
 */
export const FOLDERS: readonly (readonly [name: string, mode: number, withGroup: number])[] = [
  ['tmp', 0o700, 0o770],
  ['unsplit', 0o700, 0o770],
  ['spool', 0o700, 0o770],
  ['Undelivered', 0o700, 0o750],
  ['corrupt', 0o700, 0o750],
  ['routes', 0o700, 0o750],
  ['run', 0o700, 0o700],
  // Everybody may make files, nobody may list them, nobody may touch another's.
  ['incoming', 0o1733, 0o1733],
];

/** Folders within those, made when there is something to put there. */
export const INNER_FOLDERS = ['run/bounces', 'run/users'] as const;

/**
 * A submission begins in it, so it is made when all else is on the disk: who finds it may rely on the rest,
 * also where the process that made that was killed before it could sync it.
 */
const LAST_FOLDER = 'tmp';

/** Set-group-id, which a folder that is made in such a folder has too. */
export const HANDS_GROUP_ON = 0o2000;

/** Names that are read from a folder at a time. */
const NAMES_AT_ONCE = 4096;

export class LayoutError extends Error {
  override name = 'LayoutError';
}

/** Whether the folder is there and nothing of its layout. */
export function isBare(folder: string): boolean {
  return !fs.existsSync(join(folder, 'version')) && fs.existsSync(folder);
}

/**
 * Makes the folders that are missing.
 * @param pid this process, for a name that no other uses
 */
export function makeLayout(folder: string, pid: number): void {
  // A spool that root makes is for the host, any other for its user alone until he says otherwise.
  const parents = makeFolder(folder, process.geteuid?.() === 0 ? 0o711 : 0o700);
  const withGroup = (fs.statSync(folder).mode & HANDS_GROUP_ON) !== 0;
  const make = (those: readonly (typeof FOLDERS)[number][]): void => {
    for (const [name, alone, shared] of those) {
      makeFolder(join(folder, name), withGroup ? shared : alone);
    }
  };
  make(FOLDERS.filter(([name]) => name !== LAST_FOLDER));
  if (!fs.existsSync(join(folder, 'version'))) {
    // A spool whose version is empty would be refused for ever.
    const scratch = join(folder, 'run', `${pid}.version`);
    replaceDurably(join(folder, 'version'), scratch, LAYOUT_VERSION);
  }
  syncFolder(folder);
  // Without the spool's own name a power cut would take everything in it.
  for (const parent of parents) syncFolder(parent);
  // It may have been made by a process that died before it came to this.
  if (parents.length === 0) syncIfOpen(dirname(folder));
  make(FOLDERS.filter(([name]) => name === LAST_FOLDER));
}

/**
 * @throws LayoutError when the folder is of a layout that this program does not know
 */
export function checkLayout(folder: string): void {
  const version = fs.readFileSync(join(folder, 'version'), 'latin1');
  if (version !== LAYOUT_VERSION) {
    const found = JSON.stringify(version.slice(0, 20));
    throw new LayoutError(
      `${join(folder, 'version')}: found ${found}, this program knows layout 1; use the release that made this spool`,
    );
  }
}

/** In no order, and read as they are asked for: a queue may have a million. */
export function* namesIn(folder: string): Generator<string> {
  const stream = fs.opendirSync(folder, { bufferSize: NAMES_AT_ONCE });
  try {
    for (let each = stream.readSync(); each !== null; each = stream.readSync()) {
      if (!each.name.startsWith('.')) yield each.name;
    }
  } finally {
    stream.closeSync();
  }
}

/** A folder above the spool may be one that its user cannot read; then somebody else made the spool. */
function syncIfOpen(path: string): void {
  try {
    syncFolder(path);
  } catch (error) {
    if (!hasCode(error, 'EACCES')) throw error;
  }
}
