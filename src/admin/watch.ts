/**
 * picorelay watch: the screen of `status` with the queue below it, drawn anew every few seconds on a screen
 * of its own; q ends it. The terminal is as before afterwards, however it ends.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { stopOnSignals } from '../runner/open.ts';
import { CommandError, EX_USAGE, type Output, type World } from './command.ts';
import { cut } from './layout.ts';
import { printViews } from './list.ts';
import { queuedMails, shortIds, spoolOf, undeliveredMails, viewOf } from './mails.ts';
import { overviewOf } from './overview.ts';
import { glyphsFor, hostOf, printOverview } from './status.ts';

/** The other screen without a cursor, and the way back. */
const ENTER = '\x1b[?1049h\x1b[?25l';
const LEAVE = '\x1b[?25h\x1b[?1049l';

/**
 * q, Q, Escape and, as the terminal is raw, the keys of interrupt and end of input. Several keys may come
 * at once; what begins with an Escape is another key, such as an arrow.
 */
const QUIT = /^(?:[^\x1b]*[qQ\x03\x04]|\x1b$)/;

export async function watch(
  { interval }: { readonly interval: number },
  world: World,
): Promise<number> {
  const { stdout, keys } = world;
  if (keys === undefined || stdout.columns === undefined) {
    throw new CommandError(
      EX_USAGE,
      'watch wants a terminal; picorelay status prints the same once',
    );
  }
  if (!(interval >= 0.2 && interval <= 3600)) {
    throw new CommandError(EX_USAGE, 'watch: --interval takes 0.2 to 3600 seconds');
  }
  const end = stopOnSignals('SIGTERM', 'SIGINT', 'SIGHUP');
  let quit = false;
  let wake = new AbortController();
  const rouse = (): void => wake.abort();
  end.addEventListener('abort', rouse);
  const silence = keys((key) => {
    quit ||= QUIT.test(key);
    rouse();
  });
  const resized = stdout.onResize(rouse);
  stdout.write(ENTER);
  try {
    while (!quit && !end.aborted) {
      stdout.write(screenOf(world));
      wake = new AbortController();
      await sleep(interval * 1000, undefined, { signal: wake.signal }).catch((error: unknown) => {
        // A key, a signal or another size: all are looked at above.
        if (!wake.signal.aborted) throw error;
      });
    }
  } finally {
    resized();
    silence();
    stdout.write(LEAVE);
  }
  return 0;
}

/** One whole screen: nothing is cleared before it is written over, so that nothing flickers. */
function screenOf(world: World): string {
  const { stdout } = world;
  const rows = stdout.rows ?? 24;
  const lines = linesOf(world).slice(0, rows - 1);
  while (lines.length < rows - 1) lines.push('');
  const foot = cut(' q quits', stdout.columns ?? 80);
  const clear = '\x1b[K';
  return `\x1b[H${lines.map((line) => `${line}${clear}\r\n`).join('')}\x1b[7m${foot}\x1b[0m${clear}\x1b[J`;
}

function linesOf(world: World): string[] {
  const { stdout, now } = world;
  try {
    const spool = spoolOf(world);
    const lines = [
      ...printOverview(overviewOf(spool, hostOf(world), now()), stdout, glyphsFor(world)),
      '',
    ];
    const queued = queuedMails(spool);
    const room = Math.max(0, Math.ceil(((stdout.rows ?? 24) - lines.length) / 2));
    const views = queued.slice(0, room).map((mail) => viewOf(spool, mail));
    const bases = [...queued, ...undeliveredMails(spool)].map(({ base }) => base);
    const listed: string[] = [];
    const collect: Output = {
      ...stdout,
      columns: stdout.columns,
      write: (text) => listed.push(text),
    };
    printViews(
      views,
      shortIds(() => bases),
      now(),
      collect,
    );
    return [...lines, ...listed.join('').split('\n')];
  } catch (error) {
    // The spool may be moved or closed for a moment: what is wrong stands there until it is over.
    return [cut(error instanceof Error ? error.message : String(error), stdout.columns ?? 80)];
  }
}
