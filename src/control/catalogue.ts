/**
 * Every control file in one place: its name, what it takes, what holds without it, how it is read
 * and one line of help. control.ts reads files by it, manual.ts writes docs/control.md and the
 * shipped folder from it, and the type `ControlValues` is derived from it. Pure; the parsers take
 * any text and never throw.
 */
import { isMailbox } from '../mail/address.ts';
import { type Floor, parseSize } from '../mail/limits.ts';
import type { SenderMap } from '../mail/rewriting.ts';
import { ALERT_EXAMPLES, type AlertRoad, isSafeUrl, parseAlert } from './alert.ts';
import { parseDuration } from './duration.ts';
import {
  type Destination,
  isHostName,
  isIPv4,
  isIPv6,
  type ProxyServer,
  parseDirect,
  parsePin,
  parseProxy,
  parseRelay,
  type Relay,
  type TlsPolicy,
  withoutPassword,
} from './relay-url.ts';
import { DEFAULT_RETRY, type Line, parseRetry, type RetryPlan } from './retry.ts';
import {
  parseSenderRoutes,
  parseSmtpRoutes,
  type RouteProblem,
  type RouteTable,
} from './routes.ts';
import { parseSenderMap, SENDER_MAP_TAKES } from './sender-map.ts';

/** One control file that is read to a `T`. */
export interface ControlFile<T> {
  readonly name: string;
  /**
   * `value`: the first line counts. `list`: one item a line, with comments and blank lines.
   * `secret` and `secrets`: a value or list that is never shown and whose file may not be open to others.
   */
  readonly kind: 'value' | 'list' | 'secret' | 'secrets';
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

/** One line of control/dkim. */
export interface DkimLine {
  /** Where it stands in the file, counted from 1. */
  readonly line: number;
  /** In lower case. */
  readonly domain: string;
  readonly selector: string;
  readonly keyFile: string;
  /** In lower case; undefined: the usual ones. */
  readonly fields: readonly string[] | undefined;
}

/** The SASL mechanisms that are known here. */
const MECHANISMS = [
  'EXTERNAL',
  'SCRAM-SHA-256-PLUS',
  'SCRAM-SHA-256',
  'OAUTHBEARER',
  'XOAUTH2',
  'PLAIN',
  'LOGIN',
  'CRAM-MD5',
] as const;

export type MechanismName = (typeof MECHANISMS)[number];

const HOST = 'a host name, as in mail.example.com (in ASCII, xn--… for others)';
const RELAY =
  'a relay, as in smtp.example.com, smtp://host:587, smtps://user@host, [2001:db8::1]:25, lmtp://host or lmtp+unix:///path, or mx://';
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

const relay: ControlFile<Destination> = {
  name: 'relay',
  kind: 'list',
  takes: RELAY,
  help: 'The relays that take our mail, tried in order. The port is 25 for smtp:// and bare names, 465 for smtps://, 24 for lmtp://; most login ports are written smtp://user@host:587. smtp+unix:///path and lmtp+unix:///path are Unix sockets, without TLS and login. ?tls=opportunistic or ?pin=FINGERPRINT behind a relay holds for it instead of the files tls and tlspin; & joins several. A password goes into authpassword. mx:// alone in the file means no relay: mail goes to the mail exchangers of each recipient’s domain. While no relay is named, mail is accepted and waits.',
  absent: { file: relayip },
  parse: parseRelayFile,
};

const nameservers: ControlFile<readonly string[]> = {
  name: 'nameservers',
  kind: 'list',
  takes: 'addresses of DNS servers, as in 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53',
  help: 'Whom to ask for mail exchangers and their addresses, where mail goes without a relay.',
  absent: { value: [], means: 'the servers in /etc/resolv.conf' },
  parse: (lines) => {
    const wrong = lines.find(({ text }) => {
      const [, v6, v4 = '', port = '53'] =
        /^(?:\[(.*)\]|([\d.]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
      const known = isIPv6(text) || isIPv4(v4) || isIPv6(v6 ?? '');
      return !known || Number(port) < 1 || Number(port) > 65_535;
    });
    return wrong === undefined
      ? { value: lines.map(({ text }) => text) }
      : { problem: { line: wrong.number, found: wrong.text } };
  },
};

const smtproutes: ControlFile<RouteTable> = {
  name: 'smtproutes',
  kind: 'list',
  takes:
    'lines such as example.com:relay.example.net, .example.com:relay.example.net:2525 or :smtps://me@relay.example.net',
  help: 'Relays for some recipient domains, as in qmail: a domain, a colon, and a relay as in the file relay, or several, tried in order. With a dot before it, the domain stands for those below it; without a domain the line is for all others. Nothing behind the colon means no relay, as does mx:// in the file relay.',
  absent: { value: new Map(), means: 'all mail goes to the relays of the file relay' },
  parse: table(parseSmtpRoutes),
};

const senderroutes: ControlFile<RouteTable> = {
  name: 'senderroutes',
  kind: 'list',
  takes:
    'lines such as jo@example.com smtps://jo@smtp.example.com or example.org smtp://relay.example.org:587',
  help: 'Relays for some envelope senders: an address or a domain, then a relay as in the file relay, or several, tried in order. They come before smtproutes. The passwords of several login names go into authpasswords.',
  absent: { value: new Map(), means: 'the sender does not matter' },
  parse: table(parseSenderRoutes),
};

const authpasswords: ControlFile<ReadonlyMap<string, string>> = {
  name: 'authpasswords',
  kind: 'secrets',
  takes: 'lines with a login name, white space and its password',
  help: 'Passwords by login name, for relays whose lines name different ones. A login that is not here has the password in authpassword.',
  absent: { value: new Map(), means: 'all logins have the password in authpassword' },
  parse: (lines) => {
    const passwords = new Map<string, string>();
    for (const { number, text } of lines) {
      const [, login, password] = /^(\S+)\s+(\P{Cc}+)$/u.exec(text) ?? [];
      if (login === undefined || password === undefined)
        return { problem: { line: number, found: '' } };
      passwords.set(login, password);
    }
    return { value: passwords };
  },
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
  help: 'The password for the login. It is refused unless the file belongs to root or the user who sends, and only they and the group of the spool may read it: chmod 640.',
  absent: { value: undefined, means: 'no password' },
  parse: single(credential),
};

const authpasswordcommand: ControlFile<string | undefined> = {
  name: 'authpasswordcommand',
  kind: 'secret',
  takes: 'one shell command',
  help: 'A command whose first line of output is the password, used where there is no authpassword. It is run when a relay asks for the login, by the user that sends, with sh -c, PATH=/usr/local/bin:/usr/bin:/bin and no other environment, and has 30 seconds. With oauthbearer or xoauth2 in authmechanisms it prints an OAuth 2 access token.',
  absent: { value: undefined, means: 'no command' },
  parse: single(credential),
};

const authmechanisms: ControlFile<readonly MechanismName[] | undefined> = {
  name: 'authmechanisms',
  kind: 'value',
  takes: `mechanisms, best first: ${MECHANISMS.join(', ').toLowerCase()}`,
  help: 'The ways to log in that may be used. external logs in by tlscertfile and needs no password; oauthbearer and xoauth2 take the password for an access token where there is no oauthtokenurl.',
  absent: {
    value: undefined,
    means:
      'scram-sha-256-plus, scram-sha-256, plain, login, cram-md5 with a password, oauthbearer, xoauth2 with oauthtokenurl, external with neither',
  },
  parse: single((text) => {
    const words = text.toUpperCase().split(/[ \t,]+/);
    const names = words.flatMap((word) => MECHANISMS.find((name) => name === word) ?? []);
    return names.length === words.length ? { value: names } : undefined;
  }),
};

const oauthtokenurl: ControlFile<string | undefined> = {
  name: 'oauthtokenurl',
  kind: 'value',
  takes: 'a https:// URL (http:// only for this machine) of at most 1024 characters',
  help: 'Where access tokens come from (OAuth 2, RFC 6749 section 6), as in https://oauth2.googleapis.com/token. With it the login is by access token, and oauthclientid and oauthrefreshtoken have to be there.',
  absent: { value: undefined, means: 'no OAuth 2' },
  parse: single(tokenUrl),
};

const oauthclientid: ControlFile<string | undefined> = {
  name: 'oauthclientid',
  kind: 'value',
  takes: 'one line of text without control characters',
  help: 'The name under which this program is known where access tokens come from.',
  absent: { value: undefined, means: 'no OAuth 2' },
  parse: single(credential),
};

const oauthclientsecret: ControlFile<string | undefined> = {
  name: 'oauthclientsecret',
  kind: 'secret',
  takes: 'one line of text without control characters',
  help: 'The secret that belongs to oauthclientid, where it has one.',
  absent: { value: undefined, means: 'none is sent' },
  parse: single(credential),
};

const oauthrefreshtoken: ControlFile<string | undefined> = {
  name: 'oauthrefreshtoken',
  kind: 'secret',
  takes: 'one line of text without control characters',
  help: 'What access tokens are asked for with. When the other side replaces it, the new one is kept in run/oauth in the spool.',
  absent: { value: undefined, means: 'no OAuth 2' },
  parse: single(credential),
};

const oauthexpires: ControlFile<number | undefined> = {
  name: 'oauthexpires',
  kind: 'value',
  takes: 'a day, as in 2027-03-01',
  help: 'When the token in oauthrefreshtoken ends, or the secret in oauthclientsecret if that is sooner; two weeks before, the log and alert tell of it. Servers that tell the lifetime of the refresh token need no such file. The certificate in tlscertfile is told of by itself.',
  absent: { value: undefined, means: 'what the server says' },
  parse: single((text) => {
    const time = /^\d{4}-\d\d-\d\d$/.test(text) ? Date.parse(text) : Number.NaN;
    // Date.parse rolls over days that the month lacks.
    const known = !Number.isNaN(time) && new Date(time).toISOString().startsWith(text);
    return known ? { value: time } : undefined;
  }),
};

const authcleartext: ControlFile<boolean> = {
  name: 'authcleartext',
  kind: 'value',
  takes: 'yes or no',
  help: 'Whether the password itself may go over a connection without verified TLS. SCRAM and CRAM-MD5 do not show it and are used all the same.',
  absent: { text: 'no' },
  parse: single((text) => {
    const answer = choice('yes', 'no')(text);
    return answer === undefined ? undefined : { value: answer.value === 'yes' };
  }),
};

const tls: ControlFile<TlsPolicy> = {
  name: 'tls',
  kind: 'value',
  takes: 'required, opportunistic or off',
  help: 'Whether mail may go over a connection without TLS. required: only to a relay on this machine (localhost, 127.0.0.0/8, ::1). opportunistic: when the relay offers none. off: TLS is not asked for. With mx:// TLS is opportunistic unless its ?tls= or the domain’s MTA-STS policy demands it; tlspin, tlscertfile and tlsminimum are for relays.',
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

const tlspin: ControlFile<readonly string[]> = {
  name: 'tlspin',
  kind: 'list',
  takes: 'SHA-256 fingerprints of certificates or public keys, in hexadecimal or base64',
  help: 'The relay has to have one of these; then no authority is asked and no name compared, and a relay on this machine has to speak TLS too. Only the relay’s own certificate counts, not those that it sends along.',
  absent: { value: [], means: 'an authority has to vouch for the relay' },
  parse: (lines) => {
    const pins: string[] = [];
    for (const { number, text } of lines) {
      const pin = parsePin(text);
      if (pin === undefined) return { problem: { line: number, found: text } };
      pins.push(pin);
    }
    return { value: pins };
  },
};

const tlscertfile: ControlFile<string | undefined> = {
  name: 'tlscertfile',
  kind: 'value',
  takes: `${PATH} of a PEM file`,
  help: 'Our own certificate, for relays that ask for one, with those that it was signed by behind it.',
  absent: { value: undefined, means: 'no certificate' },
  parse: single(absolutePath),
};

const tlskeyfile: ControlFile<string | undefined> = {
  name: 'tlskeyfile',
  kind: 'value',
  takes: `${PATH} of a PEM file`,
  help: 'The key of tlscertfile, without a passphrase. It is refused while others may read or change it: chmod 640.',
  absent: { value: undefined, means: 'no certificate' },
  parse: single(absolutePath),
};

const tlsminimum: ControlFile<'1.2' | '1.3'> = {
  name: 'tlsminimum',
  kind: 'value',
  takes: '1.2 or 1.3',
  help: 'The oldest version of TLS that is spoken.',
  absent: { text: '1.2' },
  parse: single(choice('1.2', '1.3')),
};

const dkim: ControlFile<readonly DkimLine[]> = {
  name: 'dkim',
  kind: 'list',
  takes:
    'lines with a domain, a selector, the absolute path of a key file and perhaps header fields, as in example.com mail2026 /etc/picorelay/dkim.pem From:To:Subject:Date',
  help: 'Signs the mail of authors at the domain or below it by DKIM: RSA or Ed25519 over SHA-256, by the kind of key, a PEM file without a passphrase that others can neither read nor change (chmod 640). Two lines for one domain make two signatures. Without fields those that matter are signed, and others of their names forbidden. picorelay dkim shows the records for the DNS. While a key cannot be used nothing is sent.',
  absent: { value: [], means: 'no signatures' },
  parse: (lines) => {
    const keys: DkimLine[] = [];
    for (const line of lines) {
      const key = parseDkimLine(line);
      if (key === undefined) return { problem: { line: line.number, found: line.text } };
      keys.push(key);
    }
    return { value: keys };
  },
};

const sourceaddress: ControlFile<{ readonly ipv4?: string; readonly ipv6?: string } | undefined> = {
  name: 'sourceaddress',
  kind: 'value',
  takes: 'one IPv4 address, one IPv6 address, or both with a space between',
  help: 'Our own address for connections to relays. With one address, only its family is used.',
  absent: { value: undefined, means: 'what the system chooses' },
  parse: single((text) => {
    const words = text.split(/[ \t]+/);
    const ipv4 = words.find(isIPv4);
    const ipv6 = words.find(isIPv6);
    const found = {
      ...(ipv4 === undefined ? {} : { ipv4 }),
      ...(ipv6 === undefined ? {} : { ipv6 }),
    };
    return Object.keys(found).length === words.length ? { value: found } : undefined;
  }),
};

const proxy: ControlFile<ProxyServer | undefined> = {
  name: 'proxy',
  kind: 'value',
  takes:
    'a proxy with its port, as in socks5://host:1080, http://host:3128 or socks5://user@host:1080',
  help: 'The server through which relays on other hosts are reached, by SOCKS 5 or HTTP CONNECT. It resolves their names. A password goes into proxypassword.',
  absent: { value: undefined, means: 'straight connections' },
  parse: ([line = { number: 1, text: '' }]) => {
    const server = parseProxy(line.text);
    if (!('problem' in server)) return { value: server };
    const found = withoutPassword(line.text);
    return { problem: { line: line.number, found, expected: server.problem } };
  },
};

const proxypassword: ControlFile<string | undefined> = {
  name: 'proxypassword',
  kind: 'secret',
  takes: 'one line of text without control characters',
  help: 'The password for the user named in proxy.',
  absent: { value: undefined, means: 'no password' },
  parse: single(credential),
};

const spooldir: ControlFile<string> = {
  name: 'spooldir',
  kind: 'value',
  takes: PATH,
  help: 'The folder that holds the queue.',
  absent: { text: '/var/spool/picorelay' },
  parse: single(absolutePath),
};

const databytes = limitFile(
  'databytes',
  'octets',
  'The biggest message that is taken, in octets as it goes out. A bigger one is refused for good.',
);

const maxrecipients = limitFile(
  'maxrecipients',
  'recipients',
  'The most recipients that a submission may name, before aliases. sendmail -bs takes at most 1000 where this says nothing, and its client may send the message again for the rest.',
);

const userentries = limitFile(
  'userentries',
  'recipients',
  'How many recipients one user may have in the queue. What is more is refused for now, with exit status 75. root has no such limit, nor have members of the spool’s group, where it lets them submit.',
);

const userbytes = limitFile(
  'userbytes',
  'octets',
  'How many octets of messages one user may have in the queue. Who has no such limit is as for userentries.',
);

const userrate = limitFile(
  'userrate',
  'recipients',
  'How many recipients an hour the mail of one user may go to. So many may go at once; what is more stays in the queue and goes out at that rate. adminaddr, or else the sender, is told once when that begins. Reports are not counted, and picorelay retry sends all the same.',
);

const spoolfree: ControlFile<Floor> = {
  name: 'spoolfree',
  kind: 'value',
  takes: 'octets, as in 50M, or a percentage of the disk, as in 5%; 0 is no limit',
  help: 'How much of the disk with the spool stays free: below it new mail is refused for now, with exit status 75, while the queue goes on and can write what becomes of it. The same goes for less than 100 free inodes, or less than that percentage of them. control/alert tells when that begins and ends.',
  absent: { text: '10M' },
  parse: single<Floor>((text) => {
    const [, percent] = /^(\d{1,2}(?:\.\d{1,2})?)%$/.exec(text) ?? [];
    if (percent !== undefined) return { value: { percent: Number(percent) } };
    const octets = parseSize(text);
    return octets === undefined ? undefined : { value: { octets } };
  }),
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
    'one line of delays with their units, and any number of lines with five cron fields, as in 30 * * * * or TZ=Europe/Berlin 0 22-23 * * *; both also for a recipient domain, as in example.com: 10m 1h 6h',
  help: 'When mail that was put off is tried again: after each of the delays in turn, then always after the last one. Cron lines say when relaying may happen at all. Lines that begin with a domain and a colon hold for its recipients instead, with a dot before the domain for those of its subdomains.',
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

const bounce: ControlFile<'sender' | 'admin' | 'off'> = {
  name: 'bounce',
  kind: 'value',
  takes: 'sender, admin or off',
  help: 'Who gets a report when mail cannot be delivered or is delayed: its sender, always adminaddr, or nobody. What was refused is in Undelivered in any case.',
  absent: { text: 'sender' },
  parse: single(choice('sender', 'admin', 'off')),
};

const bouncefrom: ControlFile<string> = {
  name: 'bouncefrom',
  kind: 'value',
  takes: 'the part of an address before the @',
  help: 'The left side of the address in the From field of a report. The envelope sender of a report is always empty.',
  absent: { text: 'MAILER-DAEMON' },
  parse: single(localPart),
};

const bouncehost: ControlFile<string> = {
  name: 'bouncehost',
  kind: 'value',
  takes: HOST,
  help: 'The right side of that address.',
  absent: { file: me },
  parse: single(hostName),
};

const adminaddr: ControlFile<string | undefined> = {
  name: 'adminaddr',
  kind: 'value',
  takes: 'a mail address, as in admin@example.com',
  help: 'Who looks after this host. Gets the mail and the reports for users of this host itself that no alias leads elsewhere: for names without a host and addresses at one of locals.',
  absent: { value: undefined, means: 'such mail goes to the addresses as they are' },
  parse: single((text) => (isMailbox(text) ? { value: text } : undefined)),
};

const locals: ControlFile<ReadonlySet<string> | undefined> = {
  name: 'locals',
  kind: 'list',
  takes: HOST,
  help: 'The names of this host itself: mail for their users goes through aliases and adminaddr, and masquerade takes their place. localhost is always one of them.',
  absent: { value: undefined, means: 'the name in me' },
  parse: (lines) => {
    const wrong = lines.find(({ text }) => !isHostName(text));
    return wrong === undefined
      ? { value: new Set(lines.map(({ text }) => text.toLowerCase())) }
      : { problem: { line: wrong.number, found: wrong.text } };
  },
};

const aliases: ControlFile<string | undefined> = {
  name: 'aliases',
  kind: 'value',
  takes: `${PATH} of a file in the format of /etc/aliases`,
  help: 'Who gets the mail for users of this host. Its :include: files are read as data; commands and files that it names are never run or written to, and such mail goes to adminaddr.',
  absent: { value: undefined, means: 'no aliases' },
  parse: single(absolutePath),
};

const MASQUERADE = 'a host name, as in example.com, or a mail address';

const masquerade: ControlFile<string | undefined> = {
  name: 'masquerade',
  kind: 'value',
  takes: `${MASQUERADE}; an empty line changes nothing`,
  help: 'Takes the place of the names of this host in the envelope sender: a host name keeps the user before it, a mail address stands for every user of this host.',
  absent: { value: undefined, means: 'the sender stays as it is' },
  parse: single(masqueradeName),
};

const masqueradefrom: ControlFile<string | undefined> = {
  name: 'masqueradefrom',
  kind: 'value',
  takes: `${MASQUERADE}; an empty line changes nothing`,
  help: 'The same for From, Sender and Reply-To in the header. Where a user is lost by it, X-Original-From keeps the old From.',
  absent: { file: masquerade },
  parse: single(masqueradeName),
};

const sendermap: ControlFile<SenderMap> = {
  name: 'sendermap',
  kind: 'list',
  takes: SENDER_MAP_TAKES,
  help: 'The address that takes the place of a sender, in the envelope and in From and Sender: for one address, for a user of this host, for all of a host, or for everybody, as a provider wants it that takes no other From. An old From that can be answered to becomes Reply-To. It comes before masquerade.',
  absent: { value: { entries: new Map() }, means: 'senders stay as they are' },
  parse: (lines) => {
    const map = parseSenderMap(lines);
    if (!('problem' in map)) return { value: map };
    const { line, problem } = map;
    return { problem: { line: line.number, found: line.text, expected: problem } };
  },
};

const rewriteto: ControlFile<'off' | 'complete' | 'aliases'> = {
  name: 'rewriteto',
  kind: 'value',
  takes: 'off, complete or aliases',
  help: 'What becomes of users of this host in To and Cc in the header. complete: a name gets its host. aliases: the address that gets the mail stands there instead, unless there are several. off: nothing.',
  absent: { text: 'complete' },
  parse: single(choice('off', 'complete', 'aliases')),
};

const doublebounceto: ControlFile<string> = {
  name: 'doublebounceto',
  kind: 'value',
  takes: 'a mail address, or the part of one before the @',
  help: 'Who gets a report when a report itself, or other mail without a sender, cannot be delivered. A name without a host is adminaddr where that is set, else completed by defaulthost.',
  absent: { text: 'postmaster' },
  parse: single((text) => (isMailbox(text) ? { value: text } : localPart(text))),
};

const delaywarn: ControlFile<number> = {
  name: 'delaywarn',
  kind: 'value',
  takes: 'a duration from 0s to 10 years; 0s is never',
  help: 'How long mail waits before its sender gets one report that it is delayed.',
  absent: { text: '4h' },
  parse: single(seconds(0, Number.POSITIVE_INFINITY)),
};

const bounceslimit = wholeNumber(
  'bounceslimit',
  1_000_000,
  '20',
  'The most reports an hour to one address; what is more is told in one report an hour later.',
);

const alert: ControlFile<readonly AlertRoad[]> = {
  name: 'alert',
  kind: 'list',
  takes: ALERT_EXAMPLES,
  help: 'How the admin hears, by another way than mail, that mail is held up or was refused, that a user’s mail is held back, that the disk has no room for new mail, or that a certificate or token is about to end, once when that begins and once when it is over. A command gets the alert on its standard input, as text or as JSON, and has 30 seconds; a URL gets the JSON; a file holds what is wrong while it lasts, and has to be one that the owner of the spool may write.',
  absent: { value: [], means: 'only the log tells' },
  parse: (lines) => {
    const roads = parseAlert(lines);
    if (!('problem' in roads)) return { value: roads };
    return { problem: { line: roads.problem.number, found: roads.problem.text } };
  },
};

const alertafter: ControlFile<number> = {
  name: 'alertafter',
  kind: 'value',
  takes: 'a duration from 0s to 10 years',
  help: 'How long mail is held up by its relay before control/alert is used.',
  absent: { text: '15m' },
  parse: single(seconds(0, Number.POSITIVE_INFINITY)),
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
  smtproutes,
  senderroutes,
  nameservers,
  relayip,
  minivars,
  authuser,
  authpassword,
  authpasswords,
  authpasswordcommand,
  authmechanisms,
  authcleartext,
  oauthtokenurl,
  oauthclientid,
  oauthclientsecret,
  oauthrefreshtoken,
  oauthexpires,
  tls,
  tlscafile,
  tlspin,
  tlsminimum,
  tlscertfile,
  tlskeyfile,
  dkim,
  sourceaddress,
  proxy,
  proxypassword,
  locals,
  aliases,
  adminaddr,
  masquerade,
  masqueradefrom,
  sendermap,
  rewriteto,
  spooldir,
  databytes,
  maxrecipients,
  userentries,
  userbytes,
  userrate,
  spoolfree,
  immediate,
  linger,
  retry,
  queuelifetime,
  delaywarn,
  bounce,
  bouncefrom,
  bouncehost,
  doublebounceto,
  bounceslimit,
  alert,
  alertafter,
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

/** A limit that is off without its file, and with nought in it. */
function limitFile(name: string, what: string, help: string): ControlFile<number> {
  return {
    name,
    kind: 'value',
    takes: `a number of ${what}, as in ${what === 'octets' ? '25M' : '500'}; 0 is no limit`,
    help,
    absent: { text: '0' },
    parse: single((text) => {
      const value = what === 'octets' || /^\d+$/.test(text) ? parseSize(text) : undefined;
      return value === undefined ? undefined : { value };
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

function masqueradeName(text: string): { readonly value: string | undefined } | undefined {
  if (text === '') return { value: undefined };
  return isMailbox(text) ? { value: text } : hostName(text);
}

function localPart(text: string): { readonly value: string } | undefined {
  return !text.includes('@') && isMailbox(`${text}@host.invalid`) ? { value: text } : undefined;
}

/** RFC 5321 section 4.1.3. */
function addressLiteral(text: string): { readonly value: string } | undefined {
  const address = /^\[(?:IPv6:(.*)|(.*))\]$/i.exec(text);
  const known = isIPv6(address?.[1] ?? '') || isIPv4(address?.[2] ?? '');
  return known ? { value: text } : undefined;
}

function parseDkimLine({ number, text }: Line): DkimLine | undefined {
  const [domain = '', selector = '', keyFile = '', list, ...more] = text.split(/[ \t]+/);
  const fields = list?.toLowerCase().split(':');
  const known =
    isHostName(domain) &&
    isHostName(selector) &&
    absolutePath(keyFile) !== undefined &&
    (fields === undefined || (fields.every(isSignable) && fields.includes('from'))) &&
    more.length === 0;
  if (!known) return undefined;
  return { line: number, domain: domain.toLowerCase(), selector, keyFile, fields };
}

/** Not what changes on the way (RFC 6376 section 5.4). */
function isSignable(name: string): boolean {
  return /^[!-9<-~]+$/.test(name) && !/^(?:return-path|received|dkim-signature|bcc)$/.test(name);
}

function credential(text: string): { readonly value: string } | undefined {
  return text === '' || /\p{Cc}/u.test(text) ? undefined : { value: text };
}

function tokenUrl(text: string): { readonly value: string } | undefined {
  return isSafeUrl(text) ? { value: text } : undefined;
}

function absolutePath(text: string): { readonly value: `/${string}` } | undefined {
  const known = isAbsolute(text) && text.length < 4096 && !/[\x00-\x1f\x7f-\x9f]/.test(text);
  return known ? { value: text } : undefined;
}

function isAbsolute(text: string): text is `/${string}` {
  return text.startsWith('/');
}

function table(
  parse: (lines: readonly Line[]) => RouteTable | RouteProblem,
): ControlFile<RouteTable>['parse'] {
  return (lines) => {
    const read = parse(lines);
    if (!('expected' in read)) return { value: read };
    return { problem: { line: read.line.number, found: read.found, expected: read.expected } };
  };
}

function parseRelayFile(lines: readonly Line[]): Parsed<Destination> {
  const relays: Relay[] = [];
  for (const { number, text } of lines) {
    const direct = parseDirect(text);
    if (direct !== undefined && !('problem' in direct)) {
      if (lines.length === 1) return { value: direct };
      const expected = 'mx:// alone, or relays and no mx://';
      return { problem: { line: number, found: text, expected } };
    }
    const relay = direct ?? parseRelay(text);
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
