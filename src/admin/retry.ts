/** picorelay retry: offers chosen mails to their relay now, due or not, beside any runner. */

import { noteCounts } from '../queue/stats.ts';
import { Dispatcher } from '../runner/dispatch.ts';
import { openRunner, stopOnSignals } from '../runner/open.ts';
import type { Entry } from '../spool/spool.ts';
import { EX_TEMPFAIL, EX_UNAVAILABLE, printJson, type World } from './command.ts';
import { type Choice, chosen, queuedMails } from './mails.ts';
import { Progress } from './progress.ts';
import { offer } from './queue.ts';

interface Options extends Choice {
  readonly verbose: boolean;
  readonly json: boolean;
}

export async function retry(options: Options, world: World): Promise<number> {
  const { control, stdout, stderr, now, random } = world;
  const stop = stopOnSignals('SIGTERM', 'SIGINT', 'SIGHUP');
  let progress: Progress | undefined;
  const runner = openRunner(control, world.pid, {
    now,
    random,
    stop,
    stderr: (text) => stderr.write(text),
    onEvent: (brief) => progress?.event(brief),
    ...(options.verbose ? { onLine: (side, line) => stderr.write(`${side}: ${line}\n`) } : {}),
  });
  const { spool } = runner;
  const dispatcher = new Dispatcher(spool, control, runner.log, runner.world);
  try {
    const mails = chosen(queuedMails(spool), options, now());
    const entries: Entry[] = [];
    let left = 0;
    for (const mail of mails) {
      if (mail.place !== 'spool') continue;
      if (mail.state.kind === 'held') {
        left++;
        stderr.write(`picorelay: ${mail.base}: it is on hold; picorelay release first\n`);
      } else {
        entries.push(mail);
      }
    }
    const quiet = { ...stdout, write: () => undefined };
    progress = new Progress(
      options.verbose ? 0 : entries.length,
      options.json ? quiet : stdout,
      stderr,
      now,
    );
    const tally = await dispatcher.deliver(entries, {
      mayExpire: true,
      probe: true,
      // The administrator wants it so.
      guard: false,
      stop: () => stop.aborted,
    });
    progress.end();
    spool.sync();
    const { relayed, deferred, refused } = tally;
    left += tally.left;
    noteCounts(spool, tally, now());
    // Their senders are to be told, which a runner does.
    if (refused > 0) offer(spool.folder, [], world);
    const { trouble } = dispatcher;
    if (options.json) {
      printJson(world, {
        relayed,
        deferred,
        refused,
        left,
        ...(trouble ? { paused: trouble } : {}),
      });
    } else {
      const rest = left > 0 ? `, ${left} left as they were` : '';
      stdout.write(`${relayed} relayed, ${deferred} put off, ${refused} refused${rest}\n`);
      if (trouble !== undefined) stderr.write(`picorelay: paused: ${trouble}\n`);
    }
    if (refused > 0) return EX_UNAVAILABLE;
    return deferred + left > 0 || trouble !== undefined ? EX_TEMPFAIL : 0;
  } finally {
    progress?.end();
    await dispatcher.close();
    spool.leave();
    await runner.close();
  }
}
