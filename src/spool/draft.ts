/**
 * A message on its way into the spool: written to tmp/, synced, and committed for all recipients at
 * one instant. A crash before that instant leaves nothing but a file in tmp/, which is swept when old.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import type { Envelope, Origin, Recipient } from '../mail/envelope.ts';
import { OverLimit } from '../mail/limits.ts';
import { BLOCK_LIMIT, COMPLETED_OFFSET, formatBlock, formatCompleted } from './block.ts';
import {
  closeFile,
  createFile,
  eraseFile,
  hasCode,
  linkFile,
  syncFile,
  syncFolder,
  writeAll,
} from './disk.ts';
import { formatBase, prefixOf, recipientPart, senderPart, submissionPrefix } from './name.ts';

/** Bytes gathered before a write: a small message costs one write call. */
const BUFFER_SIZE = 64 * 1024;

export class Draft {
  readonly #folder: string;
  readonly #envelope: Envelope;
  readonly #origin: Origin;
  readonly #path: string;
  readonly #fd: number;
  readonly #buffer = Buffer.allocUnsafe(BUFFER_SIZE);
  #time: number;
  #filled = 0;
  #flushed = false;
  #size = 0;
  #block: Buffer;
  /** Where the message begins in the file. */
  readonly #offset: number;

  /**
   * Opens a file in tmp/. The spool's layout must be there.
   * @param repaired whether `commit` will name repairs
   * @throws OverLimit for more recipients than a block holds, or the system call's error
   */
  constructor(folder: string, envelope: Envelope, origin: Origin, repaired = false) {
    this.#block = Buffer.from(formatBlock(envelope, origin, repaired));
    this.#offset = this.#block.length;
    // What could not be read back must not be taken.
    if (this.#offset > BLOCK_LIMIT) {
      throw new OverLimit('recipients', 'the recipients are too many for one submission');
    }
    this.#folder = folder;
    this.#envelope = envelope;
    this.#origin = origin;
    this.#time = origin.time;
    for (;;) {
      const path = join(folder, 'tmp', submissionPrefix(this.#time, origin.pid));
      try {
        this.#fd = createFile(path);
        this.#path = path;
        break;
      } catch (error) {
        // The same microsecond and pid: another pid name space shares this spool.
        if (!hasCode(error, 'EEXIST')) throw error;
        this.#time++;
      }
    }
  }

  /** Octets of the message so far. */
  get size(): number {
    return this.#size;
  }

  /** Adds bytes of the message, in wire form. The caller may use the chunk again afterwards. */
  write(chunk: Uint8Array): void {
    if (this.#block.length > 0) {
      const block = this.#block;
      this.#block = Buffer.alloc(0);
      this.#append(block);
    }
    this.#append(chunk);
    this.#size += chunk.length;
  }

  /**
   * The message as it was written. Each piece is valid until the next one is asked for, or until more
   * is written.
   * @throws the system call's error
   */
  *pieces(): Generator<Uint8Array, void, undefined> {
    if (!this.#flushed) {
      yield this.#buffer.subarray(this.#offset, this.#filled);
      return;
    }
    this.#flush();
    const piece = Buffer.allocUnsafe(BUFFER_SIZE);
    for (let at = this.#offset; ; ) {
      const read = fs.readSync(this.#fd, piece, 0, BUFFER_SIZE, at);
      if (read === 0) return;
      yield piece.subarray(0, read);
      at += read;
    }
  }

  /**
   * Makes the message durable and queues it for all recipients, or throws and queues it for none.
   * @param repairs what was repaired, for a draft that was opened for that
   * @returns the entries' base names
   * @throws the system call's error; then nothing is queued
   */
  commit(eightBit: boolean, repairs?: readonly string[]): readonly string[] {
    try {
      this.write(Buffer.alloc(0));
      this.#complete(eightBit, repairs);
      syncFile(this.#fd);
      closeFile(this.#fd);
    } catch (error) {
      this.abort();
      throw error;
    }
    const [first, ...others] = this.#envelope.recipients;
    return others.length === 0 ? [this.#commitOne(first)] : this.#commitAll();
  }

  /** Gives the draft up; nothing is queued. */
  abort(): void {
    try {
      closeFile(this.#fd);
    } catch (error) {
      // commit() may have closed it already; the file has to go all the same.
      if (!hasCode(error, 'EBADF')) throw error;
    } finally {
      eraseFile(this.#path);
    }
  }

  #append(bytes: Uint8Array): void {
    if (this.#filled + bytes.length > BUFFER_SIZE) this.#flush();
    if (bytes.length > BUFFER_SIZE) {
      writeAll(this.#fd, bytes);
      this.#flushed = true;
    } else {
      this.#buffer.set(bytes, this.#filled);
      this.#filled += bytes.length;
    }
  }

  #flush(): void {
    if (this.#filled === 0) return;
    writeAll(this.#fd, this.#buffer.subarray(0, this.#filled));
    this.#filled = 0;
    this.#flushed = true;
  }

  #complete(eightBit: boolean, repairs: readonly string[] | undefined): void {
    const body = eightBit ? '8BITMIME' : '7BIT';
    const text = Buffer.from(
      formatCompleted({
        size: this.#size,
        body,
        ...(repairs === undefined ? {} : { repairs }),
      }),
    );
    if (this.#flushed) {
      this.#flush();
      writeAll(this.#fd, text, COMPLETED_OFFSET);
    } else {
      // Everything is still in the buffer: one write serves.
      this.#buffer.set(text, COMPLETED_OFFSET);
      this.#flush();
    }
  }

  /** One recipient: straight into spool/. */
  #commitOne(recipient: Recipient): string {
    const { sender } = this.#envelope;
    const { pid } = this.#origin;
    const waiting = (time: number) =>
      join('incoming', `${submissionPrefix(time, pid)}:${senderPart(sender)}`);
    return this.#commitAs(
      'spool',
      (time) => formatBase({ time, pid, sender, recipient: recipient.address }),
      (time) => [waiting(time)],
    );
  }

  /** Several: one name in incoming/ stands for all of them, until it is split into entries. */
  #commitAll(): readonly string[] {
    const { pid } = this.#origin;
    const sender = senderPart(this.#envelope.sender);
    const nameAt = (time: number) => `${submissionPrefix(time, pid)}:${sender}`;
    const name = this.#commitAs('incoming', nameAt, (time) =>
      entryNames(nameAt(time), this.#envelope).map((base) => join('spool', base)),
    );
    try {
      return splitSubmission(this.#folder, name, this.#envelope);
    } catch {
      // It is accepted: whoever runs the queue finds it in incoming/ and splits it, or says why not.
      return entryNames(name, this.#envelope);
    }
  }

  /**
   * @param rivals names that another submission of the same microsecond and pid would have: one that
   *   is there would be taken for ours, or ours for its, when a submission is split
   */
  #commitAs(
    folder: 'spool' | 'incoming',
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
            linkFile(this.#path, target, `${this.#path}.copy`);
            break;
          }
        } catch (error) {
          if (!hasCode(error, 'EEXIST')) throw error;
        }
        // The name is taken: never overwrite a mail, take the next microsecond.
        this.#time++;
      }
    } catch (error) {
      eraseFile(this.#path);
      throw error;
    }
    try {
      // The commit instant: once this returns, the message is queued whatever happens.
      syncFolder(join(this.#folder, folder));
    } catch (error) {
      // Taken back, unless a runner has it by now: then it is on its way and counts as accepted.
      const takenBack = eraseFile(target);
      this.#forget();
      if (takenBack) throw error;
      return name;
    }
    this.#forget();
    return name;
  }

  /** The message has its name: what is left in tmp/ is swept some day, and no reason to refuse it. */
  #forget(): void {
    try {
      eraseFile(this.#path);
    } catch {
      // Whoever submits must not hear that a queued message is not queued.
    }
  }
}

/**
 * Gives a submission of several recipients one entry each: hard links to its file. Repeatable: no
 * entry of it may be claimed while the name in incoming/ is there, so a second run finds the links
 * of the first. Done by the submitting process, or by the next runner where that one died.
 * @returns the entries' base names
 */
export function splitSubmission(
  folder: string,
  name: string,
  envelope: Envelope,
): readonly string[] {
  const source = join(folder, 'incoming', name);
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
    }
  }
  syncFolder(join(folder, 'spool'));
  eraseFile(source);
  // Otherwise a power cut could bring the name back after entries were relayed and erased.
  syncFolder(join(folder, 'incoming'));
  return bases;
}

function entryNames(name: string, envelope: Envelope): readonly string[] {
  const start = `${prefixOf(name)}:${senderPart(envelope.sender)}`;
  return envelope.recipients.map(({ address }) => `${start}:${recipientPart(address)}`);
}
