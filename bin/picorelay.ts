/** picorelay: the administrator's command. */
import yargs from 'yargs';
import packageJson from '../package.json' with { type: 'json' };
import { listQueue, printQueue, troubleOf } from '../src/admin/list.ts';
import { findEntries, printEntry } from '../src/admin/show.ts';
import { openControl } from '../src/control/control.ts';
import { openRunner, stopOnSignals } from '../src/runner/open.ts';
import { runQueue } from '../src/runner/run.ts';
import { Spool } from '../src/spool/spool.ts';

const control = openControl(process.env['PICORELAY_CONTROL'] ?? '/etc/picorelay');

// Whoever reads this has seen enough: `picorelay list | head`.
process.stdout.on('error', () => process.exit());

try {
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
      'run',
      'offers all that waits to the relay now, due or not',
      (command) =>
        command.option('verbose', {
          alias: 'v',
          type: 'boolean',
          default: false,
          describe: 'shows the dialogue with the relay; secrets are masked',
        }),
      async ({ verbose }) => await run(verbose),
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
} catch (error) {
  process.stderr.write(`picorelay: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 75;
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
  const paused = troubleOf(spool) ?? null;
  process.stdout.write(`${JSON.stringify({ entries, undelivered, paused }, null, 2)}\n`);
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

async function run(verbose: boolean): Promise<void> {
  const runner = openRunner(control, process.pid, {
    now: Date.now,
    random: Math.random,
    stop: stopOnSignals(),
    stderr: (text) => process.stderr.write(text),
    onEvent: (brief) => process.stdout.write(`${brief}\n`),
    ...(verbose
      ? { onLine: (side: 'C' | 'S', line: string) => process.stderr.write(`${side}: ${line}\n`) }
      : {}),
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
