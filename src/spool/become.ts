/**
 * root does not work as root on the spool: a program that root starts becomes the owner of the spool
 * folder before it reads a message, writes a file or opens a connection. What it makes then belongs to
 * who runs the queue, and a fault in it is a fault of that user only.
 *
 * A spool that belongs to root is the exception. root works there only while nobody else can replace a folder
 * of the spool. Others may write only into incoming/, where nobody can touch the files of others.
 */
import fs from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { hasCode, shareWithGroup } from './disk.ts';
import { FOLDERS, HANDS_GROUP_ON } from './layout.ts';
import { isRoots, pathOwner, UnsafePath } from './path-owner.ts';

/** Then what one of them makes has to be for the owner to read. */
const GROUP_READS = 0o027;

/** Whoever is not the owner may write. */
const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;

/**
 * For a spool that belongs to root or does not exist yet, nothing changes, and any other user stays who
 * he is. Where the folder hands its group on, the group may read what this process makes there.
 * @throws UnsafePath for root, where another user than the spool's owner decides what the path leads to,
 *   and where others can change a spool of root's
 * @throws the system call's error when the change is refused
 */
export function becomeOwner(folder: string): void {
  const isRoot = process.geteuid?.() === 0;
  let owner: fs.Stats;
  try {
    owner = fs.statSync(folder);
  } catch (error) {
    if (hasCode(error, 'ENOENT') && isRoot) checkPath(folder, 0);
    // A folder that another user cannot reach lets him submit nothing: that says so better.
    if (hasCode(error, 'ENOENT') || !isRoot) return;
    throw error;
  }
  if (isRoot && owner.uid === 0) owner = enterRootsSpool(folder);
  else if (isRoot) requireSafeSpool(folder, owner);
  if ((owner.mode & HANDS_GROUP_ON) !== 0) {
    shareWithGroup();
    process.umask(GROUP_READS);
  }
  if (!isRoot || owner.uid === 0) return;
  process.setgroups?.([owner.gid]);
  process.setgid?.(owner.gid);
  process.setuid?.(owner.uid);
}

/**
 * Keeps a spool of root open until this process ends. init gives the folder away first, and then waits for
 * processes of root that have something of it open: none of them continues in a spool of another user.
 * @returns what fstat(2) says of the folder that is open
 * @throws UnsafePath where others can change it; then the folder is closed again
 */
function enterRootsSpool(folder: string): fs.Stats {
  const fd = fs.openSync(folder, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  try {
    const status = fs.fstatSync(fd);
    requireSafeSpool(folder, status);
    return status;
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/**
 * The same for a program that submits: whether it may write into the spool itself. Where root may become
 * nobody else, as in a container that shares the spool, it submits as any user does.
 * @throws UnsafePath, and the system call's error for a folder that cannot be looked at
 */
export function becomeSubmitter(folder: string): boolean {
  try {
    becomeOwner(folder);
    return true;
  } catch (error) {
    // EINVAL: the owner has no number in this user name space.
    if (hasCode(error, 'EPERM', 'EINVAL')) return false;
    throw error;
  }
}

/** Does something as another user, for a program that root runs and that goes on as root. */
export function actAs<T>(uid: number, gid: number, action: () => T): T {
  if (process.geteuid?.() !== 0 || uid === 0) return action();
  const groups = process.getgroups?.() ?? [];
  process.setgroups?.([gid]);
  process.setegid?.(gid);
  process.seteuid?.(uid);
  try {
    return action();
  } finally {
    process.seteuid?.(0);
    process.setegid?.(0);
    process.setgroups?.(groups);
  }
}

/**
 * Does something on a spool as its owner, for a program that root runs and that goes on as root.
 * @throws UnsafePath as becomeOwner does, what the action throws, and the system calls' errors
 */
export function actAsOwner<T>(folder: string, action: () => T): T {
  if (process.geteuid?.() !== 0) return action();
  const owner = fs.statSync(folder);
  requireSafeSpool(folder, owner);
  return actAs(owner.uid, owner.gid, action);
}

/**
 * Does something to a name in a folder, for a program that root runs: as the folder's owner, or as the only
 * user but root who decides what the way there leads to.
 * @throws UnsafePath where several users do, what the action throws, and the system calls' errors
 */
export function actAsFolderOwner<T>(path: string, action: () => T): T {
  if (process.geteuid?.() !== 0) return action();
  const folder = dirname(resolve(path));
  const leader = pathOwner(folder).uid;
  const { uid, gid } = fs.statSync(folder);
  return actAs(leader === 0 ? uid : leader, gid, action);
}

/**
 * Makes sure that root may work on a spool, or become its owner.
 * @param status what stat(2) says of the folder
 * @throws UnsafePath that says what is to be changed
 */
export function requireSafeSpool(folder: string, status: fs.Stats): void {
  const real = checkPath(folder, status.uid);
  if (status.uid === 0) checkRootsSpool(folder, real, status);
}

/**
 * @returns the path without links
 * @throws UnsafePath where a user other than root and this one decides where the path leads
 */
function checkPath(folder: string, owner: number): string {
  const { uid, real } = pathOwner(folder);
  if (uid === 0 || uid === owner) return real;
  const whose = owner === 0 ? 'root' : `user id ${owner}`;
  throw new UnsafePath(
    `${folder} belongs to ${whose}, but user id ${uid} can change where this path leads: choose a path that only root can change`,
  );
}

/** @throws UnsafePath where users other than root can change what the folders of a spool of root hold */
function checkRootsSpool(folder: string, real: string, { mode, gid }: fs.Stats): void {
  if ((mode & HANDS_GROUP_ON) !== 0 && gid !== 0) {
    throw new UnsafePath(
      `${folder} belongs to root and is shared with group ${gid}: hand it to a system user (picorelay init does this), or chmod g-s ${folder}`,
    );
  }
  if ((mode & OTHERS_WRITE) !== 0) {
    throw new UnsafePath(`${folder} belongs to root and others can change it: chmod 711 ${folder}`);
  }
  for (const [name, wanted] of FOLDERS) {
    const path = join(real, name);
    const found = fs.lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined) continue;
    if (found.isSymbolicLink()) {
      throw new UnsafePath(`${path} is a symbolic link: remove it, or put the folder itself there`);
    }
    if (!found.isDirectory()) continue;
    if (!isRoots(found.uid)) {
      throw new UnsafePath(
        `${path} belongs to user id ${found.uid}, but the spool belongs to root: chown both to the same user`,
      );
    }
    const open = (found.mode & OTHERS_WRITE) !== 0;
    if (open && (name !== 'incoming' || (found.mode & STICKY) === 0)) {
      throw new UnsafePath(
        `${path} belongs to root and others can change it: chmod ${wanted.toString(8)} ${path}`,
      );
    }
  }
  const mount = mountsIn(real)[0];
  if (mount !== undefined) {
    throw new UnsafePath(
      `${mount} is a mount point inside a spool that belongs to root: unmount it`,
    );
  }
}

/** Mount points below a folder (proc_pid_mountinfo(5)). */
function mountsIn(folder: string): readonly string[] {
  const table = fs.readFileSync('/proc/self/mountinfo', 'latin1');
  const below = folder.endsWith('/') ? folder : `${folder}/`;
  return table.split('\n').flatMap((line) => {
    const [, , , , point = ''] = line.split(' ', 5);
    const path = Buffer.from(
      point.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))),
      'latin1',
    ).toString('utf8');
    return path.startsWith(below) ? [path] : [];
  });
}
