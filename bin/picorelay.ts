/** picorelay: the administrator's command. */
import { hostname, userInfo } from 'node:os';
import yargs from 'yargs';
import packageJson from '../package.json' with { type: 'json' };
import { printDigest } from '../src/admin/digest.ts';
import { listQueue, printQueue, troublesOf } from '../src/admin/list.ts';
import { findEntries, printEntry } from '../src/admin/show.ts';
import { openControl } from '../src/control/control.ts';
import type { Door } from '../src/listen/door.ts';
import { originTime } from '../src/mail/envelope.ts';
import { type OpenRunner, type Outside, openRunner, stopOnSignals } from '../src/runner/open.ts';
import { runQueue, serveQueue } from '../src/runner/run.ts';
import { Supervisor } from '../src/runner/supervisor.ts';
import { wakeRunner } from '../src/runner/wake.ts';
import { Spool } from '../src/spool/spool.ts';

const control = openControl(process.env['PICORELAY_CONTROL'] ?? '/etc/picorelay');

// Whoever reads this has seen enough: `picorelay list | head`.
process.stdout.on('error', () => process.exit());

/** The words behind `explain` are sendmail's, which yargs must not take for its own. */
const [named, ...words] = process.argv.slice(2);

try {
  if (named === 'explain' && words[0] !== '--help') await explain(words);
  else await parse();
} catch (error) {
  process.stderr.write(`picorelay: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 75;
}

async function parse(): Promise<void> {
  await yargs(process.argv.slice(2))
    .scriptName('picorelay')
    .usage('$0 COMMAND\n\nLooks after the queue of picorelay.')
    .command(
      'list',
      'what waits in the queue, oldest first',
      (command) => command.option('json', { type: 'boolean', default: false, describe: 'as JSON' }),
      ({ json }) => list(json),
    )
    .command(
      'show <id>',
      'one mail: its envelope, every attempt, its header',
      (command) =>
        command.positional('id', {
          type: 'string',
          demandOption: true,
          describe: 'any part of its name that no other has',
        }),
      ({ id }) => show(id),
    )
    .command(
      'digest',
      'what went out, what waits and why, what was refused: for a daily line of cron',
      (command) =>
        command.option('hours', {
          type: 'number',
          default: 24,
          describe: 'how far it looks back, at most a week',
        }),
      ({ hours }) => digest(hours),
    )
    .command(
      'run',
      'looks after the queue in the foreground until it gets SIGTERM',
      (command) =>
        command
          .option('once', {
            type: 'boolean',
            default: false,
            describe: 'offers all that waits to the relay now, due or not, and ends',
          })
          .option('socket', {
            type: 'string',
            describe: 'takes submissions over a unix socket at this path, too',
          })
          .option('verbose', {
            alias: 'v',
            type: 'boolean',
            default: false,
            describe: 'shows the dialogue with the relay; secrets are masked',
          }),
      async ({ once, socket, verbose }) => await (once ? run(verbose) : serve(socket, verbose)),
    )
    .command(
      'explain [words..]',
      'what sendmail would do with the message on standard input, and why; sends nothing',
      (command) =>
        command
          .positional('words', { type: 'string', array: true, describe: 'arguments of sendmail' })
          .option('json', { type: 'boolean', describe: 'as JSON; before all others' }),
    )
    .demandCommand(1, 'picorelay: name a command')
    .strict()
    .version(packageJson.version)
    .help()
    .alias('help', 'h')
    .wrap(80)
    .fail((message, error, parser) => {
      if (error) throw error;
      process.stderr.write(`picorelay: ${message.replace(/^picorelay: /, '')}\n\n`);
      parser.showHelp();
      process.exitCode = 64;
    })
    .parseAsync();
}

async function explain(given: readonly string[]): Promise<void> {
  const { parseInvocation } = await import('../src/sendmail/arguments.ts');
  const sendmail = await import('../src/sendmail/explain.ts');
  const { Rejected } = await import('../src/sendmail/submit.ts');
  const { readPieces } = await import('../src/spool/input.ts');
  const json = given[0] === '--json';
  const invocation = parseInvocation('sendmail', json ? given.slice(1) : given);
  if (invocation.mode !== 'deliver') {
    const problem = 'problem' in invocation ? invocation.problem : 'explain wants one message';
    process.stderr.write(`picorelay: ${problem}\n`);
    process.exitCode = 64;
    return;
  }
  const caller = {
    login: loginName(),
    origin: {
      uid: process.getuid?.() ?? 0,
      pid: process.pid,
      time: originTime(Date.now(), process.hrtime()),
      program: 'sendmail',
    },
    zoneMinutes: -new Date().getTimezoneOffset(),
    hostName: hostname,
  };
  try {
    const explanation = sendmail.explain(invocation, readPieces(0), control, caller);
    process.stdout.write(
      json ? `${JSON.stringify(explanation, null, 2)}\n` : sendmail.printExplanation(explanation),
    );
  } catch (error) {
    if (!(error instanceof Rejected)) throw error;
    process.stderr.write(`picorelay: sendmail would refuse this: ${error.message}\n`);
    process.exitCode = error.status;
  }
}

function loginName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user id without a name, as in containers.
    return `uid${process.getuid?.() ?? 0}`;
  }
}

function openSpool(): Spool {
  return new Spool(control.get('spooldir'), process.pid);
}

function list(json: boolean): void {
  const spool = openSpool();
  if (!json) {
    process.stdout.write(printQueue(spool, Date.now()));
    return;
  }
  const { entries, undelivered } = listQueue(spool);
  const paused = troublesOf(spool);
  process.stdout.write(`${JSON.stringify({ entries, undelivered, paused }, null, 2)}\n`);
}

function digest(hours: number): void {
  if (!(hours >= 1 && hours <= 168)) throw new Error('digest: --hours takes 1 to 168');
  process.stdout.write(printDigest(openSpool(), control.get('me'), Date.now(), Math.floor(hours)));
}

function show(id: string): void {
  const spool = openSpool();
  const found = findEntries(spool, id);
  const [first, ...others] = found;
  if (first === undefined) {
    process.stderr.write(
      `picorelay: no mail has ${JSON.stringify(id)} in its name; see picorelay list\n`,
    );
    process.exitCode = 66;
  } else if (others.length > 0 && first.base !== id) {
    const names = found.map(({ base }) => `  ${base}\n`).join('');
    process.stderr.write(
      `picorelay: ${JSON.stringify(id)} is part of ${found.length} names:\n${names}`,
    );
    process.exitCode = 64;
  } else {
    process.stdout.write(printEntry(spool, first));
  }
}

function outside(stop: AbortSignal, verbose: boolean): Outside {
  return {
    now: Date.now,
    random: Math.random,
    stop,
    stderr: (text) => process.stderr.write(text),
    ...(verbose
      ? { onLine: (side: 'C' | 'S', line: string) => process.stderr.write(`${side}: ${line}\n`) }
      : {}),
  };
}

async function serve(socket: string | undefined, verbose: boolean): Promise<void> {
  const supervisor = new Supervisor(process.env, (reason) => {
    process.stderr.write(`picorelay: ${reason}\n`);
  });
  let reload = false;
  const runner = openRunner(
    control,
    process.pid,
    outside(stopOnSignals('SIGTERM', 'SIGINT'), verbose),
  );
  process.on('SIGHUP', () => {
    reload = true;
    wakeRunner(runner.spool.folder);
  });
  runner.world.stop.addEventListener('abort', () => supervisor.stopping());
  let door: Door | undefined;
  try {
    const where = listensAt(socket);
    if (where !== undefined) door = await openSocket(where, runner);
    await serveQueue(runner.spool, control, runner.log, runner.world, {
      ready: () => supervisor.ready(),
      waiting: () => {
        process.stderr.write('picorelay: another runner is at work; waiting until it ends\n');
      },
      takeReload: () => {
        const wanted = reload;
        reload = false;
        return wanted;
      },
    });
  } finally {
    supervisor.end();
    await door?.close();
    await runner.close();
  }
}

/** A socket of systemd's is the first descriptor behind the standard ones (sd_listen_fds(3)). */
function listensAt(path: string | undefined): { path: string } | { fd: number } | undefined {
  const { LISTEN_PID: pid, LISTEN_FDS: count } = process.env;
  if (pid === String(process.pid) && Number(count) >= 1) return { fd: 3 };
  return path === undefined ? undefined : { path };
}

async function openSocket(
  where: { path: string } | { fd: number },
  { spool, log }: OpenRunner,
): Promise<Door> {
  const { openDoor } = await import('../src/listen/door.ts');
  const { houseOf } = await import('../src/listen/reception.ts');
  const host = {
    pid: process.pid,
    uid: process.getuid?.() ?? 0,
    now: () => performance.timeOrigin + performance.now(),
    zoneMinutes: -new Date().getTimezoneOffset(),
    hostName: hostname(),
  };
  const house = houseOf(spool, control, host, () => wakeRunner(spool.folder));
  return await openDoor(where, house, (reason) => log.fault(reason));
}

async function run(verbose: boolean): Promise<void> {
  const runner = openRunner(control, process.pid, {
    ...outside(stopOnSignals('SIGTERM', 'SIGINT', 'SIGHUP'), verbose),
    onEvent: (brief) => process.stdout.write(`${brief}\n`),
  });
  try {
    const report = await runQueue(runner.spool, control, runner.log, runner.world, 'now');
    if (report.kind === 'busy') {
      process.stderr.write('picorelay: another runner is at work\n');
      process.exitCode = 75;
      return;
    }
    const { relayed, deferred, refused, trouble } = report;
    process.stdout.write(`${relayed} relayed, ${deferred} put off, ${refused} refused\n`);
    if (trouble !== undefined) {
      process.stderr.write(`picorelay: paused: ${trouble}\n`);
      process.exitCode = 75;
    }
  } finally {
    await runner.close();
  }
}
