/**
 * sendmail -bs: an SMTP session with a local program on two descriptors, each of its messages queued
 * like one that was handed to sendmail itself: header completed, Bcc removed, local names completed.
 * Reads when nothing is left to answer, and writes all replies that are due at once, so pipelined
 * commands cost one write. Only the spool is written to. Hostile input: everything that is read.
 */
import { type Control, ControlError } from '../control/control.ts';
import { readLimits } from '../control/limits.ts';
import type { Envelope } from '../mail/envelope.ts';
import { HeaderTooLong, readHeader } from '../mail/header.ts';
import { OverLimit } from '../mail/limits.ts';
import { type ServerEvent, SmtpServer } from '../mail/smtp-server.ts';
import { escapeText } from '../mail/text.ts';
import { hasCode } from '../spool/disk.ts';
import type { Intake } from '../spool/intake.ts';
import type { SmtpService } from './arguments.ts';
import { type Caller, type HostNames, hostNames, queueCompleted, troublesOf } from './submit.ts';

export interface Surroundings {
  readonly control: Control;
  /** The client's octets; each piece is used up before the next one is asked for. */
  readonly input: Iterable<Uint8Array>;
  /** Writes to the client and returns how many octets were taken; may throw EAGAIN. */
  readonly write: (bytes: Uint8Array) => number;
  readonly openSpool: (folder: string) => Intake;
  /** Who calls, at this moment. */
  readonly caller: () => Caller;
  /** New entries, in which spool folder; called after the client was told. */
  readonly queued: (bases: readonly string[], folder: string) => void;
  /** What the client cannot be told, one line each. */
  readonly warn: (line: string) => void;
}

const EX_OK = 0;
const EX_IOERR = 74;
const EX_TEMPFAIL = 75;

/** As Postfix takes by default; the envelope block of so many always fits its limit. */
const RECIPIENT_LIMIT = 1000;

/** Milliseconds between two tries to write to a client that does not read. */
const PAUSE = 5;

/**
 * Serves one session to its end. What cannot be queued is answered with the reason and the session
 * goes on: no fault of the spool or of the control folder ends it.
 * @returns an exit status: 0, 74 when reading or writing failed, 75 when the input ended within a
 *   message, of which nothing is queued then
 */
export function serveSession(service: SmtpService, surroundings: Surroundings): number {
  const warnings: string[] = [];
  const names = hostNames(surroundings.control, surroundings.caller().hostName, warnings);
  for (const warning of warnings) surroundings.warn(warning);
  return new Session(service, surroundings, names).run();
}

class Session {
  readonly #service: SmtpService;
  readonly #surroundings: Surroundings;
  readonly #names: HostNames;
  readonly #input: Iterator<Uint8Array>;
  readonly #server: SmtpServer;
  /** Replies that are not written yet. */
  #replies = '';
  /** Entries whose sending has not been asked for yet. */
  #bases: string[] = [];
  /** Somebody else makes the entries, and has not been woken yet. */
  #leftToOthers = false;
  #spool: Intake | undefined;
  /** What has come of the data of the message that was begun last. */
  #message: 'open' | 'complete' | 'abandoned' = 'complete';
  #status = EX_OK;

  constructor(service: SmtpService, surroundings: Surroundings, names: HostNames) {
    this.#service = service;
    this.#surroundings = surroundings;
    this.#names = names;
    this.#input = surroundings.input[Symbol.iterator]();
    const { size, recipients } = readLimits(surroundings.control).limits;
    this.#server = new SmtpServer({
      host: names.me,
      lineEnds: 'lenient',
      recipientLimit: Number.isFinite(recipients) ? recipients : RECIPIENT_LIMIT,
      sizeLimit: Number.isFinite(size) ? size : undefined,
    });
  }

  run(): number {
    try {
      // Opened before anything is read: root becomes the spool's owner by it.
      this.#openSpool();
    } catch {
      // It is tried again for each message, and the client is told then.
    }
    for (;;) {
      const event = this.#server.next();
      if (event.kind === 'reply') this.#replies += event.text;
      else if (event.kind === 'read') this.#read();
      else if (event.kind === 'begin') this.#take(event.envelope);
      else if (event.kind === 'close') break;
    }
    this.#flush();
    return this.#status;
  }

  /** Queues a message whose data follow, or says why not. */
  #take(envelope: Envelope): void {
    this.#message = 'open';
    try {
      const bases = this.#queue(envelope);
      this.#bases.push(...bases);
      this.#leftToOthers ||= bases.length === 0;
      const [name] = bases;
      this.#server.settle(
        250,
        '2.0.0',
        name === undefined ? 'Ok: queued' : `Ok: queued as ${name}`,
      );
    } catch (error) {
      // Nothing of it is queued. The client hears so when it has sent the rest.
      if (this.#skip()) this.#server.settle(...replyTo(error));
    }
  }

  #queue(envelope: Envelope): readonly string[] {
    const { sender, fullName } = this.#service;
    const caller = this.#surroundings.caller();
    const spool = this.#openSpool();
    const pieces = this.#pieces();
    const header = readHeader(pieces);
    const author = { address: envelope.sender || sender || caller.login, name: fullName };
    const { bases, notes } = queueCompleted(
      spool,
      this.#surroundings.control,
      { header, pieces, author, envelope },
      this.#names,
      caller,
    );
    for (const trouble of troublesOf(notes)) this.#surroundings.warn(trouble);
    return bases;
  }

  *#pieces(): Generator<Uint8Array, void, undefined> {
    for (let piece = this.#nextPiece(); piece !== undefined; piece = this.#nextPiece()) yield piece;
    if (this.#message === 'abandoned') throw new Error('the message was given up');
  }

  /** Gets what is left of the message out of the way; whether it came to its end. */
  #skip(): boolean {
    let piece = this.#nextPiece();
    while (piece !== undefined) piece = this.#nextPiece();
    return this.#message === 'complete';
  }

  /** The next octets of the message; undefined when it is complete or abandoned. */
  #nextPiece(): Uint8Array | undefined {
    while (this.#message === 'open') {
      const event = this.#server.next();
      if (event.kind === 'piece') return event.bytes;
      if (event.kind === 'reply') this.#replies += event.text;
      else if (event.kind === 'read') this.#read();
      else if (event.kind === 'complete') this.#message = 'complete';
      else this.#abandon(event);
    }
    return undefined;
  }

  #abandon(event: ServerEvent): void {
    this.#message = 'abandoned';
    if (event.kind !== 'abandon' || event.reason !== 'end') return;
    this.#status = EX_TEMPFAIL;
    this.#surroundings.warn('the input ended within a message; it was not queued');
  }

  #read(): void {
    if (!this.#flush()) return;
    try {
      const next = this.#input.next();
      if (next.done === true) this.#server.end();
      else this.#server.push(next.value);
    } catch (error) {
      this.#fail('reading from', error);
    }
  }

  /** Writes the replies, then has queued mail sent. False when the client cannot be written to. */
  #flush(): boolean {
    let bytes: Uint8Array = Buffer.from(this.#replies, 'latin1');
    this.#replies = '';
    let written = true;
    try {
      while (bytes.length > 0) bytes = bytes.subarray(this.#writeSome(bytes));
    } catch (error) {
      written = false;
      this.#fail('writing to', error);
    }
    const bases = this.#bases;
    this.#bases = [];
    const wake = this.#leftToOthers;
    this.#leftToOthers = false;
    if (bases.length > 0 || wake) this.#surroundings.queued(bases, this.#spool?.folder ?? '');
    return written;
  }

  #writeSome(bytes: Uint8Array): number {
    try {
      return this.#surroundings.write(bytes);
    } catch (error) {
      if (!hasCode(error, 'EAGAIN')) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE);
      return 0;
    }
  }

  #fail(what: string, error: unknown): void {
    this.#status = EX_IOERR;
    this.#surroundings.warn(`${what} the client failed: ${messageOf(error)}`);
    this.#server.end();
  }

  #openSpool(): Intake {
    const { control, openSpool } = this.#surroundings;
    this.#spool ??= openSpool(control.get('spooldir'));
    return this.#spool;
  }
}

/** What the client is told when its message cannot be queued. */
function replyTo(error: unknown): [code: number, enhanced: string, text: string] {
  const text = escapeText(messageOf(error));
  if (error instanceof HeaderTooLong) return [554, '5.6.0', text];
  if (error instanceof OverLimit) {
    return error.kind === 'size' ? [552, '5.3.4', text] : [452, '4.3.1', text];
  }
  if (error instanceof ControlError) return [451, '4.3.5', text];
  if (hasCode(error, 'ENOSPC', 'EDQUOT')) return [452, '4.3.1', text];
  if (hasCode(error, 'EFBIG')) return [552, '5.3.4', text];
  return [451, '4.3.0', text];
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
