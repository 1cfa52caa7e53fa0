/**
 * What happens after a submission is committed: a living runner is woken or one is started, in the
 * background or before the caller goes on. Whatever fails here, the mail is queued and cron finds it.
 */
import { wakeRunner } from './wake.ts';

export type Immediate = 'background' | 'wait' | 'off';

export interface Handoff {
  readonly immediate: Immediate;
  /** Shows the dialogue on standard error; implies `wait`. */
  readonly verbose: boolean;
  readonly spoolFolder: string;
  /** Base names of the new entries. */
  readonly bases: readonly string[];
  /** The node to run programs with, and the folder where they are. */
  readonly node: string;
  readonly bin: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** Returns what could not be done, in one line; undefined when all is well. */
export function handOff(handoff: Handoff): string | undefined {
  const { node, bin, environment: env, bases, verbose } = handoff;
  if (handoff.immediate === 'off' && !verbose) return undefined;
  const wait = verbose || handoff.immediate === 'wait';
  if (!wait && wakeRunner(handoff.spoolFolder)) return undefined;
  // Loaded only when a process has to be started: it takes milliseconds.
  const { spawn, spawnSync } = process.getBuiltinModule('node:child_process');
  if (wait) {
    const how = verbose ? '--verbose' : '--quiet';
    const { error } = spawnSync(node, [`${bin}/picorelay-send`, how, '--', ...bases], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env,
    });
    return error && `queued, but picorelay-send could not be started: ${error.message}`;
  }
  // Nothing of the caller's may be held open: cron and PHP wait for the end of its output.
  const child = spawn(node, [`${bin}/picorelay-cron`, '--background'], {
    cwd: '/',
    detached: true,
    stdio: 'ignore',
    env,
  });
  child.on('error', () => undefined);
  child.unref();
  return child.pid === undefined
    ? 'queued, but the runner could not be started; cron will send it'
    : undefined;
}
