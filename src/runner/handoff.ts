/**
 * What happens after a submission is committed: a living runner is woken or one is started, in the
 * background or before the caller goes on. Whatever fails here, the mail is queued and cron finds it.
 */
import { announceRunner, wakeRunner } from './wake.ts';

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
  /** Milliseconds since 1970-01-01 UTC. */
  readonly now: number;
}

/** Returns what could not be done, in one line; undefined when all is well. */
export function handOff(handoff: Handoff): string | undefined {
  const { node, bin, environment: env, bases, verbose } = handoff;
  if (handoff.immediate === 'off' && !verbose) return undefined;
  const wait = verbose || handoff.immediate === 'wait';
  if (!wait && wakeRunner(handoff.spoolFolder)) return undefined;
  if (!wait && !announceRunner(handoff.spoolFolder, handoff.now)) return undefined;
  if (wait) {
    // Loaded only when it is needed: it takes milliseconds.
    const { spawnSync } = process.getBuiltinModule('node:child_process');
    const how = verbose ? '--verbose' : '--quiet';
    const { error } = spawnSync(node, [`${bin}/picorelay-send`, how, '--', ...bases], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env,
    });
    return error && `queued, but picorelay-send could not be started: ${error.message}`;
  }
  // Nothing of the caller's is held open: cron and PHP wait for the end of its output.
  return startDetached(node, [`${bin}/picorelay-cron`, '--background'], env)
    ? undefined
    : 'queued, but the runner could not be started; cron will send it';
}

/** What node's own child_process starts a process with (src/process_wrap.cc), as far as it is used here. */
interface ProcessWrap {
  readonly Process: new () => {
    /** Returns zero, or a negative error number. */
    spawn(options: {
      readonly file: string;
      readonly args: readonly string[];
      readonly envPairs: readonly string[];
      readonly cwd: string;
      readonly detached: boolean;
      readonly stdio: readonly { readonly type: 'ignore' }[];
    }): number;
    unref(): void;
  };
}

/**
 * Starts a node program that outlives this one; false when it could not be started.
 *
 * child_process costs a sixth of the whole submission, because it brings sockets and streams along. What
 * it calls itself is reached for directly where node lets us; where it does not (another node, another
 * runtime, its permission model), child_process serves.
 */
function startDetached(
  node: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): boolean {
  const { binding } = process as { binding?: (name: 'process_wrap') => ProcessWrap };
  try {
    if (binding !== undefined) {
      const child = new (binding('process_wrap').Process)();
      const failed = child.spawn({
        file: node,
        args: [node, ...args],
        envPairs: Object.entries(env).map(([name, value]) => `${name}=${value}`),
        cwd: '/',
        detached: true,
        stdio: [{ type: 'ignore' }, { type: 'ignore' }, { type: 'ignore' }],
      });
      child.unref();
      if (failed === 0) return true;
    }
  } catch {
    // Not to be had here.
  }
  const { spawn } = process.getBuiltinModule('node:child_process');
  const child = spawn(node, args, { cwd: '/', detached: true, stdio: 'ignore', env });
  child.on('error', () => undefined);
  child.unref();
  return child.pid !== undefined;
}
