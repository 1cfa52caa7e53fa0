/**
 * A moment in digits, as in `20261120T231501`: UTC, to the second. Not by toISOString, for which V8 loads
 * its time zones, and which every submission would pay.
 * @param milliseconds since 1970-01-01 UTC
 */
export function stamp(milliseconds: number): string {
  const time = new Date(milliseconds);
  const day = [time.getUTCMonth() + 1, time.getUTCDate()];
  const clock = [time.getUTCHours(), time.getUTCMinutes(), time.getUTCSeconds()];
  const year = String(time.getUTCFullYear()).padStart(4, '0');
  return `${year}${day.map(twoDigits).join('')}T${clock.map(twoDigits).join('')}`;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}
