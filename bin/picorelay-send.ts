/**
 * picorelay-send: one attempt at the entries named, like PicoQmail's minismtpsend. Names are base
 * names, file names or paths of entries; due or not, in or out of a window.
 *
 * Exit: 0 all relayed, 66 no such entry, 69 one was refused, 75 one waits. With --quiet, for a sendmail
 * that waits for the outcome, 69 says that all were refused; an entry that is gone was taken by another
 * runner and is none of its business.
 */
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { openControl } from '../src/control/control.ts';
import { noteCounts } from '../src/queue/stats.ts';
import { Dispatcher } from '../src/runner/dispatch.ts';
import { type OpenRunner, openRunner, stopOnSignals } from '../src/runner/open.ts';
import { parseName } from '../src/spool/name.ts';
import type { Entry, Spool } from '../src/spool/spool.ts';

const USAGE = `usage: picorelay-send [-v] [--quiet] FILE...
Makes one attempt at each of these entries, due or not.
  -v       shows the dialogue with the relay; secrets are masked
  --quiet  says only what did not go through, on standard error
`;

/** Of the log's events, those that somebody who waits for the outcome has to hear. */
const BAD_NEWS = /^(deferred|refused|expired|corrupt|fault) /;

// Whoever reads this has seen enough: `picorelay-send … | head`.
process.stdout.on('error', () => process.exit());
void main().then((status) => {
  process.exitCode = status;
});

async function main(): Promise<number> {
  let quiet: boolean;
  let verbose: boolean;
  let names: readonly string[];
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        verbose: { type: 'boolean', short: 'v', default: false },
        quiet: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    if (values.help) {
      process.stdout.write(USAGE);
      return 0;
    }
    quiet = values.quiet;
    verbose = values.verbose;
    names = positionals;
    if (names.length === 0) throw new Error('no entry named');
  } catch (error) {
    say(`${error instanceof Error ? error.message : String(error)}; see picorelay-send --help`);
    return 64;
  }
  const control = openControl(process.env['PICORELAY_CONTROL'] ?? '/etc/picorelay');
  let runner: OpenRunner;
  try {
    runner = openRunner(control, process.pid, {
      now: Date.now,
      random: Math.random,
      stop: stopOnSignals('SIGTERM', 'SIGINT', 'SIGHUP'),
      stderr: (text) => process.stderr.write(text),
      onEvent: (brief) => {
        if (!quiet) process.stdout.write(`${brief}\n`);
        else if (BAD_NEWS.test(brief)) say(brief);
      },
      ...(verbose
        ? { onLine: (side: 'C' | 'S', line: string) => process.stderr.write(`${side}: ${line}\n`) }
        : {}),
    });
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return 75;
  }
  const dispatcher = new Dispatcher(runner.spool, control, runner.log, runner.world);
  try {
    runner.spool.checkLayout();
    runner.spool.sweep(Date.now());
    const { entries, unknown } = lookUp(runner.spool, names);
    const tally = await dispatcher.deliver(entries, {
      mayExpire: true,
      probe: true,
      // What somebody names is sent; a sendmail that waits names what it took.
      guard: quiet,
      stop: () => runner.world.stop.aborted,
    });
    noteCounts(runner.spool, tally, Date.now());
    for (const name of quiet ? [] : unknown)
      say(`${JSON.stringify(name)} is no entry of ${runner.spool.folder}/spool`);
    if (dispatcher.trouble !== undefined) say(`queued, but paused: ${dispatcher.trouble}`);
    if (quiet) return tally.refused > 0 && tally.refused === names.length ? 69 : 0;
    if (tally.refused > 0) return 69;
    if (tally.deferred + tally.left > 0 || dispatcher.trouble !== undefined) return 75;
    return unknown.length > 0 ? 66 : 0;
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return 75;
  } finally {
    await dispatcher.close();
    runner.spool.leave();
    await runner.close();
  }
}

/** The entries of these names, whatever state their names say they had. */
function lookUp(spool: Spool, names: readonly string[]): { entries: Entry[]; unknown: string[] } {
  const wanted = new Map<string, string>();
  const unknown: string[] = [];
  for (const name of names) {
    const parsed = parseName(basename(name));
    if (parsed.kind === 'entry') wanted.set(parsed.base, name);
    else unknown.push(name);
  }
  const found = spool.list(({ base }) => wanted.has(base));
  const entries = found.entries.filter(({ base }) => wanted.delete(base));
  return { entries, unknown: [...unknown, ...wanted.values()] };
}

function say(text: string): void {
  process.stderr.write(`picorelay-send: ${text}\n`);
}
