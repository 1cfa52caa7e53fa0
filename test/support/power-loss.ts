// What a power cut may leave of files, from a record of system calls. The rules are stricter than those of
// any one file system: nothing is on the disk before it is synced, and of what is not, any part may be.
//
// - A file's bytes are on the disk once the file is synced; before that each write may be there, may be
//   half there, or only as zeros.
// - A name is on the disk once its folder is synced; before that each change of a name may be there or
//   not, whatever became of the others. A rename is one change, of the folder that it leads into.
//   Nothing is renamed on the disk before what bears the old name has that name there.
// - What is on the disk may be there earlier than it must.
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { SystemCall } from './strace.ts';

/** Something done to the file system that a power cut can undo. Inodes are numbered from 1. */
type Change =
  | {
      readonly kind: 'name';
      readonly folder: number;
      readonly name: string;
      readonly inode: number;
    }
  | { readonly kind: 'unname'; readonly folder: number; readonly name: string }
  | {
      readonly kind: 'rename';
      readonly folder: number;
      readonly name: string;
      readonly from: number;
      readonly old: string;
      readonly inode: number;
    }
  | { readonly kind: 'write'; readonly inode: number; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: 'cut'; readonly inode: number; readonly size: number };

type Inode =
  | { readonly kind: 'folder'; readonly names: ReadonlyMap<string, number> }
  | { readonly kind: 'file'; readonly bytes: Buffer };

type Disk = ReadonlyMap<number, Inode>;

const ROOT = 1;

/** A file system below one folder, with what of it is on the disk and what is not yet. */
export class Volume {
  readonly #root: string;
  /** As programs see it. */
  #seen = new Map<number, Inode>();
  /** What is certainly on the disk. */
  #sure = new Map<number, Inode>();
  #pending: Change[] = [];
  #next = ROOT + 1;
  readonly #open = new Map<
    number,
    { readonly inode: number; readonly append: boolean; at: number }
  >();
  /** Descriptors that were given anew before the record shows that another thread had closed them. */
  readonly #closing = new Set<number>();

  /** @param root a folder whose content is on the disk as it is now, but for the names left out */
  constructor(root: string, leaveOut: readonly string[] | undefined) {
    this.#root = root;
    if (leaveOut === undefined) return;
    this.#load(ROOT, root, leaveOut, new Map());
    this.#sure = new Map(this.#seen);
  }

  #load(
    number: number,
    path: string,
    leaveOut: readonly string[],
    known: Map<number, number>,
  ): void {
    const status = lstatSync(path);
    if (!status.isDirectory()) {
      this.#seen.set(number, {
        kind: 'file',
        bytes: status.isFile() ? readFileSync(path) : Buffer.alloc(0),
      });
      return;
    }
    const names = new Map<string, number>();
    for (const name of readdirSync(path)) {
      if (leaveOut.includes(name)) continue;
      const child = join(path, name);
      const { ino } = lstatSync(child);
      const inode = known.get(ino) ?? this.#next++;
      names.set(name, inode);
      if (known.has(ino)) continue;
      known.set(ino, inode);
      this.#load(inode, child, [], known);
    }
    this.#seen.set(number, { kind: 'folder', names });
  }

  /** Gives volumes that are like this one is now. */
  copy(): () => Volume {
    const [seen, next] = [this.#seen, this.#next];
    return () => {
      const volume = new Volume(this.#root, undefined);
      volume.#seen = new Map(seen);
      volume.#sure = new Map(seen);
      volume.#next = next;
      return volume;
    };
  }

  /**
   * Does what a recorded call did. Calls that failed, or that are about something else, do nothing.
   * @returns whether a power cut may leave something else than before
   */
  apply(call: SystemCall): boolean {
    const before = this.#pending;
    const count = before.length;
    if (/^\d/.test(call.result)) this.#apply(call);
    return this.#pending !== before || this.#pending.length !== count;
  }

  #apply(call: SystemCall): void {
    const paths = [...call.args.matchAll(/"([^"]*)"/g)].map(([, text]) => decode(text ?? ''));
    const fd = Number(/^\d+/.exec(call.args)?.[0] ?? Number.NaN);
    const [first = '', second = ''] = paths;
    switch (call.name) {
      case 'mkdir':
        this.#make(first, { kind: 'folder', names: new Map() });
        return;
      case 'link':
        this.#link(first, second);
        return;
      case 'unlink':
      case 'rmdir':
        this.#unname(first);
        return;
      case 'rename':
        this.#rename(first, second);
        return;
      case 'open':
      case 'openat':
        this.#opened(call, first);
        return;
      case 'close':
        if (!this.#closing.delete(fd)) this.#open.delete(fd);
        return;
      case 'write':
      case 'pwrite64':
        this.#write(fd, Buffer.from(first, 'latin1'), call);
        return;
      case 'ftruncate': {
        const file = this.#open.get(fd);
        if (file !== undefined)
          this.#add({ kind: 'cut', inode: file.inode, size: lastNumber(call.args) });
        return;
      }
      case 'fsync':
      case 'fdatasync':
        this.#sync(this.#open.get(fd)?.inode);
        return;
    }
  }

  /** How many changes a power cut now could undo. */
  get pending(): number {
    return this.#pending.length;
  }

  /**
   * What a power cut now may leave: all combinations of the changes that are not certain where they are
   * few; else none, all, each alone, all but each, each beginning, and as many others as `random` draws.
   */
  *crashes(most: number, random: () => number): Generator<Disk, void, undefined> {
    const count = this.#pending.length;
    const choices: Part[][] = [];
    const all = this.#pending.map((): Part => 'whole');
    if (2 ** count <= most) {
      for (let bits = 0; bits < 2 ** count; bits++) {
        choices.push(all.map((_, n) => ((bits >> n) & 1 ? 'whole' : 'none')));
      }
    } else {
      for (let n = 0; n <= count; n++) {
        choices.push(all.map((_, m) => (m < n ? 'whole' : 'none')));
        choices.push(all.map((_, m) => (m === n ? 'whole' : 'none')));
        choices.push(all.map((_, m) => (m === n ? 'none' : 'whole')));
      }
      while (choices.length < most)
        choices.push(all.map(() => (random() < 0.5 ? 'whole' : 'none')));
    }
    for (const [n, change] of this.#pending.entries()) {
      if (change.kind !== 'write') continue;
      for (const part of ['half', 'zeros'] as const) {
        choices.push(all.map((_, m) => (m === n ? part : 'whole')));
        choices.push(all.map((_, m) => (m === n ? part : 'none')));
      }
    }
    for (const parts of choices) {
      const disk = new Map(this.#sure);
      for (const [n, change] of this.#pending.entries()) {
        const part = parts[n] ?? 'none';
        if (part !== 'none') take(disk, change, part);
      }
      yield disk;
    }
  }

  #add(change: Change): void {
    this.#pending.push(change);
    take(this.#seen, change, 'whole');
  }

  #make(path: string, inode: Inode): void {
    const place = this.#placeOf(path);
    if (place === undefined) return;
    const number = this.#next++;
    this.#seen.set(number, inode);
    // A folder or a file that is made is empty on the disk, once it has a name there.
    this.#sure.set(number, inode);
    this.#add({ kind: 'name', ...place, inode: number });
  }

  #link(from: string, to: string): void {
    const inode = this.#find(from);
    const place = this.#placeOf(to);
    if (inode !== undefined && place !== undefined) this.#add({ kind: 'name', ...place, inode });
  }

  #unname(path: string): void {
    const place = this.#placeOf(path);
    if (place !== undefined) this.#add({ kind: 'unname', ...place });
  }

  #rename(from: string, to: string): void {
    const inode = this.#find(from);
    const old = this.#placeOf(from);
    const place = this.#placeOf(to);
    if (inode === undefined || old === undefined || place === undefined) return;
    this.#add({ kind: 'rename', ...place, from: old.folder, old: old.name, inode });
  }

  #opened({ args, result }: SystemCall, path: string): void {
    if (this.#placeOf(path) === undefined && path !== this.#root) return;
    if (args.includes('O_CREAT') && this.#find(path) === undefined) {
      this.#make(path, { kind: 'file', bytes: Buffer.alloc(0) });
    }
    const inode = this.#find(path);
    if (inode === undefined) return;
    const known = this.#seen.get(inode);
    if (args.includes('O_TRUNC') && known?.kind === 'file' && known.bytes.length > 0) {
      this.#add({ kind: 'cut', inode, size: 0 });
    }
    const fd = Number(/^\d+/.exec(result)?.[0]);
    if (this.#open.has(fd)) this.#closing.add(fd);
    this.#open.set(fd, {
      inode,
      append: args.includes('O_APPEND'),
      at: 0,
    });
  }

  #write(fd: number, bytes: Buffer, { name, args, result }: SystemCall): void {
    const file = this.#open.get(fd);
    const known = this.#seen.get(file?.inode ?? 0);
    if (file === undefined || known?.kind !== 'file') return;
    const written = bytes.subarray(0, Number(/^\d+/.exec(result)?.[0]));
    const at = name === 'pwrite64' ? lastNumber(args) : file.append ? known.bytes.length : file.at;
    if (name !== 'pwrite64') file.at = at + written.length;
    this.#add({ kind: 'write', inode: file.inode, at, bytes: written });
  }

  #sync(inode: number | undefined): void {
    if (inode === undefined) return;
    const concerned = (change: Change): boolean =>
      'folder' in change ? change.folder === inode : change.inode === inode;
    for (const change of this.#pending) if (concerned(change)) take(this.#sure, change, 'whole');
    this.#pending = this.#pending.filter((change) => !concerned(change));
  }

  #placeOf(path: string): { folder: number; name: string } | undefined {
    const folder = this.#find(dirname(path));
    return folder === undefined
      ? undefined
      : { folder, name: path.slice(dirname(path).length + 1) };
  }

  #find(path: string): number | undefined {
    if (path === this.#root) return ROOT;
    if (!path.startsWith(`${this.#root}/`)) return undefined;
    let at: number | undefined = ROOT;
    for (const name of path.slice(this.#root.length + 1).split('/')) {
      const folder: Inode | undefined = at === undefined ? undefined : this.#seen.get(at);
      at = folder?.kind === 'folder' ? folder.names.get(name) : undefined;
    }
    return at;
  }
}

type Part = 'none' | 'half' | 'zeros' | 'whole';

/** Makes a change, or what of it has reached the disk. */
function take(disk: Map<number, Inode>, change: Change, part: Part): void {
  switch (change.kind) {
    case 'name':
      rename(disk, change.folder, (names) => names.set(change.name, change.inode));
      return;
    case 'unname':
      rename(disk, change.folder, (names) => names.delete(change.name));
      return;
    case 'rename':
      if (nameIn(disk, change.from, change.old) !== change.inode) return;
      rename(disk, change.from, (names) => names.delete(change.old));
      rename(disk, change.folder, (names) => names.set(change.name, change.inode));
      return;
    case 'cut': {
      const before = bytesOf(disk, change.inode);
      const bytes = Buffer.alloc(change.size);
      before.copy(bytes);
      disk.set(change.inode, { kind: 'file', bytes });
      return;
    }
    case 'write': {
      const before = bytesOf(disk, change.inode);
      const length = part === 'half' ? Math.floor(change.bytes.length / 2) : change.bytes.length;
      const bytes = Buffer.alloc(Math.max(before.length, change.at + length));
      before.copy(bytes);
      if (part === 'zeros') bytes.fill(0, change.at, change.at + length);
      else change.bytes.copy(bytes, change.at, 0, length);
      disk.set(change.inode, { kind: 'file', bytes });
    }
  }
}

function nameIn(disk: Disk, folder: number, name: string): number | undefined {
  const known = disk.get(folder);
  return known?.kind === 'folder' ? known.names.get(name) : undefined;
}

function bytesOf(disk: Disk, inode: number): Buffer {
  const known = disk.get(inode);
  return known?.kind === 'file' ? known.bytes : Buffer.alloc(0);
}

function rename(
  disk: Map<number, Inode>,
  folder: number,
  change: (names: Map<string, number>) => void,
): void {
  const known = disk.get(folder);
  const names = new Map(known?.kind === 'folder' ? known.names : []);
  change(names);
  disk.set(folder, { kind: 'folder', names });
}

/** The names and the bytes behind them, as one text: two disks with the same one are the same. */
export function signatureOf(disk: Disk): string {
  const lines: string[] = [];
  const numbers = new Map<number, number>();
  const walk = (inode: number, path: string): void => {
    const known = disk.get(inode);
    const number = numbers.get(inode) ?? numbers.size;
    const first = !numbers.has(inode);
    numbers.set(inode, number);
    if (known?.kind === 'folder') {
      lines.push(`${path}/`);
      for (const [name, child] of [...known.names].sort()) walk(child, `${path}/${name}`);
    } else {
      lines.push(`${path} ${number} ${first ? bytesOf(disk, inode).toString('latin1') : ''}`);
    }
  };
  walk(ROOT, '');
  return lines.join('\n');
}

/** Makes the files and folders of a disk below an existing folder. */
export function build(disk: Disk, root: string): void {
  const made = new Map<number, string>();
  const walk = (inode: number, path: string): void => {
    const known = disk.get(inode);
    const twin = made.get(inode);
    if (known?.kind === 'folder') {
      if (inode !== ROOT) mkdirSync(path);
      chmodSync(path, 0o700);
      for (const [name, child] of known.names) walk(child, join(path, name));
    } else if (twin === undefined) {
      writeFileSync(path, bytesOf(disk, inode), { mode: 0o600 });
      made.set(inode, path);
    } else {
      linkSync(twin, path);
    }
  };
  walk(ROOT, root);
}

function decode(text: string): string {
  return text.replace(/\\x([\da-f]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
}

function lastNumber(args: string): number {
  return Number(/(\d+)$/.exec(args)?.[1] ?? 0);
}
