/**
 * All commands of `picorelay`: plain data that bin/picorelay.ts makes the command line of, and the
 * generators the manual pages and completions. A command's module is loaded when the command is called.
 */
import { type Command, command } from './command.ts';

const json = { type: 'boolean', describe: 'as JSON; docs/json.md has the shapes' } as const;

export const commands: readonly Command[] = [
  command({
    name: 'list',
    theme: 'queue',
    summary: 'what waits in the queue, oldest first',
    text: [],
    positionals: {},
    options: { json },
    run: async (args, world) => (await import('./list.ts')).list(args, world),
  }),
  command({
    name: 'show',
    theme: 'queue',
    summary: 'one mail: its envelope, every attempt, its header',
    text: [],
    positionals: {
      id: {
        count: 'one',
        describe: 'any part of its name that no other has',
        completes: 'entry',
      },
    },
    options: {},
    run: async (args, world) => (await import('./show.ts')).show(args, world),
  }),
  command({
    name: 'digest',
    theme: 'sight',
    summary: 'what went out, what waits and why, what was refused: for a daily line of cron',
    text: ['It says nothing when nothing happened, nothing waits and nothing is wrong.'],
    positionals: {},
    options: {
      hours: {
        type: 'number',
        value: 'N',
        default: 24,
        describe: 'how far it looks back, at most a week',
      },
    },
    run: async (args, world) => (await import('./digest.ts')).digest(args, world),
  }),
  command({
    name: 'run',
    theme: 'service',
    summary: 'looks after the queue in the foreground until it gets SIGTERM',
    text: [],
    positionals: {},
    options: {
      once: {
        type: 'boolean',
        describe: 'offers all that waits to the relay now, due or not, and ends',
      },
      socket: {
        type: 'string',
        value: 'PATH',
        describe: 'takes submissions over a unix socket at this path, too',
        completes: 'file',
      },
      verbose: {
        type: 'boolean',
        alias: 'v',
        describe: 'shows the dialogue with the relay; secrets are masked',
      },
    },
    run: async (args, world) => (await import('./run.ts')).run(args, world),
  }),
  command({
    name: 'explain',
    theme: 'sight',
    summary: 'what sendmail would do with the message on standard input, and why; sends nothing',
    text: [],
    positionals: {
      words: { count: 'raw', describe: 'arguments of sendmail, behind --json if that is wanted' },
    },
    options: { json },
    run: async (args, world) => (await import('./explain.ts')).explain(args, world),
  }),
];
