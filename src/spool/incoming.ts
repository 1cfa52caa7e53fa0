/**
 * The road of those who have no rights on the spool: incoming/ is a folder in which everybody may make
 * files and nobody but the queue's user may list them. The caller writes a file of its own there, and
 * whoever runs the queue takes it over (takeover.ts). Nothing is set-id, and no daemon takes part.
 *
 * A file is written under a name with a leading dot, which is left alone, and gets its name when it is
 * complete. Names hold 128 random bits, so that nobody finds or links another user's file.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import type { Envelope, Origin } from '../mail/envelope.ts';
import {
  closeFile,
  createFile,
  eraseFile,
  hasCode,
  moveFile,
  setDescriptorMode,
  syncFile,
} from './disk.ts';
import type { Road } from './draft.ts';
import { submissionPrefix } from './name.ts';

/** The most that is taken over of one submission; its sender hears of it before. */
export const MOST_OCTETS = 1024 * 1024 * 1024;
export const MOST_RECIPIENTS = 10_000;

/** On a folder: what is made in it gets the folder's group. */
const SET_GROUP = 0o2000;

export class IncomingRoad implements Road {
  readonly #folder: string;
  readonly #recipients: number;
  readonly #name: string;

  /** @param token random, of letters and digits */
  constructor(folder: string, envelope: Envelope, { pid, time }: Origin, token: string) {
    this.#folder = folder;
    this.#recipients = envelope.recipients.length;
    this.#name = `${submissionPrefix(time, pid)}:${token}`;
  }

  open(): { path: string; fd: number } {
    if (this.#recipients > MOST_RECIPIENTS) {
      throw tooMuch(`${this.#recipients} recipients are more than ${MOST_RECIPIENTS}`);
    }
    const path = hiddenPath(this.#folder, this.#name);
    const mode = modeIn(this.#folder);
    const fd = openHidden(this.#folder, path);
    try {
      setDescriptorMode(fd, mode);
    } catch (error) {
      closeFile(fd);
      eraseFile(path);
      throw error;
    }
    return { path, fd };
  }

  commit(path: string, fd: number): readonly string[] {
    const target = join(this.#folder, 'incoming', this.#name);
    try {
      const { size } = fs.fstatSync(fd);
      if (size > MOST_OCTETS) throw tooMuch(`${size} octets are more than ${MOST_OCTETS}`);
      if (!moveFile(path, target)) {
        // Nobody erases it but a sweep that finds it days old.
        throw Object.assign(new Error(`ENOENT: ${path} has gone`), { code: 'ENOENT' });
      }
    } catch (error) {
      closeFile(fd);
      eraseFile(path);
      throw error;
    }
    try {
      // The commit instant. Who may not list a folder cannot open it to sync it: the file is synced once
      // more, which takes its new name along (decision 11).
      syncFile(fd);
    } catch (error) {
      // Taken back, unless it is taken over by now: then it is on its way and counts as accepted.
      if (eraseFile(target)) {
        closeFile(fd);
        throw error;
      }
    }
    try {
      closeFile(fd);
    } catch {
      // It is on the disk: whoever submits must not hear that it is not queued.
    }
    return [];
  }
}

/** A path for bytes that have to wait in a file of a caller without rights. */
export function hiddenPath(folder: string, name: string): string {
  return join(folder, 'incoming', `.${name}`);
}

function openHidden(folder: string, path: string): number {
  try {
    return createFile(path, 0o600);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) {
      const message = `ENOENT: ${folder} is not set up yet; the next run of picorelay-cron does it`;
      throw Object.assign(new Error(message, { cause: error }), {
        code: 'ENOENT',
        syscall: 'open',
      });
    }
    if (!hasCode(error, 'EACCES')) throw error;
    const mend = `chmod 711 ${folder} && chmod 1733 ${join(folder, 'incoming')}`;
    const message = `EACCES: the spool takes no mail from this user; its owner lets all in by: ${mend}`;
    throw Object.assign(new Error(message, { cause: error }), { code: 'EACCES', syscall: 'open' });
  }
}

/**
 * Who runs the queue has to be able to read the file, and as few others as can be: root reads all; a folder
 * that hands its group on lets the group read; else everybody may, who would have to guess the name.
 */
function modeIn(folder: string): number {
  let status: fs.Stats;
  try {
    status = fs.statSync(join(folder, 'incoming'));
  } catch (error) {
    // Making the file says what is wrong.
    if (hasCode(error, 'EACCES', 'ENOENT')) return 0o600;
    throw error;
  }
  if ((status.mode & SET_GROUP) !== 0) return 0o640;
  return status.uid === 0 ? 0o600 : 0o644;
}

function tooMuch(reason: string): Error {
  return Object.assign(new Error(`EFBIG: ${reason}`), { code: 'EFBIG', syscall: 'write' });
}
