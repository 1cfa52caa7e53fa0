// What a user of a host can put in the way of a program that runs as root, and files of others by which it is
// seen whether root was led to them.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { Fresh } from './fresh.ts';

/** A user without rights, whom roots.sh makes. */
export const TESTER = 2000;

/** Files and folders of others: root's, and the tester's own. */
const VICTIMS = '/srv/victims';
/** A folder of root's with a secret, an old file and a folder in it. */
export const VICTIM_FOLDER = `${VICTIMS}/folder`;
export const VICTIM_FILE = `${VICTIMS}/file`;

/** Makes the victims; what a sweep would erase for its age is among them. */
export function makeVictims(fresh: Fresh): void {
  const at = (path: string): string => fresh.at(path);
  rmSync(at(VICTIMS), { recursive: true, force: true });
  mkdirSync(at(join(VICTIM_FOLDER, 'inner')), { recursive: true });
  const put = (path: string, mode: number, uid = 0): void => {
    writeFileSync(at(path), `what is in ${path}\n`);
    chownSync(at(path), uid, uid);
    chmodSync(at(path), mode);
    // Older than any draft may be.
    utimesSync(at(path), 1e9, 1e9);
  };
  put(VICTIM_FILE, 0o640);
  put(join(VICTIM_FOLDER, 'secret'), 0o600);
  put(join(VICTIM_FOLDER, '20260101T000000.000000Z:1'), 0o644);
  put(join(VICTIM_FOLDER, 'inner/other'), 0o444, TESTER);
  chmodSync(at(VICTIM_FOLDER), 0o750);
  chmodSync(at(VICTIMS), 0o755);
}

/** Every victim with owner, mode and content. */
export function lookAtVictims(fresh: Fresh): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const walk = (path: string): void => {
    const status = lstatSync(fresh.at(path));
    const rights = `${status.mode.toString(8)} ${status.uid}:${status.gid}`;
    if (status.isDirectory()) {
      found.set(path, rights);
      for (const name of readdirSync(fresh.at(path)).sort()) walk(join(path, name));
    } else if (status.isSymbolicLink()) {
      found.set(path, `${rights} -> ${readlinkSync(fresh.at(path))}`);
    } else {
      const digest = createHash('sha256')
        .update(readFileSync(fresh.at(path)))
        .digest('hex');
      found.set(path, `${rights} ${digest}`);
    }
  };
  walk(VICTIMS);
  // What everybody's login hangs on.
  for (const path of ['/etc', '/etc/hosts', '/etc/debian_version']) {
    const { mode, uid, gid } = lstatSync(fresh.at(path));
    found.set(path, `${mode.toString(8)} ${uid}:${gid}`);
  }
  return found;
}

/**
 * Puts something under a name, which has to be free. Root does it, for whom the kernel's protection of links
 * does not hold: whether a user could is the test's to know.
 */
export const TRICKS = {
  'a link to a folder': async (fresh: Fresh, path: string) =>
    symlinkSync(VICTIM_FOLDER, fresh.at(path)),
  'a link to a file': async (fresh: Fresh, path: string) =>
    symlinkSync(VICTIM_FILE, fresh.at(path)),
  'a hard link': async (fresh: Fresh, path: string) =>
    linkSync(fresh.at(VICTIM_FILE), fresh.at(path)),
  'a folder of somebody else': async (fresh: Fresh, path: string) => {
    mkdirSync(fresh.at(path));
    chownSync(fresh.at(path), TESTER, TESTER);
    symlinkSync(VICTIM_FOLDER, fresh.at(join(path, 'folder')));
    linkSync(fresh.at(VICTIM_FILE), fresh.at(join(path, 'file')));
  },
  'a mounted folder': async (fresh: Fresh, path: string) => {
    mkdirSync(fresh.at(path));
    await fresh.must(['mount', '--bind', VICTIM_FOLDER, path]);
  },
  'a mounted file': async (fresh: Fresh, path: string) => {
    writeFileSync(fresh.at(path), '');
    await fresh.must(['mount', '--bind', VICTIM_FILE, path]);
  },
} as const;

export type Trick = keyof typeof TRICKS;

export const ALL_TRICKS = Object.keys(TRICKS) as readonly Trick[];

/** Tricks for the name of a folder. */
export const FOLDER_TRICKS: readonly Trick[] = [
  'a link to a folder',
  'a folder of somebody else',
  'a mounted folder',
];

/** Takes away all that is mounted below a folder. */
export async function unmountBelow(fresh: Fresh, folder: string): Promise<void> {
  const table = await fresh.must(['cat', '/proc/self/mountinfo']);
  const points = table
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point.startsWith(`${folder}/`) || dirname(point) === folder);
  for (const point of points.reverse()) await fresh.must(['umount', point]);
}
