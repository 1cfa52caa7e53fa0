// A relay of raw sockets inside the test process. It answers as its script says and reads strictly:
// only CRLF ends a line and only CRLF . CRLF ends a message, and what breaks the rules is a fault.
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

export type RelayStage =
  | 'greeting'
  | 'ehlo'
  | 'auth'
  | 'mail'
  | 'rcpt'
  | 'data'
  /** The first octets of a message have come. */
  | 'body'
  | 'dot'
  | 'rset'
  | 'quit'
  | 'other';

/** What the relay has to answer. */
export interface Asked {
  readonly stage: RelayStage;
  /** The command line; empty where none was sent. */
  readonly line: string;
  /** Connections are counted from 1. */
  readonly connection: number;
}

/** The relay closes the connection instead of an answer. */
export const CLOSE = Symbol('close');
/** The relay says nothing more in this connection and goes on reading. */
export const SILENCE = Symbol('silence');

/** The relay does what it usually does, but its answer never arrives. */
export const LOSE = Symbol('lose');

/** Raw text with its line ends (one is added where there is none), or no answer; undefined: the usual one. */
export type Answered = string | Buffer | typeof CLOSE | typeof SILENCE | typeof LOSE | undefined;
export type Script = (asked: Asked) => Answered | Promise<Answered>;

/** One message that came with its final dot. */
export interface Offered {
  readonly connection: number;
  /** The MAIL command's address and what stood behind it. */
  readonly from: string;
  readonly parameters: string;
  readonly to: readonly string[];
  /** The message as it came, dots taken off; empty where messages are not kept. */
  readonly raw: Buffer;
  readonly size: number;
}

export interface TestRelay {
  readonly port: number;
  /** Messages that were answered with 2xx. */
  readonly received: readonly Offered[];
  /** All messages that came with their final dot. */
  readonly offered: readonly Offered[];
  /** All command lines of all connections. */
  readonly lines: readonly string[];
  /** What broke the rules. */
  readonly faults: readonly string[];
  readonly connections: number;
  /** What it answers from now on. */
  script: Script;
  /** Everyone who got a message, in order of arrival. */
  recipients(): string[];
  stop(): Promise<void>;
}

export interface RelayOptions {
  readonly script?: Script;
  readonly extensions?: readonly string[];
  readonly port?: number;
  /** An address of the loopback; 127.0.0.1 where not given. */
  readonly host?: string;
  /** False: messages are counted and thrown away. */
  readonly keep?: boolean;
}

/** What the relay offers where nothing else is asked for. */
export const EXTENSIONS = ['PIPELINING', '8BITMIME', 'SIZE 200000000', 'ENHANCEDSTATUSCODES'];
/** The same with whole messages in one command (RFC 3030). */
export const WITH_CHUNKING = [...EXTENSIONS, 'CHUNKING'];
/** The extension behind a parameter of MAIL, where it has another name. */
const EXTENSION_OF: Readonly<Record<string, string>> = {
  BODY: '8BITMIME',
  RET: 'DSN',
  ENVID: 'DSN',
};
const END = Buffer.from('\r\n.\r\n');

/** Starts a relay that ends with the test. */
export async function startRelay(
  t: Pick<TestContext, 'after'>,
  options: RelayOptions = {},
): Promise<TestRelay> {
  const received: Offered[] = [];
  const offered: Offered[] = [];
  const lines: string[] = [];
  const faults: string[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer({ noDelay: true }, (socket) => {
    connections++;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    // A client that is killed resets the connection.
    socket.on('error', () => undefined);
    new Conversation(socket, connections, relay, options, { received, offered, lines, faults })
      .run()
      .catch((error: unknown) => {
        if (!socket.destroyed) faults.push(`the relay itself failed: ${String(error)}`);
        socket.destroy();
      });
  });
  server.listen(options.port ?? 0, options.host ?? '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port was assigned');
  let stopped = false;
  const relay: TestRelay = {
    port: address.port,
    received,
    offered,
    lines,
    faults,
    get connections() {
      return connections;
    },
    script: options.script ?? (() => undefined),
    recipients: () => received.flatMap(({ to }) => to),
    stop: async () => {
      if (stopped) return;
      stopped = true;
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  t.after(relay.stop);
  return relay;
}

interface Books {
  readonly received: Offered[];
  readonly offered: Offered[];
  readonly lines: string[];
  readonly faults: string[];
}

class Conversation {
  readonly #socket: Socket;
  readonly #connection: number;
  readonly #relay: TestRelay;
  readonly #options: RelayOptions;
  readonly #books: Books;
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);
  #from: { address: string; parameters: string } | undefined;
  #to: string[] = [];
  #mute = false;

  constructor(
    socket: Socket,
    connection: number,
    relay: TestRelay,
    options: RelayOptions,
    books: Books,
  ) {
    this.#socket = socket;
    this.#connection = connection;
    this.#relay = relay;
    this.#options = options;
    this.#books = books;
    this.#chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  async run(): Promise<void> {
    await this.#answer('greeting', '', '220 relay.test ESMTP');
    for (;;) {
      const line = await this.#line();
      if (line === undefined) break;
      this.#books.lines.push(line);
      const verb = line.split(/[ :]/, 1)[0]?.toUpperCase() ?? '';
      if (!(await this.#command(verb, line))) break;
    }
    this.#socket.destroy();
  }

  /** False ends the connection. */
  async #command(verb: string, line: string): Promise<boolean> {
    switch (verb) {
      case 'EHLO':
      case 'HELO': {
        const offers = ['relay.test', ...(this.#options.extensions ?? EXTENSIONS)];
        const reply = offers.map((offer, n) => `250${n < offers.length - 1 ? '-' : ' '}${offer}`);
        return this.#goOn(await this.#answer('ehlo', line, reply.join('\r\n')));
      }
      case 'AUTH':
        return this.#goOn(await this.#answer('auth', line, '235 2.7.0 welcome'));
      case 'MAIL': {
        const [, address = '', parameters = ''] = /^MAIL FROM:<(.*?)>(?: (.*))?$/i.exec(line) ?? [];
        if (this.#from !== undefined) this.#fault('MAIL within a transaction');
        const usual = this.#offers(parameters) ? '250 2.1.0 ok' : '555 5.5.4 not offered';
        const code = await this.#answer('mail', line, usual);
        if (code?.startsWith('2')) this.#from = { address, parameters };
        return this.#goOn(code);
      }
      case 'RCPT': {
        const [, address = ''] = /^RCPT TO:<(.*)>(?: [A-Z=,;+-\w]+)*$/i.exec(line) ?? [];
        if (address === '') this.#fault(`a strange RCPT: ${line}`);
        const usual = this.#from === undefined ? '503 5.5.1 MAIL first' : '250 2.1.5 ok';
        const code = await this.#answer('rcpt', line, usual);
        if (code?.startsWith('2')) this.#to.push(address);
        return this.#goOn(code);
      }
      case 'DATA': {
        const usual = this.#to.length === 0 ? '554 5.5.1 no valid recipients' : '354 go on';
        const code = await this.#answer('data', line, usual);
        return code?.startsWith('3') ? await this.#message() : this.#goOn(code);
      }
      case 'BDAT':
        return await this.#chunk(line);
      case 'RSET':
        this.#from = undefined;
        this.#to = [];
        return this.#goOn(await this.#answer('rset', line, '250 2.0.0 ok'));
      case 'QUIT':
        await this.#answer('quit', line, '221 2.0.0 bye');
        return false;
      default:
        this.#fault(`an unknown command: ${JSON.stringify(line.slice(0, 100))}`);
        return this.#goOn(await this.#answer('other', line, '500 5.5.1 what?'));
    }
  }

  /** BDAT (RFC 3030), the whole message in its last chunk. */
  async #chunk(line: string): Promise<boolean> {
    const size = Number(/^BDAT (\d+) LAST$/.exec(line)?.[1] ?? Number.NaN);
    if (Number.isNaN(size)) {
      this.#fault(`a strange BDAT: ${line}`);
      return false;
    }
    const parts = [this.#rest];
    let length = this.#rest.length;
    while (length < size) {
      const { value, done } = await this.#chunks.next();
      if (done === true) return false;
      parts.push(value);
      length += value.length;
    }
    const all = Buffer.concat(parts);
    this.#rest = all.subarray(size);
    if (this.#to.length === 0) {
      return this.#goOn(await this.#answer('dot', line, '503 5.5.1 no valid recipients'));
    }
    const bytes = all.subarray(0, size);
    this.#inspect(bytes);
    return await this.#take(bytes, size);
  }

  /** Whether all parameters of a MAIL command are of extensions that EHLO offered. */
  #offers(parameters: string): boolean {
    const offered = (this.#options.extensions ?? EXTENSIONS).map((each) => each.split(' ')[0]);
    const needed = parameters.split(/[ ]+/).filter((each) => each !== '');
    return needed.every((each) => {
      const keyword = each.split('=')[0] ?? '';
      return offered.includes(EXTENSION_OF[keyword] ?? keyword);
    });
  }

  async #message(): Promise<boolean> {
    const kept: Buffer[] = [];
    let size = 0;
    // The end may be at once, and it may be cut anywhere: the last octets are looked at again.
    let pending = Buffer.concat([Buffer.from('\r\n'), this.#rest]);
    this.#rest = Buffer.alloc(0);
    let first = true;
    for (;;) {
      if (first && pending.length > 2) {
        first = false;
        const code = await this.#answer('body', '', undefined);
        if (code === 'closed') return false;
        // A relay that refuses in the middle reads on to the end without another word.
        if (code !== undefined && !code.startsWith('2')) this.#to = [];
      }
      const end = pending.indexOf(END);
      const whole = end === -1 ? Math.max(0, pending.length - END.length) : end + 2;
      size += whole;
      if (this.#options.keep !== false) kept.push(pending.subarray(0, whole));
      if (end !== -1) {
        this.#rest = pending.subarray(end + END.length);
        break;
      }
      const tail = pending.subarray(whole);
      const { value, done } = await this.#chunks.next();
      if (done === true) return false;
      pending = Buffer.concat([tail, value]);
    }
    const bytes = Buffer.concat(kept).subarray(2);
    this.#inspect(bytes);
    const text = bytes.toString('latin1').replace(/^\./gm, '');
    return await this.#take(Buffer.from(text, 'latin1'), size - 2);
  }

  /** A whole message has come. */
  async #take(raw: Buffer, size: number): Promise<boolean> {
    const message: Offered = {
      connection: this.#connection,
      from: this.#from?.address ?? '',
      parameters: this.#from?.parameters ?? '',
      to: this.#to,
      raw: this.#options.keep === false ? Buffer.alloc(0) : raw,
      size,
    };
    this.#from = undefined;
    this.#to = [];
    this.#books.offered.push(message);
    const code = await this.#answer('dot', '', '250 2.0.0 taken', () =>
      this.#books.received.push(message),
    );
    return this.#goOn(code);
  }

  #inspect(bytes: Buffer): void {
    const text = bytes.toString('latin1');
    if (/\r(?!\n)/.test(text)) this.#fault('a bare CR in a message');
    if (/(?<!\r)\n/.test(text)) this.#fault('a bare LF in a message');
    if (text.includes('\0')) this.#fault('a NUL in a message');
    if (text.split('\r\n').some((line) => line.length > 998 + 1)) this.#fault('a long line');
  }

  /** The first characters of what was said, `closed`, or undefined for silence. */
  async #answer(
    stage: RelayStage,
    line: string,
    usual: string | undefined,
    onTaken?: () => void,
  ): Promise<string | undefined> {
    const scripted = await this.#relay.script({ stage, line, connection: this.#connection });
    if (scripted === LOSE) {
      if (usual?.startsWith('2') === true) onTaken?.();
      return usual?.slice(0, 3);
    }
    const say = scripted ?? usual;
    if (say === SILENCE) this.#mute = true;
    if (this.#mute || say === undefined) return undefined;
    if (say === CLOSE) {
      this.#socket.end();
      this.#socket.destroySoon();
      return 'closed';
    }
    if (typeof say === 'symbol') return undefined;
    // Before the answer leaves: the client may be gone right behind it.
    if (say.toString().startsWith('2')) onTaken?.();
    this.#socket.write(say);
    if (typeof say === 'string' && !say.endsWith('\n')) this.#socket.write('\r\n');
    return say.toString('latin1').slice(0, 3);
  }

  #goOn(code: string | undefined): boolean {
    return code !== 'closed' && code !== '421';
  }

  async #line(): Promise<string | undefined> {
    for (;;) {
      const end = this.#rest.indexOf('\r\n');
      if (end !== -1) {
        const line = this.#rest.subarray(0, end).toString('utf8');
        this.#rest = this.#rest.subarray(end + 2);
        if (/[\r\n\0]/.test(line)) this.#fault('a bare line end in a command');
        return line;
      }
      const { value, done } = await this.#chunks.next();
      if (done === true) return undefined;
      this.#rest = Buffer.concat([this.#rest, value]);
    }
  }

  #fault(text: string): void {
    this.#books.faults.push(text);
  }
}
