/**
 * SMTP replies (RFC 5321 section 4.2): from the relay's octets to codes and lines of text, and back
 * to lines that may be shown. It never opens a connection, never waits and never judges what a reply
 * means for the mail; queue/sorting.ts does. Hostile input: every octet, for a relay may be broken,
 * taken over or not a mail server at all.
 */
import { Buffer, isAscii, isUtf8 } from 'node:buffer';
import { escapeText } from './text.ts';

/** One complete reply of one or more lines. */
export interface Reply {
  /** 200 to 599. */
  readonly code: number;
  /** The enhanced status code of the first line (RFC 2034, RFC 3463), its class that of `code`. */
  readonly enhanced: string | undefined;
  /**
   * What each line says after code and separator, the enhanced status code included. Not escaped:
   * it may hold any character except a line feed.
   */
  readonly lines: readonly string[];
}

/** What this program itself says to a mail, in the form of a relay's reply. */
export function ownReply(code: number, enhanced: string, text: string): Reply {
  return { code, enhanced, lines: [`${enhanced} picorelay: ${text}`] };
}

/** Octets that one line may have, its line end included; four times what RFC 5321 asks for. */
export const REPLY_LINE_LIMIT = 2048;

/** Lines that one reply may have. */
export const REPLY_LINES_LIMIT = 256;

/** Octets that are no SMTP reply. The message names the rule that was broken and is escaped. */
export class MalformedReply extends Error {
  override readonly name = 'MalformedReply';
}

/**
 * Takes a relay's octets as they arrive, in chunks of any size, and hands out complete replies. The
 * result does not depend on where chunks end. It holds one reply at most and no pushed chunk.
 */
export class ReplyParser {
  /** The unfinished line. */
  readonly #line = Buffer.alloc(REPLY_LINE_LIMIT);
  #length = 0;
  /** The finished lines of the unfinished reply. */
  #lines: string[] = [];
  #code = 0;
  #failure: MalformedReply | undefined;

  /** Whether octets of an unfinished or malformed reply are waiting. */
  get pending(): boolean {
    return this.#length > 0 || this.#lines.length > 0 || this.#failure !== undefined;
  }

  /** Why the parser is dead, undefined while it lives. */
  get failure(): MalformedReply | undefined {
    return this.#failure;
  }

  /**
   * The replies that `chunk` completes, in order. Lines may end in CRLF or LF alone.
   *
   * Replies that were complete before the malformed one are not lost: where a chunk brings both,
   * they are returned, `failure` is set, and the next call throws. A relay that took a message and
   * then talks nonsense has still taken it.
   *
   * @throws {MalformedReply} for a line that does not begin with 200 to 599 and then a space, a
   *   hyphen or the line's end, for differing codes in one reply, for a line over
   *   REPLY_LINE_LIMIT octets and for more than REPLY_LINES_LIMIT lines; once it has failed, always.
   */
  push(chunk: Uint8Array): readonly Reply[] {
    if (this.#failure !== undefined) throw this.#failure;
    const replies: Reply[] = [];
    try {
      this.#take(chunk, replies);
    } catch (error) {
      if (!(error instanceof MalformedReply)) throw error;
      this.#failure = error;
      if (replies.length === 0) throw error;
    }
    return replies;
  }

  #take(chunk: Uint8Array, replies: Reply[]): void {
    let start = 0;
    while (start < chunk.length) {
      const feed = chunk.indexOf(0x0a, start);
      const end = feed === -1 ? chunk.length : feed + 1;
      if (this.#length + end - start > REPLY_LINE_LIMIT) {
        throw new MalformedReply(`a line is longer than ${REPLY_LINE_LIMIT} octets`);
      }
      this.#line.set(chunk.subarray(start, end), this.#length);
      this.#length += end - start;
      start = end;
      if (feed === -1) return;
      const reply = this.#finishLine();
      if (reply !== undefined) replies.push(reply);
    }
  }

  /** Adds the line in the buffer to the reply, and returns the reply if that was its last line. */
  #finishLine(): Reply | undefined {
    const crlf = this.#length > 1 && this.#line[this.#length - 2] === 0x0d;
    const line = this.#line.subarray(0, this.#length - (crlf ? 2 : 1));
    this.#length = 0;

    const head = line.toString('latin1', 0, 4);
    if (!/^[2-5][0-9]{2}(?:[ -]|$)/.test(head)) {
      throw new MalformedReply(`no reply code: "${escapeText(decode(line.subarray(0, 64)))}"`);
    }
    const code = Number(head.slice(0, 3));
    if (this.#lines.length > 0 && code !== this.#code) {
      throw new MalformedReply(`${this.#code} and ${code} in one reply`);
    }
    if (this.#lines.length === REPLY_LINES_LIMIT) {
      throw new MalformedReply(`a reply has more than ${REPLY_LINES_LIMIT} lines`);
    }
    this.#code = code;
    this.#lines.push(decode(line.subarray(4)));
    if (head.endsWith('-')) return undefined;

    const lines = this.#lines;
    this.#lines = [];
    return { code, enhanced: enhancedCode(code, lines[0] ?? ''), lines };
  }
}

/** 2xx: done as asked. */
export function isPositive(reply: Reply): boolean {
  return reply.code >= 200 && reply.code <= 299;
}

/** 3xx: the relay waits for more. */
export function isIntermediate(reply: Reply): boolean {
  return reply.code >= 300 && reply.code <= 399;
}

/** 5xx: not ever, says the relay. */
export function isPermanent(reply: Reply): boolean {
  return reply.code >= 500 && reply.code <= 599;
}

/**
 * The lines as the relay sent them, `250-…` and `250 …`, escaped with `escapeText` and without line
 * ends. A last line without text is the code alone.
 */
export function formatReply(reply: Reply): string[] {
  const last = reply.lines.length - 1;
  return reply.lines.map((text, index) => {
    if (index < last) return escapeText(`${reply.code}-${text}`);
    return escapeText(text === '' ? `${reply.code}` : `${reply.code} ${text}`);
  });
}

/** UTF-8 (RFC 6531 section 3.7.4.2) where the octets are that, else one character per octet. */
function decode(octets: Buffer): string {
  return octets.toString(isAscii(octets) || !isUtf8(octets) ? 'latin1' : 'utf8');
}

/**
 * The enhanced status code that a line's text begins with. 3xx replies have none (RFC 2034 section
 * 4), and the class must be the reply code's: a relay that contradicts itself is taken at its reply
 * code, which every client understands.
 */
function enhancedCode(code: number, text: string): string | undefined {
  const detail = /^[245](\.(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2}))(?![^ \t])/.exec(text)?.[1];
  const replyClass = Math.trunc(code / 100);
  return detail === undefined || replyClass === 3 ? undefined : `${replyClass}${detail}`;
}
