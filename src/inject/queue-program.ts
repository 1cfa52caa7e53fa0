/**
 * Another queue program in the place of the spool, as QMAILQUEUE names it: it gets the message on its
 * descriptor 0 and the envelope on its descriptor 1, and its exit code says what became of them. It is
 * the caller's program, so it runs with the caller's rights or not at all.
 */
import fs from 'node:fs';
import type { Writable } from 'node:stream';
import { EXIT, InjectError } from './qmail-inject.ts';

/** User and group ids of a process, real and effective. */
export interface Ids {
  readonly uid: number;
  readonly euid: number;
  readonly gid: number;
  readonly egid: number;
}

/**
 * The program that QMAILQUEUE names; undefined when it names none.
 * @throws InjectError when this process has more rights than its caller, or the path is not absolute
 */
export function queueProgram(named: string | undefined, ids: Ids): string | undefined {
  if (named === undefined || named === '') return undefined;
  if (ids.uid !== ids.euid || ids.gid !== ids.egid) {
    throw temporary('QMAILQUEUE is not for a program that runs with more rights than its caller');
  }
  if (!named.startsWith('/')) throw temporary('QMAILQUEUE has to be an absolute path');
  return named;
}

/** What is known of a program that has ended. */
interface Ended {
  readonly status: number | null;
  /** What it wrote to its descriptor 6. */
  readonly text: string;
  /** Whether it has read the message and the envelope to their ends. */
  readonly complete: boolean;
}

/**
 * Runs a queue program; returns once it has taken the message.
 * @param message with LF line ends
 * @param sender in raw form, as the recipients
 * @throws InjectError with what its exit code means, and what `message` throws
 */
export async function runQueueProgram(
  program: string,
  message: Iterable<Uint8Array>,
  sender: string,
  recipients: readonly string[],
): Promise<void> {
  const envelope = `F${sender}\0${recipients.map((recipient) => `T${recipient}\0`).join('')}\0`;
  const { spawn } = process.getBuiltinModule('node:child_process');
  const bun = process.versions['bun'] !== undefined;
  // What a child reads on descriptor 1 bun cannot write: there it is 3 until the program begins.
  // The shell would say in its own words what it cannot run.
  if (bun && !isProgram(program)) throw temporary(`${program} cannot be run`);
  const [file, args] = bun ? ['/bin/sh', ['-c', 'exec "$0" 1<&3 3<&-', program]] : [program, []];
  const child = spawn(file, args, {
    stdio: bun
      ? ['pipe', 'ignore', 'inherit', 'pipe', 'ignore', 'ignore', 'pipe']
      : ['pipe', 'pipe', 'inherit', 'ignore', 'ignore', 'ignore', 'pipe'],
  });
  const gone = new Promise<number | null>((resolve, reject) => {
    child.once('error', (error) => {
      reject(temporary(`${program} cannot be run: ${error.message}`));
    });
    child.once('exit', resolve);
  });
  // Descriptor 1 is the child's to read: node makes a socket of it, which takes both directions.
  const [input, one, , three, , , report] = child.stdio as unknown as readonly Writable[];
  const output = bun ? three : one;
  let text = '';
  report?.on('data', (chunk: Buffer) => {
    if (text.length < LONGEST_REPORT) text += chunk.toString('latin1');
  });
  report?.on('error', () => undefined);
  const reported = new Promise<void>((resolve) => report?.once('close', resolve));
  let complete = false;
  const feed = async (): Promise<void> => {
    if (input === undefined || output === undefined) return;
    complete =
      (await writeAll(input, message, gone)) &&
      (await writeAll(output, [Buffer.from(envelope)], gone));
  };
  try {
    const [status] = await Promise.all([gone, feed()]);
    // A report is waited for only where it counts: another process may hold the descriptor open.
    if (status === REPORTED) await reported;
    judge({ status, text: text.slice(0, LONGEST_REPORT), complete });
  } catch (error) {
    // An end of input here could pass for the end of the message.
    child.kill('SIGKILL');
    throw error;
  } finally {
    for (const stream of [input, output, report]) stream?.destroy();
  }
}

function isProgram(path: string): boolean {
  try {
    fs.accessSync(path, fs.constants.X_OK);
    return fs.statSync(path).isFile();
  } catch {
    // Not there, or not for this user.
    return false;
  }
}

const LONGEST_REPORT = 255;
/** The exit code that sends the reader to descriptor 6. */
const REPORTED = 82;

/** Writes everything and ends the stream; false when the other side has gone before that. */
async function writeAll(
  stream: Writable,
  pieces: Iterable<Uint8Array>,
  gone: Promise<unknown>,
): Promise<boolean> {
  let broken = false;
  stream.on('error', () => {
    broken = true;
  });
  for (const piece of pieces) {
    if (broken) return false;
    await Promise.race([new Promise((done) => stream.write(piece, done)), gone]);
  }
  await Promise.race([new Promise((done) => stream.end(() => done(undefined))), gone]);
  return !broken && stream.writableFinished;
}

/** @throws InjectError unless the message was taken */
function judge({ status, text, complete }: Ended): void {
  if (status === null) throw temporary('the queue program was killed');
  if (status === 0) {
    if (complete) return;
    throw temporary('the queue program did not read everything');
  }
  const said = text.replace(/[^ -~]/g, '?').slice(1);
  if (status === REPORTED && said !== '' && /^[DZ]/.test(text)) {
    throw new InjectError(text.startsWith('D') ? EXIT.permanent : EXIT.temporary, said);
  }
  const permanent = (status >= 11 && status <= 40) || status === 115;
  throw new InjectError(
    permanent ? EXIT.permanent : EXIT.temporary,
    `the queue program ${MEANINGS[status] ?? `failed with exit code ${status}`}`,
  );
}

const MEANINGS: Readonly<Record<number, string>> = {
  11: 'says that an address is too long',
  31: 'refused the message for good',
  51: 'ran out of memory',
  52: 'timed out',
  53: 'could not write; the disk may be full',
  54: 'could not read the message or its envelope',
  55: 'could not read its configuration',
  56: 'had trouble with the network',
  61: 'misses its home folder',
  62: 'misses its spool',
  63: 'could not make a file in its spool',
  64: 'could not make a file in its spool',
  65: 'could not make a file in its spool',
  66: 'could not make a file in its spool',
  71: 'refused the message for now',
  72: 'got no connection to the mail server in time',
  73: 'was refused a connection by the mail server',
  74: 'lost the mail server in the middle of the talk',
  81: 'found a fault in itself',
  91: 'did not understand the envelope',
  115: 'says that an address is too long',
};

function temporary(message: string): InjectError {
  return new InjectError(EXIT.temporary, message);
}
