/**
 * Mail that waits in another program's queue: nullmailer's, dma's, msmtpq's and Postfix's. Read here, and
 * laid aside once it is queued by picorelay; never changed, and never erased.
 *
 * Hostile input: the folders, which others than root may write. Each is entered as its owner. Only regular
 * files are opened, no links are followed, and a file that has another name elsewhere is left alone: it may be
 * somebody else's. What is laid aside is renamed between two folders that are held.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { parsePath } from '../mail/address.ts';
import { type Delivery, parseInvocation } from '../sendmail/arguments.ts';
import { actAsFolderOwner } from '../spool/become.ts';
import { hasCode, makeFolder, moveFile } from '../spool/disk.ts';
import { HeldFolder } from '../spool/held.ts';
import { readPieces } from '../spool/input.ts';

/** A mail of another queue. */
export interface Queued {
  /** How it is called there. */
  readonly id: string;
  /**
   * @throws Error with one line for people, when it is no mail that can be taken
   */
  open(): Opened;
  /** Lays it aside, so that nobody sends it there. */
  settle(): void;
}

export interface Opened {
  readonly delivery: Delivery;
  readonly pieces: Iterable<Uint8Array>;
  close(): void;
}

/** Octets that an envelope may have. */
const LONGEST_HEAD = 1024 * 1024;

/** Where what was taken over lies afterwards, within the queue's folder; none of them reads it. */
const ASIDE = '.taken-by-picorelay';

/** nullmailer's queue: one file with sender, recipients, an empty line and the message. */
export function nullmailerQueue(folder: string): readonly Queued[] {
  return queueIn(folder, (files) =>
    [...files.keys()].map((name) => ({
      id: name,
      open: () => {
        const fd = openQueued(folder, name, files);
        return guarded(fd, () => {
          const head = Buffer.alloc(Math.min(LONGEST_HEAD, fs.fstatSync(fd).size));
          const length = fs.readSync(fd, head, 0, head.length, 0);
          const { sender, recipients, end } = parseNullmailerHead(
            head.toString('latin1', 0, length),
          );
          return {
            delivery: deliveryOf(sender, recipients),
            pieces: from(fd, end),
            close: () => fs.closeSync(fd),
          };
        });
      },
      settle: () => layAside(folder, [name]),
    })),
  );
}

/**
 * The beginning of a file of nullmailer's queue.
 * @throws Error when it is none
 */
export function parseNullmailerHead(text: string): {
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly end: number;
} {
  const end = text.startsWith('\n\n') ? -1 : text.indexOf('\n\n');
  if (end < 0) throw new Error('it has no envelope');
  const [sender = '', ...recipients] = text.slice(0, end).split('\n');
  return { sender, recipients, end: end + 2 };
}

/** dma's spool: Q… with the envelope of one recipient, M… with the message. */
export function dmaQueue(folder: string): readonly Queued[] {
  return queueIn(folder, (files) =>
    [...files.keys()]
      .filter((name) => name.startsWith('Q'))
      .map((name) => {
        const message = `M${name.slice(1)}`;
        return {
          id: name.slice(1),
          open: () => {
            const { sender, recipient } = parseDmaEnvelope(readSmall(folder, name, files));
            const fd = openQueued(folder, message, files);
            return {
              delivery: deliveryOf(sender, [recipient]),
              pieces: from(fd, 0),
              close: () => fs.closeSync(fd),
            };
          },
          settle: () => layAside(folder, [name, message]),
        };
      }),
  );
}

/** @throws Error when the text is no envelope of dma's */
export function parseDmaEnvelope(text: string): {
  readonly sender: string;
  readonly recipient: string;
} {
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}: ?(.*)$`, 'm').exec(text)?.[1];
  const sender = field('Sender');
  const recipient = field('Recipient');
  if (sender === undefined || recipient === undefined) throw new Error('it has no envelope');
  return { sender, recipient };
}

/** msmtpq's queue: ID.msmtp with msmtp's arguments, ID.mail with the message. */
export function msmtpQueue(folder: string): readonly Queued[] {
  return queueIn(folder, (files) =>
    [...files.keys()]
      .filter((name) => name.endsWith('.msmtp'))
      .map((name) => {
        const id = name.slice(0, -'.msmtp'.length);
        return {
          id,
          open: () => {
            const words = sendmailWords(readSmall(folder, name, files).trim().split(/\s+/));
            const invocation = parseInvocation('sendmail', words);
            if (invocation.mode !== 'deliver') {
              throw new Error('problem' in invocation ? invocation.problem : 'it is no message');
            }
            const fd = openQueued(folder, `${id}.mail`, files);
            return {
              delivery: { ...invocation, dotEnds: false },
              pieces: from(fd, 0),
              close: () => fs.closeSync(fd),
            };
          },
          settle: () => layAside(folder, [name, `${id}.mail`]),
        };
      }),
  );
}

/** msmtp's arguments as sendmail takes them: what it says about its own configuration is left out. */
export function sendmailWords(words: readonly string[]): readonly string[] {
  const taken: string[] = [];
  let rest = [...words];
  while (rest.length > 0) {
    const [word = '', ...behind] = rest;
    rest = behind;
    const [, name, value] = /^--([\w-]+)(?:=(.*))?$/.exec(word) ?? [];
    if (word === '--') return [...taken, word, ...rest];
    if (word === '-a' || word === '-C') rest = rest.slice(1);
    else if (name === undefined) taken.push(word);
    else if (name === 'from' && value !== undefined) taken.push('-f', value);
    else if (name === 'read-recipients') taken.push('-t');
    else if (name === 'from') {
      taken.push('-f', rest[0] ?? '');
      rest = rest.slice(1);
    }
  }
  return taken;
}

/**
 * Postfix's own tools know its files. What was taken goes on hold, or, before Postfix itself has seen it,
 * aside; what is on hold already stays so.
 */
export function postfixQueue(): readonly Queued[] {
  const spool = tool(['postconf', '-h', 'queue_directory']).trim();
  // The oldest are where they have been longest.
  const found = ['deferred', 'active', 'incoming', 'maildrop'].flatMap((queue) =>
    idsBelow(join(spool, queue)).map((id) => ({ id, queue })),
  );
  return found.map(({ id, queue }) => ({
    id,
    open: () => {
      const { sender, recipients } = parsePostcat(tool(['postcat', '-eq', id]));
      return {
        delivery: deliveryOf(sender, recipients),
        pieces: [Buffer.from(tool(['postcat', '-bhq', id]), 'latin1')],
        close: () => undefined,
      };
    },
    settle: () => {
      if (queue === 'maildrop') layAside(join(spool, queue), [id], spool);
      else tool(['postsuper', '-h', id]);
    },
  }));
}

/** The envelope as postcat -e prints it; recipients that are done have another word. */
export function parsePostcat(text: string): {
  readonly sender: string;
  readonly recipients: readonly string[];
} {
  const sender = /^sender: ?(.*)$/m.exec(text)?.[1];
  const recipients = [...text.matchAll(/^recipient: ?(.*)$/gm)].map(([, each = '']) => each);
  if (sender === undefined || recipients.length === 0) throw new Error('it has no envelope');
  return { sender, recipients: [...new Set(recipients)] };
}

function idsBelow(folder: string): readonly string[] {
  try {
    return actAsFolderOwner(join(folder, '*'), () =>
      fs
        .readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((each) => each.isFile() && /^[0-9A-Za-z]{6,30}$/.test(each.name))
        .map(({ name }) => name)
        .sort(),
    );
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

/** What a message of Postfix's may have; its own limit is a tenth by default. */
const LARGEST = 256 * 1024 * 1024;

function tool([name = '', ...words]: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(name, words, {
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    encoding: 'latin1',
    maxBuffer: LARGEST,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (error !== undefined) throw new Error(`${name}: ${error.message}`);
  if (status !== 0) throw new Error(`${name}: ${stderr.trim().split('\n').at(-1) ?? 'failed'}`);
  return stdout;
}

/** @throws Error for an address that cannot be read: then none of the recipients is taken */
function deliveryOf(sender: string, recipients: readonly string[]): Delivery {
  const read = (text: string): string => {
    const address = parsePath(Buffer.from(text, 'latin1').toString('utf8'));
    if (address === undefined) throw new Error(`${text} is no address`);
    return address;
  };
  const all = recipients.map(read);
  if (all.length === 0 || all.includes('')) throw new Error('it has no recipient');
  return {
    mode: 'deliver',
    fromHeader: false,
    sender: read(sender),
    fullName: undefined,
    dotEnds: false,
    immediate: 'off',
    verbose: false,
    recipients: all,
    problems: [],
    notify: undefined,
    ret: undefined,
    envid: undefined,
    requireTls: false,
  };
}

type Files = ReadonlyMap<string, { readonly inode: number; readonly names: number }>;

/** The mails of a queue in a folder, which is looked into, and from which they are taken, as its owner. */
function queueIn(folder: string, read: (files: Files) => readonly Queued[]): readonly Queued[] {
  if (!fs.existsSync(folder)) return [];
  const asOwner = <T>(action: () => T): T => actAsFolderOwner(join(folder, '*'), action);
  return asOwner(() => read(filesIn(folder))).map(({ id, open, settle }) => ({
    id,
    open: () => asOwner(open),
    settle: () => asOwner(settle),
  }));
}

/** The regular files of a folder, the oldest first, with the number of names that each has in it. */
function filesIn(folder: string): Files {
  const inodes = inodesIn(folder, 'ENOENT');
  const counts = new Map<number, number>();
  // What was taken earlier shares its message with what is still here.
  // An earlier release laid it aside as root, also in a folder of another user's.
  const taken = inodesIn(join(folder, ASIDE), 'ENOENT', 'EACCES');
  for (const { inode } of [...inodes, ...taken]) {
    counts.set(inode, (counts.get(inode) ?? 0) + 1);
  }
  return new Map(inodes.map(({ name, inode }) => [name, { inode, names: counts.get(inode) ?? 0 }]));
}

/** @param none codes of errors that mean that there is nothing */
function inodesIn(
  folder: string,
  ...none: readonly string[]
): readonly { readonly name: string; readonly inode: number }[] {
  let names: readonly string[];
  try {
    names = fs.readdirSync(folder).sort();
  } catch (error) {
    if (hasCode(error, ...none)) return [];
    throw error;
  }
  return names
    .flatMap((name) => {
      const stats = fs.lstatSync(join(folder, name), { throwIfNoEntry: false });
      return stats?.isFile() === true ? [{ name, inode: stats.ino, time: stats.mtimeMs }] : [];
    })
    .sort((one, other) => one.time - other.time);
}

function openQueued(folder: string, name: string, files: Files): number {
  const known = files.get(name);
  if (known === undefined) throw new Error(`there is no ${name}`);
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
  const fd = fs.openSync(join(folder, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  return guarded(fd, () => {
    const stats = fs.fstatSync(fd);
    if (!stats.isFile() || stats.ino !== known.inode) throw new Error(`${name} has been changed`);
    if (stats.nlink > known.names) throw new Error(`${name} is a file of somewhere else, too`);
    return fd;
  });
}

function readSmall(folder: string, name: string, files: Files): string {
  const fd = openQueued(folder, name, files);
  try {
    const bytes = Buffer.alloc(LONGEST_HEAD);
    return bytes.toString('latin1', 0, fs.readSync(fd, bytes, 0, bytes.length, 0));
  } finally {
    fs.closeSync(fd);
  }
}

/** The octets of a file from a place on. */
function* from(fd: number, start: number): Generator<Uint8Array, void, undefined> {
  // readPieces reads on from where the descriptor stands.
  for (let skipped = 0; skipped < start; ) {
    const piece = Buffer.alloc(Math.min(65_536, start - skipped));
    const read = fs.readSync(fd, piece, 0, piece.length, null);
    if (read === 0) return;
    skipped += read;
  }
  yield* readPieces(fd);
}

function guarded<T>(fd: number, action: () => T): T {
  try {
    return action();
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/**
 * Moves files between two held folders: users who can write the queue's folder could replace the target by a link.
 * @param home the folder that holds the one for what was taken
 */
function layAside(folder: string, names: readonly string[], home: string = folder): void {
  const from = HeldFolder.open(fs.realpathSync(folder));
  const within = HeldFolder.open(fs.realpathSync(home));
  let aside: HeldFolder | undefined;
  try {
    if (from === undefined || within === undefined) throw new Error(`${folder} no longer exists`);
    makeFolder(within.at(ASIDE), 0o700);
    aside = within.folder(ASIDE);
    if (aside === undefined) throw new Error(`${home}/${ASIDE} no longer exists`);
    const { uid, mode } = aside.held.status;
    if (uid !== process.geteuid?.() || (mode & 0o022) !== 0) {
      throw new Error(
        `${aside.name} belongs to user id ${uid}, or other users can write it: remove it`,
      );
    }
    for (const name of names) moveFile(from.at(name), aside.at(name));
  } finally {
    for (const each of [from, within, aside]) each?.close();
  }
}
