/** picorelay: the administrator's command. Its commands are in src/admin/commands.ts. */
import { userInfo } from 'node:os';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import yargs, { type Argv, type Options as YargsOptions } from 'yargs';
import packageJson from '../package.json' with { type: 'json' };
import {
  type Command,
  CommandError,
  EX_TEMPFAIL,
  EX_USAGE,
  type Option,
  type Output,
  usageOf,
  type World,
} from '../src/admin/command.ts';
import { commands } from '../src/admin/commands.ts';
import { helpOf, helpOfAll } from '../src/admin/help.ts';
import { openControl } from '../src/control/control.ts';

// Whoever reads this has seen enough: `picorelay list | head`.
process.stdout.on('error', () => process.exit());

/** Lines that were typed or pasted before they were asked for. */
const typed: string[] = [];

const world: World = {
  control: openControl(process.env['PICORELAY_CONTROL'] ?? '/etc/picorelay'),
  stdout: outputOf(process.stdout),
  stderr: outputOf(process.stderr),
  now: Date.now,
  exactNow: () => performance.timeOrigin + performance.now(),
  random: Math.random,
  pid: process.pid,
  uid: process.getuid?.() ?? 0,
  login: loginName,
  node: process.execPath,
  bin: import.meta.dirname,
  zoneMinutes: -new Date().getTimezoneOffset(),
  env: process.env,
  ask: process.stdin.isTTY && process.stderr.isTTY ? ask : undefined,
  keys: process.stdin.isTTY ? listenToKeys : undefined,
};

const words = process.argv.slice(2);
const [name = '', ...rest] = words;
const wanted = commands.find((each) => each.name === name);

try {
  if (wanted !== undefined && rawWord(wanted) === undefined && asksHelp(rest)) tellHelp(wanted);
  else if (wanted !== undefined && rawWord(wanted) !== undefined && rest[0] === '--help') {
    tellHelp(wanted);
  } else if (wanted === undefined && (asksHelp(words) || name === 'help')) {
    const about = commands.find((each) => each.name === rest[0]);
    if (about === undefined) process.stdout.write(helpOfAll(commands));
    else tellHelp(about);
  } else if (name === '--version') process.stdout.write(`${packageJson.version}\n`);
  else if (wanted !== undefined && rawWord(wanted) !== undefined) await runRaw(wanted, rest);
  else await parse();
} catch (error) {
  const reason = error instanceof Error ? error.message : String(error);
  const forbidden = error instanceof Error && 'code' in error && error.code === 'EACCES';
  const hint = forbidden ? '; do it as root, or as the user who owns the spool' : '';
  process.stderr.write(`picorelay: ${reason}${hint}\n`);
  process.exitCode = error instanceof CommandError ? error.status : forbidden ? 77 : EX_TEMPFAIL;
}

function asksHelp(given: readonly string[]): boolean {
  const end = given.indexOf('--');
  return given
    .slice(0, end === -1 ? undefined : end)
    .some((word) => word === '--help' || word === '-h');
}

function tellHelp(command: Command): void {
  process.stdout.write(helpOf(command));
}

async function parse(): Promise<void> {
  const parser = yargs([...words])
    .scriptName('picorelay')
    .parserConfiguration({ 'camel-case-expansion': false, 'strip-aliased': true })
    .exitProcess(false)
    .help(false)
    .version(false);
  for (const each of commands) {
    parser.command(
      usageOf(each),
      each.summary,
      (argv) => declare(argv, each),
      async (args) => {
        process.exitCode = await each.run(args, world);
      },
    );
  }
  await parser
    .demandCommand(1, 'name a command')
    .strict()
    .fail((message, error) => {
      // What is wrong with the words comes as a message, or as an error of yargs' own.
      if (error && error.name !== 'YError') throw error;
      const about = wanted === undefined ? 'picorelay --help' : `picorelay ${name} --help`;
      throw new CommandError(EX_USAGE, `${oneLine(message)}; see ${about}`);
    })
    .parseAsync();
}

/** yargs explains a wrong choice in several lines. */
function oneLine(message: string): string {
  const [, given, choices] = /Given: (.*), Choices: (.*)/.exec(message) ?? [];
  if (given !== undefined) return `${given} is none of ${choices}`;
  return `${message.charAt(0).toLowerCase()}${message.slice(1).replace(/\s+/g, ' ')}`;
}

function declare(argv: Argv, { positionals, options }: Command): Argv {
  for (const [word, { count, describe, choices }] of Object.entries(positionals)) {
    const many = count !== 'one' && count !== 'optional';
    argv.positional(word, {
      type: 'string',
      describe,
      ...(many ? { array: true } : {}),
      ...(choices ? { choices } : {}),
    });
  }
  for (const [word, option] of Object.entries(options)) argv.option(word, yargsOption(option));
  return argv;
}

function yargsOption(option: Option): YargsOptions {
  const { type, describe, alias } = option;
  return {
    type,
    describe,
    ...(alias === undefined ? {} : { alias }),
    // A flag that is not given is false; an option that is given needs its value.
    ...(type === 'boolean' ? { default: false } : { requiresArg: true }),
    ...(type !== 'boolean' && option.default !== undefined ? { default: option.default } : {}),
    ...(type === 'string' && option.choices !== undefined ? { choices: option.choices } : {}),
  };
}

/** The positional that takes all words as they are, if the command has one. */
function rawWord({ positionals }: Command): string | undefined {
  return Object.keys(positionals).find((word) => positionals[word]?.count === 'raw');
}

/** Its words are another program's, which yargs must not take for its own; flags come first. */
async function runRaw(raw: Command, given: readonly string[]): Promise<void> {
  const args: Record<string, unknown> = {};
  for (const option of Object.keys(raw.options)) args[option] = false;
  let left = given;
  while (left[0]?.startsWith('--') && left[0].slice(2) in raw.options) {
    args[left[0].slice(2)] = true;
    left = left.slice(1);
  }
  args[rawWord(raw) ?? ''] = left;
  process.exitCode = await raw.run(args, world);
}

function loginName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user id without a name, as in containers.
    return `uid${process.getuid?.() ?? 0}`;
  }
}

function outputOf(stream: NodeJS.WriteStream): Output {
  const { NO_COLOR: forbidden = '', TERM: terminal } = process.env;
  return {
    write: (text) => {
      stream.write(text);
    },
    get columns() {
      return stream.isTTY ? stream.columns : undefined;
    },
    get rows() {
      return stream.isTTY ? stream.rows : undefined;
    },
    onResize: (changed) => {
      stream.on('resize', changed);
      return () => stream.off('resize', changed);
    },
    colour: stream.isTTY === true && forbidden === '' && terminal !== 'dumb',
  };
}

async function ask(question: string, { secret } = { secret: false }): Promise<string | undefined> {
  // What is typed goes to the terminal through this stream: a secret must not.
  const silence = new Writable({ write: (_chunk, _encoding, done) => done() });
  process.stderr.write(question);
  const early = typed.shift();
  if (early !== undefined) {
    process.stderr.write(secret ? '\n' : `${early}\n`);
    return early;
  }
  const reader = createInterface({
    input: process.stdin,
    output: secret ? silence : process.stderr,
    terminal: true,
    historySize: 0,
  });
  try {
    return await new Promise((resolve) => {
      reader.once('line', (line) => {
        reader.on('line', (more) => typed.push(more));
        resolve(line);
      });
      reader.once('close', () => resolve(undefined));
      reader.once('SIGINT', () => process.kill(process.pid, 'SIGINT'));
    });
  } finally {
    reader.close();
    if (secret) process.stderr.write('\n');
  }
}

function listenToKeys(pressed: (key: string) => void): () => void {
  const { stdin } = process;
  const heard = (bytes: Buffer): void => pressed(bytes.toString());
  stdin.setRawMode(true);
  stdin.on('data', heard);
  return () => {
    stdin.off('data', heard);
    stdin.setRawMode(false);
    stdin.pause();
  };
}
