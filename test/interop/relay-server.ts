// What the three mail servers have in common as relays: a folder inside their root, certificates, one
// mailbox folder (Maildir) per known recipient, and one user who may relay after AUTH over TLS.
import {
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { must, type Running, start, waitFor } from '../support/process.ts';
import { requireRoot } from './require.ts';

/** A real mail server that listens on the loopback and keeps what it gets in readable files. */
export interface RelayServer {
  /** Port for SMTP, with STARTTLS where `access` is there. */
  readonly port: number;
  /** Port for SMTP inside TLS from the first byte, where the server was given one. */
  readonly smtpsPort: number | undefined;
  /** What a client needs where TLS and AUTH are demanded; `undefined` where neither is offered. */
  readonly access: Access | undefined;
  /** Whole messages in the recipient's mailbox, as stored (LF line ends, trace fields on top). */
  received(recipient: string): string[];
  /** Waits until the server has nothing left in its own queue. */
  drained(): Promise<void>;
  /** What the server logged, for a failing test to show. */
  log(): string;
  stop(): Promise<void>;
}

/** The keys to a server that takes mail only after AUTH, and offers AUTH only inside TLS. */
export interface Access {
  /** The authority that signed the server's certificate (for localhost and 127.0.0.1). */
  readonly caFile: string;
  /** An authority that has signed nothing. */
  readonly strangerCaFile: string;
  readonly user: string;
  readonly password: string;
}

/** The addresses that the servers take mail for; every other one of the domain is refused with 550. */
export const recipients = ['alice', 'bob', 'carol', 'dave', 'erin'].map(
  (name) => `${name}@relayed.test`,
);

/** An address that every server refuses at RCPT with a 550 reply of its own. */
export const refusedRecipient = 'nobody-here@relayed.test';

/** The user who may relay. */
export const credentials = { user: 'relayuser', password: 'correct horse' };

/** The user and group that own the mailboxes; roots.sh makes it in every root. */
export const mailbox = { name: 'tester', uid: 2000, gid: 2000 };

/** A server's root, held for one test at a time. */
export interface Workplace {
  readonly root: string;
  /** The server's folder as seen from inside its root. */
  readonly inside: string;
  /** The same folder as seen from here. */
  readonly outside: string;
  /** Writes a file into the folder. */
  write(name: string, text: string, mode?: number): void;
  release(): Promise<void>;
}

/**
 * Waits for its turn in the root, then makes an empty folder for the server in it, with the
 * certificate, its key (owner root, mode 0600) and a mailbox folder.
 */
export async function occupy(name: string): Promise<Workplace> {
  const root = requireRoot(name);
  const lock = await start([
    ...['flock', '--no-fork', join(root, '.lock'), 'sh', '-c', 'echo mine; exec sleep 3600'],
  ]);
  try {
    await waitFor(`the root ${name} to be free`, () => lock.ended() || lock.output() !== '', {
      limit: 300_000,
    });
    if (lock.ended()) throw new Error(`the root ${name} cannot be locked: ${lock.output()}`);
  } catch (error) {
    await lock.stop();
    throw error;
  }
  const inside = '/srv/relay';
  const outside = join(root, inside);
  rmSync(outside, { recursive: true, force: true });
  mkdirSync(join(outside, 'mail'), { recursive: true });
  chownSync(join(outside, 'mail'), mailbox.uid, mailbox.gid);
  for (const file of ['cert.pem', 'key.pem', 'ca.pem']) {
    copyFileSync(join(root, 'srv/tls', file), join(outside, file));
  }
  return {
    root,
    inside,
    outside,
    write: (file, text, mode = 0o644) => writeFileSync(join(outside, file), text, { mode }),
    release: lock.stop,
  };
}

/** Runs a command in the root to its end and returns what it printed; throws unless it exits 0. */
export function inRoot(place: Workplace, ...command: readonly string[]): Promise<string> {
  return must(['chroot', place.root, ...command]);
}

/** The keys to a server that was given the certificate and `credentials`. */
export function accessTo(place: Workplace): Access {
  return {
    caFile: join(place.root, 'srv/tls/ca.pem'),
    strangerCaFile: join(place.root, 'srv/tls/stranger.pem'),
    ...credentials,
  };
}

/** The handle of a server that has greeted, over what is particular to it. */
export function relayServer(
  place: Workplace,
  server: Running,
  particular: {
    readonly port: number;
    readonly smtpsPort?: number;
    readonly access: Access | undefined;
    /** Folders (seen from inside) that hold a regular file for every message still queued. */
    readonly queues: readonly string[];
    readonly logFile?: string;
  },
): RelayServer {
  const log = (): string => {
    if (particular.logFile === undefined) return server.output();
    return `${server.output()}${readFileSync(join(place.outside, particular.logFile), 'utf8')}`;
  };
  return {
    port: particular.port,
    smtpsPort: particular.smtpsPort,
    access: particular.access,
    received: (recipient) => {
      const folder = join(place.outside, 'mail', recipient, 'new');
      return files(folder).map((file) => readFileSync(file, 'utf8'));
    },
    drained: async () => {
      const queues = particular.queues.map((folder) => join(place.root, folder));
      await waitFor('an empty queue', () => queues.every((queue) => files(queue).length === 0), {
        detail: log,
      });
    },
    log,
    stop: async () => {
      await server.stop();
      await place.release();
    },
  };
}

/** All regular files below a folder; none when there is no folder. */
function files(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
  } catch (error) {
    // Mail servers make their folders late and take them away at any moment.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
