/**
 * Durations as people write them in control files: `90`, `15m`, `1h30m`. Pure, linear, never throws.
 */

/** The longest duration that is understood: ten years, in seconds. */
const LONGEST = 10 * 365 * 86_400;

const UNITS = [
  ['w', 604_800],
  ['d', 86_400],
  ['h', 3600],
  ['m', 60],
  ['s', 1],
] as const;

const FORM =
  /^(?:(\d{1,9})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?$|^(\d{1,9})$/;

/**
 * Reads a duration: a number of seconds, or numbers with the units w, d, h, m, s, each at most once
 * and the larger one first. Returns seconds, or undefined for any other text and for more than ten
 * years.
 *
 * @example parseDuration('1h30m') // 5400
 */
export function parseDuration(text: string): number | undefined {
  const match = FORM.exec(text);
  if (match === null || text === '') return undefined;
  let seconds = Number(match[UNITS.length + 1] ?? 0);
  for (const [index, [, size]] of UNITS.entries()) seconds += Number(match[index + 1] ?? 0) * size;
  return seconds <= LONGEST ? seconds : undefined;
}

/**
 * Writes whole, non-negative seconds in the largest units, so that `parseDuration` reads them back.
 *
 * @example formatDuration(5400) // '1h30m'
 */
export function formatDuration(seconds: number): string {
  let rest = seconds;
  let text = '';
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * size;
  }
  return text === '' ? '0s' : text;
}
