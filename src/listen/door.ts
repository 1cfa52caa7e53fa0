/**
 * Submission over a unix socket, for programs that cannot reach the spool: sandboxed services and
 * containers. A client sends qmail-queue's envelope (`F` sender NUL, `T` recipient NUL repeated, NUL),
 * then the message, and closes its sending half. The answer is one letter and a text: `K` queued,
 * `Z` try again later, `D` refused; as in QMQP. Whoever can connect can submit.
 *
 * Hostile input: everything that a client sends, how slowly, and when it goes away. Nothing of it is
 * executed, and a message is queued only when its end has come.
 */
import { once } from 'node:events';
import fs from 'node:fs';
import net, { type Server, type Socket } from 'node:net';
import type { Envelope } from '../mail/envelope.ts';
import { OverLimit } from '../mail/limits.ts';
import { EnvelopeError, parseEnvelope } from '../mail/qmail-envelope.ts';
import { escapeText } from '../mail/text.ts';
import { eraseFile, moveFile } from '../spool/disk.ts';

/** What the door leads to. */
export interface House {
  /** Whether somebody may come in with a message of yet unknown size. */
  readonly begin: () => Reception;
}

/** One message on its way in. */
export interface Reception {
  /** Keeps these octets of the message. */
  readonly write: (chunk: Uint8Array) => void;
  /**
   * The end of the message: it is queued for all recipients, or on an error for none.
   * @returns the base names of the new entries
   */
  readonly commit: (envelope: Envelope) => readonly string[];
  /** Forgets what was kept; called at the end in any case. */
  readonly end: () => void;
}

export interface Door {
  close(): Promise<void>;
}

/** The most octets of an envelope, the most clients at a time, and how long each may take. */
const ENVELOPE_LIMIT = 1024 * 1024;
const CLIENTS = 100;
const IDLE = 60_000;
const LIFETIME = 15 * 60_000;

/** Ends an envelope: the NUL of its last field, and an empty field. */
const END = Buffer.from([0, 0]);

/**
 * Opens the door.
 * @param where the path of a socket that may be made, or a descriptor that listens already
 * @param complain gets what went wrong with a client for no fault of its own, one line
 * @throws Error when the socket cannot be had
 */
export async function openDoor(
  where: { readonly path: string } | { readonly fd: number },
  house: House,
  complain: (reason: string) => void,
): Promise<Door> {
  const clients = new Set<Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    clients.add(socket);
    socket.on('close', () => clients.delete(socket));
    receive(socket, house, complain);
  });
  server.maxConnections = CLIENTS;
  const place = await listen(server, where);
  server.on('error', (error) => complain(error.message));
  return {
    close: async () => {
      place?.leave();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // Their messages have not ended, so nothing was promised.
      for (const socket of clients) socket.destroy();
      await closed;
    },
  };
}

/**
 * A socket of its own is made beside its place and moved there, over what a service that was killed has
 * left. One that lives and loses its place this way would submit to the same spool.
 */
async function listen(
  server: Server,
  where: { readonly path: string } | { readonly fd: number },
): Promise<{ leave: () => void } | undefined> {
  const own = 'path' in where ? `${where.path}.${process.pid}` : undefined;
  // Everybody may connect: the folder that holds the socket says who reaches it.
  server.listen('fd' in where ? where : { path: own, readableAll: true, writableAll: true });
  await once(server, 'listening');
  if (own === undefined || !('path' in where)) return undefined;
  const { path } = where;
  const { ino } = fs.lstatSync(own);
  moveFile(own, path);
  return {
    leave: () => {
      if (fs.lstatSync(path, { throwIfNoEntry: false })?.ino === ino) eraseFile(path);
    },
  };
}

function receive(socket: Socket, house: House, complain: (reason: string) => void): void {
  /** The envelope, while its end has not come. */
  let head: { readonly pieces: Buffer[]; size: number } | undefined = { pieces: [], size: 0 };
  let envelope: Envelope | undefined;
  let reception: Reception | undefined;
  let answered = false;

  const answer = (letter: 'K' | 'Z' | 'D', text: string): void => {
    if (answered) return;
    answered = true;
    clearTimeout(timer);
    reception?.end();
    reception = undefined;
    // What still comes is read and forgotten, or the client would never see the answer.
    socket.end(`${letter}${escapeText(text)}`);
    socket.resume();
  };
  const timer = setTimeout(() => {
    answer('Z', 'it took too long');
    socket.destroySoon();
  }, LIFETIME);
  const guard = (action: () => void): void => {
    try {
      action();
    } catch (error) {
      if (error instanceof EnvelopeError) {
        answer('D', `bad envelope: ${error.message}`);
        return;
      }
      if (error instanceof OverLimit) {
        answer(error.passes ? 'Z' : 'D', error.message);
        return;
      }
      const reason = error instanceof Error ? error.message : String(error);
      complain(`a submission over the socket failed: ${reason}`);
      answer('Z', reason);
    }
  };

  socket.setTimeout(IDLE, () => {
    answer('Z', 'nothing came for too long');
    socket.destroySoon();
  });
  socket.on('error', () => socket.destroy());
  socket.on('close', () => {
    answered = true;
    clearTimeout(timer);
    reception?.end();
  });
  socket.on('data', (chunk: Buffer) => {
    if (answered) return;
    guard(() => {
      let rest = chunk;
      if (head !== undefined) {
        const end = endOfEnvelope(head.pieces.at(-1), chunk);
        head.pieces.push(end === -1 ? chunk : chunk.subarray(0, end));
        head.size += chunk.length;
        if (end === -1) {
          if (head.size > ENVELOPE_LIMIT) answer('D', 'bad envelope: it is too long');
          return;
        }
        envelope = parseEnvelope(head.pieces);
        rest = chunk.subarray(end);
        head = undefined;
        reception = house.begin();
      }
      if (rest.length > 0) reception?.write(rest);
    });
  });
  socket.on('end', () => {
    if (answered) return;
    // A client that was killed ends its message like one that is done. Linux tells them apart by a write
    // of nothing: it fails where nobody reads the answer any more.
    socket.write('', (error) => {
      if (error != null) socket.destroy();
      else if (!answered) guard(commit);
    });
  });

  const commit = (): void => {
    if (envelope === undefined || reception === undefined) {
      answer('D', 'bad envelope: it ends before its last NUL');
      return;
    }
    const bases = reception.commit(envelope);
    answer('K', `queued ${bases.length === 1 ? bases[0] : `for ${bases.length} recipients`}`);
  };
}

/** Where the envelope ends in this chunk, or -1; it may have begun to end in the chunk before. */
function endOfEnvelope(before: Buffer | undefined, chunk: Buffer): number {
  if (before?.at(-1) === 0 && chunk[0] === 0) return 1;
  const at = chunk.indexOf(END);
  return at === -1 ? -1 : at + END.length;
}
