/**
 * picorelay-cron: the retry runner. From crontab it prints nothing when all is well and one line when
 * a route is paused or the spool cannot be used; another runner at work is no reason to speak.
 *
 *     * * * * *  root  /usr/local/bin/picorelay-cron
 */
import { openControl } from '../src/control/control.ts';
import { type OpenRunner, openRunner, stopOnSignals } from '../src/runner/open.ts';
import { runQueue } from '../src/runner/run.ts';

const mode = process.argv.includes('--background') ? 'background' : 'cron';
void main().then((status) => {
  process.exitCode = status;
});

async function main(): Promise<number> {
  const [word] = process.argv.slice(2).filter((each) => each !== '--background');
  if (word === '--help' || word === '-h') {
    process.stdout.write(
      'usage: picorelay-cron\nOffers what is due to the relay. Run it each minute from cron.\n',
    );
    return 0;
  }
  if (word !== undefined) {
    process.stderr.write(`picorelay-cron: unknown word ${JSON.stringify(word)}; it takes none\n`);
    return 64;
  }
  const control = openControl(process.env['PICORELAY_CONTROL'] ?? '/etc/picorelay');
  let runner: OpenRunner | undefined;
  try {
    runner = openRunner(control, process.pid, {
      now: Date.now,
      random: Math.random,
      stop: stopOnSignals('SIGTERM', 'SIGINT', 'SIGHUP'),
      stderr: (text) => process.stderr.write(text),
    });
    const known = runner.knownTrouble();
    const report = await runQueue(runner.spool, control, runner.log, runner.world, mode);
    // Each minute of an outage would be a mail from cron: it is told when it begins.
    if (report.trouble !== undefined && !known && mode === 'cron') {
      process.stderr.write(`picorelay-cron: paused: ${report.trouble}\n`);
    }
    return 0;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    runner?.log.fault(reason);
    process.stderr.write(`picorelay-cron: ${reason}\n`);
    return 75;
  } finally {
    await runner?.close();
  }
}
