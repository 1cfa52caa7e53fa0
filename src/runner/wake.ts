/**
 * How a submission reaches a runner without starting a process each time: a FIFO in the spool, qmail's
 * way. The submission commits first, then writes a byte without blocking. Where a runner reads, it
 * wakes; where nobody does (ENXIO), one is started.
 *
 * The runner opens the FIFO before it lists and closes it before its last listing, so that one of the
 * two always sees the other.
 *
 * A runner takes some fifty milliseconds to begin to read, in which a loop of submissions would start one
 * each. So who starts a runner leaves a note in run/ that one is on its way, and the runner takes the note
 * away before it looks at the queue. Who finds the note has committed before: that mail will be seen.
 */
import fs from 'node:fs';
import type { OnReadOpts, SocketConstructorOpts } from 'node:net';
import { join } from 'node:path';
import {
  closeFile,
  createFile,
  eraseFile,
  hasCode,
  pokeFifo,
  setDescriptorMode,
  touchFile,
} from '../spool/disk.ts';

const NAME = 'wake';
/** Everybody who may submit may wake the runner, and nobody else may read. */
const MODE = 0o622;

/** What a FIFO holds on Linux, in octets. */
const CAPACITY = 65_536;

/** Wakes the runner that lives on this spool; false when none does. */
export function wakeRunner(folder: string): boolean {
  return pokeFifo(join(folder, NAME));
}

/** Where the note lies; a runner that died on its way never takes it away. */
const ON_ITS_WAY = join('run', 'starting');
const LONGEST_WAY = 5000;

/** Whether the caller may run the queue, which a member of the spool's group may not. */
export function mayRun(folder: string): boolean {
  try {
    fs.accessSync(join(folder, 'run'), fs.constants.W_OK);
    return true;
  } catch (error) {
    return !hasCode(error, 'EACCES');
  }
}

/**
 * Notes that a runner is on its way; false when one is already, and nobody else has to start one.
 * @param now milliseconds since 1970-01-01 UTC
 */
export function announceRunner(folder: string, now: number): boolean {
  const path = join(folder, ON_ITS_WAY);
  try {
    closeFile(createFile(path));
    return true;
  } catch (error) {
    // A member of the spool's group submits; the queue is run by its owner.
    if (hasCode(error, 'EACCES')) return false;
    // Without a note each submission starts a runner, which finds the lock taken: slower, not wrong.
    if (!hasCode(error, 'EEXIST')) return true;
  }
  try {
    const age = now - fs.statSync(path).mtimeMs;
    if (age >= 0 && age < LONGEST_WAY) return false;
    touchFile(path, now);
  } catch {
    // It was taken away just now, or is not ours to renew: one runner too many does no harm.
  }
  return true;
}

/** Takes the note away; what is committed from here on starts a runner of its own, or wakes this one. */
export function withdrawNote(folder: string): void {
  eraseFile(join(folder, ON_ITS_WAY));
}

export interface WakeListener {
  /** Whether a wake-up came that nobody has waited for yet. */
  readonly pending: boolean;
  /** Waits for a wake-up; false when none came within the time or before the stop. */
  wait(milliseconds: number, stop: AbortSignal): Promise<boolean>;
  close(): Promise<void>;
}

/** Begins to listen; the FIFO is made when missing. Undefined where it cannot be made. */
export async function listenForWake(folder: string): Promise<WakeListener | undefined> {
  const path = join(folder, NAME);
  // Loaded here: a submission only writes.
  const { Socket } = await import('node:net');
  let fd: number;
  try {
    if (!fs.existsSync(path)) await makeFifo(path);
    // Opened for writing too, so that it never ends when the last writer goes.
    fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK | fs.constants.O_NOFOLLOW);
  } catch {
    // Without a FIFO each submission starts a runner, which finds the lock taken: slower, not wrong.
    return undefined;
  }
  const status = fs.fstatSync(fd);
  if (!status.isFIFO()) {
    fs.closeSync(fd);
    return undefined;
  }
  if ((status.mode & 0o777) !== MODE && status.uid === process.geteuid?.()) {
    setDescriptorMode(fd, MODE);
  }
  let woken = false;
  let notify: (() => void) | undefined;
  const { listen, close } = (bun === undefined ? readBySocket : readByBun)(fd, (heard) => {
    woken ||= heard;
    notify?.();
  });
  listen();
  return {
    get pending() {
      return woken;
    },
    wait: async (milliseconds, stop) => {
      if (!woken && milliseconds > 0 && !stop.aborted) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, milliseconds);
          notify = () => {
            clearTimeout(timer);
            resolve();
          };
          stop.addEventListener('abort', notify, { once: true });
          listen();
        });
        if (notify !== undefined) stop.removeEventListener('abort', notify);
        notify = undefined;
      }
      const was = woken;
      woken = false;
      // Who works may ask whether there is more.
      listen();
      return was;
    },
    close,
  };

  function readBySocket(descriptor: number, then: (heard: boolean) => void): FifoReader {
    // The types know onread only where a socket connects.
    const options: SocketConstructorOpts & { readonly onread: OnReadOpts } = {
      fd: descriptor,
      readable: true,
      writable: false,
      // All that is in the FIFO at once. A stream that is paused goes on reading, and would give each byte
      // out by itself: a wake-up for each of a thousand submissions that one look at the queue has seen.
      onread: {
        buffer: Buffer.alloc(CAPACITY),
        callback: () => {
          then(true);
          return false;
        },
      },
    };
    const fifo = new Socket(options);
    fifo.on('error', () => then(false));
    return {
      listen: () => fifo.resume(),
      close: async () => {
        // After an error it has closed itself.
        if (fifo.closed) return;
        await new Promise<void>((resolve) => {
          fifo.once('close', () => resolve());
          fifo.destroy();
        });
      },
    };
  }
}

/** Everybody may write into the FIFO, without end: it is read only while somebody waits for it. */
interface FifoReader {
  readonly listen: () => void;
  readonly close: () => Promise<void>;
}

/** What of bun is used here, whose sockets take no descriptor. */
interface Bun {
  file(descriptor: number): { stream(): ReadableStream<Uint8Array> };
}

const bun = (globalThis as { readonly Bun?: Bun }).Bun;

function readByBun(descriptor: number, then: (heard: boolean) => void): FifoReader {
  const reader = bun?.file(descriptor).stream().getReader();
  let reading = false;
  let closed = false;
  return {
    listen: () => {
      if (reading) return;
      reading = true;
      reader?.read().then(
        ({ done }) => {
          reading = false;
          if (!done) then(true);
        },
        () => then(false),
      );
    },
    close: async () => {
      if (closed) return;
      closed = true;
      await reader?.cancel();
      fs.closeSync(descriptor);
    },
  };
}

/** Node cannot make a FIFO. */
async function makeFifo(path: string): Promise<void> {
  const { execFile } = await import('node:child_process');
  await new Promise<void>((resolve, reject) => {
    execFile('mkfifo', ['-m', MODE.toString(8), path], (error) => {
      if (error === null || hasCode(error, 'EEXIST') || fs.existsSync(path)) resolve();
      else reject(error);
    });
  });
}
