/**
 * Opens the connection to a relay: IPv6 and IPv4 raced (RFC 8305, as Node does), names by the system's own resolver
 * so that /etc/hosts counts, TLS at once for `smtps`. The only file that calls net or tls to connect.
 */
import net from 'node:net';
import tls from 'node:tls';
import type { Relay } from '../control/relay-url.ts';
import type { DialogueEvent, Stage } from '../mail/outcome.ts';
import { escapeText } from '../mail/text.ts';

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

/** How the relay's certificate is judged (RFC 8314 section 3, RFC 7435 where not verified). */
export interface Trust {
  readonly verify: boolean;
  /** PEM text of the certification authorities to trust instead of Node's own list. */
  readonly authorities: string | undefined;
}

/** The options of tls.connect for a relay. */
export function tlsOptions(relay: Relay, trust: Trust): tls.ConnectionOptions {
  return {
    rejectUnauthorized: trust.verify,
    minVersion: 'TLSv1.2',
    ...(trust.authorities === undefined ? {} : { ca: trust.authorities }),
    ...(net.isIP(relay.host) === 0 ? { servername: relay.host } : {}),
  };
}

/**
 * A connection to the relay, ready for its greeting.
 * @param seconds for name, connection and TLS handshake together
 * @throws SessionError at stage resolve, connect or tls
 */
export async function connectRelay(
  relay: Relay,
  trust: Trust,
  seconds: number,
): Promise<net.Socket> {
  const { host, port } = relay;
  let stage: Stage = 'connect';
  return await new Promise((resolve, reject) => {
    const socket =
      relay.scheme === 'smtps'
        ? tls.connect({ host, port, ...tlsOptions(relay, trust) })
        : net.connect({ host, port });
    const fail = (at: Stage, event: DialogueEvent): void => {
      clearTimeout(timer);
      socket.removeAllListeners();
      // A late error of a socket that is given up has nobody to go to.
      socket.on('error', () => undefined);
      socket.destroy();
      reject(new SessionError(at, event));
    };
    const timer = setTimeout(() => fail(stage, { kind: 'timeout', seconds }), seconds * 1000);
    socket.on('connect', () => {
      if (relay.scheme === 'smtps') stage = 'tls';
    });
    socket.on('error', (error) =>
      fail(stageOf(error, stage), { kind: 'closed', reason: reasonOf(error) }),
    );
    socket.on('close', () =>
      fail(stage, { kind: 'closed', reason: 'the relay closed the connection' }),
    );
    socket.on(relay.scheme === 'smtps' ? 'secureConnect' : 'connect', () => {
      clearTimeout(timer);
      socket.removeAllListeners('error');
      socket.removeAllListeners('close');
      socket.removeAllListeners('connect');
      resolve(socket);
    });
  });
}

function stageOf(error: Error, stage: Stage): Stage {
  return 'syscall' in error && error.syscall === 'getaddrinfo' ? 'resolve' : stage;
}

/** One line for people. A race of addresses fails with all their errors. */
export function reasonOf(error: Error): string {
  const errors = error instanceof AggregateError ? error.errors : [error];
  const messages = errors.map((each) => (each instanceof Error ? each.message : String(each)));
  return escapeText([...new Set(messages)].join('; '));
}
