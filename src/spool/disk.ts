/**
 * The one module that changes files: it writes, syncs, links, renames and erases. Everything above
 * speaks of entries; nothing else in the program makes a byte or a name durable.
 *
 * All calls are synchronous: small files cost half of what the promise API takes, and the order of
 * the system calls is the order of the lines. Errors are Node's own, with code and path; nothing is
 * retried and nothing swallowed, except where a comment says what an error means.
 */
import fs from 'node:fs';
import { dirname } from 'node:path';

const PRIVATE = 0o600;

/** The mode of new files, of the whole process as its umask is. */
let fileMode = PRIVATE;

/** From now on the group may read what is made. */
export function shareWithGroup(): void {
  fileMode = 0o640;
}

/** Opens a new file for writing and reading; fails with EEXIST where the name is taken, also by a link. */
export function createFile(path: string, mode = fileMode): number {
  return fs.openSync(path, 'wx+', mode);
}

/** Sets the mode of an open file, whatever the process's umask is. */
export function setDescriptorMode(fd: number, mode: number): void {
  fs.fchmodSync(fd, mode);
}

/** The path of what a descriptor is open to, also where that was opened for its place alone (O_PATH). */
export const descriptorPath = (fd: number): string => `/proc/self/fd/${fd}`;

/** Sets the mode of what a descriptor is open to. */
export function setHeldMode(fd: number, mode: number): void {
  fs.chmodSync(descriptorPath(fd), mode);
}

/** Gives what a descriptor is open to to a user and a group. */
export function setHeldOwner(fd: number, uid: number, gid: number): void {
  fs.chownSync(descriptorPath(fd), uid, gid);
}

/** Writes all bytes at the file's end, or at `position`; a short write goes on where it stopped. */
export function writeAll(fd: number, bytes: Uint8Array, position?: number): void {
  let done = 0;
  while (done < bytes.length) {
    const at = position === undefined ? null : position + done;
    const written = fs.writeSync(fd, bytes, done, bytes.length - done, at);
    // A write of nothing without an error would turn this into an endless loop.
    if (written === 0)
      throw Object.assign(new Error('ENOSPC: write took no byte'), { code: 'ENOSPC' });
    done += written;
  }
}

/** Waits until the file's bytes are on the disk. */
export function syncFile(fd: number): void {
  fs.fsyncSync(fd);
}

/** Closes a descriptor. */
export function closeFile(fd: number): void {
  fs.closeSync(fd);
}

/** Waits until the names in a folder are on the disk. */
export function syncFolder(path: string): void {
  const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Gives a file a second name that must be free (EEXIST otherwise). Where the file system knows no
 * hard links, or the file has all it may have, the bytes are copied and synced instead.
 * @param scratch the beginning of free names on the same file system, for the copy
 */
export function linkFile(from: string, to: string, scratch: string): void {
  try {
    fs.linkSync(from, to);
  } catch (error) {
    if (!hasCode(error, 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK')) throw error;
    copyFile(from, to, scratch);
  }
}

function copyFile(from: string, to: string, scratch: string): void {
  if (fs.existsSync(to)) throw Object.assign(new Error(`EEXIST: ${to}`), { code: 'EEXIST' });
  const copy = copyAside(from, scratch);
  try {
    const fd = fs.openSync(copy, 'r+');
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    // Another process may have done the same meanwhile, and what it made may be relayed already.
    fs.accessSync(from);
    fs.renameSync(copy, to);
  } catch (error) {
    eraseFile(copy);
    throw error;
  }
}

/**
 * A scratch name that is taken belongs to a process that copies the same file or died doing so: it is
 * neither used nor erased, and never taken for a sign that the file itself is there.
 */
function copyAside(from: string, scratch: string): string {
  for (let n = 1; ; n++) {
    const path = `${scratch}${n}`;
    try {
      fs.copyFileSync(from, path, fs.constants.COPYFILE_EXCL);
      return path;
    } catch (error) {
      if (hasCode(error, 'EEXIST')) continue;
      eraseFile(path);
      throw error;
    }
  }
}

/**
 * Puts a copy in the place of a file, so that nobody can change it by another name of the old one.
 * @param scratch the beginning of free names on the same file system
 */
export function copyOver(path: string, scratch: string): void {
  const copy = copyAside(path, scratch);
  try {
    const fd = fs.openSync(copy, 'r+');
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(copy, path);
  } catch (error) {
    eraseFile(copy);
    throw error;
  }
  syncFolder(dirname(path));
}

/** Renames a file; false when it is gone, which is how one process learns that another was faster. */
export function moveFile(from: fs.PathLike, to: fs.PathLike): boolean {
  try {
    fs.renameSync(from, to);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** Erases a file; false when it is gone already. */
export function eraseFile(path: fs.PathLike): boolean {
  try {
    fs.unlinkSync(path);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** Erases a folder that is empty; false when it is gone already. */
export function eraseFolder(path: fs.PathLike): boolean {
  try {
    fs.rmdirSync(path);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** Appends text to a file, made when missing, and waits until it is on the disk. */
export function appendText(path: string, text: string): void {
  const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW } = fs.constants;
  writeSynced(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, text);
}

/** Replaces a file's text; for records that are no loss when a power cut leaves them empty. */
export function replaceText(path: string, text: string): void {
  const fd = fs.openSync(path, 'w', fileMode);
  try {
    writeAll(fd, Buffer.from(text));
  } finally {
    fs.closeSync(fd);
  }
}

/** The text of a record; empty where there is none. */
export function readRecord(path: string): string {
  try {
    return fs.readFileSync(path).toString('utf8');
  } catch (error) {
    // A folder that somebody put there says as little.
    if (hasCode(error, 'ENOENT', 'EISDIR')) return '';
    throw error;
  }
}

/**
 * Replaces a file's text so that at any instant, a power cut included, it is the old or the new one.
 * @param scratch a free name on the same file system
 */
export function replaceDurably(path: string, scratch: string, text: string): void {
  // Left by a process of this pid that was killed, or put there by somebody else: it is not written to.
  eraseFile(scratch);
  writeSynced(scratch, 'wx', text);
  fs.renameSync(scratch, path);
}

/**
 * Makes a folder and those above it; an existing one is left as it is.
 * @param mode exactly, from the first moment on: the process's umask does not count
 * @returns the folders that hold a new name by now, for a caller who needs it durable
 */
export function makeFolder(path: string, mode: number): readonly string[] {
  const umask = process.umask(0);
  try {
    return makeFolders(path, mode);
  } finally {
    process.umask(umask);
  }
}

/** One at a time: mkdir(2) follows no link at its end, and what is there is left to its user. */
function makeFolders(path: string, mode: number): readonly string[] {
  const above = dirname(path);
  try {
    fs.mkdirSync(path, mode);
    return [above];
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return [];
    if (!hasCode(error, 'ENOENT') || above === path) throw error;
  }
  const parents = makeFolders(above, mode);
  try {
    fs.mkdirSync(path, mode);
  } catch (error) {
    // Another process was faster.
    if (!hasCode(error, 'EEXIST')) throw error;
  }
  return [above, ...parents];
}

/**
 * Sets a file's time, which says how fresh a record is.
 * @param time milliseconds since 1970-01-01 UTC
 */
export function touchFile(path: string, time: number): void {
  fs.utimesSync(path, time / 1000, time / 1000);
}

/** Whether an error of a system call bears one of these codes. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

function writeSynced(path: string, flags: string | number, text: string): void {
  const fd = fs.openSync(path, flags, fileMode);
  try {
    writeAll(fd, Buffer.from(text));
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** Adds a line to a log file or device; not synced. */
export function appendLine(path: string, line: string): void {
  const fd = fs.openSync(path, 'a', PRIVATE);
  try {
    writeAll(fd, Buffer.from(line));
  } finally {
    fs.closeSync(fd);
  }
}

/** @throws Error for a file that has another name elsewhere: it may be somebody else's */
function openLog(path: string): number {
  const fd = fs.openSync(path, 'a', PRIVATE);
  const status = fs.fstatSync(fd);
  if (!status.isFile() || status.nlink < 2) return fd;
  fs.closeSync(fd);
  throw new Error(`${path} has another hard link: remove it, and a new log file is created`);
}

/** A log file stays open for so long, in milliseconds: one that was rotated is left soon. */
const LOG_KEPT = 1000;

/**
 * Adds lines to log files and devices as appendLine does, without opening them for each.
 * @param check throws for a path that must not be opened
 */
export function keptAppender(check: (path: string) => void): typeof appendLine {
  const open = new Map<string, number>();
  return (path, line) => {
    let fd = open.get(path);
    if (fd === undefined) {
      check(path);
      const fresh = openLog(path);
      open.set(path, fresh);
      setTimeout(() => {
        open.delete(path);
        fs.closeSync(fresh);
      }, LOG_KEPT).unref();
      fd = fresh;
    }
    writeAll(fd, Buffer.from(line));
  };
}

/** Writes one byte into a FIFO that somebody reads; false when nobody does. Never blocks. */
export function pokeFifo(path: string): boolean {
  let fd: number;
  try {
    const { O_WRONLY, O_NONBLOCK, O_NOFOLLOW } = fs.constants;
    fd = fs.openSync(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW);
  } catch {
    // No FIFO, nobody reads it (ENXIO), or it is not for us: all mean that nobody was woken.
    return false;
  }
  try {
    if (!fs.fstatSync(fd).isFIFO()) return false;
    fs.writeSync(fd, 'w');
    return true;
  } catch (error) {
    // A full FIFO: a runner lives and has wake-ups waiting.
    return hasCode(error, 'EAGAIN');
  } finally {
    fs.closeSync(fd);
  }
}

/** Who may do what with a file that an installation puts on the host. */
export interface Rights {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Puts a file of the host in place, so that at any instant it is the old or the new one, and never open
 * to more than it is meant to be.
 */
export function putFile(path: string, text: string, { mode, uid, gid }: Rights): void {
  const scratch = `${path}.picorelay-new`;
  eraseFile(scratch);
  const fd = createFile(scratch);
  try {
    writeAll(fd, Buffer.from(text));
    fs.fchownSync(fd, uid, gid);
    fs.fchmodSync(fd, mode);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(scratch, path);
}

/** Puts a symbolic link in place. */
export function putLink(path: string, target: string): void {
  const scratch = `${path}.picorelay-new`;
  eraseFile(scratch);
  fs.symlinkSync(target, scratch);
  fs.renameSync(scratch, path);
}

/**
 * Makes a folder with these rights; the folder above it has to be there.
 * @throws the system call's error, EEXIST where something has that name
 */
export function putFolder(path: string, { mode, uid, gid }: Rights): void {
  fs.mkdirSync(path, 0o700);
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = fs.constants;
  const fd = fs.openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    fs.fchownSync(fd, uid, gid);
    fs.fchmodSync(fd, mode);
  } finally {
    fs.closeSync(fd);
  }
}

/** Removes an empty folder; false when it is not empty or not there. */
export function removeFolder(path: string): boolean {
  try {
    fs.rmdirSync(path);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST')) return false;
    throw error;
  }
}

/**
 * Publishes a text under a path outside of the spool, readable for everybody: at any instant it is the old
 * or the new one as a whole. A link that stands there is replaced, not followed.
 * @param pid this process, for the name of the scratch file beside it
 */
export function publishFile(path: string, text: string, pid: number): void {
  const scratch = `${path}.${pid}.tmp`;
  const fd = fs.openSync(scratch, 'wx', 0o644);
  try {
    writeAll(fd, Buffer.from(text));
    // Whatever the umask says: it is there to be read.
    fs.fchmodSync(fd, 0o644);
  } catch (error) {
    eraseFile(scratch);
    throw error;
  } finally {
    fs.closeSync(fd);
  }
  try {
    fs.renameSync(scratch, path);
  } catch (error) {
    eraseFile(scratch);
    throw error;
  }
}
