/**
 * Asks a proxy to connect to a relay: SOCKS 5 (RFC 1928, with user name and password by RFC 1929) or HTTP's
 * CONNECT (RFC 9110 section 9.3.6). The proxy resolves the relay's name. It knows nothing of mail and never
 * reads more than the proxy's answer. Hostile input: that answer, which is bounded.
 */
import type { Socket } from 'node:net';
import { bracketed, ipv6Groups, isIPv4, type ProxyServer } from '../control/relay-url.ts';

export interface ProxyLogin extends ProxyServer {
  readonly password: string | undefined;
}

/** Octets that the head of an HTTP answer may have. */
const HEAD_LIMIT = 16 * 1024;

/** What a SOCKS server's reply code says (RFC 1928 section 6). */
const REFUSALS = [
  'it failed',
  'its rules forbid the connection',
  'the network is unreachable',
  'the host is unreachable',
  'the connection was refused',
  'the time to live expired',
  'it does not know the command',
  'it does not know the kind of address',
];

/**
 * Turns a connection to the proxy into one to the host. Waits as long as it takes: the caller has the
 * deadline and destroys the socket.
 * @throws Error with the reason, not escaped; never with a password
 */
export async function askProxy(
  socket: Socket,
  proxy: ProxyLogin,
  host: string,
  port: number,
): Promise<void> {
  const name = host.replace(/\.$/, '');
  const intake = new Intake(socket);
  try {
    if (proxy.scheme === 'socks5') await askSocks(socket, intake, proxy, name, port);
    else await askHttp(socket, intake, proxy, name, port);
  } catch (error) {
    if (!(error instanceof ProxyRefusal)) throw error;
    const place = `${proxy.scheme}://${bracketed(proxy.host)}:${proxy.port}`;
    throw new Error(`the proxy ${place}: ${error.message}`);
  } finally {
    intake.release();
  }
}

class ProxyRefusal extends Error {}

async function askSocks(
  socket: Socket,
  intake: Intake,
  { user, password = '' }: ProxyLogin,
  host: string,
  port: number,
): Promise<void> {
  socket.write(Buffer.from(user === undefined ? [5, 1, 0] : [5, 2, 0, 2]));
  const [version, method] = await intake.take(2);
  if (version !== 5) throw new ProxyRefusal('this is no SOCKS 5 server');
  if (method === 2 && user !== undefined) {
    socket.write(Buffer.concat([Buffer.from([1]), counted(user), counted(password)]));
    const [, status] = await intake.take(2);
    if (status !== 0) throw new ProxyRefusal('it refuses user name or password');
  } else if (method !== 0) {
    const reason =
      user === undefined ? 'it asks for a login' : 'it takes no user name and password';
    throw new ProxyRefusal(reason);
  }
  const place = Buffer.alloc(2);
  place.writeUInt16BE(port);
  socket.write(Buffer.concat([Buffer.from([5, 1, 0]), address(host), place]));
  const [again, reply = 0, , kind] = await intake.take(4);
  if (again !== 5) throw new ProxyRefusal('this is no SOCKS 5 server');
  if (reply !== 0) throw new ProxyRefusal(REFUSALS[reply - 1] ?? `it failed with code ${reply}`);
  // The address that it connects from is of no use here.
  if (kind === 1) await intake.take(4 + 2);
  else if (kind === 4) await intake.take(16 + 2);
  else if (kind === 3) await intake.take(((await intake.take(1))[0] ?? 0) + 2);
  else throw new ProxyRefusal('this is no SOCKS 5 server');
}

async function askHttp(
  socket: Socket,
  intake: Intake,
  { user, password = '' }: ProxyLogin,
  host: string,
  port: number,
): Promise<void> {
  const place = `${bracketed(host)}:${port}`;
  const login =
    user === undefined
      ? ''
      : `Proxy-Authorization: Basic ${Buffer.from(`${user}:${password}`).toString('base64')}\r\n`;
  socket.write(`CONNECT ${place} HTTP/1.1\r\nHost: ${place}\r\n${login}\r\n`);
  const head = (await intake.until('\r\n\r\n', HEAD_LIMIT)).toString('latin1');
  const [status = ''] = head.split('\r\n', 1);
  const [, code] = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(status) ?? [];
  if (code === undefined) throw new ProxyRefusal('this is no HTTP proxy');
  if (!code.startsWith('2')) throw new ProxyRefusal(status.slice(0, 200));
}

/** ATYP and address. */
function address(host: string): Buffer {
  if (isIPv4(host)) return Buffer.from([1, ...host.split('.').map(Number)]);
  const groups = ipv6Groups(host);
  if (groups === undefined) return Buffer.concat([Buffer.from([3]), counted(host)]);
  return Buffer.from([4, ...groups.flatMap((group) => [group >> 8, group & 0xff])]);
}

/** One octet of length, then the text. */
function counted(text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length > 255) throw new ProxyRefusal('a name or password is longer than 255 octets');
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

/** What the proxy sends, taken in pieces; what comes behind stays for the relay's session. */
class Intake {
  readonly #socket: Socket;
  #bytes: Buffer = Buffer.alloc(0);
  #failure: Error | undefined;
  #wake: () => void = () => undefined;
  readonly #listeners = {
    data: (chunk: Buffer): void => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      if (this.#bytes.length > 2 * HEAD_LIMIT) this.#socket.pause();
      this.#wake();
    },
    error: (error: Error): void => this.#fail(error.message),
    close: (): void => this.#fail('it closed the connection'),
    end: (): void => this.#fail('it closed the connection'),
  };

  constructor(socket: Socket) {
    this.#socket = socket;
    for (const [name, listener] of Object.entries(this.#listeners)) socket.on(name, listener);
  }

  async take(count: number): Promise<Buffer> {
    while (this.#bytes.length < count) await this.#more();
    return this.#cut(count);
  }

  /** @param limit octets up to the mark */
  async until(mark: string, limit: number): Promise<Buffer> {
    for (;;) {
      const at = this.#bytes.indexOf(mark);
      if (at >= 0 && at <= limit) return this.#cut(at + mark.length);
      if (this.#bytes.length > limit) throw new ProxyRefusal('its answer is too long');
      await this.#more();
    }
  }

  release(): void {
    this.#socket.pause();
    for (const [name, listener] of Object.entries(this.#listeners)) {
      this.#socket.removeListener(name, listener);
    }
    if (this.#bytes.length > 0) this.#socket.unshift(this.#bytes);
  }

  #cut(count: number): Buffer {
    const piece = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(count);
    return piece;
  }

  async #more(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  #fail(reason: string): void {
    this.#failure ??= new ProxyRefusal(reason);
    this.#wake();
  }
}
