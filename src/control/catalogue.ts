/**
 * Every control file in one place: its name, what it takes, what holds without it, how it is read
 * and one line of help. control.ts reads files by it, manual.ts writes docs/control.md and the
 * shipped folder from it, and the type `ControlValues` is derived from it. Pure; the parsers take
 * any text and never throw.
 */
import { parseDuration } from './duration.ts';
import {
  isHostName,
  isIPv4,
  isIPv6,
  parseRelay,
  type Relay,
  withoutPassword,
} from './relay-url.ts';
import { DEFAULT_RETRY, type Line, parseRetry, type RetryPlan } from './retry.ts';

/** One control file that is read to a `T`. */
export interface ControlFile<T> {
  readonly name: string;
  /**
   * `value`: the first line counts. `list`: one item a line, with comments and blank lines.
   * `secret`: a value that is never shown and whose file may not be open to others.
   */
  readonly kind: 'value' | 'list' | 'secret';
  /** What the file may hold, made to stand after "expected" and "takes". */
  readonly takes: string;
  readonly help: string;
  readonly absent: Absent<T>;
  /** Gets the first line of a value, the items of a list. */
  readonly parse: (lines: readonly Line[]) => Parsed<T>;
}

/** What holds when a file is not there. */
export type Absent<T> =
  /** This text, read by the same parser; it is also what the file holds as shipped. */
  | { readonly text: string }
  /** Whatever the other file says. */
  | { readonly file: ControlFile<T> }
  /** A value that no text stands for; `means` describes it. */
  | { readonly value: T; readonly means: string }
  /** Nothing: without the file no mail is sent. `make` is the shell line that writes it. */
  | { readonly make: (path: string) => string };

export type Parsed<T> = { readonly value: T } | { readonly problem: Problem };

export interface Problem {
  /** Where; undefined when it is not one line's fault. */
  readonly line?: number;
  /** What stands there, raw. */
  readonly found: string;
  /** What should stand there, where `takes` alone does not say it. */
  readonly expected?: string;
}

const HOST = 'a host name, as in mail.example.com (in ASCII, xn--… for others)';
const RELAY =
  'a relay, as in smtp.example.com, smtp://host:587, smtps://user@host or [2001:db8::1]:25';
const PATH = 'an absolute path';

const me: ControlFile<string> = {
  name: 'me',
  kind: 'value',
  takes: HOST,
  help: 'The name of this host. The one file that has to be there; every other host name follows it.',
  absent: { make: (path) => `hostname -f > ${path}` },
  parse: single(hostName),
};

const defaulthost: ControlFile<string> = {
  name: 'defaulthost',
  kind: 'value',
  takes: HOST,
  help: 'Put behind an address that has no host.',
  absent: { file: me },
  parse: single(hostName),
};

const defaultdomain: ControlFile<string | undefined> = {
  name: 'defaultdomain',
  kind: 'value',
  takes: `${HOST}; an empty line adds nothing`,
  help: 'Put behind a host name that has no dot.',
  absent: { value: undefined, means: 'nothing is added' },
  parse: single((text) => (text === '' ? { value: undefined } : hostName(text))),
};

const plusdomain: ControlFile<string> = {
  name: 'plusdomain',
  kind: 'value',
  takes: HOST,
  help: 'Put by qmail-inject behind a host name that ends with a plus sign, in the place of that sign.',
  absent: { file: me },
  parse: single(hostName),
};

const idhost: ControlFile<string> = {
  name: 'idhost',
  kind: 'value',
  takes: HOST,
  help: 'The right side of each Message-ID that is made here.',
  absent: { file: me },
  parse: single(hostName),
};

const helohost: ControlFile<string> = {
  name: 'helohost',
  kind: 'value',
  takes: `${HOST}, or an address literal such as [192.0.2.1]`,
  help: 'The name that is given to the relay with EHLO.',
  absent: { file: me },
  parse: single((text) => hostName(text) ?? addressLiteral(text)),
};

const minivars: ControlFile<readonly Relay[]> = {
  name: 'minivars',
  kind: 'list',
  takes: 'shell lines NAME=value with plain values; they are read, never executed',
  help: 'The relay as PicoQmail writes it, used when there is neither relay nor relayip: RELAYIP, RELAY or SMTPSERVER is the host, RELAYPORT or SMTPPORT the port; capitals do not matter, other names are passed over.',
  absent: { value: [], means: 'no relay' },
  parse: parseMinivars,
};

const relayip: ControlFile<readonly Relay[]> = {
  name: 'relayip',
  kind: 'value',
  takes: 'one address or host name, with or without :port',
  help: 'The relay as PicoQmail writes it, used when there is no relay file.',
  absent: { file: minivars },
  parse: single((text) => {
    const relay = parseRelay(text);
    return text.includes('://') || 'problem' in relay ? undefined : { value: [relay] };
  }, withoutPassword),
};

const relay: ControlFile<readonly Relay[]> = {
  name: 'relay',
  kind: 'list',
  takes: RELAY,
  help: 'The relays that take our mail, tried in order. The port is 25 for smtp:// and bare names, 465 for smtps://; most login ports are written smtp://user@host:587. A password goes into authpassword. While no relay is named, mail is accepted and waits.',
  absent: { file: relayip },
  parse: parseRelays,
};

const authuser: ControlFile<string | undefined> = {
  name: 'authuser',
  kind: 'value',
  takes: 'a login name without control characters',
  help: 'The login name for every relay whose line names none.',
  absent: { value: undefined, means: 'no login' },
  parse: single(credential),
};

const authpassword: ControlFile<string | undefined> = {
  name: 'authpassword',
  kind: 'secret',
  takes: 'one line of text without control characters',
  help: 'The password for the login. It is refused while others may read or change the file: chmod 640.',
  absent: { value: undefined, means: 'no password' },
  parse: single(credential),
};

const authcleartext: ControlFile<boolean> = {
  name: 'authcleartext',
  kind: 'value',
  takes: 'yes or no',
  help: 'Whether the password may go over a connection without TLS.',
  absent: { text: 'no' },
  parse: single((text) => {
    const answer = choice('yes', 'no')(text);
    return answer === undefined ? undefined : { value: answer.value === 'yes' };
  }),
};

const tls: ControlFile<'required' | 'opportunistic' | 'off'> = {
  name: 'tls',
  kind: 'value',
  takes: 'required, opportunistic or off',
  help: 'Whether mail may go over a connection without TLS. required: only to a relay on this machine (localhost, 127.0.0.0/8, ::1). opportunistic: when the relay offers none. off: TLS is not asked for.',
  absent: { text: 'required' },
  parse: single(choice('required', 'opportunistic', 'off')),
};

const tlscafile: ControlFile<string | undefined> = {
  name: 'tlscafile',
  kind: 'value',
  takes: `${PATH} of a PEM file`,
  help: 'Certificate authorities of your own that the relay’s certificate may come from.',
  absent: { value: undefined, means: 'the authorities that node knows' },
  parse: single(absolutePath),
};

const spooldir: ControlFile<string> = {
  name: 'spooldir',
  kind: 'value',
  takes: PATH,
  help: 'The folder that holds the queue.',
  absent: { text: '/var/spool/picorelay' },
  parse: single(absolutePath),
};

const immediate: ControlFile<'background' | 'wait' | 'off'> = {
  name: 'immediate',
  kind: 'value',
  takes: 'background, wait or off',
  help: 'When accepted mail is first offered to the relay. background: at once, while the caller goes on. wait: before the caller goes on. off: by the next cron run.',
  absent: { text: 'background' },
  parse: single(choice('background', 'wait', 'off')),
};

const linger: ControlFile<number> = {
  name: 'linger',
  kind: 'value',
  takes: 'a duration from 0s to 1h',
  help: 'How long a runner waits for more mail before it closes its connections.',
  absent: { text: '2s' },
  parse: single(seconds(0, 3600)),
};

const retry: ControlFile<RetryPlan> = {
  name: 'retry',
  kind: 'list',
  takes:
    'one line of delays with their units, and any number of lines with five cron fields, as in 30 * * * * or TZ=Europe/Berlin 0 22-23 * * *',
  help: 'When mail that was put off is tried again: after each of the delays in turn, then always after the last one. Cron lines say when relaying may happen at all.',
  absent: { text: DEFAULT_RETRY },
  parse: (lines) => {
    const plan = parseRetry(lines);
    if (!('problem' in plan)) return { value: plan };
    const { line, problem } = plan;
    return { problem: { line: line.number, found: line.text, expected: problem } };
  },
};

const queuelifetime: ControlFile<number> = {
  name: 'queuelifetime',
  kind: 'value',
  takes: 'a duration from 1s to 10 years',
  help: 'How long mail is tried before it goes to Undelivered.',
  absent: { text: '5d' },
  parse: single(seconds(1, Number.POSITIVE_INFINITY)),
};

const transactionrecipients = wholeNumber(
  'transactionrecipients',
  10_000,
  '100',
  'The most recipients that one transaction names to the relay.',
);

const connections = wholeNumber(
  'connections',
  100,
  '10',
  'The most connections to a relay at a time. They are opened gradually, and only for a queue that keeps each of them busy.',
);

const connectionmessages = wholeNumber(
  'connectionmessages',
  1_000_000,
  '500',
  'The most messages that go over one connection before a new one is opened.',
);

const messagesinflight = wholeNumber(
  'messagesinflight',
  100,
  '8',
  'The most messages that are under way on one connection before the first is answered, where the relay offers CHUNKING. When the connection breaks, so many may reach their recipients twice.',
);

const log: ControlFile<'syslog' | 'stderr' | `/${string}`> = {
  name: 'log',
  kind: 'value',
  takes: 'syslog, stderr, or the absolute path of a file or device',
  help: 'Where the log goes; lines are added at the end of a file.',
  absent: { text: 'syslog' },
  parse: single<'syslog' | 'stderr' | `/${string}`>(
    (text) => choice('syslog', 'stderr')(text) ?? absolutePath(text),
  ),
};

const logformat: ControlFile<'text' | 'json'> = {
  name: 'logformat',
  kind: 'value',
  takes: 'text or json',
  help: 'How a log line is written: for people, or one JSON object a line.',
  absent: { text: 'text' },
  parse: single(choice('text', 'json')),
};

/** In the order in which docs/control.md shows them. */
const files = {
  me,
  defaulthost,
  defaultdomain,
  plusdomain,
  idhost,
  helohost,
  relay,
  relayip,
  minivars,
  authuser,
  authpassword,
  authcleartext,
  tls,
  tlscafile,
  spooldir,
  immediate,
  linger,
  retry,
  queuelifetime,
  transactionrecipients,
  connections,
  connectionmessages,
  messagesinflight,
  // The defaults are those of RFC 5321 section 4.5.3.2, where it names one.
  timeoutconnect: timeout('timeoutconnect', '1m', 'for the connection and its TLS handshake'),
  timeoutgreeting: timeout('timeoutgreeting', '5m', 'for the relay’s greeting'),
  timeouthelo: timeout('timeouthelo', '5m', 'for the answer to EHLO, HELO, STARTTLS and AUTH'),
  timeoutmail: timeout('timeoutmail', '5m', 'for the answer to MAIL'),
  timeoutrcpt: timeout('timeoutrcpt', '5m', 'for the answer to each RCPT'),
  timeoutdata: timeout('timeoutdata', '2m', 'for the answer to DATA'),
  timeoutblock: timeout('timeoutblock', '3m', 'for the relay to take a block of the message'),
  timeoutdot: timeout('timeoutdot', '10m', 'for the answer to the end of the message'),
  timeoutquit: timeout('timeoutquit', '5s', 'for the answer to QUIT'),
  timeoutsession: timeout('timeoutsession', '2h', 'for a whole session with one relay'),
  log,
  logformat,
} as const;

export type ControlName = keyof typeof files;

/** What each control file is read to. Durations are in seconds. */
export type ControlValues = {
  readonly [N in ControlName]: (typeof files)[N] extends ControlFile<infer T> ? T : never;
};

export const catalogue: { readonly [N in ControlName]: ControlFile<ControlValues[N]> } = files;

/** A reader of one line; undefined stands for anything that `takes` does not allow. */
type ValueReader<T> = (text: string) => { readonly value: T } | undefined;

function single<T>(
  read: ValueReader<T>,
  show: (text: string) => string = (text) => text,
): (lines: readonly Line[]) => Parsed<T> {
  return ([line = { number: 1, text: '' }]) =>
    read(line.text) ?? { problem: { line: line.number, found: show(line.text) } };
}

function wholeNumber(name: string, most: number, text: string, help: string): ControlFile<number> {
  return {
    name,
    kind: 'value',
    takes: `a whole number from 1 to ${most}`,
    help,
    absent: { text },
    parse: single((found) => {
      const number = /^\d{1,7}$/.test(found) ? Number(found) : 0;
      return number >= 1 && number <= most ? { value: number } : undefined;
    }),
  };
}

function timeout(name: string, text: string, what: string): ControlFile<number> {
  return {
    name,
    kind: 'value',
    takes: 'a duration from 1s to 1d',
    help: `How long to wait ${what}.`,
    absent: { text },
    // A timer of node that is asked for more than 24 days fires at once.
    parse: single(seconds(1, 86_400)),
  };
}

function seconds(least: number, most: number): ValueReader<number> {
  return (text) => {
    const value = parseDuration(text);
    return value === undefined || value < least || value > most ? undefined : { value };
  };
}

function choice<T extends string>(...words: readonly T[]): ValueReader<T> {
  return (text) => {
    const value = words.find((word) => word === text.toLowerCase());
    return value === undefined ? undefined : { value };
  };
}

function hostName(text: string): { readonly value: string } | undefined {
  return isHostName(text) ? { value: text } : undefined;
}

/** RFC 5321 section 4.1.3. */
function addressLiteral(text: string): { readonly value: string } | undefined {
  const address = /^\[(?:IPv6:(.*)|(.*))\]$/i.exec(text);
  const known = isIPv6(address?.[1] ?? '') || isIPv4(address?.[2] ?? '');
  return known ? { value: text } : undefined;
}

function credential(text: string): { readonly value: string } | undefined {
  return text === '' || /\p{Cc}/u.test(text) ? undefined : { value: text };
}

function absolutePath(text: string): { readonly value: `/${string}` } | undefined {
  const known = isAbsolute(text) && text.length < 4096 && !/\p{Cc}/u.test(text);
  return known ? { value: text } : undefined;
}

function isAbsolute(text: string): text is `/${string}` {
  return text.startsWith('/');
}

function parseRelays(lines: readonly Line[]): Parsed<readonly Relay[]> {
  const relays: Relay[] = [];
  for (const { number, text } of lines) {
    const relay = parseRelay(text);
    if ('problem' in relay) {
      return {
        problem: { line: number, found: withoutPassword(text), expected: relay.problem },
      };
    }
    relays.push(relay);
  }
  return { value: relays };
}

const HOST_VARIABLES = ['RELAYIP', 'RELAY', 'SMTPSERVER'];
const PORT_VARIABLES = ['RELAYPORT', 'SMTPPORT'];

/** One assignment up to the `;`, the comment or the end of line behind it. */
const ASSIGNMENT =
  /(?:export[ \t]+)?([A-Za-z_]\w*)=(?:'([^']*)'|"([^"]*)"|([^\s;&|'"]*))(?:[ \t]*(?:;[ \t]*|$)|[ \t]+#.*)/y;
const KNOWN = new RegExp(
  `(?:export[ \t]+)?(?:${[...HOST_VARIABLES, ...PORT_VARIABLES].join('|')})=`,
  'iy',
);

/**
 * Reads PicoQmail's shell variables without a shell. A known name whose value a shell would have to
 * work out is an error, since passing over it would leave the host without its relay; everything
 * else in the file may be any shell and is passed over, unseen and unshown: it may hold secrets.
 */
function parseMinivars(lines: readonly Line[]): Parsed<readonly Relay[]> {
  const variables = new Map<string, Line>();
  for (const { number, text } of lines) {
    let offset = 0;
    for (;;) {
      ASSIGNMENT.lastIndex = offset;
      const match = ASSIGNMENT.exec(text);
      if (match === null) break;
      offset = ASSIGNMENT.lastIndex;
      const [, name = '', single, double, plain] = match;
      variables.set(name.toUpperCase(), { number, text: single ?? double ?? plain ?? '' });
    }
    KNOWN.lastIndex = offset;
    const [known] = KNOWN.exec(text) ?? [];
    if (known !== undefined) {
      return {
        problem: {
          line: number,
          found: known,
          expected: 'a plain value behind it, as in NAME=value',
        },
      };
    }
  }

  const host = firstOf(variables, HOST_VARIABLES);
  if (host === undefined) return { value: [] };
  const relay = parseRelay(host.text);
  if ('problem' in relay) {
    const found = withoutPassword(host.text);
    return { problem: { line: host.number, found, expected: relay.problem } };
  }
  const port = firstOf(variables, PORT_VARIABLES);
  if (port === undefined) return { value: [relay] };
  const number = /^\d{1,5}$/.test(port.text) ? Number(port.text) : 0;
  if (number < 1 || number > 65_535) {
    return { problem: { line: port.number, found: port.text, expected: 'a port from 1 to 65535' } };
  }
  return { value: [{ ...relay, port: number }] };
}

/** The first of these variables that is set to anything. */
function firstOf(variables: ReadonlyMap<string, Line>, names: readonly string[]): Line | undefined {
  return names
    .map((name) => variables.get(name))
    .find((line) => line !== undefined && line.text !== '');
}
