/**
 * What a command of `picorelay` is: its words and options as plain data, from which the command line,
 * --help, the manual pages and the completions are made, and a function that loads what it needs when
 * it is called. src/admin/commands.ts lists all of them.
 */
import type { Control } from '../control/control.ts';

/** Where a command stands in the help, by what somebody wants. */
export type Theme = 'queue' | 'sight' | 'setup' | 'service';

/** What a shell may offer for a word: ids of entries, or names of files or folders. */
export type Completion = 'queued' | 'undelivered' | 'entry' | 'file' | 'folder';

/** A word that has its meaning by its place. */
export interface Positional {
  readonly describe: string;
  /** `raw`: all words behind the command's name are this one's, also those that look like options. */
  readonly count: 'one' | 'optional' | 'any' | 'some' | 'raw';
  readonly choices?: readonly string[];
  readonly completes?: Completion;
}

interface AnyOption {
  readonly describe: string;
  /** One letter, for `-v`. */
  readonly alias?: string;
}

export interface Flag extends AnyOption {
  readonly type: 'boolean';
}

export interface TextOption extends AnyOption {
  readonly type: 'string';
  /** How the value is called in the help: FILE, GLOB, ADDRESS. */
  readonly value: string;
  readonly default?: string;
  readonly choices?: readonly string[];
  readonly completes?: Completion;
}

export interface NumberOption extends AnyOption {
  readonly type: 'number';
  readonly value: string;
  readonly default?: number;
}

export type Option = Flag | TextOption | NumberOption;

export type Positionals = Readonly<Record<string, Positional>>;
export type Options = Readonly<Record<string, Option>>;

type WordsOf<P extends Positional> = P['count'] extends 'one'
  ? string
  : P['count'] extends 'optional'
    ? string | undefined
    : readonly string[];

type GivenText<O extends TextOption> = O extends { readonly choices: readonly (infer C)[] }
  ? C
  : string;

type ValueOf<O extends Option> = O extends Flag
  ? boolean
  :
      | (O extends TextOption ? GivenText<O> : number)
      | (O extends { readonly default: string | number } ? never : undefined);

/** What a command gets: its positionals and options by their names. */
export type Arguments<P extends Positionals, O extends Options> = {
  readonly [N in keyof P]: WordsOf<P[N]>;
} & { readonly [N in keyof O]: ValueOf<O[N]> };

/** A command as the command line and the generators of documents see it. */
export interface Command {
  readonly name: string;
  readonly theme: Theme;
  /** One line without a full stop, for lists. */
  readonly summary: string;
  /** Paragraphs, each one line, for its own help and its manual page. */
  readonly text: readonly string[];
  readonly positionals: Positionals;
  readonly options: Options;
  /** @returns the exit status */
  run(args: Readonly<Record<string, unknown>>, world: World): Promise<number>;
}

/** What is written to a terminal or to something else. */
export interface Output {
  write(text: string): void;
  /** The terminal's width; undefined when it is none. */
  readonly columns: number | undefined;
  readonly rows: number | undefined;
  /** Calls back when the terminal has another size, until the function that it returns is called. */
  onResize(changed: () => void): () => void;
  /** Whether it shows colours and nobody has forbidden them with NO_COLOR. */
  readonly colour: boolean;
}

/** Asks whoever sits at the terminal; undefined is the end of input. */
export type Ask = (
  question: string,
  how?: { readonly secret: boolean },
) => Promise<string | undefined>;

/** What bin/picorelay.ts gives of the real world. */
export interface World {
  readonly control: Control;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly now: () => number;
  /** The same with fractions, for names that must differ. */
  readonly exactNow: () => number;
  readonly random: () => number;
  readonly pid: number;
  readonly uid: number;
  /** The login name of the uid. */
  readonly login: () => string;
  /** The node to run programs with, and the folder where they are. */
  readonly node: string;
  readonly bin: string;
  /** East of UTC, of the zone that times are shown in. */
  readonly zoneMinutes: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Undefined where nobody can be asked: standard input or standard error is no terminal. */
  readonly ask: Ask | undefined;
  /**
   * Calls back with each key that is pressed, until the function that it returns is called; then the
   * terminal is as before. Undefined where standard input is no terminal.
   */
  readonly keys: ((pressed: (key: string) => void) => () => void) | undefined;
}

/** Ends a command with one line on standard error and an exit status of sysexits.h. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Statuses of sysexits.h that commands end with. */
export const EX_USAGE = 64;
export const EX_DATAERR = 65;
export const EX_NOINPUT = 66;
export const EX_UNAVAILABLE = 69;
export const EX_TEMPFAIL = 75;

/** A command whose function gets arguments of the types that its data say. */
export function command<const P extends Positionals, const O extends Options>(
  it: Omit<Command, 'positionals' | 'options' | 'run'> & {
    readonly positionals: P;
    readonly options: O;
    run(args: Arguments<P, O>, world: World): Promise<number>;
  },
): Command {
  return it;
}

/** How the command is called, as in `show <id>` or `explain [words..]`. */
export function usageOf({ name, positionals }: Command): string {
  const words = Object.entries(positionals).map(([word, { count }]) => {
    const dots = count === 'one' || count === 'optional' ? '' : '..';
    return count === 'one' || count === 'some' ? `<${word}${dots}>` : `[${word}${dots}]`;
  });
  return [name, ...words].join(' ');
}

/** Prints a value as the answer to --json. */
export function printJson(world: World, value: unknown): void {
  world.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** The same of an object that begins with `entries`, which may be too many for one text. */
export function printEntries(
  world: World,
  entries: Iterable<unknown>,
  more: Readonly<Record<string, unknown>> = {},
): void {
  const write = gathered(world.stdout);
  let before = '';
  write('{\n  "entries": [');
  for (const entry of entries) {
    write(`${before}\n${JSON.stringify(entry, null, 2).replace(/^/gm, '    ')}`);
    before = ',';
  }
  write(before === '' ? ']' : '\n  ]');
  for (const [key, value] of Object.entries(more)) {
    const text = JSON.stringify(value, null, 2).replaceAll('\n', '\n  ');
    write(`,\n  ${JSON.stringify(key)}: ${text}`);
  }
  write('\n}\n', true);
}

/** Characters that are written at once. */
const PIECE = 64 * 1024;

/** Writes to an output in larger pieces; what is `last` takes along what waits. */
export function gathered(output: Output): (text: string, last?: boolean) => void {
  let waiting = '';
  return (text, last = false) => {
    waiting += text;
    if (waiting.length < PIECE && !last) return;
    output.write(waiting);
    waiting = '';
  };
}
