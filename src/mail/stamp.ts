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

/**
 * The moment of such digits, in milliseconds since 1970-01-01 UTC; undefined for a day or an hour that
 * there is not. By arithmetic: a listing of the queue asks this twice for each of perhaps a million names.
 * @param text exactly eight digits, T, and six digits
 */
export function parseStamp(text: string): number | undefined {
  if (!/^\d{8}T\d{6}$/.test(text)) return undefined;
  const [year, month, day] = [number(text, 0, 4), number(text, 4, 2), number(text, 6, 2)];
  const [hour, minute, second] = [number(text, 9, 2), number(text, 11, 2), number(text, 13, 2)];
  if (month < 1 || month > 12 || day < 1 || day > daysOf(year, month)) return undefined;
  if (hour > 23 || minute > 59 || second > 59) return undefined;
  // Date.UTC takes the years before 100 for those after 1900; 400 years are always as many days.
  const days = Date.UTC(year + 400, month - 1, day) / DAY - DAYS_OF_400_YEARS;
  return days * DAY + ((hour * 60 + minute) * 60 + second) * 1000;
}

const DAY = 86_400_000;
const DAYS_OF_400_YEARS = 146_097;

function daysOf(year: number, month: number): number {
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  if (month === 2) return leap ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

function number(text: string, at: number, digits: number): number {
  let value = 0;
  for (let index = at; index < at + digits; index++) {
    value = value * 10 + text.charCodeAt(index) - 0x30;
  }
  return value;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}
