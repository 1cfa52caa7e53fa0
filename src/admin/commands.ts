/**
 * All commands of `picorelay`: plain data that bin/picorelay.ts makes the command line of, and the
 * generators the manual pages and completions. A command's module is loaded when the command is called.
 */
import { type Command, command } from './command.ts';
import { AREAS } from './finding.ts';

const json = { type: 'boolean', describe: 'as JSON; docs/json.md has the shapes' } as const;

const yes = { type: 'boolean', alias: 'y', describe: 'goes on without asking' } as const;

const verbose = {
  type: 'boolean',
  alias: 'v',
  describe: 'shows the dialogue with the relay; secrets are masked',
} as const;

/** Which mails: by sender, recipient and age. */
const filters = {
  from: {
    type: 'string',
    value: 'GLOB',
    describe: 'those of senders that fit, such as "*@x.example"',
  },
  to: { type: 'string', value: 'GLOB', describe: 'those to recipients that fit' },
  older: {
    type: 'string',
    value: 'DURATION',
    describe: 'those that were accepted so long ago: 2h, 5d',
  },
} as const;

const state = {
  type: 'string',
  value: 'STATE',
  choices: ['new', 'sending', 'waiting', 'held'],
  describe: 'those in this state',
} as const;

const anyState = { ...state, choices: [...state.choices, 'undelivered'] } as const;

const all = { type: 'boolean', describe: 'all of them' } as const;

const sort = {
  type: 'string',
  value: 'KEY',
  choices: ['age', 'size', 'from', 'to', 'attempts', 'next'],
  default: 'age',
  describe: 'what comes first: the oldest, the largest, …',
} as const;

const reverse = { type: 'boolean', alias: 'r', describe: 'the other way round' } as const;

const ID = 'any part of its name that no other has';

const ids = {
  count: 'any',
  describe: 'any part of a name that no other has; with * or ? a pattern for several',
} as const;

/** Options of every command that sets the host up. */
const installing = {
  'user-name': {
    type: 'string',
    value: 'NAME',
    describe:
      'the system user who owns the queue; by default its present owner, else picorelay if there is such a user, else relay',
  },
  schedule: {
    type: 'string',
    value: 'WHICH',
    choices: ['cron', 'systemd', 'none'],
    describe: 'what tries again each minute; systemd where it runs, else cron',
  },
  replace: { type: 'boolean', describe: 'puts the sendmail of another program aside' },
  'skip-test': { type: 'boolean', describe: 'does not open a session with the relay first' },
  'dry-run': { type: 'boolean', describe: 'shows what would be done and changes nothing' },
  yes,
} as const;

export const commands: readonly Command[] = [
  command({
    name: 'list',
    theme: 'queue',
    summary: 'what waits in the queue, oldest first',
    text: [
      'Two lines a mail: a short id, its age and size, its sender and recipient; then its state and what the relay said last. Any command takes the short id, or any other part of the name of the file in the spool that no other has.',
      'In a pattern * stands for any text and ? for one character; capitals do not matter.',
    ],
    positionals: {},
    options: { ...filters, state: anyState, sort, reverse, json },
    run: async (args, world) => (await import('./list.ts')).list(args, world),
  }),
  command({
    name: 'undelivered',
    theme: 'queue',
    summary: 'what was refused or given up, and why',
    text: ['To send one of them again: picorelay resend. To be rid of it: picorelay remove.'],
    positionals: {},
    options: { ...filters, sort, reverse, json },
    run: async (args, world) => (await import('./list.ts')).undelivered(args, world),
  }),
  command({
    name: 'show',
    theme: 'queue',
    summary: 'one mail: its envelope, every attempt, its header',
    text: [],
    positionals: { id: { count: 'one', describe: ID, completes: 'entry' } },
    options: { json },
    run: async (args, world) => (await import('./show.ts')).show(args, world),
  }),
  command({
    name: 'why',
    theme: 'queue',
    summary: 'why a mail has not gone out: what the relay said, what that means, what mends it',
    text: [],
    positionals: { id: { count: 'one', describe: ID, completes: 'entry' } },
    options: { json },
    run: async (args, world) => (await import('./why.ts')).why(args, world),
  }),
  command({
    name: 'retry',
    theme: 'queue',
    summary: 'offers mails to the relay now, due or not',
    text: [
      'It works beside any runner, probes a route that is paused, and shows what came of each mail; many of them show as a bar on a terminal.',
      'It ends with 0 when all were relayed, 75 when some still wait, 69 when some were refused.',
    ],
    positionals: { ids: { ...ids, completes: 'queued' } },
    options: { all, ...filters, state, verbose, json },
    run: async (args, world) => (await import('./retry.ts')).retry(args, world),
  }),
  command({
    name: 'hold',
    theme: 'queue',
    summary: 'keeps mails in the queue and has nobody try them',
    text: ['They stay until picorelay release, however old they become.'],
    positionals: { ids: { ...ids, completes: 'queued' } },
    options: { all, ...filters, state, json },
    run: async (args, world) => (await import('./change.ts')).hold(args, world),
  }),
  command({
    name: 'release',
    theme: 'queue',
    summary: 'lets mails go that are on hold',
    text: ['They are due at once.'],
    positionals: { ids: { ...ids, completes: 'queued' } },
    options: { all, ...filters, json },
    run: async (args, world) =>
      (await import('./change.ts')).release({ ...args, state: undefined }, world),
  }),
  command({
    name: 'remove',
    theme: 'queue',
    summary: 'erases mails of the queue or of Undelivered',
    text: [
      'It shows which and asks first. No sender is told; the log keeps the name, nothing keeps the mail.',
      'An id may be of the queue or of Undelivered; options and --all mean the queue, with --state undelivered Undelivered.',
    ],
    positionals: { ids: { ...ids, completes: 'entry' } },
    options: { all, ...filters, state: anyState, yes, json },
    run: async (args, world) => (await import('./change.ts')).remove(args, world),
  }),
  command({
    name: 'resend',
    theme: 'queue',
    summary: 'sends mails from Undelivered again, as new ones',
    text: [
      'The new mail is on the disk before the one in Undelivered goes. For several it shows which and asks first.',
    ],
    positionals: { ids: { ...ids, completes: 'undelivered' } },
    options: {
      all,
      to: { type: 'string', value: 'ADDRESS', describe: 'to this recipient instead' },
      yes,
      json,
    },
    run: async (args, world) => (await import('./resend.ts')).resend(args, world),
  }),
  command({
    name: 'check',
    theme: 'sight',
    summary: 'what is wrong with this installation, and what mends it',
    text: [
      'Looks at the control folder, this host, the spool, the queue, the runner and the relays, and sends no mail. Each line is ok, warning or failure; behind > stands what mends it.',
      'For monitoring: it ends with 0 when all is well, 1 with warnings, 2 with failures.',
    ],
    positionals: {
      areas: { count: 'any', describe: 'only these', choices: AREAS },
    },
    options: {
      quiet: { type: 'boolean', alias: 'q', describe: 'only what is not ok' },
      json,
    },
    run: async (args, world) => (await import('./check.ts')).check(args, world),
  }),
  command({
    name: 'verify',
    theme: 'sight',
    summary: 'looks for what is wrong in the spool, name by name, and mends it',
    text: [
      'Finds what a crash, a full disk or a hand that slipped can leave: files that are no mail or cannot be read, wrong modes and owners, names that do not belong there, claims of processes that have died, mail in two states, missing folders. Each finding is one line. It may run while mail comes in and goes out.',
      'With --repair it mends what it can. No mail is lost by that: what cannot be sent goes to corrupt/ beside the reason.',
      'It ends with 0 when nothing is wrong, or all of it is mended, else with 1.',
    ],
    positionals: {},
    options: {
      repair: { type: 'boolean', describe: 'mends what it finds' },
      json,
    },
    run: async (args, world) => (await import('./verify.ts')).verify(args, world),
  }),
  command({
    name: 'test',
    theme: 'sight',
    summary: 'sends a test mail in the foreground and shows the dialogue with the relay',
    text: [
      'The mail goes the way that the mail of this host goes, rewriting included. What the relay does not take is removed again, and its words are told in plain ones. Secrets are masked.',
    ],
    positionals: { address: { count: 'one', describe: 'who is to get it' } },
    options: {
      from: { type: 'string', value: 'ADDRESS', describe: 'the sender, if it is not you' },
    },
    run: async (args, world) => (await import('./trial.ts')).sendTest(args, world),
  }),
  command({
    name: 'status',
    theme: 'sight',
    summary: 'one screen: routes, queue by age, the last 24 hours, Undelivered',
    text: [
      'With --html it writes the same as a page of its own, with the mails listed: for a folder of a web server or a mail to the chief. Whoever may read the page reads the addresses.',
    ],
    positionals: {},
    options: {
      html: {
        type: 'string',
        value: 'FILE',
        describe: 'writes a page instead; - is standard output',
        completes: 'file',
      },
      json,
    },
    run: async (args, world) => (await import('./status.ts')).status(args, world),
  }),
  command({
    name: 'watch',
    theme: 'sight',
    summary: 'the same screen and the queue, live; q quits',
    text: [],
    positionals: {},
    options: {
      interval: {
        type: 'number',
        value: 'SECONDS',
        default: 2,
        describe: 'how long each screen stands',
      },
    },
    run: async (args, world) => (await import('./watch.ts')).watch(args, world),
  }),
  command({
    name: 'log',
    theme: 'sight',
    summary: "one mail in the log, from its acceptance to the relay's answer",
    text: [
      'It knows where control/log sends the log, and reads rotated files, too. The mail may be gone from the queue for long. A word that names several lists them.',
    ],
    positionals: {
      id: {
        count: 'one',
        describe: 'any part of its name, such as its recipient',
        completes: 'entry',
      },
    },
    options: {
      follow: { type: 'boolean', alias: 'f', describe: 'waits until its way is at its end' },
      file: { type: 'string', value: 'FILE', describe: 'another log', completes: 'file' },
      json,
    },
    run: async (args, world) => (await import('./trace.ts')).log(args, world),
  }),
  command({
    name: 'metrics',
    theme: 'sight',
    summary: 'figures for Prometheus, as text',
    text: [
      "For node_exporter's textfile folder: a line of cron with --file, which replaces the file as a whole. picorelay run --metrics answers the same over HTTP.",
    ],
    positionals: {},
    options: {
      file: {
        type: 'string',
        value: 'FILE',
        describe: 'writes them there, such as /var/lib/node_exporter/picorelay.prom',
        completes: 'file',
      },
    },
    run: async (args, world) => (await import('./metrics.ts')).metrics(args, world),
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
      metrics: {
        type: 'string',
        value: '[ADDR:]PORT',
        describe: 'answers GET /metrics for Prometheus there; without ADDR on 127.0.0.1 only',
      },
      verbose,
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
  command({
    name: 'init',
    theme: 'setup',
    summary: 'sets this host up: relay, user, queue, sendmail, schedule',
    text: [
      'It finds the relay by the mail address, tries the login, shows each step and asks before it does them. What it needs can be given by options instead. It can be run again at any time: what is so already stays as it is.',
    ],
    positionals: {},
    options: {
      email: {
        type: 'string',
        value: 'ADDRESS',
        describe: 'the mail address of the account that mail goes out by',
      },
      relay: {
        type: 'string',
        value: 'RELAY',
        describe: 'smtps://HOST, smtp://HOST:587, a provider such as gmail or ses:eu-west-1',
      },
      user: { type: 'string', value: 'LOGIN', describe: 'the login name; the address by default' },
      'password-file': {
        type: 'string',
        value: 'FILE',
        describe: 'takes the password from the first line of this file, - is standard input',
        completes: 'file',
      },
      'password-command': {
        type: 'string',
        value: 'COMMAND',
        describe: 'a command that prints the password, run at each login',
      },
      adminaddr: {
        type: 'string',
        value: 'ADDRESS',
        describe: 'gets the mail of root and the other users of this host',
      },
      me: { type: 'string', value: 'HOST', describe: 'the name of this host' },
      ...installing,
    },
    run: async (args, world) => (await import('./init.ts')).init(args, world),
  }),
  command({
    name: 'import',
    theme: 'setup',
    summary: 'takes over settings and queued mail of another relay program',
    text: [
      'It knows msmtp, nullmailer, dma, ssmtp, esmtp, Postfix and PicoQmail. It shows what becomes of each setting and what has no counterpart, then sets the host up as init does, then queues the mail that waits there. The other program’s files stay: mail that was taken is laid aside, in .taken-by-picorelay or on hold.',
    ],
    positionals: {
      program: { count: 'optional', describe: 'which one, where several are set up' },
    },
    options: {
      from: {
        type: 'string',
        value: 'PATH',
        describe: 'its settings, where they are not in the usual place',
        completes: 'file',
      },
      queue: {
        type: 'string',
        value: 'FOLDER',
        describe: 'its queue, as ~/.msmtp.queue of a user',
        completes: 'folder',
      },
      'settings-only': { type: 'boolean', describe: 'leaves its queue alone' },
      ...installing,
    },
    run: async (args, world) => (await import('./import.ts')).importFrom(args, world),
  }),
  command({
    name: 'uninstall',
    theme: 'setup',
    summary: 'takes back what init did; queued mail stays',
    text: [
      'Other programs get their sendmail back. Settings, queue and user stay, for the next init, unless --purge is given.',
    ],
    positionals: {},
    options: {
      purge: {
        type: 'boolean',
        describe: 'removes the settings too, and queue and user if no mail is left',
      },
      'dry-run': installing['dry-run'],
      yes,
    },
    run: async (args, world) => (await import('./uninstall.ts')).uninstall(args, world),
  }),
  command({
    name: 'dkim',
    theme: 'setup',
    summary: 'the DNS records of the keys in control/dkim',
    text: [
      'A key to begin with: openssl genrsa -out FILE 2048, or openssl genpkey -algorithm ed25519.',
    ],
    positionals: {},
    options: {},
    run: async (args, world) => (await import('./dkim.ts')).dkim(args, world),
  }),
  command({
    name: 'completion',
    theme: 'setup',
    summary: 'a script by which a shell completes these commands, their options and ids',
    text: [
      'For bash: source <(picorelay completion bash). For zsh: picorelay completion zsh > DIRECTORY/_picorelay, with a DIRECTORY of $fpath. For fish: picorelay completion fish > ~/.config/fish/completions/picorelay.fish.',
    ],
    positionals: {
      what: {
        count: 'one',
        describe: 'the shell, or the ids that these scripts offer',
        choices: ['bash', 'zsh', 'fish', 'queued', 'undelivered', 'entry'],
      },
    },
    options: {},
    run: async (args, world) => (await import('./completion.ts')).completion(args, world, commands),
  }),
];
