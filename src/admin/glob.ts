/**
 * Patterns of the command line: `*` is any text, `?` any one character, all else itself, capitals or not.
 * Pure; the time is bounded by the product of the lengths, whatever the pattern.
 */

/** Whether a whole text fits a pattern. */
export function matchesGlob(pattern: string, text: string): boolean {
  const wanted = [...pattern.toLowerCase()];
  const given = [...text.toLowerCase()];
  let at = 0;
  let place = 0;
  // Where the last star stands, and how much of the text it has taken.
  let star = -1;
  let taken = 0;
  while (at < given.length) {
    if (wanted[place] === '*') {
      star = place++;
      taken = at;
    } else if (place < wanted.length && (wanted[place] === '?' || wanted[place] === given[at])) {
      place++;
      at++;
    } else if (star >= 0) {
      place = star + 1;
      at = ++taken;
    } else {
      return false;
    }
  }
  return wanted.slice(place).every((each) => each === '*');
}

/** Whether a word is a pattern: no name of an entry has these characters. */
export function isGlob(word: string): boolean {
  return /[*?]/.test(word);
}
