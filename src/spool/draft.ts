/**
 * A message on its way into the spool: written to a file that nobody looks at, synced, and committed for
 * all recipients at one instant by the road that it takes. A crash before that instant leaves nothing but
 * that file, which is swept when old.
 */
import fs from 'node:fs';
import type { Envelope, Origin } from '../mail/envelope.ts';
import { OverLimit } from '../mail/limits.ts';
import { BLOCK_LIMIT, COMPLETED_OFFSET, formatBlock, formatCompleted } from './block.ts';
import { closeFile, eraseFile, hasCode, syncFile, writeAll } from './disk.ts';

/** Bytes gathered before a write: a small message costs one write call. */
const BUFFER_SIZE = 64 * 1024;

/** Where a draft is written, and what queues it. */
export interface Road {
  /**
   * A new file, open for writing and reading.
   * @throws the system call's error
   */
  readonly open: () => { readonly path: string; readonly fd: number };
  /**
   * Queues the file, which is complete and synced, for all recipients, or throws and queues it for none.
   * Closes the descriptor; afterwards the path is gone.
   * @returns the entries' base names; none where somebody else makes the entries
   */
  readonly commit: (path: string, fd: number) => readonly string[];
}

export class Draft {
  readonly #road: Road;
  readonly #path: string;
  readonly #fd: number;
  readonly #buffer = Buffer.allocUnsafe(BUFFER_SIZE);
  #filled = 0;
  #flushed = false;
  #size = 0;
  #block: Buffer;
  /** Where the message begins in the file. */
  readonly #offset: number;

  /**
   * Opens a file.
   * @param repaired whether `commit` will name repairs
   * @throws OverLimit for more recipients than a block holds, or the system call's error
   */
  constructor(road: Road, envelope: Envelope, origin: Origin, repaired = false) {
    this.#block = Buffer.from(formatBlock(envelope, origin, repaired));
    this.#offset = this.#block.length;
    // What could not be read back must not be taken.
    if (this.#offset > BLOCK_LIMIT) {
      throw new OverLimit('recipients', 'the recipients are too many for one submission');
    }
    this.#road = road;
    const { path, fd } = road.open();
    this.#path = path;
    this.#fd = fd;
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
    } catch (error) {
      this.abort();
      throw error;
    }
    return this.#road.commit(this.#path, this.#fd);
  }

  /** Gives the draft up; nothing is queued. */
  abort(): void {
    try {
      closeFile(this.#fd);
    } catch (error) {
      // It is closed already; the file has to go all the same.
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
}
