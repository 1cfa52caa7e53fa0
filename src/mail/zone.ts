/**
 * The offset of local time from a file of the system's time zones (RFC 9636), as /etc/localtime is one.
 * A runtime knows the same, but takes its time to load what it knows. Pure, and never throws: what the
 * file does not say clearly is undefined, and the runtime is asked.
 */

/**
 * Minutes east of UTC, or undefined for a file that cannot be read.
 * @param file a whole file of version 2 or later
 * @param time seconds since 1970-01-01 UTC
 */
export function zoneMinutes(file: Uint8Array, time: number): number | undefined {
  try {
    const seconds = offsetAt(new DataView(file.buffer, file.byteOffset, file.byteLength), time);
    // Before railways some zones differed from UTC by odd seconds, which a Date field cannot say. No -0.
    return seconds === undefined ? undefined : Math.trunc(seconds / 60) + 0;
  } catch (error) {
    // The file ends where its counts say that there is more.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

const MAGIC = 0x545a6966;
const HEADER = 44;

interface Block {
  readonly transitions: number;
  readonly types: number;
  /** Where what follows the header begins, and where it ends. */
  readonly start: number;
  readonly end: number;
}

function readBlock(view: DataView, at: number, timeSize: 4 | 8): Block | undefined {
  if (view.getUint32(at) !== MAGIC || view.getUint8(at + 4) < 0x32) return undefined;
  const count = (index: number): number => view.getUint32(at + 20 + 4 * index);
  const [utc, standard, leaps, transitions, types, characters] = [0, 1, 2, 3, 4, 5].map(count);
  if (utc === undefined || standard === undefined || leaps === undefined) return undefined;
  if (transitions === undefined || types === undefined || characters === undefined)
    return undefined;
  const start = at + HEADER;
  const size = transitions * (timeSize + 1) + types * 6 + characters + leaps * (timeSize + 4);
  return { transitions, types, start, end: start + size + standard + utc };
}

function offsetAt(view: DataView, time: number): number | undefined {
  // The first block is for readers of forty years ago.
  const first = readBlock(view, 0, 4);
  const block = first && readBlock(view, first.end, 8);
  if (block === undefined || block.types === 0) return undefined;
  const { start, transitions, types } = block;
  let passed = 0;
  while (passed < transitions && Number(view.getBigInt64(start + 8 * passed)) <= time) passed++;
  if (passed === transitions) {
    const rule = readRule(view, block.end);
    if (rule !== '') return ruleOffset(rule, time);
  }
  const type = passed === 0 ? 0 : view.getUint8(start + 8 * transitions + passed - 1);
  return type < types ? view.getInt32(start + 9 * transitions + 6 * type) : undefined;
}

/** The line behind the second block: what holds after the last transition. */
function readRule(view: DataView, at: number): string {
  let text = '';
  for (let index = at + 1; view.getUint8(index) !== 0x0a; index++) {
    text += String.fromCharCode(view.getUint8(index));
  }
  return text;
}

const RULE =
  /^(?:[A-Za-z]{3,}|<[\w+-]+>)([+-]?[\d:]+)(?:(?:[A-Za-z]{3,}|<[\w+-]+>)([+-]?[\d:]+)?,([^,]+),([^,]+))?$/;

/** The offset by a rule such as `CET-1CEST,M3.5.0,M10.5.0/3` (POSIX, with the hours of RFC 9636). */
function ruleOffset(rule: string, time: number): number | undefined {
  const [, west = '', summerWest, begin, end] = RULE.exec(rule) ?? [];
  if (west === '') return undefined;
  const standard = -secondsOf(west);
  if (begin === undefined || end === undefined) return standard;
  const summer = summerWest === undefined ? standard + 3600 : -secondsOf(summerWest);
  const year = new Date((time + standard) * 1000).getUTCFullYear();
  const from = momentOf(begin, year);
  const to = momentOf(end, year);
  if (from === undefined || to === undefined) return undefined;
  const [start, stop] = [from - standard, to - summer];
  const isSummer = start < stop ? time >= start && time < stop : time >= start || time < stop;
  return isSummer ? summer : standard;
}

/** `[+-]hh[:mm[:ss]]` in seconds. */
function secondsOf(text: string): number {
  const [hours = 0, minutes = 0, seconds = 0] = text.replace(/^[+-]/, '').split(':').map(Number);
  const size = hours * 3600 + minutes * 60 + seconds;
  return text.startsWith('-') ? -size : size;
}

/** The local time of a change in a year, in seconds as if it were UTC. */
function momentOf(text: string, year: number): number | undefined {
  const [day = '', clock = '2'] = text.split('/');
  const midnight = dayOf(day, year);
  return midnight === undefined ? undefined : midnight / 1000 + secondsOf(clock);
}

function dayOf(text: string, year: number): number | undefined {
  const DAY = 86_400_000;
  const [, month, week, weekday] = /^M(\d{1,2})\.([1-5])\.([0-6])$/.exec(text) ?? [];
  if (month !== undefined && week !== undefined && weekday !== undefined) {
    const first = Date.UTC(year, Number(month) - 1, 1);
    const last = Date.UTC(year, Number(month), 0);
    const lead = (Number(weekday) - new Date(first).getUTCDay() + 7) % 7;
    const found = first + (lead + 7 * (Number(week) - 1)) * DAY;
    return found > last ? found - 7 * DAY : found;
  }
  const [, julian, digits] = /^(J?)(\d{1,3})$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  if (julian === '') return Date.UTC(year, 0, 1) + Number(digits) * DAY;
  // J counts from 1 and never counts the 29th of February.
  const leap = new Date(Date.UTC(year, 1, 29)).getUTCMonth() === 1 && Number(digits) > 59;
  return Date.UTC(year, 0, 1) + (Number(digits) - (leap ? 0 : 1)) * DAY;
}
