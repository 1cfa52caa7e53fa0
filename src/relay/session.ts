/**
 * One session with a relay. nodemailer's SMTP connection opens it on a socket of ours: greeting, EHLO or
 * LHLO, STARTTLS. Then the socket is taken over (its documented `_socket`), and the login and the
 * transactions are this project's own: docs/decisions has why.
 *
 * Hostile input: everything the relay says. Whatever fails here is no fault of any mail.
 */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import SMTPConnection from 'nodemailer/lib/smtp-connection';
import { isLoopback, type Relay, type TlsPolicy } from '../control/relay-url.ts';
import type { Answer, DialogueEvent, Stage } from '../mail/outcome.ts';
import { isPermanent, isPositive, MalformedReply, ReplyParser } from '../mail/reply.ts';
import { escapeText } from '../mail/text.ts';
import { authenticate, type Login, Mask } from './auth.ts';
import {
  certificateOf,
  checkPins,
  connectRelay,
  reasonOf,
  SessionError,
  type Trust,
  tlsOptions,
  type Way,
} from './connect.ts';
import { Dialogue, type OnLine } from './dialogue.ts';
import { type Timeouts, type Transaction, Transactions } from './transactions.ts';

export interface SessionOptions {
  readonly relay: Relay;
  /** The name said in EHLO. */
  readonly helo: string;
  /** What holds unless the relay's own line says otherwise; so do pins. */
  readonly tls: TlsPolicy;
  /** PEM text of own certification authorities. */
  readonly authorities: string | undefined;
  readonly pins?: Trust['pins'];
  readonly minimum?: Trust['minimum'];
  readonly certificate?: Trust['certificate'];
  readonly way?: Way;
  readonly login: Login | undefined;
  /** Whether the password may go over a connection without verified TLS. */
  readonly cleartextLogin: boolean;
  /** Seconds. */
  readonly timeouts: Timeouts & {
    readonly connect: number;
    readonly greeting: number;
    readonly helo: number;
    readonly quit: number;
    /** After this no further transaction begins; the handshake has to be over by then. */
    readonly session: number;
  };
  readonly onLine?: OnLine | undefined;
}

/** How a session is protected, for people. */
export interface Security {
  /** As in `TLSv1.3`. */
  readonly protocol: string;
  /** Whether the certificate is signed by an authority that is trusted here, for this name. */
  readonly verified: boolean;
  /** Of the certificate: common names, and milliseconds since 1970-01-01 UTC. */
  readonly subject: string;
  readonly issuer: string;
  readonly validFrom: number;
  readonly validTo: number;
}

export interface Limits {
  readonly recipients: number;
  readonly domains: number;
  readonly messages: number;
}

export class Session {
  readonly relay: Relay;
  /** What the relay offers in this session, by keyword in capitals (RFC 5321 section 4.1.1.1). */
  readonly extensions: ReadonlyMap<string, string>;
  readonly #dialogue: Dialogue;
  readonly #socket: Socket;
  readonly #timeouts: SessionOptions['timeouts'];
  readonly #lifetime: NodeJS.Timeout;
  readonly #transactions: Transactions;
  #inFlight = 0;
  #expired = false;

  private constructor(
    options: SessionOptions,
    extensions: ReadonlyMap<string, string>,
    dialogue: Dialogue,
    socket: Socket,
    verified: boolean,
  ) {
    this.relay = options.relay;
    this.#socket = socket;
    this.extensions = extensions;
    this.#timeouts = options.timeouts;
    this.#dialogue = dialogue;
    this.#transactions = new Transactions(dialogue, extensions, options.timeouts, {
      lmtp: options.relay.scheme === 'lmtp',
      verified,
    });
    this.#lifetime = setTimeout(() => {
      this.#expired = true;
    }, options.timeouts.session * 1000).unref();
  }

  /**
   * Connects, secures and logs in.
   * @throws SessionError for whatever goes wrong, with the stage and what was heard
   */
  static async open(options: SessionOptions): Promise<Session> {
    const { relay, timeouts, way, login, onLine } = options;
    const trust = trustOf(options);
    const socket = await connectRelay(relay, trust, timeouts.connect, way);
    const handshake = new Handshake(options, trust, socket);
    const extensions = parseExtensions(await handshake.run());
    const mask = new Mask();
    const tell: OnLine | undefined =
      onLine && ((side, line): void => onLine(side, mask.shown(line)));
    const dialogue = new Dialogue(handshake.socket, tell);
    const secured = handshake.socket instanceof TLSSocket ? handshake.socket : undefined;
    const verified = secured !== undefined && trust.verify;
    try {
      if (login !== undefined) {
        await authenticate(dialogue, login, {
          host: relay.host,
          port: relay.port,
          offered: extensions.get('AUTH') ?? '',
          secured,
          confidential: options.cleartextLogin || isLoopback(relay.host) || verified,
          seconds: timeouts.helo,
          mask,
        });
      }
    } catch (error) {
      dialogue.destroy();
      throw error;
    }
    return new Session(options, extensions, dialogue, handshake.socket, verified);
  }

  /** How the connection is protected; undefined where it has no TLS. */
  get security(): Security | undefined {
    const socket = this.#socket;
    if (!(socket instanceof TLSSocket)) return undefined;
    const certificate = certificateOf(socket);
    const nameIn = (names: string | undefined): string =>
      escapeText(/^(?:CN|O)=(.*)$/m.exec(names ?? '')?.[1] ?? '');
    return {
      protocol: socket.getProtocol() ?? 'TLS',
      verified: socket.authorized,
      subject: nameIn(certificate?.subject),
      issuer: nameIn(certificate?.issuer),
      validFrom: Date.parse(certificate?.validFrom ?? ''),
      validTo: Date.parse(certificate?.validTo ?? ''),
    };
  }

  /** Whether another transaction can be tried on it. */
  get usable(): boolean {
    if (this.#expired || this.#dialogue.ended !== undefined) return false;
    // A reply that no command asked for: the session is out of step.
    return this.#inFlight > 0 || !this.#dialogue.unsolicited;
  }

  /** What the relay says it takes (RFC 9422): recipients and their domains a transaction, messages a session. */
  get limits(): Limits {
    const text = this.extensions.get('LIMITS') ?? '';
    const limit = (name: string): number => {
      const match = new RegExp(`(?:^| )${name}=([1-9]\\d{0,5})(?: |$)`, 'i').exec(text);
      return match === null ? Number.POSITIVE_INFINITY : Number(match[1]);
    };
    return {
      recipients: limit('RCPTMAX'),
      domains: limit('RCPTDOMAINMAX'),
      messages: limit('MAILMAX'),
    };
  }

  /**
   * How many messages may be under way: whole ones with CHUNKING, up to the limit given; with
   * PIPELINING one whose answer is awaited and one that follows it; else one.
   */
  depth(limit: number): number {
    if (this.#transactions.chunking) return limit;
    return this.#transactions.overlapping ? 2 : 1;
  }

  /**
   * Offers a message to its recipients: one answer each, in their order. May be called again before
   * it is answered.
   * @throws what transaction.pieces() throws; the session is ended then
   */
  async send(transaction: Transaction): Promise<readonly Answer[]> {
    this.#inFlight++;
    try {
      const answers = await this.#transactions.send(transaction);
      // Where a transaction cannot be ended, no other one can begin.
      if (answers.some(({ stage }) => stage === 'rset')) this.#expired = true;
      // A relay that says 421 is about to close (RFC 5321 section 3.8).
      if (answers.some(({ event }) => event.kind === 'reply' && event.reply.code === 421)) {
        this.#dialogue.destroy();
      }
      return answers;
    } finally {
      this.#inFlight--;
    }
  }

  /** Says QUIT and waits a moment for the answer, which changes nothing. */
  async close(): Promise<void> {
    clearTimeout(this.#lifetime);
    if (this.#dialogue.ended === undefined) {
      this.#dialogue.said(['QUIT']);
      this.#dialogue.write(Buffer.from('QUIT\r\n'));
      await this.#dialogue.reply(this.#timeouts.quit);
    }
    this.#dialogue.destroy();
  }
}

/** Greeting to STARTTLS, by nodemailer; what it logs tells the stage and the extensions. */
class Handshake {
  readonly #options: SessionOptions;
  readonly #trust: Trust;
  readonly #connection: SMTPConnection;
  readonly #onLine: OnLine;
  #stage: Stage = 'greeting';
  #ehlo = '';
  /** HELO offers no extensions, and is tried once. */
  #helo = false;
  #fail: (error: SessionError) => void = () => undefined;

  constructor(options: SessionOptions, trust: Trust, socket: Socket) {
    const { relay, timeouts } = options;
    const secured = relay.scheme === 'smtps';
    this.#options = options;
    this.#trust = trust;
    this.#onLine = options.onLine ?? (() => undefined);
    this.#connection = new SMTPConnection({
      connection: socket,
      host: relay.host,
      port: relay.port,
      secure: secured,
      secured,
      lmtp: relay.scheme === 'lmtp',
      name: options.helo,
      tls: tlsOptions(relay, trust),
      requireTLS: !secured && policyOf(options) === 'required',
      ignoreTLS: !secured && policyOf(options) === 'off',
      opportunisticTLS: !secured && policyOf(options) === 'opportunistic',
      connectionTimeout: (timeouts.greeting + timeouts.helo) * 1000,
      greetingTimeout: timeouts.greeting * 1000,
      socketTimeout: timeouts.helo * 1000,
      socketCloseTimeout: 0,
      maxResponseSize: 64 * 1024,
      transactionLog: true,
      logger: {
        debug: (entry: unknown, text: unknown) => this.#hear(entry, text),
        info: () => undefined,
        warn: (entry: unknown) => this.#hearWarning(entry),
        error: () => undefined,
        trace: () => undefined,
        fatal: () => undefined,
      },
    });
  }

  /** The socket of the open session; after STARTTLS another one than before. */
  get socket(): Socket {
    const socket = this.#connection._socket;
    if (!socket) throw new SessionError('connect', { kind: 'closed', reason: 'no connection' });
    return socket;
  }

  /** @returns the text of the last EHLO reply */
  async run(): Promise<string> {
    const { session } = this.#options.timeouts;
    // nodemailer's deadlines begin anew with each byte, and a relay may send one at a time.
    const deadline = setTimeout(() => {
      this.#fail(new SessionError(this.#stage, { kind: 'timeout', seconds: session }));
      this.socket.destroy();
    }, session * 1000);
    try {
      await this.#step((done) => this.#connection.connect(done));
      const { socket } = this;
      if (socket instanceof TLSSocket) checkPins(socket, this.#trust);
    } catch (error) {
      this.#connection.close();
      throw error;
    } finally {
      clearTimeout(deadline);
    }
    const socket = this.socket;
    // nodemailer reads no more. Its other listeners only note that the connection has ended.
    socket.removeAllListeners('data');
    socket.removeAllListeners('timeout');
    socket.setTimeout(0);
    socket.pause();
    return this.#ehlo;
  }

  /** Runs one step of nodemailer, which reports by callback or by its `error` event. */
  async #step(start: (done: (error?: Error | null) => void) => void): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const done = (error?: Error | null): void => {
        if (error === undefined || error === null) resolve();
        else reject(new SessionError(this.#stageOf(error), this.#eventOf(error)));
      };
      this.#fail = reject;
      this.#connection.removeAllListeners('error');
      this.#connection.on('error', done);
      start(done);
    });
  }

  #hear(entry: unknown, text: unknown): void {
    const side =
      typeof entry === 'object' && entry !== null && 'tnx' in entry ? entry.tnx : undefined;
    if (typeof text !== 'string') return;
    if (side === 'client') {
      const verb = text.split(' ', 1)[0]?.toUpperCase();
      if (verb === 'EHLO' || verb === 'HELO' || verb === 'LHLO') this.#stage = 'ehlo';
      this.#helo = verb === 'HELO';
      if (verb === 'STARTTLS') this.#stage = 'starttls';
      this.#onLine('C', escapeText(text));
    } else if (side === 'server') {
      for (const line of text.split('\n')) this.#onLine('S', escapeText(line));
      this.#judge(text);
      if (this.#stage === 'ehlo' && text.startsWith('2')) this.#ehlo = this.#helo ? '' : text;
      if (this.#stage === 'starttls' && text.startsWith('2')) {
        this.#stage = 'tls';
        // RFC 3207 section 4.2: what was offered before TLS is forgotten.
        this.#ehlo = '';
      }
    }
  }

  /**
   * Ends the handshake for what nodemailer would let pass: it looks at the first digit only, and takes
   * every answer to EHLO that is no 2xx for a reason to try HELO.
   */
  #judge(text: string): void {
    const event = eventOf(text);
    if (event.kind === 'reply') {
      const { reply } = event;
      if (this.#stage !== 'ehlo' || isPositive(reply) || isPermanent(reply)) return;
    }
    // First, for nodemailer is about to answer.
    this.socket.destroy();
    this.#fail(new SessionError(this.#stage, event));
  }

  #hearWarning(entry: unknown): void {
    if (typeof entry !== 'object' || entry === null || !('discarded' in entry)) return;
    const reason =
      'the relay sent more than its reply to STARTTLS; somebody may be injecting commands';
    this.#fail(new SessionError('starttls', { kind: 'malformed', reason }));
  }

  #stageOf(error: Error): Stage {
    const code = 'code' in error ? error.code : undefined;
    return code === 'ETLS' && this.#stage !== 'starttls' ? 'tls' : this.#stage;
  }

  #eventOf(error: Error): DialogueEvent {
    if ('response' in error && typeof error.response === 'string') {
      return eventOf(error.response);
    }
    if ('code' in error && error.code === 'EPROTOCOL') {
      return { kind: 'malformed', reason: reasonOf(error) };
    }
    if ('code' in error && error.code === 'ETIMEDOUT') {
      const { greeting, helo } = this.#options.timeouts;
      return { kind: 'timeout', seconds: this.#stage === 'greeting' ? greeting : helo };
    }
    return { kind: 'closed', reason: reasonOf(error) };
  }
}

/** A whole reply as nodemailer reports it: lines with LF between them. */
function eventOf(text: string): DialogueEvent {
  try {
    const [reply] = new ReplyParser().push(Buffer.from(`${text}\n`));
    if (reply !== undefined) return { kind: 'reply', reply };
  } catch (error) {
    if (!(error instanceof MalformedReply)) throw error;
    return { kind: 'malformed', reason: error.message };
  }
  return { kind: 'malformed', reason: 'an unfinished reply' };
}

/** A relay on this machine needs no TLS, unless an own authority or a pin is named for it. */
function policyOf(options: SessionOptions): TlsPolicy {
  const { relay, authorities } = options;
  if (relay.tls !== undefined) return relay.tls;
  // Nobody listens in on a Unix socket.
  if (relay.path !== undefined) return 'off';
  const exempt =
    isLoopback(relay.host) && authorities === undefined && pinsOf(options).length === 0;
  return exempt && options.tls === 'required' ? 'opportunistic' : options.tls;
}

function trustOf(options: SessionOptions): Trust {
  const { authorities, minimum, certificate } = options;
  const pins = pinsOf(options);
  const verify = policyOf(options) === 'required' || pins.length > 0;
  return { verify, authorities, pins, minimum, certificate };
}

function pinsOf({ relay, pins = [] }: SessionOptions): readonly string[] {
  return relay.pins ?? pins;
}

/** Later lines of the same keyword are added to the first one: some relays offer AUTH twice. */
function parseExtensions(ehlo: string): ReadonlyMap<string, string> {
  const extensions = new Map<string, string>();
  for (const line of ehlo.split('\n').slice(1)) {
    const match = /^\d{3}[ -]([A-Za-z0-9-]+)(?:[ =](.*))?$/.exec(line.trim());
    if (match === null) continue;
    const keyword = (match[1] ?? '').toUpperCase();
    const before = extensions.get(keyword);
    extensions.set(
      keyword,
      before === undefined ? (match[2] ?? '') : `${before} ${match[2] ?? ''}`,
    );
  }
  return extensions;
}
