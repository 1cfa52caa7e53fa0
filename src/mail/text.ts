/**
 * Text from outside, made fit to be shown on a terminal or written on one line of a log, and read
 * back. Hostile input: everything, for it comes from servers, addresses and messages. It never
 * shortens the text and never loses a code unit, so that the original can be had again.
 */

/**
 * What a terminal obeys, a log reader takes for a line end, or a reader's eye is misled by: C0, DEL
 * and C1 controls, the bidirectional controls (Unicode UAX 9 section 2), the line and paragraph
 * separators, and surrogates that belong to no pair. The backslash begins an escape.
 */
const UNSAFE = /[\x00-\x1f\x7f-\x9f\\\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/gu;

/** A backslash with the escape that follows it, if one does. */
const ESCAPE = /\\(?:\\|x([0-9a-f]{2})|u\{([0-9a-f]{1,4})\})?/g;

/**
 * The text with everything unsafe as `\xNN` (up to U+00FF) or `\u{…}`, and each backslash doubled.
 * Two different texts never become the same. Linear, and no text makes it throw.
 */
export function escapeText(text: string): string {
  return text.replace(UNSAFE, (character) => {
    if (character === '\\') return '\\\\';
    const unit = character.charCodeAt(0);
    const digits = unit.toString(16);
    return unit <= 0xff ? `\\x${digits.padStart(2, '0')}` : `\\u{${digits}}`;
  });
}

/**
 * The text that `escapeText` was given, or undefined where a backslash begins none of its escapes.
 * The result is as unsafe as the original.
 */
export function unescapeText(escaped: string): string | undefined {
  let malformed = false;
  const text = escaped.replace(ESCAPE, (whole: string, byte?: string, unit?: string) => {
    if (whole === '\\') malformed = true;
    if (whole === '\\\\') return '\\';
    return String.fromCharCode(Number.parseInt(byte ?? unit ?? '', 16));
  });
  return malformed ? undefined : text;
}
