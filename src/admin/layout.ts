/** How commands show numbers, spans and lines to people. Pure. */
import type { Output } from './command.ts';

/** The width where there is no terminal that tells its own: what fits everywhere. */
export const WIDTH = 80;

/** A span of milliseconds in its largest unit. */
export function showSpan(millis: number): string {
  const seconds = Math.max(0, Math.round(millis / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)}h`;
  return `${Math.round(seconds / 86_400)}d`;
}

/** Octets in at most five characters: `432`, `4.2K`, `17M`. */
export function showSize(octets: number): string {
  let size = octets;
  for (const unit of ['', 'K', 'M', 'G']) {
    if (size < 999.5) {
      return unit !== '' && size < 9.95
        ? `${size.toFixed(1)}${unit}`
        : `${Math.round(size)}${unit}`;
    }
    size /= 1024;
  }
  return `${Math.round(size)}T`;
}

/** As in `1 mail`, `2 mails`, `2 tries`, `2 days`. */
export function count(number: number, noun: string): string {
  return `${number} ${number === 1 ? noun : `${noun}s`.replace(/(?<![aeou])ys$/, 'ies')}`;
}

/** A line that ends in `…` where it would be longer than so many characters. */
export function cut(line: string, width: number): string {
  if (line.length <= width) return line;
  if (width < 1) return '';
  // Not between the halves of a character.
  const end = /[\ud800-\udbff]/.test(line.charAt(width - 2)) ? width - 2 : width - 1;
  return `${line.slice(0, end)}…`;
}

/** A text in lines of at most so many characters, broken at spaces; a word that is longer stays whole. */
export function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

/** The lines of a text, each behind so many spaces. */
export function indent(spaces: number, text: string, width: number = WIDTH): readonly string[] {
  return wrap(text, width - spaces).map((line) => `${' '.repeat(spaces)}${line}`);
}

const COLOURS = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 } as const;

export type Colour = keyof typeof COLOURS;

/** The text in a colour, where the output shows any. */
export function paint({ colour }: Pick<Output, 'colour'>, shade: Colour, text: string): string {
  return colour && text !== '' ? `\x1b[${COLOURS[shade]}m${text}\x1b[0m` : text;
}
