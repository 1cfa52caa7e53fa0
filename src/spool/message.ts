/**
 * A stored message as the relay needs it: whose it is, and its bytes in wire form, read in pieces so
 * that a large one takes no more memory than a small one.
 *
 * Hostile input: any bytes in a spool file. Opening throws BadBlock for what cannot be read.
 */
import fs from 'node:fs';
import type { Envelope, Origin, Recipient } from '../mail/envelope.ts';
import { WireForm } from '../mail/wireform.ts';
import {
  BadBlock,
  BLOCK_LIMIT,
  BLOCK_START,
  type BodyType,
  hasBlock,
  parseBlock,
} from './block.ts';
import { hasCode } from './disk.ts';
import { addressOf, parseBase, recipientPart } from './name.ts';

const PIECE = 64 * 1024;

/** Files that may be on their way to be closed. */
const CLOSING_LIMIT = 256;
let closing = 0;

export class StoredMessage {
  /** Undefined for a bare message: size and body type are then known only after reading it. */
  readonly size: number | undefined;
  readonly body: BodyType;
  readonly sender: string;
  /** The envelope's parameters that hold for all recipients. */
  readonly dsn: Pick<Envelope, 'ret' | 'envid' | 'smtpUtf8' | 'requireTls'>;
  readonly origin: Origin | undefined;
  /** What the kernel said of the file when it was opened. */
  readonly status: fs.Stats;
  readonly #recipients: ReadonlyMap<string, Recipient> | undefined;
  readonly #fd: number;
  readonly #offset: number;

  /**
   * Opens the file of an entry.
   * @param base the entry's base name, which names sender and recipient of a bare message
   * @throws BadBlock when the block is malformed or the file is not as long as it says
   * @throws the system call's error when it cannot be opened or read
   */
  constructor(path: string, base: string) {
    // O_NOFOLLOW: an entry is a file, never a link to one.
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
    try {
      this.#fd = fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    } catch (error) {
      // A symbolic link, a socket.
      if (hasCode(error, 'ELOOP', 'ENXIO')) throw new BadBlock('this is not a regular file');
      throw error;
    }
    try {
      const status = fs.fstatSync(this.#fd);
      this.status = status;
      if (!status.isFile()) throw new BadBlock('this is not a regular file');
      const start = readAt(this.#fd, 0, 4096);
      if (hasBlock(start)) {
        const end = findBlockEnd(this.#fd, start);
        const block = parseBlock(end.text);
        this.#offset = end.offset;
        if (status.size - end.offset !== block.size) {
          throw new BadBlock(
            `the message has ${status.size - end.offset} octets, its envelope block says ${block.size}`,
          );
        }
        this.size = block.size;
        this.body = block.body;
        this.sender = block.envelope.sender;
        const { sender: _sender, recipients: _recipients, ...dsn } = block.envelope;
        this.dsn = dsn;
        this.origin = block.origin;
        this.#recipients = new Map(
          block.envelope.recipients.map((recipient) => [
            recipientPart(recipient.address),
            recipient,
          ]),
        );
      } else {
        const flaw = flawOfBare(start);
        if (flaw !== undefined) throw new BadBlock(flaw);
        const name = parseBase(base);
        const sender = name === undefined ? undefined : addressOf(name.sender);
        if (sender === undefined) {
          throw new BadBlock('it has no envelope block, and its name does not tell the sender');
        }
        this.#offset = 0;
        this.size = undefined;
        this.body = '8BITMIME';
        this.sender = sender;
        this.dsn = {};
        this.origin = undefined;
        this.#recipients = undefined;
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * The recipient that an entry of this message stands for.
   * @throws BadBlock when the block does not name it
   */
  recipientOf(base: string): Recipient {
    const part = parseBase(base)?.recipient ?? '';
    const recipient = this.#recipients?.get(part);
    if (recipient !== undefined) return recipient;
    const address = this.#recipients === undefined ? addressOf(part) : undefined;
    if (address === undefined) {
      throw new BadBlock('its envelope block does not name the recipient that its name does');
    }
    return { address };
  }

  /** All recipients of the submission, as the block names them. */
  get recipients(): readonly Recipient[] {
    return [...(this.#recipients?.values() ?? [])];
  }

  /**
   * The message in wire form from its first octet. Each piece is valid until the next one is asked for.
   * @throws the system call's error
   */
  *pieces(): Generator<Uint8Array, void, undefined> {
    const buffer = Buffer.allocUnsafe(PIECE);
    const form = this.size === undefined ? new WireForm() : undefined;
    let position = this.#offset;
    // A file that somebody goes on writing has an end all the same.
    const end = this.size === undefined ? Number.POSITIVE_INFINITY : position + this.size;
    while (position < end) {
      const read = fs.readSync(this.#fd, buffer, 0, Math.min(PIECE, end - position), position);
      if (read === 0) break;
      position += read;
      const piece = buffer.subarray(0, read);
      yield form === undefined ? piece : form.transform(piece);
    }
    if (form !== undefined) yield form.end();
  }

  /** Whether somebody has changed the file since it was opened, as far as the kernel's clock can tell. */
  hasChanged(): boolean {
    const { size, mtimeMs, ctimeMs } = fs.fstatSync(this.#fd);
    const before = this.status;
    return size !== before.size || mtimeMs !== before.mtimeMs || ctimeMs !== before.ctimeMs;
  }

  /**
   * The last close of a file that was erased frees its blocks and waits for the disk's journal: that is
   * left to another thread, within limits. What was only read loses nothing by a close that fails.
   */
  close(): void {
    if (closing === CLOSING_LIMIT) {
      fs.closeSync(this.#fd);
      return;
    }
    closing += 1;
    fs.close(this.#fd, () => {
      closing -= 1;
    });
  }
}

/** Why a file without a block is no message that somebody put there either: a disk lost what it held. */
function flawOfBare(start: Buffer): string | undefined {
  if (start.length === 0) return 'the file is empty';
  // Some octets below the space are in real mail, as the escape of ISO-2022-JP.
  if (/[\x00-\x07\x0e-\x1a\x1c-\x1f]/.test(start.toString('latin1'))) {
    return 'it has no envelope block, and is no text';
  }
  if (start.length < BLOCK_START.length && BLOCK_START.startsWith(start.toString('latin1'))) {
    return 'the file ends within its envelope block';
  }
  return undefined;
}

function findBlockEnd(fd: number, start: Buffer): { text: string; offset: number } {
  let bytes = start;
  let from = 0;
  for (;;) {
    const end = bytes.indexOf('\n\n', from);
    if (end !== -1) return { text: bytes.subarray(0, end).toString('latin1'), offset: end + 2 };
    if (bytes.length > BLOCK_LIMIT) throw new BadBlock('the envelope block has no end');
    from = Math.max(0, bytes.length - 1);
    const more = readAt(fd, bytes.length, bytes.length);
    if (more.length === 0) throw new BadBlock('the file ends within its envelope block');
    bytes = Buffer.concat([bytes, more]);
  }
}

function readAt(fd: number, position: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length);
  return buffer.subarray(0, fs.readSync(fd, buffer, 0, length, position));
}
