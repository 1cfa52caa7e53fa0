/**
 * Lines of the log, read back: what src/log/log.ts writes in either format, with whatever a file, syslog
 * or the journal put before it. Pure. Hostile input: lines of other programs in the same file; parsing
 * never throws, and what is none of ours is undefined. Values stay escaped as they are.
 */

export interface LoggedEvent {
  /** Milliseconds since 1970-01-01 UTC; undefined where the line does not say it in a way that is known. */
  readonly time: number | undefined;
  /** As in `accepted`, `deferred`. */
  readonly event: string;
  readonly fields: Readonly<Record<string, string>>;
}

/** A pair of the text format: `said="450 4.2.1 busy"`, `attempts=1`. */
const PAIR = /(?:^| )([a-z]{1,20})=(?:"([^"]*)"|([^\s"]+))/g;

/** A line is no longer than this, or it is none of ours. */
const LONGEST = 1_000_000;

/**
 * One line, without its line end.
 * @param now what the stamps of syslog, which have no year, are near to (milliseconds since 1970-01-01 UTC)
 */
export function parseLogLine(line: string, now: number): LoggedEvent | undefined {
  if (line.length > LONGEST) return undefined;
  const brace = line.indexOf('{');
  if (brace !== -1 && line.endsWith('}')) return parseJson(line, brace, now);
  // In a file the event follows the time; syslog names the program between them.
  const [, head, event, rest] =
    /^(\S+ |.{0,300}?\bpicorelay(?:\[\d{1,10}\])?: )([a-z]{1,20})((?: [a-z]{1,20}=.*)?)$/.exec(
      line,
    ) ?? [];
  if (event === undefined || head === undefined || rest === undefined) return undefined;
  const fields: Record<string, string> = {};
  for (const [, key = '', quoted, bare] of rest.matchAll(PAIR)) fields[key] = quoted ?? bare ?? '';
  return { time: timeOf(head, now), event, fields };
}

function parseJson(line: string, brace: number, now: number): LoggedEvent | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line.slice(brace));
  } catch {
    // Of another program, or cut.
    return undefined;
  }
  if (typeof value !== 'object' || value === null || !('event' in value)) return undefined;
  const { event, time, ...others } = value as Readonly<Record<string, unknown>>;
  if (typeof event !== 'string') return undefined;
  const fields: Record<string, string> = {};
  for (const [key, each] of Object.entries(others)) {
    if (typeof each === 'string' || typeof each === 'number') fields[key] = String(each);
  }
  return {
    time: timeOf(typeof time === 'string' ? time : line.slice(0, brace), now),
    event,
    fields,
  };
}

/** The time that a line begins with: ISO 8601, or syslog's `Nov 21 08:15:02` in local time. */
function timeOf(head: string, now: number): number | undefined {
  const [iso] = /^\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-]\d\d:?\d\d)?/.exec(head) ?? [];
  if (iso !== undefined) {
    const time = Date.parse(iso.replace(',', '.').replace(/([+-]\d\d)(\d\d)$/, '$1:$2'));
    return Number.isNaN(time) ? undefined : time;
  }
  const [, stamp] = /^([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) /.exec(head) ?? [];
  if (stamp === undefined) return undefined;
  const year = new Date(now).getFullYear();
  const time = Date.parse(`${stamp} ${year}`);
  if (Number.isNaN(time)) return undefined;
  // What seems to lie ahead was written last year.
  return time <= now + 86_400_000 ? time : Date.parse(`${stamp} ${year - 1}`);
}
