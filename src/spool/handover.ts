/**
 * Gives a spool that belongs to root to the user who runs the queue from now on.
 *
 * Only the known folders of a spool are entered, each is closed to everybody else before, and each object in
 * it is held, looked at and changed by its descriptor: what is no file of root's, or has a name outside of
 * the spool, stays as it is. incoming/ is never entered: what users left there keeps its owner, by whom it
 * is known, and was taken over before.
 *
 * The folder itself goes first. From then on a program that root starts becomes its new owner, so that
 * nobody works as root in what is given away; and a handover that was cut short is gone on with, because
 * what is still root's is found by its owner.
 *
 * Hostile input: whatever lies in the spool.
 */
import fs from 'node:fs';
import { basename, dirname } from 'node:path';
import { eraseFile, eraseFolder, setHeldMode, setHeldOwner } from './disk.ts';
import { Held, HeldFolder } from './held.ts';
import { FOLDERS, HANDS_GROUP_ON, INNER_FOLDERS } from './layout.ts';
import { UnsafePath } from './path-owner.ts';

/** Folders whose files the new owner has to be able to read: what lies there is mail. */
const MAIL_FOLDERS = ['spool', 'unsplit', 'Undelivered'];

const CLOSED = 0o700;
const OTHERS_WRITE = 0o022;

/** How often a folder is gone through until all that is in it is given away. */
const MOST_PASSES = 5;

/** A known folder that still belongs to root. */
interface Known {
  readonly folder: HeldFolder;
  readonly mode: number;
}

export class Handover {
  readonly #uid: number;
  readonly #gid: number;
  readonly #top: HeldFolder;
  /** Innermost first: who owns a folder can change what is in it. */
  readonly #known: Known[] = [];
  readonly #incoming: Known | undefined;
  /** How many names each file of several has in the known folders, by inode. */
  readonly #names = new Map<number, number>();
  readonly #left: string[] = [];
  #open = true;

  /**
   * Holds the folders; nothing is changed.
   * @param folder of the spool, on a path that only root can change
   * @param uid user id of the owner to be
   * @throws UnsafePath where a known folder is a link, a mount point, or a third user's
   */
  constructor(folder: string, uid: number, gid: number) {
    const top = HeldFolder.open(folder);
    if (top === undefined) throw new UnsafePath(`${folder} does not exist`);
    const shared = (top.held.status.mode & HANDS_GROUP_ON) !== 0;
    this.#uid = uid;
    // The members of a group that may submit still may.
    this.#gid = shared ? top.held.status.gid : gid;
    this.#top = top;
    try {
      this.#checkOwner(top);
      if (!this.isBegun && (top.held.status.mode & OTHERS_WRITE) !== 0) {
        throw new UnsafePath(`other users can change ${folder}: chmod 711 ${folder}`);
      }
      let incoming: Known | undefined;
      for (const [name, alone, withGroup] of FOLDERS) {
        const outer = this.#hold(top, name);
        if (outer === undefined) continue;
        const known = { folder: outer, mode: shared ? withGroup : alone };
        if (name === 'incoming') incoming = known;
        else this.#known.push(known);
        for (const path of INNER_FOLDERS.filter((inner) => dirname(inner) === name)) {
          const held = this.#hold(outer, basename(path));
          if (held !== undefined) this.#known.unshift({ folder: held, mode: CLOSED });
        }
      }
      this.#incoming = incoming;
    } catch (error) {
      this.end();
      throw error;
    }
  }

  /** Whether the folder was given away before, by a handover that was cut short. */
  get isBegun(): boolean {
    return this.#top.held.status.uid === this.#uid;
  }

  /** From here on nobody but root can put anything into the spool, nor into incoming/. */
  close(): void {
    for (const { folder } of [...this.#known, ...(this.#incoming ? [this.#incoming] : [])]) {
      if (this.#isRoots(folder.held)) setHeldMode(folder.held.fd, CLOSED);
    }
  }

  /**
   * Erases what was being written to incoming/ when that was closed: its writer would leave a file there
   * that the new owner cannot read, and hears now that it is not queued.
   * @returns what else is there and is no folder
   */
  clearIncoming(): readonly string[] {
    const folder = this.#incoming?.folder;
    if (folder === undefined) return [];
    return folder.names().filter((name) => {
      if (fs.lstatSync(folder.at(name), { throwIfNoEntry: false })?.isDirectory() !== false) {
        return false;
      }
      if (!name.startsWith('.')) return true;
      eraseFile(folder.at(name));
      return false;
    });
  }

  /** A message of root's that cannot be given away, because it has a hard link outside the spool. */
  linkedMessage(): string | undefined {
    this.#countNames();
    for (const { folder } of this.#known) {
      if (!MAIL_FOLDERS.some((name) => folder.name === `${this.#top.name}/${name}`)) continue;
      const name = folder.names().find((each) => {
        const status = fs.lstatSync(folder.at(each), { throwIfNoEntry: false });
        return status?.uid === 0 && status.isFile() && this.#isLinkedOutside(status);
      });
      if (name !== undefined) return `${folder.name}/${name}`;
    }
    return undefined;
  }

  /** Gives the folder itself away and lets everybody into incoming/ again. */
  giveFolder(): void {
    for (const name of ['version', 'wake']) this.#giveObject(this.#top, name);
    setHeldOwner(this.#top.held.fd, this.#uid, this.#gid);
    if (this.#incoming !== undefined) this.#give(this.#incoming);
  }

  /**
   * Gives away all that is in the known folders, and then these.
   * @returns what stays root's, one line each
   */
  giveContents(): readonly string[] {
    this.#eraseLock();
    this.#countNames();
    for (const known of this.#known) {
      if (!this.#isRoots(known.folder.held)) continue;
      // A process that had begun as root may have made something meanwhile.
      for (let pass = 0; pass < MOST_PASSES && this.#giveAll(known.folder); pass++);
      this.#give(known);
    }
    return [...new Set(this.#left)];
  }

  /** A handover that was killed left its lock. No other runner can hold one in a folder that is closed. */
  #eraseLock(): void {
    const run = this.#known.find(({ folder }) => folder.name === `${this.#top.name}/run`)?.folder;
    if (run !== undefined && this.#isRoots(run.held)) eraseFolder(run.at('runner.lock'));
  }

  /** Lets go of the folders; what was closed and not given away is as open as before. */
  end(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const { folder } of [...this.#known, ...(this.#incoming ? [this.#incoming] : [])]) {
      const { held } = folder;
      const { uid, mode } = held.look();
      const before = held.status.mode;
      if (uid === held.status.uid && mode !== before) setHeldMode(held.fd, before & 0o7777);
      folder.close();
    }
    this.#top.close();
  }

  #hold(within: HeldFolder, name: string): HeldFolder | undefined {
    const folder = within.folder(name);
    try {
      if (folder !== undefined) this.#checkOwner(folder);
    } catch (error) {
      folder?.close();
      throw error;
    }
    return folder;
  }

  #checkOwner({ held, name }: HeldFolder): void {
    const { uid } = held.status;
    if (uid === 0 || uid === this.#uid) return;
    throw new UnsafePath(`${name} belongs to user id ${uid}: chown ${this.#uid} ${name}`);
  }

  #isRoots(held: Held): boolean {
    return held.look().uid === 0;
  }

  #give({ folder, mode }: Known): void {
    if (!this.#isRoots(folder.held)) return;
    setHeldOwner(folder.held.fd, this.#uid, this.#gid);
    setHeldMode(folder.held.fd, mode);
  }

  /** A file with a name outside of the spool is somebody else's, too. */
  #countNames(): void {
    this.#names.clear();
    for (const { folder } of this.#known) {
      if (!this.#isRoots(folder.held)) continue;
      for (const name of folder.names()) {
        const status = fs.lstatSync(folder.at(name), { throwIfNoEntry: false });
        if (status === undefined || !status.isFile() || status.nlink < 2) continue;
        this.#names.set(status.ino, (this.#names.get(status.ino) ?? 0) + 1);
      }
    }
  }

  /** @returns whether something was given away */
  #giveAll(folder: HeldFolder): boolean {
    return folder.names().filter((name) => this.#giveObject(folder, name)).length > 0;
  }

  #giveObject(folder: HeldFolder, name: string): boolean {
    const held = Held.at(folder.at(name));
    if (held === undefined) return false;
    try {
      const { status } = held;
      // What belongs to somebody else already was his before it came here.
      if (status.uid !== 0) return false;
      const flaw = this.#flawOf(held, folder);
      if (flaw === undefined) {
        setHeldOwner(held.fd, this.#uid, this.#gid);
        return true;
      }
      this.#left.push(`${folder.name}/${name} still belongs to root: ${flaw}`);
      return false;
    } finally {
      held.close();
    }
  }

  /** Why an object is not given away. */
  #flawOf(held: Held, folder: HeldFolder): string | undefined {
    const { status } = held;
    if (status.isDirectory()) return 'it is not a folder of a spool';
    if (!status.isFile() && !status.isFIFO()) return 'it is not a regular file';
    if (held.mount !== folder.held.mount) return 'it is a mount point';
    return this.#isLinkedOutside(held.look()) ? 'it has a hard link outside the spool' : undefined;
  }

  #isLinkedOutside({ nlink, ino }: fs.Stats): boolean {
    return nlink > 1 && nlink > (this.#names.get(ino) ?? 1);
  }
}
