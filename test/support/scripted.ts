// A relay that speaks line by line on any server's sockets: greeting, then one answer a command.
import { once } from 'node:events';
import net from 'node:net';
import type { TestContext } from 'node:test';
import tls from 'node:tls';
import type { SessionOptions } from '../../src/relay/session.ts';
import type { Certificate } from './certificates.ts';

/** Answers one line, without its line end; undefined: the usual answer. `STARTTLS`: begin TLS. */
export type Speaker = (
  line: string,
  socket: net.Socket,
) => string | undefined | Promise<string | undefined>;

export interface ScriptedOptions {
  readonly offers?: readonly string[];
  readonly speaker?: Speaker;
  readonly certificate?: Certificate;
  /** TLS from the first byte. */
  readonly implicit?: boolean;
  readonly tls?: tls.TlsOptions;
  /** A Unix socket. */
  readonly path?: string;
  readonly port?: number;
  /** An address of the loopback; 127.0.0.1 where not given. */
  readonly host?: string;
}

export interface Scripted {
  readonly port: number;
  readonly lines: readonly string[];
  readonly sockets: readonly net.Socket[];
}

/** Starts a relay that ends with the test. */
export async function startScripted(
  t: Pick<TestContext, 'after'>,
  options: ScriptedOptions = {},
): Promise<Scripted> {
  const lines: string[] = [];
  const sockets: net.Socket[] = [];
  const secure = { ...options.certificate, ...options.tls };
  const serve = async (plain: net.Socket): Promise<void> => {
    let socket = plain;
    sockets.push(socket);
    let rest = '';
    let body = false;
    let lock = Promise.resolve();
    const say = (text: string): void => {
      if (!socket.destroyed) socket.write(`${text.replaceAll('\n', '\r\n')}\r\n`);
    };
    const hear = async (line: string): Promise<void> => {
      if (body && line !== '.') return;
      body = false;
      lines.push(line);
      const own = await options.speaker?.(line, socket);
      if (own === 'STARTTLS') {
        say('220 go on');
        socket.removeAllListeners('data');
        socket = new tls.TLSSocket(socket, { isServer: true, ...secure });
        socket.on('error', () => undefined);
        sockets.push(socket);
        listen();
        return;
      }
      const verb = line.split(/[ :]/, 1)[0]?.toUpperCase();
      const offers = ['relay.test', ...(options.offers ?? [])];
      const usual: Record<string, string> = {
        EHLO: offers.map((each, n) => `250${n < offers.length - 1 ? '-' : ' '}${each}`).join('\n'),
        DATA: '354 go on',
        QUIT: '221 bye',
      };
      usual['LHLO'] = usual['EHLO'] ?? '';
      const answer = own ?? usual[verb ?? ''] ?? '250 ok';
      if (answer.startsWith('354')) body = true;
      if (answer !== '') say(answer);
    };
    const listen = (): void => {
      socket.on('data', (chunk: Buffer) => {
        rest += chunk.toString('latin1');
        const whole = rest.split('\r\n');
        rest = whole.pop() ?? '';
        for (const line of whole) lock = lock.then(() => hear(line));
      });
    };
    socket.on('error', () => undefined);
    say('220 relay.test');
    listen();
  };
  const accept = (socket: net.Socket): void => void serve(socket);
  const server = options.implicit ? tls.createServer(secure, accept) : net.createServer(accept);
  server.on('tlsClientError', () => undefined);
  if (options.path === undefined) server.listen(options.port ?? 0, options.host ?? '127.0.0.1');
  else server.listen(options.path);
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    lines,
    sockets,
  };
}

/** The options of a session with a relay on this machine. */
export function sessionOptions(
  changes: Partial<SessionOptions> & Pick<SessionOptions, 'relay'>,
): SessionOptions {
  return {
    helo: 'client.test',
    tls: 'required',
    authorities: undefined,
    login: undefined,
    cleartextLogin: false,
    timeouts: {
      connect: 10,
      greeting: 10,
      helo: 10,
      mail: 10,
      rcpt: 10,
      data: 10,
      block: 10,
      dot: 10,
      quit: 1,
      session: 60,
    },
    ...changes,
  };
}
