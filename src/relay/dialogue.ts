/**
 * The wire to a relay once its session is open: commands go out, replies come in, strictly in order.
 * Knows no policy and no transaction. Every wait has a deadline, every buffer a bound.
 *
 * Hostile input: everything the relay sends, and a relay that sends nothing or never reads.
 */
import type { Socket } from 'node:net';
import type { DialogueEvent } from '../mail/outcome.ts';
import { formatReply, MalformedReply, type Reply, ReplyParser } from '../mail/reply.ts';
import { escapeText } from '../mail/text.ts';

/** Told of every line, escaped: `C` for this program, `S` for the relay. */
export type OnLine = (side: 'C' | 'S', line: string) => void;

/** More replies than this without a command waiting for them end the session. */
const BACKLOG_LIMIT = 4096;

export class Dialogue {
  readonly #socket: Socket;
  /** Undefined where nobody listens: then no line is made for it. */
  readonly #onLine: OnLine | undefined;
  readonly #parser = new ReplyParser();
  readonly #replies: Reply[] = [];
  #ended: DialogueEvent | undefined;
  readonly #waiting = new Map<'read' | 'write', () => void>();

  /** Takes the socket over: it must have no reader any more. */
  constructor(socket: Socket, onLine: OnLine | undefined) {
    this.#socket = socket;
    this.#onLine = onLine;
    socket.on('data', (chunk: Uint8Array) => this.#receive(chunk));
    socket.on('drain', () => this.#wake('write'));
    socket.on('error', (error) => this.#end({ kind: 'closed', reason: escapeText(error.message) }));
    socket.on('close', () =>
      this.#end({ kind: 'closed', reason: 'the relay closed the connection' }),
    );
    socket.on('end', () =>
      this.#end({ kind: 'closed', reason: 'the relay closed the connection' }),
    );
    socket.resume();
  }

  /** Why nothing more will come, once that is so. */
  get ended(): DialogueEvent | undefined {
    return this.#ended;
  }

  /** Whether the relay has said something that no command asked for. */
  get unsolicited(): boolean {
    return this.#replies.length > 0 || this.#parser.pending;
  }

  /** Tells the listener of command lines; they are sent by write. */
  said(lines: readonly string[]): void {
    const tell = this.#onLine;
    if (tell !== undefined) for (const line of lines) tell('C', escapeText(line));
  }

  /** Sends bytes, which must not be changed afterwards; does not wait for them to leave. */
  write(bytes: Uint8Array): void {
    if (this.#ended === undefined) this.#socket.write(bytes);
  }

  /**
   * Waits until at most so many octets are left to leave, so that a large message takes little memory.
   * Undefined when they are; else why not.
   */
  async drained(octets: number, seconds: number): Promise<DialogueEvent | undefined> {
    if (this.#socket.writableLength <= octets || this.#ended !== undefined) return this.#ended;
    await this.#wait('write', seconds);
    return this.#ended;
  }

  /** The next reply, or what came instead of it within the deadline. */
  async reply(seconds: number): Promise<DialogueEvent> {
    while (this.#replies.length === 0 && this.#ended === undefined) {
      await this.#wait('read', seconds);
    }
    // What the relay said before it closed still counts.
    const reply = this.#replies.shift();
    if (reply !== undefined) return { kind: 'reply', reply };
    return this.#ended ?? { kind: 'closed', reason: 'no reply' };
  }

  /** Ends the session without another word. */
  destroy(): void {
    this.#end({ kind: 'closed', reason: 'this program closed the connection' });
    this.#socket.destroy();
  }

  #receive(chunk: Uint8Array): void {
    if (this.#ended !== undefined) return;
    try {
      for (const reply of this.#parser.push(chunk)) {
        const tell = this.#onLine;
        if (tell !== undefined) for (const line of formatReply(reply)) tell('S', line);
        this.#replies.push(reply);
      }
      // Replies that were complete before the malformed one are kept.
      if (this.#parser.failure !== undefined) throw this.#parser.failure;
      if (this.#replies.length > BACKLOG_LIMIT)
        throw new MalformedReply('replies without commands');
    } catch (error) {
      if (!(error instanceof MalformedReply)) throw error;
      this.#end({ kind: 'malformed', reason: error.message });
      this.#socket.destroy();
    }
    if (this.#replies.length > 0) this.#wake('read');
  }

  /** Until something is read or the socket's buffer is empty, the session ends or time is up. */
  async #wait(what: 'read' | 'write', seconds: number): Promise<void> {
    const timer = setTimeout(() => {
      this.#end({ kind: 'timeout', seconds });
      this.#socket.destroy();
    }, seconds * 1000);
    await new Promise<void>((resolve) => this.#waiting.set(what, resolve));
    this.#waiting.delete(what);
    clearTimeout(timer);
  }

  #wake(what: 'read' | 'write'): void {
    this.#waiting.get(what)?.();
  }

  #end(event: DialogueEvent): void {
    this.#ended ??= event;
    this.#wake('read');
    this.#wake('write');
  }
}
