/** Puts a runner's parts together from the control folder: rights, spool, log, world. */
import { type Control, ControlError } from '../control/control.ts';
import { Log } from '../log/log.ts';
import { openSink, type Sink } from '../log/sink.ts';
import type { OnLine } from '../relay/dialogue.ts';
import { becomeOwner } from '../spool/become.ts';
import { hasCode, keptAppender } from '../spool/disk.ts';
import { requireRootsPath } from '../spool/path-owner.ts';
import { Spool } from '../spool/spool.ts';
import type { World } from './settlement.ts';

/** What an entry program gives of the real world. */
export interface Outside {
  readonly now: () => number;
  readonly random: () => number;
  readonly stderr: (text: string) => void;
  /** Gets each event in a few words too, for a program with somebody at the terminal. */
  readonly onEvent?: (brief: string) => void;
  /** Gets the dialogues with relays; lines of a second session begin with `(2)`, and so on. */
  readonly onLine?: OnLine;
  readonly stop: AbortSignal;
}

export interface OpenRunner {
  readonly spool: Spool;
  readonly log: Log;
  readonly world: World;
  /** Whether the log has told already that a route is paused. */
  knownTrouble(): boolean;
  close(): Promise<void>;
}

/**
 * @throws ControlError when control/spooldir is malformed
 */
export function openRunner(control: Control, pid: number, outside: Outside): OpenRunner {
  const spool = new Spool(control.get('spooldir'), pid);
  becomeOwner(spool.folder);
  // Opened at the first event: most ticks of cron have nothing to tell.
  let sink: Sink | undefined;
  const log = new Log(valueOr(control, 'logformat', 'text'), (line, brief) => {
    const destination = valueOr(control, 'log', 'syslog');
    outside.onEvent?.(brief);
    // Who sees each event on the terminal already needs none of them twice.
    if (destination === 'stderr' && outside.onEvent !== undefined) return;
    sink ??= openSink(destination, {
      stderr: outside.stderr,
      append: keptAppender(requireRootsPath),
      now: outside.now,
    });
    sink.write(line);
  });
  return {
    spool,
    log,
    world: {
      now: outside.now,
      random: outside.random,
      stop: outside.stop,
      ...(outside.onLine === undefined ? {} : { transcript: numbered(outside.onLine) }),
    },
    knownTrouble: () => {
      try {
        return spool.records.pausedRoutes().size > 0;
      } catch (error) {
        // No spool yet, or none for us: whoever opens it says so.
        if (hasCode(error, 'EACCES', 'ENOENT')) return false;
        throw error;
      }
    },
    close: async () => await sink?.close(),
  };
}

/** Several sessions speak at a time. */
function numbered(onLine: OnLine): () => OnLine {
  let sessions = 0;
  return () => {
    sessions++;
    const label = sessions === 1 ? '' : `(${sessions}) `;
    return (side, line) => onLine(side, `${label}${line}`);
  };
}

/** The first of these signals lets the transaction that runs be finished; the second one is obeyed. */
export function stopOnSignals(...names: readonly NodeJS.Signals[]): AbortSignal {
  const controller = new AbortController();
  for (const name of names) process.once(name, () => controller.abort());
  return controller.signal;
}

function valueOr<N extends 'log' | 'logformat'>(
  control: Control,
  name: N,
  fallback: ReturnType<Control['get']> & string,
): ReturnType<typeof control.get<N>> {
  try {
    return control.get(name);
  } catch (error) {
    // The runner itself reports the malformed file; until then something has to hear of it.
    if (error instanceof ControlError) return fallback as ReturnType<typeof control.get<N>>;
    throw error;
  }
}
