/**
 * The server's side of SMTP (RFC 5321) as a state machine: octets in, events out. It knows no stream,
 * no spool and no clock, so the same machine serves standard input, a socket, or a connection that
 * was turned round (RFC 2645). Extensions: PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC
 * 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461), ENHANCEDSTATUSCODES (RFC 2034), and for local programs
 * REQUIRETLS (RFC 8689). There is no AUTH and no STARTTLS. It never says that a message was taken: who drives it does, by `settle`.
 *
 * Line ends: with `strict` only CRLF ends a command and only CRLF . CRLF ends the data; a bare LF or
 * CR is an octet like any other. Streams from a network need that: where the sender's server takes
 * `LF . LF` for text and this one took it for the end, a message could bring in another one behind it
 * (VU#302671). With `lenient` a LF alone ends a line, too, for local programs that write nothing else;
 * but where DATA itself ended in CRLF, so must the lines around the dot: such a program stuffs the dots of
 * the lines that it knows, and what it passes on may be somebody else's. A bare CR never ends anything.
 *
 * Hostile input: every octet. What is held is bounded: one command line, the recipients up to their
 * limit, and of a message nothing. No octets make it throw, and where chunks end makes no difference.
 */
import { Buffer, isUtf8 } from 'node:buffer';
import { parsePath } from './address.ts';
import type { Envelope, Recipient } from './envelope.ts';

export interface SmtpServerOptions {
  /** The name that the server goes by. */
  readonly host: string;
  /** `strict` for streams from a network, `lenient` for local programs; see above. */
  readonly lineEnds: 'strict' | 'lenient';
  /** The recipients that one message may have; RFC 5321 section 4.5.3.1.8 asks for 100 at least. */
  readonly recipientLimit: number;
  /** The octets that a message may have, dots unstuffed; undefined for no limit. */
  readonly sizeLimit: number | undefined;
}

/** What there is to do next. */
export type ServerEvent =
  /** All octets are used up: write out the replies so far, then `push` more, or `end`. */
  | { readonly kind: 'read' }
  /** One complete reply with its line ends, in ASCII. Replies may be written together. */
  | { readonly kind: 'reply'; readonly text: string }
  /** A message begins. Its addresses may be local names. */
  | { readonly kind: 'begin'; readonly envelope: Envelope }
  /** The next octets of the message as they came, dots unstuffed; valid until the next `push`. */
  | { readonly kind: 'piece'; readonly bytes: Uint8Array }
  /** The message is whole: `settle` it. */
  | { readonly kind: 'complete' }
  /** The message must not be queued: it is too big, which the client is told, or the stream ended. */
  | { readonly kind: 'abandon'; readonly reason: 'size' | 'end' }
  /** Write out the replies so far and close the stream. Comes again each time it is asked for. */
  | { readonly kind: 'close' };

/**
 * Octets that a command line may have, its line end included: the 512 of RFC 5321 section 4.5.3.1.4
 * and what the parameters of DSN, SIZE, 8BITMIME and SMTPUTF8 add to them, rounded up.
 */
export const COMMAND_LINE_LIMIT = 2048;

/** So many faults end the session. A queued message wipes them out; a bad address is none. */
export const FAULT_LIMIT = 20;

const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const DOT = 0x2e;

/** The start of a message: who sends it, and what its recipients have in common. */
interface Opened {
  readonly sender: Omit<Envelope, 'recipients'>;
  readonly smtpUtf8: boolean;
  readonly recipients: Recipient[];
}

/** Where in its line the data are: behind `.` and `. CR` what is read so far is held back. */
type Place = 'start' | 'dot' | 'dotReturn' | 'text';

/**
 * One session. Ask for `next` until it wants octets, give it some, and so on to `close`. The greeting
 * comes first. MAIL is taken without EHLO before it, as other servers do and simple scripts need.
 */
export class SmtpServer {
  readonly #options: SmtpServerOptions;
  readonly #host: string;
  readonly #events: ServerEvent[] = [];
  #state: 'command' | 'data' | 'complete' | 'closed' = 'command';
  #ended = false;
  #chunk: Buffer = Buffer.alloc(0);
  #at = 0;
  /** The unfinished command line. */
  readonly #line = Buffer.alloc(COMMAND_LINE_LIMIT);
  #length = 0;
  #tooLong = false;
  /** Whether the octet before `#at`, in this line, is a CR. */
  #afterReturn = false;
  /** The last command ended in a LF alone: so may the lines of its data. */
  #bareFeed = false;
  #faults = 0;
  #opened: Opened | undefined;
  #place: Place = 'start';
  #size = 0;
  #abandoned = false;

  constructor(options: SmtpServerOptions) {
    this.#options = options;
    this.#host = printable(options.host);
    this.#reply(220, undefined, `${this.#host} ESMTP picorelay`);
  }

  /**
   * What to do next.
   * @throws Error between `complete` and `settle`
   */
  next(): ServerEvent {
    for (;;) {
      const event = this.#events.shift();
      if (event !== undefined) return event;
      if (this.#state === 'closed') return { kind: 'close' };
      if (this.#state === 'complete') throw new Error('the message has not been settled');
      if (this.#at === this.#chunk.length) {
        if (!this.#ended) return { kind: 'read' };
        if (this.#state === 'data' && !this.#abandoned) {
          this.#events.push({ kind: 'abandon', reason: 'end' });
        }
        this.#state = 'closed';
      } else if (this.#state === 'command') {
        this.#readCommand();
      } else {
        this.#readData();
      }
    }
  }

  /**
   * Gives octets of any number. They are not copied: leave them alone until `next` says `read`.
   * @throws Error when not all of the last ones are used up
   */
  push(chunk: Uint8Array): void {
    if (this.#at < this.#chunk.length && this.#state !== 'closed') {
      throw new Error('the last octets are not used up');
    }
    this.#chunk = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    this.#at = 0;
  }

  /** The stream has ended. An unfinished command is passed over, an unfinished message abandoned. */
  end(): void {
    this.#ended = true;
  }

  /**
   * Tells the client what became of the message.
   * @param code 250, 4xx or 5xx
   * @param enhanced the enhanced status code, of the same class
   * @param text may be anything; made fit for one reply line
   * @throws Error when no message is complete
   */
  settle(code: number, enhanced: string, text: string): void {
    if (this.#state !== 'complete') throw new Error('there is no message to settle');
    if (code < 300) this.#faults = 0;
    this.#state = 'command';
    this.#opened = undefined;
    this.#reply(code, enhanced, printable(text).slice(0, LONGEST_TEXT));
  }

  #readCommand(): void {
    const chunk = this.#chunk;
    const from = this.#at;
    const feed = chunk.indexOf(LF, from);
    const end = feed < 0 ? chunk.length : feed + 1;
    const afterReturn = feed > from ? chunk[feed - 1] === CR : this.#afterReturn;
    this.#bareFeed = !afterReturn;
    if (this.#length + end - from > COMMAND_LINE_LIMIT) this.#tooLong = true;
    this.#length += chunk.copy(this.#line, this.#length, from, end);
    this.#at = end;
    this.#afterReturn = chunk[end - 1] === CR;
    if (feed < 0 || !(afterReturn || this.#options.lineEnds === 'lenient')) return;

    const line = this.#line.subarray(0, this.#length - (afterReturn ? 2 : 1));
    const tooLong = this.#tooLong;
    this.#length = 0;
    this.#tooLong = false;
    if (tooLong) this.#fault(500, '5.5.2', 'Line too long');
    else if (line.some(isControl)) this.#fault(500, '5.5.2', 'Control character in the command');
    else if (!isUtf8(line)) this.#fault(500, '5.5.2', 'The command is not UTF-8');
    else this.#obey(line.toString('utf8').trimEnd());
  }

  #obey(line: string): void {
    const gap = line.search(/[ \t]/);
    const verb = (gap < 0 ? line : line.slice(0, gap)).toUpperCase();
    const rest = gap < 0 ? '' : line.slice(gap).trimStart();
    switch (verb) {
      case 'EHLO':
      case 'HELO':
        this.#greet(verb, rest);
        break;
      case 'MAIL':
        this.#mail(rest);
        break;
      case 'RCPT':
        this.#rcpt(rest);
        break;
      case 'DATA':
      case 'RSET':
      case 'QUIT':
        if (rest !== '') this.#fault(501, '5.5.4', `${verb} takes no argument`);
        else this.#plain(verb);
        break;
      case 'NOOP':
        this.#reply(250, '2.0.0', 'Ok');
        break;
      case 'VRFY':
        if (rest === '') this.#fault(501, '5.5.4', 'VRFY wants an address');
        else this.#reply(252, '2.0.0', 'Not verified, but mail for it is taken');
        break;
      case 'HELP':
        this.#reply(214, '2.0.0', 'EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT');
        break;
      default:
        if (KNOWN_ELSEWHERE.has(verb)) this.#fault(502, '5.5.1', `${verb} is not offered`);
        else this.#fault(500, '5.5.2', 'Unknown command');
    }
  }

  /** RFC 8689 section 2 offers REQUIRETLS over TLS only; what a local program writes crosses no network. */
  get #isLocal(): boolean {
    return this.#options.lineEnds === 'lenient';
  }

  #greet(verb: 'EHLO' | 'HELO', name: string): void {
    if (name === '') {
      this.#fault(501, '5.5.4', `${verb} wants a host name`);
      return;
    }
    this.#opened = undefined;
    const { sizeLimit } = this.#options;
    const size = sizeLimit === undefined ? 'SIZE' : `SIZE ${sizeLimit}`;
    const extensions = ['PIPELINING', size, '8BITMIME', 'SMTPUTF8', 'DSN', 'ENHANCEDSTATUSCODES'];
    if (this.#isLocal) extensions.push('REQUIRETLS');
    this.#reply(250, undefined, this.#host, ...(verb === 'EHLO' ? extensions : []));
  }

  #mail(rest: string): void {
    if (this.#opened !== undefined) {
      this.#fault(503, '5.5.1', 'There is a sender already');
      return;
    }
    const command = this.#readPath('FROM', rest);
    if (command === undefined) return;
    const { path, parameters } = command;
    const refused = refusal(parameters, this.#isLocal ? LOCAL_PARAMETERS : MAIL_PARAMETERS);
    if (refused !== undefined) {
      this.#fault(...refused);
      return;
    }
    const { sizeLimit } = this.#options;
    if (sizeLimit !== undefined && Number(parameters.get('SIZE') ?? 0) > sizeLimit) {
      this.#reply(552, '5.3.4', `The message is bigger than ${sizeLimit} octets`);
      return;
    }
    const smtpUtf8 = parameters.has('SMTPUTF8');
    const sender = this.#readAddress(path, smtpUtf8, '5.1.7');
    if (sender === undefined) return;
    const ret = parameters.get('RET')?.toUpperCase();
    const envid = parameters.get('ENVID');
    this.#opened = {
      sender: {
        sender,
        ...(ret === 'FULL' || ret === 'HDRS' ? { ret } : {}),
        ...(envid === undefined ? {} : { envid }),
        ...(smtpUtf8 ? { smtpUtf8 } : {}),
        ...(parameters.has('REQUIRETLS') ? { requireTls: true as const } : {}),
      },
      smtpUtf8,
      recipients: [],
    };
    this.#reply(250, '2.1.0', 'Ok');
  }

  #rcpt(rest: string): void {
    const opened = this.#opened;
    if (opened === undefined) {
      this.#fault(503, '5.5.1', 'MAIL comes first');
      return;
    }
    const command = this.#readPath('TO', rest);
    if (command === undefined) return;
    const { path, parameters } = command;
    const refused = refusal(parameters, RCPT_PARAMETERS);
    if (refused !== undefined) {
      this.#fault(...refused);
      return;
    }
    const address = this.#readAddress(path, opened.smtpUtf8, '5.1.3');
    if (address === undefined) return;
    if (address === '') {
      this.#reply(501, '5.1.3', 'A recipient cannot be empty');
      return;
    }
    if (opened.recipients.length >= this.#options.recipientLimit) {
      this.#reply(452, '4.5.3', 'Too many recipients');
      return;
    }
    const notify = parameters.get('NOTIFY')?.toUpperCase();
    const orcpt = parameters.get('ORCPT');
    opened.recipients.push({
      address,
      ...(notify === undefined ? {} : { notify }),
      ...(orcpt === undefined ? {} : { orcpt }),
    });
    this.#reply(250, '2.1.5', 'Ok');
  }

  /** The path and the parameters of MAIL or RCPT; where they cannot be read, that is answered. */
  #readPath(
    word: 'FROM' | 'TO',
    rest: string,
  ): { path: string; parameters: Parameters } | undefined {
    const text = rest.slice(word.length + 1).trimStart();
    const length = pathLength(text);
    const parameters = parseParameters(text.slice(length));
    if (rest.slice(0, word.length + 1).toUpperCase() !== `${word}:` || length === 0) {
      this.#fault(501, '5.5.4', `Expected ${word}:<address>`);
    } else if (parameters === undefined) {
      this.#fault(501, '5.5.4', 'The parameters cannot be read');
    } else {
      return { path: text.slice(0, length), parameters };
    }
    return undefined;
  }

  /** The address in a path; where it cannot be taken, that is answered. Such an answer is no fault. */
  #readAddress(path: string, smtpUtf8: boolean, enhanced: string): string | undefined {
    const address = parsePath(path);
    if (address === undefined) {
      this.#reply(501, enhanced, 'The address cannot be read');
    } else if (!smtpUtf8 && /[^\0-\x7f]/.test(address)) {
      this.#reply(553, '5.6.7', 'The address needs SMTPUTF8 with MAIL');
      return undefined;
    }
    return address;
  }

  #plain(verb: 'DATA' | 'RSET' | 'QUIT'): void {
    if (verb === 'QUIT') {
      this.#reply(221, '2.0.0', `${this.#host} Bye`);
      this.#state = 'closed';
    } else if (verb === 'RSET') {
      this.#opened = undefined;
      this.#reply(250, '2.0.0', 'Ok');
    } else {
      this.#data();
    }
  }

  #data(): void {
    const [first, ...others] = this.#opened?.recipients ?? [];
    if (this.#opened === undefined || first === undefined) {
      this.#fault(503, '5.5.1', `${this.#opened === undefined ? 'MAIL' : 'RCPT'} comes first`);
      return;
    }
    const envelope = { ...this.#opened.sender, recipients: [first, ...others] as const };
    this.#events.push({ kind: 'begin', envelope });
    this.#reply(354, undefined, 'End data with <CR><LF>.<CR><LF>');
    this.#state = 'data';
    this.#place = 'start';
    this.#size = 0;
    this.#abandoned = false;
  }

  /** Takes data up to the next octet that has to be left out, or to the chunk's end. */
  #readData(): void {
    const octet = this.#chunk[this.#at];
    switch (this.#place) {
      case 'start':
        if (octet === DOT) {
          this.#place = 'dot';
          this.#at += 1;
        } else {
          this.#enterText();
        }
        break;
      case 'dot':
        if (octet === CR) {
          this.#place = 'dotReturn';
          this.#at += 1;
        } else if (octet === LF && this.#bareFeed) {
          this.#endData();
        } else {
          // A dot that something follows was put there by the client (section 4.5.2).
          this.#enterText();
        }
        break;
      case 'dotReturn':
        if (octet === LF) {
          this.#endData();
        } else {
          this.#emit(Buffer.of(CR));
          this.#enterText();
        }
        break;
      case 'text': {
        const from = this.#at;
        this.#at = this.#endOfText(from);
        this.#emit(this.#chunk.subarray(from, this.#at));
        break;
      }
    }
  }

  /** No LF comes next, or one that ends no line: what was before it need not be known. */
  #enterText(): void {
    this.#place = 'text';
    this.#afterReturn = false;
  }

  /** Where the text that goes on at `from` ends: before a dot at the start of a line, or not at all. */
  #endOfText(from: number): number {
    const chunk = this.#chunk;
    for (let at = from; at < chunk.length; ) {
      const feed = chunk.indexOf(LF, at);
      if (feed < 0) {
        this.#afterReturn = chunk[chunk.length - 1] === CR;
        return chunk.length;
      }
      const afterReturn = feed > from ? chunk[feed - 1] === CR : this.#afterReturn;
      at = feed + 1;
      this.#afterReturn = false;
      if ((this.#bareFeed || afterReturn) && (at === chunk.length || chunk[at] === DOT)) {
        this.#place = 'start';
        return at;
      }
    }
    return chunk.length;
  }

  #emit(bytes: Uint8Array): void {
    if (this.#abandoned) return;
    this.#size += bytes.length;
    const { sizeLimit } = this.#options;
    this.#abandoned = sizeLimit !== undefined && this.#size > sizeLimit;
    this.#events.push(
      this.#abandoned ? { kind: 'abandon', reason: 'size' } : { kind: 'piece', bytes },
    );
  }

  #endData(): void {
    this.#at += 1;
    this.#afterReturn = false;
    if (this.#abandoned) {
      this.#state = 'command';
      this.#opened = undefined;
      this.#reply(552, '5.3.4', `The message is bigger than ${this.#options.sizeLimit} octets`);
    } else {
      this.#state = 'complete';
      this.#events.push({ kind: 'complete' });
    }
  }

  /** Answers what the client should not have said; too much of it ends the session. */
  #fault(code: number, enhanced: string, text: string): void {
    this.#faults += 1;
    if (this.#faults < FAULT_LIMIT) {
      this.#reply(code, enhanced, text);
    } else {
      this.#reply(421, '4.7.0', `${this.#host} Too many errors`);
      this.#state = 'closed';
    }
  }

  #reply(code: number, enhanced: string | undefined, ...lines: readonly string[]): void {
    const last = lines.length - 1;
    const text = lines.map((line, index) => {
      const start = `${code}${index < last ? '-' : ' '}`;
      return `${start}${enhanced === undefined ? '' : `${enhanced} `}${line}\r\n`;
    });
    this.#events.push({ kind: 'reply', text: text.join('') });
  }
}

/** With code and line end within the 512 octets of RFC 5321 section 4.5.3.1.5. */
const LONGEST_TEXT = 480;

/** Commands of other servers: that they are missing here is answered otherwise than nonsense is. */
const KNOWN_ELSEWHERE: ReadonlySet<string> = new Set([
  ...['AUTH', 'STARTTLS', 'EXPN', 'BDAT', 'ETRN', 'ATRN', 'TURN', 'SEND', 'SOML', 'SAML'],
]);

/** Parameter names in upper case, and what stands behind their `=`; undefined where there is none. */
type Parameters = ReadonlyMap<string, string | undefined>;

type ParameterRules = ReadonlyMap<string, (value: string | undefined) => boolean>;

const XTEXT = /^(?:[!-*,-<>-~]|\+[\dA-F]{2})+$/;
/** An address of type `utf-8` may stand there as it is (RFC 6533 section 3). */
const ORCPT = /^[A-Za-z\d-]+;(?:[!-*,-<>-~\u{80}-\u{10FFFF}]|\+[\dA-F]{2})+$/u;
const NOTIFY = /^(?:NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*)$/i;

const MAIL_PARAMETERS: ParameterRules = new Map([
  ['SIZE', matches(/^\d{1,20}$/)],
  ['BODY', matches(/^(?:7BIT|8BITMIME)$/i)],
  ['SMTPUTF8', (value) => value === undefined],
  ['RET', matches(/^(?:FULL|HDRS)$/i)],
  ['ENVID', (value) => value !== undefined && XTEXT.test(value) && isEnvid(value)],
]);

const LOCAL_PARAMETERS: ParameterRules = new Map([
  ...MAIL_PARAMETERS,
  ['REQUIRETLS', (value) => value === undefined],
]);

const RCPT_PARAMETERS: ParameterRules = new Map([
  ['NOTIFY', matches(NOTIFY)],
  ['ORCPT', (value) => value !== undefined && value.length <= 500 && ORCPT.test(value)],
]);

function matches(pattern: RegExp): (value: string | undefined) => boolean {
  return (value) => value !== undefined && pattern.test(value);
}

/** Whether the xtext stands for at most 100 printable characters (RFC 3461 section 4.4). */
function isEnvid(xtext: string): boolean {
  return /^(?:[!-*,-~]|\+[2-7][\dA-F]){1,100}$/.test(xtext) && !xtext.includes('+7F');
}

/** The answer to parameters that cannot be taken; undefined when all can. */
function refusal(
  parameters: Parameters,
  rules: ParameterRules,
): [code: number, enhanced: string, text: string] | undefined {
  for (const [name, value] of parameters) {
    const rule = rules.get(name);
    if (rule === undefined) return [555, '5.5.4', 'A parameter is not known'];
    if (!rule(value)) return [501, '5.5.4', `The value of ${name} cannot be taken`];
  }
  return undefined;
}

/**
 * The length of the path at the text's start: to the bracket that closes it, which may not be quoted,
 * or, without brackets, to the first blank. 0 where there is none.
 */
function pathLength(text: string): number {
  if (!text.startsWith('<')) return /^[^ \t<>]*/.exec(text)?.[0].length ?? 0;
  let quoted = false;
  for (let at = 1; at < text.length; at += 1) {
    const character = text[at];
    if (character === '\\') at += 1;
    else if (character === '"') quoted = !quoted;
    else if (character === '>' && !quoted) return at + 1;
  }
  return 0;
}

/** Undefined where one is malformed or there twice (RFC 5321 section 4.1.2). */
function parseParameters(text: string): Parameters | undefined {
  const parameters = new Map<string, string | undefined>();
  if (text === '') return parameters;
  if (!/^[ \t]/.test(text)) return undefined;
  for (const word of text.trim().split(/[ \t]+/)) {
    const match = /^([A-Za-z\d][A-Za-z\d-]*)(?:=([^=]+))?$/.exec(word);
    const name = match?.[1]?.toUpperCase();
    if (name === undefined || parameters.has(name)) return undefined;
    parameters.set(name, match?.[2]);
  }
  return parameters;
}

function isControl(octet: number): boolean {
  return (octet < 0x20 && octet !== TAB) || octet === 0x7f;
}

/** Everything but printable ASCII as a question mark: a reply is one line of it. */
function printable(text: string): string {
  return text.replace(/[^ -~]/g, '?');
}
