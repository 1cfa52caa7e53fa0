/**
 * Opens the connection to a relay: IPv6 and IPv4 raced (RFC 8305), names by the system's own resolver so
 * that /etc/hosts counts, from a source address or through a proxy where one is named, TLS at once for
 * `smtps`. The only file that calls net or tls to connect, and the one that judges certificates.
 */
import { createHash, X509Certificate } from 'node:crypto';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { isLoopback, type Relay } from '../control/relay-url.ts';
import type { DialogueEvent, Stage } from '../mail/outcome.ts';
import { escapeText } from '../mail/text.ts';
import { askProxy, type ProxyLogin } from './proxy.ts';
import type { Address } from './resolver.ts';

/** A session that could not be opened; nothing is wrong with any mail. */
export class SessionError extends Error {
  override name = 'SessionError';
  readonly stage: Stage;
  readonly event: DialogueEvent;

  constructor(stage: Stage, event: DialogueEvent) {
    super(`${stage}: ${event.kind}`);
    this.stage = stage;
    this.event = event;
  }
}

/** How the relay's certificate is judged (RFC 8314 section 3, RFC 7435 where not verified), and ours. */
export interface Trust {
  readonly verify: boolean;
  /** PEM text of the certification authorities to trust instead of Node's own list. */
  readonly authorities: string | undefined;
  /**
   * SHA-256 fingerprints, as parsePin gives them, of which the relay's certificate or its public key must
   * have one; then no authority is asked and no name compared.
   */
  readonly pins?: readonly string[] | undefined;
  /** TLS 1.2 when not given. */
  readonly minimum?: 'TLSv1.2' | 'TLSv1.3' | undefined;
  /** PEM texts of our own certificate and its key, for a relay that asks for them. */
  readonly certificate?: { readonly chain: string; readonly key: string } | undefined;
}

/** Which way connections take. */
export interface Way {
  /** Our own address for connections of each family; with one of them, only that family is used. */
  readonly source?: { readonly ipv4?: string; readonly ipv6?: string } | undefined;
  /** Goes to every host but this one. */
  readonly proxy?: ProxyLogin | undefined;
  /**
   * Knows the addresses of hosts that a name server named; without it, and for the proxy, the system is
   * asked. Rejects with an error whose syscall is `query`.
   */
  readonly lookup?: ((host: string) => Promise<readonly Address[]>) | undefined;
}

/** An attempt of one family is alone for so long, in milliseconds (RFC 8305 section 5). */
const HEAD_START = 250;

/** The options of tls.connect for a relay. */
export function tlsOptions(relay: Pick<Relay, 'host'>, trust: Trust): tls.ConnectionOptions {
  const pinned = trust.pins !== undefined && trust.pins.length > 0;
  return {
    host: relay.host,
    // A pin is looked at by checkPins, as soon as the handshake is over.
    rejectUnauthorized: trust.verify && !pinned,
    ...identity(trust),
    ...(net.isIP(relay.host) === 0 ? { servername: relay.host.replace(/\.$/, '') } : {}),
  };
}

/** Own authorities added to those that node knows, for hosts that anybody runs. */
export function besidePublicOnes(authorities: string | undefined): string | undefined {
  return authorities && [...tls.rootCertificates, authorities].join('\n');
}

/**
 * @throws what OpenSSL says about authorities, certificate or key that cannot be used
 */
export function checkTrust(trust: Omit<Trust, 'verify'>): void {
  tls.createSecureContext(identity(trust));
}

/**
 * Compares the relay's certificate with the pins, where there are any. Only its own certificate counts: those
 * that it sends along are not verified.
 * @throws SessionError at stage tls
 */
export function checkPins(socket: tls.TLSSocket, trust: Trust): void {
  const { pins = [] } = trust;
  if (pins.length === 0) return;
  const certificate = certificateOf(socket);
  const found =
    certificate === undefined
      ? []
      : [
          digest(certificate.raw),
          digest(certificate.publicKey.export({ type: 'spki', format: 'der' })),
        ];
  if (found.some((each) => pins.includes(each))) return;
  const key = found[1] === undefined ? '' : `; its public key is sha256:${found[1]}`;
  const reason = `the relay's certificate has none of the fingerprints of control/tlspin${key}`;
  throw new SessionError('tls', { kind: 'closed', reason });
}

/** The certificate of the other side. Node's own getPeerX509Certificate finds it only once. */
export function certificateOf(socket: tls.TLSSocket): X509Certificate | undefined {
  const { raw } = socket.getPeerCertificate() as { readonly raw?: Buffer };
  return raw === undefined ? undefined : new X509Certificate(raw);
}

/**
 * A connection to the relay, ready for its greeting.
 * @param seconds for name, connection, proxy and TLS handshake together
 * @throws SessionError at stage resolve, connect or tls
 */
export async function connectRelay(
  relay: Relay,
  trust: Trust,
  seconds: number,
  way: Way = {},
): Promise<net.Socket> {
  return await openSocket(relay, relay.scheme === 'smtps' ? trust : undefined, seconds, way);
}

/**
 * A connection to a host, in TLS where `trust` is given.
 * @throws SessionError at stage resolve, connect or tls
 */
export async function openSocket(
  target: Pick<Relay, 'host' | 'port' | 'path'>,
  trust: Trust | undefined,
  seconds: number,
  way: Way,
): Promise<net.Socket> {
  const given = new AbortController();
  let stage: Stage = 'connect';
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new SessionError(stage, { kind: 'timeout', seconds })),
      seconds * 1000,
    );
  });
  try {
    const socket = await Promise.race([late, dial(target, way, given.signal)]);
    if (trust === undefined) return socket;
    stage = 'tls';
    return await Promise.race([late, secure(socket, target, trust)]);
  } catch (error) {
    given.abort();
    if (error instanceof SessionError) throw error;
    throw new SessionError(stageOf(error, stage), { kind: 'closed', reason: reasonOf(error) });
  } finally {
    clearTimeout(timer);
  }
}

async function dial(
  target: Pick<Relay, 'host' | 'port' | 'path'>,
  way: Way,
  given: AbortSignal,
): Promise<net.Socket> {
  const { host, port, path } = target;
  if (path !== undefined) return await open({ path }, given);
  // What the proxy calls localhost is another host than what we call so.
  const proxy = isLoopback(host) ? undefined : way.proxy;
  const { lookup, ...plain } = way;
  const all = proxy === undefined ? attempts({ host, port }, way) : attempts(proxy, plain);
  const socket = await race(all, given);
  if (proxy !== undefined) await askProxy(socket, proxy, host, port);
  return socket;
}

/** One attempt at all addresses, or one for each family that has a source address. */
function attempts(
  { host, port }: { readonly host: string; readonly port: number },
  { source, lookup }: Way,
): readonly net.TcpNetConnectOpts[] {
  const found = lookup === undefined ? {} : { lookup: asNodeWants(lookup) };
  // Without a source address Node itself races the families.
  if (source === undefined) return [{ host, port, ...found }];
  const literal = net.isIP(host);
  const all = [
    { family: 6, localAddress: source.ipv6 },
    { family: 4, localAddress: source.ipv4 },
  ];
  const fit = all.flatMap(({ family, localAddress }) =>
    localAddress === undefined || (literal !== 0 && literal !== family)
      ? []
      : [{ host, port, family, localAddress, ...found }],
  );
  if (fit.length === 0) throw new Error(`control/sourceaddress has no IPv${literal} address`);
  return fit;
}

/** In the form of dns.lookup: all addresses, or the first one of a family. */
function asNodeWants(lookup: NonNullable<Way['lookup']>): net.LookupFunction {
  return (host, { all, family }, callback) => {
    lookup(host).then(
      (addresses) => {
        const fit = addresses.filter((each) =>
          family !== 4 && family !== 6 ? true : each.family === family,
        );
        const [first] = fit;
        if (first === undefined) {
          callback(noAddress(host, `has no IPv${family} address`), '');
        } else if (all === true) {
          callback(
            null,
            fit.map((each) => ({ ...each })),
          );
        } else {
          callback(null, first.address, first.family);
        }
      },
      (error: NodeJS.ErrnoException) => callback(error, ''),
    );
  };
}

/** What a lookup rejects with. */
export function noAddress(host: string, reason: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${host} ${reason}`), { code: 'ENOTFOUND', syscall: 'query' });
}

/** The first connection that comes about; the second attempt waits for the first to fail or be slow. */
async function race(
  [first, second]: readonly net.TcpNetConnectOpts[],
  given: AbortSignal,
): Promise<net.Socket> {
  if (first === undefined) throw new Error('no address to connect to');
  const sockets: net.Socket[] = [];
  const one = open(first, given, sockets);
  if (second === undefined) return await one;
  const won = new AbortController();
  const slow = sleep(HEAD_START, undefined, { signal: won.signal }).catch(() => undefined);
  const two = Promise.race([one.catch(() => undefined), slow]).then(
    (connected) => connected ?? open(second, given, sockets),
  );
  const winner = await Promise.any([one, two]);
  won.abort();
  for (const socket of sockets) if (socket !== winner) socket.destroy();
  return winner;
}

/** @param given aborted when the connection is wanted no more */
async function open(
  options: net.NetConnectOpts,
  given: AbortSignal,
  sockets: net.Socket[] = [],
): Promise<net.Socket> {
  given.throwIfAborted();
  const socket = net.connect(options);
  sockets.push(socket);
  // A late error of a socket that is given up has nobody to go to.
  socket.on('error', () => undefined);
  given.addEventListener('abort', () => socket.destroy());
  await ready(socket, 'connect');
  return socket;
}

async function secure(
  socket: net.Socket,
  target: Pick<Relay, 'host'>,
  trust: Trust,
): Promise<net.Socket> {
  const secured = tls.connect({ ...tlsOptions(target, trust), socket });
  secured.on('error', () => undefined);
  try {
    await ready(secured, 'secureConnect');
    checkPins(secured, trust);
    return secured;
  } catch (error) {
    secured.destroy();
    throw error;
  }
}

function ready(socket: net.Socket, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error): void => {
      socket.removeListener(event, done);
      socket.removeListener('error', done);
      socket.removeListener('close', closed);
      if (error === undefined) resolve();
      else reject(error);
    };
    const closed = (): void => done(new Error('the relay closed the connection'));
    socket.on(event, done);
    socket.on('error', done);
    socket.on('close', closed);
  });
}

function identity({
  authorities,
  minimum,
  certificate,
}: Omit<Trust, 'verify'>): tls.SecureContextOptions {
  return {
    minVersion: minimum ?? 'TLSv1.2',
    ...(authorities === undefined ? {} : { ca: authorities }),
    ...(certificate === undefined ? {} : { cert: certificate.chain, key: certificate.key }),
  };
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function stageOf(error: unknown, stage: Stage): Stage {
  const errors: readonly unknown[] = error instanceof AggregateError ? error.errors : [error];
  const unknownName = errors.every(
    (each) =>
      each instanceof Error &&
      'syscall' in each &&
      (each.syscall === 'getaddrinfo' || each.syscall === 'query'),
  );
  return unknownName ? 'resolve' : stage;
}

/** One line for people. A race of addresses fails with all their errors. */
export function reasonOf(error: unknown): string {
  const messages = messagesOf(error);
  return escapeText([...new Set(messages)].join('; '));
}

function messagesOf(error: unknown): readonly string[] {
  if (error instanceof AggregateError) return error.errors.flatMap(messagesOf);
  // OpenSSL ends its lines, and puts numbers, functions and its own source files around the reason.
  const message = (error instanceof Error ? error.message : String(error)).trim();
  const reason = /^[\dA-F]+:error:[\dA-F]+:[^:]*:[^:]*:([^:]+):/.exec(message)?.[1];
  return [reason === undefined ? message : `TLS: ${reason}`];
}
