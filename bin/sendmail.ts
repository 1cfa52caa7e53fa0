/**
 * sendmail (also mailq, newaliases, send-mail, rmail): takes a message on standard input and queues it
 * for its recipients. Exit 0: every recipient is on disk. Any other status: none is queued.
 *
 * Reads the control folder, writes only into the spool. Everything it is given is hostile.
 */
import fs from 'node:fs';
import { basename } from 'node:path';
import { type Control, ControlError, openControl } from '../src/control/control.ts';
import { loginName, minutesEast } from '../src/control/host.ts';
import { originTime } from '../src/mail/envelope.ts';
import { HeaderTooLong } from '../src/mail/header.ts';
import { OverLimit } from '../src/mail/limits.ts';
import { type HandedOff, handOff } from '../src/runner/handoff.ts';
import {
  type Delivery,
  parseInvocation,
  type QueueRun,
  type SmtpService,
} from '../src/sendmail/arguments.ts';
import { type Caller, Rejected, submit, troublesOf } from '../src/sendmail/submit.ts';
import { becomeSubmitter } from '../src/spool/become.ts';
import { readPieces } from '../src/spool/input.ts';
import { Intake } from '../src/spool/intake.ts';
import { UnsafePath } from '../src/spool/path-owner.ts';

/** The statuses of sysexits.h that a caller of sendmail knows how to read. */
const EX = {
  ok: 0,
  usage: 64,
  dataError: 65,
  unavailable: 69,
  software: 70,
  ioError: 74,
  temporary: 75,
  noPermission: 77,
  config: 78,
} as const;

const program = basename(process.argv[1] ?? 'sendmail');

void main().then((status) => process.exit(status));

async function main(): Promise<number> {
  const invocation = parseInvocation(program, process.argv.slice(2));
  switch (invocation.mode) {
    case 'refuse':
      say(invocation.problem);
      return EX.usage;
    case 'nothing':
      if (invocation.word !== 'newaliases') {
        fs.writeSync(1, `${program}: no host status is kept here\n`);
      }
      return EX.ok;
    case 'list': {
      const { mailq } = await import('../src/admin/mailq.ts');
      const { Spool } = await import('../src/spool/spool.ts');
      let folder = '';
      try {
        folder = openControl(controlFolder()).get('spooldir');
        const spool = new Spool(folder, process.pid);
        for (const text of mailq(spool, minutesEast(new Date(), process.env['TZ']))) {
          for (let rest = Buffer.from(text); rest.length > 0; rest = rest.subarray(answer(rest)));
        }
        return EX.ok;
      } catch (error) {
        say(await reasonOf(error, folder, 'look at'));
        return statusOf(error);
      }
    }
    case 'verify': {
      const { verify } = await import('../src/sendmail/verify.ts');
      const { hostName } = whoCalls()();
      const { output, problem, status } = verify(
        invocation,
        openControl(controlFolder()),
        hostName,
      );
      fs.writeSync(1, output);
      for (const line of problem) say(line);
      return status;
    }
    case 'deliver':
      return deliver(invocation);
    case 'smtp':
      return serve(invocation);
    case 'run':
      return runNow(invocation);
  }
}

function deliver(delivery: Delivery): number {
  const control = openControl(controlFolder());
  let folder = '';
  let bases: readonly string[];
  try {
    const submitted = submit(
      delivery,
      readPieces(0),
      control,
      (path) => {
        folder = path;
        return openSpool(path);
      },
      whoCalls()(),
    );
    for (const warning of [...submitted.warnings, ...troublesOf(submitted.notes)]) say(warning);
    bases = submitted.bases;
    if (bases.length === 0 && delivery.verbose) {
      say('queued; -v shows the dialogue to root and the owner of the queue only');
    }
  } catch (error) {
    say(`${error instanceof Error ? error.message : String(error)}; nothing was queued`);
    return statusOf(error);
  }
  return offer(bases, folder, delivery, control) === 'refused' ? EX.unavailable : EX.ok;
}

/** -q: one attempt at what waits; exit 0 says that it was made, not what came of it. */
async function runNow(run: QueueRun): Promise<number> {
  const { entriesOf } = await import('../src/sendmail/queue-run.ts');
  const { Spool } = await import('../src/spool/spool.ts');
  const control = openControl(controlFolder());
  let folder = '';
  try {
    folder = control.get('spooldir');
    becomeSubmitter(folder);
    const bases = entriesOf(new Spool(folder, process.pid).list().entries, run);
    // The kernel limits the length of a command line.
    for (let from = 0; from < bases.length; from += 500) {
      const { verbose } = run;
      offer(bases.slice(from, from + 500), folder, { immediate: 'wait', verbose }, control);
    }
    return EX.ok;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    // No spool yet: nothing waits.
    if (code === 'ENOENT') return EX.ok;
    say(await reasonOf(error, folder, 'run'));
    return statusOf(error);
  }
}

/** Why the queue was not shown or run, in one line that a user without rights can use. */
async function reasonOf(
  error: unknown,
  folder: string,
  action: 'look at' | 'run',
): Promise<string> {
  if (error instanceof Error && 'code' in error && error.code === 'EACCES') {
    const { notForYou } = await import('../src/sendmail/rights.ts');
    return notForYou(folder, action);
  }
  return error instanceof Error ? error.message : String(error);
}

/** -bs: SMTP on standard input and output. */
async function serve(service: SmtpService): Promise<number> {
  const { serveSession } = await import('../src/sendmail/session.ts');
  const control = openControl(controlFolder());
  return serveSession(service, {
    control,
    input: readPieces(0),
    write: answer,
    openSpool,
    caller: whoCalls(),
    queued: (bases, folder) => {
      offer(bases, folder, service, control);
    },
    warn: say,
  });
}

function openSpool(folder: string): Intake {
  const straight = becomeSubmitter(folder);
  return new Intake(folder, process.pid, token, straight);
}

/** Who calls is asked before this process becomes the spool's owner; the time is that of each call. */
function whoCalls(): () => Caller {
  const uid = process.getuid?.() ?? 0;
  const login = loginName(uid);
  return () => ({
    login,
    origin: {
      uid,
      pid: process.pid,
      time: originTime(Date.now(), process.hrtime()),
      program: 'sendmail',
    },
    zoneMinutes: minutesEast(new Date(), process.env['TZ']),
    hostName: () => process.getBuiltinModule('node:os').hostname(),
  });
}

/**
 * Has queued mail sent, and tells whether the relay refused it for every recipient while we waited.
 * Never throws: whatever is wrong with starting the runner, cron finds it.
 */
function offer(
  bases: readonly string[],
  spoolFolder: string,
  { immediate, verbose }: Pick<Delivery, 'immediate' | 'verbose'>,
  control: Control,
): HandedOff['kind'] {
  try {
    const handed = handOff({
      immediate: immediate ?? control.get('immediate'),
      verbose,
      spoolFolder,
      bases,
      node: process.execPath,
      bin: import.meta.dirname,
      environment: runnerEnvironment(),
      now: Date.now(),
    });
    if (handed.kind === 'trouble') say(handed.reason);
    return handed.kind;
  } catch (error) {
    say(
      `queued, but not offered at once: ${error instanceof Error ? error.message : String(error)}`,
    );
    return 'trouble';
  }
}

function statusOf(error: unknown): number {
  if (error instanceof Rejected) return error.status;
  if (error instanceof OverLimit) return error.passes ? EX.temporary : EX.dataError;
  if (error instanceof HeaderTooLong) return EX.dataError;
  if (error instanceof ControlError || error instanceof UnsafePath) return EX.config;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'EACCES':
    case 'EPERM':
      return EX.noPermission;
    case 'EFBIG':
      return EX.unavailable;
    case 'EIO':
      return EX.ioError;
    case undefined:
      return EX.software;
    default:
      // Disk full, too many files, read-only file system: try again later.
      return EX.temporary;
  }
}

function controlFolder(): string {
  return process.env['PICORELAY_CONTROL'] ?? '/etc/picorelay';
}

/** The runner gets nothing of the caller's environment that it has no use for. */
function runnerEnvironment(): Record<string, string> {
  const environment: Record<string, string> = { PATH: '/usr/local/bin:/usr/bin:/bin' };
  for (const name of ['PICORELAY_CONTROL', 'TZ', 'HOME']) {
    const value = process.env[name];
    if (value !== undefined) environment[name] = value;
  }
  return environment;
}

function say(text: string): void {
  fs.writeSync(2, `${program}: ${text}\n`);
}

/** How many octets standard output took: a pipe that is nearly full takes a part. */
function answer(bytes: Uint8Array): number {
  return (
    // All that is said to an SMTP client goes through here.
    fs.writeSync(1, bytes)
  );
}

/** What nobody can guess; node:crypto is loaded only where it is needed. */
function token(): string {
  return process.getBuiltinModule('node:crypto').randomBytes(16).toString('hex');
}
