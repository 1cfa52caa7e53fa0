/**
 * qmail-queue: message on descriptor 0, envelope on descriptor 1, which is read, so nothing here may
 * print. The exit code says what happened; where a program of its own is to tell more, it is on
 * descriptor 6 (notqmail 1.09's exit 82 is not used: the codes say it all).
 */
import { ControlError, openControl } from '../src/control/control.ts';
import { EnvelopeError, EXIT, queueMessage } from '../src/inject/qmail-queue.ts';
import { formatDate } from '../src/mail/completion.ts';
import { handOff } from '../src/runner/handoff.ts';
import { becomeOwner } from '../src/spool/become.ts';
import { readPieces } from '../src/spool/input.ts';
import { Spool } from '../src/spool/spool.ts';

process.exitCode = main();

function main(): number {
  const control = openControl(process.env['PICORELAY_CONTROL'] ?? '/etc/picorelay');
  let folder: string;
  try {
    folder = control.get('spooldir');
  } catch {
    return EXIT.configuration;
  }
  const origin = {
    uid: process.getuid?.() ?? 0,
    pid: process.pid,
    time: Math.round((performance.timeOrigin + performance.now()) * 1000),
    program: 'qmail-queue',
  };
  const date = formatDate(new Date(), -new Date().getTimezoneOffset());
  let bases: readonly string[];
  try {
    becomeOwner(folder);
    const spool = new Spool(folder, process.pid);
    bases = queueMessage(readPieces(0), readPieces(1), spool, origin, hostName(), date);
  } catch (error) {
    return exitOf(error);
  }
  try {
    const environment: Record<string, string> = { PATH: '/usr/local/bin:/usr/bin:/bin' };
    const named = process.env['PICORELAY_CONTROL'];
    if (named !== undefined) environment['PICORELAY_CONTROL'] = named;
    handOff({
      immediate: control.get('immediate'),
      verbose: false,
      spoolFolder: folder,
      bases,
      node: process.execPath,
      bin: import.meta.dirname,
      environment,
    });
  } catch {
    // It is queued, and there is nobody to tell: cron will find it.
  }
  return EXIT.queued;

  function hostName(): string {
    try {
      return control.get('me');
    } catch (error) {
      // The mail is taken all the same and waits until the control folder is mended.
      if (error instanceof ControlError) return process.getBuiltinModule('node:os').hostname();
      throw error;
    }
  }
}

function exitOf(error: unknown): number {
  if (error instanceof EnvelopeError) return error.exit;
  const syscall = error instanceof Error && 'syscall' in error ? error.syscall : undefined;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOMEM') return EXIT.outOfMemory;
  if (syscall === 'read') return EXIT.readError;
  if (syscall === 'mkdir' || code === 'ENOENT' || code === 'ENOTDIR') return EXIT.spoolMissing;
  if (syscall === 'open' || syscall === 'link') return EXIT.cannotMakeFile;
  return syscall === undefined && code === undefined ? EXIT.bug : EXIT.writeError;
}
