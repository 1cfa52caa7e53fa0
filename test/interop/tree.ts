// All that a root holds, for comparing what it was with what it is.
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Fresh } from './fresh.ts';

/** What tools of the host keep as the file before, or as a lock. */
const BY_TOOLS =
  /^\/(?:etc\/\.pwd\.lock|etc\/(?:passwd|group|shadow|gshadow)-|var\/lib\/dpkg\/(?:lock|[\w-]*-old))$/;

const NOT_COMPARED = ['/proc', '/dev', '/sys', '/tmp', '/opt'];

/** Every path with its kind, mode and owners, and what it holds or leads to. */
export function treeOf(fresh: Pick<Fresh, 'at'>): ReadonlyMap<string, string> {
  const tree = new Map<string, string>();
  const walk = (folder: string): void => {
    for (const name of readdirSync(fresh.at(`${folder}/`)).sort()) {
      const path = `${folder}/${name}`;
      if (NOT_COMPARED.includes(path) || BY_TOOLS.test(path)) continue;
      const stats = lstatSync(fresh.at(path));
      const rights = `${stats.mode.toString(8)} ${stats.uid}:${stats.gid}`;
      if (stats.isDirectory()) {
        tree.set(path, rights);
        walk(path);
      } else if (stats.isSymbolicLink()) {
        tree.set(path, `${rights} -> ${readlinkSync(fresh.at(path))}`);
      } else if (stats.isFile()) {
        const digest = createHash('sha256')
          .update(readFileSync(fresh.at(path)))
          .digest('hex');
        tree.set(path, `${rights} ${digest}`);
      } else {
        tree.set(path, rights);
      }
    }
  };
  walk('');
  return tree;
}

/** What differs, as lines for people; none where the trees are the same. */
export function differences(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): readonly string[] {
  return [...new Set([...before.keys(), ...after.keys()])]
    .sort()
    .filter((path) => before.get(path) !== after.get(path))
    .map(
      (path) => `${path}: ${before.get(path) ?? 'nothing'}, now ${after.get(path) ?? 'nothing'}`,
    );
}
