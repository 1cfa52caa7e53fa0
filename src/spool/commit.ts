/**
 * The road of those who have rights on the spool: the draft lies in tmp/ and is committed by one link,
 * into spool/ for a single recipient, into unsplit/ for several, which are split into entries afterwards.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import type { Envelope, Origin, Recipient } from '../mail/envelope.ts';
import { BadBlock } from './block.ts';
import { closeFile, createFile, eraseFile, hasCode, linkFile, syncFolder } from './disk.ts';
import type { Road } from './draft.ts';
import { formatBase, prefixOf, recipientPart, senderPart, submissionPrefix } from './name.ts';

/** Octets that two files are compared by at a time. */
const PIECE = 64 * 1024;

export class DirectRoad implements Road {
  readonly #folder: string;
  readonly #envelope: Envelope;
  readonly #pid: number;
  #time: number;

  /** The spool's layout must be there. */
  constructor(folder: string, envelope: Envelope, { pid, time }: Pick<Origin, 'pid' | 'time'>) {
    this.#folder = folder;
    this.#envelope = envelope;
    this.#pid = pid;
    this.#time = time;
  }

  open(): { path: string; fd: number } {
    for (;;) {
      const path = join(this.#folder, 'tmp', submissionPrefix(this.#time, this.#pid));
      try {
        return { path, fd: createFile(path) };
      } catch (error) {
        // The same microsecond and pid: another pid name space shares this spool.
        if (!hasCode(error, 'EEXIST')) throw error;
        this.#time++;
      }
    }
  }

  commit(path: string, fd: number): readonly string[] {
    try {
      closeFile(fd);
    } catch (error) {
      eraseFile(path);
      throw error;
    }
    const [first, ...others] = this.#envelope.recipients;
    return others.length === 0 ? [this.#commitOne(path, first)] : this.#commitAll(path);
  }

  /** One recipient: straight into spool/. */
  #commitOne(draft: string, recipient: Recipient): string {
    const { sender } = this.#envelope;
    const pid = this.#pid;
    const waiting = (time: number) =>
      join('unsplit', `${submissionPrefix(time, pid)}:${senderPart(sender)}`);
    return this.#commitAs(
      draft,
      'spool',
      (time) => formatBase({ time, pid, sender, recipient: recipient.address }),
      (time) => [waiting(time)],
    );
  }

  /** Several: one name in unsplit/ stands for all of them, until it is split into entries. */
  #commitAll(draft: string): readonly string[] {
    const pid = this.#pid;
    const sender = senderPart(this.#envelope.sender);
    const nameAt = (time: number) => `${submissionPrefix(time, pid)}:${sender}`;
    const name = this.#commitAs(draft, 'unsplit', nameAt, (time) =>
      entryNames(nameAt(time), this.#envelope).map((base) => join('spool', base)),
    );
    try {
      return splitSubmission(this.#folder, name, this.#envelope);
    } catch {
      // It is accepted: whoever runs the queue finds it in unsplit/ and splits it, or says why not.
      return entryNames(name, this.#envelope);
    }
  }

  /**
   * @param rivals names that another submission of the same microsecond and pid would have: one that
   *   is there would be taken for ours, or ours for its, when a submission is split
   */
  #commitAs(
    draft: string,
    folder: 'spool' | 'unsplit',
    nameAt: (time: number) => string,
    rivals: (time: number) => readonly string[],
  ): string {
    let name: string;
    let target: string;
    try {
      for (;;) {
        name = nameAt(this.#time);
        target = join(this.#folder, folder, name);
        try {
          if (!rivals(this.#time).some((rival) => fs.existsSync(join(this.#folder, rival)))) {
            linkFile(draft, target, `${draft}.copy`);
            break;
          }
        } catch (error) {
          if (!hasCode(error, 'EEXIST')) throw error;
        }
        // The name is taken: never overwrite a mail, take the next microsecond.
        this.#time++;
      }
    } catch (error) {
      eraseFile(draft);
      throw error;
    }
    try {
      // The commit instant: once this returns, the message is queued whatever happens.
      syncFolder(join(this.#folder, folder));
    } catch (error) {
      // Taken back, unless a runner has it by now: then it is on its way and counts as accepted.
      const takenBack = eraseFile(target);
      forget(draft);
      if (takenBack) throw error;
      return name;
    }
    forget(draft);
    return name;
  }
}

/** The message has its name: what is left in tmp/ is swept some day, and no reason to refuse it. */
function forget(draft: string): void {
  try {
    eraseFile(draft);
  } catch {
    // Whoever submits must not hear that a queued message is not queued.
  }
}

/**
 * Gives a submission of several recipients one entry each: hard links to its file. Repeatable: no
 * entry of it may be claimed while the name in unsplit/ is there, so a second run finds the links
 * of the first. Done by the submitting process, or by the next runner where that one died.
 * @returns the entries' base names
 * @throws BadBlock where something else has the name of an entry, and the system calls' errors
 */
export function splitSubmission(
  folder: string,
  name: string,
  envelope: Envelope,
): readonly string[] {
  const source = join(folder, 'unsplit', name);
  const bases = entryNames(name, envelope);
  for (const base of bases) {
    try {
      linkFile(
        source,
        join(folder, 'spool', base),
        join(folder, 'tmp', `${base.slice(0, 200)}.copy`),
      );
    } catch (error) {
      // Another process has finished the split, and these entries may be relayed already.
      if (hasCode(error, 'ENOENT')) return bases;
      // Linked by an earlier run, or twice the same recipient.
      if (!hasCode(error, 'EEXIST')) throw error;
      if (!isSame(source, join(folder, 'spool', base))) {
        throw new BadBlock('another message has the name of one of its entries');
      }
    }
  }
  syncFolder(join(folder, 'spool'));
  eraseFile(source);
  // Otherwise a power cut could bring the name back after entries were relayed and erased.
  syncFolder(join(folder, 'unsplit'));
  return bases;
}

/** Whether two names are one file, or a file and its copy, octet by octet. */
function isSame(one: string, other: string): boolean {
  const [a, b] = [one, other].map((path) => fs.lstatSync(path, { throwIfNoEntry: false }));
  // One that is gone has been split, and perhaps relayed, by somebody else.
  if (a === undefined || b === undefined) return true;
  if (a.ino === b.ino && a.dev === b.dev) return true;
  return a.isFile() && b.isFile() && a.size === b.size && haveSameOctets(one, other);
}

function haveSameOctets(one: string, other: string): boolean {
  const { O_RDONLY, O_NOFOLLOW } = fs.constants;
  const fds: number[] = [];
  try {
    for (const path of [one, other]) fds.push(fs.openSync(path, O_RDONLY | O_NOFOLLOW));
    const [left, right] = [Buffer.allocUnsafe(PIECE), Buffer.allocUnsafe(PIECE)];
    for (;;) {
      const [a = 0, b = 0] = fds.map((fd, n) =>
        fs.readSync(fd, n === 0 ? left : right, 0, PIECE, null),
      );
      if (a !== b || left.compare(right, 0, b, 0, a) !== 0) return false;
      if (a === 0) return true;
    }
  } finally {
    for (const fd of fds) fs.closeSync(fd);
  }
}

/** The base names of a submission's entries, by its name in unsplit/. */
export function entryNames(name: string, envelope: Envelope): readonly string[] {
  const start = `${prefixOf(name)}:${senderPart(envelope.sender)}`;
  return envelope.recipients.map(({ address }) => `${start}:${recipientPart(address)}`);
}
