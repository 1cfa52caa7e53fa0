/**
 * The two byte forms of a message on its way to the wire: lines that end in CRLF and nothing else
 * (RFC 5321 section 2.3.8), and that form with its dots doubled (section 4.5.2). Both work on a
 * stream, in constant memory, and give the same bytes however the stream is split. Nothing here
 * breaks or re-encodes a long line. The bytes are hostile: whatever they are, the end-of-data mark
 * CRLF . CRLF can stand at the very end only.
 */
import { Buffer, isAscii } from 'node:buffer';

const NUL = 0;
const LF = 10;
const CR = 13;
const DOT = 46;

/**
 * How many carriage returns in a row are held back to see whether a line feed ends them, which
 * makes one line end of them all. In a longer run the first ones are line ends of their own, so that
 * a stream of carriage returns needs no memory.
 */
export const LONGEST_CR_RUN = 16;

/** A run of octets so short that copying it here beats a call into native code. */
const SHORT = 16;

/**
 * Brings a message into CRLF form. LF, CRLF, a bare CR, and a run of CRs before a LF are one line end
 * each; NUL octets are dropped; the last line gets its line end. What is in that form already comes
 * out byte for byte.
 */
export class WireForm {
  #eightBit = false;
  #nul = false;
  #bareReturn = false;
  #longest = 0;
  #column = 0;
  /** Carriage returns held back until the octet behind them is known. */
  #returns = 0;
  #output = Buffer.alloc(0);
  #filled = 0;

  /** Whether an octet above 127 has gone through. */
  get eightBit(): boolean {
    return this.#eightBit;
  }

  /** What was mended, each kind once, as phrases. */
  get repairs(): readonly string[] {
    return [
      ...(this.#nul ? ['NUL octets dropped'] : []),
      ...(this.#bareReturn ? ['bare CR taken as a line end'] : []),
    ];
  }

  /** The octets of the longest line so far, without its line end. */
  get longestLine(): number {
    return Math.max(this.#longest, this.#column);
  }

  /**
   * Takes the next part of the message and gives what can be said of it in CRLF form. The answer may
   * be `chunk` itself, or a view that is valid until the next call only.
   */
  transform(chunk: Uint8Array): Uint8Array {
    const input = asBuffer(chunk);
    const size = input.length;
    if (!this.#eightBit && !isAscii(input)) this.#eightBit = true;
    this.#filled = 0;
    let copying = false;
    let copied = 0;
    let nul = find(input, NUL, 0);
    let cr = find(input, CR, 0);
    let lf = -1;
    let at = 0;
    if (this.#returns > 0) {
      this.#reserve(size);
      copying = true;
      at = this.#endReturns(input, 0);
      copied = at;
    }
    while (at < size) {
      if (nul < at) nul = find(input, NUL, at);
      if (cr < at) cr = find(input, CR, at);
      // An empty line is common and cheaper to see than to search.
      if (lf < at) lf = input[at] === LF ? at : find(input, LF, at);
      const stop = Math.min(nul, cr, lf);
      this.#column += stop - at;
      if (stop === size) break;
      if (stop === cr && lf === cr + 1 && lf < size) {
        this.#endLine();
        at = lf + 1;
        continue;
      }
      if (!copying) {
        // Only a CR at the very end has to be held back: what is before it is a view.
        if (stop === cr && stop === size - 1) {
          this.#returns = 1;
          return chunk.subarray(0, stop);
        }
        this.#reserve(size);
        copying = true;
      }
      this.#copy(input, copied, stop);
      if (stop === lf) {
        this.#writeLineEnd();
        at = lf + 1;
      } else if (stop === nul) {
        this.#nul = true;
        for (at = nul + 1; input[at] === NUL; ) at += 1;
      } else {
        at = this.#endReturns(input, stop);
      }
      copied = at;
    }
    if (!copying) return chunk;
    this.#copy(input, copied, size);
    return this.#output.subarray(0, this.#filled);
  }

  /** What is left at the end of the message: the line ends still held back, or the missing one. */
  end(): Uint8Array {
    this.#filled = 0;
    this.#reserve(1);
    if (this.#returns === 0 && this.#column > 0) this.#writeLineEnd();
    this.#flushReturns();
    return this.#output.subarray(0, this.#filled);
  }

  /** Reads a run of CRs (and NULs among them) from `at` on, gives the index behind its line end. */
  #endReturns(input: Buffer, at: number): number {
    for (; at < input.length; at += 1) {
      const octet = input[at];
      if (octet === CR) {
        if (this.#returns === LONGEST_CR_RUN) {
          this.#bareReturn = true;
          this.#writeLineEnd();
        } else {
          this.#returns += 1;
        }
      } else if (octet === LF) {
        if (this.#returns > 1) this.#bareReturn = true;
        this.#returns = 0;
        this.#writeLineEnd();
        return at + 1;
      } else if (octet === NUL) {
        this.#nul = true;
      } else {
        this.#flushReturns();
        return at;
      }
    }
    return at;
  }

  #flushReturns(): void {
    if (this.#returns > 0) this.#bareReturn = true;
    for (; this.#returns > 0; this.#returns -= 1) this.#writeLineEnd();
  }

  #endLine(): void {
    if (this.#column > this.#longest) this.#longest = this.#column;
    this.#column = 0;
  }

  #writeLineEnd(): void {
    this.#endLine();
    this.#output[this.#filled] = CR;
    this.#output[this.#filled + 1] = LF;
    this.#filled += 2;
  }

  #copy(input: Buffer, from: number, to: number): void {
    if (to - from < SHORT) {
      for (; from < to; from += 1, this.#filled += 1) {
        this.#output[this.#filled] = input[from] ?? 0;
      }
    } else {
      this.#filled += input.copy(this.#output, this.#filled, from, to);
    }
  }

  /** Makes room for what `size` octets can become, with the line ends held back before them. */
  #reserve(size: number): void {
    const needed = 2 * (size + LONGEST_CR_RUN);
    if (this.#output.length < needed) this.#output = Buffer.allocUnsafeSlow(needed);
  }
}

/**
 * Doubles each dot at the start of a line and ends the data with a lone one (RFC 5321 section 4.5.2).
 * The input is in CRLF form; where it is not, a dot behind a bare LF is doubled as well.
 */
export class DotStuffing {
  /** The last two octets that went through; the data begin at the start of a line. */
  #last = LF;
  #lastButOne = CR;
  #output = Buffer.alloc(0);

  /**
   * Takes the next part and gives its stuffed form: `chunk` itself, or a view that is valid until the
   * next call only.
   */
  transform(chunk: Uint8Array): Uint8Array {
    const input = asBuffer(chunk);
    const size = input.length;
    if (size === 0) return chunk;
    let dot = this.#last === LF && input[0] === DOT ? 0 : nextDot(input, 0);
    this.#lastButOne = size > 1 ? (input[size - 2] ?? 0) : this.#last;
    this.#last = input[size - 1] ?? 0;
    if (dot === size) return chunk;
    if (this.#output.length < 2 * size) this.#output = Buffer.allocUnsafeSlow(2 * size);
    let filled = 0;
    let copied = 0;
    while (dot < size) {
      filled += input.copy(this.#output, filled, copied, dot);
      this.#output[filled] = DOT;
      filled += 1;
      copied = dot;
      dot = nextDot(input, dot);
    }
    filled += input.copy(this.#output, filled, copied, size);
    return this.#output.subarray(0, filled);
  }

  /** The end-of-data mark; data whose last line has no line end get that first. */
  end(): Uint8Array {
    const complete = this.#last === LF && this.#lastButOne === CR;
    return Buffer.from(complete ? '.\r\n' : '\r\n.\r\n', 'latin1');
  }
}

/** The index of the next dot behind a LF, both at or after `from`; the length where there is none. */
function nextDot(input: Buffer, from: number): number {
  const at = input.indexOf('\n.', from, 'latin1');
  return at < 0 ? input.length : at + 1;
}

/** The index of the next `octet`; the length where there is none. */
function find(input: Buffer, octet: number, from: number): number {
  const at = input.indexOf(octet, from);
  return at < 0 ? input.length : at;
}

/** The same memory with Buffer's searches, which are native code. */
function asBuffer(chunk: Uint8Array): Buffer {
  return Buffer.isBuffer(chunk)
    ? chunk
    : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}
