/**
 * Who controls a path: root alone, or one other user, who could replace any folder on the way by a link or
 * another folder. A program that runs as root uses a path only if root controls it, or acts as the user who
 * does.
 *
 * Looks only. What root controls nobody else can change, so that a look before the use is enough there.
 *
 * Hostile input: each folder and link on the way that belongs to another user than root.
 */
import fs from 'node:fs';
import { join } from 'node:path';

/** A path that root or the caller must not use, because another user decides where it leads. */
export class UnsafePath extends Error {
  override readonly name = 'UnsafePath';
}

export interface PathOwner {
  /** 0 for root; else the only other user who can change what the path leads to. */
  readonly uid: number;
  /** The path without the links on the way. */
  readonly real: string;
}

interface Folder {
  readonly path: string;
  readonly status: fs.Stats;
}

/** Maximum number of links on a way, as the kernel has it (path_resolution(7)). */
const MOST_LINKS = 40;

const STICKY = 0o1000;
const GROUP_WRITES = 0o020;
const OTHERS_WRITE = 0o002;

/** Lower numbers are groups of the system, such as staff: root chooses their members. `users` is the exception. */
const FIRST_USER_GROUP = 1000;
const USERS_GROUP = 100;

/**
 * Follows a path from the root of the file system. The object at its end is not judged: the caller checks it
 * after opening it.
 * @param path absolute; its end may be missing
 * @param made how its end is made: by a call that fails if it exists, which is safe also in a folder like /tmp,
 *   or by one that takes what is there
 * @throws UnsafePath where several users control it, or everybody
 * @throws the system call's error for a folder that cannot be entered
 */
export function pathOwner(path: string, made: 'new' | 'any' = 'any'): PathOwner {
  let owner = 0;
  const claim = (uid: number, what: string): void => {
    if (isRoots(uid) || uid === owner) return;
    if (owner !== 0) {
      throw new UnsafePath(
        `${path}: user ids ${owner} and ${uid} can both change where this path leads (${what})`,
      );
    }
    owner = uid;
  };
  const start: Folder = { path: '/', status: fs.lstatSync('/') };
  /** Those that were entered: `..` leads back. */
  let way: readonly Folder[] = [];
  let folder = start;
  let names = partsOf(path);
  for (let links = 0; ; ) {
    const [name, ...rest] = names;
    if (name === undefined) return { uid: owner, real: folder.path };
    names = rest;
    if (name === '..') {
      folder = way.at(-1) ?? start;
      way = way.slice(0, -1);
      continue;
    }
    const at = join(folder.path, name);
    const status = fs.lstatSync(at, { throwIfNoEntry: false });
    judgeFolder(path, folder, isOpenTo(status, rest.length === 0, made));
    if (status?.isSymbolicLink() === true) {
      links++;
      if (links > MOST_LINKS) throw new UnsafePath(`${path}: too many symbolic links`);
      claim(status.uid, at);
      const target = fs.readlinkSync(at);
      names = [...partsOf(target), ...rest];
      if (target.startsWith('/')) {
        folder = start;
        way = [];
      }
    } else if (rest.length === 0 || status?.isDirectory() !== true) {
      return { uid: owner, real: join(at, ...rest) };
    } else {
      claim(status.uid, at);
      way = [...way, folder];
      folder = { path: at, status };
    }
  }
}

/**
 * For root: makes sure that nobody else decides where a path leads. For any other user, who can only reach
 * what is his, nothing is looked at.
 * @throws UnsafePath
 */
export function requireRootsPath(path: string, made: 'new' | 'any' = 'any'): void {
  if (process.geteuid?.() !== 0) return;
  const { uid } = pathOwner(path, made);
  if (uid !== 0) {
    throw new UnsafePath(
      `${path}: user id ${uid} can change where this path leads, so root does not use it; choose a path that only root can change`,
    );
  }
}

/** Whether a user is root, also where this process is root of a user name space and the host's is out of sight. */
export function isRoots(uid: number): boolean {
  return uid === 0 || uid === fs.lstatSync('/').uid;
}

/**
 * Whether a name in a folder in which every user can make names may be anybody's: it is missing, or it is a
 * file, which may be a hard link to another's.
 */
function isOpenTo(status: fs.Stats | undefined, isLast: boolean, made: 'new' | 'any'): boolean {
  if (status === undefined) return !isLast || made === 'any';
  return made === 'any' && !status.isDirectory() && !status.isSymbolicLink();
}

/**
 * @param open whether the next name may be anybody's where every user can make names
 * @throws UnsafePath for a folder of root in which other users can replace what is there
 */
function judgeFolder(path: string, folder: Folder, open: boolean): void {
  const { uid, gid, mode } = folder.status;
  // The folder's own user lets in whom he likes; that he decides is known.
  if (!isRoots(uid)) return;
  const sticky = (mode & STICKY) !== 0;
  if ((mode & OTHERS_WRITE) !== 0) {
    if (sticky && !open) return;
    throw new UnsafePath(
      sticky
        ? `${path}: every user can create files in ${folder.path}: choose a folder that only root can change`
        : `${path}: every user can replace what is in ${folder.path}: chmod o-w ${folder.path}`,
    );
  }
  const peoples = gid >= FIRST_USER_GROUP || gid === USERS_GROUP;
  if ((mode & GROUP_WRITES) !== 0 && !sticky && peoples) {
    throw new UnsafePath(
      `${path}: members of group ${gid} can replace what is in ${folder.path}: chmod g-w ${folder.path}`,
    );
  }
}

function partsOf(path: string): readonly string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.');
}
