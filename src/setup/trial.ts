/**
 * Tries an account before it is installed: opens a session with each relay of the control files, with TLS
 * and login as mail would have them, and says in one line what went wrong. Sends nothing.
 */
import { openControl } from '../control/control.ts';
import { bracketed, type Relay } from '../control/relay-url.ts';
import { DEFAULT_ROUTE } from '../control/routing.ts';
import type { DialogueEvent, Stage } from '../mail/outcome.ts';
import { SessionError } from '../relay/connect.ts';
import { Session } from '../relay/session.ts';
import { readSettings } from '../runner/settings.ts';
import { describe } from '../runner/settlement.ts';

export interface Trial {
  /** The relay's host and port. */
  readonly relay: string;
  /** Whether there was a login. */
  readonly login: boolean;
  /** What does not work; undefined when it does. */
  readonly problem: string | undefined;
}

/** Somebody waits: seconds for an answer. */
const PATIENCE = { connect: 20, greeting: 30, helo: 30, quit: 3 };

/**
 * @param settings texts that count instead of the folder's files
 * @param now milliseconds since 1970-01-01 UTC
 * @throws ControlError for a control file that cannot be used
 */
export async function tryAccount(
  folder: string,
  settings: ReadonlyMap<string, string | undefined>,
  now: () => number,
): Promise<readonly Trial[]> {
  const { relays, sessionWith } = readSettings(openControl(folder, settings), now, DEFAULT_ROUTE);
  return await Promise.all(
    relays.map(async (relay): Promise<Trial> => {
      const options = sessionWith(relay);
      const login = options.login !== undefined;
      const name = relay.path ?? `${bracketed(relay.host)}:${relay.port}`;
      try {
        const timeouts = { ...options.timeouts, ...PATIENCE };
        const session = await Session.open({ ...options, timeouts });
        await session.close();
        return { relay: name, login, problem: undefined };
      } catch (error) {
        if (!(error instanceof SessionError)) throw error;
        return { relay: name, login, problem: explainTrouble(relay, error.stage, error.event) };
      }
    }),
  );
}

/** What it means that a session could not be opened, and what to do, in one line. */
export function explainTrouble(relay: Relay, stage: Stage, event: DialogueEvent): string {
  const said = describe(event).join(' ');
  switch (stage) {
    case 'resolve':
      return `no such host: ${relay.host} (${said})`;
    case 'connect':
      return `cannot be reached (${said}); is port ${relay.port} right, and open in the firewall?`;
    case 'greeting':
      return `does not greet (${said})${relay.scheme === 'smtp' && relay.port === 465 ? '; port 465 wants smtps://' : ''}`;
    case 'tls':
      return `TLS fails (${said})${relay.port === 587 || relay.port === 25 ? '; this port wants smtp://' : ''}`;
    case 'starttls':
      return `offers no TLS (${said}); control/tls says when that is right`;
    case 'auth':
      return event.kind === 'reply' && [534, 535].includes(event.reply.code)
        ? `login name or password is refused (${said})`
        : `the login fails (${said})`;
    default:
      return `fails at ${stage} (${said})`;
  }
}
