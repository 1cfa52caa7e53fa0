/**
 * A scripted relay: a raw socket on loopback that plays a transcript against a real session, and tells
 * what the session made of it.
 *
 * A transcript is text, one thing a line. First the settings, each `name: value`:
 *
 *     from: a@client.test       the sender; `from:` alone is the null sender
 *     to: one@there.test        a recipient, once for each; `notify:` and `orcpt:` belong to the last
 *     ret, envid, size, body    of the transaction; `eightbit: yes` for a message with 8-bit octets
 *     megabytes: 50             a message of that size instead of `body`
 *     tls: required             required (when not given), opportunistic or off
 *     authorities: own          trust the relay's certificate, or `other`: trust a different one
 *     smtps: yes                TLS from the first byte
 *     host: 0.0.0.0             the relay's name; 127.0.0.1 when not given
 *     login: user password      cleartextlogin: yes
 *     atonce: 3                 offers the message so often before the first one is answered
 *     early: yes                the relay says more than it was asked, and all of it has to come at once
 *     timeout: mail 0.3         seconds for one kind of wait; 10 when not given
 *
 * Then the conversation, in order:
 *
 *     < 220 relay.test          the relay says this line. Lines in a row leave in one write. The client
 *                               must not have said anything that the transcript does not show yet
 *     <! 250 stray              the same, whatever the client may be saying
 *     << 25                     bytes without a line end
 *     > EHLO client.test        the client says exactly this line
 *     >~ MAIL FROM:.*           the client says a line of this pattern
 *     @fill 9 250-more\r\n      the relay says this so many times
 *     @slow 20                  from here on one byte in so many milliseconds
 *     @message                  reads a message to its final dot
 *     @skip 1000                reads so many bytes
 *     @gone                     the client ends the connection without a final dot
 *     @heard                    waits until the client has heard all lines
 *     @tls, @tls fails          the TLS handshake, which the client may refuse
 *     @close, @reset, @hang     ends the connection, or says and reads nothing any more
 *     @next                     the client has heard all lines and offers the message once more, on the
 *                               same session
 *     @reconnect                the session has become unusable; the client opens the next one
 *
 * At the end nothing but QUIT may be left, which is answered. Then what has to come out, per recipient
 * and message in order: stage, code and enhanced status code or kind of event, verdict:
 *
 *     = one@there.test rcpt 550 5.1.1 Undelivered recipient
 *     = session greeting 554 site
 *
 * Everywhere `\r \n \0 \xNN \\` stand for octets; `#` begins a comment line.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { TLSSocket } from 'node:tls';
import type { Recipient } from '../../src/mail/envelope.ts';
import type { Answer, Verdict } from '../../src/mail/outcome.ts';
import { sortAnswer } from '../../src/queue/sorting.ts';
import { SessionError } from '../../src/relay/connect.ts';
import { Session, type SessionOptions } from '../../src/relay/session.ts';
import type { Transaction } from '../../src/relay/transactions.ts';
import { type Certificate, makeCertificate } from './certificate.ts';

/** What came out of a transcript, beside what it asks for. */
export interface Played {
  readonly expected: readonly string[];
  readonly actual: readonly string[];
  /** Every line that was reported, `C: …` and `S: …`. */
  readonly lines: readonly string[];
}

/** How the relay's bytes are cut into writes; whole when not given. */
export type Cut = (bytes: Buffer) => readonly Buffer[];

/** Plays a transcript. Throws where the conversation is another one than the transcript shows. */
export async function play(text: string, cut: Cut = (bytes) => [bytes]): Promise<Played> {
  const transcript = readTranscript(text);
  const lines: string[] = [];
  let heard = 0;
  const show = (side: string, line: string): void => {
    if (side === 'S') heard++;
    lines.push(`${side}: ${line}`);
  };
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const starts = transcript.steps.flatMap(({ kind }) =>
    kind === 'next' || kind === 'reconnect' ? [makeStart()] : [],
  );
  const relay = new ScriptedRelay(server, cut, starts, () => heard);
  const client = runClient(transcript, port, starts, show);
  const script = relay.run(transcript.steps).catch((error: unknown) => {
    // The client must not wait for what will never come.
    relay.destroy();
    return { error };
  });
  try {
    const [came, failed] = await Promise.allSettled([client, script]);
    if (failed.status === 'fulfilled' && failed.value !== undefined) throw failed.value.error;
    if (came.status === 'rejected') throw came.reason;
    return { expected: transcript.expected, actual: came.value, lines };
  } catch (error) {
    if (error instanceof Error) error.message += `\nthe conversation:\n${lines.join('\n')}`;
    throw error;
  } finally {
    relay.destroy();
    server.close();
  }
}

/** Plays a transcript and compares what came out with what it asks for. */
export async function check(text: string, cut?: Cut): Promise<void> {
  const { actual, expected, lines } = await play(text, cut);
  assert.deepEqual(
    actual,
    expected,
    `the conversation:\n${lines.join('\n')}\nends in\n${actual.join('\n')}`,
  );
}

/**
 * The length of the longest write of the relay, where it does not depend on time what comes of the
 * transcript: deadlines, bytes that nothing asked for, lots of them.
 */
export function longestWrite(text: string): number | undefined {
  const { settings, timeouts, steps } = readTranscript(text);
  let longest = 0;
  for (const step of steps) {
    if (step.kind === 'slow' || (step.kind === 'say' && step.unasked)) return undefined;
    if (step.kind === 'say') longest = Math.max(longest, step.bytes.length);
  }
  const timed = Object.keys(timeouts).length > 0 || settings.has('early');
  // Limits of length are ReplyParser's to hold, wherever it is cut: its own tests.
  return timed || settings.has('megabytes') || longest > 1000 ? undefined : longest;
}

type Step =
  | { readonly kind: 'say'; bytes: Buffer; readonly unasked: boolean }
  | { readonly kind: 'expect'; readonly shown: string; fits(line: string): boolean }
  | { readonly kind: 'skip' | 'slow'; readonly count: number }
  | { readonly kind: Direction };

const DIRECTIONS = [
  'message',
  'gone',
  'heard',
  'tls',
  'tls fails',
  'close',
  'reset',
  'hang',
  'next',
  'reconnect',
] as const;
type Direction = (typeof DIRECTIONS)[number];

interface Transcript {
  readonly settings: ReadonlyMap<string, string>;
  readonly recipients: readonly Recipient[];
  readonly timeouts: Readonly<Record<string, number>>;
  readonly steps: readonly Step[];
  readonly expected: readonly string[];
}

const SETTINGS =
  /^(?:from|ret|envid|size|body|eightbit|megabytes|tls|authorities|smtps|host|login|cleartextlogin|atonce|early)$/;

function readTranscript(text: string): Transcript {
  const settings = new Map<string, string>();
  const recipients: Recipient[] = [];
  const timeouts: Record<string, number> = {};
  const steps: Step[] = [];
  const expected: string[] = [];
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const [, mark, rest = ''] = /^(<!|<<|<|>~|>|@|=) ?(.*)$/.exec(line) ?? [];
    if (mark === undefined) readSetting(line, settings, recipients, timeouts);
    else if (mark === '=') expected.push(rest);
    else if (mark === '@') addDirection(steps, rest);
    else if (mark === '>') {
      const wanted = octets(rest).toString('latin1');
      steps.push({ kind: 'expect', shown: rest, fits: (said) => said === wanted });
    } else if (mark === '>~') {
      const pattern = new RegExp(`^(?:${rest})$`);
      steps.push({ kind: 'expect', shown: rest, fits: (said) => pattern.test(said) });
    } else addSpeech(steps, octets(mark === '<<' ? rest : `${rest}\\r\\n`), mark === '<!');
  }
  assert.ok(expected.length > 0, 'a transcript says what has to come out');
  return { settings, recipients, timeouts, steps, expected };
}

function readSetting(
  line: string,
  settings: Map<string, string>,
  recipients: Recipient[],
  timeouts: Record<string, number>,
): void {
  const [, name = '', written = ''] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
  const value = octets(written).toString();
  if (name === 'to') recipients.push({ address: value });
  else if (name === 'notify' || name === 'orcpt') {
    recipients.push({ address: '', ...recipients.pop(), [name]: value });
  } else if (name === 'timeout') {
    const [which = '', seconds] = value.split(' ');
    timeouts[which] = Number(seconds);
  } else {
    assert.match(name, SETTINGS, `a transcript has no such line: ${line}`);
    settings.set(name, value);
  }
}

function addDirection(steps: Step[], text: string): void {
  const direction = DIRECTIONS.find((each) => each === text);
  const [, verb, digits, filling = ''] = /^(fill|skip|slow) (\d+) ?(.*)$/.exec(text) ?? [];
  if (direction !== undefined) steps.push({ kind: direction });
  else if (verb === 'skip' || verb === 'slow') steps.push({ kind: verb, count: Number(digits) });
  else {
    assert.equal(verb, 'fill', `a transcript has no such direction: @${text}`);
    const piece = octets(filling);
    addSpeech(steps, Buffer.alloc(piece.length * Number(digits), piece), false);
  }
}

function addSpeech(steps: Step[], bytes: Buffer, unasked: boolean): void {
  const last = steps.at(-1);
  if (last?.kind === 'say' && !unasked) last.bytes = Buffer.concat([last.bytes, bytes]);
  else steps.push({ kind: 'say', bytes, unasked });
}

/** The octets of a text with escapes; other characters are UTF-8. */
function octets(text: string): Buffer {
  const parts = text.split(/(\\(?:x[0-9a-f]{2}|.))/).map((part, index) => {
    if (index % 2 === 0) return Buffer.from(part);
    if (part[1] === 'x') return Buffer.from(part.slice(2), 'hex');
    const code = { r: '\r', n: '\n', 0: '\0', '\\': '\\' }[part[1] ?? ''];
    assert.ok(code !== undefined, `a transcript has no escape ${part}`);
    return Buffer.from(code);
  });
  return Buffer.concat(parts);
}

/** Made when the first transcript asks for one: it takes a moment. */
let own: Certificate | undefined;
function ownCertificate(): Certificate {
  own ??= makeCertificate();
  return own;
}

/** A condition that another part of the test reaches must be reached within this. */
const PATIENCE = 10_000;

async function until(condition: () => boolean, what: string): Promise<void> {
  const end = Date.now() + PATIENCE;
  while (!condition()) {
    assert.ok(Date.now() < end, `waited in vain until ${what}`);
    await setTimeout(1);
  }
}

/** Makes the session do what a transcript is about: one answer line per recipient and message. */
async function runClient(
  transcript: Transcript,
  port: number,
  starts: readonly Start[],
  onLine: (side: string, line: string) => void,
): Promise<readonly string[]> {
  const options = sessionOptions(transcript, port, onLine);
  const transaction = transactionOf(transcript);
  const atOnce = Number(transcript.settings.get('atonce') ?? 1);
  const results: string[] = [];
  let session: Session | undefined;
  try {
    session = await Session.open(options);
    for (let start: Start | undefined, n = 0; ; start = starts[n++]) {
      const fresh = await start?.promise;
      if (fresh === 'over') break;
      if (fresh === true) {
        const old = session;
        await until(() => !old.usable, 'the session is unusable');
        await old.close();
        session = await Session.open(options);
      } else if (start !== undefined) assert.ok(session.usable, 'the session is still usable');
      const offering: Session = session;
      const sent = Array.from({ length: atOnce }, () => offering.send(transaction));
      for (const answers of await Promise.all(sent)) {
        results.push(...render(transcript.recipients, answers));
      }
      if (n === starts.length) break;
    }
    await session.close();
  } catch (error) {
    if (!(error instanceof SessionError)) throw error;
    results.push(line('session', error, false));
  }
  return results;
}

function render(recipients: readonly Recipient[], answers: readonly Answer[]): string[] {
  assert.equal(answers.length, recipients.length, 'one answer for each recipient');
  const othersAccepted = answers.some(({ stage }) => stage === 'dot');
  return answers.map((answer, index) =>
    line(visible(recipients[index]?.address ?? ''), answer, othersAccepted),
  );
}

function visible(address: string): string {
  return JSON.stringify(address).slice(1, -1);
}

function line(who: string, answer: Answer, othersAccepted: boolean): string {
  const { stage, event } = answer;
  let heard: string = event.kind;
  if (event.kind === 'reply') {
    const { code, enhanced } = event.reply;
    heard = enhanced === undefined ? `${code}` : `${code} ${enhanced}`;
  }
  return `${who} ${stage} ${heard} ${verdictText(sortAnswer({ stage, event }, { othersAccepted }))}`;
}

function verdictText(verdict: Verdict): string {
  switch (verdict.action) {
    case 'relayed':
    case 'again':
      return verdict.action;
    case 'refuse':
      return `Undelivered ${verdict.scope}`;
    case 'defer': {
      const { scope, counted, possibleDuplicate } = verdict;
      const words = scope === 'site' ? ['site'] : ['retry', scope];
      if (scope === 'site' ? counted : !counted) words.push(counted ? 'counted' : 'uncounted');
      if (possibleDuplicate) words.push('possible duplicate');
      return words.join(' ');
    }
  }
}

function sessionOptions(
  { settings, timeouts }: Transcript,
  port: number,
  onLine: (side: string, line: string) => void,
): SessionOptions {
  const tls = settings.get('tls') ?? 'required';
  assert.ok(tls === 'required' || tls === 'opportunistic' || tls === 'off', `tls: ${tls}`);
  const authorities = { own: () => ownCertificate().cert, other: () => makeCertificate().cert };
  const trusted = settings.get('authorities');
  const [user, password] = settings.get('login')?.split(' ') ?? [];
  const seconds = (name: string, standard = 10): number => timeouts[name] ?? standard;
  return {
    relay: {
      scheme: settings.has('smtps') ? 'smtps' : 'smtp',
      host: settings.get('host') ?? '127.0.0.1',
      port,
      user: undefined,
    },
    helo: 'client.test',
    tls,
    authorities: trusted === 'own' || trusted === 'other' ? authorities[trusted]() : undefined,
    login: user === undefined || password === undefined ? undefined : { user, password },
    cleartextLogin: settings.has('cleartextlogin'),
    timeouts: {
      connect: seconds('connect'),
      greeting: seconds('greeting'),
      helo: seconds('helo'),
      mail: seconds('mail'),
      rcpt: seconds('rcpt'),
      data: seconds('data'),
      block: seconds('block'),
      dot: seconds('dot'),
      quit: seconds('quit', 1),
      session: seconds('session', 60),
    },
    onLine,
  };
}

function transactionOf({ settings, recipients }: Transcript): Transaction {
  const ret = settings.get('ret');
  const envid = settings.get('envid');
  const size = settings.get('size');
  const megabytes = Number(settings.get('megabytes') ?? 0);
  const body = Buffer.from(settings.get('body') ?? 'Subject: hello\r\n\r\nhello\r\n');
  return {
    sender: settings.get('from') ?? 'a@client.test',
    recipients,
    ...(ret === 'FULL' || ret === 'HDRS' ? { ret } : {}),
    ...(envid === undefined ? {} : { envid }),
    size: size === undefined ? undefined : Number(size),
    eightBit: settings.has('eightbit'),
    *pieces() {
      if (megabytes === 0) yield body;
      const piece = Buffer.alloc(1024, `${'x'.repeat(62)}\r\n`);
      for (let n = 0; n < megabytes * 1024; n++) yield piece;
    },
  };
}

/** Tells the client to go on: true with a session of its own, `over` when there is nothing left. */
interface Start {
  readonly promise: Promise<boolean | 'over'>;
  readonly resolve: (fresh: boolean | 'over') => void;
}

function makeStart(): Start {
  let resolve: Start['resolve'] = () => undefined;
  const promise = new Promise<boolean | 'over'>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** The relay's side. It reads only what the transcript expects. */
class ScriptedRelay {
  readonly #cut: Cut;
  readonly #starts: readonly Start[];
  readonly #heard: () => number;
  readonly #sockets: Socket[] = [];
  readonly #connections: Connection[] = [];
  #delay = 0;
  #linesSaid = 0;
  #linesBefore = 0;

  constructor(server: Server, cut: Cut, starts: readonly Start[], heard: () => number) {
    this.#cut = cut;
    this.#starts = starts;
    this.#heard = heard;
    server.on('connection', (socket) => {
      // A client that goes away is what a transcript may be about; reading and writing notice it.
      socket.on('error', () => undefined);
      this.#sockets.push(socket);
    });
  }

  async run(steps: readonly Step[]): Promise<void> {
    let starts = 0;
    let silent = false;
    let connection = await this.#accept();
    for (const step of steps) {
      switch (step.kind) {
        case 'say':
          if (!step.unasked) connection.assertNothingSaid();
          await this.#say(connection, step.bytes);
          break;
        case 'expect': {
          const said = await connection.line();
          assert.ok(said !== undefined, `the client went away instead of saying: ${step.shown}`);
          if (!step.fits(said)) assert.equal(said, step.shown, 'the client says something else');
          break;
        }
        case 'slow':
          this.#delay = step.count;
          break;
        case 'skip':
          await connection.skip(step.count);
          break;
        case 'message':
          assert.ok(
            await connection.message(),
            'the client went away in the middle of its message',
          );
          break;
        case 'gone':
          assert.ok(!(await connection.message()), 'the client has sent the final dot');
          silent = true;
          break;
        case 'heard':
          await this.#beHeard();
          break;
        case 'tls':
          assert.ok(await connection.secure(), 'the client goes on after the TLS handshake');
          break;
        case 'tls fails':
          // In TLS 1.3 the relay may be content before the client has seen the certificate.
          await connection.secure();
          assert.equal(await connection.line(), undefined, 'the client goes away');
          silent = true;
          break;
        case 'close':
          silent = true;
          connection.end();
          break;
        case 'reset':
          silent = true;
          connection.reset();
          break;
        case 'hang':
          silent = true;
          break;
        case 'next':
          await this.#beHeard();
          this.#starts[starts++]?.resolve(false);
          break;
        case 'reconnect':
          this.#starts[starts++]?.resolve(true);
          connection = await this.#accept();
          this.#linesSaid = 0;
          this.#linesBefore = this.#heard();
          silent = false;
          break;
      }
    }
    if (!silent) await this.#finish(connection);
  }

  /** Ends everything without another word. */
  destroy(): void {
    for (const start of this.#starts) start.resolve('over');
    for (const socket of this.#sockets) socket.destroy();
    for (const connection of this.#connections) connection.destroy();
  }

  async #accept(): Promise<Connection> {
    await until(() => this.#sockets.length > 0, 'the client connects');
    const socket = this.#sockets.shift();
    assert.ok(socket !== undefined);
    const connection = new Connection(socket);
    this.#connections.push(connection);
    return connection;
  }

  async #say(connection: Connection, bytes: Buffer): Promise<void> {
    this.#linesSaid += bytes.toString('latin1').split('\n').length - 1;
    const whole = this.#delay === 0;
    const pieces = whole ? this.#cut(bytes) : [...bytes].map((byte) => Buffer.from([byte]));
    for (const piece of pieces) {
      connection.write(piece);
      if (!whole) await setTimeout(this.#delay);
      // The client gets to read in between: sockets are looked at once between two turns.
      else if (pieces.length > 1) for (let turn = 0; turn < 2; turn++) await setImmediate();
    }
  }

  async #beHeard(): Promise<void> {
    const heard = (): boolean => this.#heard() - this.#linesBefore >= this.#linesSaid;
    await until(heard, 'the client has heard everything');
  }

  async #finish(connection: Connection): Promise<void> {
    const said = await connection.line();
    if (said === undefined) return;
    assert.equal(said, 'QUIT', 'the client says more than the transcript shows');
    connection.write(Buffer.from('221 bye\r\n'));
    connection.end();
  }
}

/** One accepted connection, read piece by piece so that what is not asked for stays in the socket. */
class Connection {
  #socket: Socket;
  #input = Buffer.alloc(0);
  #wake: () => void = () => undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    this.#prepare();
  }

  write(bytes: Uint8Array): void {
    if (!this.#socket.destroyed) this.#socket.write(bytes);
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  reset(): void {
    this.#socket.resetAndDestroy();
  }

  /** The next line without its line end; undefined when the client went away. */
  async line(): Promise<string | undefined> {
    let feed = this.#input.indexOf('\n');
    while (feed < 0) {
      if (!(await this.#more())) {
        assert.equal(this.#input.toString('latin1'), '', 'the client ends its last line');
        return undefined;
      }
      feed = this.#input.indexOf('\n');
    }
    const text = this.#input.subarray(0, feed).toString('latin1');
    this.#input = this.#input.subarray(feed + 1);
    assert.ok(text.endsWith('\r'), `the client ends a line with CR LF: ${text}`);
    return text.slice(0, -1);
  }

  async skip(count: number): Promise<void> {
    let left = count;
    while (left > this.#input.length) {
      left -= this.#input.length;
      this.#input = Buffer.alloc(0);
      assert.ok(await this.#more(), 'the client went away in the middle of its message');
    }
    this.#input = this.#input.subarray(left);
  }

  /** Reads to the final dot; false when the client went away before. */
  async message(): Promise<boolean> {
    const END = '\r\n.\r\n';
    let end = this.#input.indexOf(END);
    while (end < 0) {
      this.#input = this.#input.subarray(-END.length);
      if (!(await this.#more())) return false;
      end = this.#input.indexOf(END);
    }
    this.#input = this.#input.subarray(end + END.length);
    return true;
  }

  assertNothingSaid(): void {
    this.#take();
    const said = this.#input.toString('latin1', 0, 1000);
    assert.equal(said, '', 'the client waits for the answer');
  }

  /** The relay's side of the TLS handshake; false when the client went away in it. */
  async secure(): Promise<boolean> {
    this.#socket.removeAllListeners('readable');
    // The client may have begun already.
    this.#socket.unshift(this.#input);
    this.#input = Buffer.alloc(0);
    const secured = new TLSSocket(this.#socket, { isServer: true, ...ownCertificate() });
    this.#socket = secured;
    return await new Promise((resolve) => {
      secured.on('secure', () => resolve(true));
      // A half-open connection that has ended is not closed.
      for (const event of ['end', 'close']) secured.on(event, () => resolve(false));
      this.#prepare();
    });
  }

  #prepare(): void {
    // Errors show as the end of the input.
    this.#socket.on('error', () => undefined);
    // With a listener to `readable` the stream reads up to its mark and no further.
    for (const event of ['readable', 'end', 'close']) this.#socket.on(event, () => this.#wake());
  }

  #take(): boolean {
    const chunk: unknown = this.#socket.read();
    if (!(chunk instanceof Uint8Array)) return false;
    this.#input = Buffer.concat([this.#input, chunk]);
    return true;
  }

  async #more(): Promise<boolean> {
    while (!this.#take()) {
      if (this.#socket.readableEnded || this.#socket.destroyed) return false;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return true;
  }
}
