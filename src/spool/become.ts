/**
 * root does not work as root on the spool: a program that root starts becomes the owner of the spool
 * folder before it reads a message, writes a file or opens a connection. What it makes then belongs to
 * who runs the queue, and a fault in it is a fault of that user only.
 */
import fs from 'node:fs';
import { hasCode, shareWithGroup } from './disk.ts';
import { HANDS_GROUP_ON } from './layout.ts';

/** Then what one of them makes has to be for the owner to read. */
const GROUP_READS = 0o027;

/**
 * For a spool that belongs to root or does not exist yet, nothing changes, and any other user stays who
 * he is. Where the folder hands its group on, the group may read what this process makes there.
 * @throws the system call's error when the change is refused
 */
export function becomeOwner(folder: string): void {
  const isRoot = process.geteuid?.() === 0;
  let owner: fs.Stats;
  try {
    owner = fs.statSync(folder);
  } catch (error) {
    // A folder that another user cannot reach lets him submit nothing: that says so better.
    if (hasCode(error, 'ENOENT') || !isRoot) return;
    throw error;
  }
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
 * The same for a program that submits: whether it may write into the spool itself. Where root may become
 * nobody else, as in a container that shares the spool, it submits as any user does.
 * @throws the system call's error for a folder that cannot be looked at
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
  if (process.geteuid?.() !== 0) return action();
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
