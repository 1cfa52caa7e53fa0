/**
 * root does not work as root on the spool: a program that root starts becomes the owner of the spool
 * folder before it reads a message, writes a file or opens a connection. What it makes then belongs to
 * who runs the queue, and a fault in it is a fault of that user only.
 */
import fs from 'node:fs';
import { hasCode } from './disk.ts';

/**
 * For other users, and for a spool that belongs to root or does not exist yet, nothing changes.
 * @throws the system call's error when the change is refused
 */
export function becomeOwner(folder: string): void {
  if (process.geteuid?.() !== 0) return;
  let owner: fs.Stats;
  try {
    owner = fs.statSync(folder);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  if (owner.uid === 0) return;
  process.setgroups?.([owner.gid]);
  process.setgid?.(owner.gid);
  process.setuid?.(owner.uid);
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
