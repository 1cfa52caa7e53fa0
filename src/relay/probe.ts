/**
 * Looks at a relay without sending mail: its addresses, whether each can be reached, what a session with
 * it offers, its certificate, and whether the login is taken. For `picorelay check` and `init`.
 *
 * Hostile input: everything the relay says; it is only reported, escaped where it is text.
 */
import dns from 'node:dns/promises';
import net from 'node:net';
import type { Relay } from '../control/relay-url.ts';
import type { DialogueEvent, Stage } from '../mail/outcome.ts';
import { reasonOf, SessionError } from './connect.ts';
import { type Security, Session, type SessionOptions } from './session.ts';

/** An address of a relay, and whether it takes connections. */
export interface Reached {
  readonly address: string;
  readonly family: 4 | 6;
  /** Why not; undefined when it does. */
  readonly problem: string | undefined;
}

export type Addresses =
  | { readonly kind: 'found'; readonly reached: readonly Reached[] }
  | { readonly kind: 'unknown'; readonly reason: string };

export type Opened =
  | {
      readonly kind: 'open';
      readonly extensions: ReadonlyMap<string, string>;
      readonly security: Security | undefined;
    }
  | { readonly kind: 'trouble'; readonly stage: Stage; readonly event: DialogueEvent };

/** Seconds for a step whose own deadline may be minutes. */
const PATIENCE = 15;

/** Addresses that are tried of each family. */
const MOST = 3;

/** Asks for the relay's addresses as the system does, and connects to each port by itself. */
export async function reachRelay({ host, port }: Pick<Relay, 'host' | 'port'>): Promise<Addresses> {
  let found: readonly { readonly address: string; readonly family: number }[];
  try {
    found = await dns.lookup(host, { all: true });
  } catch (error) {
    return { kind: 'unknown', reason: reasonOf(error) };
  }
  const families = ([6, 4] as const).flatMap((family) =>
    found
      .filter((each) => each.family === family)
      .slice(0, MOST)
      .map(({ address }) => ({ address, family })),
  );
  const reached = families.map(async ({ address, family }) => ({
    address,
    family,
    problem: await connectionProblem(address, port),
  }));
  return { kind: 'found', reached: await Promise.all(reached) };
}

/** Opens a session as a delivery does, its login included, and closes it again. Never throws SessionError. */
export async function openRelay(options: SessionOptions): Promise<Opened> {
  const { timeouts } = options;
  const soon = (seconds: number): number => Math.min(seconds, PATIENCE);
  try {
    const session = await Session.open({
      ...options,
      timeouts: {
        ...timeouts,
        connect: soon(timeouts.connect),
        greeting: soon(timeouts.greeting),
        helo: soon(timeouts.helo),
        quit: soon(timeouts.quit),
      },
    });
    const { extensions, security } = session;
    await session.close();
    return { kind: 'open', extensions, security };
  } catch (error) {
    if (!(error instanceof SessionError)) throw error;
    return { kind: 'trouble', stage: error.stage, event: error.event };
  }
}

/** Why no connection comes about; undefined when one does. */
async function connectionProblem(host: string, port: number): Promise<string | undefined> {
  const socket = net.connect({ host, port });
  try {
    return await new Promise((resolve) => {
      socket.on('connect', () => resolve(undefined));
      socket.on('error', (error) => resolve(reasonOf(error)));
      socket.setTimeout(PATIENCE * 1000, () => resolve(`no answer within ${PATIENCE} seconds`));
    });
  } finally {
    socket.destroy();
  }
}
