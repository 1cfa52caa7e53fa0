/**
 * The spool's fsck, the part that looks: every name in the folders that hold mail, what lstat(2) says of
 * it, and whether its message can be read. Nothing is changed and no link followed. Runners and
 * submissions go on meanwhile, so that a survey is no instant: who acts on it looks twice.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { BadBlock } from './block.ts';
import { hasCode } from './disk.ts';
import { FOLDERS, HANDS_GROUP_ON } from './layout.ts';
import { StoredMessage } from './message.ts';
import { parseBase, parseName, parseTaking } from './name.ts';
import type { Spool } from './spool.ts';
import { type FileKind, MAIL_FOLDERS, type MailFile, type Status, type Survey } from './verify.ts';

/**
 * @param now milliseconds since 1970-01-01 UTC
 * @throws the system call's error where the spool folder itself cannot be used
 */
export function surveySpool(spool: Spool, now: number): Survey {
  const { folder } = spool;
  const { uid, mode } = fs.statSync(folder);
  const shared = (mode & HANDS_GROUP_ON) !== 0;
  const files = MAIL_FOLDERS.flatMap((name) =>
    namesIn(join(folder, name)).flatMap((each) => {
      const found = statusOf(join(folder, name, each));
      if (found === undefined) return [];
      return [withMessage(folder, { ...found, folder: name, name: each })];
    }),
  );
  const recorded = namesIn(join(folder, 'run')).flatMap((name) =>
    /^[1-9]\d{0,9}$/.test(name) ? [Number(name)] : [],
  );
  const pids = new Set([...recorded, ...files.flatMap(claimantOf)]);
  return {
    ...{ now, uid, shared, files, recorded },
    version: textOf(join(folder, 'version')),
    folders: FOLDERS.map(([name, alone, withGroup]) => ({
      name,
      mode: shared ? withGroup : alone,
      status: statusOf(join(folder, name)),
    })),
    wake: statusOf(join(folder, 'wake')),
    alive: new Set([...pids].filter((pid) => spool.lives(pid, now))),
  };
}

function claimantOf({ folder, name }: MailFile): readonly number[] {
  if (folder === 'unsplit') return [parseTaking(name)?.owner ?? []].flat();
  const parsed = folder === 'spool' ? parseName(name) : undefined;
  return parsed?.kind === 'entry' && parsed.state.kind === 'sending' ? [parsed.state.pid] : [];
}

function withMessage(spool: string, file: MailFile): MailFile {
  const { folder, name, kind } = file;
  if (kind !== 'file') return file;
  const parsed = parseName(name);
  const isEntry = parsed.kind === 'entry' && (folder === 'spool' || folder === 'Undelivered');
  const isSubmission = folder === 'unsplit' && parseTaking(name) === undefined;
  if (!isEntry && !isSubmission) return file;
  const base = isEntry ? parsed.base : name;
  try {
    const message = new StoredMessage(join(spool, folder, name), base);
    try {
      if (isEntry) message.recipientOf(base);
      else if (parseBase(`${name}:x`) === undefined || message.recipients.length === 0) {
        return { ...file, unreadable: 'it is no submission of several recipients' };
      }
    } finally {
      message.close();
    }
  } catch (error) {
    if (error instanceof BadBlock) return { ...file, unreadable: error.message };
    // It has moved on, or its mode is what is wrong with it.
    if (hasCode(error, 'ENOENT', 'EACCES', 'EPERM')) return file;
    if (hasCode(error, 'EIO')) return { ...file, unreadable: 'reading it fails: EIO' };
    throw error;
  }
  return file;
}

function statusOf(path: string): Status | undefined {
  let found: fs.Stats | undefined;
  try {
    found = fs.lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    // The folder's own mode or kind is what is wrong.
    if (hasCode(error, 'EACCES', 'ENOTDIR')) return undefined;
    throw error;
  }
  if (found === undefined) return undefined;
  return {
    kind: kindOf(found),
    mode: found.mode & 0o7777,
    uid: found.uid,
    links: found.nlink,
    file: `${found.dev}:${found.ino}`,
    size: found.size,
    changed: found.mtimeMs,
  };
}

/** What stat(2) says of the kind of an object. */
export function kindOf(status: fs.Stats): FileKind {
  if (status.isFile()) return 'file';
  if (status.isDirectory()) return 'folder';
  if (status.isSymbolicLink()) return 'link';
  if (status.isFIFO()) return 'fifo';
  return status.isSocket() ? 'socket' : 'device';
}

function namesIn(folder: string): readonly string[] {
  try {
    return fs.readdirSync(folder).sort();
  } catch (error) {
    // The folder itself is a finding.
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return [];
    throw error;
  }
}

/** The beginning of a file that should be short. */
function textOf(path: string): string | undefined {
  try {
    const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    try {
      const start = Buffer.alloc(100);
      return start.toString('latin1', 0, fs.readSync(fd, start));
    } finally {
      fs.closeSync(fd);
    }
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}
