/**
 * Bytes that have to wait for something that comes after them, as qmail-queue's message waits for its
 * envelope. Small ones stay in memory, large ones go to a file in tmp/ that is erased again.
 */
import fs from 'node:fs';
import { type Limits, tooBig } from '../mail/limits.ts';
import { closeFile, createFile, eraseFile, writeAll } from './disk.ts';
import { readPieces } from './input.ts';

const MEMORY_LIMIT = 1024 * 1024;

export class Scratch {
  readonly #path: string;
  readonly #limits: Limits;
  #kept: Buffer[] = [];
  #size = 0;
  #fd: number | undefined;

  /** @param path a free name on the spool's file system, used only for a large message */
  constructor(path: string, limits: Limits) {
    this.#path = path;
    this.#limits = limits;
  }

  /**
   * Adds a copy of these bytes.
   * @throws OverLimit for more than a message may have, and the system calls' errors
   */
  write(chunk: Uint8Array): void {
    if (this.#size + chunk.length > this.#limits.size) throw tooBig(this.#limits);
    if (this.#fd === undefined && this.#size + chunk.length > MEMORY_LIMIT) {
      this.#fd = createFile(this.#path);
      for (const kept of this.#kept) writeAll(this.#fd, kept);
      this.#kept = [];
    }
    if (this.#fd === undefined) this.#kept.push(Buffer.from(chunk));
    else writeAll(this.#fd, chunk);
    this.#size += chunk.length;
  }

  /** All bytes, from the first. */
  *pieces(): Generator<Uint8Array, void, undefined> {
    if (this.#fd === undefined) {
      yield* this.#kept;
      return;
    }
    const fd = fs.openSync(this.#path, 'r');
    try {
      yield* readPieces(fd);
    } finally {
      closeFile(fd);
    }
  }

  /** Forgets the bytes. Never throws: by now the message may be queued, and tmp/ is swept. */
  erase(): void {
    const fd = this.#fd;
    if (fd === undefined) return;
    this.#fd = undefined;
    for (const step of [() => closeFile(fd), () => eraseFile(this.#path)]) {
      try {
        step();
      } catch {
        // Who submits must not hear that a queued message is not queued.
      }
    }
  }
}
