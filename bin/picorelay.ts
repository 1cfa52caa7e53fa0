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
import { openControl } from '../src/control/control.ts';

// Whoever reads this has seen enough: `picorelay list | head`.
process.stdout.on('error', () => process.exit());

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
};

try {
  const words = process.argv.slice(2);
  const raw = commands.find((each) => each.name === words[0] && rawWord(each) !== undefined);
  if (raw !== undefined && words[1] !== '--help') await runRaw(raw, words.slice(1));
  else await parse(words);
} catch (error) {
  const reason = error instanceof Error ? error.message : String(error);
  const forbidden = error instanceof Error && 'code' in error && error.code === 'EACCES';
  const hint = forbidden ? '; do it as root, or as the user who owns the spool' : '';
  process.stderr.write(`picorelay: ${reason}${hint}\n`);
  process.exitCode = error instanceof CommandError ? error.status : forbidden ? 77 : EX_TEMPFAIL;
}

async function parse(words: readonly string[]): Promise<void> {
  const parser = yargs(words)
    .scriptName('picorelay')
    .usage('$0 COMMAND\n\nLooks after the queue of picorelay.')
    .parserConfiguration({ 'camel-case-expansion': false });
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
    .demandCommand(1, 'picorelay: name a command')
    .strict()
    .version(packageJson.version)
    .help()
    .alias('help', 'h')
    .wrap(80)
    .fail((message, error, failed) => {
      // An option without its value is told with an error of yargs'.
      if (error && error.name !== 'YError') throw error;
      process.stderr.write(`picorelay: ${message.replace(/^picorelay: /, '')}\n\n`);
      failed.showHelp();
      process.exitCode = EX_USAGE;
    })
    .parseAsync();
}

function declare(argv: Argv, { positionals, options, text }: Command): Argv {
  for (const [name, { count, describe }] of Object.entries(positionals)) {
    const many = count !== 'one' && count !== 'optional';
    argv.positional(name, { type: 'string', describe, ...(many ? { array: true } : {}) });
  }
  for (const [name, option] of Object.entries(options)) argv.option(name, yargsOption(option));
  return text.length === 0 ? argv : argv.epilogue(text.join('\n\n'));
}

function yargsOption(option: Option): YargsOptions {
  const { type, describe, alias } = option;
  return {
    type,
    describe,
    ...(alias === undefined ? {} : { alias }),
    // A flag that is not given is false; an option that is given needs its value.
    ...(type === 'boolean' ? { default: false, defaultDescription: '' } : { requiresArg: true }),
    ...(type !== 'boolean' && option.default !== undefined ? { default: option.default } : {}),
    ...(type === 'string' && option.choices !== undefined ? { choices: option.choices } : {}),
  };
}

/** The positional that takes all words as they are, if the command has one. */
function rawWord({ positionals }: Command): string | undefined {
  return Object.keys(positionals).find((name) => positionals[name]?.count === 'raw');
}

/** Its words are another program's, which yargs must not take for its own; flags come first. */
async function runRaw(raw: Command, words: readonly string[]): Promise<void> {
  const args: Record<string, unknown> = {};
  for (const name of Object.keys(raw.options)) args[name] = false;
  let rest = words;
  while (rest[0]?.startsWith('--') && rest[0].slice(2) in raw.options) {
    args[rest[0].slice(2)] = true;
    rest = rest.slice(1);
  }
  args[rawWord(raw) ?? ''] = rest;
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
    colour: stream.isTTY === true && forbidden === '' && terminal !== 'dumb',
  };
}

async function ask(question: string, { secret } = { secret: false }): Promise<string | undefined> {
  // What is typed goes to the terminal through this stream: a secret must not.
  const silence = new Writable({ write: (_chunk, _encoding, done) => done() });
  process.stderr.write(question);
  const reader = createInterface({
    input: process.stdin,
    output: secret ? silence : process.stderr,
    terminal: true,
    historySize: 0,
  });
  try {
    return await new Promise((resolve) => {
      reader.once('line', resolve);
      reader.once('close', () => resolve(undefined));
      reader.once('SIGINT', () => process.kill(process.pid, 'SIGINT'));
    });
  } finally {
    reader.close();
    if (secret) process.stderr.write('\n');
  }
}
