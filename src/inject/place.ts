/**
 * What the programs of qmail's interface need of the installation around them: its name, and the
 * runner that offers new mail at once.
 */
import { type Control, ControlError } from '../control/control.ts';
import { handOff } from '../runner/handoff.ts';

/** Variables as a program gets them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Where a program runs from. */
export interface Place {
  readonly environment: Environment;
  /** The node that runs it, and the folder where the programs are. */
  readonly node: string;
  readonly bin: string;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly now: number;
}

/**
 * The host's name for Received; where the control folder names none, mail is taken all the same and
 * waits until the folder is mended.
 */
export function hostName(control: Control): string {
  try {
    return control.get('me');
  } catch (error) {
    if (error instanceof ControlError) return process.getBuiltinModule('node:os').hostname();
    throw error;
  }
}

/**
 * Has the new entries offered to the relay as `immediate` says. Never throws: they are queued, and
 * cron finds them. The answer is what could not be done, in one line; undefined when all is well.
 */
export function offerAtOnce(
  control: Control,
  spoolFolder: string,
  bases: readonly string[],
  place: Place,
): string | undefined {
  // The runner gets nothing of the caller's environment that it has no use for.
  const environment: Record<string, string> = { PATH: '/usr/local/bin:/usr/bin:/bin' };
  const named = place.environment['PICORELAY_CONTROL'];
  if (named !== undefined) environment['PICORELAY_CONTROL'] = named;
  const { node, bin } = place;
  try {
    const immediate = control.get('immediate');
    const handed = handOff({
      ...{ immediate, verbose: false, spoolFolder, bases },
      ...{ node, bin, environment, now: place.now },
    });
    return handed.kind === 'trouble' ? handed.reason : undefined;
  } catch (error) {
    return `queued, but not offered at once: ${error instanceof Error ? error.message : String(error)}`;
  }
}
