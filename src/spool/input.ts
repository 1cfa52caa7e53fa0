/** Reading a submission from a descriptor: standard input, or what qmail-queue is given. */
import fs from 'node:fs';
import { hasCode } from './disk.ts';

const PIECE = 64 * 1024;

/** Milliseconds between two looks at a descriptor that has nothing yet. */
const PAUSE = 5;

/**
 * The bytes of a descriptor to its end. Each piece is valid until the next one is asked for.
 * @throws the system call's error
 */
export function* readPieces(fd: number): Generator<Uint8Array, void, undefined> {
  const buffer = Buffer.allocUnsafe(PIECE);
  for (;;) {
    const read = readSome(fd, buffer);
    if (read === 0) return;
    yield buffer.subarray(0, read);
  }
}

function readSome(fd: number, buffer: Uint8Array): number {
  for (;;) {
    try {
      return fs.readSync(fd, buffer, 0, buffer.length, null);
    } catch (error) {
      if (hasCode(error, 'EOF')) return 0;
      // The caller made its end non-blocking, as programs do that feed several pipes.
      if (!hasCode(error, 'EAGAIN')) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE);
    }
  }
}
