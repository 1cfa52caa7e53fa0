/**
 * What happens after a submission is committed: a living runner is woken or one is started, in the
 * background or before the caller goes on. Whatever fails here, the mail is queued and cron finds it.
 */
import { announceRunner, mayRun, wakeRunner } from './wake.ts';

export type Immediate = 'background' | 'wait' | 'off';

export interface Handoff {
  readonly immediate: Immediate;
  /** Shows the dialogue on standard error; implies `wait`. */
  readonly verbose: boolean;
  readonly spoolFolder: string;
  /** Base names of the new entries; none when whoever runs the queue has to make them first. */
  readonly bases: readonly string[];
  /** The node to run programs with, and the folder where they are. */
  readonly node: string;
  readonly bin: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly now: number;
}

/** What became of a hand-off. */
export type HandedOff =
  /** Under way, or done, or waiting for cron. */
  | { readonly kind: 'offered' }
  /** It was offered before the caller goes on, and the relay refused it for every recipient. */
  | { readonly kind: 'refused' }
  /** It waits for cron, because of this, one line. */
  | { readonly kind: 'trouble'; readonly reason: string };

const OFFERED: HandedOff = { kind: 'offered' };

/** picorelay-send's exit status when every entry was refused. */
const EX_UNAVAILABLE = 69;

export function handOff(handoff: Handoff): HandedOff {
  const { node, bin, environment: env, bases, verbose } = handoff;
  if (handoff.immediate === 'off' && !verbose) return OFFERED;
  const wait = verbose || handoff.immediate === 'wait';
  if (bases.length === 0 || (wait && !mayRun(handoff.spoolFolder))) {
    // A caller without rights can wake a runner and start none: cron does, or systemd.
    wakeRunner(handoff.spoolFolder);
    return OFFERED;
  }
  if (!wait && wakeRunner(handoff.spoolFolder)) return OFFERED;
  if (!wait && !announceRunner(handoff.spoolFolder, handoff.now)) return OFFERED;
  if (wait) {
    // Loaded only when it is needed: it takes milliseconds.
    const { spawnSync } = process.getBuiltinModule('node:child_process');
    const how = verbose ? ['--quiet', '--verbose'] : ['--quiet'];
    const { error, status } = spawnSync(node, [`${bin}/picorelay-send`, ...how, '--', ...bases], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env,
    });
    if (error === undefined) return status === EX_UNAVAILABLE ? { kind: 'refused' } : OFFERED;
    return {
      kind: 'trouble',
      reason: `queued, but picorelay-send could not be started: ${error.message}`,
    };
  }
  // Nothing of the caller's is held open: cron and PHP wait for the end of its output.
  return startDetached(node, [`${bin}/picorelay-cron`, '--background'], env)
    ? OFFERED
    : { kind: 'trouble', reason: 'queued, but the runner could not be started; cron will send it' };
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
