/** What a run takes from the control folder, read as a whole: one bad file defers all mail, visibly. */
import fs from 'node:fs';
import { type ControlName, catalogue } from '../control/catalogue.ts';
import { type Control, ControlError } from '../control/control.ts';
import type { Relay } from '../control/relay-url.ts';
import type { RetryPlan } from '../control/retry.ts';
import { checkWindows } from '../queue/schedule.ts';
import type { SessionOptions } from '../relay/session.ts';

export interface Settings {
  /** In the order they are tried. */
  readonly relays: readonly Relay[];
  readonly retry: RetryPlan;
  /** Milliseconds after which an entry that is not relayed goes to Undelivered. */
  readonly lifetime: number;
  readonly transactionRecipients: number;
  readonly connections: number;
  readonly connectionMessages: number;
  readonly messagesInFlight: number;
  /** The options of a session with one of the relays. */
  readonly sessionWith: (relay: Relay) => SessionOptions;
}

/**
 * @throws ControlError for the first file that is malformed or cannot be read
 */
export function readSettings(control: Control): Settings {
  // Also the files that only submissions read: what they made of a mail is not what was meant.
  for (const name of Object.keys(catalogue) as ControlName[]) control.get(name);
  const retry = control.get('retry');
  const badWindow = checkWindows(retry);
  if (badWindow !== undefined) {
    throw new ControlError({
      file: `${control.folder}/retry`,
      found: badWindow,
      expected: 'a cron expression of five fields',
      hint: 'Mend the line or take it out.',
    });
  }
  const relays = control.get('relay');
  if (relays.length === 0) {
    throw new ControlError({
      file: `${control.folder}/relay`,
      expected: 'the relay that takes our mail, but no relay is configured',
      hint: `Make it: echo smtp://user@smtp.example.com:587 > ${control.folder}/relay`,
    });
  }
  const password = control.get('authpassword');
  const authorities = readAuthorities(control);
  const common = {
    helo: control.get('helohost'),
    tls: control.get('tls'),
    authorities,
    cleartextLogin: control.get('authcleartext'),
    timeouts: {
      connect: control.get('timeoutconnect'),
      greeting: control.get('timeoutgreeting'),
      helo: control.get('timeouthelo'),
      mail: control.get('timeoutmail'),
      rcpt: control.get('timeoutrcpt'),
      data: control.get('timeoutdata'),
      block: control.get('timeoutblock'),
      dot: control.get('timeoutdot'),
      quit: control.get('timeoutquit'),
      session: control.get('timeoutsession'),
    },
  };
  const users = new Map(relays.map((relay) => [relay, relay.user ?? control.get('authuser')]));
  if (password === undefined && [...users.values()].some((user) => user !== undefined)) {
    throw new ControlError({
      file: `${control.folder}/authpassword`,
      expected: 'the password of the login name, but the file is missing',
      hint: `Make it, not readable by others: chmod 640 ${control.folder}/authpassword`,
    });
  }
  return {
    relays,
    retry,
    lifetime: control.get('queuelifetime') * 1000,
    transactionRecipients: control.get('transactionrecipients'),
    connections: control.get('connections'),
    connectionMessages: control.get('connectionmessages'),
    messagesInFlight: control.get('messagesinflight'),
    sessionWith: (relay) => {
      const user = users.get(relay);
      const login = user === undefined || password === undefined ? undefined : { user, password };
      return { ...common, relay, login };
    },
  };
}

function readAuthorities(control: Control): string | undefined {
  const path = control.get('tlscafile');
  if (path === undefined) return undefined;
  try {
    return fs.readFileSync(path, 'latin1');
  } catch (error) {
    throw new ControlError({
      file: `${control.folder}/tlscafile`,
      found: path,
      expected: 'the path of a PEM file that this user may read',
      hint: error instanceof Error ? `${error.message}.` : 'Reading it failed.',
    });
  }
}
