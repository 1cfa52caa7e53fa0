/** picorelay run: the runner in the foreground, as a service or for one pass. */
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Door } from '../listen/door.ts';
import type { MetricsDoor } from '../listen/metrics.ts';
import { type OpenRunner, type Outside, openRunner, stopOnSignals } from '../runner/open.ts';
import { runQueue, serveQueue } from '../runner/run.ts';
import { Supervisor } from '../runner/supervisor.ts';
import { wakeRunner } from '../runner/wake.ts';
import { requireRootsPath } from '../spool/path-owner.ts';
import { CommandError, EX_TEMPFAIL, EX_USAGE, type World } from './command.ts';
import { queuedMails } from './mails.ts';
import { Progress } from './progress.ts';

export async function run(
  args: {
    readonly once: boolean;
    readonly socket: string | undefined;
    readonly metrics: string | undefined;
    readonly verbose: boolean;
  },
  world: World,
): Promise<number> {
  return await (args.once ? runOnce(args.verbose, world) : serve(args, world));
}

function outside(stop: AbortSignal, verbose: boolean, { now, random, stderr }: World): Outside {
  return {
    now,
    random,
    stop,
    stderr: (text) => stderr.write(text),
    ...(verbose
      ? { onLine: (side: 'C' | 'S', line: string) => stderr.write(`${side}: ${line}\n`) }
      : {}),
  };
}

async function runOnce(verbose: boolean, world: World): Promise<number> {
  const { control, stdout, stderr, now } = world;
  const stop = stopOnSignals('SIGTERM', 'SIGINT', 'SIGHUP');
  let progress: Progress | undefined;
  const runner = openRunner(control, world.pid, {
    ...outside(stop, verbose, world),
    onEvent: (brief) => progress?.event(brief),
  });
  try {
    // Beside a dialogue there is no place for a bar.
    const total = verbose ? 0 : queuedMails(runner.spool).length;
    progress = new Progress(total, stdout, stderr, now);
    const report = await runQueue(runner.spool, control, runner.log, runner.world, 'now');
    progress.end();
    if (report.kind === 'busy') throw new CommandError(EX_TEMPFAIL, 'another runner is at work');
    const { relayed, deferred, refused, trouble } = report;
    stdout.write(`${relayed} relayed, ${deferred} put off, ${refused} refused\n`);
    if (trouble !== undefined) throw new CommandError(EX_TEMPFAIL, `paused: ${trouble}`);
    return 0;
  } finally {
    progress?.end();
    await runner.close();
  }
}

async function serve(
  {
    socket,
    metrics,
    verbose,
  }: {
    readonly socket: string | undefined;
    readonly metrics: string | undefined;
    readonly verbose: boolean;
  },
  world: World,
): Promise<number> {
  const { control, env, stderr } = world;
  const listenForFigures = metrics === undefined ? undefined : await figuresAt(metrics, world);
  const supervisor = new Supervisor(env, (reason) => stderr.write(`picorelay: ${reason}\n`));
  let reload = false;
  const runner = openRunner(
    control,
    world.pid,
    outside(stopOnSignals('SIGTERM', 'SIGINT'), verbose, world),
  );
  process.on('SIGHUP', () => {
    reload = true;
    wakeRunner(runner.spool.folder);
  });
  runner.world.stop.addEventListener('abort', () => supervisor.stopping());
  let door: Door | undefined;
  let figures: MetricsDoor | undefined;
  try {
    const where = listensAt(socket, world);
    if (where !== undefined) door = await openSocket(where, runner, world);
    figures = await listenForFigures?.((reason) => runner.log.fault(reason));
    await serveQueue(runner.spool, control, runner.log, runner.world, {
      ready: () => supervisor.ready(),
      waiting: () => {
        stderr.write('picorelay: another runner is at work; waiting until it ends\n');
      },
      takeReload: () => {
        const wanted = reload;
        reload = false;
        return wanted;
      },
    });
    return 0;
  } finally {
    supervisor.end();
    await door?.close();
    await figures?.close();
    await runner.close();
  }
}

/** @throws CommandError for what is no place to listen at, before anything is begun */
async function figuresAt(
  words: string,
  world: World,
): Promise<(complain: (reason: string) => void) => Promise<MetricsDoor>> {
  const { openMetrics, parseListen } = await import('../listen/metrics.ts');
  const { metricsNow } = await import('./metrics.ts');
  const where = parseListen(words);
  if (where === undefined) {
    throw new CommandError(EX_USAGE, 'run: --metrics takes [ADDRESS:]PORT, such as 9125');
  }
  return async (complain) => await openMetrics(where, () => metricsNow(world), complain);
}

/** A socket of systemd's is the first descriptor behind the standard ones (sd_listen_fds(3)). */
function listensAt(
  path: string | undefined,
  { env, pid: own }: World,
): { path: string } | { fd: number } | undefined {
  const { LISTEN_PID: pid, LISTEN_FDS: count } = env;
  if (pid === String(own) && Number(count) >= 1) return { fd: 3 };
  return path === undefined ? undefined : { path };
}

async function openSocket(
  where: { path: string } | { fd: number },
  { spool, log }: OpenRunner,
  { control, pid, uid, exactNow, zoneMinutes }: World,
): Promise<Door> {
  const { openDoor } = await import('../listen/door.ts');
  const { houseOf } = await import('../listen/reception.ts');
  const host = {
    pid,
    uid,
    now: exactNow,
    zoneMinutes,
    hostName: hostname(),
  };
  if ('path' in where) requireRootsPath(resolve(where.path), 'new');
  const house = houseOf(spool, control, host, () => wakeRunner(spool.folder));
  return await openDoor(where, house, (reason) => log.fault(reason));
}
