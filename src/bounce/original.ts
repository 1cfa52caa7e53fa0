/**
 * What a report brings back of the message it is about: its header, or all of it where that was asked
 * for and is small. Hostile input: the message; what comes out is in wire form and has no line over
 * 998 octets.
 */
import { isAscii, isUtf8 } from 'node:buffer';
import { fieldBody, findFields, type HeaderField, HeaderReader } from '../mail/header.ts';
import { LONGEST_LINE } from '../mail/mime.ts';
import { WireForm } from '../mail/wireform.ts';
import type { StoredMessage } from '../spool/message.ts';

/** Octets that are brought back at most, of the header as of the whole message. */
const LIMIT = 64 * 1024;

export interface Original {
  /** Milliseconds since 1970-01-01 UTC. */
  readonly accepted: number;
  readonly envid: string | undefined;
  /** Fields for the reader, without what is around them; undefined where there are none. */
  readonly subject: string | undefined;
  readonly messageId: string | undefined;
  readonly excerpt: Excerpt;
}

/** The third part of a report. */
export interface Excerpt {
  readonly whole: boolean;
  /** Whether the header is internationalized (RFC 6532). */
  readonly utf8: boolean;
  readonly bytes: Buffer;
}

/**
 * @param accepted milliseconds since 1970-01-01 UTC
 * @throws the system call's error when the message cannot be read
 */
export function readOriginal(message: StoredMessage, accepted: number): Original {
  const form = new WireForm();
  const start: Buffer[] = [];
  let size = 0;
  let complete = true;
  for (const piece of message.pieces()) {
    const bytes = Buffer.from(form.transform(piece));
    start.push(bytes.subarray(0, LIMIT - size));
    size += bytes.length;
    complete = size <= LIMIT;
    if (!complete) break;
  }
  if (complete) start.push(Buffer.from(form.end()));
  const bytes = Buffer.concat(start);
  const { fields, ended } = readHeader(bytes);
  // A field that was cut short is no field any more.
  const kept = ended || complete ? fields : fields.slice(0, -1);
  const { ret, requireTls } = message.dsn;
  // RFC 8689 section 5: what must not travel in clear text is not sent back, either.
  const whole =
    ret === 'FULL' && requireTls !== true && complete && form.longestLine <= LONGEST_LINE;
  const header = Buffer.from(kept.map((field) => `${fitLines(field.raw)}\r\n`).join(''), 'latin1');
  const [subject] = findFields(kept, 'Subject');
  const [id] = findFields(kept, 'Message-ID');
  return {
    accepted,
    envid: message.dsn.envid,
    subject: subject && fieldBody(subject),
    messageId: id && fieldBody(id),
    excerpt: {
      whole,
      utf8: !isAscii(header) && isUtf8(header),
      bytes: whole ? bytes : header,
    },
  };
}

function readHeader(bytes: Buffer): {
  readonly fields: readonly HeaderField[];
  readonly ended: boolean;
} {
  const reader = new HeaderReader();
  const ended = reader.push(bytes);
  if (!ended) reader.end();
  return { fields: reader.fields, ended };
}

/** Folds lines that are too long for any relay; what stands in them stays, but for a space each. */
function fitLines(raw: string): string {
  const longest = LONGEST_LINE - 4;
  return raw
    .split('\r\n')
    .map((line) => {
      let rest = line;
      const parts: string[] = [];
      while (rest.length > LONGEST_LINE) {
        // Not within a character of several octets.
        let at = longest;
        while (at > longest - 4 && /[\x80-\xbf]/.test(rest.charAt(at))) at--;
        parts.push(rest.slice(0, at));
        rest = ` ${rest.slice(at)}`;
      }
      return [...parts, rest].join('\r\n');
    })
    .join('\r\n');
}
