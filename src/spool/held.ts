/**
 * Files and folders that are held by a descriptor: looked at and changed through it, whatever is put in
 * their place meanwhile. No link is followed, and nothing is opened that an open could wake or block.
 *
 * Needs /proc, where each descriptor has a path of its own (proc(5)); Node has no openat(2).
 */
import fs from 'node:fs';
import { dirname } from 'node:path';
import { descriptorPath, hasCode, type Rights, setHeldMode, setHeldOwner } from './disk.ts';
import { UnsafePath } from './path-owner.ts';

/** open(2): the place in the file system alone, whatever the rights on the file. Linux's own. */
const O_PATH = 0x200000;

/** What lies at a path, held. */
export class Held {
  readonly fd: number;
  /** What the kernel says of it. */
  readonly status: fs.Stats;
  #mount: string | undefined;

  private constructor(fd: number) {
    this.fd = fd;
    this.status = fs.fstatSync(fd);
  }

  /** @returns undefined where there is nothing */
  static at(path: string): Held | undefined {
    let fd: number;
    try {
      fd = fs.openSync(path, O_PATH | fs.constants.O_NOFOLLOW);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }
    try {
      return new Held(fd);
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  }

  /** A path that leads to it whatever its names lead to. */
  get path(): string {
    return descriptorPath(this.fd);
  }

  /** The mount that it was reached by: a mount point bears the id of what is mounted there. */
  get mount(): string {
    if (this.#mount !== undefined) return this.#mount;
    const info = fs.readFileSync(`/proc/self/fdinfo/${this.fd}`, 'latin1');
    this.#mount = /^mnt_id:\s*(\d+)/m.exec(info)?.[1] ?? 'unknown';
    return this.#mount;
  }

  /** The status by now. */
  look(): fs.Stats {
    return fs.fstatSync(this.fd);
  }

  close(): void {
    fs.closeSync(this.fd);
  }
}

/** A folder that is held: names in it are reached by `at`. */
export class HeldFolder {
  readonly held: Held;
  /** As it is called in messages. */
  readonly name: string;

  private constructor(held: Held, name: string) {
    this.held = held;
    this.name = name;
  }

  /**
   * @param name for messages, where the path is one of a descriptor
   * @returns undefined where there is nothing
   * @throws UnsafePath for a link, and for what is no folder
   */
  static open(path: string, name = path): HeldFolder | undefined {
    const held = Held.at(path);
    if (held === undefined) return undefined;
    if (held.status.isDirectory()) return new HeldFolder(held, name);
    const kind = held.status.isSymbolicLink() ? 'a symbolic link' : 'not a folder';
    held.close();
    throw new UnsafePath(`${name} is ${kind}: remove it, or put the folder itself there`);
  }

  /** The path of a name in it. */
  at(name: string): string {
    return `${this.held.path}/${name}`;
  }

  /**
   * A folder in it.
   * @returns undefined where there is nothing
   * @throws UnsafePath for a link, a mount point, and for what is no folder
   */
  folder(name: string): HeldFolder | undefined {
    const shown = `${this.name}/${name}`;
    const inner = HeldFolder.open(this.at(name), shown);
    if (inner !== undefined && inner.held.mount !== this.held.mount) {
      inner.close();
      throw new UnsafePath(`${shown} is a mount point: unmount it`);
    }
    return inner;
  }

  /** The names in it, in no order. */
  names(): readonly string[] {
    return fs.readdirSync(this.held.path);
  }

  close(): void {
    this.held.close();
  }
}

/**
 * Gives a file that is there an owner and a mode.
 * @throws UnsafePath where it is no file, has another name elsewhere, is mounted there, or is neither root's
 *   nor its new owner's
 */
export function giveFile(path: string, { mode, uid, gid }: Rights): void {
  const folder = HeldFolder.open(dirname(path));
  const held = Held.at(path);
  try {
    if (held === undefined || folder === undefined)
      throw new UnsafePath(`${path} no longer exists`);
    const { status } = held;
    if (!status.isFile())
      throw new UnsafePath(`${path} is not a regular file: write the value into one`);
    if (status.nlink > 1) {
      throw new UnsafePath(`${path} has another hard link: write the value into a new file`);
    }
    if (held.mount !== folder.held.mount) {
      throw new UnsafePath(
        `${path} is a mount point: set mode ${mode.toString(8)} on the original file`,
      );
    }
    if (status.uid !== 0 && status.uid !== uid) {
      throw new UnsafePath(`${path} belongs to user id ${status.uid}: chown ${uid}:${gid} ${path}`);
    }
    setHeldOwner(held.fd, uid, gid);
    setHeldMode(held.fd, mode);
  } finally {
    held?.close();
    folder?.close();
  }
}
